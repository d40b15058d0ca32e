"""What PMA compares: the patch tokens of a picture, of an encoder alone or with a sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moca_core.device import choose_device
from moca_core.errors import ConfigError
from moca_core.media.audio import AudioReader, frame_window, open_audio
from moca_core.media.still import Still
from moca_core.models.adapted import AdaptedTrunk
from moca_core.models.adapter import Adapter
from moca_core.models.frozen import Frozen, load_frozen
from moca_core.models.registry import bundle_row
from moca_core.types import RgbImage


def load_encoder(bundle: str, device: str = "auto", side: int = 0) -> Frozen:
    """The visual encoder of a bundle.

    Parameters
    ----------
    device : as on the command line.
    side : of the squashed pictures in pixels; 0 takes the bundle's.

    Raises
    ------
    WeightsError : a file is missing or damaged.
    DeviceError : the device can't be used.
    """
    row = bundle_row(bundle)
    choice = choose_device(device, "auto" if row.half else "float32", row.gpu_bytes)
    return load_frozen(bundle, choice, side)


def load_adapted(encoder: Frozen, path: Path) -> AdaptedTrunk:
    """The encoder's blocks with a trained adapter; raises `WeightsError`, `ConfigError`."""
    return AdaptedTrunk(encoder.trunk, Adapter.load(path, encoder.bundle), encoder.stop)


def sound_of(encoder: Frozen, still: Still) -> NDArray[np.float32]:
    """(M, Da) audio tokens around a picture of a clip.

    Raises
    ------
    MediaError, NoAudioError : it has no sound, or the file is damaged.
    ConfigError : it is a picture's file.
    """
    if still.time_s is None:
        raise ConfigError(
            f"{still.path}: a picture has no sound, which an adapter needs",
            "Take the sound of a clip, or no adapter.",
        )
    with open_audio(still.path, encoder.rate_hz) as audio:
        return sound_at(encoder, audio, still.time_s)


def sound_at(encoder: Frozen, audio: AudioReader, time_s: float) -> NDArray[np.float32]:
    """(M, Da) audio tokens of the window around a time of a sound that was decoded."""
    window = frame_window(time_s, encoder.window_s, audio.duration_s)
    return encoder.hear(audio.window(*window))


def features(
    encoder: Frozen,
    rgb: RgbImage,
    adapted: AdaptedTrunk | None = None,
    sound: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """(N, Dv) patch tokens of a picture (H, W, 3) uint8, after the last block that runs.

    Parameters
    ----------
    adapted, sound : blocks with an adapter, and what they hear, see `sound_of`.
    """
    if adapted is None or sound is None:
        return encoder.prefix([rgb], encoder.stop)[0, 1:]  # without the class token
    prefix = encoder.prefix([rgb], adapted.entry)[0]
    return np.asarray(adapted.enhance(prefix, sound).tokens.cpu().numpy())
