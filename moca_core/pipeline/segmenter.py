"""The pipeline as a whole: a frame and its sound, or a clip, to masks of what sounds.

Looking (every encoder of the picture) and listening are separate: a picture is analysed at key
frames only, while the decision which of its objects sound is taken again several times a second,
so that masks follow the sound between key frames too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice, choose_device
from moca_core.errors import ConfigError, DeviceError, MediaError, NoAudioError, PrecisionError
from moca_core.media.audio import AudioReader, is_silent
from moca_core.media.video import VideoReader
from moca_core.models.bundles import Bundle, Looking, default_settings, make_bundle
from moca_core.models.compute import empty_cache, out_of_memory
from moca_core.models.registry import BundleRow, bundle_row
from moca_core.pipeline.analyses import Analyses
from moca_core.pipeline.analysis import FrameAnalysis, resized
from moca_core.pipeline.clip_parts import Store
from moca_core.pipeline.cliprun import ClipRun
from moca_core.pipeline.hearing import Heard
from moca_core.pipeline.matching import Match, MatchSettings, match
from moca_core.pipeline.redecide import decide_clip, decide_frame
from moca_core.pipeline.schedule import schedule
from moca_core.types import (
    REASON_SILENT,
    FloatMap,
    FrameResult,
    Listen,
    Mask,
    NoteEvent,
    Prediction,
    RgbImage,
    SegmentEvent,
    StageEvent,
    Wave,
)

if TYPE_CHECKING:
    from moca_core.models.sam import Sam

Answer = Callable[[FrameAnalysis, Heard], Prediction]
"""What is made of an analysed picture and what is heard."""

_CACHE_BYTES = 64 * 2**20
"""Decoded frames held: they are read in order, once."""


class Segmenter:
    """Finds what sounds. Create it anywhere; the encoders are loaded by the first run.

    Parameters
    ----------
    config : the configuration.
    device : `auto`, `cpu` or `cuda:0`.
    precision : `auto`, or a dtype's name; see `choose_device`.
    compiled : see `make_bundle`.
    settings : thresholds of the decision; by default those that suit the bundle.
    bundle : encoders that are loaded already; by default those that the configuration names.
    """

    def __init__(
        self,
        config: SegmentConfig | None = None,
        device: str = "auto",
        settings: MatchSettings | None = None,
        bundle: Bundle | None = None,
        precision: str = "auto",
        compiled: bool = False,
    ) -> None:
        self.config = config or SegmentConfig()
        self.device = _device_for(bundle_row(self.config.bundle), device, precision)
        self.settings = settings or default_settings(self.config)
        self._bundle = bundle
        self._compiled = compiled

    @property
    def window_s(self) -> float:
        """Length of the audio window in seconds."""
        return (self._bundle or bundle_row(self.config.bundle)).window_s

    @property
    def rate_hz(self) -> int:
        """Sample rate of the sound in hertz."""
        return (self._bundle or bundle_row(self.config.bundle)).rate_hz

    def load(self) -> Iterator[StageEvent | NoteEvent]:
        """Load the encoders unless they are; yields before each. Raises `WeightsError`.

        Where they don't fit on the GPU, the CPU takes its place, and `device` says why.
        """
        if self._bundle is not None:
            return
        bundle = make_bundle(self.config, self.device, self._compiled)
        try:
            yield from bundle.load()
        except RuntimeError as error:
            if self.device.device == "cpu" or not out_of_memory(error):
                raise
            del bundle
            yield self._fall_back("there was too little GPU memory for the encoders")
            bundle = make_bundle(self.config, self.device, self._compiled)
            yield from bundle.load()
        self._bundle = bundle

    def _fall_back(self, reason: str) -> NoteEvent:
        """Let the CPU compute from here; its encoders aren't loaded yet."""
        self._bundle = None
        empty_cache()
        self.device = replace(choose_device("cpu"), reason=reason)
        return NoteEvent(f"The CPU goes on: {reason}.")

    @property
    def bundle(self) -> Bundle:
        """The encoders, loaded if they aren't."""
        for _ in self.load():
            pass
        assert self._bundle is not None  # load() leaves it set or raises
        return self._bundle

    @property
    def sam(self) -> Sam | None:
        """The bundle's SAM; None while its encoders aren't loaded."""
        return self._bundle.sam if self._bundle is not None else None

    def predict(self, rgb: RgbImage, wave: Wave) -> Prediction:
        """Masks of one picture (H, W, 3) uint8 with one sound (n,) mono float32 at `rate_hz`."""
        return self.listener(rgb)(wave)

    def listener(self, rgb: RgbImage, answer: Answer | None = None) -> Listen:
        """A picture (H, W, 3) uint8 that is asked for its masks with any number of sounds.

        It is looked at once, when the first sound comes that isn't silent.

        Parameters
        ----------
        answer : what is made of both; by default the masks of `decide`.
        """
        seen: list[FrameAnalysis] = []

        def listen(wave: Wave) -> Prediction:
            if is_silent(wave):
                nothing = np.zeros(rgb.shape[:2], dtype=bool)
                return Prediction(nothing, nothing.astype(np.float32), REASON_SILENT, 0.0)
            if not seen:
                seen.append(self.analysed(rgb))
            heard = self.bundle.hear(wave)
            return answer(seen[0], heard) if answer else self._answer(seen[0], heard, rgb)

        return listen

    def analysed(self, rgb: RgbImage) -> FrameAnalysis:
        """What the encoders say of a picture (H, W, 3) uint8."""
        (analysis,) = _finish(self.look([rgb]))
        return analysis

    def _answer(self, analysis: FrameAnalysis, heard: Heard, rgb: RgbImage) -> Prediction:
        size = rgb.shape[0], rgb.shape[1]
        found = self.decide(analysis, heard, rgb)
        result = FrameResult(0, 0.0, size, found.objects, found.reason)
        soft = soft_claim(result.union, resized(found.region, size))
        agreement = found.hearing.agreement
        return Prediction(result.union, soft, found.reason, agreement, found.objects)

    def clip(
        self,
        path: Path | str,
        *,
        frames: str | Sequence[int] = "keys",
        every_s: float = 1.0,
        start_s: float | None = None,
        end_s: float | None = None,
        keep_maps: bool = False,
        store: Store | None = None,
        analyses: Analyses | None = None,
        anew: bool = False,
    ) -> Iterator[SegmentEvent]:
        """Segment a clip; a generator of events, which may be closed at any of them.

        Parameters
        ----------
        frames : `keys` (one key frame every `every_s`), `all` (masks are propagated between key
            frames), or frame numbers, each of which is a key frame.
        start_s, end_s : part of the clip, in seconds on its clock.
        keep_maps : keep the intermediates in `FrameResult.maps` of key frames.
        store : results found there aren't computed again; new ones are kept there. If the disk
            is full, a note says so and the run goes on.
        analyses : key frames that are kept there aren't looked at again; others are kept there.
            What thresholds cut in them is told by a `ScoresEvent`.
        anew : results found in `store` are computed again all the same.

        Raises
        ------
        MediaError, NoVideoError : the clip can't be read.
        WeightsError : the encoders can't be loaded.
        ConfigError : `frames` or the range names nothing in the clip.
        """
        yield StageEvent("Opening the clip")
        with VideoReader(path, cache_bytes=_CACHE_BYTES) as video:
            yield from (NoteEvent(note) for note in video.info.notes)
            spans = schedule(video.info, frames, every_s, start_s, end_s)
            audio = None
            try:
                audio = AudioReader(path, self.rate_hz)
            except NoAudioError:
                yield NoteEvent("The clip has no audio track: its masks are empty.")
            except MediaError as error:
                # The picture is good: what can be said without sound is better than nothing.
                yield NoteEvent(f"{error.message}; its masks are empty.")
            try:
                run = ClipRun(self, video, audio, keep_maps, store, analyses, anew)
                yield from run.events(spans)
            finally:
                if audio is not None:
                    audio.close()

    def decide_frame(self, path: Path, analyses: Analyses, frame: int) -> Iterator[SegmentEvent]:
        """See `redecide.decide_frame`."""
        return decide_frame(self, path, analyses, frame)

    def decide_clip(
        self, path: Path, analyses: Analyses, store: Store | None = None
    ) -> Iterator[SegmentEvent]:
        """See `redecide.decide_clip`."""
        return decide_clip(self, path, analyses, store)

    def look(self, rgbs: Sequence[RgbImage]) -> Looking:
        """Analyse pictures (H, W, 3) uint8; yields before each step.

        Where the GPU has no memory for a single picture, the CPU takes its place.
        """
        bundle = self.bundle
        try:
            return (yield from bundle.look(rgbs, self.config))
        except (DeviceError, RuntimeError) as error:
            overflow = isinstance(error, PrecisionError)
            full = (isinstance(error, DeviceError) and not overflow) or out_of_memory(error)
            if self.device.device == "cpu" or not full:
                raise
        del bundle
        yield self._fall_back("there was too little GPU memory for a frame")
        yield from self.load()
        return (yield from self.bundle.look(rgbs, self.config))

    def decide(self, analysis: FrameAnalysis, heard: Heard, rgb: RgbImage) -> Match:
        """What sounds in an analysed picture (H, W, 3), given what `Bundle.hear` heard."""
        bundle = self.bundle
        analysis, hearing = bundle.relate(analysis, heard, self.settings.hearing)
        return match(analysis, hearing, bundle.names, self.config, self.settings, rgb)


def soft_claim(mask: Mask, order: FloatMap) -> FloatMap:
    """How strongly each pixel is claimed, (H, W) float32 in [0, 1], for `Prediction.soft`.

    The mask (H, W) decides on which side of a half a pixel lies, `order` (H, W) in [0, 1] is the
    order of the rest. Without a mask nothing is claimed by more than a quarter.
    """
    soft = np.clip(order, 0.0, 1.0)
    if not mask.any():
        return (0.25 * soft).astype(np.float32)
    return np.where(mask, 0.5 + 0.5 * soft, 0.5 * soft).astype(np.float32)


def _device_for(row: BundleRow, device: str, precision: str) -> DeviceChoice:
    """The device for a bundle, in a precision that it can compute in."""
    if row.half:
        return choose_device(device, precision, row.gpu_bytes)
    if precision not in ("auto", "float32"):
        raise ConfigError(
            f"precision {precision}: the {row.name} bundle computes in float32",
            "Leave --precision out.",
        )
    return choose_device(device, "float32", row.gpu_bytes)


def _finish(steps: Looking) -> list[FrameAnalysis]:
    """Run an analysis to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
