"""Thresholds in the window: real sliders, the real decision, no encoder after the run."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from data.make_scene import Scene, SquaresBundle, make_scene
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtTest import QTest

from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import REASON_NO_OBJECT, Scores
from moca_gui.kept import KeptResults
from moca_gui.opener import open_video
from moca_gui.thresholds import deciding
from moca_gui.thresholds.rows import BINS, ROWS, counts

FRAMES = 40
SCENE = Scene(frames=FRAMES, sounds=(("dog", 0, 1.0), ("cat", 1.0, 1.6)))


class Gated(SquaresBundle):
    """A bundle whose decisions are counted and wait at a gate, which one of them may close."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.decided = 0
        self.closed_by = -1

    def relate(self, analysis, heard, settings):
        if self.decided == self.closed_by:
            self.gate.clear()
        self.gate.wait(5)
        self.decided += 1
        return super().relate(analysis, heard, settings)


class Disk:
    """Stored results of one set of thresholds."""

    def __init__(self):
        self.kept = {}

    def frames(self):
        return sorted(self.kept)

    def load(self, frame, maps=False):
        return self.kept.get(frame)

    def save(self, result):
        self.kept[result.frame] = result


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scenes") / "scene.mkv", SCENE)


@pytest.fixture
def bundle():
    return Gated()


@pytest.fixture
def disk():
    """Stored results by the thresholds that were moved."""
    return {}


@pytest.fixture
def services(services, bundle, disk):
    services["open_reader"] = open_video
    services["make_segmenter"] = lambda config: Segmenter(config, "cpu", bundle=bundle)
    services["open_store"] = lambda clip, config, moved: KeptResults(disk.setdefault(moved, Disk()))
    return services


def open_scene(window, qtbot, clip):
    with qtbot.waitSignal(window.opened, timeout=5000):
        window.open_path(clip)


def ended(window, qtbot):
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=10000)


@pytest.fixture
def ready(window, qtbot, clip):
    """A window in which the whole clip was run."""
    open_scene(window, qtbot, clip)
    window.runner.run_clip()
    ended(window, qtbot)
    QTest.keyClick(window, Qt.Key.Key_T)
    return window


def type_value(field, text):
    field.edit.selectAll()
    QTest.keyClicks(field.edit, text)
    QTest.keyClick(field.edit, Qt.Key.Key_Return)


def empty_frames(window):
    return [frame for frame in range(FRAMES) if not window.session.results.get(frame).objects]


def test_the_key_brings_the_panel_up_which_says_what_to_do(window, qtbot, clip):
    panel = window.thresholds
    assert panel.visibleRegion().isEmpty()
    assert not window.inspector.visibleRegion().isEmpty()
    QTest.keyClick(window, Qt.Key.Key_T)
    qtbot.waitUntil(lambda: not panel.visibleRegion().isEmpty(), timeout=2000)
    assert "Open a clip" in panel.message.text()
    open_scene(window, qtbot, clip)
    assert "Run on the clip" in panel.message.text()
    assert not any(field.isEnabled() for field in panel.fields.values())
    assert not any(field.edit.text() for field in panel.fields.values())  # not known yet
    assert not panel.run.isVisible()


def test_masks_of_the_whole_clip_follow_a_slider_without_an_encoder(ready, qtbot, bundle, disk):
    before = bundle.looks, bundle.heard
    usual = empty_frames(ready)
    assert len(usual) < FRAMES
    field = ready.thresholds.fields["hearing.empty_below"]
    assert field.value == 0.25
    QTest.keyClick(field.slider, Qt.Key.Key_End)
    ended(ready, qtbot)
    assert ready.runner.moved == (("hearing.empty_below", "1.0"),)
    assert len(empty_frames(ready)) > len(usual) + 10
    assert all(ready.session.results.get(f).reason == REASON_NO_OBJECT for f in range(10))
    assert (bundle.looks, bundle.heard) == before
    assert set(disk[ready.runner.moved].kept) == set(range(FRAMES))
    assert field.label.font().bold()
    assert "default 0.25" in field.label.text()
    QTest.mouseClick(ready.thresholds.reset, Qt.MouseButton.LeftButton)
    ended(ready, qtbot)
    assert ready.runner.moved == ()
    assert empty_frames(ready) == usual
    assert not field.label.font().bold()
    assert not ready.thresholds.reset.isEnabled()
    assert (bundle.looks, bundle.heard) == before


