"""Masks from COCO's JSON: run lengths, compressed or not, and polygons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from moca_core.annotations.checked import DAMAGE, number, read_bounded
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
from moca_core.export.polygons import covered
from moca_core.fileio import parse_json
from moca_core.pipeline import rle
from moca_core.types import Mask, NoteEvent, StageEvent

_MOST_BYTES = 512 * 2**20
_MOST_VALUES = 32_000_000
_MOST_POINTS = 200_000
"""Of a polygon."""
_FARTHEST_PX = 1e6
_AGAIN = "Write the file again, as COCO's instances."

Event = StageEvent | NoteEvent | FoundFrame
Size = tuple[int, int]


@dataclass(eq=False)
class _Image:
    """A row of `images` and what of `annotations` is of it."""

    name: str
    clip: str
    frame: int | None
    size: Size | None
    reason: str
    rows: list[Mapping[str, Any]] = field(default_factory=list)


def read_coco(path: Path, target: Target, resize: bool) -> Iterator[Event]:
    """The frames of a file, which may be of several clips.

    Raises
    ------
    StorageError : it can't be read, isn't COCO, or a mask in it is damaged.
    """
    yield StageEvent(f"Reading {path.name}")
    content = _parsed(path)
    try:
        images = {row["id"]: _image(row) for row in content["images"]}
        names = {row["id"]: plain_name(row["name"]) for row in content.get("categories", ())}
        without = _share_out(content["annotations"], images)
    except DAMAGE as error:
        raise _damaged(path, error) from error
    if without:
        yield NoteEvent(f"{without} annotations have no mask or no image, and are left out")
    nameless = [image.name for image in images.values() if image.frame is None]
    if nameless:
        yield NoteEvent(f"{named(nameless)}: no frame number in the name, left out")
    yield from _frames(path, _of_clip(path, images, target), names, target, resize)


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        data = read_bounded(path, _MOST_BYTES)
        if data.count(b",") > _MOST_VALUES:
            raise ValueError("too many values; split it")
        content = parse_json(data)
        if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
            raise ValueError("no COCO: it lacks images or annotations")
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return content


def _image(row: Mapping[str, Any]) -> _Image:
    name = plain_name(row.get("file_name"))
    stem = str(PurePosixPath(name.replace("\\", "/")).with_suffix("")) if name else ""
    own = row.get("frame")
    frame = own if type(own) is int and own >= 0 else frame_number(stem)
    size = (row["height"], row["width"]) if "height" in row and "width" in row else None
    if size is not None and not all(type(side) is int for side in size):
        raise ValueError(f"an image of {size[1]!r:.20} x {size[0]!r:.20} pixels")
    clip = plain_name(row.get("clip")) or prefix(stem)
    return _Image(name or str(row["id"]), clip, frame, size, plain_name(row.get("reason")))


def _share_out(rows: list[Mapping[str, Any]], images: Mapping[Any, _Image]) -> int:
    """Give each annotation to its image; how many can't be used."""
    without = 0
    for row in rows:
        image = images.get(row["image_id"])
        if image is None or not row.get("segmentation"):
            without += 1
        else:
            image.rows.append(row)
    return without


def _of_clip(path: Path, images: Mapping[Any, _Image], target: Target) -> dict[int, _Image]:
    """The images of the clip by frame, ascending."""
    usable = [image for image in images.values() if image.frame is not None]
    if not usable:
        raise StorageError(
            f"{path}: no image tells its frame", "Name the images like frame_000123.jpg."
        )
    clip = of_clip((image.clip for image in usable), target.name)
    frames: dict[int, _Image] = {}
    for image in usable:
        if image.clip != clip or image.frame is None:
            continue
        if image.frame in frames:
            raise StorageError(
                f"{path}: {frames[image.frame].name} and {image.name} are both frame {image.frame}",
                "Keep one of them.",
            )
        frames[image.frame] = image
    return dict(sorted(frames.items()))


def _frames(
    path: Path, images: Mapping[int, _Image], names: Mapping[Any, str], target: Target, resize: bool
) -> Iterator[Event]:
    for done, (frame, image) in enumerate(images.items()):
        yield StageEvent("Reading masks", done, len(images))
        if frame >= len(target.times_s):
            yield FoundFrame(frame, ())
            continue
        if len(image.rows) > MOST_OBJECTS:
            raise StorageError(
                f"{path}: {image.name} has {len(image.rows)} objects",
                f"Keep at most {MOST_OBJECTS} in a frame.",
            )
        if image.size is not None:
            check_size(f"{path}: {image.name}", image.size, target, resize)
        try:
            objects = [_object(path, row, image, names, target, resize) for row in image.rows]
        except DAMAGE as error:
            raise _damaged(path, f"{image.name}: {error}") from error
        yield FoundFrame(frame, tuple(objects), image.reason)


def _object(
    path: Path,
    row: Mapping[str, Any],
    image: _Image,
    names: Mapping[Any, str],
    target: Target,
    resize: bool,
) -> FoundObject:
    what = row["segmentation"]
    if isinstance(what, dict):
        height, width = what["size"]
        if type(height) is not int or type(width) is not int:
            raise ValueError(f"a mask of {width!r:.20} x {height!r:.20} pixels")
        if image.size not in (None, (height, width)):
            raise ValueError("a mask of another size than its image")
        check_size(f"{path}: {image.name}", (height, width), target, resize)
        mask = _from_runs(what["counts"], (height, width))
    else:
        mask = _from_polygons(what, image.size or target.size)
    score = number(row.get("score", 1.0))
    return FoundObject(
        fitted(mask, target.size),
        names.get(row.get("category_id"), ""),
        plain_number(row.get("number")),
        min(max(score, 0.0), 1.0),
        plain_origin(row.get("origin")),
    )


def _from_runs(counts: Any, size: Size) -> Mask:
    """(H, W) bool of run lengths, compressed (words) or not (numbers); raises as `DAMAGE`."""
    if isinstance(counts, list):
        if len(counts) > 2 * size[0] * size[1] + 2 or not all(type(n) is int for n in counts):
            raise ValueError("run lengths that are no numbers")
        runs = np.array(counts, np.int64)
        if (runs < 0).any() or (runs > size[0] * size[1]).any() or runs.sum() != size[0] * size[1]:
            raise ValueError("run lengths that don't fill the picture")
        flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return np.ascontiguousarray(flat.reshape(size[1], size[0]).T)
    if not isinstance(counts, str):
        raise TypeError("run lengths of no known kind")
    try:
        return rle.decode({"size": list(size), "counts": counts})
    except StorageError as error:
        raise ValueError(error.message) from error


def _from_polygons(polygons: Any, size: Size) -> Mask:
    """(H, W) bool, what one of the polygons covers; raises as `DAMAGE`."""
    mask = np.zeros(size, bool)
    if not isinstance(polygons, list):
        raise TypeError("a segmentation of no known kind")
    for polygon in polygons:
        if len(polygon) > 2 * _MOST_POINTS or len(polygon) % 2 or len(polygon) < 6:
            raise ValueError(f"a polygon of {len(polygon)} values")
        ring = np.array([number(value) for value in polygon]).reshape(-1, 2)
        if np.abs(ring).max() > _FARTHEST_PX:
            raise ValueError("a polygon far outside of the picture")
        mask |= covered(ring, size)
    return mask


def _damaged(path: Path, error: object) -> StorageError:
    words = getattr(error, "strerror", None) or error
    return StorageError(f"{path}: can't be read ({words})", _AGAIN)
