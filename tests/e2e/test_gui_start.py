"""Starting the real program in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent

# Imports that cost more than the whole start-up may take; workers import them when needed.
SLOW = ("torch", "sklearn", "cv2", "scipy", "onnx", "ai_edge_litert", "pyqtgraph")

PROBE = f"""
import sys
from moca_gui.__main__ import main
code = main(["--exit-after-show"])
print("LOADED", [name for name in {SLOW!r} if name in sys.modules], code)
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


def test_the_window_shows_without_slow_imports(environment: dict[str, str]) -> None:
    done = start(["-c", PROBE], environment)
    assert done.returncode == 0, done.stderr
    assert "LOADED [] 0" in done.stdout
    assert "window shown after" in done.stderr


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
