"""Long clips and many results: the work for one frame doesn't grow with their number."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gui_fakes import COUNT, FPS, FakeReader
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor

from moca_core.annotations.model import PackedResult
from moca_gui.dialogs.goto import GoToDialog
from moca_gui.kept import KeptResults
from moca_gui.results import CORRECTED, EMPTY, MASKS, NOT_RUN
from moca_gui.views.time_rows import ResultsRow, column_states, insides

TWO_HOURS = 180_000  # frames at the 25 a second of the stand-in clip


@pytest.fixture
def long_window(services: dict[str, Any], make_window: Any, open_clip: Any) -> Any:
    """A window with a clip of two hours."""
    services["open_reader"] = partial(FakeReader, count=TWO_HOURS)
    window = make_window()
    window.resize(1600, 900)  # room for long numbers, so that nothing is laid out anew
    open_clip(window)
    return window


def fill(window: Any, every: int) -> None:
    """Results without a mask at each `every`-th frame of the clip."""
    for frame in range(0, TWO_HOURS, every):
        window.session.add_result(PackedResult(frame, frame / 25, (48, 64), key=True))


def test_each_column_shows_the_highest_state_of_its_frames():
    states = np.array([MASKS, NOT_RUN, EMPTY, EMPTY, MASKS, CORRECTED], np.uint8)
    times = np.arange(6) * 0.5
    # Two frames a column.
    assert column_states(states, times, (0.0, 3.0), 3).tolist() == [MASKS, EMPTY, CORRECTED]
    # Two columns a frame; the last frame lasts to the end of what is seen.
    found = column_states(states, times, (2.0, 3.5), 6).tolist()
    assert found == [MASKS, MASKS, CORRECTED, CORRECTED, CORRECTED, CORRECTED]


def test_columns_before_the_first_frame_are_not_run():
    states = np.array([MASKS, EMPTY], np.uint8)
    found = column_states(states, np.array([1.0, 2.0]), (0.0, 3.0), 6).tolist()
    assert found == [NOT_RUN, NOT_RUN, MASKS, MASKS, EMPTY, EMPTY]


def test_the_inside_of_a_stretch_begins_after_its_edge():
    states = np.array([2, 1, 1, 1, 1, 1, 2, 1, 1], np.uint8)
    assert np.flatnonzero(insides(states, 1, 1)).tolist() == [2, 3, 4]
    assert np.flatnonzero(insides(states, 1, 2)).tolist() == [3]
    assert np.flatnonzero(insides(np.ones(5, np.uint8), 1, 1)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("seed", range(4))
def test_columns_as_one_by_one(seed: int):
    rng = np.random.default_rng(seed)
    states = rng.integers(0, 4, 300).astype(np.uint8)
    times = np.sort(rng.uniform(0, 60, 300))
    start, stop, columns = 7.3, 41.9, 97
    edges = np.linspace(start, stop, columns + 1)
    ends = np.append(times[1:], np.inf)
    for column, found in enumerate(column_states(states, times, (start, stop), columns)):
        there = (times < edges[column + 1]) & (ends > edges[column])
        assert found == states[there].max()


def test_the_results_row_looks_at_no_frame_by_itself(long_window, monkeypatch):
    """A result at every sixth frame, so that each is a cell of its own."""
    fill(long_window, 6)
    row = long_window.timeline.results
    asked = []
    reader = long_window.session.clip.reader
    time_of = reader.time_of
    monkeypatch.setattr(reader, "time_of", lambda frame: asked.append(frame) or time_of(frame))
    width = row.plot.width() * row.devicePixelRatioF()
    for start, stop in ((0.0, 7200.0), (1000.0, 1600.0), (1000.0, 1001.0)):
        long_window.timeline.axis.set_view(start, stop)
        asked.clear()
        picture = row.grab().toImage()
        rim = round((row.height() - 9) * picture.devicePixelRatio())
        line = {picture.pixelColor(x, rim).name() for x in range(picture.width())}
        assert QColor(long_window.theme.empty).name() in line, "the results are seen"
        assert len(asked) < width  # key frames have their notches where there is room
    assert len(asked) > 3, "the nearest view shows its key frames"


def test_a_seek_does_not_pass_over_the_results(long_window, monkeypatch, qtbot):
    """Neither panels nor rows look at other frames than the one that comes on screen."""
    fill(long_window, 9)
    session = long_window.session
    qtbot.waitUntil(lambda: long_window.sound.message == "", timeout=2000)
    looked: list[int] = []
    get = session.results.get
    monkeypatch.setattr(session.results, "get", lambda frame: looked.append(frame) or get(frame))
    monkeypatch.setattr(session.results, "values", lambda: pytest.fail("passes over all results"))
    long_window.grab()
    painted: list[object] = []
    monkeypatch.setattr(ResultsRow, "paint_ground", lambda *ground: painted.append(ground))
    long_window.player.seek(45_000)
    qtbot.waitUntil(lambda: session.frame == 45_000, timeout=2000)
    long_window.grab()
    assert set(looked) <= {0, 45_000}
    assert not painted, "the results row was painted anew"


# -- a clip that grows -------------------------------------------------------------------------

KNOWN = 20  # frames of the stand-in clip that are known when it opens


class GrowingReader(FakeReader):
    """A clip that opens with its first frames; `gate` lets the rest be found, or `error` come."""

    gate: threading.Event
    error: Exception | None = None
    patience: list[float]

    def __init__(self, path: Path, patience_s: float = math.inf) -> None:
        self.patience.append(patience_s)
        self.indexed = patience_s == math.inf
        super().__init__(path, count=COUNT if self.indexed else KNOWN)

    def rest(self) -> Iterator[Any]:
        yield 0.34
        while not self.gate.wait(0.01):
            yield 0.34
        if self.error is not None:
            raise self.error
        yield SimpleNamespace(frame_count=COUNT)

    def grow(self, index: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.indexed = True
        self.info.frame_count = index.frame_count
        self.info.duration_s = index.frame_count / FPS
        self.info.times_s = np.arange(index.frame_count) / FPS


@pytest.fixture
def growing(services: dict[str, Any], make_window: Any, open_clip: Any) -> Any:
    """The class of a reader of the test's own, and a window with such a clip open."""
    reader = type("Reader", (GrowingReader,), {"gate": threading.Event(), "patience": []})
    services["open_reader"] = reader
    window = make_window()
    open_clip(window)
    yield reader, window
    reader.gate.set()


