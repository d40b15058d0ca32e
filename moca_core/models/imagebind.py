"""ImageBind's vision and audio encoders (Girdhar et al. 2023), METHOD.md section 1.

Written here on the shared block; the weights are those of the official `imagebind_huge.pth`, found
by their official names. The other modalities in that file are left out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from moca_core.models.checkpoint import load_file
from moca_core.models.compute import in_threads, to_device
from moca_core.models.fbank import RATE_HZ, audio_picture
from moca_core.models.pictures import centre_crop, normalised, squash
from moca_core.models.vit import Trunk, ViTBlock, ViTShape, collect, into, patches_of
from moca_core.types import RgbImage

_log = logging.getLogger(__name__)

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
WINDOW_S = 2.0
SIDE = 224
"""Pixels along a side of the pictures that the model was trained on."""

_TIME = 2  # frames in a vision patch
_STRIDE = 10  # of the audio patches, which overlap
_STEM_EPS = 1e-5  # of the audio stem's norm; every other one has the shape's
_MAX_SCALE = 100.0
_WINDOWS = 3  # taken from a sound that is longer than one


@dataclass(frozen=True)
class ImageBindShape:
    """Sizes of both trunks and of the joint space."""

    vision: ViTShape
    audio: ViTShape
    joint: int


HUGE = ImageBindShape(
    vision=ViTShape(width=1280, depth=32, heads=16, patch=14, table=(16, 16)),
    audio=ViTShape(width=768, depth=12, heads=12, patch=16, table=(12, 19), bias_kv=True),
    joint=1024,
)


class VisionTrunk(Trunk):
    """Pictures, or clips of two frames, to tokens."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__(shape)
        kernel = (_TIME, shape.patch, shape.patch)
        self.stem = nn.Conv3d(3, shape.width, kernel, kernel, bias=False)
        self.pre_norm = nn.LayerNorm(shape.width, eps=shape.eps)

    def embed(self, x: Tensor) -> Tensor:
        """Tokens that enter block 0.

        Parameters
        ----------
        x : (B, 3, H, W) still pictures, or (B, 3, 2, H, W) two frames; normalised, sides
            multiples of 14.

        Returns
        -------
        (B, 1 + N, Dv), class token first, the patches row by row.
        """
        return self.pre_norm(self.tokens(x))

    def tokens(self, x: Tensor) -> Tensor:
        """As `embed`, before the norm that precedes block 0."""
        if x.ndim == 4:
            # A still picture is the same frame twice: one convolution with the sum of both slices.
            kernel = self.stem.weight.float().sum(dim=2).to(self.stem.weight.dtype)
            patches = F.conv2d(into(self.stem, x), kernel, stride=self.shape.patch)
        else:
            patches = self.stem(into(self.stem, x))[:, :, 0]  # (B, Dv, h, w)
        grid = (patches.shape[2], patches.shape[3])
        return self.placed(patches.flatten(2).transpose(1, 2), grid)


class AudioTrunk(Trunk):
    """Log-mel pictures to tokens."""

    def __init__(self, shape: ViTShape) -> None:
        super().__init__(shape)
        self.stem = nn.Conv2d(1, shape.width, shape.patch, _STRIDE, bias=False)
        self.stem_norm = nn.LayerNorm(shape.width, eps=_STEM_EPS)

    def embed(self, x: Tensor) -> Tensor:
        """(B, 1, 128, 204) normalised log-mel -> (B, 1 + 228, Da); patches run along time first."""
        patches = self.stem(into(self.stem, x))  # (B, Da, 12, 19)
        normed = self.stem_norm(into(self.stem_norm, patches.flatten(2).transpose(1, 2)))
        return self.placed(normed, (patches.shape[2], patches.shape[3]))


