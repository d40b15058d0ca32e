"""`moca export` as a user types it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from core.corrected_fakes import CORRECTED, RANGE, snapshot
from core.export_fakes import COUNT, files_of, footage, write_results

from moca_core.annotations.project import masks_folder
from moca_core.annotations.saving import Project
from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands import export
from moca_core.evaluation.layouts.exporting import TREES
from moca_core.export.formats import FORMATS


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def results(clip, tmp_path) -> Path:
    return write_results(tmp_path / "farm", clip)


def save_project(clip: Path, name: str, **changes) -> Path:
    """A project of `clip` beside it, by its file."""
    path = clip.with_name(f"{name}.moca.json")
    for _ in Project(path).save(replace(snapshot(clip), **changes)):
        pass
    return path


@pytest.fixture
def project(clip, tmp_path) -> Path:
    """A project with its clip in a folder of their own."""
    folder = tmp_path / "clips"
    folder.mkdir()
    shutil.copy(clip, folder / "farm.mp4")
    return save_project(folder / "farm.mp4", "farm")


def run(*words: object) -> int:
    return main(["export", *map(str, words)])


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_by_its_name(name, results, tmp_path, capsys):
    extra = ("--tree", "s4") if name == "avsbench" else ()
    assert run(results, "--format", name, "--out", tmp_path / "out", *extra) == DONE
    said = capsys.readouterr()
    assert said.out == f"{results}: 1 clip, 6 frames read, {name} -> {tmp_path / 'out'}\n"
    assert files_of(tmp_path / "out")


def test_options_reach_the_format(results, tmp_path):
    polygons = tmp_path / "polygons"
    assert run(results, "--format", "coco", "--out", polygons, "--segmentation", "polygon") == DONE
    table = json.loads((polygons / "annotations.json").read_text())
    assert all(isinstance(row["segmentation"], list) for row in table["annotations"])
    assert run(results, "--format", "matte", "--out", tmp_path / "cut", "--alpha") == DONE
    assert files_of(tmp_path / "cut") == ["farm_matte.mov", "moca.json"]
    assert run(results, "--format", "yolo", "--out", tmp_path / "y", "--split", "val") == DONE
    assert (tmp_path / "y" / "labels" / "val").is_dir()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "png", "--tree", "s4"), "--tree goes with --format avsbench, not with png"),
        (("--format", "png", "--alpha"), "--alpha goes with --format matte"),
        (("--format", "coco", "--split", "x"), "--split goes with --format avsbench or yolo"),
        (("--format", "avsbench"), "needs --tree s4, ms3 or avss"),
        (("--format", "pascal"), "invalid choice: 'pascal'"),
        (("--format", "coco", "--segmentation", "box"), "invalid choice: 'box'"),
        ((), "--format"),
    ],
)
def test_wrong_usage(results, tmp_path, capsys, words, said):
    assert run(results, "--out", tmp_path / "out", *words) == USAGE
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_errors_are_a_sentence_and_a_remedy(results, clip, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(tmp_path / "nowhere", "--format", "png", "--out", out) == FAILED
    assert capsys.readouterr().err == (
        f"moca: {tmp_path / 'nowhere'}: no such folder\n"
        "  Give the folder that `moca segment --out` wrote.\n"
    )
    assert run(clip, "--format", "png", "--out", out) == FAILED
    assert "not a folder" in capsys.readouterr().err
    assert run(results, "--format", "png", "--out", results) == FAILED
    assert "isn't empty" in capsys.readouterr().err
    assert run(results, "--format", "yolo", "--out", out, "--split", "a/b") == FAILED
    assert "split = 'a/b'" in capsys.readouterr().err
    assert run(results, "--format", "coco", "--out", out, "--clip", tmp_path / "no.mp4") == FAILED
    assert "the clip isn't there any more" in capsys.readouterr().err
    assert not out.exists()


def test_a_clip_that_moved_is_named(clip, tmp_path, capsys):
    results = write_results(tmp_path / "farm", Path("gone/farm.mp4"))
    words = (results, "--format", "coco", "--out", tmp_path / "out", "--quiet")
    assert run(*words) == FAILED
    assert run(*words, "--clip", clip) == DONE
    assert capsys.readouterr().out == ""


def test_ctrl_c_leaves_nothing(results, tmp_path, capsys, monkeypatch):
    class Asked(export.StopRequest):
        asked = property(lambda self: True, lambda self, value: None)

    monkeypatch.setattr(export, "StopRequest", Asked)
    assert run(results, "--format", "png", "--out", tmp_path / "out") == STOPPED
    assert "Stopped. Nothing is left in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_knows_the_trees_that_can_be_written():
    assert tuple(TREES) == export.TREES


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_a_project(name, project, tmp_path, capsys):
    extra = ("--tree", "s4") if name == "avsbench" else ()
    assert run(project, "--format", name, "--out", tmp_path / "out", *extra) == DONE
    said = capsys.readouterr()
    assert said.out == f"{project}: 1 clip, 60 frames read, {name} -> {tmp_path / 'out'}\n"
    assert len(files_of(tmp_path / "out")) > 1


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (("--start", "1", "--end", "2.5"), list(range(10, 25))),
        (("--range",), list(range(RANGE[0], RANGE[1] + 1))),
        (("--corrected-only",), list(CORRECTED)),
        (("--corrected-only", "--end", "3"), [5, 15, 25]),
    ],
)
def test_a_part_of_a_project(project, tmp_path, words, frames):
    assert run(project, "--format", "png", "--out", tmp_path / "out", "--quiet", *words) == DONE
    files = sorted((tmp_path / "out" / "farm" / "union").iterdir())
    assert [int(path.stem[6:]) for path in files] == frames


def test_a_part_of_results(clip, tmp_path):
    """Also of the frames between, where the clip says which these are."""
    results = write_results(tmp_path / "farm", clip, frames="all")
    words = ("--format", "png", "--start", "1.5", "--end", "2.5", "--quiet")
    assert run(results, "--out", tmp_path / "out", *words) == DONE
    files = sorted((tmp_path / "out" / "farm" / "union").iterdir())
    assert [int(path.stem[6:]) for path in files] == list(range(15, 25))
    assert run(results, "--out", tmp_path / "film", *words, "--format", "matte") == DONE
    gone = write_results(tmp_path / "gone", Path("gone.mp4"))
    assert run(gone, "--out", tmp_path / "keys", *words) == DONE
    assert len(files_of(tmp_path / "keys" / "gone" / "union")) == 1


def test_a_folder_of_projects(clip, project, tmp_path, capsys):
    """Each finds its clip; one without a result, or without a corrected frame, is left out."""
    save_project(project.with_name("farm.mp4"), "barn", labels={})
    save_project(project.with_name("farm.mp4"), "new", labels={}, results={})
    words = (project.parent, "--format", "coco", "--quiet")
    assert run(*words, "--out", tmp_path / "all") == DONE
    assert "new.moca.json: no frame has a result: left out" in capsys.readouterr().err
    table = json.loads((tmp_path / "all" / "annotations.json").read_text())
    assert {row["clip"] for row in table["images"]} == {"barn", "farm"}
    assert len(table["images"]) == 2 * COUNT
    assert run(*words, "--out", tmp_path / "some", "--corrected-only") == DONE
    assert "barn: no corrected frame: left out" in capsys.readouterr().err
    table = json.loads((tmp_path / "some" / "annotations.json").read_text())
    assert {row["clip"] for row in table["images"]} == {"farm"}


def test_the_clip_of_a_project_is_found_or_named(project, tmp_path, capsys):
    moved = tmp_path / "elsewhere.mp4"
    project.with_name("farm.mp4").rename(moved)
    words = (project, "--format", "coco", "--out", tmp_path / "out", "--quiet")
    assert run(*words) == FAILED
    assert "farm.mp4: the clip isn't there any more" in capsys.readouterr().err
    assert run(*words, "--clip", moved) == DONE


def test_what_a_project_cannot_give(project, results, tmp_path, capsys):
    words = ("--format", "png", "--out", tmp_path / "out")
    empty = save_project(project.with_name("farm.mp4"), "empty", labels={}, results={})
    assert run(empty, *words) == FAILED
    assert "empty.moca.json: no frame has a result" in capsys.readouterr().err
    assert run(results, *words, "--corrected-only") == FAILED
    assert "results of `moca segment` have no corrected frames" in capsys.readouterr().err
    assert run(project, *words, "--start", "9") == FAILED
    assert "farm: no frame with a result from 9 s on" in capsys.readouterr().err
    assert run(project, *words, "--start", "2", "--end", "1") == FAILED
    assert "2 to 1 s: no part of a clip" in capsys.readouterr().err
    project.write_text("{")
    shutil.rmtree(masks_folder(project))
    assert run(project, *words) == FAILED
    assert "farm.moca.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_lost_of_a_project_is_told(project, tmp_path, capsys):
    project.write_text("{")  # of which there is a copy beside the masks
    words = ("--format", "png", "--quiet")
    assert run(project, "--out", tmp_path / "copy", *words) == DONE
    assert "farm.moca.json: damaged" in capsys.readouterr().err
    assert len(list((tmp_path / "copy" / "farm" / "union").iterdir())) == COUNT
