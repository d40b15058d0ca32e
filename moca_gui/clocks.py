"""The clocks of playback: the sound card's where there is one, the wall's otherwise."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_log = logging.getLogger(__name__)

BLOCK_FRAMES = 2048
AHEAD_BLOCKS = 24  # about a second at 48 kHz, held decoded


class Clock(Protocol):
    """Tells the position in the clip while it plays."""

    def start(self, position_s: float, speed: float) -> None:
        """Run from `position_s`, `speed` seconds of clip a second (negative: backwards)."""
        ...

    def position_s(self) -> float:
        """The position now."""
        ...

    def stop(self) -> None:
        """Stand still."""
        ...


class WallClock:
    """The computer's clock."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._origin = 0.0
        self._position = 0.0
        self._speed = 0.0

    def start(self, position_s: float, speed: float) -> None:
        """Run from `position_s` at `speed`."""
        self._origin, self._position, self._speed = self._now(), position_s, speed

    def position_s(self) -> float:
        """The position now, in seconds."""
        return self._position + (self._now() - self._origin) * self._speed

    def stop(self) -> None:
        """Stand still where it is."""
        self._position = self.position_s()
        self._origin, self._speed = self._now(), 0.0


class AudioUnavailableError(Exception):
    """No sound can be played; the message says why."""


class SampleQueue:
    """Decoded sound between the decoder's thread and the device's callback, bounded."""

    def __init__(self, blocks: int = AHEAD_BLOCKS) -> None:
        self._blocks: deque[NDArray[np.float32]] = deque()
        self._limit = blocks
        self._condition = threading.Condition()
        self._stopped = False
        self.ended = False

    def put(self, block: NDArray[np.float32]) -> bool:
        """Append (n, 2) samples, waiting for room; False once stopped."""
        with self._condition:
            self._condition.wait_for(lambda: self._stopped or len(self._blocks) < self._limit)
            if not self._stopped:
                self._blocks.append(block)
            return not self._stopped

    def stop(self) -> None:
        """Release a waiting producer and refuse what comes."""
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def fill(self, out: NDArray[np.float32]) -> int:
        """Copy samples into `out` (n, 2); the rest is zero. Returns how many were copied."""
        filled = 0
        while filled < len(out):
            with self._condition:
                if not self._blocks:
                    break
                block = self._blocks.popleft()
                take = min(len(block), len(out) - filled)
                if take < len(block):
                    self._blocks.appendleft(block[take:])
                self._condition.notify_all()
            out[filled : filled + take] = block[:take]
            filled += take
        out[filled:] = 0
        return filled


class AudioClock:
    """Plays the clip's sound, and tells the time by the samples that left the device.

    Parameters
    ----------
    read : `read(start_s) -> iterator of (n, 2) float32 blocks` from `start_s` on.
    run : starts a producer: `run(generator factory, wake)`; the window's job pool does it.
    rate_hz : sample rate of the blocks.
    stream_factory : makes the output stream; `sounddevice.OutputStream` by default.

    Raises
    ------
    AudioUnavailableError : PortAudio or a device is missing, or the device refuses the format.
    """

    def __init__(
        self,
        read: Callable[[float], Iterator[NDArray[np.float32]]],
        run: Callable[[Callable[[], Iterator[None]], Callable[[], None]], Any],
        rate_hz: int,
        stream_factory: Callable[..., Any] | None = None,
    ) -> None:
        self.rate_hz = rate_hz
        self.volume = 1.0
        self.muted = False
        self._read = read
        self._run = run
        self._queue: SampleQueue | None = None
        self._start_s = 0.0
        self._played = 0
        # (perf_counter, samples before this buffer, samples in it, seconds until it sounds)
        self._mark: tuple[float, int, int, float] | None = None
        self._last_s = 0.0
        self._stream = self._open(stream_factory)

    def _open(self, factory: Callable[..., Any] | None) -> Any:
        try:
            if factory is None:
                import sounddevice

                factory = sounddevice.OutputStream
            return factory(
                samplerate=self.rate_hz,
                channels=2,
                dtype="float32",
                blocksize=0,
                latency="low",
                callback=self._fill,
            )
        except OSError as error:
            raise AudioUnavailableError("the PortAudio library is missing") from error
        except Exception as error:
            # sounddevice raises PortAudioError (no device, busy, format) and ValueError (no
            # default device); the class can't be named when its import failed.
            raise AudioUnavailableError(_reason(error)) from error

    def start(self, position_s: float, speed: float = 1.0) -> None:
        """Play from `position_s`; sound plays at speed 1 only."""
        self.stop()
        queue = SampleQueue()
        self._queue = queue
        self._start_s = self._last_s = position_s
        self._played = 0
        self._mark = None

        def produce() -> Iterator[None]:
            for block in self._read(position_s):
                if not queue.put(block):
                    return
                yield None
            queue.ended = True

        self._run(produce, queue.stop)
        try:
            self._stream.start()
        except Exception as error:
            queue.stop()
            raise AudioUnavailableError(_reason(error)) from error

    def position_s(self) -> float:
        """The sample that is heard now, in seconds on the clip's clock; never runs backwards."""
        mark = self._mark
        if mark is None:
            return self._last_s
        then, before, count, delay = mark
        heard = before / self.rate_hz + (time.perf_counter() - then) - delay
        heard = min(max(heard, 0.0), (before + count) / self.rate_hz)
        self._last_s = max(self._last_s, self._start_s + heard)
        return self._last_s

    def stop(self) -> None:
        """Fall silent at once."""
        if self._queue is not None:
            self._last_s = self.position_s()
            self._queue.stop()
            self._queue = None
            self._mark = None
            try:
                self._stream.abort()
            except Exception as error:
                _log.debug("the sound device didn't stop: %s", error)

    def close(self) -> None:
        """Give the device back."""
        self.stop()
        try:
            self._stream.close()
        except Exception as error:
            _log.debug("the sound device didn't close: %s", error)

    def _fill(self, out: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
        """Device callback: hands over samples and notes when they will be heard."""
        queue = self._queue
        if queue is None:
            out[:] = 0
            return
        filled = queue.fill(out)
        # After the end of the sound, silence counts on, so that a longer picture plays on;
        # in an underrun it doesn't, so that picture and sound wait together.
        count = frames if queue.ended else filled
        delay = when.outputBufferDacTime - when.currentTime
        if not 0 < delay < 2:
            delay = float(self._stream.latency)
        self._mark = (time.perf_counter(), self._played, count, delay)
        self._played += count
        out *= 0.0 if self.muted else self.volume


def device_rate_hz() -> int:
    """Sample rate that the default output device prefers.

    Raises
    ------
    AudioUnavailableError : PortAudio or the device is missing.
    """
    try:
        import sounddevice

        return round(sounddevice.query_devices(kind="output")["default_samplerate"])
    except OSError as error:
        raise AudioUnavailableError("the PortAudio library is missing") from error
    except Exception as error:
        raise AudioUnavailableError(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    lowered = text.lower()
    if "querying device" in lowered or "no default" in lowered or "invalid device" in lowered:
        return "no audio device"
    return text
