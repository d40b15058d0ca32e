"""Opening and closing clips, and what the window shows of the one that is open."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QWidget

from moca_core.annotations.project import SUFFIX
from moca_core.errors import MocaError
from moca_core.paths import resource
from moca_gui.dialogs.choosing import dropped_path
from moca_gui.dialogs.opening import Dialogs
from moca_gui.opener import Opener
from moca_gui.panels.log import LogPanel
from moca_gui.panels.start import StartPage
from moca_gui.player import Player
from moca_gui.projects.clip_list import ClipList
from moca_gui.projects.listing import ENDINGS
from moca_gui.projects.part import Projects
from moca_gui.projects.reading import ClipMissingError, OpenedClip, OtherClipError, Wanted
from moca_gui.runner import Runner
from moca_gui.session import Session
from moca_gui.settings import WindowState
from moca_gui.sound import SoundPicture

PROGRAM = "MoCA Studio"
_KINDS = f"Videos and projects ({' '.join(f'*.{ending}' for ending in ENDINGS)} *{SUFFIX})"


class Clips(QObject):
    """Puts one clip after the other into the window.

    Signals: `opened` when a clip is on screen, `failed` when one couldn't be opened.
    """

    opened = Signal()
    failed = Signal()

    def __init__(
        self,
        window: QWidget,
        opener: Opener,
        session: Session,
        player: Player,
        sound: SoundPicture,
        runner: Runner,
        state: WindowState,
        start_page: StartPage,
        dialogs: Dialogs,
        log: LogPanel,
        projects: Projects,
        clip_list: ClipList,
    ) -> None:
        super().__init__(window)
        self._window, self._opener, self._session = window, opener, session
        self._player, self._sound, self._runner = player, sound, runner
        self._state, self._start_page, self._dialogs = state, start_page, dialogs
        self._log, self._projects, self._list = log, projects, clip_list
        self._wanted: Wanted | None = None  # that is being opened
        self._saves = 0  # of projects, when that began
        start_page.open_pressed.connect(self.ask_open)
        start_page.folder_pressed.connect(clip_list.ask_folder)
        start_page.demo_pressed.connect(self.open_demo)
        start_page.recent_pressed.connect(self.open_path)
        opener.opened.connect(self._on_opened)
        opener.failed.connect(self._on_failed)
        projects.open_wanted.connect(self.open)
        clip_list.chosen.connect(self.open_path)
        clip_list.failed.connect(self._show_failure)
        window.setWindowTitle(PROGRAM)

    def open_path(self, path: Path | str) -> None:
        """Open a clip, a project, or the clips of a folder."""
        path = Path(path).expanduser()
        if path.is_dir():
            self._list.open_folder(path)
        else:
            self.open(Wanted(path, folder=self._projects.folder))

    def open_whole(self, path: Path) -> None:
        """Open a clip once all of its frames are known."""
        self.open(Wanted(path, folder=self._projects.folder, whole=True))

    def open(self, wanted: Wanted) -> None:
        """Open a clip or a project; the clip that is open stays until the new one is ready."""
        self._wanted = wanted
        self._projects.leave(partial(self._begin, wanted), self._list.forget_next)

    def _begin(self, wanted: Wanted) -> None:
        self._saves = self._projects.saver.saves
        self._opener.open(wanted)

    def open_demo(self) -> None:
        """Open the clip that comes with the program."""
        try:
            self.open_path(resource("demo/demo.mp4"))
        except FileNotFoundError as error:
            self._dialogs.show_error(
                "Can't open the demo clip", MocaError(str(error), "Install the program again.")
            )

    def ask_open(self) -> None:
        """Ask for a clip or a project and open it."""
        recent = self._state.recent()
        folder = str(recent[0].parent) if recent else str(Path.home())
        name, _ = QFileDialog.getOpenFileName(
            self._window, "Open a clip", folder, f"{_KINDS};;All files (*)"
        )
        if name:
            self.open_path(name)

    def drag(self, event: QDragEnterEvent) -> None:
        """Take what is dragged over the window, if it is a file."""
        if dropped_path(event.mimeData()) is not None:
            event.acceptProposedAction()

    def drop(self, event: QDropEvent) -> None:
        """Open what is dropped on the window."""
        path = dropped_path(event.mimeData())
        if path is not None:
            event.acceptProposedAction()
            self.open_path(path)

    def close(self) -> None:
        """Let go of the open clip, when it is saved."""
        self._projects.leave(self._close)

    def _close(self) -> None:
        self._release()
        self._projects.let_go()
        self._session.set_clip(None)
        self._sound.load(None)
        self._start_page.show_page()
        self._window.setWindowTitle(PROGRAM)

    def _release(self) -> None:
        self._runner.cancel()
        self._player.detach()
        if self._session.clip is not None:
            self._session.clip.reader.close()

    def _on_opened(self, opened: OpenedClip) -> None:
        saver = self._projects.saver
        changed = saver.unsaved or saver.saving or saver.saves != self._saves
        if changed and self._wanted is not None:
            # Something was corrected since: it is saved first, and may be of this very clip.
            opened.clip.reader.close()
            self.open(self._wanted)
            return
        self._release()
        self._projects.take(opened)
        self._start_page.hide()
        self._player.attach(opened.clip, opened.first, opened.frame)
        self._projects.show(opened)
        self._sound.load(opened.clip)
        self._runner.load_kept()
        found, path = opened.project, opened.clip.path
        if found is not None and not found.beside:
            path = found.project.path  # opening the clip wouldn't find it
        self._state.add_recent(path)
        self._window.setWindowTitle(f"{opened.clip.path.name}[*] - {PROGRAM}")
        self._log.write(f"Opened {opened.clip.path}")
        for note in opened.clip.reader.info.notes:
            self._session.note(note)
        self.opened.emit()

    def _on_failed(self, wanted: Wanted, error: BaseException) -> None:
        self._list.forget_next()
        self._projects.saver.keep()
        if isinstance(error, ClipMissingError):
            self._projects.ask_where(wanted, error)
        elif isinstance(error, OtherClipError):
            self._projects.ask_other(wanted, error)
        else:
            self._show_failure(wanted.path, error)

    def _show_failure(self, path: Path, error: BaseException) -> None:
        self._log.write(f"{path}: {error}")
        self._dialogs.show_error(f"Can't open {path.name}", error)
        self.failed.emit()

    # -- a clip of the command line -----------------------------------------------------------

    def show_when_opened(self) -> None:
        """Run on the next clip as soon as it is open, and then play it in a loop."""
        once = Qt.ConnectionType.SingleShotConnection
        self.opened.connect(self._runner.run_clip, once)
        self._runner.completed.connect(self._play_in_a_loop, once)

    def _play_in_a_loop(self) -> None:
        self._player.set_looping(True)
        self._player.go_start()
        self._player.play()
