"""Asks for a file or a folder without halting the rest of the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QMimeData, Qt
from PySide6.QtWidgets import QFileDialog, QWidget

ALL = "All files (*)"


def ask_file(
    parent: QWidget, title: str, kinds: str, start: Path, then: Callable[[Path], object]
) -> QFileDialog:
    """Ask for a file that is there; `kinds` as Qt writes them, such as `Tables (*.csv)`."""
    dialog = QFileDialog(parent, title, _folder(start), f"{kinds};;{ALL}" if kinds else ALL)
    dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
    return _open(dialog, then)


def ask_folder(
    parent: QWidget, title: str, start: Path, then: Callable[[Path], object]
) -> QFileDialog:
    """Ask for a folder."""
    dialog = QFileDialog(parent, title, _folder(start))
    dialog.setFileMode(QFileDialog.FileMode.Directory)
    dialog.setOption(QFileDialog.Option.ShowDirsOnly)
    return _open(dialog, then)


def ask_new_file(
    parent: QWidget, title: str, kinds: str, start: Path, then: Callable[[Path], object]
) -> QFileDialog:
    """Ask where to write a file; its ending is added if it has none."""
    dialog = QFileDialog(parent, title, _folder(start), f"{kinds};;{ALL}")
    dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.setDefaultSuffix(start.suffix.lstrip("."))
    dialog.selectFile(start.name)
    return _open(dialog, then)


def dropped_path(data: QMimeData) -> Path | None:
    """The first local file of a drop, or None."""
    paths = [Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()]
    return paths[0] if paths else None


def _folder(start: Path) -> str:
    """The nearest folder that is there."""
    for place in (start, *start.parents):
        if place.is_dir():
            return str(place)
    return str(Path.home())


def _open(dialog: QFileDialog, then: Callable[[Path], object]) -> QFileDialog:
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.fileSelected.connect(lambda name: then(Path(name)))
    dialog.open()
    return dialog
