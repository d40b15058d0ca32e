"""`moca bench encoders` and what it rests on: counted operations, rates, random models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from moca_core import cli
from moca_core.bench import encoders as bench
from moca_core.bench.pipeline import frame_seconds
from moca_core.bench.random_models import Encoders, random_encoders
from moca_core.bench.rates import matrix_rate, operations
from moca_core.bench.report import BenchOptions
from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice
from moca_core.errors import ConfigError, DeviceError
from moca_core.pipeline.proposals import GridSettings
from moca_core.types import StageEvent

CPU = DeviceChoice("cpu", "float32", "")
CONFIG = SegmentConfig(bundle="imagebind")
RGB = np.random.default_rng(0).integers(0, 255, (72, 128, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def tiny() -> Encoders:
    return random_encoders(CPU, tiny=True)


# --- operations and rates -----------------------------------------------------------------------


def test_operations_of_matrices_and_convolutions() -> None:
    """By hand: 2 m k n, and 2 x outputs x kernel elements."""
    a, b = torch.rand(3, 5), torch.rand(5, 7)
    assert operations(lambda: a @ b) == 2 * 3 * 5 * 7
    conv = nn.Conv2d(4, 6, 3, padding=1)
    assert operations(lambda: conv(torch.rand(1, 4, 8, 10))) == 2 * (6 * 8 * 10) * (4 * 3 * 3)


def test_operations_of_attention_whatever_the_kernel() -> None:
    """4 T S d a head; torch itself leaves out the CPU's kernel."""
    q, k = torch.rand(2, 3, 10, 16), torch.rand(2, 3, 11, 16)
    with torch.inference_mode():
        count = operations(lambda: nn.functional.scaled_dot_product_attention(q, k, k))
    assert count == 4 * 2 * 3 * 10 * 11 * 16


def test_operations_of_imagebind_are_those_of_its_shapes(tiny: Encoders) -> None:
    """24 T C^2 + 4 T^2 C a block, the patches, and the head, for two pictures."""
    tokens, width, patches, joint = 257, 64, 256, 32
    block = 24 * tokens * width**2 + 4 * tokens**2 * width
    embedding = 2 * patches * width * 3 * 14 * 14
    head = 2 * tokens * width * joint
    expected = 2 * (3 * block + embedding + head)
    assert operations(lambda: tiny.imagebind.see([RGB, RGB])) == expected


def test_matrix_rate_counts_two_operations_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by a second each time it is read."""
    seconds = iter(range(100))
    monkeypatch.setattr("moca_core.bench.rates.time.perf_counter", lambda: next(seconds))
    assert matrix_rate("cpu", torch.float32, repeats=3, side=10) == 2 * 10**3


# --- random models ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_random_models_compute_something_finite(dtype: str) -> None:
    made = random_encoders(DeviceChoice("cpu", dtype, ""), tiny=True)
    sight = made.imagebind.see([RGB])
    assert torch.isfinite(sight.patches).all() and sight.patches.std() > 0.01
    heard = made.imagebind.hear(np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32))
    assert abs(heard.embedding.norm() - 20) < 1e-3  # the constructor's scale
    assert np.isfinite(made.dino.attention(RGB, 224)).all()
    (embedding,) = made.sam.encode([RGB])
    logits, quality = made.sam.decode(
        embedding, np.array([[[40, 30]]], np.float32), np.ones((1, 1), np.int64)
    )
    assert torch.isfinite(logits).all() and logits.std() > 0.01 and torch.isfinite(quality).all()


def test_half_precision_halves_the_weights(tiny: Encoders) -> None:
    half = random_encoders(DeviceChoice("cpu", "bfloat16", ""), tiny=True)
    assert 0.4 < half.weights_bytes() / tiny.weights_bytes() < 0.75


def test_blocks_are_compiled_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of every stack, and the results stay."""
    seen: list[object] = []
    monkeypatch.setattr(torch, "compile", lambda function: seen.append(function) or function)
    plain = random_encoders(CPU, tiny=True).imagebind.see([RGB])
    assert not seen
    made = random_encoders(CPU, tiny=True, compiled=True)
    assert len(seen) >= 3 + 2 + 2 + 3
    assert torch.equal(made.imagebind.see([RGB]).embedding, plain.embedding)


# --- the benchmark ------------------------------------------------------------------------------


