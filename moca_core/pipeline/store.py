"""Results on disk, keyed by the clip's content, the frame and the configuration.

A second run is instant and an interrupted one continues. One file a frame, written atomically; a
damaged file counts as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moca_core import paths
from moca_core.config import SegmentConfig, fingerprint
from moca_core.errors import StorageError
from moca_core.fileio import write_bytes
from moca_core.media.probe import clip_hash
from moca_core.pipeline import rle
from moca_core.pipeline.note_rows import from_rows, to_rows
from moca_core.types import REASON_NO_AUDIO, REASON_SILENT, FrameResult, SoundingObject

if TYPE_CHECKING:
    from moca_core.pipeline.matching import MatchSettings

_log = logging.getLogger(__name__)

METHOD_VERSION = 2
"""Raised whenever the pipeline gives other results for the same configuration."""
_LIMIT_BYTES = 4 * 2**30
_SLACK = 0.1
"""Share of the limit that is freed at once, and that is written between two looks."""
_NOTES = "proposals.json"
"""Beside the maps in their archive."""
_ABANDONED_S = 24 * 3600.0
"""Age from which a file that was never finished belongs to a process that was ended."""
_WITHOUT_MAPS = (REASON_NO_AUDIO, REASON_SILENT)
"""Reasons for which no encoder ran, so that there are no intermediates."""


class ResultStore:
    """All stored results of this user.

    Parameters
    ----------
    root : the folder; by default the cache's.
    limit_bytes : above it the files not used for longest are dropped while new ones are saved.
    """

    def __init__(self, root: Path | None = None, limit_bytes: int = _LIMIT_BYTES) -> None:
        self.root = root or paths.results_dir()
        self.limit_bytes = limit_bytes
        self._unchecked: int | None = None  # bytes written since the last look; None: never looked

    def open(
        self, clip: Path, config: SegmentConfig, settings: MatchSettings | None = None
    ) -> ClipStore:
        """The results of one clip under one configuration and one set of thresholds.

        Raises
        ------
        MediaError : the clip can't be read.
        StorageError : the folder can't be made.
        """
        folder = self.root / clip_hash(clip) / method_key(config, settings)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{folder}: results can't be kept ({error.strerror or error})",
                "Free some space, or set MOCA_CACHE_DIR to a folder that can be written.",
            ) from error
        return ClipStore(folder, self._note_written)

    def _note_written(self, size: int) -> None:
        """Look at the total now and then: listing many files takes a while."""
        if self._unchecked is not None:
            self._unchecked += size
            if self._unchecked < self.limit_bytes * _SLACK:
                return
        self._unchecked = 0
        self.prune()

    def prune(self) -> None:
        """Drop the files not used for longest until the limit is kept."""
        found = []
        for path in self.root.rglob("*frame_*"):
            # Another process may prune too.
            with contextlib.suppress(OSError):
                facts = path.stat()
                if path.name.startswith("frame_"):
                    found.append((facts.st_mtime_ns, facts.st_size, path))
                elif time.time() - facts.st_mtime > _ABANDONED_S:
                    path.unlink()
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit_bytes * (1 - _SLACK):
                return
            total -= size
            with contextlib.suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # only succeeds on the last file
                path.parent.parent.rmdir()


def method_key(config: SegmentConfig, settings: MatchSettings | None) -> str:
    """Names what the results depend on besides the clip: other thresholds, other results."""
    # They import torch, which whoever segments has imported already.
    from moca_core.models.bundles import default_settings, look_settings

    parts = (config, *look_settings(config), settings or default_settings(config))
    key = [*(fingerprint(part)[:8] for part in parts), str(METHOD_VERSION)]
    own = _own_weights(config)
    return "-".join([*key, own] if own else key)


def _own_weights(config: SegmentConfig) -> str:
    """Names the user's own files in the place of published ones by their content; "" if none."""
    from moca_core.models.specs import rows_for
    from moca_core.models.weights import hash_of, is_own

    hashes = [hash_of(row) for row in rows_for(config.bundle, config.sam) if is_own(row)]
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:8] if hashes else ""


_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, StorageError)


