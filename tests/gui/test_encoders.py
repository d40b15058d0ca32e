"""Choosing the encoders: terms, files, results kept apart, memory, and nothing lost on the way."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from collections import defaultdict
from dataclasses import replace

import pytest
from gui_fakes import COUNT, FakeSegmenter, FakeStore, FakeWeights
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QPushButton

from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice
from moca_core.errors import StorageError, WeightsError
from moca_core.models import licences
from moca_core.models.registry import BUNDLES, bundle_row
from moca_core.models.specs import SAM_FILES
from moca_core.paths import config_dir
from moca_gui.dialogs.errors import ErrorDialog
from moca_gui.dialogs.terms import TermsDialog
from moca_gui.dialogs.weights import WeightsDialog
from moca_gui.kept import KeptResults
from moca_gui.weights import ManagedWeights

IMAGEBIND = SegmentConfig(bundle="imagebind")
SOUNDING = "Sounding object"


def fake_of(config):
    if config.bundle == "compact":
        return FakeSegmenter(keeps=True)
    return FakeSegmenter(keeps=True, names=(SOUNDING, SOUNDING), heard=())


@pytest.fixture
def special():
    """Makers of stand-ins by bundle, where a test wants one of its own."""
    return {}


@pytest.fixture
def made(services, special):
    """What was made for each run's configuration, in order."""
    found = []

    def make(config):
        found.append((config, special.get(config.bundle, lambda: fake_of(config))()))
        return found[-1][1]

    services["make_segmenter"] = make
    return found


@pytest.fixture
def disk(services):
    """Stored results by configuration; they stay when a window goes."""
    stores = defaultdict(FakeStore)
    services["open_store"] = lambda clip, config, moved: KeptResults(stores[config])
    return stores


@pytest.fixture
def agreed(home):
    """The terms were accepted before."""
    licences.remember("imagebind")


def visible(window, kind):
    return [dialog for dialog in window.findChildren(kind) if dialog.isVisible()]


def choose(window, bundle):
    window.actions_by_name[f"bundle_{bundle}"].trigger()


def run(window, qtbot):
    window.runner.run_clip()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)


def checked(window, group):
    return [
        name
        for name, action in window.actions_by_name.items()
        if name.startswith(group) and action.isChecked()
    ]


def test_the_menu_has_an_exclusive_action_for_each_bundle(window):
    actions = [window.actions_by_name[f"bundle_{row.name}"] for row in BUNDLES]
    assert [action.text() for action in actions] == [row.title for row in BUNDLES]
    for action, row in zip(actions, BUNDLES, strict=True):
        assert row.about in action.toolTip()
        assert action in window.menus["Encoders"].actions()
        assert action.actionGroup() is actions[0].actionGroup()
    assert window.menus["Encoders"].menuAction() in window.menus["Run"].actions()
    assert window.menus["Encoders"].toolTipsVisible()
    assert checked(window, "bundle_") == ["bundle_compact"]
    assert window.status.encoders.full_text == "Compact"


def test_not_now_keeps_the_old_ones(made, window, open_clip, qtbot):
    open_clip(window)
    qtbot.keyClick(window, Qt.Key.Key_2, Qt.KeyboardModifier.ControlModifier)
    (dialog,) = visible(window, TermsDialog)
    assert dialog.terms.text() == bundle_row("imagebind").terms
    # Enter agrees to nothing.
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not visible(window, TermsDialog), timeout=1000)
    assert checked(window, "bundle_") == ["bundle_compact"]
    assert window.status.note.full_text == "Compact stays in use."
    assert licences.pending("imagebind")
    run(window, qtbot)
    assert [config.bundle for config, _ in made] == ["compact"]
    assert not (config_dir() / "settings.json").exists()


def test_accepted_terms_are_not_asked_again(made, make_window, open_clip, qtbot):
    window = make_window()
    open_clip(window)
    choose(window, "imagebind")
    (dialog,) = visible(window, TermsDialog)
    qtbot.mouseClick(dialog.accept_button, Qt.MouseButton.LeftButton)
    assert window.encoders.config == IMAGEBIND
    assert checked(window, "bundle_") == ["bundle_imagebind"]
    assert window.status.encoders.full_text == "ImageBind"
    assert bundle_row("imagebind").about in window.status.encoders.toolTip()
    assert json.loads((config_dir() / "settings.json").read_text()) == {"bundle": "imagebind"}
    run(window, qtbot)
    assert [config for config, _ in made] == [IMAGEBIND]
    choose(window, "compact")
    choose(window, "imagebind")
    assert not visible(window, TermsDialog)
    again = make_window()
    assert again.encoders.config == IMAGEBIND
    assert checked(again, "bundle_") == ["bundle_imagebind"]


