"""Run > Fine-tune: the window, its run, and what the main window sees of both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QWidget

from moca_core.training.events import StepEvent
from moca_gui.adapters import Adapters
from moca_gui.frames import to_picture
from moca_gui.jobs import Job, JobPool, JobState
from moca_gui.runner import Runner
from moca_gui.session import Session
from moca_gui.settings import segment_config
from moca_gui.theme import DARK, Theme
from moca_gui.tuning.run import Ended, Phase, TuningRun

if TYPE_CHECKING:
    from moca_gui.main_window import Services
    from moca_gui.settings import Settings
    from moca_gui.tuning.dialog import FineTuneDialog


class FineTune(QObject):
    """Keeps the fine-tuning window, which is made when it is first shown.

    Signals: `noted(text)` for the log and the status bar.
    """

    noted = Signal(str)

    def __init__(
        self,
        window: QWidget,
        services: Services,
        pool: JobPool,
        session: Session,
        runner: Runner,
        settings: Settings,
        adapters: Adapters,
    ) -> None:
        super().__init__(window)
        self.run = TuningRun(pool, services.tuning, self)
        self.dialog: FineTuneDialog | None = None
        self.button = QToolButton()
        self.button.setObjectName("plain")
        self.button.setAccessibleName("Training")
        self.button.setToolTip("An adapter is being trained: show it")
        self.button.clicked.connect(self.show)
        # Out of the corner of the status bar, into which a window's frame may reach.
        self.strip = QWidget()
        layout = QHBoxLayout(self.strip)
        layout.setContentsMargins(0, 0, 8, 0)
        layout.addWidget(self.button)
        self.strip.hide()
        self._window, self._services, self._pool = window, services, pool
        self._session, self._runner, self._settings = session, runner, settings
        self._adapters = adapters
        self._theme = DARK
        self._comparing: Job | None = None
        self._leaving = False  # nothing is asked any more
        self._keeping = False  # the window closes when the run has ended
        self.run.changed.connect(self._on_phase)
        self.run.told.connect(self._on_event)
        self.run.ended.connect(self._on_ended)

    # -- the window ---------------------------------------------------------------------------

    def show(self) -> None:
        """Show the window, with the run that goes on if there is one."""
        if self.dialog is None:
            # It loads pyqtgraph, which would make the start slower.
            from moca_gui.tuning.dialog import FineTuneDialog

            self.dialog = FineTuneDialog(
                self._pool,
                self._services.tuning,
                self._services.weights,
                self.run,
                self._theme,
                Path.home() / "MoCA Studio",
                self._window,
            )
            self.dialog.use_pressed.connect(self._adapters.use)
            self.dialog.compare_pressed.connect(self.compare)
        self.dialog.show()
        self.dialog.raise_()
        self.dialog.activateWindow()

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self._theme = theme
        if self.dialog is not None:
            self.dialog.set_theme(theme)

    def _on_phase(self) -> None:
        self.strip.setVisible(self.run.active)
        if self.run.phase is Phase.PREPARING:
            self.button.setText("Training: preparing")

    def _on_event(self, event: object) -> None:
        if isinstance(event, StepEvent):
            self.button.setText(f"Training: {event.step:,} of {event.total:,}")

    def _on_ended(self, ended: Ended) -> None:
        self.noted.emit(f"Training: {ended.end.value} after {ended.step:,} iterations.")
        if ended.adapters and self._session.clip is not None and not self._keeping:
            self.compare(ended.adapters[0])

    # -- before and after ---------------------------------------------------------------------

    def compare(self, adapter: Path) -> None:
        """Show what the adapter changes in the frame on screen."""
        if self.dialog is None or self._comparing is not None:
            return
        clip, image, panel = self._session.clip, self._session.image, self.dialog.samples
        if clip is None or image is None:
            panel.clear("Open a clip to see what the adapter changes.")
            return
        if self._runner.job is not None:
            panel.clear("A run is under way: compare when it has ended.")
            return
        from moca_gui.tuning.samples import compare

        trained = self.run.config
        sam = self._settings.get("sam") if trained.bundle == self._runner.config.bundle else ""
        base = partial(segment_config, self._settings, bundle=trained.bundle, sam=sam)
        configs = base(adapter=trained.start), base(adapter=str(adapter))
        frame = self._session.frame
        panel.clear("Comparing")
        make = partial(
            compare, self._services.make_segmenter, configs, clip.path, frame, to_picture(image)
        )

        def end(job: Job) -> None:
            self._comparing = None
            if job.state is JobState.FAILED:
                panel.clear(f"Can't compare: {job.error}")
            elif job.state is JobState.DONE:
                panel.state.setText(f"{clip.path.name}, frame {frame}")

        self._comparing = self._pool.start(
            "comparing", make, on_event=panel.show_event, on_finished=end
        )

    # -- closing ------------------------------------------------------------------------------

    def may_close(self, close: Callable[[], object]) -> bool:
        """Whether the window may close now; if not, asks, and calls `close` when it may."""
        if not self.run.active or self._leaving:
            return True
        from moca_gui.tuning.leaving import LeaveDialog

        dialog = LeaveDialog(self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

        def keep() -> None:
            self._keeping = True
            self.run.ended.connect(close_if_well, Qt.ConnectionType.SingleShotConnection)
            self.run.stop()

        def close_if_well(ended: Ended) -> None:
            self._keeping = False
            if ended.error is None:
                close()
            else:
                self.show()  # which says what happened

        def discard() -> None:
            self._leaving = True
            self.run.discard()
            close()

        dialog.keep_pressed.connect(keep)
        dialog.discard_pressed.connect(discard)
        self.run.ended.connect(dialog.reject)
        dialog.open()
        return False

    def release(self) -> None:
        """Hide the window: the program is about to end."""
        if self.dialog is not None:
            self.dialog.hide()
