"""Where persons are: small pose, face and segmentation nets of MediaPipe, run by LiteRT.

ImageNet has no class for persons, and speech is the commonest sound. Decoding of the outputs was
worked out from the files (anchors, strides); the nets are Apache-2.0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import WeightsError
from moca_core.types import FloatMap, RgbImage

_LEAST_SCORE = 0.2
_SAME = 0.3
_TILE = 0.6
_POSE_RAMP = (0.3, 0.8)
"""Pose scores at which a person begins to count, and counts fully."""


@dataclass(frozen=True)
class DetectorSpec:
    """Input side and anchor grid ((cells a side, anchors a cell), ...) of a detector."""

    side: int
    anchors: tuple[tuple[int, int], ...]


POSE = DetectorSpec(224, ((28, 2), (14, 2), (7, 6)))
FACE = DetectorSpec(192, ((48, 1),))
SELFIE_SIDE = 256


@dataclass(frozen=True, eq=False)
class Detections:
    """D detections, the best first; coordinates in pixels of the picture.

    Attributes
    ----------
    score : (D,) 0 to 1.
    box : (D, 4) x0, y0, x1, y1.
    points : (D, K, 2) key points. Of a pose: mid-hip, a point on the circle around the whole
        body, mid-shoulder, and one more.
    """

    score: NDArray[np.float32]
    box: NDArray[np.float32]
    points: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PersonEvidence:
    """What the three nets say of a picture.

    Attributes
    ----------
    poses, faces : detections in the picture and in four tiles of it.
    pose_map : (H, W) float32, segmentation of each pose's square times its score.
    tiled_map : (H, W) float32, segmentation of the picture and its tiles, which finds any
        salient thing: never use it without a detection.
    """

    poses: Detections
    faces: Detections
    pose_map: FloatMap
    tiled_map: FloatMap

    @property
    def presence(self) -> float:
        """0 to 1, how surely a pose shows a person."""
        best = float(self.poses.score.max(initial=0.0))
        low, high = _POSE_RAMP
        return float(np.clip((best - low) / (high - low), 0.0, 1.0))

    def hints(self, least: float = 0.3, most: int = 6) -> NDArray[np.float32]:
        """(K, 2) points on persons: mid-shoulder, between shoulder and hip, and faces."""
        points: list[NDArray[np.float32]] = []
        for score, keys in zip(self.poses.score[:most], self.poses.points[:most], strict=True):
            if score >= least:
                points += [keys[2], (keys[0] + keys[2]) / 2]
        for score, box in zip(self.faces.score[:most], self.faces.box[:most], strict=True):
            if score >= least:
                points.append((box[:2] + box[2:]) / 2)
        height, width = self.pose_map.shape
        stacked = np.array(points, dtype=np.float32).reshape(-1, 2)
        return np.clip(stacked, 0, [width - 1, height - 1]).astype(np.float32)


class PersonNets:
    """The three nets, loaded once. Use one instance from one thread at a time."""

    def __init__(self, pose: Path, face: Path, selfie: Path, threads: int = 2) -> None:
        self._pose = _Net(pose, threads)
        self._face = _Net(face, threads)
        self._selfie = _Net(selfie, threads)
        self._pose_anchors = _anchors(POSE)
        self._face_anchors = _anchors(FACE)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Load the nets from the weights folder; raises `WeightsError`."""
        return cls(
            folder / "pose_detection.tflite",
            folder / "face_detection_full_range_sparse.tflite",
            folder / "selfie_segmentation.tflite",
        )

    def find(self, rgb: RgbImage) -> PersonEvidence:
        """Find persons in (H, W, 3) uint8."""
        height, width = rgb.shape[:2]
        poses: list[NDArray[np.float32]] = []
        faces: list[NDArray[np.float32]] = []
        tiled = np.zeros((height, width), dtype=np.float32)
        for x, y, tile in _tiles(rgb):
            offset = np.array([x, y], dtype=np.float32)
            poses.append(_detect(self._pose, POSE, self._pose_anchors, tile, offset))
            faces.append(_detect(self._face, FACE, self._face_anchors, tile, offset))
            rows, columns = slice(y, y + tile.shape[0]), slice(x, x + tile.shape[1])
            tiled[rows, columns] = np.maximum(tiled[rows, columns], self.segment(tile))
        found = _merged(np.concatenate(poses))
        return PersonEvidence(
            poses=_detections(found),
            faces=_detections(_merged(np.concatenate(faces))),
            pose_map=self._pose_map(rgb, _detections(found)),
            tiled_map=tiled,
        )

    def segment(self, rgb: RgbImage) -> FloatMap:
        """(H, W, 3) uint8 -> (H, W) float32 in 0 to 1, the nearest person's pixels."""
        picture = cv2.resize(rgb, (SELFIE_SIDE, SELFIE_SIDE), interpolation=cv2.INTER_AREA)
        mask = self._selfie.run(np.divide(picture, 255, dtype=np.float32))[0][0, :, :, 0]
        size = (rgb.shape[1], rgb.shape[0])
        return np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR), np.float32)

    def _pose_map(self, rgb: RgbImage, poses: Detections) -> FloatMap:
        """Segmentation inside the square around each whole body, times the pose's score."""
        height, width = rgb.shape[:2]
        result = np.zeros((height, width), dtype=np.float32)
        for score, keys in zip(poses.score, poses.points, strict=True):
            reach = 1.25 * float(np.hypot(*(keys[1] - keys[0])))
            left, top = np.maximum(keys[0] - reach, 0).astype(int)
            right = min(width, int(keys[0][0] + reach))
            bottom = min(height, int(keys[0][1] + reach))
            if right - left < 8 or bottom - top < 8:
                continue
            mask = self.segment(np.ascontiguousarray(rgb[top:bottom, left:right])) * score
            result[top:bottom, left:right] = np.maximum(result[top:bottom, left:right], mask)
        return result


