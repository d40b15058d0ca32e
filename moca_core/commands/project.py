"""`moca project`: what a project keeps, and whether all of it can be read."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from moca_core.annotations.importing import counted
from moca_core.annotations.model import PackedResult
from moca_core.annotations.project import (
    SUFFIX,
    Opened,
    find_clip,
    masks_folder,
    opening,
    project_path,
)
from moca_core.cli import DONE, FAILED, STOPPED, message_of
from moca_core.commands.progress import ProgressPrinter
from moca_core.commands.running import StopRequest, say, show, warn
from moca_core.config import SegmentConfig
from moca_core.errors import ProjectError

HELP = (
    "show: what projects keep. check: whether every mask can be read and the clip is there; exit "
    "code 1 if not. Nothing is changed. For a folder: all projects in it."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("show", "check"), help="what to do")
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PROJECT",
        help=f"a project ({SUFFIX}), its clip, or a folder of projects",
    )


def run(args: argparse.Namespace) -> int:
    """Show or check one project after the other; one that can't be opened stops no other."""
    code = DONE
    with StopRequest() as stop:
        for path in projects(args.paths):
            try:
                opened = _open(path, args.quiet, stop)
            except ProjectError as error:
                warn(message_of(error).rstrip())
                code = FAILED
                continue
            if opened is None:
                warn("Stopped.")
                return STOPPED
            clip = find_clip(opened.snapshot.clip, path)
            notes = list(opened.notes)
            if clip is None:
                notes.append(f"The clip, {opened.snapshot.clip.path}, isn't there any more.")
            if args.action == "show":
                say("\n".join(facts(opened, clip)))
            elif not notes:
                say(f"{path}: whole", args.quiet)
            for note in notes:
                warn(f"{path}: {note}")
            code = FAILED if notes and args.action == "check" else code
    return code


def projects(paths: list[Path]) -> Iterator[Path]:
    """The projects that are named by themselves, by their clips, or by the folder they are in.

    Raises
    ------
    ProjectError : a folder has none.
    """
    for path in paths:
        if path.is_dir():
            found = sorted(path.glob(f"*{SUFFIX}"))
            if not found:
                raise ProjectError(f"{path}: no projects in this folder", f"Name a {SUFFIX} file.")
            yield from found
        else:
            yield path if path.name.endswith(SUFFIX) else project_path(path)


def _open(path: Path, quiet: bool, stop: StopRequest) -> Opened | None:
    """Open a project; None if a stop was asked for. Raises `ProjectError`."""
    printer = ProgressPrinter(quiet)
    try:
        for event in opening(path):
            if isinstance(event, Opened):
                return event
            if stop.asked:
                return None
            show(printer, path.name, event)
    finally:
        printer.finish()
    return None


def facts(opened: Opened, clip: Path | None) -> Iterator[str]:
    """What a project keeps, in lines."""
    project, snapshot = opened.project, opened.snapshot
    ref, folder = snapshot.clip, masks_folder(project.path)
    nbytes = sum(item.stat().st_size for item in folder.glob("*") if item.is_file())
    assert project.saved_at is not None
    yield f"{project.path}"
    yield f"  saved      {project.saved_at.astimezone():%Y-%m-%d %H:%M:%S}, {nbytes / 1e6:.1f} MB"
    yield (
        f"  clip       {clip or 'not found'}, {ref.size[1]}x{ref.size[0]}, "
        f"{ref.frame_count:,} frames, {ref.duration_s:.1f} s"
    )
    yield f"  corrected  {_counted(list(snapshot.labels.values()))}"
    yield f"  results    {_counted(list(snapshot.results.values()))}"
    yield f"  settings   {_settings(snapshot.config, snapshot.moved)}"


def _counted(frames: list[PackedResult]) -> str:
    names = Counter(name for frame in frames for name in {item.name for item in frame.objects})
    words = [
        counted(len(frames), "frame"),
        *(f"{name} in {n:,}" for name, n in names.most_common()),
    ]
    empty = sum(not frame.objects for frame in frames)
    return ", ".join([*words, f"{empty:,} without a mask"] if empty else words)


def _settings(config: SegmentConfig, moved: tuple[tuple[str, str], ...]) -> str:
    """What differs from the bundle's own, as `moca segment` takes it."""
    own = SegmentConfig(bundle=config.bundle)
    words = [
        f"{name}={value}"
        for name, value in vars(config).items()
        if name != "bundle" and value != getattr(own, name)
    ]
    return " ".join([config.bundle, *words, *(f"{name}={value}" for name, value in moved)])
