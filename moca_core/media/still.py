"""One picture, out of a picture file or a clip."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from moca_core.errors import ConfigError, MediaError
from moca_core.media.probe import check_readable
from moca_core.media.video import VideoReader
from moca_core.types import RgbImage

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
_CACHE_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class Still:
    """A picture and where it comes from.

    Attributes
    ----------
    path : the file.
    rgb : (H, W, 3) uint8, upright.
    time_s : presentation time of the frame on the clip's clock; None for a picture file.
    """

    path: Path
    rgb: RgbImage
    time_s: float | None = None


def open_still(path: Path, time_s: float | None = None) -> Still:
    """Read a picture file, or the frame of a clip that is shown at `time_s` (by default its first).

    Raises
    ------
    MediaError : the file is missing or can't be read, or the clip isn't that long.
    ConfigError : a time was given for a picture file.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        return _frame(path, time_s)
    if time_s is not None:
        raise ConfigError(f"{path.name}: a picture has no time", "Leave its time out.")
    check_readable(path)
    try:
        with warnings.catch_warnings():
            # Of large pictures Pillow warns twice as early as it refuses them.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MediaError(
            f"{path.name}: not a picture that can be read ({error})",
            "Check that other programs show it, or save it again as PNG.",
        ) from error
    return Still(path, np.asarray(upright))


def _frame(path: Path, time_s: float | None) -> Still:
    with VideoReader(path, cache_bytes=_CACHE_BYTES) as video:
        asked = float(video.info.times_s[0]) if time_s is None else time_s
        if not 0 <= asked < video.info.duration_s:
            raise MediaError(
                f"{path.name}: no picture at {asked:g} s",
                f"It lasts {video.info.duration_s:.2f} s.",
            )
        frame = video.index_at(asked)
        return Still(path, video.frame(frame), video.time_of(frame))
