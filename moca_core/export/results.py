"""The folder that `moca segment` writes for a clip: masks, objects.json, summary.json."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import moca_core
from moca_core.errors import StorageError
from moca_core.fileio import write_bytes, write_json
from moca_core.pipeline import rle
from moca_core.pipeline.note_rows import to_rows
from moca_core.types import FrameResult, Mask

_NO_FILTER = (
    (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
    if hasattr(cv2, "IMWRITE_PNG_FILTER_NONE")
    else ()
)
_LIBRARIES = ("torch", "numpy", "opencv-python-headless", "av", "scikit-learn", "ai-edge-litert")


class ResultsWriter:
    """Writes the results of one clip below `folder` as they come.

    `masks/frame_000123.png` (0/255, union of the objects) is written at once; `objects.json` and
    `summary.json` by `finish`, which after a complete run also removes what an earlier one left.

    Parameters
    ----------
    folder : the clip's own folder; it is created.
    save_maps : also write the intermediates of a frame to `maps/frame_000123.npz`, and what
        became of its proposals to `maps/frame_000123.json`.

    Raises
    ------
    StorageError : the folder can't be written.
    """

    def __init__(self, folder: Path, save_maps: bool = False) -> None:
        self.folder = Path(folder)
        self.frames = 0
        self.empty: dict[str, int] = {}
        self._save_maps = save_maps
        self._rows: list[dict[str, Any]] = []
        self._stages: dict[str, float] = {}
        self._written: set[Path] = set()
        prepare_folder(self.folder / "masks")

    def add(self, result: FrameResult) -> None:
        """Write a frame; raises `StorageError`."""
        name = f"frame_{result.frame:06d}"
        self._write(self.folder / "masks" / f"{name}.png", png(result.union))
        if self._save_maps and result.maps:
            buffer = io.BytesIO()
            arrays: dict[str, Any] = dict(result.maps)
            np.savez_compressed(buffer, **arrays)
            self._write(self.folder / "maps" / f"{name}.npz", buffer.getvalue())
            notes = json.dumps({"proposals": to_rows(result.proposals)}, indent=1)
            self._write(self.folder / "maps" / f"{name}.json", notes.encode())
        if result.key:
            # Masks as run lengths: a few kilobytes a key frame, so that long clips fit.
            self._rows.append(objects_row(result))
            for stage, seconds in result.seconds.items():
                self._stages[stage] = self._stages.get(stage, 0.0) + seconds
        if not result.objects:
            self.empty[result.reason] = self.empty.get(result.reason, 0) + 1
        self.frames += 1

    def _write(self, path: Path, data: bytes) -> None:
        # Without waiting for the disk, which would take longer than finding the mask.
        write_bytes(path, data, sync=False)
        self._written.add(path)

    def finish(self, summary: Mapping[str, Any], complete: bool = True) -> None:
        """Write `objects.json` and `summary.json`; raises `StorageError`.

        Parameters
        ----------
        summary : what the caller knows (clip, config, device, ...); counts, stage times and
            versions are added.
        complete : every frame was written. Else masks of an earlier run stay: they aren't replaced.
        """
        write_json(self.folder / "objects.json", {"frames": self._rows})
        counts = {
            "frames": self.frames,
            "key_frames": len(self._rows),
            "empty_frames": self.empty,
            "stage_seconds": {name: round(value, 4) for name, value in self._stages.items()},
            "versions": versions(),
        }
        write_json(self.folder / "summary.json", {**summary, **counts})
        if not complete:
            return
        for stale in (*self.folder.glob("masks/frame_*.png"), *self.folder.glob("maps/frame_*")):
            if stale not in self._written:
                stale.unlink(missing_ok=True)


def prepare_folder(folder: Path) -> None:
    """Create `folder` and see that files can be written there; raises `StorageError`."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f"{folder}: can't be written ({error.strerror or error})",
            "Choose another folder, or change its permissions.",
        ) from error


def prepare_file(path: Path) -> None:
    """Create the folder of a file and see that the file can be written; raises `StorageError`."""
    prepare_folder(path.parent)
    if path.is_dir():
        raise StorageError(f"{path}: is a folder", "Give the name of a file.")


def objects_row(result: FrameResult) -> dict[str, Any]:
    """A key frame's entry in `objects.json`; `rle` is COCO's compressed run lengths."""
    return {
        "frame": result.frame,
        "time": result.time_s,
        "size": list(result.size),
        "window": list(result.window_s),
        "reason": result.reason,
        "coarse": result.coarse,
        "heard": [{"name": name, "weight": weight} for name, weight in result.heard],
        "objects": [
            {
                "number": item.number,
                "name": item.name,
                "score": item.score,
                "box": list(item.box),
                "rle": rle.encode(item.mask),
            }
            for item in result.objects
        ],
    }


def png(mask: Mask) -> bytes:
    """A (H, W) mask as an 8-bit PNG, 0 or 255; raises `StorageError`."""
    # Trying PNG's filters costs four times as long, and a mask's rows need none.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, *_NO_FILTER]
    done, data = cv2.imencode(".png", mask.view(np.uint8) * np.uint8(255), options)
    if not done:
        raise StorageError(f"a mask of {mask.shape[1]}x{mask.shape[0]} pixels can't be encoded")
    return data.tobytes()


def versions() -> dict[str, str]:
    """Versions of the program and of what its numbers depend on."""
    found = {"moca": moca_core.__version__, "python": sys.version.split()[0]}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
