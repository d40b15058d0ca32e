"""The trained parts around the frozen encoder, and the loss of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from moca_core.models.adapter import Adapter
from moca_core.models.vit import Trunk
from moca_core.pipeline import pma
from moca_core.training.config import TrainConfig
from moca_core.training.entered import LIMIT_BYTES, EntryBlock
from moca_core.training.losses import attended, contrast, triplet
from moca_core.training.processes import gathered


@dataclass(frozen=True, eq=False)
class Batch:
    """B triplets, as tokens that enter the first adapted block.

    Attributes
    ----------
    anchor, positive, negative : (B, 1 + N, Dv) float32.
    audio : (B, M, Da) float32, the anchors' sounds.
    other : (B, M, Da) float32, sounds of other recordings.
    recordings : (B,) int64, of the anchors.
    """

    anchor: Tensor
    positive: Tensor
    negative: Tensor
    audio: Tensor
    other: Tensor
    recordings: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class EvidenceHead(nn.Module):
    """Patch tokens and audio tokens into one small space, where likeness is evidence.

    Parameters
    ----------
    visual, audio : widths of the tokens; joint : of the space.
    """

    def __init__(self, visual: int, audio: int, joint: int = 128) -> None:
        super().__init__()
        self.visual_norm = nn.LayerNorm(visual, eps=1e-6)
        self.audio_norm = nn.LayerNorm(audio, eps=1e-6)
        self.visual = nn.Linear(visual, joint, bias=False)
        self.audio = nn.Linear(audio, joint, bias=False)

    def places(self, patches: Tensor) -> Tensor:
        """(B, N, Dv) -> (B, N, De), length 1."""
        return nn.functional.normalize(self.visual(self.visual_norm(patches)), dim=-1)

    def sounds(self, tokens: Tensor) -> Tensor:
        """(B, M, Da) -> (B, De), length 1."""
        return nn.functional.normalize(self.audio(self.audio_norm(tokens)).mean(dim=1), dim=-1)


class Learner(nn.Module):
    """Adapter and, with alignment, evidence head; the encoder it works on stays frozen.

    Parameters
    ----------
    trunk : the encoder's blocks, on the device and in eval mode. It is no part of the state.
    stop : number of the block after the last one that runs.
    grid : (rows, columns) of the patch tokens.
    """

    def __init__(
        self,
        adapter: Adapter,
        trunk: Trunk,
        stop: int,
        grid: tuple[int, int],
        config: TrainConfig,
    ) -> None:
        super().__init__()
        self.adapter = adapter
        widths = adapter.config.visual_width, adapter.config.audio_width
        self.head = EvidenceHead(*widths) if config.alignment else None
        # In a tuple, so that its weights are neither moved, trained nor saved.
        self._trunk = (trunk,)
        self.keep_pictures(LIMIT_BYTES)
        self._stop, self._grid, self._config = stop, grid, config
        self._pma = pma.PmaConfig(
            window=config.pma_window,
            alpha=config.pma_alpha,
            tau=config.pma_tau,
            radius=None if config.pma_radius < 0 else config.pma_radius,
            mode=config.pma_mode,
        )

    def keep_pictures(self, limit_bytes: int) -> None:
        """Keep at most so much of what leaves the first adapted block; forgets what was kept."""
        self._entry = EntryBlock(self._trunk[0], self.adapter.config.entry, limit_bytes)

    def forward(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of B triplets, and its parts and shares by name, detached."""
        config = self._config
        pictures = torch.cat([batch.anchor, batch.positive, batch.negative])
        left, sounds = self._entry(pictures), [batch.audio] * 3
        count = len(batch.anchor)
        if config.audio_negatives:
            pictures, left = (torch.cat([values, values[:count]]) for values in (pictures, left))
            sounds.append(batch.other)
        enhanced, attention = self._enhanced(pictures, left, torch.cat(sounds))
        parts = enhanced.split(count)
        near = self._distance(parts[0], parts[1])
        far = self._distance(parts[0], parts[2])
        said = {"triplet": triplet(near, far, config.margin)}
        shares = {"near": (near < far).float().mean()}
        loss = said["triplet"]
        if config.audio_negatives:
            unheard = self._distance(parts[3], parts[1])
            said["audio"] = triplet(near, unheard, config.margin)
            shares["heard"] = (near < unheard).float().mean()
            loss = loss + config.audio_weight * said["audio"]
        if self.head is not None:
            said["alignment"] = self._alignment(batch, left[:count], attention[:count])
            loss = loss + config.alignment_weight * said["alignment"]
        return loss, {name: value.detach() for name, value in (said | shares).items()}

    def _enhanced(self, tokens: Tensor, left: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens (B, N, Dv) after the last block, and the mean attention (B, N)."""
        maps: dict[int, Tensor] = {}
        trunk, watch = self._trunk[0], maps.__setitem__
        tokens = self.adapter.run(trunk, tokens, audio, stop=self._stop, watch=watch, left=left)
        return tokens[:, 1:], torch.stack(list(maps.values())).mean(dim=0)

    def _distance(self, one: Tensor, other: Tensor) -> Tensor:
        return pma.distance(one, other, self._grid, self._pma)

    def _alignment(self, batch: Batch, left: Tensor, attention: Tensor) -> Tensor:
        """InfoNCE over the batch of all processes.

        Places are those of the frozen tokens: enhanced ones hold the sound already, and would
        find it again whatever the picture shows.
        """
        assert self.head is not None
        with torch.no_grad():
            first = self.adapter.config.entry + 1
            frozen = self._trunk[0].run(left, first, self._stop)[:, 1:]
        places = attended(self.head.places(frozen), attention)
        sounds = self.head.sounds(batch.audio)
        return contrast(
            gathered(places),
            gathered(sounds),
            self._config.alignment_temperature,
            gathered(batch.recordings),
        )
