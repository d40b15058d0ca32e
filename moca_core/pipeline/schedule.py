"""Which frames of a clip are key frames, and which frames follow each of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moca_core.errors import ConfigError
from moca_core.media.video import VideoInfo

_BACK_LIMIT = 128
"""Frames that a key frame is followed back at most: their pictures are held in memory."""
_LEAST_S = 0.001
"""Key frames closer than this are every frame."""


@dataclass(frozen=True)
class Span:
    """A key frame and the frames up to the next one.

    Attributes
    ----------
    key : the key frame's number.
    after : the number of the next key frame if there is one whose masks are followed back here.
    last : the last frame of the span that gets a result.
    first, middle : the frames that follow this key frame, from those before it in the last span.
    """

    key: int
    after: int | None
    last: int
    first: int
    middle: int

    @property
    def frames(self) -> range:
        """The frames that get a result."""
        return range(self.key, self.last + 1)


def schedule(
    info: VideoInfo,
    frames: str | Sequence[int],
    every_s: float,
    start_s: float | None,
    end_s: float | None,
) -> list[Span]:
    """Plan a run; the arguments are those of `Segmenter.clip`.

    Raises
    ------
    ConfigError : `frames` or the range names nothing in the clip.
    """
    if not isinstance(frames, str):
        return _spans(_listed(info, frames), None)
    if frames not in ("keys", "all"):
        raise ConfigError(f"{frames!r} names no frames", "Use keys, all, or frame numbers.")
    if not every_s > 0:
        raise ConfigError(f"a key frame every {every_s} s", "Use a time above 0.")
    first_s, last_s = _range(info, start_s, end_s)
    step_s = max(every_s, _LEAST_S)
    count = max(1, math.ceil((last_s - first_s) / step_s - 1e-9))
    keys = np.unique(_shown_at(info, first_s + step_s * np.arange(count)))
    last = None
    if frames == "all":
        last = info.frame_count - 1 if end_s is None else int(_shown_at(info, np.array([end_s]))[0])
    return _spans([int(key) for key in keys], last)


def _spans(keys: Sequence[int], last: int | None) -> list[Span]:
    """Spans of the key frames; `last` is the last frame to get masks, None for key frames only."""
    spans = []
    first = keys[0]
    for position, key in enumerate(keys):
        if last is None:
            spans.append(Span(key, None, key, key, key))
            continue
        if position + 1 == len(keys):
            end = max(last, key)
            spans.append(Span(key, None, end, first, end))
            break
        after = keys[position + 1]
        middle = max((key + after) // 2, after - 1 - _BACK_LIMIT)
        spans.append(Span(key, after, after - 1, first, middle))
        first = middle + 1
    return spans


def _listed(info: VideoInfo, frames: Sequence[int]) -> list[int]:
    outside = [frame for frame in frames if not 0 <= frame < info.frame_count]
    if outside or not len(frames):
        named = ", ".join(str(frame) for frame in outside[:5]) or "no frame"
        raise ConfigError(
            f"{named}{' ...' if len(outside) > 5 else ''}: not in the clip",
            f"It has frames 0 to {info.frame_count - 1}.",
        )
    return sorted({int(frame) for frame in frames})


def _range(info: VideoInfo, start_s: float | None, end_s: float | None) -> tuple[float, float]:
    first = float(info.times_s[0]) if start_s is None else start_s
    last = info.duration_s if end_s is None else end_s
    # So that a time that isn't a number is refused too.
    if not (0 <= first < info.duration_s and last >= first):
        raise ConfigError(
            f"{first:g} s to {last:g} s is not a part of the clip",
            f"It lasts {info.duration_s:.2f} s.",
        )
    return first, min(last, info.duration_s)


def _shown_at(info: VideoInfo, times_s: np.ndarray) -> np.ndarray:
    """Numbers of the frames shown at some times, as `VideoReader.index_at`."""
    return np.maximum(np.searchsorted(info.times_s, times_s + 1e-6, side="right") - 1, 0)
