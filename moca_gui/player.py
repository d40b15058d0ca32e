"""Playback: which frame is due, when, and asking for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QImage

from moca_gui.clocks import AudioClock, AudioUnavailableError, Clock, WallClock, device_rate_hz
from moca_gui.frames import FrameLoader, FrameReady
from moca_gui.jobs import Job, JobPool
from moca_gui.session import Clip, Session

_log = logging.getLogger(__name__)

SPEEDS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0)
AudioFactory = Callable[[Clip, Callable[..., Any]], AudioClock]


class Player(QObject):
    """Moves the session's frame, in time while playing, at once when asked to.

    `target` is the frame asked for last, `session.frame` the one on screen. A frame is announced
    only with its picture, so that masks and readouts never belong to another frame.
    """

    playing_changed = Signal(bool)
    speed_changed = Signal(float)
    loop_changed = Signal(bool)
    sound_changed = Signal()
    sought = Signal()

    def __init__(
        self,
        session: Session,
        pool: JobPool,
        audio_factory: AudioFactory | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self.target = 0
        self.playing = False
        self.speed = 1.0
        self.looping = False
        self.volume = 0.8
        self.muted = False
        self.sound_note = ""
        self.shown_count = 0
        self.dropped_count = 0
        self._pool = pool
        self._audio_factory = audio_factory or open_audio_clock
        self._audio: AudioClock | None = None
        self._wall = WallClock()
        self._clock: Clock = self._wall
        self._loader: FrameLoader | None = None
        self._loader_job: Job | None = None
        self._awaited: Callable[[], None] | None = None  # what is done once the clip has grown
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        session.clip_grew.connect(self._on_grown)

    # -- the clip -----------------------------------------------------------------------------

    def attach(self, clip: Clip, first: QImage | None, frame: int = 0) -> None:
        """Take over `clip` at `frame`, whose picture is `first`; call after `session.set_clip`."""
        self.target = frame
        loader = FrameLoader(clip.reader)
        self._loader = loader
        self._loader_job = self._pool.start(
            "frames", loader.events, on_event=partial(self._on_frame, loader), wake=loader.stop
        )
        self._open_sound(clip)
        if first is not None:
            self.session.set_frame(frame, first)
        else:
            loader.request(frame)

    def detach(self) -> None:
        """Stop, and let go of the clip and the sound device; waits for the decoder."""
        self.pause()
        self._awaited = None
        if self._audio is not None:
            self._audio.close()
            self._audio = None
        if self._loader_job is not None:
            self._loader_job.cancel()
            self._loader_job.wait(10.0)
        self._loader = self._loader_job = None

    def _open_sound(self, clip: Clip) -> None:
        self.sound_note = ""
        if not clip.has_audio:
            self.sound_note = "no audio track"
        else:
            try:
                self._audio = self._audio_factory(clip, self._run_sound)
                self._apply_volume()
            except AudioUnavailableError as error:
                self.sound_note = f"no sound: {error}"
        self.sound_changed.emit()

    def _run_sound(self, make: Callable[[], Iterator[None]], wake: Callable[[], None]) -> None:
        self._pool.start("sound", make, wake=wake, on_finished=self._on_sound_finished)

    def _on_sound_finished(self, job: Job) -> None:
        if job.error is not None:
            self.session.note(f"The sound stopped: {job.error}")

    # -- moving -------------------------------------------------------------------------------

    def seek(self, frame: int) -> None:
        """Show `frame` (clipped to the clip) and go on from there if playing.

        A frame that isn't known yet of a long clip is shown as soon as it is.
        """
        clip = self.session.clip
        if clip is None or self._awaits(frame >= clip.frame_count, partial(self.seek, frame)):
            return
        self._request(min(max(frame, 0), clip.frame_count - 1))
        if self.playing:
            self._start_clock(clip.time_of(self.target))
        self.sought.emit()

    def seek_time(self, time_s: float) -> None:
        """Show the frame at `time_s`."""
        clip = self.session.clip
        if clip is None or self._awaits(time_s >= clip.duration_s, partial(self.seek_time, time_s)):
            return
        self.seek(clip.index_at(time_s))

    def step(self, frames: int) -> None:
        """Pause, and move by `frames`."""
        self.pause()
        self.seek(self.target + frames)

    def skip(self, seconds: float) -> None:
        """Move by `seconds`, playing on if it played."""
        if self.session.clip is not None:
            self.seek_time(self.session.clip.time_of(self.target) + seconds)

    def go_start(self) -> None:
        """To the first frame."""
        self.seek(0)

    def go_end(self) -> None:
        """To the last frame."""
        if self.session.clip is not None and not self._awaits(True, self.go_end):
            self.pause()
            self.seek(self.session.clip.frame_count - 1)

    def go_result(self, step: int) -> None:
        """To the next (1) or previous (-1) frame with a result."""
        frame = self.session.neighbour(step, self.target)
        if frame is None:
            self.session.note("No further frame with a result.")
        else:
            self.pause()
            self.seek(frame)

    def _awaits(self, beyond: bool, action: Callable[[], None]) -> bool:
        """Whether `action` has to wait because it lies `beyond` the frames that are known."""
        clip = self.session.clip
        waits = beyond and clip is not None and not clip.indexed
        self._awaited = action if waits else None
        if waits:
            self.session.note("That is still being indexed, and shown as soon as it is known.")
        return waits

    def _on_grown(self) -> None:
        awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited()

    # -- playing ------------------------------------------------------------------------------

    def toggle(self) -> None:
        """Play or pause."""
        if self.playing:
            self.pause()
        else:
            self.play()

    def play(self) -> None:
        """Play on; from the start of the range or clip when at its end."""
        clip = self.session.clip
        if clip is None or self.playing:
            return
        first, last = self._bounds(clip)
        if self.speed > 0 and (self.target >= last or (self.looping and self.target < first)):
            self._request(first)
        elif self.speed < 0 and self.target <= first:
            self._request(last)
        self.playing = True
        self._start_clock(clip.time_of(self.target))
        self.playing_changed.emit(True)

    def pause(self) -> None:
        """Stop on the frame that is on screen."""
        if not self.playing:
            return
        self.playing = False
        self._timer.stop()
        self._clock.stop()
        self.playing_changed.emit(False)

    def hold(self) -> None:
        """Stay on the frame that is on screen, even if another one is on its way."""
        self.pause()
        if self.target != self.session.frame:
            self.seek(self.session.frame)

    def shuttle(self, direction: int) -> None:
        """J (-1) and L (1): play that way, twice as fast with each press; K (0) pauses."""
        if direction == 0:
            self.pause()
            self.set_speed(1.0)
            return
        same_way = self.playing and self.speed * direction > 0
        self.set_speed(direction * (min(abs(self.speed) * 2, 8.0) if same_way else 1.0))
        self.play()

    def set_speed(self, speed: float) -> None:
        """Seconds of clip a second; negative plays backwards. Sound plays at 1 only."""
        if speed == self.speed:
            return
        self.speed = speed
        self.speed_changed.emit(speed)
        clip = self.session.clip
        if self.playing and clip is not None:
            self._start_clock(self._clock.position_s())

    def change_speed(self, step: int) -> None:
        """To the next faster (1) or slower (-1) speed of the list."""
        faster = [s for s in SPEEDS if s > self.speed + 1e-9]
        slower = [s for s in SPEEDS if s < self.speed - 1e-9]
        if step > 0 and faster:
            self.set_speed(faster[0])
        elif step < 0 and slower:
            self.set_speed(slower[-1])

    def set_looping(self, looping: bool) -> None:
        """Play the range (or the clip) over and over."""
        if looping != self.looping:
            self.looping = looping
            self.loop_changed.emit(looping)

    def set_volume(self, volume: float) -> None:
        """0 to 1."""
        self.volume = min(max(volume, 0.0), 1.0)
        self._apply_volume()
        self.sound_changed.emit()

    def set_muted(self, muted: bool) -> None:
        """Silence the sound without stopping its clock."""
        self.muted = muted
        self._apply_volume()
        self.sound_changed.emit()

    def _apply_volume(self) -> None:
        if self._audio is not None:
            # Ears hear loudness roughly as the square root of the amplitude.
            self._audio.volume = self.volume**2
            self._audio.muted = self.muted

    @property
    def clock_name(self) -> str:
        """`sound` or `wall`: which clock leads while playing."""
        return "sound" if self._clock is self._audio else "wall"

    def _bounds(self, clip: Clip) -> tuple[int, int]:
        if self.looping and self.session.range is not None:
            return self.session.range
        return 0, clip.frame_count - 1

    def _start_clock(self, position_s: float) -> None:
        self._clock.stop()
        self._clock = self._wall
        if self._audio is not None and self.speed == 1.0:
            try:
                self._audio.start(position_s)
                self._clock = self._audio
            except AudioUnavailableError as error:
                self._audio.close()
                self._audio = None
                self.sound_note = f"no sound: {error}"
                self.sound_changed.emit()
        if self._clock is self._wall:
            self._wall.start(position_s, self.speed)
        self._timer.start(0)

    def _tick(self) -> None:
        clip = self.session.clip
        if clip is None or not self.playing:
            return
        first, last = self._bounds(clip)
        position = self._clock.position_s()
        end = clip.time_of(last + 1) if last + 1 < clip.frame_count else clip.duration_s
        at_end = position >= end if self.speed > 0 else position <= clip.time_of(first)
        if at_end:
            self._reach_end(clip, first, last)
            return
        index = min(max(clip.index_at(position), first if self.looping else 0), last)
        if index != self.target:
            self.dropped_count += max(abs(index - self.target) - 1, 0)
            self._request(index)
        self._timer.start(self._delay_ms(clip, index, position))

    def _delay_ms(self, clip: Clip, index: int, position: float) -> int:
        if self.speed > 0:
            due = clip.time_of(index + 1) if index + 1 < clip.frame_count else clip.duration_s
        else:
            due = clip.time_of(index)
        wait_s = (due - position) / self.speed
        return int(min(max(wait_s * 1000, 1.0), 30.0))

    def _reach_end(self, clip: Clip, first: int, last: int) -> None:
        if self.looping:
            self._request(first if self.speed > 0 else last)
            self._start_clock(clip.time_of(self.target))
            return
        self._request(last if self.speed > 0 else first)
        self.pause()
        self._awaits(self.speed > 0, self.play)

    def _request(self, frame: int) -> None:
        self.target = frame
        if self._loader is not None:
            self._loader.request(frame)

    def _on_frame(self, loader: FrameLoader, event: FrameReady) -> None:
        if loader is not self._loader:
            return  # of the clip before
        if event.image is None:
            self.session.note(f"Frame {event.index} can't be decoded: {event.error}")
        self.shown_count += 1
        self.session.set_frame(event.index, event.image)


def open_audio_clock(clip: Clip, run: Callable[..., Any]) -> AudioClock:
    """An `AudioClock` on the clip's sound; raises `AudioUnavailableError`."""
    from moca_core.errors import MediaError
    from moca_core.media.audio import PlaybackDecoder

    rate_hz = device_rate_hz()
    try:
        decoder = PlaybackDecoder(clip.path, rate_hz)
    except MediaError as error:
        raise AudioUnavailableError(error.message) from error
    return AudioClock(decoder.blocks, run, rate_hz)
