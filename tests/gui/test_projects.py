"""Projects in the window: begun by the first correction, saved by themselves, opened again."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from gui_fakes import COUNT, FakeReader
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog

from moca_core.annotations import edits
from moca_core.annotations.project import open_project, peek
from moca_core.annotations.saving import Project as Saved
from moca_core.config import SegmentConfig
from moca_core.errors import ProjectConflictError, StorageError
from moca_core.paths import projects_dir, resource
from moca_gui.dialogs.errors import ErrorDialog
from moca_gui.dialogs.question import Question
from moca_gui.exporting.folders import proposed
from moca_gui.projects.saver import State

CTRL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def place(tmp_path):
    """Where the project of the clip lies."""
    return tmp_path / "clip.moca.json"


@pytest.fixture
def studio(make_window):
    """A window that saves as soon as it may."""
    window = make_window()
    window.settings.set("autosave_after_s", 0.5)
    return window


@pytest.fixture
def opened(studio, open_clip):
    """It with a clip that was run."""
    open_clip(studio)
    return studio


def key(window, qtbot, *pressed):
    """Press a key in the window, which a dialog may have been in front of."""
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow, timeout=3000)
    qtbot.keyClick(window, *pressed)


def run(window, qtbot):
    key(window, qtbot, Qt.Key.Key_R, CTRL)
    qtbot.waitUntil(lambda: len(window.session.results) == COUNT, timeout=5000)
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=5000)


def go(window, qtbot, frame):
    window.player.seek(frame)
    qtbot.waitUntil(lambda: window.session.frame == frame, timeout=3000)


def accept(window, qtbot, frame=0):
    go(window, qtbot, frame)
    key(window, qtbot, Qt.Key.Key_A)
    assert window.session.labels.get(frame) is not None


def correct_blank(window):
    """Say of the frame on screen, which may not have been run, that it is right."""
    shown = window.session.shown_or_blank(window.session.frame)
    assert window.session.apply(edits.accept([shown]))


def wait_saved(window, qtbot):
    qtbot.waitUntil(lambda: window.projects.saver.state is State.SAVED, timeout=5000)


def question(window, qtbot):
    """The question that is asked."""
    asked = []

    def there():
        asked[:] = [item for item in window.findChildren(Question) if item.isVisible()]
        return bool(asked)

    qtbot.waitUntil(there, timeout=5000)
    (found,) = asked
    return found


def press(asked, qtbot, text):
    qtbot.mouseClick(asked.buttons[text], Qt.MouseButton.LeftButton)


def leave_and_open(window, open_clip, make_window, name="clip.mp4"):
    """Close the window when all is saved, and open the clip in another one."""
    window.close()
    assert window.session.clip is None
    other = make_window()
    other.settings.set("autosave_after_s", 0.5)
    open_clip(other, name)
    return other


def failing(monkeypatch, error):
    """Let saves fail until the list is emptied."""
    why = [error]
    save = Saved.save

    def sometimes(self, snapshot, force=False):
        if why and not (force and isinstance(why[0], ProjectConflictError)):
            raise why[0]
        yield from save(self, snapshot, force)

    monkeypatch.setattr(Saved, "save", sometimes)
    return why


def refusal(number, path):
    """As `moca_core` tells what the system refuses."""
    error = StorageError(f"{path}: can't be written ({os.strerror(number)})", "Free some space.")
    error.__cause__ = OSError(number, os.strerror(number))
    return error


# -- begin and save -------------------------------------------------------------------------------


def test_a_look_leaves_nothing_beside_the_clip(opened, qtbot, tmp_path):
    run(opened, qtbot)
    go(opened, qtbot, 20)
    assert not opened.projects.strip.isVisible()
    opened.close()
    assert opened.session.clip is None
    assert sorted(path.name for path in tmp_path.glob("clip*")) == ["clip.mp4"]


def test_the_first_correction_begins_a_project_that_saves_itself(opened, qtbot, place):
    run(opened, qtbot)
    accept(opened, qtbot, 3)
    assert opened.isWindowModified()
    assert opened.projects.strip.button.text() in ("not saved yet", "saving")
    wait_saved(opened, qtbot)
    saved_at = peek(place).saved_at.astimezone()
    assert opened.projects.strip.button.text() == f"saved {saved_at:%H:%M}"
    assert str(place) in opened.projects.strip.button.toolTip()
    assert not opened.isWindowModified()
    found = open_project(place).snapshot
    assert set(found.labels) == {3} and found.labels[3].corrected
    assert len(found.results) == COUNT


def test_nothing_is_written_beside_the_demo_clip(studio, qtbot, home, make_window):
    demo, place = resource("demo/demo.mp4"), projects_dir() / "demo.moca.json"
    came_with_it = sorted(demo.parent.iterdir())
    open_demo(studio, qtbot)
    studio.actions_by_name["save_as"].trigger()
    (dialog,) = studio.findChildren(QFileDialog)
    assert Path(dialog.directory().absolutePath()) == home
    dialog.reject()
    correct_blank(studio)
    wait_saved(studio, qtbot)
    assert proposed(demo, "masks") == home / "demo-masks"
    studio.close()
    assert sorted(demo.parent.iterdir()) == came_with_it
    other = make_window()
    open_demo(other, qtbot)
    assert list(other.session.labels.frames) == [0]
    assert other.projects.saver.project.path == place


def open_demo(window, qtbot):
    with qtbot.waitSignal(window.opened):
        window.actions_by_name["open_demo"].trigger()


def test_every_change_after_that_is_saved_and_undo_is_untouched(opened, qtbot, place):
    run(opened, qtbot)
    for frame in (3, 4):
        accept(opened, qtbot, frame)
        wait_saved(opened, qtbot)
    key(opened, qtbot, Qt.Key.Key_Z, CTRL)
    assert opened.isWindowModified()
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {3}
    key(opened, qtbot, Qt.Key.Key_Z, CTRL | SHIFT)
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {3, 4}
    key(opened, qtbot, Qt.Key.Key_Z, CTRL)
    key(opened, qtbot, Qt.Key.Key_Z, CTRL)
    assert not opened.session.labels.frames


def test_the_save_key_begins_a_project_and_results_follow_by_themselves(opened, qtbot, place):
    key(opened, qtbot, Qt.Key.Key_S, CTRL)
    wait_saved(opened, qtbot)
    assert peek(place).results == 0
    run(opened, qtbot)
    qtbot.waitUntil(lambda: peek(place).results == COUNT, timeout=5000)


def test_without_autosave_only_the_save_key_saves(opened, qtbot, place):
    opened.settings.set("autosave", False)
    run(opened, qtbot)
    accept(opened, qtbot)
    qtbot.wait(800)
    assert not place.exists()
    assert opened.projects.strip.button.text() == "not saved yet"
    key(opened, qtbot, Qt.Key.Key_S, CTRL)
    wait_saved(opened, qtbot)
    assert place.exists()
    accept(opened, qtbot, 5)
    opened.settings.set("autosave", True)  # what waits is saved then
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {0, 5}


def test_changes_that_never_rest_are_saved_all_the_same(opened, qtbot, place, monkeypatch):
    monkeypatch.setattr("moca_gui.projects.saver.MOST_S", 1.0)
    opened.settings.set("autosave_after_s", 20.0)
    run(opened, qtbot)
    accept(opened, qtbot)
    frames = iter(range(1, COUNT))

    def go_on():
        if not place.exists():
            opened.session.mark_dirty()
            next(frames, None)
        return place.exists()

    qtbot.waitUntil(go_on, timeout=5000)


# -- open again -----------------------------------------------------------------------------------


def test_a_clip_opens_as_its_project_left_it(
    opened, qtbot, place, make_window, open_clip, segmenter
):
    run(opened, qtbot)
    accept(opened, qtbot, 7)
    opened.runner.move_thresholds((("silence", "0.25"),))
    opened.session.set_range(5, 30)
    opened.session.set_object_shown(2, False)
    opened.view.set_place(6.0, (20.0, 30.0))
    opened.timeline.axis.set_view(0.4, 1.2)
    go(opened, qtbot, 11)
    wait_saved(opened, qtbot)
    labels = dict(opened.session.labels.frames)
    results = opened.session.results.frames
    opened.close()
    qtbot.waitUntil(lambda: opened.session.clip is None, timeout=5000)
    segmenter.requests.clear()
    window = make_window()
    open_clip(window)
    session = window.session
    assert session.frame == 11
    assert session.range == (5, 30)
    assert session.hidden_objects == {2}
    assert window.view.place == (6.0, (20.0, 30.0))
    axis = window.timeline.axis
    assert (axis.start_s, axis.stop_s) == pytest.approx((0.4, 1.2))
    assert window.runner.moved == (("silence", "0.25"),)
    assert set(session.labels.frames) == set(labels) == {7}
    assert session.labels.get(7).objects[0].bits == labels[7].objects[0].bits
    assert session.results.frames == results
    assert segmenter.requests == []  # no encoder ran
    assert window.projects.strip.button.text().startswith("saved ")
    assert not window.isWindowModified()
    assert window.player.target == 11


def test_the_place_on_screen_is_kept_when_the_clip_is_left(opened, qtbot, make_window, open_clip):
    key(opened, qtbot, Qt.Key.Key_S, CTRL)
    wait_saved(opened, qtbot)
    go(opened, qtbot, 33)
    assert not opened.isWindowModified()  # nobody is asked for that
    opened.close()
    qtbot.waitUntil(lambda: opened.session.clip is None, timeout=5000)
    window = make_window()
    open_clip(window)
    assert window.session.frame == 33


def test_a_project_brings_its_encoders_and_the_settings_stay(
    opened, qtbot, place, make_window, open_clip
):
    run(opened, qtbot)
    accept(opened, qtbot)
    wait_saved(opened, qtbot)
    change(place, config=SegmentConfig(bundle="imagebind", sam="vit_h", adapter="/gone/dogs.st"))
    open_clip(opened, "other.mp4")
    open_clip(opened)
    config = opened.runner.config
    assert (config.bundle, config.sam, config.adapter) == ("imagebind", "vit_h", "/gone/dogs.st")
    assert opened.settings.get("bundle") == "compact"
    assert opened.actions_by_name["bundle_imagebind"].isChecked()
    assert opened.actions_by_name["sam_vit_h"].isChecked()
    assert "dogs.st" in opened.log.toPlainText()
    assert len(opened.session.results) == COUNT and len(opened.session.labels) == 1
    open_clip(opened, "other.mp4")
    assert opened.runner.config == SegmentConfig()
    assert opened.actions_by_name["bundle_compact"].isChecked()
    assert len(opened.session.results) == len(opened.session.labels) == 0


def change(place, **values):
    """Another program saves the project."""
    found = open_project(place)
    for _ in found.project.save(replace(found.snapshot, **values)):
        pass


def test_a_project_opens_its_clip(opened, qtbot, tmp_path, place, open_clip):
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    wait_saved(opened, qtbot)
    open_clip(opened, "other.mp4")
    with qtbot.waitSignal(opened.opened, timeout=5000):
        opened.open_path(place)
    assert opened.session.clip.path == tmp_path / "clip.mp4"
    assert set(opened.session.labels.frames) == {2}
    assert opened.state.recent()[0] == tmp_path / "clip.mp4"


def test_save_as_goes_on_in_another_place(opened, qtbot, tmp_path, place, monkeypatch):
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    wait_saved(opened, qtbot)
    key(opened, qtbot, Qt.Key.Key_S, CTRL | SHIFT)
    dialog = opened.findChild(QFileDialog)
    assert "clip.moca.json" in dialog.selectedFiles()[0]
    copy = tmp_path / "copies" / "second.moca.json"
    dialog.fileSelected.emit(str(copy.with_name("second")))
    dialog.close()
    qtbot.waitUntil(lambda: opened.projects.saver.project.path == copy, timeout=5000)
    accept(opened, qtbot, 3)
    wait_saved(opened, qtbot)
    assert set(open_project(copy).snapshot.labels) == {2, 3}
    assert set(open_project(place).snapshot.labels) == {2}
    with qtbot.waitSignal(opened.opened, timeout=5000):
        opened.open_path(copy)
    assert set(opened.session.labels.frames) == {2, 3}
    assert opened.state.recent()[0] == copy  # opening the clip would find the other one


def test_save_as_overwrites_only_what_was_chosen(opened, qtbot, tmp_path, place):
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    wait_saved(opened, qtbot)
    there = tmp_path / "there.v2.moca.json"
    there.write_text("of somebody else")
    opened.projects.save_as()
    name_file(opened, there.with_name("there.v2"))
    assert "there already" in opened.status.note.full_text
    qtbot.wait(50)
    assert there.read_text() == "of somebody else"
    name_file(opened, there)
    qtbot.waitUntil(lambda: opened.projects.saver.project.path == there, timeout=5000)
    assert set(open_project(there).snapshot.labels) == {2}


def test_save_as_waits_for_a_save_that_is_under_way(opened, qtbot, tmp_path, place):
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    opened.projects.saver.save()
    assert opened.projects.saver.saving
    path = tmp_path / "copy.moca.json"
    opened.projects.saver.save_as(path)
    qtbot.waitUntil(lambda: opened.projects.saver.project is not None, timeout=5000)
    qtbot.waitUntil(lambda: opened.projects.saver.project.path == path, timeout=5000)
    assert set(open_project(place).snapshot.labels) == set(open_project(path).snapshot.labels)


# -- what can't be opened -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["newer", "damaged"])
def test_a_project_that_cant_be_read_stays_as_it_is(
    opened, qtbot, place, open_clip, tmp_path, kind
):
    run(opened, qtbot)
    accept(opened, qtbot)
    wait_saved(opened, qtbot)
    text = place.read_text()
    text = text.replace('"version": 1', '"version": 99') if kind == "newer" else text[:200]
    open_clip(opened, "other.mp4")
    place.write_text(text)
    (place.parent / "clip.moca" / "project.json").unlink()  # the copy is gone, too
    with qtbot.waitSignal(opened.open_failed, timeout=5000):
        opened.open_path(place)
    dialog = opened.findChild(ErrorDialog)
    assert ("newer program" if kind == "newer" else "damaged") in dialog.message.text()
    assert dialog.hint.text()
    dialog.accept()
    assert opened.session.clip.path.name == "other.mp4"
    open_clip(opened)  # the clip itself opens
    assert opened.projects.strip.button.text() == "project not opened"
    run(opened, qtbot)
    accept(opened, qtbot, 4)
    qtbot.wait(800)
    assert place.read_text() == text
    qtbot.mouseClick(opened.projects.strip.button, Qt.MouseButton.LeftButton)
    press(question(opened, qtbot), qtbot, "Save as…")
    copy = tmp_path / "rescued.moca.json"
    name_file(opened, copy)
    wait_saved(opened, qtbot)
    assert set(open_project(copy).snapshot.labels) == {4}
    assert place.read_text() == text


def test_a_damaged_project_opens_from_its_copy_and_is_overwritten_only_when_asked(
    opened, qtbot, place, open_clip
):
    run(opened, qtbot)
    accept(opened, qtbot, 6)
    wait_saved(opened, qtbot)
    open_clip(opened, "other.mp4")
    place.write_text("damaged")
    open_clip(opened)
    assert set(opened.session.labels.frames) == {6}
    assert "damaged" in opened.log.toPlainText()
    accept(opened, qtbot, 7)
    asked = question(opened, qtbot)
    assert "damaged" in asked.text.text()
    assert place.read_text() == "damaged"
    press(asked, qtbot, "Overwrite")
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {6, 7}


def name_file(window, path):
    """Answer the file dialog that is open."""
    dialog = next(item for item in window.findChildren(QFileDialog) if item.isVisible())
    dialog.fileSelected.emit(str(path))
    dialog.close()


def test_a_project_that_lost_masks_says_which_and_keeps_the_rest(opened, qtbot, place, open_clip):
    run(opened, qtbot)
    accept(opened, qtbot, 6)
    wait_saved(opened, qtbot)
    open_clip(opened, "other.mp4")
    (lost,) = (place.parent / "clip.moca").glob("results-*")
    lost.write_bytes(b"damaged")
    open_clip(opened)
    assert "Results of frames 0-49 are lost" in opened.log.toPlainText()
    assert set(opened.session.labels.frames) == {6}
    go(opened, qtbot, 7)
    correct_blank(opened)
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {6, 7}
    assert lost.read_bytes() == b"damaged"


# -- clips that moved -----------------------------------------------------------------------------


@pytest.fixture
def moved(opened, qtbot, tmp_path, open_clip):
    """The project of a clip that isn't where it was; the path is that of the clip now."""
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    wait_saved(opened, qtbot)
    open_clip(opened, "other.mp4")
    there = tmp_path / "elsewhere" / "renamed.mp4"
    there.parent.mkdir()
    (tmp_path / "clip.mp4").rename(there)
    return there


