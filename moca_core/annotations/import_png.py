"""Masks from folders of PNG: those of our own export, and any whose names hold frame numbers."""

from __future__ import annotations

import csv
import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moca_core.annotations.checked import read_bounded
from moca_core.annotations.imported import (
    MOST_OBJECTS,
    FoundFrame,
    FoundObject,
    Target,
    check_size,
    fitted,
    frame_number,
    named,
    of_clip,
    plain_name,
    plain_number,
    plain_origin,
    prefix,
)
from moca_core.errors import StorageError
from moca_core.types import NoteEvent, StageEvent

_FRAMES, _OBJECTS = "frames.csv", "objects.csv"
_OF_OBJECT = re.compile(r"_object_(\d{1,7})$")
_MOST_FILES = 1_000_000
_MOST_TABLE = 256 * 2**20
_MOST_FILE = 256 * 2**20
_MOST_VALUES = 64
"""Different values in a greyscale picture of objects; more are shades."""
_FEW_SHADES = 4
"""Beside white in a picture that is white for the most part; more are its soft borders."""
_VOID = 255
"""The value of a mask in black and white; beside other values that of no object, as in VOC."""
_AGAIN = "Export the masks again."
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

Event = StageEvent | NoteEvent | FoundFrame
Row = Mapping[str, str]


def read_png(folder: Path, target: Target, resize: bool) -> Iterator[Event]:
    """The frames of a folder, which may be the export of several clips.

    Raises
    ------
    StorageError : there are no masks in it, or one can't be read.
    """
    folder = _folder(folder, target.name)
    tables = _Tables.read(folder)
    if (folder / _OBJECTS).is_file():
        yield from _of_export(folder, tables, target, resize)
    else:
        yield from _of_files(folder, tables, target, resize)


def _folder(root: Path, clip: str) -> Path:
    """The folder with the masks: `root`, or the clip's in it."""
    if (root / _OBJECTS).is_file() or any(map(_numbered, _pngs(root))):
        return root
    inside = [item for item in _entries(root) if item.is_dir() and not item.name.startswith(".")]
    fitting = [item.name for item in inside if (item / _OBJECTS).is_file()]
    fitting = fitting or [item.name for item in inside if any(map(_numbered, _pngs(item)))]
    if not fitting and any(_pngs(root)):
        return root  # whose names then are what is the matter
    if not fitting:
        raise StorageError(
            f"{root}: holds no PNG", "Give a folder of PNG masks, or a COCO file (.json)."
        )
    return root / of_clip(fitting, clip)


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MOST_FILES + 1), strict=False)]
    except OSError as error:
        raise StorageError(
            f"{folder}: can't be read ({error.strerror or error})", "Check its permissions."
        ) from error
    if len(names) > _MOST_FILES:
        raise StorageError(f"{folder}: more than {_MOST_FILES:,} files", "Import them in parts.")
    return [folder / name for name in sorted(names)]


def _pngs(folder: Path) -> Iterator[Path]:
    return (path for path in _entries(folder) if path.suffix.lower() == ".png")


def _numbered(path: Path) -> bool:
    return frame_number(path.stem) is not None


