"""`moca ablate`: one setting after another, over seeds, with a table and a plot at the end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from moca_core.cli import DONE, FAILED, STOPPED
from moca_core.commands.arguments import add_set_argument, count
from moca_core.commands.running import StopRequest, say, show, warn
from moca_core.commands.terms import show_terms_once
from moca_core.errors import ConfigError

_SHOWN = 3
"""Rows that a failure names."""
_LACKING = {"failed": "cases could not be read", "incomplete": "clips are incomplete"}
"""What isn't in the numbers, by its name in the report."""

if TYPE_CHECKING:
    from moca_core.ablation.run import AblateEvent, TablesEvent
    from moca_core.ablation.sweep import Setting, Sweep
    from moca_core.commands.progress import ProgressPrinter

HELP = (
    "Run an ablation: every value of a setting, with every seed, trained if the sweep trains, and "
    "scored. SWEEP is a TOML file, or the name of one that comes with the program: {}. DIR gets "
    "the sweep, a folder for each row with its configuration, versions and scores, and over all "
    "rows table.csv, table.md, rows.csv and plot.svg. The same command goes on where it stopped; "
    "docs/guide/ablations.md describes the files."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    from moca_core.ablation.sweep import shipped

    parser.description = HELP.format(", ".join(shipped()))
    parser.add_argument("sweep", metavar="SWEEP", help="a file, or a name of those above")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="the sweep's folder")
    parser.add_argument(
        "--data",
        metavar="DATASET",
        help="what is scored, and learnt from unless train.data is set (data.path)",
    )
    parser.add_argument("--layout", metavar="NAME", help="how it is laid out (data.layout)")
    parser.add_argument("--split", metavar="NAME", help="score this split alone (data.split)")
    parser.add_argument(
        "--limit", type=count, metavar="N", help="score N cases, spread evenly (data.limit)"
    )
    parser.add_argument("--device", metavar="auto|cpu|cuda:0", help="what computes")
    parser.add_argument(
        "--seeds", type=_seeds, default=(), metavar="LIST", help="such as 0,1,2 (the sweep's own)"
    )
    add_set_argument(parser, "values", "a setting of all rows, such as train.iterations=500")
    parser.add_argument(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="processes at a time, which share the cores (1)",
    )


def _seeds(text: str) -> tuple[int, ...]:
    if not all(part.isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers, such as 0,1,2")
    return tuple(int(part) for part in text.split(","))


def run(args: argparse.Namespace) -> int:
    """Do what isn't done of the sweep, and write its tables."""
    from moca_core.ablation.run import TablesEvent, ablate
    from moca_core.commands.progress import ProgressPrinter

    sweep = _sweep_of(args)
    for bundle in dict.fromkeys(row.segment.bundle for row in sweep.rows):
        show_terms_once(bundle)
    printer = ProgressPrinter(args.quiet)
    tables: TablesEvent | None = None
    told = _Told(args.quiet)
    try:
        with StopRequest() as stop:
            for event in ablate(sweep, args.out, args.jobs, lambda: stop.asked):
                if isinstance(event, TablesEvent):
                    tables = event
                else:
                    told.show(printer, event)
    finally:
        printer.finish()
    assert tables is not None  # the last event
    return _outcome(sweep, tables, told, stop.asked)


def _outcome(sweep: Sweep, tables: TablesEvent, told: _Told, stopped: bool) -> int:
    """Say what there is now, and return the exit code."""
    if tables.done:
        table = next(path for path in tables.paths if path.suffix == ".md")
        plot = next(path for path in tables.paths if path.suffix == ".svg")
        say(f"{tables.done} of {tables.total} rows of {sweep.name}: {table}, {plot}", told.quiet)
    if stopped:
        warn(f"Stopped after {tables.done} of {tables.total} rows; the same command goes on.")
        return STOPPED
    for name, what in _LACKING.items():
        if told.lacking[name]:
            warn(f"moca: {told.lacking[name]} {what}; report.json in a row's folder names them")
    if tables.done < tables.total:
        missing = tables.total - tables.done
        warn(
            f"moca: {missing} of {tables.total} rows failed (see above); the same command "
            "tries them again"
        )
    whole = tables.done == tables.total and not any(told.lacking.values())
    return DONE if whole else FAILED


class _Told:
    """Shows the events of a sweep, and remembers what the outcome says.

    Attributes
    ----------
    lacking : by a name in `_LACKING`, the most that a row lacks.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.lacking = dict.fromkeys(_LACKING, 0)

    def show(self, printer: ProgressPrinter, event: AblateEvent) -> None:
        """Show an event."""
        from moca_core.ablation.run import FailureEvent, RowEvent, RunningEvent

        if isinstance(event, RowEvent):
            for name, most in self.lacking.items():
                self.lacking[name] = max(most, len(event.report[name]))
            if not event.kept and not self.quiet:
                score = event.report["m_j"]
                printer.note(f"{event.done}/{event.total} {event.row.label}: m_j {score:.3f}")
        elif isinstance(event, FailureEvent):
            named = "; ".join(row.label for row in event.rows[:_SHOWN])
            more = f" and {len(event.rows) - _SHOWN} more" if len(event.rows) > _SHOWN else ""
            printer.note(f"moca: {named}{more}: {event.error.message}")
            printer.note(f"  {event.error.hint}")
        elif isinstance(event, RunningEvent):
            doing = f"{event.label}: {event.stage}"
            if event.of:
                # Rows take time alike: their rate tells what is left.
                count = f" {event.done}/{event.total}" if event.total else ""
                printer.update(f"{doing}{count}", event.trained, event.of, "rows")
            else:
                printer.update(doing, event.done, event.total, "cases" if event.total else "")
        else:
            show(printer, "Sweep", event)


def _sweep_of(args: argparse.Namespace) -> Sweep:
    """The sweep that the arguments name, their settings laid over; raises `ConfigError`."""
    from moca_core.ablation.sweep import find_sweep, load_sweep, read_value

    named = {
        "data.path": args.data,
        "data.layout": args.layout,
        "data.split": args.split,
        "data.limit": args.limit,
        "device": args.device,
    }
    settings: list[Setting] = [(name, value) for name, value in named.items() if value is not None]
    settings += [(name, read_value(text)) for name, text in args.values]
    sweep = load_sweep(find_sweep(args.sweep)).changed(settings, args.seeds)
    if not all(row.data.path for row in sweep.rows):
        raise ConfigError("data.path = ''", "Name what is scored: --data DATASET.")
    return sweep
