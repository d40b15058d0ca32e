"""SAM ViT-B, L and H: equal to the official model, strict about its files, light at the start."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.make_reference import load_keys
from numpy.typing import NDArray
from sam_tiny import DECODER, PROMPTS, VIT, official_state, tiny_sam, vectors
from torch import Tensor, nn

from moca_core.errors import ConfigError, WeightsError
from moca_core.models import sam, specs, weights
from moca_core.models.registry import SAMS
from moca_core.models.sam import FILES, Sam, SamEmbedding, VitSam, load_sam
from moca_core.models.sam_decoder import DecoderShape
from moca_core.models.sam_vit import VITS, official_key, transformers_key, which_vit
from moca_core.models.tinyvit import TinyViT

# Stated by the README of the reference vectors, absolute.
EMBEDDING = 5e-5
MASKS = 2e-5
IOU = 5e-6

CASES = [
    pytest.param(prompt, multimask, id=f"{prompt}-multi{int(multimask)}")
    for prompt in PROMPTS
    for multimask in (True, False)
]


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return vectors()


@pytest.fixture(scope="module")
def picture(reference: dict[str, Tensor]) -> NDArray[np.uint8]:
    return reference["input.image_uint8"][0].permute(1, 2, 0).contiguous().numpy()


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def tiny(request: pytest.FixtureRequest) -> VitSam:
    return tiny_sam(request.param)


@pytest.fixture(scope="module")
def theirs(reference: dict[str, Tensor]) -> nn.Module:
    """The whole of `transformers.SamModel`, loaded strictly through the key rules."""
    from transformers import SamConfig, SamModel

    vision: dict[str, Any] = {
        "hidden_size": VIT.width,
        "num_hidden_layers": VIT.depth,
        "num_attention_heads": VIT.heads,
        "global_attn_indexes": list(VIT.global_blocks),
        "window_size": VIT.window,
        "image_size": VIT.image,
        "output_channels": VIT.channels,
        "num_pos_feats": VIT.channels // 2,
    }
    prompts = {"hidden_size": 32, "image_size": 256, "image_embedding_size": 16}
    decoder = {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_attention_heads": 4,
        "iou_head_hidden_dim": 24,
        "layer_norm_eps": 1e-5,  # their default isn't the official one
    }
    config = SamConfig(
        vision_config=vision,
        prompt_encoder_config=prompts,
        mask_decoder_config=decoder,
        attn_implementation="eager",
    )
    model = SamModel(config)
    state = {transformers_key(key): value for key, value in official_state(reference).items()}
    # The one matrix that they have twice.
    positions = state["shared_image_embedding.positional_embedding"]
    state["prompt_encoder.shared_embedding.positional_embedding"] = positions
    model.load_state_dict(state)  # strict: every key of theirs, and no other
    return model.eval().requires_grad_(False)


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def prompt_of(reference: dict[str, Tensor], prompt: str) -> dict[str, NDArray]:
    names = {"points": "points", "labels": "labels", "boxes": "box"}
    found = {name: reference.get(f"input.{prompt}.{key}") for name, key in names.items()}
    return {name: value.numpy() for name, value in found.items() if value is not None}


def write(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save(state, path)
    return path


def random_state(variant: str) -> dict[str, Tensor]:
    """A checkpoint with the official names and shapes that takes no room."""
    return {key: torch.zeros(1).expand(shape) for key, shape in load_keys(f"sam_{variant}").items()}


# --- against the official implementation ---


def test_every_block_and_the_embedding(
    tiny: VitSam, reference: dict[str, Tensor], picture: NDArray[np.uint8]
) -> None:
    blocks: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _, args, output: blocks.append(output))
        for layer in tiny.image_encoder.vision_encoder.layers
    ]
    embedding = tiny.embed(picture)
    for handle in handles:
        handle.remove()
    assert len(blocks) == VIT.depth
    for number, tokens in enumerate(blocks):
        assert furthest(tokens, reference[f"expected.encoder.block{number}"]) < EMBEDDING
    assert embedding.size == embedding.resized == (256, 256)
    assert embedding.features.dtype == torch.float32
    assert furthest(embedding.features, reference["expected.image_embedding"]) < EMBEDDING


@pytest.mark.parametrize(("prompt", "multimask"), CASES)
def test_the_whole_model(
    tiny: VitSam,
    reference: dict[str, Tensor],
    picture: NDArray[np.uint8],
    prompt: str,
    multimask: bool,
) -> None:
    """From the picture's bytes to the masks, for every prompt of the vectors."""
    embedding = tiny.embed(picture)
    given = prompt_of(reference, prompt)
    if prompt == "point1_mask":
        # No caller gives a mask, so `decode` takes none: its parts are asked.
        sparse = tiny.prompt_encoder(*map(torch.from_numpy, given.values()), None)
        dense = tiny.prompt_encoder.mask_downscaling(reference["input.mask_prompt"])
        grid = tiny.prompt_encoder.pe_layer.dense(16, 16, 16)
        masks, iou = tiny.mask_decoder(embedding.features + dense, grid, sparse, multimask)
    else:
        masks, iou = tiny.decode(embedding, multimask=multimask, **given)
    case = f"expected.{prompt}.multi{int(multimask)}"
    step = 2 if prompt in PROMPTS[3:] else 1  # the README cuts the last three
    assert furthest(masks[:, :, ::step, ::step], reference[f"{case}.masks"]) < MASKS
    assert furthest(iou, reference[f"{case}.iou"]) < IOU


