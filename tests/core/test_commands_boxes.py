"""`moca boxes`: its tables, its report, its exit codes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from avsbench_fakes import write_table
from cli_fakes import LeftHalf, fake_segmenter, read_json
from data.make_clips import ClipSpec, make_clip

from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands import method

SOUND = ClipSpec(frames=20, fps=10, audio="libopus", audio_stop_ms=2000)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips whose left half sounds, and one that has no box."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("one.mkv", "two.mkv"):
        make_clip(folder / name, SOUND)
    left = "[[0, 0, 0.5, 1]]"
    rows = [["file", "class", "bbox"], ["one.mkv", "bell", left], ["two.mkv", "bell", left]]
    write_table(folder / "boxes.csv", [*rows, ["three.mkv", "wind", ""]])
    return folder / "boxes.csv"


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LeftHalf:
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    fake = LeftHalf()
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(fake))
    return fake


def test_the_method_beside_baselines(table, bundle, tmp_path, capsys):
    json = tmp_path / "new" / "r.json"
    words = ["--beside", "centre", "--beside", "saliency-masks", "--json", str(json)]
    words += ["--set", "hearing.faint=0.03"]
    assert main(["boxes", str(table), *words]) == DONE
    report = read_json(json)
    assert list(report["predictors"]) == ["compact", "centre", "saliency-masks"]
    assert report["predictors"]["compact"]["mask"]["ciou"] == 1
    assert report["predictors"]["compact"]["peak"] == pytest.approx(1, abs=0.02)
    # The middle box has a half of the picture, a half of it in the left half.
    assert report["predictors"]["centre"]["mask"]["iou"] == pytest.approx(1 / 3, abs=0.01)
    about = report["config"]["predictors"]
    assert {"bundle", "fingerprint", "device"} <= set(about["compact"])
    assert about["compact"]["thresholds"]["hearing"]["faint"] == 0.03
    assert about["saliency-masks"]["thresholds"]["hearing"]["faint"] == 0.035
    assert about["centre"]["baseline"] == "centre"
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:3] == ["clip", "class", "by"]
    assert "2/2 clips" in err
    assert "do nothing" not in err


def test_limit_and_another_folder(table, bundle, tmp_path, capsys):
    elsewhere = tmp_path / "boxes.csv"
    elsewhere.write_text(table.read_text())
    assert main(["boxes", str(elsewhere)]) == FAILED
    assert "--clips" in capsys.readouterr().err
    words = ["--clips", str(table.parent), "--limit", "1", "--quiet"]
    assert main(["boxes", str(elsewhere), *words]) == DONE
    out, err = capsys.readouterr()
    assert ("one.mkv" in out, "two.mkv" in out, err) == (True, False, "")


def test_a_clip_that_is_gone_is_told_and_the_rest_is_scored(table, bundle, tmp_path, capsys):
    (tmp_path / "one.mkv").write_bytes((table.parent / "one.mkv").read_bytes())
    words = ["--clips", str(tmp_path), "--json", str(tmp_path / "r.json")]
    assert main(["boxes", str(table), *words]) == FAILED
    err = capsys.readouterr().err
    assert "two.mkv is left out" in err
    assert "1 of 2 clips could not be read" in err
    assert read_json(tmp_path / "r.json")["failed"] == ["two.mkv"]


def test_ctrl_c_writes_nothing(table, bundle, tmp_path, capsys):
    bundle.on_look = lambda count: signal.raise_signal(signal.SIGINT)
    assert main(["boxes", str(table), "--json", str(tmp_path / "r.json")]) == STOPPED
    assert "Stopped after 1 of 2 clips; no report is written." in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize("words", [["--beside", "other"], ["--limit", "0"], ["--bundle", "x"]])
def test_wrong_usage(words, table, capsys):
    assert main(["boxes", str(table), *words]) == USAGE
    assert "moca boxes: error:" in capsys.readouterr().err
