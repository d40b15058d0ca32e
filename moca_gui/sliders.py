"""Sliders with number fields, described by rows."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QEvent, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QLineEdit, QSlider, QWidget

from moca_gui.theme import px

_FIELD_PX = 78
ANYWHERE = "anywhere"
_KEYS = (
    *(Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Down),
    *(Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Home, Qt.Key.Key_End),
)


@dataclass(frozen=True)
class SliderRow:
    """A number with its slider.

    Attributes
    ----------
    name : how the program calls it.
    label, unit : what the user reads.
    values : those of the slider, ascending; the last one may be None, anywhere.
    tip : what it does.
    whole : only whole numbers can be typed.
    """

    name: str
    label: str
    unit: str
    values: tuple[float | None, ...]
    tip: str
    whole: bool = False


class KeySlider(QSlider):
    """A slider whose keys move it while it has the focus, whatever else they do in the window."""

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride:
            held = event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
            if event.key() in _KEYS and not held:
                event.accept()
                return True
        return super().event(event)


class SliderField(QWidget):
    """A slider and the number itself, which may be typed, too. `moved(value)` when it changes."""

    moved = Signal(object)

    def __init__(self, row: SliderRow) -> None:
        super().__init__()
        self.row = row
        self.values = row.values
        self.value: float | None = row.values[0]
        self.label = QLabel(f"{row.label} ({row.unit})")
        self.slider = KeySlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName(row.label)
        self.slider.setPageStep(10)
        self.slider.valueChanged.connect(self._slid)
        self.edit = QLineEdit()
        self.edit.setAccessibleName(f"{row.label}, {row.unit}")
        self.edit.setFixedWidth(px(_FIELD_PX))
        self.edit.editingFinished.connect(self._typed)
        self.edit.returnPressed.connect(self.slider.setFocus)  # keys are the window's again
        for part in (self.label, self.slider, self.edit):
            part.setToolTip(row.tip)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        grid.addWidget(self.label, 0, 0, 1, 2)
        grid.addWidget(self.slider, 1, 0)
        grid.addWidget(self.edit, 1, 1)
        self.set_values(row.values)

    def set_values(self, values: tuple[float | None, ...]) -> None:
        """Give the slider other values."""
        self.values = values
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, len(values) - 1)
        self.show_value(self.value)

    def show_value(self, value: float | None) -> None:
        """Show a value that the program knows already."""
        self.value = value
        with QSignalBlocker(self.slider):
            self.slider.setValue(self._nearest(value))
        self.edit.setText(ANYWHERE if value is None else f"{value:g}")
        self.edit.setCursorPosition(0)

    def _nearest(self, value: float | None) -> int:
        """The slider's position for a value, which may lie between two of them."""
        if value is None:
            return len(self.values) - 1
        known = [(abs(own - value), at) for at, own in enumerate(self.values) if own is not None]
        return min(known)[1]

    def _slid(self, position: int) -> None:
        value = self.values[position]
        self.show_value(value)
        self.moved.emit(value)

    def _typed(self) -> None:
        text = self.edit.text().strip().lower()
        try:
            value = self._read(text.replace(",", "."))
        except ValueError:
            self.show_value(self.value)
            return
        if value != self.value:
            self.show_value(value)
            self.moved.emit(value)

    def _read(self, text: str) -> float | None:
        """A typed value; raises `ValueError`."""
        if None in self.values and text == ANYWHERE:
            return None
        words = text.split()
        return (int if self.row.whole else float)(words[0] if words else "")
