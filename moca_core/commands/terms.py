"""The terms of a bundle's licence on the command line: shown before its first use."""

from __future__ import annotations

import logging
import sys
import textwrap

from moca_core.commands.running import warn
from moca_core.errors import StorageError
from moca_core.models import licences

_log = logging.getLogger(__name__)
_WIDTH = 88


def show_terms_once(bundle: str) -> None:
    """Show the terms of a bundle on stderr, unless they were shown before. Raises `KeyError`."""
    terms = licences.pending(bundle)
    if terms:
        warn(as_lines(terms))
        _remember(bundle)


def agrees(bundle: str, yes: bool) -> bool:
    """Show the terms and ask whether to go on, unless they were shown before.

    Without a terminal nobody can be asked: `yes` answers for them.
    """
    terms = licences.pending(bundle)
    if not terms:
        return True
    warn(as_lines(terms))
    if not yes and not _answered():
        return False
    _remember(bundle)
    return True


def can_ask() -> bool:
    """Whether somebody can answer: stdin and stderr are a terminal."""
    return all(
        stream is not None and not stream.closed and stream.isatty()
        for stream in (sys.stdin, sys.stderr)
    )


def as_lines(terms: str) -> str:
    """The terms in lines that fit a terminal."""
    return textwrap.fill(terms, _WIDTH)


def _answered() -> bool:
    if not can_ask():
        return False
    # On stderr, as all that isn't a result; `input` would write it to stdout.
    sys.stderr.write("Continue? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remember(bundle: str) -> None:
    try:
        licences.remember(bundle)
    except StorageError as error:
        # They are shown again next time.
        _log.info("%s", error.message)
