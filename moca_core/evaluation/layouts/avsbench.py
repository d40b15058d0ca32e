"""The layouts `s4` and `ms3` of AVSBench: clips of five seconds, a frame and a mask for each.

The trees are those that its official loaders read (METHOD.md section 8). Frames count from 1 in
the names of files, and from 0 in those of saved masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from moca_core.errors import DatasetError
from moca_core.evaluation.layouts.cases import (
    Case,
    DataSet,
    check_filled,
    is_file,
    read_table,
    spread,
)

DEFAULT_SPLIT = "test"
SCORED_SIZE = (224, 224)
"""(height, width) at which the official scripts score."""
FRAMES = 5


@dataclass(frozen=True)
class Tree:
    """Where one of AVSBench's sets keeps its files.

    Attributes
    ----------
    name : of the layout.
    folder : in the folder of the whole of AVSBench.
    table : its CSV file; the clip's name is in the first column.
    categories : the table has a column `category`.
    first_only : splits of which only the first frame has a mask.
    image, mask, audio, saved : paths beside the table, and those of saved masks.
    """

    name: str
    folder: str
    table: str
    categories: bool
    first_only: tuple[str, ...]
    image: str
    mask: str
    audio: str
    saved: str

    def frames(self, split: str) -> range:
        """Numbers of the frames that have a mask, from 1."""
        return range(1, 2 if split in self.first_only else FRAMES + 1)


S4 = Tree(
    name="s4",
    folder="Single-source",
    table="s4_meta_data.csv",
    categories=True,
    first_only=("train",),
    image="s4_data/visual_frames/{split}/{category}/{clip}/{clip}_{number}.png",
    mask="s4_data/gt_masks/{split}/{category}/{clip}/{clip}_{number}.png",
    audio="s4_data/audio_wav/{split}/{category}/{clip}.wav",
    saved="{split}/{category}/{clip}/{clip}_{index}.png",
)
MS3 = Tree(
    name="ms3",
    folder="Multi-sources",
    table="ms3_meta_data.csv",
    categories=False,
    first_only=(),
    # The frames were cut from `<clip>.mp4`, and kept its whole name.
    image="ms3_data/visual_frames/{clip}/{clip}.mp4_{number}.png",
    mask="ms3_data/gt_masks/{split}/{clip}/{clip}_{number}.png",
    audio="ms3_data/audio_wav/{split}/{clip}.wav",
    saved="{split}/{clip}/{clip}_{index}.png",
)
TREES = (S4, MS3)


@dataclass(frozen=True)
class TableClip:
    """A row of the table."""

    name: str
    split: str
    category: str

    def path(self, root: Path, pattern: str, number: int = 1) -> Path:
        return root / self.fill(pattern, number)

    def fill(self, pattern: str, number: int = 1) -> str:
        return pattern.format(
            clip=self.name,
            split=self.split,
            category=self.category,
            number=number,
            index=number - 1,
        )


def read_avsbench(
    tree: Tree, root: str | Path, split: str | None = None, limit: int | None = None
) -> DataSet:
    """Frames of one of AVSBench's sets, in the order of its table.

    A clip without its sound, and frames without a picture or a mask, are left out and named.

    Parameters
    ----------
    tree : `S4` or `MS3`.
    root : the folder that holds the table, or that of the whole of AVSBench.
    split : which part of the set (`test`, as in the official scripts).
    limit : keep so many frames, of whole clips spread evenly over those that are there.

    Raises
    ------
    DatasetError : there is no table, it can't be used, has no such split, or no clip of the
        split has its files. Damaged files show when a case is read.
    """
    folder = find_folder(tree, Path(root))
    split = split or DEFAULT_SPLIT
    clips = read_clips(tree, folder / tree.table, split)
    found: list[list[Case]] = []
    incomplete: dict[str, str] = {}
    for clip in clips:
        numbers, missing = _present(tree, folder, clip)
        if missing:
            incomplete[clip.name] = missing
        if numbers:
            found.append([_case(tree, folder, clip, number) for number in numbers])
    if not found:
        raise _nothing(tree, folder, clips)
    cases = [case for frames in _limited(found, limit) for case in frames]
    return DataSet(tuple(cases[:limit]), split, len(clips), incomplete)


def _limited(clips: list[list[Case]], limit: int | None) -> list[list[Case]]:
    """As few whole clips as have `limit` frames, spread evenly."""
    if limit is None:
        return clips
    count = -(-limit // FRAMES)
    while True:
        kept = [clips[place] for place in spread(len(clips), count)]
        if count >= len(clips) or sum(map(len, kept)) >= limit:
            return kept
        count += 1


def find_folder(tree: Tree, root: Path) -> Path:
    """The folder that holds the table, `root` or one in it; raises `DatasetError`."""
    for folder in (root, root / tree.folder):
        if is_file(folder / tree.table):
            return folder
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder", f"Give the folder that holds {tree.table}.")
    others = [
        other.name
        for other in TREES
        if any(is_file(root / place / other.table) for place in ("", other.folder))
    ]
    hint = f"Give the folder that holds {tree.table}, or the one with {tree.folder} in it."
    raise DatasetError(
        f"{root}: holds neither {tree.table} nor {tree.folder}/{tree.table}",
        f"{hint} What is there has --layout {others[0]}." if others else hint,
    )


def read_clips(tree: Tree, path: Path, split: str) -> list[TableClip]:
    """Clips of a split, in the order of the table `path`; raises `DatasetError`."""
    columns, rows = read_table(path)
    named = ("split", "category") if tree.categories else ("split",)
    missing = [name for name in named if name not in columns]
    if missing:
        raise DatasetError(
            f"{path}: columns missing: {', '.join(missing)}",
            f"The layout `{tree.name}` needs the clip's name first, and {', '.join(named)}.",
        )
    check_filled(path, rows, (columns[0], *named))
    clips = [
        TableClip(row[columns[0]], row["split"], row.get("category", "") if tree.categories else "")
        for row in rows
    ]
    for clip in clips:
        for part in (clip.name, clip.split, clip.category):
            # Parts of paths, also of those where masks are written.
            if part and not _is_file_name(part):
                raise DatasetError(f"{path}: {part!r} can't be the name of a file", "Correct it.")
    kept = [clip for clip in clips if clip.split == split]
    if not kept:
        splits = sorted({clip.split for clip in clips})
        raise DatasetError(
            f"{path}: no clip has split {split!r}" if clips else f"{path}: names no clip",
            f"Splits in the table: {', '.join(splits)}; choose one with --split."
            if splits
            else "Check the file.",
        )
    return kept


def _is_file_name(text: str) -> bool:
    return text not in (".", "..") and all(
        kind(text).name == text for kind in (PurePosixPath, PureWindowsPath)
    )


def _present(tree: Tree, folder: Path, clip: TableClip) -> tuple[list[int], str]:
    """The frames that are there with picture, mask and sound, and what isn't, in words."""
    numbers = tree.frames(clip.split)
    lacks: list[str] = []
    kept = list(numbers)
    for pattern, what in ((tree.image, "frame"), (tree.mask, "mask")):
        absent = [number for number in numbers if not is_file(clip.path(folder, pattern, number))]
        kept = [number for number in kept if number not in absent]
        if len(absent) == len(numbers):
            lacks.append(f"no {what}s")
        elif absent:
            lacks.append(f"no {what} {_listed(absent)}")
    if not is_file(clip.path(folder, tree.audio)):
        return [], ", ".join(["no sound", *lacks])
    return kept, ", ".join(lacks)


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(str(number) for number in numbers)


def _case(tree: Tree, folder: Path, clip: TableClip, number: int) -> Case:
    name = "/".join(part for part in (clip.split, clip.category, clip.name) if part)
    return Case(
        id=f"{name}_{number}",
        subset=clip.split,
        category=clip.category,
        image_path=clip.path(folder, tree.image, number),
        mask_path=clip.path(folder, tree.mask, number),
        audio_path=clip.path(folder, tree.audio),
        group=name,
        # The middle of second i = number - 1.
        time_s=number - 0.5,
        clip=name,
        size=SCORED_SIZE,
        saved_as=clip.fill(tree.saved, number),
    )


def _nothing(tree: Tree, folder: Path, clips: Sequence[TableClip]) -> DatasetError:
    looked = ", ".join(_first_missing(tree, folder, clips[0]))
    return DatasetError(
        f"{folder}: none of {len(clips)} clips of split {clips[0].split!r} has its files;"
        f" not there: {looked}",
        "Unpack the data beside the table, without renaming anything.",
    )


def _first_missing(tree: Tree, folder: Path, clip: TableClip) -> Iterator[str]:
    for pattern in (tree.image, tree.mask, tree.audio):
        if not is_file(clip.path(folder, pattern)):
            yield clip.fill(pattern)
