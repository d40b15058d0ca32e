"""SAM: an image encoder, a prompt encoder and a mask decoder behind one interface.

MobileSAM and the three sizes of SAM differ in the image encoder alone, so they share everything
else (`sam_decoder`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from moca_core.errors import ConfigError, WeightsError
from moca_core.models import weights
from moca_core.models.checkpoint import load_strictly, read_torch
from moca_core.models.compute import in_threads, to_device
from moca_core.models.sam_decoder import (
    IMAGE_SIDE,
    STRIDE,
    DecoderShape,
    MaskDecoder,
    PromptEncoder,
    stability_score,
)
from moca_core.models.sam_vit import VITS, VitEncoder, VitShape, official_key, which_vit
from moca_core.models.specs import SAM_FILES
from moca_core.models.tinyvit import TinyViT
from moca_core.types import RgbImage

__all__ = ("MobileSam", "Sam", "SamEmbedding", "VitSam", "load_sam", "stability_score")

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
_PROMPTS_AT_ONCE = MappingProxyType({"cpu": 8, "cuda": 32})

FILES = SAM_FILES
"""The official file of every SAM."""


@dataclass(frozen=True, eq=False)
class SamEmbedding:
    """A picture ready for prompts.

    Attributes
    ----------
    features : (1, C, gh, gw) float32; C is 256 in the official models.
    size : (height, width) of the picture in pixels.
    resized : (height, width) of the picture as the encoder saw it, without padding.
    """

    features: Tensor
    size: tuple[int, int]
    resized: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return self.features.nbytes


class Sam(nn.Module):
    """An image encoder with SAM's prompt encoder and mask decoder.

    Several threads may use it: each encodes or decodes alone, one after the other.

    Parameters
    ----------
    encoder : (B, 3, H, W) normalised -> (B, C, H/16, W/16).
    shape : of the prompt encoder and mask decoder; its grid is that of a full square.
    square : pad pictures to a square before the encoder as the official code does. Otherwise
        only the picture itself is encoded, for encoders that allow it (ADR 0002).
    """

    def __init__(self, encoder: nn.Module, shape: DecoderShape, square: bool) -> None:
        super().__init__()
        self.square, self.longest_side = square, shape.grid * STRIDE
        self.dtype = torch.float32
        self.image_encoder = encoder
        self.prompt_encoder = PromptEncoder(shape)
        self.mask_decoder = MaskDecoder(shape)
        self._turn = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._turn = threading.Lock()  # a copy has a turn of its own

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.prompt_encoder.no_mask_embed.weight.device

    def placed(self, device: str, dtype: torch.dtype) -> Self:
        """The model, for inference: on a device, with the encoder's matrices in `dtype`.

        All else stays in float32. Prompts and masks cost little, and places of points in half
        precision would be pixels off.
        """
        self.eval().requires_grad_(False)
        self.dtype = dtype
        for module in self.image_encoder.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.to(device)  # first, so that it's rounded there
                module.to(dtype)
        return self.to(device)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which the encoder sees a picture of that size, without padding."""
        scale = self.longest_side / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def preprocess(self, rgbs: Sequence[RgbImage]) -> Tensor:
        """B pictures (H, W, 3) uint8 of one size -> (B, 3, H', W') normalised and padded.

        PIL's bilinear filter, then normalisation, then zero padding, as the official code.
        """
        height, width = self.resized(*rgbs[0].shape[:2])

        def smaller(rgb: RgbImage) -> RgbImage:
            picture = Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(picture)

        # The bytes travel to the device, a quarter of what floats would be.
        x = to_device(np.stack(in_threads(smaller, rgbs)), self.device)
        x = x.permute(0, 3, 1, 2).float()
        mean = torch.tensor(PIXEL_MEAN, device=self.device).view(3, 1, 1)
        std = torch.tensor(PIXEL_STD, device=self.device).view(3, 1, 1)
        x = (x - mean) / std
        if self.square:
            below, right = self.longest_side - height, self.longest_side - width
        else:
            below, right = -height % STRIDE, -width % STRIDE
        return F.pad(x, (0, right, 0, below))

    def embed(self, rgb: RgbImage) -> SamEmbedding:
        """Embed one picture (H, W, 3) uint8 RGB."""
        return self.encode([rgb])[0]

    @torch.inference_mode()
    def encode(self, rgbs: Sequence[RgbImage], batch: int = 1) -> list[SamEmbedding]:
        """Embed pictures (H, W, 3) uint8 RGB; up to `batch` of one size are encoded at once.

        On a CPU a batch saves no time, and a ViT needs 2 to 4 GB for each picture in it.
        """
        found: dict[int, SamEmbedding] = {}
        by_size: dict[tuple[int, int], list[int]] = {}
        for number, rgb in enumerate(rgbs):
            by_size.setdefault((rgb.shape[0], rgb.shape[1]), []).append(number)
        for size, numbers in by_size.items():
            for start in range(0, len(numbers), batch):
                part = numbers[start : start + batch]
                features = self._features([rgbs[number] for number in part])
                for number, row in zip(part, features, strict=True):
                    found[number] = SamEmbedding(row[None], size, self.resized(*size))
        return [found[number] for number in range(len(rgbs))]

    def _features(self, rgbs: Sequence[RgbImage]) -> Tensor:
        """(B, C, gh, gw) float32."""
        x = self.preprocess(rgbs).contiguous(memory_format=torch.channels_last)
        if self.dtype == torch.float32:
            with self._turn:
                return self.image_encoder(x).float().contiguous()
        with self._turn, torch.autocast(self.device.type, self.dtype):
            return self.image_encoder(x).float().contiguous()

    @torch.inference_mode()
    def decode(
        self,
        embedding: SamEmbedding,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int64] | None = None,
        boxes: NDArray[np.float32] | None = None,
        multimask: bool = True,
        batch: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Masks of P prompts.

        Parameters
        ----------
        points : (P, K, 2) x, y in pixels of the picture; `labels` (P, K) 1 on, 0 off the object.
        boxes : (P, 4) x0, y0, x1, y1 in pixels of the picture.
        batch : prompts decoded at once, which bounds the memory.

        Returns
        -------
        logits : (P, M, lh, lw) float32 over the picture without padding, M = 3 or 1; P may be 0.
        iou : (P, M) float32, the predicted IoU.
        """
        logits, iou = self.decode_square(embedding, points, labels, boxes, multimask, batch)
        return self.without_padding(logits, embedding), iou

    @torch.inference_mode()
    def decode_square(
        self,
        embedding: SamEmbedding,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int64] | None = None,
        boxes: NDArray[np.float32] | None = None,
        multimask: bool = True,
        batch: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The same with logits (P, M, 4 gh, 4 gw) over the padded picture, for `enlarge`."""
        scale = torch.tensor(
            [embedding.resized[1] / embedding.size[1], embedding.resized[0] / embedding.size[0]],
            device=self.device,
        )
        xy = None if points is None else torch.as_tensor(points, device=self.device).float() * scale
        kinds = None if labels is None else torch.as_tensor(labels, device=self.device)
        corners = None
        if boxes is not None:
            corners = torch.as_tensor(boxes, device=self.device).float() * scale.repeat(2)
        rows, columns = embedding.features.shape[2:]
        grid = self.prompt_encoder.pe_layer.dense(rows, columns, self.longest_side // STRIDE)
        image = embedding.features + self.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1)
        count = len(xy) if xy is not None else len(corners) if corners is not None else 0
        masks = 3 if multimask else 1
        # The empty first part gives no prompts their shape, too.
        parts = [(image.new_zeros(0, masks, 4 * rows, 4 * columns), image.new_zeros(0, masks))]
        step = batch or _PROMPTS_AT_ONCE.get(self.device.type, 8)
        for start in range(0, count, step):
            part = slice(start, start + step)
            with self._turn:
                sparse = self.prompt_encoder(
                    None if xy is None else xy[part],
                    None if kinds is None else kinds[part],
                    None if corners is None else corners[part],
                )
                logits, iou = self.mask_decoder(image, grid, sparse, multimask)
            parts.append((logits.float(), iou.float()))  # autocast gives less
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])

    def without_padding(self, logits: Tensor, embedding: SamEmbedding) -> Tensor:
        """(..., 4 gh, 4 gw) -> (..., lh, lw), the part over the picture."""
        # A low-resolution pixel is four pixels of the resized picture.
        height = max(1, round(embedding.resized[0] / 4))
        width = max(1, round(embedding.resized[1] / 4))
        return logits[..., :height, :width]

    @torch.inference_mode()
    def enlarge(self, logits: Tensor, embedding: SamEmbedding) -> Tensor:
        """(K, M, 4 gh, 4 gw) of `decode_square` -> (K, M, H, W) over the picture.

        In two steps, as the official code: to the padded picture, and from the picture's part of
        it to the picture's own size.
        """
        rows, columns = embedding.features.shape[2:]
        size = rows * STRIDE, columns * STRIDE
        larger = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        larger = larger[..., : embedding.resized[0], : embedding.resized[1]]
        return F.interpolate(larger, embedding.size, mode="bilinear", align_corners=False)


