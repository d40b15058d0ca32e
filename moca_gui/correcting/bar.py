"""The row of tools above the frame: which is in use, the brush, and a pending mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QHBoxLayout, QLabel, QToolButton, QWidget

from moca_gui.correcting.tools import SIZES, Brush
from moca_gui.panels.status import ElidedLabel
from moca_gui.sliders import KeySlider
from moca_gui.widgets import action_button

if TYPE_CHECKING:
    from moca_gui.correcting.prompts import Prompts
    from moca_gui.correcting.target import Target
    from moca_gui.session import Session

_ICON_PX = 18
_SLIDER_PX = 110
_APPLY_CHARS = 26


class ToolsBar(QWidget):
    """Buttons are the window's actions; the rest shows what can be done right now.

    Parameters
    ----------
    actions : of the tools, and the one for a new object.
    """

    def __init__(
        self,
        session: Session,
        actions: list[QAction],
        brush: Brush,
        prompts: Prompts,
        target: Target,
    ) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._session, self._brush, self._prompts, self._target = session, brush, prompts, target
        self._make_brush()
        self._make_pending()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 3, 8, 3)
        layout.setSpacing(3)
        for action in actions:
            layout.addWidget(action_button(action, _ICON_PX))
        layout.addSpacing(10)
        for part in (self.brush, self.size_text):
            layout.addWidget(part)
        layout.addSpacing(10)
        layout.addWidget(self.text, 1)
        for button in (self.next, self.apply, self.discard):
            layout.addWidget(button)
        for signal in (session.clip_changed, session.selected_changed, session.result_changed):
            signal.connect(self.refresh)
        prompts.changed.connect(self.refresh)
        brush.changed.connect(self._show_size)
        self._show_size()
        self.show_tool(painting=False, hint="")

    def _make_brush(self) -> None:
        self.brush = KeySlider(Qt.Orientation.Horizontal)
        self.brush.setRange(0, len(SIZES) - 1)
        self.brush.setFixedWidth(_SLIDER_PX)
        self.brush.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.brush.setAccessibleName("Size of the brush")
        self.brush.setToolTip("Size of brush and eraser in pixels of the frame: ( and ), Alt+wheel")
        self.brush.valueChanged.connect(self._brush.set_step)
        self.size_text = QLabel()
        self.size_text.setObjectName("dim")
        self.size_text.setMinimumWidth(self.fontMetrics().horizontalAdvance(f"{SIZES[-1]} px") + 4)

    def _make_pending(self) -> None:
        self.text = ElidedLabel("What the tool does", greedy=True)
        self.text.setObjectName("dim")
        prompts = self._prompts
        self.next = _plain("Next", "Another mask that the point may mean (Tab, wheel)")
        self.next.clicked.connect(lambda: prompts.next_mask())
        self.apply = _plain("Apply", "")
        self.apply.clicked.connect(lambda: prompts.apply())
        self.discard = _plain("Discard", "Forget points, box and mask (Esc)")
        self.discard.clicked.connect(lambda: prompts.discard())

    def show_tool(self, painting: bool, hint: str) -> None:
        """Show what belongs to a tool: the brush, and how it is used."""
        self._hint = hint
        self.brush.setVisible(painting)
        self.size_text.setVisible(painting)
        self.refresh()

    def _show_size(self) -> None:
        with QSignalBlocker(self.brush):
            self.brush.setValue(self._brush.step)
        self.size_text.setText(f"{self._brush.size} px")

    def refresh(self) -> None:
        """Show what is pending, if anything is, and on what would be drawn."""
        self.setVisible(self._session.clip is not None)
        prompts = self._prompts
        pending = prompts.pending
        for button in (self.apply, self.discard):
            button.setVisible(pending)
        self.next.setVisible(pending and len(prompts.meant) > 1)
        self.apply.setEnabled(bool(prompts.meant))
        self.text.set_full_text(self._pending_text() if pending else self._hint)
        if not pending:
            return
        goal = self._target.text
        whole = f"Apply to {goal}"
        mode = Qt.TextElideMode.ElideRight  # a long name doesn't widen the window
        room = self.fontMetrics().averageCharWidth() * _APPLY_CHARS
        self.apply.setText(self.fontMetrics().elidedText(whole, mode, room))
        self.apply.setToolTip(f"Give the mask to {goal} (Enter); to a new object: Shift+Enter")
        self.apply.setAccessibleName(whole)

    def _pending_text(self) -> str:
        prompts = self._prompts
        if prompts.waiting:
            return "Asking SAM\N{HORIZONTAL ELLIPSIS}"
        mask = prompts.mask
        if mask is None:
            return "No mask yet"
        count = len(prompts.meant)
        which = f", {prompts.at + 1} of {count}" if count > 1 else ""
        return f"IoU {min(mask.score, 1.0):.2f}{which}"  # predicted ones go beyond


def _plain(text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setObjectName("plain")
    button.setText(text)
    button.setToolTip(tip)
    button.setAccessibleName(text)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button