class ClipStore:
    """Results of one clip under one configuration, a file a frame."""

    def __init__(self, folder: Path, written: Callable[[int], None] = lambda size: None) -> None:
        self.folder = folder
        self._written = written

    def frames(self) -> list[int]:
        """Numbers of the stored frames, ascending."""
        return sorted(
            int(path.stem.removeprefix("frame_")) for path in self.folder.glob("frame_*.json")
        )

    def load(self, frame: int, maps: bool = False) -> FrameResult | None:
        """The stored result, or None if there is none (with `maps` if they are asked for)."""
        path = self._path(frame)
        try:
            result = _from_row(json.loads(path.read_bytes()))
            if maps and result.reason not in _WITHOUT_MAPS:
                result = _with_maps(result, path.with_suffix(".npz"))
        except FileNotFoundError:
            return None
        except _DAMAGE as error:
            _log.warning("%s is damaged and will be computed again (%s)", path, error)
            return None
        for used in (path, path.with_suffix(".npz")) if result.maps else (path,):
            with contextlib.suppress(OSError):
                os.utime(used)  # so that it is dropped late
        return result

    def save(self, result: FrameResult) -> None:
        """Store a result; raises `StorageError` where the disk is full or can't be written."""
        path = self._path(result.frame)
        if result.maps:
            buffer = io.BytesIO()
            maps: dict[str, Any] = {
                name: values.astype(np.float16) if values.dtype.kind == "f" else values
                for name, values in result.maps.items()
            }
            notes = json.dumps(to_rows(result.proposals)).encode()
            maps[_NOTES] = np.frombuffer(notes, np.uint8)
            np.savez_compressed(buffer, **maps)
            self._write(path.with_suffix(".npz"), buffer.getvalue())
        self._write(path, json.dumps(_to_row(result)).encode())

    def _write(self, path: Path, data: bytes) -> None:
        try:
            # What a power cut takes is computed again: no wait for the disk, frame by frame.
            write_bytes(path, data, sync=False)
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            # Another process dropped the last file here, and the folder, at this moment.
            write_bytes(path, data, sync=False)
        self._written(len(data))

    def _path(self, frame: int) -> Path:
        return self.folder / f"frame_{frame:06d}.json"


def _with_maps(result: FrameResult, path: Path) -> FrameResult:
    """A result with the maps and the notes on proposals that are kept in `path`."""
    try:
        with np.load(path) as archive:
            maps = {name: archive[name] for name in archive.files}
        notes = json.loads(maps.pop(_NOTES).tobytes())
        exact = {
            name: values.astype(np.float32) if values.dtype.kind == "f" else values
            for name, values in maps.items()
        }
        return replace(result, maps=exact, proposals=from_rows(notes))
    except FileNotFoundError:
        raise
    except Exception as error:
        # A damaged archive fails in many ways: sums, encryption, methods, headers, sizes.
        raise StorageError(f"{path.name}: {error}") from error


def _to_row(result: FrameResult) -> dict[str, Any]:
    return {
        "frame": result.frame,
        "time_s": result.time_s,
        "size": list(result.size),
        "reason": result.reason,
        "window_s": list(result.window_s),
        "key": result.key,
        "between": list(result.between),
        "coarse": result.coarse,
        "heard": [[name, weight] for name, weight in result.heard],
        "seconds": dict(result.seconds),
        "objects": [
            {
                "number": item.number,
                "name": item.name,
                "score": item.score,
                "mask": rle.encode(item.mask),
            }
            for item in result.objects
        ],
    }


def _from_row(row: dict[str, Any]) -> FrameResult:
    height, width = row["size"]
    if any(item["mask"]["size"] != [height, width] for item in row["objects"]):
        raise StorageError("a mask of another size than the frame")
    return FrameResult(
        frame=row["frame"],
        time_s=row["time_s"],
        size=(height, width),
        objects=tuple(
            SoundingObject(item["number"], item["name"], item["score"], rle.decode(item["mask"]))
            for item in row["objects"]
        ),
        reason=row["reason"],
        window_s=(row["window_s"][0], row["window_s"][1]),
        key=row["key"],
        between=tuple(row["between"]),
        coarse=row["coarse"],
        heard=tuple((name, weight) for name, weight in row["heard"]),
        seconds=row["seconds"],
    )
