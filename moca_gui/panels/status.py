"""The status bar: position, clip, device with its reason, the job, notes."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QStatusBar,
    QToolButton,
    QWidget,
)

from moca_gui.session import Clip, Session
from moca_gui.timecode import TIMES, format_short
from moca_gui.words import capital

NOTE_SECONDS = 12


class ElidedLabel(QLabel):
    """A label that shortens its text to the room it has, with the whole of it as a tool tip.

    It asks for the room of its text, or, with `greedy`, for all that is left.
    """

    def __init__(self, name: str, greedy: bool = False) -> None:
        super().__init__()
        self._full = ""
        self.setAccessibleName(name)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Expanding if greedy else policy.Maximum, policy.Preferred)

    def set_full_text(self, text: str) -> None:
        """Show `text`, or as much of it as fits."""
        self._full = text
        self.setToolTip(text)
        self.updateGeometry()
        self._elide()

    def sizeHint(self) -> QSize:
        width = self.fontMetrics().horizontalAdvance(self._full) + 4
        return QSize(width, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:
        return QSize(min(self.sizeHint().width(), 44), super().minimumSizeHint().height())

    @property
    def full_text(self) -> str:
        """The text before shortening."""
        return self._full

    def resizeEvent(self, event: object) -> None:
        self._elide()

    def _elide(self) -> None:
        mode = Qt.TextElideMode.ElideRight
        self.setText(self.fontMetrics().elidedText(self._full, mode, self.width() - 2))


class JobStrip(QWidget):
    """What runs, how far it is, how long it takes still, and Cancel."""

    cancel_pressed = Signal()

    def __init__(self) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        self.text = ElidedLabel("Job")
        self.bar = QProgressBar()
        self.bar.setFixedWidth(130)
        self.bar.setAccessibleName("Job progress")
        self.cancel = QToolButton()
        self.cancel.setText("Cancel")
        self.cancel.setObjectName("plain")
        self.cancel.setAccessibleName("Cancel the job")
        self.cancel.setToolTip("Stop the job and keep its finished frames (Esc)")
        self.cancel.clicked.connect(self.cancel_pressed)
        for widget in (self.text, self.bar, self.cancel):
            layout.addWidget(widget)
        self.hide()

    def show_job(self, text: str, done: int, total: int, eta_s: float | None) -> None:
        """Show progress; `total` 0 means unknown."""
        tail = f", {format_short(eta_s)} left" if eta_s is not None else ""
        self.text.set_full_text(text + tail)
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.cancel.setEnabled(True)
        self.show()

    def show_cancelling(self) -> None:
        """Show that the job is about to stop."""
        self.text.set_full_text("Cancelling")
        self.bar.setRange(0, 0)
        self.cancel.setEnabled(False)


class StatusBar(QStatusBar):
    """Facts on the left, notes in the middle, the job on the right."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.setSizeGripEnabled(False)
        self.position = QLabel()
        self.position.setAccessibleName("Frame number")
        self.clip = QLabel()
        self.clip.setAccessibleName("Clip facts")
        self.encoders = ElidedLabel("Encoders")
        self.device = ElidedLabel("Device")
        self.sound = ElidedLabel("Sound")
        self.note = ElidedLabel("Note", greedy=True)
        self.job = JobStrip()
        row = QWidget()
        # As high as with a job in it, so that the frame above never changes its size.
        row.setMinimumHeight(self.job.sizeHint().height() + 8)
        layout = QHBoxLayout(row)
        layout.setContentsMargins(10, 3, 8, 3)
        layout.setSpacing(10)
        self._lines: list[tuple[QLabel, QFrame]] = []
        for label in (self.position, self.clip, self.encoders, self.device, self.sound):
            layout.addWidget(label)
            line = QFrame()
            line.setObjectName("rule")
            line.setFixedSize(1, 14)
            layout.addWidget(line)
            self._lines.append((label, line))
        self.note.setObjectName("dim")
        layout.addWidget(self.note, 1)
        layout.addWidget(self.job)
        self.addWidget(row, 1)
        self._clear_note = QTimer(self)
        self._clear_note.setSingleShot(True)
        self._clear_note.timeout.connect(lambda: self.note.set_full_text(""))
        session.clip_changed.connect(self._show_clip)
        session.clip_grew.connect(self._show_facts)
        session.frame_changed.connect(self._show_position)
        session.noted.connect(self.show_note)
        self._show_clip()

    def show_note(self, text: str) -> None:
        """Show a note for a while."""
        self.note.set_full_text(text)
        self._clear_note.start(NOTE_SECONDS * 1000)

    def show_sound(self, text: str) -> None:
        """Say why there is no sound, if there is none."""
        self.sound.set_full_text(capital(text))
        self._hide_empty()

    def show_device(self, text: str) -> None:
        """Name the device and why it was chosen."""
        self.device.set_full_text(text)

    def show_encoders(self, title: str, about: str, adapter: str = "") -> None:
        """Name the encoders of the runs to come, whose device isn't known yet."""
        # The first of several names them all, where there is little room.
        text, tip = title.split(",")[0], f"{title}\n{about}"
        if adapter:
            text, tip = f"{text} + adapter {adapter}", f"{tip}\nWith the adapter {adapter}"
        self.encoders.set_full_text(text)
        self.encoders.setToolTip(tip)
        self.show_device("Device: chosen by the next run")
        self._hide_empty()

    def _show_position(self) -> None:
        clip = self.session.clip
        text = f"{self.session.frame} / {clip.known_frames}" if clip else ""
        self.position.setText(text)

    def _show_clip(self) -> None:
        self.note.set_full_text("")  # what was said of the clip before
        self._show_facts()

    def show_indexing(self, share: float | None) -> None:
        """Say which share, 0 to 1, of the clip's file was searched for frames; None: enough."""
        self._show_facts()
        if share is not None:
            self.clip.setText(f"{self.clip.text()}  indexing {100 * share:.0f} %")

    def _show_facts(self) -> None:
        clip = self.session.clip
        self.clip.setText(clip_facts(clip) if clip else "No clip")
        self._show_position()
        self._hide_empty()

    def _hide_empty(self) -> None:
        for label, line in self._lines:
            text = label.full_text if isinstance(label, ElidedLabel) else label.text()
            label.setVisible(bool(text))
            line.setVisible(bool(text))


def clip_facts(clip: Clip) -> str:
    """Size, frame rate and sound of a clip, in one line."""
    info = clip.reader.info
    facts = f"{info.width}{TIMES}{info.height}  {round(clip.fps, 2):g} fps"
    audio = getattr(info, "audio", None)
    rate = getattr(audio, "rate_hz", None)
    if clip.has_audio and rate:
        facts += f"  {rate / 1000:g} kHz"
    return facts
