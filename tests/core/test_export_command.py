"""`moca export` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from core.export_fakes import files_of, footage, write_results

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
