"""Work that several processes share: which part is whose, and what each has done, told by files.

`torchrun` and others set RANK and WORLD_SIZE. The processes needn't speak with each other, nor run
at the same time: each appends lines to a ledger of its own in one folder, and reads those of all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from moca_core.errors import ConfigError, MocaError, StorageError
from moca_core.models.filelock import FileLock
from moca_core.types import StageEvent

_LOOK_S = 0.5
_ARRIVE_S = 120.0
"""Longest that processes on one machine start one after the other."""
_SILENT_S = 900.0
"""Without a sign for so long, a process on another machine is gone: its lock may not show here."""
_SETTLE_S = 2.0
"""What a process wrote last may come a moment after its lock is free."""


class ShareError(MocaError):
    """Another process has ended, or never came: what it should have done is missing."""


@dataclass(frozen=True)
class Share:
    """Which of how many processes this one is.

    Attributes
    ----------
    rank, count : number of this one, from 0, of all.
    local, beside : its number on its machine, and how many of the first ones are on the machine of
        rank 0.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    beside: int = 1

    @property
    def first(self) -> bool:
        """Whether this one puts together what all have done."""
        return self.rank == 0

    def owner(self, number: int) -> int:
        """The rank of the process that does the piece of work `number`, from 0."""
        return number % self.count


