"""The window: assembles the parts and connects them. The parts own the behaviour."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import (
    QCloseEvent,
    QDragEnterEvent,
    QDropEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QMainWindow,
)

from moca_core.config import SegmentConfig
from moca_gui import theme as themes
from moca_gui.actions import ACTIONS, fill_menus, make_actions
from moca_gui.adapters import Adapters
from moca_gui.clips import Clips
from moca_gui.correcting.checking import Checking
from moca_gui.correcting.following import Following, open_pictures
from moca_gui.correcting.objects import ObjectEdits
from moca_gui.correcting.part import Tools
from moca_gui.correcting.prompt_worker import LocalPrompting, PromptSource
from moca_gui.correcting.work import EditWork
from moca_gui.dialogs.opening import Dialogs
from moca_gui.encoders import Encoders
from moca_gui.exporting.part import Exporting, Importing
from moca_gui.fine_tune import FineTune
from moca_gui.icons import icon, logo
from moca_gui.indexing import Indexing
from moca_gui.jobs import JobPool
from moca_gui.kept import KeptResults, has_results, open_results
from moca_gui.layout import WindowLayout
from moca_gui.matching.part import Matching
from moca_gui.matching.source import LocalMatching, MatchSource
from moca_gui.opener import Opener, open_video
from moca_gui.panels.inspector import Inspector
from moca_gui.panels.log import LogPanel
from moca_gui.panels.objects import ObjectsPanel
from moca_gui.panels.proposals import ProposalsPanel
from moca_gui.panels.recent import RecentMenu
from moca_gui.panels.start import StartPage
from moca_gui.panels.status import StatusBar
from moca_gui.panels.timeline import Timeline
from moca_gui.panels.transport import Transport
from moca_gui.player import AudioFactory, Player, open_audio_clock
from moca_gui.preferences import Preferences
from moca_gui.projects.clip_list import ClipList
from moca_gui.projects.part import Projects
from moca_gui.projects.reading import OpenReader
from moca_gui.run_worker import RunWorker, SegmenterLike, load_segmenter
from moca_gui.runner import Runner
from moca_gui.session import Clip, Session
from moca_gui.settings import Settings, WindowState
from moca_gui.shell import make_docks, make_tool_bar, size_docks, stack_body
from moca_gui.shortcuts import Shortcuts
from moca_gui.sound import SoundPart, SoundPicture, read_sound
from moca_gui.stage import Stage
from moca_gui.thresholds.deciding import Moved
from moca_gui.thresholds.panel import ThresholdsPanel
from moca_gui.tuning.source import LocalTuning, TuningSource
from moca_gui.views.side_by_side import SideBySide
from moca_gui.weights import ManagedWeights, WeightsSource

if TYPE_CHECKING:
    from moca_core.media.video import VideoReader

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What the window takes from outside, so that tests can put something else in its place."""

    open_reader: OpenReader = open_video
    open_pictures: Callable[[Path], VideoReader] = open_pictures
    read_sound: Callable[[Clip], Iterator[SoundPart]] = read_sound
    audio_factory: AudioFactory = open_audio_clock
    make_segmenter: Callable[[SegmentConfig], SegmenterLike] = load_segmenter
    open_store: Callable[[Path, SegmentConfig, Moved], KeptResults] = open_results
    has_results: Callable[[Path], bool] = has_results
    weights: WeightsSource = field(default_factory=ManagedWeights)
    tuning: TuningSource = field(default_factory=LocalTuning)
    matching: MatchSource = field(default_factory=LocalMatching)
    prompting: PromptSource = field(default_factory=LocalPrompting)


