"""The settings as controls: the main ones in a form, all of them in a table."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFormLayout,
    QHeaderView,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from moca_core.training.config import TrainConfig
from moca_gui.tuning.draft import FROM_START, Draft, as_text, notes_of

MOST_BLOCKS = {"compact": 9, "imagebind": 31}
"""The block before the first adapted one stays as it is, so not all of them can be adapted."""


@dataclass(frozen=True)
class FieldRow:
    """A setting in the form.

    Attributes
    ----------
    name : in `TrainConfig`.
    label, unit : what the user reads.
    tip : what it does, and which values are worth a try.
    """

    name: str
    label: str
    unit: str
    tip: str


FIELDS = (
    FieldRow("iterations", "Iterations", "", "How often the adapter is changed. A few hundred show "
             "whether it learns, thousands are usual. It can be ended earlier and kept."),
    FieldRow("batch", "Batch", "triplets", "Pictures that are compared in an iteration: more "
             "give a calmer loss, and take more time and memory."),
    FieldRow("lr", "Learning rate", "at its peak", "How far an iteration moves the weights. Lower "
             "it if the loss jumps or isn't finite; 1e-5 to 1e-3 are usual."),
    FieldRow("blocks", "Adapted blocks", "last ones", "Blocks of the vision transformer that get "
             "an adapter, counted from the end: more can learn more, and take longer."),
    FieldRow("neighbours", "Neighbours", "pictures", "Of so many of the most similar pictures one "
             "is taken as the like one."),
    FieldRow("margin", "Margin", "of the distance", "How much nearer a like picture has to be than "
             "an unlike one before nothing is left to learn from them."),
    FieldRow("audio_negatives", "Audio negatives", "the same picture with another sound", "The "
             "same picture with another sound must lie farther away, too: without it the sound "
             "need not matter."),
    FieldRow("validation", "Held out", "of the recordings, 0 to 0.5", "Share of the recordings "
             "that isn't learnt from, to see whether what is learnt holds for new clips."),
    FieldRow("seed", "Seed", "", "Fixes every random draw: the same seed, the same numbers."),
)  # fmt: skip


class FieldsForm(QWidget):
    """The rows of `FIELDS`, each a control that changes the draft."""

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self.controls: dict[str, QLineEdit | QCheckBox] = {}
        self.layout_ = QFormLayout(self)
        self.layout_.setContentsMargins(0, 0, 0, 0)
        self.layout_.setVerticalSpacing(7)
        self.layout_.setHorizontalSpacing(12)
        for row in FIELDS:
            control = self._make(row)
            control.setAccessibleName(row.label)
            control.setToolTip(row.tip)
            self.controls[row.name] = control
            self.layout_.addRow(row.label, control)
            self.layout_.labelForField(control).setToolTip(row.tip)
        draft.changed.connect(self.refresh)
        draft.refused.connect(lambda *_: self.refresh())
        self.refresh()

    def _make(self, row: FieldRow) -> QLineEdit | QCheckBox:
        if isinstance(getattr(self._draft.config, row.name), bool):
            box = QCheckBox(row.unit)
            box.toggled.connect(lambda on: self._draft.set(row.name, on))
            return box
        edit = QLineEdit()
        edit.editingFinished.connect(lambda: self._typed(row, edit))
        return edit

    def _typed(self, row: FieldRow, edit: QLineEdit) -> None:
        """Take a number; its unit may stand behind it."""
        words = edit.text().split()
        text = words[0] if words else ""
        value = getattr(self._draft.config, row.name)
        # Thousands may be set apart in whole numbers; a comma is a point in others.
        text = text.replace(",", "" if isinstance(value, int) else ".")
        if text != as_text(value):
            self._draft.set_text(row.name, text)
        self.refresh()

    def refresh(self) -> None:
        """Show the draft."""
        config = self._draft.config
        for row in FIELDS:
            control, value = self.controls[row.name], getattr(config, row.name)
            with QSignalBlocker(control):
                if isinstance(control, QCheckBox):
                    control.setChecked(value)
                else:
                    control.setText(f"{as_text(value)}   {row.unit}".rstrip())
                    control.setCursorPosition(0)
            if row.name in FROM_START:
                control.setEnabled(not config.start)


class AllFields(QTableWidget):
    """Every setting with its value, which can be edited, and what it does."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(0, 3)
        self._draft = draft
        self._names = [item.name for item in dataclasses.fields(TrainConfig)]
        self.setAccessibleName("All settings")
        self.setHorizontalHeaderLabels(["Setting", "Value", "What it does"])
        self.verticalHeader().hide()
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = self.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setStretchLastSection(True)
        header.setHighlightSections(False)
        self._fill(notes_of(TrainConfig))
        self.setColumnWidth(0, 170)
        self.setColumnWidth(1, 150)
        self.itemChanged.connect(self._on_item)
        draft.changed.connect(self.refresh)
        draft.refused.connect(lambda *_: self.refresh())

    def _fill(self, notes: dict[str, str]) -> None:
        self.setRowCount(len(self._names))
        for place, name in enumerate(self._names):
            note = notes.get(name, "")
            for column, text in enumerate((name, "", note)):
                item = QTableWidgetItem(text)
                item.setToolTip(note)
                if column != 1:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                self.setItem(place, column, item)
        self.refresh()

    def refresh(self) -> None:
        """Show the draft; what differs from its default is bold."""
        default = TrainConfig()
        with QSignalBlocker(self):
            for place, name in enumerate(self._names):
                item, value = self.item(place, 1), getattr(self._draft.config, name)
                assert item is not None
                item.setText(as_text(value))
                font = item.font()
                font.setBold(value != getattr(default, name))
                item.setFont(font)

    def _on_item(self, item: QTableWidgetItem) -> None:
        name = self._names[item.row()]
        if item.text() != as_text(getattr(self._draft.config, name)):
            self._draft.set_text(name, item.text())
