"""The picture of the sound: a min/max pyramid for the waveform, and a spectrogram on request."""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_FIRST_BLOCK = 64
_LEVEL_FACTOR = 4
_MOST_BLOCKS = 2**20
# At its borders a column takes in up to a block more: a small part of it.
_BLOCKS_A_COLUMN = 4

_FFT = 1024
_LOWEST_HZ = 50.0
_SPECTRA_A_COLUMN = 4
_COLUMNS_AT_ONCE = 256
_FLOOR_DB = -120.0
# Equivalent noise bandwidth of the Hann window in bins: what a sine spreads over.
_HANN_SPREAD = 1.5


class SampleSource(Protocol):
    """What is needed of `moca_core.media.audio.AudioReader`."""

    rate_hz: int

    def samples(self, start: int, stop: int) -> Samples:
        """(stop - start,) float32, zeros outside the sound."""
        ...


class WaveformPyramid:
    """Lowest and highest sample of any stretch of sound, in time independent of its length.

    Filled block by block; may be read while it is filled from another thread. Its memory is
    bounded: of a very long clip the finest level gets coarser.

    Parameters
    ----------
    rate_hz : sample rate of what `add` gets.
    source : read where the view is finer than the finest level.
    """

    def __init__(self, rate_hz: int, source: SampleSource | None = None) -> None:
        self.rate_hz = rate_hz
        self._source = source
        self._lock = threading.Lock()
        self._block = _FIRST_BLOCK
        self._base = np.empty((1024, 2), np.float32)
        self._used = 0
        self._rest = np.empty(0, np.float32)
        self._levels: list[NDArray[np.float32]] = []
        self._stale = True

    @property
    def duration_s(self) -> float:
        """Seconds of sound added so far."""
        return (self._used * self._block + len(self._rest)) / self.rate_hz

    def add(self, samples: Samples) -> None:
        """Append (n,) samples."""
        with self._lock:
            joined = np.concatenate([self._rest, samples])
            whole = len(joined) // self._block
            blocks = joined[: whole * self._block].reshape(whole, self._block)
            self._rest = joined[whole * self._block :].copy()
            self._append(np.stack([blocks.min(axis=1), blocks.max(axis=1)], axis=1))
            self._stale = True

    def range(self, start_s: float, stop_s: float, columns: int) -> NDArray[np.float32]:
        """(columns, 2) float32 lowest and highest sample of each column; zeros outside the sound.

        Column i covers from `start_s + i * w` to `start_s + (i + 1) * w`, w the columns' width;
        at its borders it may take in a quarter of its width more, or one block of 64 samples.
        """
        if columns <= 0 or stop_s <= start_s:
            return np.zeros((max(columns, 0), 2), np.float32)
        # Rounded, so that a border on a sample doesn't slip to its neighbour.
        edges = np.round(np.linspace(start_s, stop_s, columns + 1) * self.rate_hz, 6)
        with self._lock:
            width = (edges[-1] - edges[0]) / columns
            if self._source is not None and width < self._block:
                return _extremes(self._read(edges), edges - np.floor(edges[0]), 1)
            level, block = self._level_for(width / _BLOCKS_A_COLUMN)
            found = _extremes(level, edges, block)
            # The last block of a level reaches past the last sample.
            found[edges[:-1] >= self._used * self._block + len(self._rest)] = 0
            return found

    def envelope(self, start_s: float, stop_s: float, columns: int) -> tuple[Samples, Samples]:
        """The two columns of `range` apart: (columns,) lowest and (columns,) highest samples."""
        both = self.range(start_s, stop_s, columns)
        return both[:, 0], both[:, 1]

    def _append(self, blocks: NDArray[np.float32]) -> None:
        needed = self._used + len(blocks)
        if needed > len(self._base):
            grown = np.empty((max(needed, 2 * len(self._base)), 2), np.float32)
            grown[: self._used] = self._base[: self._used]
            self._base = grown
        self._base[self._used : needed] = blocks
        self._used = needed
        while self._used > _MOST_BLOCKS:
            self._coarsen()

    def _coarsen(self) -> None:
        """Join the finest blocks in pairs; an odd last one goes back as its two extremes."""
        pairs = self._used // 2
        if self._used % 2:
            # Its samples are gone, its extremes are what is drawn.
            self._rest = np.concatenate(
                [np.resize(self._base[self._used - 1], self._block), self._rest]
            )
        self._base = _join(self._base[: 2 * pairs], 2).copy()
        self._used = pairs
        self._block *= 2

    def _level_for(self, width: float) -> tuple[NDArray[np.float32], int]:
        """The coarsest level whose blocks aren't wider than `width` samples, and their width."""
        if self._stale:
            self._levels = [self._with_rest()]
            while len(self._levels[-1]) > 2 * _LEVEL_FACTOR:
                self._levels.append(_join(self._levels[-1], _LEVEL_FACTOR))
            self._stale = False
        block, chosen = self._block, self._levels[0]
        for level in self._levels[1:]:
            if block * _LEVEL_FACTOR > width:
                break
            block, chosen = block * _LEVEL_FACTOR, level
        return chosen, block

    def _with_rest(self) -> NDArray[np.float32]:
        done = self._base[: self._used]
        if not len(self._rest):
            return done
        rest = np.array([[self._rest.min(), self._rest.max()]], np.float32)
        return np.concatenate([done, rest])

    def _read(self, edges: NDArray[np.float64]) -> NDArray[np.float32]:
        assert self._source is not None
        samples = self._source.samples(int(np.floor(edges[0])), int(np.ceil(edges[-1])) + 1)
        return np.stack([samples, samples], axis=1)


