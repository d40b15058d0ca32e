"""File > Export and File > Import masks, with the real exporters and readers."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core.corrected_fakes import CORRECTED, found, labels, shown
from core.export_fakes import COUNT, SIZE, files_of, footage, maps, pixels
from gui_fakes import HEIGHT, WIDTH
from PIL import Image
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QDropEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QFileDialog,
    QLineEdit,
    QProgressBar,
)

from moca_core.annotations.edits import accept
from moca_core.annotations.history import Edit
from moca_core.export.formats import FORMATS
from moca_core.types import StageEvent
from moca_gui.opener import open_video


@pytest.fixture(scope="module")
def farm(tmp_path_factory) -> Path:
    return footage(tmp_path_factory.mktemp("farm"))


@pytest.fixture
def clip(farm, tmp_path) -> Path:
    """The clip in a folder of the test's own."""
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "farm.mp4").write_bytes(farm.read_bytes())
    return folder / "farm.mp4"


@pytest.fixture
def opened(services, make_window, clip, qtbot):
    """The window with a real clip, and no result yet."""
    services["open_reader"] = open_video
    window = make_window()
    with qtbot.waitSignal(window.opened, timeout=5000):
        window.open_path(clip)
    return window


@pytest.fixture
def full(opened):
    """The window with results of all frames and corrected ones."""
    for number in range(COUNT):
        opened.session.add_result(found(number))
    opened.session.apply(Edit("correct", dict(labels().frames)))
    return opened


def press(qtbot, window, key) -> None:
    """Press a key with Ctrl in the main window."""
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=2000)
    qtbot.keyClick(window, key, Qt.KeyboardModifier.ControlModifier)


def show(qtbot, window):
    """The export window, by its key."""
    press(qtbot, window, Qt.Key.Key_E)
    return window.exporting.dialog


def choose(dialog, name: str) -> None:
    dialog.formats.setCurrentIndex(dialog.formats.findData(name))


def click(qtbot, button) -> None:
    assert button.isVisible()
    assert button.isEnabled(), button.toolTip()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def run(qtbot, window) -> None:
    click(qtbot, window.exporting.dialog.start_button)
    qtbot.waitUntil(lambda: not window.exporting.work.active, timeout=20_000)


def unions(folder: Path) -> list[int]:
    return sorted(int(path.stem[6:]) for path in (folder / "farm" / "union").iterdir())


# -- export -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_from_the_window(full, clip, qtbot, name):
    dialog = show(qtbot, full)
    choose(dialog, name)
    if name == "avsbench":
        dialog.options.tree.setCurrentIndex(dialog.options.tree.findData("ms3"))
    run(qtbot, full)
    folder = clip.with_name(f"farm-{name}")
    assert dialog.message.text().startswith(f"Exported to {folder}.")
    assert len(files_of(folder)) > 1
    assert full.status.note.full_text.startswith(f"Exported to {folder}.")


def test_what_is_shown_is_what_is_exported(full, clip, qtbot):
    show(qtbot, full)
    run(qtbot, full)
    for number in (4, *CORRECTED):
        mask = pixels(clip.with_name("farm-png") / "farm" / "union" / f"frame_{number:06d}.png") > 0
        truth = np.zeros(SIZE, bool)
        for item in shown(number).objects:
            truth |= item.mask(SIZE)
        np.testing.assert_array_equal(mask, truth)


def test_the_range_and_corrected_frames_only(full, clip, qtbot):
    full.session.set_range(12, 37)
    dialog = show(qtbot, full)
    assert dialog.part.currentData() == "range"
    assert dialog.count.text() == "26 frames"
    run(qtbot, full)
    assert unions(clip.with_name("farm-png")) == list(range(12, 38))
    dialog.corrected.setFocus()
    qtbot.keyClick(dialog.corrected, Qt.Key.Key_Space)
    assert dialog.count.text() == "3 frames"
    assert dialog.folder.text == str(clip.with_name("farm-png-2"))
    run(qtbot, full)
    assert unions(clip.with_name("farm-png-2")) == [15, 25, 35]
    full.session.clear_range()
    assert dialog.part.currentData() == "whole"
    assert not dialog.part.isEnabled()
    assert dialog.count.text() == "6 frames"


