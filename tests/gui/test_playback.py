"""Playback: the frame asked for is the frame shown; keys, clocks, loop, speeds."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from gui_fakes import COUNT, FPS, FakeReader, number_frame
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor

from moca_core.errors import MediaError
from moca_gui.clocks import AudioClock, AudioUnavailableError, SampleQueue, WallClock


def shown_number(window):
    """The number that the picture on screen spells."""
    red, green, _ = QColor(window.session.image.pixel(3, 3)).getRgb()[:3]
    return red + 256 * green


@pytest.fixture
def at(qtbot):
    """Wait for a frame and check that picture and readouts agree on it."""

    def check(window, frame):
        qtbot.waitUntil(lambda: window.session.frame == frame, timeout=2000)
        assert shown_number(window) == frame
        assert window.status.position.text() == f"{frame} / {COUNT}"
        assert window.transport.frame.text() == f"frame {frame} / {COUNT}"

    return check


def test_every_key_moves_to_its_frame(window, open_clip, qtbot, at):
    open_clip(window)
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    none = Qt.KeyboardModifier.NoModifier
    for key, modifier, frame in (
        (Qt.Key.Key_Right, none, 1),
        (Qt.Key.Key_Period, none, 2),
        (Qt.Key.Key_Left, none, 1),
        (Qt.Key.Key_Comma, none, 0),
        (Qt.Key.Key_Left, none, 0),
        (Qt.Key.Key_Right, control, 10),
        (Qt.Key.Key_Right, shift, 35),
        (Qt.Key.Key_Left, shift, 10),
        (Qt.Key.Key_Left, control, 0),
        (Qt.Key.Key_End, none, COUNT - 1),
        (Qt.Key.Key_Right, none, COUNT - 1),
        (Qt.Key.Key_Home, none, 0),
    ):
        qtbot.keyClick(window, key, modifier)
        at(window, frame)


def test_random_seeks_show_the_frames_asked_for(window, open_clip, at):
    open_clip(window)
    for frame in np.random.default_rng(0).integers(0, COUNT, 20).tolist():
        window.player.seek(frame)
        at(window, frame)


def test_space_plays_to_the_end_and_stops_on_the_last_frame(window, open_clip, qtbot, at):
    open_clip(window)
    window.player.seek(COUNT - 8)
    at(window, COUNT - 8)
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert window.player.playing
    assert window.player.clock_name == "wall"
    assert window.status.sound.full_text == "No sound: no audio device"
    qtbot.waitUntil(lambda: not window.player.playing, timeout=3000)
    at(window, COUNT - 1)


def test_space_pauses(window, open_clip, qtbot):
    open_clip(window)
    qtbot.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: window.session.frame > 2, timeout=3000)
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert not window.player.playing
    qtbot.waitUntil(lambda: window.session.frame == window.player.target, timeout=2000)
    frame = window.session.frame
    qtbot.wait(120)
    assert window.session.frame == frame == shown_number(window)


def test_shuttle_keys(window, open_clip, qtbot):
    open_clip(window)
    qtbot.keyClick(window, Qt.Key.Key_L)
    assert (window.player.playing, window.player.speed) == (True, 1.0)
    qtbot.keyClick(window, Qt.Key.Key_L)
    assert window.player.speed == 2.0
    qtbot.keyClick(window, Qt.Key.Key_K)
    assert (window.player.playing, window.player.speed) == (False, 1.0)
    window.player.seek(30)
    qtbot.keyClick(window, Qt.Key.Key_J)
    assert window.player.speed == -1.0
    qtbot.waitUntil(lambda: window.session.frame < 27, timeout=3000)
    assert shown_number(window) == window.session.frame
    qtbot.keyClick(window, Qt.Key.Key_J)
    qtbot.waitUntil(lambda: not window.player.playing, timeout=3000)
    qtbot.waitUntil(lambda: window.session.frame == 0, timeout=2000)


def test_speed_keys(window, open_clip, qtbot):
    open_clip(window)
    qtbot.keyClick(window, ">")
    assert window.player.speed == 1.5
    qtbot.keyClick(window, "<")
    qtbot.keyClick(window, "<")
    assert window.player.speed == 0.75
    assert window.transport.speed.text() == "0.75×"  # noqa: RUF001
    qtbot.keyClick(window, Qt.Key.Key_Backspace)
    assert window.player.speed == 1.0


def test_loop_stays_inside_the_range(window, open_clip, qtbot):
    open_clip(window)
    window.session.set_range(10, 14)
    qtbot.keyClick(window, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    seen = []
    window.session.frame_changed.connect(lambda: seen.append(window.session.frame))
    window.player.play()
    qtbot.waitUntil(lambda: seen.count(10) >= 2, timeout=4000)
    window.player.pause()
    assert set(seen) <= set(range(10, 15))


def test_range_keys_and_go_to(window, open_clip, qtbot, at):
    open_clip(window)
    window.player.seek(5)
    at(window, 5)
    qtbot.keyClick(window, "[")
    window.player.seek(20)
    at(window, 20)
    qtbot.keyClick(window, "]")
    assert window.session.range == (5, 20)
    assert window.session.range_seconds() == pytest.approx((5 / FPS, 21 / FPS))
    qtbot.keyClick(window, Qt.Key.Key_G, Qt.KeyboardModifier.ControlModifier)
    from moca_gui.dialogs.goto import GoToDialog

    dialog = window.findChild(GoToDialog)
    # `l`, `m`, `k` and Space are shortcuts of the window, and must stay text here.
    qtbot.keyClicks(dialog.edit, "mlk ")
    assert dialog.edit.text() == "mlk "
    assert not window.player.playing
    assert not window.player.muted
    dialog.edit.clear()
    qtbot.keyClicks(dialog.edit, "00:01.200")
    qtbot.keyClick(dialog.edit, Qt.Key.Key_Return)
    at(window, 30)


def test_single_keys_stay_text_in_a_box_of_the_window(window, open_clip, qtbot):
    from PySide6.QtWidgets import QLineEdit

    open_clip(window)
    box = QLineEdit(window.centralWidget())
    box.show()
    box.setFocus()
    qtbot.keyClicks(box, "h m,.[]<>0 j")
    qtbot.keyClick(box, Qt.Key.Key_Left)
    qtbot.keyClick(box, Qt.Key.Key_Backspace)
    assert box.text() == "h m,.[]<>0j"
    assert window.view.overlays_shown
    assert window.session.range is None
    assert not window.player.playing
    assert window.session.frame == window.player.target == 0


def test_a_frame_that_cant_be_decoded_is_said(make_window, services, open_clip, qtbot):
    class Broken(FakeReader):
        def frame(self, index):
            if index == 3:
                raise MediaError("the stream is damaged here")
            return number_frame(index)

    services["open_reader"] = Broken
    window = make_window()
    open_clip(window)
    window.player.seek(3)
    qtbot.waitUntil(lambda: window.session.frame == 3, timeout=2000)
    assert window.session.image is None
    assert "the stream is damaged here" in window.status.note.full_text
    window.player.seek(4)
    qtbot.waitUntil(lambda: window.session.image is not None, timeout=2000)
    assert shown_number(window) == 4


# -- clocks -----------------------------------------------------------------------------------


def test_wall_clock_runs_both_ways_and_stops():
    now = [10.0]
    clock = WallClock(lambda: now[0])
    clock.start(3.0, -2.0)
    now[0] = 10.5
    assert clock.position_s() == 2.0
    clock.stop()
    now[0] = 12.0
    assert clock.position_s() == 2.0


class FakeStream:
    """An output device whose callback the test calls by hand."""

    made: list = []

    def __init__(self, *, callback, samplerate, channels, **_options):
        self.callback, self.rate, self.channels = callback, samplerate, channels
        self.latency = 0.05
        self.running = False
        FakeStream.made.append(self)

    def start(self):
        self.running = True

    def abort(self):
        self.running = False

    def close(self):
        self.running = False

    def pull(self, frames, delay=0.02):
        out = np.full((frames, 2), 9, np.float32)
        when = SimpleNamespace(currentTime=1.0, outputBufferDacTime=1.0 + delay)
        self.callback(out, frames, when, None)
        return out


def in_thread(threads):
    def run(make, wake):
        def body():
            for _ in make():
                pass

        thread = threading.Thread(target=body)
        thread.start()
        threads.append(thread)

    return run


def test_audio_clock_counts_the_samples_heard(monkeypatch):
    import moca_gui.clocks as clocks

    now = [100.0]
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: now[0])

    def read(start_s):
        first = round(start_s * 1000)
        for n in range(first, 2000, 100):
            yield np.repeat(np.arange(n, n + 100, dtype=np.float32)[:, None], 2, axis=1)

    threads = []
    clock = AudioClock(read, in_thread(threads), 1000, FakeStream)
    stream = FakeStream.made[-1]
    clock.start(0.5)
    assert stream.running
    assert clock.position_s() == 0.5
    threads[0].join(0.3)  # the queue is full, or the source has ended
    np.testing.assert_array_equal(stream.pull(200)[:, 0], np.arange(500, 700))
    assert clock.position_s() == 0.5  # handed over, but not yet heard
    now[0] += 0.12
    assert clock.position_s() == pytest.approx(0.6)  # 0.12 s minus the 0.02 s on the way
    now[0] += 5.0
    assert clock.position_s() == pytest.approx(0.7)  # never past what was handed over
    stream.pull(200)
    now[0] += 0.02
    assert clock.position_s() == pytest.approx(0.7)
    clock.muted = True
    assert not stream.pull(10).any()
    clock.stop()
    assert not stream.running
    clock.close()
    for thread in threads:
        thread.join(2)


def test_an_underrun_holds_the_clock_and_the_end_does_not(monkeypatch):
    import moca_gui.clocks as clocks

    now = [0.0]
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: now[0])
    gate = threading.Event()

    def read(start_s):
        yield np.ones((100, 2), np.float32)
        gate.wait(5)

    threads = []
    clock = AudioClock(read, in_thread(threads), 1000, FakeStream)
    stream = FakeStream.made[-1]
    clock.start(0.0)
    while not clock._queue._blocks:
        pass
    out = stream.pull(300)
    assert (out[:100] == 1).all()
    assert not out[100:].any()
    now[0] = 9.0
    assert clock.position_s() == pytest.approx(0.1)
    gate.set()
    threads[0].join(2)
    stream.pull(500)
    now[0] = 9.3
    assert clock.position_s() == pytest.approx(0.1 + 0.3 - 0.02)
    clock.close()


def test_missing_portaudio_and_missing_device_are_told_apart():
    def no_library(**_options):
        raise OSError("PortAudio library not found")

    def no_device(**_options):
        raise RuntimeError("Error querying device -1")

    with pytest.raises(AudioUnavailableError, match="PortAudio library is missing"):
        AudioClock(lambda s: iter(()), lambda m, w: None, 48000, no_library)
    with pytest.raises(AudioUnavailableError, match="no audio device"):
        AudioClock(lambda s: iter(()), lambda m, w: None, 48000, no_device)


def test_playback_follows_the_sound_card(make_window, services, open_clip, qtbot, at):
    def read(start_s):
        yield np.zeros((4000, 2), np.float32)

    services["audio_factory"] = lambda clip, run: AudioClock(read, run, 1000, FakeStream)
    window = make_window()
    open_clip(window)
    stream = FakeStream.made[-1]
    assert window.status.sound.full_text == ""
    window.player.play()
    assert window.player.clock_name == "sound"
    qtbot.wait(150)
    # The card hasn't asked for a sample: the picture waits with it.
    assert window.session.frame == 0
    qtbot.waitUntil(lambda: bool(window.player._audio._queue._blocks), timeout=2000)
    stream.pull(400, delay=1e-6)
    at(window, 10)
    window.player.set_speed(2.0)
    assert window.player.clock_name == "wall"
    window.player.pause()


def test_sample_queue_stops_its_producer():
    queue = SampleQueue(blocks=1)
    assert queue.put(np.zeros((4, 2), np.float32))
    done = []
    thread = threading.Thread(target=lambda: done.append(queue.put(np.zeros((4, 2), np.float32))))
    thread.start()
    queue.stop()
    thread.join(2)
    assert done == [False]


def test_keys_move_the_volume_while_its_slider_has_the_focus(window, open_clip, at, qtbot):
    open_clip(window)
    slider = window.transport.volume
    slider.setFocus()
    qtbot.waitUntil(slider.hasFocus, timeout=2000)
    before = slider.value()
    qtbot.keyClick(slider, Qt.Key.Key_Left)
    assert slider.value() == before - 1
    assert window.player.volume == pytest.approx((before - 1) / 100)
    qtbot.keyClick(slider, Qt.Key.Key_End)
    assert slider.value() == 100
    assert window.player.target == 0, "neither a frame step nor the end of the clip"
    window.view.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_Right)
    at(window, 1)
    assert slider.value() == 100
