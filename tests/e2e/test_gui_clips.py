"""The window on real files: written here, or of the development data."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtGui import QColor

from moca_core.media.video import VideoReader

COUNT, RATE = 30, 15
NO_SOUND = "no audio device"


def level(index: int) -> int:
    """The grey level that numbers a frame."""
    return 20 + 7 * index


def write_clip(path: Path, *, audio: bool = True) -> Path:
    """A clip of `COUNT` frames whose grey level is their number, with a tone of one second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=RATE, options={"g": "12", "qscale": "2"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=16000, layout="mono") if audio else None
        for index in range(COUNT):
            picture = np.full((64, 96, 3), level(index), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if sound is not None:
            tone = np.sin(np.arange(32000) * 0.2).astype(np.float32)[None] * 0.5
            block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            block.rate = 16000
            container.mux(sound.encode(block))
            container.mux(sound.encode())
    return path


@pytest.fixture
def window(qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The real window, with everything real but the sound device."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    from moca_gui.clocks import AudioUnavailableError
    from moca_gui.main_window import MainWindow, Services

    def no_device(clip: Any, run: Any) -> Any:
        raise AudioUnavailableError(NO_SOUND)

    made = MainWindow(Services(audio_factory=no_device))
    qtbot.addWidget(made)
    made.show()
    yield made
    made.shut_down()


@pytest.fixture
def open_in(qtbot: Any) -> Callable[[Any, Path], None]:
    def do(window: Any, path: Path) -> None:
        with qtbot.waitSignal(window.opened, timeout=20000):
            window.open_path(path)
        qtbot.waitUntil(lambda: window.session.image is not None, timeout=5000)

    return do


def shown_frame(window: Any) -> int:
    """The number that the grey level on screen spells."""
    grey = QColor(window.session.image.pixel(40, 30)).green()
    return round((grey - 20) / 7)


def test_frames_shown_are_the_frames_asked_for(window, open_in, qtbot, tmp_path):
    open_in(window, write_clip(tmp_path / "numbers.mp4"))
    for frame in np.random.default_rng(1).integers(0, COUNT, 12).tolist():
        window.player.seek(frame)
        qtbot.waitUntil(lambda frame=frame: window.session.frame == frame, timeout=5000)
        assert shown_frame(window) == frame


def test_playing_shows_rising_frames_that_match_their_number(window, open_in, qtbot, tmp_path):
    open_in(window, write_clip(tmp_path / "numbers.mp4"))
    seen = []
    window.session.frame_changed.connect(
        lambda: seen.append((window.session.frame, shown_frame(window)))
    )
    window.player.play()
    qtbot.waitUntil(lambda: not window.player.playing, timeout=8000)
    qtbot.waitUntil(lambda: window.session.frame == COUNT - 1, timeout=2000)
    assert all(number == spelled for number, spelled in seen)
    numbers = [number for number, _ in seen]
    assert numbers == sorted(numbers)


def test_the_sound_is_painted(window, open_in, qtbot, tmp_path):
    open_in(window, write_clip(tmp_path / "numbers.mp4"))
    qtbot.waitUntil(lambda: "waveform" not in window.pool.titles, timeout=5000)
    assert window.sound.message == ""
    low, high = window.sound.envelope(0.2, 1.8, 100)
    assert low.shape == high.shape == (100,)
    assert np.median(high) == pytest.approx(0.5, abs=0.12)
    assert np.median(low) == pytest.approx(-0.5, abs=0.12)
    (overview,) = window.sound.spectrum(0.0, 2.0)
    assert (overview.start_s, overview.stop_s) == (0.0, pytest.approx(2.0, abs=0.2))
    # The tone is 0.2 rad a sample at 16 kHz: 509 Hz, a fifth of the way up to 8 kHz in mel.
    loudest = int(np.argmax(overview.levels.astype(float).mean(axis=1)))
    assert loudest / len(overview.levels) == pytest.approx(0.2, abs=0.04)
    assert overview.levels[-8:].mean() < 60
    window.timeline.axis.set_view(0.5, 0.9)
    window.timeline.spectrogram.repaint()
    qtbot.waitUntil(lambda: len(window.sound.spectrum(0.5, 0.9)) == 2, timeout=5000)
    detail = window.sound.spectrum(0.5, 0.9)[1]
    assert (detail.start_s, detail.stop_s) == (0.5, 0.9)
    assert int(np.argmax(detail.levels.astype(float).mean(axis=1))) == loudest


def write_bad(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.mp4"
    if kind == "zero":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "folder":
        path.mkdir()
    elif kind == "audio":
        path = path.with_suffix(".wav")
        with wave.open(str(path), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(bytes(16000))
    return path  # `missing`: nothing there


@pytest.mark.parametrize("kind", ["zero", "text", "folder", "audio", "missing"])
def test_what_cant_be_opened_is_said_and_the_clip_stays(window, open_in, qtbot, tmp_path, kind):
    from moca_gui.dialogs.errors import ErrorDialog

    open_in(window, write_clip(tmp_path / "good.mp4", audio=False))
    assert window.status.sound.full_text == "No audio track"
    bad = write_bad(kind, tmp_path)
    with qtbot.waitSignal(window.open_failed, timeout=10000):
        window.open_path(bad)
    dialog = window.findChild(ErrorDialog)
    assert bad.name in dialog.message.text()
    assert dialog.hint.text()
    dialog.accept()
    assert window.session.clip.path.name == "good.mp4"
    window.player.seek(4)
    qtbot.waitUntil(lambda: window.session.frame == 4, timeout=5000)
    assert shown_frame(window) == 4


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "dog_barking_vgg.mp4",
        "test_mpeg4_mp3.avi",
        "no_duration_vp9_opus.webm",
        "rotated90_no_audio.mov",
        "corrupted.mp4",
        "bbb_5.1ch.mp4",
    ],
)
def test_real_clips_open_and_show_their_frames(window, open_in, qtbot, dev_data, name):
    path = dev_data / "clips" / name
    open_in(window, path)
    count = window.session.clip.frame_count
    with VideoReader(path) as reader:
        for frame in {0, count // 2, count - 1}:
            window.player.seek(frame)
            qtbot.waitUntil(lambda frame=frame: window.session.frame == frame, timeout=20000)
            truth = reader.frame(frame)
            assert (window.session.image.height(), window.session.image.width()) == truth.shape[:2]
            colour = QColor(window.session.image.pixel(7, 5)).getRgb()[:3]
            assert colour == tuple(truth[5, 7].tolist())
