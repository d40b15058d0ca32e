"""Sensitivity to sound: pictures stay as they are, their sound is exchanged, mixed, taken away.

A model that finds what stands out scores well on pictures of one source, whatever it hears. Here
its masks are compared with those that it draws for other sounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moca_core.errors import DatasetError, MocaError
from moca_core.evaluation.baselines import Look
from moca_core.evaluation.layouts import Case, DataSet
from moca_core.evaluation.layouts.cases import spread
from moca_core.evaluation.metrics import iou
from moca_core.evaluation.runner import (
    WINDOW_S,
    LoadedCase,
    Sounds,
    fitted,
    load_case,
    nearest,
)
from moca_core.media.audio import is_silent
from moca_core.types import Listen, Mask, NoteEvent, Prediction, ReportEvent, Wave

NOISE_DBFS = -30.0
"""RMS of the noise: well above what counts as silent."""


@dataclass(frozen=True)
class Change:
    """A row of `CHANGES`.

    Attributes
    ----------
    name, help : as in the table, and for the user.
    pair : it needs the sound of another case.
    make : own sound (n,), the other one (m,), a random generator -> the sound that is heard.
    """

    name: str
    help: str
    pair: bool
    make: Callable[[Wave, Wave, np.random.Generator], Wave]


def _mixed(own: Wave, other: Wave) -> Wave:
    """The mean of both at the loudness (RMS) of the first; the second is repeated or cut."""
    fitting = np.resize(other, len(own))
    gain = _rms(own) / max(_rms(fitting), 1e-9)
    return ((own + np.float32(gain) * fitting) / 2).astype(np.float32)


def _noise(own: Wave, rng: np.random.Generator) -> Wave:
    return (rng.standard_normal(len(own)) * 10 ** (NOISE_DBFS / 20)).astype(np.float32)


def _rms(wave: Wave) -> float:
    return float(np.sqrt(np.mean(np.square(wave, dtype=np.float64)))) if len(wave) else 0.0


CHANGES: Mapping[str, Change] = {
    row.name: row
    for row in (
        Change(
            "swapped",
            "the sound of another category, which the picture isn't known to show",
            True,
            lambda own, other, rng: other,
        ),
        Change(
            "mixed",
            "its own sound and that one, equally loud",
            True,
            lambda own, other, rng: _mixed(own, other),
        ),
        Change(
            "noise",
            f"white noise of {NOISE_DBFS:g} dBFS",
            False,
            lambda own, other, rng: _noise(own, rng),
        ),
        Change("silent", "no sound", False, lambda own, other, rng: np.zeros_like(own)),
    )
}


@dataclass(frozen=True)
class Changed:
    """What the masks of a case do when its sound is changed.

    Attributes
    ----------
    alike : IoU with the mask for its own sound; 1 if both are empty.
    same : they are equal, pixel for pixel.
    iou : IoU with the truth of its own sound.
    empty : nothing is claimed.
    score : see `SoundRecord`.
    """

    alike: float
    same: bool
    iou: float
    empty: bool
    score: float


@dataclass(frozen=True)
class SoundRecord:
    """A picture with one of its sounds.

    Attributes
    ----------
    id, subset, category, group : as in `Case`.
    picture : what names the picture: cases that share one differ in their sound alone.
    present : something visible makes the sound: the truth isn't empty.
    iou : IoU of the mask with the truth; 0 if that is empty.
    wrong : the same with the nearest truth of another sound of the picture; None without one.
    nearest : see `runner.nearest`.
    same : the mask equals that of the picture's first sound, pixel for pixel.
    empty : nothing is claimed.
    score : how sure the program is that something visible sounds: the agreement of sound and
        sight, or of what doesn't listen the share of pixels that it claims.
    other : id of the case whose sound it gets; "" if there is none.
    changes : by the name in `CHANGES`; empty if the truth is.
    """

    id: str
    subset: str
    category: str
    group: str
    picture: str
    present: bool
    iou: float
    wrong: float | None
    nearest: str
    same: bool
    empty: bool
    score: float
    other: str
    changes: Mapping[str, Changed]


@dataclass(frozen=True, eq=False)
class PictureEvent:
    """A picture is done with all of its sounds. `done` counts pictures that failed, too."""

    records: tuple[SoundRecord, ...]
    done: int
    total: int


def sensitivity(
    data: DataSet,
    look: Look,
    config: Mapping[str, Any] | None = None,
    limit: int | None = None,
    seed: int = 0,
    window_s: float = WINDOW_S,
) -> Iterator[PictureEvent | NoteEvent | ReportEvent]:
    """Ask for the masks of each picture with all of its sounds, and with changed ones.

    Parameters
    ----------
    look : what is tested; it looks at each picture once.
    config : settings of the run, kept in the report.
    limit : only so many pictures, spread evenly, each with all of its sounds.
    seed : fixes which other sound a case gets, and the noise.
    window_s : length of the audio window of cases that are moments of a sound, in seconds.

    Raises
    ------
    DatasetError : no case could be read.
    """
    from moca_core.evaluation.sensitivity_report import make_report

    began = time.perf_counter()
    pictures = by_picture(data.cases)
    pictures = [pictures[place] for place in spread(len(pictures), limit)]
    done: list[SoundRecord] = []
    failed: list[str] = []
    if data.note:
        yield NoteEvent(data.note)
    with Sounds(window_s) as sounds, Sounds(window_s) as others:
        swap = Swap(data.cases, others, seed)
        for number, cases in enumerate(pictures, start=1):
            loaded: list[LoadedCase] = []
            for case in cases:
                try:
                    loaded.append(load_case(case, sounds))
                except MocaError as error:
                    failed.append(case.id)
                    yield NoteEvent(f"{case.id} is left out: {error.message}")
            records = _records(loaded, look, swap) if loaded else ()
            done += records
            yield PictureEvent(records, number, len(pictures))
    if not done:
        raise DatasetError(
            f"none of {len(failed)} cases could be read", "See the notes above for each of them."
        )
    if not any(record.other for record in done):
        yield NoteEvent("No sound was exchanged: the data set has no other category that sounds.")
    seconds = time.perf_counter() - began
    yield ReportEvent(make_report(done, failed, seconds, config or {}, data.incomplete))


def by_picture(cases: Sequence[Case]) -> list[list[Case]]:
    """Cases that show the same picture together, in the order in which they first come."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(str(case.image_path), []).append(case)
    return list(found.values())


