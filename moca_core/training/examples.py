"""Items with cached features and a table of pairs: what a trainer draws from."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moca_core.models.frozen import Frozen
from moca_core.training.cache import FeatureCache, FeatureShape
from moca_core.training.data import ItemReader, ItemSet
from moca_core.training.memory import stamp
from moca_core.training.pairs import PairTable
from moca_core.types import StageEvent

_TOGETHER = 4
"""Pictures that are looked at at once."""


@dataclass(frozen=True, eq=False)
class CachedExamples:
    """See `trainer.Examples`.

    Attributes
    ----------
    table : pairs of these items, in their order.
    cache : their features.
    keys : (n,) keys there.
    sounds : (n,) which sound each item has.
    """

    table: PairTable
    cache: FeatureCache
    keys: Sequence[str]
    sounds: NDArray[np.integer]

    @property
    def recordings(self) -> NDArray[np.integer]:
        """(n,) which recording each picture is of."""
        return self.table.recordings

    def positives(self, rows: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
        """(B,) -> (B,) one of the nearest pictures of each."""
        return self.table.positives(rows, seed)

    def negatives(self, rows: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
        """(B,) -> (B,) a picture beyond the nearer half of each."""
        return self.table.negatives(rows, seed)

    def visual(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(B, 1 + N, Dv)."""
        return self.cache.visual([self.keys[row] for row in rows])

    def audio(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(B, M, Da)."""
        return self.cache.audio([self.keys[row] for row in rows])


def feature_shape(frozen: Frozen) -> FeatureShape:
    """Of the features that are kept for an encoder."""
    rows, columns = frozen.grid
    return FeatureShape((1 + rows * columns, frozen.trunk.shape.width), frozen.audio_shape)


def feature_keys(items: ItemSet) -> list[str]:
    """A key for each item's features: its files as they are now, and the moments in them."""
    stamps: dict[str, str | None] = {}
    keys = []
    for item in items:
        parts = []
        for path, moment in ((item.image, item.image_s), (item.sound, item.sound_s)):
            name = str(path)
            if name not in stamps:
                stamps[name] = stamp(path)
            parts += [str(stamps[name]), str(moment)]
        keys.append("|".join(parts))
    return keys


def sound_numbers(items: ItemSet) -> NDArray[np.int64]:
    """(n,) a number for the sound of each item: items of one number are heard alike."""
    found: dict[tuple[str, ...], int] = {}
    sounds = [item.sounds_of or (str(item.sound),) for item in items]
    return np.array([found.setdefault(sound, len(found)) for sound in sounds])


def fill(
    cache: FeatureCache, items: ItemSet, keys: Sequence[str], frozen: Frozen, first: int
) -> Generator[StageEvent, None, None]:
    """Compute the features that aren't there; yields as it goes, and may be closed.

    Parameters
    ----------
    first : the first adapted block.

    Raises
    ------
    DatasetError : an item can't be read.
    StorageError : the disk is full; what was there stays.
    """
    lacking = [place for place, key in enumerate(keys) if key not in cache]
    cache.ensure_space(len(lacking))
    with ItemReader(frozen.window_s, frozen.rate_hz) as reader:
        for begin in range(0, len(lacking), _TOGETHER):
            part = lacking[begin : begin + _TOGETHER]
            rgbs, waves = zip(*(reader.read(items[place]) for place in part), strict=True)
            visual = frozen.prefix(rgbs, first)
            for done, (place, tokens, wave) in enumerate(zip(part, visual, waves, strict=True), 1):
                cache.add(keys[place], tokens, frozen.hear(wave))
                yield StageEvent("Features of the frozen blocks", begin + done, len(lacking))
