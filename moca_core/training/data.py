"""Pictures with their sounds, without masks: what training learns from, and how one is read.

A set is an index of small rows over one table of texts, so that 200,000 items take some tens of
megabytes; pictures and sounds stay on disk until one is read. `training.layouts` makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from moca_core.errors import DatasetError, MediaError
from moca_core.evaluation.layouts.cases import read_image, spread
from moca_core.media.audio import AudioReader, frame_window, open_audio
from moca_core.media.video import VideoReader
from moca_core.types import RgbImage

_CACHE_BYTES = 32 * 2**20
"""Decoded frames held: those of a clip are read in order, once."""
_JOINT = "\n"
"""Between recordings of one item; no manifest's cell holds it after it was stripped."""

_ROW = np.dtype(
    [
        ("key", np.int32),
        ("image", np.int32),
        ("image_s", np.float64),
        ("sound", np.int32),
        ("sound_s", np.float64),
        ("recording", np.int32),
        ("sounds_of", np.int32),
        ("category", np.int32),
    ]
)
"""An item: places in the table of texts, and seconds (NaN where there is no moment)."""


@dataclass(frozen=True)
class Item:
    """One picture with its sound.

    Attributes
    ----------
    key : unique in its set, and the same whenever the data are opened.
    image : a picture file, or the clip that shows it.
    image_s : when, on the clip's clock; None for a picture file.
    sound : a sound file, or the clip.
    sound_s : middle of the audio window on the sound's clock; None: the middle of the sound.
    recording : of the picture. Items of one recording are never neighbours of each other.
    sounds_of : recordings of the sound, several where it is a mix. Those of one recording, be it
        the picture's or the sound's, are never split between folds.
    category : what sounds, to look at results by; never learnt from. "" where it isn't known.
    """

    key: str
    image: Path
    image_s: float | None
    sound: Path
    sound_s: float | None
    recording: str
    sounds_of: tuple[str, ...] = ()
    category: str = ""


