"""What lies over the frame on screen: the masks of its result, or the map that was chosen."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject
from PySide6.QtGui import QGuiApplication

from moca_core.annotations.model import PackedObject, PackedProposal, PackedResult
from moca_gui.panels.inspector import Inspector
from moca_gui.panels.proposals import ProposalsPanel
from moca_gui.session import Session
from moca_gui.settings import Settings
from moca_gui.views.frame_view import Pixel
from moca_gui.views.overlay import DrawnMap, draw_map
from moca_gui.views.side_by_side import SideBySide


class Stage(QObject):
    """Keeps the views at the frame, the result and the overlay of this moment."""

    def __init__(
        self,
        session: Session,
        views: SideBySide,
        inspector: Inspector,
        proposals: ProposalsPanel,
        settings: Settings,
    ) -> None:
        super().__init__(views)
        self._session, self._settings = session, settings
        self._views = views
        self._inspector, self._proposals = inspector, proposals
        self._side_by_side = False
        self._pixel: Pixel | None = None  # under the cursor
        self._marked: PackedProposal | None = None
        self._crops: dict[PackedObject, NDArray[np.bool_]] = {}  # masks of the frame on screen
        for signal in (session.clip_changed, session.frame_changed, session.objects_changed):
            signal.connect(self.refresh)
        session.result_changed.connect(self._on_result)
        inspector.overlay_changed.connect(self.refresh)
        inspector.view_changed.connect(self.refresh)
        inspector.opacity_moved.connect(self._use_opacity)
        settings.changed.connect(lambda key: self._use_opacity(key, settings.get(key)))
        for key in ("mask_opacity", "map_opacity"):
            self._use_opacity(key, settings.get(key))
        proposals.chosen.connect(self._mark)
        views.hovered.connect(self._on_hovered)
        views.pressed.connect(self._on_pressed)

    def _on_result(self, frame: int) -> None:
        if frame in (-1, self._session.frame):
            self.refresh()

    # -- drawing ------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Draw all of it anew."""
        session, inspector, views = self._session, self._inspector, self._views
        result = session.result
        self._crops = {}
        split = self._side_by_side and session.image is not None
        views.set_split(split)
        inspector.set_side_by_side(split)
        drawn, masks = self._drawn(), not inspector.chosen.map_name
        map_banner, mask_banner = self._map_banner(), self._mask_banner(result)
        show = [partial(v.show_frame, session.image, result, session.hidden_objects) for v in views]
        banner = map_banner or mask_banner
        if not split:
            show[0](banner, drawn, masks=masks)
        elif inspector.masks_left.isChecked():
            show[0](mask_banner)
            show[1](map_banner, drawn, masks=False)
        else:
            show[0](masks=False)
            show[1](banner, drawn, masks=masks)
        self._tell()

    def _drawn(self) -> DrawnMap | None:
        """The chosen map of the frame on screen, if it has it."""
        row = self._inspector.chosen
        values = self._session.results.maps(self._session.frame).get(self._inspector.map_name)
        if values is None:
            return None
        return draw_map(self._inspector.title, values, row.labels, row.bare_zero, row.unit)

    def _map_banner(self) -> str:
        row = self._inspector.chosen
        there = self._inspector.map_name in self._session.results.maps(self._session.frame)
        if not row.map_name or there or self._session.image is None:
            return ""
        made_with = " with an adapter" if row.needs else ""
        return f"No {row.text.lower()} map of this frame: run on it{made_with} (R)"

    @staticmethod
    def _mask_banner(result: PackedResult | None) -> str:
        if result is not None and not result.objects:
            return f"No mask: {result.reason}"
        return "Coarse mask: no proposal matched" if result is not None and result.coarse else ""

    def _use_opacity(self, key: str, value: float) -> None:
        for view in self._views:
            if key == "mask_opacity":
                view.set_opacity(value, view.map_opacity)
            elif key == "map_opacity":
                view.set_opacity(view.mask_opacity, value)

    def _mark(self) -> None:
        """Draw a line around the proposal that is chosen, else around the one under the cursor."""
        found = self._proposals.proposal or self._proposal_at(self._pixel)
        if found is not self._marked:
            self._marked = found
            for view in self._views:
                view.mark(() if found is None else found.outlines)

    # -- the cursor ---------------------------------------------------------------------------

    def _on_hovered(self, pixel: Pixel | None) -> None:
        self._pixel = pixel
        self._tell()

    def _tell(self) -> None:
        """Say what is under the cursor, which also changes while the cursor rests."""
        values = [view.map_value() for view in self._views]
        value = next((value for value in values if value is not None), None)
        self._inspector.show_cursor(self._pixel, self._object_text(), value)
        self._mark()

    def _object_text(self) -> str:
        """The object under the cursor with its score; empty where there is none."""
        result = self._session.result
        if result is None or self._pixel is None:
            return ""
        x, y = self._pixel
        for item in result.objects:
            x0, y0, x1, y1 = item.box
            if x0 <= x < x1 and y0 <= y < y1:
                if item not in self._crops:
                    self._crops[item] = item.crop()
                if self._crops[item][y - y0, x - x0]:
                    return f"{item.number} {item.name}, {item.score:.2f}"
        return ""

    def _on_pressed(self, pixel: Pixel | None) -> None:
        """A click on a proposal that is shown chooses it, one beside them none."""
        if self._inspector.chosen.name == "proposals" and pixel is not None:
            found = self._proposal_at(pixel)
            self._proposals.choose(0 if found is None else found.number)

    def _proposal_at(self, pixel: Pixel | None) -> PackedProposal | None:
        """The proposal that is shown at a pixel, the smallest if there are several."""
        if self._inspector.chosen.name != "proposals" or pixel is None:
            return None
        values = [view.value_at(pixel) for view in self._views if view.map_title]
        return self._proposals.model.find(int(values[0] or 0)) if values else None

    # -- slots of actions ---------------------------------------------------------------------

    def set_hidden(self, hidden: bool) -> None:
        """Hide or show everything over the frame."""
        for view in self._views:
            view.set_overlays_shown(not hidden)

    def set_side_by_side(self, on: bool) -> None:
        """Show the frame beside what is chosen, or below it."""
        self._side_by_side = on
        self.refresh()

    def copy_frame(self) -> None:
        """Put the frame with what is drawn over it on the clipboard, at its own size."""
        if self._session.image is None:
            return
        QGuiApplication.clipboard().setImage(self._views.picture())
        self._session.note("Frame copied.")
