"""What a person sees and reaches in a window: names, texts, contrast, the Tab key, the focus."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QDockWidget,
    QHeaderView,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QScrollBar,
    QTabBar,
    QTextEdit,
    QWidget,
)

from moca_gui import theme
from moca_gui.panels.status import ElidedLabel

_INTERACTIVE = (
    *(QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox),
    *(QKeySequenceEdit, QLineEdit, QPlainTextEdit, QTextEdit, QTabBar),
)
_OF_ANOTHER = (QScrollBar, QHeaderView)  # parts that belong to a widget with a name
_LEAST_CONTRAST = 4.5
_SLACK_PX = 1


def shown(window: QWidget) -> Iterator[QWidget]:
    """The widgets of a window that are on screen, whole or in part."""
    for widget in window.findChildren(QWidget):
        on_top = widget.window() is window and widget.isVisible() and widget.width() > 0
        if on_top and not _behind(widget):
            yield widget


def _behind(widget: QWidget) -> bool:
    """Whether it is in a dock that another one covers: Qt calls it visible all the same."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent is not None and parent.visibleRegion().isEmpty()


def interactive(window: QWidget) -> list[QWidget]:
    """What can be worked by mouse or key."""
    return [widget for widget in shown(window) if _works(widget)]


def _works(widget: QWidget) -> bool:
    if not widget.isEnabled() or isinstance(widget, _OF_ANOTHER) or widget.focusProxy():
        return False
    if widget.objectName().startswith("qt_"):  # a part that Qt makes, such as a button to clear
        return False
    if isinstance(widget.parent(), QAbstractSpinBox | QComboBox | QKeySequenceEdit | QLineEdit):
        return False
    return isinstance(widget, _INTERACTIVE) or widget.focusPolicy() == Qt.FocusPolicy.StrongFocus


def called(widget: QWidget) -> str:
    """How a failing test names a widget."""
    text = getattr(widget, "text", lambda: "")()
    return f"{type(widget).__name__} {widget.accessibleName() or text!r}"


def unnamed(window: QWidget) -> list[str]:
    """What a screen reader has no words for."""
    return [
        f"{called(widget)} in {type(widget.parent()).__name__}"
        for widget in interactive(window)
        if not (widget.accessibleName() or _own_text(widget))
    ]


def _own_text(widget: QWidget) -> str:
    if isinstance(widget, QAbstractButton):
        return widget.text()
    return widget.tabText(0) if isinstance(widget, QTabBar) else ""


def beyond_tab(window: QWidget) -> list[str]:
    """What pressing Tab, again and again, doesn't come to."""
    window.activateWindow()
    first = window.focusWidget() or window
    first.setFocus()
    reached: set[QWidget] = set()
    for _ in range(400):
        now = QApplication.focusWidget()
        if now is None or now in reached:
            break
        reached.add(now)
        QTest.keyClick(now, Qt.Key.Key_Tab)
    missing = [w for w in interactive(window) if w not in reached and not _by_arrows(w, reached)]
    return [called(widget) for widget in missing]


def _by_arrows(widget: QWidget, reached: set[QWidget]) -> bool:
    """Whether it is one of a group whose members the arrow keys choose between."""
    group = widget.group() if isinstance(widget, QAbstractButton) else None
    return group is not None and any(button in reached for button in group.buttons())


# -- texts ------------------------------------------------------------------------------------


def clipped(window: QWidget) -> list[str]:
    """Texts that have less room than they need."""
    return [f"{called(widget)}: {trouble}" for widget, trouble in _troubles(window)]


def _troubles(window: QWidget) -> Iterator[tuple[QWidget, str]]:
    for widget in shown(window):
        if isinstance(widget, ElidedLabel):
            continue  # shortened on purpose, with the whole text as its tool tip
        needed = _needed(widget)
        if needed is None:
            continue
        width, height = needed
        if widget.width() + _SLACK_PX < width:
            yield widget, f"{widget.width()} px wide, needs {width}"
        if widget.height() + _SLACK_PX < height:
            yield widget, f"{widget.height()} px high, needs {height}"


def _needed(widget: QWidget) -> tuple[int, int] | None:
    """The least (width, height) in pixels that show a widget's text whole."""
    if isinstance(widget, QLabel):
        if not widget.text():
            return None
        if widget.wordWrap():
            return 0, widget.heightForWidth(widget.width())
        return widget.sizeHint().width(), widget.sizeHint().height()
    if isinstance(widget, QCheckBox | QAbstractButton):
        if not widget.text() or widget.objectName().startswith("qt_"):
            return None
        hint = widget.minimumSizeHint()
        return hint.width(), hint.height()
    if isinstance(widget, QComboBox):
        return widget.sizeHint().width(), widget.sizeHint().height()
    if isinstance(widget, QLineEdit | QAbstractSpinBox):
        return _room_of_edit(widget), widget.fontMetrics().height() + 4
    if isinstance(widget, QProgressBar):
        return 0, widget.fontMetrics().height()
    return None


def _room_of_edit(widget: QLineEdit | QAbstractSpinBox) -> int:
    if isinstance(widget, QAbstractSpinBox):
        return widget.minimumSizeHint().width()
    if not widget.isReadOnly() and widget.text():
        return 0  # it scrolls with the cursor
    return widget.fontMetrics().horizontalAdvance(widget.placeholderText()) + 12


# -- contrast ---------------------------------------------------------------------------------


def faint(window: QWidget) -> list[str]:
    """Texts that stand out too little from their ground, by what is painted."""
    picture = window.grab().toImage()
    found = []
    for widget in shown(window):
        text = _painted_text(widget)
        if not text.strip() or not widget.isEnabled():
            continue
        place = QRect(widget.mapTo(window, QPoint()), widget.size())
        seen = widget.visibleRegion().boundingRect().translated(place.topLeft())
        ratio = strongest(picture, seen.intersected(place))
        if ratio and ratio < _LEAST_CONTRAST:
            found.append(f"{called(widget)} {text!r}: {ratio:.1f}")
    return found


def _painted_text(widget: QWidget) -> str:
    if isinstance(widget, QLabel | QAbstractButton):
        return widget.text()
    if isinstance(widget, QComboBox):
        return widget.currentText()
    if isinstance(widget, QLineEdit) and not widget.objectName().startswith("qt_"):
        return widget.text() or widget.placeholderText()
    return ""


def strongest(picture: QImage, place: QRect) -> float:
    """The contrast of the ground of a place and what differs most from it; 0 for no room."""
    part = picture.copy(place).convertToFormat(QImage.Format.Format_RGB32)
    if part.isNull():
        return 0.0
    pixels = np.frombuffer(part.constBits(), np.uint32) & 0xFFFFFF
    colours, counts = np.unique(pixels, return_counts=True)
    ground = f"#{colours[counts.argmax()]:06x}"
    return max(theme.contrast(ground, f"#{colour:06x}") for colour in colours)


# -- focus ------------------------------------------------------------------------------------


def without_ring(window: QWidget) -> list[str]:
    """What looks the same with the focus as without it."""
    found = []
    for widget in interactive(window):
        if widget.focusPolicy() == Qt.FocusPolicy.NoFocus:
            continue
        other = next((w for w in interactive(window) if w is not widget and _takes(w)), None)
        if other is None:
            continue
        other.setFocus(Qt.FocusReason.TabFocusReason)
        without = widget.grab().toImage()
        widget.setFocus(Qt.FocusReason.TabFocusReason)
        if widget.grab().toImage() == without:
            found.append(called(widget))
    return found


def _takes(widget: QWidget) -> bool:
    return bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus)
