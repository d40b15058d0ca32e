"""Every action in one table: it makes the menus, the keys, the shortcut window and a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QMenuBar, QWidget

from moca_core.models.registry import BUNDLES, SAMS

MENUS = ("File", "Edit", "View", "Playback", "Run", "Help")
NEEDS = {
    "clip": "an open clip",
    "range": "an in/out range",
    "result": "a frame that was run or corrected",
    "job": "a job that runs",
    "idle": "no job that runs",
    "undo": "a correction to undo",
    "redo": "a correction to do again",
    "selected": "a selected object",
    "several": "several chosen objects",
    "corrected": "a corrected frame",
}


@dataclass(frozen=True)
class ActionRow:
    """One action.

    Attributes
    ----------
    name : how the program calls it.
    text : what the menu says.
    menu : one of `MENUS`.
    slot : `method` of the window, or `part.method` of one of its parts.
    keys : shortcuts, the first is shown in the menu.
    arguments : handed to the slot.
    checkable : the slot gets the checked state as its last argument.
    needs : one of `NEEDS`: greyed out without it.
    group : one action of a group is checked; the slot doesn't get the state.
    separator : a line above it in the menu.
    icon : name in `icons.py`.
    submenu : of the menu, in which it stands.
    tip : the tool tip; by default its text and its keys.
    """

    name: str
    text: str
    menu: str
    slot: str
    keys: tuple[str, ...] = ()
    arguments: tuple[Any, ...] = ()
    checkable: bool = False
    group: str = ""
    needs: str = ""
    separator: bool = False
    icon: str = ""
    submenu: str = ""
    tip: str = ""

    @property
    def title(self) -> str:
        """Its text as it is read outside of its menu."""
        text = self.text.replace("&", "").rstrip("…")
        return f"{self.submenu}: {text}" if self.submenu else text


R = ActionRow
_SAM_TITLES = {
    "": "Masks by the SAM that belongs to them",
    "mobile": "Masks by MobileSAM",
    "vit_b": "Masks by SAM ViT-B",
    "vit_l": "Masks by SAM ViT-L",
    "vit_h": "Masks by SAM ViT-H",
}
_ENCODERS = (
    *(
        R(f"bundle_{row.name}", row.title, "Run", "encoders.choose", (f"Ctrl+{number}",),
          (row.name,), group="bundle", needs="idle", submenu="Encoders", tip=row.about)
        for number, row in enumerate(BUNDLES, start=1)
    ),
    *(
        R(f"sam_{name or 'own'}", _SAM_TITLES[name], "Run", "encoders.choose_sam", (), (name,),
          group="sam", needs="idle", submenu="Encoders", separator=not name)
        for name in ("", *SAMS)
    ),
)  # fmt: skip
ACTIONS = (
    R("open", "&Open…", "File", "clips.ask_open", ("Ctrl+O",), icon="open"),
    R("open_folder", "Open &folder…", "File", "clip_list.ask_folder", ("Ctrl+Shift+O",),
      tip="List the clips of a folder, to go from one to the next"),
    R("open_demo", "Open the &demo clip", "File", "clips.open_demo"),
    R("close_clip", "&Close clip", "File", "clips.close", ("Ctrl+W",), needs="clip"),
    R("next_clip", "&Next clip", "File", "clip_list.step", ("Ctrl+PgDown",), (1,), separator=True,
      tip="Save, and open the next clip of the list"),
    R("previous_clip", "&Previous clip", "File", "clip_list.step", ("Ctrl+PgUp",), (-1,),
      tip="Save, and open the previous clip of the list"),
    R("save", "&Save project", "File", "projects.save", ("Ctrl+S",), needs="clip",
      separator=True, tip="Save labels, results and view beside the clip"),
    R("save_as", "Save project &as…", "File", "projects.save_as", ("Ctrl+Shift+S",),
      needs="clip", tip="Save under another name, and go on with that project"),
    R("export", "&Export…", "File", "exporting.show", ("Ctrl+E",), needs="clip", separator=True,
      tip="Write masks in the format of another tool"),
    R("import_masks", "&Import masks…", "File", "importing.show", ("Ctrl+I",), needs="clip",
      tip="Take masks of another tool, PNG or COCO, as corrected frames"),
    R("settings", "&Settings…", "File", "dialogs.show_settings", ("Ctrl+,",), separator=True),
    R("quit", "&Quit", "File", "close", ("Ctrl+Q",), separator=True),
    R("undo", "&Undo", "Edit", "object_edits.undo", ("Ctrl+Z",), needs="undo"),
    R("redo", "&Redo", "Edit", "object_edits.redo", ("Ctrl+Shift+Z", "Ctrl+Y"), needs="redo"),
    R("accept_frame", "&Accept the frame", "Edit", "object_edits.accept_frame", ("A",),
      needs="clip", separator=True, icon="accepted",
      tip="The frame is right: its objects, or that it has none"),
    R("accept", "Accept the chosen objects", "Edit", "object_edits.accept", ("Shift+A",),
      needs="selected"),
    R("reject", "Re&ject", "Edit", "object_edits.reject", ("Del",), needs="selected",
      icon="reject", tip="Take out the chosen objects: they don't sound"),
    R("rename", "Re&name", "Edit", "object_edits.rename", ("F2",), needs="selected",
      icon="rename", tip="Change the name of the selected object"),
    R("merge", "&Merge", "Edit", "object_edits.merge", ("Shift+M",), needs="several",
      icon="merge", tip="Make the chosen objects one, which keeps number and name of the first"),
    R("split", "S&plit into parts", "Edit", "object_edits.split", ("Shift+S",), needs="selected",
      icon="split", tip="Make objects of the parts of the selected one that don't touch"),
    R("revert", "&Take corrections back", "Edit", "object_edits.revert", needs="corrected",
      icon="revert", tip="Let the program's own results stand again"),
    R("follow_forward", "&Forward", "Edit", "following.start", ("Shift+F",), ("forward",),
      needs="clip", submenu="Follow",
      tip="Carry the selected object, or all, along the motion, up to the range's end"),
    R("follow_backward", "&Backward", "Edit", "following.start", ("Shift+B",), ("backward",),
      needs="clip", submenu="Follow",
      tip="Carry the selected object, or all, back along the motion, up to the range's start"),
    R("follow_range", "Through the &range", "Edit", "following.start", ("Ctrl+Shift+F",),
      ("through the range",), needs="range", submenu="Follow",
      tip="Carry the selected object, or all, both ways through the range"),
    R("follow_silent", "In &silent frames, too", "Edit", "following.set_in_silence",
      checkable=True, separator=True, submenu="Follow",
      tip="Give masks to frames without a sound, which otherwise stay empty"),
    R("next_object", "Next object", "Edit", "object_edits.select_next", ("O",), (1,),
      needs="clip", separator=True, tip="Select the next object of the frame"),
    R("previous_object", "Previous object", "Edit", "object_edits.select_next", ("Shift+O",),
      (-1,), needs="clip", tip="Select the object before it in the frame"),
    R("tool_select", "&Select", "Edit", "tools.choose", ("V",), ("select",), needs="clip",
      group="tool", submenu="Tool", icon="tool_select", tip="Select the object that is clicked on"),
    R("tool_points", "&Points", "Edit", "tools.choose", ("P",), ("points",), needs="clip",
      group="tool", submenu="Tool", icon="tool_points",
      tip="Let SAM draw the mask of what is clicked on; the right button: not this"),
    R("tool_box", "Bo&x", "Edit", "tools.choose", ("X",), ("box",), needs="clip", group="tool",
      submenu="Tool", icon="tool_box", tip="Let SAM draw the mask of what lies in a box"),
    R("tool_brush", "&Brush", "Edit", "tools.choose", ("B",), ("brush",), needs="clip",
      group="tool", submenu="Tool", icon="tool_brush", tip="Paint the mask of an object"),
    R("tool_eraser", "&Eraser", "Edit", "tools.choose", ("E",), ("eraser",), needs="clip",
      group="tool", submenu="Tool", icon="tool_eraser", tip="Erase from the mask of an object"),
    R("tool_cut", "&Cut", "Edit", "tools.choose", ("C",), ("cut",), needs="clip", group="tool",
      submenu="Tool", icon="tool_cut", tip="Cut an object in two along a line"),
    R("new_object", "&New object", "Edit", "tools.new_object", ("N",), needs="clip",
      submenu="Tool", icon="new_object", separator=True,
      tip="Select no object: what is drawn next becomes a new one"),
    R("brush_smaller", "S&maller brush", "Edit", "tools.resize_brush", ("(",), (-1,),
      needs="clip", submenu="Tool", separator=True),
    R("brush_larger", "&Larger brush", "Edit", "tools.resize_brush", (")",), (1,), needs="clip",
      submenu="Tool"),
    R("set_in", "Set &in point", "Edit", "session.set_in", ("[",), needs="clip", separator=True),
    R("set_out", "Set &out point", "Edit", "session.set_out", ("]",), needs="clip"),
    R("clear_range", "&Clear range", "Edit", "session.clear_range", ("Ctrl+Shift+A",),
      needs="range"),
    R("copy_frame", "Copy &frame with masks", "Edit", "stage.copy_frame", ("Ctrl+C",), needs="clip",
      separator=True),
    R("overlays", "&Hide overlays", "View", "stage.set_hidden", ("H",), checkable=True,
      icon="eye"),
    R("overlay_masks", "&Masks", "View", "inspector.choose", ("1",), ("masks",),
      group="overlay", separator=True),
    R("overlay_evidence", "&Evidence map", "View", "inspector.choose", ("2",), ("evidence",),
      group="overlay"),
    R("overlay_region", "&Region", "View", "inspector.choose", ("3",), ("region",),
      group="overlay"),
    R("overlay_saliency", "&Saliency map", "View", "inspector.choose", ("4",), ("saliency",),
      group="overlay"),
    R("overlay_clusters", "C&lusters", "View", "inspector.choose", ("5",), ("clusters",),
      group="overlay"),
    R("overlay_proposals", "&Proposals", "View", "inspector.choose", ("6",), ("proposals",),
      group="overlay"),
    R("overlay_attention", "&Attention", "View", "inspector.choose", ("7",), ("attention",),
      group="overlay"),
    R("side_by_side", "Side &by side", "View", "stage.set_side_by_side", ("S",), checkable=True,
      separator=True, tip="Show the chosen overlay beside the frame"),
    R("proposals", "Proposals, and &why", "View", "proposals.bring_up", ("W",),
      tip="List the frame's proposals, and why each was taken or not"),
    R("thresholds", "&Thresholds", "View", "thresholds.bring_up", ("T",), separator=True,
      tip="Move the thresholds of the decision; masks follow without the encoders"),
    R("zoom_in", "Zoom &in", "View", "view.zoom_by", ("+", "="), (1,), separator=True),
    R("zoom_out", "Zoom &out", "View", "view.zoom_by", ("-",), (-1,)),
    R("fit", "&Fit frame", "View", "view.fit", ("0",), icon="fit"),
    R("time_zoom_in", "Zoom timeline in", "View", "timeline.zoom", ("Ctrl++", "Ctrl+="), (0.5,),
      needs="clip", separator=True),
    R("time_zoom_out", "Zoom timeline out", "View", "timeline.zoom", ("Ctrl+-",), (2.0,),
      needs="clip"),
    R("time_whole", "Whole clip", "View", "timeline.zoom_whole", ("Ctrl+0",), needs="clip"),
    R("time_range", "Zoom to range", "View", "timeline.zoom_range", (), needs="range"),
    R("match", "Compare t&wo frames…", "View", "matching.show", ("Ctrl+M",), separator=True,
      tip="See which places of two frames match, by their features"),
    R("theme_system", "Theme: as the system", "View", "preferences.choose_theme", (), ("system",),
      group="theme", separator=True),
    R("theme_dark", "Theme: dark", "View", "preferences.choose_theme", (), ("dark",),
      group="theme"),
    R("theme_light", "Theme: light", "View", "preferences.choose_theme", (), ("light",),
      group="theme"),
    R("fullscreen", "F&ull screen", "View", "toggle_fullscreen", ("F11",), separator=True),
    R("reset_layout", "&Reset layout", "View", "window_layout.reset"),
    R("play", "&Play", "Playback", "player.toggle", ("Space",), needs="clip", icon="play"),
    R("shuttle_back", "Play backwards, faster with each press", "Playback", "player.shuttle",
      ("J",), (-1,), needs="clip"),
    R("shuttle_stop", "Stop", "Playback", "player.shuttle", ("K",), (0,), needs="clip"),
    R("shuttle_forward", "Play forwards, faster with each press", "Playback", "player.shuttle",
      ("L",), (1,), needs="clip"),
    R("step_back", "Previous frame", "Playback", "player.step", ("Left", ","), (-1,), needs="clip",
      separator=True, icon="step_back"),
    R("step_forward", "Next frame", "Playback", "player.step", ("Right", "."), (1,), needs="clip",
      icon="step_forward"),
    R("back_ten", "Ten frames back", "Playback", "player.step", ("Ctrl+Left",), (-10,),
      needs="clip"),
    R("forward_ten", "Ten frames forward", "Playback", "player.step", ("Ctrl+Right",), (10,),
      needs="clip"),
    R("back_second", "One second back", "Playback", "player.skip", ("Shift+Left",), (-1.0,),
      needs="clip"),
    R("forward_second", "One second forward", "Playback", "player.skip", ("Shift+Right",), (1.0,),
      needs="clip"),
    R("previous_result", "Previous result", "Playback", "player.go_result", ("Alt+Left",), (-1,),
      needs="result", icon="previous_result"),
    R("next_result", "Next result", "Playback", "player.go_result", ("Alt+Right",), (1,),
      needs="result", icon="next_result"),
    R("next_unchecked", "Next frame to check", "Playback", "checking.go_unchecked",
      ("Alt+Down",), (1,), needs="result", separator=True,
      tip="To the next frame with masks that nobody has corrected"),
    R("previous_unchecked", "Previous frame to check", "Playback", "checking.go_unchecked",
      ("Alt+Up",), (-1,), needs="result",
      tip="Back to the last frame with masks that nobody has corrected"),
    R("next_corrected", "Next corrected frame", "Playback", "checking.go_corrected",
      ("Alt+Shift+Down",), (1,), needs="corrected"),
    R("previous_corrected", "Previous corrected frame", "Playback", "checking.go_corrected",
      ("Alt+Shift+Up",), (-1,), needs="corrected"),
    R("start", "To the start", "Playback", "player.go_start", ("Home",), needs="clip"),
    R("end", "To the end", "Playback", "player.go_end", ("End",), needs="clip"),
    R("go_to", "&Go to frame or time…", "Playback", "dialogs.ask_position", ("Ctrl+G",),
      needs="clip"),
    R("loop", "&Loop", "Playback", "player.set_looping", ("Ctrl+L",), checkable=True,
      separator=True, icon="loop"),
    R("faster", "Faster", "Playback", "player.change_speed", (">",), (1,)),
    R("slower", "Slower", "Playback", "player.change_speed", ("<",), (-1,)),
    R("normal_speed", "Normal speed", "Playback", "player.set_speed", ("Backspace",), (1.0,)),
    R("mute", "&Mute", "Playback", "preferences.set_muted", ("M",), checkable=True,
      icon="sound"),
    R("run_frame", "On this &frame", "Run", "runner.run_frame", ("R",), needs="clip"),
    R("run_range", "On the &range", "Run", "runner.run_range", ("Shift+R",), needs="range"),
    R("run_clip", "On the &clip", "Run", "runner.run_clip", ("Ctrl+R",), needs="clip", icon="run",
      tip="Find the sounding objects in the whole clip"),
    R("cancel", "C&ancel", "Run", "cancel_jobs", ("Esc",), needs="job", separator=True),
    R("keep_maps", "&Keep maps of every key frame", "Run", "preferences.set_keep_maps", (),
      checkable=True, separator=True),
    R("clear_results", "Forget &results in memory", "Run", "session.clear_results", (),
      needs="result"),
    *_ENCODERS,
    R("adapter_none", "&None", "Run", "adapters.choose_none", group="adapter", needs="idle",
      submenu="Adapter", tip="Run the encoders as they are"),
    R("adapter_file", "&File…", "Run", "adapters.ask_file", group="adapter", needs="idle",
      submenu="Adapter", tip="Run with an adapter from a file"),
    R("fine_tune", "Fine-&tune…", "Run", "fine_tune.show", ("Ctrl+T",), separator=True,
      tip="Train an adapter on your own clips"),
    R("weights", "&Weights…", "Run", "dialogs.show_weights"),
    R("shortcuts", "&Keyboard shortcuts", "Help", "dialogs.show_shortcuts", ("Ctrl+/", "F1")),
    R("about", "&About", "Help", "dialogs.show_about", (), separator=True),
)  # fmt: skip


def resolve_slot(window: QWidget, row: ActionRow) -> Callable[..., Any]:
    """The bound method that `row.slot` names."""
    target: Any = window
    for part in row.slot.split("."):
        target = getattr(target, part)
    slot: Callable[..., Any] = target
    return slot


def make_actions(window: QWidget) -> dict[str, QAction]:
    """Create all actions as children of `window`, which gives them their keys.

    The slots are looked up when the action fires, so the parts may be made later.
    """
    made: dict[str, QAction] = {}
    groups: dict[str, QActionGroup] = {}
    for row in ACTIONS:
        action = QAction(row.text, window)
        show_keys(action, row, row.keys)
        action.setCheckable(row.checkable or bool(row.group))
        if row.group:
            groups.setdefault(row.group, QActionGroup(window)).addAction(action)
        action.triggered.connect(_caller(window, row))
        window.addAction(action)
        made[row.name] = action
    return made


def show_keys(action: QAction, row: ActionRow, keys: tuple[str, ...]) -> None:
    """Give an action its keys, which its menu and its tool tip name."""
    action.setShortcuts([QKeySequence(key) for key in keys])
    tip = row.tip or row.title
    action.setToolTip(f"{tip} ({', '.join(key_text(key) for key in keys)})" if keys else tip)


def _caller(window: QWidget, row: ActionRow) -> Callable[[bool], None]:
    def call(checked: bool = False) -> None:
        arguments = (*row.arguments, checked) if row.checkable else row.arguments
        resolve_slot(window, row)(*arguments)

    return call


def fill_menus(bar: QMenuBar, actions: dict[str, QAction]) -> dict[str, QMenu]:
    """Put the actions into their menus; returns these and the submenus by their titles."""
    menus = {title: bar.addMenu(f"&{title}") for title in MENUS}
    for row in ACTIONS:
        if row.submenu and row.submenu not in menus:
            menus[row.menu].addSeparator()
            menus[row.submenu] = menus[row.menu].addMenu(f"&{row.submenu}")
            menus[row.submenu].setToolTipsVisible(True)
        menu = menus[row.submenu or row.menu]
        if row.separator:
            menu.addSeparator()
        menu.addAction(actions[row.name])
    return menus


def key_text(key: str) -> str:
    """A shortcut as the platform writes it."""
    return QKeySequence(key).toString(QKeySequence.SequenceFormat.NativeText)
