"""The window as a user has it, for tests that press its keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moca_core.paths import resource

PATIENCE_MS = 300_000  # the machine may be busy; a test that works never waits this long


@pytest.fixture
def window(
    tmp_path: Path, weights_dir: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> Iterator[Any]:
    """The real window with the demo clip, in a home of its own."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "weights").symlink_to(weights_dir, target_is_directory=True)
    monkeypatch.setenv("MOCA_CACHE_DIR", str(cache))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    from moca_gui.main_window import MainWindow

    window = MainWindow()
    qtbot.addWidget(window)
    window.show()
    with qtbot.waitSignal(window.opened, timeout=PATIENCE_MS):
        window.open_path(resource("demo/demo.mp4"))
    yield window
    window.shut_down()
