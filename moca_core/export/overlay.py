"""The overlay video: masks over the picture, the waveform below it, and the clip's own sound."""

from __future__ import annotations

import contextlib
import math
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame

from moca_core.errors import MediaError, StorageError
from moca_core.export.drawing import (
    INK,
    PAPER,
    clock,
    draw_result,
    envelope_picture,
    heard_words,
    paste,
    shortened,
    write,
)
from moca_core.export.sheet import ContactSheet
from moca_core.export.sound import SoundTrack
from moca_core.media.audio import AudioReader
from moca_core.media.video import VideoReader
from moca_core.media.waveform import WaveformPyramid
from moca_core.types import FrameResult, RgbImage

_CLOCK_HZ = 90_000
_WAVE_HZ = 8000
_PAGE_S = 20.0
_SMALLEST_PX, _LARGEST_PX = 320, 1920
_WAVE_INK = (150, 160, 170)
_WINDOW_TINT = (86, 180, 233)
_PLAYHEAD = (230, 159, 0)


class OverlayWriter:
    """Writes frames in their order to an MP4 (H.264, AAC) that appears when it is finished.

    Memory doesn't grow with the clip: every frame is drawn, encoded and forgotten.

    Parameters
    ----------
    clip : the file that the results belong to.
    path : the video to write.
    start_s, end_s : the part of the clip that is shown, in seconds on its clock.
    sheet : also gets the key frames, which are at hand here.

    Raises
    ------
    MediaError : the clip can't be read.
    StorageError : the video can't be written.
    """

    def __init__(
        self,
        clip: Path,
        path: Path,
        start_s: float | None = None,
        end_s: float | None = None,
        sheet: ContactSheet | None = None,
    ) -> None:
        self.path = Path(path)
        self._sheet = sheet
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._video = VideoReader(clip, cache_bytes=16 * 2**20)
        info = self._video.info
        first = float(info.times_s[0]) if start_s is None else start_s
        last = info.duration_s if end_s is None else min(end_s, info.duration_s)
        self._canvas = _Canvas(info.width, info.height)
        self._output: av.container.OutputContainer | None = None
        try:
            self._strip = _Strip(clip, first, last, self._canvas)
            self._open(clip)
        except BaseException:
            self.close()
            raise

    def _open(self, clip: Path) -> None:
        info = self._video.info
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._output = av.open(
                str(self._part), "w", format="mp4", options={"movflags": "+faststart"}
            )
            rate = Fraction(max(info.fps, 1.0)).limit_denominator(1001)
            # Frames needn't be evenly spaced: each keeps its own time on a fine clock.
            self._picture = self._output.add_stream("libx264", rate=rate)
            self._picture.width, self._picture.height = self._canvas.width, self._canvas.height
            self._picture.pix_fmt = "yuv420p"
            self._picture.options = {"preset": "veryfast", "crf": "20"}
            self._picture.codec_context.gop_size = 30
            self._picture.codec_context.time_base = Fraction(1, _CLOCK_HZ)
            self._sound = SoundTrack(clip, self._output) if info.has_audio else None
        except (av.FFmpegError, OSError) as error:
            raise cant_write(self.path, error) from error
        self._begin_s: float | None = None
        self._missed: MediaError | None = None
        self._last_pts = -1

    def __enter__(self) -> OverlayWriter:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def add(self, result: FrameResult) -> None:
        """Draw and encode the next frame, unless it can't be decoded; raises `StorageError`."""
        assert self._output is not None, "the video is closed"
        try:
            rgb = self._video.frame(result.frame)
        except MediaError as error:
            self._missed = error  # the frame before it is shown longer
            return
        if self._sheet is not None and result.key:
            self._sheet.add(rgb, result)
        picture = self._canvas.draw(rgb, result)
        self._strip.draw(picture, result)
        if self._begin_s is None:
            self._begin_s = result.time_s
        elapsed = result.time_s - self._begin_s
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        self._last_pts = max(self._last_pts + 1, round(elapsed * _CLOCK_HZ))
        frame.pts, frame.time_base = self._last_pts, Fraction(1, _CLOCK_HZ)
        try:
            self._output.mux(self._picture.encode(frame))
            if self._sound is not None:
                self._sound.write(self._begin_s, elapsed)
        except (av.FFmpegError, OSError) as error:
            raise cant_write(self.path, error) from error

    def finish(self) -> None:
        """Complete the video and put it in its place.

        Raises
        ------
        MediaError : none of the frames could be decoded.
        StorageError : the video can't be written.
        """
        assert self._output is not None, "the video is closed"
        if self._begin_s is None and self._missed is not None:
            raise self._missed
        try:
            if self._sound is not None and self._begin_s is not None:
                shown = self._last_pts / _CLOCK_HZ + 1 / max(self._video.info.fps, 1.0)
                self._sound.finish(self._begin_s, shown)
            self._output.mux(self._picture.encode(None))
            self._output.close()
            self._output = None
            self._part.replace(self.path)
        except (av.FFmpegError, OSError) as error:
            raise cant_write(self.path, error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Give everything back; what isn't finished is deleted. May be called twice."""
        self._video.close()
        if self._output is not None:
            output, self._output = self._output, None
            # What can't be written doesn't matter: the file is thrown away.
            with contextlib.suppress(av.FFmpegError, OSError, ValueError):
                output.close()
        with contextlib.suppress(OSError):  # such as a folder that isn't one
            self._part.unlink(missing_ok=True)


def cant_write(path: Path, error: Exception) -> StorageError:
    """What is raised where a video can't be written."""
    return StorageError(
        f"{path}: the video can't be written ({getattr(error, 'strerror', None) or error})",
        "Check the free space and the permissions of the folder, or choose another one.",
    )


class _Canvas:
    """Where the picture and the strip lie in the video, whose sides are even."""

    def __init__(self, width: int, height: int) -> None:
        scale = min(max(1.0, _SMALLEST_PX / width), _LARGEST_PX / max(width, height))
        self.size = max(1, round(width * scale)), max(1, round(height * scale))
        self.width = _even(max(self.size[0], _SMALLEST_PX))
        self.strip_height = _even(int(np.clip(self.size[1] // 7, 56, 140)))
        self.height = _even(self.size[1]) + self.strip_height
        self.left = (self.width - self.size[0]) // 2

    def draw(self, rgb: RgbImage, result: FrameResult) -> RgbImage:
        """(height, width, 3) uint8 with the picture, its masks, and an empty strip."""
        canvas = np.empty((self.height, self.width, 3), np.uint8)
        canvas[...] = PAPER
        picture = rgb
        if rgb.shape[1::-1] != self.size:
            picture = np.asarray(cv2.resize(rgb, self.size, interpolation=cv2.INTER_AREA))
        elif not picture.flags.writeable:
            picture = picture.copy()
        draw_result(picture, result)
        canvas[: self.size[1], self.left : self.left + self.size[0]] = picture
        return canvas


def _even(value: int) -> int:
    return value + value % 2


class _Strip:
    """The waveform with the play head and the audio window, and a line of words above it."""

    def __init__(self, clip: Path, start_s: float, end_s: float, canvas: _Canvas) -> None:
        self._canvas = canvas
        self._start_s = start_s
        self._page_s = max(min(end_s - start_s, _PAGE_S), 1e-3)
        self._text_px = max(13, canvas.strip_height // 5)
        self._line = self._text_px + self._text_px // 2
        self._pyramid: WaveformPyramid | None = None
        self._page: tuple[int, RgbImage] | None = None
        try:
            with AudioReader(clip, _WAVE_HZ) as reader:
                pyramid = WaveformPyramid(_WAVE_HZ)
                for block in reader.decode():
                    pyramid.add(block)
            self._pyramid = pyramid
        except MediaError:
            pass  # no sound track, or none that can be read: the line stays flat

    def draw(self, canvas: RgbImage, result: FrameResult) -> None:
        """Draw the strip of a frame at the bottom of (H, W, 3) `canvas`."""
        strip = canvas[-self._canvas.strip_height :]
        page = math.floor((result.time_s - self._start_s) / self._page_s)
        wave = self._wave(max(page, 0))
        rows = strip[self._line :]
        rows[...] = wave
        begin = self._start_s + max(page, 0) * self._page_s

        def column(time_s: float) -> int:
            return int(np.clip((time_s - begin) / self._page_s, 0, 1) * (strip.shape[1] - 1))

        left, right = (column(time_s) for time_s in result.window_s)
        if right > left:
            shade = np.array(_WINDOW_TINT, np.float32) * np.float32(0.3)
            rows[:, left:right] = (rows[:, left:right] * np.float32(0.7) + shade).astype(np.uint8)
        head = column(result.time_s)
        rows[:, max(head - 1, 0) : head + 1] = _PLAYHEAD
        self._words(strip, result)

    def _words(self, strip: RgbImage, result: FrameResult) -> None:
        gap = self._text_px // 2
        # The clock has a place of its own, so that the words beside it don't jump.
        time_tag = write(clock(result.time_s), self._text_px, INK)
        paste(strip, time_tag, (gap, 1))
        left = gap + 5 * self._text_px
        words = shortened(heard_words(result), self._text_px, strip.shape[1] - left - gap)
        if words:
            paste(strip, write(words, self._text_px, _WAVE_INK), (left, 1))

    def _wave(self, page: int) -> RgbImage:
        """(rows, width, 3) uint8 waveform of a page, drawn once."""
        if self._page is None or self._page[0] != page:
            width = self._canvas.width
            low = high = np.zeros(width, np.float32)
            if self._pyramid is not None:
                begin = self._start_s + page * self._page_s
                low, high = self._pyramid.envelope(begin, begin + self._page_s, width)
            height = self._canvas.strip_height - self._line
            self._page = page, envelope_picture(low, high, height, _WAVE_INK)
        return self._page[1]
