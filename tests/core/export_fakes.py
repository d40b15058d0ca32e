"""A small clip with results as `moca segment` writes them, for the tests of the exports."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from data.make_clips import ClipSpec, make_clip

from moca_core.export.exporter import ExportSettings
from moca_core.export.formats import FORMATS, export
from moca_core.export.reading import ClipResults, read_results
from moca_core.export.results import ResultsWriter
from moca_core.types import REASON_SILENT, FrameResult, Mask, NoteEvent, SoundingObject

SIZE = (128, 160)
FPS, COUNT = 10, 60
KEYS = tuple(range(0, COUNT, 10))
SILENT = 30
"""The key frame in which nothing sounds."""
SPEC = ClipSpec(frames=COUNT, fps=FPS, audio="aac", audio_stop_ms=COUNT * 1000 // FPS)
# What each format is exported with where a test runs over all of them.
SETTINGS = {
    "avsbench": ExportSettings(tree="ms3"),
    "coco": ExportSettings(segmentation="rle"),
}


def footage(folder: Path) -> Path:
    """Six seconds of numbered pictures, 160 x 128 at ten a second, with sound."""
    return make_clip(folder / "farm.mp4", SPEC)


def ring() -> Mask:
    """(128, 160) a disc with a hole in it, cut off by the picture's left border."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    apart = np.hypot(rows - 60, columns - 30)
    return (apart < 45) & (apart > 15)


def islands() -> Mask:
    """(128, 160) two large parts, one at the lower right corner."""
    mask = np.zeros(SIZE, bool)
    mask[10:60, 90:140] = True
    mask[70:, 100:] = True
    return mask


def result(number: int) -> FrameResult:
    """What there is in a key frame: a dog, from second 2 on a bell, in second 3 nothing."""
    dog = SoundingObject(1, "Dog", 0.75, ring())
    bell = SoundingObject(2, "Bell or gong", 0.5, islands())
    objects = (dog,) if number < 20 else (bell, dog)
    time_s = number / FPS
    return FrameResult(
        frame=number,
        time_s=time_s,
        size=SIZE,
        objects=() if number == SILENT else objects,
        reason=REASON_SILENT if number == SILENT else "",
        window_s=(max(time_s - 1, 0.0), time_s + 1),
        coarse=number == 50,
        heard=(("Dog", 0.7), ("Bell or gong", 0.2)),
        maps={} if number == SILENT else maps(number),
    )


def maps(number: int) -> dict[str, np.ndarray]:
    """Intermediates that tell their frame."""
    return {
        "evidence": np.full((6, 8), number / 100, np.float32),
        "clusters": np.full((4, 4), number, np.int16),
    }


def write_results(folder: Path, clip: Path, **request) -> Path:
    """A folder as `moca segment --save-maps` leaves it; `frames="all"` adds the union masks of
    the frames between, which are those of the key frame before.
    """
    writer = ResultsWriter(folder, save_maps=True)
    plan = {"frames": "keys", "every_s": 1.0, "start_s": None, "end_s": None} | request
    for number in range(COUNT):
        key = number // 10 * 10
        near = result(key)
        if number == key:
            writer.add(near)
        elif plan["frames"] == "all":
            writer.add(
                FrameResult(number, number / FPS, SIZE, near.objects, near.reason, key=False)
            )
    writer.finish({"clip": str(clip), "complete": True, "request": plan})
    return folder


def exported(
    name: str, results: Path, out: Path, settings: ExportSettings | None = None
) -> list[str]:
    """Export in the format `name`; returns the notes."""
    settings = settings or SETTINGS.get(name, ExportSettings())
    events = list(export(FORMATS[name], read_results(results), out, settings))
    return [event.message for event in events if isinstance(event, NoteEvent)]


def only(results: Path) -> ClipResults:
    """The results of the one clip in a folder."""
    (clip,) = read_results(results)
    return clip


def pixels(path: Path) -> np.ndarray:
    """A picture as it is stored."""
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert found is not None, path
    return np.asarray(found)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1)


def files_of(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
