"""A day's work on a real screen: the real program in a process of its own, real keys and mouse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("Xlib", reason="python-xlib isn't installed (it is in the extra `dev`)")

from x_screen import Person, XServer

from moca_core.paths import resource

pytestmark = [
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="no Xvfb (apt-get install xvfb)"),
]
REPOSITORY = Path(__file__).resolve().parents[2]
MEOW = 30  # a frame in which the cat is heard


@pytest.fixture(scope="module")
def server() -> Iterator[XServer]:
    server = XServer()
    yield server
    server.stop()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The demo clip in a folder that a project can be written to."""
    folder = tmp_path / "clips"
    folder.mkdir()
    return shutil.copy(resource("demo/demo.mp4"), folder / "cat.mp4")


@pytest.fixture
def person(server: XServer, tmp_path: Path, weights_dir: Path) -> Iterator[Person]:
    """Somebody before the screen, with a home of their own; a warning in the messages fails."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "weights").symlink_to(weights_dir, target_is_directory=True)
    names = {f"XDG_{n}_HOME": str(tmp_path / n.lower()) for n in ("CONFIG", "STATE", "DATA")}
    home = {"HOME": str(tmp_path), "MOCA_CACHE_DIR": str(cache), "PYTHONPATH": str(REPOSITORY)}
    person = Person(server, {**os.environ, **names, **home}, tmp_path)
    yield person
    person.leave()
    assert person.messages.read_text() == ""


def test_open_play_step_run_and_cancel(person, clip):
    person.start(str(clip))
    person.wait(lambda s: s["shown"])
    person.press("Right", "Right", ".")
    person.wait(lambda s: s["frame"] == 3)
    person.press("Space")
    person.wait(lambda s: s["playing"] and s["frame"] > 15)
    person.press("Space")
    person.wait(lambda s: not s["playing"])
    person.press("Ctrl+G")
    person.wait(lambda s: s["top"] == "GoToDialog")
    person.type(str(MEOW))  # in a text box: 3 and 0 choose no overlay and fit no frame
    person.press("Enter")
    person.wait(lambda s: s["frame"] == MEOW and not s["top"])
    person.press("R")
    person.wait(lambda s: s["job"])
    state = person.wait(lambda s: not s["job"])
    assert [item["name"] for item in state["objects"]] == ["Cat"]
    person.press("Ctrl+R")
    person.wait(lambda s: s["job"])
    person.press("Esc")
    person.wait(lambda s: not s["job"] and "cancelled" in s["note"])
    person.press("Ctrl+Q")
    assert person.ended() == 0
