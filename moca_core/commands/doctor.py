"""`moca doctor`: does this machine have what the program needs? Takes seconds, uses no network."""

from __future__ import annotations

import argparse
from collections import Counter

from moca_core.cli import DONE, FAILED
from moca_core.commands import checks
from moca_core.commands.findings import Finding, Status
from moca_core.commands.running import say

HELP = (
    "Check that this machine has what the program needs, and say what to do where it hasn't. "
    "The exit code is 1 if something that is needed is broken. With --quiet only problems are "
    "shown."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""


def run(args: argparse.Namespace) -> int:
    """Print a line for each finding, and the remedy below where there is one."""
    counts: Counter[Status] = Counter()
    for check in checks.CHECKS:
        for finding in check():
            counts[finding.status] += 1
            say(as_text(finding), args.quiet and finding.status in (Status.OK, Status.INFO))
    say(_verdict(counts), args.quiet and not counts[Status.FAIL])
    return FAILED if counts[Status.FAIL] else DONE


def as_text(finding: Finding) -> str:
    """`ok    torch                   2.13.0 (<2.14,>=2.4)`, the remedy on a line of its own."""
    line = f"{finding.status:<6}{finding.name:<24}{finding.found}"
    return f"{line}\n{'':<6}{'':<24}{finding.remedy}" if finding.remedy else line


def _verdict(counts: Counter[Status]) -> str:
    failed, warned = counts[Status.FAIL], counts[Status.WARN]
    warnings = f"{warned} warning{'s' if warned != 1 else ''}"
    if failed:
        thing = "thing that is" if failed == 1 else "things that are"
        return f"\n{failed} {thing} needed {'is' if failed == 1 else 'are'} broken; {warnings}."
    if warned:
        return f"\nEverything that is needed works; {warnings}."
    return "\nEverything works."
