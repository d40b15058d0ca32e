"""`moca evaluate`: its table, its report, its exit codes."""

from __future__ import annotations

import csv
import shutil
import signal
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
from avsbench_fakes import LEFT, ms3_tree, s4_tree, write_wav
from cli_fakes import LeftHalf, fake_segmenter, read_json
from PIL import Image

from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands import method

SIZE = (32, 48)
CASES = 6


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Six pictures with a tone, whose left half sounds; two subsets, two splits."""
    folder = tmp_path_factory.mktemp("pairs")
    truth = np.zeros(SIZE, np.uint8)
    truth[:, : SIZE[1] // 2] = 255
    cv2.imwrite(str(folder / "picture.png"), np.full((*SIZE, 3), 90, np.uint8))
    cv2.imwrite(str(folder / "mask.png"), truth)
    samples = np.sin(np.arange(16000) * 0.2) * 20000
    with wave.open(str(folder / "tone.wav"), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16000)
        stream.writeframes(samples.astype("<i2").tobytes())
    with (folder / "manifest.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "split", "subset", "category", "image", "mask", "audio"])
        for number in range(CASES):
            split = "dev" if number < 4 else "test"
            subset = "single" if number % 2 else "ms_both"
            files = ["picture.png", "mask.png", "tone.wav"]
            rows.writerow([f"case{number}", split, subset, "bell", *files])
    return folder


@pytest.fixture
def bundle(monkeypatch, tmp_path) -> LeftHalf:
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    fake = LeftHalf()
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(fake))
    return fake


def run(pairs, *words):
    return main(["evaluate", str(pairs), "--layout", "pairs", *words])


def test_the_report_has_what_scripts_rely_on(pairs, bundle, tmp_path, capsys):
    report_path = tmp_path / "new" / "report.json"
    assert run(pairs, "--json", str(report_path)) == DONE
    report = read_json(report_path)
    keys = {"n", "m_j", "f_binary", "f_max_clip", "f_max_dataset", "share_empty"}
    assert keys | {"per_subset", "per_category", "seconds", "config"} <= set(report)
    assert report["n"] == CASES
    assert report["m_j"] > 0.95
    assert report["share_empty"] == 0
    assert {name: row["n"] for name, row in report["per_subset"].items()} == {
        "single": 3,
        "ms_both": 3,
    }
    assert keys <= set(report["per_category"]["bell"])
    config = report["config"]
    assert (config["layout"], config["baseline"], config["limit"]) == ("pairs", "none", None)
    assert {"bundle", "seed", "device", "versions", "fingerprint"} <= set(config)
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:3] == ["subset", "n", "m_j"]
    assert f"{CASES}/{CASES} cases" in err


def test_a_baseline_needs_no_weights(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "empty"))
    words = ["--baseline", "whole", "--json", str(tmp_path / "r.json"), "--quiet"]
    assert run(pairs, *words) == DONE
    assert read_json(tmp_path / "r.json")["m_j"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("words", [(), ("--baseline", "saliency")])
def test_missing_weights_are_told(words, pairs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "empty"))
    assert run(pairs, *words) == FAILED
    err = capsys.readouterr().err
    assert "is missing" in err
    assert "moca weights get compact" in err


def test_split_and_limit(pairs, bundle, tmp_path):
    report = tmp_path / "r.json"
    assert run(pairs, "--split", "dev", "--json", str(report), "--quiet") == DONE
    assert read_json(report)["n"] == 4
    assert run(pairs, "--limit", "2", "--json", str(report), "--quiet") == DONE
    assert read_json(report)["n"] == 2


def test_masks_are_saved(pairs, bundle, tmp_path):
    assert run(pairs, "--save-masks", str(tmp_path / "masks"), "--quiet") == DONE
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert names == [f"case{number}.png" for number in range(CASES)]
    mask = cv2.imread(str(tmp_path / "masks" / "case0.png"), cv2.IMREAD_UNCHANGED)
    assert (mask.shape, set(np.unique(mask))) == (SIZE, {0, 255})


def test_ctrl_c_keeps_the_masks_and_writes_no_report(pairs, bundle, tmp_path, capsys):
    bundle.on_look = lambda count: signal.raise_signal(signal.SIGINT) if count == 3 else None
    masks = tmp_path / "masks"
    words = ["--save-masks", str(masks), "--json", str(tmp_path / "r.json")]
    assert run(pairs, *words) == STOPPED
    err = capsys.readouterr().err
    assert f"Stopped after 3 of {CASES} cases; no report is written. Their masks are in" in err
    assert len(list(masks.iterdir())) == 3
    assert not (tmp_path / "r.json").exists()


def test_a_case_that_cannot_be_read_is_told_and_the_rest_is_scored(pairs, bundle, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(pairs, damaged)
    text = (damaged / "manifest.csv").read_text()
    (damaged / "manifest.csv").write_text(text.replace("tone.wav", "absent.wav", 1))
    report = tmp_path / "r.json"
    assert run(damaged, "--json", str(report)) == FAILED
    assert "1 of 6 cases could not be read" in capsys.readouterr().err
    assert read_json(report)["n"] == CASES - 1


def test_a_picture_of_too_many_pixels_is_left_out(pairs, bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1] // 4)
    assert run(pairs) == FAILED
    assert "none of 6 cases could be read" in (err := capsys.readouterr().err)
    assert "picture.png: has too many pixels" in err


def test_a_mask_whose_name_is_too_long_is_told(pairs, bundle, tmp_path, capsys):
    data = tmp_path / "long"
    shutil.copytree(pairs, data)
    text = (data / "manifest.csv").read_text()
    (data / "manifest.csv").write_text(text.replace("case0", "x" * 300))
    assert run(data, "--save-masks", str(tmp_path / "masks")) == FAILED
    assert "x.png: can't be written (" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_told_before_the_work(pairs, bundle, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert run(pairs, "--json", str(tmp_path / "file" / "r.json")) == FAILED
    assert "can't be written" in capsys.readouterr().err
    assert run(pairs, "--json", str(tmp_path)) == FAILED
    assert "is a folder\n  Give the name of a file." in capsys.readouterr().err
    assert bundle.looks == 0


@pytest.mark.parametrize(
    "words", [["--limit", "0"], ["--baseline", "other"], ["--layout", "other"], ["--limit", "x"]]
)
def test_wrong_usage(words, pairs, capsys):
    assert run(pairs, *words) == USAGE
    assert "moca evaluate: error:" in capsys.readouterr().err


def test_an_unknown_split_names_the_known_ones(pairs, bundle, capsys):
    assert run(pairs, "--split", "none") == FAILED
    assert "Splits in the manifest: dev, test." in capsys.readouterr().err


@pytest.fixture
def avsbench(tmp_path) -> Path:
    """A folder with both of AVSBench's sets: two clips of S4 and one of MS3 for testing."""
    root = tmp_path / "AVSBench"
    clips = {name: [LEFT] * 5 for name in (("dog_1", "dog", "test"), ("cat_2", "cat", "test"))}
    s4_tree(root, clips)
    ms3_tree(root, {("band_3", "test"): [LEFT] * 5, ("band_4", "train"): [LEFT] * 5})
    for path in root.rglob("*.wav"):
        write_wav(path, (np.sin(np.arange(80000) * 0.2) * 20000).astype(np.int16))
    return root


