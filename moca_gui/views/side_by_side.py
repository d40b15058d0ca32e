"""Two views of one frame, which show the same part of it and share a cursor."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import Signal
from PySide6.QtGui import QImage, QPainter
from PySide6.QtWidgets import QFrame, QHBoxLayout, QWidget

from moca_gui.theme import Theme
from moca_gui.views.focus_ring import FocusRing
from moca_gui.views.frame_view import FrameView, Pixel

_GAP_PX = 2


class SideBySide(QWidget):
    """A frame, and beside it the same frame with something else over it, if that is asked for.

    Signals: `hovered(pixel)` and `pressed(pixel)` of either view, as `FrameView` has them.
    """

    hovered = Signal(object)
    pressed = Signal(object)

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.left, self.right = FrameView(theme), FrameView(theme)
        self.right.setAccessibleName("Frame with a map")
        self._line = QFrame()
        self._line.setObjectName("rule")
        self._line.setFixedWidth(_GAP_PX)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.left, 1)
        layout.addWidget(self._line)
        layout.addWidget(self.right, 1)
        for view, other in ((self.left, self.right), (self.right, self.left)):
            self._link(view, other)
            FocusRing(view)
        self.set_split(False)

    def _link(self, view: FrameView, other: FrameView) -> None:
        def hover(pixel: Pixel | None) -> None:
            other.set_pointer(pixel if self.split else None)
            self.hovered.emit(pixel)

        view.hovered.connect(hover)
        view.pressed.connect(self.pressed)
        view.viewport_changed.connect(lambda: other.follow(view))

    def __iter__(self) -> Iterator[FrameView]:
        """The left view and the right one."""
        return iter((self.left, self.right))

    @property
    def split(self) -> bool:
        """Whether both are shown."""
        return not self.right.isHidden()

    def set_split(self, split: bool) -> None:
        """Show both, or the left one alone."""
        self.right.setVisible(split)
        self._line.setVisible(split)
        if not split:
            self.left.set_pointer(None)

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        for view in self:
            view.set_theme(theme)

    def picture(self) -> QImage:
        """The frame with what is drawn over it, at its own size; both beside each other if shown.

        Empty without a frame.
        """
        left = self.left.picture()
        if not self.split or left.isNull():
            return left
        both = QImage(2 * left.width() + _GAP_PX, left.height(), left.format())
        both.fill(0)
        painter = QPainter(both)
        painter.drawImage(0, 0, left)
        painter.drawImage(left.width() + _GAP_PX, 0, self.right.picture())
        painter.end()
        return both
