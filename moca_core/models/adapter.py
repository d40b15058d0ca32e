"""AdaAV, the audio-visual adapter, and the set of them that sits in a frozen transformer.

METHOD.md section 3; the wiring is that of LAVISH (Lin et al. 2023). Where the adapters sit, and
what an attention map is exactly, is in ADR 0019; their files are in `adapter_file`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moca_core.errors import ConfigError
from moca_core.models.registry import BUNDLE_NAMES
from moca_core.models.vit import Trunk, into

Watch = Callable[[int, Tensor], None]
"""Called as watch(block, attention) after an adapted block with its (B, N) attention map."""

Module = TypeVar("Module", bound=nn.Module)

_EPS = 1e-6
_LATENT_STD = 0.2
"""About what YAMNet's tokens have behind `Wa`: a latent neither drowns them nor drowns in them."""


@dataclass(frozen=True)
class Host:
    """What an adapter meets in a bundle.

    Attributes
    ----------
    visual_width : Dv, of the tokens of its vision transformer.
    audio_width : Da, of its audio tokens.
    last : number from 0 of the block whose tokens the bundle uses; none behind it is adapted.
    """

    visual_width: int
    audio_width: int
    last: int


HOSTS: Mapping[str, Host] = MappingProxyType(
    {"compact": Host(384, 1024, 9), "imagebind": Host(1280, 768, 31)}
)


@dataclass(frozen=True)
class AdapterConfig:
    """Sizes and places of the adapters of one bundle.

    Attributes
    ----------
    bundle : whose encoders they belong to.
    visual_width, audio_width : Dv and Da, see `Host`.
    blocks : numbers from 0 of the adapted blocks, rising.
    reduction : r; the adapters are Dv / r wide inside.
    latents : m, the latent tokens that sum up the sound.
    """

    bundle: str
    visual_width: int
    audio_width: int
    blocks: tuple[int, ...]
    reduction: int = 8
    latents: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))  # JSON and TOML have lists
        if self.bundle not in BUNDLE_NAMES:
            raise ConfigError(
                f"{self.bundle!r} is not a bundle", f"Use one of {', '.join(BUNDLE_NAMES)}."
            )
        for name in ("visual_width", "audio_width", "reduction", "latents"):
            value = getattr(self, name)
            if not _is_number(value) or value < 1:
                raise ConfigError(f"{name} = {value!r}", "Use a whole number of at least 1.")
        rising = all(map(_is_number, self.blocks)) and list(self.blocks) == sorted({*self.blocks})
        if not self.blocks or not rising or self.blocks[0] < 0:
            raise ConfigError(f"blocks = {self.blocks}", "Name each once, rising, from 0.")
        if self.visual_width % self.reduction:
            raise ConfigError(
                f"reduction = {self.reduction}",
                f"Use a divisor of the tokens' width, {self.visual_width}.",
            )

    @property
    def width(self) -> int:
        """d, the width inside the adapters."""
        return self.visual_width // self.reduction

    @property
    def entry(self) -> int:
        """The first adapted block: what enters it doesn't depend on the sound."""
        return self.blocks[0]


def adapter_config(
    bundle: str, count: int = 4, reduction: int = 8, latents: int = 8
) -> AdapterConfig:
    """The adapters in the last `count` blocks that a bundle uses; raises `ConfigError`."""
    host = HOSTS.get(bundle)
    if host is None:
        raise ConfigError(f"{bundle!r} is not a bundle", f"Use one of {', '.join(HOSTS)}.")
    if not 1 <= count <= host.last + 1:
        raise ConfigError(f"{count} adapted blocks", f"Use 1 to {host.last + 1} for {bundle}.")
    blocks = tuple(range(host.last + 1 - count, host.last + 1))
    return AdapterConfig(bundle, host.visual_width, host.audio_width, blocks, reduction, latents)