def test_files_that_lack_are_named_and_the_old_ones_work_meanwhile(
    made, agreed, make_window, services, open_clip, qtbot
):
    services["weights"] = FakeWeights("huge.pth", "sam_b.pth", "sam_h.pth")
    window = make_window()
    open_clip(window)
    choose(window, "imagebind")
    (dialog,) = visible(window, WeightsDialog)
    assert dialog.bundle == "imagebind"
    names = [dialog.table.item(row, 1).text() for row in range(dialog.table.rowCount())]
    assert names == ["huge.pth", "sam_b.pth", "sam_h.pth"]
    assert dialog.summary.text().startswith("2 files are needed still, 5.18 GB in all.")
    qtbot.mouseClick(dialog.close_button, Qt.MouseButton.LeftButton)
    assert window.encoders.config.bundle == "compact"
    run(window, qtbot)
    assert len(window.session.results) == COUNT
    choose(window, "imagebind")
    (dialog,) = visible(window, WeightsDialog)
    qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.encoders.config.bundle == "imagebind", timeout=3000)
    assert services["weights"].asked == [["huge.pth", "sam_b.pth"]]
    assert len(window.session.results) == 0


def test_a_run_is_never_disturbed(agreed, window, open_clip, qtbot, segmenter):
    segmenter.gate = threading.Event()
    open_clip(window)
    window.runner.run_clip()
    assert not window.actions_by_name["bundle_imagebind"].isEnabled()
    assert not window.actions_by_name["sam_vit_b"].isEnabled()
    window.encoders.choose("imagebind")
    assert window.status.note.full_text == "A run is under way. Cancel it first (Esc)."
    assert window.encoders.config.bundle == "compact"
    segmenter.gate.set()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)
    assert window.actions_by_name["bundle_imagebind"].isEnabled()


def test_results_are_kept_apart_and_come_back(made, agreed, window, open_clip, qtbot):
    open_clip(window)
    window.runner.run_frame()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)
    window.session.set_object_shown(1, False)
    choose(window, "imagebind")
    assert len(window.session.results) == 0
    assert window.view.drawn_numbers == []
    assert window.objects.message.text().startswith("This frame was not run")
    assert window.status.device.full_text == "Device: chosen by the next run"
    run(window, qtbot)
    table = window.objects.table
    assert [table.item(row, 0).text() for row in range(table.rowCount())] == [SOUNDING]
    assert not window.objects.heard.isVisible()
    assert window.view.drawn_numbers == [1]  # what was hidden was another object
    choose(window, "compact")
    assert window.session.results.states.nonzero()[0].tolist() == [0]
    assert "evidence" in window.session.results.maps(0)
    assert table.item(0, 0).text() == "dog"
    window.session.clear_results()
    choose(window, "imagebind")
    assert len(window.session.results) == 0


def test_kept_results_of_the_chosen_bundle_are_shown(
    made, disk, agreed, make_window, open_clip, qtbot
):
    window = make_window()
    open_clip(window)
    choose(window, "imagebind")
    run(window, qtbot)
    assert disk[IMAGEBIND].frames() == list(range(COUNT))
    choose(window, "compact")
    window.close()
    made.clear()
    window = make_window()
    open_clip(window)
    choose(window, "imagebind")
    qtbot.waitUntil(lambda: len(window.session.results) == COUNT, timeout=3000)
    assert made == []  # read, not computed
    assert window.session.result.objects[0].name == SOUNDING
    choose(window, "compact")
    qtbot.waitUntil(lambda: "kept results" not in window.pool.titles, timeout=3000)
    assert len(window.session.results) == 0


def test_kept_results_are_shown_when_their_clip_opens(
    made, disk, services, make_window, open_clip, qtbot
):
    window = make_window()
    open_clip(window)
    run(window, qtbot)
    window.close()
    asked = []
    services["has_results"] = lambda clip: asked.append(clip.name) or clip.name == "clip.mp4"
    window = make_window()
    open_clip(window, "other.mp4")
    qtbot.waitUntil(lambda: "kept results" not in window.pool.titles, timeout=3000)
    assert asked == ["other.mp4"] and len(window.session.results) == 0
    open_clip(window)
    qtbot.waitUntil(lambda: len(window.session.results) == COUNT, timeout=3000)
    assert len(made) == 1  # read, not computed


