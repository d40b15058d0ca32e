"""`moca sensitivity`: its tables, its files, its exit codes."""

from __future__ import annotations

import signal
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from avsbench_fakes import write_png, write_table, write_wav
from cli_fakes import LeftHalf, fake_segmenter, read_json

from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands import method

SIZE = (32, 48)
PICTURES = 4


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures, each with the sound of a bell at its left and of a wind at its right."""
    folder = tmp_path_factory.mktemp("pairs")
    left = np.zeros(SIZE, np.uint8)
    left[:, : SIZE[1] // 2] = 255
    time = np.arange(16000)
    for name, mask, hz in (("bell", left, 0.2), ("wind", 255 - left, 0.05), ("horn", left, 0.1)):
        write_png(folder / f"{name}.png", mask)
        write_wav(folder / f"{name}.wav", (np.sin(time * hz) * 20000).astype(np.int16))
    rows = [["id", "split", "subset", "category", "image", "mask", "audio"]]
    for number in range(PICTURES):
        write_png(folder / f"picture{number}.png", np.full((*SIZE, 3), 90, np.uint8))
        for name in ("bell", "wind"):
            files = [f"picture{number}.png", f"{name}.png", f"{name}.wav"]
            rows.append([f"{name}{number}", "dev", "ms_one", name, *files])
    write_png(folder / "horns.png", np.full((*SIZE, 3), 90, np.uint8))
    rows.append(["horn", "test", "single", "horn", "horns.png", "horn.png", "horn.wav"])
    write_table(folder / "manifest.csv", rows)
    return folder


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LeftHalf:
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    fake = LeftHalf()
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(fake))
    return fake


def run(pairs: Path, *words: str) -> int:
    return main(["sensitivity", str(pairs), "--layout", "pairs", *words])


def test_the_method_is_asked_once_for_each_picture(pairs, bundle, tmp_path, capsys):
    json, plot = tmp_path / "new" / "r.json", tmp_path / "new" / "roc.svg"
    assert run(pairs, "--json", str(json), "--plot", str(plot)) == DONE
    assert bundle.looks == PICTURES + 1
    report = read_json(json)
    assert (report["pictures"], report["sounds"], len(report["cases"])) == (5, 9, 9)
    # Everything is a bell to it: it ignores what it hears, but silence.
    several = report["one_of_several"]
    assert (several["pictures"], several["all_right"], several["some_right"]) == (4, 0, 1)
    assert report["changes"]["ms_one"]["swapped"]["same"] == 1
    assert report["absent"]["silent"]["empty"] == 1
    config = report["config"]
    assert (config["layout"], config["baseline"], config["swap_seed"]) == ("pairs", "none", 0)
    assert {"bundle", "device", "versions", "fingerprint", "thresholds"} <= set(config)
    assert ElementTree.fromstring(plot.read_text()).tag.endswith("svg")
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:3] == ["subset", "sound", "n"]
    assert "all right" in out
    assert "5/5 pictures" in err


def test_a_baseline_a_split_and_a_limit(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "empty"))
    words = ["--baseline", "centre", "--json", str(tmp_path / "r.json"), "--quiet"]
    assert run(pairs, *words, "--split", "dev", "--limit", "2", "--seed", "3") == DONE
    report = read_json(tmp_path / "r.json")
    assert (report["pictures"], report["sounds"]) == (2, 4)
    assert report["one_of_several"]["same"] == 1
    config = report["config"]
    assert (config["split"], config["limit"], config["swap_seed"]) == ("dev", 2, 3)
    assert config["baseline"] == "centre"


def test_ctrl_c_writes_nothing(pairs, bundle, tmp_path, capsys):
    bundle.on_look = lambda count: signal.raise_signal(signal.SIGINT) if count == 2 else None
    json, plot = tmp_path / "r.json", tmp_path / "roc.svg"
    assert run(pairs, "--json", str(json), "--plot", str(plot)) == STOPPED
    out, err = capsys.readouterr()
    assert "Stopped after 2 of 5 pictures; no report is written." in err
    assert out == ""
    assert not json.exists()
    assert not plot.exists()


def test_cases_that_cannot_be_read_are_told(pairs, tmp_path, capsys):
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(pairs, damaged)
    (damaged / "picture1.png").write_bytes(b"no picture")
    assert run(damaged, "--baseline", "whole") == FAILED
    err = capsys.readouterr().err
    assert "2 of 9 cases could not be read" in err
    assert "bell1 is left out" in err


def test_files_that_cannot_be_written_are_told_before_the_work(pairs, bundle, tmp_path, capsys):
    (tmp_path / "file").touch()
    for option in ("--json", "--plot"):
        assert run(pairs, option, str(tmp_path / "file" / "out.svg")) == FAILED
        assert "can't be written" in capsys.readouterr().err
    assert bundle.looks == 0


@pytest.mark.parametrize(
    "words",
    [
        *(["--limit", "0"], ["--baseline", "other"], ["--seed", "x"], ["--seed", "-1"]),
        ["--plot", "roc.png"],
    ],
)
def test_wrong_usage(words, pairs, capsys):
    assert run(pairs, *words) == USAGE
    assert "moca sensitivity: error:" in capsys.readouterr().err
