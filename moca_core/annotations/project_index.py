"""The readable file of a project: what it is about, and which files hold its masks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from moca_core import __version__
from moca_core.annotations.checked import (
    DAMAGE,
    finite,
    number,
    parse_bounded,
    read_bounded,
    shown,
    whole,
)
from moca_core.annotations.chunks import FRAMES, KINDS, MOST_BYTES, NAME, Chunk
from moca_core.annotations.snapshot import ClipRef, Snapshot, View
from moca_core.config import SegmentConfig
from moca_core.errors import ConfigError, ProjectError, ProjectVersionError
from moca_core.fileio import write_json

FORMAT, VERSION = "moca-project", 1
SUFFIX, _MASKS = ".moca.json", ".moca"

_MOST_TEXT = 64 * 2**20
_RUN = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")
_HASH, _ID = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{16}")
_OWN = {"format", "version", "program", "saved_at", "saved_id", "clip", "config", "thresholds"}
_OWN |= {"view", "masks", "chunks", "lost"}


def masks_folder(project: Path) -> Path:
    """The folder with the masks of a project: `dog.moca`."""
    return project.with_name(project.name.removesuffix(SUFFIX) + _MASKS)


@dataclass(frozen=True, eq=False)
class Index:
    """What the file says.

    Attributes
    ----------
    snapshot : without its frames.
    saved_at : when it was saved.
    saved_id : sixteen hexadecimal digits, others with each save.
    masks : name of the folder with the masks when it was saved.
    chunks : the files in it.
    lost : files that couldn't be read when the project was opened, in case they come back.
    extra : what else the file says; it is written back as it is.
    notes : what couldn't be made out, for the user.
    """

    snapshot: Snapshot
    saved_at: datetime
    saved_id: str
    masks: str
    chunks: tuple[Chunk, ...]
    lost: tuple[Chunk, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()


def copy_path(project: Path) -> Path:
    """A copy of the readable file, for the case that it is damaged."""
    return masks_folder(project) / "project.json"


def write_index(index: Index, project: Path, path: Path | None = None) -> None:
    """Put the readable file of a project in the place of an older one, at once.

    Parameters
    ----------
    path : where it is written to, if not to `project` itself.

    Raises
    ------
    StorageError : it can't be written.
    """
    clip, snapshot = index.snapshot.clip, index.snapshot
    value = {
        "format": FORMAT,
        "version": VERSION,
        "program": __version__,
        "saved_at": index.saved_at.isoformat(timespec="seconds"),
        "saved_id": index.saved_id,
        "clip": {
            "relative": _relative(clip.path, project.parent),
            "path": str(clip.path.absolute()),
            "hash": clip.hash,
            "frames": clip.frame_count,
            "fps": finite(clip.fps),
            "duration_s": finite(clip.duration_s),
            "size": list(clip.size),
        },
        "config": asdict(snapshot.config),
        "thresholds": dict(snapshot.moved),
        "view": asdict(snapshot.view),
        "masks": index.masks,
        "chunks": [_to_row(chunk) for chunk in index.chunks],
        "lost": [_to_row(chunk) for chunk in index.lost],
        **index.extra,
    }
    _parsed(value)  # what couldn't be read again must not take the place of what can
    write_json(path or project, value)


def read_index(path: Path) -> Index:
    """Read the file.

    Raises
    ------
    ProjectError : it can't be read, isn't a project, or is damaged; the cause is a
        `FileNotFoundError` where there is none.
    ProjectVersionError : a newer program saved it.
    """
    value = _read_fields(path)
    try:
        return _parsed(value)
    except DAMAGE as error:
        raise _damaged(path, error) from error


def _parsed(value: dict[str, Any]) -> Index:
    """The fields as what they mean; raises what `DAMAGE` lists."""
    clip = _clip(value["clip"])
    notes: list[str] = []
    snapshot = Snapshot(
        clip,
        _config(value.get("config"), notes),
        _moved(value.get("thresholds"), notes),
        view=_view(value.get("view"), clip.frame_count),
    )
    return Index(
        snapshot,
        _time(value["saved_at"]),
        _matching(_ID, value["saved_id"]),
        _plain_name(value["masks"]),
        tuple(_from_row(row) for row in value["chunks"]),
        tuple(_from_row(row) for row in value.get("lost", ())),
        MappingProxyType({key: value[key] for key in value if key not in _OWN}),
        tuple(notes),
    )


def _read_fields(path: Path) -> dict[str, Any]:
    """The fields of the file, of which only format and version are checked."""
    try:
        value = parse_bounded(read_bounded(path, _MOST_TEXT))
    except OSError as error:
        raise ProjectError(
            f"{path}: can't be read ({error.strerror or error})",
            "Check the path and the permissions of the file.",
        ) from error
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ProjectError(f"{path}: not a MoCA project", "Choose a file named .moca.json.")
    version = value.get("version")
    if type(version) is not int or version < 1:
        raise _damaged(path, ValueError(f"version {shown(version)}"))
    if version > VERSION:
        program = str(value.get("program", ""))[:80]
        raise ProjectVersionError(
            f"{path}: saved by a newer program ({program or 'unknown'}; format {version}, "
            f"this one knows {VERSION})",
            "Update MoCA Studio to open it. The file stays as it is.",
        )
    return value


def _damaged(path: Path, error: Exception) -> ProjectError:
    return ProjectError(
        f"{path}: damaged ({error})",
        "Put it back from a backup. The masks beside it and this file stay as they are.",
    )


def runs(frames: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last number of each run of neighbours; the numbers ascend."""
    first = last = None
    for frame in frames:
        if first is None or last is None:
            first = frame
        elif frame != last + 1:
            yield first, last
            first = frame
        last = frame
    if first is not None and last is not None:
        yield first, last


