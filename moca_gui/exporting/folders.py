"""Where an export may go."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from moca_core.export.exporter import STAGING
from moca_core.paths import is_resource

_TRIES = 1000


def proposed(clip: Path, kind: str) -> Path:
    """A free folder beside the clip, or at home if nothing can or should be written there."""
    beside = os.access(clip.parent, os.W_OK) and not is_resource(clip)
    parent = clip.parent if beside else Path.home()
    return free(parent / f"{clip.stem}-{kind}")


def typed(text: str, base: Path) -> Path:
    """The path that was typed: one without a beginning is below `base`."""
    path = Path(text)
    with suppress(RuntimeError):  # `~` and a name that nobody here has
        path = path.expanduser()
    return base / path


def free(wanted: Path) -> Path:
    """`wanted`, or the first of `wanted-2`, `wanted-3` ... that can be exported to."""
    tries = (wanted, *(wanted.with_name(f"{wanted.name}-{n}") for n in range(2, _TRIES)))
    return next((folder for folder in tries if not trouble(folder)), wanted)


def trouble(folder: Path) -> str:
    """Why nothing can be exported to a folder; "" if it can."""
    try:
        if folder.is_dir():
            if any(path.name != STAGING for path in folder.iterdir()):
                return "Something is in this folder already: choose a new or an empty one."
        elif folder.exists():
            return "This is a file: choose a folder."
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            return f"{there.name} is a file: choose another folder."
        if not os.access(there, os.W_OK):
            return f"Nothing can be written to {there}: choose another folder."
    except OSError as error:
        return f"This can't be a folder ({error.strerror or error})."
    return ""
