"""`moca bench train`: both ways train alike, and the arithmetic is that of the blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from item_fakes import clip

from moca_core import cli
from moca_core.bench import train as bench
from moca_core.bench.items import draw_items
from moca_core.bench.report import BenchOptions, Row, Watch
from moca_core.device import choose_device
from moca_core.training.cache import FeatureCache
from moca_core.training.data import ItemReader
from moca_core.training.examples import feature_keys, feature_shape, fill
from moca_core.training.layouts import open_items

CPU = choose_device("cpu")


def options(folder: Path, **values: object) -> BenchOptions:
    return BenchOptions(folder, repeats=1, batch=2, tiny=True, **values)  # type: ignore[arg-type]


def test_items_are_all_different_and_can_be_learnt_from(tmp_path: Path) -> None:
    assert list(draw_items(tmp_path / "items", 5, (32, 24))) == list(range(5))
    items = open_items(tmp_path / "items")
    with ItemReader() as reader:
        read = [reader.read(item) for item in items]
    assert len(read) == 5 and read[0][0].shape == (24, 32, 3)
    assert len({rgb.tobytes() for rgb, _ in read}) == len({wave.tobytes() for _, wave in read}) == 5


def test_what_is_computed_anew_is_what_the_cache_holds(tmp_path: Path) -> None:
    """But for the cache's float16; each part of the work is timed under its own name."""
    list(draw_items(tmp_path / "items", 3))
    items = open_items(tmp_path / "items")
    frozen = bench.encoders("imagebind", CPU, tiny=True)
    keys = feature_keys(items)
    cache = FeatureCache(tmp_path / "features", feature_shape(frozen))
    list(fill(cache, items, keys, frozen, 2))
    watch = Watch()
    with ItemReader(frozen.window_s, frozen.rate_hz) as reader:
        anew = bench.Anew(items, reader, frozen, 2, watch)
        found = anew.visual([0, 2]), anew.audio([1])
    cached = cache.visual([keys[0], keys[2]]), cache.audio([keys[1]])
    cache.close()
    for own, other in zip(found, cached, strict=True):
        np.testing.assert_allclose(own, other, atol=2e-3, rtol=2e-3)
    assert {name: len(times) for name, times in watch.wall_s.items()} == {
        "reading files": 2,
        "frozen blocks": 1,
        "audio tokens": 1,
    }


def test_arithmetic_is_that_of_the_blocks(tmp_path: Path) -> None:
    """By hand: 4 B (n - 1) blocks forwards and as many backwards, but for adapters and PMA.

    A block backwards, with frozen weights, multiplies as often as forwards, and its attention more.
    """
    rows = {row.name: row for row in bench.measure(options(tmp_path)) if isinstance(row, Row)}
    frozen = bench.encoders("imagebind", CPU, tiny=True)
    tokens, width = feature_shape(frozen).visual
    block = 24 * tokens * width**2 + 4 * tokens**2 * width
    batch = 2
    cached = [1e9 * rows[f"{n} blocks of 3: arithmetic, cached"].value for n in (1, 2)]
    assert cached[0] < 4 * batch * block
    assert 8 * batch * block < cached[1] - cached[0] < 1.6 * 8 * batch * block
    embedding = 2 * (tokens - 1) * width * 3 * 14 * 14
    saved = [rows[f"{n} blocks of 3: arithmetic that the cache saves"].value for n in (1, 2)]
    # With one block more that is adapted, one less is saved for each of three pictures.
    assert 1e9 * (saved[0] - saved[1]) == pytest.approx(3 * batch * block)
    assert 1e9 * saved[1] > 3 * batch * (2 * block + embedding)
    ratio = rows["2 blocks of 3: arithmetic, anew / cached"].value
    assert ratio == pytest.approx(1 + saved[1] / rows["2 blocks of 3: arithmetic, cached"].value)


def test_the_command_measures_small_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "train.json"
    words = ["bench", "train", "--tiny", "--device", "cpu", "--batch", "2", "--repeats", "2"]
    assert cli.main([*words, "--json", str(file)]) == cli.DONE
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    for count in (1, 2):
        name = f"{count} blocks of 3"
        cached, anew = (rows[f"{name}: an iteration, features {way}"] for way in ("cached", "anew"))
        ratio = rows[f"{name}: anew / cached"]
        assert len(cached["samples"]) == len(anew["samples"]) == 2
        expected = [a / c for a, c in zip(anew["samples"], cached["samples"], strict=True)]
        assert ratio["samples"] == pytest.approx(expected)
        assert ratio["met"] is None  # small models have no target
        parts = [rows[f"{name}: anew, {part}"]["samples"] for part in (bench._READ, bench._HEAR)]
        assert all(sum(part) < sum(anew["samples"]) for part in parts)
    assert "anew / cached" in capsys.readouterr().out


def test_a_clip_of_ones_own(tmp_path: Path) -> None:
    steps = bench.measure(options(tmp_path, clip=clip(tmp_path / "own" / "long.mp4", 5.0)))
    named = [row.name for row in steps if isinstance(row, Row)]
    assert "2 blocks of 3: anew, reading files" in named


def test_a_clip_that_is_too_short_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "train", "--tiny", "--clip", str(clip(tmp_path / "short.mp4", 2.0))]
    assert cli.main([*words, "--device", "cpu"]) == cli.FAILED
    said = capsys.readouterr().err
    assert "2 frames" in said and "4 s or more" in said


def test_both_ways_start_alike(tmp_path: Path) -> None:
    """The same adapter for each way, whatever was drawn before."""
    frozen = bench.encoders("imagebind", CPU, tiny=True)
    one = bench._learner(options(tmp_path), frozen, CPU, (1, 2)).state_dict()
    torch.rand(3)
    other = bench._learner(options(tmp_path), frozen, CPU, (1, 2)).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
