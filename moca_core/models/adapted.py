"""A frozen transformer with a trained adapter: tokens that know the sound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moca_core.errors import ConfigError
from moca_core.models.adapter import Adapter
from moca_core.models.compute import to_device
from moca_core.models.vit import Trunk, ViTBlock


@dataclass(frozen=True, eq=False)
class Enhanced:
    """One picture's patch tokens with one sound.

    Attributes
    ----------
    tokens : (N, Dv) F, after the last block.
    alone : (N, Dv) the same where patches attend to themselves only in the last block.
    attention : (N,) float32 maps by block, see `AdaAV.forward`.
    """

    tokens: Tensor
    alone: Tensor
    attention: dict[int, NDArray[np.float32]]


class AdaptedTrunk:
    """The blocks from the first adapted one on.

    Parameters
    ----------
    trunk : the frozen blocks, on their device.
    adapter : made for them.
    stop : number of the block after the last one that runs.

    Raises
    ------
    ConfigError : the first block is adapted, so that nothing is left to look at once.
    """

    def __init__(self, trunk: Trunk, adapter: Adapter, stop: int) -> None:
        if adapter.config.entry < 1:
            raise ConfigError(
                f"an adapter from block {adapter.config.entry} on",
                "Train one that leaves the first block as it is: fewer blocks.",
            )
        self.trunk, self.stop = trunk, stop
        self.adapter = adapter.to(trunk.device).eval().requires_grad_(False)

    @property
    def entry(self) -> int:
        """The first adapted block: `enhance` takes the tokens that enter it."""
        return self.adapter.config.entry

    @torch.inference_mode()
    def enhance(self, prefix: NDArray[np.float32], audio: NDArray[np.float32]) -> Enhanced:
        """Run the adapted blocks.

        Parameters
        ----------
        prefix : (1 + N, Dv) tokens that enter block `entry`; audio : (M, Da) audio tokens.
        """
        adapter, last = self.adapter, self.stop - 1
        device = self.trunk.device
        tokens, sound = to_device(prefix[None], device), to_device(audio[None], device)
        maps: dict[int, Tensor] = {}
        watch = maps.__setitem__
        before = adapter.run(self.trunk, tokens, sound, stop=last, watch=watch)
        block = self.trunk.blocks[last]
        assert isinstance(block, ViTBlock)  # ModuleList forgets what it holds
        after, alone = block(before)[:, 1:], block.alone(before)[:, 1:]
        if last in adapter.config.blocks:
            update, maps[last] = adapter.update(last, before, sound)
            after, alone = after + update, alone + update
        found = {number: np.asarray(x[0].float().cpu().numpy()) for number, x in maps.items()}
        return Enhanced(after[0].float(), alone[0].float(), found)
