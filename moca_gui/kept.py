"""Results on disk as a run uses them: the disk's trouble becomes a note and never ends the run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from moca_core.config import SegmentConfig, with_values
from moca_core.errors import MocaError
from moca_core.paths import results_dir
from moca_core.types import FrameResult
from moca_gui.thresholds.deciding import Moved

_log = logging.getLogger(__name__)


class Store(Protocol):
    """What is needed of `moca_core.pipeline.store.ClipStore`."""

    def frames(self) -> list[int]:
        """Numbers of the stored frames, ascending."""
        ...

    def load(self, frame: int, maps: bool = False) -> FrameResult | None:
        """The stored result of a frame, or None."""
        ...

    def save(self, result: FrameResult) -> None:
        """Keep a result; raises `StorageError`."""
        ...


class KeptResults:
    """A store that gives up keeping at the first trouble, and says so once.

    Parameters
    ----------
    store : where results are kept; None keeps nothing.
    trouble : why nothing is kept, if that is known from the start.
    """

    def __init__(self, store: Store | None, trouble: str = "") -> None:
        self._store = store
        self._keeping = store is not None
        self._trouble = trouble

    def results(self) -> Iterator[FrameResult]:
        """All results that are stored, in their order, without maps.

        What is stored has the numbers of its span, from one key frame to the next; the objects
        that are passed on have those of the clip, as in the run that found them.
        """
        from moca_core.pipeline.numbering import Numbering  # slow to import

        numbering, span = Numbering(), -1
        for frame in self._store.frames() if self._store is not None else ():
            result = self.load(frame)
            if result is None:
                continue
            key = result.between[0] if result.between else frame
            if key != span:
                numbering.begin_span()
                span = key
            yield replace(result, objects=numbering.follow(result.objects))

    def load(self, frame: int, maps: bool = False) -> FrameResult | None:
        """The stored result of a frame, or None."""
        return None if self._store is None else self._store.load(frame, maps)

    def save(self, result: FrameResult) -> None:
        """Keep a result if that works; the window has it in any case."""
        if self._store is None or not self._keeping:
            return
        try:
            self._store.save(result)
        except MocaError as error:
            self._keeping = False
            self._trouble = error.message
            _log.warning("%s", error)

    def take_note(self) -> str:
        """What the user should know of the disk, once; empty if all is well."""
        trouble, self._trouble = self._trouble, ""
        return f"The results of this run aren't kept on disk: {trouble}" if trouble else ""


def has_results(clip: Path) -> bool:
    """Whether results of `clip` are stored, by whichever method; needs no torch to tell."""
    from moca_core.media.probe import clip_hash  # slow to import

    try:
        return any((results_dir() / clip_hash(clip)).iterdir())
    except (MocaError, OSError):
        return False


def open_results(clip: Path, config: SegmentConfig, moved: Moved = ()) -> KeptResults:
    """The stored results of `clip` under a configuration; never raises for a disk.

    Imports torch: call it in the worker only.

    Parameters
    ----------
    moved : the thresholds that differ from the bundle's.
    """
    from moca_core.models.bundles import default_settings
    from moca_core.pipeline.store import ResultStore

    try:
        settings = with_values(default_settings(config), moved)
        return KeptResults(ResultStore().open(clip, config, settings))
    except MocaError as error:
        _log.warning("%s", error)
        return KeptResults(None, error.message)
