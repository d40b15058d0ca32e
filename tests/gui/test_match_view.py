"""View > Compare two frames: which frames, what is shown of them, and what ends when."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data.make_clips import ClipSpec, make_clip
from match_fakes import GRID, FakeMatching, fields, some_neighbours
from PIL import Image
from PySide6.QtCore import QEvent, QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent, QMouseEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QListWidget,
    QSlider,
)
from tuning_fakes import press

from moca_core.bytecache import ByteCache
from moca_core.errors import DatasetError, WeightsError
from moca_core.media.still import open_still
from moca_core.pipeline.pma import compare
from moca_core.pipeline.pma_config import PmaConfig
from moca_gui.dialogs.weights import WeightsDialog
from moca_gui.matching.bar import UNIT
from moca_gui.matching.controls import ROWS
from moca_gui.matching.pictures import Pick, Pictures
from moca_gui.matching.source import EncoderChoice, Found, LocalMatching, NeighbourQuery
from moca_gui.matching.worker import Compared, Matcher, Request
from moca_gui.opener import open_video
from moca_gui.sliders import ANYWHERE
from moca_gui.theme import LIGHT


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of three seconds with numbered frames, ten a second."""
    folder = tmp_path_factory.mktemp("clips")
    spec = ClipSpec(frames=30, fps=10, audio="aac", audio_stop_ms=3000)
    return [make_clip(folder / name, spec) for name in ("one.mp4", "two.mp4")]


@pytest.fixture
def source(services):
    services["open_reader"] = open_video
    services["matching"] = FakeMatching()
    return services["matching"]


@pytest.fixture
def picture(tmp_path):
    """A picture file with nothing in common with the clips."""
    path = tmp_path / "noise.png"
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def open_in(window, path, qtbot):
    with qtbot.waitSignal(window.opened, timeout=5000):
        window.open_path(path)
    qtbot.waitUntil(lambda: window.session.image is not None, timeout=3000)


@pytest.fixture
def dialog(source, make_window, clips, qtbot):
    """The comparing window with the first clip, compared."""
    window = make_window()
    open_in(window, clips[0], qtbot)
    qtbot.keyClick(window, Qt.Key.Key_M, Qt.KeyboardModifier.ControlModifier)
    dialog = window.matching.dialog
    qtbot.waitUntil(lambda: dialog.compared is not None, timeout=5000)
    return dialog


def main_window(dialog):
    return dialog.parent()


def compared_with(qtbot, dialog, condition):
    """Wait for a comparison of which `condition` holds."""
    qtbot.waitUntil(
        lambda: dialog.compared is not None and condition(dialog.compared), timeout=5000
    )


def frames(compared):
    return [(one.path.name, one.frame) for one in compared.pictures]


def expected(a, b, config=None):
    """What the comparison of two stills must be."""
    return compare(fields(a.rgb), fields(b.rgb), GRID, config or PmaConfig())


def at(view, place):
    """The middle of a location of a view, as the mouse takes it."""
    return view.cell_rect(place).center().toPoint()


def hover(view, place):
    """Move the mouse there; without a screen Qt would move it in the window below."""
    point, none = QPointF(at(view, place)), Qt.MouseButton.NoButton
    event = QMouseEvent(QEvent.Type.MouseMove, point, view.mapToGlobal(point), none, none,
                        Qt.KeyboardModifier.NoModifier)  # fmt: skip
    QApplication.sendEvent(view, event)


def moved(slider):
    """A position of a slider away from where it is."""
    return slider.minimum() if slider.value() > slider.minimum() else slider.maximum()


# --- opening ------------------------------------------------------------------------------------


def test_without_a_clip_it_says_what_to_do(source, make_window, clips, qtbot, monkeypatch):
    window = make_window()
    window.actions_by_name["match"].trigger()
    dialog = window.matching.dialog
    assert "Open a clip" in dialog.sides[0].view.empty_text
    assert not dialog.controls.isEnabled() and not dialog.strip.search.isEnabled()
    assert not window.pool.titles
    chosen = (str(clips[0]), "")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: chosen)
    press(qtbot, dialog.open_button)
    compared_with(qtbot, dialog, lambda found: frames(found)[0] == ("one.mp4", 0))
    assert not dialog.open_button.isVisible() and dialog.controls.isEnabled()


