"""The terms of a bundle's licence: read and accepted before its first use."""

from __future__ import annotations

import logging
from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from moca_core.errors import StorageError
from moca_core.models import licences
from moca_core.models.registry import bundle_row
from moca_gui.dialogs.fitted import Fitted

_log = logging.getLogger(__name__)


class TermsDialog(Fitted):
    """Shows the terms; accepted or not."""

    def __init__(self, bundle: str, terms: str, parent: QWidget | None = None) -> None:
        super().__init__(484, parent)
        row = bundle_row(bundle)
        self.setWindowTitle("Licence")
        heading = QLabel(row.title)
        heading.setObjectName("title")
        about = QLabel(row.about)
        about.setObjectName("dim")
        self.terms = QLabel(terms)
        self.terms.setAccessibleName("Terms")
        self.terms.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        asked = QLabel("Accept them to use these encoders. The others don't depend on it.")
        for label in (about, self.terms, asked):
            label.setWordWrap(True)
        self.accept_button = QPushButton("Accept")
        self.accept_button.setObjectName("primary")
        self.accept_button.clicked.connect(self.accept)
        self.later_button = QPushButton("Not now")
        self.later_button.clicked.connect(self.reject)
        # A press of Enter is no agreement: the choice that changes nothing comes first.
        self.later_button.setDefault(True)
        self.accept_button.setAutoDefault(False)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.later_button)
        buttons.addWidget(self.accept_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(22, 18, 22, 16)
        layout.setSpacing(12)
        for part in (heading, about, self.terms, asked):
            layout.addWidget(part)
        layout.addSpacing(4)
        layout.addLayout(buttons)
        self.later_button.setFocus()


def with_terms(
    bundle: str, parent: QWidget, then: Callable[[], object], otherwise: Callable[[], object]
) -> None:
    """Call `then` once the terms of a bundle are accepted, at once if nothing is pending.

    `otherwise` is called if they aren't.
    """
    terms = licences.pending(bundle)
    if not terms:
        then()
        return
    dialog = TermsDialog(bundle, terms, parent)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

    def accepted() -> None:
        try:
            licences.remember(bundle)
        except StorageError as error:
            # No reason to stop: they are shown again next time.
            _log.warning("%s", error.message)
        then()

    dialog.accepted.connect(accepted)
    dialog.rejected.connect(otherwise)
    dialog.open()
