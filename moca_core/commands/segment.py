"""`moca segment`: masks of the sounding objects of clips, written to a folder."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moca_core.cli import DONE, FAILED, STOPPED, message_of
from moca_core.commands import method
from moca_core.commands.arguments import seconds, seconds_above_0
from moca_core.commands.running import StopRequest, say, show, warn
from moca_core.config import fingerprint
from moca_core.errors import ConfigError, MediaError, MocaError, StorageError
from moca_core.media.suffixes import CLIP_SUFFIXES
from moca_core.types import FrameEvent, NoteEvent, SegmentEvent

if TYPE_CHECKING:
    from moca_core.pipeline.segmenter import Segmenter
    from moca_core.pipeline.store import ClipStore

HELP = (
    "Find what makes the sound in video clips. Writes DIR/<clip>/masks/frame_000123.png, "
    "objects.json and summary.json. Results are kept: a second run is instant, and one that was "
    "stopped continues."
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


@dataclass(frozen=True)
class Request:
    """What to write for each clip.

    Attributes
    ----------
    frames : `keys`, `all`, or numbers, for which masks are written.
    every_s : seconds between key frames.
    start_s, end_s : part of the clip.
    overlay, save_maps : what else to write.
    """

    frames: str | Sequence[int] = "keys"
    every_s: float = 1.0
    start_s: float | None = None
    end_s: float | None = None
    overlay: bool = False
    save_maps: bool = False

    @property
    def asked_frames(self) -> str | Sequence[int]:
        """What the pipeline is asked for: an overlay needs every frame."""
        return "all" if self.overlay and self.frames == "keys" else self.frames


def run(args: argparse.Namespace) -> int:
    """Segment every input; a bad one doesn't stop the others."""
    from moca_core.commands.progress import ProgressPrinter
    from moca_core.export.results import prepare_folder

    if args.start is not None and args.end is not None and args.end <= args.start:
        args.usage_error(f"--end {args.end:g} is not after --start {args.start:g}")
    frames: str | list[int] = args.frames or "keys"
    if args.overlay and not isinstance(frames, str):
        args.usage_error("--overlay shows every frame: use it without a list of frames")
    if not isinstance(frames, str) and (args.start is not None or args.end is not None):
        args.usage_error("--start and --end don't go with a list of frames: use one or the other")
    request = Request(frames, args.every, args.start, args.end, args.overlay, args.save_maps)
    clips, failed = find_clips(args.input)
    if not clips:
        return FAILED
    prepare_folder(args.out)
    segmenter = method.segmenter_of(args)
    printer = ProgressPrinter(args.quiet)
    with StopRequest() as stop:
        for clip, name in zip(clips, folder_names(clips), strict=True):
            job = ClipJob(clip, args.out / name, segmenter, request)
            try:
                with closing(job.events()) as events:
                    for event in events:
                        progress(printer, clip.name, event)
                        if stop.asked:
                            break
            except (MediaError, ConfigError) as error:
                printer.finish()
                warn(message_of(error).rstrip())
                failed += 1
                continue
            except MocaError:
                # A full disk or missing weights stop the next clip as well.
                printer.finish()
                if job.frames:
                    warn(f"{job.kept()}.")
                raise
            printer.finish()
            if stop.asked and not job.complete:
                warn(f"Stopped. {job.kept()}. Run the same command again to continue.")
                return STOPPED
            say(job.line(), args.quiet)
    return FAILED if failed else DONE


def progress(printer: Any, title: str, event: SegmentEvent) -> None:
    """Show an event of a clip's run."""
    if isinstance(event, FrameEvent):
        printer.update(title, event.done, event.total, "frames")
    else:
        show(printer, title, event)


def find_clips(inputs: Sequence[Path]) -> tuple[list[Path], int]:
    """The clips named by files and folders, and how many inputs gave none (told on stderr)."""
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
            warn(f"moca: {path}: the folder can't be read ({error.strerror or error})")
            failed += 1
            continue
        if not inside:
            warn(
                f"moca: {path}: a folder without clips\n  Give clips, or a folder that holds some."
            )
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


