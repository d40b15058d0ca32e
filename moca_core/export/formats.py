"""The table of formats that results are exported to."""

from __future__ import annotations

import importlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import moca_core
from moca_core.export.clips import ExportClip
from moca_core.export.exporter import ExportEvent, ExportSettings, Write, staged
from moca_core.fileio import write_json


@dataclass(frozen=True)
class Format:
    """A row of `FORMATS`.

    Attributes
    ----------
    name : as the command line calls it.
    title : as the window calls it.
    module : whose `write` does it (an `exporter.Write`). It is named, not imported: AVSBench's
        trees are written where they are read, in a layer above this one.
    help : a line for the user.
    needs_clip : the clip's file is read as well.
    options : the settings that it reads.
    kept, lost : what of the results is in the export, and what isn't; the guide says the same.
    """

    name: str
    title: str
    module: str
    help: str
    needs_clip: bool
    options: tuple[str, ...]
    kept: str
    lost: str

    @property
    def write(self) -> Write:
        """What writes it."""
        return cast(Write, importlib.import_module(self.module).write)


FORMATS = {
    row.name: row
    for row in (
        Format(
            "png",
            "PNG masks",
            "moca_core.export.png",
            "masks as pictures: of all objects, of each, and numbered",
            needs_clip=False,
            options=(),
            kept="every mask to the pixel, frame numbers, times, reasons; objects with numbers, "
            "names, scores, boxes, origins, and what was heard",
            lost="maps; of a folder of results the objects of frames between key frames",
        ),
        Format(
            "avsbench",
            "AVSBench data set",
            "moca_core.evaluation.layouts.exporting",
            "a tree of AVSBench: frames, masks, sound and table",
            needs_clip=True,
            options=("tree", "split"),
            kept="one frame a second with its mask (`avss`: its classes), the sound at 16 kHz",
            lost="other frames, numbers, scores, reasons; `s4` and `ms3`: names but the clip's "
            "category, sizes other than 224x224; `avss`: objects that AVSBench has no class for",
        ),
        Format(
            "coco",
            "COCO instances",
            "moca_core.export.coco",
            "COCO instances: annotations.json and pictures",
            needs_clip=True,
            options=("segmentation",),
            kept="objects of all frames with a mask, to the pixel, names as categories, boxes, "
            "areas; scores, numbers, origins, frame numbers, times and reasons as keys of our own",
            lost="sound, maps, what was heard",
        ),
        Format(
            "yolo",
            "YOLO segmentation",
            "moca_core.export.yolo",
            "YOLO segmentation labels: polygons, pictures, data.yaml",
            needs_clip=True,
            options=("split",),
            kept="objects of all frames with a mask, as polygons (IoU above .98), names as "
            "classes; frame numbers in the names of files",
            lost="numbers, scores, times, reasons, sound, maps",
        ),
        Format(
            "video",
            "Overlay video",
            "moca_core.export.video",
            "the overlay: masks over the playing picture, with sound",
            needs_clip=True,
            options=(),
            kept="what there is to see and hear: masks, numbers, names, scores, reasons, times",
            lost="exact pixels, maps",
        ),
        Format(
            "matte",
            "Matte video",
            "moca_core.export.matte",
            "the mask as a video with sound: black and white, or the picture with alpha",
            needs_clip=True,
            options=("alpha",),
            kept="the union of the objects for every frame, times, sound",
            lost="which object is which, names, scores, reasons, maps",
        ),
        Format(
            "npz",
            "NPZ arrays",
            "moca_core.export.npz",
            "the intermediates of the method as arrays",
            needs_clip=False,
            options=(),
            kept="the saved maps to the bit, union masks, frame numbers, times, reasons",
            lost="single objects, names, scores, frames without maps if others have some",
        ),
    )
}
"""What can be exported, by name."""

RECORD = "moca.json"
"""The file of each export that says how it came about."""


def export(
    row: Format, clips: Sequence[ExportClip], out: Path, settings: ExportSettings
) -> Generator[ExportEvent, None, None]:
    """Export results into a new or empty folder, which gets all of the export or nothing.

    Closed early, it leaves the folder as it was.

    Raises
    ------
    StorageError : `out` isn't empty or can't be written, results are damaged, a clip isn't there.
    MediaError : a clip can't be read.
    ConfigError : a setting isn't one of the format.
    """
    with staged(out) as part:
        yield from row.write(clips, part, settings)
        write_json(part / RECORD, _record(row, clips, settings))


def _record(row: Format, clips: Sequence[ExportClip], settings: ExportSettings) -> dict[str, Any]:
    """How an export came about; without times, so that the same masks are the same files."""
    return {
        "program": f"MoCA Studio {moca_core.__version__}",
        "format": row.name,
        "settings": {name: getattr(settings, name) for name in row.options},
        "clips": [
            {
                "name": clip.name,
                "file": clip.clip.name if clip.clip is not None else "",
                "frames": len(clip.numbers),
                **clip.made_with,
            }
            for clip in clips
        ],
    }
