"""Projects when something breaks: kills, full disks, damage, files that mean harm."""

from __future__ import annotations

import base64
import errno
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from core.project_fakes import (
    a_clip,
    a_result,
    a_snapshot,
    assert_same_frames,
    labels,
    masks,
    results,
    save,
)

from moca_core.annotations import chunks
from moca_core.annotations.project import Project, View, open_project, peek, project_path
from moca_core.config import SegmentConfig
from moca_core.errors import ProjectConflictError, ProjectError, StorageError


@pytest.fixture
def clip(tmp_path):
    return a_clip(tmp_path)


@pytest.fixture
def project(clip):
    """A project that was saved once."""
    project = Project(project_path(clip))
    save(project, a_snapshot(clip))
    return project


def content(project):
    return json.loads(project.path.read_text())


def rewrite(project, edit):
    """Change the readable file as a hand would."""
    value = content(project)
    edit(value)
    project.path.write_text(json.dumps(value))


# -- kills ------------------------------------------------------------------------------------

# Forks a process that opens the project and saves one state after the other, each of 200 frames
# with names that tell the state; kills it, opens the project, and prints what it finds. The
# last word is the step of the file system before which it ends itself, or none and it is killed
# after so many milliseconds.
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
    pid = os.fork()
    if pid == 0:
        work(step)
    if step is None:
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
    found = killed(project, clip, [f"{times.uniform(5, 150):.1f}" for _ in range(30)])
    assert len(found) == 30
    assert found[-1] > 10


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
    listed = {row["file"] for row in content(project)["chunks"]}
    assert {path.name for path in masks(project).iterdir()} == {*listed, ".lock"}


