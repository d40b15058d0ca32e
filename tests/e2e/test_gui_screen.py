"""A day's work on a real screen: the real program in a process of its own, real keys and mouse."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("Xlib", reason="python-xlib isn't installed (it is in the extra `dev`)")

from tone_clips import write_clip
from x_screen import Person, XServer

from moca_core.annotations.project import open_project, project_path
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


def go_to(person: Person, frame: int) -> None:
    person.press("Ctrl+G")
    person.wait(lambda s: s["top"] == "GoToDialog")
    person.type(str(frame))  # in a text box: the figures choose no overlay and fit no frame
    person.press("Enter")
    person.wait(lambda s: s["frame"] == frame and not s["top"])


def run_frame(person: Person) -> None:
    person.press("R")
    person.wait(lambda s: s["job"])
    person.wait(lambda s: not s["job"] and s["run"])


def test_open_play_step_run_and_cancel(person, clip):
    person.start(str(clip))
    person.wait(lambda s: s["shown"])
    person.press("Right", "Right", ".")
    person.wait(lambda s: s["frame"] == 3)
    person.press("Space")
    person.wait(lambda s: s["playing"] and s["frame"] > 15)
    person.press("Space")
    person.wait(lambda s: not s["playing"])
    go_to(person, MEOW)
    run_frame(person)
    state = person.look()
    assert [item["name"] for item in state["objects"]] == ["Cat"]
    person.press("Ctrl+R")
    person.wait(lambda s: s["job"])
    person.press("Esc")
    person.wait(lambda s: not s["job"] and "cancelled" in s["note"])
    person.press("Ctrl+Q")
    assert person.ended() == 0


def test_correct_undo_save_kill_recover_and_export(person, clip):
    person.start(str(clip))
    person.wait(lambda s: s["shown"])
    go_to(person, MEOW)
    run_frame(person)
    person.press("V")
    person.click(*person.on_frame(200, 200))
    person.wait(lambda s: s["selected"] == 1)
    person.press("F2")
    person.wait(lambda s: s["focus"] == "Name of the object")
    person.type("Tiger")
    person.press("Enter")
    found = person.wait(lambda s: s["corrected"] == [MEOW])["objects"][0]
    assert found["name"] == "Tiger"
    person.press("B")
    person.drag(*(person.on_frame(x, 120) for x in (400, 500, 600)))
    painted = person.wait(lambda s: s["objects"][0]["box"][2] > 590)["objects"][0]
    assert painted["origin"] == "drawn"
    person.press("Ctrl+Z")
    person.wait(lambda s: s["objects"] == [found])
    person.press("Ctrl+Shift+Z")
    person.wait(lambda s: s["objects"] == [painted])
    person.press("Ctrl+S")
    person.wait(lambda s: project_path(clip).exists() and not s["modified"])
    person.kill()

    person.start(str(project_path(clip)))
    state = person.wait(lambda s: s["corrected"])
    assert (state["frame"], state["objects"]) == (MEOW, [painted])
    person.press("V")
    person.click(*person.on_frame(200, 200))
    person.wait(lambda s: s["selected"] == 1)
    person.press("Del")
    person.wait(lambda s: not s["objects"])
    # Nobody saves now: that is done before long.
    person.wait(lambda s: not s["modified"])
    person.kill()
    assert open_project(project_path(clip)).snapshot.labels[MEOW].objects == ()

    person.start(str(clip))
    state = person.wait(lambda s: s["corrected"] == [MEOW])
    assert not state["undo"]
    person.press("Right")
    person.wait(lambda s: s["frame"] == MEOW + 1)
    run_frame(person)
    person.press("Ctrl+E")
    person.wait(lambda s: "ExportDialog" in s["dialogs"])
    person.click_on("Format")
    person.type("coco")
    person.press("Enter")
    person.click_on("Start")
    (written,) = person.wait_for(lambda: list(clip.parent.glob("*/annotations.json")))
    names = {row["name"] for row in json.loads(written.read_text())["categories"]}
    assert names == {"Cat"}
    person.press("Esc")
    person.wait(lambda s: not s["dialogs"])
    person.press("Ctrl+Q")
    assert person.ended() == 0


def test_train_and_close_while_it_trains(person, clip, tmp_path):
    (tmp_path / "tones").mkdir()
    for number in range(4):
        write_clip(tmp_path / "tones" / f"tone{number}.mp4", number)
    person.start(str(clip))
    person.wait(lambda s: s["shown"])
    person.press("Ctrl+T")
    person.wait(lambda s: "FineTuneDialog" in s["dialogs"])
    person.click_on("Data")
    person.type(str(tmp_path / "tones"))
    person.click_on("Check")
    person.wait(lambda s: "items can be used" in s["texts"].get("Check result", ""))
    person.click_on("Start")
    person.wait(lambda s: " of " in s["training"])
    person.press("Esc")  # closes its window, not the work
    person.wait(lambda s: "FineTuneDialog" not in s["dialogs"] and s["training"])
    person.press("Ctrl+Q")
    person.wait(lambda s: s["top"] == "LeaveDialog")
    person.click_on("Keep and close")
    assert person.ended() == 0
    assert list((tmp_path / "MoCA Studio").rglob("*.safetensors"))
