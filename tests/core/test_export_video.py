"""Videos of results: every frame at its time, with its mask, and the clip's sound."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from core.cli_fakes import LeftHalf, fake_segmenter
from core.export_fakes import (
    COUNT,
    FPS,
    KEYS,
    SIZE,
    exported,
    footage,
    iou,
    only,
    result,
    ring,
    write_results,
)
from data.make_clips import ClipSpec, make_clip, read_number

from moca_core.cli import DONE, main
from moca_core.commands import method
from moca_core.errors import MediaError
from moca_core.export.exporter import ExportSettings
from moca_core.export.following import ends, every_frame
from moca_core.export.results import ResultsWriter
from moca_core.media.video import VideoReader
from moca_core.types import FrameResult, SoundingObject

ALPHA = ExportSettings(alpha=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def results(clip, tmp_path_factory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "farm", clip)


def frames_of(results: Path) -> dict[int, FrameResult]:
    found = only(results)
    with found.video() as video:
        return {frame.frame: frame for frame in every_frame(found, video)}


def pictures(path: Path, form: str = "rgb24") -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as video:
        return [(frame.time, frame.to_ndarray(format=form)) for frame in video.decode(video=0)]


def sound(path: Path) -> np.ndarray:
    """(n,) the first channel at 48 kHz."""
    with av.open(str(path)) as video:
        return np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])


def test_frames_between_are_those_that_segment_finds(tmp_path, monkeypatch):
    """The flow and the nearer key frame are the same, and the sound doesn't change here."""
    spec = ClipSpec(frames=40, fps=10, audio="aac", audio_stop_ms=4000)
    clip = make_clip(tmp_path / "bell.mp4", spec)
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(LeftHalf()))
    for out, extra in (("keys", ()), ("all", ("--frames", "all"))):
        words = ["segment", str(clip), "--out", str(tmp_path / out), "--quiet", *extra]
        assert main(words) == DONE
    whole = only(tmp_path / "all")
    for results in ("keys", "all"):
        found = frames_of(tmp_path / results)
        assert list(found) == list(range(40))
        for number, frame in found.items():
            np.testing.assert_array_equal(frame.union, whole.union(number))
            assert {item.name for item in frame.objects} <= {"Bell"}
            assert frame.key == (number in whole.rows)
            assert frame.time_s == pytest.approx(number / 10)
            assert frame.window_s[0] == pytest.approx(min(max(number / 10 - 1, 0), 2), abs=0.05)


def test_objects_move_with_the_picture(results, monkeypatch):
    """The picture goes two pixels to the right each frame."""
    wide = np.random.default_rng(0).integers(0, 255, (16, 40), np.uint8)
    wide = np.kron(wide, np.ones((8, 8), np.uint8))  # coarse texture

    def frame(self, index):
        left = 118 - 2 * index
        return np.dstack([wide[:, left : left + SIZE[1]]] * 3)

    monkeypatch.setattr(VideoReader, "frame", frame)
    found = frames_of(results)
    for number, key in ((4, 0), (7, 10)):
        truth = np.roll(ring(), 2 * (number - key), axis=1)
        inner = slice(20, 120)  # what comes in at the border was never seen
        (dog,) = found[number].objects
        assert iou(dog.mask[:, inner], truth[:, inner]) > 0.85
        assert (dog.number, dog.name, dog.score) == (1, "Dog", 0.75)


