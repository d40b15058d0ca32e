"""Memory of encoders that were let go."""

from __future__ import annotations

import sys


def give_memory_back() -> None:
    """Give it back to the GPU and to the system; imports no torch to do so."""
    if "torch" in sys.modules:
        from moca_core.heap import give_back
        from moca_core.models.compute import empty_cache

        empty_cache()
        give_back()
