"""What comes out of training: put to use, taken out, seen before and after. And its small parts."""

from __future__ import annotations

import threading
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from gui_fakes import FakeSegmenter
from PySide6.QtCore import Qt
from PySide6.QtGui import QImage
from tuning_fakes import pick, visible

from moca_core.config import SegmentConfig, save_toml
from moca_core.errors import StorageError, WeightsError
from moca_core.models import licences
from moca_core.training.config import TrainConfig
from moca_gui.dialogs.errors import ErrorDialog
from moca_gui.dialogs.terms import TermsDialog
from moca_gui.frames import to_image, to_picture
from moca_gui.tuning.draft import as_text, free_folder, is_free, notes_of, run_of
from moca_gui.tuning.source import LocalTuning, shown_title, title_of
from moca_gui.tuning.trace import Trace


@pytest.fixture
def made(services):
    """The configurations for which a segmenter was made."""
    found = []

    def make(config):
        found.append(config)
        return FakeSegmenter()

    services["make_segmenter"] = make
    return found


@pytest.fixture
def trained(tuning, made, window, open_clip, qtbot, tmp_path):
    """A window with a clip in which an adapter was trained."""
    open_clip(window)
    window.player.seek(3)
    qtbot.waitUntil(lambda: window.session.frame == 3, timeout=2000)
    window.fine_tune.show()
    dialog = window.fine_tune.dialog
    (tmp_path / "dogs").mkdir()
    dialog.draft.set("data", str(tmp_path / "dogs"))
    dialog.draft.set("iterations", 4)
    dialog.draft.set("validate_every", 2)
    dialog.data.start()
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=3000)
    dialog.start_button.click()
    qtbot.waitUntil(lambda: dialog.adapters.count() == 2, timeout=3000)
    qtbot.waitUntil(lambda: "comparing" not in window.pool.titles, timeout=3000)
    return window


def checked(window):
    names = ("adapter_none", "adapter_file")
    return [name for name in names if window.actions_by_name[name].isChecked()]


def test_one_click_applies_it_and_the_menu_takes_it_out(trained, tuning, made, qtbot):
    window, dialog = trained, trained.fine_tune.dialog
    assert [dialog.adapters.itemText(i) for i in range(2)] == [
        "Last one",
        "Best on what was held out",
    ]
    window.runner.run_frame()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=3000)
    assert len(window.session.results) == 1
    made.clear()
    tuning.adopted.mkdir()
    (tuning.adopted / "own-01234567.safetensors").touch()
    qtbot.mouseClick(dialog.use_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.encoders.config.adapter != "", timeout=3000)
    # Nothing of the frozen encoders' results is taken for the adapter's.
    assert len(window.session.results) == 0
    assert window.status.encoders.full_text == "Compact + adapter own"
    assert checked(window) == ["adapter_file"]
    assert window.actions_by_name["adapter_file"].text() == "own\N{HORIZONTAL ELLIPSIS}"
    window.runner.run_frame()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=3000)
    assert [Path(config.adapter).name for config in made] == ["own-01234567.safetensors"]
    window.actions_by_name["adapter_none"].trigger()
    assert window.encoders.config == SegmentConfig()
    assert window.status.encoders.full_text == "Compact"
    assert checked(window) == ["adapter_none"]
    assert len(window.session.results) == 1


def test_before_and_after_are_shown_when_it_ends(trained, made, qtbot):
    panel = trained.fine_tune.dialog.samples
    folder = trained.fine_tune.run.folder
    assert [config.adapter for config in made] == ["", str(folder / "adapter.safetensors")]
    assert panel.state.text() == "clip.mp4, frame 3"
    assert [words.text() for words in panel.words] == [
        "Before: dog 0.83, person 0.41",
        "After: dog 0.83, person 0.41",
    ]
    trained.fine_tune.dialog.tabs.setCurrentWidget(panel)
    assert all(not picture.pixmap().isNull() for picture in panel.pictures)
    made.clear()
    trained.player.seek(9)
    qtbot.waitUntil(lambda: trained.session.frame == 9, timeout=2000)
    qtbot.mouseClick(panel.button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: panel.state.text() == "clip.mp4, frame 9", timeout=3000)
    assert panel.words[1].text() == "After: silent"


def test_without_a_clip_there_is_nothing_to_compare(trained, made, qtbot):
    trained.actions_by_name["close_clip"].trigger()
    made.clear()
    dialog = trained.fine_tune.dialog
    dialog.samples.button.click()
    assert dialog.samples.state.text() == "Open a clip to see what the adapter changes."
    assert made == []