def test_the_command_measures_tiny_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every stage fast and naively, the whole, and the report."""
    file = tmp_path / "encoders.json"
    words = ["bench", "encoders", "--tiny", "--device", "cpu", "--batch", "2", "--repeats", "1"]
    assert cli.main([*words, "--json", str(file)]) == cli.DONE
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    for name in bench.STAGES:
        titles = [row for row in rows if row.startswith(name)]
        assert len(titles) == 7, titles
    assert rows["SAM answers 12 prompts, fast: arithmetic"]["value"] > 0
    assert rows["pipeline end to end, fast: frames a second"]["value"] > 0
    assert rows["pipeline end to end: naive / fast"]["met"] is None
    assert all(row["value"] > 0 for row in rows.values())
    assert "peak beside the weights, fast" not in rows  # a CPU doesn't tell
    assert "matrix rate, naive" in capsys.readouterr().out


def test_targets_and_ratios_by_hand() -> None:
    """Naive takes 1 s of stages and 2 s as a whole, fast a tenth of a second and 20 ms."""
    fast, naive = _measured(0.02, (0.02, 0.025), 1000.0), _measured(0.2, (2.0, 2.0), None)
    rows = {row.name: row for row in bench._total_rows(fast, naive, targets=True)}
    assert rows["all stages, fast: a frame"].value == pytest.approx(100)
    # 5 stages of 2 GFLOP at 1 TFLOP/s are 10 ms.
    assert rows["all stages, fast: share of the matrix rate"].value == pytest.approx(10)
    rate = rows["pipeline end to end, fast: frames a second"]
    assert rate.samples == pytest.approx((50, 40)) and rate.met is True
    ratio = rows["pipeline end to end: naive / fast"]
    assert ratio.samples == pytest.approx((100, 80)) and ratio.at_least == bench.SPEED_UP
    memory = rows["peak beside the weights, fast"]
    assert memory.met is True and memory.at_most == bench.MEMORY_MIB
    assert "peak beside the weights, naive" not in rows
    assert rows["pipeline end to end, naive: frames a second"].met is None
    assert rows["all stages: naive / fast"].value == pytest.approx(10)


def _measured(stage_s: float, whole_s: tuple[float, ...], memory: float | None) -> bench.Measured:
    measured = bench.Measured(bench.Watch(), whole_s, 1e12, 100.0, memory)
    for name in bench.STAGES:
        for _ in range(2):
            measured.watch.add(name, stage_s, stage_s)
        measured.operations[name] = 2 * 10**9
    return measured


def test_memory_that_runs_out_names_the_batch(
    tiny: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(encoders: Encoders, work: bench.Work) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(bench, "STAGES", {"ImageBind sees": full})
    wave, points = np.zeros(32_000, np.float32), np.zeros((1, 2), np.float32)
    work = bench.Work([RGB] * 3, wave, points, CONFIG)
    with pytest.raises(DeviceError, match="3 pictures at once") as caught:
        list(bench._times(tiny, work, 1, "fast"))
    assert "--batch" in caught.value.hint


def test_only_the_bundle_with_these_encoders(tmp_path: Path) -> None:
    options = BenchOptions(tmp_path, bundle="compact")
    with pytest.raises(ConfigError, match="compact"):
        next(bench.measure(options))


def test_a_gpu_that_is_too_full_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The need is asked for with the full size, and the reason is the first thing said."""
    asked: list[int] = []

    def choose(device: str, precision: str, need: int) -> DeviceChoice:
        asked.append(need)
        return DeviceChoice("cpu", "float32", "Card 0 has 1.0 of 8.0 GiB free, 6.0 needed")

    monkeypatch.setattr(bench, "choose_device", choose)
    options = BenchOptions(tmp_path)
    assert "6.0 needed" in str(next(bench.measure(options)))
    next(bench.measure(replace(options, tiny=True)))
    assert asked == [bench.NEED_BYTES, 0]


def test_the_pipeline_is_the_bundle_itself(tiny: Encoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and sounds to decisions, with nothing read from files; the grid is asked for."""
    wave = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)
    asked: list[int] = []
    decode = tiny.sam.decode_square

    def counted(embedding: object, points: np.ndarray, *rest: object, **words: object) -> object:
        asked.append(len(points))
        return decode(embedding, points, *rest, **words)

    monkeypatch.setattr(tiny.sam, "decode_square", counted)
    config = SegmentConfig(bundle="imagebind", proposals="grid")
    steps = frame_seconds(tiny, [RGB, RGB], wave, config, GridSettings(3), 2, "naive")
    told = []
    while True:
        try:
            told.append(next(steps))
        except StopIteration as end:
            seconds = end.value
            break
    # A warm-up and two turns, two pictures each.
    assert len(told) == 3 and sum(asked) == 3 * 2 * 9
    assert len(seconds) == 2 and all(second > 0 for second in seconds)


def test_memory_on_a_gpu_is_the_peak_beside_the_weights(
    tiny: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A played GPU: 100 MiB are held before, 350 at the peak; it is waited for around each stage.

    The peak is asked after the whole pipeline, before the matrices that measure the rate.
    """
    steps: list[str] = []
    fakes = {
        "memory_allocated": lambda device: 100 * 2**20,
        "reset_peak_memory_stats": lambda device: steps.append("reset"),
        "max_memory_allocated": lambda device: steps.append("peak") or 350 * 2**20,
        "synchronize": lambda device: steps.append("wait"),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def rate(device: str, dtype: torch.dtype, repeats: int) -> float:
        steps.append(f"rate {device} {dtype} {repeats}")
        return 1e12

    def whole(*args: object) -> Iterator[StageEvent]:
        yield StageEvent("whole")
        steps.append("whole")
        return (0.5,)

    monkeypatch.setattr(bench, "matrix_rate", rate)
    monkeypatch.setattr(bench, "frame_seconds", whole)
    monkeypatch.setattr(bench, "STAGES", {"a": lambda *_: steps.append("a")})
    played = replace(tiny, choice=DeviceChoice("cuda:0", "bfloat16", "Card 0"))
    work = bench.Work([RGB], np.zeros(8, np.float32), np.zeros((1, 2), np.float32), CONFIG)
    turns = bench._times(played, work, 1, "fast")
    while True:
        try:
            next(turns)
        except StopIteration as end:
            measured: bench.Measured = end.value
            break
    assert measured.beside_mib == 250.0
    assert measured.whole_s == (0.5,) and measured.rate == 1e12
    turn = ["wait", "a", "wait"]
    assert steps == ["reset", *turn, *turn, "whole", "peak", "rate cuda:0 torch.bfloat16 1"]