class MobileSam(Sam):
    """SAM with TinyViT as its image encoder.

    Parameters
    ----------
    square : see `Sam`.
    longest_side : longer side in pixels to which pictures are resized.
    """

    def __init__(self, square: bool = False, longest_side: int = IMAGE_SIDE) -> None:
        if longest_side % STRIDE:
            raise ConfigError(f"longest side {longest_side} px", "Use a multiple of 16.")
        encoder = TinyViT()
        super().__init__(encoder, DecoderShape(grid=longest_side // STRIDE), square)
        self.image_encoder: TinyViT = encoder

    @classmethod
    def from_file(
        cls,
        path: Path,
        device: str = "cpu",
        square: bool = False,
        longest_side: int = IMAGE_SIDE,
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Load `mobile_sam.pt`; raises `WeightsError` for another or a damaged file."""
        model = cls(square, longest_side)
        unused = ("image_encoder.norm_head.", "image_encoder.head.")
        load_strictly(model, read_torch(path), path, unused)
        model.eval().requires_grad_(False)
        model.image_encoder.fuse()
        return model.placed(device, dtype)


class VitSam(Sam):
    """SAM as published: a ViT over the padded square.

    Parameters
    ----------
    vit, decoder : the sizes of its parts.
    attention : see `VitEncoder`.
    """

    def __init__(self, vit: VitShape, decoder: DecoderShape, attention: str = "sdpa") -> None:
        super().__init__(VitEncoder(vit, attention), decoder, square=True)

    @classmethod
    def from_file(
        cls,
        path: Path,
        variant: str,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        attention: str = "sdpa",
    ) -> Self:
        """Load an official checkpoint of a variant in `VITS`, memory-mapped.

        Raises
        ------
        WeightsError : the file is damaged, or of another model.
        """
        state = read_torch(path)
        held = which_vit(state)
        if held not in (None, variant):
            raise WeightsError(
                f"{path.name}: holds SAM's {held}, not {variant}",
                f"Choose {held}, or `moca weights import` the file of {variant}.",
            )
        return cls.from_state(state, path, VITS[variant], DecoderShape(), device, dtype, attention)

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, Tensor],
        path: Path,
        vit: VitShape,
        decoder: DecoderShape,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        attention: str = "sdpa",
    ) -> Self:
        """Build from a state dict with the official names; `path` is for messages."""
        # No memory is taken for parameters that the checkpoint's take the place of.
        with torch.device("meta"):
            model = cls(vit, decoder, attention)
        load_strictly(model, state, path, official=official_key, place=lambda _, x: x.float())
        return model.placed(device, dtype)


def load_sam(variant: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Sam:
    """The SAM of a name in `registry.SAMS`, from the weights' folder.

    Parameters
    ----------
    dtype : of the image encoder's weights.

    Raises
    ------
    WeightsError : its file is missing, damaged, or of another model.
    """
    if variant not in FILES:
        raise ConfigError(f"{variant!r} is no SAM", f"Use {', '.join(FILES)}.")
    path = weights.locate(FILES[variant])
    if variant in VITS:
        return VitSam.from_file(path, variant, device, dtype)
    return MobileSam.from_file(path, device, dtype=dtype)
