"""Projects: `dog.moca.json`, readable and small, beside `dog.mp4`, and the masks in `dog.moca`.

A save writes the files of masks that changed, then the readable file in the place of the old one,
and then deletes what nothing refers to any more: a kill at any moment leaves the old or the new
state. See docs/guide/projects.md for the format and docs/adr/0030 for the reasons.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from moca_core.annotations import chunks
from moca_core.annotations.checked import read_bounded
from moca_core.annotations.chunks import KINDS, LABELS, RESULTS, Chunk
from moca_core.annotations.model import PackedResult
from moca_core.annotations.project_index import (
    SUFFIX,
    VERSION,
    Index,
    copy_path,
    masks_folder,
    read_index,
    said,
)
from moca_core.annotations.saving import Project
from moca_core.annotations.snapshot import ClipRef, Snapshot, View
from moca_core.errors import MediaError, ProjectError, ProjectVersionError, StorageError
from moca_core.paths import is_resource, projects_dir
from moca_core.types import StageEvent

__all__ = [
    "SUFFIX",
    "VERSION",
    "ClipRef",
    "Opened",
    "Peek",
    "Project",
    "Snapshot",
    "View",
    "find_clip",
    "is_clip",
    "masks_folder",
    "open_project",
    "opening",
    "peek",
    "project_path",
]

_log = logging.getLogger(__name__)

_WORDS = {LABELS: "Corrections", RESULTS: "Results"}
_LONG = 80
"""Characters of frame numbers in a note."""
_MOST_NAME = 200
"""Bytes of a project's name, of the 255 that systems take, before what is added for a moment."""


def project_path(clip: Path) -> Path:
    """The project of a clip: `dog.moca.json` beside `dog.mp4`.

    Where that one belongs to another clip (`dog.mov`), it is `dog.mp4.moca.json`. That of a clip
    which came with the program lies in the user's own folder of projects.
    """
    clip = Path(clip)
    folder = projects_dir() if is_resource(clip) else clip.parent
    short, long = _named(folder, clip.stem), _named(folder, clip.name)
    if long.exists():
        return long
    try:
        ref = read_index(short).snapshot.clip
    except ProjectError:
        return short  # it isn't there; or whoever opens it is told what is the matter
    return short if ref.path.name == clip.name or is_clip(ref, clip) else long


def _named(folder: Path, name: str) -> Path:
    """The project of that name in a folder; one that is too long with its ending is cut."""
    data = os.fsencode(name)
    if len(data) > _MOST_NAME:
        digest = hashlib.sha256(data).hexdigest()
        name = f"{data[:_MOST_NAME].decode(errors='ignore')}-{digest[:8]}"
    return folder / (name + SUFFIX)


def find_clip(ref: ClipRef, project: Path) -> Path | None:
    """Where the clip of a project is now: as seen from the project, where it was, or beside it.

    A file by its name counts only if its content is the clip's. None: it isn't at any of them.
    """
    places = [project.parent / ref.relative] if ref.relative else []
    places += [ref.path, project.parent / ref.path.name]
    # `relative` was made from the names alone, without a look at links.
    for place in dict.fromkeys(map(os.path.normpath, places)):
        if is_clip(ref, Path(place)):
            return Path(place)
    return None


def is_clip(ref: ClipRef, path: Path) -> bool:
    """Whether a file's content is that of the clip."""
    from moca_core.media.probe import clip_hash  # imports PyAV

    try:
        return clip_hash(path) == ref.hash
    except (MediaError, OSError, ValueError):  # a path of another system may be none here
        return False


@dataclass(frozen=True)
class Peek:
    """What a list of clips says about a project.

    Attributes
    ----------
    corrected, results : how many frames a person corrected, and the program found something in.
    saved_at : None if there is no project, or it can't be read.
    problem : why it can't be opened; "" if it can, or if there is none.
    """

    corrected: int = 0
    results: int = 0
    saved_at: datetime | None = None
    version: int = 0
    problem: str = ""


def peek(path: Path) -> Peek:
    """Look at the readable file of a project only. A damaged one is said, never raised."""
    try:
        index = read_index(path)
    except ProjectError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        return Peek(problem="" if missing else error.message)
    counts = {
        kind: sum(len(chunk.frames) for chunk in index.chunks if chunk.kind == kind)
        for kind in KINDS
    }
    return Peek(counts[LABELS], counts[RESULTS], index.saved_at, VERSION)


