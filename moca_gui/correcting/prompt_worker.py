"""Masks by prompts beside the window: the latest request wins, each frame is embedded once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from PySide6.QtGui import QImage

from moca_core.annotations.model import PackedObject, pack_mask
from moca_core.config import SegmentConfig
from moca_core.errors import MocaError
from moca_core.models.registry import bundle_row
from moca_core.types import RgbImage, StageEvent
from moca_gui.frames import to_picture
from moca_gui.freeing import give_memory_back
from moca_gui.inbox import Inbox
from moca_gui.matching.source import importing
from moca_gui.run_worker import SegmenterLike

if TYPE_CHECKING:
    from moca_core.annotations.prompt import Prompt
    from moca_core.annotations.prompting import Answer


class PrompterLike(Protocol):
    """What is needed of `moca_core.annotations.prompting.Prompter`."""

    def knows(self, frame: Hashable) -> bool:
        """Whether the frame of that name is embedded."""
        ...

    def embed(self, frame: Hashable, rgb: RgbImage) -> None:
        """Make ready to answer about a picture (H, W, 3) uint8."""
        ...

    def ask(self, frame: Hashable, prompt: Prompt) -> Answer:
        """The masks that a prompt may mean, the likeliest first."""
        ...


class PromptSource(Protocol):
    """Where prompters come from; called in a worker."""

    def load(
        self, config: SegmentConfig, lent: SegmenterLike | None, old: PrompterLike | None
    ) -> PrompterLike:
        """A prompter with the SAM of a configuration; raises `MocaError`.

        Parameters
        ----------
        lent : encoders in memory whose SAM will do.
        old : the prompter up to now with the same SAM: it is given back if it's as good.
        """
        ...


class LocalPrompting:
    """The SAM of the encoders in memory; without them that SAM alone."""

    def load(
        self, config: SegmentConfig, lent: SegmenterLike | None, old: PrompterLike | None
    ) -> PrompterLike:
        """See `PromptSource`."""
        with importing:
            from moca_core.annotations.prompting import Prompter
            from moca_core.device import choose_device
            from moca_core.models.sam import load_sam
        sam = lent.sam if lent is not None else None
        if old is not None and (sam is None or (isinstance(old, Prompter) and old.sam is sam)):
            return old
        if sam is None:
            row = bundle_row(config.bundle)
            sam = load_sam(config.sam, choose_device("auto", "float32", row.gpu_bytes).device)
        return Prompter(sam)


@dataclass(frozen=True, eq=False)
class PromptRequest:
    """A prompt about a frame.

    Attributes
    ----------
    number : rises with each request.
    frame : names the frame.
    image : the frame.
    prompt : what is said of the object.
    config : whose SAM answers.
    lent : see `PromptSource`.
    """

    number: int
    frame: Hashable
    image: QImage
    prompt: Prompt
    config: SegmentConfig
    lent: SegmenterLike | None


@dataclass(frozen=True, eq=False)
class Answered:
    """The masks that a request may mean, the likeliest first, with the IoU predicted of each.

    The objects have neither number nor name yet; `score` is the predicted IoU.
    """

    number: int
    meant: tuple[PackedObject, ...]


@dataclass(frozen=True, eq=False)
class Refused:
    """Why a request has no answer."""

    number: int
    error: MocaError


class PromptWorker:
    """Generator of events for a job; `ask` and `stop` may be called from any thread.

    The model is loaded with the first request, and leaves the memory with the job.
    """

    def __init__(self, source: PromptSource) -> None:
        self._source = source
        self._inbox = Inbox[PromptRequest]()
        self._prompter: PrompterLike | None = None
        self._sam = ""

    def ask(self, request: PromptRequest) -> None:
        """Ask for masks; a request that isn't answered yet is replaced."""
        self._inbox.put(request)

    def stop(self) -> None:
        """End the generator."""
        self._inbox.stop()

    def events(self) -> Iterator[StageEvent | Answered | Refused]:
        """Answer each request, until `stop`."""
        try:
            for request in self._inbox:
                try:
                    yield from self._answer(request)
                except MocaError as error:
                    yield Refused(request.number, error)
        finally:
            self._release()

    def _answer(self, request: PromptRequest) -> Iterator[StageEvent | Answered]:
        if self._sam != request.config.sam:
            self._prompter, self._sam = None, request.config.sam
        if self._prompter is None:
            yield StageEvent("Loading SAM")
        self._prompter = self._source.load(request.config, request.lent, self._prompter)
        if not self._prompter.knows(request.frame):
            yield StageEvent("Embedding the frame")
            self._prompter.embed(request.frame, to_picture(request.image))
        if self._inbox.waiting:
            return  # overtaken; what was embedded is good for the next one, too
        answer = self._prompter.ask(request.frame, request.prompt)
        meant = []
        for mask, iou in zip(answer.masks, answer.ious, strict=True):
            meant.append(PackedObject(0, "", float(iou), *pack_mask(mask)))
            _ = meant[-1].outlines  # found here, not while the window paints
        yield Answered(request.number, tuple(meant))

    def _release(self) -> None:
        self._prompter = None
        give_memory_back()
