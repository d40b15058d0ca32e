"""Saving a project, by writing what changed."""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from moca_core.annotations import chunks
from moca_core.annotations.checked import read_bounded
from moca_core.annotations.chunks import FRAMES, LABELS, RESULTS, Chunk
from moca_core.annotations.model import PackedResult
from moca_core.annotations.project_index import (
    Index,
    copy_path,
    masks_folder,
    read_index,
    said,
    write_index,
)
from moca_core.annotations.snapshot import Snapshot
from moca_core.errors import (
    ProjectConflictError,
    ProjectError,
    ProjectVersionError,
    StorageError,
)
from moca_core.fileio import write_bytes
from moca_core.models.filelock import FileLock
from moca_core.types import StageEvent

_log = logging.getLogger(__name__)

_LOCK = ".lock"
_TRIES = 25
"""To get the lock, 0.2 s apart."""
_ABANDONED_S = 24 * 3600.0
"""Age from which a file that nothing refers to is of a save that was killed."""
_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")
"""As `fileio.atomic_write` names them."""


@dataclass(frozen=True, eq=False)
class _Known:
    """Files that are on disk, and the very frames that they were made of.

    Frames are immutable: the same ones need no other file. They aren't kept alive for that.
    """

    chunks: tuple[Chunk, ...]
    frames: tuple[weakref.ref[PackedResult], ...]

    def is_of(self, frames: Sequence[PackedResult]) -> bool:
        return len(frames) == len(self.frames) and all(
            ref() is item for ref, item in zip(self.frames, frames, strict=True)
        )


