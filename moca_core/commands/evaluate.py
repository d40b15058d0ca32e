"""`moca evaluate`: score the method, or a baseline that doesn't listen, on a data set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moca_core.cli import DONE, FAILED, STOPPED
from moca_core.commands import method
from moca_core.commands.arguments import count
from moca_core.commands.looking import METHOD, add_baseline_argument, load_look
from moca_core.commands.running import STOP_SIGNALS, Scoring, StopRequest, say, show, warn
from moca_core.errors import ConfigError
from moca_core.evaluation.baselines import Predict, predict_with
from moca_core.evaluation.layouts import LAYOUTS, DataSet
from moca_core.evaluation.records import SCORES_VERSION
from moca_core.evaluation.runner import evaluate, text_table
from moca_core.evaluation.shards import CaseBook, CaseFolder
from moca_core.export.results import prepare_file, prepare_folder
from moca_core.fileio import write_json
from moca_core.models.registry import bundle_row
from moca_core.models.stored import sha256_of
from moca_core.pipeline.store import METHOD_VERSION
from moca_core.shares import Share, own_device, own_share
from moca_core.types import NoteEvent, StageEvent

if TYPE_CHECKING:
    from moca_core.commands.progress import ProgressPrinter
    from moca_core.pipeline.segmenter import Segmenter

HELP = (
    "Score the method on a data set with masks. Prints a table with standard errors in brackets. "
    "DATASET: for the layout pairs the folder that holds manifest.csv, with the columns id, split, "
    "subset, category, image, mask, audio (paths in that folder); for s4, ms3 and avss the folder "
    "of AVSBench, or the one that holds s4_meta_data.csv, ms3_meta_data.csv or metadata.csv. There "
    "each frame is a case, with the sound around the middle of its second, scored at 224x224. m_j: "
    "mean IoU of the masks (of the background where the truth is empty); f_binary: F-score (beta^2 "
    "0.3) of the masks; f_max_clip and f_max_dataset: of the soft masks at the best threshold of "
    "each clip (or case), and of the whole set; iou_dataset: intersections over unions of all "
    "pixels; empty: share of empty masks; right, both, other (ms_one): whose true mask is nearest, "
    "this sound's, that of both, the other sound's. - means: not defined there. For avss, the "
    "IoU and F of each class over the frames in which it is true or claimed. More is in "
    "docs/guide/evaluation.md."
)
_BESIDE_THE_POINT = ("versions", "device", "fingerprint", "dataset", "split", "limit")
"""What the report says of a run that doesn't change the numbers of a case."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of DESIGN.md section 4."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the data set")
    parser.add_argument(
        "--layout", choices=tuple(LAYOUTS), required=True, help="how it is laid out"
    )
    parser.add_argument(
        "--split", metavar="NAME", help="only the cases of this split (of AVSBench: test)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument(
        "--save-masks",
        type=Path,
        metavar="DIR",
        help="write the masks there (of AVSBench: as its own test scripts do)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="write report.html, report.json and a line for each case there; a second run takes "
        "what is there, and one that was stopped continues. Several processes share the work: "
        "torchrun --nproc-per-node N -m moca_core.cli evaluate ...",
    )
    add_baseline_argument(parser)
    parser.add_argument(
        "--limit",
        type=count,
        metavar="N",
        help="only N cases, spread evenly over the data set (of AVSBench: clip by clip)",
    )
    method.add_method_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table, write what was asked for."""
    from moca_core.commands.progress import ProgressPrinter

    share = own_share()
    if share.count > 1 and args.report is None:
        raise ConfigError(
            f"{share.count} processes without a folder that they share", "Give one with --report."
        )
    args.device = own_device(args.device, share)
    data = LAYOUTS[args.layout](args.dataset, args.split, args.limit)
    # Before the work, not after it.
    for folder in filter(None, (args.save_masks, args.report)):
        prepare_folder(folder)
    if args.json:
        prepare_file(args.json)
    task = task_of(args, data)
    # One bar is enough on a terminal; what can't be read is told by all.
    printer = ProgressPrinter(args.quiet or not share.first)
    with book_of(args, task, share) as book, StopRequest(*STOP_SIGNALS) as stop:
        try:
            report = followed(args, task, book, printer, stop)
            if report is None and stop.asked:
                warn(stopped(args, task, book))
                return STOPPED
            if report is None:
                return DONE  # the first process tells what all have found
            printer.finish()
            say(text_table(report).rstrip())
            if not written(args, task, book, report, printer, stop):
                warn("Stopped before the page was written. Run the same command again for it.")
                return STOPPED
        finally:
            printer.finish()
    if args.report:
        say(f"Look at {args.report / 'report.html'}.", args.quiet)
    return tell_incomplete(report, data)


@dataclass(frozen=True)
class Task:
    """What is evaluated on what.

    Attributes
    ----------
    config : what the report says of the run.
    segmenter : of the method; None for a baseline.
    """

    data: DataSet
    predict: Predict
    window_s: float
    config: dict[str, Any]
    segmenter: Segmenter | None

    def prepare(self) -> Iterator[StageEvent | NoteEvent]:
        """Load the encoders, so that the first case doesn't seem to take long."""
        if self.segmenter is not None:
            yield from self.segmenter.load()


