"""Pre-norm vision transformers on one block.

`ViTBlock` serves every transformer here: the ViT-S/14 of the compact bundle, ImageBind's vision
and audio trunks, DINO and DINOv2. `Trunk` is a stack of blocks that can be entered and left
anywhere, `ViT` a trunk with the usual patch embedding and final norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moca_core.errors import ConfigError

Hook = Callable[[int, Tensor], Tensor]
"""Called as hook(block, tokens) after a block; what it returns goes on to the next one."""


@dataclass(frozen=True)
class ViTShape:
    """Sizes and variants of a vision transformer.

    Attributes
    ----------
    table : (rows, columns) of the stored position table.
    layer_scale : whether each half of a block has a learned factor per channel.
    bias_kv : whether attention has a learned key and value beside those of the tokens.
    offset : patches that are added to the wished grid to get the scale by which the position
        table is resized. 0 is the plain rule; DINO was trained with 0.1.
    """

    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 14
    table: tuple[int, int] = (37, 37)
    eps: float = 1e-6
    layer_scale: bool = False
    bias_kv: bool = False
    offset: float = 0.0


class ViTBlock(nn.Module):
    """LayerNorm, attention; LayerNorm, MLP; both residual.

    The matrices may be kept in half precision: tokens, norms and sums stay float32, and only what
    goes into a matrix is rounded. This is what autocast does, without casting the weights at each
    call.
    """

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.norm1 = nn.LayerNorm(width, eps=shape.eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.bias_k = nn.Parameter(torch.zeros(1, 1, width)) if shape.bias_kv else None
        self.bias_v = nn.Parameter(torch.zeros(1, 1, width)) if shape.bias_kv else None
        self.proj = nn.Linear(width, width)
        self.scale1 = nn.Parameter(torch.ones(width)) if shape.layer_scale else None
        self.norm2 = nn.LayerNorm(width, eps=shape.eps)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.scale2 = nn.Parameter(torch.ones(width)) if shape.layer_scale else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> the same shape."""
        q, k, v = self._queries_keys_values(x)
        return self._behind_attention(x, F.scaled_dot_product_attention(q, k, v))

    def alone(self, x: Tensor) -> Tensor:
        """(B, T, C) -> the same shape, where each token attends to itself and to no other.

        Tokens of a last block keep their place this way, while attention gathers into them what
        the class token is for: after MaskCLIP, Zhou et al. 2022.
        """
        _, _, v = self._queries_keys_values(x)
        return self._behind_attention(x, v[:, :, : x.shape[1]])  # without a learned value

    def _behind_attention(self, x: Tensor, y: Tensor) -> Tensor:
        """The rest of the block: x (B, T, C) that entered it, y (B, heads, T, d) attended."""
        joined = y.transpose(1, 2).reshape(x.shape)
        x = x + _scaled(self.proj(joined), self.scale1)
        hidden = F.gelu(self.fc1(into(self.fc1, self.norm2(x))))
        return x + _scaled(self.fc2(hidden), self.scale2)

    def cls_attention(self, x: Tensor) -> Tensor:
        """How the class token attends in this block.

        Parameters
        ----------
        x : (B, T, C) tokens that enter the block, the class token first.

        Returns
        -------
        (B, heads, T) float32 weights, sum 1; (B, heads, T + 1) with a learned key, which is last.
        """
        q, k, _ = self._queries_keys_values(x)
        scores = (q[:, :, :1].float() @ k.float().transpose(-2, -1)) * q.shape[-1] ** -0.5
        return scores.float().softmax(dim=-1)[:, :, 0]

    def _queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) -> three of (B, heads, T, d); keys and values have one more with a bias."""
        batch, length, width = x.shape
        qkv = self.qkv(into(self.qkv, self.norm1(x)))
        qkv = qkv.view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, T, d) each
        if self.bias_k is not None and self.bias_v is not None:
            # They are keys and values already: no matrix is applied to them.
            k = torch.cat([k, self._per_head(self.bias_k, k)], dim=2)
            v = torch.cat([v, self._per_head(self.bias_v, v)], dim=2)
        return q, k, v

    def _per_head(self, bias: Tensor, like: Tensor) -> Tensor:
        """(1, 1, C) -> (B, heads, 1, d)."""
        return bias.to(like.dtype).view(1, self.heads, 1, -1).expand(len(like), -1, -1, -1)


def into(layer: nn.Linear | nn.Conv2d | nn.Conv3d | nn.LayerNorm, x: Tensor) -> Tensor:
    """`x` in the precision of a layer's weights."""
    return x.to(layer.weight.dtype)


def _scaled(x: Tensor, scale: Tensor | None) -> Tensor:
    return x if scale is None else scale * x


class Trunk(nn.Module):
    """Class token, positions and blocks, without what makes the patches."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        rows, columns = shape.table
        self.shape = shape
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + rows * columns, shape.width))
        self.blocks = nn.ModuleList(ViTBlock(shape) for _ in range(shape.depth))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.cls_token.device

    def placed(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, C) patches of a grid, row by row -> (B, 1 + N, C) float32, class token first."""
        cls = self.cls_token.expand(len(patches), -1, -1)
        return torch.cat([cls, patches.to(cls.dtype)], dim=1) + self.positions_at(grid)

    def positions_at(self, grid: tuple[int, int]) -> Tensor:
        """(1, 1 + rows * columns, C): the position table, resized to another grid (bicubic)."""
        shape = self.shape
        if grid == shape.table:
            return self.positions
        table = self.positions[:, 1:].reshape(1, *shape.table, -1).permute(0, 3, 1, 2)
        if shape.offset:
            scale = tuple(
                (n + shape.offset) / old for n, old in zip(grid, shape.table, strict=True)
            )
            place = F.interpolate(table, scale_factor=scale, mode="bicubic", align_corners=False)
        else:
            place = F.interpolate(table, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([self.positions[:, :1], place.flatten(2).transpose(1, 2)], dim=1)

    def run(
        self, tokens: Tensor, first: int = 0, stop: int | None = None, hook: Hook | None = None
    ) -> Tensor:
        """Run blocks `first` to `stop` (exclusive): what lies below an adapter can be cached.

        Parameters
        ----------
        tokens : (B, 1 + N, C) that enter block `first`.
        hook : called after each block with its number and its output (B, 1 + N, C); what it
            returns is taken instead.

        Returns
        -------
        (B, 1 + N, C) that leave block `stop - 1`, or the last one without a `stop`.
        """
        for number in range(len(self.blocks))[first:stop]:
            tokens = self.blocks[number](tokens)
            if hook is not None:
                tokens = hook(number, tokens)
        return tokens


class ViT(Trunk):
    """A trunk with a patch embedding and a final norm."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__(shape)
        self.patch_embed = nn.Conv2d(3, shape.width, shape.patch, shape.patch)
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps)

    def embed(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised, sides multiples of the patch -> (B, 1 + N, C)."""
        x = self.patch_embed(into(self.patch_embed, image))  # (B, C, h, w)
        return self.placed(x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3]))


def collect(wanted: set[int], kept: dict[int, Tensor]) -> Hook:
    """A hook that puts the tokens after the `wanted` blocks into `kept`."""

    def keep(number: int, tokens: Tensor) -> Tensor:
        if number in wanted:
            kept[number] = tokens
        return tokens

    return keep


def patches_of(side: int, patch: int) -> int:
    """Patches along a side in pixels; raises `ConfigError` unless it is a multiple of them."""
    if side < patch or side % patch:
        raise ConfigError(f"side {side} px", f"Use a multiple of {patch}.")
    return side // patch