class Project:
    """A project that is saved again and again, by one job at a time.

    Parameters
    ----------
    path : of the readable file, which isn't there yet; see `open_project` for one that is.

    Attributes
    ----------
    saved_at : when it was saved last; None before.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.saved_at: datetime | None = None
        self._saved_id: str | None = None
        self._opened: Index | None = None
        self._lost: tuple[Chunk, ...] = ()
        self._known: dict[chunks.Place, _Known] = {}
        self._own: set[str] = set()  # files that are ours to delete
        self._listed: frozenset[str] = frozenset()  # those of the state on disk
        self._swept = False

    def remember(
        self,
        index: Index,
        read: Sequence[tuple[Chunk, Sequence[PackedResult]]],
        lost: Sequence[Chunk],
    ) -> None:
        """Take over what was opened: the files that could be read, and those that couldn't."""
        self.saved_at, self._saved_id = index.saved_at, index.saved_id
        self._opened, self._lost = index, tuple(lost)
        self._own = {chunk.name for chunk, _ in read}
        self._listed = frozenset(chunk.name for chunk in (*index.chunks, *index.lost))
        for chunk, frames in read:
            place = (chunk.kind, chunk.frames[0] // FRAMES)
            known = self._known.get(place, _Known((), ()))
            refs = tuple(map(weakref.ref, frames))
            self._known[place] = _Known((*known.chunks, chunk), (*known.frames, *refs))

    def save(self, snapshot: Snapshot, force: bool = False) -> Iterator[StageEvent]:
        """Write what changed since the last save, as a job.

        Until its end the old state is on disk, then the new one. Begun again after it was
        stopped halfway, it goes on where it was.

        Parameters
        ----------
        force : overwrite what another program saved meanwhile.

        Raises
        ------
        ProjectConflictError : without `force`, and another program did.
        ProjectVersionError : that was a newer one, whose file is never overwritten.
        StorageError : the disk is full, or the folder can't be written.
        """
        with _lock(masks_folder(self.path)) as lock:
            yield from self._wait_for(lock)
            self._check_unchanged(force)
            before = dict(self._known)
            try:
                yield from self._write_changed(snapshot)
                index = self._index(snapshot)
                write_index(index, self.path)
            except StorageError:
                self._take_back(before)
                raise
            _sync(self.path.parent)
            self.saved_at, self._saved_id = index.saved_at, index.saved_id
            self._lost = index.lost
            self._listed = frozenset(chunk.name for chunk in (*index.chunks, *index.lost))
            try:
                write_index(index, self.path, copy_path(self.path))
            except StorageError as error:
                _log.warning("%s", error)  # the older copy needs the files of the state before
            else:
                self._clean()

    def _wait_for(self, lock: FileLock) -> Iterator[StageEvent]:
        for _ in range(_TRIES):
            if lock.acquire():
                return
            yield StageEvent("waiting for another program that saves")
        raise ProjectError(
            f"{self.path}: another program is saving it", "Wait until it is done, and save again."
        )

    def _check_unchanged(self, force: bool) -> None:
        """Raise unless the file is the one that was opened or saved here, or is gone."""
        there = f"{self.path}: a project is there already"
        if self._saved_id is not None:
            there = f"{self.path}: another program saved it meanwhile"
        try:
            if read_index(self.path).saved_id == self._saved_id:
                return
        except ProjectVersionError:
            raise
        except ProjectError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return
            there = error.message
        if not force:
            raise ProjectConflictError(
                there, "Open it to see what is there, save under another name, or overwrite it."
            )

    def _has(self, place: chunks.Place, frames: Sequence[PackedResult]) -> bool:
        """Whether the files of these very frames are on disk."""
        known = self._known.get(place)
        if known is None or not known.is_of(frames):
            return False
        folder = masks_folder(self.path)
        return all(_size(folder / chunk.name) == chunk.nbytes for chunk in known.chunks)

    def _write_changed(self, snapshot: Snapshot) -> Iterator[StageEvent]:
        labels = chunks.places(LABELS, snapshot.labels)
        places = labels | chunks.places(RESULTS, snapshot.results)
        changed = [place for place, frames in places.items() if not self._has(place, frames)]
        for done, place in enumerate(changed):
            yield StageEvent("saving", done, len(changed))
            self._write(place, places[place])
        _sync(masks_folder(self.path))
        self._known = {place: self._known[place] for place in places}

    def _take_back(self, before: dict[chunks.Place, _Known]) -> None:
        """Give the space back of a save that failed: a smaller one may have to do with it."""
        for name in self._own - self._listed:
            _delete(masks_folder(self.path) / name)
        self._own &= self._listed
        self._known = {
            place: known
            for place, known in before.items()
            if self._listed.issuperset(chunk.name for chunk in known.chunks)
        }

    def _write(self, place: chunks.Place, frames: Sequence[PackedResult]) -> None:
        written = []
        for part in chunks.parts(frames):
            chunk, data = chunks.encode(place[0], part)
            if place[0] == LABELS:
                self._check(chunk, data)
            write_bytes(masks_folder(self.path) / chunk.name, data)
            self._own.add(chunk.name)
            written.append(chunk)
        self._known[place] = _Known(tuple(written), tuple(map(weakref.ref, frames)))

    def _check(self, chunk: Chunk, data: bytes) -> None:
        """Raise rather than write what a person made in a way that can't be read again."""
        try:
            chunks.decode(chunk, data)
        except StorageError as error:
            raise ProjectError(
                f"{self.path}: corrections of frames {said(chunk.frames)} can't be kept "
                f"({error.message})",
                "Take the last correction back, and report this fault of the program.",
            ) from error

    def _index(self, snapshot: Snapshot) -> Index:
        # Of a clip that is still being looked through not all frames are known.
        frame_count = max([snapshot.clip.frame_count - 1, *snapshot.results, *snapshot.labels]) + 1
        return Index(
            replace(snapshot, clip=replace(snapshot.clip, frame_count=frame_count)),
            saved_at=datetime.now(UTC).replace(microsecond=0),
            saved_id=secrets.token_hex(8),
            masks=masks_folder(self.path).name,
            chunks=tuple(chunk for known in self._known.values() for chunk in known.chunks),
            lost=tuple(chunk for chunk in self._lost if self._is_missed(chunk, snapshot)),
            extra=self._opened.extra if self._opened else {},
        )

    def _is_missed(self, chunk: Chunk, snapshot: Snapshot) -> bool:
        """Whether a file that couldn't be read had frames that nothing stands in for now."""
        if self._opened is not None and chunk.kind == RESULTS:
            old = self._opened.snapshot
            if (old.config, old.moved) != (snapshot.config, snapshot.moved):
                return False
        there = getattr(snapshot, chunk.kind)
        return any(frame not in there for frame in chunk.frames)

    def _clean(self) -> None:
        """Delete the files of the state before, and once what killed saves left."""
        folder = masks_folder(self.path)
        for name in self._own - self._listed:
            _delete(folder / name)
        self._own &= self._listed
        if self._swept:
            return
        self._swept = True
        for path in _files(folder):
            whole = chunks.NAME.fullmatch(path.name) and _is_whole(path)  # a damaged file stays
            if path.name not in self._listed and (whole or self._is_temporary(path)):
                _delete(path)
        for path in _files(self.path.parent):
            if self._is_temporary(path):
                _delete(path)

    def _is_temporary(self, path: Path) -> bool:
        """Whether it is what a save of this project has until it has all of a file."""
        match = _TEMPORARY.fullmatch(path.name)
        readable = (self.path, copy_path(self.path))
        return match is not None and (
            path.with_name(match[1]) in readable or chunks.NAME.fullmatch(match[1]) is not None
        )


def _lock(folder: Path) -> FileLock:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / _LOCK)
    except OSError as error:
        raise StorageError(
            f"{folder}: masks can't be saved there ({error.strerror or error})",
            "Check the free space and the permissions of the folder, or save under another name.",
        ) from error


def _size(path: Path) -> int:
    """Bytes of a file, -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _sync(folder: Path) -> None:
    """Wait until the disk has the names of the files, where the system knows how to."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _files(folder: Path) -> Iterator[Path]:
    """The old files of a folder, which no save that goes on can be writing."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            with suppress(OSError):
                facts = path.lstat()
                old = time.time() - facts.st_mtime > _ABANDONED_S
                if old and path.is_file() and not path.is_symlink():
                    yield path


def _is_whole(path: Path) -> bool:
    try:
        return chunks.is_whole(path.name, read_bounded(path, chunks.MOST_BYTES))
    except (OSError, ValueError):
        return False


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("%s can't be deleted (%s)", path, error)