@pytest.mark.parametrize(("prompt", "multimask"), CASES)
def test_the_whole_model_of_transformers(
    theirs: nn.Module, reference: dict[str, Tensor], prompt: str, multimask: bool
) -> None:
    """The key rules put every weight of the prompt encoder and the decoder in its place, too."""
    given = {name: torch.from_numpy(value) for name, value in prompt_of(reference, prompt).items()}
    if "boxes" in given and "points" not in given:
        asked: dict[str, Tensor] = {"input_boxes": given["boxes"][None]}
    else:
        asked = {
            "input_points": given["points"][None],
            "input_labels": given["labels"][None],
        }
        if "boxes" in given:
            asked["input_boxes"] = given["boxes"][None]
    if prompt == "point1_mask":
        asked["input_masks"] = reference["input.mask_prompt"]
    found = theirs(
        image_embeddings=reference["expected.image_embedding"],
        multimask_output=multimask,
        **asked,
    )
    case = f"expected.{prompt}.multi{int(multimask)}"
    step = 2 if prompt in PROMPTS[3:] else 1
    masks = found.pred_masks[0, :, :, ::step, ::step]
    assert furthest(masks, reference[f"{case}.masks"]) < MASKS
    assert furthest(found.iou_scores[0], reference[f"{case}.iou"]) < IOU


def test_their_encoder_is_ours(
    theirs: nn.Module, reference: dict[str, Tensor], picture: NDArray[np.uint8]
) -> None:
    x = tiny_sam().preprocess([picture])
    found = theirs.get_image_embeddings(x)
    assert furthest(found, reference["expected.image_embedding"]) < EMBEDDING


def test_prompts_in_float32_under_autocast(
    reference: dict[str, Tensor], picture: NDArray[np.uint8]
) -> None:
    """In bfloat16, which has eight bits, a place in 1024 would be pixels off."""
    model = tiny_sam()
    points = torch.tensor([[[250.3, 3.7]], [[251.1, 3.7]]])
    labels = torch.ones(2, 1)
    exact = model.prompt_encoder(points, labels, None)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.prompt_encoder(points, labels, None), exact)
        embedding = model.embed(picture)
        logits, iou = model.decode(embedding, points.numpy(), labels.numpy())
    assert {embedding.features.dtype, logits.dtype, iou.dtype} == {torch.float32}


def test_half_precision_of_the_encoder(
    reference: dict[str, Tensor], picture: NDArray[np.uint8]
) -> None:
    state = official_state(reference)
    model = VitSam.from_state(state, Path("tiny.pth"), VIT, DECODER, dtype=torch.bfloat16)
    kinds = {
        type(m).__name__: m.weight.dtype
        for m in model.image_encoder.modules()
        if isinstance(m, nn.Linear | nn.Conv2d | nn.LayerNorm)
    }
    assert kinds == {
        "Linear": torch.bfloat16,
        "Conv2d": torch.bfloat16,
        "LayerNorm": torch.float32,
        "SamLayerNorm": torch.float32,
    }
    assert {p.dtype for p in model.mask_decoder.parameters()} == {torch.float32}
    features = model.embed(picture).features
    assert features.dtype == torch.float32
    expected = reference["expected.image_embedding"]
    cosine = torch.cosine_similarity(features, expected, dim=1)
    assert float(cosine.min()) > 0.995
    assert furthest(features, expected) > EMBEDDING  # so it was used


