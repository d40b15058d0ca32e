"""Every window and main state, as a person sees and reaches it: a test over the table of scenes."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
from looking import beyond_tab, clipped, faint, unnamed, without_ring
from match_fakes import FakeMatching
from PySide6.QtWidgets import QApplication

from moca_core.paths import resource
from moca_gui.actions import ACTIONS
from moca_gui.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]


def load_tool(name: str) -> ModuleType:
    """A script of `tools` as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scenes = load_tool("scenes")
ACTION_NAMES = {row.name for row in ACTIONS}


@pytest.fixture
def make_stage(services, tuning, data, make_window):
    """Make the window of the scenes, with stand-ins for all that takes long."""
    services["matching"] = FakeMatching()
    for name in ("demo.mp4", "second.mp4"):
        shutil.copyfile(resource("demo/demo.mp4"), data / name)
    stages = []

    def make(**settings):
        kept = Settings()
        for key, value in settings.items():
            kept.set(key, value)
        stages.append(scenes.Stage(make_window(), data, patience_s=20))
        return stages[-1]

    yield make
    for stage in stages:
        stage.clear()


def show(stage, scene):
    """Bring a scene up, whatever is shown."""
    stage.clear()
    shown = scene.show(stage)
    for _ in range(3):
        QApplication.processEvents()
    return shown


def told(troubles: dict[object, list[str]]) -> str:
    """The troubles as lines, which a failing test shows whole."""
    return "\n".join(f"{what}: {where}" for what, found in troubles.items() for where in found)


# Maps over the frame change no control.
every_scene = pytest.mark.parametrize(
    "scene",
    [row for row in scenes.SCENES if f"overlay_{row.name}" not in ACTION_NAMES],
    ids=lambda scene: scene.name,
)


@every_scene
def test_all_of_it_can_be_worked_and_read(scene, make_stage):
    stage, troubles = make_stage(), {}
    for look in ("dark", "light"):
        stage.window.settings.set("theme", look)
        shown = show(stage, scene)
        troubles[f"hardly read, {look}"] = faint(shown)
        troubles[f"no focus ring, {look}"] = without_ring(shown)
    troubles["no name"] = unnamed(shown)
    troubles["beyond Tab"] = beyond_tab(shown)
    scene.end(stage)
    assert told(troubles) == ""


@every_scene
@pytest.mark.parametrize("size", [1.0, 1.5, 2.0])
def test_no_text_is_cut(scene, size, make_stage):
    stage = make_stage(text_size=size)
    troubles = clipped(show(stage, scene))
    scene.end(stage)
    assert "\n".join(troubles) == ""
