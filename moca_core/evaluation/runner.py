"""Running a predictor over a data set: a generator of events that ends with the report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from moca_core.errors import DatasetError, MediaError, MocaError
from moca_core.evaluation.baselines import Predict
from moca_core.evaluation.classes import Labels, class_counts, class_table, summarise_classes
from moca_core.evaluation.layouts import (
    ONE_OF_SEVERAL,
    Case,
    DataSet,
    read_image,
    read_labels,
    read_mask,
)
from moca_core.evaluation.layouts.cases import is_file
from moca_core.evaluation.layouts.saving import saved_mask
from moca_core.evaluation.metrics import iou, score_frame, standard_error, summarise
from moca_core.evaluation.records import CaseRecord, record_of
from moca_core.evaluation.shards import CaseBook
from moca_core.evaluation.text import aligned, with_error
from moca_core.fileio import write_bytes
from moca_core.media.audio import AudioReader, frame_window, open_audio
from moca_core.types import Mask, NoteEvent, Prediction, ReportEvent, RgbImage, StageEvent

SOUND_HZ = 16000
WINDOW_S = 2.0
NEAREST = ("right", "both", "other")
"""Which truth of an `ms_one` picture a mask overlaps most: this sound's, the union, another's."""


@dataclass(frozen=True, eq=False)
class CaseEvent:
    """A case is done: its masks, which the report doesn't keep, and what it does keep.

    `done` counts failed cases too.
    """

    case: Case
    prediction: Prediction
    record: CaseRecord
    done: int
    total: int


EvaluateEvent = CaseEvent | StageEvent | NoteEvent | ReportEvent


def evaluate(
    data: DataSet,
    predict: Predict,
    config: Mapping[str, Any] | None = None,
    save_masks: Path | None = None,
    window_s: float = WINDOW_S,
    book: CaseBook | None = None,
    prepare: Callable[[], Iterator[StageEvent | NoteEvent]] = lambda: iter(()),
) -> Iterator[EvaluateEvent]:
    """Predict and score every case; a case that can't be read is noted and left out.

    Of several processes each does its share, and the first one ends with the report of all.

    Parameters
    ----------
    data : what to evaluate; what it lacks is noted first.
    predict : (H, W, 3) uint8 picture, (n,) float32 sound at 16 kHz -> `Prediction`.
    config : settings of the run, kept in the report.
    save_masks : folder for the mask (0/255) of every case, `<id>.png` unless the layout has
        names of its own.
    window_s : length of the audio window of cases that are moments of a sound, in seconds.
    book : what is done already, and where what is done now is kept; by default in memory.
    prepare : makes ready for `predict`; called only if something is left to predict.

    Raises
    ------
    DatasetError : no case could be read.
    StorageError : a mask or a record can't be written.
    ShareError : another process has ended before its share was done.
    """
    book = CaseBook() if book is None else book
    if data.note:
        yield NoteEvent(data.note)
    work = _Work(predict, prepare, save_masks, window_s, book)
    yield from work.events(book.own(data))
    if not book.share.first:
        return
    yield from book.others(data)
    # What another one couldn't read may be readable here.
    yield from work.events([case for case in data.cases if book.done(case) is None])
    records = [record for record in map(book.done, data.cases) if record is not None]
    if not records:
        raise DatasetError(
            f"none of {len(data.cases)} cases could be read",
            "See the notes above for each of them.",
        )
    failed = [case.id for case in data.cases if book.done(case) is None]
    # What all cases took, whenever and by whichever process they were done.
    seconds = math.fsum(record.seconds for record in records)
    yield ReportEvent(make_report(records, failed, seconds, config or {}, data.incomplete))


@dataclass
class _Work:
    """Doing cases that aren't done, as `evaluate`."""

    predict: Predict
    prepare: Callable[[], Iterator[StageEvent | NoteEvent]]
    save_masks: Path | None
    window_s: float
    book: CaseBook
    _prepared: bool = False
    _tried: set[str] = field(default_factory=set)

    def events(self, cases: Sequence[Case]) -> Iterator[CaseEvent | StageEvent | NoteEvent]:
        todo = [case for case in cases if self._is_left(case)]
        told = ("", "")
        with Sounds(self.window_s) as sounds:
            for number, case in enumerate(todo, start=1 + len(cases) - len(todo)):
                self._tried.add(case.id)
                try:
                    loaded = load_case(case, sounds)
                except MocaError as error:
                    self.book.fail(case, error.message)
                    # Frames of a clip share its sound: once is enough to say that it is damaged.
                    if told != (case.clip or case.id, error.message):
                        told = (case.clip or case.id, error.message)
                        yield NoteEvent(f"{case.id} is left out: {error.message}")
                    continue
                if not self._prepared:
                    yield from self.prepare()
                    self._prepared = True
                prediction, record = run_case(loaded, self.predict)
                if self.save_masks is not None:
                    write_bytes(self.save_masks / _saved_as(case), saved_mask(case, prediction))
                self.book.add(record)
                yield CaseEvent(case, prediction, record, number, len(cases))

    def _is_left(self, case: Case) -> bool:
        if case.id in self._tried:
            return False
        unsaved = self.save_masks is not None and not is_file(self.save_masks / _saved_as(case))
        return unsaved or self.book.done(case) is None