class _Net:
    """One TFLite file: NHWC float32 in, a list of float32 arrays out."""

    def __init__(self, path: Path, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        if not path.is_file():
            raise WeightsError(f"{path.name}: not there", "Run `moca weights get`.")
        try:
            with _quietly():
                self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(
                f"{path.name}: not a TFLite file, or damaged", "Run `moca weights get` again."
            ) from error
        self._input: Any = self._interpreter.get_input_details()[0]["index"]
        self._outputs: Any = [item["index"] for item in self._interpreter.get_output_details()]

    def run(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index).copy() for index in self._outputs]


@contextmanager
def _quietly() -> Iterator[None]:
    """LiteRT tells stderr which delegate it uses, past Python and in the middle of a progress bar.

    It has no switch for that, so the file itself points elsewhere for a moment.
    """
    try:
        kept = os.dup(2)
    except OSError:  # a window without a terminal has none
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _anchors(spec: DetectorSpec) -> NDArray[np.float32]:
    """(A, 2) anchor centres in 0 to 1, row-major, anchors of a cell together."""
    parts = []
    for cells, count in spec.anchors:
        centre = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        y, x = np.meshgrid(centre, centre, indexing="ij")
        parts.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(parts)


def _tiles(rgb: RgbImage) -> Iterator[tuple[int, int, RgbImage]]:
    """The picture and four tiles of 60 % of its sides, in which small persons are larger."""
    yield 0, 0, rgb
    height, width = rgb.shape[:2]
    rows, columns = round(_TILE * height), round(_TILE * width)
    if min(rows, columns) < 16:
        return
    for x in (0, width - columns):
        for y in (0, height - rows):
            yield x, y, np.ascontiguousarray(rgb[y : y + rows, x : x + columns])


def _letterboxed(
    rgb: RgbImage, side: int
) -> tuple[NDArray[np.float32], float, NDArray[np.float32]]:
    """The picture centred on a black square, its scale, and its offset (x, y) there."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    canvas = np.zeros((side, side, 3), dtype=np.float32)
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(
        rgb, size, interpolation=cv2.INTER_AREA
    )
    return canvas, scale, np.array([left, top], dtype=np.float32)


def _detect(
    net: _Net,
    spec: DetectorSpec,
    anchors: NDArray[np.float32],
    rgb: RgbImage,
    offset: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(D, 1 + 2 * (2 + K)) rows: score, then box corners and key points in the whole picture."""
    canvas, scale, margin = _letterboxed(rgb, spec.side)
    outputs = [output[0] for output in net.run(canvas / 127.5 - 1.0)]
    values, logits = sorted(outputs, key=lambda output: -output.shape[-1])
    # Logits beyond 80 say nothing more and would overflow float32.
    score = 1.0 / (1.0 + np.exp(-np.clip(logits[:, 0], -80.0, 80.0)))
    index = np.flatnonzero(score > _LEAST_SCORE)
    values, centre = values[index] / spec.side, anchors[index]
    middle, half = values[:, :2] + centre, values[:, 2:4] / 2
    keys = values[:, 4:].reshape(len(index), (values.shape[1] - 4) // 2, 2) + centre[:, None]
    places = np.concatenate([(middle - half)[:, None], (middle + half)[:, None], keys], axis=1)
    places = (places * spec.side - margin) / scale + offset
    rows = np.concatenate([score[index, None], places.reshape(len(index), values.shape[1])], axis=1)
    return _merged(rows.astype(np.float32))


def _merged(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weighted non-maximum suppression: overlapping detections become their weighted mean."""
    left = rows[np.argsort(-rows[:, 0], kind="stable")]
    merged = []
    while len(left):
        same = _box_iou(left[0, 1:5], left[:, 1:5]) > _SAME
        same[0] = True
        weight = left[same, :1]
        mean = (left[same] * weight).sum(axis=0) / weight.sum()
        mean[0] = left[0, 0]
        merged.append(mean)
        left = left[~same]
    return np.array(merged, dtype=np.float32).reshape(-1, rows.shape[1])


def _box_iou(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=1)
    area = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1)
    return overlap / np.maximum(area - overlap, 1e-9)


def _detections(rows: NDArray[np.float32]) -> Detections:
    points = rows[:, 5:].reshape(len(rows), (rows.shape[1] - 5) // 2, 2)
    return Detections(rows[:, 0], rows[:, 1:5], points)