def own_share() -> Share:
    """The share that the environment names, all of the work without one; raises `ConfigError`."""
    if "RANK" not in os.environ and "WORLD_SIZE" not in os.environ:
        return Share()
    rank, count = _number("RANK"), _number("WORLD_SIZE")
    if not rank < count:
        raise ConfigError(
            f"RANK = {rank} of WORLD_SIZE = {count}", "Ranks count from 0; torchrun sets both."
        )
    return Share(rank, count, _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", 1))


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(
            f"{name} = {text!r} is not a number",
            "Start the processes with torchrun, or set RANK and WORLD_SIZE for each of them.",
        )
    return int(text)


def own_device(request: str, share: Share) -> str:
    """What `--device` means for one of several processes: with `auto` a GPU of its own."""
    if request not in ("auto", "cuda") or share.count == 1:
        return request
    from torch import cuda

    cards = cuda.device_count() if cuda.is_available() else 0
    return f"cuda:{share.local % cards}" if cards > 1 else request


class Ledger:
    """Lines of JSON in a folder, a file for each process: `<name>-<rank>.jsonl`.

    A line that a kill cut short doesn't count, in one's own file and in those of others. While the
    ledger is open, its process holds a lock, which the system frees when it ends in any way.

    Parameters
    ----------
    folder : where the files are; it must be there.
    name : what the files' names begin with.
    anew : what one's own file holds is forgotten.
    """

    def __init__(self, folder: Path, name: str, share: Share, anew: bool = False) -> None:
        self.folder, self.name, self.share = folder, name, share
        self._anew = anew
        self._read: dict[Path, int] = {}
        self._lock: FileLock | None = None
        self._stream: IO[bytes] | None = None

    def path(self, rank: int) -> Path:
        """The file of a process."""
        return self.folder / f"{self.name}-{rank}.jsonl"

    def __enter__(self) -> Ledger:
        """Take one's own file.

        Raises
        ------
        ConfigError : another process has it.
        StorageError : it can't be written.
        """
        path = self.path(self.share.rank)
        try:
            self._lock = FileLock(self._lock_path(self.share.rank))
            # Another one may hold it for a moment, to see whether this one is there.
            if not any(self._lock.acquire(0.1) for _ in range(20)):
                self.close()
                raise ConfigError(
                    f"{self.folder}: another process is at work here",
                    "Wait until it has ended, or choose another folder.",
                )
            self._stream = path.open("ab")
            self._stream.truncate(0 if self._anew else _whole_lines(path))
        except OSError as error:
            self.close()
            raise _cannot_write(path, error) from error
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others have one's own file. May be called twice."""
        if self._stream is not None:
            self._stream.close()
        if self._lock is not None:
            self._lock.__exit__()
        self._stream = self._lock = None

    def add(self, line: str) -> None:
        """Append a line of JSON, which ends with its line break; raises `StorageError`."""
        assert self._stream is not None  # it is entered
        try:
            self._stream.write(line.encode())
            self._stream.flush()
        except OSError as error:
            raise _cannot_write(self.path(self.share.rank), error) from error

    def news(self) -> Iterator[str]:
        """Lines of all processes that weren't read yet; raises `StorageError`."""
        for path in sorted(self.folder.glob(f"{self.name}-*.jsonl")):
            before = self._read.get(path, 0)
            try:
                with path.open("rb") as stream:
                    # It is shorter where its process began it anew.
                    size = stream.seek(0, os.SEEK_END)
                    stream.seek(before if before <= size else 0)
                    for line in stream:
                        if not line.endswith(b"\n"):
                            break
                        yield line.decode(errors="replace")
                        self._read[path] = stream.tell()
            except OSError as error:
                raise StorageError(
                    f"{path}: can't be read ({error.strerror or error})", "Check its permissions."
                ) from error

    def at_work(self, rank: int) -> bool:
        """Whether the process of that rank has the ledger open, as far as this machine can tell."""
        path = self._lock_path(rank)
        if not path.exists():
            return False
        with FileLock(path) as lock:
            return not lock.acquire(0)

    def _lock_path(self, rank: int) -> Path:
        return self.folder / f".{self.name.lstrip('.')}-{rank}.lock"


class Watch:
    """Sees whether the other processes of a ledger are at work, and waits for them.

    Parameters
    ----------
    ledger : of this process; open.
    unit : what is counted, such as `cases`.
    """

    def __init__(self, ledger: Ledger, unit: str) -> None:
        self._ledger, self._unit = ledger, unit
        self._began = time.monotonic()
        self._alive: dict[int, float] = {}  # when a rank last showed that it is
        self._sizes: dict[int, int] = {}
        self._locked: set[int] = set()  # ranks whose lock shows here while they work
        # Some network drives know no locks.
        locks = ledger.at_work(ledger.share.rank)
        self._near = set(range(ledger.share.beside)) if locks else set()

    def look(self) -> None:
        """Note who is at work. Call it now and then: what ends before it was seen is waited for."""
        share, now = self._ledger.share, time.monotonic()
        for rank in range(share.count):
            if rank == share.rank:
                continue
            size = _size(self._ledger.path(rank))
            if self._ledger.at_work(rank):
                self._locked.add(rank)
                self._alive[rank] = now
            elif size != self._sizes.get(rank, size):
                self._alive[rank] = now
            self._sizes[rank] = size

    def until_done(self, owed: Callable[[], Mapping[int, int]], total: int) -> Iterator[StageEvent]:
        """Go on when nobody owes anything; yields while it waits, for hours if need be.

        Parameters
        ----------
        owed : reads how many pieces of work each rank hasn't told yet; those that owe none are left
            out.
        total : pieces of work of all.

        Raises
        ------
        ShareError : processes that owe something have ended, or never came.
        """
        while True:
            # In this order: who ends in between has told everything before.
            self.look()
            owing = owed()
            if not owing:
                return
            gone = [rank for rank in owing if self._is_gone(rank)]
            if len(gone) == len(owing):
                raise _missing(gone, sum(owing.values()), total, self._unit, self._ledger.folder)
            left = total - sum(owing.values())
            yield StageEvent("Waiting for the other processes", left, total)
            time.sleep(_LOOK_S)

    def _is_gone(self, rank: int) -> bool:
        silent_s = time.monotonic() - self._alive.get(rank, self._began)
        if rank in self._locked or (rank in self._near and rank in self._alive):
            return silent_s > _SETTLE_S
        return silent_s > (_ARRIVE_S if rank in self._near else _SILENT_S)


def _missing(gone: Sequence[int], count: int, total: int, unit: str, folder: Path) -> ShareError:
    ranks = ", ".join(str(rank) for rank in sorted(gone))
    which = f"process {ranks} is" if len(gone) == 1 else f"processes {ranks} are"
    return ShareError(
        f"{which} gone: {count} of {total} {unit} are missing",
        f"What is done is kept in {folder}. Run the same command again, with any number of "
        "processes: it does what is missing.",
    )


def _whole_lines(path: Path) -> int:
    """Bytes of a file up to the end of its last whole line."""
    end = 0
    with path.open("rb") as stream:
        for line in stream:
            if line.endswith(b"\n"):
                end += len(line)
    return end


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path}: can't be written ({error.strerror or error})",
        "Check the free space and the permissions of the folder, or choose another one.",
    )