class Swap:
    """Chooses for each case a sound of another category, the same in each run.

    Parameters
    ----------
    cases : all of the data set: what a case gets doesn't depend on how many are looked at.
    sounds : reads the sounds; one that can't be read or is silent isn't chosen.
    """

    def __init__(self, cases: Sequence[Case], sounds: Sounds, seed: int) -> None:
        self._cases, self._sounds, self._seed = cases, sounds, seed
        self._number = {case.id: number for number, case in enumerate(cases)}
        self._taken: dict[str, set[str]] = {}
        for case in cases:
            self._taken.setdefault(case.group, set()).update(_categories(case) | case.visible)

    def rng(self, case: Case) -> np.random.Generator:
        """Random numbers of a case's own."""
        return np.random.default_rng([self._seed, self._number[case.id]])

    def other(self, case: Case) -> tuple[str, Wave] | None:
        """The case whose sound is taken, and that sound; None if there is none.

        Its category is none of the picture's or clip's: neither heard in any of its cases nor, as
        far as the data set says, visible.
        """
        taken = self._taken[case.group]
        possible = [
            other
            for other in self._cases
            if other.group != case.group and not taken & _categories(other)
        ]
        for place in self.rng(case).permutation(len(possible)):
            other = possible[place]
            try:
                wave = self._sounds.of(other)
            except MocaError:
                continue  # noted when its own turn comes
            if not is_silent(wave):
                return other.id, wave
        return None


def _categories(case: Case) -> set[str]:
    return set(case.category.split("+")) - {""}


def _records(loaded: Sequence[LoadedCase], look: Look, swap: Swap) -> tuple[SoundRecord, ...]:
    """A picture with its sounds."""
    listener = look(loaded[0].rgb)
    found: list[SoundRecord] = []
    first: Mask | None = None
    for item in loaded:
        own = _heard(listener, item.wave, item.truth)
        first = own.mask if first is None else first
        present = bool(item.truth.any())
        other = swap.other(item.case) if present else None
        found.append(
            SoundRecord(
                id=item.case.id,
                subset=item.case.subset,
                category=item.case.category,
                group=item.case.group,
                picture=str(item.case.image_path),
                present=present,
                iou=iou(own.mask, item.truth),
                wrong=max((iou(own.mask, truth) for truth in item.others), default=None),
                nearest=nearest(own.mask, item.truth, item.others),
                same=np.array_equal(own.mask, first),
                empty=not own.mask.any(),
                score=_score(own),
                other=other[0] if other else "",
                changes=_changes(listener, item, own, other, swap) if present else {},
            )
        )
    return tuple(found)


def _changes(
    listener: Listen,
    item: LoadedCase,
    own: Prediction,
    other: tuple[str, Wave] | None,
    swap: Swap,
) -> dict[str, Changed]:
    found: dict[str, Changed] = {}
    for change in CHANGES.values():
        if change.pair and other is None:
            continue
        wave = change.make(item.wave, other[1] if other else item.wave, swap.rng(item.case))
        said = _heard(listener, wave, item.truth)
        same = np.array_equal(said.mask, own.mask)
        found[change.name] = Changed(
            # Of two empty masks the IoU is 0, but they are alike.
            alike=1.0 if same else iou(said.mask, own.mask),
            same=same,
            iou=iou(said.mask, item.truth),
            empty=not said.mask.any(),
            score=_score(said),
        )
    return found


def _heard(listener: Listen, wave: Wave, truth: Mask) -> Prediction:
    """What is said to a sound, at the size of the truth (h, w)."""
    return fitted(listener(wave), (truth.shape[0], truth.shape[1]))


def _score(prediction: Prediction) -> float:
    sure = prediction.agreement
    return float(prediction.mask.mean()) if sure is None else sure
