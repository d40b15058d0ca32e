"""`moca segment` of many clips: what is done stays done, nothing is replaced, processes share."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from cli_fakes import LeftHalf, fake_segmenter, read_json
from data.make_clips import ClipSpec, make_clip
from process_fakes import count_lines, start, until

from moca_core.cli import DONE, FAILED, STOPPED, main
from moca_core.commands import method


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Five clips of 4 to 8 pictures, two a second: 2, 3, 3, 4 and 4 key frames."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        spec = ClipSpec(frames=4 + number, fps=2, audio="aac", audio_stop_ms=1000 + 500 * number)
        make_clip(folder / f"clip{number}.mp4", spec)
    return folder


LOOKS = 2 + 3 + 3 + 4 + 4


@pytest.fixture(autouse=True)
def bundle(monkeypatch, tmp_path) -> LeftHalf:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    fake = LeftHalf()
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(fake))
    return fake


def forget(tmp_path: Path) -> None:
    """Stored results are dropped after a while, and aren't there on another machine."""
    shutil.rmtree(tmp_path / "cache")


def contents(folder: Path) -> dict[str, bytes]:
    """What was found, without when and how fast."""
    paths = [*folder.rglob("frame_*.png"), *folder.rglob("objects.json")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_what_is_there_is_not_done_again(clips, bundle, tmp_path, capsys):
    words = ["segment", str(clips), "--out", str(tmp_path / "out")]
    assert main(words) == DONE
    assert bundle.looks == LOOKS
    said = capsys.readouterr().out
    summaries = [path.read_bytes() for path in sorted(tmp_path.glob("out/*/summary.json"))]
    forget(tmp_path)
    assert main(words) == DONE
    assert bundle.looks == LOOKS
    assert capsys.readouterr().out == said
    assert [path.read_bytes() for path in sorted(tmp_path.glob("out/*/summary.json"))] == summaries


def test_notes_are_told_again(tmp_path, capsys):
    clip = make_clip(tmp_path / "mute.mp4", ClipSpec(frames=4, fps=2))
    for _ in range(2):
        assert main(["segment", str(clip), "--out", str(tmp_path / "out")]) == DONE
        out, err = capsys.readouterr()
        assert "no audio track" in err
        assert out.startswith("mute.mp4: 2 frames, 0 with masks, 2 no audio track -> ")


@pytest.mark.parametrize("name", ["masks/frame_000002.png", "objects.json", "summary.json"])
def test_what_was_taken_away_is_made_again(name, clips, tmp_path):
    words = ["segment", str(clips / "clip1.mp4"), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == DONE
    (tmp_path / "out" / "clip1" / name).unlink()
    assert main(words) == DONE
    assert (tmp_path / "out" / "clip1" / name).exists()


@pytest.mark.parametrize(
    "words",
    [["--every", "2"], ["--overlay"], ["--set", "hearing.empty_below=0.3"], ["--save-maps"]],
)
def test_another_request_is_another_run(words, clips, tmp_path):
    fixed = ["segment", str(clips / "clip0.mp4"), "--out", str(tmp_path / "out"), "--quiet"]
    summary = tmp_path / "out" / "clip0" / "summary.json"
    assert main(fixed) == DONE
    before = read_json(summary)
    assert main([*fixed, *words]) == DONE
    assert read_json(summary)["fingerprint"] != before["fingerprint"]
    assert (tmp_path / "out" / "clip0" / "overlay.mp4").exists() == ("--overlay" in words)


def test_results_of_another_clip_are_not_replaced(clips, tmp_path, capsys):
    first = clips / "clip0.mp4"
    other = tmp_path / "elsewhere" / "clip0.mp4"
    other.parent.mkdir()
    shutil.copy(clips / "clip1.mp4", other)
    out = tmp_path / "out"
    assert main(["segment", str(first), "--out", str(out), "--quiet"]) == DONE
    before = contents(out)
    words = [str(other), str(clips / "clip2.mp4")]
    assert main(["segment", *words, "--out", str(out), "--quiet"]) == FAILED
    err = capsys.readouterr().err
    assert f"{out / 'clip0'} holds the results of another clip, {first}" in err
    assert "Choose another folder with --out, or remove that one." in err
    after = contents(out)
    assert before.items() <= after.items()
    assert (out / "clip2" / "objects.json").exists()  # the others go on
    shutil.rmtree(out / "clip0")
    assert main(["segment", str(other), "--out", str(out), "--quiet"]) == DONE


def test_a_clip_may_move_and_change(clips, bundle, tmp_path):
    own = tmp_path / "clip.mp4"
    shutil.copy(clips / "clip0.mp4", own)
    out = ["--out", str(tmp_path / "out"), "--quiet"]
    assert main(["segment", str(own), *out]) == DONE
    (tmp_path / "new").mkdir()
    moved = own.rename(tmp_path / "new" / "clip.mp4")
    assert main(["segment", str(moved), *out]) == DONE
    assert bundle.looks == 2
    shutil.copy(clips / "clip4.mp4", own)
    shutil.copy(own, moved)
    assert main(["segment", str(own), *out]) == DONE
    assert bundle.looks == 6
    assert len(contents(tmp_path / "out" / "clip")) == 5


def as_process(monkeypatch, rank: int, count: int) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(count))


def test_processes_share_the_clips_and_the_first_tells_of_all(
    clips, bundle, tmp_path, monkeypatch, capsys
):
    (tmp_path / "in").mkdir()
    for clip in clips.iterdir():
        shutil.copy(clip, tmp_path / "in")
    (tmp_path / "in" / "clip3.mp4").write_bytes(b"not a clip")
    words = ["segment", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    as_process(monkeypatch, 1, 2)
    assert main(words) == DONE  # one that fails would end the others
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == ["clip1.mp4"]
    assert "clip3.mp4" in err
    as_process(monkeypatch, 0, 2)
    assert main(words) == FAILED
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "clip0.mp4",
        "clip2.mp4",
        "clip4.mp4",
    ]
    assert "clip3.mp4" in err
    assert bundle.looks == LOOKS - 4
    # What one process couldn't read another one may.
    shutil.copy(clips / "clip3.mp4", tmp_path / "in")
    assert main(words) == DONE
    assert "clip3.mp4: 4 frames" in capsys.readouterr().out
    assert bundle.looks == LOOKS


def test_waiting_can_be_stopped(clips, tmp_path, monkeypatch, capsys):
    from moca_core import shares

    def interrupt(seconds: float) -> None:
        if seconds == shares._LOOK_S:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(shares.time, "sleep", interrupt)
    as_process(monkeypatch, 0, 2)
    assert main(["segment", str(clips), "--out", str(tmp_path / "out"), "--quiet"]) == STOPPED
    assert "Run the same command again for the clips that are missing" in capsys.readouterr().err


@pytest.mark.slow
def test_one_of_two_is_killed_and_one_goes_on(clips, bundle, tmp_path):
    assert main(["segment", str(clips), "--out", str(tmp_path / "alone"), "--quiet"]) == DONE
    out, looks = tmp_path / "out", tmp_path / "looks"
    words = ["segment", str(clips), "--out", str(out), "--quiet"]
    # Rank 1 has the clips 1 and 3, and is killed in the second one's second key frame.
    first, second = (start(words, looks, rank, 2, stuck=5) for rank in range(2))
    until(lambda: count_lines(looks) == 2 + 3 + 4 + 5 and (out / "clip4/summary.json").exists())
    second.send_signal(signal.SIGKILL)
    second.wait()
    err = first.communicate(timeout=120)[1]
    assert first.returncode == FAILED
    assert "moca: process 1 is gone: 1 of 5 clips are missing" in err
    alone = start(words, looks)
    assert alone.wait(timeout=120) == DONE
    assert contents(out) == contents(tmp_path / "alone")
    # Of the clip in which it was killed: all that is done again.
    assert count_lines(looks) == 14 + 4
