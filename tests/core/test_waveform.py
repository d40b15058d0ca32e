"""The waveform's pyramid against a direct minimum and maximum; the spectrogram on known tones."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest

from moca_core.media import waveform
from moca_core.media.waveform import WaveformPyramid, spectrogram

RATE = 16000


class Source:
    """Samples in memory in the place of an audio reader."""

    def __init__(self, data: np.ndarray) -> None:
        self.rate_hz = RATE
        self.data = data.astype(np.float32)
        self.most = 0

    def samples(self, start: int, stop: int) -> np.ndarray:
        self.most = max(self.most, stop - start)
        places = np.arange(start, stop)
        inside = (places >= 0) & (places < len(self.data))
        out = np.zeros(len(places), np.float32)
        out[inside] = self.data[places[inside]]
        return out


@pytest.fixture
def noise() -> np.ndarray:
    """Ten seconds of noise with a changing level."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal(10 * RATE) * np.linspace(0.01, 0.3, 10 * RATE)).astype(np.float32)


def filled(samples: np.ndarray, step: int = 777, source: Source | None = None) -> WaveformPyramid:
    pyramid = WaveformPyramid(RATE, source)
    for first in range(0, len(samples), step):
        pyramid.add(samples[first : first + step])
    return pyramid


def direct(samples: np.ndarray, start: int, stop: int, columns: int) -> np.ndarray:
    """Oracle: the extremes of each column by looking at each sample."""
    edges = np.linspace(start, stop, columns + 1)
    parts = [samples[int(np.floor(a)) : int(np.ceil(b))] for a, b in pairwise(edges)]
    return np.array([(part.min(), part.max()) for part in parts])


@pytest.mark.parametrize(("start", "stop", "columns"), [(0, 131072, 32), (16384, 81920, 64)])
def test_columns_on_block_borders_are_exact(
    noise: np.ndarray, start: int, stop: int, columns: int
) -> None:
    # 4096 and 1024 samples a column are whole numbers of blocks on every level used.
    found = filled(noise).range(start / RATE, stop / RATE, columns)
    np.testing.assert_array_equal(found, direct(noise, start, stop, columns))


def test_columns_elsewhere_take_in_a_little_more(noise: np.ndarray) -> None:
    start, stop, columns = 1234, 150001, 333
    found = filled(noise).range(start / RATE, stop / RATE, columns)
    exact = direct(noise, start, stop, columns)
    assert (found[:, 0] <= exact[:, 0]).all()
    assert (found[:, 1] >= exact[:, 1]).all()
    width = (stop - start) / columns
    for i, (low, high) in enumerate(found):
        a, b = start + i * width, start + (i + 1) * width
        near = noise[max(int(a - width / 4) - 64, 0) : int(b + width / 4) + 65]
        assert near.min() <= low
        assert high <= near.max()


def test_a_view_finer_than_the_pyramid_reads_the_samples(noise: np.ndarray) -> None:
    source = Source(noise)
    pyramid = filled(noise, source=source)
    found = pyramid.range(1.0, 1.01, 40)  # 4 samples a column
    np.testing.assert_array_equal(found, direct(noise, 16000, 16160, 40))
    assert source.most < 200


def test_outside_the_sound_are_zeros(noise: np.ndarray) -> None:
    found = filled(noise).range(-5, 15, 20)
    assert (found[:5] == 0).all()
    assert (found[15:] == 0).all()
    assert (found[5:15, 0] < 0).all()
    assert (WaveformPyramid(RATE).range(0, 1, 10) == 0).all()
    assert filled(noise).range(0, 1, 0).shape == (0, 2)
    assert filled(noise).range(1, 1, 3).tolist() == [[0, 0]] * 3


def test_the_last_samples_are_seen() -> None:
    samples = np.zeros(1000, np.float32)  # not a whole number of blocks
    samples[999] = 0.7
    pyramid = filled(samples)
    assert pyramid.duration_s == 1000 / RATE
    assert pyramid.range(0, 1000 / RATE, 4)[3, 1] == pytest.approx(0.7)


def test_envelope_is_the_range_apart(noise: np.ndarray) -> None:
    pyramid = filled(noise)
    low, high = pyramid.envelope(2, 3, 50)
    np.testing.assert_array_equal(np.stack([low, high], axis=1), pyramid.range(2, 3, 50))


def test_a_long_sound_coarsens_instead_of_growing(
    noise: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waveform, "_MOST_BLOCKS", 101)
    pyramid = filled(noise, step=5000)
    assert len(pyramid._base) <= 404
    assert pyramid.duration_s == pytest.approx(10.0)
    found, exact = pyramid.range(0, 10, 10), direct(noise, 0, 160000, 10)
    assert (found[:, 0] <= exact[:, 0]).all()
    assert (found[:, 1] >= exact[:, 1]).all()
    assert found.min() == noise.min()
    assert found.max() == noise.max()


def test_reading_while_it_fills(noise: np.ndarray) -> None:
    pyramid = WaveformPyramid(RATE)
    errors: list[Exception] = []

    def fill() -> None:
        try:
            for first in range(0, len(noise), 500):
                pyramid.add(noise[first : first + 500])
        except Exception as error:  # shown by the assertion below
            errors.append(error)

    thread = threading.Thread(target=fill)
    thread.start()
    while thread.is_alive():
        pyramid.range(0, 10, 200)
    thread.join()
    assert not errors
    np.testing.assert_array_equal(pyramid.range(0, 131072 / RATE, 32), direct(noise, 0, 131072, 32))


@pytest.mark.parametrize("hertz", [200.0, 1000.0, 5000.0])
def test_a_full_scale_sine_is_loud_in_its_own_band(hertz: float) -> None:
    sine = np.sin(2 * np.pi * hertz * np.arange(4 * RATE) / RATE)
    picture = spectrogram(Source(sine), 1.0, 3.0, 50)
    assert picture.shape == (64, 50)
    assert picture.dtype == np.float32
    # Band k's middle on the HTK mel scale between 50 Hz and 8 kHz, lowest band first.
    mels = np.linspace(*(2595 * np.log10(1 + np.array([50, 8000]) / 700)), 66)[1:-1]
    band = int(np.abs(700 * (10 ** (mels / 2595) - 1) - hertz).argmin())
    assert (np.abs(picture.argmax(axis=0) - band) <= 1).all()
    assert (picture.max(axis=0) > -5).all()
    assert (picture.max(axis=0) < 2).all()
    far = np.abs(np.arange(64) - band) > 12
    assert picture[far].max() < -50


def test_silence_and_what_lies_outside_is_the_floor() -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    picture = spectrogram(Source(sine), 0, 10, 300)
    assert picture[:, :25].max() > -10
    assert (picture[:, 40:] == -120).all()
    assert spectrogram(Source(sine), 0, 0, 5).tolist() == [[-120] * 5] * 64


def test_a_click_stands_in_its_column() -> None:
    sound = np.zeros(10 * RATE)
    sound[int(3.02 * RATE)] = 1
    picture = spectrogram(Source(sound), 2.5, 3.5, 20, bands=32)
    assert picture.shape == (32, 20)
    assert abs(int(picture.mean(axis=0).argmax()) - 10) <= 1


def test_a_long_view_reads_a_bounded_number_of_samples() -> None:
    source = Source(np.zeros(60 * RATE))
    spectrogram(source, 0, 60, 10)
    assert source.most <= 1024
