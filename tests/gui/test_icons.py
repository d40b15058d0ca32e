"""Icons are drawn for the pixels of the screen, not stretched."""

from __future__ import annotations

import pytest
from PySide6.QtCore import QSize
from PySide6.QtGui import QIcon

from moca_gui.icons import NAMES, SIZES, icon, logo
from moca_gui.theme import DARK, LIGHT


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_every_icon_is_sharp_at_every_scale(name, ratio, qtbot):
    made = icon(name, DARK)
    for mode in (QIcon.Mode.Normal, QIcon.Mode.Disabled):
        assert {QSize(size * ratio, size * ratio).toTuple() for size in SIZES} <= {
            size.toTuple() for size in made.availableSizes(mode)
        }
    pixmap = made.pixmap(QSize(20, 20), float(ratio))
    assert pixmap.size() == QSize(20 * ratio, 20 * ratio)
    assert pixmap.devicePixelRatio() == ratio


def test_icons_take_the_colours_of_their_theme(qtbot):
    def colours(theme):
        image = icon("play", theme).pixmap(QSize(24, 24), 1.0).toImage()
        return image.pixelColor(10, 12).name()

    assert (colours(DARK), colours(LIGHT)) == (DARK.text, LIGHT.text)


def test_controls_show_icons_of_a_size_that_is_drawn(window):
    from PySide6.QtWidgets import QAbstractButton

    buttons = [b for b in window.findChildren(QAbstractButton) if not b.icon().isNull()]
    own = [b for b in buttons if not b.objectName().startswith("qt_")]
    assert {b.iconSize().width() for b in own} <= set(SIZES)


def test_the_logo_is_sharp_in_the_about_window(qtbot):
    assert logo().pixmap(QSize(64, 64), 2.0).size() == QSize(128, 128)
