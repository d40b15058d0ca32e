"""The real window trains a real adapter for two iterations, repeats it, applies it, discards it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import Qt
from tone_clips import write_clip

from moca_core.config import load_toml
from moca_core.training.config import TrainConfig

pytestmark = [pytest.mark.weights, pytest.mark.slow]

PATIENCE_MS = 300_000  # the machine may be busy; a test that works never waits this long
SETTINGS = {
    "iterations": 2,
    "batch": 2,
    "blocks": 1,
    "neighbours": 1,
    "warmup": 0,
    "validation": 0.0,
    "save_every": 1,
    "device": "cpu",
}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Five clips, of which the last is mute."""
    folder = tmp_path / "tones"
    folder.mkdir()
    for number in range(5):
        write_clip(folder / f"tone{number}.mp4", number, loud=number < 4)
    return folder


@pytest.fixture
def dialog(window: Any, clips: Path, qtbot: Any) -> Any:
    """The fine-tuning window with the clips and small settings, before the check."""
    window.actions_by_name["fine_tune"].trigger()
    dialog = window.fine_tune.dialog
    dialog.setup.data.path.choose(clips)
    for name, value in SETTINGS.items():
        dialog.draft.set(name, value)
    return dialog


def press(qtbot: Any, button: Any) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def wait(qtbot: Any, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition, timeout=PATIENCE_MS)


def check(qtbot: Any, dialog: Any) -> None:
    press(qtbot, dialog.setup.data.check_button)
    wait(qtbot, lambda: not dialog.data.active)


def losses(folder: Path) -> list[str]:
    lines = (folder / "metrics.csv").read_text().splitlines()
    return [line.split(",")[1] for line in lines[1:]]


def test_from_clips_to_masks_with_the_adapter(
    window: Any, dialog: Any, tmp_path: Path, qtbot: Any
) -> None:
    from moca_core.training.run import fit

    check(qtbot, dialog)
    assert dialog.setup.data.note.text().startswith("4 of 5 items can be used.")
    assert dialog.problems.table.item(0, 0).text() == "mute"
    wait(qtbot, lambda: "GB of memory" in dialog.setup.estimate.text())
    saved = tmp_path / "saved.toml"
    dialog.save(saved)
    press(qtbot, dialog.start_button)
    window.player.seek(30)  # the clip can be watched meanwhile
    wait(qtbot, lambda: window.session.frame == 30)
    assert window.fine_tune.run.active
    wait(qtbot, lambda: not window.fine_tune.run.active)
    assert dialog.message.text() == ""
    folder = dialog.adapter.parent
    assert folder == tmp_path / "MoCA Studio" / "tones"

    # The saved configuration repeats it to the same numbers.
    config = load_toml(TrainConfig, saved)
    assert asdict(config) == asdict(load_toml(TrainConfig, folder / "config.toml"))
    again = tmp_path / "again"
    for _ in fit(config, again):
        pass
    assert losses(again) == losses(folder)
    assert len(losses(folder)) == 2

    # The masks before and after, and one click to use it.
    wait(qtbot, lambda: "comparing" not in window.pool.titles)
    assert dialog.samples.words[0].text().startswith("Before: Cat")
    assert dialog.samples.words[1].text().startswith("After: ")
    press(qtbot, dialog.use_button)
    wait(qtbot, lambda: window.encoders.config.adapter != "")
    assert window.status.encoders.full_text == "Compact + adapter tones"
    window.runner.run_frame()
    wait(qtbot, lambda: window.runner.job is None)
    assert any(name.startswith("attention") for name in window.session.results.maps(30))


def test_kept_then_gone_on_with_then_discarded(window: Any, dialog: Any, qtbot: Any) -> None:
    run = window.fine_tune.run
    check(qtbot, dialog)
    dialog.draft.set("iterations", 500)
    press(qtbot, dialog.start_button)
    wait(qtbot, lambda: run.step >= 1)
    press(qtbot, dialog.stop_button)
    wait(qtbot, lambda: not run.active)
    folder, kept = run.folder, run.step
    assert {"last.pt", "adapter.safetensors"} <= {path.name for path in folder.iterdir()}
    assert dialog.adapter == folder / "adapter.safetensors"
    press(qtbot, dialog.start_button)
    wait(qtbot, lambda: run.step > kept)
    run.discard()
    wait(qtbot, lambda: not run.active)
    assert (folder / "last.pt").exists()  # it was there before
    dialog.draft.set("seed", 1)
    assert run.folder != dialog.setup.output
    press(qtbot, dialog.start_button)
    wait(qtbot, lambda: run.step >= 1)
    run.discard()
    wait(qtbot, lambda: not run.active)
    assert not run.folder.exists()


@pytest.mark.parametrize(("left", "words"), [((), "holds no clip"), ((0,), "one recording"),
                                             ((4,), "can be used (")])  # fmt: skip
def test_data_that_cannot_be_learnt_from(
    dialog: Any, clips: Path, qtbot: Any, left: tuple[int, ...], words: str
) -> None:
    for number in range(5):
        if number not in left:
            (clips / f"tone{number}.mp4").unlink()
    check(qtbot, dialog)
    assert words in dialog.message.text().splitlines()[0]
    assert len(dialog.message.text().splitlines()) == 2
    assert not dialog.start_button.isEnabled()
