"""A mask followed through a real file, in the real window."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import Qt

from moca_core.annotations.edits import put_mask
from moca_core.annotations.model import FOLLOWED, PackedObject

COUNT, SIZE, SIDE = 40, (180, 320), 72


def place(frame: int) -> tuple[int, int]:
    """Left and upper edge of the square in a frame."""
    return 20 + 4 * frame, 30 + frame


def square(frame: int) -> np.ndarray:
    """(H, W) bool."""
    mask = np.zeros(SIZE, bool)
    left, top = place(frame)
    mask[top : top + SIDE, left : left + SIDE] = True
    return mask


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A square of grey blocks that moves over a darker ground; a key frame every 12th."""
    rng = np.random.default_rng(0)
    blocks = np.ones((8, 8), np.uint8)
    ground = np.kron(rng.integers(30, 50, (23, 40), np.uint8), blocks)[: SIZE[0]]
    tile = np.kron(rng.integers(90, 220, (SIDE // 8, SIDE // 8), np.uint8), blocks)
    path = tmp_path / "square.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=20, options={"g": "12", "qscale": "2"})
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        for frame in range(COUNT):
            picture = ground.copy()
            picture[square(frame)] = tile.ravel()
            rgb = np.repeat(picture[..., None], 3, axis=2)
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(video.encode())
    return path


@pytest.fixture
def window(
    qtbot: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The real window with the clip."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    from moca_gui.main_window import MainWindow

    window = MainWindow()
    qtbot.addWidget(window)
    window.show()
    with qtbot.waitSignal(window.opened, timeout=30_000):
        window.open_path(clip)
    yield window
    window.shut_down()


def test_a_drawn_mask_follows_its_object_both_ways(window, qtbot):
    session = window.session
    window.player.seek(15)
    qtbot.waitUntil(lambda: session.frame == 15, timeout=10_000)
    blank = session.shown_or_blank(15)
    new = PackedObject(1, "Square", 1.0, (0, 0, 0, 0), b"")
    session.apply(put_mask(blank, new, square(15), "draw 1"))
    for key in (Qt.Key.Key_F, Qt.Key.Key_B):
        qtbot.keyClick(window, key, Qt.KeyboardModifier.ShiftModifier)
        qtbot.waitUntil(lambda: window.edit_work.job is None, timeout=60_000)
    assert sorted(session.labels.frames) == list(range(COUNT))
    for frame in (0, 7, 25, COUNT - 1):
        (item,) = session.shown(frame).objects
        assert item.origin == FOLLOWED
        found = item.mask(SIZE)
        assert (found & square(frame)).sum() / (found | square(frame)).sum() > 0.8
    assert session.labels.undo_title == "follow 1 backward"
