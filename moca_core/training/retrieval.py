"""Features by which like pictures are found, kept as they are made."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from moca_core.errors import WeightsError
from moca_core.models import weights
from moca_core.training.data import ItemReader, ItemSet
from moca_core.training.memory import Memory, key_of, stamp
from moca_core.training.nearest import rounded
from moca_core.types import RgbImage, StageEvent

Retrieve = Callable[[Sequence[RgbImage]], NDArray[np.float32]]
"""B pictures (H, W, 3) uint8 -> (B, D) float32, length 1: `Bundle.retrieve`."""

VERSION = 1
"""Raised whenever a retriever gives other features for the same picture."""
_BATCH = 16


def load_retriever(bundle: str, device: str = "cpu") -> Retrieve:
    """What `Bundle.retrieve` does, without the bundle's other encoders.

    Raises
    ------
    WeightsError : its file is missing or damaged.
    """
    if bundle == "imagebind":
        from moca_core.models.dino import Dino
        from moca_core.models.imagebind_bundle import DINO_FILE

        dino = Dino.from_file(weights.locate(DINO_FILE), device)
        return lambda rgbs: np.asarray(dino.features(rgbs).float().cpu().numpy(), np.float32)
    from moca_core.models.compact import RETRIEVER_FILE
    from moca_core.models.efficientnet_lite import EfficientNetLite

    net = EfficientNetLite.from_file(weights.locate(RETRIEVER_FILE), "lite0", device)
    return lambda rgbs: np.asarray(net.pooled(rgbs).cpu().numpy(), np.float32)


def retrieval_features(
    items: ItemSet,
    retrieve: Retrieve,
    bundle: str,
    memory: Memory | None = None,
    batch: int = _BATCH,
) -> Generator[StageEvent, None, NDArray[np.int16]]:
    """(n, D) int16 features of the items' pictures, see `nearest.rounded`; yields as it goes.

    What was computed is kept when the generator is closed.

    Parameters
    ----------
    bundle : names the features in what is remembered.
    memory : features of earlier runs, by picture; only new ones are computed.

    Raises
    ------
    DatasetError : a picture can't be read.
    WeightsError : what the encoder makes of a picture isn't a number.
    """
    known = memory or Memory()
    total = len(items)
    found: NDArray[np.int16] | None = None
    waiting: dict[int, tuple[bytes, RgbImage]] = {}

    def store(place: int, row: NDArray[np.int16]) -> None:
        nonlocal found
        if found is None:
            found = np.zeros((total, len(row)), np.int16)
        found[place] = row

    def compute() -> None:
        if waiting:
            made = retrieve([rgb for _, rgb in waiting.values()])
            if not np.isfinite(made).all():
                raise WeightsError(
                    f"{bundle}: a feature isn't a number", "Check its files: moca weights verify"
                )
            for (place, (key, _)), row in zip(waiting.items(), rounded(made), strict=True):
                known.put(key, row.tobytes())
                store(place, row)
        waiting.clear()

    try:
        with ItemReader() as reader:
            for place, item in enumerate(items):
                yield StageEvent("Looking at pictures", place, total)
                key = key_of("feature", VERSION, bundle, stamp(item.image), item.image_s)
                before = known.get(key)
                if before is not None:
                    store(place, np.frombuffer(before, np.int16))
                    continue
                waiting[place] = key, reader.picture(item)
                if len(waiting) == batch:
                    compute()
            compute()
    finally:
        known.commit()
    return np.zeros((0, 0), np.int16) if found is None else found