# --- one interface ---


def test_pictures_of_many_sizes(tiny: VitSam) -> None:
    rng = np.random.default_rng(0)
    sizes = [(40, 61), (256, 256), (40, 61), (1, 30), (300, 7), (40, 61)]
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    found = tiny.encode(pictures, batch=2)
    assert [one.size for one in found] == sizes
    for embedding, rgb in zip(found, pictures, strict=True):
        alone = tiny.embed(rgb)
        assert embedding.resized == alone.resized
        assert max(embedding.resized) == 256
        assert embedding.features.shape == (1, 32, 16, 16)
        assert furthest(embedding.features, alone.features) < EMBEDDING
        height, width = rgb.shape[:2]
        middle = np.array([[[width / 2, height / 2]]], dtype=np.float32)
        logits, iou = tiny.decode(embedding, middle, np.ones((1, 1), dtype=np.int64))
        rows, columns = (max(1, round(side / 4)) for side in embedding.resized)
        assert logits.shape == (1, 3, rows, columns)
        assert iou.shape == (1, 3)


def test_enlarged_masks_are_over_the_picture(tiny: VitSam) -> None:
    """Twice as wide as high: the lower half of the square is padding, and is cut off."""
    embedding = tiny.embed(np.zeros((50, 100, 3), dtype=np.uint8))
    assert embedding.resized == (128, 256)
    square = torch.full((1, 1, 64, 64), -1.0)
    square[..., :32, 32:] = 1.0
    large = tiny.enlarge(square, embedding)[0, 0]
    assert large.shape == (50, 100)
    assert bool((large[:48, 53:] > 0).all())
    assert bool((large[:, :48] < 0).all())


def test_the_padding_is_black_after_normalising(tiny: VitSam) -> None:
    x = tiny.preprocess([np.full((10, 40, 3), 255, dtype=np.uint8)])
    assert x.shape == (1, 3, 256, 256)
    white = (255 - torch.tensor(sam.PIXEL_MEAN)) / torch.tensor(sam.PIXEL_STD)
    assert torch.allclose(x[0, :, :64], white.view(3, 1, 1).expand(3, 64, 256))
    assert float(x[0, :, 64:].abs().max()) == 0.0


def test_every_sam_has_a_row() -> None:
    assert tuple(FILES) == SAMS
    assert {name for name in SAMS if name != "mobile"} == set(VITS)
    for file in FILES.values():
        assert specs.row_named(file) is not None, file


@pytest.mark.weights
def test_mobile_sam_by_its_name(weights_dir: Path) -> None:
    model = load_sam("mobile")
    assert isinstance(model, Sam)
    assert isinstance(model.image_encoder, TinyViT)
    assert model.device.type == "cpu"


