"""DINO (Caron et al. 2021) and DINOv2 (Oquab et al. 2023) encoders from their official files.

DINO says which pictures resemble each other, and where something stands out in one. Which network
a file holds is read from its shapes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moca_core.models.checkpoint import load_strictly, placed_on, read_torch
from moca_core.models.compute import in_threads
from moca_core.models.pictures import IMAGENET_MEAN, IMAGENET_STD, centre_crop, normalised, squash
from moca_core.models.vit import ViT, ViTBlock, ViTShape, patches_of
from moca_core.types import FloatMap, RgbImage

OFFSET = 0.1
"""Added to the grid where positions are interpolated, as in the official code of both.

It was a guard against rounding there, and moves every position a little. It is kept, since DINO's
small crops went through it in training: these are the positions that the weights know.
"""

_HEAD_WIDTH = 64  # every published DINO and DINOv2 has heads of this width
_CROP, _SHORTER = 224, 256  # pixels of the official evaluation

# Where the training code keeps the weights in its own checkpoints; the released ones are bare.
_INSIDE = ("teacher", "state_dict", "model")
_WRAPPERS = ("module.", "backbone.")
_UNUSED = ("head.", "dino_head.", "ibot_head.", "mask_token")


class Dino(nn.Module):
    """The encoder with what MoCA asks of it."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.vit = ViT(shape)

    @classmethod
    def from_file(
        cls,
        path: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load an official backbone; raises `WeightsError` for another or a damaged file."""
        state = {_bare(key): value for key, value in read_torch(path, _INSIDE).items()}
        with torch.device("meta"):
            model = cls(shape_of(state))
        model.load(state, path, device, dtype)
        return model

    def load(
        self,
        state: Mapping[str, Tensor],
        path: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take the weights from a state dict with the official names; `path` is for errors."""
        place = placed_on(self, device, dtype)
        load_strictly(self, state, path, _UNUSED, official=official_name, place=place)
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vit.device

    def preprocess(
        self, rgbs: Sequence[RgbImage], side: int = _CROP, official_crop: bool = False
    ) -> Tensor:
        """B pictures (H, W, 3) uint8 -> (B, 3, side, side), normalised as ImageNet.

        Squashed to a square (bicubic), so that nothing at the borders is lost; `official_crop`
        keeps the middle instead, as the official evaluation does.
        """
        if official_crop:
            squares = [centre_crop(rgb, side * _SHORTER // _CROP, side) for rgb in rgbs]
        else:
            squares = in_threads(lambda rgb: squash(rgb, side), rgbs)
        return normalised(squares, IMAGENET_MEAN, IMAGENET_STD, self.device)

    @torch.inference_mode()
    def features(
        self, rgbs: Sequence[RgbImage], side: int = _CROP, official_crop: bool = False
    ) -> Tensor:
        """Class tokens of B pictures: (B, D) float32, length 1, for cosine similarity."""
        patches_of(side, self.vit.shape.patch)
        tokens = self.vit.run(self.vit.embed(self.preprocess(rgbs, side, official_crop)))
        return F.normalize(self.vit.norm(tokens[:, 0]), dim=-1)

    def attention(self, rgb: RgbImage, side: int = 448) -> FloatMap:
        """`attentions` of one picture: (rows, columns) float32, 0 to 1."""
        return self.attentions([rgb], side)[0]

    @torch.inference_mode()
    def attentions(self, rgbs: Sequence[RgbImage], side: int = 448) -> FloatMap:
        """Where the class token of the last block looks, over the whole squashed pictures.

        Parameters
        ----------
        rgbs : B pictures, (H, W, 3) uint8 each.
        side : pixels of the square that they become, a multiple of the patch.

        Returns
        -------
        (B, rows, columns) float32, the mean over the heads, stretched to 0 to 1 in each picture:
        the weights of N patches are near 1 / N, so only their proportions mean something. All 0
        if they are equal.
        """
        grid = patches_of(side, self.vit.shape.patch)
        last = self.vit.blocks[-1]
        assert isinstance(last, ViTBlock)  # ModuleList forgets what it holds
        tokens = self.vit.run(self.vit.embed(self.preprocess(rgbs, side)), stop=-1)
        weights = last.cls_attention(tokens)[:, :, 1:].mean(dim=1)  # (B, N)
        low, high = weights.amin(dim=1, keepdim=True), weights.amax(dim=1, keepdim=True)
        stretched = (weights - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)
        maps = stretched.view(-1, grid, grid).cpu().numpy()
        return np.asarray(maps, dtype=np.float32)


def shape_of(state: Mapping[str, Tensor]) -> ViTShape:
    """The network that a state dict with the official names holds.

    Where a name that tells it is missing, ViT-S/16 is assumed: loading it names what is wrong.
    """
    kernel = state.get("patch_embed.proj.weight")
    positions = state.get("pos_embed")
    if kernel is None or kernel.ndim != 4 or positions is None or positions.ndim != 3:
        return ViTShape(patch=16, table=(14, 14), offset=OFFSET)
    blocks = [key.split(".")[1] for key in state if key.startswith("blocks.")]
    side = math.isqrt(max(positions.shape[1] - 1, 1))
    width = kernel.shape[0]
    return ViTShape(
        width=width,
        depth=1 + max((int(number) for number in blocks if number.isdecimal()), default=0),
        heads=max(width // _HEAD_WIDTH, 1),
        patch=kernel.shape[-1],
        table=(side, side),
        layer_scale="blocks.0.ls1.gamma" in state,
        offset=OFFSET,
    )


def official_name(key: str) -> str:
    """The name in an official checkpoint of one of our parameters."""
    name = key.removeprefix("vit.")
    for ours, theirs in (
        ("positions", "pos_embed"),
        ("patch_embed.", "patch_embed.proj."),
        (".qkv.", ".attn.qkv."),
        (".proj.", ".attn.proj."),
        (".fc", ".mlp.fc"),
        (".scale1", ".ls1.gamma"),
        (".scale2", ".ls2.gamma"),
    ):
        if ours in name:
            # One of them at most: the patch embedding's own "proj" isn't that of a block.
            return name.replace(ours, theirs)
    return name


def _bare(key: str) -> str:
    for wrapper in _WRAPPERS:
        key = key.removeprefix(wrapper)
    return key
