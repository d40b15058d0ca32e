"""Projects: `dog.moca.json`, readable and small, beside `dog.mp4`, and the masks in `dog.moca`.

A save writes the files of masks that changed, then the readable file in the place of the old one,
and then deletes what nothing refers to any more: a kill at any moment leaves the old or the new
state. See docs/guide/projects.md for the format and docs/adr/0030 for the reasons.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from moca_core.annotations import chunks
from moca_core.annotations.chunks import KINDS, LABELS, RESULTS, Chunk
from moca_core.annotations.model import PackedResult
from moca_core.annotations.project_index import (
    SUFFIX,
    VERSION,
    masks_folder,
    read_bounded,
    read_index,
    said,
)
from moca_core.annotations.saving import Project
from moca_core.annotations.snapshot import ClipRef, Snapshot, View
from moca_core.errors import MediaError, ProjectError, StorageError
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


def project_path(clip: Path) -> Path:
    """The project of a clip: `dog.moca.json` beside `dog.mp4`.

    Where that one belongs to another clip (`dog.mov`), it is `dog.mp4.moca.json`.
    """
    clip = Path(clip)
    short, long = clip.with_name(clip.stem + SUFFIX), clip.with_name(clip.name + SUFFIX)
    if long.exists():
        return long
    try:
        ref = read_index(short).snapshot.clip
    except ProjectError:
        return short  # it isn't there; or whoever opens it is told what is the matter
    return short if ref.path.name == clip.name or is_clip(ref, clip) else long


def find_clip(ref: ClipRef, project: Path) -> Path | None:
    """Where the clip of a project is now: as seen from the project, where it was, or beside it.

    A file by its name counts only if its content is the clip's. None: it isn't at any of them.
    """
    places = [project.parent / ref.relative] if ref.relative else []
    for path in dict.fromkeys([*places, ref.path, project.parent / ref.path.name]):
        if is_clip(ref, path):
            return Path(os.path.normpath(path))
    return None


def is_clip(ref: ClipRef, path: Path) -> bool:
    """Whether a file's content is that of the clip."""
    from moca_core.media.probe import clip_hash  # imports PyAV

    try:
        return clip_hash(path) == ref.hash
    except (MediaError, OSError):
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
    are read again when they are back.
    """
    path = Path(path).absolute()
    index = read_index(path)
    folders = [masks_folder(path)]
    if index.masks != folders[0].name:
        folders.append(path.parent / index.masks)  # the readable file was renamed alone
    found: dict[str, dict[int, PackedResult]] = {kind: {} for kind in KINDS}
    read, lost = [], []
    listed = [*index.chunks, *index.lost]
    for done, chunk in enumerate(listed):
        yield StageEvent("opening", done, len(listed))
        try:
            frames = _read_chunk(chunk, folders, index.snapshot.clip.frame_count)
        except StorageError as error:
            lost.append((chunk, error.message))
            continue
        read.append((chunk, frames))
        new = found[chunk.kind]
        new.update((item.frame, item) for item in frames if item.frame not in new)
    project = Project(path)
    project.remember(index, read, [chunk for chunk, _ in lost])
    snapshot = replace(
        index.snapshot,
        results=MappingProxyType(found[RESULTS]),
        labels=MappingProxyType(found[LABELS]),
    )
    notes = (*index.notes, *_lost_notes(lost, found, folders[0]))
    yield Opened(project, snapshot, notes)


def _read_chunk(chunk: Chunk, folders: Sequence[Path], frame_count: int) -> list[PackedResult]:
    """The frames of a file in the first folder that has it; raises `StorageError`."""
    folder = next((item for item in folders if (item / chunk.name).exists()), folders[0])
    try:
        data = read_bounded(folder / chunk.name, chunk.nbytes)
    except FileNotFoundError as error:
        raise StorageError("missing") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"can't be read: {error}") from error
    return chunks.decode(chunk, data, frame_count)


def _lost_notes(
    lost: Iterable[tuple[Chunk, str]], found: Mapping[str, Mapping[int, Any]], folder: Path
) -> Iterator[str]:
    """Says which frames are gone with the files; those that others have too are not."""
    what = {LABELS: "corrections", RESULTS: "results"}
    for chunk, why in lost:
        gone = [frame for frame in chunk.frames if frame not in found[chunk.kind]]
        if gone:
            yield (
                f"{folder.name}/{chunk.name}: {why}. The {what[chunk.kind]} of frames "
                f"{said(gone)} are lost, unless you put the file back from a backup."
            )