def test_a_clip_that_moved_is_asked_for_and_known_by_its_content(opened, qtbot, place, moved):
    opened.open_path(place)
    asked = question(opened, qtbot)
    assert asked.heading.text() == "Where is clip.mp4?"
    press(asked, qtbot, "Choose it…")
    name_file(opened, moved)
    qtbot.waitUntil(lambda: opened.session.clip.path == moved, timeout=5000)
    assert set(opened.session.labels.frames) == {2}
    accept(opened, qtbot, 3)
    wait_saved(opened, qtbot)
    assert open_project(place).snapshot.clip.path == moved
    assert not list(moved.parent.glob("*.moca*"))


@pytest.mark.parametrize("fits", [True, False])
def test_another_clip_is_taken_only_where_it_fits_and_somebody_insists(
    opened, qtbot, place, moved, fits, services, monkeypatch
):
    other = moved.with_name("like-it.mp4" if fits else "longer.mp4")
    other.write_text("something else")
    usual = FakeReader.__init__

    def init(self, path, **options):
        usual(self, path, count=COUNT + 5 if path.name == "longer.mp4" else COUNT)

    monkeypatch.setattr(FakeReader, "__init__", init)
    opened.open_path(place)
    press(question(opened, qtbot), qtbot, "Choose it…")
    name_file(opened, other)
    asked = question(opened, qtbot)
    assert "another content" in asked.text.text()
    assert ("Use it anyway" in asked.buttons) is fits
    assert opened.session.clip.path.name == "other.mp4"
    if fits:
        press(asked, qtbot, "Use it anyway")
        qtbot.waitUntil(lambda: opened.session.clip.path == other, timeout=5000)
        assert set(opened.session.labels.frames) == {2}
    else:
        press(asked, qtbot, "Choose another…")
        name_file(opened, moved)
        qtbot.waitUntil(lambda: opened.session.clip.path == moved, timeout=5000)


