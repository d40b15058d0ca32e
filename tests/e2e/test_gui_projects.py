"""The real program is killed while somebody corrects; what it said it saved is there again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from moca_core.annotations.model import FOUND, PackedObject, PackedResult, pack_mask
from moca_core.annotations.project import ClipRef, Project, Snapshot, open_project, project_path
from moca_core.media.probe import clip_hash
from moca_core.media.video import VideoReader

COUNT, RATE, SIZE = 400, 25, (64, 96)
PATIENCE_S = 120  # the machine may be busy; a test that works never waits this long

# Opens a project in the program. `work`: accepts one frame after the other by the keys of a user,
# and tells which are corrected each time that the window says it is saved. `look`: tells which
# are corrected when it is open, and closes the window.
STUDIO = """
import json, sys
from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
import moca_gui.main_window as main_window
from moca_gui.__main__ import main
from moca_gui.projects import saver
from moca_gui.projects.saver import State

task, project = sys.argv[1:]
saver.MOST_S = 1.0

def tell(what, window, frames=None):
    frames = sorted(window.session.labels.frames) if frames is None else frames
    print(json.dumps({"what": what, "frames": frames}), flush=True)

class Window(main_window.MainWindow):
    def __init__(self):
        super().__init__()
        self.opened.connect(self.begin)
        self.open_failed.connect(lambda: print(self.log.toPlainText(), file=sys.stderr))

    def begin(self):
        tell("opened", self)
        if task == "look":
            QTimer.singleShot(0, self.close)
            return
        self.state = self.projects.saver.state
        self.projects.saver.changed.connect(self.on_saver)
        self.projects.saver.settled.connect(lambda well: well and tell("saved", self, self.saving))
        self.activateWindow()
        self.timer = QTimer(self, interval=15)
        self.timer.timeout.connect(self.correct)
        self.timer.start()

    def correct(self):
        if self.session.frame != self.player.target:
            return  # on its way
        made = set(self.session.labels.frames)
        if self.session.frame in made:
            QTest.keyClick(self, Qt.Key.Key_Right)
        else:
            # First told: the key's event may let a save begin.
            tell("made", self, sorted(made | {self.session.frame}))
            QTest.keyClick(self, Qt.Key.Key_A)

    def on_saver(self):
        # What is made while a save is under way is in the next one.
        began = self.state is not State.SAVING
        self.state = self.projects.saver.state
        if began and self.state is State.SAVING:
            self.saving = sorted(self.session.labels.frames)

main_window.MainWindow = Window
sys.exit(main([project]))
"""


def write_clip(path: Path) -> Path:
    """Grey frames, without sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=RATE, options={"g": "12"})
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        for index in range(COUNT):
            picture = np.full((*SIZE, 3), index % 200, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project of a clip that was run, in which nothing is corrected."""
    clip = write_clip(tmp_path / "clip.mp4")
    mask = np.zeros(SIZE, bool)
    mask[10:40, 20:60] = True
    item = PackedObject(1, "Dog", 0.8, *pack_mask(mask), FOUND)
    with VideoReader(clip) as reader:
        info = reader.info
        results = {
            frame: PackedResult(frame, reader.time_of(frame), SIZE, (item,))
            for frame in range(info.frame_count)
        }
    ref = ClipRef(clip, clip_hash(clip), info.frame_count, info.fps, info.duration_s, SIZE)
    path = project_path(clip)
    for _ in Project(path).save(Snapshot(ref, results=results)):
        pass
    return path


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who wants to be saved quickly."""
    names = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("CONFIG", "DATA", "CACHE")}
    settings = tmp_path / "CONFIG" / "moca-studio" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"autosave_after_s": 0.5}))
    return {**os.environ, **names, "HOME": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"}


def start(task: str, project: Path, home: dict[str, str], told: Path) -> Any:
    """Begin the program; what it tells goes into a file."""
    command = [sys.executable, "-c", STUDIO, task, str(project)]
    with told.open("w") as out, told.with_suffix(".err").open("w") as errors:
        return subprocess.Popen(command, env=home, stdout=out, stderr=errors)


def read(told: Path, what: str) -> list[set[int]]:
    """The frames of each line of a kind; one that was cut short doesn't count."""
    lines = told.read_text().split("\n")[:-1]
    return [set(line["frames"]) for line in map(json.loads, lines) if line["what"] == what]


@pytest.mark.slow
def test_what_was_saved_outlives_a_kill(project, home, tmp_path):
    draw = random.Random(5)
    before: set[int] = set()
    for turn in range(4):
        told = tmp_path / f"told{turn}"
        studio = start("work", project, home, told)
        deadline = time.monotonic() + PATIENCE_S
        while len(read(told, "saved")) < 1 + turn % 2:
            errors = told.with_suffix(".err").read_text()
            assert studio.poll() is None, errors
            assert time.monotonic() < deadline, errors
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1.0))  # in the middle of a save, or between two
        studio.send_signal(signal.SIGKILL)
        studio.wait()
        assert read(told, "opened") == [before]
        found = open_project(project)
        labels = set(found.snapshot.labels)
        assert found.notes == ()
        assert read(told, "saved")[-1] <= labels
        assert labels <= read(told, "made")[-1]
        assert len(found.snapshot.results) == COUNT
        assert before < labels
        before = labels
    told = tmp_path / "told"
    looked = start("look", project, home, told)
    assert looked.wait(PATIENCE_S) == 0, told.with_suffix(".err").read_text()
    assert read(told, "opened") == [before]
    assert set(open_project(project).snapshot.labels) == before
