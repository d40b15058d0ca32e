"""The pictures most like one, among a clip's key frames and in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data.make_clips import ClipSpec, make_clip, read_number
from PIL import Image

from moca_core.errors import DatasetError
from moca_core.media.still import open_still
from moca_core.training.neighbours import (
    KEY_FRAMES,
    NeighboursEvent,
    folder_pictures,
    look,
    own_frames,
)
from moca_core.types import StageEvent


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))


def by_colour(rgbs):
    """(B, 3) features of length 1: the mean colour."""
    means = np.stack([rgb.reshape(-1, 3).mean(axis=0) for rgb in rgbs]).astype(np.float32)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def by_number(rgbs):
    """(B, 2) features of length 1: pictures of near numbers are alike."""
    angles = np.array([read_number(rgb) * 0.05 for rgb in rgbs], np.float32)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ended(generator):
    """What a generator returns."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def colour(folder: Path, name: str, rgb: tuple[int, int, int]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), rgb).save(path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Three seconds of numbered pictures, ten a second."""
    return make_clip(tmp_path_factory.mktemp("clips") / "count.mp4", ClipSpec(frames=30, fps=10))


def test_pictures_of_a_folder_by_likeness(tmp_path):
    """Cosines in order, at any depth, without hidden ones; what can't be read is told."""
    folder = tmp_path / "pictures"
    red = colour(folder, "red.png", (250, 0, 0))
    orange = colour(folder, "deep/er/orange.jpg", (250, 120, 0))
    blue = colour(folder, "blue.png", (0, 0, 250))
    colour(folder, ".hidden/red.png", (250, 0, 0))
    (folder / "broken.png").write_text("no picture")
    items = ended(folder_pictures(folder, 1.0))
    query = np.full((4, 4, 3), (250, 10, 0), np.uint8)
    events = list(look(query, [(items, True)], by_colour, "fake", tmp_path / "a.mp4"))
    found = events[-1]
    assert [one.path for one in found.neighbours] == [red, orange, blue]
    likeness = [one.likeness for one in found.neighbours]
    assert likeness[0] == pytest.approx(0.9992, abs=1e-3) and likeness[2] < 0.01
    assert found.done == found.total == 4
    assert len(found.left_out) == 1 and "broken.png" in found.left_out[0]
    assert all(event.total == 4 for event in events if isinstance(event, StageEvent))
    (first,) = list(look(query, [(items, True)], by_colour, "fake", red, 1))[-1].neighbours
    assert first.path == orange  # the picture asked for isn't its own neighbour


def test_own_frames_without_the_frame_itself(clip):
    times = [number / 10 for number in range(0, 30, 5)]
    items = own_frames(clip, times, 1.0)
    assert [item.image_s for item in items] == [0.0, 0.5, 1.5, 2.0, 2.5]
    rgb = open_still(clip, 1.2).rgb
    found = list(look(rgb, [(items, False)], by_number, "fake", clip, 2))[-1]
    assert [one.time_s for one in found.neighbours] == [1.5, 0.5]
    assert found.neighbours[0].likeness == pytest.approx(np.cos(3 * 0.05), abs=1e-3)
    many = own_frames(clip, list(np.arange(5000) / 10), -1.0)
    assert len(many) == KEY_FRAMES and many[0].image_s == 0.0


def test_one_frame_of_each_other_clip(clip, tmp_path):
    """The best one; a clip that is the one asked for doesn't come again."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(clip.read_bytes())
    items = ended(folder_pictures(folder, 1.0))
    assert [item.image_s for item in items] == [0.5, 1.5, 2.5] * 2
    rgb = open_still(clip, 1.6).rgb
    found = list(look(rgb, [(items, True)], by_number, "fake", folder / "b.mp4"))[-1]
    assert [(one.path.name, one.time_s) for one in found.neighbours] == [("a.mp4", 1.5)]


def test_each_set_has_its_share(clip, tmp_path):
    """Frames of the clip itself are nearest, and leave room for the folder's all the same."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip.read_bytes())
    own = own_frames(clip, [0.5, 1.0, 1.5, 2.0], 0.0)
    sets = [(own, False), (ended(folder_pictures(folder, 3.0)), True)]
    rgb = open_still(clip, 0.0).rgb
    found = list(look(rgb, sets, by_number, "fake", clip, 4))[-1]
    assert [(one.path.name, one.time_s) for one in found.neighbours] == [
        ("count.mp4", 0.5),
        ("count.mp4", 1.0),
        ("a.mp4", 1.5),
    ]
    assert found.total == 5


def test_features_are_made_once(tmp_path):
    folder = tmp_path / "pictures"
    for number in range(3):
        colour(folder, f"{number}.png", (number * 60 + 20, 90, 20))
    items = ended(folder_pictures(folder, 1.0))
    asked = []

    def counted(rgbs):
        asked.append(len(rgbs))
        return by_colour(rgbs)

    query = np.full((4, 4, 3), 90, np.uint8)
    results = [list(look(query, [(items, True)], counted, "fake", tmp_path))[-1] for _ in range(2)]
    assert results[0] == results[1]
    assert sum(asked) == 1 + 3 + 1  # the query twice, each picture once


def test_stopping_keeps_what_is_made(tmp_path):
    folder = tmp_path / "pictures"
    for number in range(3):
        colour(folder, f"{number}.png", (number * 60 + 20, 90, 20))
    items = ended(folder_pictures(folder, 1.0))
    query = np.full((4, 4, 3), 90, np.uint8)
    steps = look(query, [(items, True)], by_colour, "fake", tmp_path)
    for _ in range(3):
        next(steps)
    steps.close()
    asked = []

    def counted(rgbs):
        asked.append(len(rgbs))
        return by_colour(rgbs)

    assert isinstance(
        list(look(query, [(items, True)], counted, "fake", tmp_path))[-1], NeighboursEvent
    )
    assert sum(asked) < 4


def test_a_data_set_shows_its_images_not_its_masks(tmp_path):
    folder = tmp_path / "set"
    for name in ("images/a.png", "images/b.png", "masks/a.png", "masks/b.png"):
        colour(folder, name, (9, 9, 9))
    (folder / "sounds").mkdir()
    (folder / "sounds" / "s.wav").write_bytes(b"")
    rows = ["id,split,subset,category,image,mask,audio"]
    rows += [f"{i},dev,single,dog,images/{i}.png,masks/{i}.png,sounds/s.wav" for i in "ab"]
    rows += ["c,dev,single,dog,images/a.png,masks/a.png,sounds/s.wav"]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    items = ended(folder_pictures(folder, 1.0))
    assert sorted(item.image.name for item in items) == ["a.png", "b.png"]
    assert {item.image.parent.name for item in items} == {"images"}


@pytest.mark.parametrize(("name", "words"), [("empty", "holds neither"), ("gone", "no such")])
def test_a_folder_without_pictures(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=words) as caught:
        ended(folder_pictures(tmp_path / name, 1.0))
    assert caught.value.hint
