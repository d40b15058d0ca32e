"""The real `main()` with the real method on the demo clip: what a newcomer does first."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QRectF, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from moca_core.paths import resource

pytestmark = [pytest.mark.weights, pytest.mark.slow]

PATIENCE_S = 300  # the machine may be busy; a test that works never waits this long
MEOW = 30  # a frame in which the cat is heard
Script = Callable[[Any], Iterator[Callable[[], bool]]]


@pytest.fixture
def cache(tmp_path: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache with the weights and without results, in a home of its own."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "weights").symlink_to(weights_dir, target_is_directory=True)
    monkeypatch.setenv("MOCA_CACHE_DIR", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    handler = signal.getsignal(signal.SIGINT)
    yield folder
    signal.signal(signal.SIGINT, handler)


def run_main(arguments: list[str], script: Script, qapp: QApplication) -> None:
    """Run `main()`; `script` acts on its window and yields what to wait for, then it is closed."""
    from moca_gui.__main__ import main
    from moca_gui.main_window import MainWindow

    waiting: list[Any] = [None, lambda: True]  # the script's generator, its condition
    failure: list[BaseException] = []
    deadline = time.monotonic() + PATIENCE_S

    def windows() -> list[Any]:
        found = QApplication.topLevelWidgets()
        return [item for item in found if isinstance(item, MainWindow) and item.isVisible()]

    def step() -> None:
        try:
            if waiting[0] is None:
                waiting[0] = script(windows()[0])
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain in {script.__name__}")
            if waiting[1]():
                waiting[1] = next(waiting[0])
        except StopIteration:
            end()
        except BaseException as error:
            failure.append(error)
            end()

    def end() -> None:
        timer.stop()
        for window in windows():
            window.close()

    timer = QTimer()
    timer.timeout.connect(step)
    timer.start(10)
    code = main(arguments)
    timer.stop()
    if failure:
        raise failure[0]
    assert code == 0
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("job:")]


def test_run_on_a_frame_names_what_sounds_and_the_second_run_comes_from_disk(cache, qapp):
    notes: list[str] = []

    def script(window: Any) -> Iterator[Callable[[], bool]]:
        window.session.noted.connect(notes.append)
        yield lambda: window.session.image is not None
        assert "demo.mp4" in window.windowTitle()
        window.player.seek(MEOW)
        yield lambda: window.session.frame == MEOW
        QTest.keyClick(window, "r")
        assert window.runner.job is not None
        yield lambda: window.runner.job is None
        assert notes[-1] == f"Run on frame {MEOW}: 1 frame done."
        (item,) = window.session.result.objects
        assert item.name == "Cat"
        assert window.view.drawn_numbers == [item.number]
        assert window.objects.table.item(0, 0).text() == "Cat"
        # The cat is on the left; the mask is where it is.
        x0, _, x1, _ = item.box
        assert (x0 + x1) / 2 < window.session.clip.reader.info.width / 2
        assert window.status.device.full_text.startswith(("CPU", "CUDA"))
        assert window.session.result.window_s == pytest.approx((0.2, 2.2))
        for key, title in zip("23456", window.inspector.titles[1:6], strict=True):
            QTest.keyClick(window, key)
            assert window.view.map_title == title
        # The cat's mask comes from proposals, which say so and lie where it lies.
        taken = [row for row in window.proposals.model.rows if row.taken]
        assert {row.why for row in taken} == {"taken"}
        assert len({row.why for row in window.proposals.model.rows}) > 1
        window.proposals.choose(max(taken, key=lambda row: row.overlap).number)
        marked, (x0, y0, x1, y1) = window.view.marked, item.box
        assert marked.intersects(QRectF(x0, y0, x1 - x0, y1 - y0))
        QTest.keyClick(window, "1")
        window.session.clear_results()
        assert window.view.drawn_numbers == []
        QTest.keyClick(window, "r")
        yield lambda: window.runner.job is None
        assert notes[-1] == f"Run on frame {MEOW}: 1 frame done, 1 of them from disk."
        assert [found.name for found in window.session.result.objects] == ["Cat"]

    run_main([str(resource("demo/demo.mp4"))], script, qapp)


def test_a_range_gets_a_mask_at_every_frame_cancel_keeps_and_close_ends(cache, qapp):
    first, last = MEOW, MEOW + 9
    notes: list[str] = []

    def script(window: Any) -> Iterator[Callable[[], bool]]:
        window.session.noted.connect(notes.append)
        yield lambda: window.session.image is not None
        window.session.set_range(first, last)
        window.runner.run_range()
        yield lambda: window.runner.job is None
        results = window.session.results
        assert results.states.nonzero()[0].tolist() == list(range(first, last + 1))
        assert results.keys.nonzero()[0].tolist() == [first]
        for frame in range(first, last + 1):
            assert [item.name for item in results.get(frame).objects] == ["Cat"]
        # A run on the whole clip, cancelled by Escape once it has begun to look at pictures.
        began: list[str] = []
        window.runner.progressed.connect(lambda text, *_: began.append(text))
        window.runner.run_clip()
        yield lambda: any("Frame 0:" in text for text in began)
        QTest.keyClick(window, "\x1b")
        assert window.status.job.text.full_text == "Cancelling"
        yield lambda: window.runner.job is None
        assert "cancelled" in notes[-1]
        assert len(results) >= last - first + 1
        # And one that is still under way when the window is closed.
        began.clear()
        window.runner.run_clip()
        yield lambda: any("Frame 0:" in text for text in began)
        assert window.runner.job is not None

    run_main([str(resource("demo/demo.mp4"))], script, qapp)


def test_the_audio_window_before_a_run_is_that_of_the_method():
    from moca_core.models.compact import CompactBundle
    from moca_gui.session import Session

    assert Session().audio_window_s == CompactBundle.window_s
