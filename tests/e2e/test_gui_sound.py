"""Picture and sound on one clock: the real decoder, a sound card that the test turns by hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtGui import QColor

RATE = 48000
FLASH_FRAME, FPS = 15, 15  # the flash and the beep come at exactly one second


class Card:
    """Stands in for `sounddevice.OutputStream`."""

    made: list[Card] = []

    def __init__(self, *, callback: Any, samplerate: int, **_options: Any) -> None:
        self.callback, self.rate, self.latency = callback, samplerate, 0.01
        self.heard = np.empty((0, 2), np.float32)
        Card.made.append(self)

    def start(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...

    def pull(self, count: int) -> None:
        out = np.empty((count, 2), np.float32)
        when = SimpleNamespace(currentTime=0.0, outputBufferDacTime=1e-7)
        self.callback(out, count, when, None)
        self.heard = np.concatenate([self.heard, out])


def write_flash(path: Path) -> Path:
    """Two seconds: black and silent, then white with a tone; uncompressed sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS, options={"qscale": "2"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for index in range(2 * FPS):
            picture = np.full((48, 64, 3), 255 * (index >= FLASH_FRAME), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        tone = np.zeros((1, 2 * RATE), np.int16)
        tone[0, RATE:] = 12000
        for start in range(0, 2 * RATE, 4800):
            block = np.ascontiguousarray(tone[:, start : start + 4800])
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.rate, frame.pts = RATE, start
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> type[Card]:
    """The sound card in place of the machine's."""
    Card.made.clear()
    fake = SimpleNamespace(
        OutputStream=Card, query_devices=lambda kind: {"default_samplerate": float(RATE)}
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    return Card


def test_the_flash_is_seen_when_the_beep_is_heard(
    card: type[Card], qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    from moca_gui.main_window import MainWindow

    window = MainWindow()
    qtbot.addWidget(window)
    window.show()
    try:
        with qtbot.waitSignal(window.opened, timeout=10000):
            window.open_path(write_flash(tmp_path / "flash.mkv"))
        assert window.status.sound.full_text == ""
        window.player.play()
        assert window.player.clock_name == "sound"
        stream = card.made[-1]

        def ready() -> bool:
            return sum(map(len, window.player._audio._queue._blocks)) >= RATE // 4

        for _ in range(3):  # to 0.99 s, in steps that the decoder can follow
            qtbot.waitUntil(ready, timeout=5000)
            stream.pull(RATE // 4)
        qtbot.waitUntil(ready, timeout=5000)
        stream.pull(round(0.24 * RATE))
        qtbot.waitUntil(lambda: window.session.frame == FLASH_FRAME - 1, timeout=5000)
        assert np.abs(stream.heard).max() < 1e-3
        assert QColor(window.session.image.pixel(30, 20)).green() < 30
        stream.pull(round(0.03 * RATE))  # to 1.02 s
        qtbot.waitUntil(lambda: window.session.frame == FLASH_FRAME, timeout=5000)
        assert QColor(window.session.image.pixel(30, 20)).green() > 225
        onset = int(np.argmax(stream.heard[:, 0] > 0.05)) / RATE
        assert onset == pytest.approx(1.0, abs=0.002)
        window.player.pause()
        window.player.seek(3)
        window.player.play()  # the sound begins anew where the picture is
        assert window.player._audio.position_s() == pytest.approx(3 / FPS)
    finally:
        window.shut_down()
