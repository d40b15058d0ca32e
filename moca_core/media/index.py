"""The frame index of a video: which frames come out of the decoder, when, and where to start.

The index is built from the packets alone, without decoding, wherever packets say the truth.
Suspicious stretches (damaged, truncated, without time stamps, packets that may hold no picture)
are decoded once, so that every frame in the index is a frame that exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from moca_core.errors import MediaError
from moca_core.media.nal import chain_is_whole, prefix_bytes, start_check
from moca_core.media.probe import (
    find_audio_stream,
    opened,
    safe_demux,
    video_stream,
)

# A skipped MPEG-4 picture ("N-VOP", the stuffing of packed B-frames) is no longer than this.
_SKIPPED_VOP_BYTES = 16
# Codecs whose packets may hold two pictures, so that packet and picture don't pair up.
_PACKING_CODECS = ("mpeg4", "msmpeg4v3", "msmpeg4v2")
# Bit 4 of a VP8 packet is show_frame (RFC 6386, section 9.1).
_VP8_SHOWN = 0x10
# A damaged clip of no more pixels than this, all frames together, is decoded whole to see what
# comes out: about two seconds. Of a larger one only the damaged stretches are.
_WHOLE_CHECK_PIXELS = 5e8
_DEFAULT_FPS = 25.0


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Frames in the order they are shown.

    A frame is known by its *tag*, a number that its packet carries through the decoder: the
    presentation time stamp, or where stamps are missing or doubled the decoding time stamp or
    the position in the file, and as a last resort the count of packets.

    The tags rise from frame to frame except where time stamps are wrong.

    Attributes
    ----------
    tags : (n,) int64, tag of each frame.
    times_s : (n,) float64, time of each frame in seconds as the file states it, not falling.
    starts : (n,) int64, number of the packet (in file order) at which to start decoding for it.
    rising : True where the tags rise, that is, where packet and frame surely pair up.
    tag_kind : `pts`, `dts`, `pos` or `count`.
    seek_stamps : time stamp to seek to by packet number, for the packets in `starts`.
    tag_of_start : tag of the packets in `starts`, by number.
    order_of_tag : packet number by tag, of all packets.
    rank_of_tag : frame number by tag.
    end_s : end of the later of picture and sound.
    notes : what was wrong with the file, in words for the user.
    """

    tags: NDArray[np.int64]
    times_s: NDArray[np.float64]
    starts: NDArray[np.int64]
    rising: bool
    tag_kind: str
    seek_stamps: dict[int, int]
    tag_of_start: dict[int, int]
    order_of_tag: dict[int, int]
    rank_of_tag: dict[int, int]
    end_s: float
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Packet:
    pts: int | None
    dts: int | None
    pos: int | None
    duration: int
    key: bool
    hidden: bool
    suspect: bool
    tag: int = 0


def tag_of(packet: av.Packet, kind: str) -> int | None:
    """Tag of a packet; None if it has none (`count` is for the caller to keep)."""
    if kind == "pts":
        return packet.pts
    if kind == "dts":
        return packet.dts
    return packet.pos


