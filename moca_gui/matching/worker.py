"""Comparing beside the window: the latest request wins, what is known of a frame is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moca_core.bytecache import ByteCache
from moca_core.errors import ConfigError, MocaError, NoAudioError
from moca_core.pipeline.pma_config import PmaConfig
from moca_core.types import RgbImage, StageEvent
from moca_gui.freeing import give_memory_back
from moca_gui.inbox import Inbox
from moca_gui.matching.pictures import Pick, Picture, Pictures
from moca_gui.matching.source import EncoderChoice, Heard, MatchEncoder, MatchSource

if TYPE_CHECKING:
    from moca_core.pipeline.pma import PmaResult

SIDES = ("left", "right")
SOUNDS = ("own", "left", "right")
"""With which sound frames are seen by an adapter: each its own, or that of one of them."""


@dataclass(frozen=True)
class Request:
    """Two frames to be compared.

    Attributes
    ----------
    number : rises with each request.
    picks : left and right.
    choice : of the encoder.
    config : of the comparison.
    sound : one of `SOUNDS`; it matters with an adapter alone.
    """

    number: int
    picks: tuple[Pick, Pick]
    choice: EncoderChoice
    config: PmaConfig
    sound: str = SOUNDS[0]


@dataclass(frozen=True, eq=False)
class Pictured:
    """The frames of a request without their costs; None where one can't be read."""

    number: int
    pictures: tuple[Picture | None, Picture | None]


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison.

    Attributes
    ----------
    request : that it answers.
    pictures : left and right.
    result : a is the left one.
    matches : (K, 4) int64, the best matches that don't crowd: row, column left and right.
    """

    request: Request
    pictures: tuple[Picture, Picture]
    result: PmaResult
    matches: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Refused:
    """Why a request has no answer."""

    number: int
    error: MocaError


class Superseded(Exception):  # noqa: N818 - it isn't an error
    """Another request came, or the end."""


class Matcher:
    """Generator of events for a job; `ask` and `stop` may be called from any thread.

    The encoder is loaded with the first request, and leaves the memory with the job.
    """

    def __init__(self, source: MatchSource, cache: ByteCache | None = None) -> None:
        self.cache = ByteCache() if cache is None else cache
        self._source = source
        self._inbox = Inbox[Request]()
        self._pictures = Pictures()
        self._encoder: MatchEncoder | None = None
        self._choice: EncoderChoice | None = None
        self._patient = False  # the last answer was given up; this one isn't

    def ask(self, request: Request) -> None:
        """Ask for a comparison; a request that isn't answered yet is replaced."""
        self._inbox.put(request)

    def stop(self) -> None:
        """End the generator."""
        self._inbox.stop()

    def events(self) -> Iterator[StageEvent | Pictured | Compared | Refused]:
        """Answer each request, until `stop`."""
        try:
            for request in self._inbox:
                pictures: list[Picture | None] = [None, None]
                try:
                    yield from self._answer(request, pictures)
                    self._patient = False
                except Superseded:
                    self._patient = True
                except MocaError as error:
                    self._patient = False
                    yield Pictured(request.number, (pictures[0], pictures[1]))
                    yield Refused(request.number, error)
        finally:
            self._release()

    def _answer(
        self, request: Request, pictures: list[Picture | None]
    ) -> Iterator[StageEvent | Pictured | Compared]:
        """Read the frames into `pictures`, left and right, and compare them."""
        rgbs: dict[int, RgbImage] = {}
        for side, pick in enumerate(request.picks):
            pictures[side] = self._picture(pick, side, rgbs)
            self._go_on()
        left, right = pictures
        assert left is not None and right is not None
        if self._encoder is None or self._choice != request.choice:
            # What is to be compared is seen while the encoder is loaded.
            yield Pictured(request.number, (left, right))
            yield StageEvent("Loading the encoder")
            self._load(request.choice)
            self._go_on()
        features = []
        for side, pick in enumerate(request.picks):
            heard = _heard(request, (left, right), side)
            key = (pick.key, request.choice, heard)
            found = self.cache.get(key, np.ndarray)
            if found is None:
                yield StageEvent(f"Looking at the {SIDES[side]} frame")
                found = self._features(pick, heard, rgbs.get(side))
                self.cache.put(key, found)
                self._go_on()
            features.append(found)
        yield self._compare(request, (left, right), features)

    def _go_on(self) -> None:
        """Raise `Superseded` if nobody waits for the answer any more.

        Of two answers in a row one is given: while a clip plays, each comes too late.
        """
        if self._inbox.stopped or (self._inbox.waiting and not self._patient):
            raise Superseded

    def _picture(self, pick: Pick, side: int, rgbs: dict[int, RgbImage]) -> Picture:
        """A frame as it is shown; what was decoded for it goes into `rgbs`."""
        found = self.cache.get(pick.key, Picture)
        if found is None:
            found, rgbs[side] = self._pictures.read(pick)
            self.cache.put(pick.key, found)
        return found

    def _load(self, choice: EncoderChoice) -> None:
        self._let_go()
        self._encoder = self._source.load(choice, lambda: self._inbox.stopped)
        self._choice = choice

    def _features(
        self, pick: Pick, heard: Heard | None, rgb: RgbImage | None
    ) -> NDArray[np.float32]:
        """(N, Dv) of a frame."""
        assert self._encoder is not None
        if rgb is None:
            rgb = self._pictures.read(pick)[1]
        try:
            return self._encoder.features(rgb, heard)
        except NoAudioError as error:
            assert heard is not None
            raise _unheard(heard.path) from error

    def _compare(
        self,
        request: Request,
        pictures: tuple[Picture, Picture],
        features: list[NDArray[np.float32]],
    ) -> Compared:
        from moca_core.pipeline.pma import compare, spread_matches

        assert self._encoder is not None
        left, right = features
        result = compare(left, right, self._encoder.grid, request.config)
        return Compared(request, pictures, result, spread_matches(result))

    def _let_go(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = self._choice = None

    def _release(self) -> None:
        """Give back clips, encoder and all that is kept."""
        self._pictures.close()
        self._let_go()
        self.cache.clear()
        give_memory_back()


def _heard(request: Request, pictures: tuple[Picture, Picture], side: int) -> Heard | None:
    """The sound with which an adapter sees the frame of a side; raises `ConfigError`."""
    if not request.choice.adapter:
        return None
    of = side if request.sound == SOUNDS[0] else SIDES.index(request.sound)
    picture = pictures[of]
    if picture.time_s is None:
        raise _unheard(picture.path)
    return Heard(picture.path, picture.time_s)


def _unheard(path: Path) -> ConfigError:
    return ConfigError(
        f"{path.name}: has no sound, which the adapter needs",
        "Choose the sound of the other frame, or no adapter (Run > Adapter).",
    )
