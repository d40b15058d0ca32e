"""A frame asked for by number is that frame: clips whose frames carry their number."""

from __future__ import annotations

import csv
import os
import random
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from data.make_clips import (
    ClipSpec,
    cut_by_edit_list,
    make_clip,
    make_sound,
    read_number,
    set_rotation,
)

from moca_core.errors import MediaError, NoVideoError
from moca_core.media.ahead import FramePrefetcher
from moca_core.media.probe import clip_hash
from moca_core.media.video import VideoReader

REORDERED = {"g": "12", "bf": "3"}
OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0:b-adapt=0"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}
QUICK_VP9 = {"g": "12", "deadline": "realtime", "cpu-used": "8"}
HIDDEN_FRAMES = {
    "g": "30", "deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"
}  # fmt: skip
UNEVEN_MS = tuple(np.cumsum([0, *np.random.default_rng(0).choice([7, 33, 120], 59)]).tolist())
ODD = (321, 243)

CLIPS = {
    "h264.mp4": ClipSpec(options=REORDERED),
    "h264.mkv": ClipSpec(options=REORDERED),
    "h264.avi": ClipSpec(options=REORDERED),
    "h264.ts": ClipSpec(options=REORDERED),
    "stampless.h264": ClipSpec(options=REORDERED),
    "open_groups.mp4": ClipSpec(options=OPEN_GROUPS),
    "open_groups.mkv": ClipSpec(options=OPEN_GROUPS),
    "refresh.mkv": ClipSpec(options=REFRESH),
    "doubled_stamps.mkv": ClipSpec(options=REORDERED, fps=3000),
    "mpeg4.avi": ClipSpec(codec="mpeg4", options={"g": "12"}),
    "mpeg4_reordered.avi": ClipSpec(codec="mpeg4", options=REORDERED),
    "mpeg2.mpg": ClipSpec(codec="mpeg2video", options={"g": "12", "bf": "2"}),
    "vp9.webm": ClipSpec(codec="libvpx-vp9", options=QUICK_VP9),
    "vp9_hidden.webm": ClipSpec(codec="libvpx-vp9", options=HIDDEN_FRAMES),
    "vp8_hidden.webm": ClipSpec(codec="libvpx", options=HIDDEN_FRAMES),
    "uneven.mp4": ClipSpec(options=REORDERED, times_ms=UNEVEN_MS),
    "uneven.mkv": ClipSpec(options=REORDERED, times_ms=UNEVEN_MS),
    "uneven.webm": ClipSpec(codec="libvpx-vp9", options=QUICK_VP9, times_ms=UNEVEN_MS),
    "odd.mp4": ClipSpec(size=ODD, pix_fmt="yuv444p", options=REORDERED),
    "odd.avi": ClipSpec(codec="mpeg4", size=ODD, options=REORDERED),
    "odd.webm": ClipSpec(codec="libvpx-vp9", size=ODD, options=QUICK_VP9),
    "late_picture.mp4": ClipSpec(options=REORDERED, start_ms=700, audio="aac"),
    "late_picture.mkv": ClipSpec(options=REORDERED, start_ms=700, audio="libopus"),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a clip of `CLIPS` by name, once a module."""
    folder = tmp_path_factory.mktemp("clips")

    def make(name: str) -> Path:
        path = folder / name
        return path if path.exists() else make_clip(path, CLIPS[name])

    return make


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Every test ends with the threads it began with."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def numbers(reader: VideoReader, order: list[int]) -> list[int]:
    """The numbers read in the pictures, asked for in `order`."""
    return [read_number(picture) for _, picture in reader.frames(order)]


@pytest.mark.parametrize("name", CLIPS)
def test_every_frame_in_any_order(clip: Callable[[str], Path], name: str) -> None:
    order = list(range(CLIPS[name].frames))
    mixed = random.Random(1).sample(order, 40)
    # A cache of one frame, so that every access really decodes.
    with VideoReader(clip(name), cache_bytes=1) as reader:
        assert reader.info.frame_count == len(order)
        assert numbers(reader, order) == order
        assert numbers(reader, order[::-1]) == order[::-1]
        assert numbers(reader, mixed) == mixed
        assert numbers(reader, order[::7]) == order[::7]


@pytest.mark.parametrize("name", ["h264.mp4", "open_groups.mkv", "mpeg4_reordered.avi"])
def test_random_access_gives_the_same_pixels(clip: Callable[[str], Path], name: str) -> None:
    with VideoReader(clip(name)) as straight, VideoReader(clip(name), cache_bytes=1) as mixed:
        pictures = dict(straight.frames(range(60)))
        for index in random.Random(2).sample(range(60), 20):
            assert np.array_equal(mixed.frame(index), pictures[index])


@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.mkv", "uneven.webm"])
def test_uneven_times(clip: Callable[[str], Path], name: str) -> None:
    with VideoReader(clip(name)) as reader:
        np.testing.assert_allclose(reader.info.times_s, np.array(UNEVEN_MS) / 1000, atol=1e-9)
        for index in (0, 1, 30, 59):
            assert reader.index_at(reader.time_of(index)) == index
            assert reader.index_at(reader.time_of(index) + 0.005) == index
            assert reader.index_at(reader.time_of(index) - 0.005) == max(index - 1, 0)
        assert reader.info.fps == pytest.approx(59 / (UNEVEN_MS[-1] / 1000))


@pytest.mark.parametrize("name", ["late_picture.mp4", "late_picture.mkv"])
def test_the_clock_begins_with_the_sound_if_that_is_earlier(
    clip: Callable[[str], Path], name: str
) -> None:
    with VideoReader(clip(name)) as reader:
        assert reader.info.has_audio
        assert reader.time_of(0) == pytest.approx(0.7, abs=0.002)
        assert reader.index_at(0.1) == 0
        assert reader.index_at(0.7 + 0.05) == 1
        assert reader.info.duration_s == pytest.approx(0.7 + 60 / 25, abs=0.002)


def test_times_of_even_clips_begin_at_zero(clip: Callable[[str], Path]) -> None:
    for name in ("h264.mp4", "h264.avi", "h264.ts", "mpeg2.mpg", "stampless.h264"):
        with VideoReader(clip(name)) as reader:
            np.testing.assert_allclose(reader.info.times_s, np.arange(60) / 25, atol=1e-4)
            assert reader.info.fps == pytest.approx(25)
            assert reader.info.duration_s == pytest.approx(2.4, abs=1e-3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotation_metadata_is_applied(tmp_path: Path, turns: int) -> None:
    path = make_clip(tmp_path / "turned.mp4", ClipSpec(size=(160, 96), turns=turns, frames=6))
    set_rotation(path, turns)
    with VideoReader(path) as reader:
        upright = (96, 160) if turns == 2 else (160, 96)
        assert reader.info.rotation_deg == turns * 90
        assert (reader.info.height, reader.info.width) == upright
        assert reader.frame(3).shape == (*upright, 3)
        assert numbers(reader, list(range(6))) == list(range(6))


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [(Fraction(4, 3), (128, 213)), (Fraction(1, 2), (256, 160)), (Fraction(448, 447), (128, 160))],
)
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, shape: tuple[int, int]) -> None:
    path = make_clip(tmp_path / "wide.mp4", ClipSpec(sample_aspect=aspect, frames=4))
    with VideoReader(path) as reader:
        assert (reader.info.height, reader.info.width) == shape
        assert reader.frame(2).shape == (*shape, 3)
        assert read_number(reader.frame(2)) == 2


def test_an_edit_list_that_cuts_into_a_group_hides_its_first_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "cut.mp4", ClipSpec(options={"g": "30", "bf": "2"}))
    with av.open(str(path)) as container:
        ticks = round(5 / 25 / container.streams.video[0].time_base)
    cut_by_edit_list(path, ticks)
    with VideoReader(path, cache_bytes=1) as reader:
        assert reader.info.frame_count == 55
        assert numbers(reader, [0, 54, 20, 3]) == [5, 59, 25, 8]
        assert reader.time_of(0) == 0


def test_missing_duration(tmp_path: Path) -> None:
    # Matroska written to a pipe can't go back to write its duration.
    path = tmp_path / "endless.mkv"
    source = make_clip(tmp_path / "source.mkv", ClipSpec(options=REORDERED))
    with av.open(str(source)) as read, path.open("wb") as stream:
        pipe = type("Pipe", (), {"write": stream.write})()
        with av.open(pipe, "w", format="matroska") as written:
            copy = written.add_stream_from_template(read.streams.video[0])
            for packet in read.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    written.mux(packet)
    with av.open(str(path)) as container:
        assert container.duration is None
    with VideoReader(path) as reader:
        assert reader.info.duration_s == pytest.approx(2.4, abs=1e-3)
        assert numbers(reader, [59, 0, 31]) == [59, 0, 31]


@pytest.mark.parametrize("name", ["one.mkv", "one.webm"])
def test_one_pixel_and_a_tenth_of_a_second(tmp_path: Path, name: str) -> None:
    codec = "ffv1" if name.endswith("mkv") else "libvpx-vp9"
    path = make_clip(tmp_path / name, ClipSpec(codec=codec, size=(1, 1), frames=3, fps=30))
    with VideoReader(path) as reader:
        assert reader.info.duration_s == pytest.approx(0.1, abs=0.002)
        assert [picture.shape for _, picture in reader.frames(range(3))] == [(1, 1, 3)] * 3


def test_a_single_frame(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "still.mp4", ClipSpec(frames=1))
    with VideoReader(path) as reader:
        assert reader.info.frame_count == 1
        assert reader.info.fps == pytest.approx(25)
        assert numbers(reader, [0, 0]) == [0, 0]


def test_a_truncated_clip_opens_with_what_is_there(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "cut.mkv", ClipSpec(options=REORDERED))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with VideoReader(path, cache_bytes=1) as reader:
        count = reader.info.frame_count
        assert 20 < count < 50
        assert numbers(reader, list(range(count))) == list(range(count))


def test_damaged_frames_are_left_out_with_a_note(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "damaged.mp4", ClipSpec(options={"g": "10", "bf": "0"}))
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for index in (10, 25):
        data[places[index] : places[index] + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    with VideoReader(path, cache_bytes=1) as reader:
        assert 40 <= reader.info.frame_count < 60
        assert "can't be decoded" in reader.info.notes[0]
        whole = list(range(reader.info.frame_count))
        pictures = {index: reader.frame(index) for index in whole}
        for index in random.Random(3).sample(whole, 15):
            assert np.array_equal(reader.frame(index), pictures[index])


@pytest.mark.parametrize(("name", "ahead"), [("vp9.webm", False), ("vp9.webm", True)])
def test_damage_that_only_decoding_shows_costs_its_own_frames(
    clip: Callable[[str], Path], tmp_path: Path, name: str, ahead: bool
) -> None:
    with av.open(str(clip(name))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        payload = bytes(packets[30])
    data = clip(name).read_bytes()
    assert data.count(payload) == 1
    path = tmp_path / name
    path.write_bytes(data.replace(payload, b"\xff" * len(payload)))
    with VideoReader(path, decode_ahead=ahead) as reader:
        with pytest.raises(MediaError, match="frame 30 can't be decoded") as raised:
            reader.frame(30)
        assert raised.value.hint
        assert numbers(reader, [0, 29, 45, 59]) == [0, 29, 45, 59]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("empty.mp4", b"", "empty"), ("text.mp4", b"not a clip at all\n" * 50, "not a media file")],
)
def test_files_that_are_no_clips(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=words) as raised:
        VideoReader(path)
    assert raised.value.hint


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="a folder"):
        VideoReader(tmp_path)
    with pytest.raises(MediaError, match="no such file"):
        VideoReader(tmp_path / "absent.mp4")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "secret.mp4", ClipSpec(frames=2))
    path.chmod(0)
    with pytest.raises(MediaError, match="no permission"):
        VideoReader(path)


def test_a_denied_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "secret.mp4", ClipSpec(frames=2))

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(MediaError, match="no permission") as raised:
        VideoReader(path)
    assert raised.value.hint


@pytest.mark.parametrize(("name", "codec"), [("only.m4a", "aac"), ("only.mp3", "libmp3lame")])
def test_sound_only(tmp_path: Path, name: str, codec: str) -> None:
    with pytest.raises(NoVideoError, match="sound only"):
        VideoReader(make_sound(tmp_path / name, codec))


def test_frames_outside_the_clip(clip: Callable[[str], Path]) -> None:
    with VideoReader(clip("h264.mp4")) as reader:
        for index in (-1, 60):
            with pytest.raises(IndexError):
                reader.frame(index)


def test_a_closed_reader_says_so(clip: Callable[[str], Path]) -> None:
    for ahead in (False, True):
        reader = VideoReader(clip("h264.mp4"), decode_ahead=ahead)
        reader.close()
        reader.close()
        with pytest.raises(MediaError, match="closed"):
            reader.frame(0)


@pytest.mark.parametrize("limit", [1, 200_000])
def test_the_cache_keeps_to_its_bytes(clip: Callable[[str], Path], limit: int) -> None:
    with VideoReader(clip("h264.mp4"), cache_bytes=limit) as reader:
        one = 160 * 128 * 3 // 2
        for index in range(60):
            reader.frame(index)
            # Rows are padded; a single frame is always held.
            assert reader.cached_bytes <= max(limit, 2 * one)


def test_decode_ahead_gives_the_same_frames(clip: Callable[[str], Path]) -> None:
    order = random.Random(4).choices(range(60), k=60)
    with VideoReader(clip("h264.mp4"), decode_ahead=True, cache_bytes=400_000) as reader:
        assert numbers(reader, list(range(60))) == list(range(60))
        assert numbers(reader, order) == order


def test_the_prefetcher_fills_the_cache_ahead_of_the_play_head(
    clip: Callable[[str], Path],
) -> None:
    with VideoReader(clip("h264.mp4")) as reader:
        prefetcher = FramePrefetcher(reader, frames_ahead=8)
        prefetcher.start(20)
        assert read_number(reader.to_rgb(prefetcher.wait_for(20))) == 20
        # The next frames come without being asked for.
        for _ in range(500):
            picture = prefetcher.request(21)
            if picture is not None:
                break
            threading.Event().wait(0.01)
        assert picture is not None
        assert read_number(picture) == 21
        prefetcher.stop()
        prefetcher.stop()


def test_two_threads_may_share_a_reader(clip: Callable[[str], Path]) -> None:
    found: dict[int, list[int]] = {}
    for ahead in (False, True):
        with VideoReader(clip("h264.mp4"), decode_ahead=ahead, cache_bytes=1) as reader:

            def read(seed: int, reader: VideoReader = reader) -> None:
                order = random.Random(seed).choices(range(60), k=30)
                found[seed] = [a - b for a, b in zip(numbers(reader, order), order, strict=True)]

            threads = [threading.Thread(target=read, args=(seed,)) for seed in (1, 2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            assert found == {1: [0] * 30, 2: [0] * 30}
            found.clear()


def test_full_range_colour_is_kept(tmp_path: Path) -> None:
    spec = ClipSpec(codec="mjpeg", pix_fmt="yuvj420p", frames=2, options={"qscale": "1"})
    with VideoReader(make_clip(tmp_path / "full.avi", spec)) as reader:
        picture = reader.frame(0)  # number 0: all fields dark, drawn with 25
        assert abs(float(picture.mean()) - 25) < 3


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", ClipSpec(frames=4))
    other = tmp_path / "b.mp4"
    other.write_bytes(path.read_bytes())
    assert clip_hash(path) == clip_hash(other)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    other.write_bytes(bytes(data))
    assert clip_hash(path) != clip_hash(other)


def test_the_hash_of_a_large_file_sees_its_size_and_both_ends(tmp_path: Path) -> None:
    def sparse(name: str, size: int, place: int | None = None) -> str:
        path = tmp_path / name
        with path.open("wb") as stream:
            stream.truncate(size)
            if place is not None:
                stream.seek(place)
                stream.write(b"x")
        return clip_hash(path)

    size = 80 * 2**20
    variants = [(size, None), (size + 1, None), (size, 0), (size, size - 1), (size, size // 9 * 4)]
    hashes = {sparse(f"{i}", *variant) for i, variant in enumerate(variants)}
    assert len(hashes) == 5


@pytest.mark.data
def test_the_development_clips(dev_data: Path) -> None:
    with (dev_data / "clips" / "clips.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 15
    for row in rows:
        with VideoReader(dev_data / "clips" / row["file"]) as reader:
            info = reader.info
            if row["duration"] != "N/A":
                assert info.duration_s == pytest.approx(float(row["duration"]), abs=0.04)
            size, rate = row["video"].split()[1:]
            stated = tuple(int(part) for part in size.split("x"))
            assert (info.width, info.height) in (stated, stated[::-1])
            if row["file"] != "corrupted.mp4":
                assert info.fps == pytest.approx(float(Fraction(rate)), rel=0.01)
                assert not info.notes
            assert info.has_audio == (row["audio"] not in ("none", ""))
            for index in (info.frame_count - 1, info.frame_count // 2):
                assert reader.frame(index).shape == (info.height, info.width, 3)


@pytest.mark.data
def test_the_corrupted_clip_has_the_frames_that_decode(dev_data: Path) -> None:
    with VideoReader(dev_data / "clips" / "corrupted.mp4", cache_bytes=1) as reader:
        assert reader.info.frame_count == 49  # as ffprobe -count_frames
        assert reader.info.notes == ("1 of 50 frames can't be decoded and are left out",)
        straight = [picture.mean() for _, picture in reader.frames(range(49))]
        assert [reader.frame(index).mean() for index in range(48, -1, -7)] == straight[::-7]
