"""The inspector: proposals and why, attention by block, opacity, two pictures side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QGuiApplication
from PySide6.QtTest import QTest

from moca_core.annotations.model import pack
from moca_gui.overlays import OVERLAYS
from moca_gui.settings import Settings


def shown(qtbot, window, open_clip, frame=12):
    """A window with the maps of a frame."""
    open_clip(window)
    window.player.seek(frame)
    qtbot.waitUntil(lambda: window.session.frame == frame, timeout=2000)
    run(qtbot, window)
    return window


def run(qtbot, window):
    window.actions_by_name["run_frame"].trigger()
    qtbot.waitUntil(lambda: window.runner.job is None, timeout=4000)


def at(view, x, y):
    """The widget point in the middle of a pixel of the frame."""
    return (view.frame_rect().topLeft() + QPointF(x + 0.5, y + 0.5) * view.scale).toPoint()


def point(qtbot, view, x, y):
    qtbot.mouseMove(view, at(view, x, y))
    qtbot.waitUntil(lambda: view._cursor == (x, y), timeout=2000)


def seen(view, x, y):
    """The colour that is on the screen at a place of the frame."""
    place = view.frame_rect().topLeft() + QPointF(x, y) * view.scale
    return view.grab().toImage().pixelColor(place.toPoint())


def table_of(window):
    model = window.proposals.model
    return [
        [model.index(row, column).data() for column in range(model.columnCount())]
        for row in range(model.rowCount())
    ]


# -- proposals --------------------------------------------------------------------------------


def test_the_table_says_why(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    qtbot.keyClick(window, Qt.Key.Key_W)
    qtbot.waitUntil(lambda: not window.proposals.table.visibleRegion().isEmpty(), timeout=2000)
    # The one that overlaps most comes first.
    assert table_of(window) == [
        ["2", "0.50", "0.20", "0.80", "0.95", "because 12"],
        ["1", "0.25", "0.70", "0.97", "0.90", "taken"],
    ]
    assert window.proposals.why.text().startswith("1 of 2 taken.")
    model = window.proposals.model
    fonts = [model.index(row, 5).data(Qt.ItemDataRole.FontRole) for row in (0, 1)]
    assert [font is not None and font.bold() for font in fonts] == [False, True]


@pytest.mark.parametrize(("column", "first"), [(0, "1"), (2, "2"), (4, "1"), (5, "2")])
def test_a_click_on_a_title_sorts(qtbot, window, open_clip, column, first):
    shown(qtbot, window, open_clip)
    window.docks["Proposals"].raise_()
    window.proposals.choose(1)
    header = window.proposals.table.horizontalHeader()
    window.proposals.table.resize(600, 200)
    place = QPoint(header.sectionViewportPosition(column) + 8, header.height() // 2)
    for expected in (first, {"1": "2", "2": "1"}[first]):
        qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert table_of(window)[0][0] == expected
        assert window.proposals.proposal.number == 1  # whatever row it is in now


def test_a_chosen_row_is_outlined_in_the_frame(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    assert window.view.marked.isEmpty()
    window.docks["Proposals"].raise_()
    table = window.proposals.table
    qtbot.waitUntil(lambda: not table.visibleRegion().isEmpty(), timeout=2000)
    row = table.visualRect(window.proposals.model.index(1, 1)).center()
    before = seen(window.view, 30, 40)
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=row)
    assert window.proposals.why.text() == "Proposal 1: taken"
    # The left half of a frame of 64 x 48.
    marked = window.view.marked
    assert (marked.left(), marked.top()) == pytest.approx((2, 1.5))
    assert (marked.right(), marked.bottom()) == pytest.approx((30, 46.5))
    # The line runs along the middle of the border's pixels, here at 30.
    assert before.lightness() < 150
    assert QColor("white") in [seen(window.view, 30 + x / 16, 40) for x in range(-16, 17)]
    # In another frame the number means another proposal.
    window.player.step(1)
    qtbot.waitUntil(lambda: window.session.frame == 13, timeout=2000)
    assert window.view.marked.isEmpty()
    assert table_of(window) == []
    assert "Run on this frame (R)" in window.proposals.message.text()
    assert window.proposals.message.isVisibleTo(window.proposals)


def test_a_click_in_the_frame_chooses_the_row(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    view = window.view
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=at(view, 10, 10))
    assert window.proposals.proposal is None  # the masks are shown
    qtbot.keyClick(window, Qt.Key.Key_6)
    point(qtbot, view, 10, 10)
    assert window.inspector.value.text() == "proposal 1, taken"
    point(qtbot, view, 50, 10)
    assert window.inspector.value.text() == "proposal 2, not taken"
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=at(view, 50, 10))
    assert window.proposals.proposal.number == 2
    assert window.proposals.why.text() == "Proposal 2: because 12"
    point(qtbot, view, 50, 40)
    assert window.inspector.value.text() == "none"
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=at(view, 50, 40))
    assert window.proposals.proposal is None
    assert view.marked.isEmpty()


def test_the_proposal_under_the_cursor_is_outlined_until_one_is_chosen(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    view = window.view
    point(qtbot, view, 10, 10)
    assert view.marked.isEmpty()  # the masks are shown
    qtbot.keyClick(window, Qt.Key.Key_6)
    point(qtbot, view, 50, 10)
    assert view.marked.right() == pytest.approx(62)
    point(qtbot, view, 10, 11)
    assert view.marked.right() == pytest.approx(30)
    qtbot.keyClick(window, Qt.Key.Key_2)  # under the resting cursor
    assert view.marked.isEmpty()
    qtbot.keyClick(window, Qt.Key.Key_6)
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=at(view, 10, 11))
    point(qtbot, view, 50, 10)
    assert view.marked.right() == pytest.approx(30)
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=at(view, 50, 40))
    point(qtbot, view, 50, 41)
    assert view.marked.isEmpty()


def test_a_frame_decided_otherwise_keeps_the_chosen_proposal(qtbot, window, open_clip, segmenter):
    shown(qtbot, window, open_clip)
    window.proposals.choose(2)
    found = segmenter.result(12, keep_maps=True)
    notes = tuple(replace(note, why="otherwise", taken=True) for note in found.proposals)
    window.session.add_result(pack(replace(found, proposals=notes)))
    assert window.proposals.why.text() == "Proposal 2: otherwise"
    window.session.add_result(pack(replace(found, proposals=notes[:1])))
    assert window.proposals.proposal is None
    assert window.proposals.why.text().startswith("1 of 1 taken.")


# -- attention --------------------------------------------------------------------------------


def test_attention_of_one_block_or_all(qtbot, window, open_clip, segmenter):
    segmenter.attends = True
    shown(qtbot, window, open_clip)
    block = window.inspector.block
    assert not block.isVisibleTo(window)
    qtbot.keyClick(window, Qt.Key.Key_7)
    assert [block.itemText(n) for n in range(block.count())] == ["Mean of all", "Block 9",
                                                                "Block 10"]  # fmt: skip
    assert block.isVisibleTo(window)
    point(qtbot, window.view, 20, 20)
    for keys, title, value in (
        ("", "Attention", 0.5),
        ("d", "Attention, block 9", 0.25),
        ("dd", "Attention, block 10", 0.75),
    ):
        block.setCurrentIndex(0)
        for _ in keys:
            QTest.keyClick(block, Qt.Key.Key_Down)
        block.activated.emit(block.currentIndex())
        assert window.view.map_title == title
        assert window.inspector.value.text() == f"{value:.4g} (0 to 1)"
    qtbot.keyClick(window, Qt.Key.Key_2)
    assert not block.isVisibleTo(window)
    qtbot.keyClick(window, Qt.Key.Key_7)
    assert window.view.map_title == "Attention, block 10"  # as it was chosen


def test_without_an_adapter_it_says_how_to_get_attention(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    row = [overlay.name for overlay in OVERLAYS].index("attention")
    grey = window.palette().placeholderText()
    assert window.inspector.list.item(row).foreground() == grey
    qtbot.keyClick(window, Qt.Key.Key_7)
    assert not window.inspector.block.isVisibleTo(window)
    assert "an adapter (Run > Adapter)" in window.inspector.note.text()
    assert window.view.banner == "No attention map of this frame: run on it with an adapter (R)"


# -- the cursor -------------------------------------------------------------------------------


def test_the_object_under_the_cursor_is_named(qtbot, window, open_clip, segmenter):
    shown(qtbot, window, open_clip)
    (dog,) = segmenter.result(12).objects
    rows, columns = np.nonzero(dog.mask)
    point(qtbot, window.view, int(columns[len(columns) // 2]), int(rows[len(rows) // 2]))
    assert window.inspector.object.text() == "1 dog, 0.83"
    qtbot.keyClick(window, Qt.Key.Key_2)  # whatever lies over it
    assert window.inspector.object.text() == "1 dog, 0.83"
    point(qtbot, window.view, 1, 1)
    assert window.inspector.object.text() == "-"


@pytest.mark.parametrize("row", [row for row in OVERLAYS if row.map_name], ids=lambda r: r.name)
def test_every_overlay_says_how_its_numbers_are_to_be_read(row):
    assert row.hint
    assert bool(row.unit) != bool(row.labels)
    assert row.value_text(1.0) != "1"


# -- opacity ----------------------------------------------------------------------------------


def test_opacity_acts_at_once_and_is_remembered(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    slider = window.inspector.opacity
    plain = window.session.image.pixelColor(24, 33)
    for key, setting in ((Qt.Key.Key_1, "mask_opacity"), (Qt.Key.Key_2, "map_opacity")):
        qtbot.keyClick(window, key)
        assert slider.value() == round(100 * window.settings.get(setting))
        before = seen(window.view, 24.5, 33.5)
        assert before != plain
        slider.setFocus()
        QTest.keyClick(slider, Qt.Key.Key_Home)
        assert window.inspector.per_cent.text() == "0 %"
        assert seen(window.view, 24.5, 33.5) == plain
        assert Settings().get(setting) == 0.0
        QTest.keyClick(slider, Qt.Key.Key_End)
        assert seen(window.view, 24.5, 33.5) not in (before, plain)
        assert Settings().get(setting) == 1.0
    assert window.session.frame == 12  # Home and End moved the slider only
    qtbot.keyClick(window, Qt.Key.Key_1)
    assert seen(window.view, 24.5, 33.5) == QColor("#E69F00")


def test_while_the_slider_is_dragged_nothing_is_written(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    slider = window.inspector.opacity
    slider.setSliderDown(True)
    slider.setValue(77)
    assert window.view.mask_opacity == 0.77
    assert Settings().get("mask_opacity") == 0.38
    slider.setSliderDown(False)
    slider.sliderReleased.emit()
    assert Settings().get("mask_opacity") == 0.77


# -- side by side -----------------------------------------------------------------------------


def test_side_by_side_shows_masks_and_the_map(qtbot, window, open_clip):
    left, right = window.views
    qtbot.keyClick(window, Qt.Key.Key_S)
    assert not right.isVisible()  # without a clip there is nothing to compare
    shown(qtbot, window, open_clip)
    assert right.isVisible()
    assert (left.drawn_numbers, left.map_title) == ([1], "")
    assert (right.drawn_numbers, right.map_title) == ([], "")
    qtbot.keyClick(window, Qt.Key.Key_2)
    assert (left.drawn_numbers, left.map_title) == ([1], "")
    assert (right.drawn_numbers, right.map_title) == ([], "Evidence")
    qtbot.mouseClick(window.inspector.masks_left, Qt.MouseButton.LeftButton, pos=QPoint(8, 8))
    assert (left.drawn_numbers, left.map_title) == ([], "")
    qtbot.keyClick(window, Qt.Key.Key_1)
    assert (left.drawn_numbers, right.drawn_numbers) == ([], [1])
    qtbot.keyClick(window, Qt.Key.Key_H)
    assert (left.drawn_numbers, right.drawn_numbers) == ([], [])
    qtbot.keyClick(window, Qt.Key.Key_H)
    qtbot.keyClick(window, Qt.Key.Key_S)
    assert not right.isVisible()
    assert left.drawn_numbers == [1]
    assert not window.inspector.masks_left.isVisibleTo(window)


def test_both_show_the_same_place_and_share_the_cursor(qtbot, window, open_clip, segmenter):
    shown(qtbot, window, open_clip)
    for key in (Qt.Key.Key_S, Qt.Key.Key_2):
        qtbot.keyClick(window, key)
    left, right = window.views
    qtbot.waitUntil(lambda: abs(left.width() - right.width()) <= 1, timeout=2000)
    for view, other in ((left, right), (right, left)):
        view.zoom_by(2, at(view, 10, 10).toPointF())
        assert other.scale == view.scale
        assert other.to_frame(other.rect().center().toPointF()) == view.to_frame(
            view.rect().center().toPointF()
        )
    window.actions_by_name["fit"].trigger()
    assert right.scale == pytest.approx(left.scale, rel=0.02)
    evidence = segmenter.result(12, keep_maps=True).maps["evidence"]
    point(qtbot, left, 24, 30)
    assert right.map_value() == pytest.approx(float(evidence[30 * 16 // 48, 24 * 16 // 64]))
    assert window.inspector.value.text() == f"{right.map_value():.4g} (at most 1)"
    assert window.inspector.object.text() == "1 dog, 0.83"
    assert window.inspector.pixel.text() == "24, 30"
    pointed = right.grab().toImage()
    QTest.mouseMove(left, QPoint(1, 1))
    qtbot.waitUntil(lambda: left._cursor is None, timeout=2000)
    assert right.map_value() is None
    assert right.grab().toImage() != pointed  # the cross is gone


def test_a_click_in_the_right_picture_chooses_a_proposal_too(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    for key in (Qt.Key.Key_S, Qt.Key.Key_6):
        qtbot.keyClick(window, key)
    _, right = window.views
    point(qtbot, right, 50, 10)
    qtbot.mouseClick(right, Qt.MouseButton.LeftButton, pos=at(right, 50, 10))
    assert window.proposals.proposal.number == 2
    assert all(not view.marked.isEmpty() for view in window.views)


def test_both_pictures_are_copied(qtbot, window, open_clip):
    shown(qtbot, window, open_clip)
    qtbot.keyClick(window, Qt.Key.Key_S)
    window.actions_by_name["copy_frame"].trigger()
    copied = QGuiApplication.clipboard().image()
    left, right = (view.picture() for view in window.views)
    assert (copied.width(), copied.height()) == (2 * 64 + 2, 48)
    assert copied.pixelColor(24, 29) == left.pixelColor(24, 29)
    assert copied.pixelColor(64 + 2 + 24, 29) == right.pixelColor(24, 29)
