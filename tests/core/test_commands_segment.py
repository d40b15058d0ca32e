"""`moca segment` and `moca demo --no-gui`: what they write, continue, and keep."""

from __future__ import annotations

import errno
import signal
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from cli_fakes import LeftHalf, fake_segmenter, read_json
from data.make_clips import ClipSpec, make_clip

from moca_core import __version__
from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands import gui, method
from moca_core.commands.running import say, warn
from moca_core.commands.segment import folder_names, frame_list
from moca_core.errors import StorageError
from moca_core.models.specs import rows_of
from moca_core.pipeline import rle

FOUR_SECONDS = ClipSpec(frames=40, fps=10, audio="aac", audio_stop_ms=4000)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Four seconds of numbered pictures, 160 x 128 at 10 a second, with a tone."""
    return make_clip(tmp_path_factory.mktemp("clips") / "bell.mp4", FOUR_SECONDS)


@pytest.fixture
def bundle(monkeypatch, tmp_path) -> LeftHalf:
    """What hears a bell and sees it in the left half; results are stored in `tmp_path`."""
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    fake = LeftHalf()
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(fake))
    return fake


def masks(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "masks").iterdir())


def test_the_folder_of_a_clip(clip, bundle, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["segment", str(clip), "--out", str(out)]) == DONE
    folder = out / "bell"
    assert sorted(path.name for path in folder.iterdir()) == [
        "masks",
        "objects.json",
        "summary.json",
    ]
    assert masks(folder) == [f"frame_{number:06d}.png" for number in (0, 10, 20, 30)]
    mask = cv2.imread(str(folder / "masks" / "frame_000010.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (128, 160)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[:, :70] == 255).all()
    assert (mask[:, 90:] == 0).all()
    assert capsys.readouterr().out == f"bell.mp4: 4 frames, 4 with masks -> {folder}\n"


def test_objects_json_has_every_key_frame(clip, bundle, tmp_path):
    assert main(["segment", str(clip), "--out", str(tmp_path), "--quiet"]) == DONE
    rows = read_json(tmp_path / "bell" / "objects.json")["frames"]
    assert [(row["frame"], row["time"]) for row in rows] == [
        (0, 0.0),
        (10, 1.0),
        (20, 2.0),
        (30, 3.0),
    ]
    for row in rows:
        assert row["reason"] == ""
        (item,) = row["objects"]
        assert (item["number"], item["name"]) == (1, "Bell")
        assert 0 < item["score"] <= 1
        mask = rle.decode(item["rle"])
        assert mask.shape == (128, 160)
        name = tmp_path / "bell" / "masks" / f"frame_{row['frame']:06d}.png"
        assert np.array_equal(mask, cv2.imread(str(name), cv2.IMREAD_UNCHANGED) > 0)
        columns = np.flatnonzero(mask.any(axis=0))
        assert item["box"] == [0, 0, int(columns[-1]) + 1, 128]


def test_summary_json_says_how_it_was_made(clip, bundle, tmp_path):
    words = ["--every", "2", "--proposals", "grid", "--quiet"]
    assert main(["segment", str(clip), "--out", str(tmp_path), *words]) == DONE
    summary = read_json(tmp_path / "bell" / "summary.json")
    assert summary["clip"] == str(clip)
    assert summary["complete"] is True
    assert summary["seed"] == summary["config"]["seed"] == 0
    assert summary["config"]["bundle"] == "compact"
    assert summary["request"]["every_s"] == 2.0
    assert summary["device"] == {"device": "cpu", "dtype": "float32", "reason": "as requested"}
    assert summary["versions"]["moca"] == __version__
    assert {"python", "torch", "numpy", "av"} <= set(summary["versions"])
    assert summary["weights"] == {}  # none was needed, none is in this cache
    assert (summary["frames"], summary["key_frames"], summary["stored_frames"]) == (2, 2, 0)
    assert summary["stage_seconds"]["looking"] >= 0
    assert summary["seconds"] > 0


@pytest.mark.weights
def test_summary_json_names_the_weights_by_their_hashes(clip, weights_dir, monkeypatch, tmp_path):
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(LeftHalf()))
    assert main(["segment", str(clip), "--out", str(tmp_path), "--quiet"]) == DONE
    summary = read_json(tmp_path / "bell" / "summary.json")
    assert summary["weights"] == {row.name: row.sha256 for row in rows_of("compact")}


def test_results_can_be_read_by_others(clip, bundle, tmp_path):
    assert main(["segment", str(clip), "--out", str(tmp_path), "--quiet"]) == DONE
    plain = tmp_path / "plain"
    plain.touch()
    for name in ("objects.json", "summary.json", "masks/frame_000000.png"):
        assert (tmp_path / "bell" / name).stat().st_mode == plain.stat().st_mode


def test_a_second_run_looks_at_nothing_and_writes_the_same(clip, bundle, tmp_path):
    assert main(["segment", str(clip), "--out", str(tmp_path / "a"), "--quiet"]) == DONE
    assert bundle.looks == 4
    assert main(["segment", str(clip), "--out", str(tmp_path / "b"), "--quiet"]) == DONE
    assert bundle.looks == 4
    assert read_json(tmp_path / "b" / "bell" / "summary.json")["stored_frames"] == 4
    for name in ("objects.json", "masks/frame_000020.png"):
        first, second = (tmp_path / run / "bell" / name for run in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_ctrl_c_keeps_finished_frames_and_a_rerun_continues(clip, bundle, tmp_path, capsys):
    words = ["segment", str(clip), "--out", str(tmp_path / "out")]
    folder = tmp_path / "out" / "bell"
    bundle.on_look = lambda count: signal.raise_signal(signal.SIGINT) if count == 3 else None
    assert main(words) == STOPPED
    err = capsys.readouterr().err
    assert f"Stopped. 2 finished frames of bell.mp4 are kept in {folder}." in err
    assert "again to continue" in err
    assert masks(folder) == ["frame_000000.png", "frame_000010.png"]
    assert len(read_json(folder / "objects.json")["frames"]) == 2
    assert read_json(folder / "summary.json")["complete"] is False

    assert main(words) == DONE
    assert len(masks(folder)) == 4
    summary = read_json(folder / "summary.json")
    assert (summary["complete"], summary["stored_frames"]) == (True, 2)
    # The third picture was begun twice; nothing that was finished was looked at again.
    assert bundle.looks == 5


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (1, "Stopped. No frame of bell.mp4 was finished."),
        (2, "Stopped. 1 finished frame of bell.mp4 is kept in "),
    ],
)
def test_what_was_kept_is_counted(look, words, clip, bundle, tmp_path, capsys):
    bundle.on_look = lambda count: signal.raise_signal(signal.SIGINT) if count == look else None
    assert main(["segment", str(clip), "--out", str(tmp_path)]) == STOPPED
    assert words in capsys.readouterr().err


def test_a_second_ctrl_c_ends_it_at_once(clip, bundle, tmp_path, capsys):
    def twice(count):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    bundle.on_look = twice
    assert main(["segment", str(clip), "--out", str(tmp_path)]) == STOPPED
    assert capsys.readouterr().err.endswith("Stopped.\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_stopped_run_leaves_what_an_earlier_one_wrote(clip, bundle, tmp_path):
    words = ["segment", str(clip), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == DONE
    bundle.on_look = lambda count: signal.raise_signal(signal.SIGINT)
    assert main([*words, "--frames", "5,15"]) == STOPPED
    assert "frame_000030.png" in masks(tmp_path / "out" / "bell")
    bundle.on_look = lambda count: None
    assert main([*words, "--frames", "5,15"]) == DONE
    assert masks(tmp_path / "out" / "bell") == ["frame_000005.png", "frame_000015.png"]


def test_all_frames_get_a_mask_and_key_frames_a_row(clip, bundle, tmp_path):
    words = ["--frames", "all", "--quiet"]
    assert main(["segment", str(clip), "--out", str(tmp_path), *words]) == DONE
    assert len(masks(tmp_path / "bell")) == 40
    assert len(read_json(tmp_path / "bell" / "objects.json")["frames"]) == 4


def test_a_part_of_a_clip(clip, bundle, tmp_path):
    words = ["--start", "1.5", "--end", "3", "--every", "0.5", "--quiet"]
    assert main(["segment", str(clip), "--out", str(tmp_path), *words]) == DONE
    times = [row["time"] for row in read_json(tmp_path / "bell" / "objects.json")["frames"]]
    assert times == [1.5, 2.0, 2.5]


def test_maps_are_written_on_request(clip, bundle, tmp_path):
    words = ["--frames", "0,10", "--save-maps", "--quiet"]
    assert main(["segment", str(clip), "--out", str(tmp_path), *words]) == DONE
    with np.load(tmp_path / "bell" / "maps" / "frame_000010.npz") as maps:
        assert {"evidence", "saliency", "clusters", "proposals"} <= set(maps.files)
        assert maps["evidence"].ndim == 2
        labels = maps["proposals"]
    found = read_json(tmp_path / "bell" / "maps" / "frame_000010.json")["proposals"]
    assert [row["number"] for row in found] == list(range(1, len(found) + 1))
    assert set(np.unique(labels)) - {0} <= {row["number"] for row in found}
    for row in found:
        assert rle.decode(row["rle"]).shape == labels.shape
        assert row["taken"] == (row["why"] == "taken")
        assert {"quality", "stability", "sounds", "overlap"} < set(row)


def test_overlay_and_sheet(clip, bundle, tmp_path):
    assert main(["segment", str(clip), "--out", str(tmp_path), "--overlay", "--quiet"]) == DONE
    folder = tmp_path / "bell"
    # The overlay needs every frame; the masks are still those that were asked for.
    assert len(masks(folder)) == 4
    with closing(av.open(str(folder / "overlay.mp4"))) as video:
        assert sum(1 for _ in video.decode(video=0)) == 40
        assert len(video.streams.audio) == 1
    sheet = cv2.imread(str(folder / "sheet.png"))
    assert sheet.shape[1] > 4 * 400
    assert not list(folder.glob(".*"))


def test_demo_without_a_display_writes_what_can_be_looked_at(
    bundle, clip, tmp_path, monkeypatch, capsys
):
    from moca_core.commands import demo

    monkeypatch.setattr(gui, "display_trouble", lambda: "there is no display")
    monkeypatch.setattr(demo, "sample_clip", lambda: clip)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == DONE
    assert {"overlay.mp4", "sheet.png", "masks", "objects.json"} <= {
        path.name for path in out.iterdir()
    }
    said = capsys.readouterr().out
    assert "there is no display" in said
    assert str(out / "overlay.mp4") in said


def test_demo_with_a_display_runs_and_plays_the_clip(clip, monkeypatch):
    from moca_core.commands import demo

    opened = []
    monkeypatch.setattr(gui, "display_trouble", lambda: "")
    monkeypatch.setattr(gui, "open_window", lambda words: opened.append(words) or DONE)
    monkeypatch.setattr(demo, "sample_clip", lambda: clip)
    assert main(["demo"]) == DONE
    assert opened == [[str(clip), "--run"]]


def test_demo_without_its_clip_says_so(monkeypatch, capsys):
    def lost(name):
        raise FileNotFoundError("resource 'demo/demo.mp4' is missing from this installation")

    monkeypatch.setattr("moca_core.paths.resource", lost)
    assert main(["demo", "--no-gui"]) == FAILED
    assert "demo/demo.mp4" in capsys.readouterr().err


def test_quiet_writes_nothing_to_the_terminal(clip, bundle, tmp_path, capsys):
    assert main(["--quiet", "segment", str(clip), "--out", str(tmp_path)]) == DONE
    assert capsys.readouterr() == ("", "")


def test_progress_and_results_go_to_different_streams(clip, bundle, tmp_path, capsys):
    assert main(["segment", str(clip), "--out", str(tmp_path)]) == DONE
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert "bell.mp4: 4/4 frames" in err


def test_clips_of_a_folder_and_clashing_names(bundle, tmp_path, capsys):
    spec = ClipSpec(frames=4, fps=4, audio="aac", audio_stop_ms=1000)
    inside = tmp_path / "in"
    inside.mkdir()
    make_clip(inside / "b.MP4", spec)
    make_clip(inside / "a.mkv", spec)
    (inside / "notes.txt").write_text("not a clip")
    make_clip(tmp_path / "a.mp4", spec)
    out = tmp_path / "out"
    words = [str(inside), str(tmp_path / "a.mp4"), str(inside / "b.MP4")]
    assert main(["segment", *words, "--out", str(out)]) == DONE
    assert sorted(path.name for path in out.iterdir()) == ["a_mkv", "a_mp4", "b"]


def test_folder_names_never_clash():
    clips = [Path("x/a.mp4"), Path("y/a.mp4"), Path("a_mp4.mkv"), Path("z/b.avi")]
    names = folder_names(clips)
    assert len(set(names)) == 4
    assert names[3] == "b"


def test_folder_names_stay_in_the_output_folder():
    names = folder_names([Path("...mp4"), Path("..mp4"), Path("x/...mp4"), Path("a..mp4")])
    assert len(set(names)) == 4
    assert all(name.strip(".") and "/" not in name for name in names)


def test_a_clip_is_not_replaced_by_its_own_overlay(clip, bundle, tmp_path, capsys):
    own = tmp_path / "overlay" / "overlay.mp4"
    own.parent.mkdir()
    own.write_bytes(clip.read_bytes())
    assert main(["segment", str(own), "--out", str(tmp_path), "--overlay"]) == FAILED
    assert "would replace this clip" in capsys.readouterr().err
    assert own.read_bytes() == clip.read_bytes()
    assert [path.name for path in own.parent.iterdir()] == ["overlay.mp4"]


@pytest.mark.parametrize(
    ("text", "frames"),
    [("all", "all"), ("7", [7]), ("30-33,0,15,15", [0, 15, 30, 31, 32, 33]), (" 1, 2", [1, 2])],
)
def test_frame_lists(text, frames):
    assert frame_list(text) == frames


@pytest.mark.parametrize(
    "words",
    [
        ["--frames", "x"],
        ["--frames", "3-1"],
        ["--frames", ""],
        ["--frames", "0-999999999"],
        ["--frames", "0-99999999999999999999"],
        ["--frames", "9" * 5000],
        ["--frames", "1,2", "--start", "1"],
        ["--frames", "1,2", "--end", "1"],
        ["--frames", "1", "--every", "2"],
        ["--start", "-1"],
        ["--start", "3", "--end", "2"],
        ["--every", "nan"],
        ["--overlay", "--frames", "1,2"],
        ["--bundle", "other"],
        ["--proposals", "other"],
    ],
)
def test_wrong_usage(words, clip, bundle, tmp_path, capsys):
    assert main(["segment", str(clip), "--out", str(tmp_path / "out"), *words]) == USAGE
    assert "moca segment: error:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frames", "0,99"], "99: not in the clip"),
        (["--start", "60"], "is not a part of the clip"),
    ],
)
def test_what_the_clip_does_not_have(words, message, clip, bundle, tmp_path, capsys):
    assert main(["segment", str(clip), "--out", str(tmp_path), *words]) == FAILED
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_an_unknown_device(clip, tmp_path, capsys):
    words = ["--device", "cuda:9", "--out", str(tmp_path)]
    assert main(["segment", str(clip), *words]) == FAILED
    assert "cuda:9: " in capsys.readouterr().err


def fill_disk(monkeypatch, folder: Path, after: int) -> None:
    """From the file number `after` on, nothing more fits below `folder`."""
    written = []
    rename = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if folder in path.parents:
            written.append(path)
            if len(written) > after:
                raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)


def test_a_full_disk_keeps_what_was_written(clip, bundle, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        fill_disk(patch, out, 2)
        assert main(["segment", str(clip), "--out", str(out)]) == FAILED
    err = capsys.readouterr().err
    assert "2 finished frames of bell.mp4 are kept" in err
    assert "can't be written (No space left on device)\n  Check the free space" in err
    assert masks(out / "bell") == ["frame_000000.png", "frame_000010.png"]
    # With space again it goes on.
    assert main(["segment", str(clip), "--out", str(out)]) == DONE
    assert read_json(out / "bell" / "summary.json")["stored_frames"] >= 2


def test_a_full_cache_does_not_stop_the_run(clip, bundle, tmp_path, monkeypatch, capsys):
    from moca_core.pipeline import store

    def full(path, data, **_):
        raise StorageError(f"{path}: can't be written (No space left on device)", "Free some.")

    monkeypatch.setattr(store, "write_bytes", full)
    assert main(["segment", str(clip), "--out", str(tmp_path / "out")]) == DONE
    assert len(masks(tmp_path / "out" / "bell")) == 4
    assert "No space left on device" in capsys.readouterr().err


def test_a_cache_that_cannot_be_made_does_not_stop_the_run(
    clip, bundle, tmp_path, monkeypatch, capsys
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "file"))
    assert main(["segment", str(clip), "--out", str(tmp_path / "out")]) == DONE
    assert "results can't be kept" in capsys.readouterr().err
    notes = read_json(tmp_path / "out" / "bell" / "summary.json")["notes"]
    assert any("results can't be kept" in note for note in notes)


def test_results_without_a_place_to_say_them(monkeypatch):
    with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr("sys.stdout", full)
        with pytest.raises(StorageError, match="stdout: can't be written"):
            say("done")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", None)
        patch.setattr("sys.stderr", None)
        assert say("done") is None
        assert warn("careful") is None