# -- our own export ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tables:
    """The tables of an export, which lie in its folder or above `objects` and `index`.

    Attributes
    ----------
    frames : rows of `frames.csv`, by frame.
    objects : rows of `objects.csv`, by frame.
    """

    frames: Mapping[int, Row] = field(default_factory=dict)
    objects: Mapping[int, list[Row]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> _Tables:
        """Raises `StorageError` where one is damaged."""
        place = next((one for one in (folder, folder.parent) if (one / _OBJECTS).is_file()), None)
        if place is None:
            return cls()
        objects: dict[int, list[Row]] = {}
        for number, row in _rows(place / _OBJECTS):
            objects.setdefault(number, []).append(row)
        frames = dict(_rows(place / _FRAMES)) if (place / _FRAMES).is_file() else {}
        return cls(frames, objects)

    def object(self, frame: int, column: str, value: int) -> Row:
        """What is told of an object, by its `number` or its `index`; nothing if nothing is."""
        rows = self.objects.get(frame, ())
        return next((row for row in rows if row.get(column) == str(value)), {})


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        text = read_bounded(path, _MOST_TABLE).decode()
        for row in csv.DictReader(io.StringIO(text, newline="")):
            number = int(row["frame"])
            if None in row or None in row.values() or number < 0:
                raise ValueError(f"a row of frame {number}")
            yield number, row
    except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise StorageError(f"{path}: is damaged ({error})", _AGAIN) from error


def _found(mask: NDArray[np.bool_], row: Row, number: int = 0) -> FoundObject:
    """An object with what its row tells."""
    try:
        score = float(row.get("score", 1.0))
    except ValueError:
        score = 1.0
    score = score if 0 <= score <= 1 else 1.0
    number = plain_number(_whole(row, "number")) or number
    origin = plain_origin(row.get("origin"))
    return FoundObject(mask, plain_name(row.get("name")), number, score, origin)


def _whole(row: Row, column: str) -> int | None:
    """A whole number of a row; None for anything else."""
    text = row.get(column) or ""
    return int(text) if text.isdecimal() and len(text) < 9 else None


def _of_export(folder: Path, tables: _Tables, target: Target, resize: bool) -> Iterator[Event]:
    """The objects of an export, each by its own picture."""
    numbers = sorted(tables.frames.keys() | tables.objects.keys())
    between = 0
    for done, number in enumerate(numbers):
        yield StageEvent("Reading masks", done, len(numbers))
        rows = tables.objects.get(number, [])
        if number >= len(target.times_s):
            yield FoundFrame(number, ())
            continue
        if not rows and _only_a_union(folder, number, target, resize):
            between += 1
            continue
        objects = [_of_row(folder, number, row, target, resize) for row in rows]
        reason = plain_name(tables.frames.get(number, {}).get("reason"))
        yield FoundFrame(number, tuple(objects), reason)
    if between:
        yield NoteEvent(
            f"{between} frames have one mask for all objects and are left out; "
            f"import the folder {folder.name}/union to get it"
        )


def _only_a_union(folder: Path, number: int, target: Target, resize: bool) -> bool:
    """Whether something sounds in a frame of which no object is told."""
    path = folder / "union" / f"frame_{number:06d}.png"
    return path.is_file() and bool(_pixels(path, target, resize).values.any())


def _of_row(folder: Path, number: int, row: Row, target: Target, resize: bool) -> FoundObject:
    name = f"frame_{number:06d}"
    own = folder / "objects" / f"{name}_object_{_whole(row, 'number') or 0:02d}.png"
    if own.is_file():
        return _found(_pixels(own, target, resize).values != 0, row)
    index, shared = _whole(row, "index"), folder / "index" / f"{name}.png"
    if index is not None and shared.is_file():
        return _found(_pixels(shared, target, resize).values == index, row)
    raise StorageError(f"{own}: isn't there, though {_OBJECTS} names its object", _AGAIN)


# -- any folder -------------------------------------------------------------------------------


def _of_files(folder: Path, tables: _Tables, target: Target, resize: bool) -> Iterator[Event]:
    """A frame for all files that have its number."""
    by_clip: dict[str, dict[int, list[Path]]] = {}
    without = []
    for path in _pngs(folder):
        stem = _OF_OBJECT.sub("", path.stem)
        number = frame_number(stem)
        if number is None:
            without.append(path.name)
            continue
        by_clip.setdefault(prefix(stem), {}).setdefault(number, []).append(path)
    if without:
        yield NoteEvent(f"{named(without)}: no frame number in the name, left out")
    if not by_clip:
        raise StorageError(
            f"{folder}: no name holds a frame number", "Name the masks like frame_000123.png."
        )
    frames = by_clip[of_clip(by_clip, target.name)]
    for done, (number, paths) in enumerate(sorted(frames.items())):
        yield StageEvent("Reading masks", done, len(frames))
        if number >= len(target.times_s):
            yield FoundFrame(number, ())
            continue
        if len(paths) > MOST_OBJECTS:
            raise StorageError(
                f"{paths[0].name}: one of {len(paths)} files of frame {number}",
                "Give a folder with the masks of one clip.",
            )
        objects = [
            item for path in paths for item in _of_file(path, number, tables, target, resize)
        ]
        yield FoundFrame(number, tuple(objects))


def _of_file(
    path: Path, frame: int, tables: _Tables, target: Target, resize: bool
) -> Iterator[FoundObject]:
    """The objects of a picture: one if it is black and white, else one for each value."""
    picture = _pixels(path, target, resize)
    one = _OF_OBJECT.search(path.stem)
    if one is not None:
        number = int(one.group(1))
        if picture.values.any():
            yield _found(picture.values != 0, tables.object(frame, "number", number), number)
        return
    counts = picture.counts()
    if picture.values.dtype == np.uint8 and not tables.object(frame, "index", _VOID):
        white = counts.pop(_VOID, 0)
        if white and not counts:
            yield _found(picture.values != 0, {})
        elif not picture.numbered and white > sum(counts.values()) and len(counts) > _FEW_SHADES:
            raise _shades(path, len(counts))
    if len(counts) > (MOST_OBJECTS if picture.numbered else _MOST_VALUES):
        raise _shades(path, len(counts))
    for value in counts:
        row = tables.object(frame, "index", value)
        yield _found(picture.values == value, row, plain_number(value))


def _shades(path: Path, count: int) -> StorageError:
    return StorageError(
        f"{path}: {count} different values, which are no masks",
        "Save masks in black and white, or with a number for each object.",
    )


@dataclass(frozen=True, eq=False)
class _Picture:
    """(H, W) values, of the clip's size; `numbered` if they are places in a palette."""

    values: NDArray
    numbered: bool = False

    def counts(self) -> dict[int, int]:
        """How many pixels have each value but 0."""
        values, counts = np.unique(self.values, return_counts=True)
        pairs = zip(values.tolist(), counts.tolist(), strict=True)
        return {int(value): count for value, count in pairs if value}


def _pixels(path: Path, target: Target, resize: bool) -> _Picture:
    """A picture, whose size is looked at before it is decoded; raises `StorageError`."""
    check_size(path, _size(path), target, resize)
    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode, values = image.mode, np.asarray(image)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    if mode in ("LA", "RGB", "RGBA"):
        colours = values[..., : 1 if mode == "LA" else 3]
        if (colours != colours[..., :1]).any():
            raise StorageError(
                f"{path}: a picture in colour, not a mask",
                "Save masks in black and white, or with a number for each object.",
            )
        values = colours[..., 0]
    if mode == "1":
        values = values.astype(np.uint8) * np.uint8(255)
    return _Picture(fitted(values, target.size), mode == "P")


def _size(path: Path) -> tuple[int, int]:
    """(height, width) that the head of a PNG tells; raises `StorageError`."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a file")  # reading a pipe could wait forever
        if status.st_size > _MOST_FILE:
            raise ValueError("too large")
        with path.open("rb") as stream:
            head = stream.read(24)
        if len(head) < 24 or head[:8] != b"\x89PNG\r\n\x1a\n" or head[12:16] != b"IHDR":
            raise ValueError("not a PNG")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    width, height = struct.unpack(">II", head[16:24])
    return height, width


def _damaged(path: Path, error: Exception) -> StorageError:
    words = getattr(error, "strerror", None) or error
    return StorageError(f"{path}: can't be read ({words})", "Save it again as PNG, or remove it.")