def test_masks_on_disk_say_what_sounds(clip, tmp_path):
    """What no object has come to is shown without a name."""
    found = frames_of(write_results(tmp_path / "farm", clip, frames="all"))
    assert list(found) == list(range(COUNT))
    for number, frame in found.items():
        np.testing.assert_array_equal(frame.union, result(number // 10 * 10).union)
    assert found[38].objects == ()
    assert {item.name for item in found[17].objects} <= {"Dog", "Bell or gong", "sounding"}
    assert [item.name for item in found[28].objects] == ["sounding"]  # nearer to the silent one


@pytest.mark.parametrize(
    ("request_", "last"),
    [({"end_s": 2.5}, 25), ({"frames": [0, 10, 20, 30, 40, 50]}, 50), ({"every_s": "?"}, 50)],
)
def test_the_part_that_was_asked_for(clip, tmp_path, request_, last):
    results = write_results(tmp_path / "farm", clip, **request_)
    if "end_s" in request_:
        path = results / "objects.json"
        path.write_text(json.dumps({"frames": json.loads(path.read_text())["frames"][:3]}))
        for mask in (results / "masks").glob("*.png"):
            if int(mask.stem[-6:]) > 25:
                mask.unlink()
    found = frames_of(results)
    clip_results = only(results)
    with clip_results.video() as video:
        assert ends(clip_results, video) == (0, last) == (min(found), max(found))
    assert len(found) == (26 if "end_s" in request_ else len(KEYS))


def test_a_run_that_was_stopped_ends_at_its_last_key_frame(clip, tmp_path):
    results = write_results(tmp_path / "farm", clip)
    path = results / "objects.json"
    path.write_text(json.dumps({"frames": json.loads(path.read_text())["frames"][:3]}))
    summary = json.loads((results / "summary.json").read_text())
    (results / "summary.json").write_text(json.dumps(summary | {"complete": False}))
    for mask in (results / "masks").glob("*.png"):
        if int(mask.stem[-6:]) > 20:
            mask.unlink()
    assert list(frames_of(results)) == list(range(21))


def test_the_overlay_has_every_frame_at_its_time_with_its_sound(results, tmp_path):
    exported("video", results, tmp_path / "out")
    path = tmp_path / "out" / "farm_overlay.mp4"
    found = pictures(path)
    assert [time for time, _ in found] == pytest.approx(np.arange(COUNT) / FPS, abs=1e-3)
    assert read_number(found[35][1][:256]) == 35  # silent: no words over the number
    assert len(sound(path)) / 48000 == pytest.approx(COUNT / FPS, abs=0.05)


def test_the_matte_is_the_mask(results, clip, tmp_path):
    exported("matte", results, tmp_path / "out")
    path = tmp_path / "out" / "farm_matte.mp4"
    found = pictures(path)
    assert [time for time, _ in found] == pytest.approx(np.arange(COUNT) / FPS, abs=1e-3)
    for number in (0, 20, 50):
        assert iou(found[number][1][..., 0] > 127, result(number).union) > 0.98
        assert (found[number][1][..., 0] == found[number][1][..., 2]).mean() > 0.9
    assert found[30][1].max() < 20
    assert_same_sound(path, clip)


def assert_same_sound(path: Path, clip: Path) -> None:
    """Clicks stand on every half second of the clip's clock."""
    wave = np.abs(sound(path))
    for moment in (0.5, 1.5, 4.5):
        place = int(moment * 48000)
        around = wave[place - 2400 : place + 2400]
        assert abs(int(around.argmax()) - 2400) < 240
        assert around.max() > 0.5


def test_the_cut_out_has_the_mask_as_its_alpha(results, clip, tmp_path):
    exported("matte", results, tmp_path / "out", ALPHA)
    path = tmp_path / "out" / "farm_matte.mov"
    found = pictures(path, "rgba")
    assert [time for time, _ in found] == pytest.approx(np.arange(COUNT) / FPS, abs=1e-3)
    with VideoReader(clip) as video:
        for number in (0, 20, 30, 50):
            picture = found[number][1]
            np.testing.assert_array_equal(picture[..., 3] > 127, result(number).union)
            assert set(np.unique(picture[..., 3])) <= {0, 255}
            assert np.abs(picture[..., :3].astype(int) - video.frame(number)).mean() < 6
    assert_same_sound(path, clip)


@pytest.mark.parametrize("settings", [ExportSettings(), ALPHA], ids=["plain", "alpha"])
def test_odd_sizes_and_no_sound(tmp_path, settings):
    spec = ClipSpec(codec="ffv1", pix_fmt="yuv444p", size=(61, 43), frames=3, fps=10)
    clip = make_clip(tmp_path / "odd.mkv", spec)
    mask = np.zeros((43, 61), bool)
    mask[20:, 30:] = True
    results = tmp_path / "odd"
    write_odd(results, clip, mask)
    exported("matte", results, tmp_path / "out", settings)
    (path,) = (tmp_path / "out").glob("odd*")
    with av.open(str(path)) as video:
        assert not video.streams.audio
    picture = pictures(path, "rgba" if settings.alpha else "rgb24")[0][1]
    shown = picture[:43, :61, 3 if settings.alpha else 0] > 127
    assert iou(shown, mask) > 0.98
    assert picture.shape[:2] == ((43, 61) if settings.alpha else (44, 62))


def write_odd(folder: Path, clip: Path, mask: np.ndarray) -> None:
    writer = ResultsWriter(folder)
    for number in range(3):
        item = SoundingObject(1, "Dog", 0.5, mask)
        writer.add(FrameResult(number, number / 10, mask.shape, (item,)))
    request = {"frames": "keys", "every_s": 0.1, "start_s": None, "end_s": None}
    writer.finish({"clip": str(clip), "complete": True, "request": request})


def test_a_frame_that_cannot_be_decoded_is_shown_as_the_one_before(results, tmp_path, monkeypatch):
    whole = VideoReader.frame

    def frame(self, index):
        if index == 33:
            raise MediaError("frame 33 can't be decoded")
        return whole(self, index)

    monkeypatch.setattr(VideoReader, "frame", frame)
    notes = exported("matte", results, tmp_path / "out", ALPHA)
    assert notes == ["farm: frames that can't be decoded are left out: 33"]
    assert len(pictures(tmp_path / "out" / "farm_matte.mov", "rgba")) == COUNT - 1


def test_a_key_frame_without_a_result_leaves_its_frames_without_objects(clip, tmp_path):
    """As where it couldn't be decoded."""
    results = write_results(tmp_path / "farm", clip)
    path = results / "objects.json"
    rows = json.loads(path.read_text())["frames"]
    path.write_text(json.dumps({"frames": [row for row in rows if row["frame"] != 20]}))
    (results / "masks" / "frame_000020.png").unlink()
    found = frames_of(results)
    assert list(found) == [number for number in range(COUNT) if number != 20]
    assert all(not found[number].objects for number in (*range(16, 20), *range(21, 26)))
    assert found[10].objects
