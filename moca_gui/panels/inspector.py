"""The inspector: which map lies over the frame, how strongly, and what is under the cursor."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from moca_gui.overlays import AVERAGE, OVERLAYS, Overlay, attention_blocks, overlay
from moca_gui.session import Session
from moca_gui.settings import Settings
from moca_gui.sliders import KeySlider


class Inspector(QWidget):
    """Chooses the overlay; greys out the maps that the frame doesn't have.

    Signals: `overlay_changed(name)`; `view_changed` when another block's attention is chosen, or
    what lies left of it; `opacity_moved(setting, value)` while the slider moves.
    """

    overlay_changed = Signal(str)
    view_changed = Signal()
    opacity_moved = Signal(str, float)

    def __init__(self, session: Session, settings: Settings) -> None:
        super().__init__()
        self.setObjectName("surface")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.session, self._settings = session, settings
        self.current = OVERLAYS[0].name
        self._block = ""  # of which attention is shown, as text; empty for the average
        self._make_list()
        self._make_choices()
        self._make_facts()
        self._lay_out()
        session.frame_changed.connect(self.refresh)
        session.clip_changed.connect(self.refresh)
        session.result_changed.connect(self._on_result)
        settings.changed.connect(lambda key: self._show_opacity())
        self.refresh()

    # -- assembly -----------------------------------------------------------------------------

    def _make_list(self) -> None:
        self.list = QListWidget()
        self.list.setAccessibleName("Overlay")
        self.list.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        for number, row in enumerate(OVERLAYS, start=1):
            item = QListWidgetItem(f"{number}   {row.text}")
            item.setToolTip(row.hint)
            self.list.addItem(item)
        self.list.setCurrentRow(0)
        row_height = self.fontMetrics().height() + 10
        self.list.setFixedHeight(row_height * len(OVERLAYS) + 8)
        self.list.setSpacing(1)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.currentRowChanged.connect(lambda row: self.choose(OVERLAYS[row].name))

    def _make_choices(self) -> None:
        self.note = QLabel()
        self.note.setObjectName("dim")
        self.note.setWordWrap(True)
        self.note.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.note.setContentsMargins(10, 2, 10, 4)
        # Room for its longest text, so that nothing below moves when it changes.
        self.note.setFixedHeight(4 * self.note.fontMetrics().lineSpacing() + 6)
        self.block = QComboBox()
        self.block.setAccessibleName("Attention of")
        self.block.setToolTip("The attention of one adapted block, or the mean of all")
        self.block.activated.connect(self._choose_block)
        self.masks_left = QCheckBox("Masks on the left")
        self.masks_left.setChecked(True)
        self.masks_left.setToolTip("Show the masks in the left picture, or the plain frame")
        self.masks_left.toggled.connect(lambda _: self.view_changed.emit())
        self.masks_left.hide()
        self.opacity = KeySlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setPageStep(10)
        self.opacity.setAccessibleName("Opacity, in percent")
        self.opacity.setToolTip("How strongly this covers the picture; masks keep their outlines")
        self.opacity.valueChanged.connect(self._slide)
        self.opacity.sliderReleased.connect(self._keep_opacity)
        self.per_cent = QLabel()
        self.per_cent.setFixedWidth(self.per_cent.fontMetrics().horizontalAdvance("100 %") + 4)

    def _make_facts(self) -> None:
        self.pixel, self.object, self.value = QLabel("-"), QLabel("-"), QLabel("-")
        self.window_s, self.kind = QLabel("-"), QLabel("-")

    def _lay_out(self) -> None:
        slider = QHBoxLayout()
        slider.setSpacing(8)
        slider.addWidget(self.opacity, 1)
        slider.addWidget(self.per_cent)
        choices, facts = _form(), _form()
        self.block_head = _heading("Block")
        choices.addRow(self.block_head, self.block)
        choices.addRow(_heading("Opacity"), slider)
        choices.addRow(self.masks_left)
        for text, label in (
            ("Frame", self.kind),
            ("Sound", self.window_s),
            ("Pixel", self.pixel),
            ("Object", self.object),
            ("Value", self.value),
        ):
            label.setAccessibleName(text)
            facts.addRow(_heading(text), label)
        inside = QWidget()
        inside.setObjectName("surface")
        column = QVBoxLayout(inside)
        column.setContentsMargins(4, 4, 4, 0)
        column.addWidget(self.list)
        column.addLayout(choices)
        column.addWidget(self.note)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inside)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(area, 1)
        layout.addLayout(facts)  # always in sight, however low the dock is

    # -- what is chosen -----------------------------------------------------------------------

    @property
    def titles(self) -> list[str]:
        """The names of the overlays, in the order of their keys."""
        return [row.text for row in OVERLAYS]

    @property
    def chosen(self) -> Overlay:
        """The row of the overlay that is chosen."""
        return overlay(self.current)

    @property
    def map_name(self) -> str:
        """Key of the chosen map in `FrameResult.maps`; empty for the masks."""
        name = self.chosen.map_name
        return f"{name} {self._block}" if name == AVERAGE and self._block else name

    @property
    def title(self) -> str:
        """What the chosen map is called where it is drawn."""
        text = self.chosen.text
        return text if self.map_name == self.chosen.map_name else f"{text}, block {self._block}"

    def choose(self, name: str) -> None:
        """Put the overlay `name` over the frame."""
        self.current = name
        with QSignalBlocker(self.list):
            self.list.setCurrentRow([row.name for row in OVERLAYS].index(name))
        self.refresh()
        self.overlay_changed.emit(name)

    def _choose_block(self, at: int) -> None:
        self._block = str(self.block.itemData(at))
        self.view_changed.emit()

    def set_side_by_side(self, on: bool) -> None:
        """Offer what two pictures side by side can show."""
        self.masks_left.setVisible(on)

    # -- opacity ------------------------------------------------------------------------------

    @property
    def _opacity_key(self) -> str:
        return "map_opacity" if self.chosen.map_name else "mask_opacity"

    def _show_opacity(self) -> None:
        value = round(100 * self._settings.get(self._opacity_key))
        with QSignalBlocker(self.opacity):
            self.opacity.setValue(value)
        self.per_cent.setText(f"{value} %")

    def _slide(self, value: int) -> None:
        self.per_cent.setText(f"{value} %")
        self.opacity_moved.emit(self._opacity_key, value / 100)
        if not self.opacity.isSliderDown():
            self._keep_opacity()

    def _keep_opacity(self) -> None:
        self._settings.set(self._opacity_key, self.opacity.value() / 100)

    # -- the frame on screen ------------------------------------------------------------------

    def _on_result(self, frame: int) -> None:
        if frame in (-1, self.session.frame):
            self.refresh()

    def refresh(self) -> None:
        """Show the facts of the frame on screen."""
        result = self.session.result
        maps = self.session.results.maps(self.session.frame)
        for index, row in enumerate(OVERLAYS):
            item = self.list.item(index)
            there = not row.map_name or row.map_name in maps
            item.setForeground(self.palette().text() if there else self.palette().placeholderText())
        self._show_blocks(attention_blocks(maps))
        chosen = self.chosen
        values = maps.get(self.map_name)
        text = chosen.hint
        if chosen.map_name and values is None:
            made_with = f" with {chosen.needs}" if chosen.needs else ""
            text = f"Run on this frame (R){made_with} makes it; "
            text += "Run > Keep maps keeps those of all key frames."
        elif values is not None and not chosen.labels and values.min(initial=0.0) < 0:
            text += "; below 0, worse than the picture does on average"
        self.note.setText(text)
        self._show_opacity()
        kind = "not run"
        if result is not None:
            kind = "key frame" if result.key else "by motion"
            kind += ", coarse" if result.coarse else ""
            kind += ", corrected" if result.corrected else ""
        self.kind.setText(kind)
        window = self.session.current_window_s()
        self.window_s.setText(f"{window[0]:.2f} s to {window[1]:.2f} s" if window else "-")

    def _show_blocks(self, blocks: list[int]) -> None:
        """Offer the adapted blocks of this frame while their attention is chosen."""
        offered = bool(blocks) and self.chosen.map_name == AVERAGE
        self.block.setVisible(offered)
        self.block_head.setVisible(offered)
        if not offered:
            return
        choices = [("Mean of all", ""), *((f"Block {number}", str(number)) for number in blocks)]
        if [self.block.itemData(at) for at in range(self.block.count())] != [c[1] for c in choices]:
            self.block.clear()
            for text, data in choices:
                self.block.addItem(text, data)
        if self._block not in dict(choices).values():
            self._block = ""  # another adapter's
        self.block.setCurrentIndex(self.block.findData(self._block))

    def show_cursor(self, pixel: tuple[int, int] | None, found: str, value: float | None) -> None:
        """Show the pixel under the cursor, the object there, and the map's value."""
        self.pixel.setText(f"{pixel[0]}, {pixel[1]}" if pixel else "-")
        self.object.setText(found or "-")
        self.value.setText(self._value_text(value))

    def _value_text(self, value: float | None) -> str:
        """The map's value, and of a proposal what became of it."""
        text = self.chosen.value_text(value)
        if self.chosen.name != "proposals" or not value:
            return text
        notes = self.session.results.proposals(self.session.frame)
        taken = any(note.taken for note in notes if note.number == int(value))
        return f"{text}, taken" if taken else f"{text}, not taken"


def _form() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(10, 4, 10, 8)
    form.setHorizontalSpacing(16)
    return form


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setObjectName("dim")
    return label
