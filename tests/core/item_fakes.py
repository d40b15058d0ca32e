"""Small data sets to learn from: clips, a tree of AVSBench, VGGSound's table, a manifest."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from core.avsbench_fakes import write_png, write_table, write_wav
from data.make_clips import ClipSpec, make_clip
from numpy.typing import NDArray

SIDE = 32
COLOURS = ((250, 20, 20), (240, 60, 30), (20, 250, 20), (40, 240, 60), (20, 20, 250), (60, 30, 240))
RATE_HZ = 16_000


def tone(seconds: float = 2.0, hz: float = 440.0) -> NDArray[np.int16]:
    """(n,) at 16 kHz."""
    return (8000 * np.sin(np.arange(round(seconds * RATE_HZ)) * 2 * np.pi * hz / RATE_HZ)).astype(
        np.int16
    )


def silence(seconds: float = 2.0) -> NDArray[np.int16]:
    """(n,) at 16 kHz."""
    return np.zeros(round(seconds * RATE_HZ), np.int16)


def flat(colour: Sequence[int]) -> NDArray[np.uint8]:
    """(32, 32, 3) of one colour."""
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


def clip(path: Path, seconds: float = 2.0, audio: str | None = "aac") -> Path:
    """A clip of ten numbered frames a second, with a tone as long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = ClipSpec(
        frames=round(10 * seconds), fps=10, audio=audio, audio_stop_ms=round(seconds * 1000)
    )
    return make_clip(path, spec)


def manifest(
    folder: Path,
    rows: Sequence[Sequence[str]],
    heading: Sequence[str] = ("id", "split", "subset", "category", "image", "audio"),
) -> Path:
    """Write `manifest.csv`, by default without a column for masks."""
    write_table(folder / "manifest.csv", [list(heading), *map(list, rows)])
    return folder


def colours(folder: Path) -> Path:
    """Six pictures of six colours, two each red, green and blue, every one with a tone."""
    rows = []
    for number, colour in enumerate(COLOURS):
        write_png(folder / f"{number}.png", flat(colour))
        write_wav(folder / f"{number}.wav", tone(hz=300 + 50 * number))
        name = ("red", "green", "blue")[number // 2]
        rows.append([f"item{number}", "dev", "single", name, f"{number}.png", f"{number}.wav"])
    return manifest(folder, rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
