"""What the formats ask of a clip, wherever its masks come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from moca_core.errors import ConfigError, StorageError
from moca_core.media.video import VideoReader
from moca_core.types import FrameResult, Mask

_SAME_TIME_S = 0.002
"""A frame's time may differ by so much from the one that was noted."""


@dataclass(frozen=True)
class Choice:
    """Which of a clip's frames are exported.

    Attributes
    ----------
    start_s, end_s : the part of the clip in seconds on its clock, without its end; None: from its
        beginning, to its end.
    range_only : only the range between in and out point that a project keeps.
    corrected_only : only frames that a person changed, or agreed to.

    Raises
    ------
    ConfigError : the part is empty.
    """

    start_s: float | None = None
    end_s: float | None = None
    range_only: bool = False
    corrected_only: bool = False

    def __post_init__(self) -> None:
        start_s, end_s = self.span_s
        if not start_s < end_s:
            raise ConfigError(
                f"{start_s:g} to {end_s:g} s: no part of a clip", "End after the beginning."
            )

    @property
    def span_s(self) -> tuple[float, float]:
        """Start and end in seconds, without limits where none were given."""
        start_s = float("-inf") if self.start_s is None else self.start_s
        return start_s, float("inf") if self.end_s is None else self.end_s

    @property
    def timed(self) -> bool:
        """Whether a part of the clip is chosen."""
        return self.start_s is not None or self.end_s is not None


@dataclass(frozen=True, eq=False)
class ExportClip(ABC):
    """The masks of one clip. They are decoded when they are asked for.

    Attributes
    ----------
    name : names the clip in exports; unique among those that are exported together.
    source : where the masks lie: a folder of results, a project, or the clip that is open.
    clip : the file that they belong to, which needn't be there; None if that isn't known.
    numbers : all frames with a mask, ascending.
    """

    name: str
    source: Path
    clip: Path | None
    numbers: tuple[int, ...]

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels."""

    @property
    @abstractmethod
    def known(self) -> tuple[int, ...]:
        """Those of `numbers` whose objects are known without the clip, ascending."""

    @property
    @abstractmethod
    def made_with(self) -> Mapping[str, Any]:
        """What the masks were found with (`config`, `thresholds`), as far as it is known."""

    @abstractmethod
    def result(self, number: int) -> FrameResult:
        """The objects of a frame of `known`; raises `StorageError` if it is damaged."""

    @abstractmethod
    def union(self, number: int) -> Mask:
        """(H, W) bool, what sounds in a frame of `numbers`; raises `StorageError`."""

    @abstractmethod
    def reason(self, number: int) -> str:
        """Why a frame of `known` has no object; else ""."""

    @abstractmethod
    def times(self) -> dict[int, float]:
        """Times in seconds of those of `numbers` for which they can be told."""

    @abstractmethod
    def object_names(self) -> set[str]:
        """Names of all objects."""

    @abstractmethod
    def has_maps(self, number: int) -> bool:
        """True if the intermediates of a frame are there."""

    @abstractmethod
    def maps(self, number: int) -> Mapping[str, NDArray]:
        """The intermediates of a frame; raises `StorageError`."""

    @abstractmethod
    def masked_frames(self, video: VideoReader) -> Iterator[FrameResult]:
        """Results for `numbers`, as far as they can be told, ascending; raises `StorageError`."""

    @abstractmethod
    def every_frame(self, video: VideoReader) -> Iterator[FrameResult]:
        """A result for every frame that a video shows, ascending; raises `StorageError`."""

    @abstractmethod
    def ends(self, video: VideoReader) -> tuple[int, int]:
        """The first and the last frame of `every_frame`, if they can be decoded."""

    @abstractmethod
    def chosen(self, choice: Choice) -> ExportClip:
        """The same clip with some of its frames; raises `StorageError` if none is left."""

    @property
    def between(self) -> int:
        """How many frames have a union mask and no objects."""
        return len(self.numbers) - len(self.known)

    @contextmanager
    def video(self) -> Iterator[VideoReader]:
        """The clip, opened for the length of a `with` block.

        Raises
        ------
        StorageError : the file isn't where it was, or isn't the clip of these masks.
        MediaError : it can't be read.
        """
        with VideoReader(self.clip_path(), cache_bytes=16 * 2**20) as video:
            self._check(video)
            yield video

    def clip_path(self) -> Path:
        """The clip's file; raises `StorageError` if it isn't there."""
        if self.clip is None or not _is_file(self.clip):
            where = self.source if self.clip is None else self.clip
            what = "doesn't name its clip" if self.clip is None else "the clip isn't there any more"
            raise StorageError(
                f"{where}: {what}", "Say where it is with --clip FILE (or the folder it is in)."
            )
        return self.clip

    def _check(self, video: VideoReader) -> None:
        info = video.info
        found = f"{info.width}x{info.height} pixels, {info.frame_count} frames"
        same = (info.height, info.width) == self.size and self.numbers[-1] < info.frame_count
        if same:
            noted = self._noted_times().items()
            off = [n for n, time_s in noted if abs(video.time_of(n) - time_s) > _SAME_TIME_S]
            same = not off
            found = "other frame times" if off else found
        if not same:
            raise StorageError(
                f"{info.path}: not the clip of the results in {self.source} ({found})",
                "Say where that clip is with --clip FILE, or run `moca segment` on this one.",
            )

    @abstractmethod
    def _noted_times(self) -> Mapping[int, float]:
        """Times in seconds that were kept with the masks."""


def nothing_chosen(clip: ExportClip, choice: Choice) -> StorageError:
    """What is raised where a choice leaves no frame."""
    what = "no corrected frame" if choice.corrected_only else "no frame with a result"
    what += " in the range" if choice.range_only else ""
    if choice.timed:
        start_s, end_s = choice.span_s
        what += f" from {max(start_s, 0.0):g} s"
        what += f" to {end_s:g} s" if choice.end_s is not None else " on"
    return StorageError(f"{clip.name}: {what}", "Choose another part, or all frames.")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file can have such a name
        return False
