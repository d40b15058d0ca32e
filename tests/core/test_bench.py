"""`moca bench`: what it measures, how it compares, what it prints and writes; never how fast."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from moca_core import cli, paths
from moca_core.bench import clip as clip_bench
from moca_core.bench import footage, keyframe, media, window
from moca_core.bench.report import BenchOptions, Row, Watch, as_json, percentile, text_table
from moca_core.bench.table import BENCHES, Bench
from moca_core.config import SegmentConfig
from moca_core.errors import MocaError
from moca_core.media.video import VideoReader
from moca_core.types import StageEvent

DEMO = paths.resource("demo/demo.mp4")


@pytest.fixture
def mute_clip(tmp_path: Path) -> Path:
    """Ten small frames without a sound: `moca segment` needs no encoder for them."""
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            picture = np.full((48, 64, 3), 20 * number, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return path


# --- rows ---------------------------------------------------------------------------------------


def test_value_is_the_median_and_targets_bind_on_their_side() -> None:
    """Three samples by hand; a value at the limit keeps it."""
    assert Row("a", (3.0, 100.0, 1.0), "ms").value == 3.0
    assert Row("a", (3.0,), "ms").met is None
    assert Row("a", (3.0,), "ms", at_most=3.0).met is True
    assert Row("a", (3.1,), "ms", at_most=3.0).met is False
    assert Row("a", (5.0,), "x", at_least=5.0).met is True
    assert Row("a", (4.9,), "x", at_least=5.0).met is False


@pytest.mark.parametrize(("share", "expected"), [(0.95, 19), (1.0, 20), (0.5, 10), (0.01, 1)])
def test_percentile_of_twenty(share: float, expected: int) -> None:
    """Of 1 to 20, nineteen are at most 19: that is 95 %."""
    assert percentile(list(range(20, 0, -1)), share) == expected


def test_table_shows_the_spread_and_whether_the_target_is_kept() -> None:
    """One line a row, aligned; one sample has no spread."""
    rows = [
        Row("first run", (26.5,), "s", at_most=25.0),
        Row("grid / guided", (5.0, 7.0, 6.0), "x", at_least=5.0, cpu=(6.5, 6.7, 6.6)),
        Row("proposals", (12.0,), ""),
    ]
    first, second, third = text_table(rows).splitlines()
    assert "26.5 s" in first and "target at most 25: NOT met" in first and " to " not in first
    assert "6 x" in second and "5 to 7 in 3; processor 6.6; target at least 5: met" in second
    assert third.split() == ["proposals", "12"]


# --- the table of benchmarks and the command ----------------------------------------------------


@pytest.mark.parametrize("bench", BENCHES.values(), ids=list(BENCHES))
def test_every_benchmark_can_be_started(bench: Bench, tmp_path: Path) -> None:
    """Its function exists and is a generator: nothing is measured before the first step."""
    steps = bench.run(BenchOptions(tmp_path))
    steps.close()
    module, _, function = bench.target.partition(":")
    __import__(module)
    assert callable(getattr(sys.modules[module], function))
    assert bench.help and bench.name == bench.name.lower()


def test_without_a_name_it_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, the name first."""
    assert cli.main(["bench"]) == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BENCHES)


@pytest.mark.parametrize(
    "words",
    [["nothing"], ["frame", "--repeats", "0"], ["--json", "x.json"]],
    ids=["unknown", "no repeats", "file without a name"],
)
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a word of help."""
    assert cli.main(["bench", *words]) == cli.USAGE
    assert "usage: moca bench" in capsys.readouterr().err


def _given(monkeypatch: pytest.MonkeyPatch, measure: object) -> None:
    """Let `moca bench seek` run `measure`."""
    monkeypatch.setattr(media, "measure", measure)


def test_prints_a_table_and_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Samples, targets, machine and versions are all in the file; the scratch folder is gone."""
    seen: list[BenchOptions] = []

    def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
        seen.append(options)
        assert options.scratch.is_dir()
        yield StageEvent("Measuring", 0, 1)
        yield Row("random frame", (10.0, 30.0, 20.0), "ms", at_most=100.0)

    _given(monkeypatch, measure)
    file = tmp_path / "new" / "seek.json"
    words = ["bench", "seek", "--json", str(file), "--repeats", "3", "--clip", str(DEMO)]
    assert cli.main(words) == cli.DONE
    assert not seen[0].scratch.exists()
    assert (seen[0].repeats, seen[0].clip) == (3, DEMO)
    shown = capsys.readouterr()
    assert "random frame" in shown.out and "target at most 100: met" in shown.out
    assert "seek: Measuring" in shown.err
    report = json.loads(file.read_text())
    assert report["bench"] == "seek"
    row = report["rows"][0]
    assert row["value"] == 20.0 and row["samples"] == [10.0, 30.0, 20.0] and row["met"] is True
    assert row["cpu"] == []
    machine = report["machine"]
    assert machine["cores"] >= 1 and machine["torch_threads"] >= 1 and machine["processor"]
    assert {"moca", "python", "torch", "numpy"} <= set(machine["versions"])


