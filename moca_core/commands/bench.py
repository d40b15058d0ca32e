"""`moca bench`: measure this machine against the targets of speed and memory."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from moca_core.bench.report import (
    BenchOptions,
    Row,
    as_json,
    load_average,
    machine_facts,
    text_table,
)
from moca_core.bench.table import BENCHES, Bench
from moca_core.cli import DONE, STOPPED
from moca_core.commands.running import StopRequest, say, show, warn
from moca_core.device import PRECISIONS
from moca_core.export.results import prepare_folder
from moca_core.fileio import write_json
from moca_core.models.registry import BUNDLE_NAMES

_FIELDS = tuple(field.name for field in dataclasses.fields(BenchOptions) if field.name != "scratch")

HELP = (
    "Measure speed and memory on this machine. Prints a table of medians with their targets, "
    "where there is one. Without NAME it lists what can be measured."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", choices=tuple(BENCHES), help="which")
    parser.add_argument(
        "dataset",
        nargs="?",
        type=Path,
        metavar="DATASET",
        help="folder of a data set of layout pairs, which `precision` compares masks on",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    parser.add_argument("--clip", type=Path, metavar="FILE", help="measure on this clip")
    parser.add_argument(
        "--repeats", type=count, default=5, metavar="N", help="how often to measure (5)"
    )
    group = parser.add_argument_group("encoders, precision, pma and train")
    group.add_argument("--bundle", choices=BUNDLE_NAMES, help="which encoders")
    group.add_argument("--device", default="auto", metavar="auto|cpu|cuda:0", help="what computes")
    group.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="of matrix products (auto)"
    )
    group.add_argument("--batch", type=count, default=8, metavar="N", help="pictures at once (8)")
    group.add_argument("--compile", action="store_true", help="compile the transformers' blocks")
    group.add_argument("--limit", type=count, metavar="N", help="only N cases of DATASET")
    group.add_argument("--tiny", action="store_true", help="tiny models, to try the command itself")


def count(text: str) -> int:
    """A number from 1 of the command line."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """List the benchmarks, or run one."""
    if args.name is None:
        if args.json or args.clip:
            args.usage_error("--json and --clip need the NAME of a benchmark")
        for bench in BENCHES.values():
            say(f"{bench.name:9} {bench.help}")
        return DONE
    if args.json:
        # Before the work, not after it.
        prepare_folder(args.json.parent)
    if (args.name == "precision") != (args.dataset is not None):
        args.usage_error("DATASET is what `precision` needs, and nothing else takes")
    load = load_average()
    fields = {name: getattr(args, name) for name in _FIELDS}
    rows, complete = collect(BENCHES[args.name], fields, args.quiet)
    if not complete:
        warn("Stopped; nothing is written. What was measured until then:")
    say(text_table(rows))
    if not complete:
        return STOPPED
    machine = machine_facts() | {"load_before": load, "load_after": load_average()}
    say("")
    say("\n".join(f"{name}: {words(value)}" for name, value in machine.items()))
    if args.json:
        write_json(args.json, as_json(args.name, rows, machine))
    return DONE


def collect(bench: Bench, fields: dict[str, Any], quiet: bool) -> tuple[list[Row], bool]:
    """Run a benchmark with progress; its rows, and False if Ctrl-C ended it early.

    `fields` are those of `BenchOptions` but the scratch folder.
    """
    from moca_core.commands.progress import ProgressPrinter

    rows: list[Row] = []
    printer = ProgressPrinter(quiet)
    with tempfile.TemporaryDirectory(prefix="moca-bench-") as folder, StopRequest() as stop:
        options = BenchOptions(Path(folder), **fields)
        try:
            with closing(bench.run(options)) as events:
                for event in events:
                    if isinstance(event, Row):
                        rows.append(event)
                    else:
                        show(printer, bench.name, event)
                    if stop.asked:
                        return rows, False
        finally:
            printer.finish()
    return rows, True


def words(value: object) -> str:
    """A fact of the machine in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return "not known" if value is None else str(value)
