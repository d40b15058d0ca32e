"""What a job does to open a clip with its project, or a project with its clip."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtGui import QImage

from moca_core.annotations.history import Labels
from moca_core.annotations.project import (
    SUFFIX,
    Opened,
    Project,
    find_clip,
    is_clip,
    opening,
    project_path,
)
from moca_core.annotations.snapshot import ClipRef, View
from moca_core.config import SegmentConfig
from moca_core.errors import MocaError, ProjectError
from moca_gui.frames import to_image
from moca_gui.results import ResultStore
from moca_gui.session import Clip
from moca_gui.thresholds.deciding import Moved

if TYPE_CHECKING:
    from moca_core.media.video import VideoReader

_NAMED_BY = 12
"""Digits of a clip's hash in the name of a project that doesn't lie beside the clip."""

PATIENCE_S = 0.3
"""For finding a clip's frames: those not known by then are found while the clip is on screen."""


class OpenReader(Protocol):
    """Opens a clip; one whose frames aren't all known after `patience_s` grows later."""

    def __call__(self, path: Path, patience_s: float = math.inf) -> VideoReader:
        """Raises `MediaError`."""
        ...


@dataclass(frozen=True)
class Wanted:
    """What to open.

    Attributes
    ----------
    path : a clip or a project.
    clip : where the clip of the project is, if somebody said so; None looks for it.
    anyway : also where the clip has another content than that of its project.
    alone : a clip without its project.
    whole : a long clip not before all of its frames are known.
    folder : where projects lie that couldn't be put beside their clips; None: nowhere.
    """

    path: Path
    clip: Path | None = None
    anyway: bool = False
    alone: bool = False
    whole: bool = False
    folder: Path | None = None

    @property
    def is_project(self) -> bool:
        """Whether a project was asked for, not a clip."""
        return self.path.name.endswith(SUFFIX)


class ClipMissingError(ProjectError):
    """The clip of a project isn't found; `ref` says which one it is."""

    def __init__(self, project: Path, ref: ClipRef) -> None:
        super().__init__(
            f"{ref.path.name}: the clip of {project.name} isn't at {ref.path} any more",
            "Say where it is now, and the project goes on with it there.",
        )
        self.ref = ref


class OtherClipError(ProjectError):
    """A clip has another content than that of its project; `fits` if its frames could be its."""

    def __init__(self, project: Path, clip: Path, fits: bool) -> None:
        super().__init__(
            f"{clip.name}: another content than {project.name} was made for",
            "Its masks may not lie where they should." if fits else "Choose the clip as it was.",
        )
        self.project, self.clip, self.fits = project, clip, fits


@dataclass(frozen=True, eq=False)
class LoadedProject:
    """A project, made ready for the window.

    Attributes
    ----------
    beside : it is found again by opening its clip.
    clip_hash : of the clip's content.
    lacks : what couldn't be read, for the user.
    """

    project: Project
    beside: bool
    clip_hash: str
    config: SegmentConfig
    moved: Moved
    view: View
    results: ResultStore
    labels: Labels
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class OpenedClip:
    """A clip, and its frame `frame` as a picture.

    Attributes
    ----------
    project : None if there is none, or it can't be used, for which `trouble` is the reason.
    """

    clip: Clip
    first: QImage
    frame: int = 0
    project: LoadedProject | None = None
    trouble: MocaError | None = None


