"""Writing data sets in the layouts that are read: AVSBench's three trees, and pairs.

What is written here is read back the same by `LAYOUTS` and by the official loaders.
"""

from __future__ import annotations

import csv
import io
import wave as wave_file
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.evaluation.classes import AVSBENCH, Classes, Labels
from moca_core.evaluation.layouts.avsbench import SCORED_SIZE, TableClip, Tree, check_row
from moca_core.evaluation.layouts.avss import CLASS_FILE
from moca_core.evaluation.layouts.cases import stays_inside
from moca_core.evaluation.layouts.pairs import COLUMNS, MANIFEST
from moca_core.evaluation.layouts.saving import png_bytes
from moca_core.fileio import write_bytes, write_json
from moca_core.types import Mask, RgbImage

SOUND_HZ = 16000
"""Sample rate of the sounds that the official scripts cut."""
_JPEG_QUALITY = 95
_HEADINGS = {
    "s4": ("name", "start", "category", "split"),
    "ms3": ("video_id", "split"),
    "avss": ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"),
}
"""Columns of a tree's table; those that `Tree.columns` doesn't name are the clip's name (the
first) or times in the video that it was cut from, which are written as 0."""
_SEMANTIC = "{part}/{clip}/labels_semantic/{index}.png"


@dataclass(frozen=True, eq=False)
class ClipData:
    """A clip to write.

    Attributes
    ----------
    row : how the table names it.
    frames : (H, W, 3) uint8, one a second.
    labels : (H, W) uint8, what sounds in each frame; 0 is background. Only `avss` tells
        classes apart. Where the tree has a mask of the first frame only, one.
    wave : (n,) float32 mono at 16 kHz.
    """

    row: TableClip
    frames: Sequence[RgbImage]
    labels: Sequence[Labels]
    wave: NDArray[np.float32]


def write_clip(tree: Tree, folder: Path, clip: ClipData, classes: Classes = AVSBENCH) -> None:
    """Write the files of a clip; pictures and masks of `s4` and `ms3` become 224x224.

    Parameters
    ----------
    folder : where the table will be.

    Raises
    ------
    DatasetError : its name can't be that of a file, or it has too few or too many frames or masks.
    StorageError : a file can't be written.
    """
    check_row(tree, folder, clip.row)
    frames = tree.parts.get(clip.row.part, tree.most_frames)
    for what, given, needed in (
        ("frames", len(clip.frames), frames),
        ("masks", len(clip.labels), len(tree.frames(clip.row))),
    ):
        if given != needed:
            raise DatasetError(
                f"{clip.row.name}: {given} {what}", f"The layout `{tree.name}` has {needed}."
            )
    for number, frame in enumerate(clip.frames, start=1):
        path = clip.row.path(folder, tree.image, number)
        write_bytes(path, _picture(frame if tree.parts else _square(frame), path.suffix))
    for number, labels in enumerate(clip.labels, start=1):
        path = clip.row.path(folder, tree.mask, number)
        if tree.parts:
            write_bytes(path, png_bytes(classes.coloured(labels)))
            write_bytes(clip.row.path(folder, _SEMANTIC, number), png_bytes(labels))
        else:
            write_bytes(path, png_bytes((_square(labels) > 0).astype(np.uint8) * np.uint8(255)))
    write_bytes(clip.row.path(folder, tree.audio), wav_bytes(clip.wave))


def write_table(
    tree: Tree, folder: Path, rows: Sequence[TableClip], classes: Classes = AVSBENCH
) -> None:
    """Write the table of clips, and of `avss` the classes; raises `StorageError`."""
    fields = {column: name for name, column in tree.columns.items()}
    heading = _HEADINGS[tree.name]
    fields.setdefault(heading[0], "name")
    lines = [
        [str(getattr(row, fields[column])) if column in fields else "0" for column in heading]
        for row in rows
    ]
    write_bytes(folder / tree.table, _csv([list(heading), *lines]))
    if tree.parts:
        numbers = {name: number for number, name in enumerate(classes.names, start=1)}
        write_json(folder / CLASS_FILE, numbers)


@dataclass(frozen=True, eq=False)
class PairData:
    """A case of `pairs` to write.

    Attributes
    ----------
    id, split, subset, category : as in `Case`.
    rgb : (H, W, 3) uint8.
    mask : (H, W) bool.
    wave : (n,) float32 mono at 16 kHz.
    """

    id: str
    split: str
    subset: str
    category: str
    rgb: RgbImage
    mask: Mask
    wave: NDArray[np.float32]


def write_pair(folder: Path, pair: PairData) -> list[str]:
    """Write the files of a case, and return its line of the manifest.

    Raises
    ------
    DatasetError : its id leaves the folder, or its mask has another size.
    StorageError : a file can't be written.
    """
    if not pair.id or not stays_inside(pair.id):
        raise DatasetError(f"{folder}: the id {pair.id!r} leaves its folder", "Rename it.")
    if pair.mask.shape != pair.rgb.shape[:2]:
        raise DatasetError(
            f"{pair.id}: the mask is {pair.mask.shape}, the picture {pair.rgb.shape[:2]}",
            "Resize one of them.",
        )
    image, mask, audio = f"images/{pair.id}.png", f"masks/{pair.id}.png", f"audio/{pair.id}.wav"
    write_bytes(folder / image, png_bytes(pair.rgb))
    write_bytes(folder / mask, png_bytes(pair.mask.astype(np.uint8) * np.uint8(255)))
    write_bytes(folder / audio, wav_bytes(pair.wave))
    return [pair.id, pair.split, pair.subset, pair.category, image, mask, audio]


def write_manifest(folder: Path, lines: Sequence[Sequence[str]]) -> None:
    """Write `manifest.csv` from lines of `write_pair`; raises `StorageError`."""
    write_bytes(folder / MANIFEST, _csv([COLUMNS, *lines]))


def wav_bytes(wave: NDArray[np.float32]) -> bytes:
    """A WAV file, 16 bits, of (n,) float32 mono at 16 kHz; what exceeds 1 is clipped."""
    stream = io.BytesIO()
    with wave_file.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_HZ)
        # As read back: a sample is its number divided by 32768.
        file.writeframes(np.clip(np.round(wave * 32768.0), -32768, 32767).astype("<i2").tobytes())
    return stream.getvalue()


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def _picture(frame: RgbImage, suffix: str) -> bytes:
    if suffix == ".png":
        return png_bytes(frame)
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(224, 224) labels by the nearest pixel, or (224, 224, 3) picture by areas."""
    if pixels.shape[:2] == SCORED_SIZE:
        return pixels
    how = cv2.INTER_AREA if pixels.ndim == 3 else cv2.INTER_NEAREST_EXACT
    return np.asarray(cv2.resize(pixels, SCORED_SIZE[::-1], interpolation=how), np.uint8)
