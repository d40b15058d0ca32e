"""The weights window: shown by a run that lacks a file; fetch, cancel, resume, failure."""

from __future__ import annotations

import threading

import pytest
from gui_fakes import FakeWeights
from PySide6.QtCore import Qt

from moca_core.errors import WeightsError
from moca_gui.dialogs.weights import WeightsDialog


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
    return [[table.item(r, c).text() for c in range(4)] for r in range(table.rowCount())]


def test_a_run_without_weights_asks_and_then_goes_on(dialog, qtbot):
    window = dialog.parent()
    assert window.runner.job is None
    assert cells(dialog) == [
        ["first.onnx", "4.0 MB", "MIT", "here"],
        ["second.pt", "40.7 MB", "Apache-2.0", "missing"],
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
