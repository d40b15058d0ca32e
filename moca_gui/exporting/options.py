"""The options of a format, as controls: those that its row of the table names."""

from __future__ import annotations

from PySide6.QtCore import QRegularExpression
from PySide6.QtGui import QRegularExpressionValidator
from PySide6.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QLineEdit, QWidget

from moca_core.export.exporter import ExportSettings
from moca_core.export.formats import Format

_SEGMENTATIONS = {"rle": "Run lengths, exact", "polygon": "Polygons"}
_TREES = {
    "s4": "S4: one sounding object, 5 s",
    "ms3": "MS3: several objects, 5 s",
    "avss": "AVSS: classes, 5 or 10 s",
}
_SPLITS = {"avsbench": "test", "yolo": "train"}
_ROWS = (
    ("segmentation", "Masks as"),
    ("tree", "Data set"),
    ("split", "Part of the data set"),
    ("alpha", "Picture"),
)


class OptionsForm(QWidget):
    """Label and control of each option, of which those of the chosen format are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.segmentation = _choice(_SEGMENTATIONS)
        self.tree = _choice(_TREES)
        self.split = QLineEdit()
        letters = QRegularExpression("[A-Za-z0-9_-]*")
        self.split.setValidator(QRegularExpressionValidator(letters, self.split))
        self.alpha = QCheckBox("Cut out, the mask as its alpha channel (ProRes 4444)")
        self.alpha.setToolTip("Otherwise white on black (H.264)")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(7)
        grid.setColumnStretch(1, 1)
        self._parts: dict[str, tuple[QLabel, QWidget]] = {}
        for place, (name, text) in enumerate(_ROWS):
            label, control = QLabel(text), getattr(self, name)
            label.setBuddy(control)
            control.setAccessibleName(text)
            grid.addWidget(label, place, 0)
            grid.addWidget(control, place, 1)
            self._parts[name] = label, control
        grid.setColumnMinimumWidth(0, self.label_width)

    def show_options(self, row: Format) -> None:
        """Show the options of a format."""
        for name, parts in self._parts.items():
            for part in parts:
                part.setVisible(name in row.options)
        self.split.setPlaceholderText(_SPLITS.get(row.name, ""))
        self.setVisible(bool(row.options))

    def settings(self, row: Format) -> ExportSettings:
        """What is chosen, of the options of a format; raises `ConfigError`."""
        chosen = {
            "segmentation": self.segmentation.currentData(),
            "tree": self.tree.currentData(),
            "split": self.split.text(),
            "alpha": self.alpha.isChecked(),
        }
        return ExportSettings(**{name: chosen[name] for name in row.options})

    @property
    def label_width(self) -> int:
        """Of the widest label, in pixels."""
        return max(label.sizeHint().width() for label, _ in self._parts.values())


def _choice(titles: dict[str, str]) -> QComboBox:
    box = QComboBox()
    for value, title in titles.items():
        box.addItem(title, value)
    return box
