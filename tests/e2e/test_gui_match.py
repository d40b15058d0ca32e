"""The real window compares frames of the demo clip with the real encoder, and finds neighbours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import Qt

from moca_core.cli import DONE, main
from moca_core.paths import resource

pytestmark = [pytest.mark.weights, pytest.mark.slow]

PATIENCE_MS = 300_000  # the machine may be busy; a test that works never waits this long


def save_adapter(path: Path) -> Path:
    """An adapter with gates that are open."""
    import torch

    from moca_core.models.adapter import Adapter, adapter_config

    torch.manual_seed(0)
    adapter = Adapter(adapter_config("compact", count=1))
    with torch.no_grad():
        for value in adapter.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    adapter.save(path)
    return path


def test_the_window_and_the_command_compare_alike(window: Any, tmp_path: Path, qtbot: Any) -> None:
    def wait(condition: Callable[[], bool]) -> None:
        qtbot.waitUntil(condition, timeout=PATIENCE_MS)

    demo, adapter = resource("demo/demo.mp4"), save_adapter(tmp_path / "own.safetensors")
    words = ["match", str(demo), str(demo), "--at-a", "2", "--at-b", "3", "--quiet"]
    truths = []
    for extra in ([], ["--adapter", str(adapter)]):
        files = ["--out", str(tmp_path / "m.png"), "--npz", str(tmp_path / "m.npz")]
        assert main([*words, *files, *extra]) == DONE
        with np.load(tmp_path / "m.npz") as found:
            truths.append(found["costs"])

    window.player.seek(50)
    wait(lambda: window.session.frame == 50)
    qtbot.keyClick(window, Qt.Key.Key_M, Qt.KeyboardModifier.ControlModifier)
    dialog = window.matching.dialog
    wait(lambda: dialog.compared is not None or dialog.message.text() != "")
    assert dialog.message.text() == ""
    assert [one.time_s for one in dialog.compared.pictures] == [2.0, 3.0]
    np.testing.assert_allclose(dialog.compared.result.costs, truths[0], atol=1e-4)

    # With an adapter the command lets both frames be seen with the sound of the first.
    window.adapters.use(adapter)
    wait(lambda: window.encoders.config.adapter != "")
    dialog.controls.sound.setCurrentIndex(dialog.controls.sound.findData("left"))
    wait(lambda: dialog.compared is not None and dialog.compared.request.sound == "left")
    assert dialog.compared.request.choice.adapter == window.encoders.config.adapter
    np.testing.assert_allclose(dialog.compared.result.costs, truths[1], atol=1e-4)
    assert np.abs(truths[1] - truths[0]).max() > 1e-3
    dialog.controls.sound.setCurrentIndex(0)
    wait(lambda: dialog.compared.request.sound == "own")
    assert np.abs(dialog.compared.result.costs - truths[1]).max() > 1e-5

    # Neighbours among the clip's key frames: one a second, without the frame itself.
    qtbot.mouseClick(dialog.strip.search, Qt.MouseButton.LeftButton)
    wait(lambda: dialog.strip.list.count() == 11)
    wait(lambda: "neighbours" not in window.pool.titles)
    rows = [dialog.strip.list.item(row) for row in range(11)]
    likeness = [float(row.text().split()[-1]) for row in rows]
    assert likeness == sorted(likeness, reverse=True) and likeness[0] > 0.9
    last = rows[-1].data(Qt.ItemDataRole.UserRole)
    assert last.position not in (2.0, 3.0)
    dialog.strip.list.setFocus()
    dialog.strip.list.setCurrentRow(10)
    qtbot.keyClick(dialog.strip.list, Qt.Key.Key_Return)
    wait(lambda: dialog.compared.pictures[1].time_s == last.position)
    dialog.close()
    wait(lambda: "comparing frames" not in window.pool.titles)
