"""`moca weights`: list, fetch, check and bring the files of the encoders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from moca_core import paths
from moca_core.cli import DONE, FAILED, STOPPED, message_of
from moca_core.commands.running import StopRequest, say, warn
from moca_core.errors import WeightsError
from moca_core.models import weights
from moca_core.models.specs import ROWS, WeightsRow, rows_of
from moca_core.models.weights import State

HELP = (
    "The files that the encoders are made of: which are here, fetch them, check them, or bring "
    "them from elsewhere. They are kept in the cache folder (MOCA_CACHE_DIR)."
)
BUNDLES = tuple(dict.fromkeys(row.bundle for row in ROWS))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `list`, `get`, `verify` and `import`."""
    # Shared with the parents, so that the options work behind these words too.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--quiet", action="store_true", help="no progress")
    common.add_argument("--debug", action="store_true", help="show where an error came from")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    for name, text in (
        ("list", "show every file with its size, licence and state"),
        ("get", "fetch what is missing or damaged; goes on where it stopped"),
        ("verify", "read the files and compare their SHA-256"),
    ):
        action = actions.add_parser(name, help=text, description=text, parents=[common])
        default = None if name == "list" else "compact"
        action.add_argument(
            "bundle", nargs="?", choices=BUNDLES, default=default, help="which encoders (compact)"
        )
    text = "take files that you have; their content says which they are"
    action = actions.add_parser("import", help=text, description=text, parents=[common])
    action.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what to copy")


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    if args.action == "list":
        return _list(ROWS if args.bundle is None else rows_of(args.bundle))
    if args.action == "get":
        return _get(args.bundle, args.quiet)
    if args.action == "verify":
        return _verify(args.bundle, args.quiet)
    return _import(args.files, args.quiet)


def megabytes(size: int) -> str:
    """`97.4 MB`."""
    return f"{size / 1e6:.1f} MB"


def _list(rows: Sequence[WeightsRow]) -> int:
    table = [("name", "what for", "bundle", "size", "licence", "state")]
    states = [weights.state(row) for row in rows]
    for row, state in zip(rows, states, strict=True):
        words = str(state)
        if state is State.PARTIAL:
            words += f" ({megabytes(weights.part_of(row).stat().st_size)})"
        table.append((row.name, row.role, row.bundle, megabytes(row.size), row.licence, words))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        cells = [
            cell.rjust(width) if column == 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        say("  ".join(cells).rstrip())
    lacking = [row for row, state in zip(rows, states, strict=True) if state is not State.READY]
    total = megabytes(sum(row.size for row in rows))
    say(f"\n{len(rows) - len(lacking)} of {len(rows)} files ready ({total} in all), in")
    say(str(paths.weights_dir()))
    if lacking:
        bundles = ", ".join(dict.fromkeys(f"`moca weights get {row.bundle}`" for row in lacking))
        say(f"{bundles} fetches the other {megabytes(sum(row.size for row in lacking))}.")
    return DONE


def _get(bundle: str, quiet: bool) -> int:
    from moca_core.commands.progress import BYTES, ProgressPrinter

    rows = rows_of(bundle)
    places = {row.name: place for place, row in enumerate(rows, 1)}
    printer = ProgressPrinter(quiet)
    current = rows[0]
    try:
        with StopRequest() as stop, closing(weights.fetch(rows)) as events:
            for event in events:
                current = rows[places[event.name] - 1]
                title = f"{event.name} ({places[event.name]} of {len(rows)})"
                if event.note:
                    printer.note(f"{title}: {event.note}")
                printer.update(title, event.done, event.total, BYTES)
                if stop.asked:
                    break
    finally:
        printer.finish()
    if weights.missing(bundle):
        warn(_stopped(current, bundle))
        return STOPPED
    total = megabytes(sum(row.size for row in rows))
    say(f"{bundle}: {len(rows)} files ready ({total}) in {paths.weights_dir()}", quiet)
    return DONE


def _stopped(row: WeightsRow, bundle: str) -> str:
    part = weights.part_of(row)
    if weights.state(row) is State.PARTIAL:
        size = f"{megabytes(part.stat().st_size)} of {megabytes(row.size)}"
        kept = f"{size} of {row.name} are kept, and so are finished files."
    else:
        # A package archive is one piece: half of one is of no use.
        kept = "Finished files are kept."
    return f"Stopped. {kept} Run `moca weights get {bundle}` again to continue."


def _verify(bundle: str, quiet: bool) -> int:
    from moca_core.commands.progress import BYTES, ProgressPrinter

    rows = rows_of(bundle)
    total = sum(row.size for row in rows)
    printer = ProgressPrinter(quiet)
    found: list[tuple[WeightsRow, State]] = []
    try:
        with StopRequest() as stop:
            for row, state in weights.verify(rows):
                found.append((row, state))
                read = sum(done.size for done, _ in found)
                printer.update(f"Reading {row.name}", read, total, BYTES)
                if stop.asked:
                    break
    finally:
        printer.finish()
    width = max(len(row.name) for row in rows)
    for row, state in found:
        say(f"{row.name.ljust(width)}  {state}", quiet and state is State.READY)
    if len(found) < len(rows):
        warn(f"Stopped after {len(found)} of {len(rows)} files.")
        return STOPPED
    bad = [row.name for row, state in found if state is not State.READY]
    if bad:
        warn(
            f"moca: {len(bad)} of {len(rows)} files are not right: {', '.join(bad)}\n"
            f"  Run `moca weights get {bundle}`; without a network, `moca weights import FILE`."
        )
        return FAILED
    return DONE


def _import(files: Sequence[Path], quiet: bool) -> int:
    failed = 0
    for path in files:
        try:
            row = weights.import_file(path)
        except WeightsError as error:
            # The others may be right: `moca weights import folder/*`.
            warn(message_of(error).rstrip())
            failed += 1
        else:
            say(f"{path}: taken as {row.name} ({row.role})", quiet)
    return FAILED if failed else DONE
