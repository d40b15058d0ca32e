"""GUI tests run offscreen, in a home of their own, and must leave no thread and no timer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from gui_fakes import MARKED, FakeReader, FakeSegmenter, FakeWeights, fake_sound
from prompt_fakes import FakePrompting
from tuning_fakes import FakeTuning


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CONFIG", "CACHE", "STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))
    return folder


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 3
    left: list[threading.Thread] = []
    while time.monotonic() < deadline:
        left = [t for t in threading.enumerate() if t not in before and t.is_alive()]
        if not left:
            return
        time.sleep(0.02)
    pytest.fail(f"threads left running: {[thread.name for thread in left]}")


@pytest.fixture
def segmenter() -> FakeSegmenter:
    """The method's stand-in, to be changed by the test before it runs."""
    return FakeSegmenter()


@pytest.fixture
def services(segmenter: FakeSegmenter) -> dict[str, Any]:
    """What the window takes from outside; a test may replace entries before `make_window`."""
    from moca_gui.clocks import AudioUnavailableError
    from moca_gui.kept import KeptResults

    def no_device(clip: Any, run: Any) -> Any:
        raise AudioUnavailableError("no audio device")

    return {
        "open_reader": FakeReader,
        "open_pictures": FakeReader,
        "read_sound": fake_sound,
        "audio_factory": no_device,
        "make_segmenter": lambda config: segmenter,
        "open_store": lambda clip, config, moved: KeptResults(None),
        "has_results": lambda clip: True,
        "weights": FakeWeights(),
    }


@pytest.fixture
def make_window(qtbot: Any, services: dict[str, Any]) -> Iterator[Callable[[], Any]]:
    """Make a window that is shown; it is shut down at the end, and no timer may run then."""
    from PySide6.QtCore import QCoreApplication, QEvent, QTimer
    from PySide6.QtWidgets import QApplication

    from moca_gui.main_window import MainWindow, Services

    windows = []

    def make() -> Any:
        window = MainWindow(Services(**services))
        qtbot.addWidget(window)
        window.show()
        qtbot.waitExposed(window)
        windows.append(window)
        return window

    yield make
    for window in windows:
        window.shut_down()
        QApplication.processEvents()
        running = [t for t in window.player.findChildren(QTimer) if t.isActive()]
        assert not running, "the player's timer still runs after the window was shut down"
    # Else each change of the theme would reach the windows of all tests before.
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def window(make_window: Callable[[], Any]) -> Any:
    """A window without a clip."""
    return make_window()


@pytest.fixture
def open_clip(qtbot: Any, tmp_path: Path) -> Callable[..., None]:
    """Open a stand-in clip in a window and wait for its first frame."""

    def do(window: Any, name: str = "clip.mp4") -> None:
        (tmp_path / name).write_text(name)  # by its content a project knows its clip
        with qtbot.waitSignal(window.opened, timeout=5000):
            window.open_path(tmp_path / name)
        qtbot.waitUntil(lambda: window.session.image is not None, timeout=2000)

    return do


@pytest.fixture
def tuning(services: dict[str, Any], tmp_path: Path) -> FakeTuning:
    """The trainer's stand-in, to be changed by the test before it is used."""
    services["tuning"] = FakeTuning(adopted=tmp_path / "adapters")
    return services["tuning"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder to learn from."""
    folder = tmp_path / "dogs"
    folder.mkdir()
    return folder


@pytest.fixture
def dialog(tuning: FakeTuning, window: Any) -> Any:
    """The fine-tuning window."""
    window.actions_by_name["fine_tune"].trigger()
    return window.fine_tune.dialog


@pytest.fixture
def ready(dialog: Any, data: Path, qtbot: Any) -> Any:
    """The fine-tuning window with data that were checked, and a run of six iterations."""
    dialog.setup.data.path.choose(data)
    dialog.data.start()
    qtbot.waitUntil(lambda: not dialog.data.active, timeout=3000)
    dialog.draft.set("iterations", 6)
    dialog.draft.set("validate_every", 2)
    return dialog


@pytest.fixture
def prompting(services: dict[str, Any]) -> FakePrompting:
    """The stand-in of the SAM that answers prompts."""
    services["prompting"] = FakePrompting()
    return services["prompting"]


@pytest.fixture
def marked_window(
    prompting: FakePrompting,
    make_window: Callable[[], Any],
    open_clip: Callable[..., None],
    segmenter: FakeSegmenter,
    qtbot: Any,
) -> Any:
    """A window at a frame with a dog (1) and a person (2)."""
    from moca_core.annotations.model import pack

    window = make_window()
    window.resize(1100, 800)
    open_clip(window)
    window.session.add_result(pack(segmenter.result(MARKED)))
    window.player.seek(MARKED)
    qtbot.waitUntil(lambda: window.session.frame == MARKED)
    window.view.setFocus()
    return window
