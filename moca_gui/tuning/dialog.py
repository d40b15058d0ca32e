"""The fine-tuning window: what is chosen on the left, what comes of it on the right."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QHBoxLayout,
    QLabel,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from moca_core.config import SegmentConfig
from moca_core.errors import MocaError
from moca_gui.dialogs.choosing import ask_file, ask_new_file, dropped_path
from moca_gui.dialogs.errors import UNEXPECTED_HINT, hint_in_window
from moca_gui.dialogs.terms import with_terms
from moca_gui.dialogs.weights import WeightsDialog
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.theme import Theme, px
from moca_gui.tuning.checking import DataCheck
from moca_gui.tuning.data import ProblemTable
from moca_gui.tuning.draft import FIRST, Draft, run_of
from moca_gui.tuning.fields import MOST_BLOCKS, AllFields
from moca_gui.tuning.progress import ProgressPanel
from moca_gui.tuning.run import End, Ended, Phase, TuningRun
from moca_gui.tuning.samples import SamplesPanel
from moca_gui.tuning.setup import SetupPanel
from moca_gui.tuning.source import BEST_FILE, AdapterFacts, Estimate, TuningSource
from moca_gui.weights import WeightsSource
from moca_gui.widgets import button
from moca_gui.words import sentence

_SIZE_PX = (1120, 800)
_SETTLE_MS = 250
_TOML = "Configurations (*.toml)"


class FineTuneDialog(QDialog):
    """Chooses, checks and starts; shows the run, which goes on when this is closed.

    Signals: `use_pressed(path)` to put an adapter to use, `compare_pressed(path)` to see what it
    changes.
    """

    use_pressed = Signal(Path)
    compare_pressed = Signal(Path)

    def __init__(
        self,
        pool: JobPool,
        source: TuningSource,
        weights: WeightsSource,
        run: TuningRun,
        theme: Theme,
        runs: Path,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Fine-tune")
        self.setAcceptDrops(True)
        self._pool, self._source, self._weights, self._run = pool, source, weights, run
        self.draft = Draft(FIRST, self)
        self._asked = 0  # estimates asked for; only the last one's answer counts
        self._make_parts(theme, runs)
        self._lay_out()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._estimate)
        self._connect()
        self._say("")
        self._estimate()
        self.refresh()

    # -- assembly -----------------------------------------------------------------------------

    def _make_parts(self, theme: Theme, runs: Path) -> None:
        self.tabs = QTabWidget()
        self.setup = SetupPanel(self.draft, runs)
        self.problems = ProblemTable(self.draft)
        choice = self.setup.data
        self.data = DataCheck(self.draft, self._pool, self._source, choice, self.problems, self)
        choice.check_pressed.connect(lambda: self.tabs.setCurrentWidget(self.problems))
        self.all_fields = AllFields(self.draft)
        self.progress = ProgressPanel(theme)
        self.samples = SamplesPanel()
        for title, part in (
            ("Data check", self.problems),
            ("All settings", self.all_fields),
            ("Training", self.progress),
            ("Before and after", self.samples),
        ):
            self.tabs.addTab(part, title)
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setAccessibleName("Message")
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.load_button = button("Load config\N{HORIZONTAL ELLIPSIS}", self.ask_load)
        self.load_button.setToolTip("Take all settings from a file, or from an earlier run")
        self.save_button = button("Save config\N{HORIZONTAL ELLIPSIS}", self.ask_save)
        self.save_button.setToolTip("Write all settings to a file; `moca train` repeats it")
        self.start_button = button("Start", self.start)
        self.start_button.setObjectName("primary")
        self.stop_button = button("Stop after this step (keep)", self._run.stop)
        self.stop_button.setToolTip("End after this iteration; checkpoint and adapter are kept")
        self.discard_button = button("Cancel (discard)", self.ask_discard)
        self.discard_button.setToolTip("End now and remove what this run made")
        self.adapters = QComboBox()
        self.adapters.setAccessibleName("Trained adapter")
        self.use_button = button("Use on this clip", self._use)
        self.use_button.setObjectName("primary")
        self.use_button.setToolTip("Runs on this clip, and on those opened later, use this adapter")
        self.close_button = button("Close", self.close)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        for part in (self.load_button, self.save_button):
            buttons.addWidget(part)
        buttons.addStretch(1)
        for widget in (
            *(self.adapters, self.use_button, self.start_button, self.stop_button),
            *(self.discard_button, self.close_button),
        ):
            buttons.addWidget(widget)
        columns = QHBoxLayout()
        columns.setSpacing(12)
        columns.addWidget(self.setup)
        columns.addWidget(self.tabs, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(10)
        layout.addLayout(columns, 1)
        layout.addWidget(self.message)
        layout.addLayout(buttons)
        self.resize(*map(px, _SIZE_PX))

    def _connect(self) -> None:
        self.draft.changed.connect(self._on_draft)
        self.draft.refused.connect(lambda name, error: self.show_error(error))
        self.data.changed.connect(self._settle.start)
        self.data.changed.connect(self.refresh)
        self.data.failed.connect(self.show_error)
        self.data.noted.connect(self._say)
        self.setup.bundle_wanted.connect(self._want_bundle)
        self.setup.start_wanted.connect(self.choose_start)
        self.setup.folder_changed.connect(self.refresh)
        self.samples.button.clicked.connect(self._compare)
        self._run.changed.connect(self.refresh)
        self._run.told.connect(lambda event: self.progress.follow(event, self._run.left_s()))
        self._run.ended.connect(self._on_ended)

    # -- what can be done now -----------------------------------------------------------------

    def refresh(self) -> None:
        """Show what can be done now."""
        phase, running = self._run.phase, self._run.active
        ready = self.data.usable > 0 and self.setup.startable
        self.setup.set_running(running)
        self.all_fields.setEnabled(not running)
        self.load_button.setEnabled(not running)
        self.start_button.setVisible(not running)
        self.start_button.setText("Go on" if self.setup.goes_on else "Start")
        self.start_button.setEnabled(ready and not self.data.active)
        self.start_button.setToolTip("Train" if ready else self._lacks())
        self.stop_button.setVisible(running)
        self.stop_button.setEnabled(phase is Phase.TRAINING)
        self.discard_button.setVisible(running)
        self.discard_button.setEnabled(phase is not Phase.DISCARDING)
        trained = self.adapters.count() > 0 and not running
        self.adapters.setVisible(trained and self.adapters.count() > 1)
        self.use_button.setVisible(trained)
        self.samples.button.setEnabled(trained)
        self.setup.data.check_button.setEnabled(bool(self.draft.config.data) and not running)
        if phase is Phase.STOPPING:
            self.progress.show_state("Ending after this iteration")
        elif phase is Phase.DISCARDING:
            self.progress.show_state("Cancelling")

    def _lacks(self) -> str:
        if not self.draft.config.data:
            return "Choose data first"
        return "Check the data first" if not self.data.usable else "Choose another output folder"

    def _on_draft(self) -> None:
        self._say("")
        self._settle.start()
        self.refresh()

    def _say(self, text: str, danger: bool = False) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))
        self.message.setObjectName("danger" if danger else "")
        self.message.style().polish(self.message)

    def show_error(self, error: BaseException | None) -> None:
        """Show what happened and what to try."""
        if isinstance(error, MocaError):
            hint = hint_in_window(error, "Run > Weights shows the files and fetches them.")
            self._say(f"{error.message}\n{hint}".strip(), danger=True)
        else:
            self._say(f"{type(error).__name__}: {error}\n{UNEXPECTED_HINT}", danger=True)

    # -- data ---------------------------------------------------------------------------------

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_path(event.mimeData()) is not None and not self._run.active:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = dropped_path(event.mimeData())
        if path is not None:
            event.acceptProposedAction()
            self.setup.data.path.choose(path)

    # -- encoders and adapter -----------------------------------------------------------------

    def _want_bundle(self, bundle: str) -> None:
        """Another bundle, once its terms are accepted."""

        def take() -> None:
            if bundle != self.draft.config.bundle:
                self.draft.set("start", "")
                self.draft.set("blocks", min(self.draft.config.blocks, MOST_BLOCKS[bundle]))
                self.draft.set("bundle", bundle)

        with_terms(bundle, self, take, self.setup.refresh)

    def choose_start(self, path: Path) -> None:
        """Start from an adapter, if it is one of these encoders."""
        bundle = self.draft.config.bundle
        self._say("")

        def take(facts: AdapterFacts) -> None:
            if bundle == self.draft.config.bundle:
                self.draft.set("start", str(facts.path))
                self.setup.show_start_facts(facts.about)

        def end(job: Job) -> None:
            if job.state is JobState.FAILED:
                self.show_error(job.error)

        make = partial(self._source.facts, path, bundle)
        self._pool.start("adapter facts", make, on_event=take, on_finished=end)

    def _estimate(self) -> None:
        """Ask how long it takes, once the settings have settled."""
        if not self.data.usable or self._run.active:
            self.setup.estimate.setText("Known once the data are checked.")
            return
        self._asked += 1
        number = self._asked

        def show(event: Estimate) -> None:
            if number == self._asked:
                self.setup.estimate.setText(sentence(event.text))

        def end(job: Job) -> None:
            if job.state is JobState.FAILED and number == self._asked:
                self.setup.estimate.setText(f"Can't be told: {job.error}")

        make = partial(self._source.estimate, self.draft.config, self.data.usable)
        self._pool.start("estimate", make, on_event=show, on_finished=end)

    # -- configurations -----------------------------------------------------------------------

    def ask_load(self) -> None:
        """Ask for a configuration and take it."""
        ask_file(self, "Load a configuration", _TOML, self.setup.output.parent, self.load)

    def load(self, path: Path) -> None:
        """Take all settings from a file; that of a run goes on with the run."""
        try:
            self.draft.load(path)
        except MocaError as error:
            self.show_error(error)
            return
        folder = run_of(path)
        if folder is not None:
            self.setup.use_folder(folder)
        if self.draft.config.start:
            self.choose_start(Path(self.draft.config.start))
        self._say(f"Loaded {path.name}")

    def ask_save(self) -> None:
        """Ask where to write the configuration."""
        name = self.setup.output.name or "training"
        ask_new_file(self, "Save the configuration", _TOML, Path.home() / f"{name}.toml", self.save)

    def save(self, path: Path) -> None:
        """Write all settings to a file."""
        try:
            self.draft.save(path)
        except MocaError as error:
            self.show_error(error)
        else:
            self._say(f"Saved {path}: `moca train {path.name}` repeats this run.")

    # -- the run ------------------------------------------------------------------------------

    def start(self) -> None:
        """Train, once terms and files are there."""
        if self._run.active or not self.data.usable or not self.setup.startable:
            return
        config = self.draft.config
        with_terms(config.bundle, self, self._complete, lambda: self._say("Nothing was started."))

    def _complete(self) -> None:
        wanted = SegmentConfig(bundle=self.draft.config.bundle)
        if all(row.present for row in self._weights.needed(wanted)):
            self._begin()
            return
        dialog = WeightsDialog(self._pool, self._weights, wanted, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.completed.connect(self._begin)
        dialog.open()

    def _begin(self) -> None:
        self._say("")
        self.adapters.clear()
        self.samples.clear("")
        self.progress.begin(self.draft.config.data)
        self.tabs.setCurrentWidget(self.progress)
        self._run.start(self.draft.config, self.setup.output)

    def ask_discard(self) -> None:
        """Ask before a run is thrown away."""
        from moca_gui.tuning.leaving import DiscardDialog

        dialog = DiscardDialog(self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(self._run.discard)
        self._run.ended.connect(dialog.reject)
        dialog.open()

    def _on_ended(self, ended: Ended) -> None:
        self.progress.end(_words(ended, self._run.config.iterations))
        if ended.error is not None:
            self.show_error(ended.error)
        for path in ended.adapters:
            best = path.name == BEST_FILE
            self.adapters.addItem("Best on what was held out" if best else "Last one", path)
        self.setup.look_again(ended.folder if ended.end is End.FINISHED else None)
        self.refresh()

    @property
    def adapter(self) -> Path | None:
        """The trained adapter that is chosen."""
        return self.adapters.currentData()

    def _use(self) -> None:
        if self.adapter is not None:
            self.use_pressed.emit(self.adapter)

    def _compare(self) -> None:
        if self.adapter is not None:
            self.compare_pressed.emit(self.adapter)

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self.progress.curves.set_theme(theme)


def _words(ended: Ended, iterations: int) -> str:
    """How a run ended, in a sentence."""
    if ended.end is End.FINISHED:
        return f"Trained for {iterations:,} iterations. The adapter is in {ended.folder}."
    if ended.end is End.KEPT:
        if not ended.step:
            return "Ended before the first iteration. Start begins again."
        return (
            f"Ended after {ended.step:,} of {iterations:,} iterations; the adapter is in "
            f"{ended.folder}. Start goes on from there."
        )
    if ended.end is End.DISCARDED:
        return "Cancelled; what this run made was removed."
    return f"Failed after {ended.step:,} iterations."
