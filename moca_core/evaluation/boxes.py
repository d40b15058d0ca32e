"""Scores against boxes of what sounds, as VGG-SS and LVS define them, on real clips.

Chen et al., "Localizing Visual Sounds the Hard Way" (CVPR 2021); the details are those of the
authors' script, `test.py` and `utils.py` of hche11/Localizing-Visual-Sounds-the-Hard-Way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moca_core.errors import DatasetError, MocaError
from moca_core.evaluation.baselines import Look
from moca_core.evaluation.box_table import Box, BoxClip
from moca_core.evaluation.metrics import iou, standard_error
from moca_core.evaluation.runner import SOUND_HZ, WINDOW_S, fitted
from moca_core.evaluation.text import aligned, with_error
from moca_core.media.audio import frame_window, open_audio
from moca_core.media.video import VideoReader
from moca_core.types import FloatMap, Mask, NoteEvent, Prediction, ReportEvent, RgbImage, Wave

SIDE = 224
"""Pixels of the square at which the official script scores."""
RIGHT_IOU = 0.5
STEPS = tuple(0.05 * step for step in range(21))
"""IoU at which the success rate is taken for the area under it."""
_CACHE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Claim:
    """A row of `CLAIMS`: how a prediction becomes the region that is compared with the boxes."""

    name: str
    help: str
    make: Callable[[Prediction], Mask]


def upper_half(soft: FloatMap) -> Mask:
    """The half of the picture where a map (h, w) is highest: above its median, as LVS does it.

    Places at its maximum count always, so that a map of ones and zeros stays what it is. A map
    that is the same everywhere claims all of the picture, or nothing if it is 0.
    """
    low, high = float(soft.min()), float(soft.max())
    if low == high:
        return np.full(soft.shape, high > 0)
    threshold = np.sort(soft, axis=None)[soft.size // 2]
    return np.asarray((soft > threshold) | (soft == high), dtype=bool)


def upper_range(soft: FloatMap) -> Mask:
    """Where a map (h, w), stretched to 0 to 1, is at least a half; one of 0 claims nothing."""
    low, high = float(soft.min()), float(soft.max())
    if low == high:
        return np.full(soft.shape, high > 0)
    return np.asarray((soft - low) / (high - low) >= 0.5, dtype=bool)


CLAIMS: Mapping[str, Claim] = {
    row.name: row
    for row in (
        Claim(
            "lvs",
            "the half of the picture where the soft map is highest, the convention of VGG-SS",
            lambda said: upper_half(said.soft),
        ),
        Claim(
            "half",
            "where the soft map is above the middle of its range",
            lambda said: upper_range(said.soft),
        ),
        Claim("mask", "the mask", lambda said: said.mask),
    )
}


@dataclass(frozen=True)
class BoxRecord:
    """A clip as one predictor sees it.

    Attributes
    ----------
    name, category : of the clip.
    predictor : the method or a baseline.
    iou : IoU with the boxes, by the names in `CLAIMS`; at 224x224.
    peak : share of the places with the highest value that lie in a box; 0 if all are 0.
    reason : why the mask is empty, else "".
    """

    name: str
    category: str
    predictor: str
    iou: Mapping[str, float]
    peak: float
    reason: str


@dataclass(frozen=True, eq=False)
class ClipEvent:
    """A clip is done. `done` counts those that failed, too."""

    records: tuple[BoxRecord, ...]
    done: int
    total: int


def score_boxes(
    clips: Sequence[BoxClip],
    looks: Mapping[str, Look],
    config: Mapping[str, Any] | None = None,
    window_s: float = WINDOW_S,
) -> Iterator[ClipEvent | NoteEvent | ReportEvent]:
    """Look at the middle frame of each clip with the sound around it, and compare with the boxes.

    Parameters
    ----------
    looks : what is tested, by name.
    config : settings of the run, kept in the report.
    window_s : length of the audio window, in seconds.

    Raises
    ------
    DatasetError : no clip could be read.
    """
    began = time.perf_counter()
    done: list[BoxRecord] = []
    failed: list[str] = []
    for number, clip in enumerate(clips, start=1):
        try:
            rgb, wave = middle_of(clip, window_s)
        except MocaError as error:
            failed.append(clip.name)
            yield NoteEvent(f"{clip.name} is left out: {error.message}")
            continue
        records = tuple(record_of(clip, name, look(rgb)(wave)) for name, look in looks.items())
        done += records
        yield ClipEvent(records, number, len(clips))
    if not done:
        raise DatasetError(
            f"none of {len(clips)} clips could be read", "See the notes above for each of them."
        )
    yield ReportEvent(make_report(done, failed, time.perf_counter() - began, config or {}))


def middle_of(clip: BoxClip, window_s: float) -> tuple[RgbImage, Wave]:
    """(H, W, 3) uint8 middle frame of a clip, and (n,) float32 the sound around it at 16 kHz.

    Raises
    ------
    MediaError : the clip can't be read, or has no sound.
    DatasetError : it isn't there.
    """
    if clip.path is None:
        raise DatasetError(f"{clip.name}: no such clip", "Give its folder with --clips.")
    with VideoReader(clip.path, cache_bytes=_CACHE_BYTES) as video:
        frame = video.index_at(video.info.duration_s / 2)
        rgb, time_s = video.frame(frame), video.time_of(frame)
    with open_audio(clip.path, SOUND_HZ) as audio:
        return rgb, audio.window(*frame_window(time_s, window_s, audio.duration_s))


def record_of(clip: BoxClip, predictor: str, said: Prediction) -> BoxRecord:
    """Compare a prediction with the boxes of its clip."""
    said = fitted(said, (SIDE, SIDE))
    truth = box_mask(clip.boxes)
    return BoxRecord(
        name=clip.name,
        category=clip.category,
        predictor=predictor,
        iou={claim.name: iou(claim.make(said), truth) for claim in CLAIMS.values()},
        peak=peak_inside(said.soft, truth),
        reason=said.reason,
    )


def box_mask(boxes: Sequence[Box]) -> Mask:
    """(224, 224) bool, the union of the boxes, whose edges are rounded down as officially."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    for box in boxes:
        x0, y0, x1, y1 = (int(SIDE * max(edge, 0.0)) for edge in box)
        mask[y0:y1, x0:x1] = True
    return mask