def test_a_vit_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file is that of the name, and what comes is the model of its sizes."""
    state = official_state(vectors())
    path = write(tmp_path / FILES["vit_l"], state)
    monkeypatch.setattr(weights, "locate", {FILES["vit_l"]: path}.__getitem__)
    monkeypatch.setattr(sam, "VITS", {**VITS, "vit_l": VIT})
    monkeypatch.setattr(sam, "DecoderShape", lambda: DECODER)
    model = load_sam("vit_l", "cpu")
    assert isinstance(model, VitSam)
    assert model.image_encoder.vision_encoder.config._attn_implementation == "sdpa"
    embedding = model.embed(np.zeros((30, 40, 3), dtype=np.uint8))
    assert isinstance(embedding, SamEmbedding)
    with pytest.raises(ConfigError, match="'vit_x' is no SAM"):
        load_sam("vit_x")


# --- the official files ---


@pytest.mark.parametrize("variant", list(VITS))
def test_names_and_shapes_of_the_official_files(variant: str) -> None:
    with torch.device("meta"):
        model = VitSam(VITS[variant], DecoderShape())
    ours = {official_key(key): tuple(value.shape) for key, value in model.state_dict().items()}
    assert ours == load_keys(f"sam_{variant}")
    assert which_vit(random_state(variant)) == variant


@pytest.mark.parametrize("variant", list(VITS))
def test_the_rules_cover_the_whole_of_transformers(variant: str) -> None:
    """Names and shapes of every parameter of `SamModel`, for every official file."""
    from transformers import SamConfig, SamModel

    vit = VITS[variant]
    config = SamConfig(
        vision_config={
            "hidden_size": vit.width,
            "num_hidden_layers": vit.depth,
            "num_attention_heads": vit.heads,
            "global_attn_indexes": list(vit.global_blocks),
        }
    )
    with torch.device("meta"):
        wanted = {key: tuple(t.shape) for key, t in SamModel(config).state_dict().items()}
    given = {transformers_key(key): shape for key, shape in load_keys(f"sam_{variant}").items()}
    assert len(given) == len(load_keys(f"sam_{variant}"))  # no two became one
    positions = given["shared_image_embedding.positional_embedding"]
    assert wanted == {
        **given,
        "prompt_encoder.shared_embedding.positional_embedding": positions,
    }


@pytest.mark.parametrize("variant", list(VITS))
def test_names_go_there_and_back(variant: str) -> None:
    for key in load_keys(f"sam_{variant}"):
        if key.startswith("image_encoder."):
            assert official_key(f"image_encoder.{transformers_key(key)}") == key
        else:
            assert official_key(key) == key


def test_a_checkpoint_of_another_size_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "sam.pth", random_state("vit_l"))
    with pytest.raises(WeightsError, match=r"sam\.pth: holds SAM's vit_l, not vit_b") as failure:
        VitSam.from_file(path, "vit_b")
    assert "vit_l" in failure.value.hint


def test_missing_unknown_and_wrong_keys_are_named(tmp_path: Path) -> None:
    """By their official names, the first ten."""
    whole = random_state("vit_b")
    norm = "image_encoder.blocks.3.norm1.weight"
    lacking = {key: value for key, value in whole.items() if key != norm}
    with pytest.raises(WeightsError, match=rf"lacks {norm}\n"):
        VitSam.from_file(write(tmp_path / "a.pth", lacking), "vit_b")
    with pytest.raises(WeightsError, match=r"has unknown image_encoder\.blocks\.12\.what\n"):
        more = {**whole, "image_encoder.blocks.12.what": torch.zeros(1)}
        VitSam.from_file(write(tmp_path / "b.pth", more), "vit_b")
    with pytest.raises(WeightsError, match=rf"has shapes {norm} \(5,\) for \(768,\)"):
        VitSam.from_file(write(tmp_path / "c.pth", {**whole, norm: torch.zeros(5)}), "vit_b")
    decoder = {key: value for key, value in whole.items() if key.startswith("mask_decoder.")}
    with pytest.raises(WeightsError, match=r"lacks .*and \d+ more"):
        VitSam.from_file(write(tmp_path / "d.pth", decoder), "vit_b")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "sam.pth", official_state(vectors()))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=r"sam\.pth: "):
        VitSam.from_file(path, "vit_b")


def test_weights_stay_in_the_file_that_is_mapped(tmp_path: Path) -> None:
    """On a CPU no parameter is copied: they are views of the mapping."""
    path = write(tmp_path / "tiny.pth", official_state(vectors()))
    state = torch.load(path, weights_only=True, mmap=True)
    model = VitSam.from_state(state, path, VIT, DECODER)
    ours = {official_key(key): value.data_ptr() for key, value in model.state_dict().items()}
    assert ours == {key: value.data_ptr() for key, value in state.items()}
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training


# --- what isn't needed stays away ---

OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
import moca_core.models.sam, moca_core.models.sam_vit, moca_core.models.bundles
assert "transformers" not in sys.modules
import torch
from moca_core.models.sam_vit import VitEncoder, VitShape
class Watch:
    # Where a module that is imported now would make its own tensors.
    places = set()
    def find_spec(self, name, path=None, target=None):
        if name.startswith("transformers"):
            self.places.add(torch.empty(0).device.type)
sys.meta_path.insert(0, Watch())
with torch.device("meta"):
    VitEncoder(VitShape(48, 1, 4, (0,), image=64), "eager")
assert Watch.places == {"cpu"}, Watch.places
encoder = VitEncoder(VitShape(48, 1, 4, (0,), image=64), "eager")
assert encoder(torch.zeros(1, 3, 64, 64)).shape == (1, 256, 4, 4)
assert "transformers" in sys.modules
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_transformers_comes_late_asks_no_network_and_brings_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # Where an environment has them all the same, transformers uses them.
    unwanted = {name for name in ("torchvision", "torchaudio", "timm") if find_spec(name) is None}
    assert set(done.stdout.split()).isdisjoint({"PySide6", *unwanted})
