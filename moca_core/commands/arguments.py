"""Values of the command line that several commands read."""

from __future__ import annotations

import argparse


def add_set_argument(parser: argparse.ArgumentParser, dest: str, help: str) -> None:
    """Add `--set NAME=VALUE`, which may be repeated, as a list of pairs under `dest`."""
    parser.add_argument(
        "--set",
        dest=dest,
        action="append",
        default=[],
        type=assignment,
        metavar="NAME=VALUE",
        help=f"{help}; may be repeated",
    )


def assignment(text: str) -> tuple[str, str]:
    """`name=value` of the command line."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()


def count(text: str) -> int:
    """A number from 1 of the command line."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def seconds(text: str) -> float:
    """A time of the command line: a number from 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds, such as 2.5")
    return value


def seconds_above_0(text: str) -> float:
    """A time of the command line that isn't 0."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("0 s between key frames: use a time above 0")
    return value