def test_kept_results_that_could_not_be_read_beside_a_run_are_read_after_it(
    made, disk, services, agreed, make_window, open_clip, qtbot
):
    window = make_window()
    open_clip(window)
    choose(window, "imagebind")
    run(window, qtbot)
    choose(window, "compact")
    window.close()
    usual, fails = services["open_store"], iter([True])

    def open_store(clip, config, moved):
        if config == IMAGEBIND and next(fails, False):
            raise ImportError("another thread is importing it")
        return usual(clip, config, moved)

    services["open_store"] = open_store
    window = make_window()
    open_clip(window)
    choose(window, "imagebind")
    qtbot.waitUntil(lambda: "kept results" not in window.pool.titles, timeout=3000)
    assert len(window.session.results) == 0
    window.runner.run_frame()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=3000)
    qtbot.waitUntil(lambda: len(window.session.results) == COUNT, timeout=3000)


def test_the_old_encoders_leave_the_memory(made, agreed, window, open_clip, qtbot):
    open_clip(window)
    run(window, qtbot)
    old = weakref.ref(made[0][1])
    run(window, qtbot)
    assert len(made) == 1  # kept warm between runs
    made.clear()
    choose(window, "imagebind")
    qtbot.waitUntil(lambda: "freeing encoders" not in window.pool.titles, timeout=3000)
    gc.collect()
    assert old() is None


def test_a_run_that_was_left_puts_nothing_among_the_results_of_others(
    made, special, agreed, window, open_clip, qtbot
):
    step = threading.Event()
    special["compact"] = lambda: FakeSegmenter(step=step)
    open_clip(window)
    window.runner.run_clip()
    qtbot.waitUntil(lambda: bool(made and made[0][1].requests), timeout=2000)
    window.runner.cancel()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=3000)
    choose(window, "imagebind")
    assert window.encoders.config.bundle == "imagebind"
    gone = weakref.ref(made[0][1])
    made.clear()
    step.set()
    # The step that was left ends, and then its encoders go, too.
    qtbot.waitUntil(lambda: window.pool.titles in ([], ["frames"]), timeout=3000)
    gc.collect()
    assert gone() is None
    assert len(window.session.results) == 0


def test_settings_from_elsewhere_ask_for_the_terms_at_the_first_run(
    made, make_window, open_clip, qtbot
):
    config_dir().mkdir(parents=True)
    (config_dir() / "settings.json").write_text('{"bundle": "imagebind", "image_side": 448}')
    window = make_window()
    open_clip(window)
    window.runner.run_clip()
    (dialog,) = visible(window, TermsDialog)
    assert window.runner.job is None
    qtbot.mouseClick(dialog.later_button, Qt.MouseButton.LeftButton)
    assert made == []
    assert window.status.note.full_text.startswith("Not run: the terms of ImageBind")
    window.runner.run_clip()
    (dialog,) = visible(window, TermsDialog)
    qtbot.mouseClick(dialog.accept_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: len(window.session.results) == COUNT, timeout=5000)
    assert made[0][0] == SegmentConfig(bundle="imagebind", image_side=448)


def test_an_agreement_that_cannot_be_written_still_counts(
    made, window, open_clip, qtbot, monkeypatch
):
    def fail(bundle):
        raise StorageError("licences.json: can't be written", "Free space.")

    monkeypatch.setattr(licences, "remember", fail)
    open_clip(window)
    choose(window, "imagebind")
    visible(window, TermsDialog)[0].accept()
    run(window, qtbot)
    assert len(window.session.results) == COUNT


@pytest.mark.parametrize("words", ["is missing", "is damaged", "not the checkpoint of this model"])
def test_weights_that_fail_at_run_lose_nothing(
    special, made, agreed, window, open_clip, qtbot, words
):
    error = WeightsError(f"imagebind_huge.pth {words}", "Fetch it again.")
    special["imagebind"] = lambda: FakeSegmenter(error=error)
    open_clip(window)
    run(window, qtbot)
    choose(window, "imagebind")
    window.runner.run_clip()
    qtbot.waitUntil(lambda: bool(visible(window, ErrorDialog)), timeout=4000)
    (dialog,) = visible(window, ErrorDialog)
    assert words in dialog.message.text()
    assert dialog.hint.text() == "Fetch it again."
    (button,) = (b for b in dialog.findChildren(QPushButton) if b.text() == "Weights…")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    (files,) = visible(window, WeightsDialog)
    assert files.bundle == "imagebind"
    files.reject()
    choose(window, "compact")
    assert len(window.session.results) == COUNT
    run(window, qtbot)
    assert window.session.result.objects[0].name == "dog"


