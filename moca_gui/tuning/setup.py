"""The left side of the fine-tuning window: all that is chosen before Start."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from moca_core.models.registry import BUNDLES, bundle_row
from moca_gui.dialogs.choosing import ask_file, ask_folder
from moca_gui.theme import px
from moca_gui.tuning.data import DataChoice, PathEdit
from moca_gui.tuning.draft import Draft, free_folder, has_files, is_free
from moca_gui.tuning.fields import FieldsForm

WIDTH_PX = 392
_ADAPTERS = "Adapters (*.safetensors)"


class SetupPanel(QScrollArea):
    """Data, encoders, settings and the output folder.

    Signals: `bundle_wanted(name)` and `start_wanted(path)`, which the window grants or not;
    `folder_changed` when the output folder does.
    """

    bundle_wanted = Signal(str)
    start_wanted = Signal(Path)
    folder_changed = Signal()

    def __init__(self, draft: Draft, runs: Path) -> None:
        super().__init__()
        self._draft = draft
        self._runs = runs
        self._own_folder = False  # the user chose it
        self._finished: set[Path] = set()  # folders of runs that came to their end
        self._make_parts()
        self._lay_out()
        draft.changed.connect(self.refresh)
        self.refresh()

    def _make_parts(self) -> None:
        self.data = DataChoice()
        self.data.chosen.connect(lambda path: self._draft.set("data", path))
        self.bundles = QComboBox()
        self.bundles.setAccessibleName("Encoders to adapt")
        for row in BUNDLES:
            self.bundles.addItem(row.title, row.name)
            self.bundles.setItemData(
                self.bundles.count() - 1, row.about, Qt.ItemDataRole.ToolTipRole
            )
        self.bundles.activated.connect(
            lambda _: self.bundle_wanted.emit(str(self.bundles.currentData()))
        )
        self.terms = _dim("Terms of the encoders")
        self.start_name = QLabel()
        self.start_name.setAccessibleName("Starting adapter")
        self.start_button = _button("Choose", "Choose an adapter to start from")
        self.start_button.clicked.connect(self._ask_start)
        self.none_button = _button("None", "Start from the frozen encoders")
        self.none_button.clicked.connect(lambda: self._draft.set("start", ""))
        self.start_facts = _dim("Facts of the starting adapter")
        self.fields = FieldsForm(self._draft)
        self.folder = PathEdit("Output folder", "Where the run is kept")
        self.folder.edited.connect(self._on_folder)
        self.folder.browse.clicked.connect(
            lambda: ask_folder(self, "Output folder", Path(self.folder.text), self.folder.choose)
        )
        self.folder_note = _dim("State of the output folder")
        self.estimate = QLabel()
        self.estimate.setWordWrap(True)
        self.estimate.setAccessibleName("Estimate")

    def _lay_out(self) -> None:
        start = QHBoxLayout()
        start.setSpacing(6)
        start.addWidget(self.start_name, 1)
        start.addWidget(self.start_button)
        start.addWidget(self.none_button)
        body = QWidget()
        layout = QVBoxLayout(body)
        layout.setContentsMargins(2, 2, 12, 2)
        layout.setSpacing(7)
        self.parts: list[QWidget] = []  # greyed out while a run is under way
        for title, parts in (
            ("Data", (self.data,)),
            ("Encoders", (self.bundles, self.terms)),
            ("Starting adapter", (start, self.start_facts)),
            ("Training", (self.fields,)),
            ("Output folder", (self.folder, self.folder_note)),
            ("Estimate", (self.estimate,)),
        ):
            heading = QLabel(title)
            heading.setObjectName("heading")
            layout.addWidget(heading)
            for part in parts:
                if isinstance(part, QHBoxLayout):
                    layout.addLayout(part)
                else:
                    layout.addWidget(part)
            layout.addSpacing(8)
        layout.addStretch(1)
        self.parts = [
            *(self.data.path, self.data.check_button, self.bundles, self.start_button),
            *(self.none_button, self.fields, self.folder),
        ]
        self.setWidget(body)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFixedWidth(px(WIDTH_PX))

    # -- showing ------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the draft."""
        config = self._draft.config
        self.data.path.show_path(config.data)
        row = bundle_row(config.bundle)
        with QSignalBlocker(self.bundles):
            self.bundles.setCurrentIndex(self.bundles.findData(config.bundle))
        self.bundles.setToolTip(row.about)
        _say(self.terms, row.terms)
        self.start_name.setText(Path(config.start).name if config.start else "None")
        self.start_name.setToolTip(config.start)
        self.none_button.setVisible(bool(config.start))
        if not config.start:
            _say(self.start_facts, "")
        self._propose_folder()

    def show_start_facts(self, text: str) -> None:
        """What the starting adapter is."""
        _say(self.start_facts, text)

    def set_running(self, running: bool) -> None:
        """Nothing is changed while a run is under way."""
        for part in self.parts:
            part.setEnabled(not running)

    def _ask_start(self) -> None:
        start = Path(self._draft.config.start or self._runs)
        ask_file(self, "Starting adapter", _ADAPTERS, start, self.start_wanted.emit)

    # -- the output folder --------------------------------------------------------------------

    @property
    def output(self) -> Path:
        """The output folder."""
        return Path(self.folder.text).expanduser()

    def use_folder(self, folder: Path) -> None:
        """Take a folder and keep it."""
        self._own_folder = True
        self.folder.show_path(str(folder))
        self._on_output()

    def _on_folder(self, text: str) -> None:
        self._own_folder = bool(text)
        self._propose_folder()

    def _propose_folder(self) -> None:
        """A folder named after the data, unless the user chose one."""
        if not self._own_folder:
            name = Path(self._draft.config.data).stem or "adapter"
            self.folder.show_path(str(free_folder(self._runs / name, self._draft.config)))
        self._on_output()

    def _on_output(self) -> None:
        folder = self.output
        if not is_free(folder, self._draft.config):
            text = "Other files or another run are there: choose another folder."
        elif has_files(folder):
            text = "Goes on with the run that is there."
            if folder in self._finished:
                text = "This run is finished: change a setting, or choose another folder."
        else:
            text = ""
        _say(self.folder_note, text)
        self.folder_changed.emit()

    @property
    def goes_on(self) -> bool:
        """Whether the output folder holds a run that isn't finished."""
        return self.startable and has_files(self.output)

    @property
    def startable(self) -> bool:
        """Whether a run can begin, or go on, in the output folder."""
        if not self.folder.text or self.output in self._finished:
            return False
        return is_free(self.output, self._draft.config)

    def look_again(self, finished: Path | None = None) -> None:
        """See what the output folder holds now that a run has ended; `finished`, or not."""
        if finished is not None:
            self._finished.add(finished)
        self._propose_folder()


def _dim(name: str) -> QLabel:
    label = QLabel()
    label.setObjectName("dim")
    label.setWordWrap(True)
    label.setAccessibleName(name)
    label.hide()
    return label


def _say(label: QLabel, text: str) -> None:
    label.setText(text)
    label.setVisible(bool(text))


def _button(text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setObjectName("plain")
    button.setText(text)
    button.setAccessibleName(tip)
    button.setToolTip(tip)
    return button