def test_stops_at_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C closes the benchmark, shows the rows so far, and writes no file."""
    ended: list[str] = []

    def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
        try:
            yield Row("first", (1.0,), "ms")
            signal.raise_signal(signal.SIGINT)
            yield StageEvent("Second")
            ended.append("went on")
        finally:
            ended.append("closed")

    _given(monkeypatch, measure)
    file = tmp_path / "seek.json"
    assert cli.main(["bench", "seek", "--json", str(file)]) == cli.STOPPED
    assert ended == ["closed"]
    assert not file.exists()
    shown = capsys.readouterr()
    assert "first" in shown.out and "Stopped" in shown.err


def test_json_of_rows_without_a_target() -> None:
    """Absent targets are null, not left out."""
    row = as_json("frame", [Row("a", (1.0,), "ms")], {})["rows"][0]
    assert row["at_most"] is None and row["at_least"] is None and row["met"] is None


# --- clips to measure on ------------------------------------------------------------------------


def test_repeated_clip_is_the_clip_again_and_again(tmp_path: Path) -> None:
    """Its frames and its times go on evenly, and it is no shorter than was asked."""
    path = tmp_path / "long.mp4"
    footage.repeat_clip(DEMO, path, 20.0)
    with VideoReader(DEMO) as once, VideoReader(path) as often:
        count = once.info.frame_count
        assert often.info.frame_count == 2 * count
        assert often.info.duration_s >= 20.0
        assert np.allclose(np.diff(often.info.times_s), 1 / once.info.fps, atol=2e-3)
        assert often.info.has_audio
        for number in (0, 7, count - 1):
            assert np.array_equal(often.frame(count + number), once.frame(number))


def test_enlarged_clip_is_720p_of_the_length_asked_for(tmp_path: Path) -> None:
    """The same pictures, larger, with the sound."""
    path = tmp_path / "large.mp4"
    footage.enlarge_clip(DEMO, path, 0.4)
    with VideoReader(path) as large, VideoReader(DEMO) as small:
        info = large.info
        assert (info.width, info.height) == footage.HD
        assert info.frame_count == 10
        assert info.has_audio
        difference = footage.enlarged(small.frame(5)).astype(int) - large.frame(5)
        assert np.abs(difference).mean() < 6


def test_drawn_clip_has_a_key_frame_every_thirty(tmp_path: Path) -> None:
    """The benchmark of seeking rests on it."""
    path = tmp_path / "drawn.mp4"
    assert list(footage.draw_clip(path, 2)) == list(range(60))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == footage.HD
        stamps = [
            float(packet.pts * packet.time_base)
            for packet in container.demux(stream)
            if packet.is_keyframe and packet.pts is not None
        ]
    assert np.allclose(np.diff(stamps), 1.0) and len(stamps) == 2


# --- the benchmarks -----------------------------------------------------------------------------


def test_seek_measures_its_own_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it on a short clip: every row positive, the target on the plain seek alone."""
    for name, value in (("CLIP_S", 1), ("LONG_S", 13), ("SEEKS", 3), ("STEPS_BACK", 2)):
        monkeypatch.setattr(media, name, value)
    rows = {
        event.name: event
        for event in media.measure(BenchOptions(tmp_path, repeats=2))
        if isinstance(event, Row)
    }
    assert rows["random frame"].at_most == 100.0
    assert len(rows["random frame"].samples) == 3
    assert [name for name, row in rows.items() if row.met is not None] == ["random frame"]
    assert rows["random frame, 95 % within"].value == max(rows["random frame"].samples)
    assert {"in order: frames a second", "spectrogram", "10 min: opening"} <= set(rows)
    assert all(row.value > 0 for name, row in rows.items() if row.unit in ("ms", "1/s"))


