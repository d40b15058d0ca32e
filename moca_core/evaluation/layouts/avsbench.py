"""The layouts `s4`, `ms3` and `avss` of AVSBench: clips with a frame and a mask for each second.

The trees are those that its official loaders read, and the names of saved masks those that its
official test scripts write (METHOD.md section 8; OpenNLPLab/AVSBench, avs_scripts/*/dataloader.py
and utils/utility.py). Frames count from 1 in the files of `s4` and `ms3`, from 0 in those of `avss`
and of saved masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType

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
_NO_PARTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Tree:
    """Where one of AVSBench's sets keeps its files.

    Attributes
    ----------
    name : of the layout.
    folder : in the folder of the whole of AVSBench.
    table : its CSV file.
    columns : field of `TableClip` -> its column; the clip's name is in the first column unless
        it is named here.
    places : fields that are names of folders in the paths below.
    image, mask, audio, saved : paths beside the table, and those of saved masks.
    first_only : (split, part) of clips of which only the first frame has a mask.
    parts : part -> frames of its clips; `FRAMES` in a tree without parts.
    """

    name: str
    folder: str
    table: str
    columns: Mapping[str, str]
    places: tuple[str, ...]
    image: str
    mask: str
    audio: str
    saved: str
    first_only: tuple[tuple[str, str], ...] = ()
    parts: Mapping[str, int] = field(default_factory=lambda: _NO_PARTS)

    def frames(self, clip: TableClip) -> range:
        """Numbers of the frames that have a mask, from 1."""
        first_only = (clip.split, clip.part) in self.first_only
        return range(1, 2 if first_only else self.parts.get(clip.part, FRAMES) + 1)

    @property
    def most_frames(self) -> int:
        """Frames of its longest clips."""
        return max(self.parts.values(), default=FRAMES)

    def in_file(self, number: int) -> int:
        """Frame `number`, from 1, as the names of its files count it."""
        return number - 1 if "{index}" in self.image else number


@dataclass(frozen=True)
class TableClip:
    """A row of the table; `part` is the one of the set that the clip belongs to."""

    name: str
    split: str
    category: str = ""
    part: str = ""

    def path(self, root: Path, pattern: str, number: int = 1) -> Path:
        return root / self.fill(pattern, number)

    def fill(self, pattern: str, number: int = 1) -> str:
        return pattern.format(
            clip=self.name,
            split=self.split,
            category=self.category,
            part=self.part,
            number=number,
            index=number - 1,
        )


S4 = Tree(
    name="s4",
    folder="Single-source",
    table="s4_meta_data.csv",
    columns={"split": "split", "category": "category"},
    places=("split", "category"),
    first_only=(("train", ""),),
    image="s4_data/visual_frames/{split}/{category}/{clip}/{clip}_{number}.png",
    mask="s4_data/gt_masks/{split}/{category}/{clip}/{clip}_{number}.png",
    audio="s4_data/audio_wav/{split}/{category}/{clip}.wav",
    saved="{category}/{clip}/{clip}_{index}.png",
)
MS3 = Tree(
    name="ms3",
    folder="Multi-sources",
    table="ms3_meta_data.csv",
    columns={"split": "split"},
    places=("split",),
    # The frames were cut from `<clip>.mp4`, and kept its whole name.
    image="ms3_data/visual_frames/{clip}/{clip}.mp4_{number}.png",
    mask="ms3_data/gt_masks/{split}/{clip}/{clip}_{number}.png",
    audio="ms3_data/audio_wav/{split}/{clip}.wav",
    saved="{clip}/{clip}_{index}.png",
)
TREES = (S4, MS3)
"""The sets of AVSBench-object, whose masks are 0 or 255."""
AVSS = Tree(
    name="avss",
    folder="AVSS",
    table="metadata.csv",
    columns={"name": "uid", "split": "split", "part": "label", "category": "a_obj"},
    places=("split", "part"),
    image="{part}/{clip}/frames/{index}.jpg",
    mask="{part}/{clip}/labels_rgb/{index}.png",
    audio="{part}/{clip}/audio.wav",
    saved="{clip}/{clip}_{index}.png",
    first_only=(("train", "v1s"),),
    parts={"v1s": 5, "v1m": 5, "v2": 10},
)
"""AVSBench-semantic, whose masks tell 71 classes by their colours; see `layouts.avss`."""


def read_avsbench(
    tree: Tree, root: str | Path, split: str | None = None, limit: int | None = None
) -> DataSet:
    """Frames of one of AVSBench's sets, in the order of its table.

    A clip without its sound, and frames without a picture or a mask, are left out and named.

    Parameters
    ----------
    tree : `S4`, `MS3` or `AVSS`.
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
    cases = [case for frames in _limited(found, limit, tree.most_frames) for case in frames]
    return DataSet(tuple(cases[:limit]), split, len(clips), incomplete)


