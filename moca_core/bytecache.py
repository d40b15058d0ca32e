"""Values that are kept to be quick, bounded by their bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol, TypeVar

LIMIT_BYTES = 128 * 2**20


class Sized(Protocol):
    """Anything that knows how many bytes it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        ...


T = TypeVar("T", bound=Sized)


class ByteCache:
    """Values by key; those that weren't used for longest go first, the newest one stays."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._values: OrderedDict[Hashable, Sized] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, kind: type[T]) -> T | None:
        """The value of a key, None if it isn't kept."""
        value = self._values.get(key)
        if value is None:
            return None
        self._values.move_to_end(key)
        assert isinstance(value, kind)
        return value

    def put(self, key: Hashable, value: Sized) -> None:
        """Keep a value, and drop the oldest ones beyond the limit before it."""
        self._drop(key)
        while self._values and self.used_bytes + value.nbytes > self.limit_bytes:
            self._drop(next(iter(self._values)))
        self._values[key] = value
        self.used_bytes += value.nbytes

    def _drop(self, key: Hashable) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self.used_bytes -= value.nbytes

    def clear(self) -> None:
        """Drop everything."""
        self._values.clear()
        self.used_bytes = 0
