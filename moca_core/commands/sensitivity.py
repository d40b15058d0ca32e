"""`moca sensitivity`: how much the masks of a data set depend on the sound, and to what avail."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

from moca_core.cli import STOPPED
from moca_core.commands import method
from moca_core.commands.arguments import count
from moca_core.commands.evaluate import tell_incomplete
from moca_core.commands.looking import METHOD, add_baseline_argument, load_look
from moca_core.commands.running import Scoring, StopRequest, say, warn
from moca_core.evaluation.layouts import LAYOUTS
from moca_core.evaluation.sensitivity import CHANGES, sensitivity
from moca_core.evaluation.sensitivity_report import roc_plot, text_tables
from moca_core.export.results import prepare_file
from moca_core.fileio import write_bytes, write_json
from moca_core.models.registry import bundle_row

_CHANGED = "; ".join(f"{row.name}: {row.help}" for row in CHANGES.values())
HELP = (
    "Say how much the masks depend on the sound: each picture is looked at once, and asked with "
    f"its own sounds and with changed ones ({_CHANGED}). DATASET and --layout are those of `moca "
    "evaluate`. First table: alike, mean IoU of the masks for both sounds; unchanged, share of "
    "masks that are equal; empty; IoU with the truth of the own sound, and by how much that of "
    "the own sound's masks is more. Second table, for pictures with one of several sounds at a "
    "time (ms_one): the share of pictures whose sounds all give the right mask, nearest to the "
    "truth of that sound. A model that ignores the sound has 0 there. Third table: sounds that "
    "nothing visible makes (absent: those of the data set), how many pictures are left empty, and "
    "the area under the ROC curve of the score by which they are told from own sounds, which "
    "chance has at 0.5. Standard errors are in brackets, - means: not defined there."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the data set")
    parser.add_argument(
        "--layout", choices=tuple(LAYOUTS), required=True, help="how it is laid out"
    )
    parser.add_argument("--split", metavar="NAME", help="only the cases of this split")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.svg", help="draw the ROC curves there, as SVG"
    )
    parser.add_argument(
        "--limit",
        type=count,
        metavar="N",
        help="only N pictures, spread evenly, each with all of its sounds",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="fixes which sounds are exchanged, and the noise (0)"
    )
    add_baseline_argument(parser)
    method.add_method_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, print the tables, write what was asked for."""
    from moca_core.commands.progress import ProgressPrinter

    if args.seed < 0:
        args.usage_error(f"argument --seed: {args.seed} is less than 0")
    if args.plot and args.plot.suffix.lower() != ".svg":
        args.usage_error(f"argument --plot: {args.plot} doesn't end with .svg")
    data = LAYOUTS[args.layout](args.dataset, args.split, None)
    for path in (args.json, args.plot):
        # Before the work, not after it.
        if path is not None:
            prepare_file(path)
    segmenter = method.segmenter_of(args) if args.baseline == METHOD else None
    look, config = load_look(args, args.baseline, segmenter)
    window_s = bundle_row(args.bundle).window_s
    config |= {
        "dataset": str(args.dataset),
        "layout": args.layout,
        "split": data.split,
        "limit": args.limit,
        "swap_seed": args.seed,
    }
    events = chain(
        segmenter.load() if segmenter else (),
        sensitivity(data, look, config, args.limit, args.seed, window_s),
    )
    printer = ProgressPrinter(args.quiet)
    scoring = Scoring(printer, "Listening", "pictures")
    try:
        with StopRequest() as stop:
            scoring.follow(events, stop)
    finally:
        printer.finish()
    report = scoring.report
    if report is None:
        reached = f" after {scoring.done} of {scoring.total} pictures" if scoring.total else ""
        warn(f"Stopped{reached}; no report is written.")
        return STOPPED
    say(text_tables(report).rstrip())
    if args.json:
        write_json(args.json, report)
    if args.plot:
        write_bytes(args.plot, roc_plot(report).encode())
    return tell_incomplete(report, data)