def test_a_long_clip_says_what_is_known_of_it_and_grows(growing, qtbot):
    reader, window = growing
    facts, count, total = window.status.clip, window.transport.frame, window.transport.total
    qtbot.waitUntil(lambda: "indexing 34 %" in facts.text(), timeout=2000)
    assert count.text() == "frame 0 / 20+"
    assert window.status.position.text() == "0 / 20+"
    assert total.text() == "/ 00:00.800+"
    assert window.timeline.axis.stop_s == pytest.approx(0.8)
    reader.gate.set()
    qtbot.waitUntil(lambda: window.session.clip.indexed, timeout=2000)
    qtbot.waitUntil(lambda: "indexing" not in facts.text(), timeout=2000)
    assert count.text() == "frame 0 / 50"
    assert window.status.position.text() == "0 / 50"
    assert total.text() == "/ 00:02.000"
    assert window.timeline.axis.stop_s == pytest.approx(2.0)
    window.player.seek(49)
    qtbot.waitUntil(lambda: window.session.frame == 49, timeout=2000)


def test_what_was_chosen_and_made_before_stays(growing, qtbot):
    reader, window = growing
    window.session.add_result(PackedResult(3, 0.12, (48, 64), key=True))
    window.timeline.axis.set_view(0.2, 0.6)
    window.player.seek(5)
    qtbot.waitUntil(lambda: window.session.frame == 5, timeout=2000)
    qtbot.keyClick(window, Qt.Key.Key_BracketLeft)
    assert window.session.range == (5, KNOWN - 1)
    reader.gate.set()
    qtbot.waitUntil(lambda: window.session.clip.indexed, timeout=2000)
    axis = window.timeline.axis
    assert (axis.start_s, axis.stop_s) == (pytest.approx(0.2), pytest.approx(0.6))
    assert window.session.range == (5, COUNT - 1), "to the end of the clip, as it was"
    assert window.session.results.frames == {3}
    window.session.add_result(PackedResult(COUNT - 1, 1.96, (48, 64), key=True))
    assert window.session.neighbour(1, 5) == COUNT - 1


