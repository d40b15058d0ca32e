"""Which adapter the runs use: chosen, read whole, copied to a safe place, and then put to use."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtGui import QAction

from moca_core.errors import MocaError
from moca_gui.dialogs.choosing import ask_file
from moca_gui.dialogs.opening import Dialogs
from moca_gui.encoders import Encoders
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.session import Session
from moca_gui.tuning.source import AdapterFacts, TuningSource, shown_title

_KINDS = "Adapters (*.safetensors)"


class Adapters(QObject):
    """Run > Adapter.

    An adapter that is put to use is copied under a name that tells its content: the run that made
    it may be removed or gone on with, and results of another content are never taken for its own.
    """

    def __init__(
        self,
        encoders: Encoders,
        session: Session,
        pool: JobPool,
        source: TuningSource,
        dialogs: Dialogs,
        actions: dict[str, QAction],
    ) -> None:
        super().__init__(dialogs)
        self._encoders = encoders
        self._session = session
        self._pool = pool
        self._source = source
        self._dialogs = dialogs
        self._actions = actions
        self._last = Path.home()
        encoders.changed.connect(self._mark)
        self._mark()

    @property
    def title(self) -> str:
        """What the adapter in use is called; "" without one."""
        adapter = self._encoders.config.adapter
        return shown_title(Path(adapter)) if adapter else ""

    def choose_none(self) -> None:
        """Run without an adapter."""
        self._encoders.choose_adapter(self._encoders.config.bundle, "")
        self._mark()

    def ask_file(self) -> None:
        """Ask for an adapter and put it to use."""
        self._mark()  # the menu shows what is in use, which is the old one until all is done
        ask_file(self._dialogs.window, "Use an adapter", _KINDS, self._last, self.use)

    def use(self, path: Path) -> None:
        """Make the runs to come with an adapter, and with the encoders that it belongs to."""
        self._last = path.parent
        found: list[AdapterFacts] = []

        def end(job: Job) -> None:
            if job.state is JobState.FAILED and job.error is not None:
                self._refuse(path, job.error)
            elif found:
                self._encoders.choose_adapter(found[0].bundle, str(found[0].path))

        make = partial(self._source.adopt, path)
        self._pool.start("reading the adapter", make, on_event=found.append, on_finished=end)

    def _refuse(self, path: Path, error: BaseException) -> None:
        if isinstance(error, MocaError):
            # As a plain one: it is no file that the weights window could fetch.
            error = MocaError(error.message, error.hint)
        self._dialogs.show_error(f"Can't use {path.name}", error)

    def _mark(self) -> None:
        title = self.title
        self._actions["adapter_file"].setText(
            f"{title}\N{HORIZONTAL ELLIPSIS}" if title else "&File\N{HORIZONTAL ELLIPSIS}"
        )
        self._actions["adapter_file" if title else "adapter_none"].setChecked(True)
