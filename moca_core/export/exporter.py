"""What all export formats share: their settings, and a folder that is whole or isn't there."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from moca_core.errors import ConfigError, MediaError, StorageError
from moca_core.export.clips import ExportClip
from moca_core.export.following import explained
from moca_core.fileio import write_bytes
from moca_core.types import FrameResult, NoteEvent, RgbImage, StageEvent

SEGMENTATIONS = ("rle", "polygon")
STAGING = ".moca-export.part"
_JPEG_QUALITY = 95
_NAMED_FRAMES = 5

ExportEvent = StageEvent | NoteEvent


@dataclass(frozen=True)
class ExportSettings:
    """What a format can be told; each reads those that its row in the table names.

    Attributes
    ----------
    segmentation : of COCO, `rle` (compressed run lengths) or `polygon`.
    tree : of AVSBench, `s4`, `ms3` or `avss`.
    split : the part of the data set that the clips become (AVSBench, YOLO); "": the format's own.
    alpha : the matte is the picture with the mask as its alpha channel, not black and white.

    Raises
    ------
    ConfigError : `segmentation` is neither, or `split` can't be the name of a folder.
    """

    segmentation: str = "rle"
    tree: str = ""
    split: str = ""
    alpha: bool = False

    def __post_init__(self) -> None:
        if self.segmentation not in SEGMENTATIONS:
            raise ConfigError(
                f"segmentation = {self.segmentation!r}", f"Use {' or '.join(SEGMENTATIONS)}."
            )
        if not re.fullmatch(r"[A-Za-z0-9_-]*", self.split):
            raise ConfigError(
                f"split = {self.split!r}", "Use letters, digits, - and _, such as train or test."
            )


class Write(Protocol):
    """Writes clips in one format into a new folder, and says how far it is."""

    def __call__(
        self, clips: Sequence[ExportClip], out: Path, settings: ExportSettings
    ) -> Iterator[ExportEvent]:
        """Raises `StorageError`, `MediaError`, `ConfigError`."""
        ...


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder whose content is moved into `out` on a clean exit, and deleted on any other.

    Raises
    ------
    StorageError : `out` holds something already, or something can't be written.
    """
    out = Path(out)
    part = out / STAGING
    made = not out.exists()
    moved: list[Path] = []
    done = False
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Left by a process that was killed.
        shutil.rmtree(part, ignore_errors=True)
        if any(out.iterdir()):
            raise StorageError(
                f"{out}: isn't empty", "Choose a new folder with --out, or empty this one."
            )
        part.mkdir()
        yield part
        for item in sorted(part.iterdir()):
            moved.append(out / item.name)
            item.rename(moved[-1])
        done = True
    except OSError as error:
        raise StorageError(
            f"{out}: can't be written ({error.strerror or error})",
            "Check the free space and the permissions of the folder, or choose another one.",
        ) from error
    finally:
        _remove([part] if done else [*moved, part])
        if made and not done:
            with contextlib.suppress(OSError):  # it wasn't made, or isn't empty
                out.rmdir()


def _remove(paths: Sequence[Path]) -> None:
    """Delete files and folders, as far as they are there."""
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def check_clips(clips: Sequence[ExportClip]) -> None:
    """See that the files of all clips are there, before the work; raises `StorageError`."""
    for clip in clips:
        clip.clip_path()


def named(clips: Sequence[ExportClip]) -> str:
    """The clips in a word, for messages."""
    more = f" and {len(clips) - 1} more" if len(clips) > 1 else ""
    return f"{clips[0].name}{more}"


def class_names(clips: Sequence[ExportClip]) -> list[str]:
    """Names of all objects of all clips, sorted."""
    return sorted(set[str]().union(*(clip.object_names() for clip in clips)))


def pictured(
    clips: Sequence[ExportClip],
) -> Iterator[tuple[ExportClip, FrameResult, RgbImage] | ExportEvent]:
    """The frames with masks and their pictures, (H, W, 3) uint8, and events between.

    Objects between key frames are those of the nearer one, moved and cut to the mask on disk.
    Frames that can't be decoded, or of whose mask a part belongs to no object, are left out, which
    notes tell at the end of a clip.
    """
    done, total = 0, sum(len(clip.numbers) for clip in clips)
    for clip in clips:
        missed, unexplained, found = [], 0, 0
        with clip.video() as video:
            for result in clip.masked_frames(video):
                yield StageEvent(f"Pictures of {clip.name}", min(done, total), total)
                done, found = done + 1, found + 1
                if not explained(result):
                    unexplained += 1
                    continue
                try:
                    rgb = video.frame(result.frame)
                except MediaError:
                    missed.append(result.frame)
                    continue
                yield clip, result, rgb
        yield from missed_note(clip, missed)
        if unexplained:
            yield NoteEvent(
                f"{clip.name}: {unexplained} frames between key frames are left out: something "
                "sounds there that no key frame shows"
            )
        if found < len(clip.numbers):
            yield from between_note(clip)


def missed_note(clip: ExportClip, missed: Sequence[int]) -> Iterator[NoteEvent]:
    """Tell which frames can't be decoded, if any."""
    if missed:
        named = ", ".join(map(str, missed[:_NAMED_FRAMES]))
        more = " ..." if len(missed) > _NAMED_FRAMES else ""
        yield NoteEvent(f"{clip.name}: frames that can't be decoded are left out: {named}{more}")


def between_note(clip: ExportClip) -> Iterator[NoteEvent]:
    """Tell that frames have no objects on disk, if any."""
    if clip.between:
        yield NoteEvent(
            f"{clip.name}: objects are exported of the {len(clip.known)} key frames only; "
            f"the {clip.between} frames between have one mask for all of them"
        )


def jpeg(rgb: RgbImage) -> bytes:
    """(H, W, 3) uint8 as JPEG; raises `StorageError`."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise StorageError(f"a picture of {rgb.shape[1]}x{rgb.shape[0]} pixels can't be encoded")
    return np.asarray(data, np.uint8).tobytes()


def put(path: Path, data: bytes) -> None:
    """Write a file of an export; raises `StorageError`."""
    # The folder is staged: no wait for the disk, file by file.
    write_bytes(path, data, sync=False)


def put_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a CSV file with a heading; raises `StorageError`."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    put(path, text.getvalue().encode(errors="backslashreplace"))


def seconds(time_s: float) -> str:
    """A time for a table: seconds to the microsecond."""
    return f"{time_s:.6f}"