def test_the_frame_on_screen_comes_first(ready, qtbot, clip):
    ready.player.seek(30)
    qtbot.waitUntil(lambda: ready.session.frame == 30, timeout=3000)
    order = []
    ready.session.result_changed.connect(order.append)
    type_value(ready.thresholds.fields["hearing.empty_below"], "1")
    ended(ready, qtbot)
    assert order[0] == 30
    assert [frame for frame in order[1:] if frame >= 0] == list(range(FRAMES))


def test_the_clip_waits_until_the_slider_rests(ready, qtbot, disk, monkeypatch):
    monkeypatch.setattr(deciding, "REST_S", 1.0)
    field = ready.thresholds.fields["region_threshold"]
    for _ in range(4):
        seen = []
        ready.session.result_changed.connect(seen.append)
        QTest.keyClick(field.slider, Qt.Key.Key_Right)
        # The frame on screen doesn't wait.
        qtbot.waitUntil(lambda seen=seen: 0 in seen, timeout=3000)
    ended(ready, qtbot)
    assert ready.runner.moved == (("region_threshold", "0.54"),)
    assert set(disk) == {(), ready.runner.moved}


def test_a_move_ends_what_an_older_one_began(ready, qtbot, bundle, disk):
    field = ready.thresholds.fields["region_threshold"]
    QTest.keyClick(field.slider, Qt.Key.Key_Right)
    older = ready.runner.moved
    qtbot.waitUntil(lambda: len(disk.get(older, Disk()).kept) > 2, timeout=5000)
    bundle.gate.clear()
    QTest.keyClick(field.slider, Qt.Key.Key_Right)
    QTest.keyClick(field.slider, Qt.Key.Key_Right)
    bundle.gate.set()
    ended(ready, qtbot)
    assert len(disk[older].kept) < FRAMES
    assert set(disk) == {(), older, ready.runner.moved}
    assert set(disk[ready.runner.moved].kept) == set(range(FRAMES))


def test_a_number_that_is_none_or_too_large_is_refused(ready, qtbot):
    notes = []
    ready.session.noted.connect(notes.append)
    field = ready.thresholds.fields["least_fit"]
    for text in ("1.5", "nan", "-1", "much"):
        type_value(field, text)
        assert field.edit.text() == "0.25"
    assert ready.runner.job is None
    assert ready.runner.moved == ()
    assert notes == [f"Least fit: {n} is refused; use 0 to 1." for n in ("1.5", "nan", "-1")]


def test_cancelling_leaves_no_result_of_other_thresholds(ready, qtbot, bundle):
    bundle.closed_by = bundle.decided + 4
    type_value(ready.thresholds.fields["hearing.empty_below"], "1")
    qtbot.waitUntil(lambda: not bundle.gate.is_set(), timeout=5000)
    ready.runner.cancel()
    bundle.gate.set()
    ended(ready, qtbot)
    results = ready.session.results
    assert len(results) < FRAMES
    assert all(not results.get(frame).objects for frame in results.frames)
    # The next move decides all of them again.
    QTest.keyClick(ready.thresholds.fields["hearing.empty_below"].slider, Qt.Key.Key_Home)
    ended(ready, qtbot)
    assert len(results) == FRAMES


def test_closing_while_the_masks_follow_ends_the_job(ready, bundle):
    bundle.gate.clear()
    type_value(ready.thresholds.fields["hearing.empty_below"], "1")
    threading.Timer(0.2, bundle.gate.set).start()
    (job,) = [job for job in ready.pool._jobs if job.title == "Thresholds"]
    ready.close()
    assert job.wait(0)


def test_another_clip_lets_go_of_what_was_found(ready, qtbot, clip, bundle, tmp_path):
    type_value(ready.thresholds.fields["hearing.empty_below"], "1")
    copy = tmp_path / "other.mkv"
    copy.write_bytes(clip.read_bytes())
    open_scene(ready, qtbot, copy)
    ended(ready, qtbot)
    assert len(ready.session.results) == 0
    assert ready.runner.decidable == set()
    assert "Run on the clip" in ready.thresholds.message.text()
    # The thresholds stay, and can be seen to.
    assert ready.thresholds.fields["hearing.empty_below"].edit.text() == "1"
    ready.runner.run_clip()
    ended(ready, qtbot)
    assert empty_frames(ready)[:10] == list(range(10))


