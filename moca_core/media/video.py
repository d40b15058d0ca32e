"""Frame-exact access to the pictures of a clip: a frame asked for by number is that frame."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from moca_core.errors import MediaError
from moca_core.media.ahead import FramePrefetcher, cant_decode
from moca_core.media.cache import FrameCache
from moca_core.media.decoder import Decoder
from moca_core.media.index import FrameIndex, index_parts
from moca_core.media.probe import AudioInfo, audio_info, clock_zero, opened, video_stream
from moca_core.types import RgbImage

# Pixels this close to square are taken as square: resampling would only blur.
_SQUARE_ENOUGH = 0.02


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """Facts of a clip.

    Attributes
    ----------
    path : the file.
    width, height : pixels of a frame as `VideoReader.frame` gives it: upright, square pixels.
        Pixels that are not square are stretched in their longer direction (never shrunk);
        within 2 % of square they are left alone.
    frame_count : frames that can be decoded.
    fps : frames a second on average over the clip; frames need not be evenly spaced.
    duration_s : end of the later of picture and sound, on the clip's clock.
    codec : of the picture.
    rotation_deg : counter-clockwise turn (0, 90, 180, 270) that made the frames upright.
    times_s : (frame_count,) float64, presentation times in seconds on the clip's clock, which
        reads 0 at the first picture or the first sample, whichever comes first.
    audio : facts of the sound track, None without one.
    notes : what was wrong with the file, in words for the user.
    """

    path: Path
    width: int
    height: int
    frame_count: int
    fps: float
    duration_s: float
    codec: str
    rotation_deg: int
    times_s: NDArray[np.float64]
    audio: AudioInfo | None
    notes: tuple[str, ...] = ()

    @property
    def has_audio(self) -> bool:
        """True if there is a sound track."""
        return self.audio is not None


class RenumberedError(MediaError):
    """The rest of a clip shows that its first frames were counted wrongly."""


class VideoReader:
    """Reads frames by number. A lock makes each call safe; use it from one thread for speed.

    Parameters
    ----------
    path : the clip.
    cache_bytes : limit of the decoded frames kept in memory.
    decode_ahead : decode what follows in a thread of its own, for playback.
    patience_s : where finding all frames takes longer, open with those at the beginning; `rest`
        finds the others and `grow` adds them.

    Raises
    ------
    MediaError : the file can't be opened, or none of its frames can be decoded.
    NoVideoError : it has no picture.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        cache_bytes: int = 256 * 2**20,
        decode_ahead: bool = False,
        patience_s: float = math.inf,
    ) -> None:
        self._path = Path(path)
        self._parts = index_parts(self._path, patience_s)
        self._index = _next_index(self._parts)
        self._cache = FrameCache(cache_bytes)
        self._lock = threading.RLock()
        self._decoder = Decoder(self._path, self._index)
        self._closed = False
        self._ahead: FramePrefetcher | None = None
        try:
            self.info = self._describe()
            self._reformatter = VideoReformatter()
            if decode_ahead:
                self._ahead = FramePrefetcher(self)
                self._ahead.start(0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def frame(self, index: int) -> RgbImage:
        """Frame `index` as (height, width, 3) uint8 RGB.

        Raises
        ------
        IndexError : the clip has no such frame.
        MediaError : the frame can't be decoded, or the reader is closed.
        """
        if not 0 <= index < self.info.frame_count:
            raise IndexError(f"frame {index} of {self.info.frame_count}")
        if self._ahead is not None:
            return self.to_rgb(self._ahead.wait_for(index))
        with self._lock:
            return self.to_rgb(self._decoded(index))

    def frames(self, indices: Iterable[int]) -> Iterator[tuple[int, RgbImage]]:
        """Yield (number, (height, width, 3) uint8 RGB); rising numbers are read in one pass."""
        for index in indices:
            yield index, self.frame(index)

    def index_at(self, time_s: float) -> int:
        """The frame shown at `time_s`: the last one that has begun, the first before any has."""
        # A time that went through floating point arithmetic still means its own frame.
        begun = int(np.searchsorted(self.info.times_s, time_s + 1e-6, side="right"))
        return max(begun - 1, 0)

    def time_of(self, index: int) -> float:
        """Presentation time of frame `index` in seconds on the clip's clock."""
        return float(self.info.times_s[index])

    @property
    def indexed(self) -> bool:
        """Whether all frames of the clip are known: `info` is of the whole clip."""
        return self._index.whole

    def rest(self) -> Iterator[float | FrameIndex]:
        """Find the frames that `patience_s` left, in any thread; for one caller.

        Yields the share of the file that was read, 0 to 1, and at the end what `grow` takes.
        Close it to stop early, or the reader.

        Raises
        ------
        RenumberedError : the frames known so far have other numbers in the whole clip.
        MediaError : the file can't be read any more.
        """
        with contextlib.closing(self._parts):
            for found in self._parts:
                if isinstance(found, FrameIndex) and not found.begins_with(self._index):
                    raise RenumberedError(
                        f"{self._path.name}: its time stamps jump back, so that its frames have"
                        " other numbers than it seemed at first",
                        "Open it again, or convert it from its source.",
                    )
                yield found

    def grow(self, index: FrameIndex) -> None:
        """Add the frames that `rest` found; those known before keep their numbers."""
        with self._lock:
            self._decoder.close()
            self._decoder = Decoder(self._path, index)
            self._index = index
            self.info = replace(self.info, **self._extent())

    def close(self) -> None:
        """Stop decoding ahead, give the file and the memory back. May be called twice."""
        with contextlib.suppress(ValueError):  # its thread is in it, and ends it
            self._parts.close()
        if self._ahead is not None:
            self._ahead.stop()
        with self._lock:
            self._closed = True
            self._decoder.close()
            self._cache.clear()

    @property
    def cached_bytes(self) -> int:
        """Bytes of the decoded frames held now."""
        return self._cache.used_bytes

    def to_rgb(self, frame: av.VideoFrame) -> RgbImage:
        """(height, width, 3) uint8 RGB, upright with square pixels, of a decoded frame."""
        turned = self.info.rotation_deg in (90, 270)
        width, height = self.info.width, self.info.height
        if turned:
            width, height = height, width
        with self._lock:
            picture = self._reformatter.reformat(
                frame, width=width, height=height, format="rgb24", threads=1
            ).to_ndarray()
        if self.info.rotation_deg:
            picture = np.rot90(picture, self.info.rotation_deg // 90)
        return np.ascontiguousarray(picture)

    def _decoded(self, index: int) -> av.VideoFrame:
        if self._closed:
            raise MediaError(f"{self._path.name}: the clip is closed")
        held = self._cache.get(index)
        if held is not None:
            return held
        for found, frame in self._decoder.walk_to(index):
            self._cache.put(found, frame)
            if found == index:
                return frame
        raise cant_decode(self._path, index)

    def _describe(self) -> VideoInfo:
        first = self._decoded(0)
        with opened(self._path) as container:
            stream = video_stream(container, self._path)
            codec = stream.codec_context.codec.canonical_name
            aspect = float(stream.sample_aspect_ratio or 1)
            audio = audio_info(container)
        self._zero_s = clock_zero(self._path)
        rotation = round(first.rotation / 90) % 4 * 90
        width, height = _square_size(first.width, first.height, aspect)
        if rotation in (90, 270):
            width, height = height, width
        return VideoInfo(
            path=self._path,
            width=width,
            height=height,
            codec=codec,
            rotation_deg=rotation,
            audio=audio,
            **self._extent(),
        )

    def _extent(self) -> dict[str, Any]:
        """The fields of `info` that follow from the frames known now."""
        first = float(self._index.times_s[0])
        zero = min(self._zero_s, first)
        return {
            "frame_count": len(self._index.tags),
            "fps": _mean_rate(self._index),
            "duration_s": float(self._index.end_s - zero),
            "times_s": self._index.times_s - zero,
            "notes": self._index.notes,
        }


def _next_index(parts: Iterator[float | FrameIndex]) -> FrameIndex:
    """The next index that comes, past the shares that were read."""
    return next(found for found in parts if isinstance(found, FrameIndex))


def _square_size(width: int, height: int, aspect: float) -> tuple[int, int]:
    """Size with square pixels, for pixels `aspect` times as wide as high."""
    if aspect <= 0 or abs(aspect - 1) <= _SQUARE_ENOUGH:
        return width, height
    if aspect > 1:
        return max(1, round(width * aspect)), height
    return width, max(1, round(height / aspect))


def _mean_rate(index: FrameIndex) -> float:
    """Frames a second on average; of a single frame, one over the time it is shown."""
    times = index.times_s
    if len(times) > 1 and times[-1] > times[0]:
        return float((len(times) - 1) / (times[-1] - times[0]))
    shown = index.end_s - float(times[0])
    return 1 / shown if shown > 0 else 25.0
