"""`moca export`: a project, or results of `moca segment`, in the formats of other tools."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path

from moca_core.cli import DONE, STOPPED
from moca_core.commands.running import StopRequest, say, show, warn
from moca_core.errors import StorageError
from moca_core.export.clips import Choice, ExportClip
from moca_core.export.exporter import SEGMENTATIONS, ExportSettings
from moca_core.export.formats import FORMATS, Format, export
from moca_core.export.projects import project_files, read_projects
from moca_core.export.reading import read_results

HELP = (
    "Write masks in the format of another tool. FROM is a project (.moca.json), the folder that "
    "`moca segment` wrote for a clip (with objects.json), or a folder that holds several of these. "
    "DIR must be new or empty; it gets all of the export or nothing."
)
TREES = ("s4", "ms3", "avss")
_OPTIONS = tuple(field.name for field in fields(ExportSettings))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of DESIGN.md section 4."""
    parser.add_argument("source", type=Path, metavar="FROM", help="a project, or results")
    rows = "; ".join(f"{row.name}: {row.help}" for row in FORMATS.values())
    parser.add_argument("--format", choices=tuple(FORMATS), required=True, help=rows)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--clip",
        type=Path,
        metavar="FILE",
        help="where the clip is, if it isn't where it was (of several: the folder they are in)",
    )
    parser.add_argument("--start", type=float, metavar="S", help="from this second of the clip on")
    parser.add_argument("--end", type=float, metavar="S", help="up to this second")
    parser.add_argument(
        "--range", action="store_true", help="projects: between the in and out points only"
    )
    parser.add_argument(
        "--corrected-only", action="store_true", help="projects: frames that a person corrected"
    )
    parser.add_argument(
        "--segmentation", choices=SEGMENTATIONS, help="coco: run lengths (rle), or polygons"
    )
    parser.add_argument("--tree", choices=TREES, help="avsbench: which of its data sets")
    parser.add_argument(
        "--split", metavar="NAME", help="avsbench, yolo: the part of the data set (test; train)"
    )
    parser.add_argument(
        "--alpha",
        action="store_true",
        default=None,
        help="matte: the picture, the mask as its alpha (ProRes 4444)",
    )


def run(args: argparse.Namespace) -> int:
    """Read the masks and write them again."""
    from moca_core.commands.progress import ProgressPrinter

    row = FORMATS[args.format]
    settings = _settings(args, row)
    choice = Choice(args.start, args.end, args.range, args.corrected_only)
    clips = _chosen(_read(args.source, args.clip), choice)
    printer = ProgressPrinter(args.quiet)
    stopped = False
    try:
        with StopRequest() as stop, closing(export(row, clips, args.out, settings)) as events:
            for event in events:
                show(printer, row.name, event)
                if stop.asked:
                    stopped = True
                    break
    finally:
        printer.finish()
    if stopped:
        warn(f"Stopped. Nothing is left in {args.out}; run the same command again.")
        return STOPPED
    say(f"{args.source}: {_counted(clips)} read, {row.name} -> {args.out}", args.quiet)
    return DONE


def _read(source: Path, clip: Path | None) -> Sequence[ExportClip]:
    """The clips of projects or of results; raises `StorageError`."""
    projects = project_files(source)
    if not projects:
        return read_results(source, clip)
    clips, notes = read_projects(projects, clip)
    for note in notes:
        warn(f"moca: {note}")
    return clips


def _chosen(clips: Sequence[ExportClip], choice: Choice) -> list[ExportClip]:
    """What of the clips was chosen; raises `StorageError` if that is nothing."""
    found: list[ExportClip] = []
    lacking: list[StorageError] = []
    for clip in clips:
        try:
            found.append(clip.chosen(choice))
        except StorageError as error:
            lacking.append(error)
    if not found:
        raise lacking[0]
    for problem in lacking:
        warn(f"moca: {problem.message}: left out")
    return found


def _settings(args: argparse.Namespace, row: Format) -> ExportSettings:
    """The settings; wrong usage where an option isn't one of the format."""
    given = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    for name in given:
        if name not in row.options:
            fitting = " or ".join(other.name for other in FORMATS.values() if name in other.options)
            args.usage_error(f"--{name} goes with --format {fitting}, not with {row.name}")
    if "tree" in row.options and "tree" not in given:
        args.usage_error(f"--format {row.name} needs --tree {', '.join(TREES[:-1])} or {TREES[-1]}")
    return ExportSettings(**given)


def _counted(clips: Sequence[ExportClip]) -> str:
    frames = sum(len(clip.numbers) for clip in clips)
    parts = ((len(clips), "clip"), (frames, "frame"))
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)
