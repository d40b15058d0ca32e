"""The pipeline as a whole: a frame and its sound, or a clip, to masks of what sounds.

Looking (every encoder of the picture) and listening are separate: a picture is analysed at key
frames only, while the decision which of its objects sound is taken again several times a second,
so that masks follow the sound between key frames too.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice, choose_device
from moca_core.errors import ConfigError, NoAudioError
from moca_core.media.audio import AudioReader, frame_window, is_silent
from moca_core.media.video import VideoInfo, VideoReader
from moca_core.models.bundles import Bundle, CompactBundle
from moca_core.pipeline.analysis import FrameAnalysis, resized
from moca_core.pipeline.clusters import token_clusters
from moca_core.pipeline.matching import Match, MatchSettings, match
from moca_core.pipeline.propagate import FlowTracker, Numbering, small_grey
from moca_core.pipeline.regions import RegionSettings
from moca_core.types import (
    REASON_NO_AUDIO,
    REASON_SILENT,
    FrameEvent,
    FrameResult,
    NoteEvent,
    Prediction,
    RgbImage,
    SegmentEvent,
    StageEvent,
)

LISTEN_EVERY_S = 0.25
"""Between key frames the sound is judged again this often."""
_HEARD_NAMES = 5


class Store(Protocol):
    """What the segmenter asks of stored results (`pipeline.store.ClipStore`)."""

    def load(self, frame: int, maps: bool = False) -> FrameResult | None:
        """The stored result of a frame, or None."""
        ...

    def save(self, result: FrameResult) -> None:
        """Keep a result."""
        ...


@dataclass(frozen=True, eq=False)
class _Key:
    """A key frame: its analysis (None where no encoder had to run) and small picture."""

    frame: int
    analysis: FrameAnalysis | None
    grey: NDArray[np.uint8]
    rgb: RgbImage
    seconds: dict[str, float]


class Segmenter:
    """Finds what sounds. Create it anywhere; the encoders are loaded by the first run.

    Parameters
    ----------
    config : the configuration.
    device : `auto`, `cpu` or `cuda:0`.
    settings : thresholds of the decision.
    """

    def __init__(
        self,
        config: SegmentConfig | None = None,
        device: str = "auto",
        settings: MatchSettings | None = None,
    ) -> None:
        self.config = config or SegmentConfig()
        self.device: DeviceChoice = choose_device(device)
        region = RegionSettings(clusters=self.config.clusters, seed=self.config.seed)
        self.settings = settings or MatchSettings(region=region)
        self._bundle: Bundle | None = None

    @property
    def window_s(self) -> float:
        """Length of the audio window in seconds."""
        return CompactBundle.window_s

    def load(self) -> Iterator[StageEvent]:
        """Load the encoders unless they are; yields before each. Raises `WeightsError`."""
        if self._bundle is None:
            bundle = CompactBundle(self.device)
            yield from bundle.load()
            self._bundle = bundle

    @property
    def bundle(self) -> Bundle:
        """The encoders, loaded if they aren't."""
        for _ in self.load():
            pass
        assert self._bundle is not None  # load() leaves it set or raises
        return self._bundle

    def predict(self, rgb: RgbImage, wave: NDArray[np.float32]) -> Prediction:
        """Masks of one picture (H, W, 3) uint8 with one sound (n,) mono float32 at 16 kHz."""
        size = rgb.shape[0], rgb.shape[1]
        if is_silent(wave):
            nothing = np.zeros(size, dtype=bool)
            return Prediction(nothing, nothing.astype(np.float32), REASON_SILENT)
        analysis = _finish(self.bundle.look(rgb, self.config))
        found = self._match(analysis, self.bundle.hear(wave), rgb)
        result = FrameResult(0, 0.0, size, found.objects, found.reason)
        soft = np.clip(resized(found.region, size), 0.0, 1.0)
        # The final mask decides on which side of a half a pixel lies; the region orders the rest.
        soft = np.where(result.union, 0.5 + 0.5 * soft, 0.5 * soft).astype(np.float32)
        if not result.objects:
            soft *= np.float32(0.5)
        return Prediction(result.union, soft, found.reason)

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
    ) -> Iterator[SegmentEvent]:
        """Segment a clip; a generator of events, which may be closed at any of them.

        Parameters
        ----------
        frames : `keys` (one key frame every `every_s`), `all` (masks are propagated between key
            frames), or frame numbers, each of which is a key frame.
        start_s, end_s : part of the clip, in seconds on its clock.
        keep_maps : keep the intermediates in `FrameResult.maps` of key frames.
        store : results found there aren't computed again; new ones are kept there.

        Raises
        ------
        MediaError, NoVideoError : the clip can't be read.
        WeightsError : the encoders can't be loaded.
        ConfigError : `frames` or the range names nothing in the clip.
        """
        yield StageEvent("Opening the clip")
        with VideoReader(path) as video:
            yield from (NoteEvent(note) for note in video.info.notes)
            keys = _key_frames(video, frames, every_s, start_s, end_s)
            wanted = _wanted(video, keys, frames, end_s)
            audio = None
            try:
                audio = AudioReader(path, rate_hz=CompactBundle.rate_hz)
            except NoAudioError:
                yield NoteEvent("The clip has no audio track: its masks are empty.")
            try:
                if audio is not None:
                    for _ in audio.decode():
                        yield StageEvent("Reading the sound")
                run = _ClipRun(self, video, audio, keep_maps, store)
                yield from run.events(keys, wanted)
            finally:
                if audio is not None:
                    audio.close()

    def _match(self, analysis: FrameAnalysis, weights: NDArray[np.float32], rgb: RgbImage) -> Match:
        return match(analysis, weights, self.bundle.names, self.config, self.settings, rgb)


