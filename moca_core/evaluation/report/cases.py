"""The best and the worst cases of a report: which they are, and their pictures."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import MocaError
from moca_core.evaluation.metrics import score_frame
from moca_core.evaluation.records import CaseRecord
from moca_core.evaluation.runner import LoadedCase, fitted, resized_mask
from moca_core.export.drawing import INK, PAPER, Colour, heat, outline, tint
from moca_core.media.audio import is_silent
from moca_core.pipeline.analysis import resized
from moca_core.pipeline.matching import Match
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import REASON_SILENT, FloatMap, Mask, Prediction, RgbImage

SHOWN = 3
"""Best cases of a subset that are shown, and as many worst ones."""
PICTURE_PX = 360
"""Longer side of a picture in the page."""
TRUTH_COLOUR: Colour = (86, 180, 233)
FOUND_COLOUR: Colour = (230, 159, 0)
_QUALITIES = (84, 72, 58, 44, 30)
_DASH_PX = 6
_NAMED = 3
"""Groups that are named as heard."""


@dataclass(frozen=True)
class Panel:
    """A picture of a case: what it is called, its data as JPEG, and what it shows in words."""

    title: str
    jpeg: bytes
    alt: str

    @property
    def address(self) -> str:
        """The picture as an address that needs no file."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode()


