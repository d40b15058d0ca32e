"""`moca project` as a user types it."""

from __future__ import annotations

import pytest
from core.project_fakes import a_clip, a_snapshot, labels, masks, results, save

from moca_core.annotations.project import Project, project_path
from moca_core.cli import DONE, FAILED, USAGE, main
from moca_core.config import SegmentConfig


@pytest.fixture
def clip(tmp_path):
    return a_clip(tmp_path)


@pytest.fixture
def project(clip):
    project = Project(project_path(clip))
    config = SegmentConfig(proposals="grid", adapter="my adapter.safetensors")
    moved = (("hearing.faint", "0.25"),)
    found = results(range(199)) | labels([199], "Bird")
    save(project, a_snapshot(clip, config=config, moved=moved, results=found))
    return project


def state(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("by", ["project", "clip", "folder"])
def test_show_says_what_a_project_keeps(clip, project, capsys, by):
    path = {"project": project.path, "clip": clip, "folder": clip.parent}[by]
    before = state(clip.parent)
    assert main(["project", "show", str(path), "--quiet"]) == DONE
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == str(project.path)
    assert f"{clip}, 30x20, 1,000 frames, 40.0 s" in out
    assert "corrected  3 frames, Cat in 3" in out
    assert "results    200 frames, Dog in 199, Bird in 1" in out
    assert "compact proposals=grid" in out
    assert "adapter=my adapter.safetensors" in out
    assert "hearing.faint=0.25" in out
    assert (err, state(clip.parent)) == ("", before)


def test_check_is_content_with_whole_projects(clip, project, capsys):
    assert main(["project", "check", str(clip.parent)]) == DONE
    assert capsys.readouterr().out == f"{project.path}: whole\n"
    assert main(["project", "check", str(clip), "--quiet"]) == DONE
    assert capsys.readouterr() == ("", "")


def test_check_finds_what_is_wrong_in_any_of_them(tmp_path, clip, project, capsys):
    other = a_clip(tmp_path, "cat.mp4", b"a cat")
    save(Project(project_path(other)), a_snapshot(other))
    other.unlink()
    (tmp_path / "broken.moca.json").write_text("{")
    next(masks(project).glob("labels-000064-*")).unlink()
    before = state(tmp_path)
    assert main(["project", "check", str(tmp_path), "--quiet"]) == FAILED
    out, err = capsys.readouterr()
    assert out == ""
    assert "broken.moca.json: damaged" in err
    assert f"{project_path(other)}: The clip, {other}, isn't there any more." in err
    assert f"{project.path}: Corrections of frames 70 are lost" in err
    assert state(tmp_path) == before
    assert main(["project", "show", str(project.path), "--quiet"]) == DONE
    assert "frames 70 are lost" in capsys.readouterr().err


def test_what_is_no_project_is_said(tmp_path, capsys):
    assert main(["project", "show", str(tmp_path)]) == FAILED
    assert "no projects in this folder" in capsys.readouterr().err
    assert main(["project", "check", str(tmp_path / "gone.mp4")]) == FAILED
    assert "gone.moca.json: can't be read (No such file or directory)" in capsys.readouterr().err
    assert main(["project", "mend", str(tmp_path)]) == USAGE