class _ClipRun:
    """One run over one clip."""

    def __init__(
        self,
        segmenter: Segmenter,
        video: VideoReader,
        audio: AudioReader | None,
        keep_maps: bool,
        store: Store | None,
    ) -> None:
        self.segmenter, self.video, self.audio = segmenter, video, audio
        self.keep_maps, self.store = keep_maps, store
        self.numbering = Numbering()
        self.done = 0
        self._heard: dict[int, tuple[Match | None, NDArray[np.float32], str]] = {}

    def events(self, keys: Sequence[int], wanted: Sequence[int]) -> Iterator[SegmentEvent]:
        """Yield a `FrameEvent` for each wanted frame in order, and stages between."""
        self.total = len(wanted)
        if not wanted:
            return
        chosen = set(wanted)
        key: _Key | None = None
        for position, number in enumerate(keys):
            after = keys[position + 1] if position + 1 < len(keys) else max(wanted[-1], number) + 1
            span = [frame for frame in range(number, after) if frame in chosen]
            stored = self._stored(span)
            if stored is not None:
                yield from self._emit(stored, stored=True)
                key = None
                continue
            if key is None or key.frame != number:
                key = yield from self._analyse(number)
            following: _Key | None = None
            if len(span) > 1 and position + 1 < len(keys):
                following = yield from self._analyse(after)
            yield from self._span(key, following, span)
            key = following

    def _stored(self, span: Sequence[int]) -> list[FrameResult] | None:
        """The results of a whole span if every one is stored."""
        if self.store is None:
            return None
        found = []
        for frame in span:
            maps = self.keep_maps and frame == span[0]
            result = self.store.load(frame, maps)
            if result is None:
                return None
            found.append(result)
        return found

    def _emit(self, results: Sequence[FrameResult], stored: bool) -> Iterator[FrameEvent]:
        for result in results:
            if self.store is not None and not stored:
                self.store.save(result)
            self.done += 1
            yield FrameEvent(result, self.done, self.total, stored)

    def _analyse(self, number: int) -> Generator[SegmentEvent, None, _Key]:
        """Run the encoders on a key frame, unless its sound can't give masks anyway."""
        yield StageEvent(f"Decoding frame {number}", self.done, self.total)
        rgb = self.video.frame(number)
        seconds: dict[str, float] = {}
        analysis = None
        if self.audio is not None and self._could_sound(number):
            yield from self.segmenter.load()
            look = self.segmenter.bundle.look(rgb, self.segmenter.config)
            analysis = yield from _timed(look, seconds, number, self.done, self.total)
        return _Key(number, analysis, small_grey(rgb), rgb, seconds)

    def _could_sound(self, number: int) -> bool:
        """False where everything that this key frame's analysis would serve is silent."""
        assert self.audio is not None
        moment = self.video.time_of(number)
        reach = self.segmenter.window_s
        return not is_silent(self.audio.window(max(0.0, moment - reach), moment + reach))

    def _span(
        self, key: _Key, following: _Key | None, span: Sequence[int]
    ) -> Iterator[SegmentEvent]:
        """Frames from a key frame up to the next one, nearer ones from the nearer key frame."""
        yield from self._emit([self._decide(key, key.frame, None)], stored=False)
        rest = [frame for frame in span if frame != key.frame]
        if not rest:
            return
        last = rest[-1]
        middle = last if following is None else (key.frame + following.frame) // 2
        tracker = FlowTracker(key.grey)
        behind: list[NDArray[np.uint8]] = []
        for number, rgb in self.video.frames(range(key.frame + 1, last + 1)):
            grey = small_grey(rgb)
            if number > middle:
                behind.append(grey)
                continue
            tracker.step(grey)
            yield from self._emit([self._decide(key, number, tracker)], stored=False)
        if following is not None and behind:
            results = []
            tracker = FlowTracker(following.grey)
            for number in range(last, middle, -1):
                tracker.step(behind[number - middle - 1])
                results.append(self._decide(following, number, tracker))
                yield StageEvent("Moving masks", self.done, self.total)
            yield from self._emit(results[::-1], stored=False)

    def _decide(self, key: _Key, number: int, tracker: FlowTracker | None) -> FrameResult:
        """The result of frame `number` from the analysis of `key` and the sound at that time."""
        info = self.video.info
        moment = self.video.time_of(number)
        window = frame_window(moment, self.segmenter.window_s, info.duration_s)
        base = FrameResult(
            frame=number,
            time_s=moment,
            size=(info.height, info.width),
            window_s=window,
            key=tracker is None,
            seconds=key.seconds if tracker is None else {},
        )
        if self.audio is None:
            return replace(base, reason=REASON_NO_AUDIO)
        found, weights, reason = self._judge(key, moment, exact=tracker is None)
        if found is None:
            return replace(base, reason=reason)
        objects = found.objects if tracker is None else tracker.move(found.objects)
        return replace(
            base,
            objects=objects,
            reason=found.reason,
            coarse=found.coarse,
            heard=_heard(weights, self.segmenter.bundle.names),
            maps=self._maps(key, found) if self.keep_maps and tracker is None else base.maps,
        )

    def _judge(
        self, key: _Key, moment: float, exact: bool
    ) -> tuple[Match | None, NDArray[np.float32], str]:
        """What sounds around `moment`; between key frames the sound is judged every quarter."""
        assert self.audio is not None
        tick = round(moment / LISTEN_EVERY_S)
        name = -1 if exact else tick
        if name in self._heard and not exact and self._heard_of == key.frame:
            return self._heard[name]
        if exact or self._heard_of != key.frame:
            self._heard = {}
            self._heard_of = key.frame
        centre = moment if exact else tick * LISTEN_EVERY_S
        window = frame_window(centre, self.segmenter.window_s, self.video.info.duration_s)
        wave = self.audio.window(*window)
        outcome: tuple[Match | None, NDArray[np.float32], str]
        if is_silent(wave) or key.analysis is None:
            outcome = (None, np.zeros(0, dtype=np.float32), REASON_SILENT)
        else:
            weights = self.segmenter.bundle.hear(wave)
            found = self.segmenter._match(key.analysis, weights, key.rgb)
            found = replace(found, objects=self.numbering.assign(found.objects))
            outcome = (found, weights, found.reason)
        self._heard[name] = outcome
        return outcome

    _heard_of = -1

    def _maps(self, key: _Key, found: Match) -> dict[str, NDArray]:
        """The intermediates of a key frame that can be looked at."""
        analysis = key.analysis
        assert analysis is not None  # a match was made from it
        sounding = list(found.hearing.sounding)
        config = self.segmenter.config
        labels = token_clusters(analysis.tokens, config.clusters, config.seed)
        proposals = np.zeros(analysis.saliency.shape, dtype=np.int16)
        # The smallest proposal on top, so that every one can be seen.
        for index in np.argsort(-analysis.proposals.masks.sum(axis=(1, 2))):
            proposals[analysis.proposals.masks[index]] = index + 1
        return {
            "evidence": analysis.groups[sounding].max(axis=0),
            "region": found.region,
            "saliency": analysis.saliency,
            "clusters": labels.reshape(analysis.token_grid).astype(np.int16),
            "proposals": proposals,
        }


