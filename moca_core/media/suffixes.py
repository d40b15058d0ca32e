"""By which names files in a folder are taken for clips."""

from __future__ import annotations

CLIP_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
    *(".ts", ".mts", ".m2ts", ".flv", ".wmv", ".3gp", ".ogv", ".vob"),
)
