"""The weights window: shown by a run that lacks a file; fetch, cancel, resume, failure."""

from __future__ import annotations

import threading

import pytest
from gui_fakes import FakeWeights
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog

from moca_core.errors import WeightsError
from moca_core.models import licences
from moca_core.models.registry import BUNDLES, bundle_row
from moca_gui.dialogs.errors import ErrorDialog
from moca_gui.dialogs.terms import TermsDialog
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


def test_a_failed_fetch_names_the_buttons_and_no_command(dialog, weights, qtbot):
    weights.error = WeightsError("second.pt: no source", "Run `moca weights get` again.")
    qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "no source" in dialog.message.text(), timeout=3000)
    assert "Fetch gets it" in dialog.message.text()
    assert "`" not in dialog.message.text()


def test_an_error_that_weights_remedy_names_their_button_and_no_command(window):
    error = WeightsError("second.pt: not there", "Run `moca weights get`.")
    window.dialogs.show_error("Can't run", error)
    hint = window.findChild(ErrorDialog).hint.text()
    assert hint.startswith("Press Weights")
    assert "`" not in hint


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
    assert "Use a file I have" in words
    assert dialog.fetch_button.isVisible()


@pytest.fixture
def huge(services, make_window):
    """The window as it is opened from the menu, with the large bundle's files missing."""
    services["weights"] = FakeWeights("huge.pth", "sam_b.pth", "sam_h.pth")
    window = make_window()
    dialog = window.dialogs.show_weights()
    assert dialog.bundle == "compact"
    dialog.bundles.setCurrentIndex(dialog.bundles.findData("imagebind"))
    return dialog


def press(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def idle(dialog):
    return lambda: dialog.bundles.isEnabled()


def test_both_bundles_are_shown_with_sizes_licences_and_states(huge):
    assert [huge.bundles.itemText(i) for i in range(2)] == [row.title for row in BUNDLES]
    assert cells(huge) == [
        ["Joint tokens", "huge.pth", "4.80 GB", "CC BY-NC-SA 4.0", "missing"],
        ["Mask proposals", "sam_b.pth", "375.0 MB", "Apache-2.0", "missing"],
        ["Better proposals", "sam_h.pth", "2.56 GB", "Apache-2.0", "missing, optional"],
    ]
    assert huge.fetch_button.text() == "Fetch 2 files (5.18 GB)"
    assert huge.terms.text() == bundle_row("imagebind").terms
    assert not huge.verify_button.isEnabled()
    huge.bundles.setCurrentIndex(0)
    assert [row[1] for row in cells(huge)] == ["first.onnx", "second.pt"]
    assert not huge.terms.isVisible()
    assert not huge.fetch_button.isVisible()


def test_nothing_is_fetched_before_the_terms_are_accepted(huge, services, qtbot):
    press(qtbot, huge.fetch_button)
    terms = huge.findChild(TermsDialog)
    press(qtbot, terms.later_button)
    assert services["weights"].asked == []
    assert huge.message.text() == "Nothing was fetched."
    press(qtbot, huge.fetch_button)
    (terms,) = (d for d in huge.findChildren(TermsDialog) if d.isVisible())
    press(qtbot, terms.accept_button)
    qtbot.waitUntil(idle(huge), timeout=3000)
    assert services["weights"].asked == [["huge.pth", "sam_b.pth"]]
    assert huge.isVisible()  # nothing waited for them
    assert huge.summary.text().startswith("All files that these encoders need are here.")


def test_an_optional_file_is_fetched_alone(huge, services, qtbot):
    licences.remember("imagebind")
    huge.table.selectRow(2)
    assert huge.fetch_button.text() == "Fetch sam_h.pth (2.56 GB)"
    press(qtbot, huge.fetch_button)
    qtbot.waitUntil(idle(huge), timeout=3000)
    assert services["weights"].asked == [["sam_h.pth"]]
    assert cells(huge)[2][4] == "official, verified"
    assert huge.message.text() == "sam_h.pth: official, verified."


def test_progress_of_a_file_larger_than_a_bar_can_count(huge, services, qtbot):
    licences.remember("imagebind")
    weights = services["weights"]
    weights.fetched = 7
    weights.gate = threading.Event()
    press(qtbot, huge.fetch_button)
    qtbot.waitUntil(lambda: huge.progress.value() == 700, timeout=3000)
    assert huge.message.text() == "huge.pth: 2.85 GB of 4.07 GB"
    press(qtbot, huge.cancel_button)
    qtbot.waitUntil(idle(huge), timeout=1000)
    assert huge.message.text() == "Cancelled. What has come is kept."


def test_a_file_that_is_not_official_is_taken_for_what_it_is(huge, qtbot, tmp_path):
    licences.remember("imagebind")
    path = tmp_path / "sam_b.pth"
    path.write_text("a checkpoint")
    huge.use_file(path)
    qtbot.waitUntil(huge.own.isVisible, timeout=2000)
    assert "isn't an official file" in huge.own.text.text()
    assert huge.own.names.currentText() == "sam_b.pth"
    press(qtbot, huge.own.button)
    qtbot.waitUntil(idle(huge), timeout=2000)
    assert cells(huge)[1][4] == "own file, not official"
    path.write_text("something else")
    huge.use_file(path)
    qtbot.waitUntil(huge.own.isVisible, timeout=2000)
    huge.own.names.setCurrentText("huge.pth")
    press(qtbot, huge.own.button)
    qtbot.waitUntil(huge.own.isVisible, timeout=2000)
    assert huge.message.text().startswith("sam_b.pth: not of this model")
    assert huge.own.names.currentText() == "huge.pth"
    press(qtbot, huge.own.cancel_button)
    assert not huge.own.isVisible()
    assert cells(huge)[0][4] == "missing"


def test_verify_reads_what_is_here_and_can_be_stopped(huge, services, qtbot):
    weights = services["weights"]
    huge.bundles.setCurrentIndex(0)
    press(qtbot, huge.verify_button)
    qtbot.waitUntil(idle(huge), timeout=2000)
    assert huge.message.text() == "The files that are here are what they should be."
    weights.damaged = {"second.pt"}
    press(qtbot, huge.verify_button)
    qtbot.waitUntil(idle(huge), timeout=2000)
    assert huge.message.text().startswith("Damaged: second.pt.")
    assert huge.fetch_button.text() == "Fetch second.pt (40.7 MB)"
    weights.gate = threading.Event()
    press(qtbot, huge.verify_button)
    assert not huge.bundles.isEnabled()
    press(qtbot, huge.cancel_button)
    qtbot.waitUntil(idle(huge), timeout=1000)
    assert huge.message.text().startswith("Cancelled.")


def test_a_long_message_makes_the_window_higher(huge):
    huge._say("word " * 900)
    layout = huge.layout()
    assert huge.height() >= layout.totalHeightForWidth(huge.width())
    assert huge.message.height() >= huge.message.heightForWidth(huge.message.width()) - 2