@pytest.mark.parametrize("go", ["frame", "time", "end"])
def test_a_frame_that_is_not_known_yet_is_shown_as_soon_as_it_is(growing, qtbot, go):
    reader, window = growing
    if go == "end":
        qtbot.keyClick(window, Qt.Key.Key_End)
    else:
        qtbot.keyClick(window, Qt.Key.Key_G, Qt.KeyboardModifier.ControlModifier)
        dialog = window.dialogs.window.findChild(GoToDialog)
        qtbot.keyClicks(dialog.edit, "49" if go == "frame" else "1.96")
        qtbot.keyClick(dialog.edit, Qt.Key.Key_Return)
    assert "still being indexed" in window.status.note.full_text
    assert window.player.target == 0
    reader.gate.set()
    qtbot.waitUntil(lambda: window.session.frame == 49, timeout=2000)


def test_who_goes_elsewhere_meanwhile_stays_there(growing, qtbot):
    reader, window = growing
    window.player.seek(49)
    window.player.seek(7)
    reader.gate.set()
    qtbot.waitUntil(lambda: window.session.clip.indexed, timeout=2000)
    qtbot.waitUntil(lambda: window.session.frame == 7, timeout=2000)
    assert window.player.target == 7


def test_playback_waits_for_the_rest_and_goes_on(growing, qtbot):
    reader, window = growing
    window.player.seek(KNOWN - 3)
    window.player.play()
    qtbot.waitUntil(lambda: not window.player.playing, timeout=2000)
    assert window.player.target == KNOWN - 1
    reader.gate.set()
    qtbot.waitUntil(lambda: window.session.frame > KNOWN + 2, timeout=2000)
    assert window.player.playing


def test_a_run_waits_for_all_frames(growing, segmenter, qtbot):
    reader, window = growing
    window.runner.run_clip()
    qtbot.waitUntil(lambda: "finding" in window.status.job.text.full_text, timeout=2000)
    assert not segmenter.requests
    reader.gate.set()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)
    assert len(window.session.results) == COUNT


def test_kept_results_are_shown_once_all_frames_are_known(growing, services, qtbot, make_window):
    reader, _ = growing
    opened = []
    services["open_store"] = lambda *asked: opened.append(asked) or KeptResults(None)
    window = make_window()
    with qtbot.waitSignal(window.opened, timeout=5000):
        window.open_path("other.mp4")
    assert not opened
    reader.gate.set()
    qtbot.waitUntil(lambda: len(opened) == 1, timeout=2000)


def test_a_clip_that_was_counted_wrongly_is_opened_anew(growing, qtbot):
    from moca_core.media.video import RenumberedError

    reader, window = growing
    early = window.session.clip.reader
    assert reader.patience == [0.3]
    reader.error = RenumberedError("clip.mp4: its time stamps jump back", "Open it again.")
    with qtbot.waitSignal(window.opened, timeout=5000):
        reader.gate.set()
    assert early.closed
    assert reader.patience == [0.3, math.inf]
    assert window.session.clip.frame_count == COUNT
    assert window.session.clip.indexed


def test_a_clip_with_a_project_opens_whole(growing, tmp_path, qtbot):
    """The project may speak of any frame."""
    reader, window = growing
    reader.gate.set()
    qtbot.waitUntil(lambda: window.session.clip.indexed, timeout=2000)
    window.player.seek(49)
    qtbot.waitUntil(lambda: window.session.frame == 49, timeout=2000)
    window.actions_by_name["save"].trigger()
    project = tmp_path / "clip.moca.json"
    qtbot.waitUntil(project.exists, timeout=5000)
    with qtbot.waitSignal(window.opened, timeout=5000):
        window.open_path(tmp_path / "clip.mp4")
    assert reader.patience == [0.3, math.inf]
    assert window.session.frame == 49


def test_another_clip_ends_the_search_in_the_one_before(growing, open_clip, qtbot):
    _, window = growing
    qtbot.waitUntil(lambda: "index" in window.pool.titles, timeout=2000)
    early = window.session.clip
    window.clips.close()
    qtbot.waitUntil(lambda: "index" not in window.pool.titles, timeout=2000)
    assert not early.indexed
    assert window.status.clip.text() == "No clip"
