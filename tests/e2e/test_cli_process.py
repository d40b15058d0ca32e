"""`moca` as a process of its own: Ctrl-C from a terminal, a pipe, and the real encoders."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from data.make_clips import ClipSpec, make_clip

from moca_core.cli import DONE, STOPPED
from moca_core.models.specs import rows_of
from moca_core.paths import resource
from moca_core.pipeline import rle

MOCA = (sys.executable, "-m", "moca_core")
PATIENCE_S = 120


@pytest.fixture
def environment(tmp_path, monkeypatch) -> dict[str, str]:
    """A cache without results; its weights are those of this machine."""
    from moca_core.paths import weights_dir

    cache = tmp_path / "cache"
    cache.mkdir()
    if weights_dir().is_dir():
        (cache / "weights").symlink_to(weights_dir(), target_is_directory=True)
    return {**os.environ, "MOCA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def long_mute_clip(tmp_path_factory) -> Path:
    """Six hundred pictures without sound: no encoder is asked, and it takes a while."""
    spec = ClipSpec(frames=600, fps=30)
    return make_clip(tmp_path_factory.mktemp("long") / "mute.mp4", spec)


def wait_for(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < end, "it doesn't get on"
        time.sleep(0.02)


def test_ctrl_c_keeps_finished_frames_and_a_rerun_continues(long_mute_clip, environment, tmp_path):
    out = tmp_path / "out"
    words = [*MOCA, "segment", str(long_mute_clip), "--out", str(out), "--frames", "all"]
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(list(out.glob("mute/masks/*.png"))) >= 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == STOPPED, err
    assert "Traceback" not in err
    assert "finished frames of mute.mp4 are kept in" in err
    kept = sorted((out / "mute" / "masks").iterdir())
    assert 3 <= len(kept) < 600
    assert all(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None for path in kept)
    summary = json.loads((out / "mute" / "summary.json").read_text())
    assert (summary["complete"], summary["frames"]) == (False, len(kept))
    assert not list(out.rglob("*.tmp"))

    again = subprocess.run([*words, "--quiet"], env=environment, capture_output=True, text=True)
    assert (again.returncode, again.stdout) == (DONE, ""), again.stderr
    summary = json.loads((out / "mute" / "summary.json").read_text())
    assert summary["complete"] is True
    assert summary["frames"] == len(list((out / "mute" / "masks").iterdir())) == 600
    assert summary["stored_frames"] >= len(kept)


def test_a_terminal_shows_a_bar_and_a_clean_end(environment, tmp_path):
    clip = make_clip(tmp_path / "mute.mp4", ClipSpec(frames=100))
    main, side = pty.openpty()
    words = [*MOCA, "segment", str(clip), "--out", str(tmp_path / "out"), "--frames", "all"]
    shown = b""
    with subprocess.Popen(
        words, env={**environment, "TERM": "xterm"}, stdin=side, stdout=side, stderr=side
    ) as process:
        os.close(side)
        try:
            while piece := os.read(main, 4096):
                shown += piece
        except OSError:  # how the end of a terminal reads on Linux
            pass
        os.close(main)
    assert process.returncode == DONE
    text = shown.decode()
    assert "[" in text and "#" in text and "/100 frames" in text
    # Each line, as it is left standing: the note, and the result. The bar is gone.
    left = [line.split("\r")[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    assert [line for line in left if line] == [
        "mute.mp4: The clip has no audio track: its masks are empty.",
        f"mute.mp4: 100 frames, 0 with masks, 100 no audio track -> {tmp_path / 'out' / 'mute'}",
    ]


@pytest.mark.weights
def test_the_demo_clip_with_the_real_encoders(weights_dir, environment, tmp_path):
    """A key frame while the cat is heard, and one in the silence at the end."""
    words = ["segment", str(resource("demo/demo.mp4")), "--out", str(tmp_path)]
    ended = subprocess.run(
        [*MOCA, *words, "--frames", "25,290", "--quiet"],
        env=environment,
        capture_output=True,
        text=True,
    )
    # Quiet is quiet: no word of any library either.
    assert (ended.returncode, ended.stdout, ended.stderr) == (DONE, "", "")
    meow, silence = json.loads((tmp_path / "demo" / "objects.json").read_text())["frames"]
    assert [item["name"] for item in meow["objects"]] == ["Cat"]
    mask = rle.decode(meow["objects"][0]["rle"])
    half = mask.shape[1] // 2
    assert mask[:, :half].sum() > 5 * mask[:, half:].sum()
    assert (silence["reason"], silence["objects"]) == ("silent", [])
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert summary["weights"] == {row.name: row.sha256 for row in rows_of("compact")}
    assert {"saliency", "classes", "proposals", "masks"} <= set(summary["stage_seconds"])
