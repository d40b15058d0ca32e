"""The memory that torch's operations take, counted from what they return, on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(run: Callable[[], object]) -> int:
    """Peak of the tensors that live at the same time during `run`, but for those before it.

    Storages count, views of them don't. What a kernel needs while it runs isn't seen.
    """
    with _Living() as living:
        run()
    return living.peak


class _Living(TorchDispatchMode):
    """Watches every operation, those of the gradients too, for storages that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._held = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        found = function(*args, **kwargs)
        before = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(found):
            key = storage._cdata
            if key not in before and key not in self._sizes:
                self._sizes[key] = storage.nbytes()
                self._held += storage.nbytes()
                self.peak = max(self.peak, self._held)
                weakref.finalize(storage, self._freed, key)
        return found

    def _freed(self, key: int) -> None:
        self._held -= self._sizes.pop(key, 0)


def _storages(values: object) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