def test_comparison_divides_turn_by_turn() -> None:
    """Two turns by hand: 5 and 7 times faster without the encoder, (3 + 10) / (3 + 2) with it."""
    guided, grid = Watch(), Watch()
    for watch, answers in ((guided, (2.0, 2.0)), (grid, (10.0, 14.0))):
        for seconds in answers:
            watch.add(keyframe.ENCODING, 3.0, 3.0)
            watch.add(keyframe.DECODING, seconds, seconds if watch is guided else 2 * seconds)
            watch.add("all", 3.0 + seconds, 3.0 + seconds)
    alone, joined, whole = keyframe._comparison(guided, grid)
    assert alone.samples == (5.0, 7.0) and alone.value == 6.0 and alone.met is True
    assert joined.samples == (13 / 5, 17 / 5) == whole.samples
    assert alone.cpu == (10.0, 14.0)


@pytest.mark.weights
def test_stages_of_a_real_picture_are_told_apart(weights_dir: Path) -> None:
    """The two stages that the target compares exist in the bundle, and all stages are counted."""
    from moca_core.pipeline.segmenter import Segmenter

    bundle = Segmenter(device="cpu").bundle
    watch = Watch()
    rgb = footage.middle_frame(DEMO)
    analysis = keyframe.timed_look(bundle, rgb, SegmentConfig(), watch)
    assert {keyframe.ENCODING, keyframe.DECODING} <= set(watch.wall_s)
    assert len(analysis.proposals) > 0
    parts = [seconds[0] for name, seconds in watch.wall_s.items() if name != "all"]
    # What comes before the first stage counts too.
    assert watch.wall_s["all"][0] >= sum(parts) * 0.999
    assert all(value > 0 for value in parts)


def test_a_run_of_segment_is_measured_from_outside(mute_clip: Path, tmp_path: Path) -> None:
    """Frames, time and memory of a real process, which keeps its results in its own cache."""
    cache = clip_bench.own_cache(tmp_path / "cache")
    run = _finished(clip_bench.segment_run(mute_clip, tmp_path / "out", cache, "--frames", "all"))
    assert run.summary["frames"] == 10
    assert run.wall_s > 0
    if hasattr(os, "wait4"):
        assert run.cpu_s > 0
        assert 20 < run.peak_mib < 4096
    assert list((cache / "results").rglob("frame_*.json"))
    assert (cache / "weights").resolve() == paths.weights_dir().resolve()


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    """The words of the command are the hint."""
    path = tmp_path / "text.mp4"
    path.write_text("no clip")
    cache = clip_bench.own_cache(tmp_path / "cache")
    with pytest.raises(MocaError, match="exit code 1") as caught:
        _finished(clip_bench.segment_run(path, tmp_path / "out", cache))
    assert "text.mp4" in caught.value.hint


def test_a_run_that_is_no_longer_wanted_is_ended(
    mute_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing the benchmark leaves no process behind."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(start(*args, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    cache = clip_bench.own_cache(tmp_path / "cache")
    steps = clip_bench.segment_run(mute_clip, tmp_path / "out", cache)
    next(steps)
    assert started[0].returncode is None
    steps.close()
    assert started[0].returncode is not None


def test_memory_needs_a_system_that_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a table of zeros."""
    monkeypatch.delattr(os, "wait4", raising=False)
    with pytest.raises(MocaError, match="peak memory"):
        next(clip_bench.measure_memory(BenchOptions(tmp_path)))


@pytest.mark.parametrize("measure", [window.measure_start, window.measure_playback])
def test_without_qt_the_window_says_so(
    measure: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hint instead of an ImportError."""
    monkeypatch.setitem(sys.modules, "moca_gui.bench", None)
    with pytest.raises(MocaError) as caught:
        next(measure(BenchOptions(tmp_path)))
    assert "PySide6" in caught.value.hint


def _finished(steps: Iterator[StageEvent]) -> clip_bench.SegmentRun:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