# -- disks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("name", ["fsync", "replace", "open"])
def test_a_disk_that_fails_at_any_step_leaves_the_old_state(clip, project, monkeypatch, code, name):
    old = a_snapshot(clip)
    new = a_snapshot(clip, results=results(range(200), "Bird"), labels=labels([5], "Bird"))
    owner = os if name == "fsync" else Path
    real = getattr(owner, name)
    failed = 0
    for step in range(12):
        calls = iter(range(1000))

        def failing(*given, calls=calls, step=step, **named):
            writes = name != "open" or "x" in given[1:2][0]
            if writes and next(calls) == step:
                raise OSError(code, os.strerror(code))
            return real(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            try:
                save(project, new)
                break
            except StorageError as error:
                failed += 1
                assert os.strerror(code) in error.message
                assert error.hint
        opened = open_project(project.path)
        assert opened.notes == ()
        assert_same_frames(opened.snapshot.labels, old.labels)
    assert failed >= 1
    save(project, new)
    assert_same_frames(open_project(project.path).snapshot.results, new.results)


def test_a_folder_that_cant_be_made(clip, tmp_path):
    (tmp_path / "new.moca").write_text("a file in the way")
    with pytest.raises(StorageError, match="masks can't be saved") as caught:
        save(Project(tmp_path / "new.moca.json"), a_snapshot(clip))
    assert "another name" in caught.value.hint
    assert (tmp_path / "new.moca").read_text() == "a file in the way"


def test_a_project_that_isnt_there(tmp_path):
    with pytest.raises(ProjectError, match="No such file") as caught:
        open_project(tmp_path / "gone.moca.json")
    assert caught.value.hint
    with pytest.raises(ProjectError, match="not a file"):
        open_project(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_in_the_place_of_a_file_isnt_waited_for(project):
    name = content(project)["chunks"][0]["file"]
    (masks(project) / name).unlink()
    os.mkfifo(masks(project) / name)
    assert "not a file" in open_project(project.path).notes[0]


# -- damage -----------------------------------------------------------------------------------


def of(project, kind):
    """The files of masks of one kind, in the order of their frames."""
    names = [row["file"] for row in content(project)["chunks"] if row["kind"] == kind]
    return [masks(project) / name for name in names]


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("harm", [damage, cut, Path.unlink])
def test_frames_of_a_lost_file_are_named_and_return_with_it(clip, project, harm):
    lost, there = of(project, "labels")[1], of(project, "labels")[2]
    good = lost.read_bytes()
    harm(lost)
    harmed = lost.read_bytes() if lost.exists() else None
    opened = open_project(project.path)
    (note,) = opened.notes
    assert "Corrections of frames 70 are lost" in note
    assert lost.name in note
    assert sorted(opened.snapshot.labels) == [3, 150]
    assert len(opened.snapshot.results) == 200
    # Saving, also of other frames of that file, neither forgets nor touches it.
    new = dict(opened.snapshot.labels) | labels([71])
    save(opened.project, replace(opened.snapshot, labels=new))
    assert (lost.read_bytes() if lost.exists() else None) == harmed
    assert there.exists()
    again = open_project(project.path)
    assert len(again.notes) == 1
    save(again.project, again.snapshot)
    lost.write_bytes(good)
    healed = open_project(project.path)
    assert healed.notes == ()
    assert sorted(healed.snapshot.labels) == [3, 70, 71, 150]
    save(healed.project, healed.snapshot)
    assert sorted(open_project(project.path).snapshot.labels) == [3, 70, 71, 150]
    assert content(project)["lost"] == []


def test_frames_that_were_made_anew_are_missed_no_longer(clip, project):
    damage(of(project, "labels")[1])
    opened = open_project(project.path)
    new = dict(opened.snapshot.labels) | labels([70], "Bird")
    save(opened.project, replace(opened.snapshot, labels=new))
    assert open_project(project.path).notes == ()
    assert content(project)["lost"] == []


def test_lost_results_dont_return_among_those_of_other_settings(clip, project):
    damage(of(project, "results")[0])
    opened = open_project(project.path)
    assert "Results of frames 0-63 are lost" in opened.notes[0]
    save(opened.project, opened.snapshot)
    assert len(content(project)["lost"]) == 1
    save(opened.project, replace(opened.snapshot, config=SegmentConfig(clusters=9), results={}))
    assert content(project)["lost"] == []


def test_a_lost_folder_makes_few_words(clip, project):
    save(project, a_snapshot(clip, labels=labels(range(0, 900, 3))))
    for path in masks(project).glob("*.gz"):
        path.unlink()
    opened = open_project(project.path)
    assert len(opened.notes) == 2
    assert all(len(note) < 400 for note in opened.notes)
    assert "and others (300 in all)" in " ".join(opened.notes)
    assert "missing, and 14 more" in " ".join(opened.notes)
    assert len(opened.snapshot.labels) == 0


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value.pop("clip"),
        lambda value: value.pop("chunks"),
        lambda value: value.update(version="1"),
        lambda value: value.update(version=0),
        lambda value: value.update(saved_at="yesterday"),
        lambda value: value.update(saved_at="0001-01-01T00:00:00+00:00"),
        lambda value: value.update(saved_id=7),
        lambda value: value.update(masks="../elsewhere"),
        lambda value: value.update(masks=".."),
        lambda value: value["clip"].update(path="a\0b"),
        lambda value: value["clip"].update(fps=float("nan")),
        lambda value: value["clip"].update(frames=10**30),
        lambda value: value["clip"].update(size=[20]),
        lambda value: value["chunks"][0].update(file="../../etc/passwd"),
        lambda value: value["chunks"][0].update(file="/etc/passwd"),
        lambda value: value["chunks"][0].update(bytes=2**60),
        lambda value: value["chunks"][0].update(bytes=True),
        lambda value: value["chunks"][0].update(frames="0-999999999"),
        lambda value: value["chunks"][0].update(frames="5-3"),
        lambda value: value["chunks"][0].update(frames="3, 3"),
        lambda value: value["chunks"][0].update(frames=["0-63"]),
        lambda value: value["chunks"][0].update(kind="lost"),
        lambda value: value["chunks"].append(None),
        lambda value: value.update(chunks={"a": 1}),
    ],
)
def test_a_readable_file_that_cant_be_right_is_refused_and_stays(clip, project, edit):
    rewrite(project, edit)
    before = project.path.read_bytes()
    with pytest.raises(ProjectError, match="damaged") as caught:
        open_project(project.path)
    assert "backup" in caught.value.hint
    assert peek(project.path).problem == caught.value.message
    if peek(project.path).problem and content(project).get("saved_id") == 7:
        with pytest.raises(ProjectConflictError):
            save(project, a_snapshot(clip))
    assert project.path.read_bytes() == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda value: value.update(config={"bundle": "no such"}),
        lambda value: value.update(config=None),
        lambda value: value["config"].update(clusters="5"),
        lambda value: value["config"].update(clusters=99),
        lambda value: value.update(thresholds=["a"]),
        lambda value: value.update(thresholds={"a": 1}),
    ],
)
def test_what_isnt_essential_doesnt_keep_a_project_from_being_opened(project, edit):
    rewrite(project, edit)
    opened = open_project(project.path)
    assert len(opened.notes) == 1
    assert "stand in" in opened.notes[0]
    assert len(opened.snapshot.labels) == 3


@pytest.mark.parametrize(
    "view",
    [
        None,
        {"frame": -1},
        {"frame": 0, "zoom": float("inf"), "centre": None},
        {"frame": 1, "zoom": 1, "centre": [1], "range": None, "hidden": [], "timeline": None},
        {"frame": 1, "zoom": 1, "centre": None, "range": None, "hidden": "ab", "timeline": None},
    ],
)
def test_a_view_that_cant_be_made_out_is_the_first_frame(project, view):
    rewrite(project, lambda value: value.update(view=view))
    opened = open_project(project.path)
    assert (opened.snapshot.view, opened.notes) == (View(), ())