def test_a_clip_that_was_changed_since_opens_without_its_project_if_wanted(
    opened, qtbot, place, tmp_path, open_clip
):
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    wait_saved(opened, qtbot)
    open_clip(opened, "other.mp4")
    clip = tmp_path / "clip.mp4"
    clip.write_text("encoded anew")
    opened.open_path(clip)
    press(question(opened, qtbot), qtbot, "Open it without the project")
    qtbot.waitUntil(lambda: opened.session.clip.path == clip, timeout=5000)
    assert len(opened.session.labels) == 0
    run(opened, qtbot)
    accept(opened, qtbot, 1)
    qtbot.wait(800)
    assert set(open_project(place).snapshot.labels) == {2}


# -- saves that fail ------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_tried_again(opened, qtbot, place, monkeypatch):
    monkeypatch.setattr("moca_gui.projects.saver.RETRY_S", 0.3)
    why = failing(monkeypatch, refusal(errno.ENOSPC, place))
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    strip = opened.projects.strip
    qtbot.waitUntil(lambda: strip.button.text() == "not saved: disk full", timeout=5000)
    assert "Free some space." in strip.button.toolTip()
    assert opened.isWindowModified()
    why.clear()
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {2}


@pytest.mark.parametrize("answer", ["Cancel", "Discard", "Try again"])
def test_what_cant_be_saved_is_asked_about_before_the_window_closes(
    opened, qtbot, place, monkeypatch, answer
):
    monkeypatch.setattr("moca_gui.projects.saver.RETRY_S", 0.3)
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    wait_saved(opened, qtbot)
    why = failing(monkeypatch, refusal(errno.ENOSPC, place))
    accept(opened, qtbot, 3)
    opened.close()
    asked = question(opened, qtbot)
    assert opened.isVisible()
    assert "No space left" in asked.text.text()
    if answer == "Try again":
        why.clear()
    press(asked, qtbot, answer)
    if answer == "Cancel":
        qtbot.wait(50)
        assert opened.isVisible() and set(opened.session.labels.frames) == {2, 3}
        why.clear()
        wait_saved(opened, qtbot)
        qtbot.wait(50)
        assert opened.isVisible()  # saving later isn't a wish to close
        return
    qtbot.waitUntil(lambda: not opened.isVisible(), timeout=5000)
    kept = {2} if answer == "Discard" else {2, 3}
    assert set(open_project(place).snapshot.labels) == kept


