"""The demo clip shows what the program is for: the masks follow the sound, and stop with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from moca_core import paths
from moca_core.media.audio import AudioReader, is_silent
from moca_core.media.video import VideoReader
from moca_core.types import REASON_SILENT, FrameEvent, FrameResult

CAT_AT_S, SPEECH_AT_S, CAT_AGAIN_AT_S, SILENT_AT_S = 1.0, 5.0, 9.2, 11.6
"""Moments at which the audio window of 2 s holds one of the sounds alone, or none."""


@pytest.fixture(scope="module")
def clip() -> Path:
    return paths.resource("demo/demo.mp4")


@pytest.fixture(scope="module")
def results(clip: Path, weights_dir: Path) -> Mapping[float, FrameResult]:
    """The result at each of the moments, by the method as it is shipped."""
    from moca_core.pipeline.segmenter import Segmenter

    moments = (CAT_AT_S, SPEECH_AT_S, CAT_AGAIN_AT_S, SILENT_AT_S)
    with VideoReader(clip) as video:
        frames = {video.index_at(moment): moment for moment in moments}
    events = Segmenter(device="cpu").clip(clip, frames=sorted(frames))
    found = [event.result for event in events if isinstance(event, FrameEvent)]
    return {frames[result.frame]: result for result in found}


def test_it_is_a_small_clip_with_sound(clip: Path) -> None:
    assert clip.stat().st_size < 2 * 2**20
    with VideoReader(clip) as video:
        info = video.info
    assert 8 <= info.duration_s <= 12.1
    assert info.width > info.height >= 480


def test_its_sound_stops_before_its_end(clip: Path) -> None:
    with VideoReader(clip) as video:
        duration = video.info.duration_s
    reader = AudioReader(clip, rate_hz=16_000)
    try:
        for _ in reader.decode():
            pass
        assert not is_silent(reader.window(0.0, 2.0))
        assert is_silent(reader.window(duration - 1.2, duration))
    finally:
        reader.close()


def test_the_notice_tells_where_everything_in_it_comes_from(clip: Path) -> None:
    notice = (clip.parent / "NOTICE").read_text()
    for word in ("Chelsea", "astronaut", "espeak-ng", "make_demo_clip.py", "CC0"):
        assert word in notice


@pytest.mark.weights
@pytest.mark.parametrize(
    ("moment", "side", "name"),
    [(CAT_AT_S, "left", "Cat"), (SPEECH_AT_S, "right", "Person"), (CAT_AGAIN_AT_S, "left", "Cat")],
)
def test_the_mask_lies_on_what_is_heard(
    results: Mapping[float, FrameResult], moment: float, side: str, name: str
) -> None:
    result = results[moment]
    assert result.objects, result.reason
    assert max(result.objects, key=lambda item: int(item.mask.sum())).name == name
    halves = np.array_split(result.union, 2, axis=1)
    here, there = (int(half.sum()) for half in (halves if side == "left" else halves[::-1]))
    assert here > 9 * there
    # The subject fills much of its half; the picture around it isn't claimed.
    assert 0.25 < here / halves[0].size < 0.99


@pytest.mark.weights
def test_nothing_is_claimed_in_the_silence(results: Mapping[float, FrameResult]) -> None:
    result = results[SILENT_AT_S]
    assert result.reason == REASON_SILENT
    assert not result.objects
    assert not result.union.any()
