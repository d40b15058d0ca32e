"""The log-mel picture of a sound that ImageBind's audio trunk takes: Kaldi's filter bank in torch.

Recipe and constants: `../shared/reference/README.md` of the development data, taken from the
official code (Kaldi's `compute-fbank-feats` with a Hann window, without dither and energy).
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

RATE_HZ = 16_000
BINS = 128
FRAMES = 204
"""Columns of the picture; a sound of 2 s gives 198, and the rest is padded."""

_FRAME, _HOP, _FFT = 400, 160, 512  # samples: 25 ms, 10 ms
_PRE_EMPHASIS = 0.97
_LOWEST_HZ, _HIGHEST_HZ = 20.0, RATE_HZ / 2
_FLOOR = torch.finfo(torch.float32).eps
_MEAN, _STD = -4.268, 9.138


def audio_picture(wave: Tensor) -> Tensor:
    """What the audio trunk sees of a sound: (..., n) mono 16 kHz -> (..., 128, 204) normalised.

    Padding is 0 before the normalisation, which is louder than silence: it is how the model was
    trained.
    """
    mel = log_mel(wave).transpose(-2, -1)  # (..., 128, frames)
    frames = mel.shape[-1]
    mel = F.pad(mel, (0, FRAMES - frames)) if frames < FRAMES else mel[..., :FRAMES]
    return (mel - _MEAN) / _STD


def log_mel(wave: Tensor) -> Tensor:
    """Natural logarithm of the energy in 128 mel bands, one row every 10 ms.

    Parameters
    ----------
    wave : (..., n) float32 in -1 to 1, 16 kHz mono. The mean of the whole sound is subtracted.
        The official code refuses fewer than 400 samples, one frame; here they are padded with
        zeros to one, after the mean was subtracted, so that nothing jumps at its end.

    Returns
    -------
    (..., frames, 128) float32, frames = 1 + (n - 400) // 160: only whole frames count.
    """
    # In float64: beside a pure tone, float32 is off by 1.6e-3, in another way with each FFT.
    wave = wave.double()
    if wave.shape[-1]:
        wave = wave - wave.mean(dim=-1, keepdim=True)
    if wave.shape[-1] < _FRAME:
        wave = F.pad(wave, (0, _FRAME - wave.shape[-1]))
    frames = wave.unfold(-1, _FRAME, _HOP)  # (..., frames, 400)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = frames - _PRE_EMPHASIS * before
    window = torch.hann_window(_FRAME, periodic=False, dtype=wave.dtype, device=wave.device)
    power = torch.fft.rfft(frames * window, _FFT).abs().square()  # (..., frames, 257)
    energy = power[..., : _FFT // 2] @ mel_banks().to(wave.device).T
    return energy.clamp(min=_FLOOR).log().float()


@cache
def mel_banks() -> Tensor:
    """(128, 256) float64 weights of the bins below the Nyquist frequency, triangles linear in mel.

    Bands are narrower than the bins at low frequencies: band 3 has none, and is silent always.
    """
    edges = torch.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), BINS + 2, dtype=torch.float64)
    left, centre, right = (edges[k : k + BINS, None] for k in range(3))
    hz = torch.arange(_FFT // 2, dtype=torch.float64) * (RATE_HZ / _FFT)
    mel = 1127 * torch.log1p(hz / 700)
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)


def _mel(hz: float) -> float:
    return 1127 * math.log1p(hz / 700)
