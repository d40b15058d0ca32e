"""Running a predictor over a data set: a generator of events that ends with the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import DatasetError, MediaError, MocaError
from moca_core.evaluation.baselines import Predict
from moca_core.evaluation.layouts import ONE_OF_SEVERAL, Case, read_image, read_mask
from moca_core.evaluation.metrics import FrameScore, iou, score_frame, standard_error, summarise
from moca_core.fileio import write_bytes
from moca_core.media.audio import open_audio
from moca_core.types import Mask, NoteEvent, Prediction

SOUND_HZ = 16000
NEAREST = ("right", "both", "other")
"""Which truth of an `ms_one` picture a mask overlaps most: this sound's, the union, another's."""


@dataclass(frozen=True, eq=False)
class CaseEvent:
    """A case is done. `nearest` is one of `NEAREST` in `ms_one`; "" elsewhere or if it meets none.

    `done` counts failed cases too.
    """

    case: Case
    prediction: Prediction
    score: FrameScore
    nearest: str
    done: int
    total: int


@dataclass(frozen=True)
class ReportEvent:
    """The last event: the result in the shape of `evaluate --json`."""

    report: dict[str, Any]


EvaluateEvent = CaseEvent | NoteEvent | ReportEvent


def evaluate(
    cases: Sequence[Case],
    predict: Predict,
    config: Mapping[str, Any] | None = None,
    save_masks: Path | None = None,
) -> Iterator[EvaluateEvent]:
    """Predict and score every case; a case that can't be read is noted and left out.

    Parameters
    ----------
    cases : what to evaluate.
    predict : (H, W, 3) uint8 picture, (n,) float32 sound at 16 kHz -> `Prediction`.
    config : settings of the run, kept in the report.
    save_masks : folder for `<id>.png` (0/255) of every case.

    Raises
    ------
    DatasetError : no case could be read.
    StorageError : a mask can't be written.
    """
    began = time.perf_counter()
    done: list[CaseEvent] = []
    failed: list[str] = []
    for number, case in enumerate(cases, start=1):
        try:
            rgb, wave, truth, others = _load(case)
        except MocaError as error:
            failed.append(case.id)
            yield NoteEvent(f"{case.id} is left out: {error.message}")
            continue
        prediction = fitted(predict(rgb, wave), (truth.shape[0], truth.shape[1]))
        if save_masks is not None:
            _save(save_masks / f"{case.id}.png", prediction.mask)
        score = score_frame(prediction.mask, prediction.soft, truth)
        event = CaseEvent(
            case, prediction, score, nearest(prediction.mask, truth, others), number, len(cases)
        )
        # Only numbers are kept: memory doesn't grow with the pictures.
        done.append(CaseEvent(case, _NOTHING, score, event.nearest, number, len(cases)))
        yield event
    if not done:
        raise DatasetError(
            f"none of {len(cases)} cases could be read", "See the notes above for each of them."
        )
    yield ReportEvent(make_report(done, failed, time.perf_counter() - began, config or {}))


_NOTHING = Prediction(np.zeros((0, 0), dtype=bool), np.zeros((0, 0), np.float32))


def make_report(
    done: Sequence[CaseEvent],
    failed: Sequence[str],
    seconds: float,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """The result of `evaluate --json` (DESIGN.md section 4), with standard errors as `*_se`."""
    report: dict[str, Any] = summary(done)
    for name, key in (("per_subset", _subset), ("per_category", _category)):
        names = dict.fromkeys(key(event) for event in done)
        report[name] = {
            item: summary([event for event in done if key(event) == item]) for item in names
        }
    report["seconds"] = seconds
    report["failed"] = list(failed)
    report["config"] = dict(config)
    return report


def summary(done: Sequence[CaseEvent]) -> dict[str, Any]:
    """Means of some cases; those of one picture count together in the standard errors."""
    groups = [event.case.group for event in done]
    result: dict[str, Any] = summarise([event.score for event in done], groups=groups)
    if done and all(event.case.subset == ONE_OF_SEVERAL for event in done):
        for name in NEAREST:
            values = [float(event.nearest == name) for event in done]
            result[f"share_{name}"] = float(np.mean(values))
            result[f"share_{name}_se"] = standard_error(values, groups)
    return result


def _subset(event: CaseEvent) -> str:
    return event.case.subset


def _category(event: CaseEvent) -> str:
    return event.case.category


def nearest(mask: Mask, truth: Mask, others: Sequence[Mask]) -> str:
    """Which of `NEAREST` the mask has the largest IoU with; "" without others or overlap.

    `both` is the union of all truths of the picture. Of equals the first of `NEAREST` wins.
    """
    if not others:
        return ""
    union = np.logical_or.reduce([truth, *others])
    overlaps = (iou(mask, truth), iou(mask, union), max(iou(mask, other) for other in others))
    best = int(np.argmax(overlaps))
    return NEAREST[best] if overlaps[best] > 0 else ""


def fitted(prediction: Prediction, size: tuple[int, int]) -> Prediction:
    """The prediction at (height, width) `size`: metrics are taken at the truth's own size."""
    if prediction.mask.shape == size and prediction.soft.shape == size:
        return prediction
    mask = cv2.resize(
        prediction.mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT
    )
    soft = cv2.resize(prediction.soft, size[::-1], interpolation=cv2.INTER_LINEAR)
    return Prediction(mask > 0, np.asarray(soft, np.float32), prediction.reason)


def _load(
    case: Case,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], Mask, tuple[Mask, ...]]:
    rgb, truth = read_image(case.image_path), read_mask(case.mask_path)
    others = tuple(read_mask(path) for path in case.other_mask_paths)
    if any(other.shape != truth.shape for other in others):
        raise DatasetError(f"{case.mask_path}: masks of one picture differ in size")
    return rgb, read_sound(case.audio_path), truth, others


def read_sound(path: Path) -> NDArray[np.float32]:
    """(n,) float32 mono at 16 kHz of a whole sound file; raises `DatasetError`."""
    try:
        with open_audio(path, SOUND_HZ) as reader:
            return reader.samples(0, round(reader.duration_s * SOUND_HZ))
    except MediaError as error:
        raise DatasetError(error.message, error.hint) from error


def _save(path: Path, mask: Mask) -> None:
    done, data = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    if done:
        write_bytes(path, data.tobytes())


def text_table(report: Mapping[str, Any]) -> str:
    """The report's subsets as lines of text, standard errors in brackets."""
    heads = ["subset", "n", "m_j", "f_binary", "f_max_clip", "f_max_dataset", "iou_dataset"]
    heads += ["empty", *NEAREST]
    keys = ["m_j", "f_binary", "f_max_clip", "f_max_dataset", "iou_dataset", "share_empty"]
    keys += [f"share_{name}" for name in NEAREST]
    rows = [heads]
    for name, part in [*report["per_subset"].items(), ("all", report)]:
        rows.append([name, str(part["n"]), *(_cell(part, key) for key in keys)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _cell(part: Mapping[str, Any], key: str) -> str:
    value, error = part.get(key), part.get(f"{key}_se")
    if value is None:
        return "-"
    return f"{value:.3f}" if error is None else f"{value:.3f} ({error:.3f})"
