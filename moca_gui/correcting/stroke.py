"""A stroke of the brush under way: the mask as it will be, and its picture."""

from __future__ import annotations

import numpy as np
from PySide6.QtGui import QColor, QImage

from moca_core.annotations.model import Box, PackedObject, PackedResult
from moca_core.annotations.painting import Place, edge, snapped, stroke
from moca_core.types import Mask
from moca_gui.colormaps import object_colour

_OPACITY = 0.45


class Stroke:
    """Paints on a copy of an object's mask; only what changes is drawn anew.

    Parameters
    ----------
    frame : that is drawn on.
    item : the object, as it is in the frame, or without a mask.
    size : of the brush in pixels of the frame.
    erase : take pixels away.

    Attributes
    ----------
    mask : (H, W) bool, as it is by now.
    changed : it isn't what it was.
    image : the mask in the object's colour, its outermost pixels opaque.
    """

    def __init__(self, frame: PackedResult, item: PackedObject, size: int, erase: bool) -> None:
        self.frame, self.item, self.erase = frame, item, erase
        self.changed = False
        self.mask: Mask = item.mask(frame.size) if item.bits else np.zeros(frame.size, bool)
        self._size = size
        self._last: Place | None = None
        colour = QColor(object_colour(item.number))
        self._edge = np.uint32(colour.rgb())
        self._inside = _translucent(colour, _OPACITY)
        height, width = frame.size
        self._pixels = np.zeros((height, width), np.uint32)  # ARGB32 premultiplied
        self.image = QImage(
            self._pixels.data,
            *(width, height, 4 * width),
            QImage.Format.Format_ARGB32_Premultiplied,
        )
        if item.bits:
            self._draw(item.box)

    def extend(self, place: Place) -> Box | None:
        """Go on to a place in pixels of the frame; returns the part whose picture changed."""
        end = snapped(place, self._size)
        start = self._last or end
        self._last = end
        dab = stroke(start, end, self._size, self.frame.size)
        if dab is None:
            return None
        below = self.mask[dab.part]  # a view, which is painted on
        new = dab.inside & (below if self.erase else ~below)
        self.changed |= bool(new.any())
        below ^= new
        return self._draw(dab.box)

    def _draw(self, box: Box) -> Box:
        """Draw a part of the mask with what touches it, whose edge may be another."""
        height, width = self.frame.size
        x0, y0, x1, y1 = box
        box = max(x0 - 1, 0), max(y0 - 1, 0), min(x1 + 1, width), min(y1 + 1, height)
        # One pixel more on each side, to tell the edge.
        left, top = max(box[0] - 1, 0), max(box[1] - 1, 0)
        around = self.mask[top : box[3] + 1, left : box[2] + 1]
        part = slice(box[1] - top, box[3] - top), slice(box[0] - left, box[2] - left)
        inside = np.where(around[part], self._inside, np.uint32(0))
        self._pixels[box[1] : box[3], box[0] : box[2]] = np.where(
            edge(around)[part], self._edge, inside
        )
        return box


def _translucent(colour: QColor, opacity: float) -> np.uint32:
    """A colour as a premultiplied ARGB32 pixel."""
    value = int(opacity * 255) << 24
    for shift, channel in ((16, colour.red()), (8, colour.green()), (0, colour.blue())):
        value |= int(channel * opacity) << shift
    return np.uint32(value)
