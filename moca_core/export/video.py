"""Overlay videos: the masks over the playing picture, the waveform, and the clip's sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from moca_core.export.clips import ExportClip
from moca_core.export.exporter import ExportEvent, ExportSettings, check_clips
from moca_core.export.overlay import OverlayWriter
from moca_core.types import StageEvent


def write(
    clips: Sequence[ExportClip], out: Path, settings: ExportSettings
) -> Iterator[ExportEvent]:
    """Write `<clip>_overlay.mp4` (H.264, AAC) of every clip."""
    check_clips(clips)
    for clip in clips:
        with clip.video() as video:
            first, last = clip.ends(video)
            first_s, last_s = video.time_of(first), video.time_of(last)
            path = out / f"{clip.name}_overlay.mp4"
            with OverlayWriter(clip.clip_path(), path, first_s, last_s) as writer:
                for result in clip.every_frame(video):
                    yield StageEvent(
                        f"Overlay of {clip.name}", result.frame - first, last - first + 1
                    )
                    writer.add(result)
                writer.finish()
