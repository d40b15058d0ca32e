"""What can lie over the frame, in one table: the keys, the inspector and the guide follow it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

AVERAGE = "attention"
"""The map of all adapted blocks together; those of single ones are called `attention 9`."""


@dataclass(frozen=True)
class Overlay:
    """One row: what can lie over the frame.

    Attributes
    ----------
    name : how the program calls it.
    text : what the user reads.
    map_name : key of `FrameResult.maps`; empty for the masks.
    labels : what the numbers of a map of labels count (`clusters`); empty for a map of values.
    bare_zero : the label 0 means nothing, and is left transparent.
    hint : one line that explains it.
    unit : how a value is to be read.
    needs : what a run lacks that doesn't make it.
    """

    name: str
    text: str
    map_name: str = ""
    labels: str = ""
    bare_zero: bool = False
    hint: str = ""
    unit: str = ""
    needs: str = ""

    def value_text(self, value: float | None) -> str:
        """A value of the map, as the inspector shows it.

        >>> overlay("saliency").value_text(0.25), overlay("clusters").value_text(3.0)
        ('0.25 (0 to 1)', 'cluster 3')
        >>> overlay("proposals").value_text(0.0), overlay("masks").value_text(None)
        ('none', '-')
        """
        if value is None:
            return "-"
        if self.labels:
            bare = self.bare_zero and not value
            return "none" if bare else f"{self.labels.removesuffix('s')} {int(value)}"
        return f"{value + 0.0:.4g} ({self.unit})"


# In the order of the keys 1 to 7.
OVERLAYS = (
    Overlay("masks", "Masks", hint="The sounding objects"),
    Overlay(
        "evidence",
        "Evidence",
        "evidence",
        hint="How well each place fits the sound: 1, entirely",
        unit="at most 1",
    ),
    Overlay(
        "region",
        "Region",
        "region",
        hint="What the evidence claims, before the proposals: above the region's threshold (T) a "
        "place is wanted",
        unit="0 to 1",
    ),
    Overlay(
        "saliency",
        "Saliency",
        "saliency",
        hint="What stands out, whatever it sounds like",
        unit="0 to 1",
    ),
    Overlay("clusters", "Clusters", "clusters", "clusters", hint="Places with like features"),
    Overlay(
        "proposals",
        "Proposals",
        "proposals",
        "proposals",
        True,
        "The masks to choose from, smaller ones on top: click one to see why it was taken or not",
    ),
    Overlay(
        "attention",
        "Attention",
        AVERAGE,
        hint="How far each patch attends to what the sound speaks to, in the adapter",
        unit="0 to 1",
        needs="an adapter (Run > Adapter)",
    ),
)
_ROWS = {row.name: row for row in OVERLAYS}


def overlay(name: str) -> Overlay:
    """The row called `name`."""
    return _ROWS[name]


def attention_blocks(names: Iterable[str]) -> list[int]:
    """Numbers of the adapted blocks that have maps among `names`, ascending.

    >>> attention_blocks(["attention", "evidence", "attention 10", "attention 9"])
    [9, 10]
    """
    prefix = f"{AVERAGE} "
    return sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))
