"""Files of masks: up to 64 neighbouring frames each, as gzip of JSON, named by their content.

A mask is what `PackedObject` holds, in base64: nothing is computed to save or to open one.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moca_core.annotations.model import ORIGINS, PackedObject, PackedResult
from moca_core.errors import StorageError
from moca_core.fileio import is_finite, parse_json

FORMAT, VERSION = "moca-masks", 1
RESULTS, LABELS = KINDS = ("results", "labels")
NAME = re.compile(rf"({RESULTS}|{LABELS})-\d{{6,10}}-([0-9a-f]{{16}})\.json\.gz")
FRAMES = 64
MOST_BYTES = 2**28
"""Of a file."""

_FULL_BYTES = 16 * 2**20
"""Of masks in one file, from which on the next frame begins another one."""
_MOST_TEXT, _MOST_VALUES = 2**29, 4_000_000
"""Bytes of JSON in a file, and values in it."""
_MOST_PIXELS = 2**28
"""Of a frame: 16384x16384."""
_MOST_NUMBER = 2**31
_LEVEL = 1  # the masks are compressed already
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, EOFError, OSError)


@dataclass(frozen=True)
class Chunk:
    """A file of masks, as a project lists it.

    Attributes
    ----------
    kind : one of `KINDS`.
    name : of the file.
    sha256, nbytes : of its content.
    frames : the numbers of the frames in it, ascending.
    """

    kind: str
    name: str
    sha256: str
    nbytes: int
    frames: tuple[int, ...]


Place = tuple[str, int, int]
"""Which frames a file is for: kind, number among the files of 64 frames, part of that one."""


def groups(kind: str, frames: Iterable[PackedResult]) -> Iterator[tuple[Place, list[PackedResult]]]:
    """The frames by files. What an edit changes stays in the file where it is."""
    ordered = sorted(frames, key=lambda item: item.frame)
    for place, some in itertools.groupby(ordered, key=lambda item: item.frame // FRAMES):
        part, size = 0, 0
        group: list[PackedResult] = []
        for item in some:
            if group and size + item.nbytes > _FULL_BYTES:
                yield (kind, place, part), group
                part, size, group = part + 1, 0, []
            group.append(item)
            size += item.nbytes
        yield (kind, place, part), group


def encode(kind: str, frames: Sequence[PackedResult]) -> tuple[Chunk, bytes]:
    """Make the file of some frames, which are ascending."""
    value = {"format": FORMAT, "version": VERSION, "frames": [_to_row(item) for item in frames]}
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    data = gzip.compress(text.encode(), _LEVEL, mtime=0)
    digest = hashlib.sha256(data).hexdigest()
    name = f"{kind}-{frames[0].frame // FRAMES * FRAMES:06d}-{digest[:16]}.json.gz"
    return Chunk(kind, name, digest, len(data), tuple(item.frame for item in frames)), data


def is_whole(name: str, data: bytes) -> bool:
    """Whether a file's content is what it is named by."""
    match = NAME.fullmatch(name)
    return match is not None and hashlib.sha256(data).hexdigest().startswith(match[2])


def decode(chunk: Chunk, data: bytes, frame_count: int) -> list[PackedResult]:
    """The frames of a file, each mask checked; nothing in it can ask for much memory.

    Raises
    ------
    StorageError : it isn't what the project lists, or not of a clip of so many frames.
    """
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise StorageError("other content than the project lists")
    try:
        value = parse_json(_text(data))
        if (value["format"], value["version"]) != (FORMAT, VERSION):
            raise StorageError("not a file of masks")
        frames = [_from_row(row) for row in value["frames"]]
    except _DAMAGE as error:
        raise StorageError(f"damaged ({error})") from error
    numbers = tuple(item.frame for item in frames)
    if numbers != chunk.frames or not all(0 <= number < frame_count for number in numbers):
        raise StorageError("other frames than the project lists")
    return frames


def _text(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)  # 31: gzip
    text = unpacker.decompress(data, _MOST_TEXT)
    # Each value but the first of a list or object follows a comma.
    if not unpacker.eof or text.count(b",") > _MOST_VALUES:
        raise ValueError("cut short, or too much")
    return text


def _to_row(item: PackedResult) -> dict[str, Any]:
    return {
        "frame": int(item.frame),
        "time_s": _finite(item.time_s),
        "size": [int(side) for side in item.size],
        "reason": item.reason,
        "window_s": [_finite(value) for value in item.window_s],
        "key": bool(item.key),
        "coarse": bool(item.coarse),
        "corrected": bool(item.corrected),
        "heard": [[name, _finite(weight)] for name, weight in item.heard],
        "objects": [
            {
                "number": int(thing.number),
                "name": thing.name,
                "score": _finite(thing.score),
                "origin": thing.origin,
                "box": [int(side) for side in thing.box],
                "bits": base64.b64encode(thing.bits).decode(),
            }
            for thing in item.objects
        ],
    }


def _finite(value: float) -> float:
    """A number that JSON can hold: nothing that a person made is lost for a score that isn't."""
    return float(value) if is_finite(float(value)) else 0.0


def _from_row(row: dict[str, Any]) -> PackedResult:
    height, width = (_whole(side, _MOST_PIXELS) for side in row["size"])
    if not 0 < height * width <= _MOST_PIXELS:
        raise ValueError(f"a frame of {width}x{height} pixels")
    start, stop = (_number(value) for value in row["window_s"])
    return PackedResult(
        frame=_whole(row["frame"]),
        time_s=_number(row["time_s"]),
        size=(height, width),
        objects=tuple(_object(thing, height, width) for thing in row["objects"]),
        reason=_words(row["reason"]),
        window_s=(start, stop),
        key=_truth(row["key"]),
        coarse=_truth(row["coarse"]),
        heard=tuple((_words(name), _number(weight)) for name, weight in row["heard"]),
        corrected=_truth(row["corrected"]),
    )


def _object(row: dict[str, Any], height: int, width: int) -> PackedObject:
    x0, y0, x1, y1 = box = tuple(_whole(side, _MOST_PIXELS) for side in row["box"])
    if box != (0, 0, 0, 0) and not (x0 < x1 <= width and y0 < y1 <= height):
        raise ValueError(f"a box {box} in {width}x{height} pixels")
    bits = base64.b64decode(row["bits"], validate=True)
    size = ((x1 - x0) * (y1 - y0) + 7) // 8
    unpacker = zlib.decompressobj()
    if len(unpacker.decompress(bits, size + 1)) != size or not unpacker.eof:
        raise ValueError("a mask of another size than its box")
    if row["origin"] not in ORIGINS:
        raise ValueError(f"a mask by {row['origin']!r}")
    name, score = _words(row["name"]), _number(row["score"])
    return PackedObject(_whole(row["number"]), name, score, (x0, y0, x1, y1), bits, row["origin"])


def _whole(value: object, most: int = _MOST_NUMBER) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r:.40} in place of a number")
    return value


def _number(value: object) -> float:
    if not is_finite(value):
        raise ValueError(f"{value!r:.40} in place of a number")
    return float(value)  # type: ignore[arg-type]


def _words(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} in place of words")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r:.40} in place of true or false")
    return value
