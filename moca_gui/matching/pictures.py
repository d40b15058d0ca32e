"""The frames that are compared: which ones are asked for, and how they are read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtGui import QImage

from moca_core.errors import MediaError
from moca_core.types import RgbImage
from moca_gui.frames import to_image, to_picture
from moca_gui.timecode import format_time

if TYPE_CHECKING:
    from moca_core.media.video import VideoReader

SHOWN_PX = 1280
"""The longer side of a picture is shown with no more pixels than that."""
_OPEN_CLIPS = 2
_CACHE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Pick:
    """A frame that is asked for.

    Attributes
    ----------
    path : a clip or a picture file.
    position : frame number (int) or time in seconds (float); None: the first one.
    image : the whole frame, where it is decoded already.
    """

    path: Path
    position: int | float | None = None
    image: QImage | None = field(default=None, compare=False, repr=False)

    @property
    def key(self) -> Hashable:
        """Names the frame, and the file as it is now."""
        try:
            facts = self.path.stat()
            return self.path, facts.st_size, facts.st_mtime_ns, repr(self.position)
        except OSError:
            return self.path, repr(self.position)


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame as it is shown.

    Attributes
    ----------
    path : of its file.
    image : of `SHOWN_PX` at most.
    frame, time_s : in its clip; None of a picture file.
    frame_count, duration_s : of the clip; 1 and 0 of a picture file.
    """

    path: Path
    image: QImage
    frame: int | None = None
    time_s: float | None = None
    frame_count: int = 1
    duration_s: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return int(self.image.sizeInBytes())

    def has(self, position: int | float) -> bool:
        """Whether its clip has a frame of this number (int), or at this time (float)."""
        end = self.frame_count if isinstance(position, int) else self.duration_s
        return 0 <= position < end

    @property
    def title(self) -> str:
        """`dog.mp4, frame 30, 00:01.200`."""
        if self.time_s is None:
            return self.path.name
        return f"{self.path.name}, frame {self.frame}, {format_time(self.time_s)}"


class Pictures:
    """Reads frames; the clips that were read last stay open. For one thread."""

    def __init__(self) -> None:
        self._clips: OrderedDict[Hashable, VideoReader] = OrderedDict()

    def read(self, pick: Pick) -> tuple[Picture, RgbImage]:
        """A frame as it is shown, and (H, W, 3) uint8 of it.

        Raises
        ------
        MediaError : the file is missing or can't be read, or has no such frame.
        """
        from moca_core.media.still import PICTURE_SUFFIXES, open_still

        if pick.path.suffix.lower() in PICTURE_SUFFIXES:
            rgb = open_still(pick.path).rgb
            return Picture(pick.path, shown(rgb)), rgb
        video = self.clip(pick.path)
        frame = _frame_of(video, pick)
        rgb = video.frame(frame) if pick.image is None else to_picture(pick.image)
        info, time_s = video.info, video.time_of(frame)
        picture = Picture(pick.path, shown(rgb), frame, time_s, info.frame_count, info.duration_s)
        return picture, rgb

    def clip(self, path: Path) -> VideoReader:
        """The reader of a clip, which stays the owner; raises `MediaError`."""
        from moca_core.media.video import VideoReader

        key = Pick(path).key
        if key not in self._clips:
            while len(self._clips) >= _OPEN_CLIPS:
                self._clips.popitem(last=False)[1].close()
            self._clips[key] = VideoReader(path, cache_bytes=_CACHE_BYTES)
        self._clips.move_to_end(key)
        return self._clips[key]

    def close(self) -> None:
        """Close the clips."""
        while self._clips:
            self._clips.popitem()[1].close()

    def __enter__(self) -> Pictures:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def shown(rgb: RgbImage, longest_px: int = SHOWN_PX) -> QImage:
    """(H, W, 3) uint8 as an image of `longest_px` at most."""
    height, width = rgb.shape[:2]
    scale = longest_px / max(height, width)
    if scale < 1:
        import cv2  # slow to import; only the worker needs it

        size = max(1, round(width * scale)), max(1, round(height * scale))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return to_image(rgb)


def _frame_of(video: VideoReader, pick: Pick) -> int:
    """The number of the frame that is asked for; raises `MediaError`."""
    info, name, asked = video.info, pick.path.name, pick.position
    if asked is None:
        return 0
    if isinstance(asked, int):
        if not 0 <= asked < info.frame_count:
            raise MediaError(
                f"{name}: no frame {asked}", f"It has frames 0 to {info.frame_count - 1}."
            )
        return asked
    if not 0 <= asked < info.duration_s:
        raise MediaError(f"{name}: no picture at {asked:g} s", f"It lasts {info.duration_s:.2f} s.")
    return video.index_at(asked)
