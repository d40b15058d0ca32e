"""A picture embedded by SAM as something that mask proposals can ask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moca_core.models.sam import Sam, SamEmbedding, stability_score
from moca_core.pipeline.proposals import Answers, Ask


def asking(sam: Sam, embedding: SamEmbedding) -> Ask:
    """Decode masks of `embedding` at points (K, 2), x and y in pixels of the picture."""

    def ask(points: NDArray[np.float32]) -> Answers:
        ones = np.ones((len(points), 1), dtype=np.int64)
        logits, quality = sam.decode(embedding, points[:, None], ones)
        stability = stability_score(logits)
        return Answers(
            logits.float().cpu().numpy(), quality.float().cpu().numpy(), stability.cpu().numpy()
        )

    return ask
