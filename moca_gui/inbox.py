"""Where a worker finds its latest request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

Request = TypeVar("Request")


class Inbox(Generic[Request]):
    """Holds one request: a later one takes its place, and what was replaced is never begun.

    `put` and `stop` may be called from any thread. Iterating, in the worker, waits for the next
    request, until `stop`.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._latest: Request | None = None
        self.stopped = False

    def put(self, request: Request) -> None:
        """Leave a request."""
        with self._condition:
            self._latest = request
            self._condition.notify()

    def stop(self) -> None:
        """End the iteration; a request that is left isn't begun any more."""
        with self._condition:
            self.stopped = True
            self._condition.notify()

    @property
    def waiting(self) -> bool:
        """Whether there is a request that wasn't begun."""
        return self._latest is not None

    def __iter__(self) -> Iterator[Request]:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self.stopped or self._latest is not None)
                request, self._latest = self._latest, None
                if self.stopped or request is None:
                    return
            yield request
