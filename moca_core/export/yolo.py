"""YOLO's segmentation labels: a text file for every picture, a line for every object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

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
from moca_core.export.polygons import centre_polygons
from moca_core.export.reading import frame_name
from moca_core.types import FrameResult, Mask, NoteEvent, StageEvent

DEFAULT_SPLIT = "train"


def write(
    clips: Sequence[ExportClip], out: Path, settings: ExportSettings
) -> Iterator[ExportEvent]:
    """Write `images/<split>`, `labels/<split>` and `data.yaml`.

    A frame without an object has an empty file of labels: a picture of background.
    """
    check_clips(clips)
    split = settings.split or DEFAULT_SPLIT
    names = class_names(clips)
    for item in pictured(clips):
        if isinstance(item, StageEvent | NoteEvent):
            yield item
            continue
        clip, result, rgb = item
        name = f"{clip.name}_{frame_name(result.frame)}"
        put(out / "images" / split / f"{name}.jpg", jpeg(rgb))
        put(out / "labels" / split / f"{name}.txt", _labels(result, names).encode())
    put(out / "data.yaml", _yaml(split, names).encode(errors="backslashreplace"))


def _labels(result: FrameResult, names: Sequence[str]) -> str:
    lines = [
        f"{names.index(item.name)} {polygon}\n"
        for item in result.objects
        for polygon in normalised_polygons(item.mask)
    ]
    return "".join(lines)


def normalised_polygons(mask: Mask) -> list[str]:
    """`x y x y ...` of the polygons of a (H, W) mask, in shares of width and height."""
    height, width = mask.shape
    return [
        " ".join(f"{x / width:.6f} {y / height:.6f}" for x, y in polygon)
        for polygon in centre_polygons(mask)
    ]


def _yaml(split: str, names: Sequence[str]) -> str:
    """`data.yaml`; a trainer wants both parts, and the user knows which clips to hold out."""
    # A string of JSON is one of YAML.
    listed = "".join(
        f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for number, name in enumerate(names)
    )
    return f"train: images/{split}\nval: images/{split}\nnames:{'' if names else ' {}'}\n{listed}"
