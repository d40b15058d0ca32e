"""A bundle without weights, for tests of the commands around the pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.pipeline.analysis import FrameAnalysis, Proposals, work_size
from moca_core.pipeline.hearing import Heard, Hearing, HearingSettings, listen
from moca_core.pipeline.matching import MatchSettings
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import RgbImage, StageEvent


class LeftHalf:
    """Everything heard is a bell, and the left half of every picture is one.

    Parameters
    ----------
    on_look : called with the count of pictures so far, before each.
    """

    names = ("Bell", "Wind")
    window_s = 2.0
    rate_hz = 16_000
    batch = 1

    def __init__(self, on_look: Callable[[int], None] = lambda count: None) -> None:
        self.on_look = on_look
        self.looks = 0

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        """(n,) -> (2,)."""
        return Heard(np.array([1.0, 0.0], np.float32))

    def retrieve(self, rgbs: Sequence[RgbImage]) -> NDArray[np.float32]:
        """(B, 3) the mean colours, of length 1."""
        means = np.stack([rgb.reshape(-1, 3).mean(axis=0) + 1 for rgb in rgbs])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def relate(
        self, analysis: FrameAnalysis, heard: Heard, settings: HearingSettings
    ) -> tuple[FrameAnalysis, Hearing]:
        """As the compact bundle."""
        return analysis, listen(heard.features, analysis.kindred, settings, self.names)

    def look(
        self, rgbs: Sequence[RgbImage], config: SegmentConfig
    ) -> Generator[StageEvent, None, list[FrameAnalysis]]:
        """Analyse pictures (H, W, 3) uint8."""
        found = []
        for rgb in rgbs:
            analysis = yield from self._look_at(rgb)
            found.append(analysis)
        return found

    def _look_at(self, rgb: RgbImage) -> Generator[StageEvent, None, FrameAnalysis]:
        self.looks += 1
        self.on_look(self.looks)
        yield StageEvent("looking")
        size = rgb.shape[0], rgb.shape[1]
        work = work_size(*size)
        left = np.zeros(work, np.float32)
        left[:, : max(1, work[1] // 2)] = 1
        logits = np.full((1, 16, 16), -9, np.float16)
        logits[:, :, :8] = 9
        presence = np.array([0.9, 0.0], np.float32)
        values: dict[str, Any] = {
            "size": size,
            "groups": np.stack([left, np.zeros_like(left)]),
            "presence": presence,
            "kindred": presence,
            "saliency": left,
            "tokens": np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32),
            "token_grid": (8, 8),
            "proposals": Proposals(
                logits=logits,
                masks=left[None] > 0,
                quality=np.ones(1, np.float32),
                stability=np.ones(1, np.float32),
                prompts=np.zeros((1, 2), np.float32),
            ),
            "looks": np.array([[0.9, 0.0]], np.float32),
        }
        return FrameAnalysis(**values)


def fake_segmenter(bundle: LeftHalf) -> Callable[..., Segmenter]:
    """What stands in for `method.load_segmenter`: the real pipeline around `bundle`."""

    def load(
        config: SegmentConfig,
        device: str,
        settings: MatchSettings | None = None,
        precision: str = "auto",
        compiled: bool = False,
    ) -> Segmenter:
        return Segmenter(config, "cpu", settings, bundle)

    return load


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text())
