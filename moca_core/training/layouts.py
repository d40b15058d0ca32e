"""Data sets to learn from, as they lie on disk: each layout is a row that indexes a folder.

Only names and lengths are looked at; what can't be decoded is found by `training.check`. Masks are
never opened.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from moca_core.errors import DatasetError, MediaError
from moca_core.evaluation.layouts.avsbench import (
    FRAMES,
    TREES,
    Tree,
    find_folder,
    read_clips,
)
from moca_core.evaluation.layouts.cases import is_file, stays_inside
from moca_core.media.probe import opened, safe_demux
from moca_core.media.suffixes import CLIP_SUFFIXES
from moca_core.training.data import ItemBuilder, ItemSet
from moca_core.types import StageEvent

VGGSOUND_TABLE = "vggsound.csv"
TRAIN = "train"
_MANIFEST = "manifest.csv"
_SOUND_BANK = "audio.csv"
_MISMATCHED = "ms_off"
"""Subset of `pairs` whose sounds are put to pictures that don't show what makes them."""
_CLIP_S = 10.0
"""Length of VGGSound's clips."""
_EVERY = 256
"""Entries between two signs of life."""
# YouTube's ids have eleven letters; what follows says which part of the video it is.
_PART_OF_VIDEO = re.compile(r"^(.{11})_\d+(_\d+)?$")

Indexing = Generator[StageEvent, None, ItemSet]


@dataclass(frozen=True)
class Choice:
    """Which items of a data set.

    Attributes
    ----------
    split : "" takes the layout's own: `train` of AVSBench and VGGSound, else all.
    subsets : of `pairs`; empty: all but those whose sounds don't belong to their pictures.
    every_s : seconds between the frames of the clips in a folder, the first after half of that.
    videos : folder of VGGSound's videos; by default the table's own.
    """

    split: str = ""
    subsets: tuple[str, ...] = ()
    every_s: float = 1.0
    videos: Path | None = None


def open_items(path: str | Path, layout: str = "", choice: Choice | None = None) -> ItemSet:
    """Index a data set; see `index_items`."""
    steps = index_items(path, layout, choice)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def index_items(path: str | Path, layout: str = "", choice: Choice | None = None) -> Indexing:
    """Index a data set; yields now and then, so that a job can stop there.

    Parameters
    ----------
    path : a folder, or VGGSound's table.
    layout : a name in `LAYOUTS`; "" finds it out.

    Raises
    ------
    DatasetError : it isn't what the layout says, or nothing is left.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder", "Check the path.")
    name = layout or detect_layout(path)
    items = yield from LAYOUTS[name](path, choice or Choice())
    return items


def detect_layout(path: Path) -> str:
    """The layout that a folder or table shows by its files; a folder of clips if by none."""
    if path.is_file():
        return "vggsound"
    if is_file(path / _MANIFEST):
        return "pairs"
    if any(_has_tree(tree, path) for tree in TREES):
        return "avsbench"
    return "vggsound" if is_file(path / VGGSOUND_TABLE) else "clips"


def _clips(root: Path, choice: Choice) -> Indexing:
    """Clips anywhere below a folder, a frame every `every_s` seconds."""
    if not root.is_dir():
        raise DatasetError(f"{root}: not a folder", "Give the folder that holds the clips.")
    builder = ItemBuilder(root, "clips")
    found = 0
    for name in files_below(root):
        if os.path.splitext(name)[1].lower() not in CLIP_SUFFIXES:  # noqa: PTH122
            continue
        found += 1
        yield StageEvent("Reading the lengths of clips", found)
        for time_s in _times(_length_s(root / name), choice.every_s):
            key = f"{name}@{time_s:.3f}"
            builder.add(key, name, time_s, name, time_s, name, (name,))
    if not found:
        raise DatasetError(
            f"{root}: holds no clip",
            f"Give a folder with clips in it, at any depth ({', '.join(CLIP_SUFFIXES)}).",
        )
    return builder.finish()


def files_below(root: Path) -> Iterator[str]:
    """Files below a folder in order, as seen from there."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(folder, root)
        for name in sorted(names):
            if not name.startswith("."):
                yield name if inside == "." else os.path.join(inside, name)  # noqa: PTH118