def test_a_view_outside_of_the_clip_is_brought_inside(clip, project):
    save(project, a_snapshot(clip, view=View(frame=5000, range=(10, 5000))))
    view = open_project(project.path).snapshot.view
    assert (view.frame, view.range) == (999, None)


def test_frames_outside_of_the_clip_are_left_out_and_named(clip, project):
    save(project, a_snapshot(clip, labels=labels([3, 1000, 1001])))
    opened = open_project(project.path)
    assert opened.notes == ("Corrections of frames 1000-1001 aren't in the clip.",)
    assert sorted(opened.snapshot.labels) == [3]


# -- files that mean harm ---------------------------------------------------------------------


def forge(project, data, frames="3"):
    """Put a file of masks in the place of the first corrections', as the project lists it."""
    path = of(project, "labels")[0]
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    facts = {"bytes": len(data), "sha256": digest, "frames": frames}
    at = [row["file"] for row in content(project)["chunks"]].index(path.name)
    rewrite(project, lambda value: value["chunks"][at].update(facts))


def forged(project, edit):
    """The same with one thing changed in it."""
    value = json.loads(gzip.decompress(of(project, "labels")[0].read_bytes()))
    edit(value["frames"][0], value["frames"][0]["objects"][0])
    forge(project, gzip.compress(json.dumps(value).encode()))


@pytest.mark.parametrize(
    "edit",
    [
        lambda frame, item: frame.update(frame=4),
        lambda frame, item: frame.update(frame=True),
        lambda frame, item: frame.update(size=[2**20, 2**20]),
        lambda frame, item: frame.update(size=[0, 10]),
        lambda frame, item: frame.update(size=[-20, -30]),
        lambda frame, item: frame.update(time_s=float("nan")),
        lambda frame, item: frame.update(time_s=10**400),
        lambda frame, item: frame.update(heard=[["Dog"]]),
        lambda frame, item: frame.update(key=1),
        lambda frame, item: frame.update(reason=None),
        lambda frame, item: frame.update(window_s=[0, 1, 2]),
        lambda frame, item: item.update(box=[0, 0, 31, 5]),
        lambda frame, item: item.update(box=[5, 5, 5, 5]),
        lambda frame, item: item.update(box=[-1, 0, 5, 5]),
        lambda frame, item: item.update(box=[0, 0, 0, 0]),
        lambda frame, item: item.update(bits="not base64!"),
        lambda frame, item: item.update(bits="AAAA"),
        lambda frame, item: item.update(bits=None),
        lambda frame, item: item.update(origin="heaven"),
        lambda frame, item: item.update(name=5),
        lambda frame, item: item.update(score="high"),
        lambda frame, item: item.update(number=-1),
        lambda frame, item: item.pop("number"),
        lambda frame, item: frame.update(objects=[1]),
    ],
)
def test_a_frame_that_cant_be_right_costs_its_file_only(project, edit):
    forged(project, edit)
    opened = open_project(project.path)
    assert "Corrections of frames 3 are lost" in opened.notes[0]
    assert sorted(opened.snapshot.labels) == [70, 150]


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"[" * 200_000, b"\xff", b'{"frames": [' + b"[]," * 5_000_000]
)
def test_text_that_isnt_masks_costs_its_file_only(project, text):
    forge(project, gzip.compress(text))
    assert len(open_project(project.path).notes) == 1


def test_a_bomb_is_not_unpacked(project, monkeypatch):
    monkeypatch.setattr(chunks, "_MOST_TEXT", 2**20)
    forge(project, gzip.compress(b" " * 2**26))
    assert "too large" in open_project(project.path).notes[0]


def test_a_mask_with_more_bits_than_its_box_is_not_unpacked(project):
    bomb = zlib.compress(bytes(2**26), 9)
    coded = base64.b64encode(bomb).decode()
    forged(project, lambda frame, item: item.update(bits=coded))
    assert "another size" in open_project(project.path).notes[0]


def test_more_masks_than_anybody_has_pixels_for_are_not_unpacked(project, monkeypatch):
    monkeypatch.setattr(chunks, "_MOST_BITS", 10_000)
    forged(project, lambda frame, item: frame.update(objects=[item] * 400))
    assert len(open_project(project.path).notes) == 1


def test_a_file_that_grew_is_not_read_to_its_end(project):
    path = of(project, "labels")[0]
    with path.open("ab") as stream:
        stream.truncate(2**40)
    assert "more than" in open_project(project.path).notes[0]


def test_large_masks_that_hardly_compress_are_written_as_they_are_read(clip, project, monkeypatch):
    """No file that is written is refused when it is read."""
    monkeypatch.setattr(chunks, "_MOST_BITS", 3 * 35)
    monkeypatch.setattr(chunks, "_FULL", 3 * (a_result(0).nbytes + 1))
    snapshot = a_snapshot(clip, results={}, labels=labels(range(64)))
    save(project, snapshot)
    opened = open_project(project.path)
    assert opened.notes == ()
    assert_same_frames(opened.snapshot.labels, snapshot.labels)
