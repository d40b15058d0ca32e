"""Positives and negatives by retrieval (METHOD.md section 4).

The K nearest pictures of other recordings share a picture's sound; one of them is drawn as the
positive. A negative is drawn from the pictures beyond the nearer half. No matrix of all by all is
kept: where the far half begins is one likeness and one index for each picture, and whether a
picture lies beyond is asked of the features themselves. A picture that comes with several sounds
is one picture.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moca_core import __version__
from moca_core.config import check
from moca_core.errors import ConfigError, DatasetError, StorageError
from moca_core.fileio import atomic_write
from moca_core.training.check import check_recordings
from moca_core.training.data import ItemSet, Texts
from moca_core.training.memory import Memory
from moca_core.training.nearest import SCALE, rank
from moca_core.training.retrieval import VERSION, Retrieve, retrieval_features
from moca_core.types import StageEvent

FORMAT = 1
_TRIES = 16
"""Draws looked at together; half of them do."""
_ROUNDS = 8
_TOGETHER, _PART = 256, 4096
_POSITIVE, _NEGATIVE = 1, 2
Places = Sequence[int] | NDArray[np.integer]


@dataclass(frozen=True)
class PairConfig:
    """What a table of pairs was made of.

    Attributes
    ----------
    data : the folder.
    layout : how it is laid out.
    split, subsets, every_s, limit : which of its items, see `layouts.Choice`.
    bundle : whose retrieval encoder.
    k : how many neighbours.
    features : version of the retriever.
    """

    data: str = ""
    layout: str = ""
    split: str = ""
    subsets: tuple[str, ...] = ()
    every_s: float = 1.0
    limit: int = 0
    bundle: str = "compact"
    k: int = 5
    features: int = VERSION

    def __post_init__(self) -> None:
        check(1 <= self.k <= 100, f"k = {self.k}", "Use 1 to 100 neighbours.")


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs of a data set, to draw from.

    Attributes
    ----------
    config : what it was made of.
    keys : n keys of the items, in their order.
    picture_of : (n,) int32 number of each item's picture; items that show the same one share it.
    item_of : (p,) int32 the first item of each picture.
    groups : (p,) int32, of which recording each picture is.
    features : (p, D) int16, see `nearest.rounded`.
    neighbours, likeness, edge : of the pictures, see `nearest.Nearest`.
    """

    config: PairConfig
    keys: Texts
    picture_of: NDArray[np.int32]
    item_of: NDArray[np.int32]
    groups: NDArray[np.int32]
    features: NDArray[np.int16]
    neighbours: NDArray[np.int32]
    likeness: NDArray[np.float32]
    edge: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.picture_of)

    @property
    def recordings(self) -> NDArray[np.int32]:
        """(n,) int32, of which recording the picture of each item is."""
        return self.groups[self.picture_of]

    def near(self, anchor: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The items of an item's neighbours, the most alike first, and their cosines."""
        picture = self.picture_of[anchor]
        there = self.neighbours[picture] >= 0
        items = self.item_of[self.neighbours[picture][there]]
        return items.astype(np.int64), self.likeness[picture][there]

    def positives(self, anchors: Places, seed: int) -> NDArray[np.int64]:
        """An item of one of the neighbours of each anchor: (B,) -> (B,), each as likely.

        The same seed and anchor give the same, whatever else is in the batch.
        """
        places = np.asarray(anchors, np.int64)
        near = self.neighbours[self.picture_of[places]]  # (B, k)
        there = np.count_nonzero(near >= 0, axis=1)
        drawn = _draws(seed, _POSITIVE, places, np.zeros(1, np.int64))[:, 0] * there
        chosen = near[np.arange(len(places)), drawn.astype(np.int64)]
        return self.item_of[chosen].astype(np.int64)

    def negatives(self, anchors: Places, seed: int) -> NDArray[np.int64]:
        """An item of a picture beyond the nearer half: (B,) -> (B,), each picture as likely.

        The same seed and anchor give the same, whatever else is in the batch.
        """
        places = np.asarray(anchors, np.int64)
        # Few at once: each try of each anchor holds a feature.
        parts = [
            self._some_negatives(places[begin : begin + _TOGETHER], seed)
            for begin in range(0, len(places), _TOGETHER)
        ]
        return np.concatenate(parts) if parts else places

    def _some_negatives(self, places: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        pictures = self.picture_of[places].astype(np.int64)
        found = np.full(len(places), -1, np.int64)
        for turn in range(_ROUNDS):
            left = np.flatnonzero(found < 0)
            if not len(left):
                break
            tries = np.arange(turn * _TRIES, (turn + 1) * _TRIES)
            drawn = _draws(seed, _NEGATIVE, places[left], tries) * len(self.item_of)
            candidates = drawn.astype(np.int64)  # (B', T)
            far = self.is_far(pictures[left, None], candidates)
            first = np.argmax(far, axis=1)
            hit = far[np.arange(len(left)), first]
            found[left[hit]] = candidates[hit, first[hit]]
        for place in np.flatnonzero(found < 0):
            # Bad luck, or a recording that is most of the set: choose from all of them.
            draw = _draws(seed, _NEGATIVE, places[[place]], np.array([_ROUNDS * _TRIES]))[0, 0]
            choices = self._all_far(int(pictures[place]))
            found[place] = choices[int(draw * len(choices))]
        return self.item_of[found].astype(np.int64)

    def is_far(self, anchors: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether pictures (B, T) are of another recording and beyond the nearer half of (B, 1)."""
        ours = self.features[anchors[:, 0]].astype(np.float32)  # (B, D)
        theirs = self.features[others].astype(np.float32)  # (B, T, D)
        alike = np.matmul(theirs, ours[:, :, None])[..., 0]  # (B, T) whole numbers
        border, index = self.edge[anchors, 0], self.edge[anchors, 1]
        beyond = (alike < border) | ((alike == border) & (others > index))
        return beyond & (self.groups[anchors] != self.groups[others])

    def _all_far(self, picture: int) -> NDArray[np.int64]:
        everyone = np.arange(len(self.item_of))[None]
        parts = [
            self.is_far(np.array([[picture]]), everyone[:, begin : begin + _PART])[0]
            for begin in range(0, everyone.shape[1], _PART)
        ]
        return np.flatnonzero(np.concatenate(parts))

    def cosine(self, one: int, other: int) -> float:
        """Likeness of the pictures of two items."""
        ours, theirs = (self.features[self.picture_of[place]] for place in (one, other))
        return float(ours.astype(np.int64) @ theirs.astype(np.int64)) / SCALE**2

    def check_items(self, items: ItemSet) -> None:
        """Raise `DatasetError` unless it was made of these items, in this order."""
        if len(items) != len(self) or any(
            ours != theirs for ours, theirs in zip(self.keys, items.keys, strict=True)
        ):
            raise DatasetError(
                f"{items.root}: its {len(items)} items aren't the {len(self)} of the pairs",
                "Make the pairs again: the data have changed since.",
            )

    def save(self, path: Path) -> None:
        """Write it as npz, whole or not at all; raises `StorageError`."""
        about = {"format": FORMAT, "moca": __version__, "config": asdict(self.config)}
        with atomic_write(path) as stream:
            np.savez(
                stream,
                about=np.frombuffer(json.dumps(about).encode(), np.uint8),
                keys=self.keys.data,
                ends=self.keys.ends,
                **{name: getattr(self, name) for name in _ARRAYS},
            )

    @classmethod
    def load(cls, path: Path) -> PairTable:
        """Read a table that was saved.

        Raises
        ------
        StorageError : there is no such file, it is damaged, or it isn't one.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                about: dict[str, Any] = json.loads(file["about"].tobytes())
                arrays = {name: file[name] for name in _ARRAYS}
                keys = Texts(file["keys"], file["ends"])
            if about["format"] != FORMAT:
                raise StorageError(
                    f"{path}: of format {about['format']}, this program reads {FORMAT}",
                    "Make the pairs again: moca pairs DATA --out FILE.",
                )
            values = about["config"]
            config = PairConfig(**values | {"subsets": tuple(values["subsets"])})
            table = cls(config, keys, **arrays)
        except FileNotFoundError as error:
            raise StorageError(f"{path}: no such file", "Make it: moca pairs DATA.") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, *_DAMAGE) as error:
            raise StorageError(
                f"{path}: not a table of pairs, or damaged ({error})",
                "Make it again: moca pairs DATA --out FILE.",
            ) from error
        if not table._is_whole():
            raise StorageError(f"{path}: parts of it don't fit", "Make it again: moca pairs DATA.")
        return table

    def _is_whole(self) -> bool:
        """Whether the arrays have the types and shapes of one table."""
        n, p, k = len(self.keys), len(self.item_of), self.config.k
        kinds = (np.int32, np.int32, np.int32, np.int16, np.int32, np.float32, np.int32)
        shapes = ((n,), (p,), (p,), (p, *self.features.shape[1:2]), (p, k), (p, k), (p, 2))
        arrays = [getattr(self, name) for name in _ARRAYS]
        return all(
            array.dtype == kind and array.shape == shape
            for array, kind, shape in zip(arrays, kinds, shapes, strict=True)
        ) and all(
            bool((places < top).all() and (places >= -1).all())
            for places, top in ((self.picture_of, p), (self.item_of, n), (self.neighbours, p))
        )


_ARRAYS = ("picture_of", "item_of", "groups", "features", "neighbours", "likeness", "edge")
_DAMAGE = (zipfile.BadZipFile, ConfigError)


def make_pairs(
    items: ItemSet, config: PairConfig, retrieve: Retrieve, memory: Memory | None = None
) -> Generator[StageEvent, None, PairTable]:
    """Features, neighbours and far halves of a data set; yields as it goes, returns the table.

    Parameters
    ----------
    items : what can be read of it, see `check`.
    retrieve : of the bundle that `config` names.
    memory : features of earlier runs.

    Raises
    ------
    DatasetError : a picture can't be read, or the items are of too few recordings.
    """
    check_recordings(items)
    picture_of, item_of = items.pictures()
    shown = items.take(item_of)
    features = yield from retrieval_features(shown, retrieve, config.bundle, memory)
    recordings = shown.recordings
    nearest = yield from rank(features, recordings, config.k)
    return PairTable(
        config,
        items.keys,
        picture_of,
        item_of,
        recordings,
        features,
        nearest.neighbours,
        nearest.likeness,
        nearest.edge,
    )


def _draws(
    seed: int, kind: int, anchors: NDArray[np.int64], tries: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(B, T) numbers in [0, 1) that depend on nothing but the seed, the anchor and the try."""
    start = _mixed(np.array([seed % 2**64], np.uint64)) + np.uint64(kind)
    rows = _mixed(_mixed(start) + anchors.astype(np.uint64))  # (B,)
    bits = _mixed(rows[:, None] + tries.astype(np.uint64)[None])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014): neighbouring numbers become unlike ones."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