def test_a_name_that_isnt_given_keeps_the_window(opened, qtbot, place, monkeypatch):
    why = failing(monkeypatch, refusal(errno.ENOSPC, place))
    run(opened, qtbot)
    accept(opened, qtbot, 3)
    opened.close()
    press(question(opened, qtbot), qtbot, "Save as…")
    opened.findChild(QFileDialog).reject()
    why.clear()
    key(opened, qtbot, Qt.Key.Key_S, CTRL)
    wait_saved(opened, qtbot)
    qtbot.wait(50)
    assert opened.isVisible()


def test_what_waits_is_saved_before_the_window_closes(opened, qtbot, place):
    opened.settings.set("autosave_after_s", 20.0)
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    opened.close()
    qtbot.waitUntil(lambda: not opened.isVisible(), timeout=5000)
    assert opened.findChild(Question) is None
    assert set(open_project(place).snapshot.labels) == {2}


def test_what_waits_is_saved_before_another_clip_opens(opened, qtbot, place, open_clip):
    opened.settings.set("autosave_after_s", 20.0)
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    open_clip(opened, "other.mp4")
    assert set(open_project(place).snapshot.labels) == {2}
    assert not opened.isWindowModified()


def test_a_correction_made_while_the_same_clip_opens_again_isnt_lost(
    opened, qtbot, place, tmp_path, monkeypatch
):
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    wait_saved(opened, qtbot)
    opened.open_path(tmp_path / "clip.mp4")
    assert opened.session.apply(edits.accept([opened.session.shown(9)]))  # no event comes between
    with qtbot.waitSignal(opened.opened, timeout=5000):
        pass
    assert set(opened.session.labels.frames) == {2, 9}


