"""One run over one clip: key frames are analysed, the frames between follow the nearer one.

The pictures are decoded once, in their order. Of the frames before the next key frame only small
grey pictures are kept until that one is analysed, so memory depends on neither clip nor spacing.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from moca_core.errors import MediaError, StorageError
from moca_core.media.audio import AudioReader, frame_window, is_silent
from moca_core.media.video import VideoReader
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.clusters import labels_of
from moca_core.pipeline.matching import Match
from moca_core.pipeline.numbering import Numbering
from moca_core.pipeline.propagate import FlowTracker, Motion, small_grey
from moca_core.pipeline.schedule import Span
from moca_core.types import (
    REASON_NO_AUDIO,
    REASON_NO_OBJECT,
    REASON_SILENT,
    FrameEvent,
    FrameResult,
    NoteEvent,
    RgbImage,
    SegmentEvent,
    StageEvent,
)

if TYPE_CHECKING:
    from moca_core.models.bundles import Looking
    from moca_core.pipeline.segmenter import Segmenter

LISTEN_EVERY_S = 0.25
"""Between key frames the sound is judged again this often."""
_NAMED_FRAMES = 5


class Store(Protocol):
    """What a run asks of stored results (`pipeline.store.ClipStore`)."""

    def load(self, frame: int, maps: bool = False) -> FrameResult | None:
        """The stored result of a frame, or None."""
        ...

    def save(self, result: FrameResult) -> None:
        """Keep a result; raises `StorageError`."""
        ...


@dataclass(frozen=True, eq=False)
class _Sight:
    """What was seen in a key frame: its analysis, its picture, and the times of the stages."""

    analysis: FrameAnalysis
    rgb: RgbImage
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Key:
    """A key frame; nothing was looked at (`sight` is None) where its frames are all silent.

    If it can't be decoded, its sight is that of the nearest of its frames that can, if any.
    """

    frame: int
    sight: _Sight | None


@dataclass(frozen=True, eq=False)
class _Judgement:
    """What sounds at one time: the match, or why there is none."""

    found: Match | None
    reason: str


@dataclass(eq=False)
class _Side:
    """The frames of one span that follow one key frame.

    `numbering` gives its objects the span's own numbers, by where they are in the key frame.
    """

    key: _Key
    span: Span
    numbering: Numbering
    judged: dict[int, _Judgement] = field(default_factory=dict)


class ClipRun:
    """One run over one clip.

    Parameters
    ----------
    segmenter : the encoders and the settings.
    video, audio : the clip; None for one without a sound track.
    keep_maps : key frames keep their intermediates.
    store : where results are looked for and kept.
    """

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
        self.done = self.total = 0
        self._spans: Sequence[Span] = ()
        self._ahead: dict[int, _Sight] = {}
        self._left_out: dict[int, MediaError] = {}
        self._heard_all = audio is None
        self._storing = store is not None

    def events(self, spans: Sequence[Span]) -> Iterator[SegmentEvent]:
        """Yield a `FrameEvent` for each frame of the spans in order, and stages between."""
        self.total = sum(len(span.frames) for span in spans)
        key: _Key | None = None
        self._spans = spans
        for span, following in zip(spans, [*spans[1:], None], strict=True):
            self.numbering.begin_span()
            ready = yield from self._stored(span)
            if ready == len(span.frames):
                key = None
                continue
            if key is None or key.frame != span.key:
                key = yield from self._analyse(span)
            key = yield from self._span(key, span, following, ready)
        yield from self._tell_left_out()

    def _picture(self, frame: int) -> RgbImage | None:
        """A frame's picture; None if the file is damaged there, which leaves the frame out."""
        if frame in self._left_out:
            return None
        try:
            return self.video.frame(frame)
        except MediaError as error:
            self._left_out[frame] = error
            self.total -= 1
            return None

    def _tell_left_out(self) -> Iterator[SegmentEvent]:
        """Say at the end which frames have no result because they can't be decoded."""
        if not self._left_out:
            return
        if not self.done:
            raise next(iter(self._left_out.values()))
        numbers = sorted(self._left_out)
        named = ", ".join(str(frame) for frame in numbers[:_NAMED_FRAMES])
        named += " ..." if len(numbers) > _NAMED_FRAMES else ""
        yield NoteEvent(f"Frames that can't be decoded were left out: {named}")

    def _stored(self, span: Span) -> Generator[SegmentEvent, None, int]:
        """Pass on the stored frames at the beginning of a span; returns how many there are."""
        if self.store is None:
            return 0
        for count, frame in enumerate(span.frames):
            result = self.store.load(frame, self.keep_maps and frame == span.key)
            # A frame may have been kept as a key frame, or by a run with other key frames.
            if result is None or result.between != _between(span, frame):
                return count
            yield from self._emit(result, stored=True)
        return len(span.frames)

    def _emit(self, result: FrameResult, stored: bool = False) -> Iterator[SegmentEvent]:
        """Keep a result, whose objects have the span's numbers, and pass it on with the clip's."""
        if self.store is not None and self._storing and not stored:
            try:
                self.store.save(result)
            except StorageError as error:
                # The results were asked for; that a later run finds them is a convenience.
                self._storing = False
                yield NoteEvent(f"From here on results are not kept on disk: {error.message}")
        self.done += 1
        numbered = replace(result, objects=self.numbering.follow(result.objects))
        yield FrameEvent(numbered, self.done, self.total, stored)

    def _analyse(self, span: Span) -> Generator[SegmentEvent, None, _Key]:
        """Run the encoders on a key frame, unless its sound can't give masks anyway."""
        if self.audio is None:
            return _Key(span.key, None)
        yield from self._read_sound(self.audio)
        if span.key in self._ahead:
            return _Key(span.key, self._ahead.pop(span.key))
        if not self._could_sound(self.audio, span):
            return _Key(span.key, None)
        yield StageEvent(f"Decoding frame {span.key}", self.done, self.total)
        rgb = self._picture_near(span)
        if rgb is None:
            return _Key(span.key, None)
        yield from self.segmenter.load()
        rgbs = {span.key: rgb} | self._companions(self.audio, span)
        look = self.segmenter.look(list(rgbs.values()))
        seconds: dict[str, float] = {}
        analyses = yield from _timed(look, seconds, list(rgbs), self.done, self.total)
        for (number, picture), analysis in zip(rgbs.items(), analyses, strict=True):
            self._ahead[number] = _Sight(analysis, picture, seconds)
        return _Key(span.key, self._ahead.pop(span.key))

    def _picture_near(self, span: Span) -> RgbImage | None:
        """The key frame's picture, or that of the nearest of its frames that can be decoded."""
        near = sorted(range(span.first, span.middle + 1), key=lambda n: abs(n - span.key))
        return next((seen for seen in map(self._picture, near) if seen is not None), None)

    def _companions(self, audio: AudioReader, span: Span) -> dict[int, RgbImage]:
        """Pictures of the next key frames, where the encoders are best given several at once.

        Only where no frames lie between them: those would be decoded twice.
        """
        found: dict[int, RgbImage] = {}
        place = self._spans.index(span) + 1
        for other in self._spans[place : place + self.segmenter.bundle.batch - 1]:
            if len(span.frames) > 1 or len(other.frames) > 1:
                break
            stored = self.store is not None and self.store.load(other.key, self.keep_maps)
            if stored or not self._could_sound(audio, other):
                continue
            rgb = self._picture(other.key)
            if rgb is not None:
                found[other.key] = rgb
        return found

    def _read_sound(self, audio: AudioReader) -> Iterator[SegmentEvent]:
        """Decode the sound, once, and not before it is needed."""
        if self._heard_all:
            return
        for _ in audio.decode():
            yield StageEvent("Reading the sound")
        self._heard_all = True
        yield from (NoteEvent(note) for note in audio.notes)

    def _could_sound(self, audio: AudioReader, span: Span) -> bool:
        """False where the windows of all frames that follow this key frame are silent."""
        frames = range(span.first, span.middle + 1)
        ticks = {_tick(self.video.time_of(frame)) for frame in frames if frame != span.key}
        moments = [self.video.time_of(span.key), *(tick * LISTEN_EVERY_S for tick in sorted(ticks))]
        return any(not is_silent(audio.window(*self._window(moment))) for moment in moments)

    def _window(self, moment: float) -> tuple[float, float]:
        return frame_window(moment, self.segmenter.window_s, self.video.info.duration_s)

    def _span(
        self, key: _Key, span: Span, following: Span | None, ready: int
    ) -> Generator[SegmentEvent, None, _Key | None]:
        """Frames from a key frame up to the next one, all but the first `ready`, which are there.

        Returns the next key frame if it was analysed.
        """
        begin = span.key + ready
        side = _Side(key, span, Numbering())
        yield from self._decide(side, span.key, None, begin)
        for number, motion in self._moved(key, span.middle):
            yield from self._decide(side, number, motion, begin)
        if following is None or span.middle >= span.last:
            return None
        rest = list(range(span.middle + 1, span.last + 1))
        greys = {}
        for number in rest:
            rgb = self._picture(number)
            if rgb is not None:
                greys[number] = small_grey(rgb)
            yield StageEvent("Reading ahead", self.done, self.total)
        after = yield from self._analyse(following)
        rest = list(greys)
        motions: dict[int, Motion | None] = dict.fromkeys(rest)
        if after.sight is not None:
            tracker = FlowTracker(small_grey(after.sight.rgb))
            for number in reversed(rest):
                motions[number] = tracker.step(greys[number])
                yield StageEvent("Following masks back", self.done, self.total)
        side = _Side(after, span, Numbering(side.numbering.following))
        for number, motion in motions.items():
            yield from self._decide(side, number, motion, begin)
        return after

    def _moved(self, key: _Key, last: int) -> Iterator[tuple[int, Motion | None]]:
        """The frames after a key frame, with how the picture moved since."""
        frames = range(key.frame + 1, last + 1)
        if key.sight is None:
            yield from ((number, None) for number in frames)  # nothing that could be moved
            return
        tracker = FlowTracker(small_grey(key.sight.rgb))
        for number in frames:
            rgb = self._picture(number)
            if rgb is not None:
                yield number, tracker.step(small_grey(rgb))

    def _decide(
        self, side: _Side, number: int, motion: Motion | None, begin: int
    ) -> Iterator[SegmentEvent]:
        """Emit the result of a frame from its key frame and the sound at that time."""
        if number in self._left_out:
            return
        moment = self.video.time_of(number)
        judgement = self._judge(side, number, moment)
        if number < begin:
            return  # it is there already; judged all the same, for the numbers that follow
        info = self.video.info
        exact = number == side.key.frame
        sight, found = side.key.sight, judgement.found
        result = FrameResult(
            frame=number,
            time_s=moment,
            size=(info.height, info.width),
            reason=judgement.reason,
            window_s=self._window(moment),
            key=exact,
            between=_between(side.span, number),
            seconds=sight.seconds if sight is not None and exact else {},
        )
        if sight is not None and found is not None:
            objects = found.objects if motion is None else motion.move(found.objects)
            result = replace(
                result,
                objects=objects,
                # What sounded may have left the picture.
                reason="" if objects else judgement.reason or REASON_NO_OBJECT,
                coarse=found.coarse,
                heard=found.hearing.heard,
            )
            if self.keep_maps and exact:
                result = replace(result, maps=self._maps(found))
        yield from self._emit(result)

    def _judge(self, side: _Side, number: int, moment: float) -> _Judgement:
        """What sounds around `moment`; between key frames the sound is judged every quarter."""
        if self.audio is None:
            return _Judgement(None, REASON_NO_AUDIO)
        if number == side.key.frame:
            return self._listen(self.audio, side, moment)
        tick = _tick(moment)
        if tick not in side.judged:
            side.judged = {tick: self._listen(self.audio, side, tick * LISTEN_EVERY_S)}
        return side.judged[tick]

    def _listen(self, audio: AudioReader, side: _Side, centre: float) -> _Judgement:
        wave = audio.window(*self._window(centre))
        if is_silent(wave) or side.key.sight is None:
            return _Judgement(None, REASON_SILENT)
        heard = self.segmenter.bundle.hear(wave)
        found = self.segmenter.decide(side.key.sight.analysis, heard, side.key.sight.rgb)
        found = replace(found, objects=side.numbering.assign(found.objects))
        return _Judgement(found, found.reason)

    def _maps(self, found: Match) -> dict[str, NDArray]:
        """The intermediates of a key frame that can be looked at."""
        config, analysis = self.segmenter.config, found.analysis
        labels = labels_of(analysis, config.clusters, config.seed)
        proposals = np.zeros(analysis.saliency.shape, dtype=np.int16)
        # The smallest proposal on top, so that every one can be seen.
        for index in np.argsort(-analysis.proposals.masks.sum(axis=(1, 2))):
            proposals[analysis.proposals.masks[index]] = index + 1
        rows = analysis.token_grid
        attention = {
            f"attention {block}": values.reshape(rows)
            for block, values in sorted(analysis.attention.items())
        }
        if attention:
            attention["attention"] = np.mean(list(attention.values()), axis=0)
        return {
            **attention,
            "evidence": found.evidence,
            "region": found.region,
            "saliency": analysis.saliency,
            "clusters": labels.reshape(analysis.token_grid).astype(np.int16),
            "proposals": proposals,
        }