def test_the_frame_on_screen_against_the_next_second(dialog, source, clips):
    compared = dialog.compared
    assert frames(compared) == [("one.mp4", 0), ("one.mp4", 10)]
    truth = expected(open_still(clips[0], 0.0), open_still(clips[0], 1.0))
    np.testing.assert_allclose(compared.result.costs, truth.costs, atol=1e-5)
    for side, costs in zip(dialog.sides, (truth.cost_a, truth.cost_b), strict=True):
        np.testing.assert_allclose(side.view.map.values, costs, atol=1e-5)
        assert (side.view.map.low, side.view.map.high) == pytest.approx(truth.cost_range, abs=1e-5)
    assert dialog.numbers.labels["distance"].text() == f"{truth.distance:.4f}"
    assert dialog.sides[1].title.text() == "one.mp4, frame 10, 00:01.000"
    assert source.loaded == [EncoderChoice("compact", "", 224)]
    assert source.threads == {"job: comparing frames"}
    assert dialog.features.text() == "Compact"


def test_every_control_has_a_name(dialog):
    kinds = (QAbstractButton, QSlider, QLineEdit, QComboBox, QListWidget)
    controls = [c for kind in kinds for c in dialog.findChildren(kind)]
    unnamed = [c for c in controls if not (c.accessibleName() or getattr(c, "text", str)())]
    assert len(controls) > 25 and unnamed == []
    for side in dialog.sides:
        assert side.view.accessibleName() and side.bar.accessibleName()
        assert "Arrow keys" in side.view.accessibleDescription()
    main_window(dialog).apply_theme(LIGHT)
    ground = dialog.sides[0].view.grab().toImage().pixelColor(2, 60)
    assert ground.name() == LIGHT.stage


# --- places -------------------------------------------------------------------------------------


def test_a_click_shows_the_costs_in_the_other_frame_and_the_best_match(dialog, qtbot):
    left, right = (side.view for side in dialog.sides)
    result = dialog.compared.result
    qtbot.mouseClick(left, Qt.MouseButton.LeftButton, pos=at(left, (2, 5)))
    assert left.marks.chosen == (2, 5) and left.marks.best is None
    np.testing.assert_array_equal(right.map.values, result.surface(2, 5))
    best = tuple(result.match_a[2 * 8 + 5])
    assert right.marks.best == best
    texts = {name: label.text() for name, label in dialog.numbers.labels.items()}
    assert texts["place"] == "left, row 2, column 5"
    assert texts["cost"] == f"{result.cost_a[2, 5]:.4f}"
    assert texts["best"] == f"row {best[0]}, column {best[1]}"
    assert texts["least"] == f"{result.surface(2, 5)[best]:.4f}"
    # And from the right to the left.
    qtbot.mouseClick(right, Qt.MouseButton.LeftButton, pos=at(right, (7, 0)))
    assert right.marks.chosen == (7, 0) and left.marks.chosen is None
    np.testing.assert_array_equal(left.map.values, result.surface(7, 0, of_b=True))
    assert left.marks.best == tuple(result.match_b[7 * 8])
    np.testing.assert_array_equal(right.map.values, result.cost_b)


def test_the_value_under_the_cursor(dialog, qtbot):
    view, bar = dialog.sides[0].view, dialog.sides[0].bar
    assert bar.words == ("c(p) of each place p against the right frame", UNIT)
    hover(view, (3, 4))
    assert view.cursor_place == (3, 4)
    value = dialog.compared.result.cost_a[3, 4]
    assert bar.words[1] == f"{value:.4f} at row 3, column 4"
    assert f"{value:.4f}" in bar.accessibleDescription()
    # What isn't searched has no value, and no colour.
    dialog.controls.fields["radius"].slider.setValue(1)
    compared_with(qtbot, dialog, lambda found: found.request.config.radius == 1)
    dialog.choose(1, (0, 0))
    assert bar.words[1] == "not searched at row 3, column 4"
    colours = view.map.image
    assert colours.pixelColor(4, 3).alpha() == 0 and colours.pixelColor(0, 0).alpha() == 255
    assert np.isfinite([view.map.low, view.map.high]).all()


