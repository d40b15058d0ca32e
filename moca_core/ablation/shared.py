"""Encoders that several rows share: a picture is looked at once, and decided about many times."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.errors import DeviceError, MocaError
from moca_core.models.adapter import Adapter
from moca_core.models.bundles import Bundle, Looking, adapter_of
from moca_core.models.compute import out_of_memory
from moca_core.models.sam import Sam
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.hearing import Heard, Hearing, HearingSettings
from moca_core.types import NoteEvent, RgbImage, StageEvent

_Seeing = Generator[StageEvent | NoteEvent, None, FrameAnalysis]
_UNSEEN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"compact": ("regions", "clusters", "seed", "patches"), "imagebind": ("regions",)}
)
"""Settings by bundle that its `look` doesn't read: imagebind asks SAM at its clusters."""


class SharedError(MocaError):
    """Rows that share their encoders can't go on."""


class SharedEncoders:
    """A bundle of which each row has a view, with an adapter of its own or none.

    What was said of the last picture and the last sound is kept: of an adapter looking depends only
    on the block at which it begins.

    Parameters
    ----------
    bundle : loaded.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._rgb: RgbImage | None = None
        self._seen: dict[Hashable, FrameAnalysis] = {}
        self._wave: NDArray[np.float32] | None = None
        self._heard: dict[bool, Heard] = {}

    def view(self, config: SegmentConfig) -> Bundle:
        """The bundle with a configuration's adapter; raises `WeightsError`."""
        path = adapter_of(config)
        return _View(self, None if path is None else Adapter.load(path, config.bundle))

    def hear(self, wave: NDArray[np.float32], adapter: Adapter | None) -> Heard:
        """What a sound is; its tokens with an adapter only."""
        if wave is not self._wave:
            self._wave, self._heard = wave, {}
        adapted = adapter is not None
        if adapted not in self._heard:
            self.bundle.adapt(adapter)
            self._heard[adapted] = self.bundle.hear(wave)
        return self._heard[adapted]

    def look(self, rgb: RgbImage, config: SegmentConfig, adapter: Adapter | None) -> _Seeing:
        """Analyse a picture (H, W, 3) uint8, unless it is the last one, and that was done.

        Raises
        ------
        SharedError : there is too little memory. The rest isn't given to another device, on which
            the numbers of one table would differ.
        """
        if self._rgb is None or not _same(rgb, self._rgb):
            self._rgb, self._seen = rgb, {}
        key = looked_with(config), None if adapter is None else adapter.config.entry
        if key not in self._seen:
            self.bundle.adapt(adapter)
            try:
                (self._seen[key],) = yield from self.bundle.look([rgb], config)
            except (DeviceError, RuntimeError) as error:
                if not (isinstance(error, DeviceError) or out_of_memory(error)):
                    raise
                raise SharedError(
                    f"the encoders can't look at a picture ({str(error).splitlines()[0]})",
                    "Use fewer --jobs, or --device cpu.",
                ) from error
        return self._seen[key]


class _View:
    """A row's own bundle; see `Bundle`."""

    batch = 1

    def __init__(self, shared: SharedEncoders, adapter: Adapter | None) -> None:
        self._shared, self._bundle, self._adapter = shared, shared.bundle, adapter
        self.names, self.rate_hz = self._bundle.names, self._bundle.rate_hz
        self.window_s = self._bundle.window_s

    @property
    def sam(self) -> Sam:
        return self._bundle.sam

    def adapt(self, adapter: Adapter | None) -> None:
        self._adapter = adapter

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        return self._shared.hear(wave, self._adapter)

    def retrieve(self, rgbs: Sequence[RgbImage]) -> NDArray[np.float32]:
        return self._bundle.retrieve(rgbs)

    def see_crops(self, rgb: RgbImage, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        return self._bundle.see_crops(rgb, masks)

    def look(self, rgbs: Sequence[RgbImage], config: SegmentConfig) -> Looking:
        found = []
        for rgb in rgbs:
            analysis = yield from self._shared.look(rgb, config, self._adapter)
            found.append(analysis)
        return found

    def relate(
        self, analysis: FrameAnalysis, heard: Heard, settings: HearingSettings
    ) -> tuple[FrameAnalysis, Hearing]:
        self._bundle.adapt(self._adapter)
        return self._bundle.relate(analysis, heard, settings)


def looked_with(config: SegmentConfig) -> SegmentConfig:
    """The configuration with its own values only where looking depends on them."""
    plain = SegmentConfig(bundle=config.bundle)
    names = (*_UNSEEN[config.bundle], "adapter")
    return replace(config, **{name: getattr(plain, name) for name in names})


def _same(first: RgbImage, second: RgbImage) -> bool:
    """Whether two pictures are one: cases with one picture follow each other."""
    return first is second or (first.shape == second.shape and bool((first == second).all()))
