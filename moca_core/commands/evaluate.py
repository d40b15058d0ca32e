"""`moca evaluate`: score the method, or a baseline that doesn't listen, on a data set."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moca_core.cli import DONE, FAILED, STOPPED
from moca_core.commands import method
from moca_core.commands.arguments import count
from moca_core.commands.looking import add_baseline_argument, load_look
from moca_core.commands.running import StopRequest, say, show, warn
from moca_core.evaluation.baselines import predict_with
from moca_core.evaluation.layouts import LAYOUTS, DataSet
from moca_core.evaluation.runner import CaseEvent, ReportEvent, evaluate, text_table
from moca_core.export.results import prepare_folder
from moca_core.fileio import write_json
from moca_core.models.registry import bundle_row

HELP = (
    "Score the method on a data set with masks. Prints a table with standard errors in brackets. "
    "DATASET: for the layout pairs the folder that holds manifest.csv, with the columns id, split, "
    "subset, category, image, mask, audio (paths in that folder); for s4 and ms3 the folder of "
    "AVSBench, or the one that holds s4_meta_data.csv or ms3_meta_data.csv. There each frame is a "
    "case, with the sound around the middle of its second, scored at 224x224. m_j: mean IoU of the "
    "masks (of the background where the truth is empty); f_binary: F-score (beta^2 0.3) of the "
    "masks; f_max_clip and f_max_dataset: of the soft masks at the best threshold of each clip (or "
    "case), and of the whole set; iou_dataset: intersections over unions of all pixels; empty: "
    "share of empty masks; right, both, other (ms_one): whose true mask is nearest, this sound's, "
    "that of both, the other sound's. - means: not defined there."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of DESIGN.md section 4."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the data set")
    parser.add_argument(
        "--layout", choices=tuple(LAYOUTS), required=True, help="how it is laid out"
    )
    parser.add_argument(
        "--split", metavar="NAME", help="only the cases of this split (s4, ms3: test)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--save-masks",
        type=Path,
        metavar="DIR",
        help="write the masks there (s4, ms3: in the tree of AVSBench's scripts)",
    )
    add_baseline_argument(parser)
    parser.add_argument(
        "--limit",
        type=count,
        metavar="N",
        help="only N cases, spread evenly over the data set (s4, ms3: clip by clip, 5 cases each)",
    )
    method.add_method_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table, write what was asked for."""
    from moca_core.commands.progress import ProgressPrinter

    data = LAYOUTS[args.layout](args.dataset, args.split, args.limit)
    for folder in (args.save_masks, args.json.parent if args.json else None):
        # Before the work, not after it.
        if folder is not None:
            prepare_folder(folder)
    look, config = load_look(args, args.baseline)
    predict = predict_with(look)
    config |= {
        "dataset": str(args.dataset),
        "layout": args.layout,
        "split": data.split,
        "limit": args.limit,
    }
    window_s = bundle_row(args.bundle).window_s
    if data.clips:
        config["window_s"] = window_s
    printer = ProgressPrinter(args.quiet)
    report: dict[str, Any] | None = None
    done = 0
    try:
        with StopRequest() as stop:
            for event in evaluate(data, predict, config, args.save_masks, window_s):
                if isinstance(event, ReportEvent):
                    report = event.report
                elif isinstance(event, CaseEvent):
                    done += 1
                    printer.update("Evaluating", event.done, event.total, "cases")
                else:
                    show(printer, "Evaluating", event)
                if stop.asked:
                    break
    finally:
        printer.finish()
    if report is None:
        kept = f" Their masks are in {args.save_masks}." if args.save_masks else ""
        warn(f"Stopped after {done} of {len(data.cases)} cases; no report is written.{kept}")
        return STOPPED
    if args.json:
        write_json(args.json, report)
    say(text_table(report).rstrip())
    return tell_incomplete(report, data)


def tell_incomplete(report: Mapping[str, Any], data: DataSet) -> int:
    """Say what isn't in the numbers, and return the exit code: `FAILED` if there is such."""
    code = DONE
    if data.incomplete:
        warn(f"moca: {len(data.incomplete)} of {data.clips} clips are incomplete (see above)")
        code = FAILED
    if report["failed"]:
        count = f"{len(report['failed'])} of {len(data.cases)}"
        warn(f"moca: {count} cases could not be read (see above)")
        code = FAILED
    return code
