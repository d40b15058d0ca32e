"""Run > Fine-tune from Start on, with the trainer's stand-in: every end, nothing left behind."""

from __future__ import annotations

import threading

import pytest
from PySide6.QtCore import Qt
from tuning_fakes import ended, press, visible

from moca_core.errors import StorageError, WeightsError
from moca_gui.tuning.leaving import DiscardDialog, LeaveDialog
from moca_gui.tuning.run import Phase

# -- the run ----------------------------------------------------------------------------------


def test_a_run_is_shown_as_it_goes(ready, tuning, window, qtbot):
    tuning.skip = (2,)
    tuning.stage_gate = threading.Event()
    tuning.step_gate = threading.Semaphore(0)
    press(qtbot, ready.start_button)
    panel = ready.progress
    qtbot.waitUntil(lambda: panel.facts.text() == "5 of 10", timeout=3000)
    assert panel.state.text() == "Computing features"
    assert ready.tabs.currentWidget() is panel
    assert not ready.stop_button.isEnabled()
    assert ready.discard_button.isEnabled()
    assert not ready.setup.fields.isEnabled()
    assert window.fine_tune.button.text() == "Training: preparing"
    tuning.stage_gate.set()
    tuning.step_gate.release(4)
    qtbot.waitUntil(lambda: ready._run.step == 4, timeout=3000)
    qtbot.waitUntil(lambda: panel.curves.held_loss.steps == [2, 4], timeout=3000)
    assert ready._run.phase is Phase.TRAINING
    assert window.fine_tune.button.text() == "Training: 4 of 6"
    assert panel.bar.value() == 4
    assert "1 skipped" in panel.facts.text()
    assert panel.facts.text().endswith("left")
    assert panel.curves.loss.steps == [1, 3, 4]
    assert panel.curves.loss.values == [1, 1 / 3, 1 / 4]
    assert panel.curves.near.values == [0.7, 0.7]
    log = panel.log.toPlainText()
    assert "The adapter has 0.5 %" in log
    assert "Iteration 2: skipped" in log
    assert "Iteration 4, held out: loss 0.2250, near 0.7000, heard 0.6000 (best)" in log
    tuning.step_gate.release(2)
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert panel.state.text().startswith("Trained for 6 iterations.")
    assert not window.fine_tune.strip.isVisible()
    assert tuning.threads == {"job: data check", "job: training"}
    assert ready.setup.fields.isEnabled()


def test_closing_the_dialog_leaves_it_training(ready, tuning, window, open_clip, qtbot):
    tuning.step_gate = threading.Semaphore(1)
    press(qtbot, ready.start_button)
    qtbot.waitUntil(lambda: ready._run.step == 1, timeout=3000)
    qtbot.keyClick(ready, Qt.Key.Key_Escape)
    assert not ready.isVisible()
    assert ready._run.active
    open_clip(window)  # a clip can be watched meanwhile
    window.player.seek(7)
    qtbot.waitUntil(lambda: window.session.frame == 7, timeout=3000)
    tuning.step_gate.release(2)
    qtbot.waitUntil(lambda: ready._run.step == 3, timeout=3000)
    press(qtbot, window.fine_tune.button)
    assert window.fine_tune.dialog is ready
    assert ready.isVisible()
    assert ready.progress.curves.loss.steps == [1, 2, 3]
    tuning.step_gate.release(3)
    qtbot.waitUntil(ended(ready), timeout=3000)
    qtbot.waitUntil(lambda: window.pool.titles in ([], ["frames"]), timeout=3000)


def test_stop_keeps_what_is_there(ready, tuning, qtbot):
    tuning.step_gate = threading.Semaphore(3)
    press(qtbot, ready.start_button)
    qtbot.waitUntil(lambda: ready._run.step == 3, timeout=3000)
    press(qtbot, ready.stop_button)
    assert ready.progress.state.text() == "Ending after this iteration"
    assert not ready.stop_button.isEnabled()
    assert ready.discard_button.isEnabled()
    tuning.step_gate.release(1)
    qtbot.waitUntil(ended(ready), timeout=3000)
    folder = tuning.fitted[0][1]
    assert (folder / "last.pt").read_text() == "4"
    assert ready.adapter == folder / "adapter.safetensors"
    assert ready.progress.state.text().startswith("Ended after 4 of 6 iterations")
    assert ready.start_button.isEnabled()
    assert ready.start_button.text() == "Go on"


def test_cancel_asks_and_removes_what_the_run_made(ready, tuning, qtbot):
    tuning.step_gate = threading.Semaphore(3)
    press(qtbot, ready.start_button)
    qtbot.waitUntil(lambda: ready._run.step == 3, timeout=3000)
    folder = tuning.fitted[0][1]
    press(qtbot, ready.discard_button)
    (question,) = visible(ready, DiscardDialog)
    press(qtbot, question.go_on_button)
    assert ready._run.phase is Phase.TRAINING
    assert folder.exists()
    press(qtbot, ready.discard_button)
    (question,) = visible(ready, DiscardDialog)
    press(qtbot, question.discard_button)
    assert ready.progress.state.text() == "Cancelling"
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert not folder.exists()
    assert ready.adapter is None
    assert not ready.use_button.isVisible()
    assert ready.progress.state.text() == "Cancelled; what this run made was removed."
    assert tuning.closed == 1


