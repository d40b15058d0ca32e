"""`moca segment`: masks of the sounding objects of clips, written to a folder."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moca_core.cli import DONE, FAILED, STOPPED, message_of
from moca_core.commands import method
from moca_core.commands.arguments import seconds, seconds_above_0
from moca_core.commands.clip_job import ClipJob, Request
from moca_core.commands.running import STOP_SIGNALS, StopRequest, say, show, warn
from moca_core.errors import ConfigError, MediaError, MocaError
from moca_core.media.suffixes import CLIP_SUFFIXES
from moca_core.shares import Ledger, Share, Watch, own_device, own_share
from moca_core.types import FrameEvent, SegmentEvent, StageEvent

if TYPE_CHECKING:
    from moca_core.commands.progress import ProgressPrinter

HELP = (
    "Find what makes the sound in video clips. Writes DIR/<clip>/masks/frame_000123.png, "
    "objects.json and summary.json. Results are kept: a second run is instant, and one that was "
    "stopped continues. Several processes share the clips: torchrun --nproc-per-node N -m "
    "moca_core.cli segment ..."
)
# Numbers are held in memory; more of them are no list that anybody typed on purpose.
MOST_LISTED = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of DESIGN.md section 4."""
    parser.add_argument(
        "input", nargs="+", type=Path, metavar="INPUT", help="clip, or folder of clips"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="output folder")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--every", type=seconds_above_0, default=1.0, metavar="S", help="a key frame every S s (1)"
    )
    which.add_argument(
        "--frames",
        type=frame_list,
        metavar="all|LIST",
        help="every frame (masks move between key frames), or key frames such as 0,15,30-40",
    )
    parser.add_argument("--start", type=seconds, metavar="S", help="begin there")
    parser.add_argument("--end", type=seconds, metavar="S", help="end there")
    method.add_method_arguments(parser)
    parser.add_argument(
        "--overlay",
        action="store_true",
        help="also write overlay.mp4 and the sheet of key frames; without a list of frames",
    )
    parser.add_argument(
        "--save-maps", action="store_true", help="also write the intermediates of key frames"
    )


def frame_list(text: str) -> str | list[int]:
    """`all`, or numbers and ranges: `0,15,30-40`."""
    if text == "all":
        return text
    frames: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(
                f"{part.strip()!r} is no frame number: use all, or numbers such as 0,15,30-40"
            )
        # Digits beyond these are no frame either, and Python refuses to read thousands of them.
        if max(len(first), len(last)) > 18:
            raise argparse.ArgumentTypeError(f"{part.strip()[:40]!r}: no clip has so many frames")
        listed = range(int(first), int(last if dash else first) + 1)
        if len(frames) + len(listed) > MOST_LISTED:
            raise argparse.ArgumentTypeError(
                f"{part.strip()!r}: more than {MOST_LISTED} frames; use --start and --end"
            )
        frames += listed
    if not frames:
        raise argparse.ArgumentTypeError(f"{text!r} names no frame")
    return sorted(set(frames))


def run(args: argparse.Namespace) -> int:
    """Segment every input; a bad one doesn't stop the others."""
    from moca_core.commands.progress import ProgressPrinter
    from moca_core.export.results import prepare_folder

    request = request_of(args)
    share = own_share()
    clips, failed = find_clips(args.input, tell=share.first)
    if not clips:
        return FAILED
    prepare_folder(args.out)
    args.device = own_device(args.device, share)
    segmenter = method.segmenter_of(args)
    names = folder_names(clips)
    jobs = [
        ClipJob(clip, args.out / name, segmenter, request)
        for clip, name in zip(clips, names, strict=True)
    ]
    # One bar is enough on a terminal.
    printer = ProgressPrinter(args.quiet or not share.first)
    with Team(args.out, share) as team, StopRequest(*STOP_SIGNALS) as stop:
        work = Work(printer, stop, args.quiet, team)
        done = work.do(team.part(jobs, own=True)) and (not share.first or work.finish(jobs))
    if not done:
        return STOPPED
    # The first process tries again what failed elsewhere; `torchrun` ends all if another one fails.
    return FAILED if share.first and failed + work.failed else DONE


def request_of(args: argparse.Namespace) -> Request:
    """What the arguments ask for; ends the command where they contradict each other."""
    if args.start is not None and args.end is not None and args.end <= args.start:
        args.usage_error(f"--end {args.end:g} is not after --start {args.start:g}")
    frames: str | list[int] = args.frames or "keys"
    if args.overlay and not isinstance(frames, str):
        args.usage_error("--overlay shows every frame: use it without a list of frames")
    if not isinstance(frames, str) and (args.start is not None or args.end is not None):
        args.usage_error("--start and --end don't go with a list of frames: use one or the other")
    return Request(frames, args.every, args.start, args.end, args.overlay, args.save_maps)