def _limited(clips: list[list[Case]], limit: int | None, most: int) -> list[list[Case]]:
    """As few whole clips of at most `most` frames as have `limit` frames, spread evenly."""
    if limit is None:
        return clips
    count = -(-limit // most)
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
        for other in (*TREES, AVSS)
        if any(is_file(root / place / other.table) for place in ("", other.folder))
    ]
    hint = f"Give the folder that holds {tree.table}, or the one with {tree.folder} in it."
    raise DatasetError(
        f"{root}: holds neither {tree.table} nor {tree.folder}/{tree.table}",
        f"{hint} What is there has --layout {' or '.join(others)}." if others else hint,
    )


def read_clips(tree: Tree, path: Path, split: str) -> list[TableClip]:
    """Clips of a split, each once, in the order of the table `path`; raises `DatasetError`."""
    columns, rows = read_table(path)
    needed = [tree.columns[name] for name in ("name", *tree.places) if name in tree.columns]
    missing = [name for name in needed if name not in columns]
    if missing:
        first = "" if "name" in tree.columns else "the clip's name first, and "
        raise DatasetError(
            f"{path}: columns missing: {', '.join(missing)}",
            f"The layout `{tree.name}` needs {first}{', '.join(needed)}.",
        )
    fields = {"name": columns[0], **tree.columns}
    check_filled(path, rows, list(dict.fromkeys([fields["name"], *needed])))
    clips = [
        TableClip(**{name: row.get(column, "") for name, column in fields.items()}) for row in rows
    ]
    for clip in clips:
        check_row(tree, path, clip)
    kept = [clip for clip in clips if clip.split == split]
    if not kept:
        splits = sorted({clip.split for clip in clips})
        raise DatasetError(
            f"{path}: no clip has split {split!r}" if clips else f"{path}: names no clip",
            f"Splits in the table: {', '.join(splits)}; choose one with --split."
            if splits
            else "Check the file.",
        )
    return _each_once(tree, path, kept)


def _each_once(tree: Tree, path: Path, clips: Sequence[TableClip]) -> list[TableClip]:
    """The clips without those that a line names again, which would count twice."""
    found: dict[str, TableClip] = {}
    for clip in clips:
        first = found.setdefault(_full_name(tree, clip), clip)
        if first != clip:
            raise DatasetError(
                f"{path}: two lines name {clip.name} and say different things of it",
                "Correct or remove one of them.",
            )
    return list(found.values())


def _full_name(tree: Tree, clip: TableClip) -> str:
    """What tells a clip from all others of its split."""
    return "/".join(getattr(clip, place) for place in (*tree.places, "name"))


def check_row(tree: Tree, path: Path, clip: TableClip) -> None:
    """Raise `DatasetError` for a row that can't name files."""
    for name in ("name", *tree.places):
        # Parts of paths, also of those where masks are written.
        text = getattr(clip, name)
        if not _is_file_name(text):
            raise DatasetError(f"{path}: {text!r} can't be the name of a file", "Correct it.")
    if tree.parts and clip.part not in tree.parts:
        raise DatasetError(
            f"{path}: clip {clip.name} has {tree.columns['part']} {clip.part!r}",
            f"It must be one of {', '.join(tree.parts)}.",
        )


def _is_file_name(text: str) -> bool:
    return text not in ("", ".", "..") and all(
        kind(text).name == text for kind in (PurePosixPath, PureWindowsPath)
    )


def _present(tree: Tree, folder: Path, clip: TableClip) -> tuple[list[int], str]:
    """The frames that are there with picture, mask and sound, and what isn't, in words."""
    numbers = tree.frames(clip)
    lacks: list[str] = []
    kept = list(numbers)
    for pattern, what in ((tree.image, "frame"), (tree.mask, "mask")):
        absent = [number for number in numbers if not is_file(clip.path(folder, pattern, number))]
        kept = [number for number in kept if number not in absent]
        if len(absent) == len(numbers):
            lacks.append(f"no {what}s")
        elif absent:
            named = [str(tree.in_file(number)) for number in absent]
            lacks.append(f"no {what} {' and '.join(named)}")
    if not is_file(clip.path(folder, tree.audio)):
        return [], ", ".join(["no sound", *lacks])
    return kept, ", ".join(lacks)


def _case(tree: Tree, folder: Path, clip: TableClip, number: int) -> Case:
    name = _full_name(tree, clip)
    return Case(
        id=f"{name}_{tree.in_file(number)}",
        subset=clip.part or clip.split,
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
