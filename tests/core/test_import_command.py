"""`moca import` as a user types it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from core.corrected_fakes import CORRECTED, labels, shown, snapshot
from core.export_fakes import SIZE, footage
from PIL import Image

from moca_core.annotations.project import open_project
from moca_core.annotations.saving import Project
from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands import import_masks


@pytest.fixture(scope="module")
def footage_(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def clip(footage_, tmp_path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    return Path(shutil.copy(footage_, folder / "farm.mp4"))


@pytest.fixture
def masks(clip, tmp_path) -> Path:
    """The corrected frames as COCO, of a project of the clip that isn't there any more."""
    project = clip.with_name("old.moca.json")
    save(project, clip)
    words = ["export", str(project), "--format", "coco", "--corrected-only", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "coco")]) == DONE
    project.unlink()
    return tmp_path / "coco" / "annotations.json"


def save(project: Path, clip: Path, **changes) -> None:
    for _ in Project(project).save(snapshot(clip)):
        pass


def run(*words: object) -> int:
    return main(["import", *map(str, words)])


def test_masks_make_a_project(clip, masks, capsys):
    project = clip.with_name("farm.moca.json")
    assert run(clip, masks) == DONE
    assert capsys.readouterr().out == (
        f"{masks}: 6 frames, Bell or gong in 3, Dog in 3, Wolf, grey in 1, 1 without a mask"
        f" -> {project}\n"
    )
    found = open_project(project).snapshot
    assert sorted(found.labels) == list(CORRECTED)
    assert not found.results
    for number, frame in found.labels.items():
        truth = shown(number)
        assert [item.name for item in frame.objects] == [item.name for item in truth.objects]
        for item, same in zip(frame.objects, truth.objects, strict=True):
            np.testing.assert_array_equal(item.mask(SIZE), same.mask(SIZE))
            assert item.origin == same.origin


def test_what_is_there_stays_where_there_are_no_masks(clip, tmp_path, capsys):
    project = clip.with_name("mine.moca.json")
    save(project, clip)
    for number in (5, 8):
        picture = Image.fromarray(np.full(SIZE, 255, np.uint8))
        (tmp_path / "png").mkdir(exist_ok=True)
        picture.save(tmp_path / "png" / f"{number:04d}.png")
    words = (clip, tmp_path / "png", "--project", project)
    assert run(*words, "--dry-run") == DONE
    said = capsys.readouterr().out
    assert "2 frames, object in 2, 1 corrected frame replaced would go into" in said
    assert len(open_project(project).snapshot.labels) == 6
    assert run(*words) == DONE
    found = open_project(project).snapshot
    assert sorted(found.labels) == sorted({*CORRECTED, 8})
    assert len(found.results) == 60
    assert found.labels[5].objects[0].mask(SIZE).all()
    assert [i.name for i in found.labels[15].objects] == ["Wolf, grey"]
    assert len(labels()) == 6


def test_errors_are_a_sentence_and_a_remedy(clip, masks, tmp_path, capsys):
    project = clip.with_name("farm.moca.json")
    assert run(clip, tmp_path / "nowhere") == FAILED
    assert "no such file or folder\n  Give a folder of PNG masks" in capsys.readouterr().err
    assert run(tmp_path / "no.mp4", masks) == FAILED
    assert "no.mp4" in capsys.readouterr().err
    assert run(clip) == USAGE
    (tmp_path / "small").mkdir()
    Image.fromarray(np.full((64, 80), 255, np.uint8)).save(tmp_path / "small" / "0001.png")
    assert run(clip, tmp_path / "small") == FAILED
    assert "80x64 pixels, and the clip has 160x128" in capsys.readouterr().err
    assert not project.exists()
    assert run(clip, tmp_path / "small", "--resize", "--quiet") == DONE
    other = clip.with_name("other.mp4")
    other.write_bytes(clip.read_bytes() + b"\0\0\0\x08free")
    assert run(other, masks, "--project", project) == FAILED
    assert "the project of another clip (farm.mp4)" in capsys.readouterr().err


def test_notes_are_told(clip, tmp_path, capsys):
    (tmp_path / "png").mkdir()
    for number in (1, 99):
        picture = Image.fromarray(np.full(SIZE, 255, np.uint8))
        picture.save(tmp_path / "png" / f"{number:04d}.png")
    assert run(clip, tmp_path / "png", "--quiet") == DONE
    assert "frame 99 isn't in the clip" in capsys.readouterr().err


def test_ctrl_c_takes_nothing(clip, masks, capsys, monkeypatch):
    class Asked(import_masks.StopRequest):
        asked = property(lambda self: True, lambda self, value: None)

    monkeypatch.setattr(import_masks, "StopRequest", Asked)
    assert run(clip, masks) == STOPPED
    assert "Nothing was taken" in capsys.readouterr().err
    assert not clip.with_name("farm.moca.json").exists()


def test_it_is_not_the_import_of_weights(tmp_path, capsys):
    assert main(["weights", "import", str(tmp_path / "no.pt")]) == FAILED
    assert "no.pt" in capsys.readouterr().err
