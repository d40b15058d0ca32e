"""What looks at the pictures: the method, or a baseline; for the commands that score it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from moca_core.commands import method
from moca_core.commands.running import warn
from moca_core.config import SegmentConfig, fingerprint
from moca_core.device import choose_device
from moca_core.evaluation.baselines import (
    BASELINES,
    EVIDENCE,
    PROPOSALS,
    SALIENCY,
    Look,
    Parts,
    Saliency,
)
from moca_core.export.results import versions
from moca_core.models.registry import bundle_row
from moca_core.types import FloatMap, RgbImage

if TYPE_CHECKING:
    from moca_core.pipeline.segmenter import Segmenter

METHOD = "none"
"""What `--baseline` names the method itself."""


def add_baseline_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--baseline`, which names a row of `BASELINES`."""
    rows = "; ".join(f"{row.name}: {row.help}" for row in BASELINES.values())
    parser.add_argument(
        "--baseline",
        choices=(METHOD, *BASELINES),
        default=METHOD,
        help=f"score a baseline instead of the method ({rows})",
    )


def load_look(
    args: argparse.Namespace, name: str, segmenter: Segmenter | None = None
) -> tuple[Look, dict[str, Any]]:
    """The method (`METHOD`) or a baseline, and what a report says about it.

    Encoders are loaded for the first picture: missing weights show there.

    Parameters
    ----------
    segmenter : the method's pipeline, if it is made already.

    Raises
    ------
    ConfigError : an argument can't work, or not with that baseline.
    """
    said: dict[str, Any] = {"baseline": name, "versions": versions()}
    if name == METHOD:
        segmenter = segmenter or method.segmenter_of(args)
        return segmenter.listener, said | _about(segmenter)
    row = BASELINES[name]
    if args.thresholds or args.adapter:
        warn("A baseline has no thresholds and no adapter: --set and --adapter do nothing.")

    def load_segmenter() -> Segmenter:
        plain: dict[str, Any] = {"thresholds": [], "adapter": None}
        if row.needs == EVIDENCE:
            plain["proposals"] = "none"
        segmenter = method.segmenter_of(argparse.Namespace(**(vars(args) | plain)))
        said.update(_about(segmenter))
        return segmenter

    choice = choose_device(args.device, "float32")
    if row.needs not in (EVIDENCE, PROPOSALS):
        said["device"] = asdict(choice)
    load_saliency = _SALIENCIES[args.bundle]
    if row.needs == SALIENCY:
        file = bundle_row(args.bundle).saliency_file
        said |= method.weights_of(SegmentConfig(bundle=args.bundle), {file})
    parts = Parts(lambda: _deferred(lambda: load_saliency(choice.device)), load_segmenter)
    return row.make(parts), said


def _about(segmenter: Segmenter) -> dict[str, Any]:
    config = segmenter.config
    return {
        "device": asdict(segmenter.device),
        **asdict(config),
        **method.weights_of(config),
        "fingerprint": fingerprint(config),
        "thresholds": asdict(segmenter.settings),
    }


def _deferred(load: Callable[[], Saliency]) -> Saliency:
    """What `load` gives, loaded when it is first asked."""
    loaded = cache(load)
    return lambda rgb: loaded()(rgb)


def _transformer_saliency(device: str) -> Saliency:
    """Saliency of the compact bundle's transformer; raises `WeightsError`."""
    from moca_core.models import weights
    from moca_core.models.saliency_vit import SaliencyViT
    from moca_core.pipeline.analysis import resized

    model = SaliencyViT.from_file(weights.locate(bundle_row("compact").saliency_file), device)

    def saliency(rgb: RgbImage) -> FloatMap:
        values = model.encode(rgb, blocks=()).saliency.cpu().numpy()
        return resized(values, (rgb.shape[0], rgb.shape[1]))

    return saliency


def _dino_saliency(device: str) -> Saliency:
    """Where DINO's class token looks, the imagebind bundle's saliency; raises `WeightsError`."""
    from moca_core.models import weights
    from moca_core.models.dino import Dino
    from moca_core.models.imagebind_bundle import JointSettings
    from moca_core.pipeline.analysis import resized

    path = weights.locate(bundle_row("imagebind").saliency_file)
    dino, side = Dino.from_file(path, device), JointSettings().saliency_side

    def saliency(rgb: RgbImage) -> FloatMap:
        (values,) = dino.attentions([rgb], side)
        return resized(values, (rgb.shape[0], rgb.shape[1]))

    return saliency


_SALIENCIES: Mapping[str, Callable[[str], Saliency]] = MappingProxyType(
    {"compact": _transformer_saliency, "imagebind": _dino_saliency}
)
"""By bundle: the encoder of saliency alone, on a device."""
