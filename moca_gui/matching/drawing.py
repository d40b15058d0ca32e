"""What lies over each of the two frames: both cost maps, or the costs of one place."""

from __future__ import annotations

from moca_gui.matching.frame import CostMap, Marks, Place, finite_range
from moca_gui.matching.pair import RIGHT
from moca_gui.matching.worker import SIDES, Compared

Chosen = tuple[int, Place]
"""A side, and a location of its frame."""


def best_match(compared: Compared, chosen: Chosen) -> Place:
    """q*, the location of the other frame that a chosen one matches best."""
    side, (row, column) = chosen
    result = compared.result
    field = result.match_b if side == RIGHT else result.match_a
    match = field[row * result.grid[1] + column]
    return int(match[0]), int(match[1])


def over_side(
    compared: Compared, side: int, chosen: Chosen | None, numbered: bool
) -> tuple[CostMap, Marks]:
    """The map and the marks of a side.

    Parameters
    ----------
    chosen : the other side then shows the costs of this location.
    numbered : mark the ends of the best matches.
    """
    result, window = compared.result, compared.request.config.window
    ends: tuple[Place, ...] = ()
    if numbered:
        places = compared.matches[:, 2 * side : 2 * side + 2].tolist()
        ends = tuple((row, column) for row, column in places)
    if chosen is not None and chosen[0] != side:
        of, place = chosen
        surface = result.surface(*place, of_b=of == RIGHT)
        title = f"C(p, q) of p in the {SIDES[of]} frame and each place q"
        costs = CostMap(title, surface, *finite_range(surface))
        return costs, Marks(None, best_match(compared, chosen), window, ends)
    title = f"c(p) of each place p against the {SIDES[1 - side]} frame"
    values = result.cost_b if side == RIGHT else result.cost_a
    costs = CostMap(title, values, *result.cost_range)
    return costs, Marks(chosen[1] if chosen is not None else None, None, window, ends)
