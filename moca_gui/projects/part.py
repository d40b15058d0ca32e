"""The project of the open clip: taken up with it, saved by itself, and never lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QMainWindow

from moca_core.annotations.project import SUFFIX, ClipRef, Snapshot, View
from moca_core.paths import is_resource, projects_dir
from moca_gui.dialogs.choosing import ask_file, ask_folder, ask_new_file
from moca_gui.dialogs.question import Question
from moca_gui.encoders import Encoders
from moca_gui.jobs import JobPool
from moca_gui.panels.timeline import Timeline
from moca_gui.projects import asking
from moca_gui.projects.reading import ClipMissingError, OpenedClip, OtherClipError, Wanted
from moca_gui.projects.saver import Saver, State
from moca_gui.projects.strip import SavedStrip
from moca_gui.runner import Runner
from moca_gui.session import Session
from moca_gui.settings import Settings
from moca_gui.views.frame_view import FrameView

_KINDS = f"Projects (*{SUFFIX})"
Then = Callable[[], object]


class Projects(QObject):
    """Begins with the first correction or by Save; from then on every change is saved.

    Signals: `open_wanted(Wanted)` when a question was answered by opening something else.
    """

    open_wanted = Signal(object)

    def __init__(
        self,
        window: QMainWindow,
        pool: JobPool,
        settings: Settings,
        session: Session,
        runner: Runner,
        encoders: Encoders,
        view: FrameView,
        timeline: Timeline,
    ) -> None:
        super().__init__(window)
        self._window, self._settings, self._session = window, settings, session
        self._runner, self._encoders = runner, encoders
        self._view, self._timeline = view, timeline
        self.saver = Saver(pool, settings, self.snapshot, self)
        self.strip = SavedStrip(self.saver)
        self._taking = False  # what changes now is what was saved
        self._leaving: tuple[Then, Then] | None = None
        self._view_saved = False  # what is on screen was saved, or can't be, on the way out
        self._passing = False  # nothing is lost any more: the window closes
        self._question: Question | None = None
        self._place_asked = False
        for signal in (session.dirtied, encoders.changed, runner.found):
            signal.connect(self._on_dirtied)
        self.saver.changed.connect(self._on_changed)
        self.saver.settled.connect(self._on_settled)
        self.saver.refused.connect(self._on_refused)
        self.strip.pressed.connect(self.explain)

    @property
    def folder(self) -> Path | None:
        """Where projects lie that can't lie beside their clips, if that was ever said."""
        chosen = self._settings.get("projects_folder")
        return Path(chosen) if chosen else None

    # -- clips --------------------------------------------------------------------------------

    def take(self, opened: OpenedClip) -> None:
        """Put a clip with its project into the session; `show` does the rest."""
        self._taking = True
        found = opened.project
        if found is None:
            self._encoders.take_settings()
            self._session.set_clip(opened.clip)
        else:
            self._encoders.take(found.config, found.moved)
            self._session.set_clip(opened.clip, found.results, found.labels)

    def show(self, opened: OpenedClip) -> None:
        """Show what the project says was on screen, once the frame is."""
        found, session = opened.project, self._session
        self._place_asked = False
        if found is None:
            self.saver.begin(None, trouble=opened.trouble)
        else:
            self._show_view(found.view)
            self.saver.begin(found.project, found.clip_hash, view=self.snapshot().view)
            for text in found.lacks:
                session.note(text)
        if opened.trouble is not None:
            session.note(f"The project isn't open. {opened.trouble.message}.")
        self._taking = False

    def _show_view(self, view: View) -> None:
        session = self._session
        session.hidden_objects = set(view.hidden)
        session.objects_changed.emit()
        if view.range is not None:
            session.set_range(*view.range)
        if view.timeline is not None:
            self._timeline.axis.set_view(*view.timeline)
        self._view.set_place(view.zoom, view.centre)

    def let_go(self) -> None:
        """The clip is closed."""
        self.saver.begin(None)

    def snapshot(self) -> Snapshot:
        """All that the project keeps, as it is at this moment."""
        session, axis = self._session, self._timeline.axis
        clip = session.clip
        assert clip is not None  # nothing is saved without one
        info = clip.reader.info
        zoom, centre = self._view.place
        return Snapshot(
            ClipRef(
                *(clip.path, "", clip.frame_count, clip.fps, clip.duration_s),
                (info.height, info.width),
            ),
            self._runner.config,
            self._runner.moved,
            session.results.by_frame(),
            dict(session.labels.frames),
            View(
                *(session.frame, zoom, centre, session.range),
                tuple(sorted(session.hidden_objects)),
                (axis.start_s, axis.stop_s) if axis.zoomed else None,
            ),
        )

    def _on_dirtied(self) -> None:
        if self._taking or self._session.clip is None:
            return
        saver = self.saver
        if saver.project is not None or saver.unsaved or len(self._session.labels):
            saver.touch()

    # -- saving -------------------------------------------------------------------------------

    def save(self) -> None:
        """Save now; begins a project if there is none."""
        if self._session.clip is None:
            return
        if self.saver.trouble is not None:
            self.save_as()
        elif self.saver.state is State.CONFLICT:
            self.explain()
        else:
            self._place_asked = False
            self.saver.save()

    def save_as(self) -> None:
        """Save under a name that the user chooses, and go on with that project."""
        if self._session.clip is not None:
            self._ask_name(lambda: None)

    def _ask_name(self, otherwise: Then, start: Path | None = None) -> None:
        clip, project = self._session.clip, self.saver.project
        assert clip is not None
        start = start or (project.path if project is not None else _first_name(clip.path))
        then = partial(self._save_as, otherwise)
        dialog = ask_new_file(self._window, "Save the project as", _KINDS, start, then)
        dialog.setDefaultSuffix(SUFFIX.lstrip("."))
        dialog.rejected.connect(otherwise)

    def _save_as(self, otherwise: Then, chosen: Path) -> None:
        name = chosen.name.removesuffix(SUFFIX).removesuffix(".json").removesuffix(".moca")
        path = chosen.with_name(f"{name}{SUFFIX}")
        if path != chosen and path.exists():  # nobody was asked whether it may be overwritten
            self._session.note(f"{path.name} is there already. Choose it to overwrite it.")
            self._ask_name(otherwise, path)
        else:
            self.saver.save_as(path)

    def explain(self) -> None:
        """Say how the project stands, and what can be done."""
        saver = self.saver
        if self._question is not None:
            self._question.raise_()
        elif saver.trouble is not None:
            self._asked(asking.tell_trouble(self._window, saver.trouble, self.save_as))
        elif saver.state is State.CONFLICT:
            self._ask_conflict()
        elif saver.error is not None:
            self._asked(asking.tell_failed(self._window, saver.error, self.save, self.save_as))
        elif saver.project is not None:
            self._session.note(f"The project is {saver.project.path}.")

    def _asked(self, question: Question) -> None:
        self._question = question

        def answered() -> None:
            self._question = None

        question.finished.connect(answered)

    def _on_changed(self) -> None:
        saver = self.saver
        self._window.setWindowModified(saver.unsaved)
        if saver.state is State.CONFLICT and self._leaving is None and self._question is None:
            self._ask_conflict()

    def _ask_conflict(self) -> None:
        error = self.saver.error
        assert error is not None  # that is what a conflict is
        self._asked(
            asking.ask_conflict(
                self._window, error, partial(self.saver.save, True), self.save_as, self._reload
            )
        )

    def _reload(self) -> None:
        project, clip = self.saver.project, self._session.clip
        self.saver.discard()
        if project is not None:
            self.open_wanted.emit(Wanted(project.path))
        elif clip is not None:
            self.open_wanted.emit(Wanted(clip.path))

    # -- clips whose folder can't be written --------------------------------------------------

    def _on_refused(self) -> None:
        clip = self._session.clip
        if clip is None or self._place_asked or self._question is not None:
            return
        self._place_asked = True
        folder = projects_dir()
        self._asked(
            asking.ask_place(
                *(self._window, clip.path, folder),
                partial(self._use_folder, folder),
                lambda: ask_folder(
                    self._window, "Projects of clips in read-only folders", folder, self._use_folder
                ),
            )
        )

    def _use_folder(self, folder: Path) -> None:
        self._settings.set("projects_folder", str(folder))
        self._session.note(f"Projects that can't lie beside their clips are saved in {folder}.")
        self.saver.save()

    # -- leaving a clip -----------------------------------------------------------------------

    def may_close(self, close: Then) -> bool:
        """Whether the window may close now; if not, saves or asks, and calls `close` then."""
        if self._passing:
            return True
        passed, later = False, False

        def go() -> None:
            nonlocal passed
            passed = True
            if later:
                self._passing = True
                close()
                self._passing = False

        self.leave(go)
        later = True
        return passed

    def leave(self, then: Then, otherwise: Then = lambda: None) -> None:
        """Call `then` as soon as nothing is lost by going away from the clip.

        A later wish takes the place of one that waits.

        Parameters
        ----------
        otherwise : called if the user wants to stay.
        """
        self._leaving, self._view_saved = (then, otherwise), False
        self._go_on_leaving()

    def _go_on_leaving(self) -> None:
        saver = self.saver
        if self._leaving is None or saver.saving:
            return  # `settled` comes back here
        if not saver.unsaved:
            if saver.state is State.SAVED and not self._view_saved and saver.view_moved:
                self._view_saved = True
                saver.save()
                return
            then, _ = self._leaving
            self._leaving = None
            then()
        elif self._settings.get("autosave") and saver.error is None:
            saver.save()
        else:
            self._ask_unsaved()

    def _on_settled(self, well: bool) -> None:
        if self._leaving is None:
            return
        if well or not self.saver.unsaved:
            self._go_on_leaving()
        elif self._question is None:
            self._ask_unsaved()

    def _ask_unsaved(self) -> None:
        clip, saver = self._session.clip, self.saver
        assert clip is not None and self._leaving is not None
        then, otherwise = self._leaving
        if self._question is not None:
            self._question.reject()

        def again() -> None:
            if saver.trouble is not None or saver.state is State.CONFLICT:
                save_as()
            else:
                self._leaving = (then, otherwise)
                saver.save()

        def discard() -> None:
            saver.discard()
            then()

        def save_as() -> None:
            self._leaving = (then, otherwise)
            self._ask_name(self._stay)

        self._leaving = None
        self._asked(
            asking.ask_unsaved(
                *(self._window, clip.path.name, saver.error),
                *(again, save_as, discard, otherwise),
            )
        )

    def _stay(self) -> None:
        """The user doesn't leave the clip."""
        if self._leaving is not None:
            _, otherwise = self._leaving
            self._leaving = None
            otherwise()

    # -- where a clip is ----------------------------------------------------------------------

    def ask_where(self, wanted: Wanted, error: ClipMissingError) -> None:
        """Ask for the clip of a project, and open it with that."""
        self._asked(asking.ask_where(self._window, error, partial(self._choose, wanted)))

    def ask_other(self, wanted: Wanted, error: OtherClipError) -> None:
        """Ask what to do with a clip that isn't the one of its project."""
        instead = ("Choose another…", partial(self._choose, wanted))
        if not wanted.is_project:
            alone = partial(self.open_wanted.emit, replace(wanted, alone=True))
            instead = ("Open it without the project", alone)
        use = partial(self.open_wanted.emit, replace(wanted, anyway=True))
        self._asked(asking.ask_other(self._window, error, use, instead))

    def _choose(self, wanted: Wanted) -> None:
        def chosen(path: Path) -> None:
            self.open_wanted.emit(replace(wanted, clip=path, anyway=False))

        start = wanted.clip or wanted.path
        ask_file(self._window, "Where is the clip?", "", start.parent, chosen)


def _first_name(clip: Path) -> Path:
    """Beside the clip, or at home for one that came with the program."""
    folder = Path.home() if is_resource(clip) else clip.parent
    return folder / f"{clip.stem}{SUFFIX}"