@dataclass
class ClipJob:
    """One clip from its file to its output folder.

    Attributes
    ----------
    frames, masked : frames done, and those with a mask.
    complete : every frame is done and written.
    """

    clip: Path
    folder: Path
    segmenter: Segmenter
    request: Request
    frames: int = 0
    masked: int = 0
    complete: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    _notes: list[str] = field(default_factory=list)
    _stored: int = 0

    def events(self) -> Generator[SegmentEvent, None, None]:
        """Run, write, and pass the events on. Closed early, it keeps what is finished.

        Raises
        ------
        MocaError : as `Segmenter.clip`; `StorageError` where something can't be written;
            `MediaError` where the clip would be replaced by its own overlay.
        """
        from moca_core.export.results import ResultsWriter

        self._spare_input()
        began = time.perf_counter()
        writer: ResultsWriter | None = None
        preview = None
        try:
            with closing(self._run()) as run:
                for event in run:
                    if isinstance(event, FrameEvent):
                        # Not before: a clip that can't be read leaves no folder.
                        if writer is None:
                            writer = ResultsWriter(self.folder, self.request.save_maps)
                            preview = self._preview()
                        if preview is not None:
                            preview.add(event.result)
                        self._take(writer, event)
                    elif isinstance(event, NoteEvent):
                        self._notes.append(event.message)
                    yield event
            if preview is not None:
                preview.finish()
            self.complete = True
        finally:
            if preview is not None:
                preview.close()
            if writer is not None:
                summary = self._summary(time.perf_counter() - began)
                if self.complete:
                    writer.finish(summary)
                else:
                    # The first error counts, not what follows from it on a full disk.
                    with suppress(StorageError):
                        writer.finish(summary, complete=False)

    def line(self) -> str:
        """What came out, in a line for the user."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        parts = ", ".join(
            part
            for part in (_counted("frame", self.frames), f"{self.masked} with masks", reasons)
            if part
        )
        return f"{self.clip.name}: {parts} -> {self.folder}"

    def kept(self) -> str:
        """What a run that didn't come to its end has left."""
        if not self.frames:
            return f"No frame of {self.clip.name} was finished"
        verb = "is" if self.frames == 1 else "are"
        frames = _counted("finished frame", self.frames)
        return f"{frames} of {self.clip.name} {verb} kept in {self.folder}"

    def _run(self) -> Generator[SegmentEvent, None, None]:
        from moca_core.pipeline.store import ResultStore

        request = self.request
        store: ClipStore | None = None
        try:
            store = ResultStore().open(self.clip, self.segmenter.config, self.segmenter.settings)
        except StorageError as error:
            # The output folder is what was asked for; the cache is a convenience.
            yield NoteEvent(error.message)
        yield from self.segmenter.clip(
            self.clip,
            frames=request.asked_frames,
            every_s=request.every_s,
            start_s=request.start_s,
            end_s=request.end_s,
            keep_maps=request.save_maps,
            store=store,
        )

    def _spare_input(self) -> None:
        video = self.folder / "overlay.mp4"
        there = self.request.overlay and video.exists() and self.clip.exists()
        if there and video.samefile(self.clip):
            raise MediaError(
                f"{self.clip}: the overlay video would replace this clip",
                "Choose another output folder with --out.",
            )

    def _preview(self) -> Preview | None:
        return Preview(self.clip, self.folder, self.request) if self.request.overlay else None

    def _take(self, writer: Any, event: FrameEvent) -> None:
        result = event.result
        if result.key or self.request.frames != "keys":
            writer.add(result)
            self.frames += 1
            self.masked += bool(result.objects)
            if not result.objects:
                self.reasons[result.reason] += 1
        self._stored += event.stored

    def _summary(self, wall_s: float) -> dict[str, Any]:
        from moca_core.models.specs import rows_for
        from moca_core.models.weights import hash_of, is_own, path_of

        config = self.segmenter.config
        rows = [row for row in rows_for(config.bundle, config.sam) if path_of(row).is_file()]
        return {
            "clip": str(self.clip),
            "complete": self.complete,
            "request": asdict(self.request),
            "config": asdict(config),
            "thresholds": asdict(self.segmenter.settings),
            "config_fingerprint": fingerprint(config),
            "seed": config.seed,
            "device": asdict(self.segmenter.device),
            "weights": {row.name: hash_of(row) for row in rows},
            "weights_not_official": [row.name for row in rows if is_own(row)],
            "notes": self._notes,
            "stored_frames": self._stored,
            "seconds": round(wall_s, 3),
        }


def _counted(thing: str, count: int) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


class Preview:
    """The overlay video and the contact sheet beside the masks."""

    def __init__(self, clip: Path, folder: Path, request: Request) -> None:
        from moca_core.export.overlay import OverlayWriter
        from moca_core.export.sheet import ContactSheet

        self._folder = folder
        self._sheet = ContactSheet(clip.name)
        self._video = OverlayWriter(
            clip, folder / "overlay.mp4", request.start_s, request.end_s, self._sheet
        )
        self.add = self._video.add
        self.close = self._video.close

    def finish(self) -> None:
        """Write both; raises `StorageError`."""
        self._video.finish()
        self._sheet.save(self._folder / "sheet.png")