def test_a_comparison_that_fails_says_why(trained, services, qtbot):
    error = WeightsError("first.onnx is damaged", "Fetch it again.")
    object.__setattr__(
        trained.fine_tune._services, "make_segmenter", lambda config: FakeSegmenter(error=error)
    )
    panel = trained.fine_tune.dialog.samples
    panel.button.click()
    qtbot.waitUntil(lambda: "damaged" in panel.state.text(), timeout=3000)


def test_an_adapter_from_a_file_stays_in_use(tuning, make_window, tmp_path, qtbot):
    path = tmp_path / "cats.safetensors"
    path.write_text("x")
    tuning.adapters = {path: "compact"}
    window = make_window()
    window.actions_by_name["adapter_file"].trigger()
    assert checked(window) == ["adapter_none"]  # until one is chosen
    pick(window, path)
    qtbot.waitUntil(lambda: window.encoders.config.adapter != "", timeout=3000)
    assert window.status.encoders.full_text == "Compact + adapter cats"
    window.close()
    again = make_window()
    assert again.status.encoders.full_text == "Compact + adapter cats"
    assert checked(again) == ["adapter_file"]
    licences.remember("imagebind")
    again.actions_by_name["bundle_imagebind"].trigger()
    assert again.encoders.config == SegmentConfig(bundle="imagebind")
    assert checked(again) == ["adapter_none"]


def test_an_adapter_that_is_gone_is_told_with_the_way_out(
    tuning, window, open_clip, tmp_path, qtbot
):
    path = tmp_path / "cats.safetensors"
    path.write_text("x")
    tuning.adapters = {path: "compact"}
    open_clip(window)
    window.adapters.use(path)  # the stand-in makes no copy
    qtbot.waitUntil(lambda: window.encoders.config.adapter != "", timeout=3000)
    window.runner.run_clip()
    (dialog,) = visible(window, ErrorDialog)
    assert "isn't there any more" in dialog.message.text()
    assert dialog.hint.text().endswith("by Run > Adapter.")
    assert window.runner.job is None
    dialog.accept()
    window.actions_by_name["adapter_none"].trigger()
    window.runner.run_clip()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)
    assert len(window.session.results) > 0


def test_an_adapter_of_other_encoders_brings_them(tuning, window, tmp_path, qtbot):
    path = tmp_path / "cats.safetensors"
    path.write_text("x")
    tuning.adapters = {path: "imagebind"}
    window.adapters.use(path)
    qtbot.waitUntil(lambda: bool(visible(window, TermsDialog)), timeout=3000)
    visible(window, TermsDialog)[0].accept_button.click()
    assert window.encoders.config.bundle == "imagebind"
    assert Path(window.encoders.config.adapter).name == "cats-0a1b2c3d.safetensors"


def test_a_file_that_is_no_adapter_changes_nothing(tuning, window, tmp_path, qtbot):
    window.adapters.use(tmp_path / "photo.png")
    qtbot.waitUntil(lambda: bool(visible(window, ErrorDialog)), timeout=3000)
    (dialog,) = visible(window, ErrorDialog)
    assert dialog.message.text() == "photo.png: not an adapter"
    assert dialog.hint.text() == "Choose another file."
    assert window.encoders.config == SegmentConfig()


def test_a_run_is_never_disturbed_by_another_adapter(tuning, window, open_clip, segmenter, qtbot):
    segmenter.gate = threading.Event()
    open_clip(window)
    window.runner.run_clip()
    assert not window.actions_by_name["adapter_none"].isEnabled()
    assert not window.actions_by_name["adapter_file"].isEnabled()
    assert window.actions_by_name["fine_tune"].isEnabled()
    window.encoders.choose_adapter("compact", "x.safetensors")
    assert window.encoders.config.adapter == ""
    segmenter.gate.set()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)


# -- small parts ------------------------------------------------------------------------------


def test_a_curve_of_any_length_is_bounded_and_keeps_its_shape():
    trace = Trace(limit=100)
    for step in range(10_000):
        trace.add(step, step / 2)
    assert 50 <= len(trace.steps) < 100
    assert trace.steps == sorted(trace.steps)
    np.testing.assert_allclose(trace.values, np.array(trace.steps) / 2)
    trace = Trace()
    for step, value in enumerate((1.0, float("nan"), 3.0, float("inf"))):
        trace.add(step, value)
    assert (trace.steps, trace.values) == ([0, 2], [1.0, 3.0])


def test_the_running_mean_begins_at_the_first_value_and_follows():
    trace = Trace()
    for step in range(200):
        trace.add(step, 1.0 if step < 100 else 0.0)
    mean = trace.smoothed()
    assert mean[:100] == pytest.approx([1.0] * 100)
    assert mean[-1] == pytest.approx(0.95**100, abs=1e-3)


