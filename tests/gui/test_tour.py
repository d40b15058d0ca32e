"""The pictures of the documentation: all windows are there, and the files are small."""

from __future__ import annotations

import importlib
import pkgutil
import re

import pytest
from PySide6.QtWidgets import QDialog
from test_windows import REPOSITORY, make_stage, scenes, show

import moca_gui

__all__ = ["make_stage"]  # a fixture
IMAGES = REPOSITORY / "docs" / "images"
TOUR = REPOSITORY / "docs" / "guide" / "tour.md"
NAMES = [name for scene in scenes.SCENES for name in (scene.name, f"{scene.name}-light")]
BASES = {"Fitted", "FittedDialog"}  # classes that are no window by themselves


def dialog_classes() -> set[type[QDialog]]:
    """Every dialog class of the program."""
    for module in pkgutil.walk_packages(moca_gui.__path__, "moca_gui."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = set(), [QDialog]
    while left:
        for kind in left.pop().__subclasses__():
            left.append(kind)
            if kind.__module__.startswith("moca_gui") and kind.__name__ not in BASES:
                found.add(kind)
    return found


def test_every_dialog_has_a_scene(make_stage):
    stage = make_stage()
    shown = set()
    for scene in scenes.SCENES:
        shown.add(type(show(stage, scene)))
        scene.end(stage)
    assert {kind.__name__ for kind in dialog_classes() - shown} == set()


def test_the_tour_shows_every_scene_once():
    named = re.findall(r"images/([\w-]+)\.png", TOUR.read_text())
    assert sorted(named) == sorted(NAMES)


@pytest.mark.parametrize("page", sorted(p.name for p in TOUR.parent.glob("*.md")))
def test_every_picture_that_a_page_names_exists(page):
    text = (TOUR.parent / page).read_text()
    named = re.findall(r"\.\./images/([\w@.-]+\.png)", text)
    assert [name for name in named if not (IMAGES / name).is_file()] == []


def test_the_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in IMAGES.glob("*.png")}
    assert [name for name, size in sizes.items() if size > 400_000] == []
    assert sum(sizes.values()) < 5_000_000
