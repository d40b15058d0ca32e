"""Projects: what is saved comes back, only what changed is written, nobody is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core.project_fakes import (
    SIZE,
    a_clip,
    a_result,
    a_snapshot,
    assert_same_frames,
    content,
    masks,
    random_results,
    save,
)

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
from moca_core.fileio import write_json
from moca_core.paths import projects_dir, resource

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def clip(tmp_path):
    return a_clip(tmp_path)


@pytest.fixture
def project(clip):
    return Project(project_path(clip))


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


def test_masks_are_read_by_others_as_the_guide_says(clip, project, monkeypatch):
    """The lines of docs/guide/projects.md, which import nothing of ours."""
    snapshot = a_snapshot(clip, results=random_results(3, range(0, 300, 2)))
    save(project, snapshot)
    guide = (REPOSITORY / "docs" / "guide" / "projects.md").read_text()
    code = guide.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(project.path.parent)
    names: dict[str, object] = {}
    exec(code, names)
    wanted = snapshot.results | snapshot.labels
    assert names["masks"].keys() == wanted.keys()
    for number, frame in wanted.items():
        found = names["masks"][number]
        assert len(found) == len(frame.objects)
        for item in frame.objects:
            assert (found[item.number] == item.mask(frame.size)).all()


def test_opening_tells_how_far_it_is_and_can_be_left(clip, project):
    save(project, a_snapshot(clip))
    events = list(opening(project.path))
    assert [event.done for event in events[:-1]] == list(range(events[0].total))
    assert isinstance(events[-1], Opened)
    left = opening(project.path)
    next(left)
    left.close()


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


def test_the_project_of_a_clip_that_came_with_the_program_lies_with_the_user(tmp_path):
    demo = resource("demo/demo.mp4")
    linked = tmp_path / "linked.mp4"
    linked.symlink_to(demo)
    assert project_path(demo) == projects_dir() / "demo.moca.json"
    assert project_path(linked) == projects_dir() / "linked.moca.json"
    assert project_path(tmp_path / "demo.mp4") == tmp_path / "demo.moca.json"


def test_a_clip_that_got_another_suffix_keeps_its_project(tmp_path):
    clip = a_clip(tmp_path)
    save(Project(project_path(clip)), a_snapshot(clip))
    assert project_path(clip.rename(tmp_path / "dog.m4v")) == tmp_path / "dog.moca.json"


@pytest.mark.parametrize("name", ["犬" * 83 + ".mp4", "a" * 249 + ".mp4", "b" * 255])
def test_a_clip_with_as_long_a_name_as_there_can_be_has_a_project(tmp_path, name):
    clip, other = a_clip(tmp_path, name), a_clip(tmp_path, name[:-5] + "c.mp4", b"another")
    for item in (clip, other):
        assert not project_path(item).exists()
        save(Project(project_path(item)), a_snapshot(item))
        opened = open_project(project_path(item))
        assert find_clip(opened.snapshot.clip, project_path(item)) == item
    assert project_path(clip) != project_path(other)


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
    assert [row["frames"] for row in value["chunks"][:4]] == ["3", "70", "150", "0-63"]
    assert value["thresholds"] == {}
    assert abs(project.saved_at.timestamp() - time.time()) < 3600
    write_json(project.path, value)
    assert open_project(project.path).notes == ()
