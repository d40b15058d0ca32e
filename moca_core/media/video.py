"""Frame-exact access to the pictures of a clip: a frame asked for by number is that frame."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from moca_core.errors import MediaError
from moca_core.media.cache import FrameCache
from moca_core.media.decoder import Decoder
from moca_core.media.index import FrameIndex, build_index
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


class VideoReader:
    """Reads frames by number. A lock makes each call safe; use it from one thread for speed.

    Parameters
    ----------
    path : the clip.
    cache_bytes : limit of the decoded frames kept in memory.
    decode_ahead : decode what follows in a thread of its own, for playback.

    Raises
    ------
    MediaError : the file can't be opened, or none of its frames can be decoded.
    NoVideoError : it has no picture.
    """

    def __init__(
        self, path: str | Path, *, cache_bytes: int = 256 * 2**20, decode_ahead: bool = False
    ) -> None:
        self._path = Path(path)
        self._index = build_index(self._path)
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

    def close(self) -> None:
        """Stop decoding ahead, give the file and the memory back. May be called twice."""
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
        raise _cant_decode(self._path, index)

    def _describe(self) -> VideoInfo:
        first = self._decoded(0)
        with opened(self._path) as container:
            stream = video_stream(container, self._path)
            codec = stream.codec_context.codec.canonical_name
            aspect = float(stream.sample_aspect_ratio or 1)
            audio = audio_info(container)
        zero = clock_zero(self._path)
        times = self._index.times_s - min(zero, float(self._index.times_s[0]))
        rotation = round(first.rotation / 90) % 4 * 90
        width, height = _square_size(first.width, first.height, aspect)
        if rotation in (90, 270):
            width, height = height, width
        duration = self._index.end_s - (self._index.times_s[0] - times[0])
        return VideoInfo(
            path=self._path,
            width=width,
            height=height,
            frame_count=len(times),
            fps=_mean_rate(self._index),
            duration_s=float(duration),
            codec=codec,
            rotation_deg=rotation,
            times_s=times,
            audio=audio,
            notes=self._index.notes,
        )


class FramePrefetcher:
    """Decodes ahead of the play head into the reader's cache, in one thread.

    It keeps up to half of what the cache holds ready, and rests until the play head moves.
    """

    def __init__(self, reader: VideoReader, frames_ahead: int = 48) -> None:
        self._reader = reader
        self._limit = frames_ahead
        self._turn = threading.Lock()  # one caller waits at a time
        self._changed = threading.Condition()
        self._head: int | None = None
        self._wanted: int | None = None
        self._found: tuple[int, av.VideoFrame | MediaError] | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self, index: int) -> None:
        """Begin to decode from frame `index` on."""
        with self._changed:
            self._head = index
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="decode-ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def request(self, index: int) -> RgbImage | None:
        """Move the play head to `index`; its frame if it is ready, else None at once."""
        held = self._reader._cache.get(index)
        self.start(index)
        return None if held is None else self._reader.to_rgb(held)

    def wait_for(self, index: int) -> av.VideoFrame:
        """Move the play head to `index` and wait for its frame; raises `MediaError`."""
        held = self._reader._cache.get(index)
        if held is not None:
            self.start(index)
            return held
        with self._turn:
            return self._wait(index)

    def _wait(self, index: int) -> av.VideoFrame:
        with self._changed:
            self._wanted, self._found = index, None
        self.start(index)
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or (self._found is not None and self._found[0] == index)
            )
            if self._found is None or self._found[0] != index:
                raise MediaError(f"{self._reader.info.path.name}: the clip is closed")
            outcome, self._found = self._found[1], None
        if isinstance(outcome, MediaError):
            raise outcome
        return outcome

    def stop(self) -> None:
        """End the thread and wait for its end. May be called twice."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        decoder = Decoder(self._reader.info.path, self._reader._index)
        try:
            while (goal := self._next_goal()) is not None:
                self._decode_to(decoder, goal)
        finally:
            decoder.close()

    def _next_goal(self) -> int | None:
        """Wait for a frame that is worth decoding; None at the end."""
        with self._changed:
            while not self._stopped:
                if self._wanted is not None:
                    return self._wanted
                if self._head is not None:
                    stop = min(self._head + self._reach(), self._reader.info.frame_count)
                    for index in range(self._head, stop):
                        if index not in self._reader._cache:
                            return index
                self._changed.wait()
            return None

    def _reach(self) -> int:
        cache = self._reader._cache
        each = cache.used_bytes / max(len(cache), 1)
        return max(1, min(self._limit, int(cache.limit_bytes / 2 / max(each, 1))))

    def _decode_to(self, decoder: Decoder, goal: int) -> None:
        try:
            for found, frame in decoder.walk_to(goal):
                self._reader._cache.put(found, frame)
                with self._changed:
                    if found == self._wanted:
                        self._deliver(found, frame)
                    if self._stopped or self._wanted not in (None, goal):
                        return
                if found == goal:
                    return
            error = _cant_decode(self._reader.info.path, goal)
        except MediaError as failure:
            error = failure
        with self._changed:
            if self._wanted == goal:
                self._deliver(goal, error)
            else:
                # Nothing to decode ahead of here until the play head moves.
                self._head = None

    def _deliver(self, index: int, outcome: av.VideoFrame | MediaError) -> None:
        self._wanted, self._found = None, (index, outcome)
        self._changed.notify_all()


def _cant_decode(path: Path, index: int) -> MediaError:
    return MediaError(
        f"{path.name}: frame {index} can't be decoded",
        "The file may be damaged or have changed since it was opened; open it again.",
    )


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