def test_keys_choose_a_place(dialog, qtbot):
    view = dialog.sides[1].view
    view.setFocus()
    qtbot.keyClick(view, Qt.Key.Key_Left)
    assert view.marks.chosen == (4, 4)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Up, Qt.Key.Key_Up):
        qtbot.keyClick(view, key)
    assert view.marks.chosen == (2, 5)
    for _ in range(9):
        qtbot.keyClick(view, Qt.Key.Key_Right)
    assert view.marks.chosen == (2, 7)
    assert "row 2, column 7" in view.accessibleDescription()
    qtbot.keyClick(view, Qt.Key.Key_Escape)
    assert view.marks.chosen is None and dialog.isVisible()
    assert dialog.numbers.labels["place"].text() == "-"


def test_numbered_matches(dialog, qtbot):
    assert dialog.sides[0].view.marks.numbered == ()
    dialog.controls.numbered.click()
    ends = np.array([side.view.marks.numbered for side in dialog.sides])  # (2, K, 2)
    np.testing.assert_array_equal(ends[0], dialog.compared.matches[:, :2])
    np.testing.assert_array_equal(ends[1], dialog.compared.matches[:, 2:])
    assert ends.shape[1] == 12
    dialog.controls.opacity.setValue(0)
    assert not dialog.sides[0].view.grab().isNull()


# --- settings -----------------------------------------------------------------------------------


def test_sliders_act_at_once_and_no_frame_is_looked_at_again(dialog, source, clips, qtbot):
    stills = open_still(clips[0], 0.0), open_still(clips[0], 1.0)
    config = PmaConfig()
    for row in ROWS:
        slider = dialog.controls.fields[row.name].slider
        slider.setValue(moved(slider))
        config = replace(config, **{row.name: dialog.controls.fields[row.name].value})
        assert dialog.controls.config == config
        compared_with(qtbot, dialog, lambda found, config=config: found.request.config == config)
        truth = expected(*stills, config)
        np.testing.assert_allclose(dialog.compared.result.costs, truth.costs, atol=1e-5)
        np.testing.assert_allclose(dialog.sides[0].view.map.values, truth.cost_a, atol=1e-5)
    assert config == PmaConfig(window=1, alpha=0.0, tau=0.001, radius=0)
    dialog.controls.mode.setCurrentIndex(dialog.controls.mode.findData("ncc"))
    assert not dialog.controls.fields["alpha"].isEnabled()
    compared_with(qtbot, dialog, lambda found: found.request.config.mode == "ncc")
    press(qtbot, dialog.controls.reset)
    compared_with(qtbot, dialog, lambda found: found.request.config == PmaConfig())
    assert len(source.heard) == 2 and len(source.loaded) == 1


def test_numbers_are_typed_and_wrong_ones_refused(dialog, qtbot):
    def enter(name, text):
        edit = dialog.controls.fields[name].edit
        edit.setFocus()
        edit.selectAll()
        qtbot.keyClicks(edit, text)
        qtbot.keyClick(edit, Qt.Key.Key_Return)
        return edit

    overlay = main_window(dialog).inspector.current
    enter("alpha", "0,25")
    enter("radius", "3")
    enter("tau", "0.007")
    assert dialog.controls.config == PmaConfig(alpha=0.25, radius=3, tau=0.007)
    assert dialog.controls.fields["radius"].slider.value() == 3
    enter("radius", ANYWHERE)
    assert dialog.controls.config.radius is None
    assert dialog.isVisible()
    for name, text, kept in (
        ("window", "4", "3"),
        ("alpha", "1.5", "0.25"),
        ("tau", "0", "0.007"),
        ("tau", "nan", "0.007"),
    ):
        assert enter(name, text).text() == kept
        assert name in dialog.message.text() and len(dialog.message.text().splitlines()) == 2
    assert enter("window", "wide").text() == "3"
    enter("window", "5")
    assert dialog.message.text() == ""
    assert main_window(dialog).inspector.current == overlay  # digits weren't the window's keys


def test_finer_places_need_the_encoder_again(dialog, source, qtbot):
    dialog.choose(0, (7, 7))
    side = dialog.controls.side
    side.setCurrentIndex(side.findData(448))
    qtbot.waitUntil(lambda: len(source.loaded) == 2)
    assert source.loaded[1] == EncoderChoice("compact", "", 448)
    compared_with(qtbot, dialog, lambda found: found.request.choice.side == 448)
    assert source.closed == 1
    radius = dialog.controls.fields["radius"]
    assert radius.slider.maximum() == 31 and radius.value is None


