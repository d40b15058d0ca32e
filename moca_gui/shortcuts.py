"""The keys of the actions as the user wants them, and what text boxes keep for themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QAction, QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTextEdit,
    QWidget,
)

from moca_gui.actions import ACTIONS, ActionRow, show_keys
from moca_gui.settings import Settings

Keys = tuple[str, ...]
_ROWS = {row.name: row for row in ACTIONS}
_NOT_TYPED = (Qt.Key.Key_Escape, *(Qt.Key(Qt.Key.Key_F1 + number) for number in range(35)))
_OF_TEXT = (QKeySequence.StandardKey.Copy, QKeySequence.StandardKey.SelectAll)
_WITH_TEXT = (
    Qt.KeyboardModifier.ControlModifier
    | Qt.KeyboardModifier.AltModifier
    | Qt.KeyboardModifier.MetaModifier
)


def read_changes(stored: Mapping[str, Any]) -> dict[str, Keys]:
    """The keys that the user changed, as far as they are keys of actions that there are.

    >>> read_changes({"play": ["P"], "mute": ["no key"], "unknown": ["X"]})
    {'play': ('P',)}
    """
    changes: dict[str, Keys] = {}
    taken: set[str] = set()
    for name, keys in stored.items():
        if name not in _ROWS or not isinstance(keys, list):
            continue
        if not all(isinstance(key, str) and is_key(key) for key in keys):
            continue
        if not taken & set(keys):
            changes[name] = tuple(keys)
            taken |= set(keys)
    return changes


def is_key(text: str) -> bool:
    """Whether `text` is one key as Qt writes it, with or without modifiers."""
    key = QKeySequence(text)
    return key.count() == 1 and key.toString() == text


def effective(changes: Mapping[str, Keys]) -> dict[str, Keys]:
    """The keys of every action: one that the user gave away is missing where it was before."""
    given = {key for keys in changes.values() for key in keys}
    return {
        name: changes.get(name, tuple(key for key in row.keys if key not in given))
        for name, row in _ROWS.items()
    }


class Shortcuts(QObject):
    """Gives the actions their keys, and keeps in the settings what differs from the table.

    Signals: `changed` when keys are others than before.
    """

    changed = Signal()

    def __init__(self, settings: Settings, actions: dict[str, QAction], parent: QObject) -> None:
        super().__init__(parent)
        self._settings, self._actions = settings, actions
        self._text_keys = TextKeys(self)
        settings.changed.connect(self._follow)
        self._put_to_use()

    def keys(self, name: str) -> Keys:
        """The keys of an action, the first is shown in its menu."""
        return self._keys[name]

    def is_default(self, name: str) -> bool:
        """Whether an action has the keys of the table."""
        return self._keys[name] == _ROWS[name].keys

    def owner(self, key: str) -> ActionRow | None:
        """The action that `key` belongs to."""
        names = (name for name, keys in self._keys.items() if key in keys)
        return next((_ROWS[name] for name in names), None)

    def give(self, name: str, keys: Keys) -> None:
        """Give an action its keys; they are taken away from the actions that had them."""
        changes = read_changes(self._settings.get("shortcuts"))
        for other, own in list(changes.items()):
            changes[other] = tuple(key for key in own if key not in keys)
        changes[name] = keys
        # Only what differs is kept, so that a better table of a newer version comes through.
        kept = {other: own for other, own in changes.items() if own != _ROWS[other].keys}
        self._settings.set("shortcuts", {other: list(own) for other, own in kept.items()})

    def reset(self, name: str) -> None:
        """Give an action the keys of the table again."""
        self.give(name, _ROWS[name].keys)

    def reset_all(self) -> None:
        """Give all actions the keys of the table again."""
        self._settings.reset("shortcuts")

    def _follow(self, key: str) -> None:
        if key == "shortcuts":
            self._put_to_use()
            self.changed.emit()

    def _put_to_use(self) -> None:
        self._keys = effective(read_changes(self._settings.get("shortcuts")))
        for name, keys in self._keys.items():
            show_keys(self._actions[name], _ROWS[name], keys)


class TextKeys(QObject):
    """While a text box has the focus, what can be typed is its own and no shortcut."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._box: QWidget | None = None
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._on_focus)

    def _on_focus(self, old: QWidget | None, new: QWidget | None) -> None:
        if old is not None:
            old.removeEventFilter(self)
        if new is not None and takes_text(new):
            new.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            typed = not event.modifiers() & _WITH_TEXT and event.key() not in _NOT_TYPED
            if typed or any(event.matches(key) for key in _OF_TEXT):
                event.accept()
                return True
        return False


def takes_text(widget: QWidget) -> bool:
    """Whether keys that are pressed in `widget` are text, or move in it."""
    if isinstance(widget, QComboBox):
        return widget.isEditable()
    return isinstance(widget, QLineEdit | QAbstractSpinBox | QPlainTextEdit | QTextEdit)
