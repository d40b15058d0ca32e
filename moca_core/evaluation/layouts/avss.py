"""The layout `avss`, AVSBench-semantic: clips of five or ten seconds whose masks tell classes.

As its official loader reads it (OpenNLPLab/AVSBench, avs_scripts/avss/color_dataloader.py): the
classes come from the colours in `labels_rgb`, while `labels_semantic`, the same as numbers, isn't
read. Pictures and masks may have any size and are scored at 224x224.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from moca_core.errors import DatasetError
from moca_core.evaluation.classes import (
    AVSBENCH,
    AVSBENCH_NAMES,
    BACKGROUND,
    UNNAMED,
    Classes,
    Labels,
)
from moca_core.evaluation.layouts.avsbench import AVSS, find_folder, read_avsbench
from moca_core.evaluation.layouts.cases import DataSet, is_file, read_image
from moca_core.fileio import parse_json

CLASS_FILE = "label2idx.json"


def read_avss(root: str | Path, split: str | None = None, limit: int | None = None) -> DataSet:
    """Frames of AVSBench-semantic; see `read_avsbench`.

    The subset of a case is the part of the set (`v1s`, `v1m`, `v2`), its category what sounds by
    the table's column `a_obj`.

    Raises
    ------
    DatasetError : as `read_avsbench`; or `label2idx.json` isn't a table of classes.
    """
    folder = find_folder(AVSS, Path(root))
    there = is_file(folder / CLASS_FILE)
    classes = read_classes(folder / CLASS_FILE) if there else AVSBENCH
    data = read_avsbench(AVSS, folder, split, limit)
    cases = tuple(
        replace(case, classes=classes, category=_sounding(case.category, classes))
        for case in data.cases
    )
    lacks = "" if there else f"{CLASS_FILE} isn't there: AVSBench's own classes are taken"
    return replace(data, cases=cases, remark=lacks)


def read_classes(path: Path) -> Classes:
    """The classes in a `label2idx.json`, which counts them from 1, the background first.

    Raises
    ------
    DatasetError : it can't be read, or doesn't count so.
    """
    try:
        numbers = parse_json(path.read_text(encoding="utf-8"))
        names = tuple(sorted(numbers, key=numbers.__getitem__))
        counted = [numbers[name] for name in names] == list(range(1, len(names) + 1))
    except (OSError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise DatasetError(f"{path}: can't be read ({error})", "Copy the file again.") from error
    if not counted or names[:1] != (BACKGROUND,) or len(names) > UNNAMED:
        raise DatasetError(
            f"{path}: doesn't count classes from {BACKGROUND} = 1 without a gap",
            f"Take the file of the data set, or remove it for AVSBench's {len(AVSBENCH_NAMES)}.",
        )
    return AVSBENCH if names == AVSBENCH_NAMES else Classes(names)


def read_labels(path: Path, classes: Classes) -> Labels:
    """(H, W) classes in a mask of `labels_rgb`.

    Colours that no class has are background, as in the official loader.

    Raises
    ------
    DatasetError : it can't be read, or most of what isn't black has colours of no class.
    """
    labels, strange = classes.labels_in(read_image(path))
    if strange > (labels > 0).sum():
        raise DatasetError(
            f"{path}: {strange} pixels have the colour of no class",
            "Masks must be in the colours of AVSBench's palette and not be compressed with loss.",
        )
    return labels


def _sounding(objects: str, classes: Classes) -> str:
    """`dog+man` of the table's `dog_man`; anything else as it is."""
    names = objects.split("_")
    return "+".join(names) if all(name in classes.names for name in names) else objects
