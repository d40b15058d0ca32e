"""What readers of foreign masks have in common: what they give, and the clip it is for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moca_core.annotations.model import DRAWN, ORIGINS, PackedResult
from moca_core.errors import StorageError
from moca_core.types import Mask

MOST_PIXELS = 2**26
"""Of a picture: 8192x8192."""
MOST_OBJECTS = 256
"""In a frame."""
_MOST_NUMBER = 10**6
_LONGEST_NAME = 80
_NAMED = 5
_FRAME = re.compile(r"frame[_ -]?(\d{1,9})(?!\d)", re.IGNORECASE)
_LAST_DIGITS = re.compile(r"(?<!\d)(\d{1,9})\D*$")


@dataclass(frozen=True, eq=False)
class Target:
    """The clip that masks are imported to.

    Attributes
    ----------
    name : of its file, without the ending.
    size : (height, width) of its frames in pixels.
    times_s : (frames,) float64, when each is shown.
    shown : its frames with a result or a correction, as they are shown.
    """

    name: str
    size: tuple[int, int]
    times_s: NDArray[np.float64]
    shown: Mapping[int, PackedResult] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FoundObject:
    """A mask that was read.

    Attributes
    ----------
    name : "" if it isn't told.
    number : of the object, from 1; 0 if it isn't told.
    mask : (H, W) bool, of the clip's size.
    """

    mask: Mask
    name: str = ""
    number: int = 0
    score: float = 1.0
    origin: str = DRAWN


@dataclass(frozen=True, eq=False)
class FoundFrame:
    """A frame that was read; `reason` says why it has no object, if that is told."""

    frame: int
    objects: tuple[FoundObject, ...]
    reason: str = ""


def frame_number(name: str) -> int | None:
    """The frame's number in the name of a file: after the word `frame`, else the last one.

    >>> frame_number("frame_000012_object_01"), frame_number("take 2 - 0034"), frame_number("dog")
    (12, 34, None)
    """
    found = _FRAME.search(name) or _LAST_DIGITS.search(name)
    return int(found.group(1)) if found else None


def prefix(name: str) -> str:
    """What stands before a frame's number in a name, without separators.

    >>> prefix("farm/frame_000012"), prefix("barn_0034")
    ('farm', 'barn')
    """
    found = _FRAME.search(name) or _LAST_DIGITS.search(name)
    start = name[: found.start(1)] if found else name
    return re.sub(r"(?:^|[/\\_\W])frames?[_\W]*$", "", start, flags=re.IGNORECASE).rstrip("/\\_- .")


def of_clip(groups: Iterable[str], clip: str) -> str:
    """Which of several clips' masks are meant: those under the clip's name, or the only ones.

    Raises
    ------
    StorageError : there are several, of which none has the name.
    """
    names = sorted(set(groups))
    if len(names) == 1:
        return names[0]
    fitting = [name for name in names if clip in re.split(r"[/\\]", name)]
    if len(fitting) == 1:
        return fitting[0]
    raise StorageError(
        f"{named(names)}: masks of {len(names)} clips, none of them named {clip}",
        "Keep those of one clip only, or give them the clip's name.",
    )


def named(values: Iterable[object]) -> str:
    """Some of them, for a message.

    >>> named(range(9))
    '0, 1, 2, 3, 4 ...'
    """
    words = [str(value) for value in values]
    return ", ".join(words[:_NAMED]) + (" ..." if len(words) > _NAMED else "")


def plain_name(value: object) -> str:
    """A name that can be shown: one line, not too long; "" for what isn't words."""
    text = value if isinstance(value, str) else ""
    return "".join(part if part.isprintable() else " " for part in text).strip()[:_LONGEST_NAME]


def plain_number(value: object) -> int:
    """An object's number, 0 for what can't be one."""
    if type(value) is not int or not 1 <= value <= _MOST_NUMBER:
        return 0
    return value


def plain_origin(value: object) -> str:
    """One of `ORIGINS`: what a file of ours says, else drawn by somebody."""
    return value if isinstance(value, str) and value in ORIGINS else DRAWN


def fitted(mask: NDArray, size: tuple[int, int]) -> NDArray:
    """(H, W) values of another size at `size`, each pixel the nearest one."""
    if mask.shape == size:
        return mask
    rows = (np.arange(size[0]) + 0.5) * mask.shape[0] / size[0]
    columns = (np.arange(size[1]) + 0.5) * mask.shape[1] / size[1]
    return mask[rows.astype(int)[:, None], columns.astype(int)]


def check_size(where: object, size: tuple[int, int], target: Target, resize: bool) -> None:
    """See that masks of a size can be taken; raises `StorageError`."""
    words = f"{where}: {size[1]}x{size[0]} pixels"
    if min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise StorageError(f"{words}, too many to read", "Make the masks smaller.")
    if size != target.size and not resize:
        height, width = target.size
        raise StorageError(
            f"{words}, and the clip has {width}x{height}",
            "Import masks of this clip, or ask for them to be resized.",
        )
