"""`moca demo`: the sample clip in the window, or as an overlay video and a contact sheet."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from moca_core import paths
from moca_core.cli import DONE, STOPPED
from moca_core.commands import gui, method, segment
from moca_core.commands.running import StopRequest, say, warn
from moca_core.config import SegmentConfig
from moca_core.errors import MocaError

HELP = (
    "Show the method on the sample clip: in the window, which finds what sounds and then plays it;"
    " with --no-gui or without a display as overlay.mp4 and sheet.png in a folder."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--no-gui", action="store_true", help="write files instead of a window")
    parser.add_argument(
        "--out", type=Path, default=Path("moca-demo"), metavar="DIR", help="where (./moca-demo)"
    )


def sample_clip() -> Path:
    """The clip that comes with the program; raises `MocaError` if it is missing."""
    try:
        return paths.resource("demo/demo.mp4")
    except FileNotFoundError as error:
        raise MocaError(str(error), "Install the program again.") from error


def run(args: argparse.Namespace) -> int:
    """Open the sample clip, or write what can be looked at without a window."""
    clip = sample_clip()
    if not args.no_gui:
        trouble = gui.display_trouble()
        if not trouble:
            return gui.open_window([str(clip), "--run"])
        say(f"Writing a video instead of opening the window: {trouble}.", args.quiet)
    return _write(clip, args.out, args.quiet)


def _write(clip: Path, out: Path, quiet: bool) -> int:
    from moca_core.commands.progress import ProgressPrinter
    from moca_core.export.results import prepare_folder

    prepare_folder(out)
    printer = ProgressPrinter(quiet)
    segmenter = method.load_segmenter(SegmentConfig(), "auto")
    job = segment.ClipJob(clip, out, segmenter, segment.Request("all", overlay=True))
    try:
        with StopRequest() as stop, closing(job.events()) as events:
            for event in events:
                segment.progress(printer, clip.name, event)
                if stop.asked:
                    break
    finally:
        printer.finish()
    if not job.complete:
        warn(f"Stopped. {job.kept()}. Run the same command again to continue.")
        return STOPPED
    say(job.line(), quiet)
    say(f"Look at {out / 'overlay.mp4'} and {out / 'sheet.png'}.", quiet)
    return DONE
