"""The arguments that say how to segment, which `segment` and `evaluate` share."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moca_core.commands.arguments import add_set_argument
from moca_core.commands.running import warn
from moca_core.commands.terms import show_terms_once
from moca_core.config import PATCHES, PROPOSAL_MODES, REGION_STRATEGIES, SegmentConfig, with_values
from moca_core.device import PRECISIONS
from moca_core.errors import ConfigError
from moca_core.models.registry import BUNDLE_NAMES, SAMS

if TYPE_CHECKING:
    from moca_core.pipeline.matching import MatchSettings
    from moca_core.pipeline.segmenter import Segmenter

_WITHOUT_TOKENS = ("compact", "paint")
"""Bundle and regions that don't look at the tokens, which are all that an adapter changes."""


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """Add them; what isn't given is the bundle's own choice."""
    parser.add_argument(
        "--bundle", choices=BUNDLE_NAMES, default=BUNDLE_NAMES[0], help="which encoders"
    )
    parser.add_argument(
        "--proposals", choices=PROPOSAL_MODES, default="guided", help="how SAM is prompted"
    )
    parser.add_argument("--sam", choices=SAMS, default="", help="which SAM (the bundle's own)")
    parser.add_argument(
        "--regions",
        choices=REGION_STRATEGIES,
        default="",
        help="how evidence becomes regions (the bundle's own way; with an adapter kmeans)",
    )
    parser.add_argument(
        "--patches",
        choices=PATCHES,
        default=PATCHES[0],
        help="imagebind: what patches attend to before they are compared with the sound",
    )
    parser.add_argument(
        "--image-side",
        type=int,
        default=0,
        metavar="PX",
        help="side of the picture from which patch tokens are made (224; 448 for four times as "
        "many)",
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="FILE",
        help="a trained adapter",
    )
    add_set_argument(
        parser, "thresholds", "move a threshold of the decision, such as hearing.empty_below=0.1"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda:0", help="what computes")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="of the encoders' matrices"
    )
    parser.add_argument(
        "--compile", action="store_true", help="imagebind: compile the transformers when they start"
    )


def config_of(args: argparse.Namespace) -> SegmentConfig:
    """The configuration that the arguments name; raises `ConfigError`."""
    if args.adapter and not args.adapter.is_file():
        raise ConfigError(
            f"{args.adapter}: no such file",
            "Give a trained adapter to --adapter: adapter.safetensors in a run's folder, or "
            "best.safetensors, which is there if something was held out.",
        )
    return SegmentConfig(
        bundle=args.bundle,
        proposals=args.proposals,
        regions=args.regions,
        sam=args.sam,
        patches=args.patches,
        image_side=args.image_side,
        adapter=str(args.adapter or ""),
    )


def settings_of(args: argparse.Namespace, config: SegmentConfig) -> MatchSettings:
    """The bundle's thresholds, moved as the arguments say; raises `ConfigError`."""
    from moca_core.models.bundles import default_settings

    return with_values(default_settings(config), args.thresholds)


def segmenter_of(args: argparse.Namespace) -> Segmenter:
    """The pipeline that the arguments ask for, nothing loaded yet. Shows the bundle's terms."""
    config = config_of(args)
    show_terms_once(config.bundle)
    if config.adapter and (config.bundle, config.regions) == _WITHOUT_TOKENS:
        warn(
            f"With the {config.regions} regions of {config.bundle} an adapter changes no mask: "
            "use kmeans or diffuse with it."
        )
    settings = settings_of(args, config)
    return load_segmenter(config, args.device, settings, args.precision, args.compile)


def load_segmenter(
    config: SegmentConfig,
    device: str,
    settings: MatchSettings | None = None,
    precision: str = "auto",
    compiled: bool = False,
) -> Segmenter:
    """The pipeline; importing it imports torch."""
    from moca_core.pipeline.segmenter import Segmenter

    return Segmenter(config, device, settings, precision=precision, compiled=compiled)


def weights_of(config: SegmentConfig, only: Collection[str] = ()) -> dict[str, Any]:
    """What a summary says of a configuration's weights: their hashes, and which are one's own.

    Parameters
    ----------
    only : the names of the files that are used; by default all.
    """
    from moca_core.models.specs import rows_for
    from moca_core.models.weights import hash_of, is_own, path_of

    used = [row for row in rows_for(config.bundle, config.sam) if not only or row.name in only]
    rows = [row for row in used if path_of(row).is_file()]
    return {
        "weights": {row.name: hash_of(row) for row in rows},
        "weights_not_official": [row.name for row in rows if is_own(row)],
    }
