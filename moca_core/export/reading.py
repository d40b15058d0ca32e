"""Reads back the folder that `moca segment` wrote for a clip."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import MediaError, StorageError
from moca_core.export import following
from moca_core.export.clips import Choice, ExportClip, nothing_chosen
from moca_core.fileio import is_finite, parse_json
from moca_core.media.video import VideoReader
from moca_core.pipeline import rle
from moca_core.types import FrameResult, Mask, SoundingObject

OBJECTS, SUMMARY = "objects.json", "summary.json"
_AGAIN = "Run `moca segment` on the clip again."
_MOST_PIXELS = 2**28
"""Of a frame: 16384x16384."""
_MADE_WITH = ("config", "thresholds")
"""What of the summary says how the masks were found."""
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class ClipResults(ExportClip):
    """Results of one clip in their folder, `source`.

    Attributes
    ----------
    rows : frame number -> its entry in `objects.json`, ascending: the key frames. Other frames
        have the union only.
    summary : `summary.json`, as far as it is known.
    span : the first and the last frame that are exported; None: all.
    """

    rows: Mapping[int, Mapping[str, Any]]
    summary: Mapping[str, Any] = field(default_factory=dict)
    span: tuple[int, int] | None = None

    @cached_property
    def size(self) -> tuple[int, int]:
        height, width = next(iter(self.rows.values()))["size"]
        return height, width

    @cached_property
    def known(self) -> tuple[int, ...]:
        return tuple(number for number in self.rows if self.has_mask(number))

    @cached_property
    def _masked(self) -> frozenset[int]:
        return frozenset(self.numbers)

    def has_mask(self, number: int) -> bool:
        """True if a frame is one of `numbers`."""
        return number in self._masked

    @property
    def request(self) -> Mapping[str, Any]:
        """What was asked for (`frames`, `every_s`, `start_s`, `end_s`), if that is known."""
        found = self.summary.get("request")
        return found if isinstance(found, dict) else {}

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return self.summary.get("complete") is True

    @property
    def made_with(self) -> Mapping[str, Any]:
        return {name: self.summary[name] for name in _MADE_WITH if name in self.summary}

    def object_names(self) -> set[str]:
        rows = map(self.rows.__getitem__, self.known)
        return {item["name"] for row in rows for item in row["objects"]}

    def result(self, number: int) -> FrameResult:
        try:
            return _result(self.rows[number])
        except (*_DAMAGE, StorageError) as error:
            raise _damaged(self.source / OBJECTS, f"frame {number}") from error

    def reason(self, number: int) -> str:
        return str(self.rows[number]["reason"])

    def union(self, number: int) -> Mask:
        if number in self.rows:
            return self.result(number).union
        path = self.source / "masks" / f"{frame_name(number)}.png"
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if pixels is None or pixels.shape != self.size:
            raise _damaged(path, "not a mask of the clip's size")
        return np.asarray(pixels) > 127

    def times(self) -> dict[int, float]:
        times = {number: float(self.rows[number]["time"]) for number in self.known}
        if self.between:
            with suppress(MediaError, StorageError), self.video() as video:
                times |= {number: video.time_of(number) for number in self.numbers}
        return times

    def _noted_times(self) -> Mapping[int, float]:
        return {number: row["time"] for number, row in self.rows.items()}

    def has_maps(self, number: int) -> bool:
        return self._maps_path(number).is_file()

    def maps(self, number: int) -> Mapping[str, NDArray]:
        path = self._maps_path(number)
        try:
            with np.load(path) as archive:
                return {name: archive[name] for name in archive.files}
        except Exception as error:
            # A damaged archive fails in many ways: sums, methods, headers, sizes.
            raise _damaged(path, str(error)) from error

    def _maps_path(self, number: int) -> Path:
        return self.source / "maps" / f"{frame_name(number)}.npz"

    def masked_frames(self, video: VideoReader) -> Iterator[FrameResult]:
        return following.masked_frames(self, video)

    def every_frame(self, video: VideoReader) -> Iterator[FrameResult]:
        return following.every_frame(self, video)

    def ends(self, video: VideoReader) -> tuple[int, int]:
        return following.ends(self, video)

    def chosen(self, choice: Choice) -> ClipResults:
        if choice.corrected_only or choice.range_only:
            what = "corrected frames" if choice.corrected_only else "range"
            raise StorageError(
                f"{self.source}: results of `moca segment` have no {what}",
                "Give a project (.moca.json), or leave that option out.",
            )
        if not choice.timed:
            return self
        start_s, end_s = choice.span_s
        times = self._noted_times()
        with suppress(MediaError, StorageError), self.video() as video:
            times = dict(enumerate(video.info.times_s))
        inside = [number for number, time_s in times.items() if start_s <= time_s < end_s]
        span = (inside[0], inside[-1]) if inside else (0, -1)
        numbers = tuple(number for number in self.numbers if span[0] <= number <= span[1])
        part = replace(self, numbers=numbers, span=span)
        if not part.known:
            raise nothing_chosen(self, choice)
        return part


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
    return ClipResults(
        # The folder may be given as `.`
        name=folder.resolve().name or "clip",
        source=folder,
        clip=clip,
        numbers=tuple(sorted(numbers)),
        rows=rows,
        summary=summary,
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


def _damaged(path: Path, what: str) -> StorageError:
    return StorageError(f"{path}: is damaged ({what})", _AGAIN)
