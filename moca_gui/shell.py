"""The frame of the window: how the parts are stacked, docked and reached by buttons."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QDockWidget,
    QFrame,
    QMainWindow,
    QMenu,
    QToolBar,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moca_gui.theme import px

DOCK_WIDTH_PX = 300
DOCK_LEAST_PX = 240


def rule() -> QFrame:
    """A thin line between two parts."""
    line = QFrame()
    line.setObjectName("rule")
    line.setFixedHeight(1)
    return line


def stack_body(tools: QWidget, view: QWidget, transport: QWidget, timeline: QWidget) -> QWidget:
    """The middle of the window: the frame takes the room that the others leave."""
    body = QWidget()
    layout = QVBoxLayout(body)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(tools)
    layout.addWidget(view, 1)
    for part in (rule(), transport, rule(), timeline):
        layout.addWidget(part)
    return body


def make_docks(
    window: QMainWindow,
    objects: QWidget,
    inspector: QWidget,
    thresholds: QWidget,
    proposals: QWidget,
    log: QWidget,
) -> dict[str, QDockWidget]:
    """Dock the panels; the log is hidden at first, some are behind the inspector."""
    right = Qt.DockWidgetArea.RightDockWidgetArea
    docks = {}
    for title, widget, area in (
        ("Objects", objects, right),
        ("Inspector", inspector, right),
        ("Thresholds", thresholds, right),
        ("Proposals", proposals, right),
        ("Log", log, Qt.DockWidgetArea.BottomDockWidgetArea),
    ):
        dock = QDockWidget(title, window)
        dock.setObjectName(f"dock {title}")  # the name under which its place is stored
        dock.setAccessibleName(title)
        dock.setWidget(widget)
        widget.setMinimumWidth(px(DOCK_LEAST_PX))
        window.addDockWidget(area, dock)
        docks[title] = dock
    docks["Log"].hide()
    window.tabifyDockWidget(docks["Inspector"], docks["Thresholds"])
    window.tabifyDockWidget(docks["Thresholds"], docks["Proposals"])
    size_docks(window, docks)
    return docks


def size_docks(window: QMainWindow, docks: dict[str, QDockWidget]) -> None:
    """Give the docks their first sizes, and bring those to the front that are there at first."""
    docks["Inspector"].raise_()
    pair = [docks["Objects"], docks["Inspector"]]
    window.resizeDocks(pair[:1], [px(DOCK_WIDTH_PX)], Qt.Orientation.Horizontal)
    window.resizeDocks(pair, [2, 3], Qt.Orientation.Vertical)


def make_tool_bar(window: QMainWindow, actions: dict[str, QAction], run_menu: QMenu) -> QToolButton:
    """The tool bar; returns its Run button, which carries the Run menu."""
    bar = QToolBar("Tools")
    bar.setObjectName("tools")
    bar.setMovable(False)
    window.addToolBar(bar)
    run = QToolButton()
    run.setObjectName("primary")
    run.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    run.setPopupMode(QToolButton.ToolButtonPopupMode.MenuButtonPopup)
    run.setMenu(run_menu)
    run.setText("Run")
    run.setAccessibleName("Run on the clip")
    act = actions["run_clip"]
    act.changed.connect(lambda: run.setToolTip(act.toolTip()))
    run.clicked.connect(act.trigger)
    run.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    bar.addWidget(_text_button(actions["open"]))
    bar.addWidget(run)
    bar.addSeparator()
    for name in ("overlays", "fit"):
        bar.addWidget(_text_button(actions[name]))
    return run


def _text_button(action: QAction) -> QToolButton:
    button = QToolButton()
    button.setDefaultAction(action)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    button.setText(action.text().replace("&", "").rstrip("\N{HORIZONTAL ELLIPSIS}"))
    button.setAccessibleName(button.text())
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return button
