"""Comparing beside the window: the latest request wins, what is known of a frame is kept."""

from __future__ import annotations

import sys
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moca_core.errors import ConfigError, MocaError
from moca_core.pipeline.pma_config import PmaConfig
from moca_core.types import RgbImage, StageEvent
from moca_gui.matching.cache import ByteCache
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
    """The frames of a request, before they are compared; None where one can't be read."""

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
        self.cache = cache or ByteCache()
        self._source = source
        self._condition = threading.Condition()
        self._wanted: Request | None = None
        self._stopped = False
        self._pictures = Pictures()
        self._encoder: MatchEncoder | None = None
        self._choice: EncoderChoice | None = None

    def ask(self, request: Request) -> None:
        """Ask for a comparison; a request that isn't answered yet is replaced."""
        with self._condition:
            self._wanted = request
            self._condition.notify()

    def stop(self) -> None:
        """End the generator."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def events(self) -> Iterator[StageEvent | Pictured | Compared | Refused]:
        """Answer each request, until `stop`."""
        try:
            while True:
                with self._condition:
                    self._condition.wait_for(lambda: self._stopped or self._wanted is not None)
                    request, self._wanted = self._wanted, None
                    if self._stopped or request is None:
                        return
                try:
                    yield from self._answer(request)
                except Superseded:
                    continue
                except MocaError as error:
                    yield Refused(request.number, error)
        finally:
            self._release()

    def _answer(self, request: Request) -> Iterator[StageEvent | Pictured | Compared]:
        pictures: list[Picture | None] = [None, None]
        rgbs: dict[int, RgbImage] = {}
        try:
            for side, pick in enumerate(request.picks):
                pictures[side] = self._picture(pick, side, rgbs)
                self._go_on()
        finally:
            known = self._encoder is not None and self._choice == request.choice
            if not known or None in pictures:
                # What is being compared is seen while the encoder is loaded, or if it can't be.
                yield Pictured(request.number, (pictures[0], pictures[1]))
        left, right = pictures
        assert left is not None and right is not None
        yield from self._load(request.choice)
        features = []
        for side, pick in enumerate(request.picks):
            heard = self._heard(request, (left, right), side)
            key = (pick.key, request.choice, heard)
            if self.cache.get(key, np.ndarray) is None:
                yield StageEvent(f"Looking at the {SIDES[side]} frame")
            features.append(self._features(key, pick, heard, rgbs.get(side)))
            self._go_on()
        yield self._compare(request, (left, right), features)

    def _go_on(self) -> None:
        """Raise `Superseded` if nobody waits for the answer any more."""
        if self._stopped or self._wanted is not None:
            raise Superseded

    def _picture(self, pick: Pick, side: int, rgbs: dict[int, RgbImage]) -> Picture:
        """A frame as it is shown; what was decoded for it goes into `rgbs`."""
        found = self.cache.get(pick.key, Picture)
        if found is None:
            found, rgbs[side] = self._pictures.read(pick)
            self.cache.put(pick.key, found)
        return found

    def _load(self, choice: EncoderChoice) -> Iterator[StageEvent]:
        if self._encoder is not None and self._choice == choice:
            return
        yield StageEvent("Loading the encoder")
        self._let_go()
        self._encoder = self._source.load(choice, lambda: self._stopped)
        self._choice = choice
        self._go_on()

    def _heard(
        self, request: Request, pictures: tuple[Picture, Picture], side: int
    ) -> Heard | None:
        """The sound with which an adapter sees the frame of a side; raises `ConfigError`."""
        if not request.choice.adapter:
            return None
        of = side if request.sound == SOUNDS[0] else SIDES.index(request.sound)
        picture = pictures[of]
        if picture.time_s is None:
            raise ConfigError(
                f"{picture.path.name}: a picture has no sound, which the adapter needs",
                f"Choose the sound of the {SIDES[1 - of]} frame, or no adapter (Run > Adapter).",
            )
        return Heard(picture.path, picture.time_s)

    def _features(
        self, key: Hashable, pick: Pick, heard: Heard | None, rgb: RgbImage | None
    ) -> NDArray[np.float32]:
        """(N, Dv) of a frame."""
        found = self.cache.get(key, np.ndarray)
        if found is None:
            assert self._encoder is not None
            if rgb is None:
                rgb = self._pictures.read(pick)[1]
            found = self._encoder.features(rgb, heard)
            self.cache.put(key, found)
        return found

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
        if "torch" in sys.modules:
            from moca_core.heap import give_back
            from moca_core.models.compute import empty_cache

            empty_cache()
            give_back()
