"""Which clips a folder has, and how far their projects are; done by a job."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from moca_core.annotations.project import Peek, peek
from moca_core.errors import MediaError
from moca_gui.projects.reading import project_of

ENDINGS = ("mp4", "mov", "mkv", "webm", "avi", "m4v", "mpg", "mpeg", "ogv", "ts", "flv", "wmv")
"""Of the names of clips."""

Key = list[tuple[int, int, str]]


@dataclass(frozen=True)
class Listed:
    """The clips of a folder, in the order of their names."""

    folder: Path
    clips: tuple[Path, ...]


@dataclass(frozen=True)
class Seen:
    """How far the project of a clip is."""

    clip: Path
    peek: Peek


def look(folder: Path, projects: Path | None) -> Iterator[Listed | Seen]:
    """List a folder, then look at the projects one by one.

    Parameters
    ----------
    projects : where projects lie that can't lie beside their clips; None: nowhere.

    Raises
    ------
    MediaError : the folder can't be read, or has no clips.
    """
    clips = clips_in(folder)
    yield Listed(folder, clips)
    for clip in clips:
        project = project_of(clip, projects)
        yield Seen(clip, Peek() if project is None else peek(project))


def clips_in(folder: Path) -> tuple[Path, ...]:
    """The clips of a folder, as a person would sort them; raises `MediaError`."""
    try:
        found = [path for path in folder.iterdir() if is_clip_name(path.name) and path.is_file()]
    except OSError as error:
        raise MediaError(
            f"{folder}: can't be read ({error.strerror or error})",
            "Check the path and the permissions of the folder.",
        ) from error
    if not found:
        raise MediaError(
            f"{folder}: a folder without clips", f"Choose one with files such as {ENDINGS[0]}."
        )
    return tuple(sorted(found, key=lambda path: _order(path.name)))


def is_clip_name(name: str) -> bool:
    """Whether a file of this name is taken for a clip."""
    return not name.startswith(".") and name.rpartition(".")[2].lower() in ENDINGS


def _order(name: str) -> Key:
    """2 before 10."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def said(seen: Peek | None) -> str:
    """How far a project is, as short as a column wants it; None: nobody looked yet."""
    if seen is None:
        return "…"
    if seen.problem:
        return "unreadable"
    if seen.saved_at is None:
        return "no project"
    if seen.corrected >= seen.results > 0:
        return f"all {seen.results}"  # corrected: renaming and following count, too
    return f"{seen.corrected} of {seen.results}" if seen.results else f"{seen.corrected}"


def explained(seen: Peek | None) -> str:
    """The same in full."""
    if seen is None:
        return "not looked at yet"
    if seen.problem or seen.saved_at is None:
        return seen.problem or "no project"
    return f"{seen.corrected} frames corrected, {seen.results} with results of the program"
