"""The comparison in numbers."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFormLayout, QLabel, QWidget

from moca_gui.matching.drawing import Chosen, best_match
from moca_gui.matching.frame import cost_text, place_text
from moca_gui.matching.pair import RIGHT
from moca_gui.matching.worker import SIDES, Compared

ROWS = (
    ("distance", "d(a, b)", "How badly the frames match: the mean of both maps"),
    ("left", "Mean c, left", "Mean of the left map"),
    ("right", "Mean c, right", "Mean of the right map"),
    ("place", "Place p", "Click a place in a frame, or use the arrow keys there"),
    ("cost", "c(p)", "How badly the place finds its match: the soft minimum over all places"),
    ("best", "Match q*", "The place of the other frame with the least cost"),
    ("least", "C(p, q*)", "The cost of the best match"),
)


class Numbers(QWidget):
    """d(a, b), and of a chosen place its cost and its best match."""

    def __init__(self) -> None:
        super().__init__()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(14)
        form.setVerticalSpacing(5)
        self.labels: dict[str, QLabel] = {}
        for name, text, tip in ROWS:
            head, value = QLabel(text), QLabel("-")
            head.setObjectName("dim")
            head.setToolTip(tip)
            value.setToolTip(tip)
            value.setAccessibleName(text)
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            form.addRow(head, value)
            self.labels[name] = value

    def show_result(self, compared: Compared | None, chosen: Chosen | None) -> None:
        """Show the numbers of a comparison, and of a place in one of its frames."""
        texts = dict.fromkeys(self.labels, "-")
        if compared is not None:
            result = compared.result
            texts["distance"] = cost_text(result.distance)
            texts["left"] = cost_text(float(result.cost_a.mean()))
            texts["right"] = cost_text(float(result.cost_b.mean()))
            if chosen is not None:
                side, place = chosen
                best = best_match(compared, chosen)
                costs = result.cost_b if side == RIGHT else result.cost_a
                surface = result.surface(*place, of_b=side == RIGHT)
                texts["place"] = f"{SIDES[side]}, {place_text(place)}"
                texts["cost"] = cost_text(float(costs[place]))
                texts["best"] = place_text(best)
                texts["least"] = cost_text(float(surface[best]))
        for name, text in texts.items():
            self.labels[name].setText(text)
