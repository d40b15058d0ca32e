"""The image encoder of SAM ViT-B, L and H, through `transformers` (ADR 0015).

Nothing here imports `transformers` until an encoder is built: it takes seconds, and only these
three need it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

# From the names of the official checkpoints to those of `transformers.SamModel`, in this order.
_RENAMES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        # The image encoder.
        (r"^image_encoder\.", "vision_encoder."),
        (r"^(vision_encoder\.patch_embed)\.proj\.", r"\1.projection."),
        (r"^(vision_encoder)\.blocks\.(\d+)\.norm(\d)\.", r"\1.layers.\2.layer_norm\3."),
        (r"^(vision_encoder)\.blocks\.", r"\1.layers."),
        (r"^(vision_encoder\.neck)\.0\.", r"\1.conv1."),
        (r"^(vision_encoder\.neck)\.1\.", r"\1.layer_norm1."),
        (r"^(vision_encoder\.neck)\.2\.", r"\1.conv2."),
        (r"^(vision_encoder\.neck)\.3\.", r"\1.layer_norm2."),
        # The prompt encoder.
        (r"^prompt_encoder\.pe_layer\.\w+$", "shared_image_embedding.positional_embedding"),
        (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
        (r"^prompt_encoder\.mask_downscaling\.0\.", "prompt_encoder.mask_embed.conv1."),
        (r"^prompt_encoder\.mask_downscaling\.1\.", "prompt_encoder.mask_embed.layer_norm1."),
        (r"^prompt_encoder\.mask_downscaling\.3\.", "prompt_encoder.mask_embed.conv2."),
        (r"^prompt_encoder\.mask_downscaling\.4\.", "prompt_encoder.mask_embed.layer_norm2."),
        (r"^prompt_encoder\.mask_downscaling\.6\.", "prompt_encoder.mask_embed.conv3."),
        # The mask decoder.
        (r"^(mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.", r"\1.layer_norm\2."),
        (r"^(mask_decoder\.transformer)\.norm_final_attn\.", r"\1.layer_norm_final_attn."),
        (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_conv1."),
        (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_layer_norm."),
        (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_conv2."),
        # Three linear layers are a first one, some in between, and a last one there.
        (r"^(mask_decoder\.(?:\w+_mlps\.\d+|\w+_head))\.layers\.0\.", r"\1.proj_in."),
        (r"^(mask_decoder\.(?:\w+_mlps\.\d+|\w+_head))\.layers\.1\.", r"\1.layers.0."),
        (r"^(mask_decoder\.(?:\w+_mlps\.\d+|\w+_head))\.layers\.2\.", r"\1.proj_out."),
    )
)
_ENCODER = "image_encoder."
# And back, for the image encoder, as it is named within `VitEncoder`.
_BACK: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^image_encoder\.vision_encoder\.", _ENCODER),
        (r"^(image_encoder\.patch_embed)\.projection\.", r"\1.proj."),
        (r"^(image_encoder)\.layers\.(\d+)\.layer_norm(\d)\.", r"\1.blocks.\2.norm\3."),
        (r"^(image_encoder)\.layers\.", r"\1.blocks."),
        (r"^(image_encoder\.neck)\.conv1\.", r"\1.0."),
        (r"^(image_encoder\.neck)\.layer_norm1\.", r"\1.1."),
        (r"^(image_encoder\.neck)\.conv2\.", r"\1.2."),
        (r"^(image_encoder\.neck)\.layer_norm2\.", r"\1.3."),
    )
)


@dataclass(frozen=True)
class VitShape:
    """Sizes of an image encoder; what all official ones share are defaults.

    Attributes
    ----------
    width, depth, heads : of the transformer.
    global_blocks : the blocks that attend over the whole picture, not within windows.
    window : side of a window, in patches.
    image : side of the padded picture in pixels.
    channels : of the embedding.
    """

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int = 14
    image: int = 1024
    channels: int = 256


VITS: Mapping[str, VitShape] = MappingProxyType(
    {
        "vit_b": VitShape(768, 12, 12, (2, 5, 8, 11)),
        "vit_l": VitShape(1024, 24, 16, (5, 11, 17, 23)),
        "vit_h": VitShape(1280, 32, 16, (7, 15, 23, 31)),
    }
)


class VitEncoder(nn.Module):
    """(B, 3, side, side) normalised -> (B, C, side / 16, side / 16).

    Parameters
    ----------
    attention : `eager` or `sdpa`, as `transformers` calls them. They give the same, and sdpa is
        the faster and smaller one.
    """

    def __init__(self, shape: VitShape, attention: str) -> None:
        super().__init__()
        # Modules make tensors when they are imported: not on the meta device, on which this may
        # be built.
        with torch.device("cpu"):
            from transformers import SamVisionConfig
            from transformers.models.sam.modeling_sam import SamVisionEncoder

        keywords: dict[str, Any] = {"attn_implementation": attention}
        config = SamVisionConfig(
            hidden_size=shape.width,
            num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads,
            global_attn_indexes=list(shape.global_blocks),
            window_size=shape.window,
            image_size=shape.image,
            output_channels=shape.channels,
            num_pos_feats=shape.channels // 2,
            layer_norm_eps=1e-6,
            **keywords,
        )
        self.vision_encoder = SamVisionEncoder(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H/16, W/16)."""
        features: Tensor = self.vision_encoder(x).last_hidden_state
        return features


def transformers_key(key: str) -> str:
    """The name in `transformers.SamModel` of a parameter of an official checkpoint.

    The positions' matrix is there twice, `transformers` ties the two: its second name is
    `prompt_encoder.shared_embedding.positional_embedding`.
    """
    for pattern, name in _RENAMES:
        key = pattern.sub(name, key)
    return key


def official_key(key: str) -> str:
    """The name in the official checkpoints of a parameter of our model.

    Only the image encoder's parameters have other names: `VitEncoder` is that of `transformers`.
    """
    if key.startswith(_ENCODER):
        for pattern, name in _BACK:
            key = pattern.sub(name, key)
    return key


def which_vit(state: Mapping[str, Tensor]) -> str | None:
    """The variant to which an official checkpoint's image encoder belongs, by its width."""
    places = state.get(f"{_ENCODER}pos_embed")
    if places is None:
        return None
    return next((name for name, row in VITS.items() if row.width == places.shape[-1]), None)
