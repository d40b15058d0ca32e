"""One clip from its file to the folder of its results, for the commands that write such folders."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moca_core.commands import method
from moca_core.config import fingerprint
from moca_core.errors import ConfigError, MediaError, StorageError
from moca_core.types import FrameEvent, NoteEvent, SegmentEvent

if TYPE_CHECKING:
    from moca_core.pipeline.segmenter import Segmenter
    from moca_core.pipeline.store import ClipStore

_SUMMARY = "summary.json"


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


@dataclass
class ClipJob:
    """One clip from its file to its output folder.

    Attributes
    ----------
    frames, masked : frames done, and those with a mask.
    complete : every frame is done and written.
    ready : all of it was there already.
    """

    clip: Path
    folder: Path
    segmenter: Segmenter
    request: Request
    frames: int = 0
    masked: int = 0
    complete: bool = False
    ready: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    _notes: list[str] = field(default_factory=list)
    _stored: int = 0

    def events(self) -> Generator[SegmentEvent, None, None]:
        """Run, write, and pass the events on. Closed early, it keeps what is finished.

        Raises
        ------
        MocaError : as `Segmenter.clip`; `StorageError` where something can't be written;
            `MediaError` where the clip would be replaced by its own overlay; `ConfigError` where
            the folder holds the results of another clip.
        """
        from moca_core.export.results import ResultsWriter

        self._spare_input()
        there = self._summary_there()
        self._spare_other_clip(there)
        if self._is_made(there):
            yield from self._taken_up(there)
            return
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

    @cached_property
    def _clip_hash(self) -> str:
        from moca_core.media.probe import clip_hash

        return clip_hash(self.clip)

    @cached_property
    def _fingerprint(self) -> str:
        """Names the results: the clip's content, the method and what was asked for."""
        from moca_core.pipeline.store import method_key

        made_of = (
            self._clip_hash,
            method_key(self.segmenter.config, self.segmenter.settings),
            method.weights_of(self.segmenter.config),
            asdict(self.request),
        )
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]

    def _summary_there(self) -> dict[str, Any]:
        """The summary of an earlier run; empty where there is none, or it is damaged."""
        with suppress(OSError, ValueError, TypeError):
            return dict(json.loads((self.folder / _SUMMARY).read_bytes()))
        return {}

    def _spare_other_clip(self, there: Mapping[str, Any]) -> None:
        clip = there.get("clip", "")
        # A clip may be moved, and may change where it is.
        if clip in ("", str(self.clip.absolute())) or there.get("clip_hash") == self._clip_hash:
            return
        raise ConfigError(
            f"{self.clip}: {self.folder} holds the results of another clip, {clip}",
            "Choose another folder with --out, or remove that one.",
        )

    def _is_made(self, there: Mapping[str, Any]) -> bool:
        """Whether everything that is asked for is in the folder."""
        if not there.get("complete") or there.get("fingerprint") != self._fingerprint:
            return False
        wanted = ["objects.json", *(("overlay.mp4", "sheet.png") if self.request.overlay else ())]
        masks = sum(1 for _ in self.folder.glob("masks/frame_*.png"))
        return masks >= there["frames"] and all((self.folder / name).is_file() for name in wanted)

    def _taken_up(self, there: Mapping[str, Any]) -> Iterator[NoteEvent]:
        """Tell again what the run told that made what is there."""
        yield from (NoteEvent(note) for note in there["notes"])
        self.reasons.update(there["empty_frames"])
        self.frames = there["frames"]
        self.masked = self.frames - self.reasons.total()
        self.complete = self.ready = True

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
        config = self.segmenter.config
        return {
            "clip": str(self.clip.absolute()),
            "clip_hash": self._clip_hash,
            "complete": self.complete,
            "fingerprint": self._fingerprint,
            "request": asdict(self.request),
            "config": asdict(config),
            "thresholds": asdict(self.segmenter.settings),
            "config_fingerprint": fingerprint(config),
            "seed": config.seed,
            "device": asdict(self.segmenter.device),
            **method.weights_of(config),
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
