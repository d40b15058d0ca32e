"""In which frames a correction is made: the one on screen, the in/out range, the whole clip."""

from __future__ import annotations

import numpy as np
from PySide6.QtWidgets import QComboBox, QFormLayout, QLabel, QWidget

from moca_core.annotations.model import PackedResult
from moca_gui.session import Session
from moca_gui.settings import Settings

FRAME, RANGE, CLIP = "frame", "range", "clip"
TITLES = {FRAME: "This frame", RANGE: "In/out range", CLIP: "Whole clip"}

# The setting of a scope, what it is for, and its tool tip.
_ROWS = (
    (
        "scope_objects",
        "Accept, reject",
        "Where objects are accepted and rejected, and corrections are taken back",
    ),
    ("scope_names", "Rename, merge", "Where objects are renamed and merged"),
)


class ScopeBar(QWidget):
    """Two boxes that say, and choose, in which frames corrections are made."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.boxes: dict[str, QComboBox] = {}
        self._settings = settings
        form = QFormLayout(self)
        form.setContentsMargins(10, 4, 10, 4)
        form.setVerticalSpacing(4)
        for key, text, tip in _ROWS:
            box = QComboBox()
            for scope, title in TITLES.items():
                box.addItem(title, scope)
            box.setAccessibleName(f"{text} in")
            box.setToolTip(tip)
            box.activated.connect(lambda _row, key=key: self._choose(key))
            head = QLabel(text)
            head.setObjectName("dim")
            head.setMinimumHeight(box.sizeHint().height())  # its text stands beside that of the box
            form.addRow(head, box)
            self.boxes[key] = box
        settings.changed.connect(self._show)
        self._show()

    def _choose(self, key: str) -> None:
        self._settings.set(key, self.boxes[key].currentData())

    def _show(self) -> None:
        for key, box in self.boxes.items():
            box.setCurrentIndex(box.findData(self._settings.get(key)))


def frames_of(session: Session, scope: str) -> list[PackedResult]:
    """What is shown of the frames of a scope, in their order; not of those that weren't run."""
    if scope == FRAME:
        return [] if session.result is None else [session.result]
    frames = np.flatnonzero(session.states)
    if scope == RANGE:
        first, last = session.range or (0, -1)
        frames = frames[(frames >= first) & (frames <= last)]
    found = (session.shown(frame) for frame in frames.tolist())
    return [item for item in found if item is not None]
