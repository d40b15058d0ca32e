"""Decoding from any frame on: the walk through a video that readers and the prefetcher share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from moca_core.media.index import FrameIndex
from moca_core.media.packets import tag_of
from moca_core.media.probe import open_container, safe_demux, video_stream

# More threads hold back as many frames as there are threads, which a seek has to wait for.
_MAX_THREADS = 4
# On the way to a frame, this many before it are decoded in full, for who steps back from it.
_KEEP_BEFORE = 8
_RETRIES = 2
# Going on is cheaper than a seek that saves no more frames than this.
_WORTH_A_SEEK = 4


class Decoder:
    """Decodes frames by number, forward or from the key frame before. For one thread at a time."""

    def __init__(self, path: Path, index: FrameIndex) -> None:
        self._path = path
        self.index = index
        self._container: InputContainer | None = None
        self._stream: VideoStream
        self._walk: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._next_rank: int | None = None
        self._goal = 0
        # In a damaged file an error in one of several threads takes the good frames beside it
        # along, and a decoder fills holes from whatever it decoded last: nothing may be skipped.
        self._careful = bool(index.notes)

    def walk_to(self, rank: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (number, frame) from the best place to start up to frame `rank`, in order.

        The last one yielded is `rank`, unless it can't be decoded: then the walk ends early.
        Frames further back to which no other refers are passed over.
        """
        self._goal = rank
        if self._goes_on_to(rank):
            for found, frame in self._walk:
                self._next_rank = found + 1
                yield found, frame
                if found == rank:
                    return
                if found > rank:
                    break
        for start in self._starts_for(rank):
            self._start_at(start)
            for found, frame in self._walk:
                self._next_rank = found + 1
                yield found, frame
                if found == rank:
                    return
                if found > rank:
                    break
            if not self._careful:
                self.close()
                self._careful = True

    def close(self) -> None:
        """Give the file back."""
        self._walk = iter(())
        self._next_rank = None
        if self._container is not None:
            self._container.close()
            self._container = None

    def _goes_on_to(self, rank: int) -> bool:
        if self._next_rank is None or rank < self._next_rank:
            return False
        first = self.index.order_of_tag[int(self.index.tags[self._next_rank])]
        start = int(self.index.starts[rank])
        if start <= first:
            return True
        saved = start - first
        return saved <= _WORTH_A_SEEK

    def _starts_for(self, rank: int) -> list[int]:
        """Packets to start at for frame `rank`, the best first.

        It is there twice unless decoding is careful already, which brings more frames out. The
        others are for streams that recover later than their key frame says.
        """
        best = int(self.index.starts[rank])
        earlier = sorted((n for n in self.index.seek_stamps if n < best), reverse=True)
        return [best] * (1 if self._careful else 2) + earlier[:_RETRIES]

    def _start_at(self, number: int) -> None:
        """Stand so that the next packets are those from packet `number` on."""
        candidates = [n for n in sorted(self.index.seek_stamps, reverse=True) if n <= number]
        self._next_rank = None
        if self.index.tag_kind != "count":
            for candidate in candidates[: _RETRIES + 1]:
                packets = self._seek(self.index.seek_stamps[candidate], number)
                if packets is not None:
                    self._walk = self._frames(packets, number)
                    return
        self._open()
        self._walk = self._frames(self._tagged(0), number)

    def _seek(self, stamp: int, number: int) -> Iterator[tuple[int, av.Packet]] | None:
        """Tagged packets from `stamp` on; None if the first one lies after packet `number`."""
        if self._container is None:
            self._open()
        assert self._container is not None
        try:
            self._container.seek(stamp, stream=self._stream, backward=True)
        except av.FFmpegError:
            return None
        packets = self._tagged(None)
        first = next(packets, None)
        if first is None or first[0] > number:
            return None

        def all_packets() -> Iterator[tuple[int, av.Packet]]:
            yield first
            yield from packets

        return all_packets()

    def _open(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = open_container(self._path)
        self._stream = video_stream(self._container, self._path)
        self._stream.thread_type = "AUTO"
        self._stream.thread_count = 1 if self._careful else _threads()

    def _tagged(self, count: int | None) -> Iterator[tuple[int, av.Packet]]:
        """(packet number, packet with its tag as `pts`); the last packet is the empty flush."""
        assert self._container is not None
        orders = self.index.order_of_tag
        for packet in safe_demux(self._container, self._stream):
            if not packet.size:
                yield len(orders), packet
                continue
            kind = self.index.tag_kind
            tag = tag_of(packet, kind) if kind != "count" else count
            if kind == "count" and count is not None:
                count += 1
            if tag is None or tag not in orders:
                continue
            packet.pts = tag
            yield orders[tag], packet

    def _frames(
        self, packets: Iterator[tuple[int, av.Packet]], start: int
    ) -> Iterator[tuple[int, av.VideoFrame]]:
        """(number, frame) in the order shown, from packet `start` on, its leading frames left out.

        Leading frames are shown before the key frame but refer to what lies before it.
        """
        ranks = self.index.rank_of_tag
        least = ranks.get(self.index.tag_of_start.get(start, -1), 0)
        for number, packet in packets:
            if number < start:
                continue
            self._choose_skip(ranks.get(packet.pts) if packet.pts is not None else None)
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError:
                continue  # damaged; the index knows which frames come out all the same
            for frame in frames:
                rank = ranks.get(frame.pts) if frame.pts is not None else None
                if rank is not None and rank >= least:
                    yield rank, frame

    def _choose_skip(self, rank: int | None) -> None:
        """Decode the next packet, of frame `rank`, only if other frames refer to it or it is near.

        For H.264 alone: it says in each packet whether others refer to it, and decoders heed it.
        """
        context = self._stream.codec_context
        if context.name == "h264" and self.index.rising and not self._careful:
            far = rank is not None and rank < self._goal - _KEEP_BEFORE
            context.skip_frame = "NONREF" if far else "DEFAULT"


def _threads() -> int:
    return min(_MAX_THREADS, os.cpu_count() or 1)
