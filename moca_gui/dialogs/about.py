"""What this program is."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from moca_core.models.registry import BUNDLES
from moca_gui.dialogs.fitted import Fitted
from moca_gui.icons import logo

TEXT = """
<p>Shows which objects make the sound in a video, as masks on one clock with the waveform.</p>
<p>After Bhosale et al., <i>Unsupervised Audio-Visual Segmentation with Modality Alignment</i>,
arXiv 2403.14203.</p>
"""


def bundles_text() -> str:
    """What encoders there are, and under which terms."""
    return "".join(f"<p><b>{row.title}.</b> {row.about} {row.terms}</p>" for row in BUNDLES)


class AboutDialog(Fitted):
    """Name, version, sources."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(550, parent)
        self.setWindowTitle("About")
        mark = QLabel()
        mark.setPixmap(logo().pixmap(64, 64))
        heading = QLabel(f"MoCA Studio {_version()}")
        heading.setObjectName("title")
        text = QLabel(TEXT + bundles_text())
        text.setWordWrap(True)
        column = QVBoxLayout()
        column.addWidget(heading)
        column.addWidget(text)
        close = QPushButton("Close")
        close.clicked.connect(self.accept)
        column.addSpacing(8)
        column.addWidget(close, 0, Qt.AlignmentFlag.AlignRight)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(24, 22, 24, 18)
        layout.setSpacing(20)
        layout.addWidget(mark)
        layout.addLayout(column, 1)
        layout.setAlignment(mark, Qt.AlignmentFlag.AlignTop)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("moca-studio")
    except PackageNotFoundError:
        return "(source tree)"
