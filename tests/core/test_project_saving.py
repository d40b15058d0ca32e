"""Saving projects: only what changed is written, nobody is overwritten, leftovers go."""

from __future__ import annotations

import errno
import os
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from core.project_fakes import (
    a_clip,
    a_ref,
    a_result,
    a_snapshot,
    assert_same_frames,
    change,
    content,
    labels,
    masks,
    results,
    save,
)

from moca_core.annotations.chunks import encode
from moca_core.annotations.project import (
    Project,
    find_clip,
    masks_folder,
    open_project,
    opening,
    peek,
    project_path,
)
from moca_core.errors import ProjectConflictError, ProjectError, ProjectVersionError, StorageError
from moca_core.models.filelock import FileLock


@pytest.fixture
def clip(tmp_path):
    return a_clip(tmp_path)


@pytest.fixture
def project(clip):
    return Project(project_path(clip))


# -- what is written --------------------------------------------------------------------------


def test_only_what_changed_is_written_among_20000_frames(clip, project):
    shared = a_result(0)
    found = {frame: replace(shared, frame=frame) for frame in range(20_000)}
    snapshot = replace(a_snapshot(clip), clip=a_ref(clip, 20_000), results=found, labels={})
    assert len(save(project, snapshot)) == 313  # of 64 frames
    assert save(project, snapshot) == []
    kept = {path: path.stat().st_mtime_ns for path in masks(project).glob("*.gz")}
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


def test_frames_that_the_clip_isnt_known_to_have_yet_are_kept(clip, project):
    save(project, replace(a_snapshot(clip, labels=labels([900])), clip=a_ref(clip, 100)))
    opened = open_project(project.path)
    assert opened.notes == ()
    assert (sorted(opened.snapshot.labels), opened.snapshot.clip.frame_count) == ([900], 901)


def test_a_save_stopped_halfway_leaves_the_old_state_and_goes_on_later(clip, project):
    old = a_snapshot(clip)
    save(project, old)
    new = replace(old, results=results(range(500), "Bird"))
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


@pytest.mark.parametrize(
    "wrong", [{"box": (0, 0, 31, 5)}, {"name": None}, {"bits": b""}, {"origin": "?"}]
)
def test_what_couldnt_be_read_again_isnt_put_in_the_place_of_what_can(clip, project, wrong):
    save(project, a_snapshot(clip))
    before = {path: path.read_bytes() for path in clip.parent.rglob("*") if path.is_file()}
    frame = a_result(130, corrected=True)
    bad = replace(frame, objects=(replace(frame.objects[0], **wrong),))
    with pytest.raises(ProjectError, match="frames 130, 150 can't be kept") as caught:
        save(project, a_snapshot(clip, labels=labels([3, 150]) | {130: bad}))
    assert "back" in caught.value.hint
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(ValueError, match="''"):
        save(project, replace(a_snapshot(clip), clip=replace(a_ref(clip), hash="")))
    assert {path: path.read_bytes() for path in before} == before


def test_a_clip_of_no_known_rate_is_kept(clip, project):
    odd = replace(a_ref(clip), fps=float("inf"), duration_s=float("nan"))
    save(project, replace(a_snapshot(clip), clip=odd))
    found = open_project(project.path).snapshot.clip
    assert (found.fps, found.duration_s) == (0.0, 0.0)


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


# -- disks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("name", ["fsync", "replace", "open"])
def test_a_disk_that_fails_at_any_step_leaves_the_old_state(clip, project, monkeypatch, code, name):
    old = a_snapshot(clip)
    save(project, old)
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


def test_a_save_that_failed_leaves_room_for_a_smaller_one(clip, project, monkeypatch):
    """A person's corrections are saved on a disk that has no room for the results of a run."""
    save(project, a_snapshot(clip))
    before = sorted(masks(project).iterdir())
    real = Path.open

    def full(path, mode="r", *given, **named):
        if "x" in mode and "results-000128" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, mode, *given, **named)

    monkeypatch.setattr(Path, "open", full)
    events = project.save(a_snapshot(clip, results=results(range(200), "Bird"), labels={}))
    next(events), next(events)
    events.close()  # with a file written that nothing refers to
    with pytest.raises(StorageError):
        save(project, a_snapshot(clip, results=results(range(200), "Crow"), labels={}))
    assert sorted(masks(project).iterdir()) == before
    opened = open_project(project.path)
    assert opened.notes == ()
    save(opened.project, replace(opened.snapshot, labels=labels([5])))
    assert sorted(open_project(project.path).snapshot.labels) == [5]
    with pytest.raises(StorageError):
        save(opened.project, a_snapshot(clip))
    assert sorted(open_project(project.path).snapshot.labels) == [5]


def test_a_failed_save_of_what_is_on_disk_already_deletes_none_of_it(clip, project, monkeypatch):
    old = a_snapshot(clip, labels={})
    save(project, old)
    events = project.save(a_snapshot(clip, results=results(range(200), "Bird"), labels={}))
    for _ in range(3):
        next(events)
    events.close()
    with monkeypatch.context() as patch:
        patch.setattr("moca_core.annotations.saving.write_index", failing_write)
        with pytest.raises(StorageError):
            save(project, old)  # under the names that are listed
    opened = open_project(project.path)
    assert opened.notes == ()
    assert_same_frames(opened.snapshot.results, old.results)


def failing_write(index, path):
    raise StorageError(f"{path}: the disk is full")


def test_a_folder_that_cant_be_made(clip, tmp_path):
    (tmp_path / "new.moca").write_text("a file in the way")
    with pytest.raises(StorageError, match="masks can't be saved") as caught:
        save(Project(tmp_path / "new.moca.json"), a_snapshot(clip))
    assert "another name" in caught.value.hint
    assert (tmp_path / "new.moca").read_text() == "a file in the way"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc on this system")
def test_the_disk_has_the_masks_before_the_readable_file_refers_to_them(clip, project, monkeypatch):
    """After a power cut there is what the system was told to wait for, in that order."""
    steps = []
    fsync, rename = os.fsync, Path.replace

    def told_fsync(handle):
        steps.append(("fsync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        fsync(handle)

    def told_rename(path, target):
        steps.append(("rename", str(target)))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(Path, "replace", told_rename)
    save(project, a_snapshot(clip))
    place = steps.index(("rename", str(project.path)))
    folder, files = str(masks(project)), [str(path) for path in masks(project).glob("*.gz")]
    assert steps.index(("fsync", folder)) < place
    for path in files:
        assert steps.index(("rename", path)) < steps.index(("fsync", folder))
    assert sum(step == "fsync" for step, _ in steps[:place]) == len(files) + 2
    assert steps[place + 1] == ("fsync", str(project.path.parent))
