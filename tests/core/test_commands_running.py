"""Ctrl-C in a long command: the first waits for the end of a step and says so."""

from __future__ import annotations

import os
import pty
import signal
from collections.abc import Iterator
from typing import TextIO

import pytest

from moca_core.commands.running import StopRequest


@pytest.fixture
def ends() -> Iterator[tuple[int, TextIO]]:
    """What a terminal shows, as a file to read, and the stream that writes there."""
    screen, side = pty.openpty()
    stream = os.fdopen(side, "w")
    yield screen, stream
    stream.close()
    os.close(screen)


def test_the_first_is_answered_on_a_terminal(
    ends: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, stream = ends
    monkeypatch.setattr("sys.stderr", stream)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked
        assert b"Stopping at the end of this step; Ctrl-C again" in os.read(screen, 1000)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("closed", [False, True])
def test_nothing_is_written_elsewhere(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    if closed:
        monkeypatch.setattr("sys.stderr", None)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
    assert stop.asked
    assert capfd.readouterr() == ("", "")
