"""What of a data set can't be learnt from, found before training: it goes on with the rest."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moca_core.errors import DatasetError, MediaError, NoAudioError
from moca_core.fileio import write_bytes
from moca_core.media.audio import is_silent
from moca_core.media.probe import (
    audio_stream,
    check_readable,
    clip_hash,
    opened,
    video_stream,
)
from moca_core.training.data import Item, ItemReader, ItemSet
from moca_core.training.memory import Memory, key_of, stamp
from moca_core.types import StageEvent

MISSING, SHORT, MUTE, BROKEN, DOUBLE = "missing", "short", "mute", "undecodable", "duplicate"
KINDS = {
    MISSING: "The files may lie elsewhere: check the paths and that all was unpacked.",
    SHORT: "Their sounds are shorter than half an audio window: use longer ones.",
    MUTE: "Learning needs sound: use clips that have some.",
    BROKEN: "Copy the files again, or convert them from their source.",
    DOUBLE: "Remove the copies.",
}
"""What can be wrong with an item, and what helps if it is with all of them."""
_VERSION = 1
"""Raised whenever an item may be judged differently."""
_GOOD = ""
_EVERY = 256
_SHOWN = 20


@dataclass(frozen=True)
class Problem:
    """Why an item is left out.

    Attributes
    ----------
    place : of the item in its set.
    kind : a name in `KINDS`.
    what : the details, in words for the user.
    """

    place: int
    key: str
    kind: str
    what: str


@dataclass(frozen=True, eq=False)
class CheckReport:
    """What `check` found.

    Attributes
    ----------
    items : all that were checked.
    problems : in the order of the items, at most one each.
    """

    items: ItemSet
    problems: tuple[Problem, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many items have each kind of problem."""
        return Counter(problem.kind for problem in self.problems)

    def rest(self) -> ItemSet:
        """The items that can be learnt from.

        Raises
        ------
        DatasetError : none is left, or only such of one recording.
        """
        good = np.ones(len(self.items), bool)
        good[[problem.place for problem in self.problems]] = False
        rest = self.items.take(np.flatnonzero(good))
        root, total = self.items.root, len(self.items)
        if not total:
            raise DatasetError(f"{root}: holds nothing to learn from", "Give another folder.")
        if not len(rest):
            kind = self.counts.most_common(1)[0][0]
            raise DatasetError(
                f"{root}: none of {total} items can be used ({self.summary()})", KINDS[kind]
            )
        check_recordings(rest)
        return rest

    def summary(self) -> str:
        """`3 missing, 1 mute`; "" if all is well."""
        counts = self.counts
        return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])

    def table(self, shown: int = _SHOWN) -> str:
        """Lines of text: the first `shown` problems, and the sum."""
        rows = [(p.kind, p.key, p.what) for p in self.problems[:shown]]
        wide = max((len(key) for _, key, _ in rows), default=0)
        lines = [f"{kind:<12}  {key:<{wide}}  {what}".rstrip() for kind, key, what in rows]
        if len(self.problems) > shown:
            lines.append(f"and {len(self.problems) - shown} more")
        good = len(self.items) - len(self.problems)
        told = self.summary()
        lines.append(f"{good} of {len(self.items)} items can be used{told and ': '}{told}")
        return "\n".join(lines)

    def write_csv(self, path: Path) -> None:
        """Write every problem with the item's files to `path`; raises `StorageError`."""
        stream = io.StringIO(newline="")
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["key", "problem", "details", "image", "image_s", "sound", "sound_s"])
        for problem in self.problems:
            item = self.items[problem.place]
            files = [item.image, item.image_s, item.sound, item.sound_s]
            table.writerow([problem.key, problem.kind, problem.what, *files])
        write_bytes(path, stream.getvalue().encode("utf-8", "surrogateescape"))


Checking = Generator[StageEvent, None, CheckReport]


def check_recordings(items: ItemSet) -> None:
    """Raise `DatasetError` unless each picture has two of other recordings to compare it with."""
    firsts = items.pictures()[1]
    sizes = np.bincount(items.recordings[firsts])
    if len(sizes) < 2:
        raise DatasetError(
            f"{items.root}: all {len(items)} items are of one recording ({items[0].recording})",
            "Training compares different recordings: add more clips.",
        )
    if len(firsts) - sizes.max() < 2:
        raise DatasetError(
            f"{items.root}: {len(sizes)} recordings have too few pictures to compare",
            "Training needs three recordings, or two with two pictures each: add more clips.",
        )


def check(
    items: ItemSet,
    window_s: float = 2.0,
    rate_hz: int = 16_000,
    memory: Memory | None = None,
    decode: bool = True,
) -> Checking:
    """Look for items that can't be learnt from; yields before each step, returns the report.

    What is cheap comes first: whether files are there, copies of the same content, what headers
    say; what passes is decoded.

    Parameters
    ----------
    memory : what earlier checks found; only files that changed since are decoded again.
    decode : False looks at headers only.
    """
    known = memory or Memory()
    checker = _Checker(items, known, window_s, rate_hz)
    try:
        yield from checker.find_missing()
        yield from checker.find_copies()
        yield from checker.read_headers()
        if decode:
            yield from checker.decode()
    finally:
        checker.reader.close()
        known.commit()
    found = checker.found
    problems = tuple(
        Problem(place, items.texts[items.rows["key"][place]], *found[place])
        for place in sorted(found)
    )
    return CheckReport(items, problems)


