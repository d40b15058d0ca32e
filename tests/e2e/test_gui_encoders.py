"""The real window with the real method: encoders whose files lack or are damaged harm nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from moca_core.models.specs import rows_of
from moca_core.paths import resource

pytestmark = [pytest.mark.weights, pytest.mark.slow]

PATIENCE_MS = 300_000  # the machine may be busy; a test that works never waits this long
MEOW = 30  # a frame in which the cat is heard


@pytest.fixture
def weights(tmp_path: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own with the compact files, in a home of its own."""
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    for row in rows_of("compact"):
        (folder / row.name).symlink_to(weights_dir / row.name)
    monkeypatch.setenv("MOCA_CACHE_DIR", str(folder.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return folder


@pytest.fixture
def window(weights: Path, qtbot: Any) -> Iterator[Any]:
    """The real window with the demo clip at a meow."""
    from moca_gui.main_window import MainWindow

    window = MainWindow()
    qtbot.addWidget(window)
    window.show()
    with qtbot.waitSignal(window.opened, timeout=PATIENCE_MS):
        window.open_path(resource("demo/demo.mp4"))
    window.player.seek(MEOW)
    qtbot.waitUntil(lambda: window.session.frame == MEOW, timeout=PATIENCE_MS)
    yield window
    window.shut_down()


def dialog_of(window: Any, kind: type) -> Any:
    """The one dialog of that kind that is open."""
    (found,) = (dialog for dialog in window.findChildren(kind) if dialog.isVisible())
    return found


def press(window: Any, qtbot: Any, key: str, *, control: bool = False) -> None:
    """Press a key in the main window, which takes a moment to be active after a dialog."""
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=PATIENCE_MS)
    modifier = Qt.KeyboardModifier.ControlModifier if control else Qt.KeyboardModifier.NoModifier
    QTest.keyClick(window, key, modifier)


def run_frame(window: Any, qtbot: Any) -> None:
    press(window, qtbot, "r")
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=PATIENCE_MS)


def test_files_that_lack_and_files_that_are_damaged(window: Any, weights: Path, qtbot: Any) -> None:
    from moca_gui.dialogs.errors import ErrorDialog
    from moca_gui.dialogs.terms import TermsDialog
    from moca_gui.dialogs.weights import WeightsDialog

    # Chosen for the first time: the terms, then what is needed. Closed, all is as before.
    press(window, qtbot, "2", control=True)
    terms = dialog_of(window, TermsDialog)
    assert "non-commercial" in terms.terms.text()
    qtbot.mouseClick(terms.accept_button, Qt.MouseButton.LeftButton)
    files = dialog_of(window, WeightsDialog)
    assert [row.state for row in files.table.rows][:3] == ["missing"] * 3
    assert files.summary.text().startswith("3 files are needed still, 5.27 GB in all.")
    qtbot.mouseClick(files.close_button, Qt.MouseButton.LeftButton)
    assert window.status.encoders.full_text == "Compact"
    run_frame(window, qtbot)
    assert [item.name for item in window.session.result.objects] == ["Cat"]

    # Of the right sizes, so that they count as here until they are read. They take no space.
    for row in rows_of("imagebind"):
        with (weights / row.name).open("wb") as stream:
            stream.truncate(row.size)
    press(window, qtbot, "2", control=True)
    assert window.status.encoders.full_text == "ImageBind"
    assert window.session.result is None
    run_frame(window, qtbot)
    error = dialog_of(window, ErrorDialog)
    assert any(row.name in error.message.text() for row in rows_of("imagebind"))
    assert error.hint.text()
    error.accept()

    # And back: what was found is there, and the encoders work as before.
    press(window, qtbot, "1", control=True)
    assert [item.name for item in window.session.result.objects] == ["Cat"]
    assert "evidence" in window.session.results.maps(MEOW)
    window.session.clear_results()
    run_frame(window, qtbot)
    assert [item.name for item in window.session.result.objects] == ["Cat"]
