"""Edit > Tool: the tools of the frame, what they are set to, and their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import QApplication, QLineEdit, QWidget

from moca_gui.correcting.bar import ToolsBar
from moca_gui.correcting.canvas import Canvas
from moca_gui.correcting.prompts import Prompts
from moca_gui.correcting.target import Target
from moca_gui.correcting.tools import (
    BoxTool,
    Brush,
    BrushTool,
    CutTool,
    PointsTool,
    SelectTool,
    Tool,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from moca_gui.correcting.prompt_worker import PromptSource
    from moca_gui.dialogs.opening import Dialogs
    from moca_gui.encoders import Encoders
    from moca_gui.jobs import JobPool
    from moca_gui.panels.inspector import Inspector
    from moca_gui.player import Player
    from moca_gui.runner import Runner
    from moca_gui.session import Session
    from moca_gui.views.frame_view import FrameView

HINTS = {
    "select": "Click on an object to select it",
    "points": "Click on the object; right click or Shift+click off it",
    "box": "Drag a box around the object",
    "brush": "Paint; the right button erases",
    "eraser": "Erase",
    "cut": "Drag a line across an object",
}
DRAWING = ("points", "box", "brush", "eraser", "cut")


class Tools(QObject):
    """Keeps the tool in use, and gives the mouse over the frame to it.

    Parameters
    ----------
    window : the main window, whose keys answer a pending mask first.
    views : that show the frame.
    source : of the masks by prompts.
    """

    def __init__(
        self,
        window: QWidget,
        views: Iterable[FrameView],
        source: PromptSource,
        pool: JobPool,
        session: Session,
        player: Player,
        runner: Runner,
        encoders: Encoders,
        inspector: Inspector,
        dialogs: Dialogs,
        actions: dict[str, QAction],
    ) -> None:
        super().__init__(window)
        self._session, self._inspector, self._actions = session, inspector, actions
        self.target = Target(session)
        self.brush = Brush(self)
        self.prompts = Prompts(session, player, runner, pool, source, self.target, self)
        self.prompts.failed.connect(lambda error: dialogs.show_error("No mask", error))
        self._tools: dict[str, Tool] = {
            "select": SelectTool(session),
            "points": PointsTool(self.prompts),
            "box": BoxTool(self.prompts, session),
            "brush": BrushTool(session, player, self.target, self.brush, erase=False),
            "eraser": BrushTool(session, player, self.target, self.brush, erase=True),
            "cut": CutTool(session, player),
        }
        self.current = "select"
        first = self._tools[self.current]
        self._canvases = [Canvas(view, first, session, self.prompts, self.brush) for view in views]
        for tool in self._tools.values():
            session.clip_changed.connect(tool.drop)
            for canvas in self._canvases:
                tool.touched.connect(canvas.touch)
        names = [*(f"tool_{name}" for name in self._tools), "new_object"]
        self.bar = ToolsBar(
            *(session, [actions[name] for name in names], self.brush, self.prompts, self.target)
        )
        actions["tool_select"].setChecked(True)
        self.choose("select")
        self._sam = encoders.config.sam
        encoders.changed.connect(lambda: self._on_encoders(encoders.config.sam))
        self._keys = PendingKeys(self.prompts, self)
        for widget in (window, *views):
            widget.installEventFilter(self._keys)

    # -- slots of actions ---------------------------------------------------------------------

    def choose(self, name: str) -> None:
        """Use another tool. A pending mask is applied, unless the tool goes on with it."""
        tool = self._tools[name]
        if tool is not self._tools[self.current]:
            self._tools[self.current].finish()
        if self.prompts.pending and not tool.prompts:
            self.prompts.apply()
        self.current = name
        for canvas in self._canvases:
            canvas.use(tool)
        self.bar.show_tool(painting=isinstance(tool, BrushTool), hint=HINTS[name])
        if name in DRAWING:
            self._show_masks()

    def new_object(self) -> None:
        """Select no object, so that what is drawn next is a new one."""
        self._session.select(None)
        self._session.note("What you draw next becomes a new object.")

    def resize_brush(self, steps: int) -> None:
        """Make brush and eraser smaller or larger."""
        self.brush.set_step(self.brush.step + steps)

    def _show_masks(self) -> None:
        """What is drawn must be seen."""
        if self._actions["overlays"].isChecked():
            self._actions["overlays"].trigger()
        if self._inspector.chosen.map_name:
            self._inspector.choose("masks")

    def _on_encoders(self, sam: str) -> None:
        if sam != self._sam:
            self._sam = sam
            self.prompts.stop()


class PendingKeys(QObject):
    """While a mask is pending, its keys come first, but not inside a text box."""

    def __init__(self, prompts: Prompts, parent: QObject) -> None:
        super().__init__(parent)
        self._prompts = prompts

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kinds = (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress)
        if not (isinstance(event, QKeyEvent) and event.type() in kinds and self._prompts.pending):
            return False
        if isinstance(QApplication.focusWidget(), QLineEdit):
            return False
        if event.type() == QEvent.Type.KeyPress:
            return self._answer(event)
        if self._means_anything(event):
            event.accept()  # no shortcut of the window: the key itself comes next
            return True
        return False

    @staticmethod
    def _means_anything(event: QKeyEvent) -> bool:
        keys = Qt.Key
        shift = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if event.key() in (keys.Key_Return, keys.Key_Enter):
            return shift in (Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier)
        plain = shift == Qt.KeyboardModifier.NoModifier
        return plain and event.key() in (keys.Key_Escape, keys.Key_Backspace, keys.Key_Tab)

    def _answer(self, event: QKeyEvent) -> bool:
        if not self._means_anything(event):
            return False
        key, keys = event.key(), Qt.Key
        if key == keys.Key_Escape:
            self._prompts.discard()
        elif key == keys.Key_Backspace:
            self._prompts.take_last()
        elif key == keys.Key_Tab:
            self._prompts.next_mask()
        else:
            self._prompts.apply(new=bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier))
        return True
