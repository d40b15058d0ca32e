"""Random weights in the official formats, for files and models of full size without the real ones.

The tables describe what the official constructors make (ImageBind 53680b0, Segment Anything
dca509f, DINO), name by name, apart from our own models: so a file made from them shows whether
those load the official key sets. Only shapes and names are official; the numbers are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from moca_core.models.checkpoint import placed_on

Shapes = dict[str, tuple[int, ...]]
"""Shape of each tensor of a state dict, in its order."""

_MLP_RATIO = 4
_SCALES = {"text": 1 / 0.07, "audio": 20.0, "depth": 5.0, "thermal": 10.0, "imu": 5.0}
"""By which ImageBind multiplies its embeddings, as its constructor sets them."""


@dataclass(frozen=True)
class Trunk:
    """A transformer of ImageBind: its sizes, and whether its attention has a learnt key."""

    width: int
    depth: int
    bias_kv: bool = True


@dataclass(frozen=True)
class ImageBindShape:
    """Sizes of ImageBind's six modalities; the defaults are those of ImageBind-Huge."""

    out: int = 1024
    vision: Trunk = Trunk(1280, 32, bias_kv=False)
    text: Trunk = Trunk(1024, 24, bias_kv=False)
    audio: Trunk = Trunk(768, 12)
    depth: Trunk = Trunk(384, 12)
    thermal: Trunk = Trunk(768, 12)
    imu: Trunk = Trunk(512, 6)
    words: int = 49_408


TINY_IMAGEBIND = ImageBindShape(
    32,
    Trunk(64, 3, bias_kv=False),
    Trunk(32, 1, bias_kv=False),
    Trunk(48, 2),
    Trunk(16, 1),
    Trunk(16, 1),
    Trunk(16, 1),
    words=64,
)
"""Vision 64 wide with 3 blocks, audio 48 with 2, 32 out: seconds become milliseconds."""


@dataclass(frozen=True)
class SamShape:
    """Sizes of a SAM: width, blocks and heads of the encoder, and which blocks see everything."""

    width: int
    depth: int
    heads: int
    everywhere: tuple[int, ...]
    side: int = 64
    """Of the grid of the embedding."""
    window: int = 14


@dataclass(frozen=True)
class DinoShape:
    """Sizes of a DINO transformer on 224 px with patches of 16."""

    width: int
    depth: int = 12


def imagebind_shapes(shape: ImageBindShape) -> Shapes:
    """All tensors of ImageBind: 1311 of them in the full size."""
    stems: dict[str, Shapes] = {
        "vision": {"rgbt_stem.proj.1.weight": (shape.vision.width, 3, 2, 14, 14)},
        "text": {
            "pos_embed": (1, 77, shape.text.width),
            "mask": (77, 77),
            "token_embedding.weight": (shape.words, shape.text.width),
        },
        "audio": _stem("rgbt_stem", shape.audio.width, (1, 16, 16)),
        "depth": _stem("depth_stem", shape.depth.width, (1, 16, 16)),
        "thermal": _stem("rgbt_stem", shape.thermal.width, (1, 16, 16)),
        "imu": {
            "pos_embed": (1, 251, shape.imu.width),
            **_stem("imu_stem", shape.imu.width, (48,)),
        },
    }
    places = {"vision": 257, "audio": 229, "depth": 197, "thermal": 197}
    heads = {"vision": ("0", "2"), "text": ("proj.0", "proj.1"), "imu": ("0", "3")}
    found: Shapes = {}
    for name, stem in stems.items():
        width = getattr(shape, name).width
        own = dict(stem) if name == "text" else {"cls_token": (1, 1, width), **stem}
        if name in places:
            own["pos_embedding_helper.pos_embed"] = (1, places[name], width)
        found |= _under(f"modality_preprocessors.{name}.", own)
    for name in stems:
        found |= _under(f"modality_trunks.{name}.", _imagebind_trunk(getattr(shape, name)))
    found |= _norm("modality_trunks.vision.pre_transformer_layer.0", shape.vision.width)
    for name in stems:
        norm, linear = heads.get(name, ("0", "2"))
        width = getattr(shape, name).width
        found |= _norm(f"modality_heads.{name}.{norm}", width)
        found[f"modality_heads.{name}.{linear}.weight"] = (shape.out, width)
    found |= {f"modality_postprocessors.{name}.1.log_logit_scale": () for name in _SCALES}
    return found