def test_every_setting_is_explained_and_can_be_read_back():
    notes = notes_of(TrainConfig)
    assert sorted(notes) == sorted(item.name for item in fields(TrainConfig))
    assert all(notes.values())
    assert as_text(()) == "[]"


def test_the_folder_of_a_run_is_free_for_its_own_settings_alone(tmp_path):
    config, other = TrainConfig(data="a"), TrainConfig(data="b")
    folder = tmp_path / "run"
    assert is_free(folder, config)
    folder.mkdir()
    (folder / ".lock").touch()
    assert is_free(folder, config)
    save_toml(config, folder / "config.toml")
    assert is_free(folder, other)  # nothing of it is worth keeping
    assert run_of(folder / "config.toml") is None
    (folder / "last.pt").touch()
    assert run_of(folder / "config.toml") == folder
    assert is_free(folder, config)
    assert not is_free(folder, other)
    assert free_folder(folder, config) == folder
    assert free_folder(folder, other) == tmp_path / "run-2"
    (folder / "config.toml").write_text("unknown = 1")
    assert not is_free(folder, config)


def test_pictures_come_back_from_the_screen():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = to_image(picture)
    assert image.format() is QImage.Format.Format_RGB32
    assert np.array_equal(to_picture(image), picture)


def test_a_check_of_many_items_tells_no_more_than_can_be_shown():
    from moca_core.types import StageEvent
    from moca_gui.tuning.source import _thinned

    def steps():
        for number in range(20_000):
            yield StageEvent("Looking" if number < 10_000 else "Decoding", number, 20_000)
        return "report"

    def run():
        assert (yield from _thinned(steps())) == "report"

    told = list(run())
    assert {event.stage for event in told} == {"Looking", "Decoding"}
    assert len(told) < 2000


def test_names_of_adapters():
    assert title_of(Path("runs/dogs/adapter.safetensors")) == "dogs"
    assert title_of(Path("runs/dogs/best.safetensors")) == "dogs"
    assert title_of(Path("runs/cats.safetensors")) == "cats"
    assert shown_title(Path("my-dogs-01234567.safetensors")) == "my-dogs"
    assert shown_title(Path("own.safetensors")) == "own"


def test_names_are_those_of_the_core():
    from moca_core.models.adapter import HOSTS
    from moca_core.training import checkpoint, run
    from moca_gui.tuning import fields as form
    from moca_gui.tuning import source

    assert source.CHECKPOINT_FILE == checkpoint.LAST
    assert (source.ADAPTER_FILE, source.BEST_FILE) == (run.ADAPTER, run.BEST)
    assert source.CONFIG_FILE == run.CONFIG
    assert run.CHECK in source.RUN_FILES
    assert run.PAIRS.format("training") in source.RUN_FILES
    assert dict(form.MOST_BLOCKS) == {name: host.last for name, host in HOSTS.items()}


def test_adopted_adapters_are_named_by_content_and_few(tmp_path, monkeypatch):
    from moca_core import paths
    from moca_core.models.adapter import Adapter, adapter_config
    from moca_gui.tuning import source

    monkeypatch.setattr(source, "_KEPT_ADAPTERS", 2)
    folder = tmp_path / "dogs"
    path = folder / "adapter.safetensors"
    places = []
    for step in range(4):
        info = {"data": {"name": "dogs", "items": 9}, "step": step}
        Adapter(adapter_config("compact", 1)).save(path, info)
        (found,) = LocalTuning().adopt(path)
        places.append(found.path)
    assert len(set(places)) == 4
    assert all(shown_title(place) == "dogs" for place in places)
    assert found.bundle == "compact"
    assert found.about == ("Compact, block 9, 8 latents; trained on dogs (9 items); 3 iterations")
    left = sorted(paths.adapters_dir().iterdir())
    assert len(left) == 2
    assert places[-1] in left
    (again,) = LocalTuning().adopt(places[-1])
    assert again.path == places[-1]
    assert again.path.read_bytes() == path.read_bytes()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError):
        list(LocalTuning().adopt(path))


def test_only_the_files_of_a_run_are_removed(tmp_path):
    from moca_gui.tuning.source import RUN_FILES

    folder = tmp_path / "run"
    folder.mkdir()
    for name in (*RUN_FILES, "photo.png"):
        (folder / name).touch()
    LocalTuning().remove(folder)
    assert [path.name for path in folder.iterdir()] == ["photo.png"]
    (folder / "photo.png").unlink()
    LocalTuning().remove(folder)
    assert not folder.exists()
    LocalTuning().remove(folder)
    (folder / "last.pt").mkdir(parents=True)
    with pytest.raises(StorageError):
        LocalTuning().remove(folder)
