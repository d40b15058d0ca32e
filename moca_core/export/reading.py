"""Reads back the folder that `moca segment` wrote for a clip."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import StorageError
from moca_core.fileio import is_finite, parse_json
from moca_core.media.video import VideoReader
from moca_core.pipeline import rle
from moca_core.types import FrameResult, Mask, SoundingObject

OBJECTS, SUMMARY = "objects.json", "summary.json"
_AGAIN = "Run `moca segment` on the clip again."
_MOST_PIXELS = 2**28
"""Of a frame: 16384x16384."""
_SAME_TIME_S = 0.002
"""A frame's time may differ by so much from the one that was noted."""
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class ClipResults:
    """Results of one clip. Masks are decoded when they are asked for.

    Attributes
    ----------
    name : names the clip in exports; unique among the results that are exported together.
    folder : where the results lie.
    clip : the file that they belong to, which needn't be there; None if that isn't known.
    rows : frame number -> its entry in `objects.json`, ascending: the key frames.
    numbers : all frames with a mask, ascending; those between key frames have the union only.
    request : what was asked for (`frames`, `every_s`, `start_s`, `end_s`), as far as it is known.
    complete : the run came to its end.
    """

    name: str
    folder: Path
    clip: Path | None
    rows: Mapping[int, Mapping[str, Any]]
    numbers: tuple[int, ...]
    request: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels."""
        height, width = next(iter(self.rows.values()))["size"]
        return height, width

    @cached_property
    def _masked(self) -> frozenset[int]:
        return frozenset(self.numbers)

    def has_mask(self, number: int) -> bool:
        """True if a frame is one of `numbers`."""
        return number in self._masked

    @property
    def between(self) -> int:
        """How many frames have a union mask and no objects on disk."""
        return len(self.numbers) - len(self.rows)

    def object_names(self) -> set[str]:
        """Names of all objects."""
        return {item["name"] for row in self.rows.values() for item in row["objects"]}

    def key(self, number: int) -> FrameResult:
        """The result of a key frame; raises `StorageError` if it is damaged."""
        try:
            return _result(self.rows[number])
        except (*_DAMAGE, StorageError) as error:
            raise _damaged(self.folder / OBJECTS, f"frame {number}") from error

    def union(self, number: int) -> Mask:
        """(H, W) bool, what sounds in a frame of `numbers`; raises `StorageError`."""
        if number in self.rows:
            return self.key(number).union
        path = self.folder / "masks" / f"{frame_name(number)}.png"
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if pixels is None or pixels.shape != self.size:
            raise _damaged(path, "not a mask of the clip's size")
        return np.asarray(pixels) > 127

    def has_maps(self, number: int) -> bool:
        """True if the intermediates of a frame were saved."""
        return self._maps_path(number).is_file()

    def maps(self, number: int) -> dict[str, NDArray]:
        """The saved intermediates of a frame; raises `StorageError`."""
        path = self._maps_path(number)
        try:
            with np.load(path) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:
            # A damaged archive fails in many ways: sums, methods, headers, sizes.
            raise _damaged(path, str(error)) from error

    def _maps_path(self, number: int) -> Path:
        return self.folder / "maps" / f"{frame_name(number)}.npz"

    @contextmanager
    def video(self) -> Iterator[VideoReader]:
        """The clip, opened for the length of a `with` block.

        Raises
        ------
        StorageError : the file isn't where it was, or isn't the clip of these results.
        MediaError : it can't be read.
        """
        with VideoReader(self.clip_path(), cache_bytes=16 * 2**20) as video:
            self._check(video)
            yield video

    def clip_path(self) -> Path:
        """The clip's file; raises `StorageError` if it isn't there."""
        if self.clip is None or not _is_file(self.clip):
            where = self.folder if self.clip is None else self.clip
            what = "doesn't name its clip" if self.clip is None else "the clip isn't there any more"
            raise StorageError(
                f"{where}: {what}", "Say where it is with --clip FILE (or the folder it is in)."
            )
        return self.clip

    def _check(self, video: VideoReader) -> None:
        info = video.info
        found = f"{info.width}x{info.height} pixels, {info.frame_count} frames"
        same = (info.height, info.width) == self.size and self.numbers[-1] < info.frame_count
        if same:
            off = [n for n, row in self.rows.items() if not _near(video.time_of(n), row["time"])]
            same = not off
            found = "other frame times" if off else found
        if not same:
            raise StorageError(
                f"{info.path}: not the clip of the results in {self.folder} ({found})",
                "Say where that clip is with --clip FILE, or run `moca segment` on this one.",
            )


def frame_name(number: int) -> str:
    """`frame_000123`, the stem of the files of a frame."""
    return f"frame_{number:06d}"


def read_results(root: Path, clip: Path | None = None) -> list[ClipResults]:
    """The results in a folder, of one clip or of several.

    Parameters
    ----------
    root : a folder with `objects.json`, or one whose folders have it.
    clip : where the clip is now; a folder, if it is in there under its name.

    Raises
    ------
    StorageError : there are no results, they are damaged or have no frames, or `clip` is one file
        for several clips.
    """
    root = Path(root)
    if not root.is_dir():
        what = "not a folder" if root.exists() else "no such folder"
        raise StorageError(f"{root}: {what}", "Give the folder that `moca segment --out` wrote.")
    try:
        folders = [root] if (root / OBJECTS).is_file() else _folders_with_results(root)
    except OSError as error:
        raise StorageError(
            f"{root}: can't be read ({error.strerror or error})", "Check its permissions."
        ) from error
    if not folders:
        raise StorageError(
            f"{root}: holds no results (no {OBJECTS} in it or in its folders)",
            "Give the folder that `moca segment --out` wrote, or that of one clip in it.",
        )
    if clip is not None and len(folders) > 1 and not clip.is_dir():
        raise StorageError(
            f"{clip}: one file for the results of {len(folders)} clips",
            "Give the folder that the clips are in, or the results of one clip.",
        )
    return [_read(folder, clip) for folder in folders]


def _folders_with_results(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if (folder / OBJECTS).is_file())


def _read(folder: Path, moved: Path | None) -> ClipResults:
    rows = _rows(folder)
    summary = _summary(folder)
    named = summary.get("clip")
    clip = Path(named) if named and isinstance(named, str) else None
    if moved is not None:
        clip = moved / clip.name if moved.is_dir() and clip is not None else moved
    saved = (path.stem.removeprefix("frame_") for path in folder.glob("masks/frame_*.png"))
    numbers = {int(number) for number in saved if number.isdecimal()} | rows.keys()
    request = summary.get("request")
    return ClipResults(
        # The folder may be given as `.`
        name=folder.resolve().name or "clip",
        folder=folder,
        clip=clip,
        rows=rows,
        numbers=tuple(sorted(numbers)),
        request=request if isinstance(request, dict) else {},
        complete=summary.get("complete") is True,
    )


def _rows(folder: Path) -> dict[int, dict[str, Any]]:
    path = folder / OBJECTS
    try:
        rows = parse_json(path.read_bytes())["frames"]
        found = {_number(row): row for row in rows}
        sizes = {tuple(map(operator.index, row["size"])) for row in rows}
    except _DAMAGE as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    if not found:
        raise StorageError(f"{path}: holds no key frame", _AGAIN)
    if len(sizes) > 1 or any(len(size) != 2 or min(size) < 1 for size in sizes):
        raise _damaged(path, "frames of different sizes, or of none")
    if any(math.prod(size) > _MOST_PIXELS for size in sizes):
        raise _damaged(path, f"frames of more than {_MOST_PIXELS} pixels")
    return dict(sorted(found.items()))


def _number(row: Mapping[str, Any]) -> int:
    """The frame's number, of an entry that has what is read before its masks are."""
    number = int(row["frame"])
    if number < 0 or not is_finite(row["time"]):
        raise ValueError(f"frame {number} at {row['time']} s")
    for item in row["objects"]:
        if not isinstance(item["name"], str):
            raise TypeError(f"frame {number}: an object is named {item['name']!r}")
    return number