@dataclass(frozen=True)
class ShownCase:
    """A case with its pictures.

    Attributes
    ----------
    record : what the evaluation kept of it.
    panels : the pictures; none where the files can't be read any more.
    facts : (name, words) of what was found when it was looked at again.
    note : what the reader should know of it, else "".
    seconds : what looking again took, by stage.
    """

    record: CaseRecord
    panels: tuple[Panel, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    note: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


def best_and_worst(
    records: Sequence[CaseRecord], count: int = SHOWN
) -> tuple[list[CaseRecord], list[CaseRecord]]:
    """The cases with the highest IoU, the best first, and those with the lowest, the worst first.

    At most one of a picture or clip is in a list, of equals the first, and none in both. Few cases
    are halved between them; what is as good as the best isn't among the worst.
    """
    half = -(-len(records) // 2)
    best = _first_of_groups(sorted(records, key=lambda record: -record.j), min(count, half))
    taken = {record.id for record in best}
    highest = max((record.j for record in records), default=0.0)
    rest = [record for record in records if record.id not in taken and record.j < highest]
    return best, _first_of_groups(sorted(rest, key=lambda record: record.j), count)


def _first_of_groups(records: Sequence[CaseRecord], count: int) -> list[CaseRecord]:
    first: dict[str, CaseRecord] = {}
    for record in records:
        first.setdefault(record.group, record)
    return list(first.values())[:count]


def shown_case(
    record: CaseRecord, loaded: LoadedCase, segmenter: Segmenter | None, picture_bytes: int
) -> ShownCase:
    """Draw a case, looked at again for its maps.

    Parameters
    ----------
    segmenter : what was evaluated; None: only the picture and the truth are shown.
    picture_bytes : most that a picture may take.

    Raises
    ------
    WeightsError : the encoders can't be loaded.
    """
    canvas = _fitted(loaded.rgb)
    truth, *others = (
        resized_mask(mask, (canvas.shape[0], canvas.shape[1]))
        for mask in (loaded.truth, *loaded.others)
    )

    def panel(title: str, picture: RgbImage, alt: str) -> Panel:
        return Panel(title, _jpeg(picture, picture_bytes), f"{alt}, case {record.id}")

    panels = [
        panel("picture", canvas, "Picture"),
        panel("truth", _with_truth(canvas, truth, others), f"True mask: {_share(loaded.truth)}"),
    ]
    if segmenter is None:
        return ShownCase(record, tuple(panels))
    found, prediction, seconds = _look_again(loaded, segmenter)
    mask = resized_mask(prediction.mask, truth.shape)
    words = f"Predicted mask: {_share(prediction.mask)}, the true one dashed"
    panels.append(panel("prediction", _with_prediction(canvas, mask, truth), words))
    if found is not None:
        maps = (("evidence", found.evidence), ("region", found.region))
        panels += [
            panel(name, _with_map(canvas, values), f"Map of the {name}: {_extent(values)}")
            for name, values in maps
        ]
    note = _difference(record, prediction, loaded.truth)
    return ShownCase(record, tuple(panels), _facts(found, prediction), note, seconds)


def unreadable(record: CaseRecord, error: MocaError) -> ShownCase:
    """A case whose pictures can't be shown, and why."""
    return ShownCase(record, note=f"Its pictures can't be shown: {error.message}.")


def _look_again(
    loaded: LoadedCase, segmenter: Segmenter
) -> tuple[Match | None, Prediction, dict[str, float]]:
    """What the method finds (None in silence), as a prediction at the truth's size, and times."""
    size = loaded.rgb.shape[0], loaded.rgb.shape[1]
    seconds: dict[str, float] = {}
    found = None
    mask, reason = np.zeros(size, dtype=bool), REASON_SILENT
    if not is_silent(loaded.wave):
        moments = [time.perf_counter()]
        analysis = segmenter.analysed(loaded.rgb)
        moments.append(time.perf_counter())
        heard = segmenter.bundle.hear(loaded.wave)
        moments.append(time.perf_counter())
        found = segmenter.decide(analysis, heard, loaded.rgb)
        moments.append(time.perf_counter())
        stages = ("looking", "listening", "deciding")
        seconds = dict(zip(stages, np.diff(moments).tolist(), strict=True))
        reason = found.reason
        for item in found.objects:
            mask = mask | item.mask
    # Only the mask is compared: the soft values aren't shown.
    prediction = Prediction(mask, mask.astype(np.float32), reason)
    truth = loaded.truth.shape[0], loaded.truth.shape[1]
    return found, fitted(prediction, truth), seconds


def _facts(found: Match | None, prediction: Prediction) -> tuple[tuple[str, str], ...]:
    """What was heard and found, in words."""
    facts = []
    if found is not None:
        heard = ", ".join(f"{name} {weight:.2f}" for name, weight in found.hearing.heard[:_NAMED])
        objects = ", ".join(f"{item.name} {item.score:.2f}" for item in found.objects)
        facts = [("heard", heard), ("found", objects + " (coarse)" * found.coarse)]
        facts.append(("agreement", f"{found.hearing.agreement:.2f}"))
    facts.append(("empty because", prediction.reason))
    return tuple((name, words) for name, words in facts if words.strip())


def _difference(record: CaseRecord, prediction: Prediction, truth: Mask) -> str:
    """Words for a case that comes out otherwise when it is looked at again."""
    again = score_frame(prediction.mask, prediction.soft, truth).j
    if abs(again - record.j) < 0.005:
        return ""
    return f"Looked at again for this page, its IoU is {again:.3f}."


def _fitted(rgb: RgbImage) -> RgbImage:
    """(h, w, 3) uint8, the picture within `PICTURE_PX`, not enlarged."""
    scale = min(1.0, PICTURE_PX / max(rgb.shape[:2]))
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _with_truth(canvas: RgbImage, truth: Mask, others: Sequence[Mask]) -> RgbImage:
    """The true mask tinted, those of the picture's other sounds dashed."""
    picture = canvas.copy()
    for other in others:
        _dashed(picture, other, INK)
    tint(picture, truth.view(np.uint8), TRUTH_COLOUR)
    outline(picture, truth.view(np.uint8), TRUTH_COLOUR)
    return picture


def _with_prediction(canvas: RgbImage, mask: Mask, truth: Mask) -> RgbImage:
    """The predicted mask tinted, the true one dashed."""
    picture = canvas.copy()
    tint(picture, mask.view(np.uint8), FOUND_COLOUR)
    outline(picture, mask.view(np.uint8), FOUND_COLOUR)
    _dashed(picture, truth, TRUTH_COLOUR)
    return picture


def _with_map(canvas: RgbImage, values: FloatMap) -> RgbImage:
    return heat(canvas, resized(values, (canvas.shape[0], canvas.shape[1])))


def _dashed(picture: RgbImage, mask: Mask, colour: Colour) -> None:
    """A dashed border with a dark rim."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    dashes = [
        contour[start : start + _DASH_PX]
        for contour in contours
        for start in range(0, len(contour), 2 * _DASH_PX)
    ]
    for ink, width in ((PAPER, 4), (colour, 2)):
        cv2.polylines(picture, dashes, False, ink, width, cv2.LINE_AA)


def _share(mask: NDArray[np.bool_]) -> str:
    return f"{100 * mask.mean():.1f} % of the picture" if mask.any() else "empty"


def _extent(values: FloatMap) -> str:
    return f"{values.min():.2f} to {values.max():.2f}"


def _jpeg(picture: RgbImage, most: int) -> bytes:
    """The picture as JPEG of at most `most` bytes: of the best quality that fits, or smaller."""
    while True:
        for quality in _QUALITIES:
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if len(data) <= most or max(picture.shape[:2]) < 32:
                return data.tobytes()
        half = max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2)
        picture = np.asarray(cv2.resize(picture, half, interpolation=cv2.INTER_AREA), np.uint8)
