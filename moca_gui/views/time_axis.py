"""The one time axis that all rows of the timeline share."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

MIN_SPAN_S = 0.2


class TimeAxis(QObject):
    """The visible part of the clip in seconds."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.duration_s = 0.0
        self.start_s = 0.0
        self.stop_s = 0.0

    @property
    def span_s(self) -> float:
        """Seconds between the left and the right edge."""
        return self.stop_s - self.start_s

    @property
    def zoomed(self) -> bool:
        """Whether less than the whole clip is visible."""
        return self.span_s < self.duration_s - 1e-9

    def reset(self, duration_s: float) -> None:
        """Show the whole of a clip of `duration_s`."""
        self.duration_s = max(duration_s, 0.0)
        self.set_view(0.0, self.duration_s)

    def grow(self, duration_s: float) -> None:
        """The clip lasts longer than was known: a zoomed view stays, the whole becomes longer."""
        stop_s = self.stop_s if self.zoomed else duration_s
        self.duration_s = duration_s
        self.set_view(self.start_s, stop_s)

    def set_view(self, start_s: float, stop_s: float) -> None:
        """Show `start_s` to `stop_s`, shifted and widened to be possible."""
        span = min(max(stop_s - start_s, min(MIN_SPAN_S, self.duration_s)), self.duration_s)
        start = min(max(start_s, 0.0), self.duration_s - span)
        self.start_s, self.stop_s = start, start + span
        self.changed.emit()

    def zoom(self, factor: float, about_s: float) -> None:
        """Show `factor` times the span, keeping `about_s` in place."""
        span = min(max(self.span_s * factor, MIN_SPAN_S), self.duration_s)
        share = (about_s - self.start_s) / self.span_s if self.span_s else 0.5
        self.set_view(about_s - share * span, about_s + (1 - share) * span)

    def pan(self, seconds: float) -> None:
        """Move the view by `seconds`."""
        self.set_view(self.start_s + seconds, self.stop_s + seconds)

    def follow(self, time_s: float) -> None:
        """Turn the page when `time_s` leaves the view."""
        if self.zoomed and not self.start_s <= time_s < self.stop_s:
            start = time_s - 0.05 * self.span_s
            self.set_view(start, start + self.span_s)
