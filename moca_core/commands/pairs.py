"""`moca pairs`: which pictures are alike and which are not, found before training."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from moca_core.cli import DONE, STOPPED
from moca_core.commands.arguments import count, seconds_above_0
from moca_core.commands.progress import ProgressPrinter
from moca_core.commands.running import StopRequest, say, warn
from moca_core.commands.terms import show_terms_once
from moca_core.export.results import prepare_folder
from moca_core.models.registry import BUNDLE_NAMES, bundle_row
from moca_core.types import StageEvent

if TYPE_CHECKING:
    from moca_core.training.data import ItemSet
    from moca_core.training.layouts import Choice
    from moca_core.training.pairs import PairConfig, PairTable
    from moca_core.training.retrieval import Retrieve

HELP = (
    "Find for every picture of a data set the nearest pictures of other recordings, which training "
    "takes for positives, and where the far half begins, from which it draws negatives. No mask is "
    "opened. DATA: a folder of clips, searched at any depth; AVSBench's Single-source or "
    "Multi-sources; VGGSound's CSV, or a folder with vggsound.csv; or a folder with manifest.csv, "
    "whose columns id, split, subset, category, image and audio are read. What can't be learnt "
    "from (missing, short, mute, undecodable, copies) is listed and left out. Stopped with Ctrl-C "
    "it keeps what it has, and goes on from there the next time."
)
LAYOUT_NAMES = ("clips", "avsbench", "vggsound", "pairs")
T = TypeVar("T")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("data", type=Path, metavar="DATA", help="folder, or VGGSound's CSV")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table (.npz)")
    parser.add_argument(
        "--layout", choices=LAYOUT_NAMES, default="", help="how DATA is laid out (found out)"
    )
    parser.add_argument("--k", type=count, default=5, metavar="K", help="neighbours (5)")
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="draw a dozen anchors with theirs"
    )
    parser.add_argument("--report", type=Path, metavar="CSV", help="write what is left out there")
    parser.add_argument(
        "--split", default="", metavar="NAME", help="only this one (avsbench, vggsound: train)"
    )
    parser.add_argument(
        "--subset", action="append", default=[], metavar="NAME", help="pairs: only this; repeatable"
    )
    parser.add_argument(
        "--every",
        type=seconds_above_0,
        default=1.0,
        metavar="S",
        help="clips: seconds between frames (1)",
    )
    parser.add_argument(
        "--videos",
        type=Path,
        metavar="DIR",
        help="vggsound: folder of its videos, at any depth, named as ID_000030, ID_30, ID_30_40, "
        "ID_000030_000040 or ID_30000_40000 for the clip of ID from second 30 (beside the CSV)",
    )
    parser.add_argument(
        "--limit", type=count, default=0, metavar="N", help="only N items, spread evenly"
    )
    parser.add_argument(
        "--bundle", choices=BUNDLE_NAMES, default=BUNDLE_NAMES[0], help="whose encoder compares"
    )
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda:0", help="what computes")


def run(args: argparse.Namespace) -> int:
    """Index, check, compare, and write what was asked for."""
    from moca_core.training.layouts import Choice

    for path in (args.out, args.sheet, args.report):
        # Before the work, not after it.
        if path is not None:
            prepare_folder(path.parent)
    choice = Choice(args.split, tuple(args.subset), args.every, args.videos)
    printer = ProgressPrinter(args.quiet)
    try:
        with StopRequest() as stop:
            table = _followed(_steps(args, choice, printer), printer, stop)
    finally:
        printer.finish()
    if table is None:
        warn("Stopped; no table is written. What was found out is kept for the next time.")
        return STOPPED
    say(_summary(table, args.out), args.quiet)
    if args.sheet:
        say(f"Look at {args.sheet}.", args.quiet)
    return DONE


def _steps(
    args: argparse.Namespace, choice: Choice, printer: ProgressPrinter
) -> Generator[StageEvent, None, PairTable]:
    """The whole of the work; yields as it goes, returns the table that it wrote."""
    from moca_core.training.check import check
    from moca_core.training.layouts import index_items
    from moca_core.training.memory import remembered
    from moca_core.training.pair_sheet import draw_sheet
    from moca_core.training.pairs import make_pairs

    items = yield from index_items(args.data, args.layout, choice)
    items = items.limited(args.limit)
    config = _config(args, items)
    row = bundle_row(args.bundle)
    retrieve = load_retriever(args.bundle, args.device)
    with remembered("check", items.root) as memory:
        report = yield from check(items, row.window_s, row.rate_hz, memory)
    printer.finish()
    if report.problems or args.report:
        say(report.table(), args.quiet)
    if args.report:
        report.write_csv(args.report)
    items = report.rest()
    with remembered("features", items.root) as memory:
        table = yield from make_pairs(items, config, retrieve, memory)
    table.save(args.out)
    if args.sheet:
        yield from draw_sheet(items, table, args.sheet)
    return table


def load_retriever(bundle: str, device: str) -> Retrieve:
    """The encoder that compares, on a device; shows the bundle's terms, imports torch."""
    from moca_core.device import choose_device
    from moca_core.training import retrieval

    show_terms_once(bundle)
    return retrieval.load_retriever(bundle, choose_device(device, "float32").device)


def _config(args: argparse.Namespace, items: ItemSet) -> PairConfig:
    from moca_core.training.pairs import PairConfig

    return PairConfig(
        data=str(args.data),
        layout=items.layout,
        split=args.split,
        subsets=tuple(args.subset),
        every_s=args.every,
        limit=args.limit,
        bundle=args.bundle,
        k=args.k,
    )


def _followed(
    steps: Generator[StageEvent, None, T], printer: ProgressPrinter, stop: StopRequest
) -> T | None:
    """What a job returns, its progress shown; None if it was stopped."""
    try:
        while True:
            event = next(steps)
            printer.update(event.stage, event.done, event.total, "")
            if stop.asked:
                return None
    except StopIteration as end:
        return end.value
    finally:
        # Closing writes what is remembered.
        steps.close()


def _summary(table: PairTable, out: Path) -> str:
    pictures, recordings = len(table.item_of), len(set(table.groups.tolist()))
    counts = f"{len(table)} items, {pictures} pictures of {recordings} recordings"
    return f"{counts}, {table.config.k} neighbours -> {out}"
