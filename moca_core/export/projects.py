"""Exports from a project, or from what is in memory: a person's frames first, then the program's.

Here every frame has its objects, so that nothing has to be followed and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from moca_core.annotations.model import PackedResult, unpack
from moca_core.annotations.project import SUFFIX, find_clip, open_project
from moca_core.annotations.snapshot import ClipRef, Snapshot
from moca_core.errors import StorageError
from moca_core.export.clips import Choice, ExportClip, nothing_chosen
from moca_core.media.video import VideoReader
from moca_core.types import FrameResult, Mask

_BACKUP = "Put the project's files back from a backup, or run the method again."
Maps = Mapping[str, NDArray]
_NOT_RUN, _NOT_CORRECTED = "no result", "not corrected"
"""What videos say of frames that aren't among those exported."""


@dataclass(frozen=True, eq=False)
class SnapshotClip(ExportClip):
    """The frames of one clip as they are shown.

    Attributes
    ----------
    snapshot : what the project keeps.
    frames : those that are exported by their number, ascending.
    all_maps : the intermediates by frame, of those that have any.
    gap : what a video says of frames in between that aren't there.
    """

    snapshot: Snapshot
    frames: Mapping[int, PackedResult]
    all_maps: Mapping[int, Maps] = field(default_factory=dict)
    gap: str = _NOT_RUN

    @property
    def size(self) -> tuple[int, int]:
        return self.snapshot.clip.size

    @property
    def made_with(self) -> Mapping[str, Any]:
        moved = dict(self.snapshot.moved)
        return {"config": asdict(self.snapshot.config), "thresholds": moved}

    @property
    def known(self) -> tuple[int, ...]:
        return self.numbers

    @property
    def corrected(self) -> int:
        """How many frames a person changed, or agreed to."""
        return sum(item.corrected for item in self.frames.values())

    def object_names(self) -> set[str]:
        return {item.name for frame in self.frames.values() for item in frame.objects}

    def result(self, number: int) -> FrameResult:
        return unpack(self.frames[number])

    def reason(self, number: int) -> str:
        return self.frames[number].reason

    def union(self, number: int) -> Mask:
        return self.result(number).union

    def times(self) -> dict[int, float]:
        return {number: item.time_s for number, item in self.frames.items()}

    def _noted_times(self) -> Mapping[int, float]:
        return self.times()

    def has_maps(self, number: int) -> bool:
        return bool(self.all_maps.get(number))

    def maps(self, number: int) -> Maps:
        return self.all_maps[number]

    def masked_frames(self, video: VideoReader) -> Iterator[FrameResult]:
        return map(self.result, self.numbers)

    def every_frame(self, video: VideoReader) -> Iterator[FrameResult]:
        first, last = self.ends(video)
        for number in range(first, last + 1):
            if number in self.frames:
                yield self.result(number)
            else:
                time_s = video.time_of(number)
                yield FrameResult(number, time_s, self.size, reason=self.gap, key=False)

    def ends(self, video: VideoReader) -> tuple[int, int]:
        return self.numbers[0], self.numbers[-1]

    def chosen(self, choice: Choice) -> SnapshotClip:
        start_s, end_s = choice.span_s
        first, last = self._range() if choice.range_only else (0, max(self.frames))
        frames = {
            number: item
            for number, item in self.frames.items()
            if first <= number <= last
            and start_s <= item.time_s < end_s
            and (item.corrected or not choice.corrected_only)
        }
        if not frames:
            raise nothing_chosen(self, choice)
        gap = _NOT_CORRECTED if choice.corrected_only else self.gap
        return replace(self, numbers=tuple(frames), frames=frames, gap=gap)

    def _range(self) -> tuple[int, int]:
        if self.snapshot.view.range is None:
            raise StorageError(
                f"{self.source}: no range is chosen", "Set in and out points, or give times."
            )
        return self.snapshot.view.range


def snapshot_clip(
    snapshot: Snapshot,
    name: str,
    source: Path,
    clip: Path,
    maps: Mapping[int, Maps] | None = None,
) -> SnapshotClip:
    """A clip to export, of what a project keeps; `maps` by frame, if they are at hand.

    Raises
    ------
    StorageError : there is no frame with a result, or one is of another size than the clip.
    """
    frames = dict(sorted({**snapshot.results, **snapshot.labels}.items()))
    if not frames:
        raise StorageError(
            f"{source}: no frame has a result", "Run the method, or draw masks, and export then."
        )
    if any(item.size != snapshot.clip.size for item in frames.values()):
        raise StorageError(f"{source}: is damaged (masks of another size than the clip)", _BACKUP)
    return SnapshotClip(
        name=name,
        source=source,
        clip=clip,
        numbers=tuple(frames),
        snapshot=snapshot,
        frames=frames,
        all_maps=maps or {},
    )


def project_files(path: Path) -> list[Path]:
    """The projects that a path names: a project itself, or those in a folder; none of another.

    Raises
    ------
    StorageError : the folder can't be read.
    """
    if not path.is_dir():
        return [path] if path.name.endswith(SUFFIX) else []
    try:
        return sorted(item for item in path.iterdir() if item.name.endswith(SUFFIX))
    except OSError as error:
        raise StorageError(
            f"{path}: can't be read ({error.strerror or error})", "Check its permissions."
        ) from error


def read_projects(
    paths: list[Path], clip: Path | None = None
) -> tuple[list[SnapshotClip], list[str]]:
    """The clips of projects, and what couldn't be read of them.

    Parameters
    ----------
    clip : where the clip is now; a folder, if it is in there under its name. None: it is looked
        for, see `find_clip`.

    Raises
    ------
    ProjectError : one can't be read, or is of a newer program.
    StorageError : none has a result, or `clip` is one file for several projects.
    """
    if clip is not None and len(paths) > 1 and not clip.is_dir():
        raise StorageError(
            f"{clip}: one file for {len(paths)} projects",
            "Give the folder that the clips are in, or one project.",
        )
    clips: list[SnapshotClip] = []
    notes: list[str] = []
    for path in paths:
        opened = open_project(path)
        notes += opened.notes
        name, place = path.name.removesuffix(SUFFIX), _place(opened.snapshot.clip, path, clip)
        try:
            clips.append(snapshot_clip(opened.snapshot, name, path, place))
        except StorageError as error:
            if len(paths) == 1:
                raise
            notes.append(f"{error.message}: left out")
    if not clips:
        raise StorageError(
            f"{paths[0].parent}: none of {len(paths)} projects has a result",
            "Run the method, or draw masks, and export then.",
        )
    return clips, notes


def _place(ref: ClipRef, project: Path, clip: Path | None) -> Path:
    """Where the clip of a project is, as far as that is said or can be found."""
    if clip is None:
        return find_clip(ref, project.absolute()) or ref.path
    return clip / ref.path.name if clip.is_dir() else clip