def _times(length_s: float, every_s: float) -> Iterator[float]:
    """The middles of stretches of `every_s`; of a clip that is shorter, its own middle."""
    if length_s < every_s:
        yield length_s / 2
    else:
        for number in range(int(length_s / every_s + 1e-6)):
            yield (number + 0.5) * every_s


def _length_s(path: Path) -> float:
    """Seconds of a clip by its header, or by its packets; 0 of a file that isn't one."""
    try:
        with opened(path) as container:
            if container.duration:
                return container.duration / 1e6
            ends = [
                float((packet.pts + (packet.duration or 0)) * packet.time_base)
                for packet in safe_demux(container)
                if packet.pts is not None and packet.time_base
            ]
            return max(ends, default=0.0)
    except MediaError:
        return 0.0


def _has_tree(tree: Tree, root: Path) -> bool:
    return any(is_file(root / place / tree.table) for place in ("", tree.folder))


def _avsbench(root: Path, choice: Choice) -> Indexing:
    """A split of S4 or MS3: the five frames of each clip, with or without a mask."""
    trees = [tree for tree in TREES if _has_tree(tree, root)]
    if len(trees) > 1:
        raise DatasetError(
            f"{root}: holds {' and '.join(tree.folder for tree in trees)}",
            "Give the folder of one of them.",
        )
    tree = trees[0] if trees else TREES[0]
    folder = find_folder(tree, root)
    builder = ItemBuilder(folder, "avsbench")
    for place, clip in enumerate(read_clips(tree, folder / tree.table, choice.split or TRAIN)):
        if place % _EVERY == 0:
            yield StageEvent("Reading the table", place)
        name = "/".join(part for part in (clip.split, clip.category, clip.name) if part)
        video = _PART_OF_VIDEO.sub(r"\1", clip.name)
        for number in range(1, FRAMES + 1):
            image, sound = clip.fill(tree.image, number), clip.fill(tree.audio)
            # The middle of second i = number - 1, as in the evaluation.
            middle = number - 0.5
            key = f"{name}_{number}"
            builder.add(key, image, None, sound, middle, video, (video,), clip.category)
    return builder.finish()


def _vggsound(path: Path, choice: Choice) -> Indexing:
    """VGGSound's table, `id,second,label,split` without a heading: the middle of each clip.

    Videos lie below a folder, at any depth, under one of the names that are in use: `<id>_<second,
    six digits>`, `<id>_<second>`, `<id>_<second>_<end>`, both with six digits, or both in
    milliseconds, each with the ending of a clip.
    """
    table = path if path.is_file() else path / VGGSOUND_TABLE
    videos = choice.videos or table.parent
    if not videos.is_dir():
        raise DatasetError(f"{videos}: no such folder", "Give the folder that holds the videos.")
    there: dict[str, str] = {}
    for count, name in enumerate(files_below(videos)):
        stem, suffix = os.path.splitext(os.path.basename(name))  # noqa: PTH119, PTH122
        if suffix.lower() in CLIP_SUFFIXES:
            there.setdefault(stem, name)
        if count % _EVERY == 0:
            yield StageEvent("Looking for videos", count)
    builder = ItemBuilder(videos, "vggsound")
    wanted = choice.split or TRAIN
    splits: set[str] = set()
    for line, row in _cells(table):
        if line % _EVERY == 0:
            yield StageEvent("Reading the table", line)
        if len(row) < 4 or not row[1].strip().isdecimal() or not stays_inside(row[0]):
            if line == 1:  # a heading
                continue
            raise DatasetError(
                f"{table}: line {line} isn't `id,second,label,split`", "Correct or remove it."
            )
        video, second, label, split = (cell.strip() for cell in row[:4])
        splits.add(split)
        if split != wanted:
            continue
        names = _video_names(video, int(second))
        name = next((there[stem] for stem in names if stem in there), f"{names[0]}.mp4")
        key, middle = names[0], _CLIP_S / 2
        builder.add(key, name, middle, name, middle, video, (video,), label)
    return _any_of(builder.finish(), table, splits, wanted)


