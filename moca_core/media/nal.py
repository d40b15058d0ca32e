"""What can be told of H.264 and HEVC packets without decoding them (ITU-T H.264, section 7.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av
from av.video.stream import VideoStream

_H264_IDR = 5
_H264_SEI = 6
_RECOVERY_POINT = 6


def prefix_bytes(stream: VideoStream) -> int:
    """Bytes of the length before each unit (MP4, Matroska); 0 where start codes part the units."""
    name = stream.codec_context.name
    extra = stream.codec_context.extradata or b""
    if name == "h264" and len(extra) > 4 and extra[0] == 1:
        return (extra[4] & 3) + 1
    if name == "hevc" and len(extra) > 21 and extra[0] == 1:
        return (extra[21] & 3) + 1
    return 0


def chain_is_whole(data: bytes, prefix: int) -> bool:
    """True if the length-prefixed units of a packet end exactly where the packet ends."""
    place, end = 0, len(data)
    while place + prefix <= end:
        place += prefix + int.from_bytes(data[place : place + prefix], "big")
    return place == end


def start_check(stream: VideoStream) -> Callable[[av.Packet], bool]:
    """A test whether decoding may start at a packet that is flagged as a key frame.

    H.264 with gradual refresh flags packets from which the picture is whole only some frames
    later; frames decoded from there would differ from those decoded from further back.
    """
    if stream.codec_context.name != "h264":
        return lambda packet: True
    prefix = prefix_bytes(stream)
    return lambda packet: _starts_whole(_units(bytes(packet), prefix))


def _starts_whole(units: Iterator[bytes]) -> bool:
    for unit in units:
        kind = unit[0] & 0x1F if unit else 0
        if kind == _H264_IDR:
            return True
        if kind == _H264_SEI and _frames_to_recovery(unit[1:]):
            return False
    return True


def _frames_to_recovery(messages: bytes) -> bool:
    """True if a recovery point message among `messages` names a frame after its own."""
    place = 0
    while place + 2 < len(messages):
        kind = messages[place]
        size = messages[place + 1]
        if 0xFF in (kind, size):
            return False  # long messages aren't recovery points
        if kind == _RECOVERY_POINT:
            # recovery_frame_cnt is an Exp-Golomb number: a leading 1 bit is zero.
            return not messages[place + 2] & 0x80
        place += 2 + size
    return False


def _units(data: bytes, prefix: int) -> Iterator[bytes]:
    if prefix:
        place = 0
        while place + prefix < len(data):
            size = int.from_bytes(data[place : place + prefix], "big")
            yield data[place + prefix : place + prefix + size]
            place += prefix + size
        return
    yield from data.split(b"\0\0\1")[1:]
