"""The official formats, as `tools/random_checkpoints.py` writes them with random numbers."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

from moca_core.bench.random_weights import CHECKPOINTS, random_state
from moca_core.models.checkpoint import read_torch

TOOL = Path(__file__).resolve().parents[2] / "tools" / "random_checkpoints.py"

OFFICIAL = {
    "imagebind": (1311, 1_200_786_990),
    "sam_vit_b": (314, 93_735_728),
    "sam_vit_l": (482, 312_343_088),
    "sam_vit_h": (594, 641_090_864),
    "dino_s16": (150, 21_665_664),
    "dino_b16": (150, 85_798_656),
}
"""Tensors and their elements in the official state dicts (../shared/reference; DINO's paper)."""

MODALITIES = {
    "vision": 632_829_440,
    "audio": 86_235_649,
    "text": 354_038_570,
    "depth": 21_871_873,
    "thermal": 86_211_073,
    "imu": 19_600_385,
}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("random_checkpoints", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_as_many_tensors_and_elements_as_the_official_file(name: str) -> None:
    shapes = CHECKPOINTS[name].shapes()
    assert (len(shapes), sum(map(math.prod, shapes.values()))) == OFFICIAL[name]


def test_every_modality_of_imagebind_has_its_elements() -> None:
    shapes = CHECKPOINTS["imagebind"].shapes()
    found = {
        name: sum(math.prod(shape) for key, shape in shapes.items() if key.split(".")[1] == name)
        for name in MODALITIES
    }
    assert found == MODALITIES


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_tiny_file_has_official_names_only(name: str) -> None:
    part = CHECKPOINTS[name]
    assert set(part.tiny()) < set(part.shapes())
    assert sum(map(math.prod, part.tiny().values())) < 6e6


def test_writes_what_our_reader_takes_and_the_same_again(tool: ModuleType, tmp_path: Path) -> None:
    """Under the official name, nothing left beside it, the numbers fixed by the seed."""
    words = ["--tiny", "--parts", "imagebind", "dino_s16", "--seed"]
    for folder, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert tool.main([str(tmp_path / folder), *words, seed]) == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["dino_deitsmall16_pretrain.pth", "imagebind_huge.pth"]
    first, again, other = (read_torch(tmp_path / name / files[1]) for name in "abc")
    shapes = CHECKPOINTS["imagebind"].tiny()
    assert {key: tuple(value.shape) for key, value in first.items()} == shapes
    assert all(torch.equal(first[key], again[key]) for key in first)
    key = "modality_trunks.vision.blocks.0.attn.in_proj_weight"
    assert not torch.equal(first[key], other[key])


def test_numbers_suit_what_they_are_for() -> None:
    """Norms scale by about one, matrices keep sizes, the scales are the constructor's."""
    state = random_state(CHECKPOINTS["imagebind"].tiny(), seed=0)
    assert all(torch.isfinite(value).all() for key, value in state.items() if "mask" not in key)
    trunk = "modality_trunks.vision.blocks.1."
    assert abs(state[trunk + "norm_1.weight"].mean() - 1) < 0.02
    assert abs(state[trunk + "mlp.fc2.weight"].std() * 256**0.5 - 1) < 0.05
    assert state[trunk + "norm_1.bias"].abs().max() < 0.1
    audio = state["modality_postprocessors.audio.1.log_logit_scale"]
    assert math.isclose(audio.exp(), 20, rel_tol=1e-6)
    mask = state["modality_preprocessors.text.mask"]
    assert mask[1, 0] == 0 and mask[0, 1] == -math.inf


def test_installing_wants_a_cache_of_its_own(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights must never stand in the cache where the real ones are looked for."""
    monkeypatch.delenv("MOCA_CACHE_DIR", raising=False)
    with pytest.raises(SystemExit):
        tool.main([str(tmp_path), "--tiny", "--install"])
    assert not list(tmp_path.iterdir())