def test_a_correction_saved_while_the_same_clip_opens_again_isnt_lost(
    services, make_window, open_clip, qtbot, tmp_path
):
    gate = threading.Event()
    gate.set()

    def open_reader(*args):
        gate.wait(10)
        return FakeReader(*args)

    services["open_reader"] = open_reader
    window = make_window()
    window.settings.set("autosave_after_s", 0.5)
    open_clip(window)
    correct_blank(window)
    wait_saved(window, qtbot)
    gate.clear()
    window.open_path(tmp_path / "clip.mp4")
    qtbot.wait(200)  # the project is read by now, and the clip is waited for
    assert window.session.apply(edits.accept([window.session.shown_or_blank(9)]))
    wait_saved(window, qtbot)
    with qtbot.waitSignal(window.opened, timeout=5000):
        gate.set()
    assert set(window.session.labels.frames) == {0, 9}
    assert window.session.apply(edits.accept([window.session.shown_or_blank(4)]))
    wait_saved(window, qtbot)


def test_without_autosave_the_user_is_asked_before_another_clip(
    opened, qtbot, place, tmp_path, open_clip
):
    opened.settings.set("autosave", False)
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    (tmp_path / "other.mp4").write_text("other")
    opened.open_path(tmp_path / "other.mp4")
    press(question(opened, qtbot), qtbot, "Cancel")
    qtbot.wait(50)
    assert opened.session.clip.path.name == "clip.mp4"
    opened.open_path(tmp_path / "other.mp4")
    with qtbot.waitSignal(opened.opened, timeout=5000):
        press(question(opened, qtbot), qtbot, "Save")
    assert set(open_project(place).snapshot.labels) == {2}


