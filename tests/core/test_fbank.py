"""The log-mel picture equals Kaldi's filter bank as ImageBind uses it."""

from __future__ import annotations

import pytest
import torch
from data.make_reference import load
from torch import Tensor

from moca_core.models.fbank import BINS, FRAMES, audio_picture, log_mel, mel_banks

# Stated by the README of the reference vectors, absolute.
WORST, MEAN_ERROR = 2e-3, 1e-4

CASES = {
    "dog_2s": 198,
    "rooster_short_0p5s": 48,
    "near_silence_2s": 198,
    "tone440_2s": 198,
    "dog_long_2p5s": 248,
    "one_frame_400": 1,
}
FLOOR = -15.9424  # log of the smallest energy


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load("fbank")


def wave_of(reference: dict[str, Tensor], case: str) -> Tensor:
    return reference[f"waveform.{case}"].float() / 32768


def raw(picture: Tensor) -> Tensor:
    """The picture before its normalisation."""
    return picture * 9.138 - 4.268


@pytest.mark.parametrize("case", CASES)
def test_equals_kaldi(reference: dict[str, Tensor], case: str) -> None:
    expected = reference[f"melspec.{case}"][0]
    found = log_mel(wave_of(reference, case))
    assert found.shape == (CASES[case], BINS)
    assert found.dtype == torch.float32
    frames = min(CASES[case], FRAMES)
    error = (found[:frames].T - expected[:, :frames]).abs()
    assert float(error.max()) < WORST
    assert float(error.mean()) < MEAN_ERROR


@pytest.mark.parametrize("case", CASES)
def test_crops_and_pads_like_the_official_code(reference: dict[str, Tensor], case: str) -> None:
    picture = audio_picture(wave_of(reference, case))
    assert picture.shape == (BINS, FRAMES)
    error = (raw(picture) - reference[f"melspec.{case}"][0]).abs()
    assert float(error.max()) < WORST
    assert float(error.mean()) < MEAN_ERROR
    assert torch.allclose(picture[:, CASES[case] :], torch.tensor(4.268 / 9.138))


@pytest.mark.parametrize("case", ["dog_2s", "rooster_short_0p5s"])
def test_normalisation(reference: dict[str, Tensor], case: str) -> None:
    error = audio_picture(wave_of(reference, case)) - reference[f"melspec_normalised.{case}"][0]
    assert float(error.abs().max()) < WORST / 9.138


def test_first_channel_of_a_stereo_sound(reference: dict[str, Tensor]) -> None:
    # The official code subtracts the mean of both channels and reads the first. Frames lose their
    # own mean anyway, so the sound of one channel alone is the same.
    wave = wave_of(reference, "stereo_0p3s")
    assert wave.shape == (2, 4800)
    error = (raw(audio_picture(wave[0])) - reference["melspec.stereo_0p3s"][0]).abs()
    assert float(error.max()) < WORST


def test_mel_banks(reference: dict[str, Tensor]) -> None:
    assert torch.allclose(mel_banks().float(), reference["mel_banks"], atol=2e-5)
    assert mel_banks()[3].abs().max() == 0
    assert (mel_banks().sum(dim=1) > 0).sum() == BINS - 1


def test_several_sounds_at_once_equal_each_alone(reference: dict[str, Tensor]) -> None:
    waves = torch.stack([wave_of(reference, case) for case in ("dog_2s", "tone440_2s")])
    pictures = audio_picture(waves[:, None])
    assert pictures.shape == (2, 1, BINS, FRAMES)
    for picture, wave in zip(pictures, waves, strict=True):
        assert torch.equal(picture[0], audio_picture(wave))


def test_the_argument_is_left_as_it_was(reference: dict[str, Tensor]) -> None:
    wave = wave_of(reference, "dog_2s") + 0.25
    before = wave.clone()
    audio_picture(wave)
    assert torch.equal(wave, before)


@pytest.mark.parametrize("samples", [1, 17, 399])
def test_less_than_one_frame_is_padded_to_one(samples: int) -> None:
    # The official code refuses it; this is our decision.
    torch.manual_seed(0)
    wave = torch.randn(samples)
    padded = torch.cat([wave - wave.mean(), torch.zeros(400 - samples)])
    found = log_mel(wave + 3.0)
    assert found.shape == (1, BINS)
    assert torch.allclose(found, log_mel(padded), atol=1e-3)
    assert bool(audio_picture(wave).isfinite().all())


@pytest.mark.parametrize("wave", [torch.zeros(0), torch.zeros(32000), torch.ones(500)])
def test_no_sound_is_the_floor(wave: Tensor) -> None:
    found = log_mel(wave)
    assert len(found) >= 1
    assert torch.allclose(found, torch.tensor(FLOOR), atol=1e-3)


def test_a_tone_is_loudest_in_its_band() -> None:
    time_s = torch.arange(16_000) / 16_000
    for hz in (200.0, 1000.0, 5000.0):
        band = int(log_mel(torch.sin(2 * torch.pi * hz * time_s)).mean(dim=0).argmax())
        nearest = int(mel_banks()[:, round(hz / 31.25)].argmax())
        assert abs(band - nearest) <= 1