def spectrogram(
    source: SampleSource, start_s: float, stop_s: float, columns: int, bands: int = 64
) -> NDArray[np.float32]:
    """Loudness on a mel axis for the visible stretch of sound, computed from its samples.

    Each column is the mean power of up to four 1024-sample Hann spectra inside it, summed into
    triangular bands equally wide on the HTK mel scale from 50 Hz to half the sample rate.

    Returns
    -------
    (bands, columns) float32 in dB relative to a full-scale sine, -120 at the least; the lowest
    band first.
    """
    if columns <= 0 or stop_s <= start_s:
        return np.full((bands, max(columns, 0)), _FLOOR_DB, np.float32)
    weights = _mel_weights(bands, source.rate_hz)  # (bands, bins)
    width = (stop_s - start_s) * source.rate_hz / columns
    count = int(np.clip(round(width / _FFT), 1, _SPECTRA_A_COLUMN))
    out = np.empty((bands, columns), np.float32)
    for first in range(0, columns, _COLUMNS_AT_ONCE):
        stop = min(first + _COLUMNS_AT_ONCE, columns)
        # (columns, spectra) middle of each spectrum in samples
        middles = start_s * source.rate_hz + width * (
            np.arange(first, stop)[:, None] + (np.arange(count) + 0.5) / count
        )
        power = _power(source, np.rint(middles).astype(np.int64) - _FFT // 2)
        out[:, first:stop] = weights @ power.T
    return np.maximum(10 * np.log10(np.maximum(out, 1e-30)), _FLOOR_DB)


def _power(source: SampleSource, starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """(columns, bins) mean power; `starts` (columns, spectra) are numbers of first samples."""
    window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
    scale = (window.sum() / 2) ** 2
    total = np.zeros((len(starts), _FFT // 2 + 1), np.float32)
    for column in starts.T:
        pieces = np.stack([source.samples(int(n), int(n) + _FFT) for n in column])
        total += np.abs(np.fft.rfft(pieces * window, axis=1)).astype(np.float32) ** 2
    return total / (scale * starts.shape[1])


def _mel_weights(bands: int, rate_hz: int) -> NDArray[np.float32]:
    """(bands, bins) triangles on the HTK mel scale, mel = 2595 log10(1 + f / 700)."""
    low, high = (2595 * np.log10(1 + f / 700) for f in (_LOWEST_HZ, rate_hz / 2))
    corners = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    bins = np.arange(_FFT // 2 + 1) * rate_hz / _FFT
    # A band narrower than a bin would miss every bin.
    half = np.maximum(np.diff(corners), rate_hz / _FFT)
    centre = corners[1:-1, None]
    rising = (bins - centre) / half[:-1, None] + 1
    falling = (centre - bins) / half[1:, None] + 1
    weights = np.clip(np.minimum(rising, falling), 0, None) / _HANN_SPREAD
    return weights.astype(np.float32)


def _join(level: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """(n, 2) extremes to (ceil(n / factor), 2)."""
    starts = np.arange(0, len(level), factor)
    return np.stack(
        [np.minimum.reduceat(level[:, 0], starts), np.maximum.reduceat(level[:, 1], starts)],
        axis=1,
    )


def _extremes(
    level: NDArray[np.float32], edges: NDArray[np.float64], block: int
) -> NDArray[np.float32]:
    """(columns, 2) extremes between `edges` (columns + 1,) in samples, from blocks of a level."""
    out = np.zeros((len(edges) - 1, 2), np.float32)
    first = np.floor(edges[:-1] / block).astype(np.int64)
    last = np.maximum(np.ceil(edges[1:] / block).astype(np.int64), first + 1)
    inside = (last > 0) & (first < len(level))
    if not inside.any():
        return out
    first = np.clip(first[inside], 0, None)
    last = np.clip(last[inside], None, len(level))
    # reduceat over [first, last, first, last, ...] gives the wanted stretches at even places;
    # a sentinel row keeps `last == len(level)` legal.
    bounds = np.stack([first, last], axis=1).ravel()
    for side, function in enumerate((np.minimum, np.maximum)):
        values = np.append(level[:, side], level[-1, side])
        out[inside, side] = function.reduceat(values, bounds)[::2]
    return out