def test_what_was_discarded_for_a_clip_that_doesnt_open_is_unsaved_still(opened, qtbot, tmp_path):
    opened.settings.set("autosave", False)
    correct_blank(opened)
    for name in ("bad.mp4", "other.mp4"):
        (tmp_path / name).write_text(name)
    with qtbot.waitSignal(opened.open_failed, timeout=5000):
        opened.open_path(tmp_path / "bad.mp4")
        press(question(opened, qtbot), qtbot, "Discard")
    opened.findChild(ErrorDialog).reject()
    assert opened.isWindowModified()
    opened.open_path(tmp_path / "other.mp4")
    with qtbot.waitSignal(opened.opened, timeout=5000):
        press(question(opened, qtbot), qtbot, "Discard")
    assert not opened.isWindowModified()


def test_a_read_only_folder_asks_for_a_place_once(
    opened, qtbot, place, tmp_path, monkeypatch, make_window, open_clip, home
):
    save = Saved.save

    def only_elsewhere(self, snapshot, force=False):
        if self.path.parent == tmp_path:
            raise refusal(errno.EROFS, self.path)
        yield from save(self, snapshot, force)

    monkeypatch.setattr(Saved, "save", only_elsewhere)
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    asked = question(opened, qtbot)
    assert "read-only" in opened.projects.strip.button.text()
    press(asked, qtbot, "Not now")
    accept(opened, qtbot, 3)
    qtbot.wait(800)
    assert not [item for item in opened.findChildren(Question) if item.isVisible()]
    qtbot.mouseClick(opened.projects.strip.button, Qt.MouseButton.LeftButton)
    press(question(opened, qtbot), qtbot, "Try again")
    press(question(opened, qtbot), qtbot, "Use that folder")
    wait_saved(opened, qtbot)
    there = opened.projects.saver.project.path
    assert there.is_relative_to(home) and there.name.startswith("clip-")
    assert str(there.parent) in opened.log.toPlainText()
    open_clip(opened, "other.mp4")
    correct_blank(opened)
    wait_saved(opened, qtbot)  # without a question
    assert opened.projects.saver.project.path.parent == there.parent
    opened.close()
    qtbot.waitUntil(lambda: opened.session.clip is None, timeout=5000)
    window = make_window()
    open_clip(window)
    assert set(window.session.labels.frames) == {2, 3}


