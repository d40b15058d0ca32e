"""AVSBench's trees in small, written file by file as its official loaders read them."""

from __future__ import annotations

import csv
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 224
RATE_HZ = 16000
EMPTY, LEFT, ALL = (np.zeros((SIDE, SIDE), bool) for _ in range(3))
LEFT[:, : SIDE // 2] = True
ALL[:] = True


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write (H, W) or (H, W, 3) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def ramp(seconds: float = 5.0) -> NDArray[np.int16]:
    """Samples that tell where they are: 0, 1, 2 ... modulo 30000, in 16 bits."""
    return (np.arange(round(seconds * RATE_HZ)) % 30000).astype("<i2")


def write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    """Write (n,) at 16 kHz, mono."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(RATE_HZ)
        stream.writeframes(samples.astype("<i2").tobytes())


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def picture(number: int) -> NDArray[np.uint8]:
    """(224, 224, 3), all of it ten times the frame's number."""
    return np.full((SIDE, SIDE, 3), 10 * number, np.uint8)


def s4_tree(root: Path, clips: Mapping[tuple[str, str, str], Sequence[NDArray[np.bool_]]]) -> Path:
    """Write `Single-source` into `root`, and return it.

    Parameters
    ----------
    clips : (name, category, split) -> truths of frames 1, 2, ...; there are always five frames.
    """
    folder = root / "Single-source"
    data = folder / "s4_data"
    rows = [[name, "0", category, split] for name, category, split in clips]
    write_table(folder / "s4_meta_data.csv", [["name", "start", "category", "split"], *rows])
    for (name, category, split), truths in clips.items():
        place = Path(split) / category
        write_wav(data / "audio_wav" / place / f"{name}.wav", ramp())
        for number in range(1, 6):
            write_png(
                data / "visual_frames" / place / name / f"{name}_{number}.png", picture(number)
            )
        for number, truth in enumerate(truths, start=1):
            path = data / "gt_masks" / place / name / f"{name}_{number}.png"
            write_png(path, truth.astype(np.uint8) * 255)
    return folder


def ms3_tree(root: Path, clips: Mapping[tuple[str, str], Sequence[NDArray[np.bool_]]]) -> Path:
    """Write `Multi-sources` into `root`, and return it; `clips`: (name, split) -> five truths."""
    folder = root / "Multi-sources"
    data = folder / "ms3_data"
    write_table(folder / "ms3_meta_data.csv", [["video_id", "split"], *map(list, clips)])
    for (name, split), truths in clips.items():
        write_wav(data / "audio_wav" / split / f"{name}.wav", ramp())
        for number, truth in enumerate(truths, start=1):
            # No level for the split here, and `.mp4` within the name.
            write_png(data / "visual_frames" / name / f"{name}.mp4_{number}.png", picture(number))
            path = data / "gt_masks" / split / name / f"{name}_{number}.png"
            write_png(path, truth.astype(np.uint8) * 255)
    return folder


PALETTE = {"background": (0, 0, 0), "dog": (128, 64, 0), "man": (192, 0, 64), "car": (192, 128, 0)}
"""Colours of some of AVSBench-semantic's classes, worked out by hand from their numbers."""
NUMBERS = {"background": 0, "dog": 17, "man": 41, "car": 11}


def semantic(**masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(224, 224, 3) in the colours of the classes whose masks are given; later ones lie on top."""
    colours = np.zeros((*next(iter(masks.values())).shape, 3), np.uint8)
    for name, mask in masks.items():
        colours[mask] = PALETTE[name]
    return colours


def avss_tree(
    root: Path,
    clips: Mapping[tuple[str, str, str, str], Sequence[NDArray[np.uint8]]],
    label2idx: str | None = None,
) -> Path:
    """Write `AVSS` into `root`, and return it.

    Parameters
    ----------
    clips : (uid, a_obj, split, label) -> colours of frames 0, 1, ...; there are always as many
        frames as the label says.
    label2idx : what its file of classes holds; None: no file.
    """
    folder = root / "AVSS"
    heading = ["vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"]
    rows = [[uid[:11], uid, "0", "0", a_obj, split, label] for uid, a_obj, split, label in clips]
    write_table(folder / "metadata.csv", [heading, *rows])
    if label2idx is not None:
        (folder / "label2idx.json").write_text(label2idx)
    for (uid, _, _, label), colours in clips.items():
        count = 10 if label == "v2" else 5
        place = folder / label / uid
        write_wav(place / "audio.wav", ramp(float(count)))
        for index in range(count):
            frame = Image.fromarray(picture(index + 1))
            (place / "frames").mkdir(parents=True, exist_ok=True)
            frame.save(place / "frames" / f"{index}.jpg")
        for index, rgb in enumerate(colours):
            write_png(place / "labels_rgb" / f"{index}.png", rgb)
    return folder
