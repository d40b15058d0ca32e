"""MoCA Studio's core: which objects make the sound in a video. No Qt anywhere below."""

__version__ = "0.1.0"
