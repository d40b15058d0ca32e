"""Masks by points and boxes: a person shows SAM where an object is."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from moca_core.annotations.painting import tidied
from moca_core.annotations.prompt import Prompt
from moca_core.bytecache import ByteCache
from moca_core.errors import ConfigError
from moca_core.models.sam import Sam, SamEmbedding
from moca_core.types import RgbImage

EMBEDDINGS_BYTES = 96 * 2**20
_PIXEL_MIDDLE = 0.5  # SAM counts from the middle of the first pixel


@dataclass(frozen=True, eq=False)
class Answer:
    """What a prompt may mean, the likeliest first.

    Attributes
    ----------
    masks : (M, H, W) bool without specks; M is 3 for an ambiguous prompt, else 1.
    ious : (M,) float32, the IoU with the object that SAM predicts of each.
    """

    masks: NDArray[np.bool_]
    ious: NDArray[np.float32]


class Prompter:
    """Answers prompts about frames; each frame is embedded once.

    Parameters
    ----------
    sam : loaded, on any device; others may use it at the same time.
    limit_bytes : of the embeddings kept, of which those not used for longest go first.
    """

    def __init__(self, sam: Sam, limit_bytes: int = EMBEDDINGS_BYTES) -> None:
        self.sam = sam
        self._embeddings = ByteCache(limit_bytes)

    @property
    def nbytes(self) -> int:
        """Bytes that the embeddings take."""
        return self._embeddings.used_bytes

    def knows(self, frame: Hashable) -> bool:
        """Whether the frame of that name is embedded, so that answers come at once."""
        return self._embeddings.get(frame, SamEmbedding) is not None

    def embed(self, frame: Hashable, rgb: RgbImage) -> None:
        """Make ready to answer about `rgb` (H, W, 3), by that name from then on."""
        self._embeddings.put(frame, self.sam.embed(rgb))

    @torch.inference_mode()
    def ask(self, frame: Hashable, prompt: Prompt) -> Answer:
        """The masks that a prompt about an embedded frame may mean.

        Raises
        ------
        ConfigError : the prompt has neither a box nor a point on the object.
        KeyError : the frame isn't embedded (any more).
        """
        if not prompt.answerable:
            raise ConfigError("no point is on the object", "Click on the object, too.")
        embedding = self._embeddings.get(frame, SamEmbedding)
        if embedding is None:
            raise KeyError(frame)
        places = [(p.x - _PIXEL_MIDDLE, p.y - _PIXEL_MIDDLE) for p in prompt.points]
        points = np.array([places], np.float32) if places else None  # (1, K, 2)
        labels = np.array([[int(p.on) for p in prompt.points]]) if places else None  # (1, K)
        boxes = None
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            boxes = np.array([(x0, y0, x1 - 1, y1 - 1)], np.float32)  # (1, 4)
        logits, ious = self.sam.decode_square(embedding, points, labels, boxes, prompt.ambiguous)
        full = self.sam.enlarge(logits, embedding)[0]  # (M, H, W)
        order = ious[0].argsort(descending=True)
        on = [(point.x, point.y) for point in prompt.points if point.on]
        off = [(point.x, point.y) for point in prompt.points if not point.on]
        masks = [tidied(mask, on, off) for mask in (full[order] > 0).cpu().numpy()]
        return Answer(np.stack(masks), ious[0][order].cpu().numpy())
