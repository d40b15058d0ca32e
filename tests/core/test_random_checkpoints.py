"""The official formats, as `tools/random_checkpoints.py` writes them with random numbers."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from moca_core.bench import random_models
from moca_core.bench.random_weights import CHECKPOINTS, random_state
from moca_core.models import dino, imagebind, sam_vit
from moca_core.models.checkpoint import read_torch
from moca_core.models.dino import Dino
from moca_core.models.imagebind import ImageBind
from moca_core.models.sam import VitSam
from moca_core.models.sam_decoder import DecoderShape
from moca_core.models.sam_vit import VITS

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


# --- our models load them -----------------------------------------------------------------------


def _shapes(model: nn.Module, official: Callable[[str], str]) -> dict[str, tuple[int, ...]]:
    return {official(key): tuple(value.shape) for key, value in model.state_dict().items()}


def test_imagebind_has_the_names_and_shapes_of_the_full_file() -> None:
    """Of vision and audio; the rest is what it says it leaves out."""
    with torch.device("meta"):
        own = _shapes(ImageBind(), imagebind.official_name)
    everything = CHECKPOINTS["imagebind"].shapes()
    left = {key for key in everything if key.startswith(imagebind.OTHER_MODALITIES)}
    assert own == {key: shape for key, shape in everything.items() if key not in left}
    assert len(own) == 569


@pytest.mark.parametrize("variant", VITS)
def test_sam_has_the_names_and_shapes_of_the_full_file(variant: str) -> None:
    with torch.device("meta"):
        model = VitSam(VITS[variant], DecoderShape())
    assert _shapes(model, sam_vit.official_key) == CHECKPOINTS[f"sam_{variant}"].shapes()


@pytest.mark.parametrize("name", ["dino_s16", "dino_b16"])
def test_dino_has_the_names_and_shapes_of_the_full_file(name: str) -> None:
    shapes = CHECKPOINTS[name].shapes()
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
        model = Dino(dino.shape_of(state))
    assert _shapes(model, dino.official_name) == shapes


def test_tiny_files_are_loaded(tool: ModuleType, tmp_path: Path) -> None:
    """Written, read strictly, and of use: a picture and a sound get finite features."""
    parts = [CHECKPOINTS[name] for name in ("imagebind", "dino_s16")]
    bind_file, dino_file = (tool.write(tmp_path, part, seed=0, tiny=True) for part in parts)
    bind = ImageBind.from_file(bind_file, shape=random_models.TINY_IMAGEBIND)
    rgb = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    wave = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    assert torch.isfinite(bind.see([rgb]).embedding).all()
    assert abs(bind.hear(wave).embedding.norm() - 20) < 1e-3
    assert abs(Dino.from_file(dino_file).features([rgb]).norm() - 1) < 1e-5