def sam_shapes(shape: SamShape) -> Shapes:
    """All tensors of a SAM, without the two that aren't saved."""
    width, side = shape.width, shape.side
    encoder: Shapes = {
        "pos_embed": (1, side, side, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
    }
    for number in range(shape.depth):
        place = f"blocks.{number}"
        reach = 2 * (side if number in shape.everywhere else shape.window) - 1
        encoder |= _norm(f"{place}.norm1", width)
        for axis in "hw":
            encoder[f"{place}.attn.rel_pos_{axis}"] = (reach, width // shape.heads)
        encoder |= _linear(f"{place}.attn.qkv", width, 3 * width)
        encoder |= _linear(f"{place}.attn.proj", width, width)
        encoder |= _norm(f"{place}.norm2", width)
        encoder |= _linear(f"{place}.mlp.lin1", width, _MLP_RATIO * width)
        encoder |= _linear(f"{place}.mlp.lin2", _MLP_RATIO * width, width)
    encoder["neck.0.weight"] = (256, width, 1, 1)
    encoder |= _norm("neck.1", 256) | {"neck.2.weight": (256, 256, 3, 3)} | _norm("neck.3", 256)
    return _under("image_encoder.", encoder) | _sam_prompts() | _sam_decoder()


def dino_shapes(shape: DinoShape) -> Shapes:
    """All tensors of a DINO transformer."""
    width = shape.width
    found: Shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 197, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
    }
    for number in range(shape.depth):
        place = f"blocks.{number}"
        found |= _norm(f"{place}.norm1", width) | _linear(f"{place}.attn.qkv", width, 3 * width)
        found |= _linear(f"{place}.attn.proj", width, width) | _norm(f"{place}.norm2", width)
        found |= _linear(f"{place}.mlp.fc1", width, _MLP_RATIO * width)
        found |= _linear(f"{place}.mlp.fc2", _MLP_RATIO * width, width)
    return found | _norm("norm", width)


@dataclass(frozen=True)
class Checkpoint:
    """A file that can be drawn: its official name, and its shapes in full and in tiny size."""

    file: str
    shapes: Callable[[], Shapes]
    tiny: Callable[[], Shapes]


_TINY_SAM = SamShape(48, 3, 4, everywhere=(1,))
_TINY_DINO = DinoShape(48, depth=2)


def _sam(name: str, shape: SamShape) -> Checkpoint:
    return Checkpoint(name, lambda: sam_shapes(shape), lambda: sam_shapes(_TINY_SAM))


def _dino(name: str, shape: DinoShape) -> Checkpoint:
    return Checkpoint(name, lambda: dino_shapes(shape), lambda: dino_shapes(_TINY_DINO))


CHECKPOINTS: Mapping[str, Checkpoint] = MappingProxyType(
    {
        "imagebind": Checkpoint(
            "imagebind_huge.pth",
            lambda: imagebind_shapes(ImageBindShape()),
            lambda: imagebind_shapes(TINY_IMAGEBIND),
        ),
        "sam_vit_b": _sam("sam_vit_b_01ec64.pth", SamShape(768, 12, 12, (2, 5, 8, 11))),
        "sam_vit_l": _sam("sam_vit_l_0b3195.pth", SamShape(1024, 24, 16, (5, 11, 17, 23))),
        "sam_vit_h": _sam("sam_vit_h_4b8939.pth", SamShape(1280, 32, 16, (7, 15, 23, 31))),
        "dino_s16": _dino("dino_deitsmall16_pretrain.pth", DinoShape(384)),
        "dino_b16": _dino("dino_vitbase16_pretrain.pth", DinoShape(768)),
    }
)
"""What `tools/random_checkpoints.py` writes."""


def draw(name: str, tensor: Tensor, generator: torch.Generator) -> None:
    """Fill a tensor in place by what its official name says it is.

    Matrices keep the size of what passes through them (std 1 / sqrt(inputs)), norms scale by one,
    all else is small (std 0.02): so activations stay finite through any number of blocks, and no
    two tensors are alike, which shows mixed-up keys.
    """
    last = name.rpartition(".")[2]
    if last == "log_logit_scale":
        modality = name.split(".")[-3]
        tensor.fill_(math.log(_SCALES.get(modality, 1.0)))
    elif last == "mask":
        tensor.copy_(torch.full_like(tensor, -math.inf).triu_(1))
    elif last == "running_var" or (last == "weight" and tensor.ndim == 1):
        tensor.normal_(1.0, 0.02, generator=generator).clamp_(min=0.5)
    elif last == "positional_encoding_gaussian_matrix":
        tensor.normal_(0.0, 1.0, generator=generator)
    elif tensor.is_floating_point():
        embeds = "embed" in name.rpartition(".")[0].rpartition(".")[2] or "token" in name
        matrix = tensor.ndim > 1 and last.endswith("weight") and not embeds
        std = 1 / math.sqrt(tensor[0].numel()) if matrix else 0.02
        tensor.normal_(0.0, std, generator=generator)
    else:
        tensor.zero_()


def random_state(shapes: Shapes, seed: int) -> dict[str, Tensor]:
    """A float32 state dict on the CPU, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        state[name] = torch.empty(shape)
        draw(name, state[name], generator)
    return state


def fill(
    model: nn.Module,
    device: torch.device | str,
    dtype: torch.dtype,
    seed: int = 0,
    official: Callable[[str], str] = str,
) -> None:
    """Draw the weights of a model that was built on the meta device, directly on `device`.

    Parameters
    ----------
    dtype : of the matrices, see `placed_on`.
    official : our name of a parameter -> its official one, by which it is drawn.
    """
    generator = torch.Generator(device).manual_seed(seed)
    place = placed_on(model, device, dtype)
    state: dict[str, Tensor] = {}
    for key, value in model.state_dict().items():
        tensor = torch.empty(value.shape, dtype=value.dtype, device=device)
        draw(official(key), tensor, generator)
        state[key] = place(key, tensor)
    model.load_state_dict(state, assign=True)
    model.eval().requires_grad_(False)


def _under(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + name: shape for name, shape in shapes.items()}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, width_in: int, width_out: int) -> Shapes:
    return {f"{name}.weight": (width_out, width_in), f"{name}.bias": (width_out,)}


def _stem(name: str, width: int, kernel: tuple[int, ...]) -> Shapes:
    return {f"{name}.proj.weight": (width, *kernel), **_norm(f"{name}.norm_layer", width)}


def _imagebind_trunk(trunk: Trunk) -> Shapes:
    width, found = trunk.width, Shapes()
    for number in range(trunk.depth):
        place = f"blocks.{number}"
        found[f"{place}.attn.in_proj_weight"] = (3 * width, width)
        found[f"{place}.attn.in_proj_bias"] = (3 * width,)
        if trunk.bias_kv:
            found |= dict.fromkeys((f"{place}.attn.bias_k", f"{place}.attn.bias_v"), (1, 1, width))
        found |= _linear(f"{place}.attn.out_proj", width, width) | _norm(f"{place}.norm_1", width)
        found |= _linear(f"{place}.mlp.fc1", width, _MLP_RATIO * width)
        found |= _linear(f"{place}.mlp.fc2", _MLP_RATIO * width, width)
        found |= _norm(f"{place}.norm_2", width)
    return found


def _sam_prompts() -> Shapes:
    found: Shapes = {"pe_layer.positional_encoding_gaussian_matrix": (2, 128)}
    found |= {f"point_embeddings.{number}.weight": (1, 256) for number in range(4)}
    found["not_a_point_embed.weight"] = (1, 256)
    for number, shape in ((0, (4, 1, 2, 2)), (3, (16, 4, 2, 2)), (6, (256, 16, 1, 1))):
        found[f"mask_downscaling.{number}.weight"] = shape
        found[f"mask_downscaling.{number}.bias"] = shape[:1]
        if number < 6:
            found |= _norm(f"mask_downscaling.{number + 1}", shape[0])
    found["no_mask_embed.weight"] = (1, 256)
    return _under("prompt_encoder.", found)


def _sam_decoder() -> Shapes:
    found: Shapes = {}
    for number in range(2):
        place = f"transformer.layers.{number}"
        found |= _attention(f"{place}.self_attn", 256) | _norm(f"{place}.norm1", 256)
        found |= _attention(f"{place}.cross_attn_token_to_image", 128)
        found |= _norm(f"{place}.norm2", 256)
        found |= _linear(f"{place}.mlp.lin1", 256, 2048) | _linear(f"{place}.mlp.lin2", 2048, 256)
        found |= _norm(f"{place}.norm3", 256) | _norm(f"{place}.norm4", 256)
        found |= _attention(f"{place}.cross_attn_image_to_token", 128)
    found |= _attention("transformer.final_attn_token_to_image", 128)
    found |= _norm("transformer.norm_final_attn", 256)
    found |= {"iou_token.weight": (1, 256), "mask_tokens.weight": (4, 256)}
    found |= {"output_upscaling.0.weight": (256, 64, 2, 2), "output_upscaling.0.bias": (64,)}
    found |= _norm("output_upscaling.1", 64)
    found |= {"output_upscaling.3.weight": (64, 32, 2, 2), "output_upscaling.3.bias": (32,)}
    for name, out in _sam_heads():
        for number, width_out in enumerate((256, 256, out)):
            found |= _linear(f"{name}.layers.{number}", 256, width_out)
    return _under("mask_decoder.", found)


def _sam_heads() -> Iterator[tuple[str, int]]:
    for number in range(4):
        yield f"output_hypernetworks_mlps.{number}", 32
    yield "iou_prediction_head", 4


def _attention(name: str, inner: int) -> Shapes:
    found: Shapes = {}
    for part in "qkv":
        found |= _linear(f"{name}.{part}_proj", 256, inner)
    return found | _linear(f"{name}.out_proj", inner, 256)
