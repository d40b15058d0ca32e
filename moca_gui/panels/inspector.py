"""The inspector: which map lies over the frame, and what is under the cursor."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QFormLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from moca_gui.session import Session


@dataclass(frozen=True)
class Overlay:
    """One row: what can lie over the frame.

    Attributes
    ----------
    name : how the program calls it.
    text : what the user reads.
    map_name : key of `FrameResult.maps`; empty for the masks.
    labels : what the numbers of a map of labels count (`clusters`); empty for a map of values.
    bare_zero : the label 0 means nothing, and is left transparent.
    hint : one line that explains it.
    """

    name: str
    text: str
    map_name: str = ""
    labels: str = ""
    bare_zero: bool = False
    hint: str = ""


# In the order of the keys 1 to 6.
OVERLAYS = (
    Overlay("masks", "Masks", hint="The sounding objects"),
    Overlay("evidence", "Evidence", "evidence", hint="How well each place fits the sound"),
    Overlay("region", "Region", "region", hint="What the evidence claims, before the proposals"),
    Overlay("saliency", "Saliency", "saliency", hint="What stands out, whatever it sounds like"),
    Overlay("clusters", "Clusters", "clusters", "clusters", hint="Places with like features"),
    Overlay(
        "proposals",
        "Proposals",
        "proposals",
        "proposals",
        True,
        "The masks to choose from; smaller ones lie on top",
    ),
)
_ROWS = {row.name: row for row in OVERLAYS}


def overlay(name: str) -> Overlay:
    """The row called `name`."""
    return _ROWS[name]


class Inspector(QWidget):
    """Chooses the overlay; greys out the maps that the frame doesn't have."""

    overlay_changed = Signal(str)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.session = session
        self.current = OVERLAYS[0].name
        self.list = QListWidget()
        self.list.setAccessibleName("Overlay")
        self.list.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        for number, row in enumerate(OVERLAYS, start=1):
            item = QListWidgetItem(f"{number}   {row.text}")
            item.setToolTip(row.hint)
            self.list.addItem(item)
        self.list.setCurrentRow(0)
        row_height = self.fontMetrics().height() + 10
        self.list.setFixedHeight(row_height * len(OVERLAYS) + 8)
        self.list.setSpacing(1)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.currentRowChanged.connect(lambda row: self.choose(OVERLAYS[row].name))
        self.note = QLabel()
        self.note.setObjectName("dim")
        self.note.setWordWrap(True)
        self.note.setAlignment(Qt.AlignmentFlag.AlignTop)
        # Room for its longest text, so that nothing below moves when it changes.
        self.note.setFixedHeight(3 * self.note.fontMetrics().lineSpacing() + 6)
        self.pixel = QLabel("-")
        self.value = QLabel("-")
        self.window_s = QLabel("-")
        self.kind = QLabel("-")
        form = QFormLayout()
        form.setContentsMargins(10, 4, 10, 8)
        form.setHorizontalSpacing(16)
        for text, label in (
            ("Frame", self.kind),
            ("Sound", self.window_s),
            ("Pixel", self.pixel),
            ("Value", self.value),
        ):
            label.setAccessibleName(text)
            head = QLabel(text)
            head.setObjectName("dim")
            form.addRow(head, label)
        self.note.setContentsMargins(10, 2, 10, 4)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 0)
        layout.addWidget(self.list)
        layout.addWidget(self.note)
        layout.addLayout(form)
        layout.addStretch(1)
        session.frame_changed.connect(self.refresh)
        session.clip_changed.connect(self.refresh)
        session.result_changed.connect(self._on_result)
        self.refresh()

    @property
    def titles(self) -> list[str]:
        """The names of the overlays, in the order of their keys."""
        return [row.text for row in OVERLAYS]

    def _on_result(self, frame: int) -> None:
        if frame in (-1, self.session.frame):
            self.refresh()

    def choose(self, name: str) -> None:
        """Put the overlay `name` over the frame."""
        self.current = name
        with QSignalBlocker(self.list):
            self.list.setCurrentRow([row.name for row in OVERLAYS].index(name))
        self.refresh()
        self.overlay_changed.emit(name)

    def refresh(self) -> None:
        """Show the facts of the frame on screen."""
        result = self.session.result
        maps = self.session.results.maps(self.session.frame)
        for index, row in enumerate(OVERLAYS):
            item = self.list.item(index)
            there = not row.map_name or row.map_name in maps
            item.setForeground(self.palette().text() if there else self.palette().placeholderText())
        chosen = overlay(self.current)
        missing = bool(chosen.map_name) and chosen.map_name not in maps
        self.note.setText(chosen.hint)
        values = maps.get(chosen.map_name)
        if values is not None and not chosen.labels and values.min(initial=0.0) < 0:
            self.note.setText(f"{chosen.hint}; below 0, worse than the picture does on average")
        if missing:
            self.note.setText(
                "Run on this frame (R) makes it; Run > Keep maps keeps those of all key frames."
            )
        kind = "not run"
        if result is not None:
            kind = "key frame" if result.key else "followed by motion"
            kind += ", coarse" if result.coarse else ""
        self.kind.setText(kind)
        window = self.session.current_window_s()
        self.window_s.setText(f"{window[0]:.2f} s to {window[1]:.2f} s" if window else "-")

    def show_cursor(self, pixel: tuple[int, int] | None, value: float | None) -> None:
        """Show the pixel under the cursor, and the map's value there."""
        self.pixel.setText(f"{pixel[0]}, {pixel[1]}" if pixel else "-")
        self.show_value(value)

    def show_value(self, value: float | None) -> None:
        """Show the map's value under the cursor, which also changes while the cursor rests."""
        self.value.setText("-" if value is None else f"{value + 0.0:.4g}")
