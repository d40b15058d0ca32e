"""Reads back the exports of the clip `farm`, in each format as others do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
from core.export_fakes import FPS, SIZE, pixels

from moca_core.evaluation.layouts import LAYOUTS, read_mask
from moca_core.media.video import VideoReader
from moca_core.pipeline import rle

Masks = dict[int, np.ndarray]
"""Frame -> (H, W) bool."""


def from_png(out: Path, clip: Path) -> Masks:
    files = (out / "farm" / "union").iterdir()
    return {int(path.stem[6:]): pixels(path) == 255 for path in files}


def from_avsbench(out: Path, clip: Path) -> Masks:
    masks = {}
    for case in LAYOUTS["ms3"](out, None, None).cases:
        grown = cv2.resize(read_mask(case.mask_path).astype(np.uint8), SIZE[::-1], interpolation=0)
        masks[int((case.time_s or 0) * FPS) // 10 * 10] = grown > 0
    return masks


def from_coco(out: Path, clip: Path) -> Masks:
    table = json.loads((out / "annotations.json").read_text())
    masks = {row["id"]: np.zeros(SIZE, bool) for row in table["images"]}
    for row in table["annotations"]:
        masks[row["image_id"]] |= rle.decode(row["segmentation"])
    return {row["frame"]: masks[row["id"]] for row in table["images"]}


def from_yolo(out: Path, clip: Path) -> Masks:
    masks = {}
    for path in (out / "labels" / "train").iterdir():
        drawn = np.zeros(SIZE, np.uint8)
        for line in path.read_text().splitlines():
            points = np.array(line.split()[1:], float).reshape(-1, 2) * SIZE[::-1]
            cv2.fillPoly(drawn, [points.astype(np.int32)], 1)
        masks[int(path.stem[-6:])] = drawn > 0
    return masks


def pictures(path: Path) -> Masks:
    """Pictures of a video by the number of the frame, whose time they keep."""
    with av.open(str(path)) as video:
        return {
            round(frame.time * FPS): frame.to_ndarray(format="rgb24")
            for frame in video.decode(video=0)
        }


def from_video(out: Path, clip: Path) -> Masks:
    """Where the overlay differs from the clip; its words and outlines do so beside the masks."""
    masks = {}
    with VideoReader(clip) as video:
        for number, picture in pictures(out / "farm_overlay.mp4").items():
            plain = cv2.resize(video.frame(number), (320, 256), interpolation=cv2.INTER_AREA)
            change = np.abs(picture[:256].astype(int) - plain).max(axis=2) > 60
            masks[number] = change[::2, ::2]
    return masks


def from_matte(out: Path, clip: Path) -> Masks:
    found = pictures(out / "farm_matte.mp4")
    return {number: picture[..., 0] > 127 for number, picture in found.items()}


def from_npz(out: Path, clip: Path) -> Masks:
    with np.load(out / "farm.npz") as archive:
        return dict(zip(archive["frames"].tolist(), archive["masks"], strict=True))


READERS: dict[str, tuple[Callable[[Path, Path], Masks], float, set[int]]] = {
    "png": (from_png, 1.0, set()),
    "avsbench": (from_avsbench, 0.97, {50}),  # scored at 224x224; the sixth second is left over
    "coco": (from_coco, 1.0, set()),
    "yolo": (from_yolo, 0.98, set()),
    "video": (from_video, 0.6, set()),
    "matte": (from_matte, 0.98, set()),
    "npz": (from_npz, 1.0, {30}),  # no encoder ran on the silent frame
}
"""How each format is read back, the least IoU with what was exported, frames that it leaves out."""