def build_index(path: Path) -> FrameIndex:
    """Index the frames of the clip at `path`.

    Raises
    ------
    MediaError : it can't be opened, or not a single frame can be decoded.
    NoVideoError : it has no picture.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        packets, sound_end = _read_packets(container, stream)
        frame_pixels = stream.codec_context.width * stream.codec_context.height
        honest = _states_display_times(container, stream, packets)
        base = float(stream.time_base or 1)
        rate = float(stream.average_rate or stream.guessed_rate or _DEFAULT_FPS)
    kind = _tag(packets)
    notes: list[str] = []
    if kind == "pts" and honest:
        tags = _checked_tags(path, packets, frame_pixels, notes)
    else:
        tags = list(_decoded_tags(path, packets, [(0, len(packets))]))
    if not tags:
        raise MediaError(
            f"{path.name}: none of its frames can be decoded",
            "The file is damaged; fetch it again or convert it from its source.",
        )
    order_of_tag = {packet.tag: number for number, packet in enumerate(packets)}
    rank_of_tag = {tag: rank for rank, tag in enumerate(tags)}
    orders = np.array([order_of_tag[tag] for tag in tags], dtype=np.int64)
    rising = all(a < b for a, b in pairwise(tags))
    times = _times(packets, orders, base, rate, rising)
    last = packets[int(orders[-1])]
    last_s = last.duration * base if last.duration > 0 else 1 / rate
    starts = _starts(packets, orders, rank_of_tag)
    return FrameIndex(
        tags=np.array(tags, dtype=np.int64),
        times_s=times,
        starts=starts,
        rising=kind == "pts" and rising,
        tag_kind=kind,
        seek_stamps=_seek_stamps(packets, starts),
        tag_of_start={int(n): packets[int(n)].tag for n in np.unique(starts)},
        order_of_tag=order_of_tag,
        rank_of_tag=rank_of_tag,
        end_s=max(float(times[-1]) + last_s, sound_end),
        notes=tuple(notes),
    )


def _read_packets(container: InputContainer, stream: VideoStream) -> tuple[list[_Packet], float]:
    """Packets of the picture in file order, and the time in seconds at which the sound ends."""
    sound = find_audio_stream(container)
    streams = [stream] if sound is None else [stream, sound]
    check = _packet_check(stream)
    is_start = start_check(stream)
    vp8 = stream.codec_context.name == "vp8"
    packets: list[_Packet] = []
    sound_end = 0  # in ticks of the sound's clock; fractions are slow for a packet each
    for packet in safe_demux(container, *streams):
        if not packet.size:
            continue
        if packet.stream_index != stream.index:
            if packet.pts is not None:
                sound_end = max(sound_end, packet.pts + (packet.duration or 0))
            continue
        packets.append(
            _Packet(
                pts=packet.pts,
                dts=packet.dts,
                pos=packet.pos,
                duration=packet.duration or 0,
                key=packet.is_keyframe and is_start(packet),
                hidden=packet.is_discard or (vp8 and not bytes(packet)[0] & _VP8_SHOWN),
                suspect=packet.is_corrupt or check(packet),
            )
        )
    sound_base = 0 if sound is None else sound.time_base or 0
    return packets, float(sound_end * sound_base)


def _states_display_times(
    container: InputContainer, stream: VideoStream, packets: list[_Packet]
) -> bool:
    """False where time stamps are guesses that reordered pictures break.

    AVI stores none: of H.264 and HEVC in it the order of display isn't known before decoding,
    and packed MPEG-4 puts two pictures into one packet and a skipped one into the next.
    """
    name = stream.codec_context.name
    if name in _PACKING_CODECS:
        return not any(packet.suspect for packet in packets)
    return not ("avi" in container.format.name and name in ("h264", "hevc"))


def _packet_check(stream: VideoStream) -> Callable[[av.Packet], bool]:
    """A cheap test of this codec's packets: may this one give no picture?"""
    name = stream.codec_context.name
    prefix = prefix_bytes(stream)
    if prefix:
        return lambda packet: not chain_is_whole(bytes(packet), prefix)
    if name in _PACKING_CODECS:
        return lambda packet: packet.size <= _SKIPPED_VOP_BYTES
    return lambda packet: False


def _tag(packets: list[_Packet]) -> str:
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


def _checked_tags(
    path: Path, packets: list[_Packet], frame_pixels: int, notes: list[str]
) -> list[int]:
    """Tags in the order shown, from time stamps; suspicious stretches by decoding them."""
    damaged = any(packet.suspect for packet in packets)
    _suspect_the_start(packets)
    spans = _suspect_spans(packets)
    if damaged and len(packets) * frame_pixels <= _WHOLE_CHECK_PIXELS:
        spans = [(0, len(packets))]
    alive = _decoded_tags(path, packets, spans)
    doubtful = {packet.tag for start, stop in spans for packet in packets[start:stop]}
    shown = [packet.tag for packet in packets if not packet.hidden]
    tags = sorted(tag for tag in shown if tag not in doubtful or tag in alive)
    if len(tags) < len(shown):
        notes.append(
            f"{len(shown) - len(tags)} of {len(shown)} frames can't be decoded and are left out"
        )
    return tags


