"""COCO's instances: `annotations.json`, and the pictures in `images/`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import moca_core
from moca_core.export.clips import ExportClip
from moca_core.export.exporter import (
    ExportEvent,
    ExportSettings,
    check_clips,
    class_names,
    jpeg,
    pictured,
    put,
)
from moca_core.export.polygons import edge_polygons
from moca_core.export.reading import frame_name
from moca_core.fileio import write_json
from moca_core.pipeline import rle
from moca_core.types import FrameResult, Mask, NoteEvent, SoundingObject, StageEvent

SEGMENTATION = {
    "rle": rle.encode,
    "polygon": lambda mask: [polygon.ravel().tolist() for polygon in edge_polygons(mask)],
}
"""How a (H, W) mask is written in `segmentation`."""


def write(
    clips: Sequence[ExportClip], out: Path, settings: ExportSettings
) -> Iterator[ExportEvent]:
    """Write `annotations.json`, and `images/<clip>/frame_000123.jpg` of all frames with a mask."""
    check_clips(clips)
    categories = {name: number for number, name in enumerate(class_names(clips), start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for item in pictured(clips):
        if isinstance(item, StageEvent | NoteEvent):
            yield item
            continue
        clip, result, rgb = item
        name = f"{clip.name}/{frame_name(result.frame)}.jpg"
        put(out / "images" / name, jpeg(rgb))
        images.append(_image(len(images) + 1, name, clip, result))
        for sounding in result.objects:
            row = _annotation(sounding, settings.segmentation)
            row["id"], row["image_id"] = len(annotations) + 1, len(images)
            annotations.append(row | {"category_id": categories[sounding.name]})
    write_json(
        out / "annotations.json",
        {
            "info": {"description": f"Sounding objects, by MoCA Studio {moca_core.__version__}"},
            "licenses": [],
            "categories": [
                {"id": number, "name": name, "supercategory": "sounding object"}
                for name, number in categories.items()
            ],
            "images": images,
            "annotations": annotations,
        },
    )


def _image(number: int, name: str, clip: ExportClip, result: FrameResult) -> dict[str, Any]:
    """An entry of `images`; what COCO has no place for are keys of our own."""
    height, width = result.size
    return {
        "id": number,
        "file_name": name,
        "width": width,
        "height": height,
        "clip": clip.name,
        "frame": result.frame,
        "time_s": result.time_s,
        "key": result.key,
        "reason": result.reason,
        "coarse": result.coarse,
        "corrected": result.corrected,
    }


def _annotation(item: SoundingObject, segmentation: str) -> dict[str, Any]:
    """An entry of `annotations`, without its ids."""
    x0, y0, x1, y1 = item.box
    return {
        "segmentation": SEGMENTATION[segmentation](item.mask),
        "area": area(item.mask),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        # One object, even where it is written as run lengths.
        "iscrowd": 0,
        "number": item.number,
        "score": item.score,
        "origin": item.origin,
    }


def area(mask: Mask) -> int:
    """Pixels of a (H, W) mask."""
    return int(np.count_nonzero(mask))
