"""The encoders of a bundle that adapters are put into, without all else that a bundle has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moca_core.device import DeviceChoice
from moca_core.models import specs, weights
from moca_core.models.adapter import HOSTS
from moca_core.models.compute import torch_dtype
from moca_core.models.imagebind import ImageBind
from moca_core.models.registry import bundle_row
from moca_core.models.saliency_vit import SaliencyViT
from moca_core.models.vit import Trunk, patches_of
from moca_core.models.yamnet import YamNet
from moca_core.types import RgbImage


@dataclass(frozen=True, eq=False)
class Frozen:
    """What AdaAV needs of a bundle: its blocks, and tokens of pictures and sounds.

    Attributes
    ----------
    bundle : its name.
    trunk : the visual blocks, frozen and in eval mode.
    stop : how many of them run.
    grid : (rows, columns) of the patch tokens.
    audio_shape : (M, Da) of the tokens of one audio window.
    window_s, rate_hz : of that window.
    identity : names the weights files by their content; "" where there are none.
    """

    bundle: str
    trunk: Trunk
    stop: int
    grid: tuple[int, int]
    audio_shape: tuple[int, int]
    window_s: float
    rate_hz: int
    _embedded: Callable[[Sequence[RgbImage]], Tensor]
    _heard: Callable[[NDArray[np.float32]], Tensor]
    identity: str = ""

    def blocks(self, count: int) -> tuple[int, ...]:
        """Numbers of the last `count` blocks that run."""
        return tuple(range(max(0, self.stop - count), self.stop))

    @torch.inference_mode()
    def prefix(self, rgbs: Sequence[RgbImage], first: int) -> NDArray[np.float32]:
        """(B, 1 + N, Dv) float32 tokens of pictures (H, W, 3) uint8 that enter block `first`."""
        tokens = self.trunk.run(self._embedded(rgbs), stop=first)
        return np.asarray(tokens.float().cpu().numpy(), dtype=np.float32)

    @torch.inference_mode()
    def hear(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """(M, Da) float32 audio tokens of one window, (n,) mono; padded with zeros or cut to it."""
        length = round(self.window_s * self.rate_hz)
        padded = np.zeros(length, dtype=np.float32)
        padded[: min(length, len(wave))] = wave[:length]
        return np.asarray(self._heard(padded).float().cpu().numpy(), dtype=np.float32)


def frozen_compact(vit: SaliencyViT, yamnet: YamNet, side: int) -> Frozen:
    """Of the compact bundle's encoders; audio tokens are YAMNet's features of its patches."""
    row = bundle_row("compact")
    grid = patches_of(side, vit.backbone.shape.patch)

    def heard(wave: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(yamnet.listen(wave).embeddings)

    silence = np.zeros(round(row.window_s * row.rate_hz), dtype=np.float32)
    tokens = heard(silence).shape
    return Frozen(
        bundle=row.name,
        trunk=vit.backbone,
        stop=HOSTS[row.name].last + 1,
        grid=(grid, grid),
        audio_shape=(tokens[0], tokens[1]),
        window_s=row.window_s,
        rate_hz=row.rate_hz,
        _embedded=lambda rgbs: vit.backbone.embed(
            torch.cat([vit.preprocess(rgb, side) for rgb in rgbs])
        ),
        _heard=heard,
    )


def frozen_imagebind(model: ImageBind, side: int) -> Frozen:
    """Of ImageBind; audio tokens are those after its last audio block, the class token too."""
    row = bundle_row("imagebind")
    grid = patches_of(side, model.shape.vision.patch)
    return Frozen(
        bundle=row.name,
        trunk=model.vision,
        stop=len(model.vision.blocks),
        grid=(grid, grid),
        audio_shape=(model.audio.positions.shape[1], model.shape.audio.width),
        window_s=row.window_s,
        rate_hz=row.rate_hz,
        _embedded=lambda rgbs: model.vision.embed(model.preprocess(rgbs, side)),
        _heard=lambda wave: model.hear(wave).tokens,
    )


def load_frozen(bundle: str, device: DeviceChoice, side: int = 0) -> Frozen:
    """Load what adapters need of a bundle.

    Parameters
    ----------
    side : of the squashed pictures in pixels; 0 takes the bundle's.

    Raises
    ------
    WeightsError : a file is missing or damaged.
    """
    side = side or bundle_row(bundle).image_side
    if bundle == "imagebind":
        path = weights.locate("imagebind_huge.pth")
        model = ImageBind.from_file(path, device.device, torch_dtype(device))
        return replace(frozen_imagebind(model, side), identity=_identity(path))
    files = weights.locate(bundle_row(bundle).saliency_file), weights.locate("yamnet.tflite")
    vit = SaliencyViT.from_file(files[0], device.device)
    yamnet = YamNet.from_file(files[1], device.device)
    return replace(frozen_compact(vit, yamnet, side), identity=_identity(*files))


def _identity(*files: Path) -> str:
    """Eight hex digits of the content of weights files, for folders of what they made."""
    rows = [row for path in files if (row := specs.row_named(path.name))]
    hashes = "".join(weights.hash_of(row) for row in rows)
    return hashlib.sha256(hashes.encode()).hexdigest()[:8]
