"""What a project keeps of an open clip, as plain data that a job may save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from moca_core.annotations.model import PackedResult
from moca_core.config import SegmentConfig

Frames = Mapping[int, PackedResult]
"""Frames by number."""


@dataclass(frozen=True, eq=False)
class ClipRef:
    """Which clip a project is about.

    Attributes
    ----------
    path : where it was when the project was saved; may be gone.
    hash : of its content, see `moca_core.media.probe.clip_hash`.
    frame_count, fps, duration_s : as the clip's reader tells them.
    size : (height, width) in pixels.
    relative : `path` as seen from the project's folder when it was saved; "" before.
    """

    path: Path
    hash: str
    frame_count: int
    fps: float
    duration_s: float
    size: tuple[int, int]
    relative: str = ""


@dataclass(frozen=True)
class View:
    """What was on screen.

    Attributes
    ----------
    frame : the frame.
    zoom : of the picture, 1 for a pixel a pixel; 0 fits it into the window.
    centre : (x, y) in pixels of the frame; None where it fits.
    range : first and last frame of the chosen range, both inside; None for the whole clip.
    hidden : numbers of the objects that aren't shown.
    timeline : (start, stop) of the timeline in seconds; None for the whole clip.
    """

    frame: int = 0
    zoom: float = 0.0
    centre: tuple[float, float] | None = None
    range: tuple[int, int] | None = None
    hidden: tuple[int, ...] = ()
    timeline: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All that a project keeps. Frames are immutable; the mappings must be too, or copies.

    Attributes
    ----------
    config : by which the program's results were made.
    moved : the thresholds that differ from the bundle's, by name, as text.
    results : what the program found.
    labels : what a person made of frames; they stand before the results.
    """

    clip: ClipRef
    config: SegmentConfig = field(default_factory=SegmentConfig)
    moved: tuple[tuple[str, str], ...] = ()
    results: Frames = field(default_factory=lambda: MappingProxyType({}))
    labels: Frames = field(default_factory=lambda: MappingProxyType({}))
    view: View = field(default_factory=View)
