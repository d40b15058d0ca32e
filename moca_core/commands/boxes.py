"""`moca boxes`: score real clips against boxes of what sounds, as VGG-SS does."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moca_core.cli import DONE, FAILED, STOPPED
from moca_core.commands import method
from moca_core.commands.arguments import count
from moca_core.commands.looking import METHOD, load_look
from moca_core.commands.running import Scoring, StopRequest, say, warn
from moca_core.evaluation.baselines import BASELINES, Look
from moca_core.evaluation.box_table import read_box_table
from moca_core.evaluation.boxes import CLAIMS, score_boxes, text_tables
from moca_core.evaluation.layouts.cases import spread
from moca_core.export.results import prepare_file
from moca_core.fileio import write_json
from moca_core.models.registry import bundle_row

if TYPE_CHECKING:
    from moca_core.pipeline.segmenter import Segmenter

_CLAIMED = "; ".join(f"{row.name}: {row.help}" for row in CLAIMS.values())
HELP = (
    "Score clips against boxes of what sounds in their middle frame. TABLE is vggss.json of "
    "VGG-SS, or a CSV file with the columns file and bbox, in which a cell is a JSON list of "
    "[x0, y0, x1, y1] from 0 to 1; clips without a box are left out. The middle frame is looked "
    "at, with the sound around it, and compared with the boxes at 224x224 by three regions "
    f"({_CLAIMED}). cIoU@0.5 is the share of clips whose IoU is at least 0.5, AUC the area under "
    "that share over thresholds from 0 to 1, as in the script of Localizing Visual Sounds the "
    "Hard Way; IoU its mean. peak: whether the highest place of the soft map lies in a box (if it "
    "is several, their share). Standard errors are in brackets."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("table", type=Path, metavar="TABLE", help="vggss.json, or a CSV file")
    parser.add_argument(
        "--clips", type=Path, metavar="DIR", help="folder of the clips (that of the table)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--limit", type=count, metavar="N", help="only N clips, spread evenly over the table"
    )
    rows = "; ".join(f"{row.name}: {row.help}" for row in BASELINES.values())
    parser.add_argument(
        "--beside",
        choices=tuple(BASELINES),
        action="append",
        default=[],
        help=f"score a baseline beside the method; may be repeated ({rows})",
    )
    method.add_method_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score, print the tables, write what was asked for."""
    from moca_core.commands.progress import ProgressPrinter

    clips = read_box_table(args.table, args.clips)
    clips = [clips[place] for place in spread(len(clips), args.limit)]
    if args.json:
        # Before the work, not after it.
        prepare_file(args.json)
    segmenter = method.segmenter_of(args)
    looks, about = looks_of(args, segmenter)
    config = {"table": str(args.table), "limit": args.limit, "predictors": about}
    window_s = bundle_row(args.bundle).window_s
    events = chain(segmenter.load(), score_boxes(clips, looks, config, window_s))
    printer = ProgressPrinter(args.quiet)
    scoring = Scoring(printer, "Scoring", "clips")
    try:
        with StopRequest() as stop:
            scoring.follow(events, stop)
    finally:
        printer.finish()
    report = scoring.report
    if report is None:
        warn(f"Stopped after {scoring.done} of {len(clips)} clips; no report is written.")
        return STOPPED
    say(text_tables(report).rstrip())
    if args.json:
        write_json(args.json, report)
    if report["failed"]:
        warn(f"moca: {len(report['failed'])} of {len(clips)} clips could not be read (see above)")
        return FAILED
    return DONE


def looks_of(
    args: argparse.Namespace, segmenter: Segmenter
) -> tuple[dict[str, Look], dict[str, Any]]:
    """The method, named as its bundle, and the baselines beside it; what a report says of each."""
    # Thresholds and adapter are the method's.
    plain = argparse.Namespace(**(vars(args) | {"thresholds": [], "adapter": None}))
    look, said = load_look(args, METHOD, segmenter)
    looks, about = {args.bundle: look}, {args.bundle: said}
    for name in dict.fromkeys(args.beside):
        looks[name], about[name] = load_look(plain, name)
    return looks, about
