"""`moca match`: what in one picture looks like what in another, by PMA."""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moca_core.cli import DONE
from moca_core.commands.arguments import seconds
from moca_core.commands.running import say
from moca_core.commands.terms import show_terms_once
from moca_core.fileio import write_bytes
from moca_core.models.registry import BUNDLE_NAMES
from moca_core.pipeline.pma_config import MODES, PmaConfig

if TYPE_CHECKING:
    from moca_core.media.still import Still
    from moca_core.pipeline.pma import PmaResult

HELP = (
    "Compare two pictures place by place, as the training does. Draws both with the best matches "
    "between them and with their cost maps: how badly each place matches the other picture."
)
_DEFAULT = PmaConfig()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("a", type=Path, metavar="A", help="picture or clip")
    parser.add_argument("b", type=Path, metavar="B", help="picture or clip to compare it with")
    for name in ("a", "b"):
        parser.add_argument(
            f"--at-{name}",
            type=seconds,
            metavar="S",
            help=f"when in the clip {name.upper()} (its first picture)",
        )
    parser.add_argument("--out", required=True, type=Path, metavar="PNG", help="picture to write")
    parser.add_argument(
        "--npz", type=Path, metavar="FILE", help="also write costs, maps and matches as arrays"
    )
    parser.add_argument(
        "--bundle", choices=BUNDLE_NAMES, default=BUNDLE_NAMES[0], help="whose features"
    )
    parser.add_argument(
        "--adapter",
        type=Path,
        metavar="FILE",
        help="a trained adapter; both pictures are then seen with the sound of clip A",
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda:0", help="what computes")
    group = parser.add_argument_group("costs")
    group.add_argument(
        "--mode", choices=MODES, default=_DEFAULT.mode, help=f"which ({_DEFAULT.mode})"
    )
    group.add_argument(
        "--window",
        type=int,
        default=_DEFAULT.window,
        metavar="W",
        help=f"side of the windows that are compared, in locations, odd ({_DEFAULT.window})",
    )
    group.add_argument(
        "--alpha",
        type=float,
        default=_DEFAULT.alpha,
        metavar="X",
        help=f"weight of SSD against NCC, 0 to 1 ({_DEFAULT.alpha:g})",
    )
    group.add_argument(
        "--radius",
        type=int,
        metavar="R",
        help="search no further than this, in locations; 0: the same place (everywhere)",
    )
    group.add_argument(
        "--tau",
        type=float,
        default=_DEFAULT.tau,
        metavar="T",
        help=f"temperature: less lets the best match alone count ({_DEFAULT.tau:g})",
    )


def run(args: argparse.Namespace) -> int:
    """Read both, compare them, and write what was asked for."""
    from moca_core.commands.progress import ProgressPrinter
    from moca_core.export.match_sheet import match_sheet, save_sheet
    from moca_core.export.results import prepare_file
    from moca_core.media.still import open_still
    from moca_core.pipeline import pma_features
    from moca_core.pipeline.pma import compare

    config = PmaConfig(args.window, args.alpha, args.tau, args.radius, args.mode)
    stills = open_still(args.a, args.at_a), open_still(args.b, args.at_b)
    for path in (args.out, args.npz):
        # Before the work, not after it.
        if path is not None:
            prepare_file(path)
    show_terms_once(args.bundle)
    printer = ProgressPrinter(args.quiet)
    try:
        printer.update("Loading the encoder", 0, 0, "")
        encoder = pma_features.load_encoder(args.bundle, args.device)
        adapted = None
        if args.adapter is not None:
            adapted = pma_features.load_adapted(encoder, args.adapter)
        printer.update("Comparing", 0, 0, "")
        sound = None if adapted is None else pma_features.sound_of(encoder, stills[0])
        Fa, Fb = (pma_features.features(encoder, x.rgb, adapted, sound) for x in stills)
        result = compare(Fa, Fb, encoder.grid, config)
    finally:
        printer.finish()
    titles = title(stills[0]), title(stills[1])
    words = heading(args, result)
    save_sheet(match_sheet(stills[0].rgb, stills[1].rgb, result, titles, words), args.out)
    if args.npz:
        save_arrays(result, args.npz, {"bundle": args.bundle, "pictures": titles, **asdict(config)})
    say(f"{' and '.join(titles)}: distance {result.distance:.4f} -> {args.out}", args.quiet)
    return DONE


def title(still: Still) -> str:
    """`dog.mp4 at 0:01.00`."""
    from moca_core.export.drawing import clock

    return (
        still.path.name if still.time_s is None else f"{still.path.name} at {clock(still.time_s)}"
    )


def heading(args: argparse.Namespace, result: PmaResult) -> str:
    """The distance and how it was computed, in a line."""
    where = "anywhere" if args.radius is None else f"within {args.radius} locations"
    where = "at the same place" if args.radius == 0 else where
    alpha = f", alpha {args.alpha:g}" if args.mode == MODES[0] else ""
    return (
        f"distance {result.distance:.4f} by {args.mode}, window {args.window}{alpha}, "
        f"tau {args.tau:g}, matches {where}; features of {args.bundle}"
    )


def save_arrays(result: PmaResult, path: Path, about: dict[str, object]) -> None:
    """Write the arrays of `PmaResult` as NPZ, `about` in them as JSON; raises `StorageError`."""
    data = io.BytesIO()
    np.savez_compressed(
        data,
        grid=np.array(result.grid),
        costs=result.costs,
        cost_a=result.cost_a,
        cost_b=result.cost_b,
        match_a=result.match_a,
        match_b=result.match_b,
        distance=np.array(result.distance),
        about=np.array(json.dumps(about)),
    )
    write_bytes(path, data.getvalue())