# --- which frames -------------------------------------------------------------------------------


def test_it_follows_the_playhead_when_asked(dialog, qtbot):
    player = main_window(dialog).player
    player.seek(4)
    qtbot.waitUntil(lambda: main_window(dialog).session.frame == 4)
    assert dialog.pair.left.position == 0
    press(qtbot, dialog.current)
    compared_with(qtbot, dialog, lambda found: found.pictures[0].frame == 4)
    dialog.follow.click()
    player.seek(12)
    compared_with(qtbot, dialog, lambda found: found.pictures[0].frame == 12)
    assert dialog.pair.right.position == 10
    qtbot.mouseClick(dialog.sides[0].back, Qt.MouseButton.LeftButton)
    compared_with(qtbot, dialog, lambda found: found.pictures[0].frame == 11)
    assert not dialog.follow.isChecked()
    player.seek(20)
    qtbot.waitUntil(lambda: main_window(dialog).session.frame == 20)
    assert dialog.pair.left.position == 11


def test_frames_by_number_and_time(dialog, qtbot):
    right = dialog.sides[1]

    def enter(text):
        right.position.setFocus()
        right.position.selectAll()
        qtbot.keyClicks(right.position, text)
        qtbot.keyClick(right.position, Qt.Key.Key_Return)

    for text, frame in (("29", 29), ("0.55", 5), ("00:02.000", 20)):
        enter(text)
        compared_with(qtbot, dialog, lambda found, frame=frame: found.pictures[1].frame == frame)
        qtbot.waitUntil(lambda frame=frame: right.position.text() == str(frame))
    for text in ("30", "3.5", "soon"):
        enter(text)
        assert dialog.message.text().startswith(f"{text}: no frame or time of one.mp4\nType a")
        assert right.position.text() == "20" and dialog.compared.pictures[1].frame == 20
    with qtbot.assertNotEmitted(right.position_wanted):
        qtbot.keyClick(right.position, Qt.Key.Key_Return)  # nothing was typed
        qtbot.keyClick(right.position, Qt.Key.Key_Tab)
    qtbot.mouseClick(right.forward, Qt.MouseButton.LeftButton)
    compared_with(qtbot, dialog, lambda found: found.pictures[1].frame == 21)
    assert dialog.message.text() == ""


def test_another_clip_a_picture_and_what_cannot_be_read(dialog, clips, picture, tmp_path, qtbot):
    press(qtbot, dialog.file)
    (files,) = [f for f in dialog.findChildren(QFileDialog) if f.isVisible()]
    files.findChild(QLineEdit).setText(str(clips[1]))
    files.accept()
    compared_with(qtbot, dialog, lambda found: frames(found)[1] == ("two.mp4", 0))
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(picture))])
    drop = QDropEvent(QPointF(9, 9), Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton,
                      Qt.KeyboardModifier.NoModifier)  # fmt: skip
    dialog.choose(1, (1, 1))
    dialog.dropEvent(drop)
    compared_with(qtbot, dialog, lambda found: frames(found)[1] == ("noise.png", None))
    assert dialog.chosen is None
    assert not dialog.sides[1].position.isEnabled() and dialog.sides[1].position.text() == ""
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    dialog.use_file(bad)
    qtbot.waitUntil(lambda: dialog.message.text() != "", timeout=3000)
    assert dialog.message.text().startswith("bad.jpg: not a picture")
    assert len(dialog.message.text().splitlines()) == 2
    assert dialog.sides[0].view.image is not None and dialog.sides[0].view.map is None
    assert dialog.sides[1].view.empty_text and dialog.numbers.labels["distance"].text() == "-"
    press(qtbot, dialog.own)
    compared_with(qtbot, dialog, lambda found: frames(found)[1] == ("one.mp4", 10))
    assert dialog.message.text() == ""


