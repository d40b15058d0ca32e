"""The intermediates of the method as one NPZ a clip, for those that were saved (`--save-maps`)."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from moca_core.errors import StorageError
from moca_core.export.clips import ExportClip
from moca_core.export.exporter import ExportEvent, ExportSettings
from moca_core.fileio import atomic_write
from moca_core.types import NoteEvent, StageEvent

_REMEDY = (
    "Run `moca segment` again with --save-maps; in the window: Run > Keep maps of every key frame."
)


def write(
    clips: Sequence[ExportClip], out: Path, settings: ExportSettings
) -> Iterator[ExportEvent]:
    """Write `<clip>.npz`: one array of n frames for each map, and what says which frames.

    `frames` (n,) int64, `times_s` (n,) float64, `masks` (n, H, W) bool, the union of the objects,
    of the frames with maps, or of all where there are no maps;
    `all_frames`, `all_times_s`, `all_reasons`: every frame whose objects are known, with its
    reason for an empty mask.
    """
    for place, clip in enumerate(clips):
        numbers = [number for number in clip.known if clip.has_maps(number)]
        if not numbers:
            yield NoteEvent(f"{clip.name}: masks only, no maps were saved. {_REMEDY}")
        path = out / f"{clip.name}.npz"
        yield from _write_clip(clip, numbers or list(clip.known), path, place, len(clips))


def _write_clip(
    clip: ExportClip, numbers: list[int], path: Path, done: int, total: int
) -> Iterator[StageEvent]:
    """One frame at a time: the maps of a long clip needn't fit into memory."""
    first = clip.maps(numbers[0]) if clip.has_maps(numbers[0]) else {}

    def mask(number: int) -> NDArray:
        return clip.union(number)

    parts: dict[str, Callable[[int], NDArray]] = {"masks": mask}
    parts |= {name: _reader(clip, name, values) for name, values in first.items()}
    shapes = {"masks": (np.dtype(bool), clip.size)}
    shapes |= {name: (values.dtype, values.shape) for name, values in first.items()}
    with atomic_write(path, sync=False) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, values in _tables(clip, numbers).items():
            _add(archive, name, values.dtype, values.shape, iter([values]))
        for name, read in parts.items():
            yield StageEvent(f"{name} of {clip.name}", done, total)
            dtype, shape = shapes[name]
            _add(archive, name, dtype, (len(numbers), *shape), map(read, numbers))


def _tables(clip: ExportClip, numbers: Sequence[int]) -> dict[str, NDArray]:
    times = clip.times()
    return {
        "frames": np.array(numbers, np.int64),
        "times_s": np.array([times[number] for number in numbers], np.float64),
        "all_frames": np.array(clip.known, np.int64),
        "all_times_s": np.array([times[number] for number in clip.known], np.float64),
        "all_reasons": np.array([clip.reason(number) for number in clip.known], np.str_),
    }


def _reader(clip: ExportClip, name: str, like: NDArray) -> Callable[[int], NDArray]:
    """What reads the map `name` of a frame; raises `StorageError` if it isn't like the first."""

    def read(number: int) -> NDArray:
        values = clip.maps(number).get(name)
        if values is None or values.shape != like.shape or values.dtype != like.dtype:
            raise StorageError(
                f"{clip.source}: frame {number} has no map {name!r} like the first one's", _REMEDY
            )
        return values

    return read


def _add(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    parts: Iterator[NDArray],
) -> None:
    """Add an array to a NPZ, part by part."""
    entry = zipfile.ZipInfo(f"{name}.npy")  # without a date: the same maps are the same bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with archive.open(entry, "w", force_zip64=True) as stream:
        npy.write_array_header_2_0(stream, header)
        for values in parts:
            stream.write(np.ascontiguousarray(values).tobytes())
