"""Run > Fine-tune before Start, with a stand-in for the trainer: data, settings, terms, files."""

from __future__ import annotations

import threading

import pytest
from gui_fakes import FakeWeights
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDropEvent
from tuning_fakes import PROBLEMS, checked, ended, pick, press, visible

from moca_core.config import load_toml
from moca_core.errors import DatasetError
from moca_core.models import licences
from moca_core.training.config import TrainConfig
from moca_gui.dialogs.terms import TermsDialog
from moca_gui.dialogs.weights import WeightsDialog


def enter(qtbot, dialog, name, text):
    edit = dialog.setup.fields.controls[name]
    edit.setText(text)
    qtbot.keyClick(edit, Qt.Key.Key_Return)


# -- data -------------------------------------------------------------------------------------


def test_start_needs_a_check_that_found_something(dialog, data, tuning, qtbot):
    assert not dialog.start_button.isEnabled()
    assert dialog.start_button.toolTip() == "Choose data first"
    assert not dialog.setup.data.check_button.isEnabled()
    dialog.setup.data.path.choose(data)
    assert dialog.start_button.toolTip() == "Check the data first"
    tuning.checked = checked(8, PROBLEMS)
    press(qtbot, dialog.setup.data.check_button)
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=3000)
    table = dialog.problems.table
    rows = [[table.item(r, c).text() for c in range(3)] for r in range(table.rowCount())]
    assert rows == [[row.problem, row.item, row.what] for row in PROBLEMS]
    words = "8 of 10 items can be used. They are of 4 recordings."
    assert dialog.setup.data.note.text() == dialog.problems.summary.text() == words
    assert tuning.threads == {"job: data check"}


def test_a_typed_path_can_be_checked_without_leaving_its_box(dialog, data, qtbot):
    edit = dialog.setup.data.path.edit
    edit.setFocus()
    qtbot.keyClicks(edit, f"{data}/")
    qtbot.waitUntil(dialog.setup.data.check_button.isEnabled, timeout=3000)
    assert edit.text() == f"{data}/"


@pytest.mark.parametrize("name", ["data", "bundle", "every_s", "limit"])
def test_other_data_are_checked_again(ready, name, qtbot, tmp_path):
    values = {"data": str(tmp_path), "bundle": "imagebind", "every_s": 2.0, "limit": 3}
    ready.draft.set("lr", 1e-3)
    assert ready.start_button.isEnabled()
    ready.draft.set(name, values[name])
    assert not ready.start_button.isEnabled()
    assert ready.problems.summary.text() == "The data are others now: check them again."


@pytest.mark.parametrize("late", [False, True])
def test_data_that_cannot_be_used_say_what_helps(dialog, data, tuning, qtbot, late):
    error = DatasetError("dogs: none of 4 items can be used (4 mute)", "Use clips with sound.")
    tuning.check_error = None if late else error
    tuning.checked = checked(0, PROBLEMS, error)
    dialog.setup.data.path.choose(data)
    press(qtbot, dialog.setup.data.check_button)
    qtbot.waitUntil(lambda: not dialog.data.active, timeout=3000)
    assert dialog.message.text() == f"{error.message}\n{error.hint}"
    assert not dialog.start_button.isEnabled()
    assert dialog.problems.table.rowCount() == (2 if late else 0)


def test_a_check_shows_how_far_it_is_and_can_be_cancelled(dialog, data, tuning, qtbot):
    tuning.check_gate = threading.Event()
    dialog.setup.data.path.choose(data)
    press(qtbot, dialog.setup.data.check_button)
    part = dialog.setup.data
    qtbot.waitUntil(lambda: part.progress.value() == 2, timeout=3000)
    assert part.progress.maximum() == 4
    press(qtbot, part.cancel_button)
    qtbot.waitUntil(lambda: not dialog.data.active, timeout=3000)
    assert part.note.text() == "The check was cancelled."
    assert not dialog.start_button.isEnabled()
    assert part.check_button.isVisible()


def test_the_problems_are_saved_as_a_table(dialog, data, tuning, qtbot, tmp_path):
    tuning.checked = checked(8, PROBLEMS)
    dialog.setup.data.path.choose(data)
    press(qtbot, dialog.setup.data.check_button)
    qtbot.waitUntil(dialog.problems.save_button.isEnabled, timeout=3000)
    press(qtbot, dialog.problems.save_button)
    pick(dialog, tmp_path / "found.csv")
    qtbot.waitUntil(lambda: dialog.message.text().startswith("Saved"), timeout=3000)
    assert (tmp_path / "found.csv").read_text().splitlines() == [row.item for row in PROBLEMS]


