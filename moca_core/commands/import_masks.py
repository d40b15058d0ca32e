"""`moca import`: masks of other tools into the project of a clip."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moca_core.annotations.history import Labels
from moca_core.annotations.imported import Target
from moca_core.annotations.importing import Imported, counted, read_masks
from moca_core.annotations.project import ClipRef, Snapshot, is_clip, open_project, project_path
from moca_core.annotations.saving import Project
from moca_core.cli import DONE, STOPPED
from moca_core.commands.progress import ProgressPrinter
from moca_core.commands.running import StopRequest, say, show, warn
from moca_core.errors import StorageError
from moca_core.media.probe import clip_hash
from moca_core.media.video import VideoReader

HELP = (
    "Take masks into the project of a clip, as corrected frames. MASKS is a folder of PNG whose "
    "names hold frame numbers, such as `moca export --format png` writes, or a COCO file (.json). "
    "Frames that MASKS hasn't stay as they are."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("clip", type=Path, metavar="CLIP", help="the clip that they are for")
    parser.add_argument("masks", type=Path, metavar="MASKS", help="a folder of PNG, or a COCO file")
    parser.add_argument(
        "--project", type=Path, metavar="FILE", help="the clip's project (beside the clip)"
    )
    parser.add_argument(
        "--resize", action="store_true", help="take masks of another size than the clip's"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be taken, and write nothing"
    )


def run(args: argparse.Namespace) -> int:
    """Read the masks, say what they are, and save them."""
    path = args.project or project_path(args.clip)
    project, snapshot, times_s = _open(args.clip, path)
    shown = {**snapshot.results, **snapshot.labels}
    target = Target(args.clip.stem, snapshot.clip.size, times_s, shown)
    printer = ProgressPrinter(args.quiet)
    imported: Imported | None = None
    try:
        with StopRequest() as stop, closing(read_masks(args.masks, target, args.resize)) as events:
            for event in events:
                if isinstance(event, Imported):
                    imported = event
                else:
                    show(printer, "import", event)
                if stop.asked:
                    break
    finally:
        printer.finish()
    if imported is None or stop.asked:
        warn("Stopped. Nothing was taken.")
        return STOPPED
    for note in imported.notes:
        warn(f"moca: {note}")
    if not args.dry_run:
        labels = Labels(snapshot.labels.values())
        labels.apply(imported.edit)
        for _ in project.save(replace(snapshot, labels=MappingProxyType(dict(labels.frames)))):
            pass
    there = f"would go into {path}" if args.dry_run else f"-> {path}"
    say(f"{args.masks}: {', '.join(summary(imported))} {there}", args.quiet)
    return DONE


def summary(imported: Imported) -> list[str]:
    """What an import takes, in words: frames, names, what it replaces."""
    words = [counted(len(imported.frames), "frame")]
    words += [f"{name} in {count:,}" for name, count in imported.names.items()]
    if imported.empty:
        words.append(f"{imported.empty:,} without a mask")
    if imported.replaced:
        words.append(f"{counted(imported.replaced, 'corrected frame')} replaced")
    return words


def _open(clip: Path, path: Path) -> tuple[Project, Snapshot, NDArray[np.float64]]:
    """The clip's project, or a new one, and when its frames are shown.

    Raises
    ------
    MediaError : the clip can't be read.
    ProjectError : the project can't be read.
    StorageError : the project is another clip's.
    """
    with VideoReader(clip, cache_bytes=2**20) as video:
        info = video.info
    if path.exists():
        opened = open_project(path)
        for note in opened.notes:
            warn(f"moca: {note}")
        if not is_clip(opened.snapshot.clip, clip):
            raise StorageError(
                f"{path}: the project of another clip ({opened.snapshot.clip.path.name})",
                "Name the project of this clip, or a new one, with --project.",
            )
        return opened.project, opened.snapshot, info.times_s
    size = info.height, info.width
    ref = ClipRef(clip, clip_hash(clip), info.frame_count, info.fps, info.duration_s, size)
    return Project(path), Snapshot(ref), info.times_s