def _video_names(video: str, second: int) -> tuple[str, ...]:
    """Names without their ending under which a clip of VGGSound may lie."""
    end = second + int(_CLIP_S)
    return (
        f"{video}_{second:06d}",
        f"{video}_{second}",
        f"{video}_{second}_{end}",
        f"{video}_{second:06d}_{end:06d}",
        f"{video}_{second * 1000}_{end * 1000}",
    )


def _pairs(root: Path, choice: Choice) -> Indexing:
    """Pictures and sounds of a manifest; its masks aren't looked at, and needn't be named."""
    table = root / _MANIFEST
    if not is_file(table):
        raise DatasetError(f"{root}: holds no {_MANIFEST}", f"Give the folder with {_MANIFEST}.")
    sources = _sound_sources(root / _SOUND_BANK)
    builder = ItemBuilder(root, "pairs")
    splits: set[str] = set()
    for line, row in _named_cells(table, ("id", "split", "subset", "category", "image", "audio")):
        if line % _EVERY == 0:
            yield StageEvent("Reading the manifest", line)
        for name in ("id", "image", "audio"):
            if not row[name] or not stays_inside(row[name]):
                raise DatasetError(
                    f"{table}: line {line}: {row[name]!r} can't be its {name}", "Correct it."
                )
        splits.add(row["split"])
        wrong = (
            row["subset"] not in choice.subsets
            if choice.subsets
            else (row["subset"] == _MISMATCHED)
        )
        if wrong or (choice.split and row["split"] != choice.split):
            continue
        sounds = [name for name in row.get("mix_of", "").split(";") if name] or [row["audio"]]
        heard = [sources.get(_bare(name), _bare(name)) for name in sounds]
        image, sound = row["image"], row["audio"]
        builder.add(row["id"], image, None, sound, None, image, heard, row["category"])
    return _any_of(builder.finish(), table, splits, choice.split)


def _sound_sources(table: Path) -> Mapping[str, str]:
    """Which recording a sound was cut from, where a table beside the manifest says so."""
    if not is_file(table):
        return {}
    return {_bare(row["audio"]): row["group"] for _, row in _named_cells(table, ("audio", "group"))}


def _bare(name: str) -> str:
    """A path without its ending: a mix names its parts as they were before they were encoded."""
    return os.path.splitext(name)[0]  # noqa: PTH122


def _any_of(items: ItemSet, table: Path, splits: set[str], wanted: str) -> ItemSet:
    """The items, unless there are none; raises `DatasetError`."""
    if len(items):
        return items
    hint = f"Splits in the table: {', '.join(sorted(splits))}; choose one, or other subsets."
    raise DatasetError(
        f"{table}: no line has split {wanted!r}" if splits else f"{table}: names no item",
        hint if splits else "Check the file.",
    )


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line from 1, cells) of a CSV file, one at a time; raises `DatasetError`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for line, row in enumerate(csv.reader(stream), start=1):
                if row:
                    yield line, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: can't be read ({error})", "Save it as UTF-8 CSV.") from error


def _named_cells(path: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells by the names in the heading) of a CSV file; raises `DatasetError`."""
    rows = _cells(path)
    heading = next(rows, (1, []))[1]
    missing = [name for name in needed if name not in heading]
    if missing:
        raise DatasetError(
            f"{path}: columns missing: {', '.join(missing)}", f"It needs {', '.join(needed)}."
        )
    for line, row in rows:
        row += [""] * (len(heading) - len(row))
        yield line, {name: cell.strip() for name, cell in zip(heading, row, strict=False)}


LAYOUTS: Mapping[str, Callable[[Path, Choice], Indexing]] = MappingProxyType(
    {"clips": _clips, "avsbench": _avsbench, "vggsound": _vggsound, "pairs": _pairs}
)
"""What indexes each layout."""
