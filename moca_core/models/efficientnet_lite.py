"""EfficientNet-lite (Tan and Le 2019, lite variants) as a dense ImageNet classifier.

No squeeze-excitation, ReLU6, TensorFlow's SAME padding for any size. Parameter names are those of
the published checkpoints. Pixels are normalised as (x - 127) / 128.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moca_core.errors import ConfigError
from moca_core.models.checkpoint import load_strictly, read_torch
from moca_core.types import RgbImage

CLASSES = 1000
STRIDE = 32

# Stages of EfficientNet-B0: repeats, kernel, stride, expansion, width in, width out.
_STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
_STEM_WIDTH, _HEAD_WIDTH = 32, 1280


@dataclass(frozen=True)
class Scaling:
    """How a variant scales B0: width and depth factors, and the side it was trained at."""

    width: float
    depth: float
    side: int


VARIANTS = {"lite0": Scaling(1.0, 1.0, 224), "lite2": Scaling(1.1, 1.2, 260)}


def _scaled_width(width: int, factor: float) -> int:
    """Width times factor, rounded to a multiple of eight and never down by a tenth."""
    scaled = max(8, int(width * factor + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * width * factor else scaled


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: the odd pixel goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = x.shape[-2:]
        below = max((math.ceil(height / stride) - 1) * stride + kernel - height, 0)
        right = max((math.ceil(width / stride) - 1) * stride + kernel - width, 0)
        if below == right and below % 2 == 0:
            return F.conv2d(
                x, self.weight, self.bias, self.stride, below // 2, self.dilation, self.groups
            )
        x = F.pad(x, (right // 2, right - right // 2, below // 2, below - below // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class Bottleneck(nn.Module):
    """Expand, depthwise, project; a residual where the shape stays."""

    def __init__(self, kernel: int, stride: int, expand: int, width_in: int, width: int) -> None:
        super().__init__()
        hidden = width_in * expand
        self.residual = stride == 1 and width_in == width
        self.expands = expand != 1
        if self.expands:
            self._expand_conv = SameConv(width_in, hidden, 1, bias=False)
            self._bn0: nn.Module = _norm(hidden)
        self._depthwise_conv = SameConv(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1: nn.Module = _norm(hidden)
        self._project_conv = SameConv(hidden, width, 1, bias=False)
        self._bn2: nn.Module = _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """The classifier, whose last layer can be applied at every location."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        self.scaling = VARIANTS[variant]
        factor = self.scaling.width
        # The lite variants scale neither the stem nor the head, nor the ends' repeats.
        self._conv_stem = SameConv(3, _STEM_WIDTH, 3, 2, bias=False)
        self._bn0: nn.Module = _norm(_STEM_WIDTH)
        blocks: list[Bottleneck] = []
        width_in = _STEM_WIDTH
        for number, (repeats, kernel, stride, expand, _, out) in enumerate(_STAGES):
            at_end = number in (0, len(_STAGES) - 1)
            count = repeats if at_end else math.ceil(repeats * self.scaling.depth)
            width = _scaled_width(out, factor)
            for repeat in range(count):
                step = stride if repeat == 0 else 1
                blocks.append(Bottleneck(kernel, step, expand, width_in, width))
                width_in = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(width_in, _HEAD_WIDTH, 1, bias=False)
        self._bn1: nn.Module = _norm(_HEAD_WIDTH)
        self._fc = nn.Linear(_HEAD_WIDTH, CLASSES)

    @classmethod
    def from_file(cls, path: Path, variant: str, device: str = "cpu") -> Self:
        """Load a published checkpoint; raises `WeightsError` for another or a damaged file."""
        model = cls(variant)
        load_strictly(model, read_torch(path), path)
        model.eval().requires_grad_(False)
        model._fuse()
        # torch's stubs don't know this overload.
        return model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _fuse(self) -> None:
        """Fold every BatchNorm into the convolution before it, for inference."""
        fuse = torch.nn.utils.fuse_conv_bn_eval
        pairs = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
        inner = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
        for module, names in ((self, pairs), *((block, inner) for block in self._blocks)):
            for conv, norm in names.items():
                if hasattr(module, conv):
                    setattr(module, conv, fuse(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, 1280, H/32, W/32)."""
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)), inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, 1000) logits."""
        return self._fc(self.features(x).mean(dim=(2, 3)))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._fc.weight.device

    @torch.inference_mode()
    def dense_probabilities(self, rgb: RgbImage, longer_side: int) -> Tensor:
        """Class probabilities at every location of a picture.

        Parameters
        ----------
        rgb : (H, W, 3) uint8.
        longer_side : pixels of the longer side after resizing, a multiple of 32.

        Returns
        -------
        (1000, h, w) float32, each location sums to 1, one location for every 32 pixels.
        """
        if longer_side % STRIDE:
            raise ConfigError(f"longer side {longer_side} px", "Use a multiple of 32.")
        height, width = rgb.shape[:2]
        scale = longer_side / max(height, width)
        size = [max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in (height, width)]
        x = self.normalise(resize(rgb, size[0], size[1])[None])
        features = self.features(x)[0]  # (1280, h, w)
        logits = torch.einsum("chw,kc->khw", features, self._fc.weight)
        return (logits + self._fc.bias[:, None, None]).softmax(dim=0)

    @torch.inference_mode()
    def probabilities(self, crops: np.ndarray, batch: int = 16) -> Tensor:
        """(P, H, W, 3) uint8 -> (P, 1000) class probabilities."""
        parts = [
            self(self.normalise(crops[start : start + batch])).softmax(dim=1)
            for start in range(0, len(crops), batch)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, CLASSES, device=self.device)

    @torch.inference_mode()
    def pooled(self, rgbs: Sequence[RgbImage]) -> Tensor:
        """What stands before the last layer, by which like pictures are found.

        Parameters
        ----------
        rgbs : B pictures, (H, W, 3) uint8 each, squashed to the side of the training.

        Returns
        -------
        (B, 1280) float32, length 1.
        """
        side = self.scaling.side
        squares = np.stack([resize(rgb, side, side) for rgb in rgbs])
        pooled = self.features(self.normalise(squares)).mean(dim=(2, 3))
        return F.normalize(pooled, dim=1)

    def normalise(self, images: np.ndarray) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, (x - 127) / 128, channels last."""
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        return ((x.float() - 127.0) / 128.0).permute(0, 3, 1, 2)


def resize(rgb: RgbImage, height: int, width: int) -> RgbImage:
    """Resize (H, W, 3) uint8: by area means where it shrinks, bicubic where it grows."""
    shrinks = height < rgb.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (width, height), interpolation=method), dtype=np.uint8)