def test_another_clip_clears_what_belongs_to_the_old_one(dialog, source, clips, picture, qtbot):
    window = main_window(dialog)
    source.found = some_neighbours(clips[0], picture)
    press(qtbot, dialog.strip.search)
    qtbot.waitUntil(lambda: dialog.strip.list.count() == 2)
    dialog.choose(0, (1, 1))
    open_in(window, clips[1], qtbot)
    assert dialog.chosen is None and dialog.strip.list.count() == 0
    compared_with(qtbot, dialog, lambda f: frames(f) == [("two.mp4", 0), ("two.mp4", 10)])
    # The right frame of another file stays.
    dialog.use_file(picture)
    compared_with(qtbot, dialog, lambda found: frames(found)[1][0] == "noise.png")
    open_in(window, clips[0], qtbot)
    compared_with(qtbot, dialog, lambda f: frames(f) == [("one.mp4", 0), ("noise.png", None)])


# --- with an adapter ----------------------------------------------------------------------------


def test_an_adapter_hears_the_sound_around_each_frame(
    dialog, source, clips, picture, tmp_path, qtbot
):
    window = main_window(dialog)
    assert not dialog.controls.sound.isVisible() and set(source.heard) == {None}
    adapter = tmp_path / "own-0a1b2c3d.safetensors"
    adapter.touch()
    window.encoders.choose_adapter("compact", str(adapter))
    compared_with(qtbot, dialog, lambda found: found.request.choice.adapter == str(adapter))
    assert dialog.features.text() == "Compact + adapter own"
    assert [(one.path, one.time_s) for one in source.heard[2:]] == [(clips[0], 0), (clips[0], 1)]
    assert dialog.controls.sound.isVisible()
    dialog.controls.sound.setCurrentIndex(1)
    compared_with(qtbot, dialog, lambda found: found.request.sound == "left")
    assert source.heard[-1].time_s == 0 and len(source.heard) == 5  # the left one is known
    # A picture has no sound of its own, and a clip may have none.
    source.mute = ("two.mp4",)
    for path in (picture, clips[1]):
        dialog.controls.sound.setCurrentIndex(0)
        dialog.use_file(path)
        qtbot.waitUntil(lambda: dialog.message.text() != "", timeout=3000)
        assert dialog.message.text().splitlines() == [
            f"{path.name}: has no sound, which the adapter needs",
            "Choose the sound of the other frame, or no adapter (Run > Adapter).",
        ]
        assert dialog.sides[1].picture.path == path and dialog.sides[1].view.map is None
        dialog.controls.sound.setCurrentIndex(1)
        compared_with(qtbot, dialog, lambda found, path=path: found.pictures[1].path == path)
        assert dialog.message.text() == ""
    window.encoders.choose_adapter("compact", "")
    compared_with(qtbot, dialog, lambda found: found.request.choice.adapter == "")
    assert not dialog.controls.sound.isVisible()


def test_files_that_are_missing_are_fetched_first(source, services, make_window, clips, qtbot):
    weights = services["weights"]
    weights.lacking.add("second.pt")
    window = make_window()
    open_in(window, clips[0], qtbot)
    window.actions_by_name["match"].trigger()
    dialog = window.matching.dialog
    assert dialog.message.text().startswith("second.pt: not here yet\n")
    assert "comparing frames" not in window.pool.titles and source.loaded == []
    press(qtbot, dialog.weights)
    (fetch,) = [found for found in window.findChildren(WeightsDialog) if found.isVisible()]
    weights.lacking.clear()
    fetch.completed.emit()
    fetch.close()
    qtbot.waitUntil(lambda: dialog.compared is not None, timeout=5000)
    assert dialog.message.text() == "" and not dialog.weights.isVisible()


def test_an_encoder_that_cannot_be_loaded(source, make_window, clips, qtbot):
    source.load_error = WeightsError("vit.onnx: damaged", "Fetch it again.")
    window = make_window()
    open_in(window, clips[0], qtbot)
    window.actions_by_name["match"].trigger()
    dialog = window.matching.dialog
    qtbot.waitUntil(lambda: dialog.message.text() != "", timeout=5000)
    assert dialog.message.text() == "vit.onnx: damaged\nFetch it again."
    assert dialog.weights.isVisible() and dialog.sides[1].view.image is not None
    source.load_error = RuntimeError("a mistake")
    press(qtbot, dialog.sides[1].forward)
    qtbot.waitUntil(lambda: "RuntimeError: a mistake" in dialog.message.text(), timeout=5000)
    assert not dialog.weights.isVisible()
    source.load_error = None
    press(qtbot, dialog.sides[1].forward)
    qtbot.waitUntil(lambda: dialog.compared is not None, timeout=5000)


