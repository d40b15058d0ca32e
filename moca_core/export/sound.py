"""The sound of a clip as the sound track of a video that is written."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from numpy.typing import NDArray

from moca_core.errors import MediaError
from moca_core.media.audio import PlaybackDecoder

_SOUND_HZ = 48_000
_SOUND_BLOCK = 1024  # samples an AAC frame holds


class SoundTrack:
    """The clip's sound as AAC, written as far as the picture has come."""

    def __init__(self, clip: Path, output: av.container.OutputContainer) -> None:
        self._clip = clip
        self._output = output
        self.stream: AudioStream = output.add_stream("aac", rate=_SOUND_HZ, layout="stereo")
        self.stream.bit_rate = 160_000
        self._blocks: Iterator[NDArray[np.float32]] | None = None
        self._held = np.empty((0, 2), np.float32)
        self._written = 0

    def write(self, begin_s: float, until_s: float) -> None:
        """Encode sound from `begin_s` of the clip until `until_s` after that."""
        if self._blocks is None:
            self._blocks = self._decoded(begin_s)
        while self._written < until_s * _SOUND_HZ:
            while len(self._held) < _SOUND_BLOCK:
                block = next(self._blocks, None)
                if block is None:
                    # The sound ends before the picture: silence to its end.
                    block = np.zeros((_SOUND_BLOCK, 2), np.float32)
                self._held = np.concatenate([self._held, block])
            samples, self._held = self._held[:_SOUND_BLOCK], self._held[_SOUND_BLOCK:]
            planes = np.ascontiguousarray(np.clip(samples, -1, 1).T)  # (n, 2) -> (2, n)
            frame = AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
            frame.sample_rate = _SOUND_HZ
            frame.pts, frame.time_base = self._written, Fraction(1, _SOUND_HZ)
            self._output.mux(self.stream.encode(frame))
            self._written += _SOUND_BLOCK

    def finish(self, begin_s: float, until_s: float) -> None:
        """Encode the rest until `until_s` after `begin_s`, and what the encoder still holds."""
        self.write(begin_s, until_s)
        self._output.mux(self.stream.encode(None))

    def _decoded(self, begin_s: float) -> Iterator[NDArray[np.float32]]:
        try:
            yield from PlaybackDecoder(self._clip, _SOUND_HZ).blocks(begin_s)
        except MediaError:
            return  # damaged from here on; the picture goes on without it