def task_of(args: argparse.Namespace, data: DataSet) -> Task:
    """What the arguments ask for, nothing loaded yet; raises `ConfigError`."""
    segmenter = method.segmenter_of(args) if args.baseline == METHOD else None
    look, config = load_look(args, args.baseline, segmenter)
    config |= {
        "dataset": str(args.dataset),
        "layout": args.layout,
        "split": data.split,
        "limit": args.limit,
    }
    window_s = bundle_row(args.bundle).window_s
    if data.clips:
        config["window_s"] = window_s
    return Task(data, predict_with(look), window_s, config, segmenter)


def book_of(args: argparse.Namespace, task: Task, share: Share) -> AbstractContextManager[CaseBook]:
    """Where the cases that are done are kept: in memory without `--report`."""
    if args.report is None:
        return nullcontext(CaseBook())
    return CaseFolder(args.report, settings_of(args, task.config), task.config, share)


def settings_of(args: argparse.Namespace, config: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers of a case depend on."""
    settings = {name: value for name, value in config.items() if name not in _BESIDE_THE_POINT}
    settings |= {
        "bundle": args.bundle,
        "dataset": str(args.dataset.resolve()),
        # Of half the digits other numbers come.
        "dtype": config["device"]["dtype"],
        "method_version": METHOD_VERSION,
        "scores_version": SCORES_VERSION,
    }
    if config.get("adapter"):
        settings["adapter"] = sha256_of(Path(config["adapter"]))
    return settings


def followed(
    args: argparse.Namespace,
    task: Task,
    book: CaseBook,
    printer: ProgressPrinter,
    stop: StopRequest,
) -> dict[str, Any] | None:
    """Do the cases, showing how far it is; the report, or None of one that isn't to tell it."""
    events = evaluate(
        *(task.data, task.predict, task.config, args.save_masks, task.window_s),
        book,
        task.prepare,
    )
    scoring = Scoring(printer, "Evaluating", "cases")
    scoring.follow(events, stop)
    return scoring.report


def written(
    args: argparse.Namespace,
    task: Task,
    book: CaseBook,
    report: Mapping[str, Any],
    printer: ProgressPrinter,
    stop: StopRequest,
) -> bool:
    """Write what was asked for; returns False if it was stopped before the page was written."""
    from moca_core.evaluation.html_report import write_html

    if args.json:
        write_json(args.json, report)
    if not args.report:
        return True
    write_json(args.report / "report.json", report)
    records = [record for record in map(book.done, task.data.cases) if record is not None]
    for event in write_html(args.report, report, records, task.data, task.segmenter):
        show(printer, "Report", event)
        if stop.asked:
            return False
    return True


def stopped(args: argparse.Namespace, task: Task, book: CaseBook) -> str:
    """What a run that didn't come to its end has left."""
    cases = task.data.cases
    book.refresh()
    done = f"{sum(book.done(case) is not None for case in cases)} of {len(cases)} cases"
    if args.report:
        return (
            f"Stopped: {done} are done and kept in {args.report}. "
            "Run the same command again to continue."
        )
    kept = f" Their masks are in {args.save_masks}." if args.save_masks else ""
    return f"Stopped after {done}; no report is written.{kept}"


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
