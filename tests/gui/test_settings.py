"""The table of settings, its file, its window, and the parts that follow at once."""

from __future__ import annotations

import json

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from moca_gui.dialogs.settings import SettingsDialog
from moca_gui.settings import SECTIONS, SETTINGS, Settings


def other_value(row):
    """A value of a row that isn't its default."""
    if isinstance(row.default, bool):
        return not row.default
    if isinstance(row.default, dict):
        return {"play": ["P"]}
    if row.choices:
        return next(value for value in row.choices if value != row.default)
    return row.limits[0] if row.limits else f"{row.default}own"


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "settings.json")


def stored(settings):
    return json.loads(settings.path.read_text())


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.key)
def test_every_row_is_whole_and_keeps_what_it_accepts(row, settings):
    assert row.accepts(settings.get(row.key))
    assert not row.accepts(object())
    settings.set(row.key, other_value(row))
    assert Settings(settings.path).get(row.key) == other_value(row)
    assert stored(settings) == {row.key: other_value(row)}
    settings.reset(row.key)
    assert stored(settings) == {}
    assert bool(row.label) != bool(row.elsewhere)
    if row.label:
        assert row.section in SECTIONS
        assert row.tip.endswith(".")
        assert len(row.titles) == len(row.choices)
        assert row.choices or row.limits or isinstance(row.default, bool)


def test_a_refused_value_is_an_error_and_an_old_one_isnt_told(settings, qtbot):
    told = []
    settings.changed.connect(told.append)
    with pytest.raises(ValueError, match=r"volume = 7\.0"):
        settings.set("volume", 7.0)
    settings.set("volume", 0.8)
    settings.set("volume", 0.5)
    assert told == ["volume"]


def test_damaged_settings_read_as_defaults_and_are_put_aside(settings):
    path = settings.path
    path.write_text('{"volume": 7, "theme": "pink", "unknown": 1')
    assert Settings(path).get("volume") == 0.8
    assert path.with_suffix(".damaged").read_text().startswith('{"volume": 7')
    path.write_text('{"volume": 7.0, "theme": "light"}')
    assert (Settings(path).get("volume"), Settings(path).get("theme")) == (0.8, "light")
    path.write_text("[1, 2]")
    assert Settings(path).get("theme") == "system"


def test_whole_numbers_are_taken_and_unknown_keys_stay(settings):
    settings.path.write_text('{"key_frame_every_s": 2, "of a newer version": [1]}')
    again = Settings(settings.path)
    assert again.get("key_frame_every_s") == 2.0
    again.set("muted", True)
    assert stored(again) == {"key_frame_every_s": 2.0, "muted": True, "of a newer version": [1]}


def test_a_file_that_cant_be_written_is_no_reason_to_stop(settings, tmp_path):
    settings.path = tmp_path / "no folder" / "x" / "settings.json"
    settings.path.parent.parent.write_text("a file in its place")
    settings.set("muted", True)
    assert settings.get("muted") is True


# -- the window -------------------------------------------------------------------------------


@pytest.fixture
def shown(settings, qtbot):
    dialog = SettingsDialog(settings)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def change(field, qtbot):
    """Work a field's control with keys; returns the value that it should give."""
    row, control = field.row, field.control
    control.setFocus()
    if isinstance(row.default, bool):
        qtbot.keyClick(control, Qt.Key.Key_Space)
        return not row.default
    if row.choices:
        qtbot.keyClick(control, Qt.Key.Key_End)
        return row.choices[-1]
    qtbot.keyClick(control, Qt.Key.Key_Down)
    return type(row.default)(round(row.default - row.step, 6))


@pytest.mark.parametrize("row", [row for row in SETTINGS if row.label], ids=lambda row: row.key)
def test_every_control_acts_at_once_and_goes_back(row, shown, settings, qtbot):
    field = shown.fields[row.key]
    assert not field.default.isVisible()
    expected = change(field, qtbot)
    assert settings.get(row.key) == pytest.approx(expected)
    assert type(settings.get(row.key)) is type(row.default)
    assert stored(settings) == {row.key: settings.get(row.key)}
    qtbot.mouseClick(field.default, Qt.MouseButton.LeftButton)
    assert settings.get(row.key) == row.default
    assert stored(settings) == {}
    assert not field.default.isVisible()


def test_enter_ends_what_is_typed_and_leaves_the_window_open(shown, settings, qtbot):
    control = shown.fields["text_size"].control
    control.setFocus()
    control.selectAll()
    qtbot.keyClicks(control, "150")
    qtbot.keyClick(control, Qt.Key.Key_Return)
    assert settings.get("text_size") == 1.5
    assert shown.isVisible()
    shown.search.setFocus()
    qtbot.keyClicks(shown.search, "theme")
    qtbot.keyClick(shown.search, Qt.Key.Key_Return)
    assert shown.isVisible()


def test_every_row_with_a_label_is_shown(shown):
    assert list(shown.fields) == [row.key for row in SETTINGS if row.label]
    assert all(field.isVisible() for field in shown.fields.values())


def test_search_leaves_what_it_finds(shown, qtbot):
    assert QApplication.focusWidget() is shown.search
    qtbot.keyClicks(shown.search, "key frame")
    visible = {key for key, field in shown.fields.items() if field.isVisible()}
    assert visible == {"key_frame_every_s", "keep_maps"}
    assert [name for name, head in shown.headings.items() if head.isVisible()] == ["Runs"]
    qtbot.keyClicks(shown.search, " qqq")
    assert shown.nothing.isVisible()
    shown.search.clear()
    assert all(field.isVisible() for field in shown.fields.values())


def test_all_go_back_and_what_isnt_shown_stays(shown, settings, qtbot):
    settings.set("adapter", "mine")
    assert not shown.all_button.isEnabled()
    settings.set("theme", "light")
    settings.set("muted", True)
    qtbot.mouseClick(shown.all_button, Qt.MouseButton.LeftButton)
    assert stored(settings) == {"adapter": "mine"}
    assert shown.fields["theme"].control.currentData() == "system"


# -- what follows -----------------------------------------------------------------------------


def test_the_window_follows_its_settings(window, qtbot):
    qtbot.keyClick(window, Qt.Key.Key_Comma, Qt.KeyboardModifier.ControlModifier)
    dialog = window.findChild(SettingsDialog)
    actions = window.actions_by_name
    dialog.fields["theme"].control.setCurrentIndex(2)
    assert window.theme.name == "light"
    assert actions["theme_light"].isChecked()
    dialog.fields["muted"].control.setChecked(True)
    assert window.player.muted
    assert actions["mute"].isChecked()
    dialog.fields["volume"].control.setValue(25)
    assert window.player.volume == 0.25
    dialog.fields["keep_maps"].control.setChecked(True)
    assert actions["keep_maps"].isChecked()
    before = window.transport.time.fontMetrics().height()
    dialog.fields["text_size"].control.setValue(200)
    assert window.transport.time.fontMetrics().height() > 1.6 * before
    dialog.accept()
    window.settings.reset("text_size")
    assert window.transport.time.fontMetrics().height() == before


def test_the_settings_window_shows_what_menus_change(window, qtbot):
    window.dialogs.show_settings()
    dialog = window.findChild(SettingsDialog)
    window.actions_by_name["theme_dark"].trigger()
    window.actions_by_name["mute"].trigger()
    assert dialog.fields["theme"].control.currentData() == "dark"
    assert dialog.fields["muted"].control.isChecked()
    assert dialog.all_button.isEnabled()
