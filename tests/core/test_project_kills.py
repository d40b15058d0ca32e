"""Processes that save a project are killed; it opens with a state that was saved."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from core.project_fakes import a_clip, a_snapshot, masks, save

from moca_core.annotations.project import Project, open_project, project_path


@pytest.fixture
def clip(tmp_path):
    return a_clip(tmp_path)


@pytest.fixture
def project(clip):
    """A project that was saved once."""
    project = Project(project_path(clip))
    save(project, a_snapshot(clip))
    return project


# Forks a process that opens the project and saves one state after the other, each of 200 frames
# with names that tell the state; kills it, opens the project, and prints what it finds. The
# last words are numbers: whole ones are steps in the file system, before which it ends itself; with
# a point they are milliseconds from the end of its first save to the kill.
KILLED = """
import itertools, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from core.project_fakes import a_snapshot, labels, results
from moca_core.annotations.project import View, open_project
path, clip, told = (Path(word) for word in sys.argv[2:5])

def end_before(step):
    count = itertools.count()
    def watched(function):
        def call(*given, **named):
            if next(count) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)
        return call
    os.fsync = watched(os.fsync)
    for name in ("open", "replace", "unlink"):
        setattr(Path, name, watched(getattr(Path, name)))

def work(step):
    opened = open_project(path)
    if step is not None:
        end_before(step)
    for state in itertools.count(opened.snapshot.view.frame + 1):
        found = results(range(0, 200, 1 + state % 2), f"state {state}")
        marks = labels(range(state % 90, 200, 30), f"state {state}")
        for _ in opened.project.save(a_snapshot(clip, results=found, labels=marks,
                                                view=View(frame=state))):
            pass
        os.write(pipe, b"%d\\n" % state)

pipe = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
state = 0
for words in sys.argv[5:]:
    step = int(words) if words.isdigit() else None
    size = os.path.getsize(told)
    pid = os.fork()
    if pid == 0:
        work(step)
    if step is None:
        while os.path.getsize(told) == size:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0)
            time.sleep(0.001)
        time.sleep(float(words) / 1e3)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    # What the process could tell, or the next state, of which it couldn't any more.
    known = max([state, *map(int, told.read_text().split())])
    opened = open_project(path)
    state, snapshot = opened.snapshot.view.frame, opened.snapshot
    assert state in (known, known + 1), (state, known)
    assert opened.notes == (), opened.notes
    frames = [*snapshot.results.values(), *snapshot.labels.values()]
    names = {item.objects[0].name for item in frames}
    assert not state or names == {f"state {state}"}, (state, names)
    assert not state or len(snapshot.results) == (100 if state % 2 else 200)
    print(state)
"""


def killed(project, clip, words):
    """The state that is found after each kill."""
    told = project.path.with_name("told")
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parents[1]), str(project.path)]
    done = subprocess.run(
        [*command, str(clip), str(told), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.splitlines()]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
def test_killed_at_any_moment_the_project_opens_with_a_state_that_was_saved(clip, project):
    times = random.Random(0)
    found = killed(project, clip, [f"{times.uniform(0, 80):.1f}" for _ in range(30)])
    assert len(found) == 30
    assert found[-1] >= 30


@needs_fork
def test_killed_before_each_step_of_a_save(clip, project):
    steps = 45
    found = killed(project, clip, [str(step) for step in range(steps)])
    assert len(found) == steps
    assert found[-1] >= 5  # some came past the step that counts
    opened = open_project(project.path)
    for path in masks(project).iterdir():
        os.utime(path, (0, 0))
    save(opened.project, opened.snapshot)
    listed = {row["file"] for row in json.loads(project.path.read_text())["chunks"]}
    assert {path.name for path in masks(project).iterdir()} == {*listed, ".lock", "project.json"}