@dataclass(frozen=True, eq=False)
class Opened:
    """A project that was opened.

    Attributes
    ----------
    notes : what couldn't be read, for the user; empty if all is there.
    """

    project: Project
    snapshot: Snapshot
    notes: tuple[str, ...] = ()


def open_project(path: Path) -> Opened:
    """Open a project.

    Raises
    ------
    ProjectError : it can't be read, isn't a project, is damaged, or is of a newer program.
    """
    opened = [event for event in opening(path) if isinstance(event, Opened)]
    return opened[0]


def opening(path: Path) -> Iterator[StageEvent | Opened]:
    """Open a project as a job; the last event is the result. Raises as `open_project`.

    Files of masks that are missing or damaged are left out and noted; they stay as they are, and
    are read again when they are back. Of a damaged readable file the copy is read.
    """
    path = Path(path).absolute()
    index = _index_or_copy(path)
    listed, read, lost = [*index.chunks, *index.lost], [], []
    for done, chunk in enumerate(listed):
        yield StageEvent("opening", done, len(listed))
        try:
            read.append((chunk, _read_chunk(chunk, _folders(path, index))))
        except StorageError as error:
            _log.warning("%s: %s", chunk.name, error.message)
            lost.append((chunk, error.message))
    if lost and _index_or_copy(path).saved_id != index.saved_id:
        yield from opening(path)  # another program saved it, and deleted what it replaced
        return
    found = {kind: _frames(read, kind) for kind in KINDS}
    notes = [*index.notes]
    for kind, frames in found.items():
        notes += _lost_note(kind, [item for item in lost if item[0].kind == kind], frames)
        outside = sorted(frame for frame in frames if frame >= index.snapshot.clip.frame_count)
        if outside:
            notes.append(f"{_WORDS[kind]} of frames {_said(outside)} aren't in the clip.")
        for frame in outside:
            del frames[frame]
    project = Project(path)
    project.remember(index, read, [chunk for chunk, _ in lost])
    results, labels = (MappingProxyType(found[kind]) for kind in (RESULTS, LABELS))
    yield Opened(project, replace(index.snapshot, results=results, labels=labels), tuple(notes))


def _index_or_copy(path: Path) -> Index:
    """The readable file or, where it is damaged, its copy; raises `ProjectError`."""
    try:
        return read_index(path)
    except ProjectVersionError:
        raise
    except ProjectError as error:
        if isinstance(error.__cause__, OSError):
            raise
        try:
            index = read_index(copy_path(path))
        except ProjectError:
            raise error from error.__cause__
        when = f"{index.saved_at.astimezone():%Y-%m-%d %H:%M:%S}"
        note = f"{error.message}. This is what its copy in {index.masks} says, of {when}."
        return replace(index, notes=(note, *index.notes))


def _folders(path: Path, index: Index) -> list[Path]:
    """Where the masks are: the second one if the readable file was renamed alone."""
    return [masks_folder(path), path.parent / index.masks]


def _read_chunk(chunk: Chunk, folders: Sequence[Path]) -> list[PackedResult]:
    """The frames of a file in the first folder that has it; raises `StorageError`."""
    try:
        places = [folder / chunk.name for folder in folders]
        place = next((item for item in places if item.exists()), places[0])
        data = read_bounded(place, chunk.nbytes)
    except FileNotFoundError as error:
        raise StorageError("missing") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"can't be read ({error})") from error
    return chunks.decode(chunk, data)


def _frames(read: Sequence[tuple[Chunk, list[PackedResult]]], kind: str) -> dict[int, PackedResult]:
    """The frames of one kind by number; of a frame that two files have, the first one's."""
    of_kind = [item for chunk, frames in read if chunk.kind == kind for item in frames]
    return {item.frame: item for item in reversed(of_kind)}


def _lost_note(
    kind: str, lost: Sequence[tuple[Chunk, str]], found: Container[int]
) -> Iterator[str]:
    """Says which frames are gone with files; not those that other files have."""
    gone = sorted({frame for chunk, _ in lost for frame in chunk.frames if frame not in found})
    if gone:
        chunk, why = lost[0]
        others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        yield (
            f"{_WORDS[kind]} of frames {_said(gone)} are lost: {chunk.name}: {why}{others}. "
            "They return if you put the files back from a backup."
        )


def _said(frames: Sequence[int]) -> str:
    text = said(frames)
    if len(text) <= _LONG:
        return text
    return f"{text[:_LONG].rpartition(', ')[0]} and others ({len(frames)} in all)"
