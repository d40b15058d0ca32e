"""What the frozen blocks make of each item, computed once and kept on disk.

Blocks below the first adapter don't change, nor does what is heard: an iteration then costs only
the last blocks. Rows are appended to two plain files and mapped into memory when they are read. An
item counts as there when its line is in the index, which is written after its row has reached the
disk, so that a run that is killed leaves whole rows only.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from moca_core.errors import StorageError
from moca_core.models.filelock import FileLock
from moca_core.training.feature_folders import InUse, make_room

_HINT = "Free some space, or set MOCA_CACHE_DIR to a folder on a larger disk."
_ITEMSIZE = 2  # float16
_MOST_RUNS = 32
"""That compute features in one folder at a time."""


class ShardTakenError(StorageError):
    """Another process writes these files."""


@dataclass(frozen=True)
class FeatureShape:
    """Shapes of one item: visual tokens (1 + N, Dv) and audio tokens (M, Da)."""

    visual: tuple[int, int]
    audio: tuple[int, int]

    @property
    def visual_bytes(self) -> int:
        """Bytes of one item's visual tokens on disk."""
        return self.visual[0] * self.visual[1] * _ITEMSIZE

    @property
    def audio_bytes(self) -> int:
        """Bytes of one item's audio tokens on disk."""
        return self.audio[0] * self.audio[1] * _ITEMSIZE

    @property
    def item_bytes(self) -> int:
        """Bytes of one item on disk."""
        return self.visual_bytes + self.audio_bytes


