"""Matte videos: the mask in black and white, or the picture cut out with an alpha channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from moca_core.errors import MediaError
from moca_core.export.clips import ExportClip
from moca_core.export.exporter import ExportEvent, ExportSettings, check_clips, missed_note
from moca_core.export.overlay import cant_write
from moca_core.export.sound import SoundTrack
from moca_core.media.video import VideoReader
from moca_core.types import Mask, StageEvent

_CLOCK_HZ = 90_000


@dataclass(frozen=True)
class Matte:
    """A way to write a matte.

    Attributes
    ----------
    suffix : of the file's name.
    codec, pix_fmt, options : as FFmpeg calls them.
    even : the sides must be even; a black line is added where they aren't.
    cut : the picture is needed, and its alpha is the mask.
    """

    suffix: str
    codec: str
    pix_fmt: str
    options: Mapping[str, str]
    even: bool
    cut: bool


# Little compression: what is near the border must fall on its side of the middle.
PLAIN = Matte(
    "_matte.mp4",
    "libx264",
    "yuv420p",
    MappingProxyType({"preset": "veryfast", "crf": "10"}),
    even=True,
    cut=False,
)
# The one with an alpha channel that editing programs take; alpha is kept without loss.
ALPHA = Matte(
    "_matte.mov",
    "prores_ks",
    "yuva444p10le",
    MappingProxyType({"profile": "4444", "alpha_bits": "16", "vendor": "apl0"}),
    even=False,
    cut=True,
)


def write(
    clips: Sequence[ExportClip], out: Path, settings: ExportSettings
) -> Iterator[ExportEvent]:
    """Write `<clip>_matte.mp4` (H.264, white on black), or `<clip>_matte.mov` (ProRes 4444)."""
    check_clips(clips)
    matte = ALPHA if settings.alpha else PLAIN
    for clip in clips:
        missed: list[int] = []
        path = out / f"{clip.name}{matte.suffix}"
        with clip.video() as video, _Output(path, matte, clip, video) as output:
            first, last = clip.ends(video)
            for result in clip.every_frame(video):
                yield StageEvent(f"Matte of {clip.name}", result.frame - first, last - first + 1)
                try:
                    rgb = video.frame(result.frame) if matte.cut else None
                except MediaError:
                    missed.append(result.frame)  # the frame before it is shown longer
                    continue
                output.add(result.time_s, result.union, rgb)
            output.finish()
        yield from missed_note(clip, missed)


class _Output:
    """A video file with a picture for each mask, and the clip's sound."""

    def __init__(self, path: Path, matte: Matte, clip: ExportClip, video: VideoReader) -> None:
        self._path, self._matte = path, matte
        self._frame_s = 1 / max(video.info.fps, 1.0)
        self._begin_s: float | None = None
        self._last_pts = -1
        height, width = clip.size
        self._size = (height + height % 2, width + width % 2) if matte.even else clip.size
        self._guarded(lambda: self._open(clip, video))

    def _open(self, clip: ExportClip, video: VideoReader) -> None:
        self._file = av.open(str(self._path), "w", options={"movflags": "+faststart"})
        rate = Fraction(max(video.info.fps, 1.0)).limit_denominator(1001)
        self._picture = cast(VideoStream, self._file.add_stream(self._matte.codec, rate=rate))
        self._picture.height, self._picture.width = self._size
        self._picture.pix_fmt = self._matte.pix_fmt
        self._picture.options = dict(self._matte.options)
        # Frames needn't be evenly spaced: each keeps its own time on a fine clock.
        self._picture.codec_context.time_base = Fraction(1, _CLOCK_HZ)
        has_audio = video.info.has_audio
        self._sound = SoundTrack(clip.clip_path(), self._file) if has_audio else None

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        # After `finish` it is closed already; before, the file is thrown away.
        with suppress(av.FFmpegError, OSError, ValueError):
            self._file.close()

    def add(self, time_s: float, mask: Mask, rgb: NDArray[np.uint8] | None) -> None:
        """Encode the picture of a frame; raises `StorageError`."""
        if self._begin_s is None:
            self._begin_s = time_s
        begin_s, elapsed = self._begin_s, time_s - self._begin_s
        if rgb is None:
            pixels = np.zeros((*self._size, 3), np.uint8)
            pixels[: mask.shape[0], : mask.shape[1]][mask] = 255
            frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        else:
            alpha = mask.view(np.uint8) * np.uint8(255)
            frame = VideoFrame.from_ndarray(np.dstack([rgb, alpha]), format="rgba")
        self._last_pts = max(self._last_pts + 1, round(elapsed * _CLOCK_HZ))
        frame.pts, frame.time_base = self._last_pts, Fraction(1, _CLOCK_HZ)

        def encode() -> None:
            self._file.mux(self._picture.encode(frame))
            if self._sound is not None:
                self._sound.write(begin_s, elapsed)

        self._guarded(encode)

    def finish(self) -> None:
        """Complete the file; raises `StorageError`."""

        def complete() -> None:
            if self._sound is not None and self._begin_s is not None:
                self._sound.finish(self._begin_s, self._last_pts / _CLOCK_HZ + self._frame_s)
            self._file.mux(self._picture.encode(None))
            self._file.close()

        self._guarded(complete)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (av.FFmpegError, OSError) as error:
            raise cant_write(self._path, error) from error
