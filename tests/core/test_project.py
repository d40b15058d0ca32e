"""Projects: what is saved comes back, only what changed is written, nobody is overwritten."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
import sys
import time
import weakref
import zlib
from dataclasses import replace

import numpy as np
import pytest
from core.project_fakes import (
    SIZE,
    a_clip,
    a_ref,
    a_result,
    a_snapshot,
    assert_same_frames,
    labels,
    masks,
    random_results,
    results,
    save,
)

from moca_core.annotations.chunks import encode
from moca_core.annotations.project import (
    Opened,
    Project,
    View,
    find_clip,
    masks_folder,
    open_project,
    opening,
    peek,
    project_path,
)
from moca_core.config import SegmentConfig
from moca_core.errors import ProjectConflictError, ProjectError, ProjectVersionError
from moca_core.fileio import write_json
from moca_core.models.filelock import FileLock


@pytest.fixture
def clip(tmp_path):
    return a_clip(tmp_path)


@pytest.fixture
def project(clip):
    return Project(project_path(clip))


def content(project):
    return json.loads(project.path.read_text())


def change(project, **values):
    project.path.write_text(json.dumps(content(project) | values))


# -- what comes back --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_everything_comes_back_to_the_pixel(clip, project, seed):
    rng = np.random.default_rng(seed)
    some = sorted({int(frame) for frame in rng.integers(0, 1000, rng.integers(1, 90))})
    snapshot = a_snapshot(
        clip,
        config=SegmentConfig(proposals="grid", clusters=7, adapter="/somewhere/ad.safetensors"),
        moved=(("hearing.faint", "0.25"), ("least_fit", "0.4")),
        results=random_results(seed, some),
        labels=random_results(seed + 100, some[::3], corrected=True),
        view=View(7, 2.5, (3.5, 4.0), (2, 90), (2, 5), (0.5, 9.25)),
    )
    save(project, snapshot)
    opened = open_project(project.path)
    assert opened.notes == ()
    assert_same_frames(opened.snapshot.results, snapshot.results)
    assert_same_frames(opened.snapshot.labels, snapshot.labels)
    for name in ("config", "moved", "view"):
        assert getattr(opened.snapshot, name) == getattr(snapshot, name)
    found, ref = opened.snapshot.clip, snapshot.clip
    for name in ("path", "hash", "frame_count", "fps", "duration_s", "size"):
        assert getattr(found, name) == getattr(ref, name)
    assert found.relative == "dog.mp4"
    assert opened.project.saved_at == project.saved_at


def test_a_project_without_a_frame(clip, project):
    save(project, a_snapshot(clip, results={}, labels={}))
    opened = open_project(project.path)
    assert (dict(opened.snapshot.results), opened.snapshot.view) == ({}, View())


def test_a_score_that_is_no_number_doesnt_keep_a_frame_from_being_saved(clip, project):
    frame = a_result(4, corrected=True)
    odd = replace(frame, objects=(replace(frame.objects[0], score=float("nan")),))
    odd = replace(odd, time_s=np.float32(0.5), heard=(("Dog", np.float32("inf")),))
    save(project, a_snapshot(clip, labels={4: odd}))
    found = open_project(project.path).snapshot.labels[4]
    assert (found.objects[0].score, found.time_s, found.heard) == (0.0, 0.5, (("Dog", 0.0),))
    assert (found.objects[0].mask(SIZE) == frame.objects[0].mask(SIZE)).all()


def test_masks_are_read_by_others_in_ten_lines(clip, project):
    """As docs/guide/projects.md says, with nothing of ours."""
    snapshot = a_snapshot(clip)
    save(project, snapshot)
    found = {}
    index = json.loads(project.path.read_text())
    for chunk in index["chunks"]:
        path = project.path.parent / index["masks"] / chunk["file"]
        for frame in json.loads(gzip.decompress(path.read_bytes()))["frames"]:
            for item in frame["objects"]:
                x0, y0, x1, y1 = item["box"]
                mask = np.zeros(frame["size"], bool)
                bits = np.frombuffer(zlib.decompress(base64.b64decode(item["bits"])), np.uint8)
                mask[y0:y1, x0:x1] = np.unpackbits(bits)[: (y1 - y0) * (x1 - x0)].reshape(
                    y1 - y0, x1 - x0
                )
                found[chunk["kind"], frame["frame"]] = mask
    wanted = {("results", k): v for k, v in snapshot.results.items()}
    wanted |= {("labels", k): v for k, v in snapshot.labels.items()}
    assert found.keys() == wanted.keys()
    for key, mask in found.items():
        assert (mask == wanted[key].objects[0].mask(SIZE)).all()


def test_opening_tells_how_far_it_is_and_can_be_left(clip, project):
    save(project, a_snapshot(clip))
    events = list(opening(project.path))
    assert [event.done for event in events[:-1]] == list(range(events[0].total))
    assert isinstance(events[-1], Opened)
    left = opening(project.path)
    next(left)
    left.close()


# -- what is written --------------------------------------------------------------------------


def test_only_what_changed_is_written_among_20000_frames(clip, project):
    shared = a_result(0)
    found = {frame: replace(shared, frame=frame) for frame in range(20_000)}
    snapshot = replace(a_snapshot(clip), clip=a_ref(clip, 20_000), results=found, labels={})
    assert len(save(project, snapshot)) == 313  # of 64 frames
    assert save(project, snapshot) == []
    kept = {path: path.stat().st_mtime_ns for path in masks(project).iterdir()}
    (first,) = save(project, replace(snapshot, labels=labels([7000])))
    (second,) = save(project, replace(snapshot, labels=labels([7000, 7001])))
    assert first.startswith("labels-006976-")
    assert second.startswith("labels-006976-")
    assert not (masks(project) / first).exists()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    found[19_000] = replace(found[19_000], coarse=True)
    (only,) = save(project, replace(snapshot, results=dict(found), labels={}))
    assert only.startswith("results-018944-")
    assert len(list(masks(project).glob("*.gz"))) == 313


def test_what_was_opened_isnt_written_again(clip, project):
    snapshot = a_snapshot(clip)
    save(project, snapshot)
    opened = open_project(project.path)
    assert save(opened.project, opened.snapshot) == []
    edited = dict(opened.snapshot.labels) | labels([71])
    assert len(save(opened.project, replace(opened.snapshot, labels=edited))) == 1
    assert sorted(open_project(project.path).snapshot.labels) == [3, 70, 71, 150]


def test_the_project_keeps_no_frame_alive(clip, project):
    found = results([5])
    there = weakref.ref(found[5])
    save(project, a_snapshot(clip, results=found))
    del found
    assert there() is None


def test_frames_too_large_for_one_file_lie_in_several(clip, project, monkeypatch):
    monkeypatch.setattr("moca_core.annotations.chunks._FULL", 5_000)
    snapshot = a_snapshot(clip, results=results(range(70)), labels={})
    assert len(save(project, snapshot)) > 6
    opened = open_project(project.path)
    assert_same_frames(opened.snapshot.results, snapshot.results)
    assert save(opened.project, opened.snapshot) == []


def test_a_save_stopped_halfway_leaves_the_old_state_and_goes_on_later(clip, project):
    save(project, a_snapshot(clip))
    new = a_snapshot(clip, results=results(range(500), "Bird"))
    events = project.save(new)
    for _ in range(4):
        next(events)
    events.close()
    found = open_project(project.path).snapshot.results
    assert {item.objects[0].name for item in found.values()} == {"Dog"}
    assert len(save(project, new)) == 5  # of 8 files three were there
    assert len(open_project(project.path).snapshot.results) == 500


def test_a_vanished_folder_is_written_again(clip, project):
    snapshot = a_snapshot(clip)
    save(project, snapshot)
    for path in masks(project).iterdir():
        path.unlink()
    masks(project).rmdir()
    save(project, snapshot)
    assert open_project(project.path).notes == ()
    project.path.unlink()
    save(project, snapshot)
    assert open_project(project.path).notes == ()


def test_saved_under_another_name_it_is_whole(clip, project, tmp_path):
    snapshot = a_snapshot(clip)
    save(project, snapshot)
    other = Project(tmp_path / "elsewhere" / "copy.moca.json")
    save(other, snapshot)
    found = open_project(other.path)
    assert_same_frames(found.snapshot.labels, snapshot.labels)
    assert find_clip(found.snapshot.clip, other.path) == clip
    assert content(other)["clip"]["relative"] == "../dog.mp4"


def test_a_readable_file_renamed_alone_is_still_read(clip, project):
    snapshot = a_snapshot(clip)
    save(project, snapshot)
    path = project.path.rename(project.path.with_name("renamed.moca.json"))
    opened = open_project(path)
    assert_same_frames(opened.snapshot.labels, snapshot.labels)
    assert len(save(opened.project, opened.snapshot)) == 7
    assert len(list(masks(project).glob("*.gz"))) == 7
    assert masks_folder(path).name == "renamed.moca"


# -- others -----------------------------------------------------------------------------------


def test_what_another_program_saved_isnt_overwritten(clip, project):
    save(project, a_snapshot(clip))
    other = open_project(project.path)
    save(other.project, replace(other.snapshot, labels=labels([9])))
    before = project.path.read_bytes()
    with pytest.raises(ProjectConflictError, match="meanwhile") as caught:
        save(project, a_snapshot(clip, labels=labels([8])))
    assert "overwrite" in caught.value.hint
    assert project.path.read_bytes() == before
    assert sorted(open_project(project.path).snapshot.labels) == [9]
    save(project, a_snapshot(clip, labels=labels([8])), force=True)
    assert sorted(open_project(project.path).snapshot.labels) == [8]
    save(project, a_snapshot(clip, labels=labels([8, 7])))
    with pytest.raises(ProjectConflictError):
        save(other.project, other.snapshot)


@pytest.mark.parametrize("text", [None, "{", '{"format": "something else"}', "\0"])
def test_a_file_that_is_there_already_isnt_overwritten(clip, project, text):
    if text is None:
        save(Project(project.path), a_snapshot(clip))
    else:
        project.path.write_text(text)
    before = project.path.read_bytes()
    with pytest.raises(ProjectConflictError):
        save(project, a_snapshot(clip))
    assert project.path.read_bytes() == before
    save(project, a_snapshot(clip), force=True)
    assert open_project(project.path).notes == ()


def test_a_newer_program_s_project_is_refused_and_stays(clip, project):
    save(project, a_snapshot(clip))
    change(project, version=2, program="3.4", chunks={"in": "another way"})
    before = project.path.read_bytes()
    with pytest.raises(ProjectVersionError, match=r"newer program \(3\.4; format 2") as caught:
        open_project(project.path)
    assert "Update" in caught.value.hint
    for force in (False, True):
        with pytest.raises(ProjectVersionError):
            save(project, a_snapshot(clip), force)
    assert project.path.read_bytes() == before
    facts = peek(project.path)
    assert (facts.corrected, facts.saved_at) == (0, None)
    assert "newer" in facts.problem


def test_what_this_program_doesnt_know_is_kept(clip, project):
    save(project, a_snapshot(clip))
    config = content(project)["config"] | {"new": 1}
    change(project, notes=["by hand"], config=config)
    opened = open_project(project.path)
    assert opened.notes == ()
    save(opened.project, opened.snapshot)
    assert content(project)["notes"] == ["by hand"]
    assert "new" not in content(project)["config"]


def test_two_programs_that_save_at_once_wait_for_each_other(clip, project, monkeypatch):
    monkeypatch.setattr("moca_core.annotations.saving._TRIES", 2)
    masks(project).mkdir()
    with FileLock(masks(project) / ".lock") as lock:
        assert lock.acquire()
        with pytest.raises(ProjectError, match="another program is saving"):
            save(project, a_snapshot(clip))
    save(project, a_snapshot(clip))
    assert peek(project.path).corrected == 3


def test_a_project_that_is_saved_while_it_is_opened_is_opened_again(clip, project):
    save(project, a_snapshot(clip))
    events = opening(project.path)
    next(events)
    save(project, a_snapshot(clip, results=results(range(200), "Bird"), labels=labels([9])))
    opened = list(events)[-1]
    assert opened.notes == ()
    assert sorted(opened.snapshot.labels) == [9]
    save(opened.project, opened.snapshot)


# -- the clip, and what is known without opening ----------------------------------------------


def test_a_project_lies_beside_its_clip(tmp_path):
    clip = a_clip(tmp_path)
    assert project_path(clip) == tmp_path / "dog.moca.json"
    assert masks_folder(project_path(clip)) == tmp_path / "dog.moca"
    save(Project(project_path(clip)), a_snapshot(clip))
    other = a_clip(tmp_path, "dog.mov", b"another dog")
    assert project_path(clip) == tmp_path / "dog.moca.json"
    assert project_path(other) == tmp_path / "dog.mov.moca.json"
    save(Project(project_path(other)), a_snapshot(other))
    (tmp_path / "dog.moca.json").unlink()
    assert project_path(other) == tmp_path / "dog.mov.moca.json"


def test_a_clip_that_got_another_suffix_keeps_its_project(tmp_path):
    clip = a_clip(tmp_path)
    save(Project(project_path(clip)), a_snapshot(clip))
    assert project_path(clip.rename(tmp_path / "dog.m4v")) == tmp_path / "dog.moca.json"


def test_a_damaged_project_is_still_the_clip_s(tmp_path):
    clip = a_clip(tmp_path)
    (tmp_path / "dog.moca.json").write_text("{")
    assert project_path(clip) == tmp_path / "dog.moca.json"


def test_a_clip_is_found_where_it_went(tmp_path):
    clip = a_clip(tmp_path / "a")
    project = Project(project_path(clip))
    save(project, a_snapshot(clip))
    ref = open_project(project.path).snapshot.clip
    assert find_clip(ref, project.path) == clip
    # The folder moved as a whole.
    (tmp_path / "a").rename(tmp_path / "b")
    moved = tmp_path / "b" / "dog.moca.json"
    assert find_clip(ref, moved) == tmp_path / "b" / "dog.mp4"
    # The project went away from the clip, and the clip stayed.
    away = tmp_path / "c" / "dog.moca.json"
    assert find_clip(replace(ref, path=tmp_path / "b" / "dog.mp4"), away) is not None
    assert find_clip(ref, away) is None
    # Another file with its name.
    a_clip(tmp_path / "c", content=b"a cat")
    assert find_clip(ref, away) is None
    a_clip(tmp_path / "c")
    assert find_clip(replace(ref, relative="gone/dog.mp4"), away) == tmp_path / "c" / "dog.mp4"


def test_a_clip_whose_name_isnt_text(tmp_path):
    clip = a_clip(tmp_path, os.fsdecode(b"d\xffg [1].mp4"))
    project = Project(project_path(clip))
    save(project, a_snapshot(clip))
    ref = open_project(project.path).snapshot.clip
    assert find_clip(ref, project.path) == clip


def test_a_look_at_a_project_counts_without_reading_masks(clip, project):
    assert peek(project.path).problem == ""
    assert peek(project.path).saved_at is None
    save(project, a_snapshot(clip))
    for path in masks(project).glob("*.gz"):
        path.unlink()
    facts = peek(project.path)
    assert (facts.corrected, facts.results, facts.version, facts.problem) == (3, 200, 1, "")
    assert facts.saved_at == project.saved_at


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "moca-project"}', "[" * 100_000])
def test_a_look_at_anything_says_what_is_wrong(project, text):
    project.path.write_text(text)
    assert str(project.path) in peek(project.path).problem
    assert "folder" not in peek(project.path).problem
    assert peek(project.path.parent).problem


# -- what killed saves leave ------------------------------------------------------------------


def test_leftovers_of_killed_saves_go_if_they_are_ours_and_old(clip, project):
    save(project, a_snapshot(clip))
    folder, beside = masks(project), project.path.parent
    chunk, stale = encode("labels", [a_result(9990)])
    name = chunk.name
    old = [folder / name, folder / f".{name}.0123abcd.tmp", beside / ".dog.moca.json.0123abcd.tmp"]
    foreign = [
        folder / f"labels-000128-{'0' * 16}.json.gz",  # damaged: not what its name says
        folder / "notes.txt",
        folder / ".notes.txt.0123abcd.tmp",
        beside / ".cat.moca.json.0123abcd.tmp",
    ]
    for path in (*old, *foreign):
        path.write_bytes(stale)
        os.utime(path, (0, 0))
    young = folder / f".{name}.0123abce.tmp"
    young.write_bytes(stale)
    opened = open_project(project.path)
    save(opened.project, opened.snapshot)
    assert [path.exists() for path in old] == [False] * 3
    assert all(path.exists() for path in (*foreign, young))


def test_starting_the_window_imports_nothing_slow_for_projects():
    script = (
        "import sys, moca_core.annotations.project as p\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'av', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_readable_file_is_readable(clip, project):
    save(project, a_snapshot(clip, view=View(range=(1, 5))))
    value = content(project)
    assert list(value)[:3] == ["format", "version", "program"]
    assert value["chunks"][0]["frames"] == "0-63"
    assert value["chunks"][-1]["frames"] == "150"
    assert value["thresholds"] == {}
    assert abs(project.saved_at.timestamp() - time.time()) < 3600
    write_json(project.path, value)
    assert open_project(project.path).notes == ()