class _Checker:
    """The steps of a check; `found` has (kind, what) by the item's place."""

    def __init__(self, items: ItemSet, memory: Memory, window_s: float, rate_hz: int) -> None:
        self.items = items
        self.found: dict[int, tuple[str, str]] = {}
        self.reader = ItemReader(window_s, rate_hz)
        self._memory = memory
        self._stamps: dict[int, str | None] = {}  # by place of the path in the table of texts

    def find_missing(self) -> Iterator[StageEvent]:
        """Files that aren't there."""
        total = len(self.items)
        for place, row in enumerate(self.items.rows):
            if place % _EVERY == 0:
                yield StageEvent("Looking for files", place, total)
            for name in _FILES:
                code = int(row[name])
                if self._stamp(code) is None and place not in self.found:
                    self.found[place] = MISSING, f"{self._path(code)}: no such file"

    def find_copies(self) -> Iterator[StageEvent]:
        """Items with the content, and the moment, of an item before them."""
        rows = self.items.rows
        codes = np.unique(np.concatenate([rows[name] for name in _FILES])).tolist()
        sizes = Counter(_size(self._stamp(code)) for code in codes)
        # A file whose size no other has is like none.
        doubtful = [code for code in codes if sizes[_size(self._stamp(code))] > 1]
        content: dict[int, object] = {}
        for count, code in enumerate(doubtful):
            if count % 16 == 0:
                yield StageEvent("Comparing files of equal size", count, len(doubtful))
            content[code] = self._hash(code)
        first: dict[object, int] = {}
        for place, row in enumerate(self.items.rows):
            if place in self.found:
                continue
            image, sound = (content.get(int(row[name]), int(row[name])) for name in _FILES)
            # Moments as text: NaN, which stands for none, equals nothing.
            which = key_of(image, row["image_s"], sound, row["sound_s"])
            before = first.setdefault(which, place)
            if before != place:
                same = self.items.texts[self.items.rows["key"][before]]
                self.found[place] = DOUBLE, f"the same as {same}"

    def read_headers(self) -> Iterator[StageEvent]:
        """Files that aren't what they should be by their first bytes."""
        told: dict[tuple[int, str], tuple[str, str]] = {}
        for place, row in self._rest():
            yield StageEvent("Reading headers", place, len(self.items))
            moving = not np.isnan(row["image_s"])
            for name, kind in (("image", "video" if moving else "picture"), ("sound", "sound")):
                asked = int(row[name]), kind
                if asked not in told:
                    key = key_of("header", _VERSION, kind, self._stamp(asked[0]))
                    judge = partial(_header, self._path(asked[0]), kind)
                    told[asked] = self._verdict(key, judge)
                if told[asked][0]:
                    self.found.setdefault(place, told[asked])

    def decode(self) -> Iterator[StageEvent]:
        """Items whose picture or window of sound doesn't come out, is short or is silent."""
        for place, row in self._rest():
            yield StageEvent("Decoding", place, len(self.items))
            key = key_of(
                *("decoded", _VERSION, self.reader.window_s, self.reader.rate_hz),
                *(self._stamp(int(row["image"])), row["image_s"]),
                *(self._stamp(int(row["sound"])), row["sound_s"]),
            )
            kind, what = self._verdict(key, partial(_decoded, self.reader, self.items[place]))
            if kind:
                self.found[place] = kind, what

    def _rest(self) -> Iterator[tuple[int, NDArray[np.void]]]:
        """Places and rows of the items that passed so far."""
        for place, row in enumerate(self.items.rows):
            if place not in self.found:
                yield place, row

    def _verdict(self, key: bytes, judge: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        """(kind, what) as remembered, or as judged now."""
        known = self._memory.get(key)
        if known is not None:
            kind, _, what = known.decode("utf-8", "surrogateescape").partition("\n")
            return kind, what
        kind, what = judge()
        # Why a file can't be read may lie outside of it, and be gone the next time.
        if kind != BROKEN:
            self._memory.put(key, f"{kind}\n{what}".encode("utf-8", "surrogateescape"))
        return kind, what

    def _hash(self, code: int) -> object:
        """What stands for a file's content."""
        key = key_of("content", self._stamp(code))
        known = self._memory.get(key)
        if known is None:
            try:
                known = clip_hash(self._path(code)).encode()
            except (OSError, MediaError):
                return code  # found when it is read
            self._memory.put(key, known)
        return known

    def _stamp(self, code: int) -> str | None:
        if code not in self._stamps:
            self._stamps[code] = stamp(self._path(code))
        return self._stamps[code]

    def _path(self, code: int) -> Path:
        return self.items.root / self.items.texts[code]


_FILES = ("image", "sound")


def _size(stamped: str | None) -> str:
    return "" if stamped is None else stamped.split("|")[-2]


def _header(path: Path, kind: str) -> tuple[str, str]:
    """(kind of problem, what) of a file that should be a `picture`, a `video` or a `sound`."""
    try:
        check_readable(path)
        if kind == "picture":
            with Image.open(path):
                return _GOOD, ""
        with opened(path) as container:
            (video_stream if kind == "video" else audio_stream)(container, path)
    except NoAudioError as error:
        return MUTE, error.message
    except MediaError as error:
        return BROKEN, error.message
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return BROKEN, f"{path.name}: not a picture ({error})"
    return _GOOD, ""


def _decoded(reader: ItemReader, item: Item) -> tuple[str, str]:
    """(kind of problem, what) of an item that is decoded."""
    try:
        length_s = reader.length_s(item)
        if length_s < reader.window_s / 2:
            return SHORT, f"{length_s:.2f} s of sound, half a window has {reader.window_s / 2:g} s"
        if is_silent(reader.wave(item)):
            return MUTE, "silence around this moment" if item.sound_s is not None else "silence"
        reader.picture(item)
    except DatasetError as error:
        return BROKEN, error.message.removeprefix(f"{item.key}: ")
    return _GOOD, ""
