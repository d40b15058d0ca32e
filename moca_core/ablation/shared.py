"""Encoders that several rows share: a picture is looked at once, and decided about many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.errors import DeviceError, MocaError
from moca_core.models.bundles import Bundle, Looking
from moca_core.models.compute import out_of_memory
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.hearing import Heard, Hearing, HearingSettings
from moca_core.types import RgbImage

_UNSEEN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"compact": ("regions", "clusters", "seed", "patches"), "imagebind": ("regions",)}
)
"""Settings by bundle that its `look` doesn't read: imagebind asks SAM at its clusters."""


class SharedError(MocaError):
    """Rows that share their encoders can't go on."""


class SharedEncoders:
    """A bundle whose answers about the last picture and the last sound are kept.

    Parameters
    ----------
    bundle : loaded.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.names, self.rate_hz = bundle.names, bundle.rate_hz
        self.window_s, self.batch = bundle.window_s, 1
        self._rgb: RgbImage | None = None
        self._seen: dict[SegmentConfig, FrameAnalysis] = {}
        self._wave: NDArray[np.float32] | None = None
        self._heard: Heard | None = None

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        """See `Bundle`."""
        if self._heard is None or wave is not self._wave:
            self._wave, self._heard = wave, self._bundle.hear(wave)
        return self._heard

    def retrieve(self, rgbs: Sequence[RgbImage]) -> NDArray[np.float32]:
        """See `Bundle`."""
        return self._bundle.retrieve(rgbs)

    def see_crops(self, rgb: RgbImage, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """See `Bundle`."""
        return self._bundle.see_crops(rgb, masks)

    def look(self, rgbs: Sequence[RgbImage], config: SegmentConfig) -> Looking:
        """See `Bundle`.

        Raises
        ------
        SharedError : there is too little memory. The rest isn't given to another device, on which
            the numbers of one table would differ.
        """
        found = []
        for rgb in rgbs:
            if self._rgb is None or not _same(rgb, self._rgb):
                self._rgb, self._seen = rgb, {}
            key = looked_with(config)
            if key not in self._seen:
                try:
                    (self._seen[key],) = yield from self._bundle.look([rgb], config)
                except (DeviceError, RuntimeError) as error:
                    if not (isinstance(error, DeviceError) or out_of_memory(error)):
                        raise
                    raise SharedError(
                        f"the encoders can't look at a picture ({str(error).splitlines()[0]})",
                        "Use fewer --jobs, or --device cpu.",
                    ) from error
            found.append(self._seen[key])
        return found

    def relate(
        self, analysis: FrameAnalysis, heard: Heard, settings: HearingSettings
    ) -> tuple[FrameAnalysis, Hearing]:
        """See `Bundle`."""
        return self._bundle.relate(analysis, heard, settings)


def looked_with(config: SegmentConfig) -> SegmentConfig:
    """The configuration with its own values only where looking depends on them."""
    plain = SegmentConfig(bundle=config.bundle)
    return replace(config, **{name: getattr(plain, name) for name in _UNSEEN[config.bundle]})


def _same(first: RgbImage, second: RgbImage) -> bool:
    """Whether two pictures are one: cases with one picture follow each other."""
    return first is second or (first.shape == second.shape and bool((first == second).all()))
