"""Restatements of the loaders of AVSBench's own scripts, which read what is exported for them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class Item:
    """What an official loader gives for a clip."""

    name: str
    images: list[np.ndarray]
    masks: list[np.ndarray]
    sound: Path


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))[1:]


def official_s4(root: Path, split: str) -> Iterator[Item]:
    """`S4Dataset.__getitem__` of avs_scripts/avs_s4/dataloader.py."""
    data = root / "Single-source" / "s4_data"
    rows = table(root / "Single-source" / "s4_meta_data.csv")
    for name, _, category, _ in (row for row in rows if row[3] == split):
        place = Path(split) / category
        images = [data / "visual_frames" / place / name / f"{name}_{n}.png" for n in range(1, 6)]
        numbers = range(1, 2 if split == "train" else 6)
        masks = [data / "gt_masks" / place / name / f"{name}_{n}.png" for n in numbers]
        yield Item(
            name,
            [np.asarray(Image.open(path).convert("RGB")) for path in images],
            [np.asarray(Image.open(path).convert("1")) for path in masks],
            data / "audio_wav" / place / f"{name}.wav",
        )


def official_ms3(root: Path, split: str) -> Iterator[Item]:
    """`MS3Dataset.__getitem__` of avs_scripts/avs_ms3/dataloader.py."""
    data = root / "Multi-sources" / "ms3_data"
    rows = table(root / "Multi-sources" / "ms3_meta_data.csv")
    for name, _ in (row for row in rows if row[1] == split):
        images = [data / "visual_frames" / name / f"{name}.mp4_{n}.png" for n in range(1, 6)]
        masks = [data / "gt_masks" / split / name / f"{name}_{n}.png" for n in range(1, 6)]
        yield Item(
            name,
            [np.asarray(Image.open(path).convert("RGB")) for path in images],
            [np.asarray(Image.open(path).convert("P")) == 255 for path in masks],
            data / "audio_wav" / split / f"{name}.wav",
        )


def official_avss(root: Path, split: str) -> Iterator[Item]:
    """`V2Dataset.__getitem__` of avs_scripts/avss/color_dataloader.py."""
    root = root / "AVSS"
    numbers = json.loads((root / "label2idx.json").read_text())
    palette = voc_palette(71)
    assert len(palette) == len(numbers)
    for row in table(root / "metadata.csv"):
        _, name, _, _, _, its_split, part = row
        if its_split != split:
            continue
        base = root / part / name
        frames = sorted(path.name for path in (base / "frames").iterdir())
        masks = sorted(path.name for path in (base / "labels_rgb").iterdir())
        assert len(frames) == len(masks) == (10 if part == "v2" else 5)
        yield Item(
            name,
            [np.asarray(Image.open(base / "frames" / f"{n}.jpg")) for n in range(len(frames))],
            [
                labels_of(np.asarray(Image.open(base / "labels_rgb" / f"{n}.png")), palette)
                for n in range(len(masks))
            ],
            base / "audio.wav",
        )


def voc_palette(count: int) -> list[tuple[int, int, int]]:
    """`_getpallete` of that loader."""
    colours = []
    for number in range(count):
        colour, rest, place = [0, 0, 0], number, 7
        while rest > 0:
            for channel in range(3):
                colour[channel] |= (rest >> channel & 1) << place
            rest, place = rest >> 3, place - 1
        colours.append((colour[0], colour[1], colour[2]))
    return colours


def labels_of(mask: np.ndarray, palette: list[tuple[int, int, int]]) -> np.ndarray:
    """`color_mask_to_label` of that loader."""
    return np.argmax([(mask == colour).all(axis=-1) for colour in palette], axis=0)


OFFICIAL = {"s4": official_s4, "ms3": official_ms3}
