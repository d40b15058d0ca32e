"""The first adapted block without its adapter: what leaves it doesn't depend on any sound.

An adapter adds to what leaves its block, so the first adapted block itself sees tokens that never
change. What it makes of a picture is computed once and kept in memory, exactly, where the features
on disk are rounded. That saves one of n adapted blocks as long as the pictures fit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor

from moca_core.models.vit import Trunk

LIMIT_BYTES = 512 * 2**20
"""What is kept at most: some 1300 pictures of the compact bundle, 400 of ImageBind."""


class EntryBlock:
    """A frozen block with a memory of what it was given; the least recently used goes first.

    On a CPU every picture is computed by itself, so that its tokens are the same to the bit in
    whichever batch it comes, and whether or not a run was stopped before. A GPU computes a batch
    faster than a CPU could recognise it: there nothing is kept.

    Parameters
    ----------
    trunk : the frozen blocks; number : of the block.
    """

    def __init__(self, trunk: Trunk, number: int, limit_bytes: int = LIMIT_BYTES) -> None:
        self._block = trunk.blocks[number]
        self._limit = limit_bytes
        self._kept: OrderedDict[bytes, Tensor] = OrderedDict()
        self.held_bytes = 0

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """(B, 1 + N, Dv) that enter the block -> the same that leave it, without gradients."""
        if tokens.device.type != "cpu":
            left: Tensor = self._block(tokens)
            return left
        return torch.cat([self._one(tokens[k : k + 1]) for k in range(len(tokens))])

    def _one(self, tokens: Tensor) -> Tensor:
        key = hashlib.blake2b(tokens.detach().numpy().tobytes(), digest_size=16).digest()
        found = self._kept.get(key)
        if found is None:
            self._kept[key] = found = self._block(tokens)
            self.held_bytes += found.nbytes
            while self.held_bytes > self._limit:
                self.held_bytes -= self._kept.popitem(last=False)[1].nbytes
        else:
            self._kept.move_to_end(key)
        return found
