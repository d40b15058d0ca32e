"""Parts without a window: jobs, results, settings, themes, colours, time codes."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import FakeSegmenter, disc
from PySide6.QtCore import QPointF, QRectF
from PySide6.QtGui import QColor, QImage, QPainter
from shiboken6 import isValid

from moca_core.annotations.model import pack
from moca_core.types import FrameResult, ProposalNote, SoundingObject
from moca_gui import colormaps, theme
from moca_gui.eta import Pace
from moca_gui.frames import FrameLoader, to_image
from moca_gui.jobs import QUEUE_LENGTH, Job, JobPool, JobState
from moca_gui.results import EMPTY, MASKS, NOT_RUN, ResultStore
from moca_gui.settings import Settings
from moca_gui.timecode import format_time, parse_position
from moca_gui.views.overlay import (
    count_labels,
    draw_map,
    draw_object,
    number_text,
    paint_badge,
    paint_colour_bar,
    readable_on,
)

# -- jobs -------------------------------------------------------------------------------------


def test_events_arrive_in_order_before_the_end(qtbot):
    pool, seen = JobPool(), []
    job = pool.start(
        "count",
        lambda: iter(range(1000)),
        on_event=seen.append,
        on_finished=lambda job: seen.append(job.state),
    )
    qtbot.waitUntil(lambda: not job.active, timeout=5000)
    assert seen == [*range(1000), JobState.DONE]
    assert pool.titles == []


def test_a_job_stays_until_its_thread_has_told_the_end(qtbot, monkeypatch):
    pool, announce, there = JobPool(), Job._announce, []

    def late(job):
        if job._outcome is not None:
            threading.Event().wait(0.2)
            there.append(isValid(job))
        announce(job)

    monkeypatch.setattr(Job, "_announce", late)
    job = pool.start("one", lambda: iter([1]))
    while job._outcome is None:  # the GUI thread hears of the event and of the end at once
        threading.Event().wait(0.001)
    qtbot.waitUntil(lambda: bool(there), timeout=3000)
    assert there == [True]


def test_a_fast_job_waits_for_a_slow_window(qtbot):
    made = []

    def make():
        for number in range(QUEUE_LENGTH * 3):
            made.append(number)
            yield number

    pool = JobPool()
    job = pool.start("fast", make)
    threading.Event().wait(0.3)  # the GUI thread is busy
    assert len(made) == QUEUE_LENGTH + 1
    qtbot.waitUntil(lambda: not job.active, timeout=5000)
    assert len(made) == QUEUE_LENGTH * 3


def test_cancel_closes_the_generator(qtbot):
    closed = threading.Event()

    def make():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    pool = JobPool()
    job = pool.start("endless", make)
    job.cancel()
    qtbot.waitUntil(lambda: not job.active, timeout=2000)
    assert job.state is JobState.CANCELLED
    assert closed.is_set()


def test_an_error_is_handed_over(qtbot):
    def make():
        yield 1
        raise ValueError("no")

    pool, ended = JobPool(), []
    pool.start("bad", make, on_finished=ended.append)
    qtbot.waitUntil(lambda: bool(ended), timeout=2000)
    assert ended[0].state is JobState.FAILED
    assert str(ended[0].error) == "no"


def test_shut_down_ends_all_and_refuses_new_ones(qtbot):
    def make():
        while True:
            yield 1

    pool = JobPool()
    jobs = [pool.start(f"job {n}", make) for n in range(3)]
    assert pool.shut_down(5.0)
    assert all(job.wait(0) for job in jobs)
    late = pool.start("late", make)
    assert late.wait(2.0)


# -- results ----------------------------------------------------------------------------------


def result(frame, *, key=False, seed=0, maps=None):
    mask = np.random.default_rng(seed).random((40, 60)) > 0.5
    found = (SoundingObject(1, "dog", 0.5, mask),)
    return pack(FrameResult(frame, frame / 25, (40, 60), found, key=key, maps=maps or {}))


def test_packed_masks_are_the_same_masks():
    mask = disc(48, 64, 30, 20, 9)
    mask[20, 30] = False
    packed = pack(FrameResult(3, 0.12, (48, 64), (SoundingObject(4, "cat", 0.7, mask),)))
    item = packed.objects[0]
    x0, y0, x1, y1 = item.box
    assert (item.crop() == mask[y0:y1, x0:x1]).all()
    assert mask[:, :x0].sum() == mask[:y0].sum() == mask[:, x1:].sum() == mask[y1:].sum() == 0
    assert len(item.bits) < mask.size / 8
    points = np.concatenate(item.outlines)
    assert points.min() >= 0
    assert points[:, 0].max() <= x1
    assert points[:, 1].max() <= y1


def test_an_empty_mask_can_be_packed():
    nothing = np.zeros((48, 64), bool)
    packed = pack(FrameResult(0, 0.0, (48, 64), (SoundingObject(1, "cat", 0.7, nothing),)))
    assert packed.objects[0].crop().size == 0


def test_store_is_bounded_and_drops_propagated_frames_first():
    one = result(0).nbytes
    store = ResultStore(100, mask_bytes=10 * one)
    for frame in range(50):
        store.add(result(frame, key=frame % 10 == 0, seed=frame))
        assert store.bytes_used <= 10.5 * one
    assert all(store.get(frame) is not None for frame in (0, 10, 20, 30, 40, 49))
    assert store.get(1) is None
    assert store.states[1] == NOT_RUN
    assert store.states[49] == MASKS


def test_store_bounds_the_maps():
    maps = {"evidence": np.zeros((16, 16), np.float32)}
    store = ResultStore(10, map_bytes=3 * 1024)
    for frame in range(6):
        store.add(result(frame, maps=maps))
    assert [frame for frame in range(6) if store.maps(frame)] == [3, 4, 5]
    assert store.get(0) is not None


def test_proposals_live_and_go_with_the_maps():
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:20] = True
    notes = tuple(
        ProposalNote(number, 0.9, 0.8, 0.5, 0.4, number == 1, "taken", mask) for number in (1, 2)
    )
    maps = {"evidence": np.zeros((4, 4), np.float32)}
    one = pack(FrameResult(0, 0.0, (40, 60), key=True, maps=maps, proposals=notes))
    store = ResultStore(10, map_bytes=2 * (64 + sum(item.nbytes for item in one.proposals)))
    for frame in range(4):
        store.add(replace(one, frame=frame))
        assert not store.get(frame).proposals
    assert [frame for frame in range(4) if store.proposals(frame)] == [2, 3]
    first, second = store.proposals(3)
    assert (first.number, first.taken, second.taken) == (1, True, False)
    assert first.why == "taken"
    # In pixels of the frame, twice the working grid's.
    np.testing.assert_allclose(first.outlines[0].min(axis=0), (21, 11))
    np.testing.assert_allclose(first.outlines[0].max(axis=0), (39, 29))
    store.add(result(3))
    assert not store.proposals(3)


def test_store_replaces_and_knows_its_states():
    store = ResultStore(10)
    store.add(result(3))
    used = store.bytes_used
    store.add(result(3))
    assert store.bytes_used == used
    store.add(pack(FrameResult(7, 0.28, (40, 60), reason="silent")))
    assert store.states[7] == EMPTY
    assert {item.frame for item in store.values()} == {3, 7}
    store.clear()
    assert (len(store), store.bytes_used) == (0, 0)
    with pytest.raises(ValueError, match="frame 10"):
        store.add(result(10))


def test_the_stand_in_is_what_the_pipeline_yields():
    events = list(FakeSegmenter(count=3).clip("x", frames="keys", every_s=1.0))
    assert [e.result.frame for e in events if hasattr(e, "result")] == [0, 1, 2]


# -- looks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", theme.THEMES)
def test_text_can_be_read_on_every_ground(name):
    look = theme.THEMES[name]
    for ground in (look.window, look.panel, look.base, look.raised):
        assert theme.contrast(look.text, ground) >= 7
        assert theme.contrast(look.dim, ground) >= 4.5
    assert theme.contrast(look.on_accent, look.accent) >= 4.5
    assert theme.contrast(look.danger, look.window) >= 4.5


@pytest.mark.parametrize("choice", ["light", "dark"])
def test_theme_choice_colours_the_window_and_is_kept(window, choice):
    window.actions_by_name[f"theme_{choice}"].trigger()
    assert window.theme.name == choice
    assert Settings().get("theme") == choice
    pixel = window.timeline.waveform.grab().toImage().pixelColor(2, 2)
    assert pixel.name() == window.theme.panel


def test_viridis_ends_and_middle():
    colours = colormaps.table("viridis")
    assert colours[0].tolist() == [68, 1, 84]
    assert colours[255].tolist() == [253, 231, 37]
    np.testing.assert_allclose(colours[128], [33, 145, 140], atol=3)
    painted = colormaps.apply(np.array([[np.nan, 2.0]]), "viridis", 0.0, 1.0)
    assert painted[0].tolist() == [[68, 1, 84], [253, 231, 37]]


def test_object_colours_repeat():
    assert colormaps.object_colour(1) == colormaps.object_colour(8) == "#E69F00"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("123", 123),
        (" 4.56 ", 4.56),
        ("4.56 s", 4.56),
        ("00:04.560", 4.56),
        ("1:02:03", 3723.0),
        (".5", 0.5),
        ("", None),
        ("-3", None),
        ("nan", None),
        ("4:5:6:7", None),
        ("²", None),
    ],
)
def test_positions(text, value):
    assert parse_position(text) == value
    assert type(parse_position(text)) is type(value)


def test_times():
    assert format_time(3723.0005) == "1:02:03.000"
    assert format_time(59.9996) == "01:00.000"
    assert format_time(-1) == "00:00.000"


# -- frames -----------------------------------------------------------------------------------


def test_the_latest_request_wins_and_stop_ends_the_wait():
    asked = []
    begun, go_on = threading.Event(), threading.Event()

    class Slow:
        def frame(self, index):
            asked.append(index)
            begun.set()
            go_on.wait(5)
            return np.full((4, 6, 3), index, np.uint8)

    loader = FrameLoader(Slow())
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(loader.events()))
    thread.start()
    loader.request(1)
    assert begun.wait(5)
    for index in (2, 3, 4):
        loader.request(index)
    go_on.set()
    while len(asked) < 2:
        threading.Event().wait(0.01)
    threading.Event().wait(0.05)
    loader.stop()
    thread.join(5)
    assert asked == [1, 4]
    assert [event.index for event in seen] == [1, 4]
    assert seen[1].image.pixelColor(5, 3).getRgb()[:3] == (4, 4, 4)


def test_odd_widths_keep_their_rows_apart():
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = to_image(frame)
    for row in range(5):
        for column in range(7):
            colour = image.pixelColor(column, row).getRgb()[:3]
            assert colour == tuple(frame[row, column].tolist())


# -- time left --------------------------------------------------------------------------------


def test_time_left_counts_key_frames_and_not_bursts():
    now = [100.0]
    pace = Pace(lambda: now[0])
    pace.note(1, 101, key=True, stored=False)  # the models were loaded before
    for done in range(2, 26):
        pace.note(done, 101, key=False, stored=False)
    assert pace.left_s() is None
    now[0] = 105.0
    pace.note(26, 101, key=True, stored=False)  # 25 frames in 5 s: 75 more take 15 s
    assert pace.left_s() == pytest.approx(15.0)
    pace.note(27, 101, key=False, stored=False)
    now[0] = 107.0
    assert pace.left_s() == pytest.approx(13.0)


def test_time_left_forgets_what_came_from_disk():
    now = [0.0]
    pace = Pace(lambda: now[0])
    for done in range(1, 51):
        pace.note(done, 101, key=done % 25 == 1, stored=True)
    now[0] = 10.0
    pace.note(51, 101, key=True, stored=False)
    assert pace.left_s() == pytest.approx(10.0 / 1 * 50)


# -- maps -------------------------------------------------------------------------------------


def test_labels_are_counted_and_the_bare_zero_is_transparent(qtbot):
    values = np.array([[0, 0, 3], [0, 5, 3]])
    clusters = draw_map("Clusters", values, "clusters")
    proposals = draw_map("Proposals", values, "proposals", bare_zero=True)
    assert (count_labels(clusters), count_labels(proposals)) == (3, 2)
    assert clusters.image.pixelColor(0, 0).alpha() == 255
    assert proposals.image.pixelColor(0, 0).alpha() == 0
    assert proposals.image.pixelColor(2, 0) == QColor(colormaps.OBJECT_COLOURS[3])


def bar_of(item, under):
    """The picture of a colour bar, whose box is 160 wide and ends 12 from the right and bottom."""
    image = QImage(400, 300, QImage.Format.Format_RGB32)
    image.fill(QColor("#000000"))
    painter = QPainter(image)
    paint_colour_bar(painter, item, QRectF(0, 0, 400, 300), under)
    painter.end()
    return image


@pytest.mark.parametrize("under", [-0.25, 0.0, 1.0, 7.0, -9.0, float("nan"), None])
def test_values_below_zero_have_a_place_on_the_bar(qtbot, under):
    item = draw_map("Evidence", np.array([[-0.25, 0.0], [0.5, 0.75]], np.float32))
    assert (item.low, item.high) == (-0.25, 0.75)
    assert item.share_of(0.0) == pytest.approx(0.25)
    assert item.share_of(-9.0) == 0.0
    assert item.share_of(7.0) == 1.0
    assert item.share_of(float("nan")) is None
    image = bar_of(item, under)
    box = image.copy(188, 0, 200, 300)
    assert box != bar_of(draw_map("Evidence", item.values - item.low), None).copy(188, 0, 200, 300)
    # Nothing is painted beside the box.
    outside = [image.pixelColor(x, y).lightness() for x in (180, 395) for y in range(0, 300, 3)]
    assert set(outside) == {0}


def test_a_map_without_spread_has_no_place(qtbot):
    item = draw_map("Evidence", np.full((2, 2), -0.5, np.float32))
    assert item.share_of(-0.5) is None
    assert bar_of(item, -0.5) != bar_of(item, None)  # the value is written all the same


@pytest.mark.parametrize(
    ("spread", "digits"), [(1.0, 2), (0.3, 2), (0.1, 2), (0.05, 3), (0.004, 4), (0.0, 2)]
)
def test_the_ends_of_the_bar_can_be_told_apart(spread, digits):
    item = draw_map("Attention", np.array([[0.125, 0.125 + spread]]))
    assert item.digits == digits
    if spread:
        assert number_text(item.low, item.digits) != number_text(item.high, item.digits)


def test_numbers_have_no_minus_nothing():
    assert number_text(-0.001, 2) == "0.00"
    assert number_text(-0.25, 2) == "-0.25"
    assert number_text(12.3456, 3) == "12.346"


@pytest.mark.parametrize("colour", colormaps.OBJECT_COLOURS)
def test_numbers_can_be_read_on_every_object_colour(colour):
    assert theme.contrast(readable_on(QColor(colour)).name(), colour) >= 4.5


def test_a_number_under_the_legend_moves_below_it(qtbot):
    mask = disc(200, 300, 40, 60, 30)
    result = FrameResult(0, 0.0, (200, 300), (SoundingObject(1, "dog", 0.8, mask),))
    drawn = draw_object(pack(result).objects[0])
    image = QImage(300, 200, QImage.Format.Format_RGB32)
    image.fill(QColor("black"))
    painter = QPainter(image)
    legend = QRectF(12, 12, 90, 40)
    paint_badge(painter, drawn, QPointF(40, 34), QRectF(0, 0, 300, 200), legend)
    painter.end()
    orange = QColor(colormaps.object_colour(1))
    columns = [x for x in range(300) for y in range(200) if image.pixelColor(x, y) == orange]
    rows = [y for x in range(300) for y in range(200) if image.pixelColor(x, y) == orange]
    assert min(rows) >= legend.bottom()
    assert abs(sum(columns) / len(columns) - 40) < 2


def found(frame, *objects):
    masks = [(number, name, disc(60, 80, x, 30, 10)) for number, name, x in objects]
    items = tuple(SoundingObject(number, name, 0.5, mask) for number, name, mask in masks)
    return pack(FrameResult(frame, frame / 25, (60, 80), items))


def test_a_run_on_one_frame_keeps_the_numbers_of_the_clip():
    store = ResultStore(50)
    store.add(found(4, (1, "dog", 60)))
    store.add(found(10, (3, "dog", 20), (5, "person", 60)))
    one = store.known_numbers(found(12, (1, "person", 61), (2, "dog", 22), (3, "dog", 50)))
    # The second dog isn't where a dog was: a number that nothing in the clip has.
    assert [(item.name, item.number) for item in one.objects] == [
        ("person", 5),
        ("dog", 3),
        ("dog", 6),
    ]
    assert ResultStore(50).known_numbers(found(1, (1, "dog", 20))).objects[0].number == 1


def test_a_run_on_a_range_keeps_the_numbers_of_the_clip_all_through_it():
    store, known, shown = ResultStore(50), {}, []
    store.add(found(10, (3, "dog", 20), (5, "dog", 60)))
    for frame, *objects in (
        (10, (1, "dog", 60)),
        (11, (1, "dog", 40)),  # it runs to where the other one was
        (12, (1, "dog", 20), (2, "dog", 60)),
    ):
        result = store.known_numbers(found(frame, *objects), known, lambda: 9)
        store.add(result)
        shown.append([item.number for item in result.objects])
    assert shown == [[5], [5], [5, 9]]
