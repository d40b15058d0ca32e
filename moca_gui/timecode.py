"""Times as users read and type them."""

from __future__ import annotations

import re

TIMES = "\N{MULTIPLICATION SIGN}"

_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)")


def format_time(time_s: float) -> str:
    """`mm:ss.mmm`, with hours in front from one hour on.

    >>> format_time(4.56)
    '00:04.560'
    """
    milliseconds = round(max(time_s, 0.0) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{hours}:{seconds}" if hours else seconds


def format_short(time_s: float) -> str:
    """`m:ss`, for estimates."""
    minutes, seconds = divmod(round(max(time_s, 0.0)), 60)
    return f"{minutes}:{seconds:02d}"


def parse_position(text: str) -> int | float | None:
    """A frame number (`123`, int) or a time in seconds (`4.56`, `00:04.560`, float), or None.

    >>> parse_position("123"), parse_position("00:04.560"), parse_position("x")
    (123, 4.56, None)
    """
    text = text.strip().removesuffix("s").strip()
    if text.isascii() and text.isdigit():
        return int(text)
    match = _CLOCK.fullmatch(text)
    if match:
        hours, minutes, seconds = match.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    return float(text) if re.fullmatch(r"\d*\.\d+|\d+\.", text) else None
