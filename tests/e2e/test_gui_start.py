"""Starting the real program in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moca_core.annotations.project import open_project, project_path
from moca_core.bench.report import BenchOptions, Row
from moca_core.paths import resource
from moca_gui import bench

REPOSITORY = Path(__file__).resolve().parent.parent.parent

# Imports that cost more than the whole start-up may take; workers import them when needed.
SLOW = ("torch", "sklearn", "cv2", "scipy", "onnx", "ai_edge_litert", "pyqtgraph")

PROBE = f"""
import sys
from moca_gui.__main__ import main
code = main(["--exit-after-show"])
print("LOADED", [name for name in {SLOW!r} if name in sys.modules], code)
"""

STOPPED = """
import os, signal, sys
from moca_core.annotations import edits
from moca_gui import __main__, main_window

class Corrected(main_window.MainWindow):
    def __init__(self):
        super().__init__()
        self.settings.set("autosave_after_s", 20.0)
        self.opened.connect(self.correct)

    def correct(self):
        self.session.apply(edits.accept([self.session.shown_or_blank(0)]))
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))

main_window.MainWindow = Corrected
sys.exit(__main__.main(sys.argv[2:]))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An isolated home without a screen."""
    names = {f"XDG_{n}_HOME": str(tmp_path / n.lower()) for n in ("CONFIG", "CACHE", "DATA")}
    return {
        **os.environ,
        **names,
        "HOME": str(tmp_path),
        "QT_QPA_PLATFORM": "offscreen",
        "MOCA_GUI_TIMING": "1",
        "PYTHONPATH": str(REPOSITORY),
    }


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_what_isnt_saved_yet_is_saved_when_the_system_ends_the_program(
    name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    shutil.copyfile(resource("demo/demo.mp4"), clip)
    done = start(["-c", STOPPED, name, str(clip)], environment)
    assert done.returncode == 0, done.stderr
    assert set(open_project(project_path(clip)).snapshot.labels) == {0}


def test_the_window_shows_without_slow_imports(environment: dict[str, str]) -> None:
    done = start(["-c", PROBE], environment)
    assert done.returncode == 0, done.stderr
    assert "LOADED [] 0" in done.stdout
    assert "window shown after" in done.stderr


CLIP_PROBE = """
import sys
from moca_core.paths import resource
from moca_gui.__main__ import main
code = main([str(resource("demo/demo.mp4"))])
print("LOADED", [name for name in ("torch", "sklearn", "onnx") if name in sys.modules], code)
"""


def test_a_clip_by_argument_is_shown_before_torch_is_imported(environment: dict[str, str]) -> None:
    done = start(["-c", CLIP_PROBE], {**environment, "MOCA_GUI_TIMING": "exit"})
    assert done.returncode == 0, done.stderr
    assert "LOADED [] 0" in done.stdout
    assert done.stderr.index("window shown after") < done.stderr.index("clip shown after")


def test_a_clip_that_cannot_be_opened_ends_the_measurement(environment: dict[str, str]) -> None:
    words = ["-m", "moca_gui", "no-such-clip.mp4"]
    assert start(words, {**environment, "MOCA_GUI_TIMING": "exit"}).returncode == 1


def test_the_start_is_measured(tmp_path: Path) -> None:
    events = list(bench.start_up(BenchOptions(tmp_path, repeats=1)))
    rows = {event.name: event for event in events if isinstance(event, Row)}
    assert list(rows) == ["window shown", "window shown, processor time", "clip shown"]
    assert 0 < rows["window shown"].value < rows["clip shown"].value
    assert rows["window shown, processor time"].value > 0
    assert rows["window shown"].at_most == 1.5


def test_playback_is_measured_in_frames_on_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "PLAY_S", 1.0)
    clip = resource("demo/demo.mp4")
    events = list(bench.playback(BenchOptions(tmp_path, clip=clip)))
    rows = {event.name: event for event in events if isinstance(event, Row)}
    # 25 frames a second is what the clip has: no more can be new on screen.
    assert 0 < rows["frames shown a second"].value <= 27
    assert rows["frames shown a second"].at_least == pytest.approx(24.5)
    assert rows["memory after the first fifth"].value > 20
    assert len(rows["random frame on screen"].samples) > 30
    assert min(rows["random frame on screen"].samples) > 0


def test_module_runs_and_help_needs_no_screen(environment: dict[str, str]) -> None:
    done = start(["-m", "moca_gui", "--help"], {**environment, "QT_QPA_PLATFORM": "none-such"})
    assert done.returncode == 0
    assert "clip" in done.stdout


def test_without_a_screen_it_says_so(environment: dict[str, str]) -> None:
    lacking = {k: v for k, v in environment.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = start(["-m", "moca_gui"], {**lacking, "QT_QPA_PLATFORM": "xcb"})
    assert done.returncode == 1
    assert "no display" in done.stderr.lower()
    assert "Traceback" not in done.stderr