def _summary(folder: Path) -> dict[str, Any]:
    """`summary.json`, without which the masks are still good; {} if it can't be read."""
    try:
        found = parse_json((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _result(row: Mapping[str, Any]) -> FrameResult:
    """A frame from its entry in `objects.json` (`results.objects_row`)."""
    height, width = row["size"]
    # Before they are decoded: a damaged size may ask for more memory than there is.
    if any(item["rle"]["size"] != [height, width] for item in row["objects"]):
        raise ValueError("a mask of another size than its frame")
    if not all(is_finite(item["score"]) for item in row["objects"]):
        raise ValueError("a score that is no number")
    objects = [
        SoundingObject(
            int(item["number"]), item["name"], float(item["score"]), rle.decode(item["rle"])
        )
        for item in row["objects"]
    ]
    start_s, stop_s = row["window"]
    return FrameResult(
        frame=int(row["frame"]),
        time_s=float(row["time"]),
        size=(height, width),
        # An object without a pixel is none.
        objects=tuple(item for item in objects if item.mask.any()),
        reason=str(row["reason"]),
        window_s=(float(start_s), float(stop_s)),
        coarse=bool(row["coarse"]),
        heard=tuple((str(item["name"]), float(item["weight"])) for item in row["heard"]),
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file can have such a name
        return False


def _near(one_s: float, other_s: float) -> bool:
    return abs(one_s - other_s) <= _SAME_TIME_S


def _damaged(path: Path, what: str) -> StorageError:
    return StorageError(f"{path}: is damaged ({what})", _AGAIN)