class MainWindow(QMainWindow):
    """One clip, its frame, its timeline, its results."""

    opened = Signal()
    open_failed = Signal()

    def __init__(self, services: Services | None = None) -> None:
        super().__init__()
        services = services or Services()
        self.setWindowIcon(logo())
        self.setAcceptDrops(True)
        self.settings = Settings()
        self.state = WindowState()
        self.theme = themes.resolve(self.settings.get("theme"))
        self._look(self.theme)  # the parts are as large as their text needs
        self.pool = JobPool(self)
        self.session = Session(self)
        self.player = Player(self.session, self.pool, services.audio_factory, self)
        self.sound = SoundPicture(self.pool, services.read_sound, self)
        self.opener = Opener(self.pool, services.open_reader, self)
        self.indexing = Indexing(self.session, self.pool, self)
        self.runner = Runner(
            self.session,
            self.pool,
            self.settings,
            RunWorker(services.make_segmenter, services.open_store, services.has_results),
            self,
        )
        self.actions_by_name = make_actions(self)
        self.shortcuts = Shortcuts(self.settings, self.actions_by_name, self)
        self.preferences = Preferences(self.settings, self.player, self.actions_by_name, self)
        self.dialogs = Dialogs(
            *(self, self.session, self.player, self.pool, self.settings, self.shortcuts),
            services.weights,
        )
        self.encoders = Encoders(
            self.session, self.runner, self.settings, self.dialogs, self.actions_by_name
        )
        self.adapters = Adapters(
            *(self.encoders, self.session, self.pool, services.tuning, self.dialogs),
            self.actions_by_name,
        )
        self._make_parts(services)
        self.projects = Projects(
            *(self, self.pool, self.settings, self.session, self.runner, self.encoders),
            *(self.view, self.timeline),
        )
        self.clip_list = ClipList(
            *(self, self.pool, self.session, self.projects, self.state, self.actions_by_name)
        )
        self.clips = Clips(
            *(self, self.opener, self.session, self.player, self.sound, self.runner, self.state),
            *(self.start_page, self.dialogs, self.log, self.projects, self.clip_list),
        )
        self.edit_work = EditWork(self.session, self.pool, self)
        self.status.addPermanentWidget(self.edit_work.strip)
        self.object_edits = ObjectEdits(
            *(self.session, self.objects, self.settings, self.edit_work, self.actions_by_name),
            self,
        )
        self.following = Following(
            *(self.session, self.settings, self.edit_work, services.open_pictures),
            *(self.actions_by_name, self),
        )
        self.checking = Checking(self.session, self.player, self)
        self.fine_tune = FineTune(
            *(self, services, self.pool, self.session, self.runner, self.settings, self.adapters)
        )
        self.exporting = Exporting(self, self.pool, self.session, self.projects.snapshot)
        self.importing = Importing(self, self.pool, self.session)
        for strip in (self.exporting.strip, self.fine_tune.strip, self.projects.strip):
            self.status.addPermanentWidget(strip)
        self.matching = Matching(
            *(self, services.matching, self.pool, self.session, self.settings, self.dialogs),
            *(self.encoders, self.adapters, self.clips.ask_open),
        )
        self.docks = make_docks(
            self, self.objects, self.inspector, self.thresholds, self.proposals, self.log
        )
        self.docks[self.clip_list.dock.windowTitle()] = self.clip_list.dock
        self.menus = fill_menus(self.menuBar(), self.actions_by_name)
        self.recent_menu = RecentMenu(self.state, self.open_path, self.menus["File"])
        self.menus["File"].insertMenu(self.actions_by_name["close_clip"], self.recent_menu)
        self.run_button = make_tool_bar(self, self.actions_by_name, self.menus["Run"])
        self._add_dock_actions()
        self._connect()
        self.actions_by_name[f"overlay_{self.inspector.current}"].setChecked(True)
        self._on_encoders()
        self.apply_theme(self.theme)
        self._enable_actions()
        self.window_layout = WindowLayout(
            *(self, self.state, partial(size_docks, self, self.docks)),
            *(self.timeline.zoom_whole, self.view.fit, self.clip_list.show_dock),
        )
        self.window_layout.restore()
        self.clip_list.show_dock()
        self.view.setFocus()

    # -- assembly -----------------------------------------------------------------------------

    def _make_parts(self, services: Services) -> None:
        self.views = SideBySide(self.theme)
        self.view = self.views.left
        self.start_page = StartPage(self.state, self.view)
        self.transport = Transport(self.session, self.player, self.actions_by_name, self.theme)
        self.timeline = Timeline(self.session, self.player, self.sound, self.theme)
        self.objects = ObjectsPanel(self.session, self.settings, self.actions_by_name, self.theme)
        self.inspector = Inspector(self.session, self.settings)
        self.proposals = ProposalsPanel(self.session)
        self.thresholds = ThresholdsPanel(self.session, self.runner)
        self.stage = Stage(
            *(self.session, self.views, self.inspector, self.proposals, self.settings)
        )
        self.tools = Tools(
            *(self, self.views, services.prompting, self.pool, self.session, self.player),
            *(self.runner, self.encoders, self.inspector, self.dialogs, self.actions_by_name),
        )
        self.log = LogPanel()
        self.status = StatusBar(self.session)
        self.setStatusBar(self.status)
        self.setCentralWidget(stack_body(self.tools.bar, self.views, self.transport, self.timeline))

    def _add_dock_actions(self) -> None:
        self.menus["View"].addSeparator()
        for dock in self.docks.values():
            self.menus["View"].addAction(dock.toggleViewAction())

    def _connect(self) -> None:
        session = self.session
        session.result_changed.connect(self._on_result)
        session.noted.connect(self.log.write)
        for signal in (session.clip_changed, session.range_changed, self.runner.changed):
            signal.connect(self._enable_actions)
        for signal in (session.labels_changed, self.objects.chosen_changed, self.edit_work.changed):
            signal.connect(self._enable_actions)
        self.edit_work.failed.connect(self._on_run_failed)
        self.inspector.overlay_changed.connect(
            lambda name: self.actions_by_name[f"overlay_{name}"].setChecked(True)
        )
        self.player.sound_changed.connect(self._on_sound)
        self.player.loop_changed.connect(self.actions_by_name["loop"].setChecked)
        self.runner.progressed.connect(self.status.job.show_job)
        self.runner.changed.connect(self._on_runner)
        self.runner.device_known.connect(self.status.show_device)
        self.runner.failed.connect(self._on_run_failed)
        self.runner.ended.connect(session.note)
        self.status.job.cancel_pressed.connect(self.runner.cancel)
        self.encoders.changed.connect(self._on_encoders)
        self.encoders.changed.connect(self.thresholds.forget_scores)
        for noted in (self.fine_tune.noted, self.thresholds.refused):
            noted.connect(session.note)
        self.dialogs.log_wanted.connect(lambda: self.docks["Log"].show())
        self.indexing.progressed.connect(self.status.show_indexing)
        self.indexing.renumbered.connect(self.clips.open_whole)
        self.clips.opened.connect(self.opened)
        self.clips.failed.connect(self.open_failed)
        self.preferences.look_changed.connect(
            lambda: self.apply_theme(themes.resolve(self.settings.get("theme")))
        )

    # -- clips --------------------------------------------------------------------------------

    def open_path(self, path: Path | str) -> None:
        """Open a clip; the clip that is open stays until the new one is ready."""
        self.clips.open_path(path)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        self.clips.drag(event)

    def dropEvent(self, event: QDropEvent) -> None:
        self.clips.drop(event)

    # -- answers to the parts -----------------------------------------------------------------

    def _on_result(self, frame: int) -> None:
        # One result is enough for the actions that need any.
        if frame == -1 or len(self.session.results) == 1:
            self._enable_actions()

    def _enable_actions(self) -> None:
        labels = self.session.labels
        there = {
            "": True,
            "clip": self.session.clip is not None,
            "range": self.session.range is not None,
            "result": len(self.session.results) > 0 or len(labels) > 0,
            "job": self.runner.job is not None or self.edit_work.job is not None,
            "idle": self.runner.job is None and self.edit_work.job is None,
            "undo": bool(labels.undo_title),
            "redo": bool(labels.redo_title),
            "selected": self.session.selected is not None,
            "several": len(self.objects.numbers) > 1,
            "corrected": len(labels) > 0,
        }
        for row in ACTIONS:
            self.actions_by_name[row.name].setEnabled(there[row.needs])
        for name in ("run_frame", "run_range", "run_clip"):
            action = self.actions_by_name[name]
            action.setEnabled(action.isEnabled() and self.runner.job is None)
        self.run_button.setEnabled(there["clip"])

    def _on_sound(self) -> None:
        self.status.show_sound(self.player.sound_note)

    def _on_encoders(self) -> None:
        row = self.encoders.row
        self.status.show_encoders(row.title, row.about, self.adapters.title)

    def _on_runner(self) -> None:
        job = self.runner.job
        if job is None:
            self.status.job.hide()
        elif job.cancelling:
            self.status.job.show_cancelling()

    def _on_run_failed(self, error: BaseException, title: str) -> None:
        self.log.write(f"{title}: {error}")
        self.dialogs.show_error(f"{title} failed", error)

    # -- slots of actions ---------------------------------------------------------------------

    def apply_theme(self, theme: themes.Theme) -> None:
        """Give everything the colours of `theme`."""
        self.theme = theme
        self._look(theme)
        for row in ACTIONS:
            if row.icon:
                self.actions_by_name[row.name].setIcon(icon(row.icon, theme))
        self.run_button.setIcon(icon("run", theme, theme.on_accent))
        self.inspector.refresh()
        for part in (self.views, self.transport, self.timeline, self.thresholds, self.objects):
            part.set_theme(theme)
        for window in (self.fine_tune, self.matching):
            window.set_theme(theme)

    def _look(self, theme: themes.Theme) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        themes.apply(app, theme, self.settings.get("text_size"))

    def cancel_jobs(self) -> None:
        """Stop the run and the correction that are under way; what is finished stays."""
        self.runner.cancel()
        self.edit_work.cancel()

    def toggle_fullscreen(self) -> None:
        """Fill the screen, or not."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    # -- opening and closing ------------------------------------------------------------------

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self.fine_tune.may_close(self.close) or not self.projects.may_close(self.close):
            event.ignore()
            return
        self.window_layout.keep()
        self.settings.set("volume", float(self.player.volume))
        event.accept()
        self.shut_down()

    def shut_down(self) -> None:
        """The one way out: stop the player, cancel the jobs, wait, release. Safe to repeat."""
        self.hide()
        for part in (self.fine_tune, self.matching, self.exporting):
            part.release()
        self.player.detach()
        self.runner.cancel()
        self.opener.cancel()
        self.projects.let_go()
        self.pool.shut_down()
        if self.session.clip is not None:
            self.session.clip.reader.close()
            self.session.clip = None
        self.sound.release()
        self.log.release()
