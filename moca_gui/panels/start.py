"""The page of a window without a clip: what to do, in one click each."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from moca_gui.icons import logo
from moca_gui.settings import WindowState
from moca_gui.theme import px

HEADING = "See what makes the sound"
TEXT = (
    "Drop a video, or a folder of videos, here, then press Run: the objects that sound get masks, "
    "in step with the waveform below. Nothing leaves this computer."
)
RECENT_SHOWN = 3
TEXT_WIDTH_PX = 430
ROOMY_PX, LOW_PX = 300, 210


class StartPage(QWidget):
    """Lies over the whole of its parent until a clip is open."""

    open_pressed = Signal()
    folder_pressed = Signal()
    demo_pressed = Signal()
    recent_pressed = Signal(object)  # Path

    def __init__(self, state: WindowState, parent: QWidget) -> None:
        super().__init__(parent)
        self._state = state
        self._below = parent
        self.setAccessibleName("Start")
        self.mark = QLabel()
        self.mark.setPixmap(logo().pixmap(52, 52))
        heading = QLabel(HEADING)
        heading.setObjectName("title")
        self.text = QLabel(TEXT)
        self.text.setObjectName("dim")
        self.text.setWordWrap(True)
        self.text.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.open_button = QPushButton("Open a video")
        self.open_button.setObjectName("primary")
        self.open_button.clicked.connect(self.open_pressed)
        self.folder_button = QPushButton("Open a folder")
        self.folder_button.setToolTip("List the clips of a folder, to go from one to the next")
        self.folder_button.clicked.connect(self.folder_pressed)
        self.demo_button = QPushButton("Open the demo clip")
        self.demo_button.clicked.connect(self.demo_pressed)
        buttons = QHBoxLayout()
        buttons.setSpacing(10)
        for button in (self.open_button, self.folder_button, self.demo_button):
            buttons.addWidget(button)
        self.recent = QWidget()
        self._recent = QVBoxLayout(self.recent)
        self._recent.setContentsMargins(0, 0, 0, 0)
        self._recent.setSpacing(0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 8, 16, 8)
        layout.setSpacing(10)
        centre = Qt.AlignmentFlag.AlignHCenter
        layout.addStretch(1)
        layout.addWidget(self.mark, 0, centre)
        layout.addWidget(heading, 0, centre)
        layout.addWidget(self.text, 0, centre)
        layout.addSpacing(4)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addLayout(buttons)
        row.addStretch(1)
        layout.addLayout(row)
        layout.addWidget(self.recent)
        layout.addStretch(1)
        parent.installEventFilter(self)
        self.show_page()

    def show_page(self) -> None:
        """Come up, with the clips that were opened last."""
        while (item := self._recent.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        known = [path for path in self._state.recent() if path.is_file()]
        for path in known[:RECENT_SHOWN]:
            button = QPushButton(path.name)
            button.setObjectName("link")
            button.setToolTip(str(path))
            button.setAccessibleName(f"Open {path.name}")
            button.setCursor(Qt.CursorShape.PointingHandCursor)
            button.clicked.connect(partial(self._open_recent, path))
            self._recent.addWidget(button, 0, Qt.AlignmentFlag.AlignHCenter)
        self._fit()
        self.show()

    def _open_recent(self, path: Path, _checked: bool = False) -> None:
        self.recent_pressed.emit(path)

    def _fit(self) -> None:
        area = self._below.rect()
        self.setGeometry(area)
        width = min(px(TEXT_WIDTH_PX), max(area.width() - 40, 200))
        self.text.setFixedSize(width, self.text.heightForWidth(width))
        # A low window keeps what one can press.
        self.mark.setVisible(area.height() >= ROOMY_PX)
        self.recent.setVisible(area.height() >= LOW_PX)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._fit()
        return False
