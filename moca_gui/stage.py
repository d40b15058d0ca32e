"""What lies over the frame on screen: the masks of its result, or the map that was chosen."""

from __future__ import annotations

from PySide6.QtCore import QObject
from PySide6.QtGui import QGuiApplication

from moca_gui.panels.inspector import Inspector, overlay
from moca_gui.session import Session
from moca_gui.views.frame_view import FrameView
from moca_gui.views.overlay import draw_map


class Stage(QObject):
    """Keeps the view at the frame, the result and the overlay of this moment."""

    def __init__(self, session: Session, view: FrameView, inspector: Inspector) -> None:
        super().__init__(view)
        self._session = session
        self._view = view
        self._inspector = inspector
        for signal in (session.clip_changed, session.frame_changed, session.objects_changed):
            signal.connect(self.refresh)
        session.result_changed.connect(self._on_result)
        inspector.overlay_changed.connect(self.refresh)
        view.hovered.connect(lambda pixel: inspector.show_cursor(pixel, view.map_value()))

    def _on_result(self, frame: int) -> None:
        if frame in (-1, self._session.frame):
            self.refresh()

    def refresh(self) -> None:
        """Draw all of it anew."""
        session = self._session
        result = session.result
        chosen = overlay(self._inspector.current)
        values = session.results.maps(session.frame).get(chosen.map_name)
        drawn = None
        if values is not None:
            drawn = draw_map(chosen.text, values, chosen.labels, chosen.bare_zero)
        banner = ""
        if chosen.map_name and values is None and session.image is not None:
            banner = f"No {chosen.text.lower()} map of this frame: run on it (R)"
        elif result is not None and not result.objects:
            banner = f"No mask: {result.reason}"
        elif result is not None and result.coarse:
            banner = "Coarse mask: no proposal matched"
        self._view.show_frame(
            session.image,
            result,
            session.hidden_objects,
            banner,
            drawn,
            masks=not chosen.map_name,
        )
        self._inspector.show_value(self._view.map_value())

    def set_hidden(self, hidden: bool) -> None:
        """Hide or show everything over the frame."""
        self._view.set_overlays_shown(not hidden)

    def copy_frame(self) -> None:
        """Put the frame with what is drawn over it on the clipboard, at its own size."""
        if self._session.image is None:
            return
        QGuiApplication.clipboard().setImage(self._view.picture())
        self._session.note("Frame copied.")
