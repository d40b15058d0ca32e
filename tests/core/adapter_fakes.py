"""Small trunks of both bundles' kinds and adapters for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from moca_core.models.adapter import AdapterConfig, freeze
from moca_core.models.imagebind import VisionTrunk
from moca_core.models.vit import Trunk, ViT, ViTShape

COMPACT = ViTShape(width=24, depth=5, heads=3, patch=4, table=(3, 4), layer_scale=True)
VISION = ViTShape(width=32, depth=4, heads=4, patch=4, table=(3, 4))
CONFIGS = {
    "compact": AdapterConfig("compact", 24, 20, (1, 2, 3), reduction=4, latents=3),
    "imagebind": AdapterConfig("imagebind", 32, 12, (2, 3), reduction=8, latents=5),
}
TRUNKS: dict[str, Callable[[], Trunk]] = {
    "compact": lambda: ViT(COMPACT),
    "imagebind": lambda: VisionTrunk(VISION),
}
BATCH, PATCHES, HEARD = 3, 12, 7


def trunk_of(bundle: str) -> Trunk:
    """A small trunk of a bundle's kind with random weights, norms and scales."""
    trunk = freeze(TRUNKS[bundle]())
    for value in trunk.parameters():
        value.copy_(torch.randn_like(value) * (0.3 if value.ndim > 1 else 1.0))
    return trunk


def tokens_for(config: AdapterConfig) -> tuple[Tensor, Tensor]:
    """Tokens that enter the first adapted block, and audio tokens."""
    return (
        torch.randn(BATCH, 1 + PATCHES, config.visual_width),
        torch.randn(BATCH, HEARD, config.audio_width),
    )


def shaken(module: nn.Module) -> nn.Module:
    """All parameters away from where they start, gates included, as a mistake would show."""
    with torch.no_grad():
        for value in module.parameters():
            value.add_(torch.randn_like(value) * 0.5 + 0.1)
    return module
