"""What is kept of frames that were compared, bounded by bytes."""

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
        """Keep a value, and drop the oldest ones beyond the limit."""
        old = self._values.pop(key, None)
        self.used_bytes += value.nbytes - (old.nbytes if old is not None else 0)
        self._values[key] = value
        while self.used_bytes > self.limit_bytes and len(self._values) > 1:
            self.used_bytes -= self._values.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Drop everything."""
        self._values.clear()
        self.used_bytes = 0
