"""Bundles: sets of encoders behind one interface (DESIGN.md section 2)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice
from moca_core.errors import ConfigError
from moca_core.models.stored import sha256_of
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.hearing import Heard, Hearing, HearingSettings
from moca_core.pipeline.matching import MatchSettings
from moca_core.types import NoteEvent, RgbImage, StageEvent

if TYPE_CHECKING:
    from moca_core.models.adapter import Adapter
    from moca_core.models.sam import Sam

Looking = Generator[StageEvent | NoteEvent, None, list[FrameAnalysis]]
"""An analysis of pictures under way."""


class Bundle(Protocol):
    """What the pipeline asks of a set of encoders.

    Attributes
    ----------
    names : G display names of what can be heard and seen.
    window_s : length of the audio window of a frame, in seconds.
    rate_hz : sample rate that `hear` expects.
    batch : how many pictures `look` is best given at once.
    """

    names: tuple[str, ...]
    window_s: float
    rate_hz: int

    @property
    def batch(self) -> int:
        """See above; it may become less while the program runs."""
        ...

    @property
    def sam(self) -> Sam:
        """The SAM that proposes its masks, which answers a person's prompts, too."""
        ...

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        """What (n,) mono sound is, in the bundle's own terms."""
        ...

    def adapt(self, adapter: Adapter | None) -> None:
        """Put a trained adapter into the transformer in place of any other; None: none."""
        ...

    def retrieve(self, rgbs: Sequence[RgbImage]) -> NDArray[np.float32]:
        """B pictures -> (B, D) features of length 1: like pictures have a high cosine."""
        ...

    def look(self, rgbs: Sequence[RgbImage], config: SegmentConfig) -> Looking:
        """Analyse pictures; yields before each step, so that a job can stop there."""
        ...

    def relate(
        self,
        analysis: FrameAnalysis,
        heard: Heard,
        settings: HearingSettings,
    ) -> tuple[FrameAnalysis, Hearing]:
        """Compare what is seen with what is heard; no encoder runs but the adapted blocks.

        Returns the frame with its evidence for G groups, and which of them sound.
        """
        ...

    def see_crops(self, rgb: RgbImage, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What crops of a picture hold, all but the mask of each greyed out.

        Parameters
        ----------
        masks : (P, h, w) bool over the picture, P at least 1.

        Returns
        -------
        (P, D) features in the terms of `Heard.features`: their cosine says how alike they are.
        """
        ...


class LoadableBundle(Bundle, Protocol):
    """A bundle that reads its weights when it is told to."""

    def load(self) -> Generator[StageEvent, None, None]:
        """Load every encoder; yields before each one. Raises `WeightsError`."""
        ...


def _compact(config: SegmentConfig, device: DeviceChoice, compiled: bool) -> LoadableBundle:
    from moca_core.models.compact import CompactBundle

    if compiled:
        raise ConfigError(
            "the compact bundle can't be compiled",
            "Leave --compile out, or use --bundle imagebind.",
        )
    return CompactBundle(device, sam=config.sam, adapter=adapter_of(config))


def _imagebind(config: SegmentConfig, device: DeviceChoice, compiled: bool) -> LoadableBundle:
    from moca_core.models.imagebind_bundle import ImageBindBundle

    return ImageBindBundle(device, sam=config.sam, compiled=compiled, adapter=adapter_of(config))


def adapter_of(config: SegmentConfig) -> Path | None:
    """The file of the adapter that a configuration names."""
    return Path(config.adapter) if config.adapter else None


_Maker = Callable[[SegmentConfig, DeviceChoice, bool], LoadableBundle]
_MAKERS: Mapping[str, _Maker] = MappingProxyType({"compact": _compact, "imagebind": _imagebind})


def make_bundle(
    config: SegmentConfig, device: DeviceChoice, compiled: bool = False
) -> LoadableBundle:
    """The encoders that a configuration names, not loaded yet.

    Parameters
    ----------
    compiled : compile the transformers' blocks when they first run.

    Raises
    ------
    ConfigError : the bundle can't be compiled.
    """
    return _MAKERS[config.bundle](config, device, compiled)


def default_settings(config: SegmentConfig) -> MatchSettings:
    """The thresholds of the decision that suit a configuration's bundle."""
    if config.bundle == "imagebind":
        from moca_core.models.imagebind_bundle import match_settings

        return match_settings(config)
    from moca_core.pipeline.regions import RegionSettings

    return MatchSettings(region=RegionSettings(clusters=config.clusters, seed=config.seed))


@dataclass(frozen=True)
class AdapterKey:
    """Which adapter, by its content: one that was trained on is another."""

    sha256: str


def look_settings(config: SegmentConfig) -> tuple[Any, ...]:
    """Dataclasses that tell how a configuration's bundle looks, to name stored results by."""
    from moca_core.pipeline.proposals import GridSettings, ProposalSettings

    adapter = AdapterKey(sha256_of(Path(config.adapter)) if config.adapter else "")
    if config.bundle == "imagebind":
        from moca_core.models.imagebind_bundle import JointSettings

        return JointSettings(), ProposalSettings(), GridSettings(), adapter
    from moca_core.models.compact import LookSettings

    return LookSettings(), ProposalSettings(), adapter