class Team:
    """The processes that segment into one folder, each of which tells which clips it has tried.

    Parameters
    ----------
    folder : where the clips' folders are.
    """

    def __init__(self, folder: Path, share: Share) -> None:
        self.share = share
        # Alone, nobody has to know.
        self._ledger = Ledger(folder, ".clips", share, anew=True) if share.count > 1 else None
        self._watch: Watch | None = None

    def __enter__(self) -> Team:
        if self._ledger:
            self._ledger.__enter__()
            self._watch = Watch(self._ledger, "clips")
        return self

    def __exit__(self, *raised: object) -> None:
        if self._ledger:
            self._ledger.close()

    def part(self, jobs: Sequence[ClipJob], own: bool) -> list[ClipJob]:
        """The clips of this process, or those of the others."""
        mine = (self.share.owner(number) == self.share.rank for number in range(len(jobs)))
        return [job for job, is_mine in zip(jobs, mine, strict=True) if is_mine == own]

    def tell(self, job: ClipJob) -> None:
        """A clip was tried; raises `StorageError`."""
        if self._ledger and self._watch:
            self._ledger.add(json.dumps(job.folder.name) + "\n")
            if self.share.first:
                self._watch.look()

    def others(self, jobs: Sequence[ClipJob]) -> Iterator[StageEvent]:
        """Wait until the other processes have tried their clips; raises `ShareError`."""
        if not self._ledger or not self._watch:
            return
        owners = {job.folder.name: self.share.owner(number) for number, job in enumerate(jobs)}
        ledger = self._ledger

        def owed() -> Counter[int]:
            for line in ledger.news():
                with suppress(ValueError):
                    owners.pop(json.loads(line), None)
            return Counter(owners.values())

        yield from self._watch.until_done(owed, len(jobs))


@dataclass
class Work:
    """Clips that are done one after the other. `failed` counts those that couldn't be."""

    printer: ProgressPrinter
    stop: StopRequest
    quiet: bool
    team: Team
    failed: int = 0

    def do(self, jobs: Sequence[ClipJob], tell_ready: bool = True) -> bool:
        """Do clips; returns False if it was stopped.

        Parameters
        ----------
        tell_ready : say a line of clips whose results were there, too.
        """
        for job in jobs:
            try:
                with closing(job.events()) as events:
                    for event in events:
                        progress(self.printer, job.clip.name, event)
                        if self.stop.asked:
                            break
            except (MediaError, ConfigError) as error:
                self.printer.finish()
                warn(message_of(error).rstrip())
                self.failed += 1
                self.team.tell(job)
                continue
            except MocaError:
                # A full disk or missing weights stop the next clip as well.
                self.printer.finish()
                if job.frames:
                    warn(f"{job.kept()}.")
                raise
            self.printer.finish()
            if self.stop.asked and not job.complete:
                warn(f"Stopped. {job.kept()}. Run the same command again to continue.")
                return False
            self.team.tell(job)
            if tell_ready or not job.ready:
                say(job.line(), self.quiet)
        return True

    def finish(self, jobs: Sequence[ClipJob]) -> bool:
        """Wait for the other processes, and do what they couldn't; returns False if stopped."""
        try:
            for event in self.team.others(jobs):
                show(self.printer, "Segmenting", event)
                if self.stop.asked:
                    warn("Stopped. Run the same command again for the clips that are missing.")
                    return False
        finally:
            self.printer.finish()
        return self.do(self.team.part(jobs, own=False), tell_ready=False)


def progress(printer: ProgressPrinter, title: str, event: SegmentEvent) -> None:
    """Show an event of a clip's run."""
    if isinstance(event, FrameEvent):
        printer.update(title, event.done, event.total, "frames")
    else:
        show(printer, title, event)


def find_clips(inputs: Sequence[Path], tell: bool = True) -> tuple[list[Path], int]:
    """The clips named by files and folders, and how many inputs gave none.

    Parameters
    ----------
    tell : name those on stderr.
    """
    clips: list[Path] = []
    failed = 0
    for path in inputs:
        if not path.is_dir():
            clips.append(path)
            continue
        try:
            inside = sorted(
                item
                for item in path.iterdir()
                if item.suffix.lower() in CLIP_SUFFIXES and item.is_file()
            )
        except OSError as error:
            if tell:
                warn(f"moca: {path}: the folder can't be read ({error.strerror or error})")
            failed += 1
            continue
        if not inside:
            if tell:
                warn(f"moca: {path}: a folder without clips\n  Give clips, or a folder of them.")
            failed += 1
        clips += inside
    return list(dict.fromkeys(clips)), failed


def folder_names(clips: Sequence[Path]) -> list[str]:
    """A folder name for each clip: its stem, with its suffix and a number where that clashes."""
    stems = Counter(clip.stem for clip in clips)
    names: list[str] = []
    for clip in clips:
        name = clip.stem if stems[clip.stem] == 1 else clip.name.replace(".", "_")
        if not name.strip("."):
            # The stem of `...mp4` is `..`: its results would land outside the output folder.
            name = "clip_" + clip.name.replace(".", "_")
        unique, number = name, 2
        while unique in names:
            unique, number = f"{name}_{number}", number + 1
        names.append(unique)
    return names
