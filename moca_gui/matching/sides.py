"""One side of the comparison: which frame, the frame itself, and the scale of its map."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QToolButton, QVBoxLayout, QWidget

from moca_core.errors import MocaError
from moca_gui.matching.bar import CostBar
from moca_gui.matching.frame import MatchView
from moca_gui.matching.pictures import Picture
from moca_gui.theme import Theme, px
from moca_gui.timecode import parse_position


class Side(QWidget):
    """A frame with its choice above it and the scale of its map below.

    Signals: `position_wanted(int or float)` for another frame of the same file; `refused(error)`
    for what is no position in it.
    """

    position_wanted = Signal(object)
    refused = Signal(object)

    def __init__(self, name: str, theme: Theme) -> None:
        super().__init__()
        self.name = name
        self.picture: Picture | None = None
        self.title = QLabel()
        self.title.setObjectName("heading")
        self.title.setAccessibleName(f"{name} frame")
        self.view = MatchView(f"{name} frame with its costs", theme)
        self.bar = CostBar(f"Costs of the {name.lower()} frame")
        self.view.hovered.connect(lambda _: self.refresh_bar())
        self.position = QLineEdit()
        self.position.setAccessibleName(f"{name}: frame or time")
        self.position.setToolTip("A frame number (123) or a time (4.56, 00:04.560)")
        self.position.setFixedWidth(px(104))
        self.position.editingFinished.connect(self._typed)
        self.back = _step_button("\N{LEFTWARDS ARROW}", f"{name}: previous frame")
        self.forward = _step_button("\N{RIGHTWARDS ARROW}", f"{name}: next frame")
        self.back.clicked.connect(lambda: self._step(-1))
        self.forward.clicked.connect(lambda: self._step(1))
        self.row = QHBoxLayout()
        self.row.setSpacing(5)
        for part in (self.position, self.back, self.forward):
            self.row.addWidget(part)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self.title)
        layout.addLayout(self.row)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.bar)
        self._last: QWidget = self.forward
        self.show_picture(None, "")

    def add(self, part: QWidget) -> None:
        """Put a control above the frame, behind those that are there, for the Tab key, too."""
        self.row.addWidget(part)
        self.setTabOrder(self._last, part)
        self.setTabOrder(part, self.view)
        self._last = part

    def show_picture(self, picture: Picture | None, empty: str) -> None:
        """Show a frame without costs, or `empty` in its place."""
        self.picture = picture
        self.view.show_picture(picture.image if picture is not None else None, empty)
        self.bar.show_map(None, None)
        title = picture.title if picture is not None else f"{self.name} frame"
        self.title.setText(title)
        self.title.setToolTip(str(picture.path) if picture is not None else "")
        self._show_position()

    def _show_position(self) -> None:
        picture = self.picture
        frame = picture.frame if picture is not None else None
        for part in (self.position, self.back, self.forward):
            part.setEnabled(frame is not None)
        if not (self.position.isModified() and self.position.isEnabled()):
            # What is being typed stays.
            self.position.setText("" if frame is None else str(frame))
        if picture is not None and frame is not None:
            self.back.setEnabled(frame > 0)
            self.forward.setEnabled(frame + 1 < picture.frame_count)

    def refresh_bar(self) -> None:
        """Show the scale of the map that lies over the frame."""
        self.bar.show_map(self.view.map, self.view.cursor_place)

    def _typed(self) -> None:
        picture, text = self.picture, self.position.text().strip()
        if picture is None or picture.frame is None or not self.position.isModified():
            return
        self.position.setModified(False)
        position = parse_position(text)
        if position is not None and picture.has(position):
            self.position_wanted.emit(position)
            return
        self.position.setText(str(picture.frame))
        self.refused.emit(
            MocaError(
                f"{text}: no frame or time of {picture.path.name}",
                f"Type a frame from 0 to {picture.frame_count - 1}, or a time such as 0.5 or "
                f"00:00.500 below {picture.duration_s:.2f} s.",
            )
        )

    def _step(self, by: int) -> None:
        if self.picture is not None and self.picture.frame is not None:
            self.position_wanted.emit(self.picture.frame + by)


def plain_button(text: str, tip: str) -> QToolButton:
    """A small button that says what it does."""
    button = QToolButton()
    button.setObjectName("plain")
    button.setText(text)
    button.setToolTip(tip)
    button.setAccessibleName(tip)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button


def _step_button(text: str, name: str) -> QToolButton:
    button = plain_button(text, name)
    button.setAutoRepeat(True)
    return button
