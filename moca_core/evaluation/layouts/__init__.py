"""Reading data sets: each layout is a row that turns a folder into cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from moca_core.evaluation.layouts.avsbench import TREES, read_avsbench
from moca_core.evaluation.layouts.avss import read_avss, read_labels
from moca_core.evaluation.layouts.cases import Case, DataSet, read_image, read_mask
from moca_core.evaluation.layouts.pairs import ONE_OF_SEVERAL, read_pairs

__all__ = [
    "LAYOUTS",
    "ONE_OF_SEVERAL",
    "Case",
    "DataSet",
    "read_avsbench",
    "read_avss",
    "read_image",
    "read_labels",
    "read_mask",
    "read_pairs",
]

Reader = Callable[[str | Path, str | None, int | None], DataSet]


def _pairs(root: str | Path, split: str | None, limit: int | None) -> DataSet:
    return DataSet(tuple(read_pairs(root, split, limit)), split)


LAYOUTS: dict[str, Reader] = {
    "pairs": _pairs,
    **{tree.name: partial(read_avsbench, tree) for tree in TREES},
    "avss": read_avss,
}
"""Reader of each layout: (folder, split, limit) -> data set."""
