"""A clip that opens before all of its frames are known: what is shown early is never wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from data.make_clips import ClipSpec, make_clip, read_number

from moca_core.media import packets
from moca_core.media.index import FrameIndex, build_index, index_parts
from moca_core.media.video import RenumberedError, VideoReader

FRAMES = 200
REORDERED = {"g": "12", "bf": "3"}
OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0:b-adapt=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}
QUICK_VP9 = {"g": "12", "deadline": "realtime", "cpu-used": "8"}
UNEVEN_MS = np.cumsum(np.random.default_rng(0).choice([7, 33, 120], FRAMES)).tolist()

CLIPS = {
    "h264.mp4": ClipSpec(options=REORDERED),
    "h264.mkv": ClipSpec(options=REORDERED),
    "h264.ts": ClipSpec(options=REORDERED),
    "one_group.mp4": ClipSpec(options={"g": "999", "bf": "3"}),
    "open_groups.mkv": ClipSpec(options=OPEN_GROUPS),
    "refresh.mkv": ClipSpec(options=REFRESH),
    "mpeg2.mpg": ClipSpec(codec="mpeg2video", options={"g": "12", "bf": "2"}),
    "vp9.webm": ClipSpec(codec="libvpx-vp9", options=QUICK_VP9),
    "uneven.mp4": ClipSpec(options=REORDERED, times_ms=UNEVEN_MS),
    "uneven.mkv": ClipSpec(options=REORDERED, times_ms=UNEVEN_MS),
    "sound.mp4": ClipSpec(options=REORDERED, audio="aac", audio_stop_ms=8000, start_ms=300),
}
BY_DECODING = {
    "h264.avi": ClipSpec(options=REORDERED),
    "stampless.h264": ClipSpec(options=REORDERED),
    "doubled_stamps.mkv": ClipSpec(options=REORDERED, fps=3000),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a clip of `FRAMES` frames by name, once a module."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str) -> Path:
        path, spec = folder / name, (CLIPS | BY_DECODING)[name]
        return path if path.exists() else make_clip(path, replace(spec, frames=FRAMES))

    return make


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short clips are read in as many steps as long ones."""
    monkeypatch.setattr(packets, "_PACKETS_A_STEP", 16)


@pytest.mark.parametrize("name", CLIPS)
def test_the_first_part_is_the_beginning_of_the_whole(
    clip: Callable[[str], Path], name: str
) -> None:
    part, *shares, whole = index_parts(clip(name), patience_s=0.0)
    assert isinstance(part, FrameIndex)
    assert isinstance(whole, FrameIndex)
    assert not part.whole
    assert whole.whole
    assert 0 < len(part.tags) < len(whole.tags) == FRAMES
    assert whole.begins_with(part)
    assert part.end_s == pytest.approx(whole.times_s[len(part.tags)])
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", CLIPS)
def test_early_frames_are_the_right_ones_before_and_after_the_rest(
    clip: Callable[[str], Path], name: str, ahead: bool
) -> None:
    with VideoReader(clip(name), cache_bytes=1, decode_ahead=ahead, patience_s=0.0) as reader:
        known = reader.info.frame_count
        times = reader.info.times_s
        assert not reader.indexed
        assert [read_number(reader.frame(n)) for n in range(known)] == list(range(known))
        with pytest.raises(IndexError):
            reader.frame(known)
        *_, index = reader.rest()
        assert reader.info.frame_count == known, "nothing changes before grow"
        assert isinstance(index, FrameIndex)
        reader.grow(index)
        assert reader.indexed
        assert reader.info.frame_count == FRAMES
        assert np.array_equal(reader.info.times_s[:known], times)
        for frame in (known - 1, known, FRAMES - 1, 0):
            assert read_number(reader.frame(frame)) == frame
    with VideoReader(clip(name)) as at_once:
        for fact in ("frame_count", "fps", "duration_s", "notes"):
            assert getattr(reader.info, fact) == getattr(at_once.info, fact)


@pytest.mark.parametrize("name", BY_DECODING)
def test_a_clip_whose_order_only_decoding_shows_opens_whole(
    clip: Callable[[str], Path], name: str
) -> None:
    assert [type(part) for part in index_parts(clip(name), patience_s=0.0)] == [FrameIndex]


def test_a_patient_caller_gets_the_whole_index_at_once(clip: Callable[[str], Path]) -> None:
    (index,) = index_parts(clip("h264.mp4"), patience_s=60.0)
    assert isinstance(index, FrameIndex)
    assert index.begins_with(build_index(clip("h264.mp4")))


def test_opening_reads_no_more_than_the_first_packets(
    clip: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    demux = packets.safe_demux

    def counting(container: object, *streams: object) -> Iterator[av.Packet]:
        for packet in demux(container, *streams):  # type: ignore[arg-type]
            read.append(packet.pts)
            yield packet

    monkeypatch.setattr(packets, "safe_demux", counting)
    with VideoReader(clip("h264.mp4"), patience_s=0.0) as reader:
        reader.frame(0)
        assert len(read) < FRAMES / 2
        for _ in reader.rest():
            pass
    assert len(read) > FRAMES


def test_a_damaged_packet_at_the_beginning_is_looked_into_first(
    clip: Callable[[str], Path], tmp_path: Path
) -> None:
    """The note on lost frames has to be there when the clip opens."""
    data = bytearray(clip("h264.mp4").read_bytes())
    with av.open(str(clip("h264.mp4"))) as container:
        packet = [p for p in container.demux(video=0) if p.size][3]
        assert packet.pos is not None
        data[packet.pos : packet.pos + 4] = b"\xff\xff\xff\xff"
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with VideoReader(path, patience_s=0.0) as reader:
        assert reader.indexed
        assert reader.info.notes


def test_time_stamps_that_jump_back_renumber_nothing_in_silence(
    clip: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two recordings in one file: the times of the second begin anew."""
    path = tmp_path / "twice.ts"
    path.write_bytes(2 * clip("h264.ts").read_bytes())
    with VideoReader(path, patience_s=0.0) as reader:
        known = reader.info.frame_count
        with pytest.raises(RenumberedError, match="jump back"):
            list(reader.rest())
        assert reader.info.frame_count == known
        assert read_number(reader.frame(known - 1)) == known - 1
    with VideoReader(path) as whole:
        assert whole.info.frame_count > FRAMES


def test_a_reader_may_be_closed_while_its_rest_is_read(clip: Callable[[str], Path]) -> None:
    reader = VideoReader(clip("h264.mp4"), patience_s=0.0)
    begun, closed = threading.Event(), threading.Event()
    seen: list[object] = []

    def read() -> None:
        for found in reader.rest():
            seen.append(found)
            begun.set()
            assert closed.wait(10)

    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(10)
    reader.close()
    closed.set()
    thread.join(10)
    assert not thread.is_alive()
    assert len(seen) == 1, "it ends at once"


def test_a_part_of_another_clip_is_no_beginning(clip: Callable[[str], Path]) -> None:
    first = build_index(clip("h264.mp4"))
    assert first.begins_with(first)
    assert not first.begins_with(build_index(clip("uneven.mp4")))
    shorter = replace(first, tags=first.tags[:50], times_s=first.times_s[:50])
    assert first.begins_with(shorter)
    assert not shorter.begins_with(first)
    late = replace(first, times_s=first.times_s + 1)
    assert not first.begins_with(late)
