"""Opening projects that are damaged or mean harm: what is left is read, nothing is touched."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from core.project_fakes import (
    a_clip,
    a_result,
    a_snapshot,
    assert_same_frames,
    content,
    labels,
    masks,
    save,
)

from moca_core.annotations import chunks, saving
from moca_core.annotations.project import (
    Project,
    View,
    find_clip,
    open_project,
    peek,
    project_path,
)
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


def copy(project):
    """The copy of the readable file."""
    return masks(project) / "project.json"


def rewrite(project, edit):
    """Change the readable file as a hand would."""
    value = content(project)
    edit(value)
    project.path.write_text(json.dumps(value))


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


NOT_RIGHT = [
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
]


@pytest.mark.parametrize("edit", NOT_RIGHT)
def test_a_readable_file_that_cant_be_right_is_refused_and_stays(project, edit):
    copy(project).unlink()
    rewrite(project, edit)
    before = project.path.read_bytes()
    with pytest.raises(ProjectError, match="damaged") as caught:
        open_project(project.path)
    assert "backup" in caught.value.hint
    assert peek(project.path).problem == caught.value.message
    assert project.path.read_bytes() == before


@pytest.mark.parametrize("edit", NOT_RIGHT)
def test_of_a_readable_file_that_cant_be_right_the_copy_is_opened(clip, project, edit):
    rewrite(project, edit)
    before = project.path.read_bytes()
    opened = open_project(project.path)
    (note,) = opened.notes
    assert "damaged" in note
    assert "copy in dog.moca" in note
    assert_same_frames(opened.snapshot.labels, a_snapshot(clip).labels)
    assert find_clip(replace(opened.snapshot.clip, path=clip / "gone"), project.path) == clip
    with pytest.raises(ProjectConflictError):
        save(opened.project, opened.snapshot)
    assert project.path.read_bytes() == before
    save(opened.project, opened.snapshot, force=True)
    assert open_project(project.path).notes == ()


def test_a_copy_that_couldnt_be_written_keeps_the_files_it_needs(clip, project, monkeypatch):
    real = saving.write_index

    def full(index, project, path=None):
        if path is not None:
            raise StorageError(f"{path}: can't be written")
        real(index, project)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "write_index", full)
        save(project, a_snapshot(clip, labels=labels([5])))
    assert sorted(open_project(project.path).snapshot.labels) == [5]
    good = project.path.read_bytes()
    project.path.write_text("{")
    assert sorted(open_project(project.path).snapshot.labels) == [3, 70, 150]
    assert len(open_project(project.path).notes) == 1
    project.path.write_bytes(good)
    save(project, a_snapshot(clip, labels=labels([5])))
    project.path.write_text("{")
    assert sorted(open_project(project.path).snapshot.labels) == [5]


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


def test_paths_that_are_none_on_this_system_keep_nobody_from_looking(clip, project):
    """Such as those of a system that has other names of files."""
    odd = {"path": "/a/\ud800.mp4", "relative": "\ud800.mp4"}
    rewrite(project, lambda value: value["clip"].update(odd) or value.update(masks="\ud800"))
    opened = open_project(project.path)
    assert opened.notes == ()
    assert find_clip(opened.snapshot.clip, project.path) is None
    assert find_clip(replace(opened.snapshot.clip, path=clip), project.path) == clip
    save(opened.project, opened.snapshot)
    assert open_project(project.path).snapshot.clip.path.name == "\ud800.mp4"


def test_frames_outside_of_the_clip_are_left_out_and_named(clip, project):
    save(project, a_snapshot(clip, labels=labels([3, 1000, 1001])))
    rewrite(project, lambda value: value["clip"].update(frames=1000))
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