def evaluate(root, layout, *words):
    return main(["evaluate", str(root), "--layout", layout, "--quiet", *words])


@pytest.mark.parametrize(("layout", "frames"), [("s4", 10), ("ms3", 5)])
def test_avsbench_is_scored_frame_by_frame(layout, frames, avsbench, bundle, tmp_path, capsys):
    masks, report_path = tmp_path / "masks", tmp_path / "r.json"
    words = ["--save-masks", str(masks), "--json", str(report_path)]
    assert evaluate(avsbench, layout, *words) == DONE
    report = read_json(report_path)
    assert (report["n"], report["incomplete"], report["failed"]) == (frames, {}, [])
    assert list(report["per_subset"]) == ["test"]
    assert report["m_j"] > 0.95
    config = report["config"]
    assert (config["split"], config["layout"], config["window_s"]) == ("test", layout, 2.0)
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["test", str(frames)]
    saved = sorted(str(path.relative_to(masks)) for path in masks.rglob("*.png"))
    assert len(saved) == frames
    assert saved[0] == {"s4": "cat/cat_2/cat_2_0.png", "ms3": "band_3/band_3_0.png"}[layout]
    mask = np.asarray(Image.open(masks / saved[0]).convert("L"))
    assert (mask.shape, set(np.unique(mask))) == ((224, 224), {0, 255})


def test_what_a_partial_data_set_lacks_is_told(avsbench, bundle, tmp_path, capsys):
    next(avsbench.rglob("cat_2.wav")).unlink()
    assert evaluate(avsbench, "s4", "--json", str(tmp_path / "r.json")) == FAILED
    report = read_json(tmp_path / "r.json")
    assert (report["n"], report["incomplete"]) == (5, {"cat_2": "no sound"})
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:2] == ["test", "5"]
    assert "1 of 2 clips are incomplete, what they lack is left out: cat_2 (no sound)" in err
    assert "moca: 1 of 2 clips are incomplete (see above)" in err


def test_a_baseline_on_another_split(avsbench, tmp_path):
    words = ["--split", "train", "--baseline", "whole", "--json", str(tmp_path / "r.json")]
    assert evaluate(avsbench / "Multi-sources", "ms3", *words) == DONE
    report = read_json(tmp_path / "r.json")
    assert report["m_j"] == pytest.approx(0.5)
    assert report["config"]["split"] == "train"


def test_a_folder_without_the_table_is_told_before_the_models_load(tmp_path, bundle, capsys):
    assert evaluate(tmp_path, "ms3") == FAILED
    err = capsys.readouterr().err
    assert "holds neither ms3_meta_data.csv nor Multi-sources/ms3_meta_data.csv" in err
    assert bundle.looks == 0
