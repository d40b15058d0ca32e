"""A cache of decoded frames, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict

import av


class FrameCache:
    """Decoded frames by number; the least recently used go first. Safe to share by threads.

    Frames are kept as the decoder made them (mostly YUV 4:2:0: half the bytes of RGB), so that
    all frames passed on the way to a wanted one can stay at no cost.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._frames: OrderedDict[int, av.VideoFrame] = OrderedDict()
        self._bytes = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of the picture planes held now."""
        return self._bytes

    def __contains__(self, index: int) -> bool:
        return index in self._frames

    def __len__(self) -> int:
        return len(self._frames)

    def get(self, index: int) -> av.VideoFrame | None:
        """The frame `index`, None if it isn't held."""
        with self._lock:
            frame = self._frames.get(index)
            if frame is not None:
                self._frames.move_to_end(index)
            return frame

    def put(self, index: int, frame: av.VideoFrame) -> None:
        """Hold a frame, and drop the oldest ones beyond the limit; the newest always stays."""
        with self._lock:
            if index in self._frames:
                self._frames.move_to_end(index)
                return
            self._frames[index] = frame
            self._bytes += frame_bytes(frame)
            while self._bytes > self.limit_bytes and len(self._frames) > 1:
                _, dropped = self._frames.popitem(last=False)
                self._bytes -= frame_bytes(dropped)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._frames.clear()
            self._bytes = 0


def frame_bytes(frame: av.VideoFrame) -> int:
    """Bytes of a frame's planes, padding of the rows included."""
    return sum(plane.buffer_size for plane in frame.planes)