class AdaAV(nn.Module):
    """The adapter of one block: a sound, summed up in latent tokens, moves the patch tokens.

    The parameters are float32. Under autocast their products with the tokens are in its precision;
    what lies between (two small attentions) isn't worth it and stays float32.
    """

    def __init__(
        self, visual_width: int, audio_width: int, reduction: int = 8, latents: int = 8
    ) -> None:
        super().__init__()
        width = visual_width // reduction
        self.norm = nn.LayerNorm(visual_width, eps=_EPS)
        self.down = nn.Linear(visual_width, width, bias=False)  # Wv
        self.hear = nn.Linear(audio_width, width)  # Wa, ba
        self.latents = nn.Parameter(torch.empty(latents, width))  # L
        self.mix = nn.Parameter(torch.ones(()))  # g_x
        self.up = nn.Linear(width, visual_width, bias=False)  # Wo
        self.gate = nn.Parameter(torch.zeros(()))  # g_z: nothing changes before it is learnt
        nn.init.normal_(self.latents, std=_LATENT_STD)
        for layer in (self.down, self.hear, self.up):
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        nn.init.zeros_(self.hear.bias)

    def forward(
        self, patches: Tensor, audio: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What is added to the patch tokens that leave a block.

        Parameters
        ----------
        patches : (B, N, Dv) patch tokens that enter the block.
        audio : (B, M, Da) audio tokens.
        mask : (B, M) bool, which of them are there; without it all are. What stands in place of
            the others doesn't matter. Of an item that has none, the latents alone are the summary.

        Returns
        -------
        update : (B, N, Dv) in the dtype of the patches: g_z Z, all 0 before g_z is learnt.
        attention : (B, N) in 0 to 1: how far a patch attends to the latents that the sound speaks
            to. Over the m latents, the mean of the fusion's softmax, weighted by each latent's
            share of one softmax over all pairs of a latent and an audio token. 1 / m is neutral.
        """
        if mask is not None:
            # Not their weight alone: an absent token may be anything, and 0 * nan is nan.
            audio = audio.masked_fill(~mask[:, :, None], 0)
        heard = self.hear(into(self.hear, audio))  # A' (B, M, d)
        normed = self.norm(into(self.norm, patches))
        seen = self.down(into(self.down, normed))  # V' (B, N, d)
        fused, attention = self._fused(seen, heard, mask)
        z = self.up(into(self.up, F.gelu(fused)))  # Z (B, N, Dv)
        return self.gate * z.to(patches.dtype), attention

    def _fused(self, seen: Tensor, heard: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """V' (B, N, d), A' (B, M, d) -> X (B, N, d), attention (B, N)."""
        exact = torch.promote_types(seen.dtype, torch.float32)
        with torch.autocast(seen.device.type, enabled=False):
            seen, heard, latents = seen.to(exact), heard.to(exact), self.latents.to(exact)
            scale = latents.shape[-1] ** -0.5
            scores = latents @ heard.transpose(1, 2) * scale  # (B, m, M)
            if mask is not None:
                # Not -inf: where every token is absent, its softmax would be nan.
                scores = scores.masked_fill(~mask[:, None], torch.finfo(exact).min)
            listening = scores.softmax(dim=-1)
            if mask is not None:
                listening = listening * mask[:, None]
            summary = latents + listening @ heard  # S (B, m, d)
            shares = (seen @ summary.transpose(1, 2) * scale).softmax(dim=-1)  # (B, N, m)
            spoken_to = scores.logsumexp(dim=-1).softmax(dim=-1)  # (B, m), sum 1
            attention = (shares @ spoken_to[:, :, None])[:, :, 0]
            return seen + self.mix * (shares @ summary), attention


class Adapter(nn.Module):
    """The adapters of a bundle's vision transformer, which itself isn't part of it.

    Attributes
    ----------
    info : free facts about the training (settings, data, metrics), kept in its file.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.info: dict[str, Any] = {}
        self.parts = nn.ModuleDict(
            {
                str(number): AdaAV(
                    config.visual_width, config.audio_width, config.reduction, config.latents
                )
                for number in config.blocks
            }
        )

    def update(
        self, block: int, tokens: Tensor, audio: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What is added behind an adapted block, and its attention map.

        Parameters
        ----------
        tokens : (B, 1 + N, Dv) that enter the block, the class token first.
        audio, mask : see `AdaAV.forward`, which also says what is returned.
        """
        update, attention = self.parts[str(block)](tokens[:, 1:], audio, mask)
        return update, attention

    def run(
        self,
        trunk: Trunk,
        tokens: Tensor,
        audio: Tensor,
        mask: Tensor | None = None,
        stop: int | None = None,
        watch: Watch | None = None,
        left: Tensor | None = None,
    ) -> Tensor:
        """Run a frozen trunk from the first adapted block on, with the adapters.

        What enters that block doesn't depend on the sound and may come from a cache. Gradients
        pass through the blocks, so don't call this under `no_grad` to train.

        Parameters
        ----------
        tokens : (B, 1 + N, Dv) that enter block `config.entry`, the class token first.
        audio : (B, M, Da) audio tokens.
        mask : (B, M) bool, which of them are there; see `token_mask`.
        stop : as of `Trunk.run`: the first block that isn't run.
        watch : is given the (B, N) attention map of each adapted block, by its number; for a
            `dict`, pass `maps.__setitem__`.
        left : (B, 1 + N, Dv) that leave block `config.entry` without its adapter, if that is known:
            it doesn't depend on the sound either, and isn't computed then.

        Returns
        -------
        (B, 1 + N, Dv) tokens that leave block `stop - 1`; class tokens are moved by attention to
        moved patches only.

        Raises
        ------
        ConfigError : trunk or tokens aren't those that the adapter was made for.
        """
        self._check(trunk, tokens, audio, mask)
        tokens, audio = _recordable(tokens), _recordable(audio)
        for number in range(len(trunk.blocks))[self.config.entry : stop]:
            before, known = tokens, left if number == self.config.entry else None
            tokens = trunk.blocks[number](tokens) if known is None else _recordable(known)
            if number not in self.config.blocks:
                continue
            update, attention = self.update(number, before, audio, mask)
            tokens = torch.cat([tokens[:, :1], tokens[:, 1:] + update], dim=1)
            if watch is not None:
                watch(number, attention)
        return tokens

    def _check(self, trunk: Trunk, tokens: Tensor, audio: Tensor, mask: Tensor | None) -> None:
        config = self.config
        whose = f"This adapter was made for the {config.bundle} bundle."
        if trunk.shape.width != config.visual_width or len(trunk.blocks) <= config.blocks[-1]:
            raise ConfigError(
                f"a transformer of {len(trunk.blocks)} blocks, {trunk.shape.width} wide, for an "
                f"adapter of blocks {config.blocks}, {config.visual_width} wide",
                whose,
            )
        if tokens.ndim != 3 or tokens.shape[2] != config.visual_width:
            raise ConfigError(
                f"tokens {tuple(tokens.shape)} for (B, 1 + N, {config.visual_width})", whose
            )
        if audio.ndim != 3 or audio.shape[2] != config.audio_width or not audio.shape[1]:
            raise ConfigError(
                f"audio tokens {tuple(audio.shape)} for (B, M, {config.audio_width})", whose
            )
        if len(audio) != len(tokens):
            raise ConfigError(
                f"{len(audio)} sounds for {len(tokens)} pictures", "Give one for each."
            )
        if mask is not None and (mask.shape != audio.shape[:2] or mask.dtype != torch.bool):
            raise ConfigError(
                f"mask {tuple(mask.shape)} {mask.dtype} for audio tokens {tuple(audio.shape)}",
                "Use booleans, one for each token.",
            )

    @property
    def parameter_count(self) -> int:
        """How many numbers are learnt."""
        return count_parameters(self)

    def describe(self, encoder: nn.Module) -> str:
        """The parameters in words, against those of the encoder it sits in."""
        own, whole = self.parameter_count, count_parameters(encoder)
        return f"{own:,} parameters, {100 * own / whole:.2f} % of the encoder's {whole:,}"

    def save(self, path: Path, info: Mapping[str, Any] | None = None) -> None:
        """Write the adapter to `path` (safetensors, atomic); raises `StorageError`.

        Parameters
        ----------
        info : taken as `self.info` first; anything that JSON can hold. Paths become text.
        """
        from moca_core.models import adapter_file

        if info is not None:
            self.info = dict(info)
        adapter_file.write(path, self.config, self.info, self.state_dict())

    @classmethod
    def load(cls, path: Path, bundle: str = "", device: torch.device | str = "cpu") -> Self:
        """Read an adapter that `save` wrote; strict.

        Parameters
        ----------
        bundle : the one it must belong to; "" takes any.

        Raises
        ------
        WeightsError : it isn't there, no adapter, damaged, of a newer program, or of another
            bundle.
        """
        from moca_core.models import adapter_file

        facts = adapter_file.read_facts(path, bundle)
        with torch.device("meta"):
            adapter = cls(facts.config)
        adapter_file.read_into(adapter, path)
        adapter.info = facts.info
        return adapter.to(device)


def token_mask(lengths: Sequence[int] | Tensor, count: int | None = None) -> Tensor:
    """(B,) numbers of tokens -> (B, M) bool, which of M are there; M is the largest by default."""
    sizes = torch.as_tensor(lengths)
    places = torch.arange(int(sizes.max()) if count is None else count, device=sizes.device)
    return places < sizes[:, None]


def freeze(module: Module) -> Module:
    """The module in eval mode and without gradients of its own; they still pass through it."""
    return module.eval().requires_grad_(False)


def count_parameters(module: nn.Module) -> int:
    """How many numbers the parameters of a module have."""
    return sum(value.numel() for value in module.parameters())


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _recordable(x: Tensor) -> Tensor:
    """A copy of what encoders made in inference mode, where gradients are to be recorded."""
    return x.clone() if x.is_inference() and torch.is_grad_enabled() else x