def _suspect_the_start(packets: list[_Packet]) -> None:
    """Frames before the first key frame, in file order or in time, may lack what they refer to."""
    first = next((n for n, packet in enumerate(packets) if packet.key), len(packets))
    for number, packet in enumerate(packets):
        if number < first:
            packet.suspect = True
        elif number > first and packet.key:
            break
        elif number > first and packet.tag < packets[first].tag:
            packet.suspect = True


def _suspect_spans(packets: list[_Packet]) -> list[tuple[int, int]]:
    """Stretches (start, stop) from key frame to key frame that hold a suspicious packet."""
    keys = [n for n, packet in enumerate(packets) if packet.key]
    bounds = [0, *(n for n in keys if n), len(packets)]
    return [
        (start, stop)
        for start, stop in pairwise(bounds)
        if any(packet.suspect for packet in packets[start:stop])
    ]


def _decoded_tags(
    path: Path, packets: list[_Packet], spans: Sequence[tuple[int, int]]
) -> dict[int, None]:
    """Tags that come out of the decoder for the stretches `spans`, in the order they come."""
    found: dict[int, None] = {}
    if not spans:
        return found
    wanted = np.zeros(len(packets), dtype=bool)
    for start, stop in spans:
        # Two more packets let a frame that waits for its successors come out.
        wanted[start : min(stop + 2, len(packets))] = True
    with opened(path) as container:
        stream = video_stream(container, path)
        # One thread: with more, an error takes the good frames beside it along.
        stream.thread_count = 1
        for first, packet in enumerate(_video_packets(container, stream)):
            if first >= len(packets):
                break
            if not wanted[first]:
                continue
            packet.pts = packets[first].tag
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                if frame.pts is not None:
                    found[frame.pts] = None
        try:
            for frame in stream.codec_context.decode(None):
                if frame.pts is not None:
                    found[frame.pts] = None
        except av.FFmpegError:
            pass
    return found


def _video_packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    return (packet for packet in safe_demux(container, stream) if packet.size)


def _times(
    packets: list[_Packet], orders: NDArray[np.int64], base: float, rate: float, rising: bool
) -> NDArray[np.float64]:
    """(n,) seconds as the file states them; without stamps, frames are `1 / rate` apart."""
    chosen = [packets[int(n)] for n in orders]
    if rising and all(packet.pts is not None for packet in chosen):
        stamps = np.array([packet.pts for packet in chosen], dtype=np.float64)
        return np.sort(stamps) * base
    if all(packet.dts is not None for packet in chosen):
        # Decoding times are as far apart as presentation times, in their own order.
        return np.sort(np.array([packet.dts for packet in chosen], dtype=np.float64)) * base
    return np.arange(len(chosen), dtype=np.float64) / rate


def _starts(
    packets: list[_Packet], orders: NDArray[np.int64], rank_of_tag: dict[int, int]
) -> NDArray[np.int64]:
    """(n,) packet at which to start for each frame: the last key frame before it in file *and*
    time order. In an open group of pictures the frames shown before the key frame refer to the
    group before, so that key frame won't do for them."""
    keys = [
        (number, rank_of_tag[packet.tag])
        for number, packet in enumerate(packets)
        if packet.key and packet.tag in rank_of_tag
    ]
    starts = np.zeros(len(orders), dtype=np.int64)
    if not keys:
        return starts
    numbers, ranks = np.array(keys, dtype=np.int64).T
    if (np.diff(ranks) > 0).all():
        # Rising both in the file and in time: the key frames that will do for a frame are the
        # first so many, and long clips have thousands.
        in_time = np.searchsorted(ranks, np.arange(len(orders)), side="right")
        in_file = np.searchsorted(numbers, orders, side="right")
        last = np.minimum(in_time, in_file) - 1
        return np.where(last >= 0, numbers[last], 0)
    for number, rank in keys:
        after = np.arange(len(orders)) >= rank
        starts[after & (orders >= number)] = number
    return starts


def _seek_stamps(packets: list[_Packet], starts: NDArray[np.int64]) -> dict[int, int]:
    stamps: dict[int, int] = {}
    for number in np.unique(starts):
        packet = packets[int(number)]
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is not None:
            stamps[int(number)] = stamp
    return stamps