def _saved_as(case: Case) -> str:
    return case.saved_as or f"{case.id}.png"


def run_case(loaded: LoadedCase, predict: Predict) -> tuple[Prediction, CaseRecord]:
    """The prediction of a case at the size of its truth, and what is kept of it."""
    began = time.perf_counter()
    truth = loaded.truth
    prediction = fitted(predict(loaded.rgb, loaded.wave), (truth.shape[0], truth.shape[1]))
    score = score_frame(prediction.mask, prediction.soft, truth)
    closest = nearest(prediction.mask, truth, loaded.others)
    classes = loaded.case.classes
    counts = None
    if classes is not None and loaded.labels is not None:
        counts = class_counts(classes, classes.label_map(prediction), loaded.labels)
    seconds = loaded.seconds + time.perf_counter() - began
    return prediction, record_of(loaded.case, prediction, score, closest, seconds, counts)


def make_report(
    done: Sequence[CaseRecord],
    failed: Sequence[str],
    seconds: float,
    config: Mapping[str, Any],
    incomplete: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """The result of `evaluate --json` (DESIGN.md section 4), with standard errors as `*_se`."""
    report: dict[str, Any] = summary(done)
    for name, key in (("per_subset", "subset"), ("per_category", "category")):
        parts: dict[str, list[CaseRecord]] = {}
        for record in done:
            parts.setdefault(getattr(record, key), []).append(record)
        report[name] = {item: summary(part) for item, part in parts.items() if item}
    report["seconds"] = seconds
    report["failed"] = list(failed)
    report["incomplete"] = dict(incomplete)
    report["config"] = dict(config)
    return report


def summary(done: Sequence[CaseRecord]) -> dict[str, Any]:
    """Means of some cases; those of one group count together in the standard errors."""
    groups = [record.group for record in done]
    clips = [record.clip for record in done]
    result: dict[str, Any] = summarise([record.frame_score for record in done], clips, groups)
    if done and all(record.subset == ONE_OF_SEVERAL for record in done):
        for name in NEAREST:
            values = [float(record.nearest == name) for record in done]
            result[f"share_{name}"] = float(np.mean(values))
            result[f"share_{name}_se"] = standard_error(values, groups)
    counts = [record.classes for record in done if record.classes is not None]
    if counts:
        result["classes"] = summarise_classes(counts)
    return result


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
    """The prediction at (height, width) `size`: metrics are taken at the truth's size."""
    if prediction.mask.shape == size and prediction.soft.shape == size:
        return prediction
    soft = cv2.resize(prediction.soft, size[::-1], interpolation=cv2.INTER_LINEAR)
    objects = [replace(item, mask=resized_mask(item.mask, size)) for item in prediction.objects]
    return replace(
        prediction,
        mask=resized_mask(prediction.mask, size),
        soft=np.asarray(soft, np.float32),
        objects=tuple(objects),
    )


def resized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """(height, width) `size` bool: each pixel from the nearest one of a mask (H, W)."""
    return mask if mask.shape == size else resized_labels(mask.astype(np.uint8), size) > 0


def resized_labels(labels: Labels, size: tuple[int, int]) -> Labels:
    """(height, width) `size` uint8: each pixel from the nearest one of labels (H, W)."""
    if labels.shape == size:
        return labels
    small = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(small, np.uint8)


class Sounds:
    """Reads the sounds of cases. The last file stays open, so that the frames of a clip, which
    come one after the other, decode it once; it lies in a temporary file, not in memory.

    Parameters
    ----------
    window_s : length of the audio window of cases that are moments of a sound, in seconds.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self.window_s = window_s
        self._path: Path | None = None
        self._reader: AudioReader | None = None

    def of(self, case: Case) -> NDArray[np.float32]:
        """(n,) float32 mono at 16 kHz: the audio window of the case, or the whole sound.

        Raises
        ------
        DatasetError : the sound can't be read.
        """
        if case.time_s is None:
            return self.whole(case.audio_path)
        reader = self._opened(case.audio_path)
        return reader.window(*frame_window(case.time_s, self.window_s, reader.duration_s))

    def whole(self, path: Path) -> NDArray[np.float32]:
        """(n,) float32 mono at 16 kHz of a whole sound file; raises `DatasetError`."""
        reader = self._opened(path)
        return reader.samples(0, round(reader.duration_s * SOUND_HZ))

    def _opened(self, path: Path) -> AudioReader:
        if self._reader is None or path != self._path:
            self.close()
            try:
                self._reader = open_audio(path, SOUND_HZ)
            except MediaError as error:
                raise DatasetError(error.message, error.hint) from error
            self._path = path
        return self._reader

    def close(self) -> None:
        """Close the last file. May be called twice."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def __enter__(self) -> Sounds:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A case with what its files hold.

    Attributes
    ----------
    rgb : (H, W, 3) uint8, the picture.
    wave : (n,) float32 mono at 16 kHz, the sound that is heard.
    truth : (h, w) bool at the size at which the case is scored.
    others : (h, w) bool each, truths of the same picture with other sounds.
    seconds : what reading took, in seconds.
    labels : (h, w) uint8, the class of each pixel; None where the data set has no classes.
    """

    case: Case
    rgb: RgbImage
    wave: NDArray[np.float32]
    truth: Mask
    others: tuple[Mask, ...]
    seconds: float
    labels: Labels | None = None


def load_case(case: Case, sounds: Sounds) -> LoadedCase:
    """Read the files of a case; raises `DatasetError` or `MediaError`."""
    began = time.perf_counter()
    rgb = read_image(case.image_path)
    labels = None if case.classes is None else read_labels(case.mask_path, case.classes)
    truth = read_mask(case.mask_path) if labels is None else labels > 0
    others = tuple(read_mask(path) for path in case.other_mask_paths)
    if any(other.shape != truth.shape for other in others):
        raise DatasetError(f"{case.mask_path}: masks of one picture differ in size")
    if case.size is not None:
        truth = resized_mask(truth, case.size)
        others = tuple(resized_mask(other, case.size) for other in others)
        labels = None if labels is None else resized_labels(labels, case.size)
    wave = sounds.of(case)
    return LoadedCase(case, rgb, wave, truth, others, time.perf_counter() - began, labels)


def read_sound(path: Path) -> NDArray[np.float32]:
    """(n,) float32 mono at 16 kHz of a whole sound file; raises `DatasetError`."""
    with Sounds() as sounds:
        return sounds.whole(path)


def text_table(report: Mapping[str, Any]) -> str:
    """The report's subsets as lines of text, standard errors in brackets; then its classes."""
    heads = ["subset", "n", "m_j", "f_binary", "f_max_clip", "f_max_dataset", "iou_dataset"]
    heads += ["empty", *NEAREST]
    keys = ["m_j", "f_binary", "f_max_clip", "f_max_dataset", "iou_dataset", "share_empty"]
    keys += [f"share_{name}" for name in NEAREST]
    rows = [heads]
    for name, part in [*report["per_subset"].items(), ("all", report)]:
        rows.append([name, str(part["n"]), *(_cell(part, key) for key in keys)])
    text = aligned(rows)
    return f"{text}\n{class_table(report['classes'])}" if "classes" in report else text


def _cell(part: Mapping[str, Any], key: str) -> str:
    return with_error(part.get(key), part.get(f"{key}_se"))