# -- two programs ---------------------------------------------------------------------------------


@pytest.fixture
def conflict(opened, qtbot, place):
    """Another program saved the project, in which frame 2 was corrected, without that."""
    run(opened, qtbot)
    accept(opened, qtbot, 2)
    wait_saved(opened, qtbot)
    change(place, labels={})
    accept(opened, qtbot, 3)
    return question(opened, qtbot)


def test_a_conflict_pauses_saving_until_it_is_decided(opened, qtbot, place, conflict):
    assert opened.projects.saver.state is State.CONFLICT
    press(conflict, qtbot, "Not now")
    key(opened, qtbot, Qt.Key.Key_Right)
    accept(opened, qtbot, 4)
    qtbot.wait(800)
    assert open_project(place).snapshot.labels == {}
    assert opened.projects.strip.button.text() == "not saved: changed on disk"
    qtbot.mouseClick(opened.projects.strip.button, Qt.MouseButton.LeftButton)
    press(question(opened, qtbot), qtbot, "Overwrite")
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {2, 3, 4}
    accept(opened, qtbot, 5)
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {2, 3, 4, 5}


def test_a_conflict_ends_by_another_name(opened, qtbot, place, conflict, tmp_path):
    press(conflict, qtbot, "Save as…")
    name_file(opened, tmp_path / "mine.moca.json")
    wait_saved(opened, qtbot)
    assert set(open_project(tmp_path / "mine.moca.json").snapshot.labels) == {2, 3}
    assert open_project(place).snapshot.labels == {}


def test_a_conflict_ends_by_what_is_on_disk(opened, qtbot, place, conflict):
    with qtbot.waitSignal(opened.opened, timeout=5000):
        press(conflict, qtbot, "Reload")
    assert len(opened.session.labels) == 0
    assert not opened.isWindowModified()
    accept(opened, qtbot, 8)
    wait_saved(opened, qtbot)
    assert set(open_project(place).snapshot.labels) == {8}
