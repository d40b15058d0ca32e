"""Pictures with sounds to train on, drawn: a data set of layout `pairs`."""

from __future__ import annotations

import csv
import wave
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

_RATE_HZ = 16_000
_SECONDS = 2
_KINDS = 4


def draw_items(folder: Path, count: int, size: tuple[int, int] = (320, 240)) -> Iterator[int]:
    """Write coloured noise and tones, no two alike, with their `manifest.csv`.

    Parameters
    ----------
    size : width and height of the pictures.

    Yields the number of each item that is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "split", "subset", "category", "image", "audio"])
        for number in range(count):
            yield number
            colour = random.integers(0, 255, 3)
            noise = random.integers(-60, 60, (size[1], size[0], 3))
            picture = np.clip(colour + noise, 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number}.png"), picture)
            times = np.arange(_SECONDS * _RATE_HZ) / _RATE_HZ
            tone = np.sin(2 * np.pi * (200 + 40 * number) * times)
            tone += random.normal(0, 0.1, len(times))
            with closing(wave.open(str(folder / f"{number}.wav"), "wb")) as sound:
                sound.setnchannels(1)
                sound.setsampwidth(2)
                sound.setframerate(_RATE_HZ)
                sound.writeframes((8000 * tone).astype("<i2").tobytes())
            name = f"kind{number % _KINDS}"
            table.writerow(
                [f"item{number}", "dev", "single", name, f"{number}.png", f"{number}.wav"]
            )