def test_cancel_leaves_a_run_that_was_there_before(ready, tuning, qtbot):
    tuning.step_gate = threading.Semaphore(1)
    press(qtbot, ready.start_button)
    qtbot.waitUntil(lambda: ready._run.step == 1, timeout=3000)
    ready._run.stop()
    tuning.step_gate.release(1)
    qtbot.waitUntil(ended(ready), timeout=3000)
    folder = tuning.fitted[0][1]
    press(qtbot, ready.start_button)
    qtbot.waitUntil(lambda: ready._run.active, timeout=3000)
    ready._run.discard()
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert (folder / "last.pt").read_text() == "2"


@pytest.mark.parametrize(
    "error",
    [
        WeightsError("last.pt: of another bundle", "Choose another folder."),
        StorageError("last.pt: can't be written (No space left on device)", "Free some space."),
    ],
)
@pytest.mark.parametrize("at", [1, 3])
def test_errors_of_a_run_are_shown_with_their_remedy(ready, tuning, qtbot, error, at):
    ready.draft.set("save_every", 1)
    tuning.fit_error, tuning.fail_at = error, at
    press(qtbot, ready.start_button)
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert ready.message.text() == f"{error.message}\n{error.hint}"
    assert ready.progress.state.text() == f"Failed after {at - 1} iterations."
    folder = tuning.fitted[0][1]
    # What is worth keeping is kept; what isn't is no obstacle to other settings.
    assert folder.exists() == (at > 1)
    tuning.fit_error = None
    press(qtbot, ready.start_button)
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert ready.message.text() == ""
    assert ready.progress.state.text().startswith("Trained for 6 iterations.")


def test_a_fault_of_the_program_is_told_as_one(ready, tuning, qtbot):
    tuning.fit_error = RuntimeError("odd")
    press(qtbot, ready.start_button)
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert ready.message.text().startswith("RuntimeError: odd\nThis is a fault of the program.")


# -- closing the window -----------------------------------------------------------------------


def begun(ready, tuning, qtbot):
    tuning.step_gate = threading.Semaphore(2)
    press(qtbot, ready.start_button)
    qtbot.waitUntil(lambda: ready._run.step == 2, timeout=3000)
    return tuning.fitted[0][1]


def test_closing_the_window_asks_and_may_stay(ready, tuning, window, qtbot):
    begun(ready, tuning, qtbot)
    assert not window.close()
    (question,) = visible(window, LeaveDialog)
    press(qtbot, question.stay_button)
    assert window.isVisible()
    assert ready._run.phase is Phase.TRAINING
    window.close()
    (question,) = visible(window, LeaveDialog)
    tuning.step_gate.release(9)
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert not visible(window, LeaveDialog)  # nothing is left to ask
    assert window.isVisible()
    assert window.close()
    assert not ready.isVisible()


def test_closing_the_window_may_keep_the_run(ready, tuning, window, qtbot):
    folder = begun(ready, tuning, qtbot)
    window.close()
    (question,) = visible(window, LeaveDialog)
    press(qtbot, question.keep_button)
    assert window.isVisible()  # until the iteration is done
    tuning.step_gate.release(1)
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=3000)
    assert (folder / "last.pt").read_text() == "3"
    assert (folder / "adapter.safetensors").exists()
    assert tuning.closed == 1
    assert window.pool.titles == []  # nothing is compared on the way out


def test_a_run_that_cannot_be_kept_keeps_the_window(ready, tuning, window, qtbot):
    begun(ready, tuning, qtbot)
    tuning.fit_error = StorageError("last.pt: can't be written", "Free some space.")
    window.close()
    (question,) = visible(window, LeaveDialog)
    press(qtbot, question.keep_button)
    tuning.step_gate.release(1)
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert window.isVisible()
    assert ready.message.text() == "last.pt: can't be written\nFree some space."


def test_closing_the_window_may_discard_the_run(ready, tuning, window, qtbot):
    folder = begun(ready, tuning, qtbot)
    window.close()
    (question,) = visible(window, LeaveDialog)
    press(qtbot, question.discard_button)
    assert not window.isVisible()
    assert not folder.exists()
    assert tuning.closed == 1


def test_closing_the_window_before_the_first_iteration(ready, tuning, window, qtbot):
    tuning.stage_gate = threading.Event()
    press(qtbot, ready.start_button)
    qtbot.waitUntil(lambda: bool(tuning.fitted), timeout=3000)
    window.close()
    (question,) = visible(window, LeaveDialog)
    press(qtbot, question.keep_button)
    qtbot.waitUntil(lambda: not window.isVisible(), timeout=3000)
    assert not tuning.fitted[0][1].exists()


def test_the_dialog_takes_the_theme(ready, window):
    for choice in ("light", "dark"):
        window.preferences.choose_theme(choice)
        ready.progress.curves.redraw()


def test_two_windows_keep_their_settings_apart(tuning, make_window):
    first, second = make_window(), make_window()
    first.fine_tune.show()
    second.fine_tune.show()
    first.fine_tune.dialog.draft.set("seed", 5)
    assert second.fine_tune.dialog.draft.config.seed == 0
