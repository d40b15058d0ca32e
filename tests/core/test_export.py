"""The overlay video, the contact sheet, and what is drawn on both."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from data.make_clips import ClipSpec, make_clip, read_number

from moca_core.errors import MediaError, StorageError
from moca_core.export.drawing import (
    OBJECT_COLOURS,
    clock,
    colour_of,
    draw_result,
    envelope_picture,
    heard_words,
    label,
    shortened,
    write,
)
from moca_core.export.overlay import OverlayWriter
from moca_core.export.results import png
from moca_core.export.sheet import ContactSheet
from moca_core.media.video import VideoReader
from moca_core.types import FrameResult, SoundingObject

SIZE = (128, 160)


def result(frame: int, time_s: float, *objects: SoundingObject, **facts) -> FrameResult:
    return FrameResult(frame, time_s, facts.pop("size", SIZE), objects, **facts)


def bell(columns: slice, number: int = 1, size: tuple[int, int] = SIZE) -> SoundingObject:
    mask = np.zeros(size, bool)
    mask[size[0] // 4 : -size[0] // 4, columns] = True
    return SoundingObject(number, "Bell", 0.83, mask)


def results_of(clip: Path) -> list[FrameResult]:
    """A result for every frame: the bell, which goes to the right."""
    with VideoReader(clip) as video:
        info = video.info
        size = (info.height, info.width)
        return [
            result(
                number,
                float(info.times_s[number]),
                bell(slice(number, number + max(1, size[1] // 4)), size=size),
                size=size,
                key=number % 10 == 0,
                window_s=(max(0.0, float(info.times_s[number]) - 1), 2.0),
            )
            for number in range(info.frame_count)
        ]


def frames_of(path: Path) -> list[tuple[float, np.ndarray]]:
    with closing(av.open(str(path))) as video:
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in video.decode(video=0)]


def sound_of(path: Path) -> np.ndarray:
    """(n,) the first channel at 48 kHz."""
    with closing(av.open(str(path))) as video:
        return np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])


def write_overlay(clip: Path, path: Path, results: list[FrameResult], *span) -> Path:
    with OverlayWriter(clip, path, *span) as writer:
        for row in results:
            writer.add(row)
        writer.finish()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    spec = ClipSpec(size=(640, 480), frames=40, fps=20, audio="aac", audio_stop_ms=2000)
    return make_clip(tmp_path_factory.mktemp("export") / "clip.mp4", spec)


@pytest.fixture(scope="module")
def overlay(clip) -> Path:
    return write_overlay(clip, clip.with_name("overlay.mp4"), results_of(clip))


def test_every_frame_is_there_at_its_time_with_its_picture(overlay):
    frames = frames_of(overlay)
    assert len(frames) == 40
    for number, (time_s, picture) in enumerate(frames):
        assert time_s == pytest.approx(number / 20, abs=1e-3)
        # Masks tint the fields of the number, which stay dark or light.
        assert read_number(picture[:480]) == number


def test_the_mask_lies_where_the_object_is(clip, overlay):
    with VideoReader(clip) as video:
        plain = video.frame(20).astype(int)
    change = np.abs(frames_of(overlay)[20][1][:480].astype(int) - plain).sum(axis=2)
    inside = change[130:350, 40:160]
    outside = change[130:350, 220:]
    assert np.median(inside) > 40
    assert np.median(outside) < 20


def test_the_play_head_moves_over_the_waveform(overlay):
    frames = frames_of(overlay)
    places = []
    for _, picture in (frames[4], frames[20], frames[36]):
        strip = picture[-20:].astype(int)
        orange = (strip[..., 0] - strip[..., 2] > 90).mean(axis=0)  # (width,)
        places.append(int(np.median(np.flatnonzero(orange > 0.5))))
    assert places == pytest.approx([64, 320, 576], abs=4)


def test_the_sound_is_kept_in_step(clip, overlay):
    # Clicks on every half second of the clip's clock.
    sound = np.abs(sound_of(overlay))
    assert len(sound) / 48000 == pytest.approx(2.0, abs=0.05)
    for moment in (0.5, 1.0, 1.5):
        place = int(moment * 48000)
        around = sound[place - 2400 : place + 2400]
        assert abs(int(around.argmax()) - 2400) < 240
        assert around.max() > 0.5


def test_a_part_begins_with_its_own_sound(clip, tmp_path):
    part = [row for row in results_of(clip) if row.time_s >= 0.75]
    path = write_overlay(clip, tmp_path / "part.mp4", part, 0.75, 2.0)
    frames = frames_of(path)
    assert len(frames) == 25
    assert frames[0][0] == pytest.approx(0.0, abs=1e-3)
    assert read_number(frames[0][1][:480]) == 15
    sound = np.abs(sound_of(path))
    click = int(sound[: 48000 // 2].argmax()) / 48000
    assert click == pytest.approx(0.25, abs=0.005)


def test_frames_keep_uneven_times(tmp_path):
    times = (0, 40, 300, 340, 1000)
    clip = make_clip(tmp_path / "uneven.mkv", ClipSpec(size=(320, 240), frames=5, times_ms=times))
    path = write_overlay(clip, tmp_path / "o.mp4", results_of(clip))
    assert [time_s for time_s, _ in frames_of(path)] == pytest.approx(
        [ms / 1000 for ms in times], abs=2e-3
    )


@pytest.mark.parametrize(("size", "shown"), [((1, 1), 320), ((61, 43), 320), ((2000, 20), 1920)])
def test_small_odd_and_wide_pictures(size, shown, tmp_path):
    spec = ClipSpec(codec="ffv1", pix_fmt="yuv444p", size=size, frames=3)
    clip = make_clip(tmp_path / "clip.mkv", spec)
    (_, picture), *_ = frames_of(write_overlay(clip, tmp_path / "o.mp4", results_of(clip)))
    assert picture.shape[1] == shown
    assert picture.shape[0] % 2 == 0


def test_a_clip_without_sound_has_a_video_without_sound(tmp_path):
    clip = make_clip(tmp_path / "mute.mp4", ClipSpec(frames=5))
    path = write_overlay(clip, tmp_path / "o.mp4", results_of(clip))
    with closing(av.open(str(path))) as video:
        assert not video.streams.audio


def test_what_is_not_finished_leaves_nothing(clip, tmp_path):
    rows = results_of(clip)
    with OverlayWriter(clip, tmp_path / "o.mp4") as writer:
        writer.add(rows[0])
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_video_stays_until_the_new_one_is_whole(clip, tmp_path):
    (tmp_path / "o.mp4").write_bytes(b"earlier")
    with OverlayWriter(clip, tmp_path / "o.mp4") as writer:
        writer.add(results_of(clip)[0])
    assert (tmp_path / "o.mp4").read_bytes() == b"earlier"


def test_a_full_disk_is_a_storage_error(clip, monkeypatch, tmp_path):
    rows = results_of(clip)
    with OverlayWriter(clip, tmp_path / "o.mp4") as writer:
        writer.add(rows[0])

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(StorageError, match="the video can't be written"):
            writer.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_is_really_full(clip, tmp_path):
    (tmp_path / ".o.mp4.part").symlink_to("/dev/full")
    with (
        pytest.raises(StorageError, match="No space left on device"),
        OverlayWriter(clip, tmp_path / "o.mp4") as writer,
    ):
        for row in results_of(clip):
            writer.add(row)
        writer.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [{0}, {7, 8}])
def test_frames_that_cannot_be_decoded_are_left_out(clip, monkeypatch, tmp_path, bad):
    """Silent frames have results though nobody decoded them."""
    rows, whole = results_of(clip), VideoReader.frame

    def frame(self, index):
        if index in bad:
            raise MediaError(f"frame {index} can't be decoded")
        return whole(self, index)

    monkeypatch.setattr(VideoReader, "frame", frame)
    path = write_overlay(clip, tmp_path / "o.mp4", rows)
    with av.open(str(path)) as video:
        assert sum(1 for _ in video.decode(video=0)) == len(rows) - len(bad)
    (tmp_path / "o.mp4").unlink()
    with pytest.raises(MediaError, match="can't be decoded"):
        write_overlay(clip, tmp_path / "o.mp4", [rows[number] for number in bad])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(clip, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="the video can't be written"):
        OverlayWriter(clip, tmp_path / "file" / "o.mp4")


def test_a_clip_that_cannot_be_read(tmp_path):
    (tmp_path / "text.mp4").write_text("no clip" * 100)
    with pytest.raises(MediaError):
        OverlayWriter(tmp_path / "text.mp4", tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


def test_an_object_has_a_tint_an_outline_and_a_tag():
    picture = np.full((480, 640, 3), 128, np.uint8)
    item = bell(slice(200, 400), number=2, size=(480, 640))
    draw_result(picture, result(0, 0.0, item, size=(480, 640)))
    colour = np.array(colour_of(2), float)
    assert np.allclose(picture[240, 300], 128 * 0.55 + colour * 0.45, atol=2)
    edge = picture[240, 194:207].astype(float)
    assert np.abs(edge - colour).sum(axis=1).min() < 30
    # The tag stands above the mask and begins at its left side, in the object's colour.
    assert (picture[108:112, 202] == OBJECT_COLOURS[1]).all()
    assert (picture[:80] == 128).all()
    assert (picture[:, 500:] == 128).all()


@pytest.mark.parametrize("place", [slice(0, 4), slice(150, 160)])
def test_a_tag_stays_inside_the_picture(place):
    picture = np.full((*SIZE, 3), 128, np.uint8)
    item = SoundingObject(1, "Bell", 0.83, np.zeros(SIZE, bool))
    item.mask[:3, place] = True
    draw_result(picture, result(0, 0.0, item))
    tag = label("1 Bell 0.83", 12, colour_of(1))
    changed = (picture != 128).any(axis=2)
    assert changed.sum() > 0.9 * tag.shape[0] * tag.shape[1]


def test_an_empty_mask_draws_nothing():
    picture = np.full((*SIZE, 3), 128, np.uint8)
    draw_result(picture, result(0, 0.0, SoundingObject(1, "Bell", 0.5, np.zeros(SIZE, bool))))
    assert (picture == 128).all()


def test_words_are_visible_and_cut_to_their_place():
    ink = write("Bell", 20, (255, 255, 255))
    assert ink.shape[0] == 26
    assert 0.05 < (ink[..., 3] > 128).mean() < 0.6
    words = "hears Bell, Wind, Something else"
    cut = shortened(words, 15, 100)
    assert cut.endswith("...")
    assert words.startswith(cut.removesuffix("..."))
    assert write(cut, 15, (0, 0, 0)).shape[1] <= 100
    assert shortened(words, 15, 1000) == words
    assert shortened(words, 15, 3) == ""


@pytest.mark.parametrize(
    ("time_s", "words"),
    [(0.0, "0:00.00"), (4.567, "0:04.57"), (59.999, "1:00.00"), (600, "10:00.00")],
)
def test_clock(time_s, words):
    assert clock(time_s) == words


def test_the_line_of_a_frame():
    assert heard_words(result(0, 0.0, reason="silent")) == "silent"
    heard = (("Bell", 0.5), ("Wind", 0.3), ("Dog", 0.1), ("Cat", 0.1))
    assert heard_words(result(0, 0.0, heard=heard)) == "hears Bell, Wind, Dog"
    assert heard_words(result(0, 0.0, reason="no sounding object", heard=heard[:1])) == (
        "no sounding object; hears Bell"
    )


def test_a_waveform_is_as_high_as_it_is_loud():
    picture = envelope_picture([-1, -0.5, 0], [1, 0.5, 0], 41, (255, 255, 255))
    heights = (picture[..., 0] == 255).sum(axis=0)
    assert list(heights) == [41, 21, 1]
    quiet = envelope_picture([-0.001], [0.001], 41, (255, 255, 255))
    assert (quiet[..., 0] == 255).sum() <= 3  # noise isn't blown up


def test_the_sheet_shows_every_key_frame(tmp_path):
    sheet = ContactSheet("clip.mp4")
    for number in range(6):
        rgb = np.full((240, 320, 3), 30 * number + 40, np.uint8)
        sheet.add(rgb, result(number, float(number), size=(240, 320), reason="silent"))
    picture = sheet.picture()
    assert picture.shape[1] == 4 * 410 + 10
    # The middle of each cell has that frame's grey.
    greys = [picture[150 + 354 * (place // 4), 210 + 410 * (place % 4), 0] for place in range(6)]
    assert greys == pytest.approx([30 * number + 40 for number in range(6)], abs=1)
    sheet.save(tmp_path / "sheet.png")
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == picture.shape


def test_a_long_clip_keeps_an_even_choice_of_cells():
    sheet = ContactSheet("long.mp4")
    for number in range(500):
        rgb = np.full((4, 8, 3), number % 256, np.uint8)
        sheet.add(rgb, result(number, float(number), size=(4, 8)))
    assert 24 <= len(sheet._cells) <= 48
    greys = [int(cell[0, 200, 0]) for cell in sheet._cells]
    steps = {(b - a) % 256 for a, b in pairwise(greys)}
    assert len(steps) == 1


def test_a_mask_as_png():
    mask = np.zeros((3, 5), bool)
    mask[1, 2] = True
    back = cv2.imdecode(np.frombuffer(png(mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(back, mask * np.uint8(255))


def test_rates_that_are_fractions_are_kept(tmp_path):
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec(frames=12, fps=24))
    path = write_overlay(clip, tmp_path / "o.mp4", results_of(clip))
    with closing(av.open(str(path))) as video:
        assert video.streams.video[0].average_rate == pytest.approx(Fraction(24), rel=0.01)
