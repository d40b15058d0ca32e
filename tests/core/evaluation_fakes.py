"""A small data set of the layout `pairs`, whose cases differ in what they score."""

from __future__ import annotations

import csv
import wave
from pathlib import Path

import cv2
import numpy as np

SIZE = (32, 48)


def pairs_tree(folder: Path, cases: int) -> Path:
    """Pictures with a tone; of the mask of each another share lies in the left half."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = (np.sin(np.arange(16000) * 0.2) * 20000).astype("<i2")
    with wave.open(str(folder / "tone.wav"), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16000)
        stream.writeframes(samples.tobytes())
    rows = [["id", "split", "subset", "category", "image", "mask", "audio"]]
    for number in range(cases):
        name = f"case{number}"
        truth = np.zeros(SIZE, np.uint8)
        truth[: 4 + 3 * number % 28, number : 20 + number] = 255
        cv2.imwrite(str(folder / f"{name}.png"), np.full((*SIZE, 3), 60 + number, np.uint8))
        cv2.imwrite(str(folder / f"{name}_mask.png"), truth)
        subset, category = ("single", "ms_both")[number % 2], ("bell", "drum")[number // 2 % 2]
        split = "dev" if number % 3 else "test"
        rows.append([name, split, subset, category, f"{name}.png", f"{name}_mask.png", "tone.wav"])
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return folder