def load(wanted: Wanted, open_reader: OpenReader) -> Iterator[Any]:
    """Open what is wanted, as a job; the last event is an `OpenedClip`.

    Raises
    ------
    MediaError : the clip can't be opened.
    ProjectError : the project that was asked for can't be opened. One that merely lies beside a
        clip keeps nobody from opening that.
    ClipMissingError, OtherClipError : the user has to say where the clip is, or if it is meant.
    """
    path = wanted.path.expanduser().absolute()
    if wanted.is_project:
        opened = yield from _project(path)
        clip = wanted.clip or find_clip(opened.snapshot.clip, path)
        if clip is None:
            raise ClipMissingError(path, opened.snapshot.clip)
        yield _with_project(clip.absolute(), opened, wanted, open_reader)
        return
    patience_s = math.inf if wanted.whole else PATIENCE_S
    place = project_of(path, wanted.folder)
    if place is None:
        yield open_clip(path, open_reader, patience_s)
        return
    if wanted.alone:
        trouble: ProjectError = OtherClipError(place, path, fits=False)
    else:
        try:
            opened = yield from _project(place)
            yield _with_project(path, opened, wanted, open_reader)
            return
        except OtherClipError:
            raise
        except ProjectError as error:
            trouble = error
    yield open_clip(path, open_reader, patience_s, trouble)


def open_clip(
    path: Path,
    open_reader: OpenReader,
    patience_s: float,
    trouble: MocaError | None = None,
) -> OpenedClip:
    """Open a clip and decode its first frame; raises `MediaError`."""
    reader = open_reader(path, patience_s)
    try:
        return OpenedClip(Clip(path, reader), to_image(reader.frame(0)), trouble=trouble)
    except BaseException:
        reader.close()
        raise


def _project(path: Path) -> Generator[Any, None, Opened]:
    """Open a project; the value of the generator is what was opened."""
    for event in opening(path):
        if isinstance(event, Opened):
            return event
        yield event
    raise AssertionError("a project opens or raises")


def _with_project(
    path: Path, opened: Opened, wanted: Wanted, open_reader: OpenReader
) -> OpenedClip:
    """A clip at the place where its project left it."""
    ref, project = opened.snapshot.clip, opened.project
    reader = open_reader(path)  # whole: its project may speak of any frame
    try:
        clip = Clip(path, reader)
        size = (reader.info.height, reader.info.width)
        fits = (clip.frame_count, size) == (ref.frame_count, ref.size)
        same = is_clip(ref, path)
        if not same and not (fits and wanted.anyway):
            raise OtherClipError(project.path, path, fits)
        beside = not wanted.is_project or project.path == project_of(path, wanted.folder)
        found = _ready(opened, clip, beside, ref.hash if same else "")
        frame = min(found.view.frame, clip.frame_count - 1)
        return OpenedClip(clip, to_image(reader.frame(frame)), frame, found)
    except BaseException:
        reader.close()
        raise


def _ready(opened: Opened, clip: Clip, beside: bool, clip_hash: str) -> LoadedProject:
    snapshot, lacks = opened.snapshot, list(opened.notes)
    inside = range(clip.frame_count)
    results = ResultStore(len(inside))
    for item in snapshot.results.values():
        if item.frame in inside:
            results.add(item)
    adapter = snapshot.config.adapter
    if adapter and not Path(adapter).is_file():
        lacks.append(
            f"The adapter {Path(adapter).name} of this project isn't there any more. Its results "
            "are; to run again, choose another adapter or none by Run > Adapter."
        )
    return LoadedProject(
        opened.project,
        beside,
        clip_hash,
        snapshot.config,
        snapshot.moved,
        snapshot.view,
        results,
        Labels(item for item in snapshot.labels.values() if item.frame in inside),
        tuple(lacks),
    )


# -- where projects are --------------------------------------------------------------------------


def project_of(clip: Path, folder: Path | None) -> Path | None:
    """The project of a clip: beside it, or in the folder for those that can't be; None: none."""
    beside = project_path(clip)
    if beside.exists():
        return beside
    if folder is None or not folder.is_dir():
        return None
    try:
        kept = place_in(folder, clip)
    except MocaError:
        return None
    return kept if kept.exists() else None


def place_in(folder: Path, clip: Path) -> Path:
    """Where the project of a clip lies in `folder`; raises `MediaError` without the clip."""
    from moca_core.media.probe import clip_hash  # slow to import

    return folder / f"{clip.stem}-{clip_hash(clip)[:_NAMED_BY]}{SUFFIX}"