# --- neighbours ---------------------------------------------------------------------------------


def test_a_neighbour_becomes_the_right_frame(dialog, source, clips, picture, tmp_path, qtbot):
    strip = dialog.strip
    source.found, source.left_out = some_neighbours(clips[1], picture), ("bad.png: unreadable",)
    strip.set_folder(tmp_path)
    press(qtbot, strip.search)
    qtbot.waitUntil(lambda: strip.list.count() == 2)
    (query,) = source.queries
    assert (query.pick.path, query.folder, query.every_s) == (clips[0], tmp_path, 1.0)
    assert strip.list.item(0).text() == "two.mp4\n00:00.500   0.930"
    assert strip.list.item(1).text() == "noise.png\n0.410"
    assert "frame 0 of 4 pictures" in strip.note.text() and "1 that can't be" in strip.note.text()
    assert strip.note.toolTip() == "bad.png: unreadable"
    box = strip.list.visualItemRect(strip.list.item(0))
    qtbot.mouseClick(strip.list.viewport(), Qt.MouseButton.LeftButton, pos=box.center())
    compared_with(qtbot, dialog, lambda found: frames(found)[1] == ("two.mp4", 5))
    strip.list.setFocus()
    qtbot.keyClick(strip.list, Qt.Key.Key_Right)
    qtbot.keyClick(strip.list, Qt.Key.Key_Return)
    compared_with(qtbot, dialog, lambda found: frames(found)[1] == ("noise.png", None))
    press(qtbot, strip.none)
    assert strip.folder is None


def test_neighbours_of_the_core_come_with_small_pictures(
    clips, picture, tmp_path, home, monkeypatch
):
    """The real search with a stand-in for the encoder: key frames first, then the folder."""
    from moca_core.training import retrieval

    def by_colour(rgbs):
        means = np.stack([rgb.reshape(-1, 3).mean(axis=0) for rgb in rgbs]).astype(np.float32)
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    monkeypatch.setenv("MOCA_CACHE_DIR", str(home / "cache"))
    monkeypatch.setattr(retrieval, "load_retriever", lambda bundle, device: by_colour)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "noise.png").write_bytes(picture.read_bytes())
    (folder / "two.mp4").write_bytes(clips[1].read_bytes())
    query = NeighbourQuery(Pick(clips[0], 10), folder, 1.0, "compact")
    found = list(LocalMatching().neighbours(query))[-1]
    assert isinstance(found, Found) and found.total == 2 + 1 + 3  # key frames, picture, frames
    own = [one.time_s for one in found.neighbours if one.path == clips[0]]
    assert sorted(own) == [0.0, 2.0]  # not the frame itself, which is a key frame, too
    others = [one.path.name for one in found.neighbours if one.path != clips[0]]
    assert sorted(others) == ["noise.png", "two.mp4"]
    assert {max(image.width(), image.height()) for image in found.thumbs} == {90, 160}
    likeness = [one.likeness for one in found.neighbours]
    assert likeness == sorted(likeness, reverse=True)


def test_a_search_is_cancelled_and_fails(dialog, source, qtbot):
    strip, window = dialog.strip, main_window(dialog)
    source.search_gate = threading.Event()
    press(qtbot, strip.search)
    qtbot.waitUntil(lambda: strip.progress.value() == 2)
    press(qtbot, strip.cancel)
    assert strip.search.isVisible() and not strip.progress.isVisible()
    qtbot.waitUntil(lambda: "neighbours" not in window.pool.titles)
    source.search_gate, source.search_error = None, DatasetError("there: no such folder", "Choose.")
    press(qtbot, strip.search)
    qtbot.waitUntil(lambda: dialog.message.text() == "there: no such folder\nChoose.")
    assert strip.search.isVisible()


# --- ending -------------------------------------------------------------------------------------


def test_closing_it_ends_its_jobs_and_it_can_be_opened_again(dialog, source, qtbot):
    window = main_window(dialog)
    source.search_gate = threading.Event()
    press(qtbot, dialog.strip.search)
    window.player.seek(7)
    qtbot.waitUntil(lambda: window.session.frame == 7)
    press(qtbot, dialog.close_button)
    assert not dialog.isVisible() and source.queries
    qtbot.waitUntil(lambda: not {"comparing frames", "neighbours"} & set(window.pool.titles))
    assert source.closed == len(source.loaded) == 1
    window.actions_by_name["match"].trigger()
    compared_with(qtbot, dialog, lambda found: found.pictures[0].frame == 7)
    assert len(source.loaded) == 2


