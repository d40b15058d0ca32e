"""Where decoding starts for each frame, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from moca_core.media.index import _starts
from moca_core.media.packets import Packet


def _stream(shown: list[int], keys: set[int]) -> tuple[list[Packet], np.ndarray, dict[int, int]]:
    """Packets in file order whose frames are shown as `shown`; packet numbers `keys` are keys."""
    packets = [
        Packet(tag, number, None, 1, number in keys, False, False, tag)
        for number, tag in enumerate(shown)
    ]
    orders = np.argsort(shown)
    return packets, orders, {tag: tag for tag in shown}


def test_leading_frames_of_an_open_group_start_at_the_group_before() -> None:
    """I0 P3 B1 B2 | I6 B4 B5 P7: frames 4 and 5 are stored after I6 but need what is before."""
    packets, orders, ranks = _stream([0, 3, 1, 2, 6, 4, 5, 7], {0, 4})
    assert _starts(packets, orders, ranks).tolist() == [0, 0, 0, 0, 0, 0, 4, 4]


def test_key_frames_that_are_shown_out_of_order() -> None:
    """Wrong stamps: the key frame that is stored second is shown first."""
    packets, orders, ranks = _stream([2, 3, 0, 1, 4], {0, 2})
    # Frames 0 and 1 are stored from packet 2 on; frames 2 and 3 before it; 4 after all.
    assert _starts(packets, orders, ranks).tolist() == [2, 2, 0, 0, 2]


@pytest.mark.parametrize("seed", range(5))
def test_thousands_of_groups_as_one_by_one(seed: int) -> None:
    """The quick way agrees with a search over all key frames for each frame."""
    rng = np.random.default_rng(seed)
    shown = np.arange(300)
    for start in range(0, 300, 4):
        # B-frames: the last of four is stored first, across the borders of the groups.
        shown[start : start + 4] = np.roll(shown[start : start + 4], 1)
    keys = {0, *map(int, rng.choice(np.arange(0, 300, 4), 20))}
    packets, orders, ranks = _stream(shown.tolist(), keys)
    expected = [
        max((key for key in keys if shown[key] <= frame and key <= orders[frame]), default=0)
        for frame in range(300)
    ]
    assert _starts(packets, orders, ranks).tolist() == expected


def test_no_key_frame_at_all() -> None:
    """Everything starts at the first packet."""
    packets, orders, ranks = _stream([0, 1, 2], set())
    assert _starts(packets, orders, ranks).tolist() == [0, 0, 0]