def said(frames: Iterable[int]) -> str:
    """Frame numbers in words: `64-70, 72`."""
    return ", ".join(
        str(first) if first == last else f"{first}-{last}" for first, last in runs(frames)
    )


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of `said`."""
    found: list[int] = []
    for part in text.split(", "):
        match = _RUN.fullmatch(part)
        if match is None:
            raise ValueError(f"frames {text[:40]!r}")
        first, last = whole(int(match[1])), whole(int(match[2] or match[1]))
        ascending = (found[-1] if found else -1) < first <= last
        if not ascending or len(found) + last - first >= FRAMES:
            raise ValueError(f"frames {text[:40]!r} in one file")
        found.extend(range(first, last + 1))
    return tuple(found)


def _to_row(chunk: Chunk) -> dict[str, Any]:
    return {
        "kind": chunk.kind,
        "file": chunk.name,
        "sha256": chunk.sha256,
        "bytes": chunk.nbytes,
        "frames": said(chunk.frames),
    }


def _from_row(row: dict[str, Any]) -> Chunk:
    kind, nbytes = row["kind"], row["bytes"]
    if kind not in KINDS or type(nbytes) is not int or not 0 < nbytes <= MOST_BYTES:
        raise ValueError(f"a file of {shown(nbytes)} bytes of {shown(kind)}")
    name = _matching(NAME, row["file"])
    return Chunk(kind, name, _matching(_HASH, row["sha256"]), nbytes, _numbers(row["frames"]))


def _clip(row: dict[str, Any]) -> ClipRef:
    height, width = (whole(side, 1) for side in row["size"])
    return ClipRef(
        path=Path(_path(row["path"])),
        hash=_matching(_HASH, row["hash"]),
        frame_count=whole(row["frames"], 1),
        fps=number(row["fps"]),
        duration_s=number(row["duration_s"]),
        size=(height, width),
        relative=_path(row["relative"]),
    )


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None or not 1970 < time.year < 9000:  # others can't be said in local time
        raise ValueError(f"saved at {shown(value)}")
    return time


def _config(row: Any, notes: list[str]) -> SegmentConfig:
    """The settings; what isn't one is left out, and the defaults stand in for a bad one."""
    try:
        values = {}
        for item in fields(SegmentConfig):
            if item.name in row:
                if type(row[item.name]) is not type(item.default):
                    raise ValueError(f"{item.name} = {shown(row[item.name])}")
                values[item.name] = row[item.name]
        return SegmentConfig(**values)
    except (*DAMAGE, ConfigError) as error:
        notes.append(f"The project's settings can't be used ({error}); the defaults stand in.")
        return SegmentConfig()


def _moved(row: Any, notes: list[str]) -> tuple[tuple[str, str], ...]:
    if isinstance(row, dict) and all(isinstance(value, str) for value in row.values()):
        return tuple(row.items())
    notes.append("The project's thresholds can't be made out; the bundle's stand in.")
    return ()


def _view(row: Any, frame_count: int) -> View:
    """What was on screen; where that can't be made out, the first frame."""
    try:
        first, last = row["range"] or (0, 0)
        chosen = 0 <= whole(first) <= whole(last) < frame_count and row["range"]
        return View(
            frame=min(whole(row["frame"]), frame_count - 1),
            zoom=max(0.0, number(row["zoom"])),
            centre=_pair(row["centre"]),
            range=(first, last) if chosen else None,
            hidden=tuple(whole(item) for item in row["hidden"]),
            timeline=_pair(row["timeline"]),
        )
    except DAMAGE:
        return View()


def _pair(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    first, second = value
    return number(first), number(second)


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if pattern.fullmatch(value) is None:
        raise ValueError(shown(value))
    return str(value)


def _path(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{shown(value)} in place of a path")
    return value


def _plain_name(value: Any) -> str:
    """A name without a way out of the project's folder."""
    if _path(value) in ("", ".", "..") or Path(value).name != value:
        raise ValueError(f"{shown(value)} in place of a folder's name")
    return str(value)


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return ""