def test_files_that_went_missing_are_asked_for_at_run(
    made, agreed, make_window, services, open_clip, qtbot
):
    window = make_window()
    open_clip(window)
    choose(window, "imagebind")
    services["weights"].lacking = {"huge.pth"}
    window.runner.run_clip()
    (dialog,) = visible(window, WeightsDialog)
    assert dialog.bundle == "imagebind"
    assert window.runner.job is None
    dialog.reject()
    choose(window, "compact")
    run(window, qtbot)
    assert len(window.session.results) == COUNT


def test_a_fall_to_the_cpu_during_a_run_is_said(window, open_clip, qtbot, segmenter):
    segmenter.device = DeviceChoice("cuda:0", "bfloat16", "NVIDIA X")
    segmenter.falls_back_at = 20
    shown, notes = [], []
    window.runner.device_known.connect(shown.append)
    window.session.noted.connect(notes.append)
    open_clip(window)
    run(window, qtbot)
    assert shown == ["CUDA:0 bfloat16: NVIDIA X", "CPU float32: there was too little GPU memory"]
    assert window.status.device.full_text == shown[-1]
    assert "The CPU goes on: there was too little GPU memory." in notes
    assert len(window.session.results) == COUNT


def test_another_sam_is_chosen_with_its_file(made, agreed, make_window, services, open_clip, qtbot):
    services["weights"] = FakeWeights("sam_h.pth")
    window = make_window()
    open_clip(window)
    choose(window, "imagebind")
    window.actions_by_name["sam_vit_h"].trigger()
    (dialog,) = visible(window, WeightsDialog)
    assert dialog.fetch_button.text() == "Fetch sam_h.pth (2.56 GB)"
    assert checked(window, "sam_") == ["sam_own"]
    qtbot.mouseClick(dialog.fetch_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: window.encoders.config.sam == "vit_h", timeout=3000)
    assert checked(window, "sam_") == ["sam_vit_h"]
    run(window, qtbot)
    assert made[-1][0] == SegmentConfig(bundle="imagebind", sam="vit_h")
    # Another bundle begins with the SAM that belongs to it.
    choose(window, "compact")
    assert window.encoders.config == SegmentConfig()
    assert checked(window, "sam_") == ["sam_own"]


def test_the_files_of_every_sam_are_those_of_the_core():
    from moca_core.models.sam import FILES

    assert dict(SAM_FILES) == dict(FILES)


def test_a_run_needs_its_own_sam_and_no_other(home, monkeypatch):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(home))

    def needed(**choice):
        return {row.name for row in ManagedWeights().needed(SegmentConfig(**choice))}

    imagebind = {"imagebind_huge.pth", "dino_deitsmall16_pretrain.pth"}
    assert needed(bundle="imagebind") == imagebind | {"sam_vit_b_01ec64.pth"}
    assert needed(bundle="imagebind", sam="vit_h") == imagebind | {"sam_vit_h_4b8939.pth"}
    assert needed(bundle="imagebind", sam="mobile") == imagebind | {"mobile_sam.pt"}
    assert "mobile_sam.pt" in needed()
    assert needed(sam="vit_l") == needed() - {"mobile_sam.pt"} | {"sam_vit_l_0b3195.pth"}


def test_about_tells_both_bundles(window):
    from PySide6.QtWidgets import QLabel

    from moca_gui.dialogs.about import AboutDialog

    window.actions_by_name["about"].trigger()
    (dialog,) = visible(window, AboutDialog)
    words = " ".join(label.text() for label in dialog.findChildren(QLabel))
    for row in BUNDLES:
        assert row.title in words
        assert row.about in words
        assert row.terms in words


def test_evidence_below_zero_is_explained(segmenter, window, open_clip, qtbot, monkeypatch):
    whole = segmenter.result

    def shifted(index, keep_maps=False):
        result = whole(index, keep_maps)
        maps = {
            name: values - 0.75 if name == "evidence" else values
            for name, values in result.maps.items()
        }
        return replace(result, maps=maps)

    monkeypatch.setattr(segmenter, "result", shifted)
    open_clip(window)
    window.runner.run_frame()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)
    qtbot.keyClick(window, Qt.Key.Key_2)
    assert "below 0" in window.inspector.note.text()
    qtbot.mouseMove(window.view, window.view.frame_rect().topLeft().toPoint() + QPoint(2, 2))
    qtbot.waitUntil(lambda: window.inspector.value.text().startswith("-0.7"), timeout=2000)
    qtbot.keyClick(window, Qt.Key.Key_5)
    assert "below 0" not in window.inspector.note.text()
