"""What the comparing window takes from the core. Whatever imports torch does so in the worker."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage

from moca_core.types import RgbImage, StageEvent
from moca_gui.matching.pictures import Pick, Pictures, shown

if TYPE_CHECKING:
    from moca_core.media.audio import AudioReader
    from moca_core.models.adapted import AdaptedTrunk
    from moca_core.models.frozen import Frozen
    from moca_core.training.neighbours import Neighbour, NeighboursEvent
    from moca_core.training.retrieval import Retrieve

NEIGHBOURS = 12
THUMB_PX = 300
"""Of a neighbour's small image, twice as many as it is wide: screens may be dense."""
_TRACKS = 2

importing = threading.Lock()
"""Two threads that import torch at once may see it half made."""


@dataclass(frozen=True)
class EncoderChoice:
    """Whose features are compared.

    Attributes
    ----------
    bundle : its name.
    adapter : file of a trained adapter; "" for none.
    side : of the squashed pictures in pixels.
    """

    bundle: str
    adapter: str = ""
    side: int = 224


@dataclass(frozen=True)
class Heard:
    """The sound around a moment of a clip, in seconds on its clock."""

    path: Path
    time_s: float


class MatchEncoder(Protocol):
    """Makes features of frames."""

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the locations."""
        ...

    def features(self, rgb: RgbImage, heard: Heard | None) -> NDArray[np.float32]:
        """(N, Dv) of a picture (H, W, 3) uint8; `heard` where an adapter is in use."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


@dataclass(frozen=True)
class NeighbourQuery:
    """Which frame's neighbours are looked for, and where.

    Attributes
    ----------
    pick : the frame; its clip's key frames are looked at.
    folder : whose pictures and clips are looked at, too; None for none.
    every_s : seconds between key frames.
    bundle : whose retrieval space.
    """

    pick: Pick
    folder: Path | None
    every_s: float
    bundle: str


@dataclass(frozen=True, eq=False)
class Found:
    """The pictures most like `frame` so far, each with a small image; see `NeighboursEvent`."""

    frame: int
    neighbours: tuple[Neighbour, ...]
    thumbs: tuple[QImage, ...]
    done: int
    total: int
    left_out: tuple[str, ...]


class MatchSource(Protocol):
    """Encoders and neighbours; all is called in a worker."""

    def load(self, choice: EncoderChoice, stopped: Callable[[], bool]) -> MatchEncoder:
        """Load an encoder; raises `MocaError`. `stopped` is asked during what takes long."""
        ...

    def neighbours(self, query: NeighbourQuery) -> Iterator[StageEvent | Found]:
        """Look for the neighbours of a frame; raises `MocaError`."""
        ...


class LocalMatching:
    """The encoders of the core, on this machine."""

    def load(self, choice: EncoderChoice, stopped: Callable[[], bool]) -> MatchEncoder:
        """The frozen encoder of a bundle, with its adapter if there is one."""
        with importing:
            from moca_core.pipeline.pma_features import load_adapted, load_encoder
        encoder = load_encoder(choice.bundle, side=choice.side)
        adapted = load_adapted(encoder, Path(choice.adapter)) if choice.adapter else None
        return LocalEncoder(encoder, adapted, stopped)

    def neighbours(self, query: NeighbourQuery) -> Iterator[StageEvent | Found]:
        """Key frames of the clip first, then the folder."""
        yield StageEvent("Loading the encoder")
        with importing:
            from moca_core.device import choose_device
            from moca_core.training.retrieval import load_retriever
        retrieve = load_retriever(query.bundle, choose_device("auto").device)
        with Pictures() as pictures:
            yield from _neighbours(query, retrieve, pictures)


def _neighbours(
    query: NeighbourQuery,
    retrieve: Retrieve,
    pictures: Pictures,
) -> Iterator[StageEvent | Found]:
    from moca_core.pipeline.schedule import schedule
    from moca_core.training import neighbours as core

    path = query.pick.path
    asked, rgb = pictures.read(query.pick)
    video = pictures.clip(path)
    spans = schedule(video.info, "keys", query.every_s, None, None)
    times = [video.time_of(span.key) for span in spans]
    assert asked.time_s is not None and asked.frame is not None
    sets = [(core.own_frames(path, times, asked.time_s), False)]
    if query.folder is not None:
        items = yield from core.folder_pictures(query.folder, query.every_s)
        sets.append((items, True))
    thumbs: dict[Neighbour, QImage] = {}
    looking = core.look(rgb, sets, retrieve, query.bundle, path, NEIGHBOURS)
    with closing(cast("Generator[StageEvent | NeighboursEvent, None, None]", looking)):
        for event in looking:
            if isinstance(event, StageEvent):
                yield event
                continue
            for one in event.neighbours:
                if one not in thumbs:
                    found = pictures.read(Pick(one.path, one.time_s))[1]
                    thumbs[one] = shown(found, THUMB_PX)
            images = tuple(thumbs[one] for one in event.neighbours)
            yield Found(
                asked.frame, event.neighbours, images, event.done, event.total, event.left_out
            )


class LocalEncoder:
    """An encoder of the core; sounds that were heard last stay decoded."""

    def __init__(
        self, encoder: Frozen, adapted: AdaptedTrunk | None, stopped: Callable[[], bool]
    ) -> None:
        self._encoder, self._adapted, self._stopped = encoder, adapted, stopped
        self._tracks: OrderedDict[Path, AudioReader] = OrderedDict()

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the locations."""
        return self._encoder.grid

    def features(self, rgb: RgbImage, heard: Heard | None) -> NDArray[np.float32]:
        """(N, Dv) patch tokens; raises `MediaError` where the sound can't be heard."""
        from moca_core.pipeline import pma_features

        sound = None
        if self._adapted is not None and heard is not None:
            track = self._track(heard.path)
            sound = pma_features.sound_at(self._encoder, track, heard.time_s)
        return pma_features.features(self._encoder, rgb, self._adapted, sound)

    def _track(self, path: Path) -> AudioReader:
        from moca_core.media.audio import open_audio

        if path not in self._tracks:
            while len(self._tracks) >= _TRACKS:
                self._tracks.popitem(last=False)[1].close()
            self._tracks[path] = open_audio(path, self._encoder.rate_hz, self._stopped)
        self._tracks.move_to_end(path)
        return self._tracks[path]

    def close(self) -> None:
        """Close the sounds."""
        while self._tracks:
            self._tracks.popitem()[1].close()