def test_without_results_it_says_so(opened, qtbot):
    dialog = show(qtbot, opened)
    assert dialog.count.text() == "Nothing to export yet: run the method, or draw masks."
    assert not dialog.start_button.isEnabled()
    assert dialog.start_button.toolTip() == dialog.count.text()
    opened.session.add_result(found(3))
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=2000)
    assert dialog.count.text() == "1 frame"
    qtbot.mouseClick(dialog.corrected, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    assert dialog.count.text() == "No frame is corrected yet."
    assert not dialog.start_button.isEnabled()


def test_options_are_those_of_the_row(full, qtbot):
    dialog = show(qtbot, full)
    for name, row in FORMATS.items():
        choose(dialog, name)
        visible = {
            option
            for option in ("segmentation", "tree", "split", "alpha")
            if getattr(dialog.options, option).isVisible()
        }
        assert visible == set(row.options)
        assert row.lost.replace("`", "") in dialog.lost.text()
        assert row.kept.replace("`", "") in dialog.kept.text()


def test_options_reach_the_format(full, clip, qtbot):
    dialog = show(qtbot, full)
    choose(dialog, "yolo")
    qtbot.keyClicks(dialog.options.split, "v/a l")  # what can't be a folder isn't typed
    assert dialog.options.split.text() == "val"
    run(qtbot, full)
    assert (clip.with_name("farm-yolo") / "labels" / "val").is_dir()
    choose(dialog, "matte")
    qtbot.mouseClick(dialog.options.alpha, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    run(qtbot, full)
    assert "farm_matte.mov" in files_of(clip.with_name("farm-matte"))


def test_maps_in_memory_go_into_npz(full, clip, qtbot):
    full.session.add_result(replace(found(20), maps=maps(20)))
    choose(show(qtbot, full), "npz")
    run(qtbot, full)
    with np.load(clip.with_name("farm-npz") / "farm.npz") as archive:
        assert archive["frames"].tolist() == [20]
        np.testing.assert_array_equal(archive["evidence"][0], maps(20)["evidence"])


def test_a_folder_that_will_not_do_says_why(full, clip, qtbot, monkeypatch):
    dialog = show(qtbot, full)
    assert not dialog.folder_note.isVisible()
    for path, words in (
        (clip.parent, "Something is in this folder already"),
        (clip, "This is a file"),
        (clip / "below", "farm.mp4 is a file"),
        ("x" * 5000, "This can't be a folder"),
        ("", "Choose a folder."),
    ):
        dialog.folder.edit.setText(str(path))
        assert dialog.folder_note.isVisible()
        assert dialog.folder_note.text().startswith(words)
        assert not dialog.start_button.isEnabled()
        assert dialog.start_button.toolTip() == dialog.folder_note.text()
    empty = clip.with_name("empty")
    empty.mkdir()

    def pick(folder: Path) -> None:
        click(qtbot, dialog.folder.browse)
        asking = dialog.findChild(QFileDialog)
        asking.fileSelected.emit(str(folder))
        asking.close()

    pick(empty)
    run(qtbot, full)
    assert files_of(empty)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    dialog.folder.edit.setText(str(clip.with_name("new")))
    assert dialog.folder_note.text().startswith("Nothing can be written to")


def test_a_name_alone_is_beside_the_clip(full, clip, qtbot):
    dialog = show(qtbot, full)
    for name in ("mine", "~nobody of that name"):
        dialog.folder.edit.setText(name)
        run(qtbot, full)
        assert unions(clip.with_name(name)) == list(range(COUNT))


def test_the_finished_export_can_be_opened(full, clip, qtbot, monkeypatch):
    urls = []
    monkeypatch.setattr(QDesktopServices, "openUrl", urls.append)
    dialog = show(qtbot, full)
    assert not dialog.open_button.isVisible()
    run(qtbot, full)
    click(qtbot, dialog.open_button)
    assert [url.toLocalFile() for url in urls] == [str(clip.with_name("farm-png"))]


@pytest.fixture
def held(monkeypatch):
    """Holds an export after its first files until it is set."""
    gate, real = threading.Event(), FORMATS["png"].write

    def write(clips, out, settings):
        events = real(clips, out, settings)
        for _ in range(5):
            yield next(events)
        done = 5
        while not gate.wait(0.02):
            yield StageEvent("Waiting", done, 60)
            done = min(done + 1, 30)
        yield from events

    monkeypatch.setattr("moca_core.export.png.write", write)
    return gate


def test_it_shows_how_far_it_is_goes_on_when_closed_and_keeps_what_was(full, clip, qtbot, held):
    dialog = show(qtbot, full)
    click(qtbot, dialog.start_button)
    qtbot.waitUntil(lambda: dialog.state.text().startswith("Waiting, 30 of 60"), timeout=5000)
    assert dialog.state.text().endswith(" left")
    assert dialog.bar.isVisible()
    assert (dialog.bar.value(), dialog.bar.maximum()) == (30, 60)
    assert not dialog.formats.isEnabled()
    assert full.exporting.strip.text.full_text.startswith("Export: Waiting, ")
    assert full.exporting.strip.text.full_text.endswith(" left")
    click(qtbot, dialog.close_button)
    assert full.exporting.work.active
    assert full.exporting.strip.isVisible()
    full.session.undo()  # what is corrected meanwhile isn't in the export
    held.set()
    qtbot.waitUntil(lambda: not full.exporting.work.active, timeout=10_000)
    assert not full.exporting.strip.isVisible()
    assert unions(clip.with_name("farm-png")) == list(range(COUNT))
    mask = pixels(clip.with_name("farm-png") / "farm" / "union" / "frame_000045.png")
    assert not mask.any()
    assert dialog.start_button.isVisibleTo(dialog)


@pytest.mark.parametrize("where", ["window", "status bar"])
def test_cancel_leaves_nothing(full, clip, qtbot, held, where):
    dialog = show(qtbot, full)
    click(qtbot, dialog.start_button)
    qtbot.waitUntil(lambda: dialog.state.text().startswith("Waiting"), timeout=3000)
    button = dialog.cancel_button if where == "window" else full.exporting.strip.cancel
    click(qtbot, button)
    qtbot.waitUntil(lambda: not full.exporting.work.active, timeout=5000)
    assert dialog.message.text() == "Cancelled: nothing was written."
    assert not clip.with_name("farm-png").exists()
    assert dialog.start_button.isEnabled()


def test_closing_the_program_ends_an_export(full, clip, qtbot, held):
    dialog = show(qtbot, full)
    click(qtbot, dialog.start_button)
    qtbot.waitUntil(lambda: dialog.state.text().startswith("Waiting"), timeout=3000)
    full.shut_down()
    assert not dialog.isVisible()
    assert not clip.with_name("farm-png").exists()


def test_a_failure_says_what_helps_and_leaves_nothing(full, clip, qtbot):
    """No object sounds in the range: S4 has no category."""
    full.session.set_range(0, 9)
    dialog = show(qtbot, full)
    choose(dialog, "avsbench")
    click(qtbot, dialog.start_button)
    click(qtbot, dialog.close_button)  # it comes back by itself
    qtbot.waitUntil(lambda: not full.exporting.work.active, timeout=10_000)
    assert dialog.isVisible()
    assert dialog.message.objectName() == "danger"
    assert dialog.message.text().splitlines() == [
        "farm: nothing to export as s4",
        "It takes clips with sound and a result in each of 5 seconds on end.",
    ]
    assert not clip.with_name("farm-avsbench").exists()


def test_another_clip_is_proposed_another_folder(window, open_clip, tmp_path, qtbot, segmenter):
    open_clip(window, "one.mp4")
    dialog = show(qtbot, window)
    assert dialog.folder.text == str(tmp_path / "one-png")
    open_clip(window, "two.mp4")
    assert dialog.folder.text == str(tmp_path / "two-png")
    choose(dialog, "coco")
    assert dialog.folder.text == str(tmp_path / "two-coco")
    window.clips.close()
    assert dialog.count.text() == "No clip is open."
    assert not dialog.start_button.isEnabled()


def test_every_control_has_a_name(full, qtbot):
    dialog = show(qtbot, full)
    for kind in (QComboBox, QLineEdit, QProgressBar, QAbstractButton):
        for control in dialog.findChildren(kind):
            named = control.accessibleName() or getattr(control, "text", str)()
            assert named, control


# -- import -----------------------------------------------------------------------------------


def ask(qtbot, window):
    """The import window, by its key."""
    press(qtbot, window, Qt.Key.Key_I)
    return window.importing.dialog


def read(qtbot, dialog, path: Path) -> None:
    dialog.source.choose(path)
    qtbot.waitUntil(lambda: bool(dialog.found.text()), timeout=5000)


def save(path: Path, size=(HEIGHT, WIDTH)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, 255, np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", ["png", "coco"])
def test_an_export_comes_back_as_one_step(full, clip, qtbot, name):
    dialog = show(qtbot, full)
    choose(dialog, name)
    qtbot.mouseClick(dialog.corrected, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    run(qtbot, full)
    dialog.close()
    full.session.undo()  # all corrections were one step here
    assert not len(full.session.labels)
    source = clip.with_name(f"farm-{name}")
    dialog = ask(qtbot, full)
    read(qtbot, dialog, source / "annotations.json" if name == "coco" else source)
    assert dialog.found.text() == (
        "Masks of 6 frames from 5 to 55: "
        "Bell or gong in 3, Dog in 3, Wolf, grey in 1, nothing in 1."
    )
    assert not len(full.session.labels)  # nothing has changed yet
    click(qtbot, dialog.import_button)
    assert sorted(full.session.labels.frames) == list(CORRECTED)
    for number in CORRECTED:
        for item in shown(number).objects:
            same = full.session.shown(number).object(item.number)
            np.testing.assert_array_equal(same.mask(SIZE), item.mask(SIZE))
            assert (same.name, same.origin) == (item.name, item.origin)
    assert full.session.labels.undo_title == "import 6 frames"
    press(qtbot, full, Qt.Key.Key_Z)
    assert not len(full.session.labels)


def test_what_is_replaced_is_said_before(window, open_clip, qtbot, tmp_path):
    open_clip(window)
    session = window.session
    for number in (4, 9):
        session.apply(accept([session.shown_or_blank(number)]))
    save(tmp_path / "masks" / "0004.png")
    save(tmp_path / "masks" / "0999.png")
    dialog = ask(qtbot, window)
    assert not dialog.import_button.isEnabled()
    read(qtbot, dialog, tmp_path / "masks")
    assert dialog.found.text().splitlines() == [
        "Masks of frame 4: object in 1.",
        "They take the place of 1 corrected frame.",
        "Frame 999 isn't in the clip, which has 50: left out.",
    ]
    before = session.labels.get(9)
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    assert not dialog.isVisible()
    assert session.labels.get(4).objects[0].mask((HEIGHT, WIDTH)).all()
    assert session.labels.get(9) is before


def test_masks_of_another_size_are_resized_if_asked(window, open_clip, qtbot, tmp_path):
    open_clip(window)
    save(tmp_path / "masks" / "0004.png", (HEIGHT // 2, WIDTH // 2))
    dialog = ask(qtbot, window)
    read(qtbot, dialog, tmp_path / "masks")
    assert dialog.found.objectName() == "danger"
    assert "32x24 pixels, and the clip has 64x48" in dialog.found.text()
    assert not dialog.import_button.isEnabled()
    qtbot.mouseClick(dialog.resize_box, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    qtbot.waitUntil(dialog.import_button.isEnabled, timeout=3000)
    click(qtbot, dialog.import_button)
    assert window.session.labels.get(4).objects[0].mask((HEIGHT, WIDTH)).all()


def test_masks_are_dropped_browsed_for_and_given_up(window, open_clip, qtbot, tmp_path):
    open_clip(window)
    save(tmp_path / "masks" / "0004.png")
    dialog = ask(qtbot, window)
    assert [action.text() for action in dialog.source.browse.menu().actions()] == [
        "Folder of PNG…",
        "COCO file…",
    ]
    files = QMimeData()
    files.setUrls([QUrl.fromLocalFile(str(tmp_path / "masks"))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    dialog.dropEvent(QDropEvent(QPoint(5, 5), Qt.DropAction.CopyAction, files, buttons, keys))
    qtbot.waitUntil(dialog.import_button.isEnabled, timeout=3000)
    dialog.source.choose(Path("~nobody/nowhere"))
    qtbot.waitUntil(lambda: "no such file or folder" in dialog.found.text(), timeout=3000)
    assert not dialog.import_button.isEnabled()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert window.importing.dialog is None
    assert not len(window.session.labels)
    assert ask(qtbot, window) is not None
    window.importing.dialog.close()


def test_masks_for_one_clip_arent_taken_into_the_next(window, open_clip, qtbot, tmp_path):
    open_clip(window)
    save(tmp_path / "masks" / "0004.png")
    dialog = ask(qtbot, window)
    read(qtbot, dialog, tmp_path / "masks")
    dialog.source.edit.setFocus()
    qtbot.keyClicks(dialog.source.edit, "/more")
    asked = []
    dialog.read = lambda: asked.append(1)  # what is left in the box
    open_clip(window, "other.mp4")
    assert window.importing.dialog is None
    qtbot.wait(20)
    assert asked == []


def test_both_need_a_clip(window):
    for name in ("export", "import_masks"):
        assert not window.actions_by_name[name].isEnabled()