def _timed(
    steps: Generator[StageEvent, None, FrameAnalysis],
    seconds: dict[str, float],
    number: int,
    done: int,
    total: int,
) -> Generator[SegmentEvent, None, FrameAnalysis]:
    """Pass the stages of an analysis on with the job's progress, and note their times."""
    stage, begun = "", time.perf_counter()
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - begun
            return end.value
        now = time.perf_counter()
        if stage:
            seconds[stage] = seconds.get(stage, 0.0) + now - begun
        stage = event.stage
        yield StageEvent(f"Frame {number}: {stage}", done, total)
        begun = time.perf_counter()


def _finish(steps: Generator[StageEvent, None, FrameAnalysis]) -> FrameAnalysis:
    """Run an analysis to its end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def _heard(weights: NDArray[np.float32], names: Sequence[str]) -> tuple[tuple[str, float], ...]:
    top = np.argsort(-weights, kind="stable")[:_HEARD_NAMES]
    return tuple((names[g], round(float(weights[g]), 4)) for g in top if weights[g] > 0.01)


def _key_frames(
    video: VideoReader,
    frames: str | Sequence[int],
    every_s: float,
    start_s: float | None,
    end_s: float | None,
) -> list[int]:
    """Numbers of the key frames, ascending."""
    info = video.info
    if not isinstance(frames, str):
        outside = [frame for frame in frames if not 0 <= frame < info.frame_count]
        if outside or not frames:
            raise ConfigError(
                f"frames {outside or '(none)'} are not in the clip",
                f"It has frames 0 to {info.frame_count - 1}.",
            )
        return sorted(set(frames))
    if frames not in ("keys", "all"):
        raise ConfigError(f"{frames!r} names no frames", "Use keys, all, or frame numbers.")
    if not every_s > 0:
        raise ConfigError(f"a key frame every {every_s} s", "Use a time above 0.")
    first, last = _range(info, start_s, end_s)
    moments = np.arange(first, last, every_s)
    keys = {video.index_at(float(moment)) for moment in moments} or {video.index_at(first)}
    return sorted(keys)


def _range(info: VideoInfo, start_s: float | None, end_s: float | None) -> tuple[float, float]:
    first = float(info.times_s[0]) if start_s is None else start_s
    last = info.duration_s if end_s is None else end_s
    if first >= info.duration_s or first < 0 or last < first:
        raise ConfigError(
            f"{first:g} s to {last:g} s is not a part of the clip",
            f"It lasts {info.duration_s:.2f} s.",
        )
    return first, min(last, info.duration_s)


def _wanted(
    video: VideoReader, keys: list[int], frames: str | Sequence[int], end_s: float | None
) -> list[int]:
    """Numbers of the frames that get a result, ascending."""
    if frames != "all":
        return keys
    end = video.info.frame_count - 1 if end_s is None else video.index_at(end_s)
    return list(range(keys[0], max(end, keys[-1]) + 1))