class Texts:
    """Many texts in one block of bytes, by number.

    Parameters
    ----------
    data : (bytes,) uint8, UTF-8 one after the other; file names may hold bytes that aren't text.
    ends : (n,) int64, where each one ends.
    """

    def __init__(self, data: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.data, self.ends = data, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Pack them."""
        block = bytearray()
        ends = []
        for text in texts:
            block += text.encode("utf-8", "surrogateescape")
            ends.append(len(block))
        return cls(np.frombuffer(bytes(block), np.uint8), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> str:
        begin = int(self.ends[place - 1]) if place else 0
        return self.data[begin : int(self.ends[place])].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))


class ItemSet(Sequence[Item]):
    """Items of a data set; each is made from its row when it is asked for.

    Parameters
    ----------
    root : the folder that the paths are in.
    layout : its name.
    rows : (n,) of `_ROW`.
    texts : what the rows point to.
    """

    def __init__(self, root: Path, layout: str, rows: NDArray[np.void], texts: Texts) -> None:
        self.root, self.layout = root, layout
        self.rows, self.texts = rows, texts

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> ItemSet: ...
    def __getitem__(self, place: int | slice) -> Item | ItemSet:
        if isinstance(place, slice):
            return ItemSet(self.root, self.layout, self.rows[place], self.texts)
        row = self.rows[place]
        sounds = self.texts[row["sounds_of"]]
        return Item(
            key=self.texts[row["key"]],
            image=self.root / self.texts[row["image"]],
            image_s=_moment(row["image_s"]),
            sound=self.root / self.texts[row["sound"]],
            sound_s=_moment(row["sound_s"]),
            recording=self.texts[row["recording"]],
            sounds_of=tuple(sounds.split(_JOINT)) if sounds else (),
            category=self.texts[row["category"]],
        )

    def take(self, places: Sequence[int] | NDArray[np.integer]) -> ItemSet:
        """The items at these places, in this order; they share the texts."""
        chosen = np.asarray(places, np.int64)
        return ItemSet(self.root, self.layout, self.rows[chosen], self.texts)

    def limited(self, limit: int) -> ItemSet:
        """At most `limit` of them, spread evenly; all with a limit of 0."""
        return self.take(spread(len(self), limit or None))

    @property
    def keys(self) -> Texts:
        """The items' keys."""
        return Texts.of(self.texts[place] for place in self.rows["key"])

    def pictures(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Which items show the same picture: one may come with several sounds.

        Returns
        -------
        (n,) int32 number of each item's picture, and (p,) int32 the first item of each picture;
        pictures are numbered in the order of the items.
        """
        moments = (
            self.rows["image_s"].astype(np.float64).view(np.int64)
        )  # NaN equals itself as bits
        both = np.stack([self.rows["image"].astype(np.int64), moments], axis=1)
        _, firsts, codes = np.unique(both, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(firsts)
        number = np.empty_like(order)
        number[order] = np.arange(len(order))
        return number[codes.reshape(-1)].astype(np.int32), firsts[order].astype(np.int32)

    @property
    def recordings(self) -> NDArray[np.int32]:
        """(n,) int32, a number for the recording of each picture, from 0."""
        return _numbered(self.rows["recording"])

    @property
    def kin(self) -> NDArray[np.int32]:
        """(n,) int32: items that share a recording, in picture or sound, have one number.

        They are joined over several steps too: in a set that puts a few sounds to many pictures,
        one number may be that of most items.
        """
        joined = _Joined()
        for row in self.rows:
            for name in self._names(row["sounds_of"]):
                joined.join(("picture", int(row["recording"])), ("sound", name))
        found: dict[object, int] = {}
        codes = [
            found.setdefault(joined.of(("picture", int(code))), len(found))
            for code in self.rows["recording"]
        ]
        return np.array(codes, np.int32)

    def apart_from(self, places: Sequence[int] | NDArray[np.integer]) -> NDArray[np.bool_]:
        """(n,) bool: items that share no recording, in picture or sound, with those at `places`.

        Where all are kin over some steps, folds by picture can be learnt from this way.
        """
        held = self.rows[np.asarray(places, np.int64)]
        heard = {name for code in np.unique(held["sounds_of"]) for name in self._names(code)}
        unheard = [
            code
            for code in np.unique(self.rows["sounds_of"])
            if heard.isdisjoint(self._names(code))
        ]
        other_picture = ~np.isin(self.rows["recording"], held["recording"])
        return other_picture & np.isin(self.rows["sounds_of"], unheard)

    def _names(self, code: int) -> list[str]:
        """The recordings of a sound, by the place of its text."""
        return [name for name in self.texts[code].split(_JOINT) if name]

    def folds(
        self, count: int, seed: int = 0, groups: NDArray[np.integer] | None = None
    ) -> NDArray[np.int32]:
        """(n,) int32: a fold from 0 for each item, for cross-validation.

        Parameters
        ----------
        groups : (n,) from 0; items of one group stay together, and the folds are as even as that
            allows. By default what is kin.

        Raises
        ------
        DatasetError : fewer groups than folds.
        """
        kin = self.kin if groups is None else groups
        sizes = np.bincount(kin) if len(kin) else np.zeros(0, np.int64)
        if len(sizes) < count:
            raise DatasetError(
                f"{self.root}: {len(sizes)} groups of recordings can't make {count} folds",
                "Use fewer folds, or more recordings.",
            )
        shuffled = np.random.default_rng(seed).permutation(len(sizes))
        # The largest first, each into the fold that has the fewest items so far.
        order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
        fold_of, filled = np.zeros(len(sizes), np.int32), np.zeros(count, np.int64)
        for group in order:
            fold_of[group] = int(np.argmin(filled))
            filled[fold_of[group]] += sizes[group]
        return fold_of[kin]


class ItemBuilder:
    """Collects items; equal texts are kept once."""

    def __init__(self, root: Path, layout: str) -> None:
        self._root, self._layout = root, layout
        self._codes: dict[str, int] = {"": 0}
        self._keys: dict[str, int] = {}
        self._parts: list[NDArray[np.void]] = []
        self._rows: list[tuple[int, int, float, int, float, int, int, int]] = []

    def add(
        self,
        key: str,
        image: str,
        image_s: float | None,
        sound: str,
        sound_s: float | None,
        recording: str,
        sounds_of: Sequence[str] = (),
        category: str = "",
    ) -> None:
        """An item, its paths as seen from the root; a key that was there gets a number."""
        count = self._keys.get(key, 0) + 1
        self._keys[key] = count
        self._rows.append(
            (
                self._code(key if count == 1 else f"{key}#{count}"),
                self._code(image),
                np.nan if image_s is None else image_s,
                self._code(sound),
                np.nan if sound_s is None else sound_s,
                self._code(recording),
                self._code(_JOINT.join(sounds_of)),
                self._code(category),
            )
        )
        if len(self._rows) == 4096:
            self._pack()

    def _code(self, text: str) -> int:
        return self._codes.setdefault(text, len(self._codes))

    def _pack(self) -> None:
        # Tuples of numbers take ten times the room of their row.
        self._parts.append(np.array(self._rows, _ROW))
        self._rows = []

    def finish(self) -> ItemSet:
        """The set of what was added."""
        self._pack()
        return ItemSet(self._root, self._layout, np.concatenate(self._parts), Texts.of(self._codes))


class ItemReader:
    """Reads items. The last clip and the last sound stay open: the items of a clip, which come one
    after the other, decode it once. For one thread.

    Parameters
    ----------
    window_s : length of the audio window in seconds.
    rate_hz : sample rate of the sound.
    """

    def __init__(self, window_s: float = 2.0, rate_hz: int = 16_000) -> None:
        self.window_s, self.rate_hz = window_s, rate_hz
        self._video: tuple[Path, VideoReader] | None = None
        self._sound: tuple[Path, AudioReader] | None = None

    def read(self, item: Item) -> tuple[RgbImage, NDArray[np.float32]]:
        """(H, W, 3) uint8 and the (n,) float32 mono audio window of an item.

        Raises
        ------
        DatasetError : it can't be read; names the item.
        """
        return self.picture(item), self.wave(item)

    def picture(self, item: Item) -> RgbImage:
        """(H, W, 3) uint8 of an item; raises `DatasetError`."""
        try:
            if item.image_s is None:
                return read_image(item.image)
            video = self._clip(item.image)
            return video.frame(video.index_at(item.image_s))
        except (MediaError, DatasetError) as error:
            raise DatasetError(f"{item.key}: {error.message}", error.hint) from error

    def wave(self, item: Item) -> NDArray[np.float32]:
        """(n,) float32 mono of an item, zeros where the sound is shorter than the window."""
        length_s = self.length_s(item)
        middle = length_s / 2 if item.sound_s is None else item.sound_s
        return self._track(item.sound).window(*frame_window(middle, self.window_s, length_s))

    def length_s(self, item: Item) -> float:
        """Seconds of the whole sound of an item; raises `DatasetError`."""
        try:
            return self._track(item.sound).duration_s
        except MediaError as error:
            raise DatasetError(f"{item.key}: {error.message}", error.hint) from error

    def _clip(self, path: Path) -> VideoReader:
        if self._video is None or self._video[0] != path:
            self._close_video()
            self._video = path, VideoReader(path, cache_bytes=_CACHE_BYTES)
        return self._video[1]

    def _track(self, path: Path) -> AudioReader:
        if self._sound is None or self._sound[0] != path:
            self._close_sound()
            self._sound = path, open_audio(path, self.rate_hz)
        return self._sound[1]

    def _close_video(self) -> None:
        if self._video is not None:
            self._video[1].close()
            self._video = None

    def _close_sound(self) -> None:
        if self._sound is not None:
            self._sound[1].close()
            self._sound = None

    def close(self) -> None:
        """Close what is open. May be called twice."""
        self._close_video()
        self._close_sound()

    def __enter__(self) -> ItemReader:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class _Joined:
    """Things that are joined two by two, and what each then belongs to."""

    def __init__(self) -> None:
        self._above: dict[object, object] = {}

    def of(self, thing: object) -> object:
        while (above := self._above.get(thing, thing)) != thing:
            # Each walk halves the next one's way.
            self._above[thing] = self._above.get(above, above)
            thing = above
        return thing

    def join(self, one: object, other: object) -> None:
        self._above[self.of(one)] = self.of(other)


def _moment(seconds: float) -> float | None:
    return None if np.isnan(seconds) else float(seconds)


def _numbered(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """(n,) int32 of any numbers -> the same kinds, numbered from 0 without a gap."""
    return np.unique(codes, return_inverse=True)[1].astype(np.int32).reshape(-1)
