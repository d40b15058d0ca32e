"""AVSBench's 71 classes: which of our sound groups is which, their colours, IoU and F of each.

The scores are those of `_batch_miou_fscore` in OpenNLPLab/AVSBench (avs_scripts/avss/utils/
compute_color_metrics.py): a class's IoU and F are means over the frames in which it is true or
predicted, so that a false alarm counts as 0; the final numbers are means over the classes for which
there is such a frame.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moca_core.evaluation.metrics import f_score
from moca_core.evaluation.text import aligned, with_error
from moca_core.paths import resource
from moca_core.types import Prediction, RgbImage

Labels = NDArray[np.uint8]
"""(H, W) uint8, the class of each pixel as an index into `Classes.names`."""

UNNAMED = 255
"""Label of what is claimed to sound without a class; no truth has it."""
WHITE = (255, 255, 255)
"""Colour of `UNNAMED`; no class has it."""
BACKGROUND = "background"
# In the order of AVSBench's label2idx.json, which counts from 1: background is 1 there and 0 here.
AVSBENCH_NAMES = (
    *(BACKGROUND, "accordion", "airplane", "axe", "baby", "bassoon", "bell", "bird", "boat"),
    *("boy", "bus", "car", "cat", "cello", "clarinet", "clipper", "clock", "dog", "donkey"),
    *("drum", "duck", "elephant", "emergency-car", "erhu", "flute", "frying-food", "girl"),
    *("goose", "guitar", "gun", "guzheng", "hair-dryer", "handpan", "harmonica", "harp"),
    *("helicopter", "hen", "horse", "keyboard", "leopard", "lion", "man", "marimba"),
    *("missile-rocket", "motorcycle", "mower", "parrot", "piano", "pig", "pipa", "saw"),
    *("saxophone", "sheep", "sitar", "sorna", "squirrel", "tabla", "tank", "tiger", "tractor"),
    *("train", "trombone", "truck", "trumpet", "tuba", "ukulele", "utv", "vacuum-cleaner"),
    *("violin", "wolf", "woman"),
)
NO_CLASS = "none"
"""What `resources/sound_groups/avsbench.csv` says of a group without a class."""
_TABLES = ("groups.csv", "avsbench.csv")
_WITHOUT = ("without background", "_no_background")
_PLACES = np.array([1 << 16, 1 << 8, 1], np.int32)
"""Three channels of 8 bits as one number."""

Counts = Mapping[str, tuple[int, int, int]]
"""Class -> pixels of it in truth and prediction, in the prediction, in the truth, of one frame."""


@dataclass(frozen=True)
class Classes:
    """The classes of a data set; the first is the background."""

    names: tuple[str, ...]

    @property
    def colours(self) -> NDArray[np.uint8]:
        """(n, 3) uint8 RGB of each class, black first.

        The bits of the number, three at a time, become the highest bits of red, green and blue:
        the palette of PASCAL VOC, and `get_v2_pallete` in avs_scripts/avss/color_dataloader.py.
        """
        numbers = np.arange(len(self.names))
        shifts = np.arange(8)
        bits = [numbers >> (3 * shift + channel) & 1 for channel in range(3) for shift in shifts]
        table = np.stack(bits, axis=1).reshape(len(numbers), 3, 8)
        return (table << (7 - shifts)).sum(axis=2).astype(np.uint8)

    def coloured(self, labels: Labels) -> RgbImage:
        """(H, W, 3) uint8 RGB of (H, W) labels; what has no class is white."""
        table = np.full((UNNAMED + 1, 3), WHITE, np.uint8)
        table[: len(self.names)] = self.colours
        return table[labels]

    def labels_in(self, rgb: RgbImage) -> tuple[Labels, int]:
        """(H, W) labels of a picture (H, W, 3) in the classes' colours, and how many of its
        pixels have none of them: they are background, as in the official loader.
        """
        codes = rgb.astype(np.int32) @ _PLACES
        labels = np.full(codes.shape, UNNAMED, np.uint8)
        for label, code in enumerate(self.colours.astype(np.int32) @ _PLACES):
            labels[codes == code] = label
        strange = labels == UNNAMED
        labels[strange] = 0
        return labels, int(np.count_nonzero(strange))

    def label_map(self, prediction: Prediction) -> Labels:
        """(H, W) the class of what is claimed: background where nothing is, else that of the
        object's sound group, `UNNAMED` where the group has none or no object is named.

        A pixel of several objects belongs to the first.
        """
        labels = np.where(prediction.mask, UNNAMED, 0).astype(np.uint8)
        for item in reversed(prediction.objects):
            name = class_of(item.name)
            known = name in self.names
            labels[item.mask & prediction.mask] = self.names.index(name) if known else UNNAMED
        return labels


AVSBENCH = Classes(AVSBENCH_NAMES)


def class_of(name: str) -> str:
    """AVSBench's class of an object by the name of its sound group, for the user (`Dog`) or for
    code (`dog`); `NO_CLASS` if it has none.
    """
    return _table().get(name, NO_CLASS)


@cache
def _table() -> Mapping[str, str]:
    """Both names of each sound group -> AVSBench's class or `NO_CLASS`."""
    folder = resource("sound_groups")
    groups, classes = ({row["name"]: row for row in _rows(folder / name)} for name in _TABLES)
    return {
        spelt: row["class"]
        for name, row in classes.items()
        for spelt in (name, groups[name]["display"])
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def class_counts(classes: Classes, predicted: Labels, truth: Labels) -> Counts:
    """Pixels by class of one frame; classes that are in neither are left out.

    Parameters
    ----------
    predicted, truth : (H, W) labels; `UNNAMED` is counted for no class.
    """
    bins = UNNAMED + 1
    overlap = np.bincount(truth[predicted == truth].ravel(), minlength=bins)
    claimed = np.bincount(predicted.ravel(), minlength=bins)
    wanted = np.bincount(truth.ravel(), minlength=bins)
    return {
        name: (int(overlap[label]), int(claimed[label]), int(wanted[label]))
        for label, name in enumerate(classes.names)
        if claimed[label] or wanted[label]
    }


def summarise_classes(frames: Sequence[Counts]) -> dict[str, Any]:
    """Scores of each class that occurs in `frames`, and their means.

    Returns
    -------
    `classes` (how many occur, the background among them), `miou`, `f`, and both without the
    background as `miou_no_background` and `f_no_background` (None where nothing is left);
    `per_class`: name -> `iou`, `f`, `frames` (in which it is true or predicted), `true_frames`.
    """
    rows: dict[str, list[tuple[float, float, bool]]] = {}
    for counts in frames:
        for name, (overlap, claimed, wanted) in counts.items():
            iou = overlap / (claimed + wanted - overlap)
            f = float(f_score(overlap, claimed, wanted)) if wanted else 0.0
            rows.setdefault(name, []).append((iou, f, wanted > 0))
    per_class = {
        name: {
            "iou": float(np.mean([row[0] for row in rows[name]])),
            "f": float(np.mean([row[1] for row in rows[name]])),
            "frames": len(rows[name]),
            "true_frames": sum(row[2] for row in rows[name]),
        }
        for name in sorted(rows, key=lambda name: (name != BACKGROUND, name))
    }
    named = [row for name, row in per_class.items() if name != BACKGROUND]
    return {
        "classes": len(per_class),
        "miou": _mean(list(per_class.values()), "iou"),
        "f": _mean(list(per_class.values()), "f"),
        "miou_no_background": _mean(named, "iou"),
        "f_no_background": _mean(named, "f"),
        "per_class": per_class,
    }


def class_table(scores: Mapping[str, Any]) -> str:
    """The result of `summarise_classes` as lines of text, the means first."""
    rows = [["class", "frames", "true in", "iou", "f"]]
    for name, suffix in ((f"mean of {scores['classes']}", ""), _WITHOUT):
        means = (scores[f"{key}{suffix}"] for key in ("miou", "f"))
        rows.append([name, "", "", *(with_error(mean) for mean in means)])
    for name, row in scores["per_class"].items():
        counts = (str(row["frames"]), str(row["true_frames"]))
        rows.append([name, *counts, with_error(row["iou"]), with_error(row["f"])])
    return aligned(rows)


def _mean(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    return float(np.mean([row[key] for row in rows])) if rows else None
