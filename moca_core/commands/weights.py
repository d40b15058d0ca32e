"""`moca weights`: list, fetch, check and bring the files of the encoders."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

from moca_core import paths
from moca_core.cli import DONE, FAILED, STOPPED, message_of
from moca_core.commands import terms
from moca_core.commands.running import StopRequest, say, warn
from moca_core.errors import WeightsError
from moca_core.models import specs, weights
from moca_core.models.registry import BUNDLES, bundle_row
from moca_core.models.specs import WeightsRow
from moca_core.models.weights import State

if TYPE_CHECKING:
    from moca_core.commands.progress import ProgressPrinter

HELP = (
    "The files that the encoders are made of: which are here, fetch them, check them, or bring "
    "them from elsewhere. They are kept in the cache folder (MOCA_CACHE_DIR)."
)
_WHAT_HELP = "a bundle, or one file by its name (compact)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `list`, `get`, `verify` and `import`."""
    # Shared with the parents, so that the options work behind these words too.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--quiet", action="store_true", help="no progress")
    common.add_argument("--debug", action="store_true", help="show where an error came from")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    added = {}
    for name, text in (
        ("list", "show every file with its size, licence and state"),
        ("get", "fetch what is missing or damaged; goes on where it stopped"),
        ("verify", "read the files and compare their SHA-256"),
        ("import", "take files that you have; their content says which they are"),
    ):
        added[name] = actions.add_parser(name, help=text, description=text, parents=[common])
    names = [row.name for row in BUNDLES]
    added["list"].add_argument("what", nargs="?", choices=names, metavar="BUNDLE", help="one only")
    for name in ("get", "verify"):
        added[name].add_argument(
            "what", nargs="?", type=_what, default="compact", metavar="WHAT", help=_WHAT_HELP
        )
    added["get"].add_argument(
        "--yes", action="store_true", help="agree to the licence's terms without being asked"
    )
    added["import"].add_argument("files", nargs="+", type=Path, metavar="FILE", help="what to copy")
    added["import"].add_argument(
        "--as",
        dest="name",
        metavar="NAME",
        default="",
        help="take a checkpoint that isn't the official file, but has its structure (re-saved, "
        "tuned, random), in the place of the file NAME",
    )
    added["import"].add_argument(
        "--link", action="store_true", help="put a link to the file instead of a copy"
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    if args.action == "list":
        return _list([args.what] if args.what else [row.name for row in BUNDLES])
    if args.action == "get":
        return _get(args.what, args.yes, args.quiet)
    if args.action == "verify":
        return _verify(args.what, args.quiet)
    if args.name and len(args.files) > 1:
        args.usage_error("--as takes one file")
    return _import(args.files, args.name, args.link, args.quiet)


def size_text(size: int) -> str:
    """`97.4 MB`, `4.80 GB`."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _what(word: str) -> str:
    """Check the name of a bundle or a file; for argparse."""
    bundles = [row.name for row in BUNDLES]
    if word not in bundles and specs.row_named(word) is None:
        raise argparse.ArgumentTypeError(
            f"{word!r} is neither a bundle ({', '.join(bundles)}) nor a file of `moca weights list`"
        )
    return word


def _rows(what: str) -> tuple[WeightsRow, ...]:
    """The file of that name, or what the bundle of that name can't run without."""
    row = specs.row_named(what)
    return specs.rows_of(what) if row is None else (row,)


def _list(bundles: Sequence[str]) -> int:
    table = {name: [_line(row) for row in _all_rows(name)] for name in bundles}
    lines = [line for block in table.values() for line in block]
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(5)]
    for name, block in table.items():
        say(_heading(name))
        for line in block:
            cells = [
                cell.rjust(width) if column == 2 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            say(f"  {'  '.join(cells)}".rstrip())
        if bundle_row(name).terms:
            say(terms.as_lines(bundle_row(name).terms))
        lacking = weights.missing(name)
        if lacking:
            left = size_text(sum(row.size for row in lacking))
            say(f"`moca weights get {name}` fetches what it needs ({left} more).")
        if optional := [row for row in specs.optional_rows(name) if not _is_ready(row)]:
            say(f"Some settings need an optional file: `moca weights get {optional[0].name}`.")
        say("")
    say(f"They are in {paths.weights_dir()}")
    return DONE


def _all_rows(bundle: str) -> tuple[WeightsRow, ...]:
    return specs.rows_of(bundle) + specs.optional_rows(bundle)


def _heading(bundle: str) -> str:
    rows = specs.rows_of(bundle)
    ready = sum(_is_ready(row) for row in rows)
    total = size_text(sum(row.size for row in rows))
    return f"{bundle}: {ready} of the {len(rows)} files that it needs are ready ({total} in all)"


def _is_ready(row: WeightsRow) -> bool:
    return weights.state(row) is State.READY


def _line(row: WeightsRow) -> tuple[str, ...]:
    state, size = weights.state(row), row.size
    words = str(state)
    if state is State.PARTIAL:
        words += f" ({size_text(weights.part_of(row).stat().st_size)})"
    elif state is State.MISSING and row.optional:
        words += " (optional)"
    elif weights.is_own(row):
        size = weights.path_of(row).stat().st_size
        words += ", not the official file"
    return row.name, row.role, size_text(size), row.licence, words


def _get(what: str, yes: bool, quiet: bool) -> int:
    rows = _rows(what)
    if any(row.non_commercial and not _is_ready(row) for row in rows):
        _ask(rows[0].bundle, yes)
    # What was read before and hasn't changed since needs nothing, not even a line.
    if not all(weights.is_checked(row) for row in rows) and not _fetched(what, rows, quiet):
        return STOPPED
    total = size_text(sum(weights.path_of(row).stat().st_size for row in rows))
    count = f"{len(rows)} file{'s' if len(rows) > 1 else ''} ready"
    own = [row.name for row in rows if weights.is_own(row)]
    note = f"; not the official file (remove it to fetch that): {', '.join(own)}" if own else ""
    say(f"{what}: {count} ({total}) in {paths.weights_dir()}{note}", quiet)
    return DONE


def _ask(bundle: str, yes: bool) -> None:
    """Show the terms and go on only if the user agrees; raises `WeightsError`."""
    if not terms.agrees(bundle, yes):
        hint = "" if terms.can_ask() else "Add --yes if you agree to these terms."
        raise WeightsError(f"{bundle}: nothing was fetched, its terms weren't agreed to", hint)


def _fetched(what: str, rows: Sequence[WeightsRow], quiet: bool) -> bool:
    """Fetch with progress; False, and a line that says how to go on, if it was stopped."""
    from moca_core.commands.progress import BYTES, ProgressPrinter

    places = {row.name: place for place, row in enumerate(rows, 1)}
    printer = ProgressPrinter(quiet)
    current = rows[0]
    try:
        with StopRequest() as stop, closing(weights.fetch(rows)) as events:
            for event in events:
                current = rows[places[event.name] - 1]
                title = event.name
                if len(rows) > 1:
                    title += f" ({places[event.name]} of {len(rows)})"
                if event.note:
                    printer.note(f"{title}: {event.note}")
                elif event.source:
                    printer.update(title, event.done, event.total, BYTES)
                elif event.done < event.total:
                    printer.update(f"Reading {title}", event.done, event.total, BYTES)
                if stop.asked:
                    break
    finally:
        printer.finish()
    if all(_is_ready(row) for row in rows):
        return True
    warn(_stopped(current, what))
    return False


def _stopped(row: WeightsRow, what: str) -> str:
    part = weights.part_of(row)
    if weights.state(row) is State.PARTIAL:
        size = f"{size_text(part.stat().st_size)} of {size_text(row.size)}"
        kept = f"{size} of {row.name} are kept, and so are finished files."
    else:
        # A package archive is one piece: half of one is of no use.
        kept = "Finished files are kept."
    return f"Stopped. {kept} Run `moca weights get {what}` again to continue."


def _verify(what: str, quiet: bool) -> int:
    from moca_core.commands.progress import BYTES, ProgressPrinter

    rows = list(_rows(what))
    rows += [row for row in specs.optional_rows(what) if weights.path_of(row).is_file()]
    total = sum(row.size for row in rows)
    printer = ProgressPrinter(quiet)
    found: list[tuple[WeightsRow, State]] = []
    try:
        with StopRequest() as stop, closing(weights.verify(rows)) as events:
            for event in events:
                before = sum(row.size for row, _ in found)
                if event.state is not None:
                    found.append((event.row, event.state))
                printer.update(f"Reading {event.row.name}", before + event.done, total, BYTES)
                if stop.asked:
                    break
    finally:
        printer.finish()
    width = max(len(row.name) for row in rows)
    for row, state in found:
        note = ", not the official file" if weights.is_own(row) else ""
        say(f"{row.name.ljust(width)}  {state}{note}", quiet and state is State.READY)
    if len(found) < len(rows):
        warn(f"Stopped after {len(found)} of {len(rows)} files.")
        return STOPPED
    bad = [row for row, state in found if state is not State.READY]
    if bad:
        names = ", ".join(row.name for row in bad)
        warn(
            f"moca: {len(bad)} of {len(rows)} files are not right: {names}\n"
            f"  {weights.hint_for(bad[0])}"
        )
        return FAILED
    return DONE


def _import(files: Sequence[Path], name: str, link: bool, quiet: bool) -> int:
    from moca_core.commands.progress import ProgressPrinter

    printer = ProgressPrinter(quiet)
    failed = 0
    with StopRequest() as stop:
        for path in files:
            try:
                row = _taken(path, name, link, printer, stop)
            except WeightsError as error:
                # The others may be right: `moca weights import folder/*`.
                printer.finish()  # before the words
                warn(message_of(error).rstrip())
                failed += 1
                continue
            finally:
                printer.finish()
            if row is None:
                warn(f"Stopped. {path} wasn't taken.")
                return STOPPED
            say(f"{path}: {_taken_words(row)}", quiet and not weights.is_own(row))
    return FAILED if failed else DONE


def _taken(
    path: Path, name: str, link: bool, printer: ProgressPrinter, stop: StopRequest
) -> WeightsRow | None:
    """Take one file with progress; None if it was stopped."""
    from moca_core.commands.progress import BYTES
    from moca_core.models import importing

    with closing(importing.take(path, name, link)) as events:
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return cast(WeightsRow, end.value)
            printer.update(event.name, event.done, event.total, BYTES)
            if stop.asked and event.done < event.total:
                return None


def _taken_words(row: WeightsRow) -> str:
    words = f"taken as {row.name} ({row.role})"
    if weights.is_own(row):
        return f"{words}; it has its structure, but it is not the official file"
    if not row.sha256:
        return f"{words}; no official SHA-256 is known for it, its own is kept"
    return words
