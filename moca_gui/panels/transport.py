"""The row of playback buttons, time and volume."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from moca_gui.icons import icon
from moca_gui.player import Player
from moca_gui.session import Session
from moca_gui.sliders import KeySlider
from moca_gui.theme import Theme
from moca_gui.timecode import TIMES, format_time
from moca_gui.widgets import action_button

_ICON_PX = 20


class Transport(QWidget):
    """Buttons are the window's actions, so that a key, a menu and a button do the same."""

    BUTTONS = (
        "previous_result",
        "step_back",
        "play",
        "step_forward",
        "next_result",
        "loop",
    )

    def __init__(
        self, session: Session, player: Player, actions: dict[str, QAction], theme: Theme
    ) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.session = session
        self.player = player
        self._actions = actions
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 4, 10, 4)
        layout.setSpacing(3)
        for name in self.BUTTONS:
            layout.addWidget(action_button(actions[name], _ICON_PX))
        layout.addSpacing(12)
        self.time = QLabel("00:00.000")
        self.time.setProperty("mono", True)
        self.time.setAccessibleName("Time")
        self.total = QLabel("/ 00:00.000")
        self.total.setProperty("mono", True)
        self.total.setObjectName("dim")
        self.frame = QLabel()
        self.frame.setObjectName("dim")
        self.frame.setAccessibleName("Frame")
        self.frame.setToolTip("Frames count from 0, as in the names of exported files")
        layout.addWidget(self.time)
        layout.addWidget(self.total)
        layout.addSpacing(16)
        layout.addWidget(self.frame)
        layout.addStretch(1)
        self.range = QLabel()
        self.range.setObjectName("dim")
        self.range.setAccessibleName("Range")
        layout.addWidget(self.range)
        layout.addSpacing(12)
        self.speed = QLabel(f"1{TIMES}")
        self.speed.setAccessibleName("Speed")
        self.speed.setToolTip("Speed (< and >, Backspace for normal)")
        self.speed.setMinimumWidth(self.fontMetrics().horizontalAdvance(f"-0.25{TIMES} ") + 4)
        self.speed.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        layout.addWidget(self.speed)
        layout.addSpacing(6)
        layout.addWidget(action_button(actions["mute"], _ICON_PX))
        self.volume = KeySlider(Qt.Orientation.Horizontal)
        self.volume.setRange(0, 100)
        self.volume.setFixedWidth(90)
        self.volume.setAccessibleName("Volume")
        self.volume.setToolTip("Volume")
        self.volume.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.volume.setValue(round(player.volume * 100))
        self.volume.valueChanged.connect(lambda value: player.set_volume(value / 100))
        layout.addWidget(self.volume)
        session.frame_changed.connect(self._show_position)
        session.clip_changed.connect(self._show_clip)
        session.clip_grew.connect(self._show_clip)
        session.clip_grew.connect(self._show_position)
        session.range_changed.connect(self._show_range)
        player.playing_changed.connect(self._show_state)
        player.speed_changed.connect(lambda speed: self.speed.setText(f"{speed:g}{TIMES}"))
        player.sound_changed.connect(self._show_state)
        self._theme = theme
        self._show_state()
        self._show_clip()

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        self._theme = theme
        self._show_state()

    def _show_state(self) -> None:
        theme = self._theme
        play = self._actions["play"]
        play.setIcon(icon("pause" if self.player.playing else "play", theme))
        play.setText("Pause" if self.player.playing else "Play")
        silent = self.player.muted or self.player.volume == 0 or bool(self.player.sound_note)
        self._actions["mute"].setIcon(icon("muted" if silent else "sound", theme))

    def _show_position(self) -> None:
        clip = self.session.clip
        if clip is not None:
            self.time.setText(format_time(clip.time_of(self.session.frame)))
            self.frame.setText(f"frame {self.session.frame} / {clip.known_frames}")

    def _show_clip(self) -> None:
        clip = self.session.clip
        more = "" if clip is None or clip.indexed else "+"
        self.total.setText(f"/ {format_time(clip.duration_s if clip else 0)}{more}")
        if clip is None:
            self.time.setText(format_time(0))
            self.frame.setText("")
        self._show_range()

    def _show_range(self) -> None:
        span = self.session.range_seconds()
        text = f"range {format_time(span[0])} to {format_time(span[1])}" if span else ""
        self.range.setText(text)