def _tick(moment: float) -> int:
    return round(moment / LISTEN_EVERY_S)


def _between(span: Span, frame: int) -> tuple[int, ...]:
    """`FrameResult.between` of a frame of a span."""
    if frame == span.key:
        return ()
    return (span.key, -1 if span.after is None else span.after)


def _timed(
    steps: Looking,
    seconds: dict[str, float],
    numbers: Sequence[int],
    done: int,
    total: int,
) -> Generator[SegmentEvent, None, list[FrameAnalysis]]:
    """Pass the stages of an analysis on with the job's progress, and note their times a frame."""
    title = f"Frame {numbers[0]}" if len(numbers) == 1 else f"Frames {numbers[0]}-{numbers[-1]}"
    stage, begun = "", time.perf_counter()
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            _add_time(seconds, stage, begun, len(numbers))
            return end.value
        if isinstance(event, NoteEvent):
            yield event
            continue
        _add_time(seconds, stage, begun, len(numbers))
        stage = event.stage
        yield StageEvent(f"{title}: {stage}", done, total)
        begun = time.perf_counter()


def _add_time(seconds: dict[str, float], stage: str, begun: float, frames: int) -> None:
    if stage:
        spent = (time.perf_counter() - begun) / frames
        seconds[stage] = seconds.get(stage, 0.0) + spent
