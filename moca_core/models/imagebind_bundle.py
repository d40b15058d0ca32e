"""The paper's bundle: ImageBind, DINO and SAM, without a word or a class label."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice
from moca_core.errors import PrecisionError, WeightsError
from moca_core.heap import keep_freed_memory
from moca_core.models import weights
from moca_core.models.adapted import AdaptedTrunk
from moca_core.models.adapter import Adapter
from moca_core.models.compute import BatchSize, Compiler
from moca_core.models.dino import Dino
from moca_core.models.imagebind import SIDE, ImageBind
from moca_core.models.pictures import masked_crops
from moca_core.models.prompting import asking
from moca_core.models.registry import bundle_row
from moca_core.models.sam import Sam, SamEmbedding, load_sam
from moca_core.pipeline.analysis import (
    WORK_SIDE,
    FrameAnalysis,
    Proposals,
    mean_around,
    mean_inside,
    resized,
    work_size,
)
from moca_core.pipeline.automatic import automatic_proposals
from moca_core.pipeline.clusters import batch_clusters, cluster_centres, normalised, token_clusters
from moca_core.pipeline.hearing import Heard, Hearing, HearingSettings
from moca_core.pipeline.matching import MatchSettings
from moca_core.pipeline.proposals import (
    GridSettings,
    ProposalSettings,
    guided_proposals,
    no_proposals,
)
from moca_core.pipeline.regions import RegionSettings
from moca_core.types import FloatMap, NoteEvent, RgbImage, StageEvent

_ROW = bundle_row("imagebind")
IMAGEBIND_FILE = "imagebind_huge.pth"
DINO_FILE = _ROW.saliency_file
_GPU_BATCH = 8


@dataclass(frozen=True)
class JointSettings:
    """How likeness in ImageBind's joint space becomes evidence (METHOD.md section 7).

    Attributes
    ----------
    temperature : by which cosines are scaled; 20 is what ImageBind's audio was trained with.
    even : scaled likeness above the picture's mean at which a place is as likely to sound as not.
    ring : width of the ring around a proposal against which its own evidence is held, as a share
        of the picture's longer side: a token of 16 x 16.
    contrast : weight of that difference beside the evidence inside.
    saliency_side : side in pixels of the squashed picture that DINO sees.
    """

    temperature: float = 20.0
    even: float = 1.0
    ring: float = 1 / 16
    contrast: float = 0.5
    saliency_side: int = 448


def match_settings(config: SegmentConfig) -> MatchSettings:
    """Thresholds for evidence that is a likeness to the sound itself.

    There is one group, what is heard: nothing competes for a place, so the region is the evidence
    as it is, a threshold on it decides, and no picture is taken for empty before that.
    """
    return MatchSettings(
        hearing=HearingSettings(empty_below=-1.0),
        region=RegionSettings(
            floor=0.0,
            sharpness=1.0,
            rivalry=0.0,
            doubt=0.0,
            suppression=0.0,
            spare=1.0,
            salience=0.0,
            relative=False,
            clusters=config.clusters,
            seed=config.seed,
        ),
    )


@dataclass(frozen=True, eq=False)
class _Sight:
    """What ImageBind makes of one picture; see `FrameAnalysis`."""

    tokens: NDArray[np.float32]
    labels: NDArray[np.int64]
    joint: NDArray[np.float32]
    prefix: NDArray[np.float32] | None
    grid: tuple[int, int]


class ImageBindBundle:
    """ImageBind's trunks and joint space, DINO's attention as saliency, and SAM."""

    names: tuple[str, ...] = ("Sounding object",)
    window_s = _ROW.window_s
    rate_hz = _ROW.rate_hz

    def __init__(
        self,
        device: DeviceChoice,
        settings: JointSettings | None = None,
        proposal_settings: ProposalSettings | None = None,
        grid_settings: GridSettings | None = None,
        sam: str = _ROW.sam,
        compiled: bool = False,
        adapter: Path | None = None,
    ) -> None:
        self._device = device
        self._settings = settings or JointSettings()
        self._proposals = proposal_settings or ProposalSettings()
        self._grid = grid_settings or GridSettings()
        self._sam_variant = sam
        self._compiler = Compiler(compiled)
        self._adapter_file = adapter
        self._adapted: AdaptedTrunk | None = None
        self._alone = True
        self._fitting = BatchSize(1 if device.device == "cpu" else _GPU_BATCH)

    @property
    def batch(self) -> int:
        """How many pictures fit at once; less after memory ran out."""
        return self._fitting.size

    def load(self) -> Generator[StageEvent, None, None]:
        """Load every encoder; yields before each one. Raises `WeightsError`."""
        place, steps = self._device.device, 3
        dtype = getattr(torch, self._device.dtype)
        if place == "cpu":
            keep_freed_memory()
        seeing, retrieving = weights.locate(IMAGEBIND_FILE), weights.locate(DINO_FILE)
        yield StageEvent("Loading ImageBind", 0, steps)
        imagebind = ImageBind.from_file(seeing, place, dtype)
        yield StageEvent("Loading DINO", 1, steps)
        dino = Dino.from_file(retrieving, place, dtype)
        yield StageEvent("Loading SAM", 2, steps)
        self.use(imagebind, dino, load_sam(self._sam_variant, place, dtype))

    def use(self, imagebind: ImageBind, dino: Dino, sam: Sam) -> None:
        """Take encoders that are there already, on the bundle's device."""
        for model in (imagebind, dino, sam):
            self._compiler.compile_blocks(model)
        self._imagebind, self._dino, self._sam = imagebind, dino, sam
        if self._adapter_file is not None:
            self.adapt(Adapter.load(self._adapter_file, _ROW.name))

    @property
    def sam(self) -> Sam:
        """See `Bundle`."""
        return self._sam

    def adapt(self, adapter: Adapter | None) -> None:
        """Put a trained adapter into the vision trunk; see `Bundle`."""
        trunk = self._imagebind.vision
        stop = len(trunk.blocks)
        self._adapted = None if adapter is None else AdaptedTrunk(trunk, adapter, stop)

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        """(n,) mono 16 kHz -> (De,) unit audio feature in the joint space."""
        sound = self._imagebind.hear(wave)
        embedding = _array(sound.embedding)
        self._check(embedding, "ImageBind")
        tokens = None if self._adapted is None else _array(sound.tokens)
        return Heard(normalised(embedding[None])[0], tokens)

    def retrieve(self, rgbs: Sequence[RgbImage]) -> NDArray[np.float32]:
        """(B, D) unit features of pictures in DINO's space, by which like pictures are found."""
        return _array(self._dino.features(rgbs))

    def look(
        self, rgbs: Sequence[RgbImage], config: SegmentConfig
    ) -> Generator[StageEvent | NoteEvent, None, list[FrameAnalysis]]:
        """Analyse pictures (H, W, 3) uint8, as many at once as fit; see `Bundle.look`."""
        fitted = self.batch
        yield StageEvent("tokens")
        sights = self._fitting.run(lambda part: self._see(part, config), rgbs)
        yield StageEvent("saliency")
        saliencies = self._fitting.run(self._attend, rgbs)
        embeddings: Sequence[SamEmbedding | None] = [None] * len(rgbs)
        if config.proposals != "none":
            yield StageEvent("proposals")
            embeddings = self._fitting.run(self._embed, rgbs)
        if self.batch < fitted:
            yield NoteEvent(f"Memory ran out: {self.batch} frames are looked at at once from here.")
        found = []
        for rgb, sight, saliency, embedding in zip(
            rgbs, sights, saliencies, embeddings, strict=True
        ):
            size = rgb.shape[0], rgb.shape[1]
            salient = resized(saliency, work_size(*size))
            proposals = no_proposals(size)
            if embedding is not None:
                yield StageEvent("masks")
                proposals = yield from self._propose(embedding, config, sight, salient)
            found.append(_analysis(size, sight, salient, proposals))
        return found

    def _see(self, rgbs: Sequence[RgbImage], config: SegmentConfig) -> list[_Sight]:
        """Tokens, their clusters and their joint features, of as many pictures as there are."""
        last = len(self._imagebind.vision.blocks) - 1
        alone = self._alone = config.patches == "alone"
        # What leaves the block before the first adapted one enters that.
        entry = last + 1 if self._adapted is None else self._adapted.entry
        blocks = (entry - 1, last)
        seen = self._imagebind.see(rgbs, config.image_side, blocks=blocks, alone=alone)
        tokens = seen.tokens[last][:, 1:]  # (B, N, Dv)
        arrays = _array(tokens)
        self._check(arrays, "ImageBind")
        if tokens.is_cuda:
            labels = batch_clusters(tokens, config.clusters, config.seed)
        else:
            labels = np.stack([token_clusters(x, config.clusters, config.seed) for x in arrays])
        joint = _array(torch.cat([seen.embedding[:, None], seen.patches], dim=1))
        self._check(joint, "ImageBind")
        prefixes: Sequence[NDArray[np.float32] | None] = [None] * len(rgbs)
        if self._adapted is not None:
            prefixes = list(_array(seen.tokens[entry - 1]))
        rows = zip(arrays, labels, joint, prefixes, strict=True)
        return [_Sight(*row, seen.grid) for row in rows]

    def _embed(self, rgbs: Sequence[RgbImage]) -> list[SamEmbedding]:
        found = self._sam.encode(rgbs, len(rgbs))
        for embedding in found:
            self._check(_array(embedding.features.sum()), "SAM")
        return found

    def _check(self, values: NDArray[np.float32], name: str) -> None:
        """Refuse what isn't a number: it would make masks of nothing."""
        if np.isfinite(values).all():
            return
        if self._device.dtype == "float32":
            raise WeightsError(
                f"{name}'s features aren't numbers: its weights are damaged",
                "Run `moca weights verify imagebind`; a checkpoint of your own must be a good one.",
            )
        raise PrecisionError(
            f"{name}'s features don't fit into {self._device.dtype}",
            "Use --precision bfloat16, or float32.",
        )

    def _attend(self, rgbs: Sequence[RgbImage]) -> Sequence[FloatMap]:
        found = self._dino.attentions(rgbs, self._settings.saliency_side)
        self._check(found, "DINO")
        return list(found)

    def _propose(
        self, embedding: SamEmbedding, config: SegmentConfig, sight: _Sight, saliency: FloatMap
    ) -> Generator[StageEvent, None, Proposals]:
        if config.proposals == "grid":
            return (yield from automatic_proposals(self._sam, embedding, self._grid))
        height, width = embedding.size
        hints = cluster_centres(sight.labels, sight.grid) * np.array([width, height], np.float32)
        return guided_proposals(
            asking(self._sam, embedding),
            embedding.size,
            saliency,
            hints,
            np.zeros((0, 2), np.float32),
            self._proposals,
        )

    def relate(
        self,
        analysis: FrameAnalysis,
        heard: Heard,
        settings: HearingSettings,
    ) -> tuple[FrameAnalysis, Hearing]:
        """Evidence of each place and proposal for what is heard, the one group; see `Bundle`.

        A place has half of the evidence that there can be where its scaled cosine with the sound
        is `JointSettings.even` above the picture's mean.
        """
        analysis = self._with_adapter(analysis, heard)
        assert analysis.joint is not None  # `look` sets it
        # (1 + N,) cosines, the whole picture first
        likeness = analysis.joint @ heard.features
        places = likeness[1:] - likeness[1:].mean()
        evidence = 0.5 * self._settings.temperature / self._settings.even * places
        work = (analysis.saliency.shape[0], analysis.saliency.shape[1])
        group = resized(evidence.reshape(analysis.token_grid).astype(np.float32), work)[None]
        seen = np.clip(group.reshape(1, -1).max(axis=1), 0.0, 1.0)
        related = replace(
            analysis,
            groups=group,
            presence=seen,
            kindred=seen,
            looks=self._looks(analysis.proposals, group),
        )
        one, none = np.ones(1, np.float32), np.zeros(1, np.float32)
        return related, Hearing(strength=one, silence=none, agreement=float(likeness[0]))

    def see_crops(self, rgb: RgbImage, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(P, De) unit features of the masked crops in the joint space."""
        crops = masked_crops(rgb, masks, SIDE)
        found = np.stack(self._fitting.run(self._embed_whole, list(crops)))
        self._check(found, "ImageBind")
        return found

    def _embed_whole(self, rgbs: Sequence[RgbImage]) -> Sequence[NDArray[np.float32]]:
        return list(_array(self._imagebind.see(rgbs).embedding))

    def _with_adapter(self, analysis: FrameAnalysis, heard: Heard) -> FrameAnalysis:
        """Tokens and patch features that know the sound; the same without an adapter."""
        if self._adapted is None or analysis.prefix is None or heard.tokens is None:
            return analysis
        found = self._adapted.enhance(analysis.prefix, heard.tokens)
        assert analysis.joint is not None  # `look` sets it
        with torch.inference_mode():
            places = self._imagebind.vision_head(found.alone if self._alone else found.tokens)
        return replace(
            analysis,
            tokens=_array(found.tokens),
            labels=None,
            attention=found.attention,
            joint=np.concatenate([analysis.joint[:1], _array(places)]),
        )

    def _looks(self, proposals: Proposals, group: NDArray[np.float32]) -> NDArray[np.float32]:
        """(P, 1): the evidence inside each proposal, and how far it stands out of its ring."""
        inside = mean_inside(proposals.masks, group)
        margin = max(1, round(self._settings.ring * WORK_SIDE))
        around = mean_around(proposals.masks, group, margin)
        weight = self._settings.contrast
        return ((1 - weight) * inside + weight * (inside - around)).astype(np.float32)


def _analysis(
    size: tuple[int, int], sight: _Sight, saliency: FloatMap, proposals: Proposals
) -> FrameAnalysis:
    """A frame that no sound was related to yet: there is no group."""
    nothing = np.zeros(0, np.float32)
    return FrameAnalysis(
        size=size,
        groups=np.zeros((0, *saliency.shape), np.float32),
        presence=nothing,
        kindred=nothing,
        saliency=saliency,
        tokens=sight.tokens,
        token_grid=sight.grid,
        proposals=proposals,
        looks=np.zeros((len(proposals), 0), np.float32),
        labels=sight.labels,
        joint=sight.joint,
        prefix=sight.prefix,
    )


def _array(values: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(values.float().cpu().numpy(), dtype=np.float32)
