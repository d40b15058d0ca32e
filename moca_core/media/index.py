"""The frame index of a video: which frames come out of the decoder, when, and where to start.

The index is built from the packets alone, without decoding, wherever packets say the truth.
Suspicious stretches (damaged, truncated, without time stamps, packets that may hold no picture)
are decoded once, so that every frame in the index is a frame that exists.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from moca_core.errors import MediaError
from moca_core.media.packets import Packet, PacketReader, tag_all
from moca_core.media.probe import opened, safe_demux, video_stream

# A damaged clip of no more pixels than this, all frames together, is decoded whole to see what
# comes out: about two seconds. Of a larger one only the damaged stretches are.
_WHOLE_CHECK_PIXELS = 5e8
# So many frames at the end of what was read may yet get others before them. Of H.264 and HEVC no
# more than 16 wait in the decoder for one that is stored later; of the others fewer.
_UNSETTLED = 32


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
    whole : False where only the first frames are known yet. What is said of these is final,
        but for files whose time stamps jump back later on, see `begins_with`.
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
    whole: bool = True

    def begins_with(self, part: FrameIndex) -> bool:
        """Whether the frames of `part` are the first ones here: the same packets and times."""
        count = len(part.tags)
        return (
            len(self.tags) >= count
            and bool(np.array_equal(self.times_s[:count], part.times_s))
            and all(
                self.order_of_tag[ours] == part.order_of_tag[theirs]
                for ours, theirs in zip(self.tags[:count].tolist(), part.tags.tolist(), strict=True)
            )
        )


def build_index(path: Path) -> FrameIndex:
    """Index the frames of the clip at `path`.

    Raises
    ------
    MediaError : it can't be opened, or not a single frame can be decoded.
    NoVideoError : it has no picture.
    """
    *_, index = index_parts(path)
    assert isinstance(index, FrameIndex)
    return index


def index_parts(
    path: Path, patience_s: float = math.inf
) -> Generator[FrameIndex | float, None, None]:
    """Index the frames of the clip at `path`, of a long one first those of its beginning.

    Yields one index if that takes no longer than `patience_s`. Else it yields the index of the
    frames that are known for sure by then, after that the share of the file that was read, 0 to
    1, now and then, and the whole index at the end.

    Raises
    ------
    As `build_index`.
    """
    with opened(path) as container:
        reader = PacketReader(container, path)
        began = time.monotonic()
        part: FrameIndex | None = None
        for share in reader.read():
            if part is not None:
                yield share
            elif time.monotonic() - began >= patience_s:
                part = _first_part(path, reader)
                if part is not None:
                    yield part
                # A part that isn't known yet takes a while to find out: not at each step.
                patience_s = 2 * (time.monotonic() - began)
        yield _whole_index(path, reader)


def _first_part(path: Path, reader: PacketReader) -> FrameIndex | None:
    """The frames that are known for sure from the first packets; None if the packets don't tell."""
    packets = reader.packets
    if any(packet.suspect for packet in packets) or not reader.states_display_times:
        return None
    if tag_all(packets) != "pts":
        return None
    spans = _doubtful_spans(packets)
    if any(stop == len(packets) for _, stop in spans):
        return None  # what shows whether its frames come out isn't read yet
    notes: list[str] = []
    tags = _tags_of(path, packets, spans, notes)
    if len(tags) <= _UNSETTLED:
        return None
    end_s = tags[-_UNSETTLED] * reader.base_s
    return _assemble(reader, "pts", tags[:-_UNSETTLED], end_s, notes, whole=False)


def _whole_index(path: Path, reader: PacketReader) -> FrameIndex:
    packets = reader.packets
    kind = tag_all(packets)
    notes: list[str] = []
    if kind == "pts" and reader.states_display_times:
        damaged = any(packet.suspect for packet in packets)
        spans = _doubtful_spans(packets)
        if damaged and len(packets) * reader.frame_pixels <= _WHOLE_CHECK_PIXELS:
            spans = [(0, len(packets))]
        tags = _tags_of(path, packets, spans, notes)
    else:
        tags = list(_decoded_tags(path, packets, [(0, len(packets))]))
    if not tags:
        raise MediaError(
            f"{path.name}: none of its frames can be decoded",
            "The file is damaged; fetch it again or convert it from its source.",
        )
    return _assemble(reader, kind, tags, reader.sound_end_s, notes, whole=True)


def _assemble(
    reader: PacketReader, kind: str, tags: list[int], end_s: float, notes: list[str], whole: bool
) -> FrameIndex:
    """The index of the frames `tags`, in the order shown, the last of which ends by `end_s`."""
    packets = reader.packets
    order_of_tag = {packet.tag: number for number, packet in enumerate(packets)}
    rank_of_tag = {tag: rank for rank, tag in enumerate(tags)}
    orders = np.array([order_of_tag[tag] for tag in tags], dtype=np.int64)
    rising = all(a < b for a, b in pairwise(tags))
    times = _times(packets, orders, reader.base_s, reader.rate, rising)
    if whole:
        last = packets[int(orders[-1])]
        last_s = last.duration * reader.base_s if last.duration > 0 else 1 / reader.rate
        end_s = max(float(times[-1]) + last_s, end_s)
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
        end_s=end_s,
        notes=tuple(notes),
        whole=whole,
    )


def _tags_of(
    path: Path, packets: list[Packet], spans: list[tuple[int, int]], notes: list[str]
) -> list[int]:
    """Tags in the order shown, from time stamps; of the stretches `spans` by decoding them."""
    alive = _decoded_tags(path, packets, spans)
    doubtful = {packet.tag for start, stop in spans for packet in packets[start:stop]}
    shown = [packet.tag for packet in packets if not packet.hidden]
    tags = sorted(tag for tag in shown if tag not in doubtful or tag in alive)
    if len(tags) < len(shown):
        notes.append(
            f"{len(shown) - len(tags)} of {len(shown)} frames can't be decoded and are left out"
        )
    return tags


def _doubtful_spans(packets: list[Packet]) -> list[tuple[int, int]]:
    """Stretches (start, stop) from key frame to key frame that hold a suspicious packet.

    Frames before the first key frame, in file order or in time, may lack what they refer to.
    """
    keys = [n for n, packet in enumerate(packets) if packet.key]
    first = keys[0] if keys else len(packets)
    bounds = [0, *(n for n in keys if n), len(packets)]
    return [
        (start, stop)
        for start, stop in pairwise(bounds)
        if start < first
        or any(packet.suspect for packet in packets[start:stop])
        or (start == first and any(p.tag < packets[first].tag for p in packets[first:stop]))
    ]


def _decoded_tags(
    path: Path, packets: list[Packet], spans: Sequence[tuple[int, int]]
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
    packets: list[Packet], orders: NDArray[np.int64], base: float, rate: float, rising: bool
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
    packets: list[Packet], orders: NDArray[np.int64], rank_of_tag: dict[int, int]
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


def _seek_stamps(packets: list[Packet], starts: NDArray[np.int64]) -> dict[int, int]:
    stamps: dict[int, int] = {}
    for number in np.unique(starts):
        packet = packets[int(number)]
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is not None:
            stamps[int(number)] = stamp
    return stamps
