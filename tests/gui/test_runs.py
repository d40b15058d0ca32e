"""Runs: in a worker, cancelled soon, results appear at once and stay while playing."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import COUNT, HEIGHT, WIDTH
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from moca_core.config import SegmentConfig
from moca_core.errors import StorageError, WeightsError
from moca_core.pipeline.analyses import Analyses
from moca_core.types import FrameResult, SoundingObject
from moca_gui.dialogs.errors import ErrorDialog
from moca_gui.kept import KeptResults, open_results
from moca_gui.results import EMPTY, MASKS


def run_ended(window):
    return lambda: window.runner.job is None


def test_run_on_the_clip_fills_every_frame(window, open_clip, qtbot, segmenter):
    open_clip(window)
    qtbot.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(run_ended(window), timeout=5000)
    assert len(window.session.results) == COUNT
    assert window.status.device.full_text == "CPU float32: no CUDA device"
    assert window.status.note.full_text == f"Run on the clip: {COUNT} frames done."
    assert not window.status.job.isVisible()
    (request,) = segmenter.requests
    assert isinstance(request.pop("store"), KeptResults)
    assert isinstance(request.pop("analyses"), Analyses)
    assert request == {"frames": "all", "every_s": 1.0, "keep_maps": False, "anew": False}
    assert window.session.results.states[9] == EMPTY
    assert window.session.results.states[8] == MASKS


def test_masks_belong_to_the_frame_shown(window, open_clip, qtbot, segmenter):
    open_clip(window)
    window.runner.run_clip()
    qtbot.waitUntil(run_ended(window), timeout=5000)
    for frame in (1, 2, 30, 9):
        window.player.seek(frame)
        qtbot.waitUntil(lambda frame=frame: window.session.frame == frame, timeout=2000)
        truth = segmenter.result(frame)
        assert window.view.drawn_numbers == [item.number for item in truth.objects]
        for drawn, item in zip(window.session.result.objects, truth.objects, strict=True):
            x0, y0, x1, y1 = item.box
            assert drawn.box == item.box
            assert (drawn.crop() == item.mask[y0:y1, x0:x1]).all()
    assert window.view.banner == "No mask: silent"
    assert window.objects.message.text() == "No mask: silent."


def test_results_appear_during_the_run_and_stay_while_playing(window, open_clip, qtbot, segmenter):
    open_clip(window)
    segmenter.gate = threading.Event()
    window.runner.run_clip()
    qtbot.waitUntil(window.status.job.isVisible, timeout=2000)
    assert window.view.drawn_numbers == []
    segmenter.gate.set()
    qtbot.waitUntil(lambda: len(window.session.results) >= 5, timeout=4000)
    assert window.view.drawn_numbers == [1]
    qtbot.waitUntil(run_ended(window), timeout=5000)
    drawn = {}
    window.session.frame_changed.connect(
        lambda: drawn.setdefault(window.session.frame, list(window.view.drawn_numbers))
    )
    window.player.play()
    qtbot.waitUntil(lambda: len(drawn) > 8, timeout=4000)
    window.player.pause()
    for frame, numbers in drawn.items():
        assert numbers == [item.number for item in segmenter.result(frame).objects], frame


def test_cancel_button_stops_and_keeps_what_is_done(window, open_clip, qtbot, segmenter):
    open_clip(window)
    segmenter.delay_s = 0.02
    window.runner.run_clip()
    qtbot.waitUntil(lambda: len(window.session.results) >= 3, timeout=4000)
    qtbot.mouseClick(window.status.job.cancel, Qt.MouseButton.LeftButton)
    assert window.status.job.text.full_text == "Cancelling"
    qtbot.waitUntil(run_ended(window), timeout=1000)
    assert 3 <= len(window.session.results) < COUNT
    assert segmenter.yielded <= len(window.session.results) + 1
    assert "cancelled" in window.status.note.full_text


def test_escape_cancels_a_run_that_waits(window, open_clip, qtbot, segmenter):
    open_clip(window)
    segmenter.gate = threading.Event()
    window.runner.run_clip()
    qtbot.waitUntil(lambda: bool(segmenter.requests), timeout=2000)
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(run_ended(window), timeout=1000)


def test_cancel_in_a_long_step_frees_the_window_and_the_next_run_waits(
    window, open_clip, qtbot, segmenter
):
    open_clip(window)
    segmenter.step = threading.Event()
    window.runner.run_clip()
    qtbot.waitUntil(lambda: bool(segmenter.requests), timeout=2000)
    window.runner.cancel()
    qtbot.waitUntil(run_ended(window), timeout=3000)
    assert "cancelled, 0 frames kept" in window.status.note.full_text
    assert not window.status.job.isVisible()
    window.runner.run_frame()
    qtbot.waitUntil(
        lambda: "waiting for the stopped run" in window.status.job.text.full_text, timeout=2000
    )
    assert len(segmenter.requests) == 1
    segmenter.step.set()
    qtbot.waitUntil(run_ended(window), timeout=3000)
    assert window.session.results.states.nonzero()[0].tolist() == [0]
    assert window.status.note.full_text == "Run on frame 0: 1 frame done."
    assert window.pool.titles == ["frames"]


def test_run_on_the_frame_keeps_its_maps(window, open_clip, qtbot, segmenter):
    open_clip(window)
    window.player.seek(12)
    qtbot.waitUntil(lambda: window.session.frame == 12, timeout=2000)
    qtbot.keyClick(window, Qt.Key.Key_R)
    qtbot.waitUntil(run_ended(window), timeout=4000)
    assert segmenter.requests[0]["frames"] == [12]
    assert len(window.session.results) == 1
    qtbot.keyClick(window, Qt.Key.Key_2)
    assert window.view._map.title == "Evidence"
    assert window.view.drawn_numbers == []
    centre = window.view.frame_rect().center().toPoint()
    qtbot.mouseMove(window.view, centre)
    qtbot.waitUntil(lambda: window.inspector.pixel.text() == "32, 24", timeout=2000)
    expected = segmenter.result(12, keep_maps=True).maps["evidence"][8, 8]
    assert window.inspector.value.text() == f"{expected:.4g} (at most 1)"
    assert window.inspector.object.text() == "-"
    qtbot.keyClick(window, Qt.Key.Key_5)  # another map under the resting pointer
    cluster = segmenter.result(12, keep_maps=True).maps["clusters"][8, 8]
    assert window.inspector.value.text() == f"cluster {cluster}"
    qtbot.keyClick(window, Qt.Key.Key_1)
    assert window.inspector.value.text() == "-"
    assert window.view.drawn_numbers == [1]


def test_run_on_the_range(window, open_clip, qtbot, segmenter):
    open_clip(window)
    assert not window.actions_by_name["run_range"].isEnabled()
    window.session.set_range(10, 19)
    qtbot.keyClick(window, Qt.Key.Key_R, Qt.KeyboardModifier.ShiftModifier)
    qtbot.waitUntil(run_ended(window), timeout=4000)
    # To the middle of the last frame, so that the next one isn't part of it.
    assert (segmenter.requests[0]["start_s"], segmenter.requests[0]["end_s"]) == (0.4, 0.78)
    assert window.session.results.states.nonzero()[0].tolist() == list(range(10, 20))


def test_h_hides_and_the_check_box_hides_one(window, open_clip, qtbot, segmenter):
    open_clip(window)
    window.runner.run_clip()
    qtbot.waitUntil(run_ended(window), timeout=5000)
    window.player.seek(3)
    qtbot.waitUntil(lambda: window.view.drawn_numbers == [1, 2], timeout=2000)
    qtbot.keyClick(window, Qt.Key.Key_H)
    assert window.view.drawn_numbers == []
    qtbot.keyClick(window, Qt.Key.Key_H)
    assert window.view.drawn_numbers == [1, 2]
    window.objects.table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    assert window.view.drawn_numbers == [2]
    window.player.seek(5)
    qtbot.waitUntil(lambda: window.session.frame == 5, timeout=2000)
    assert window.view.drawn_numbers == [2]


def test_a_clip_without_sound_gets_its_reason(window, open_clip, qtbot, segmenter):
    segmenter.has_audio = False
    open_clip(window, "silent.mp4")
    window.runner.run_clip()
    qtbot.waitUntil(run_ended(window), timeout=5000)
    assert window.view.banner == "No mask: no audio track"


def test_next_and_previous_result(window, open_clip, qtbot, segmenter):
    open_clip(window)
    window.session.set_range(20, 21)
    window.runner.run_range()
    qtbot.waitUntil(run_ended(window), timeout=4000)
    alt = Qt.KeyboardModifier.AltModifier
    qtbot.keyClick(window, Qt.Key.Key_Right, alt)
    qtbot.waitUntil(lambda: window.session.frame == 20, timeout=2000)
    qtbot.keyClick(window, Qt.Key.Key_Right, alt)
    qtbot.waitUntil(lambda: window.session.frame == 21, timeout=2000)
    qtbot.keyClick(window, Qt.Key.Key_Left, alt)
    qtbot.waitUntil(lambda: window.session.frame == 20, timeout=2000)


def test_a_run_on_a_range_leaves_objects_their_numbers(window, open_clip, qtbot, segmenter):
    open_clip(window)
    session = window.session
    window.runner.run_clip()
    qtbot.waitUntil(run_ended(window), timeout=5000)
    for result in list(session.results.values()):
        objects = tuple(replace(item, number=item.number + 4) for item in result.objects)
        session.results.add(replace(result, objects=objects))
    session.set_range(20, 25)
    window.runner.run_range()
    qtbot.waitUntil(run_ended(window), timeout=4000)
    assert [item.number for item in session.results.get(20).objects] == [5]
    assert [item.number for item in session.results.get(25).objects] == [5, 6]


@pytest.mark.parametrize(
    "error", [WeightsError("mobile_sam.pt is damaged", "Fetch it again."), ZeroDivisionError("x")]
)
def test_a_failed_run_is_shown(window, open_clip, qtbot, segmenter, error):
    segmenter.error = error
    open_clip(window)
    with qtbot.waitSignal(window.runner.failed, timeout=4000):
        window.runner.run_clip()
    dialog = window.findChild(ErrorDialog)
    expected = "mobile_sam.pt is damaged" if isinstance(error, WeightsError) else "ZeroDivision"
    assert expected in dialog.message.text()
    assert window.runner.job is None
    assert window.actions_by_name["run_clip"].isEnabled()
    dialog.accept()


def test_close_during_a_run_ends_the_thread(window, open_clip, qtbot, segmenter):
    segmenter.delay_s = 0.02
    open_clip(window)
    window.runner.run_clip()
    window.player.play()
    qtbot.waitUntil(lambda: len(window.session.results) >= 2, timeout=4000)
    reader = window.session.clip.reader
    window.close()
    assert reader.closed
    assert not [t for t in threading.enumerate() if t.name.startswith("job:")]


def test_results_of_the_clip_before_are_not_shown_on_the_next(window, open_clip, qtbot, segmenter):
    segmenter.delay_s = 0.01
    open_clip(window, "one.mp4")
    window.runner.run_clip()
    qtbot.waitUntil(lambda: len(window.session.results) >= 2, timeout=4000)
    open_clip(window, "two.mp4")
    qtbot.waitUntil(run_ended(window), timeout=4000)
    assert len(window.session.results) == 0


def test_copy_puts_the_frame_with_its_masks_on_the_clipboard(window, open_clip, qtbot, segmenter):
    open_clip(window)
    window.runner.run_clip()
    qtbot.waitUntil(run_ended(window), timeout=5000)
    qtbot.keyClick(window, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    copied = QGuiApplication.clipboard().image()
    assert (copied.width(), copied.height()) == (WIDTH, HEIGHT)
    mask = segmenter.result(0).objects[0].mask
    row, column = (int(values.mean()) for values in mask.nonzero())
    plain = window.session.image.pixelColor(column, row)
    tinted = copied.pixelColor(column, row)
    assert tinted.red() > plain.red() + 50
    assert copied.pixelColor(WIDTH - 2, HEIGHT - 2) == window.session.image.pixelColor(0, 0)


class FullDisk:
    """Keeps three results, then the disk is full."""

    def __init__(self):
        self.saved = []

    def load(self, frame, maps=False):
        return None

    def save(self, result):
        if len(self.saved) == 3:
            raise StorageError("frame_000003.json: can't be written (disk full)", "Free space.")
        self.saved.append(result.frame)


def test_a_full_disk_costs_no_result(make_window, services, open_clip, qtbot, segmenter):
    disk = FullDisk()
    services["open_store"] = lambda clip, config, moved: KeptResults(disk)
    window = make_window()
    open_clip(window)
    notes = []
    window.session.noted.connect(notes.append)
    segmenter.keeps = True
    window.runner.run_clip()
    qtbot.waitUntil(run_ended(window), timeout=5000)
    assert len(window.session.results) == COUNT
    assert disk.saved == [0, 1, 2]
    about_disk = [note for note in notes if "disk full" in note]
    assert len(about_disk) == 1
    assert "aren't kept" in about_disk[0]


def test_results_folder_that_cannot_be_made_is_a_note(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"some bytes")
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    kept = open_results(clip, SegmentConfig())
    assert "can't be kept" in kept.take_note()
    assert kept.take_note() == ""
    assert kept.load(0) is None


class TwoSpans:
    """Stored results of two dogs, by the numbers of their spans: (between, left, right)."""

    STORED = {
        0: ((), 1, 2),
        1: ((0, 3), 1, 2),
        2: ((0, 3), 4, 3),
        3: ((), 2, 1),
        4: ((3, -1), 2, 1),
    }

    def frames(self):
        return list(self.STORED)

    def load(self, frame, maps=False):
        between, *numbers = self.STORED[frame]
        objects = []
        for number, columns in zip(numbers, (slice(0, 6), slice(8, 16)), strict=True):
            mask = np.zeros((12, 16), bool)
            mask[:, columns] = True
            objects.append(SoundingObject(number, "Dog", 0.5, mask))
        return FrameResult(frame, frame / 10, (12, 16), tuple(objects), between=between)


def test_kept_results_have_one_number_for_an_object_all_through_the_clip():
    for result in KeptResults(TwoSpans()).results():
        assert [item.number for item in result.objects] == [1, 2], result.frame


def test_an_overlay_without_its_map_says_what_to_do(window, open_clip, qtbot):
    open_clip(window)
    qtbot.keyClick(window, Qt.Key.Key_2)
    assert window.view.banner == "No evidence map of this frame: run on it (R)"
    assert "Run on this frame" in window.inspector.note.text()
    qtbot.keyClick(window, Qt.Key.Key_R)
    qtbot.waitUntil(lambda: window.view.banner == "", timeout=4000)
    assert window.inspector.note.text().startswith("How well each place fits the sound")


def test_a_clip_can_be_run_and_played_as_soon_as_it_is_open(window, open_clip, qtbot):
    window.clips.show_when_opened()
    open_clip(window)
    qtbot.waitUntil(lambda: window.player.playing, timeout=5000)
    assert len(window.session.results) == COUNT
    assert window.player.looping
    window.player.pause()
    # Only this once: the next clip waits for the user.
    open_clip(window, "other.mp4")
    assert window.runner.job is None
    assert not window.player.playing


def test_a_cancelled_run_doesnt_start_to_play(window, open_clip, qtbot, segmenter):
    segmenter.gate = threading.Event()
    window.clips.show_when_opened()
    open_clip(window)
    window.runner.cancel()
    segmenter.gate.set()
    qtbot.waitUntil(run_ended(window), timeout=5000)
    assert not window.player.playing
