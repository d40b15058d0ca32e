"""The window that lists all shortcuts and changes them, made from the table of actions."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from moca_gui.actions import ACTIONS, MENUS, ActionRow, key_text
from moca_gui.shortcuts import Keys, Shortcuts
from moca_gui.theme import px

_SIZE_PX = (640, 720)
_HINT = "Choose an action, then press its new key in the field below."


class ShortcutsDialog(QDialog):
    """All actions by menu; the keys of the chosen one can be changed."""

    def __init__(self, shortcuts: Shortcuts, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        self._shortcuts = shortcuts
        self.items: dict[str, QTreeWidgetItem] = {}
        self._menus: dict[str, QTreeWidgetItem] = {}
        self._make_parts()
        self._lay_out()
        self._fill()
        shortcuts.changed.connect(self._show_keys)
        self._show_keys()
        self._choose()
        self.search.setFocus()

    def _make_parts(self) -> None:
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search")
        self.search.setAccessibleName("Search the shortcuts")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.tree = QTreeWidget()
        self.tree.setAccessibleName("Shortcuts")
        self.tree.setHeaderLabels(["Action", "Keys"])
        self.tree.setUniformRowHeights(True)
        header = self.tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.tree.currentItemChanged.connect(self._choose)
        self.note = QLabel()
        self.note.setObjectName("dim")
        self.note.setWordWrap(True)
        self.note.setAccessibleName("Message")
        self.key = QKeySequenceEdit()
        self.key.setAccessibleName("New key")
        self.key.setMaximumSequenceLength(1)
        self.key.keySequenceChanged.connect(self._on_key)
        self.set_button = _button("Set", "The action gets this key in place of those it has")
        self.add_button = _button("Add", "The action gets this key beside those it has")
        self.none_button = _button("No key", "The action gets no key")
        self.default_button = _button("Default", "The action gets the keys that it had at first")
        self.all_button = _button("All to their defaults", "")
        self.close_button = QPushButton("Close")
        self.close_button.clicked.connect(self.accept)
        self.set_button.clicked.connect(lambda: self._give((self._key,)))
        self.add_button.clicked.connect(lambda: self._give((*self._own, self._key)))
        self.none_button.clicked.connect(lambda: self._give(()))
        self.default_button.clicked.connect(self._reset)
        self.all_button.clicked.connect(self._shortcuts.reset_all)

    def _lay_out(self) -> None:
        title = QLabel("Keyboard shortcuts")
        title.setObjectName("title")
        head = QHBoxLayout()
        head.addWidget(title)
        head.addStretch(1)
        head.addWidget(self.search)
        change = QHBoxLayout()
        change.setSpacing(8)
        change.addWidget(self.key, 1)
        for button in (self.set_button, self.add_button, self.none_button, self.default_button):
            change.addWidget(button)
        foot = QHBoxLayout()
        foot.addWidget(self.all_button)
        foot.addStretch(1)
        foot.addWidget(self.close_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 16, 18, 14)
        layout.setSpacing(12)
        layout.addLayout(head)
        layout.addWidget(self.tree, 1)
        layout.addWidget(self.note)
        layout.addLayout(change)
        layout.addLayout(foot)
        self.resize(*map(px, _SIZE_PX))

    def _fill(self) -> None:
        for menu in MENUS:
            top = self._menus[menu] = QTreeWidgetItem(self.tree, [menu])
            top.setFlags(Qt.ItemFlag.ItemIsEnabled)
            font = top.font(0)
            font.setBold(True)
            top.setFont(0, font)
            for row in ACTIONS:
                if row.menu == menu:
                    item = QTreeWidgetItem(top, [row.title])
                    item.setToolTip(0, row.tip or row.title)
                    item.setData(0, Qt.ItemDataRole.UserRole, row.name)
                    self.items[row.name] = item
        self.tree.expandAll()

    # -- what is shown ------------------------------------------------------------------------

    def _show_keys(self) -> None:
        for name, item in self.items.items():
            item.setText(1, "  or  ".join(key_text(key) for key in self._shortcuts.keys(name)))
            font = item.font(1)
            font.setBold(not self._shortcuts.is_default(name))
            item.setFont(1, font)
        changed = not all(self._shortcuts.is_default(name) for name in self.items)
        self.all_button.setEnabled(changed)
        self._refresh()

    def _filter(self, text: str) -> None:
        words, shown = text.lower().split(), set()
        for row in ACTIONS:
            item = self.items[row.name]
            known = f"{row.menu} {item.text(0)} {item.text(1)}".lower()
            found = all(word in known for word in words)
            item.setHidden(not found)
            if found:
                shown.add(row.menu)
        for menu, top in self._menus.items():
            top.setHidden(menu not in shown)

    # -- changing -----------------------------------------------------------------------------

    @property
    def chosen(self) -> ActionRow | None:
        """The action whose keys are changed."""
        item = self.tree.currentItem()
        name = item.data(0, Qt.ItemDataRole.UserRole) if item is not None else None
        return next((row for row in ACTIONS if row.name == name), None)

    @property
    def _key(self) -> str:
        return self.key.keySequence().toString()

    @property
    def _own(self) -> Keys:
        """The keys of the chosen action, without the new one."""
        assert self.chosen is not None
        return tuple(key for key in self._shortcuts.keys(self.chosen.name) if key != self._key)

    def _choose(self) -> None:
        self.key.clear()
        self._refresh()

    def _on_key(self, _key: QKeySequence) -> None:
        self._refresh()

    def _refresh(self) -> None:
        """Say what would happen, and offer what can be done."""
        row = self.chosen
        ready = row is not None and bool(self._key)
        self.key.setEnabled(row is not None)
        self.set_button.setEnabled(ready)
        self.add_button.setEnabled(ready)
        self.none_button.setEnabled(row is not None and bool(self._shortcuts.keys(row.name)))
        self.default_button.setEnabled(row is not None and not self._shortcuts.is_default(row.name))
        self.note.setText(_HINT if row is None else self._note(row))

    def _note(self, row: ActionRow) -> str:
        if not self._key:
            return f"{row.menu} > {row.title}: press its new key in the field."
        owner = self._shortcuts.owner(self._key)
        shown = key_text(self._key)
        if owner is None:
            return f"{shown} is free."
        if owner is row:
            return f"{shown} is a key of this action already."
        return f"{shown} belongs to {owner.menu} > {owner.title}, which will lose it."

    def _give(self, keys: Keys) -> None:
        if self.chosen is not None:
            self._shortcuts.give(self.chosen.name, keys)
            self._choose()

    def _reset(self) -> None:
        if self.chosen is not None:
            self._shortcuts.reset(self.chosen.name)
            self._choose()


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setAutoDefault(False)
    return button