def test_results_from_disk_can_be_run_again(ready, qtbot, bundle, make_window, services, clip):
    ready.close()
    window = make_window()
    open_scene(window, qtbot, clip)
    looks = bundle.looks
    window.runner.run_clip()
    ended(window, qtbot)
    QTest.keyClick(window, Qt.Key.Key_T)
    panel = window.thresholds
    assert bundle.looks == looks
    assert "come from disk" in panel.message.text()
    assert not panel.fields["least_fit"].isEnabled()
    QTest.mouseClick(panel.run, Qt.MouseButton.LeftButton)
    ended(window, qtbot)
    assert bundle.looks > looks
    assert panel.fields["least_fit"].isEnabled()
    assert not panel.run.isVisible()
    assert window.runner.decidable == set(range(FRAMES))


def test_results_that_come_from_disk_by_themselves_can_be_run_again(
    ready, qtbot, bundle, make_window, services, clip
):
    ready.close()
    services["has_results"] = lambda clip: True
    window = make_window()
    QTest.keyClick(window, Qt.Key.Key_T)
    open_scene(window, qtbot, clip)
    panel = window.thresholds
    qtbot.waitUntil(lambda: len(window.session.results) == FRAMES, timeout=5000)
    assert "come from disk" in panel.message.text()
    looks = bundle.looks
    QTest.mouseClick(panel.run, Qt.MouseButton.LeftButton)
    ended(window, qtbot)
    assert bundle.looks > looks
    assert panel.fields["least_fit"].isEnabled()


def test_after_a_typed_threshold_keys_are_those_of_the_window(ready, qtbot):
    field = ready.thresholds.fields["least_fit"]
    QTest.mouseClick(field.edit, Qt.MouseButton.LeftButton)
    type_value(field, "0.5")
    ended(ready, qtbot)
    assert ready.focusWidget() is field.slider
    QTest.keyClick(ready.focusWidget(), Qt.Key.Key_W)
    assert field.edit.text() == "0.5"
    qtbot.waitUntil(lambda: not ready.proposals.visibleRegion().isEmpty(), timeout=2000)


def test_a_threshold_that_was_moved_leaves_its_number_in_sight(ready, qtbot):
    for field in ready.thresholds.fields.values():
        type_value(field, f"{field.value / 2:g}")
        ended(ready, qtbot)
    area = ready.thresholds.area
    for field in ready.thresholds.fields.values():
        assert "default" in field.label.text()
        qtbot.waitUntil(lambda: area.widget().width() <= area.viewport().width(), timeout=2000)


def test_thresholds_rest_while_a_run_is_under_way(ready, qtbot, bundle):
    bundle.gate.clear()
    ready.runner.run_anew()
    assert ready.thresholds.message.text() == "A run is under way."
    assert not ready.thresholds.fields["least_fit"].isEnabled()
    bundle.gate.set()
    ended(ready, qtbot)
    assert ready.thresholds.fields["least_fit"].isEnabled()


def test_options_for_the_command_line_are_copied(ready, qtbot):
    type_value(ready.thresholds.fields["hearing.empty_below"], "0.3")
    type_value(ready.thresholds.fields["least_share"], "0.7")
    ended(ready, qtbot)
    QTest.mouseClick(ready.thresholds.copy, Qt.MouseButton.LeftButton)
    text = "--set hearing.empty_below=0.3 --set least_share=0.7"
    assert QGuiApplication.clipboard().text() == text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_histogram_counts_what_the_threshold_cuts(row, ready):
    field = ready.thresholds.fields[row.name]
    assert field.isVisible()
    assert field.slider.accessibleName() == row.slider.label
    assert row.low <= row.slider.values[0] < row.slider.values[-1] <= row.high
    if not row.scores:
        assert not field.histogram.isVisible()
        return
    ready.thresholds._draw()
    assert field.histogram.counts.sum() > 0
    assert field.histogram.line == row.place(ready.thresholds.values[row.name])
    assert "above the threshold" in field.histogram.accessibleDescription()


def test_scores_of_the_frame_and_of_the_clip_are_told_apart():
    def scores(value):
        array = np.array([value], np.float32)
        return Scores(value, array, array, array, array)

    known = {0: scores(0.1), 25: scores(0.9)}
    by_name = {row.name: row for row in ROWS}
    clip = counts(by_name["hearing.empty_below"], known, 25)
    assert np.flatnonzero(clip).tolist() == [int(0.1 * BINS), int(0.9 * BINS)]
    frame = counts(by_name["least_share"], known, 25)
    assert np.flatnonzero(frame).tolist() == [int(0.9 * BINS)]
    assert counts(by_name["least_share"], known, None).sum() == 0
