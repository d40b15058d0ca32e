"""How well the sound groups name the development sounds: accuracy, mixes and confusion.

    python benchmarks/sound_groups_report.py --data ../shared/data --weights yamnet.tflite

Hears every sound of `avs_pairs` with YAMNet and reports, for each mode of
`SoundGroups.group_weights`:

* top1, by_class: the right one of the 14 categories has the largest weight (all sounds; mean over
  categories); top1_all: the largest of all groups; super: the right super group.
* pick: of the categories that an `ms_one` image shows, the sounding one has the larger weight.
* both: the two categories of an `ms_both` mix are the first two of the 14.
* share: mean weight of the right group.

A confusion table (rows heard, columns named) follows. With `--lite0` the image table is measured
too: in every region that a human marked as one of the 14, the class probabilities (EfficientNet-
lite0 at 320 and 448 pixels, mean over the region) should make that category the largest of the 14.
`--json` writes all numbers to a file.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from moca_core.media.audio import AudioReader
from moca_core.models.sound_groups import GROUP_MODES, SoundGroups

WINDOW = 15600  # samples, YAMNet's patch of 0.975 s at 16 kHz


def yamnet_scores(net: Interpreter, path: Path) -> np.ndarray:
    """Mean class scores (521,) over half-overlapping windows of a sound file."""
    with AudioReader(path) as reader:
        sound = np.concatenate(list(reader.decode()))
    sound = np.pad(sound, (0, max(0, WINDOW - len(sound)))).astype(np.float32)
    source, target = net.get_input_details()[0]["index"], net.get_output_details()[0]["index"]
    scores = []
    for start in range(0, len(sound) - WINDOW + 1, WINDOW // 2):
        net.set_tensor(source, sound[start : start + WINDOW])
        net.invoke()
        scores.append(net.get_tensor(target)[0].copy())
    return np.mean(scores, axis=0)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measure(
    groups: SoundGroups,
    heard: dict[str, np.ndarray],
    sounds: list[dict[str, str]],
    pairs: list[dict[str, str]],
) -> tuple[dict[str, float], np.ndarray, list[str]]:
    """Numbers of one mode, the confusion table (14, 14) and the categories.

    `heard` holds the (G,) weights of every sound by its path in the data folder.
    """
    categories = sorted({row["category"] for row in sounds})
    columns = np.array([groups.index(name) for name in categories])
    confusion = np.zeros((len(categories), len(categories)), dtype=int)
    top_all, supers, share = [], [], []
    for row in sounds:
        weights, true = heard[row["audio"]], groups.index(row["category"])
        named = int(columns[weights[columns].argmax()])
        confusion[categories.index(row["category"]), int(np.flatnonzero(columns == named)[0])] += 1
        top_all.append(int(weights.argmax()) == true)
        supers.append(groups.supers[named] == groups.supers[true])
        share.append(weights[true])
    both, pick = [], []
    for row in pairs:
        weights = heard[row["audio"]]
        if row["subset"] == "ms_both":
            first = columns[np.argsort(-weights[columns])[:2]]
            both.append({groups.names[g] for g in first} == set(row["category"].split("+")))
        elif row["subset"] == "ms_one":
            others = set(row["visible_categories"].split("+")) - {row["category"]}
            rival = max(weights[groups.index(name)] for name in others)
            pick.append(weights[groups.index(row["category"])] > rival)
    right = confusion.diagonal()
    numbers = {
        "top1": right.sum() / confusion.sum(),
        "by_class": (right / confusion.sum(axis=1)).mean(),
        "top1_all": np.mean(top_all),
        "super": np.mean(supers),
        "pick": np.mean(pick),
        "both": np.mean(both),
        "share": np.mean(share),
    }
    return {key: round(float(value), 3) for key, value in numbers.items()}, confusion, categories


def regions_of(root: Path, row: dict[str, str]) -> np.ndarray:
    """Index map (H, W) of a picture: 0 background, then the categories, 255 undecided."""
    if row["class_map"]:
        return np.asarray(Image.open(root / row["class_map"]))
    names = json.loads((root / "classes.json").read_text())
    index = next(int(key) for key, name in names.items() if name == row["category"])
    return np.where(np.asarray(Image.open(root / row["mask"]).convert("L")) > 127, index, 0)


def measure_images(groups: SoundGroups, root: Path, lite0: Path) -> dict[str, float]:
    """Share of marked regions, by category, in which the right group is the largest of the 14."""
    from moca_core.models.efficientnet_lite import EfficientNetLite

    net = EfficientNetLite.from_file(lite0, "lite0")
    listed = json.loads((root / "classes.json").read_text())
    names = {int(key): name for key, name in listed.items() if key != "0"}
    columns = [groups.index(name) for name in names.values()]
    rows = {row["image"]: row for row in rows_of(root / "manifest.csv")}
    rows = {key: row for key, row in rows.items() if row["class_map"] or row["subset"] == "single"}
    right: dict[str, list[bool]] = {name: [] for name in names.values()}
    for row in rows.values():
        picture = np.asarray(Image.open(root / row["image"]).convert("RGB"))
        marked = regions_of(root, row)
        for side in (320, 448):
            p = net.dense_probabilities(picture, side).numpy()  # (1000, h, w)
            for index, name in names.items():
                share = Image.fromarray((marked == index).astype(np.float32))
                share = np.asarray(share.resize(p.shape[:0:-1], Image.Resampling.BOX))  # (h, w)
                if share.sum() > 1:  # at least about one cell
                    mean = (p * share).sum(axis=(1, 2)) / share.sum()
                    best = (mean[:, None] * groups.image_matrix[:, columns]).max(axis=0).argmax()
                    right[name].append(columns[int(best)] == groups.index(name))
    by_class = {name: float(np.mean(hits)) for name, hits in right.items() if hits}
    return {**by_class, "mean over classes": float(np.mean(list(by_class.values())))}


def main() -> None:
    """Read the arguments, hear all sounds once, report each mode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="development data folder")
    parser.add_argument("--weights", type=Path, required=True, help="yamnet.tflite")
    parser.add_argument("--tables", type=Path, help="another folder of tables to compare")
    parser.add_argument("--lite0", type=Path, help="weights of EfficientNet-lite0, for the images")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    root = arguments.data / "avs_pairs"
    net = Interpreter(str(arguments.weights), num_threads=1)
    net.allocate_tensors()
    groups = SoundGroups.load(arguments.tables)
    sounds = rows_of(root / "audio.csv")
    pairs = [r for r in rows_of(root / "manifest.csv") if r["subset"] in ("ms_one", "ms_both")]
    paths = {row["audio"] for row in sounds} | {row["audio"] for row in pairs}
    scores = {path: yamnet_scores(net, root / path) for path in sorted(paths)}
    report: dict[str, object] = {}
    for mode in GROUP_MODES:
        heard = {path: groups.group_weights(values, mode) for path, values in scores.items()}
        numbers, confusion, categories = measure(groups, heard, sounds, pairs)
        report[mode] = {**numbers, "categories": categories, "confusion": confusion.tolist()}
        lines = [f"{mode}: " + "  ".join(f"{key} {value:.3f}" for key, value in numbers.items())]
        lines.append(" " * 11 + "".join(f"{name[:4]:>5}" for name in categories))
        for name, counts in zip(categories, confusion, strict=True):
            lines.append(f"{name:>11}" + "".join(f"{count or '.':>5}" for count in counts))
        sys.stdout.write("\n".join(lines) + "\n\n")
    if arguments.lite0:
        report["images"] = seen = measure_images(groups, root, arguments.lite0)
        sys.stdout.write("images: " + "  ".join(f"{k} {v:.2f}" for k, v in seen.items()) + "\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
