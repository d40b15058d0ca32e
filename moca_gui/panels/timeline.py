"""The timeline: rows on one axis, the playhead and the range."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from moca_gui.player import Player
from moca_gui.session import Session
from moca_gui.sound import SoundPicture
from moca_gui.theme import Theme
from moca_gui.views.sound_rows import SpectrogramRow, WaveformRow
from moca_gui.views.time_axis import TimeAxis
from moca_gui.views.time_row import TimeRow
from moca_gui.views.time_rows import OverviewRow, ResultsRow, RulerRow


class Timeline(QWidget):
    """Overview, ruler, waveform, spectrogram and results."""

    def __init__(self, session: Session, player: Player, sound: SoundPicture, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAccessibleName("Timeline")
        self.session = session
        self.player = player
        self.axis = TimeAxis(self)
        base = (session, self.axis, theme)
        self.overview = OverviewRow(*base, 26, self, sound=sound)
        self.ruler = RulerRow(*base, 30, self)
        self.waveform = WaveformRow(*base, 74, self, sound=sound)
        self.spectrogram = SpectrogramRow(*base, 58, self, sound=sound)
        self.results = ResultsRow(*base, 26, self)
        self.rows: tuple[TimeRow, ...] = (
            self.overview,
            self.ruler,
            self.waveform,
            self.spectrogram,
            self.results,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 8)
        layout.setSpacing(3)
        for row in self.rows:
            layout.addWidget(row)
            row.time_clicked.connect(player.seek_time)
            row.range_dragged.connect(self._choose_range)
        session.clip_changed.connect(self._take_clip)
        session.clip_grew.connect(self._take_more)
        session.frame_changed.connect(self._follow)
        session.range_changed.connect(self._move_marks)
        session.result_changed.connect(lambda _frame: self.results.redraw())
        sound.changed.connect(self._redraw_sound)

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        for row in self.rows:
            row.set_theme(theme)

    def zoom(self, factor: float) -> None:
        """Zoom about the playhead."""
        if self.session.clip is not None:
            self.axis.zoom(factor, self.session.clip.time_of(self.session.frame))

    def zoom_whole(self) -> None:
        """Show the whole clip."""
        self.axis.set_view(0.0, self.axis.duration_s)

    def zoom_range(self) -> None:
        """Show the in/out range."""
        span = self.session.range_seconds()
        if span is not None:
            margin = 0.05 * (span[1] - span[0])
            self.axis.set_view(span[0] - margin, span[1] + margin)

    def _take_clip(self) -> None:
        clip = self.session.clip
        self.axis.reset(clip.duration_s if clip is not None else 0.0)

    def _take_more(self) -> None:
        clip = self.session.clip
        assert clip is not None
        self.axis.grow(clip.duration_s)

    def _follow(self) -> None:
        clip = self.session.clip
        if clip is not None:
            self.axis.follow(clip.time_of(self.session.frame))
        self._move_marks()

    def _move_marks(self) -> None:
        for row in self.rows:
            row.move_marks()

    def _redraw_sound(self) -> None:
        for row in (self.overview, self.waveform, self.spectrogram):
            row.redraw()

    def _choose_range(self, start_s: float, stop_s: float) -> None:
        clip = self.session.clip
        if clip is not None:
            self.session.set_range(clip.index_at(start_s), clip.index_at(stop_s))