class FeatureCache:
    """Features of items by their keys, in float16.

    Parameters
    ----------
    folder : one for each set of encoders, first adapted block, and data; made if it isn't there,
        and kept from being removed until the cache is closed.
    shape : of one item.
    shard : name of the files that this process writes; processes side by side have their own. All
        shards are read.

    Raises
    ------
    StorageError : the folder can't be written, or holds features of other shapes.
    ShardTakenError : another process writes this shard.
    """

    def __init__(self, folder: Path, shape: FeatureShape, shard: str = "0") -> None:
        self.folder, self.shape, self.shard = folder, shape, shard
        self._rows: dict[str, tuple[str, int]] = {}
        self._maps: dict[tuple[str, str], NDArray[np.float16]] = {}
        with ExitStack() as files, ExitStack() as used:
            try:
                self._use = InUse(folder)
                used.callback(self._use.close)
                if not files.enter_context(FileLock(folder / f"{shard}.lock")).acquire():
                    raise ShardTakenError(
                        f"{folder}: another process is writing features there",
                        "Wait for it, or choose another folder.",
                    )
                self._check_shape()
                self._read_indexes()
                self._open_shard(files)
            except OSError as error:
                raise StorageError(
                    f"{folder}: features can't be kept ({error.strerror or error})", _HINT
                ) from error
            self._files, self._used = files.pop_all(), used.pop_all()

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, key: str, visual: NDArray[np.floating], audio: NDArray[np.floating]) -> None:
        """Keep the features of an item; nothing if they are there.

        Raises
        ------
        StorageError : the disk is full. What was there before stays.
        """
        if key in self._rows:
            return
        for values, shape in ((visual, self.shape.visual), (audio, self.shape.audio)):
            if values.shape != shape:
                raise ValueError(f"{values.shape} for {shape}")
        row = self._count
        try:
            for stream, values, size in (
                (self._visual, visual, self.shape.visual_bytes),
                (self._audio, audio, self.shape.audio_bytes),
            ):
                # A row that a kill or a full disk cut short is written over.
                stream.seek(row * size)
                stream.write(np.ascontiguousarray(values, dtype=np.float16).tobytes())
                stream.flush()
                os.fsync(stream.fileno())
            self._index.write((json.dumps([key, row]) + "\n").encode())
            self._index.flush()
        except OSError as error:
            raise StorageError(
                f"{self.folder}: features can't be kept ({error.strerror or error})", _HINT
            ) from error
        self._count += 1
        self._rows[key] = (self.shard, row)

    def visual(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """(B, 1 + N, Dv) float32 of items that are there; raises `KeyError`."""
        self._use.touch()
        return np.stack([self._row(key, "visual") for key in keys]).astype(np.float32)

    def audio(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """(B, M, Da) float32 of items that are there; raises `KeyError`."""
        return np.stack([self._row(key, "audio") for key in keys]).astype(np.float32)

    def ensure_space(self, count: int) -> None:
        """Raise `StorageError` unless the disk has room for so many more items.

        Features of other data that weren't used for longest make room, see `feature_folders`.
        """
        needed = count * self.shape.item_bytes
        make_room(self.folder, needed)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise StorageError(
                f"{self.folder}: features of {count} items need {needed / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free",
                _HINT,
            )

    def reload(self) -> None:
        """See what other processes have added since; raises `StorageError`."""
        try:
            self._index.flush()
            self._read_indexes()
        except OSError as error:
            raise StorageError(
                f"{self.folder}: can't be read ({error.strerror or error})", _HINT
            ) from error

    def end_writing(self) -> None:
        """Let others write this shard; what is there can still be read."""
        self._files.close()

    def close(self) -> None:
        """Release the files. May be called twice."""
        self._maps.clear()
        self._files.close()
        self._used.close()

    def _row(self, key: str, kind: str) -> NDArray[np.float16]:
        shard, row = self._rows[key]
        mapped = self._maps.get((shard, kind))
        if mapped is None or row >= len(mapped):
            shape = self.shape.visual if kind == "visual" else self.shape.audio
            path = self.folder / f"{shard}.{kind}"
            count = path.stat().st_size // (shape[0] * shape[1] * _ITEMSIZE)
            mapped = np.memmap(path, np.float16, "r", shape=(count, *shape))
            self._maps[shard, kind] = mapped
        return mapped[row]

    def _check_shape(self) -> None:
        path = self.folder / "shape.json"
        wanted = [list(self.shape.visual), list(self.shape.audio)]
        if not path.exists():
            path.write_text(json.dumps(wanted))
        elif json.loads(path.read_text()) != wanted:
            raise StorageError(
                f"{self.folder}: holds features of other shapes", "Choose another folder."
            )

    def _read_indexes(self) -> None:
        for path in sorted(self.folder.glob("*.index")):
            shard = path.stem
            for line in path.read_bytes().split(b"\n")[:-1]:
                # The last line, which a kill may have cut short, ends without a line break.
                key, row = json.loads(line)
                self._rows[key] = (shard, row)

    def _open_shard(self, files: ExitStack) -> None:
        path = self.folder / f"{self.shard}.index"
        whole = path.read_bytes() if path.exists() else b""
        whole = whole[: whole.rfind(b"\n") + 1]
        self._count = whole.count(b"\n")
        self._index = files.enter_context(_for_update(path))
        self._index.truncate(len(whole))
        self._index.seek(len(whole))
        visual, audio = (self.folder / f"{self.shard}.{kind}" for kind in ("visual", "audio"))
        self._visual = files.enter_context(_for_update(visual))
        self._audio = files.enter_context(_for_update(audio))


def _for_update(path: Path) -> IO[bytes]:
    path.touch()
    return path.open("r+b")


def open_cache(folder: Path, shape: FeatureShape, rank: int = 0, count: int = 1) -> FeatureCache:
    """The cache in a folder with a shard that no other process writes.

    Runs side by side may compute the same features then; it costs time, and harms nothing.

    Parameters
    ----------
    rank, count : which of how many processes of one run asks; no two ask for the same shard.

    Raises
    ------
    StorageError : see `FeatureCache`.
    """
    for turn in range(_MOST_RUNS):
        with suppress(ShardTakenError):
            return FeatureCache(folder, shape, str(rank + turn * count))
    return FeatureCache(folder, shape, str(rank))