def peak_inside(soft: FloatMap, truth: Mask) -> float:
    """Share of the places with the highest value of a map (h, w) that lie in the truth."""
    highest = float(soft.max())
    return float(truth[soft == highest].mean()) if highest > 0 else 0.0


def success_area(values: Sequence[float]) -> float:
    """Area under the share of IoUs that reach a threshold, over `STEPS`, by trapezoids."""
    rates = (np.asarray(values)[:, None] >= np.array(STEPS)).mean(axis=0)
    return float(((rates[1:] + rates[:-1]) / 2 * np.diff(STEPS)).sum())


def make_report(
    done: Sequence[BoxRecord], failed: Sequence[str], seconds: float, config: Mapping[str, Any]
) -> dict[str, Any]:
    """The result of `boxes --json`.

    Returns
    -------
    `predictors`: by name `n`, `peak` (mean), `empty` (share of empty masks), and for each of
    `CLAIMS` `ciou` (share of clips whose IoU is at least 0.5: what LVS calls cIoU), `auc` and
    `iou` (mean), means with standard errors as `*_se`; `cases`: every `BoxRecord`; `seconds`,
    `failed`, `config`.
    """
    by_name: dict[str, list[BoxRecord]] = {}
    for record in done:
        by_name.setdefault(record.predictor, []).append(record)
    return {
        "predictors": {name: _summary(records) for name, records in by_name.items()},
        "cases": [asdict(record) for record in done],
        "seconds": seconds,
        "failed": list(failed),
        "config": dict(config),
    }


def _summary(records: Sequence[BoxRecord]) -> dict[str, Any]:
    result: dict[str, Any] = {"n": len(records)}
    _put(result, "peak", [record.peak for record in records])
    _put(result, "empty", [float(bool(record.reason)) for record in records])
    for claim in CLAIMS:
        values = [record.iou[claim] for record in records]
        part: dict[str, Any] = {"auc": success_area(values)}
        _put(part, "ciou", [float(value >= RIGHT_IOU) for value in values])
        _put(part, "iou", values)
        result[claim] = part
    return result


def _put(result: dict[str, Any], name: str, values: Sequence[float]) -> None:
    result[name] = float(np.mean(values))
    result[f"{name}_se"] = standard_error(values, range(len(values)))


def text_tables(report: Mapping[str, Any]) -> str:
    """The report as two tables: every clip, and the means with standard errors in brackets."""
    rows = [["clip", "class", "by", "peak", *(f"IoU {claim}" for claim in CLAIMS), ""]]
    for case in report["cases"]:
        cells = [f"{case['peak']:.2f}", *(f"{case['iou'][claim]:.3f}" for claim in CLAIMS)]
        rows.append([case["name"], case["category"], case["predictor"], *cells, case["reason"]])
    means = [["by", "region", "n", "cIoU@0.5", "AUC", "IoU", "peak in box", "empty"]]
    for name, part in report["predictors"].items():
        # The last two are of the predictor, whatever the region.
        last = [with_error(part["peak"], part["peak_se"]), f"{part['empty']:.3f}"]
        for claim in CLAIMS:
            values = part[claim]
            cells = [with_error(values["ciou"], values["ciou_se"]), f"{values['auc']:.3f}"]
            cells.append(with_error(values["iou"], values["iou_se"]))
            means.append([name, claim, str(part["n"]), *cells, *last])
            last = ["", ""]
    return "\n".join([aligned(rows, left=3), aligned(means, left=2)])
