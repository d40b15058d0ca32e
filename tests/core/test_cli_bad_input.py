"""Clips that are damaged, silent or strange, folders that can't be written, files that lack."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli_fakes import LeftHalf, fake_segmenter, read_json
from data import make_clips
from data.make_clips import ClipSpec, make_clip, make_sound

from moca_core.cli import DONE, FAILED, main
from moca_core.commands import gui, method
from moca_core.models.specs import UrlSource

SECOND = ClipSpec(frames=10, fps=10, audio="aac", audio_stop_ms=1000)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path) -> None:
    """An empty cache: what is not asked of the encoders must not need them."""
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def cut_off(path: Path) -> Path:
    """An MP4 that lost its end, and with it the index."""
    whole = make_clip(path.with_name("whole.mp4"), SECOND).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def wrong_bytes(path: Path) -> Path:
    """An MP4 whose pictures are noise."""
    data = bytearray(make_clip(path, SECOND).read_bytes())
    begin = data.index(b"mdat") + 4
    (size,) = struct.unpack(">I", data[begin - 8 : begin - 4])
    end = begin + size - 8
    data[begin:end] = np.random.default_rng(0).bytes(end - begin)
    path.write_bytes(bytes(data))
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def text(path: Path) -> Path:
    path.write_text("This is not a clip.\n" * 100)
    return path


def sound_only(path: Path) -> Path:
    return make_sound(path.with_suffix(".m4a"), "aac")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (cut_off, "not a media file, or damaged beyond reading"),
        (wrong_bytes, "none of its frames can be decoded"),
        (empty, "the file is empty (0 bytes)"),
        (text, "not a media file, or damaged beyond reading"),
        (sound_only, "has sound only, no picture"),
        (lambda path: path, "no such file"),
    ],
    ids=["cut off", "noise", "zero bytes", "text", "sound only", "absent"],
)
def test_what_cannot_be_read_is_told_and_the_next_clip_goes_on(make, words, tmp_path, out, capsys):
    bad = make(tmp_path / "clip.mp4")
    good = make_clip(tmp_path / "good.mp4", ClipSpec(frames=10, fps=10))
    assert main(["segment", str(bad), str(good), "--out", str(out)]) == FAILED
    said, err = capsys.readouterr()
    assert f"{bad.name}: {words}" in err
    assert "Traceback" not in err
    assert "good.mp4: 1 frame, 0 with masks, 1 no audio track" in said
    # A clip that can't be read leaves nothing behind.
    assert [path.name for path in out.iterdir()] == ["good"]


def only(out: Path) -> tuple[list[Path], dict, dict]:
    """Masks, the first row of objects.json and the summary of the only clip."""
    (folder,) = out.iterdir()
    rows = read_json(folder / "objects.json")["frames"]
    return sorted((folder / "masks").iterdir()), rows[0], read_json(folder / "summary.json")


def test_no_audio_gives_empty_masks_and_says_so(tmp_path, out, capsys):
    clip = make_clip(tmp_path / "mute.mp4", ClipSpec(frames=10, fps=10))
    assert main(["segment", str(clip), "--out", str(out), "--frames", "all"]) == DONE
    masks, row, summary = only(out)
    assert len(masks) == 10
    assert not any(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).any() for path in masks)
    assert (row["reason"], row["objects"]) == ("no audio track", [])
    assert summary["empty_frames"] == {"no audio track": 10}
    assert "no audio track" in capsys.readouterr().err


def test_silence_gives_empty_masks_and_needs_no_weights(tmp_path, out, monkeypatch):
    monkeypatch.setattr(make_clips, "tone", lambda times: np.zeros(len(times), np.float32))
    clip = make_clip(tmp_path / "silent.mp4", SECOND)
    assert main(["segment", str(clip), "--out", str(out), "--quiet"]) == DONE
    _, row, summary = only(out)
    assert (row["reason"], row["objects"]) == ("silent", [])
    assert summary["complete"] is True


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("short.mp4", ClipSpec(frames=3, fps=30, audio="aac", audio_stop_ms=100)),
        (
            "tiny.mkv",
            ClipSpec(
                codec="ffv1",
                pix_fmt="yuv444p",
                size=(1, 1),
                frames=10,
                fps=10,
                audio="pcm_s16le",
                audio_stop_ms=1000,
            ),
        ),
        (
            "odd.mp4",
            ClipSpec(
                pix_fmt="yuv444p", size=(61, 43), frames=10, fps=10, audio="aac", audio_stop_ms=1000
            ),
        ),
        ("wide.mkv", ClipSpec(codec="ffv1", pix_fmt="yuv444p", size=(640, 2), frames=4, fps=4)),
    ],
    ids=["0.1 s", "1x1", "odd sides", "640x2"],
)
def test_strange_sizes_and_lengths(name, spec, tmp_path, out, monkeypatch):
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(LeftHalf()))
    clip = make_clip(tmp_path / name, spec)
    words = ["--frames", "all", "--overlay", "--save-maps", "--quiet"]
    assert main(["segment", str(clip), "--out", str(out), *words]) == DONE
    masks, row, summary = only(out)
    assert len(masks) == spec.frames == summary["frames"]
    mask = cv2.imread(str(masks[0]), cv2.IMREAD_UNCHANGED)
    assert mask.shape == spec.size[::-1]
    assert row["size"] == list(spec.size[::-1])
    assert (out / clip.stem / "overlay.mp4").stat().st_size > 500
    assert cv2.imread(str(out / clip.stem / "sheet.png")) is not None


@pytest.mark.data
def test_the_corrupted_clip_gives_what_decodes(dev_data, out, capsys):
    clip = dev_data / "clips" / "corrupted.mp4"
    assert main(["segment", str(clip), "--out", str(out)]) == DONE
    assert "1 of 50 frames can't be decoded and are left out" in capsys.readouterr().err
    _, row, summary = only(out)
    assert row["reason"] == "no audio track"
    assert len(summary["notes"]) == 2


def test_a_name_that_is_not_text(tmp_path, out, capsys):
    clip = make_clip(tmp_path / "plain.mp4", ClipSpec(frames=4, fps=4))
    odd = clip.rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xff.mp4")))
    code = main(["segment", str(odd), "--out", str(out)])
    err = capsys.readouterr().err
    assert "unexpected" not in err
    assert code == DONE
    assert read_json(out / odd.stem / "summary.json")["clip"] == str(odd)


def test_a_folder_without_clips(tmp_path, out, capsys):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "notes.txt").touch()
    assert main(["segment", str(folder), "--out", str(out)]) == FAILED
    assert f"moca: {folder}: a folder without clips\n  Give clips" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("under", ["file/out", "/proc/moca-out"])
def test_an_output_folder_that_cannot_be_written(under, tmp_path, capsys):
    (tmp_path / "file").touch()
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4, fps=4))
    assert main(["segment", str(clip), "--out", str(tmp_path / under)]) == FAILED
    err = capsys.readouterr().err
    assert "can't be written" in err
    assert "Choose another folder" in err


def test_an_output_folder_without_permission(tmp_path, out, monkeypatch, capsys):
    def forbidden(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=4, fps=4))
    # Not by chmod: root, who runs these tests in a container, may write anywhere.
    monkeypatch.setattr(tempfile, "TemporaryFile", forbidden)
    assert main(["segment", str(clip), "--out", str(out)]) == FAILED
    assert f"moca: {out}: can't be written (Permission denied)" in capsys.readouterr().err


def test_missing_weights_are_named_with_the_way_to_get_them(tmp_path, out, capsys):
    clip = make_clip(tmp_path / "clip.mp4", SECOND)
    assert main(["segment", str(clip), "--out", str(out)]) == FAILED
    err = capsys.readouterr().err
    assert "yamnet.tflite (sound classes and audio tokens) is missing" in err
    assert "moca weights get compact" in err
    assert "moca weights import FILE" in err
    assert not list(out.iterdir())


def test_a_damaged_weights_file_is_named(tmp_path, out, capsys):
    path = tmp_path / "cache" / "weights" / "yamnet.tflite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half of it")
    clip = make_clip(tmp_path / "clip.mp4", SECOND)
    assert main(["segment", str(clip), "--out", str(out)]) == FAILED
    assert "yamnet.tflite (sound classes and audio tokens) is damaged" in capsys.readouterr().err


def test_a_folder_that_is_no_data_set(tmp_path, capsys):
    folder = tmp_path / "pairs"
    folder.mkdir()
    assert main(["evaluate", str(folder), "--layout", "pairs"]) == FAILED
    assert "manifest.csv" in capsys.readouterr().err


def test_no_source_answers(tmp_path, monkeypatch, capsys):
    from dataclasses import replace

    from moca_core.models import specs

    row = replace(specs.ROWS[0], sources=(UrlSource("http://127.0.0.1:9/file"),))
    monkeypatch.setattr(specs, "ROWS", (row,))
    assert main(["weights", "get"]) == FAILED
    err = capsys.readouterr().err
    assert f"moca: {row.name} can't be fetched: 127.0.0.1: not reached" in err
    assert f"{row.size} bytes, SHA-256 {row.sha256}" in err


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "there is no display to open a window on"),
        ({"DISPLAY": ":4711"}, "the display :4711 doesn't answer"),
        ({"DISPLAY": ":4711.0", "QT_QPA_PLATFORM": "xcb"}, "the display :4711.0 doesn't answer"),
    ],
)
def test_no_display_for_the_window(environment, words, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["gui", "clip.mp4"]) == FAILED
    err = capsys.readouterr().err
    assert err.startswith(f"moca: {words}\n")
    assert "xvfb-run" in err


@pytest.mark.parametrize(
    "environment",
    [
        {"DISPLAY": ":4711", "QT_QPA_PLATFORM": "offscreen"},
        {"DISPLAY": ":4711", "WAYLAND_DISPLAY": "wayland-0"},
        {"DISPLAY": "far.example.org:0"},
    ],
)
def test_displays_that_are_qts_business(environment, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert gui.display_trouble() == ""


def test_a_window_that_cannot_be_loaded(monkeypatch, capsys):
    class Broken:
        @staticmethod
        def main(words):
            raise ImportError("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(gui, "display_trouble", lambda: "")
    monkeypatch.setattr(gui, "gui_module", lambda: Broken)
    assert main(["gui"]) == FAILED
    err = capsys.readouterr().err
    assert "libEGL.so.1" in err
    assert "moca doctor" in err


def test_a_pipe_is_refused_and_not_waited_for(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert main(["segment", str(tmp_path / "pipe.mp4"), "--out", str(tmp_path / "out")]) == FAILED
    assert "a pipe or a device" in capsys.readouterr().err
