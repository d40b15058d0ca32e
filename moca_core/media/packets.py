"""The packets of a video as its index needs them, read without decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from moca_core.media.nal import chain_is_whole, prefix_bytes, start_check
from moca_core.media.probe import find_audio_stream, safe_demux, video_stream

# A skipped MPEG-4 picture ("N-VOP", the stuffing of packed B-frames) is no longer than this.
_SKIPPED_VOP_BYTES = 16
# Codecs whose packets may hold two pictures, so that packet and picture don't pair up.
_PACKING_CODECS = ("mpeg4", "msmpeg4v3", "msmpeg4v2")
# Bit 4 of a VP8 packet is show_frame (RFC 6386, section 9.1).
_VP8_SHOWN = 0x10
_DEFAULT_FPS = 25.0
_PACKETS_A_STEP = 2048


@dataclass(slots=True)
class Packet:
    """What a packet says of itself; `tag` is chosen once all are known, see `FrameIndex`.

    Attributes
    ----------
    key : decoding may start here.
    hidden : its picture isn't shown.
    suspect : it may give no picture.
    """

    pts: int | None
    dts: int | None
    pos: int | None
    duration: int
    key: bool
    hidden: bool
    suspect: bool
    tag: int = 0


class PacketReader:
    """Reads the packets of a clip's picture and how far its sound reaches, step by step.

    Attributes
    ----------
    packets : of the picture, in file order, those read so far.
    frame_pixels : of one picture.
    base_s : seconds a tick of the packets' time stamps.
    rate : frames a second as the file says.
    """

    def __init__(self, container: InputContainer, path: Path) -> None:
        self._container = container
        self._stream = video_stream(container, path)
        self._sound = find_audio_stream(container)
        self._sound_end = 0  # in ticks of the sound's clock; fractions are slow for a packet each
        self.packets: list[Packet] = []
        self.frame_pixels = self._stream.codec_context.width * self._stream.codec_context.height
        self.base_s = float(self._stream.time_base or 1)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.rate = float(rate or _DEFAULT_FPS)

    def read(self) -> Iterator[float]:
        """Read to the end; yields the share of the file that was read, 0 to 1, now and then."""
        streams = [self._stream] if self._sound is None else [self._stream, self._sound]
        index, take = self._stream.index, self._taker()
        place, size = 0, max(self._container.size, 1)
        for count, packet in enumerate(safe_demux(self._container, *streams), start=1):
            if packet.size:
                if packet.stream_index == index:
                    take(packet)
                elif packet.pts is not None:
                    self._sound_end = max(self._sound_end, packet.pts + (packet.duration or 0))
            if count % _PACKETS_A_STEP == 0:
                place = max(place, packet.pos or 0)
                yield min(place / size, 1.0)

    def _taker(self) -> Callable[[av.Packet], None]:
        """What notes a packet of the picture."""
        check, is_start = _packet_check(self._stream), start_check(self._stream)
        vp8 = self._stream.codec_context.name == "vp8"

        def take(packet: av.Packet) -> None:
            self.packets.append(
                Packet(
                    pts=packet.pts,
                    dts=packet.dts,
                    pos=packet.pos,
                    duration=packet.duration or 0,
                    key=packet.is_keyframe and is_start(packet),
                    hidden=packet.is_discard or (vp8 and not bytes(packet)[0] & _VP8_SHOWN),
                    suspect=packet.is_corrupt or check(packet),
                )
            )

        return take

    @property
    def sound_end_s(self) -> float:
        """Time stamp in seconds at which the sound read so far ends, 0 without sound."""
        base = 0 if self._sound is None else self._sound.time_base or 0
        return float(self._sound_end * base)

    @property
    def states_display_times(self) -> bool:
        """False where time stamps are guesses that reordered pictures break.

        AVI stores none: of H.264 and HEVC in it the order of display isn't known before decoding,
        and packed MPEG-4 puts two pictures into one packet and a skipped one into the next.
        """
        name = self._stream.codec_context.name
        if name in _PACKING_CODECS:
            return not any(packet.suspect for packet in self.packets)
        return not ("avi" in self._container.format.name and name in ("h264", "hevc"))


def _packet_check(stream: VideoStream) -> Callable[[av.Packet], bool]:
    """A cheap test of this codec's packets: may this one give no picture?"""
    name = stream.codec_context.name
    prefix = prefix_bytes(stream)
    if prefix:
        return lambda packet: not chain_is_whole(bytes(packet), prefix)
    if name in _PACKING_CODECS:
        return lambda packet: packet.size <= _SKIPPED_VOP_BYTES
    return lambda packet: False


def tag_of(packet: av.Packet, kind: str) -> int | None:
    """Tag of a packet; None if it has none (`count` is for the caller to keep)."""
    if kind == "pts":
        return packet.pts
    if kind == "dts":
        return packet.dts
    return packet.pos


def tag_all(packets: list[Packet]) -> str:
    """Give each packet its tag; the kind of tag that is there on all and twice on none."""
    for kind in ("pts", "dts", "pos"):
        values = [getattr(packet, kind) for packet in packets]
        if None not in values and len(set(values)) == len(values):
            break
    else:
        kind, values = "count", list(range(len(packets)))
    for packet, value in zip(packets, values, strict=True):
        packet.tag = value
    return kind
