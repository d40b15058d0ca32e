"""One run over one clip: key frames are analysed, the frames between follow the nearer one.

The pictures are decoded once, in their order. Of the frames before the next key frame only small
grey pictures are kept until that one is analysed, so memory depends on neither clip nor spacing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from moca_core.errors import MediaError, StorageError
from moca_core.media.audio import AudioReader, frame_window, is_silent
from moca_core.pipeline.analyses import Analyses, Plan, Sight
from moca_core.pipeline.clip_parts import Store, Video, timed
from moca_core.pipeline.hearing import Heard
from moca_core.pipeline.maps import maps_of
from moca_core.pipeline.matching import Match
from moca_core.pipeline.notes import notes_of
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
    ScoresEvent,
    SegmentEvent,
    StageEvent,
)

if TYPE_CHECKING:
    from moca_core.pipeline.segmenter import Segmenter

LISTEN_EVERY_S = 0.25
"""Between key frames the sound is judged again this often."""
_NAMED_FRAMES = 5


@dataclass(frozen=True, eq=False)
class _Key:
    """A key frame; nothing was looked at (`sight` is None) where its frames are all silent.

    If it can't be decoded, its sight is that of the nearest of its frames that can, if any.
    """

    frame: int
    sight: Sight | None


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
    analyses : where what is found in the key frames is looked for and kept.
    anew : results in the store are only kept there, not looked for.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        video: Video,
        audio: AudioReader | None,
        keep_maps: bool,
        store: Store | None,
        analyses: Analyses | None = None,
        anew: bool = False,
    ) -> None:
        self.segmenter, self.video, self.audio = segmenter, video, audio
        self.keep_maps, self.store = keep_maps, store
        self.analyses, self.anew = analyses, anew
        self.numbering = Numbering()
        self.done = self.total = 0
        self._spans: Sequence[Span] = ()
        self._plan: Plan | None = None
        self._ahead: dict[int, Sight] = {}
        self._left_out: dict[int, MediaError] = {}
        self._heard_all = audio is None
        self._storing = store is not None

    def events(self, spans: Sequence[Span]) -> Iterator[SegmentEvent]:
        """Yield a `FrameEvent` for each frame of the spans in order, and stages between."""
        if self.analyses is not None:
            self._plan = self.analyses.begin(self.video.info, spans, self.keep_maps)
        yield from self._all(spans, spans)
        yield from self._tell_left_out()

    def again(self, plan: Plan, spans: Sequence[Span]) -> Iterator[SegmentEvent]:
        """The same of a run whose key frames are kept: without sound, encoders and stored results.

        Parameters
        ----------
        plan, spans : from `Analyses.plans`.
        """
        self._plan, self.anew = plan, True
        yield from self._all(spans, plan.spans)

    def only(self, plan: Plan, span: Span, frame: int) -> Iterator[SegmentEvent]:
        """The same of one frame of these, if what moved since its key frame is kept, too."""
        self._plan, self.anew, self.total = plan, True, 1
        own = span.key if frame <= span.middle else span.after
        assert own is not None  # `Analyses.plans` gives no span that ends beyond its middle then
        key = self._held(own)
        motions = {frame: None} if frame == own else self._kept_motions(key, [frame])
        if motions is not None:
            side = _Side(key, span, Numbering())
            yield from self._decide(side, frame, motions[frame], frame)

    def _all(self, spans: Sequence[Span], known: Sequence[Span]) -> Iterator[SegmentEvent]:
        """The frames of `spans`; each may be followed by one of the `known` spans."""
        by_key = {span.key: span for span in known}
        self.total = sum(len(span.frames) for span in spans)
        key: _Key | None = None
        self._spans = spans
        for span in spans:
            following = None if span.after is None else by_key.get(span.after)
            self.numbering.begin_span()
            ready = yield from self._stored(span)
            if ready == len(span.frames):
                key = None
                continue
            if key is None or key.frame != span.key:
                key = yield from self._analyse(span)
            key = yield from self._span(key, span, following, ready)

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
        if self.store is None or self.anew:
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
            return self._held(span.key)
        yield from self._read_sound(self.audio)
        if span.key in self._ahead:
            return _Key(span.key, self._ahead.pop(span.key))
        if self.analyses is not None and self.analyses.looked_at(span.key):
            return self._held(span.key)
        if not self._could_sound(self.audio, span):
            return self._key(span.key, None)
        yield StageEvent(f"Decoding frame {span.key}", self.done, self.total)
        rgb = self._picture_near(span)
        if rgb is None:
            return self._key(span.key, None)
        yield from self.segmenter.load()
        rgbs = {span.key: rgb} | self._companions(self.audio, span)
        look = self.segmenter.look(list(rgbs.values()))
        seconds: dict[str, float] = {}
        analyses = yield from timed(look, seconds, list(rgbs), self.done, self.total)
        for (number, picture), analysis in zip(rgbs.items(), analyses, strict=True):
            sight = Sight(analysis, picture, small_grey(picture), seconds)
            self._ahead[number] = sight
            self._key(number, sight)
        return _Key(span.key, self._ahead.pop(span.key))

    def _key(self, frame: int, sight: Sight | None) -> _Key:
        """A key frame, which is kept."""
        if self.analyses is not None:
            self.analyses.keep(frame, sight)
        return _Key(frame, sight)

    def _held(self, frame: int) -> _Key:
        """A key frame as it is kept; if it isn't, nothing was seen there."""
        if self.analyses is None or frame not in self.analyses:
            return _Key(frame, None)
        return _Key(frame, self.analyses.sight(frame))

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
            stored = self._is_stored(other.key)
            if stored or not self._could_sound(audio, other):
                continue
            rgb = self._picture(other.key)
            if rgb is not None:
                found[other.key] = rgb
        return found

    def _is_stored(self, key: int) -> bool:
        """Whether a key frame needn't be looked at."""
        if self.analyses is not None and self.analyses.looked_at(key):
            return True
        if self.store is None or self.anew:
            return False
        return self.store.load(key, self.keep_maps) is not None

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
        after, motions = yield from self._moved_back(span, following)
        side = _Side(after, span, Numbering(side.numbering.following))
        for number, back in motions.items():
            yield from self._decide(side, number, back, begin)
        return after

    def _moved_back(
        self, span: Span, following: Span
    ) -> Generator[SegmentEvent, None, tuple[_Key, Mapping[int, Motion | None]]]:
        """The next key frame, and the frames before it with how the picture moves up to there."""
        rest = range(span.middle + 1, span.last + 1)
        if self.audio is None:
            after = self._held(following.key)
            kept = self._kept_motions(after, rest)
            if kept is not None:
                return after, kept
        greys = {}
        for number in rest:
            rgb = self._picture(number)
            if rgb is not None:
                greys[number] = small_grey(rgb)
            yield StageEvent("Reading ahead", self.done, self.total)
        after = yield from self._analyse(following)
        motions: dict[int, Motion | None] = dict.fromkeys(greys)
        if after.sight is not None:
            tracker = FlowTracker(after.sight.small)
            for number in reversed(greys):
                motions[number] = self._noted(after, number, tracker.step(greys[number]))
                yield StageEvent("Following masks back", self.done, self.total)
        return after, motions

    def _moved(self, key: _Key, last: int) -> Iterator[tuple[int, Motion | None]]:
        """The frames after a key frame, with how the picture moved since."""
        frames = range(key.frame + 1, last + 1)
        kept = self._kept_motions(key, frames)
        if kept is not None:
            yield from kept.items()
            return
        assert key.sight is not None  # else there is nothing that could be moved
        tracker = FlowTracker(key.sight.small)
        for number in frames:
            rgb = self._picture(number)
            if rgb is not None:
                yield number, self._noted(key, number, tracker.step(small_grey(rgb)))

    def _kept_motions(self, key: _Key, frames: Sequence[int]) -> Mapping[int, Motion | None] | None:
        """How frames came about from a key frame; None if that isn't kept of all of them."""
        if key.sight is None:
            return dict.fromkeys(frames)
        if self.analyses is None:
            return None
        motions = {number: self.analyses.motion(key.frame, number) for number in frames}
        return None if None in motions.values() else motions

    def _noted(self, key: _Key, number: int, motion: Motion) -> Motion:
        if self.analyses is not None:
            self.analyses.keep_motion(key.frame, number, motion)
        return motion

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
            if exact and self.analyses is not None:
                yield ScoresEvent(number, found.scores)
            if self.keep_maps and exact:
                segmenter = self.segmenter
                maps = maps_of(found, segmenter.config)
                notes = notes_of(found, segmenter.settings)
                result = replace(result, maps=maps, proposals=notes)
        if self._plan is not None:
            self._plan.done.add(number)
        yield from self._emit(result)

    def _judge(self, side: _Side, number: int, moment: float) -> _Judgement:
        """What sounds around `moment`; between key frames the sound is judged every quarter."""
        if self.audio is None and not self._is_held(side.key):
            return _Judgement(None, REASON_NO_AUDIO)
        if number == side.key.frame:
            return self._listen(side, moment)
        tick = _tick(moment)
        if tick not in side.judged:
            side.judged = {tick: self._listen(side, tick * LISTEN_EVERY_S)}
        return side.judged[tick]

    def _is_held(self, key: _Key) -> bool:
        return self.analyses is not None and key.frame in self.analyses

    def _listen(self, side: _Side, centre: float) -> _Judgement:
        heard = self._hear(side.key, centre)
        if heard is None or side.key.sight is None:
            return _Judgement(None, REASON_SILENT)
        found = self.segmenter.decide(side.key.sight.analysis, heard, side.key.sight.rgb)
        found = replace(found, objects=side.numbering.assign(found.objects))
        return _Judgement(found, found.reason)

    def _hear(self, key: _Key, centre: float) -> Heard | None:
        """What is heard around a time; None: silence, or nothing was seen to compare it with."""
        kept = self.analyses
        if self.audio is None or (kept is not None and kept.knows_sound(key.frame, centre)):
            return None if kept is None else kept.heard(key.frame, centre)
        wave = self.audio.window(*self._window(centre))
        silent = is_silent(wave) or key.sight is None
        heard = None if silent else self.segmenter.bundle.hear(wave)
        if kept is not None:
            kept.note_heard(key.frame, centre, heard)
        return heard


def _tick(moment: float) -> int:
    return round(moment / LISTEN_EVERY_S)


def _between(span: Span, frame: int) -> tuple[int, ...]:
    """`FrameResult.between` of a frame of a span."""
    if frame == span.key:
        return ()
    return (span.key, -1 if span.after is None else span.after)
