"""The intermediates of a key frame that can be looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.pipeline.clusters import labels_of
from moca_core.pipeline.matching import Match


def maps_of(found: Match, config: SegmentConfig) -> dict[str, NDArray]:
    """What led to a decision, by name: maps (h, w) over the whole frame; see `FrameResult.maps`."""
    analysis = found.analysis
    labels = labels_of(analysis, config.clusters, config.seed)
    proposals = np.zeros(analysis.saliency.shape, dtype=np.int16)
    # The smallest proposal on top, so that every one can be seen.
    for index in np.argsort(-analysis.proposals.masks.sum(axis=(1, 2))):
        proposals[analysis.proposals.masks[index]] = index + 1
    rows = analysis.token_grid
    attention = {
        f"attention {block}": values.reshape(rows)
        for block, values in sorted(analysis.attention.items())
    }
    if attention:
        attention["attention"] = np.mean(list(attention.values()), axis=0)
    return {
        **attention,
        "evidence": found.evidence,
        "region": found.region,
        "saliency": analysis.saliency,
        "clusters": labels.reshape(analysis.token_grid).astype(np.int16),
        "proposals": proposals,
    }
