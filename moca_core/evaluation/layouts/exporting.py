"""Results as data sets of AVSBench: `moca export --format avsbench`.

A data set has one frame a second. A clip is cut into stretches as long as those of the tree, from
its beginning; each needs a result in every second. The frame nearest to the middle of its second
stands for it, with its own mask.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from moca_core.errors import ConfigError, MediaError, NoAudioError, StorageError
from moca_core.evaluation.classes import AVSBENCH, Labels, class_of
from moca_core.evaluation.layouts.avsbench import AVSS, DEFAULT_SPLIT, MS3, S4, TableClip, Tree
from moca_core.evaluation.layouts.writing import SOUND_HZ, ClipData, write_clip, write_table
from moca_core.export.clips import ExportClip
from moca_core.export.exporter import (
    ExportEvent,
    ExportSettings,
    between_note,
    check_clips,
    named,
)
from moca_core.media.audio import AudioReader, open_audio
from moca_core.media.video import VideoReader
from moca_core.types import FrameResult, NoteEvent, Prediction, StageEvent

TREES = {tree.name: tree for tree in (S4, MS3, AVSS)}
_PARTS = ("v2", "v1m")
"""Parts of `avss` whose frames all have masks, the longest first."""


@dataclass(frozen=True)
class _Stretch:
    """The frames of the seconds from `start_s` on, for one part of the tree."""

    start_s: int
    frames: tuple[int, ...]
    part: str


def write(
    clips: Sequence[ExportClip], out: Path, settings: ExportSettings
) -> Iterator[ExportEvent]:
    """Write the folder of a tree (`Single-source`, `Multi-sources`, `AVSS`) with its table."""
    if settings.tree not in TREES:
        raise ConfigError(f"tree = {settings.tree!r}", f"Choose one of {', '.join(TREES)}.")
    check_clips(clips)
    tree = TREES[settings.tree]
    folder = out / tree.folder
    rows: list[TableClip] = []
    for place, clip in enumerate(clips):
        yield StageEvent(f"Sound of {clip.name}", place, len(clips))
        stretches = list(_stretches(clip, tree))
        if not stretches:
            yield NoteEvent(f"{clip.name}: left out, no {_shortest(tree)} s with a result a second")
            continue
        try:
            with open_audio(clip.clip_path(), SOUND_HZ) as audio, clip.video() as video:
                for stretch in stretches:
                    yield StageEvent(f"Frames of {clip.name}", place, len(clips))
                    found = _clip_data(clip, tree, stretch, video, audio, settings)
                    if isinstance(found, NoteEvent):
                        yield found
                        continue
                    write_clip(tree, folder, found)
                    rows.append(found.row)
        except NoAudioError:
            yield NoteEvent(f"{clip.name}: left out, it has no sound")
            continue
        yield from _lost(clip, tree)
    if not rows:
        raise StorageError(
            f"{named(clips)}: nothing to export as {tree.name}",
            f"It takes clips with sound and a result in each of {_shortest(tree)} seconds on end.",
        )
    write_table(tree, folder, rows)


def _shortest(tree: Tree) -> int:
    return min(length for _, length in _lengths(tree))


def _lengths(tree: Tree) -> list[tuple[str, int]]:
    """(part, frames) of the stretches that a clip is cut into, the longest first."""
    if not tree.parts:
        return [("", tree.most_frames)]
    return [(part, tree.parts[part]) for part in _PARTS]


def _stretches(clip: ExportClip, tree: Tree) -> Iterator[_Stretch]:
    """Stretches that don't overlap and have a frame in every second."""
    times = clip.times()
    if tree.parts:
        # Only key frames tell which object is which.
        times = {number: times[number] for number in clip.known}
    nearest: dict[int, int] = {}  # second -> frame
    for number, time_s in times.items():
        second = int(time_s)
        off = abs(time_s - second - 0.5)
        if second not in nearest or off < abs(times[nearest[second]] - second - 0.5):
            nearest[second] = number
    second = min(nearest)
    while second <= max(nearest):
        for part, length in _lengths(tree):
            if all(second + step in nearest for step in range(length)):
                frames = tuple(nearest[second + step] for step in range(length))
                yield _Stretch(second, frames, part)
                second += length
                break
        else:
            second += 1


def _clip_data(
    clip: ExportClip,
    tree: Tree,
    stretch: _Stretch,
    video: VideoReader,
    audio: AudioReader,
    settings: ExportSettings,
) -> ClipData | NoteEvent:
    """The data of a stretch, or why it is left out."""
    name = f"{clip.name}_{stretch.start_s}"
    keys = [clip.result(number) for number in stretch.frames if number in clip.known]
    sounding = Counter(item.name for result in keys for item in result.objects)
    if tree is S4 and not sounding:
        return NoteEvent(f"{name}: left out, S4 needs a category and no object sounds")
    row = TableClip(name, settings.split or DEFAULT_SPLIT, part=stretch.part)
    row = replace(row, category=_category(tree, sounding))
    try:
        frames = [video.frame(number) for number in stretch.frames]
    except MediaError as error:
        return NoteEvent(f"{name}: left out, {error.message}")
    masked = stretch.frames[: len(tree.frames(row))]
    labels = [_labels(clip, tree, number) for number in masked]
    wave = audio.window(stretch.start_s, stretch.start_s + len(frames))
    return ClipData(row, frames, labels, wave)


def _category(tree: Tree, sounding: Counter[str]) -> str:
    """The table's word for what sounds: the most frequent group of S4, all classes of AVSS."""
    if tree is S4:
        name, _ = sounding.most_common(1)[0]
        return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "object"
    if tree is AVSS:
        classes = sorted({class_of(name) for name in sounding} & set(AVSBENCH.names))
        return "_".join(classes) or "none"
    return ""


def _labels(clip: ExportClip, tree: Tree, number: int) -> Labels:
    """(H, W) what sounds in a frame: its class, or 1 where the tree has no classes."""
    if not tree.parts:
        return clip.union(number).astype(np.uint8)
    result = clip.result(number)
    named = [item for item in result.objects if class_of(item.name) in AVSBENCH.names]
    return AVSBENCH.label_map(_prediction(replace(result, objects=tuple(named))))


def _prediction(result: FrameResult) -> Prediction:
    union = result.union
    return Prediction(union, union.astype(np.float32), result.reason, objects=result.objects)


def _lost(clip: ExportClip, tree: Tree) -> Iterator[NoteEvent]:
    """Tell what a tree with classes can't hold."""
    if not tree.parts:
        return
    yield from between_note(clip)
    without = sorted(name for name in clip.object_names() if class_of(name) not in AVSBENCH.names)
    if without:
        yield NoteEvent(f"{clip.name}: AVSBench has no class for {', '.join(without)}: left out")
