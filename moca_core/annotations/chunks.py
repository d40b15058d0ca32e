"""Files of masks: up to 64 neighbouring frames each, as gzip of JSON, named by their content.

A mask is what `PackedObject` holds, in base64: nothing is computed to save or to open one.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moca_core.annotations.checked import DAMAGE, finite, number, parse_bounded, truth, whole, words
from moca_core.annotations.model import ORIGINS, PackedObject, PackedResult
from moca_core.errors import StorageError

FORMAT, VERSION = "moca-masks", 1
RESULTS, LABELS = KINDS = ("results", "labels")
NAME = re.compile(rf"({RESULTS}|{LABELS})-\d{{6,10}}-([0-9a-f]{{16}})\.json\.gz")
FRAMES = 64
MOST_BYTES = 2**28
"""Of a file."""

_FULL = 16 * 2**20
"""Bytes of masks in one file, from which on the next frame begins another one."""
_PACKED = 64
"""A mask counts as if it were kept at least as large as its box's bits over this."""
_MOST_TEXT, _MOST_BITS = 2**29, 2**35
"""Bytes of JSON in a file, and pixels of its masks' boxes."""
_MOST_PIXELS = 2**28
"""Of a frame: 16384x16384."""
_LEVEL = 1  # the masks are compressed already


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


Place = tuple[str, int]
"""Which frames lie together: their kind, and their number over `FRAMES`."""


def places(kind: str, frames: Mapping[int, PackedResult]) -> dict[Place, list[PackedResult]]:
    """The frames that lie together, ascending: what an edit changes stays where it is."""
    found: dict[Place, list[PackedResult]] = {}
    for key in sorted(frames):
        found.setdefault((kind, key // FRAMES), []).append(frames[key])
    return found


def parts(frames: Iterable[PackedResult]) -> Iterator[list[PackedResult]]:
    """The frames of a place by files: more than one only where they are too large for one."""
    part: list[PackedResult] = []
    size = 0
    for item in frames:
        if part and size + _size(item) > _FULL:
            yield part
            part, size = [], 0
        part.append(item)
        size += _size(item)
    yield part


def _size(item: PackedResult) -> int:
    """Bytes of a frame, more where boxes are large for what is kept: reading takes time too."""
    return item.nbytes + _pixels(thing.box for thing in item.objects) // (8 * _PACKED)


def _pixels(boxes: Iterable[Sequence[int]]) -> int:
    return sum(max(0, (x1 - x0) * (y1 - y0)) for x0, y0, x1, y1 in boxes)


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


def decode(chunk: Chunk, data: bytes) -> list[PackedResult]:
    """The frames of a file, each mask checked; nothing in it can ask for much memory.

    Raises
    ------
    StorageError : it isn't what the project lists.
    """
    if hashlib.sha256(data).hexdigest() != chunk.sha256:
        raise StorageError("other content than the project lists")
    try:
        value = parse_bounded(_text(data))
        rows = value["frames"]
        boxes = (thing["box"] for row in rows for thing in row["objects"])
        if (value["format"], value["version"]) != (FORMAT, VERSION) or _pixels(boxes) > _MOST_BITS:
            raise ValueError("not a file of masks")
        frames = [_from_row(row) for row in rows]
    except (*DAMAGE, zlib.error) as error:
        raise StorageError(f"damaged ({error})") from error
    if tuple(item.frame for item in frames) != chunk.frames:
        raise StorageError("other frames than the project lists")
    return frames


def _text(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)  # 31: gzip
    text = unpacker.decompress(data, _MOST_TEXT)
    if not unpacker.eof:
        raise ValueError("cut short, or too large")
    return text


def _to_row(item: PackedResult) -> dict[str, Any]:
    return {
        "frame": int(item.frame),
        "time_s": finite(item.time_s),
        "size": [int(side) for side in item.size],
        "reason": item.reason,
        "window_s": [finite(value) for value in item.window_s],
        "key": bool(item.key),
        "coarse": bool(item.coarse),
        "corrected": bool(item.corrected),
        "heard": [[name, finite(weight)] for name, weight in item.heard],
        "objects": [
            {
                "number": int(thing.number),
                "name": thing.name,
                "score": finite(thing.score),
                "origin": thing.origin,
                "box": [int(side) for side in thing.box],
                "bits": base64.b64encode(thing.bits).decode(),
            }
            for thing in item.objects
        ],
    }


def _from_row(row: dict[str, Any]) -> PackedResult:
    height, width = (whole(side, most=_MOST_PIXELS) for side in row["size"])
    if not 0 < height * width <= _MOST_PIXELS:
        raise ValueError(f"a frame of {width}x{height} pixels")
    start, stop = (number(value) for value in row["window_s"])
    return PackedResult(
        frame=whole(row["frame"]),
        time_s=number(row["time_s"]),
        size=(height, width),
        objects=tuple(_object(thing, height, width) for thing in row["objects"]),
        reason=words(row["reason"]),
        window_s=(start, stop),
        key=truth(row["key"]),
        coarse=truth(row["coarse"]),
        heard=tuple((words(name), number(weight)) for name, weight in row["heard"]),
        corrected=truth(row["corrected"]),
    )


def _object(row: dict[str, Any], height: int, width: int) -> PackedObject:
    x0, y0, x1, y1 = box = tuple(whole(side, most=_MOST_PIXELS) for side in row["box"])
    if box != (0, 0, 0, 0) and not (x0 < x1 <= width and y0 < y1 <= height):
        raise ValueError(f"a box {box} in {width}x{height} pixels")
    bits = base64.b64decode(row["bits"], validate=True)
    size = ((x1 - x0) * (y1 - y0) + 7) // 8
    unpacker = zlib.decompressobj()
    packed = unpacker.decompress(bits, size + 1)
    if len(packed) != size or not unpacker.eof or unpacker.unused_data:
        raise ValueError("a mask of another size than its box")
    if row["origin"] not in ORIGINS:
        raise ValueError(f"a mask by {row['origin']!r}")
    name, score = words(row["name"]), number(row["score"])
    return PackedObject(whole(row["number"]), name, score, (x0, y0, x1, y1), bits, row["origin"])
