"""The real program, which writes down ten times a second what is on its screen.

`python watched_gui.py STATE.json [ARGUMENTS OF moca-gui]`: the test presses keys and the mouse of
the X server from outside, and reads here what came of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from PySide6.QtCore import QPoint, QTimer
from PySide6.QtWidgets import QAbstractButton, QApplication, QLabel, QWidget

EVERY_MS = 100


def rectangle(widget: QWidget) -> list[int]:
    """[left, top, width, height] in pixels of the screen."""
    corner = widget.mapToGlobal(QPoint(0, 0))
    return [corner.x(), corner.y(), widget.width(), widget.height()]


def words(widget: QWidget) -> str:
    """What a person calls a control: its accessible name, else what is written on it."""
    text = widget.text() if isinstance(widget, QAbstractButton | QLabel) else ""
    return widget.accessibleName() or text.replace("&", "")


def describe(window: Any) -> dict[str, Any]:
    """What a person sees of the window."""
    session = window.session
    result = session.result
    view = window.view
    corner = view.mapToGlobal(view.frame_rect().topLeft()).toTuple()
    dialogs = [w for w in QApplication.topLevelWidgets() if w is not window and w.isVisible()]
    top = QApplication.activeModalWidget() or QApplication.activePopupWidget()
    focus = QApplication.focusWidget()
    return {
        "title": window.windowTitle(),
        "modified": window.isWindowModified(),
        "frame": session.frame,
        "shown": session.image is not None,
        "playing": window.player.playing,
        "job": window.runner.job.title if window.runner.job is not None else "",
        "jobs": window.pool.titles,
        "run": len(session.results),
        "corrected": sorted(session.labels.frames),
        "undo": session.labels.undo_title,
        "selected": session.selected,
        "objects": [
            {"number": o.number, "name": o.name, "box": list(o.box), "origin": o.origin}
            for o in (result.objects if result is not None else ())
        ],
        "frame_corner": list(corner),
        "scale": view.scale,
        "note": window.status.note.full_text,
        "training": window.fine_tune.button.text() if window.fine_tune.run.active else "",
        "dialogs": [type(item).__name__ for item in dialogs],
        "top": type(top).__name__ if top is not None else "",
        "focus": words(focus) if focus is not None else "",
        "texts": {
            label.accessibleName(): label.text()
            for root in (window, *dialogs)
            for label in root.findChildren(QLabel)
            if label.isVisible() and label.accessibleName()
        },
        "controls": {
            words(widget): rectangle(widget)
            for root in (window, *dialogs)
            for widget in root.findChildren(QWidget)
            if widget.isVisible() and widget.isEnabled() and words(widget)
        },
    }


def main(state: Path, arguments: list[str]) -> int:
    """Run the program; `state` is replaced as a whole, so that a reader never sees a half."""
    from moca_gui.__main__ import main as gui_main
    from moca_gui.main_window import MainWindow

    app = QApplication(sys.argv[:1])

    def write() -> None:
        windows = [w for w in app.topLevelWidgets() if isinstance(w, MainWindow) and w.isVisible()]
        if windows:
            part = state.with_suffix(".part")
            part.write_text(json.dumps(describe(windows[0])))
            part.replace(state)

    timer = QTimer()
    timer.timeout.connect(write)
    timer.start(EVERY_MS)
    return gui_main(arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
