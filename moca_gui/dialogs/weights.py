"""The weights: which files each bundle needs, which are here, and fetching the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from moca_core.config import SegmentConfig
from moca_core.errors import MocaError, WeightsError
from moca_core.models.registry import BUNDLES, bundle_row
from moca_gui.dialogs.errors import hint_in_window
from moca_gui.dialogs.terms import with_terms
from moca_gui.dialogs.weights_parts import OwnFile, WeightsTable
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.weights import FetchProgress, WeightRow, WeightsSource, size_text

_MARGIN_PX = 22
_WIDTH_PX = 860
_BY_BUTTONS = (
    "Fetch gets it, going on where it stopped. A file that you got elsewhere is taken by "
    "Use a file I have."
)


class WeightsDialog(QDialog):
    """The files of each bundle, with Fetch, Verify and Cancel.

    Parameters
    ----------
    pool : where its work is done.
    source : the weights.
    config : of the run for which files are wanted; its bundle is shown first.

    Signals: `completed` when the last file that `config` needs came, after which it closes.
    """

    completed = Signal()

    def __init__(
        self,
        pool: JobPool,
        source: WeightsSource,
        config: SegmentConfig | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Weights")
        self._pool = pool
        self._source = source
        self._config = config or SegmentConfig()
        self._job: Job | None = None
        self._was_complete = self._complete()
        self._states: dict[str, str] = {}  # what a job said last of each file
        self._taken: tuple[Path, str] | None = None  # by the job: which file, in whose place
        self._make_parts()
        self._lay_out()
        self.refresh()

    def _make_parts(self) -> None:
        self.bundles = QComboBox()
        self.bundles.setAccessibleName("Bundle")
        for row in BUNDLES:
            self.bundles.addItem(row.title, row.name)
        self.bundles.setCurrentIndex(self.bundles.findData(self._config.bundle))
        self.bundles.currentIndexChanged.connect(self._on_bundle)
        self.summary, self.terms, self.message = QLabel(), QLabel(), QLabel()
        self.terms.setObjectName("dim")
        self.message.setAccessibleName("Fetch message")
        for label in (self.summary, self.terms, self.message):
            label.setWordWrap(True)
        self.table = WeightsTable()
        self.table.chosen.connect(self.refresh)
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Fetch progress")
        self.progress.setRange(0, 1000)
        self.progress.setFixedHeight(self.progress.sizeHint().height())
        self.progress.hide()
        self.message.hide()
        self.own = OwnFile()
        self.own.accepted.connect(self._take)
        self.file_button = QPushButton("Use a file I have…")
        self.file_button.setToolTip("Copy a weights file that you got elsewhere to its place")
        self.file_button.clicked.connect(self.ask_file)
        self.verify_button = QPushButton("Verify")
        self.verify_button.setToolTip("Read the files that are here and compare their SHA-256")
        self.verify_button.clicked.connect(self.verify)
        self.fetch_button = QPushButton("Fetch")
        self.fetch_button.setObjectName("primary")
        self.fetch_button.clicked.connect(self.fetch)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.close_button = QPushButton("Close")
        self.close_button.clicked.connect(self.reject)

    def _lay_out(self) -> None:
        heading = QLabel("Weights")
        heading.setObjectName("title")
        head = QHBoxLayout()
        head.addWidget(heading)
        head.addStretch(1)
        head.addWidget(QLabel("Encoders"))
        head.addWidget(self.bundles)
        buttons = QHBoxLayout()
        buttons.addWidget(self.file_button)
        buttons.addWidget(self.verify_button)
        buttons.addStretch(1)
        for button in (self.fetch_button, self.cancel_button, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(_MARGIN_PX, 18, _MARGIN_PX, 16)
        layout.setSpacing(10)
        layout.addLayout(head)
        layout.addWidget(self.summary)
        layout.addWidget(self.table, 1)
        for part in (self.terms, self.progress, self.message, self.own):
            layout.addWidget(part)
        layout.addLayout(buttons)
        self.setMinimumWidth(_WIDTH_PX)
        self.resize(_WIDTH_PX, self.height())

    # -- what is here -------------------------------------------------------------------------

    @property
    def bundle(self) -> str:
        """The bundle whose files are shown."""
        return str(self.bundles.currentData())

    def _complete(self) -> bool:
        return all(row.present for row in self._source.needed(self._config))

    def _needed(self) -> list[WeightRow]:
        """What the shown bundle needs: for the run, if it is the run's."""
        wanted = self._config.bundle == self.bundle
        return self._source.needed(self._config if wanted else SegmentConfig(bundle=self.bundle))

    def _lacking(self) -> list[WeightRow]:
        """What Fetch would fetch: the chosen file if it isn't here, else all that is needed."""
        chosen = self.table.selected
        if chosen is not None and not chosen.present:
            return [chosen]
        return [row for row in self._needed() if not row.present]

    def _on_bundle(self) -> None:
        self.table.clearSelection()
        self._say("")
        self.own.hide()
        self.refresh()

    def refresh(self) -> None:
        """Look again which files are here."""
        needed, rows = self._needed(), self._source.rows(self.bundle)
        listed = {row.name for row in rows}
        # A run may take its SAM from the other bundle.
        rows = [row for row in needed if row.name not in listed] + rows
        rows.sort(key=lambda row: row.optional)
        self.table.show_rows(rows, frozenset(row.name for row in needed))
        self.summary.setText(_summary([row for row in needed if not row.present]))
        self._write(self.terms, bundle_row(self.bundle).terms)
        running, lacking = self._job is not None, self._lacking()
        here = any(row.present or row.state == "damaged" for row in rows)
        self.bundles.setEnabled(not running)
        self.file_button.setEnabled(not running)
        self.verify_button.setEnabled(not running and here)
        self.fetch_button.setVisible(not running and bool(lacking))
        self.fetch_button.setText(_fetch_text(lacking))
        self.fetch_button.setDefault(bool(lacking))
        self.cancel_button.setVisible(running)
        self._fit()

    # -- work ---------------------------------------------------------------------------------

    def fetch(self) -> None:
        """Fetch what is missing; what came before a break is used again."""
        names = [row.name for row in self._lacking()]
        self._agreed(
            lambda: self._start(partial(self._source.fetch, names), "Looking for a source")
        )

    def ask_file(self) -> None:
        """Ask for a weights file and put it where it belongs."""
        name, _ = QFileDialog.getOpenFileName(self, "Use a weights file", str(Path.home()))
        if name:
            self.use_file(Path(name))

    def use_file(self, path: Path) -> None:
        """Put a copy of `path` where it belongs; asks if it isn't one of the official files."""

        self._agreed(lambda: self._take(path, ""))

    def _take(self, path: Path, name: str) -> None:
        if self._job is None:
            self._taken = path, name
            self._start(partial(self._source.take, path, name), f"Reading {path.name}")

    def verify(self) -> None:
        """Read the files of the shown bundle and say whether they are what they should be."""
        names = [row.name for row in self.table.rows if row.present or row.state == "damaged"]
        self._start(partial(self._source.verify, names), "Reading the files")

    def _agreed(self, then: Callable[[], None]) -> None:
        """Go on if the terms of the shown bundle are accepted."""
        with_terms(self.bundle, self, then, lambda: self._say("Nothing was fetched."))

    def _start(self, make: Callable[[], Iterable[FetchProgress]], message: str) -> None:
        if self._job is not None:
            return
        self._say(message)
        self._states = {}
        self.own.hide()
        self.progress.setRange(0, 0)
        self.progress.show()
        self._job = self._pool.start("weights", make)
        # Connected here, and not by the pool, so that Qt cuts them when this window goes first.
        self._job.yielded.connect(self._show)
        self._job.finished.connect(self._on_finished)
        self.refresh()

    def cancel(self) -> None:
        """Stop; the next fetch goes on from here."""
        if self._job is not None:
            self._job.cancel()
            self._say("Cancelling")
            self.cancel_button.setEnabled(False)

    def _show(self, event: FetchProgress) -> None:
        if self._job is not None and self._job.cancelling:
            return
        self._states.setdefault(event.name, "")
        if event.total:
            # In thousandths: a file may have more bytes than the bar can count.
            self.progress.setRange(0, 1000)
            self.progress.setValue(1000 * event.done // event.total)
            sizes = f"{size_text(event.done)} of {size_text(event.total)}"
            source = f" from {event.source}" if event.source else ""
            self._say(f"{event.name}: {sizes}{source}")
        if event.text:
            self._states[event.name] = event.text
            self._say(f"{event.name}: {event.text}" if event.name else event.text)

    def _on_finished(self) -> None:
        job, self._job = self._job, None
        taken, self._taken = self._taken, None
        if job is None:
            return
        self.progress.hide()
        self.cancel_button.setEnabled(True)
        self.refresh()
        if job.state is JobState.FAILED:
            self._on_failed(job.error, taken)
        elif job.state is JobState.CANCELLED:
            self._say("Cancelled." if taken else "Cancelled. What has come is kept.")
        elif self._complete() and not self._was_complete:
            self._say("")
            self.accept()
            self.completed.emit()
        else:
            self._say(self._outcome())

    def _outcome(self) -> str:
        damaged = [name for name, state in self._states.items() if state == "damaged"]
        if damaged:
            return f"Damaged: {', '.join(damaged)}. Fetch again, or use a file you have."
        found = [row for row in self.table.rows if row.name in self._states]
        if len(found) == 1:
            return f"{found[0].name}: {found[0].state_text}."
        return "The files that are here are what they should be."

    def _on_failed(self, error: BaseException | None, taken: tuple[Path, str] | None) -> None:
        if taken is None or not isinstance(error, WeightsError) or not taken[0].is_file():
            self._say(_words(error))
        elif taken[1]:
            self._say(f"{error.message}\nChoose the file whose model this is, or another file.")
            self._ask_own(*taken)
        else:
            self._say("")
            self._ask_own(taken[0])

    def _ask_own(self, path: Path, name: str = "") -> None:
        """Offer to take a file that isn't official in the place of one of the shown files."""
        known = set(self._source.replaceable())
        names = [row.name for row in self.table.rows if row.name in known]
        chosen = self.table.selected
        likely = [
            name,
            path.name,
            chosen.name if chosen else "",
            *(r.name for r in self._lacking()),
        ]
        self.own.ask(path, names, next((item for item in likely if item in names), ""))
        self._fit()

    def _say(self, text: str) -> None:
        self._write(self.message, text)
        self._fit()

    def _write(self, label: QLabel, text: str) -> None:
        """Show a text whole, and as high as it is: the layout alone would cut or spread it."""
        label.setText(text)
        label.setVisible(bool(text))
        if text:
            label.setFixedHeight(label.heightForWidth(self.width() - 2 * _MARGIN_PX))

    def _fit(self) -> None:
        """Be high enough for all parts: a layout with long texts doesn't see to that."""
        layout = self.layout()
        assert layout is not None
        layout.activate()
        needed = layout.totalHeightForWidth(self.width())
        if self.height() < needed:
            self.resize(self.width(), needed)

    # -- closing ------------------------------------------------------------------------------

    def reject(self) -> None:
        """Close, and stop fetching."""
        self.cancel()
        super().reject()

    def closeEvent(self, event: QCloseEvent) -> None:
        self.cancel()
        super().closeEvent(event)


def _summary(missing: list[WeightRow]) -> str:
    if not missing:
        return "All files that these encoders need are here. They work without a network."
    size = size_text(sum(row.size_bytes for row in missing))
    count = f"{len(missing)} file is" if len(missing) == 1 else f"{len(missing)} files are"
    return f"{count} needed still, {size} in all. After that these encoders work without a network."


def _fetch_text(lacking: list[WeightRow]) -> str:
    if not lacking:
        return "Fetch"
    size = size_text(sum(row.size_bytes for row in lacking))
    return f"Fetch {lacking[0].name if len(lacking) == 1 else f'{len(lacking)} files'} ({size})"


def _words(error: BaseException | None) -> str:
    if not isinstance(error, MocaError):
        return repr(error)
    return f"{error.message}\n{hint_in_window(error, _BY_BUTTONS)}"