class Head(nn.Module):
    """Tokens to the joint space."""

    def __init__(self, width: int, joint: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.linear = nn.Linear(width, joint, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., De) float32, length 1."""
        joint = self.linear(into(self.linear, self.norm(tokens)))
        return F.normalize(into(self.norm, joint), dim=-1)


@dataclass(frozen=True, eq=False)
class ImageBindSight:
    """What ImageBind makes of B pictures.

    Attributes
    ----------
    tokens : (B, 1 + N, Dv) float32 after the blocks asked for, by number from 0; the class token
        is first.
    patches : (B, N, De) float32, the patch tokens after the last block through the vision head:
        points of the joint space, length 1. The model wasn't trained to place patches there;
        that they land near the sounds of what they show is what MoCA builds on. In the last block
        a patch may attend to all, as in the official forward, or to itself alone (ADR 0016).
    embedding : (B, De) float32, length 1, the official one of the whole picture.
    grid : (rows, columns) of the patches.
    """

    tokens: dict[int, Tensor]
    patches: Tensor
    embedding: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True, eq=False)
class ImageBindSound:
    """What ImageBind makes of one sound; of several windows both are means.

    Attributes
    ----------
    tokens : (1 + 228, Da) float32 after the last audio block, the class token first.
    embedding : (De,) float32, the official one: length 20 for a single window.
    """

    tokens: Tensor
    embedding: Tensor


class ImageBind(nn.Module):
    """Both encoders and their heads.

    With `dtype` bfloat16 or float16 the matrices are kept in it, half the memory; norms, class
    tokens, positions and the tokens between the blocks stay float32 (see `ViTBlock`).
    """

    log_logit_scale: Tensor

    def __init__(self, shape: ImageBindShape = HUGE) -> None:
        super().__init__()
        vision, audio = shape.vision, shape.audio
        self.shape = shape
        self.vision = VisionTrunk(vision)
        self.audio = AudioTrunk(audio)
        self.vision_head = Head(vision.width, shape.joint, vision.eps)
        self.audio_head = Head(audio.width, shape.joint, audio.eps)
        self.register_buffer("log_logit_scale", torch.tensor(0.0))

    @classmethod
    def from_file(
        cls,
        path: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        shape: ImageBindShape = HUGE,
    ) -> Self:
        """Load `imagebind_huge.pth`; raises `WeightsError` for another or a damaged file.

        What memory that takes is said in `load_file`.
        """
        with torch.device("meta"):
            model = cls(shape)
        left = load_file(
            model, path, device, dtype, unused=OTHER_MODALITIES, official=official_name
        )
        if left:
            parts = ", ".join(f"{prefix}* ({count})" for prefix, count in left.items())
            _log.info("%s: %d keys not used: %s", path.name, sum(left.values()), parts)
        return model.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vision.device

    def preprocess(
        self, rgbs: Sequence[RgbImage], side: int = SIDE, official_crop: bool = False
    ) -> Tensor:
        """B pictures (H, W, 3) uint8 -> (B, 3, side, side), normalised.

        Squashed to a square, so that nothing at the borders is lost; `official_crop` keeps the
        middle of the picture instead, as the official code does.
        """
        if official_crop:
            squares = [centre_crop(rgb, side, side) for rgb in rgbs]
        else:
            squares = in_threads(lambda rgb: squash(rgb, side), rgbs)
        return normalised(squares, MEAN, STD, self.device)

    @torch.inference_mode()
    def see(
        self,
        rgbs: Sequence[RgbImage],
        side: int = SIDE,
        blocks: Iterable[int] = (),
        official_crop: bool = False,
        alone: bool = False,
    ) -> ImageBindSight:
        """Tokens, patch features and embeddings of B pictures, in one batch.

        Parameters
        ----------
        rgbs : (H, W, 3) uint8 each, of any sizes.
        side : pixels of the square they become, a multiple of 14 (448 gives 32 x 32 patches);
            positions are interpolated beyond the 224 of the training.
        blocks : numbers from 0 of the vision blocks whose tokens are kept.
        official_crop : see `preprocess`.
        alone : patches attend to themselves only in the last block, see `ImageBindSight`.
        """
        grid = patches_of(side, self.shape.vision.patch)
        kept: dict[int, Tensor] = {}
        hook = collect(set(blocks), kept)
        tokens = self.vision.embed(self.preprocess(rgbs, side, official_crop))
        before = self.vision.run(tokens, stop=-1, hook=hook)
        after = self.vision.run(before, first=-1, hook=hook)
        last = self.vision.blocks[-1]
        assert isinstance(last, ViTBlock)  # ModuleList forgets what it holds
        patches = self.vision_head((last.alone(before) if alone else after)[:, 1:])
        return ImageBindSight(kept, patches, self.vision_head(after[:, 0]), (grid, grid))

    @torch.inference_mode()
    def hear(self, wave: NDArray[np.float32]) -> ImageBindSound:
        """Tokens and embedding of (n,) float32 mono sound at 16 kHz, in -1 to 1.

        Of more than 2 s three windows are taken, at the start, in the middle and at the end, as
        the official code does; less is one window, padded as `audio_picture` says.
        """
        sound = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
        pictures = torch.stack([audio_picture(sound[part]) for part in windows(len(sound))])
        tokens = self.audio.run(self.audio.embed(to_device(pictures[:, None], self.device)))
        return ImageBindSound(tokens.mean(dim=0), self.sound_embedding(tokens).mean(dim=0))

    def sound_embedding(self, tokens: Tensor) -> Tensor:
        """(B, 1 + M, Da) after the last audio block -> (B, De): direction times learned scale."""
        scale = self.log_logit_scale.exp().clamp(max=_MAX_SCALE)
        return self.audio_head(tokens[:, 0]) * scale


def windows(count: int) -> list[slice]:
    """The samples of the windows that are taken from a sound of `count` samples.

    Their starts are rounded as in the official code: exact fractions of a float number of seconds.
    """
    length = round(WINDOW_S * RATE_HZ)
    if count <= length:
        return [slice(0, count)]  # the official code takes it three times
    room_s = Fraction(count / RATE_HZ - WINDOW_S)
    starts = [int(room_s * k / (_WINDOWS - 1) * RATE_HZ) for k in range(_WINDOWS)]
    return [slice(start, start + length) for start in starts]


_PARTS = ("modality_preprocessors", "modality_trunks", "modality_heads", "modality_postprocessors")

OTHER_MODALITIES = tuple(
    f"{part}.{name}." for part in _PARTS for name in ("text", "depth", "thermal", "imu")
)
"""Prefixes of the keys of the official checkpoint that aren't used here."""

# Our names, as patterns, and the official ones; the first that matches counts.
_NAMES = tuple(
    (re.compile(pattern), theirs)
    for pattern, theirs in (
        (r"log_logit_scale", r"modality_postprocessors.audio.1.log_logit_scale"),
        (r"(vision|audio)_head\.norm\.(.*)", r"modality_heads.\1.0.\2"),
        (r"(vision|audio)_head\.linear\.(.*)", r"modality_heads.\1.2.\2"),
        (r"(vision|audio)\.cls_token", r"modality_preprocessors.\1.cls_token"),
        (
            r"(vision|audio)\.positions",
            r"modality_preprocessors.\1.pos_embedding_helper.pos_embed",
        ),
        (r"vision\.stem\.weight", r"modality_preprocessors.vision.rgbt_stem.proj.1.weight"),
        (r"audio\.stem\.weight", r"modality_preprocessors.audio.rgbt_stem.proj.weight"),
        (r"audio\.stem_norm\.(.*)", r"modality_preprocessors.audio.rgbt_stem.norm_layer.\1"),
        (r"vision\.pre_norm\.(.*)", r"modality_trunks.vision.pre_transformer_layer.0.\1"),
        (r"(.*\.blocks\.\d+)\.qkv\.(.*)", r"modality_trunks.\1.attn.in_proj_\2"),
        (r"(.*\.blocks\.\d+)\.proj\.(.*)", r"modality_trunks.\1.attn.out_proj.\2"),
        (r"(.*\.blocks\.\d+)\.(bias_.)", r"modality_trunks.\1.attn.\2"),
        (r"(.*\.blocks\.\d+)\.norm(\d)\.(.*)", r"modality_trunks.\1.norm_\2.\3"),
        (r"(.*\.blocks\.\d+)\.(fc\d)\.(.*)", r"modality_trunks.\1.mlp.\2.\3"),
    )
)


def official_name(key: str) -> str:
    """The name in the official checkpoint of one of our parameters."""
    for pattern, theirs in _NAMES:
        match = pattern.fullmatch(key)
        if match:
            return match.expand(theirs)
    raise KeyError(key)
