"""How well a mask is followed by motion, on real clips: IoU and time a frame.

    OMP_NUM_THREADS=1 python benchmarks/following.py ../shared/data --json FILE

* davis: human masks of the five stills of each DAVIS sequence, which are many frames of the film
  apart; from each still to the others, one to four stills away. A lost object counts as 0: such
  steps are as large as cuts, and most are taken for one.
* there and back: what the program finds in three frames of each clip, followed 5, 10 and 25 frames
  ahead, and from there back to its start.
* found there: the same, against what the encoders find in the frame that was reached; and the mask
  left where it was, for comparison. The encoders differ between frames, too, so 1 isn't in reach.
* cuts: how many steps from one clip into another one are seen as the loss of the object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from moca_core.annotations.model import PackedObject, PackedResult, pack_mask
from moca_core.annotations.propagating import Followed, Pictures, Way, follow
from moca_core.config import SegmentConfig
from moca_core.errors import MediaError
from moca_core.media.video import VideoReader
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import FrameEvent, Mask, RgbImage

CLIPS = (
    "dog_barking_vgg.mp4",
    "baby_crying_vgg.mp4",
    "harp_vgg.mp4",
    "canary_vgg.mp4",
    "car_engine_vgg.mp4",
    "speech_and_dog_llp.mp4",
    "two_speakers_avobjects.mp4",
    "drum_vas.mp4",
    "pancake_h264_opus48k_mono.mkv",
)
STARTS, STEPS = (0.15, 0.4, 0.65), (5, 10, 25)
Row = tuple[str, float]


class Stills:
    """Pictures in memory as a clip."""

    def __init__(self, pictures: list[RgbImage]) -> None:
        self.pictures = pictures

    def frame(self, index: int) -> RgbImage:
        """Picture `index`."""
        return self.pictures[index]

    def time_of(self, index: int) -> float:
        """One a second."""
        return float(index)


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union, 1 for two empty masks."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def reached(video: Pictures, start: int, mask: Mask, frames: range) -> dict[int, Mask]:
    """The masks of the frames that are reached from `start`."""
    item = PackedObject(1, "", 1.0, *pack_mask(mask))
    way = Way(PackedResult(start, 0.0, mask.shape, (item,)), [1], frames, {}, {})
    return {
        event.frame: event.result.objects[0].mask(mask.shape)
        for event in follow(video, way)
        if isinstance(event, Followed) and event.result is not None
    }


def davis(data: Path) -> Iterator[Row]:
    """Yield the IoU of each still that is followed to."""
    root = data / "davis_s4" / "Single-source" / "s4_data"
    for folder in sorted((root / "gt_masks" / "val").glob("*/*")):
        masks = [cv2.imread(str(file), 0) > 127 for file in sorted(folder.glob("*.png"))]
        files = sorted(
            (root / "visual_frames" / "val" / folder.parent.name / folder.name).iterdir()
        )
        stills = Stills([cv2.imread(str(file))[..., ::-1] for file in files])
        for start, mask in enumerate(masks):
            for frames in (range(start + 1, len(masks)), range(start - 1, -1, -1)):
                found = reached(stills, start, mask, frames)
                for frame in frames:
                    overlap = iou(found[frame], masks[frame]) if frame in found else 0.0
                    yield f"davis, {abs(frame - start)} stills away", overlap


def real_clips(data: Path) -> Iterator[Row]:
    """Yield overlaps and milliseconds of the clips."""
    segmenter = Segmenter(SegmentConfig(), device="cpu")
    for name in CLIPS:
        path = data / "clips" / name
        with VideoReader(path) as video:
            starts = [int(video.info.frame_count * share) for share in STARTS]
            wanted = sorted({start + step for start in starts for step in (0, *STEPS)})
            events = segmenter.clip(path, frames=wanted)
            masks = {e.result.frame: e.result.union for e in events if isinstance(e, FrameEvent)}
            for start in starts:
                if masks[start].any():
                    yield from one_start(video, start, masks)


def one_start(video: VideoReader, start: int, masks: dict[int, Mask]) -> Iterator[Row]:
    """Yield the overlaps of what is followed from one frame of a clip, and the time a frame."""
    mask = masks[start]
    began = time.process_time()
    found = reached(video, start, mask, range(start + 1, start + STEPS[-1] + 1))
    yield (
        "milliseconds of processor a frame, decoded",
        1000 * (time.process_time() - began) / max(len(found), 1),
    )
    for step in STEPS:
        frame = start + step
        moved = found.get(frame, np.zeros_like(mask))
        if masks[frame].any():
            yield f"found there, {step} frames", iou(moved, masks[frame])
            yield f"found there, {step} frames, left where it was", iou(mask, masks[frame])
        back = reached(video, frame, moved, range(frame - 1, start - 1, -1)) if moved.any() else {}
        yield f"there and back, {step} frames", iou(back[start], mask) if start in back else 0.0


def cuts(data: Path) -> Iterator[Row]:
    """Yield 1 for each cut at which an ellipse is lost, else 0; and for steps without a cut."""
    pictures = {}
    for name in CLIPS:
        with VideoReader(data / "clips" / name) as video:
            pictures[name] = [frame for n in range(60, 160, 20) for frame in pair(video, n)]
    for place, name in enumerate(CLIPS):
        other = pictures[CLIPS[(place + 4) % len(CLIPS)]]
        height, width = pictures[name][0].shape[:2]
        for n in range(0, len(pictures[name]), 2):
            first, second = pictures[name][n : n + 2]
            strange = cv2.resize(other[n], (width, height))
            for x in (0.25, 0.5, 0.75):
                mask = np.zeros((height, width), np.uint8)
                centre, axes = (int(x * width), height // 2), (width // 8, height // 5)
                cv2.ellipse(mask, centre, axes, 0, 0, 360, 1, -1)
                for title, after in (("cuts seen", strange), ("steps taken for cuts", second)):
                    found = reached(Stills([first, after]), 0, mask.astype(bool), range(1, 2))
                    yield title, float(not found)


def pair(video: VideoReader, frame: int) -> list[RgbImage]:
    """Two neighbouring frames; none if they can't be decoded."""
    try:
        return [video.frame(frame), video.frame(frame + 1)]
    except (IndexError, MediaError):
        return []


def main() -> int:
    """Print a table; write it as JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the development data")
    parser.add_argument("--json", type=Path, help="write the means to this file")
    options = parser.parse_args()
    rows = defaultdict(list)
    for part in (davis, cuts, real_clips):
        for title, value in part(options.data):
            rows[title].append(value)
    means = {title: float(np.mean(values)) for title, values in rows.items()}
    for title in sorted(means):
        sys.stdout.write(f"{title:52s} {means[title]:8.3f}   {len(rows[title]):4d} values\n")
    if options.json:
        options.json.write_text(json.dumps(means, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
