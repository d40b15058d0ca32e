"""The settings window, made from the table of settings; what is changed acts at once."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from moca_gui.settings import SECTIONS, SETTINGS, Setting, Settings
from moca_gui.theme import px

_SIZE_PX = (680, 640)
_PER_CENT = 100


class _Choice(QComboBox):
    """One of several values."""

    picked = Signal(object)

    def __init__(self, row: Setting) -> None:
        super().__init__()
        for value, title in zip(row.choices, row.titles, strict=True):
            self.addItem(title, value)
        self.currentIndexChanged.connect(lambda _: self.picked.emit(self.currentData()))

    def show_value(self, value: object) -> None:
        """Show a value that the program knows already."""
        with QSignalBlocker(self):
            self.setCurrentIndex(self.findData(value))

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # it scrolls the window: a value isn't changed in passing


class _Number(QDoubleSpinBox):
    """A number with its unit; whole or not as the row's default is."""

    picked = Signal(object)

    def __init__(self, row: Setting) -> None:
        super().__init__()
        assert row.limits is not None
        self._whole = isinstance(row.default, int)
        self._scale = _PER_CENT if row.unit == "%" else 1
        self.setDecimals(0 if self._whole or row.unit == "%" else 2)
        self.setRange(*(limit * self._scale for limit in row.limits))
        self.setSingleStep(row.step * self._scale)
        self.setSuffix(f" {row.unit}" if row.unit else "")
        self.setKeyboardTracking(False)
        self.valueChanged.connect(self._pick)

    def _pick(self, shown: float) -> None:
        value = round(shown, self.decimals()) / self._scale
        self.picked.emit(round(value) if self._whole else value)

    def show_value(self, value: float) -> None:
        """Show a value that the program knows already."""
        with QSignalBlocker(self):
            self.setValue(value * self._scale)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


class _Switch(QCheckBox):
    """On or off."""

    picked = Signal(object)

    def __init__(self, row: Setting) -> None:
        super().__init__("On")
        self.toggled.connect(self.picked.emit)

    def show_value(self, value: bool) -> None:
        """Show a value that the program knows already."""
        with QSignalBlocker(self):
            self.setChecked(value)


def _control(row: Setting) -> _Choice | _Number | _Switch:
    if row.choices:
        return _Choice(row)
    return _Switch(row) if isinstance(row.default, bool) else _Number(row)


class SettingField(QWidget):
    """A row of the table: what it is called, its control, and the way back to its default."""

    def __init__(self, row: Setting, settings: Settings) -> None:
        super().__init__()
        self.row, self._settings = row, settings
        self.label = QLabel(row.label)
        self.tip = QLabel(row.tip)
        self.tip.setObjectName("dim")
        self.tip.setWordWrap(True)
        self.control = _control(row)
        self.control.setAccessibleName(row.label)
        self.control.setAccessibleDescription(row.tip)
        self.control.picked.connect(lambda value: settings.set(row.key, value))
        self.default = QPushButton("Default")
        self.default.setAutoDefault(False)
        self.default.setAccessibleName(f"{row.label}: back to the default")
        self.default.clicked.connect(lambda: settings.reset(row.key))
        # Its place is kept while it is hidden, so that nothing moves.
        policy = self.default.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.default.setSizePolicy(policy)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(2)
        grid.setColumnStretch(0, 1)
        grid.addWidget(self.label, 0, 0)
        grid.addWidget(self.control, 0, 1, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(self.default, 0, 2)
        grid.addWidget(self.tip, 1, 0, 1, 3)
        settings.changed.connect(self._follow)
        self._show()

    def _follow(self, key: str) -> None:
        if key == self.row.key:
            self._show()

    def _show(self) -> None:
        self.control.show_value(self._settings.get(self.row.key))
        self.default.setVisible(not self._settings.is_default(self.row.key))

    def matches(self, words: list[str]) -> bool:
        """Whether all of `words` stand in its texts."""
        row = self.row
        text = " ".join((row.section, row.label, row.tip, *row.titles)).lower()
        return all(word in text for word in words)


class SettingsDialog(QDialog):
    """Every row with a label, by section; a search leaves those that it finds."""

    def __init__(self, settings: Settings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Settings")
        self._settings = settings
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search the settings")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.fields = {row.key: SettingField(row, settings) for row in SETTINGS if row.label}
        self.headings: dict[str, QLabel] = {}
        self.nothing = QLabel("No setting is called so.")
        self.nothing.setObjectName("dim")
        self.nothing.hide()
        self.all_button = QPushButton("All to their defaults")
        self.all_button.setAutoDefault(False)
        self.all_button.clicked.connect(self._reset_all)
        self.close_button = QPushButton("Close")
        self.close_button.setAutoDefault(False)  # Enter ends what is typed, not the window
        self.close_button.clicked.connect(self.accept)
        self._lay_out()
        settings.changed.connect(self._show_all)
        self._show_all()
        self.search.setFocus()

    def _lay_out(self) -> None:
        title = QLabel("Settings")
        title.setObjectName("title")
        head = QHBoxLayout()
        head.addWidget(title)
        head.addStretch(1)
        head.addWidget(self.search)
        page = QWidget()
        page.setObjectName("surface")
        column = QVBoxLayout(page)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(14)
        for section in SECTIONS:
            fields = [field for field in self.fields.values() if field.row.section == section]
            if not fields:
                continue
            self.headings[section] = QLabel(section)
            self.headings[section].setObjectName("heading")
            for part in (self.headings[section], *fields):
                column.addWidget(part)
        column.addWidget(self.nothing)
        column.addStretch(1)
        self.area = QScrollArea()
        self.area.setWidget(page)
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        buttons = QHBoxLayout()
        buttons.addWidget(self.all_button)
        buttons.addStretch(1)
        buttons.addWidget(self.close_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(12)
        layout.addLayout(head)
        layout.addWidget(self.area, 1)
        layout.addLayout(buttons)
        self.resize(*map(px, _SIZE_PX))

    def _filter(self, text: str) -> None:
        words = text.lower().split()
        for field in self.fields.values():
            field.setVisible(field.matches(words))
        shown = {field.row.section for field in self.fields.values() if not field.isHidden()}
        for section, heading in self.headings.items():
            heading.setVisible(section in shown)
        self.nothing.setVisible(not shown)

    def _show_all(self) -> None:
        changed = [key for key in self.fields if not self._settings.is_default(key)]
        self.all_button.setEnabled(bool(changed))

    def _reset_all(self) -> None:
        """Every row of this window; what other windows keep stays."""
        for key in self.fields:
            self._settings.reset(key)