def test_data_can_be_dropped(dialog, data):
    files = QMimeData()
    files.setUrls([QUrl.fromLocalFile(str(data))])
    event = QDropEvent(
        QPoint(5, 5),
        Qt.DropAction.CopyAction,
        files,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    dialog.dropEvent(event)
    assert dialog.draft.config.data == str(data)
    assert dialog.setup.output.name == "dogs"


def test_a_folder_is_browsed_for(dialog, data, qtbot):
    folder, table = dialog.setup.data.path.browse.menu().actions()
    folder.trigger()
    pick(dialog, data)
    assert dialog.draft.config.data == str(data)
    (data / "own.csv").write_text("a,1,b,train")
    table.trigger()
    pick(dialog, data / "own.csv")
    assert dialog.draft.config.data == str(data / "own.csv")


# -- settings ---------------------------------------------------------------------------------


def test_form_and_table_change_the_same_settings(dialog, qtbot):
    enter(qtbot, dialog, "lr", "3e-4")
    enter(qtbot, dialog, "iterations", "1,500")
    enter(qtbot, dialog, "margin", "0,3 of the distance")
    box = dialog.setup.fields.controls["audio_negatives"]
    box.click()
    config = dialog.draft.config
    assert (config.lr, config.iterations, config.margin) == (3e-4, 1500, 0.3)
    assert not config.audio_negatives
    table = dialog.all_fields
    names = [table.item(row, 0).text() for row in range(table.rowCount())]
    assert names == list(TrainConfig.__dataclass_fields__)
    item = table.item(names.index("lr"), 1)
    assert item.text() == "0.0003"
    assert item.font().bold()
    assert "frames that are taken" in table.item(names.index("every_s"), 2).text()
    item.setText("0.002")
    table.item(names.index("subsets"), 1).setText('["single"]')
    assert dialog.draft.config.lr == 0.002
    assert dialog.draft.config.subsets == ("single",)
    assert dialog.setup.fields.controls["lr"].text() == "0.002   at its peak"


@pytest.mark.parametrize(("name", "text"), [("lr", "-1"), ("batch", "0"), ("seed", "x")])
def test_a_setting_that_cannot_work_is_refused_with_its_remedy(dialog, qtbot, name, text):
    before = dialog.draft.config
    shown = dialog.setup.fields.controls[name].text()
    enter(qtbot, dialog, name, text)
    assert dialog.draft.config == before
    assert dialog.setup.fields.controls[name].text() == shown
    assert dialog.message.text().startswith(f"{name} = ")
    assert "\nUse " in dialog.message.text()


def test_every_control_has_a_name_and_every_setting_a_tip(dialog):
    for control in dialog.setup.fields.controls.values():
        assert control.accessibleName()
        assert len(control.toolTip()) > 20


def test_the_saved_configuration_is_the_one_that_is_trained(ready, tuning, qtbot, tmp_path):
    path = tmp_path / "kept.toml"
    press(qtbot, ready.save_button)
    pick(ready, path)
    press(qtbot, ready.start_button)
    qtbot.waitUntil(ended(ready), timeout=3000)
    ((config, folder),) = tuning.fitted
    assert load_toml(TrainConfig, path) == config == ready.draft.config
    assert load_toml(TrainConfig, folder / "config.toml") == config
    ready.draft.set("lr", 0.5)
    press(qtbot, ready.load_button)
    pick(ready, path)
    assert ready.draft.config == config
    path.write_text("lr = 'fast'")
    ready.load(path)
    assert ready.draft.config == config
    assert "lr = 'fast'" in ready.message.text()


def test_the_configuration_of_a_run_goes_on_with_the_run(ready, tuning, qtbot):
    tuning.step_gate = threading.Semaphore(2)
    press(qtbot, ready.start_button)
    qtbot.waitUntil(lambda: ready._run.step == 2, timeout=3000)
    press(qtbot, ready.stop_button)
    tuning.step_gate.release(1)
    qtbot.waitUntil(ended(ready), timeout=3000)
    folder = tuning.fitted[0][1]
    ready.draft.set("lr", 0.5)
    assert ready.setup.output.name == "dogs-2"
    ready.load(folder / "config.toml")
    assert ready.setup.output == folder
    assert ready.setup.folder_note.text() == "Goes on with the run that is there."
    tuning.step_gate = None
    press(qtbot, ready.start_button)
    qtbot.waitUntil(ended(ready), timeout=3000)
    assert tuning.fitted[0] == tuning.fitted[1]
    assert ready.progress.curves.loss.steps == [4, 5, 6]
    assert ready.setup.folder_note.text().startswith("This run is finished")
    assert not ready.start_button.isEnabled()


def test_a_folder_with_other_things_is_no_output_folder(ready, tmp_path, qtbot):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_text("x")
    ready.setup.folder.choose(tmp_path / "mine")
    assert ready.setup.folder_note.text().startswith("Other files")
    assert not ready.start_button.isEnabled()
    assert ready.start_button.toolTip() == "Choose another output folder"


def test_the_estimate_follows_the_settings(ready, qtbot):
    qtbot.waitUntil(lambda: ready.setup.estimate.text() == "6 iterations of 8 items.", timeout=3000)
    ready.draft.set("iterations", 9)
    qtbot.waitUntil(lambda: ready.setup.estimate.text() == "9 iterations of 8 items.", timeout=3000)


def test_a_starting_adapter_is_read_first(ready, tuning, qtbot, tmp_path):
    good, other = tmp_path / "good.safetensors", tmp_path / "other.safetensors"
    tuning.adapters = {good: "compact", other: "imagebind"}
    for path in (good, other):
        path.write_text("x")
    press(qtbot, ready.setup.start_button)
    pick(ready, other)
    qtbot.waitUntil(lambda: bool(ready.message.text()), timeout=3000)
    assert "not of compact\nChoose another." in ready.message.text()
    assert ready.draft.config.start == ""
    press(qtbot, ready.setup.start_button)
    pick(ready, good)
    qtbot.waitUntil(lambda: bool(ready.draft.config.start), timeout=3000)
    assert ready.setup.start_facts.text() == "compact, blocks 6 to 9"
    assert not ready.setup.fields.controls["blocks"].isEnabled()  # the file says which
    press(qtbot, ready.setup.none_button)
    assert ready.draft.config.start == ""
    assert ready.setup.fields.controls["blocks"].isEnabled()


# -- terms and files --------------------------------------------------------------------------


def choose_bundle(dialog, name):
    box = dialog.setup.bundles
    box.setCurrentIndex(box.findData(name))
    box.activated.emit(box.currentIndex())


def test_other_encoders_ask_for_their_terms(dialog, qtbot):
    choose_bundle(dialog, "imagebind")
    (terms,) = visible(dialog, TermsDialog)
    press(qtbot, terms.later_button)
    assert dialog.draft.config.bundle == "compact"
    assert dialog.setup.bundles.currentData() == "compact"
    choose_bundle(dialog, "imagebind")
    (terms,) = visible(dialog, TermsDialog)
    press(qtbot, terms.accept_button)
    assert dialog.draft.config.bundle == "imagebind"
    assert "non-commercial" in dialog.setup.terms.text()


def test_files_that_lack_are_fetched_and_then_it_starts(tuning, services, make_window, data, qtbot):
    services["weights"] = FakeWeights(missing=True)
    window = make_window()
    window.fine_tune.show()
    dialog = window.fine_tune.dialog
    dialog.setup.data.path.choose(data)
    dialog.draft.set("iterations", 3)
    press(qtbot, dialog.setup.data.check_button)
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=3000)
    press(qtbot, dialog.start_button)
    (files,) = visible(dialog, WeightsDialog)
    assert tuning.fitted == []
    press(qtbot, files.fetch_button)
    qtbot.waitUntil(lambda: len(tuning.fitted) == 1, timeout=3000)
    qtbot.waitUntil(ended(dialog), timeout=3000)


def test_a_loaded_configuration_asks_for_the_terms_at_start(ready, tuning, qtbot):
    ready.draft.set("bundle", "imagebind")
    press(qtbot, ready.setup.data.check_button)
    qtbot.waitUntil(ready.start_button.isEnabled, timeout=3000)
    press(qtbot, ready.start_button)
    (terms,) = visible(ready, TermsDialog)
    press(qtbot, terms.later_button)
    assert ready.message.text() == "Nothing was started."
    assert tuning.fitted == []
    licences.remember("imagebind")
