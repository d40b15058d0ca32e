"""Long clips and many results: the work for one frame doesn't grow with their number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gui_fakes import FakeReader

from moca_core.annotations.model import PackedResult
from moca_gui.results import CORRECTED, EMPTY, MASKS, NOT_RUN
from moca_gui.views.time_rows import ResultsRow, column_states

TWO_HOURS = 180_000  # frames at the 25 a second of the stand-in clip


@pytest.fixture
def long_window(services: dict[str, Any], make_window: Any, open_clip: Any) -> Any:
    """A window with a clip of two hours."""
    services["open_reader"] = lambda path: FakeReader(path, count=TWO_HOURS)
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


def test_the_results_row_paints_no_more_cells_than_it_has_columns(long_window, monkeypatch):
    """A result at every sixth frame, so that each is a cell of its own."""
    fill(long_window, 6)
    row = long_window.timeline.results
    asked, painted = [], []
    reader = long_window.session.clip.reader
    time_of = reader.time_of
    monkeypatch.setattr(reader, "time_of", lambda frame: asked.append(frame) or time_of(frame))
    monkeypatch.setattr(ResultsRow, "_paint_cell", lambda *cell: painted.append(cell))
    width = row.plot.width() * row.devicePixelRatioF()
    for start, stop in ((0.0, 7200.0), (1000.0, 1600.0), (1000.0, 1001.0)):
        long_window.timeline.axis.set_view(start, stop)
        asked.clear()
        painted.clear()
        row.grab()
        assert 0 < len(painted) <= width
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