@pytest.mark.parametrize("what", ["clip", "dialog", "window"])
def test_closing_while_the_encoder_is_loaded(source, make_window, clips, qtbot, what):
    source.load_gate = threading.Event()
    window = make_window()
    open_in(window, clips[0], qtbot)
    window.actions_by_name["match"].trigger()
    dialog = window.matching.dialog
    qtbot.waitUntil(lambda: source.threads != set(), timeout=3000)
    qtbot.waitUntil(lambda: dialog.sides[1].view.image is not None, timeout=3000)
    assert dialog.state.text() == "Loading the encoder"
    if what == "clip":
        window.clips.close()
        assert dialog.sides[0].view.image is None and "Open a clip" in dialog.sides[0].view._empty
    else:
        (dialog if what == "dialog" else window).close()
    if what != "window":
        qtbot.waitUntil(lambda: "comparing frames" not in window.pool.titles, timeout=3000)
    assert dialog.compared is None


# --- the worker ---------------------------------------------------------------------------------


def consume(matcher):
    """Collect a matcher's events in a thread of its own."""
    events = []
    thread = threading.Thread(target=lambda: events.extend(matcher.events()), daemon=True)
    thread.start()
    return events, thread


def test_requests_that_never_pause_get_answers(clips, picture):
    """While a clip plays each frame's answer comes too late; every other one is given."""
    source = FakeMatching()
    matcher = Matcher(source)
    asked, looks = [], []
    answered = threading.Event()

    def run():
        for event in matcher.events():
            if isinstance(event, Compared):
                looks.append(len(asked))
                answered.set()

    def request(number):
        picks = Pick(clips[0], number), Pick(picture)
        return Request(number, picks, EncoderChoice("compact"), PmaConfig())

    plain_load = source.load

    def load(choice, stopped):
        encoder = plain_load(choice, stopped)
        plain = encoder.features

        def slow(rgb, heard):
            asked.append(len(asked))
            matcher.ask(request(min(len(asked), 29)))  # the next one is there before the answer
            return plain(rgb, heard)

        encoder.features = slow
        return encoder

    source.load = load
    matcher.ask(request(0))
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert answered.wait(5)
    matcher.stop()
    thread.join(5)
    assert not thread.is_alive() and source.closed == 1
    assert looks[0] <= 4


def test_what_is_kept_is_bounded(clips):
    class Value:
        def __init__(self, nbytes):
            self.nbytes = nbytes

    cache = ByteCache(100)
    for number in range(5):
        cache.put(number, Value(30))
    assert cache.used_bytes == 90 and cache.get(0, Value) is None
    cache.get(2, Value)
    cache.put(5, Value(30))
    assert cache.get(2, Value) is not None and cache.get(3, Value) is None
    cache.put(6, Value(1000))
    assert len(cache) == 1 and cache.used_bytes == 1000
    cache.put(6, Value(10))
    assert cache.used_bytes == 10

    source = FakeMatching()
    small = Matcher(source, ByteCache(300_000))
    events, thread = consume(small)
    for number in range(12):
        picks = Pick(clips[0], number), Pick(clips[0], number + 1)
        small.ask(Request(number, picks, EncoderChoice("compact"), PmaConfig()))
        deadline = time.monotonic() + 5
        while not any(isinstance(e, Compared) and e.request.number == number for e in events):
            # `extend` appends as it goes.
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert small.cache.used_bytes <= 300_000
    small.stop()
    thread.join(5)
    assert not thread.is_alive() and small.cache.used_bytes == 0


def test_a_file_that_changed_is_another_frame(tmp_path, picture):
    path = tmp_path / "same.png"
    path.write_bytes(picture.read_bytes())
    before = Pick(path).key
    Image.new("RGB", (8, 8)).save(path)
    assert Pick(path).key != before
    assert Pick(path, 1).key != Pick(path, 1.0).key  # a frame, and a second
    with Pictures() as pictures:
        assert pictures.read(Pick(path))[0].image.width() == 8
    assert Pick(Path("gone.png")).key == Pick(Path("gone.png")).key
