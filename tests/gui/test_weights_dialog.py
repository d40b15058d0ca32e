"""The weights window: shown by a run that lacks a file; fetch, cancel, resume, failure."""

from __future__ import annotations

import threading

import pytest
from gui_fakes import FakeWeights
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog

from moca_core.errors import WeightsError
from moca_gui.dialogs.weights import WeightsDialog
from moca_gui.weights import ManagedWeights

LACKING = "yamnet.tflite"


@pytest.fixture
def weights(services):
    services["weights"] = FakeWeights(missing=True)
    return services["weights"]


@pytest.fixture
def dialog(weights, make_window, open_clip, qtbot):
    """The window that a run brings up."""
    window = make_window()
    open_clip(window)
    window.runner.run_clip()
    return window.findChild(WeightsDialog)


def cells(dialog):
    table = dialog.table
    return [[table.item(r, c).text() for c in range(5)] for r in range(table.rowCount())]


def test_a_run_without_weights_asks_and_then_goes_on(dialog, qtbot):
    window = dialog.parent()
    assert window.runner.job is None
    assert cells(dialog) == [
        ["Tokens", "first.onnx", "4.0 MB", "MIT", "official, verified"],
        ["Mask proposals", "second.pt", "40.7 MB", "Apache-2.0", "missing"],
    ]
    assert "40.7 MB" in dialog.summary.text()
    qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(window.session.results) == 50, timeout=5000)


def test_cancel_and_resume(dialog, weights, qtbot):
    weights.gate = threading.Event()
    qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
    assert dialog.progress.isVisible()
    assert not dialog.fetch_button.isVisible()
    qtbot.mouseClick(dialog.cancel_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dialog.fetch_button.isVisible, timeout=1000)
    assert "Cancelled" in dialog.message.text()
    weights.gate.set()
    with qtbot.waitSignal(dialog.completed, timeout=3000):
        qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)


def test_a_failed_fetch_says_why(dialog, weights, qtbot):
    weights.error = WeightsError("second.pt: no source answers", "Use a file you have.")
    qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(dialog.fetch_button.isVisible, timeout=2000)
    assert dialog.message.text() == "second.pt: no source answers\nUse a file you have."


def test_closing_stops_the_fetch(dialog, weights, qtbot):
    window = dialog.parent()
    weights.gate = threading.Event()
    qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
    dialog.reject()
    qtbot.waitUntil(lambda: "weights" not in window.pool.titles, timeout=2000)
    assert window.runner.job is None


def test_a_file_that_the_user_has_is_used(dialog, qtbot, tmp_path, monkeypatch):
    wrong, right = tmp_path / "wrong.pt", tmp_path / "right.pt"
    wrong.write_text("something else")
    right.write_text("second.pt")
    dialog.use_file(wrong)
    qtbot.waitUntil(dialog.file_button.isEnabled, timeout=2000)
    assert "isn't an official file" in dialog.own.text.text()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (str(right), ""))
    with qtbot.waitSignal(dialog.completed, timeout=3000):
        qtbot.mouseClick(dialog.file_button, Qt.MouseButton.LeftButton)


@pytest.fixture
def lacking(tmp_path, weights_dir, monkeypatch):
    """The real weights manager on a folder that lacks one small file."""
    folder = tmp_path / "cache" / "weights"
    folder.mkdir(parents=True)
    for path in weights_dir.iterdir():
        if path.is_file() and path.name != LACKING:
            (folder / path.name).symlink_to(path)
    monkeypatch.setenv("MOCA_CACHE_DIR", str(folder.parent))
    return folder


@pytest.mark.weights
def test_the_real_rows_say_what_is_missing(lacking, weights_dir):
    rows = ManagedWeights().rows("compact")
    assert [row.name for row in rows if not row.present] == [LACKING]
    assert {row.state for row in rows} == {"ready", "missing"}
    assert all(row.role and row.licence and row.size_bytes for row in rows)
    (lacking / LACKING).write_bytes(b"too short")
    assert {row.state for row in ManagedWeights().rows("compact")} == {"ready", "damaged"}
    (lacking / LACKING).unlink()
    list(ManagedWeights().take(weights_dir / LACKING))
    assert all(row.present for row in ManagedWeights().rows("compact"))


@pytest.mark.weights
def test_a_real_fetch_without_a_network_says_what_to_do(
    lacking, services, make_window, qtbot, monkeypatch
):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    services["weights"] = ManagedWeights()
    window = make_window()
    dialog = window.dialogs.show_weights()
    qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "weights" not in window.pool.titles, timeout=60000)
    words = dialog.message.text()
    assert f"{LACKING} can't be fetched" in words
    assert "isn't reached" in words
    assert "moca weights import" in words
    assert dialog.fetch_button.isVisible()
