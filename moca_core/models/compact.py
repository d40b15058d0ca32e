"""The compact bundle: small encoders for a CPU, in the words of the sound groups."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice
from moca_core.heap import keep_freed_memory
from moca_core.models import weights
from moca_core.models.adapted import AdaptedTrunk
from moca_core.models.adapter import HOSTS, Adapter
from moca_core.models.efficientnet_lite import EfficientNetLite
from moca_core.models.person import PersonEvidence, PersonNets
from moca_core.models.pictures import masked_crops
from moca_core.models.prompting import asking
from moca_core.models.registry import bundle_row
from moca_core.models.saliency_vit import SaliencyViT
from moca_core.models.sam import Sam, SamEmbedding, load_sam
from moca_core.models.sound_groups import SoundGroups
from moca_core.models.yamnet import AudioFeatures, YamNet
from moca_core.pipeline.analysis import FrameAnalysis, Proposals, mean_inside, resized, work_size
from moca_core.pipeline.hearing import Heard, Hearing, HearingSettings, listen
from moca_core.pipeline.proposals import (
    ProposalSettings,
    evidence_peaks,
    grid_proposals,
    guided_proposals,
    no_proposals,
)
from moca_core.types import FloatMap, RgbImage, StageEvent


@dataclass(frozen=True)
class LookSettings:
    """How the compact bundle turns its encoders into evidence.

    Attributes
    ----------
    scales : (net, longer side in pixels) of the dense classifiers whose mean is taken.
    crop_weight : of the classified crop against the dense evidence in a proposal's looks.
    kinship : how far a group is taken to be seen where one of its kin is (see `_with_kin`).
    person_doubt : weight of ImageNet's clothes and gear as evidence for a person.
    """

    scales: tuple[tuple[str, int], ...] = (
        ("lite0", 320),
        ("lite0", 448),
        ("lite0", 640),
        ("lite2", 640),
    )
    crop_weight: float = 0.4
    kinship: float = 0.3
    person_doubt: float = 0.5


class CompactBundle:
    """YAMNet, EfficientNet-lite, ViT-S/14 with saliency, person nets, and MobileSAM.

    It names what it finds (sound groups), and leans on labelled image and audio classes for it.
    """

    window_s = bundle_row("compact").window_s
    rate_hz = bundle_row("compact").rate_hz
    batch = 1

    def __init__(
        self,
        device: DeviceChoice,
        look_settings: LookSettings | None = None,
        proposal_settings: ProposalSettings | None = None,
        sam: str = bundle_row("compact").sam,
        adapter: Path | None = None,
    ) -> None:
        self._place = device.device
        self._sam_variant = sam
        self._adapter_file = adapter
        self._adapted: AdaptedTrunk | None = None
        self._look = look_settings or LookSettings()
        self._proposals = proposal_settings or ProposalSettings()
        self.groups = SoundGroups.load()
        self.names = self.groups.display
        self._person = self.groups.index("person")
        rows = zip(self.groups.kinds, self.groups.supers, strict=True)
        self._kin = np.array([kind if kind == "vehicle" else own for kind, own in rows])
        self._looks_like = torch.from_numpy(self.groups.image_matrix).to(self._place)  # (1000, G)
        self._nameless = 1 - self._looks_like.amax(dim=1)  # (1000,) 1: speaks for no group

    def load(self) -> Generator[StageEvent, None, None]:
        """Load every encoder; yields before each one. Raises `WeightsError`."""
        if self._place == "cpu":
            keep_freed_memory()
        steps = 5
        yield StageEvent("Loading YAMNet", 0, steps)
        self._yamnet = YamNet.from_file(weights.locate("yamnet.tflite"), self._place)
        yield StageEvent("Loading the saliency transformer", 1, steps)
        path = weights.locate(bundle_row("compact").saliency_file)
        self._vit = SaliencyViT.from_file(path, self._place)
        yield StageEvent("Loading the classifiers", 2, steps)
        self._nets = {
            name: EfficientNetLite.from_file(weights.locate(file), name, self._place)
            for name, file in _CLASSIFIERS.items()
        }
        yield StageEvent("Loading the person nets", 3, steps)
        self._persons = PersonNets(
            weights.locate("pose_detection.tflite"),
            weights.locate("face_detection_full_range_sparse.tflite"),
            weights.locate("selfie_segmentation.tflite"),
        )
        yield StageEvent("Loading SAM", 4, steps)
        self._sam = load_sam(self._sam_variant, self._place)
        if self._adapter_file is not None:
            self.adapt(Adapter.load(self._adapter_file, "compact"))

    @property
    def sam(self) -> Sam:
        """See `Bundle`."""
        return self._sam

    def adapt(self, adapter: Adapter | None) -> None:
        """Put a trained adapter into the saliency transformer; see `Bundle`."""
        stop = HOSTS["compact"].last + 1
        trunk = self._vit.backbone
        self._adapted = None if adapter is None else AdaptedTrunk(trunk, adapter, stop)

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        """(n,) mono 16 kHz -> (G,) weights of the sound groups, sum 1."""
        found = self.listen(wave)
        weights = self.groups.group_weights(found.scores.mean(axis=0))
        return Heard(weights, None if self._adapted is None else found.embeddings)

    def listen(self, wave: NDArray[np.float32]) -> AudioFeatures:
        """(n,) mono 16 kHz -> class scores and tokens."""
        return self._yamnet.listen(wave)

    def retrieve(self, rgbs: Sequence[RgbImage]) -> NDArray[np.float32]:
        """(B, 1280) unit features of pictures, by which like pictures are found."""
        return np.asarray(self._nets[RETRIEVER].pooled(rgbs).cpu().numpy(), dtype=np.float32)

    def look(
        self, rgbs: Sequence[RgbImage], config: SegmentConfig
    ) -> Generator[StageEvent, None, list[FrameAnalysis]]:
        """Analyse pictures (H, W, 3) uint8, one by one; see `Bundle.look`."""
        found = []
        for rgb in rgbs:
            analysis = yield from self._look_at(rgb, config)
            found.append(analysis)
        return found

    def relate(
        self,
        analysis: FrameAnalysis,
        heard: Heard,
        settings: HearingSettings,
    ) -> tuple[FrameAnalysis, Hearing]:
        """The evidence is there already: the groups that `heard` weighs; see `Bundle`.

        An adapter changes the tokens, by which places are grouped.
        """
        hearing = listen(heard.features, analysis.kindred, settings, self.names)
        if self._adapted is None or analysis.prefix is None or heard.tokens is None:
            return analysis, hearing
        found = self._adapted.enhance(analysis.prefix, heard.tokens)
        tokens = found.tokens.cpu().numpy()
        return replace(analysis, tokens=tokens, attention=found.attention), hearing

    def _look_at(
        self, rgb: RgbImage, config: SegmentConfig
    ) -> Generator[StageEvent, None, FrameAnalysis]:
        size = rgb.shape[0], rgb.shape[1]
        work = work_size(*size)
        yield StageEvent("saliency")
        last = HOSTS["compact"].last
        # What leaves the block before the first adapted one enters that.
        entry = last + 1 if self._adapted is None else self._adapted.entry
        features = self._vit.encode(rgb, blocks=(entry - 1, last), side=config.image_side)
        saliency = resized(features.saliency.cpu().numpy(), work)
        yield StageEvent("classes")
        dense, presence = yield from self._dense_groups(rgb, work)
        yield StageEvent("persons")
        persons = self._persons.find(rgb)
        person_map = self._add_person(dense, presence, persons, work)
        proposals = no_proposals(size)
        if config.proposals != "none":
            yield StageEvent("proposals")
            embedding = self._sam.embed(rgb)
            yield StageEvent("masks")
            proposals = self._propose(embedding, config, dense, presence, saliency, persons.hints())
        yield StageEvent("names of the masks")
        return FrameAnalysis(
            size=size,
            groups=dense,
            presence=presence,
            kindred=self._with_kin(presence),
            saliency=saliency,
            tokens=features.tokens[last][1:].cpu().numpy(),
            token_grid=features.grid,
            proposals=proposals,
            looks=self._name_proposals(rgb, proposals, dense, person_map),
            prefix=None if self._adapted is None else features.tokens[entry - 1].cpu().numpy(),
        )

    def _dense_groups(
        self, rgb: RgbImage, work: tuple[int, int]
    ) -> Generator[StageEvent, None, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Group maps (G, h, w) and presence (G,), means over the scales."""
        maps = np.zeros((len(self.names), *work), dtype=np.float32)
        presence = np.zeros(len(self.names), dtype=np.float32)
        for net, side in self._look.scales:
            classes = self._nets[net].dense_probabilities(rgb, side)  # (1000, h, w)
            groups = torch.einsum("khw,kg->ghw", classes, self._looks_like).cpu().numpy()
            presence += groups.reshape(len(groups), -1).max(axis=1)
            for group, values in enumerate(groups):
                maps[group] += resized(values, work)
            yield StageEvent("classes")
        share = np.float32(1 / len(self._look.scales))
        return maps * share, presence * share

    def _add_person(
        self,
        dense: NDArray[np.float32],
        presence: NDArray[np.float32],
        persons: PersonEvidence,
        work: tuple[int, int],
    ) -> FloatMap:
        """Join the person nets with ImageNet's clothes and gear, in place; returns their map."""
        doubt = self._look.person_doubt
        sure = min(1.0, persons.presence + doubt * float(presence[self._person]))
        found = resized(0.5 * persons.pose_map + 0.5 * sure * persons.tiled_map, work)
        dense[self._person] = np.maximum(doubt * dense[self._person], found)
        presence[self._person] = sure
        return found

    def _with_kin(self, presence: NDArray[np.float32]) -> NDArray[np.float32]:
        """Presence (G,), where groups that eye and ear take for each other lend each other some.

        The kin of a group is its super group; all vehicles are kin.
        """
        best = np.array([presence[self._kin == kin].max() for kin in self._kin], dtype=np.float32)
        return np.maximum(presence, self._look.kinship * best)

    def _propose(
        self,
        embedding: SamEmbedding,
        config: SegmentConfig,
        dense: NDArray[np.float32],
        presence: NDArray[np.float32],
        saliency: FloatMap,
        hints: NDArray[np.float32],
    ) -> Proposals:
        ask = asking(self._sam, embedding)
        if config.proposals == "grid":
            return grid_proposals(ask, embedding.size, self._proposals)
        evidence = np.clip(dense.max(axis=0) / 0.6, 0.0, 1.0)
        interest = np.maximum(saliency, 0.9 * evidence)
        peaks = evidence_peaks(dense, presence, embedding.size, self._proposals)
        return guided_proposals(ask, embedding.size, interest, hints, peaks, self._proposals)

    def _name_proposals(
        self,
        rgb: RgbImage,
        proposals: Proposals,
        dense: NDArray[np.float32],
        person_map: FloatMap,
    ) -> NDArray[np.float32]:
        """(P, G): dense evidence inside each mask, joined with its classified crop."""
        inside = mean_inside(proposals.masks, dense)
        if not len(proposals):
            return inside
        classes = self._crop_classes(rgb, proposals.masks)
        crop = (classes @ self._looks_like).clamp(max=1).cpu().numpy()
        nameless = (classes @ self._nameless).clamp(max=1).cpu().numpy()  # (P,)
        doubt, own = self._look.person_doubt, self._person
        person = mean_inside(proposals.masks, person_map[None])[:, 0]
        crop[:, own] = np.maximum(doubt * crop[:, own], person)
        weight = self._look.crop_weight
        looks = (1 - weight) * inside + weight * crop
        # The person nets mark any salient thing: a crop that is surely a dog, or a thing that makes
        # no sound, is no person.
        looks[:, own] *= (1 - np.delete(crop, own, axis=1).max(axis=1)) * np.sqrt(1 - nameless)
        return looks.astype(np.float32)

    def see_crops(self, rgb: RgbImage, masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(P, G) how much each masked crop looks like each group, by the classifiers alone."""
        looks = self._crop_classes(rgb, masks) @ self._looks_like
        return np.asarray(looks.clamp(max=1).cpu().numpy(), dtype=np.float32)

    def _crop_classes(self, rgb: RgbImage, masks: NDArray[np.bool_]) -> torch.Tensor:
        """(P, 1000) class probabilities of the masked crops, means over the classifiers."""
        classes = torch.zeros(len(masks), len(self._looks_like), device=self._place)
        for name, net in self._nets.items():
            crops = masked_crops(rgb, masks, _CROP_SIDE[name])
            classes += net.probabilities(crops) / len(self._nets)
        return classes


_CLASSIFIERS: Mapping[str, str] = MappingProxyType(
    {
        "lite0": "efficientnet-lite0-57934424.pth",
        "lite2": "efficientnet-lite2-9656183e.pth",
    }
)
RETRIEVER = "lite0"
"""The classifier whose features before the last layer say which pictures are alike."""
RETRIEVER_FILE = _CLASSIFIERS[RETRIEVER]
_CROP_SIDE: Mapping[str, int] = MappingProxyType({"lite0": 224, "lite2": 256})
