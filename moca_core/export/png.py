"""Masks as PNG: all objects together, each for itself, and numbered in one picture."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moca_core.export.clips import ExportClip
from moca_core.export.drawing import colour_of
from moca_core.export.exporter import (
    ExportEvent,
    ExportSettings,
    between_note,
    put,
    put_table,
    seconds,
)
from moca_core.export.reading import frame_name
from moca_core.export.results import png
from moca_core.types import FrameResult, StageEvent

_INDICES = 255
FRAME_COLUMNS = ("frame", "time_s", "key", "reason", "coarse", "heard", "corrected")
OBJECT_COLUMNS = (
    *("frame", "time_s", "number", "index", "name", "score", "x0", "y0", "x1", "y1", "origin"),
)


def write(
    clips: Sequence[ExportClip], out: Path, settings: ExportSettings
) -> Iterator[ExportEvent]:
    """Write `<clip>/union`, `objects`, `index`, `frames.csv` and `objects.csv`."""
    total = sum(len(clip.numbers) for clip in clips)
    done = 0
    for clip in clips:
        folder = out / clip.name
        times, known = clip.times(), set(clip.known)
        frames: list[list[object]] = []
        objects: list[list[object]] = []
        for number in clip.numbers:
            yield StageEvent(f"Masks of {clip.name}", done, total)
            done += 1
            name = f"{frame_name(number)}.png"
            time_s = seconds(times[number]) if number in times else ""
            if number not in known:
                put(folder / "union" / name, png(clip.union(number)))
                frames.append([number, time_s, 0, "", "", "", 0])
                continue
            result = clip.result(number)
            put(folder / "union" / name, png(result.union))
            put(folder / "index" / name, _index_png(result))
            for item in result.objects:
                put(folder / "objects" / _object_name(number, item.number), png(item.mask))
                row = [number, time_s, item.number, index_of(item.number), item.name]
                objects.append([*row, f"{item.score:.4f}", *item.box, item.origin])
            heard = "; ".join(f"{group} {weight:.4f}" for group, weight in result.heard)
            row = [number, time_s, int(result.key), result.reason, int(result.coarse), heard]
            frames.append([*row, int(result.corrected)])
        put_table(folder / "frames.csv", FRAME_COLUMNS, frames)
        put_table(folder / "objects.csv", OBJECT_COLUMNS, objects)
        yield from between_note(clip)


def _object_name(frame: int, number: int) -> str:
    return f"{frame_name(frame)}_object_{number:02d}.png"


def index_of(number: int) -> int:
    """The pixel value of the object with this number; a byte starts again after 255."""
    return (number - 1) % _INDICES + 1


def index_map(result: FrameResult) -> NDArray[np.uint8]:
    """(H, W) uint8: 0, or the `index_of` the object; where two overlap, of the surer one."""
    pixels = np.zeros(result.size, np.uint8)
    for item in sorted(result.objects, key=lambda item: item.score):
        pixels[item.mask] = index_of(item.number)
    return pixels


def _index_png(result: FrameResult) -> bytes:
    image = Image.fromarray(index_map(result), mode="P")
    colours = [(0, 0, 0), *(colour_of(index) for index in range(1, _INDICES + 1))]
    image.putpalette(np.array(colours, np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
