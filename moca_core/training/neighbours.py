"""The pictures that look most like one: among the key frames of its clip, and in a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moca_core.errors import DatasetError
from moca_core.evaluation.layouts.cases import spread
from moca_core.media.still import PICTURE_SUFFIXES
from moca_core.training.data import ItemBuilder, ItemSet
from moca_core.training.layouts import Choice, detect_layout, files_below, index_items
from moca_core.training.memory import remembered
from moca_core.training.nearest import SCALE, rounded
from moca_core.training.retrieval import Retrieve, retrieval_features
from moca_core.types import RgbImage, StageEvent

KEY_FRAMES = 600
"""At most so many of a clip's key frames are looked at, spread evenly."""
_EVERY_S = 0.5
_SIGN = 256
"""Files between two signs of life."""


@dataclass(frozen=True)
class Neighbour:
    """A picture and how much it is like the one asked for.

    Attributes
    ----------
    path : a picture file, or the clip that shows it.
    time_s : when, on the clip's clock; None for a picture file.
    likeness : cosine of the retrieval features, -1 to 1.
    """

    path: Path
    time_s: float | None
    likeness: float


@dataclass(frozen=True)
class NeighboursEvent:
    """The most alike pictures so far, of `done` that were looked at of `total`.

    Attributes
    ----------
    neighbours : the most alike first.
    left_out : files that can't be read, each with the reason.
    """

    neighbours: tuple[Neighbour, ...]
    done: int
    total: int
    left_out: tuple[str, ...] = ()


Looking = Generator[StageEvent | NeighboursEvent, None, None]


def own_frames(clip: Path, times_s: Sequence[float], but_s: float) -> ItemSet:
    """Frames of a clip as candidates, without the one at `but_s`; `KEY_FRAMES` at most."""
    builder = ItemBuilder(clip.parent, "clips")
    others = [moment for moment in times_s if moment != but_s]
    for place in spread(len(others), KEY_FRAMES):
        moment = others[place]
        builder.add(f"{clip.name}@{moment:.3f}", clip.name, moment, clip.name, moment, clip.name)
    return builder.finish()


def folder_pictures(folder: Path, every_s: float) -> Generator[StageEvent, None, ItemSet]:
    """The pictures and the clips below a folder, or the images of the data set that it is.

    Parameters
    ----------
    every_s : seconds between the frames of a clip.

    Raises
    ------
    DatasetError : nothing there can be looked at.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder", "Choose a folder of pictures or clips.")
    choice = Choice(every_s=every_s)
    layout = detect_layout(folder)
    if layout != "clips":
        # A data set has masks among its pictures, which its table keeps apart.
        items = yield from index_items(folder, layout, choice)
        return items.take(items.pictures()[1])
    builder = ItemBuilder(folder, layout)
    for number, name in enumerate(files_below(folder)):
        if number % _SIGN == 0:
            yield StageEvent("Looking for pictures", number)
        if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES:  # noqa: PTH122
            builder.add(name, name, None, name, None, name)
    try:
        clips = yield from index_items(folder, layout, choice)
    except DatasetError:
        clips = None  # pictures alone will do
    for item in clips or ():
        name = str(item.image.relative_to(folder))
        builder.add(item.key, name, item.image_s, name, item.image_s, name)
    items = builder.finish()
    if not len(items):
        raise DatasetError(
            f"{folder}: holds neither a picture nor a clip", "Choose another folder."
        )
    return items


def look(
    rgb: RgbImage,
    sets: Sequence[tuple[ItemSet, bool]],
    retrieve: Retrieve,
    bundle: str,
    clip: Path,
    count: int = 12,
) -> Looking:
    """Look at all candidates; yields the most alike ones as they are found.

    Features are remembered where training remembers them, and taken from there.

    Parameters
    ----------
    rgb : (H, W, 3) uint8, the picture asked for.
    sets : candidates, and whether only the best one of each recording counts: frames of one
        clip are so alike that they would push out all others.
    bundle : names the features in what is remembered.
    clip : that shows `rgb`; it isn't looked at again where only the best one counts.
    count : how many neighbours, of each set an equal share.

    Raises
    ------
    WeightsError : what the encoder makes of a picture isn't a number.
    """
    query = rounded(retrieve([rgb]))[0].astype(np.float32)
    rankings = [_Ranking(count // len(sets)) for _ in sets]
    total = sum(len(items) for items, _ in sets)
    done, told = 0, time.monotonic()
    for ranking, (items, best_only) in zip(rankings, sets, strict=True):
        with remembered("features", items.root) as memory:
            for part in _parts(items):
                before, done = done, done + len(part)
                if best_only and part[0].image.absolute() == clip.absolute():
                    continue
                steps = retrieval_features(part, retrieve, bundle, memory)
                try:
                    found = yield from _counted(steps, before, total)
                except DatasetError as error:
                    ranking.left_out.append(error.message)
                    continue
                ranking.add(part, found.astype(np.float32) @ query / SCALE**2, best_only)
                if time.monotonic() - told > _EVERY_S:
                    told = time.monotonic()
                    yield _event(rankings, done, total)
    yield _event(rankings, total, total)


class _Ranking:
    """The most alike pictures of a set so far."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.best: list[Neighbour] = []
        self.left_out: list[str] = []

    def add(self, items: ItemSet, likeness: NDArray[np.float32], best_only: bool) -> None:
        """Rank some more; those of one file come together."""
        new = [
            Neighbour(item.image, item.image_s, float(value))
            for item, value in zip(items, likeness, strict=True)
        ]
        if best_only:
            best: dict[Path, Neighbour] = {}
            for one in new:
                if one.path not in best or one.likeness > best[one.path].likeness:
                    best[one.path] = one
            new = list(best.values())
        self.best = _ranked([*self.best, *new])[: self._count]


def _ranked(found: list[Neighbour]) -> list[Neighbour]:
    return sorted(found, key=lambda one: -one.likeness)


def _event(rankings: Sequence[_Ranking], done: int, total: int) -> NeighboursEvent:
    best = _ranked([one for ranking in rankings for one in ranking.best])
    left_out = [what for ranking in rankings for what in ranking.left_out]
    return NeighboursEvent(tuple(best), done, total, tuple(left_out))


def _parts(items: ItemSet) -> Iterator[ItemSet]:
    """All frames of a clip, or one picture: what can't be read takes nothing else with it."""
    begin = 0
    for place in range(1, len(items) + 1):
        if place == len(items) or items.rows["image"][place] != items.rows["image"][begin]:
            yield items[begin:place]
            begin = place


def _counted(
    steps: Generator[StageEvent, None, NDArray[np.int16]], before: int, total: int
) -> Generator[StageEvent, None, NDArray[np.int16]]:
    """The steps of one part, counted among all."""
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            return end.value
        yield StageEvent(event.stage, before + event.done, total)
