"""How two frames are compared, as sliders with number fields that act at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from moca_core.errors import ConfigError
from moca_core.models.registry import bundle_row
from moca_core.pipeline.pma_config import MODES, PmaConfig
from moca_gui.matching.worker import SOUNDS
from moca_gui.sliders import SliderField, SliderRow

SIDES_PX = (224, 336, 448)
_PATCH_PX = 14


ROWS = (
    SliderRow(
        "alpha",
        "Alpha",
        "share of SSD",
        tuple(round(step / 100, 2) for step in range(101)),
        "How much squared differences (SSD) count against correlation (NCC) where both are taken",
    ),
    SliderRow(
        "window",
        "Window",
        "places wide",
        (1, 3, 5),
        "Side of the windows of places that are compared: larger ones mix up fewer places, and "
        "blur borders",
        whole=True,
    ),
    SliderRow(
        "radius",
        "Radius",
        "places",
        (*range(16), None),
        "How far away a match may lie along rows and columns; 0 is the same place only",
        whole=True,
    ),
    SliderRow(
        "tau",
        "Tau",
        "cost",
        tuple(float(f"{value:.3g}") for value in np.geomspace(0.001, 1.0, 91)),
        "Temperature: the lower, the more the best match alone counts",
    ),
)


class Controls(QWidget):
    """The settings of a comparison.

    Signals: `changed` when one of them does, `refused(error)` for a value that can't be, and
    `drawing_changed` when only what is drawn of the comparison does.
    """

    changed = Signal()
    refused = Signal(object)
    drawing_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.config = PmaConfig()
        self.mode = _combo("Costs", "Which costs are taken: SSD, NCC, or a weighted sum of both")
        for mode in MODES:
            self.mode.addItem(mode.upper().replace("+", " + "), mode)
        self.mode.currentIndexChanged.connect(lambda _: self._set("mode", self.mode.currentData()))
        self.fields = {row.name: SliderField(row) for row in ROWS}
        for name, part in self.fields.items():
            part.moved.connect(self._setter(name))
        self.side = _combo("Places", "How finely the frames are looked at")
        for side in SIDES_PX:
            count = side // _PATCH_PX
            self.side.addItem(f"{count} \N{MULTIPLICATION SIGN} {count} ({side} px)", side)
        self.side.currentIndexChanged.connect(self._on_side)
        self.sound = _combo("Sound", "With which sound the adapter sees the frames")
        for sound, text in zip(SOUNDS, ("Each its own", "Left for both", "Right for both"),
                               strict=True):  # fmt: skip
            self.sound.addItem(text, sound)
        self.sound.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.sound_label = QLabel("Sound")
        self.numbered = QCheckBox("Number the best matches")
        self.numbered.setToolTip("Twelve of the best matches from left to right, spread out")
        self.numbered.toggled.connect(lambda _: self.drawing_changed.emit())
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(60)
        self.opacity.setAccessibleName("Opacity of the maps, in percent")
        self.opacity.valueChanged.connect(lambda _: self.drawing_changed.emit())
        self.reset = QPushButton("Defaults")
        self.reset.setToolTip("Costs as the training takes them")
        self.reset.clicked.connect(lambda: self._take(PmaConfig()))
        self._lay_out()
        self._show()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        choices = QGridLayout()
        choices.setColumnStretch(1, 1)
        for at, (label, part) in enumerate(
            (
                (QLabel("Costs"), self.mode),
                (QLabel("Places"), self.side),
                (self.sound_label, self.sound),
            )
        ):
            choices.addWidget(label, at, 0)
            choices.addWidget(part, at, 1)
        layout.addLayout(choices)
        for field in self.fields.values():
            layout.addWidget(field)
        shown = QGridLayout()
        shown.addWidget(QLabel("Opacity"), 0, 0)
        shown.addWidget(self.opacity, 0, 1)
        layout.addLayout(shown)
        layout.addWidget(self.numbered)
        layout.addWidget(self.reset, 0, Qt.AlignmentFlag.AlignLeft)

    # -- values -------------------------------------------------------------------------------

    def _setter(self, name: str) -> Callable[[object], None]:
        return lambda value: self._set(name, value)

    def _set(self, name: str, value: object) -> None:
        try:
            config = replace(self.config, **{name: value})  # type: ignore[arg-type]
        except ConfigError as error:
            self._show()
            self.refused.emit(error)
            return
        self._take(config)

    def _take(self, config: PmaConfig) -> None:
        if config != self.config:
            self.config = config
            self._show()
            self.changed.emit()

    def _show(self) -> None:
        with QSignalBlocker(self.mode):
            self.mode.setCurrentIndex(self.mode.findData(self.config.mode))
        for name, field in self.fields.items():
            field.show_value(getattr(self.config, name))
        self.fields["alpha"].setEnabled(self.config.mode == MODES[0])

    def _on_side(self) -> None:
        count = int(self.side.currentData()) // _PATCH_PX
        # From one border to the other is anywhere.
        self.fields["radius"].set_values((*range(count - 1), None))
        self.changed.emit()

    @property
    def side_px(self) -> int:
        """Side of the squashed pictures."""
        return int(self.side.currentData())

    @property
    def sound_of(self) -> str:
        """With which sound an adapter sees the frames, one of `SOUNDS`."""
        return str(self.sound.currentData())

    def show_side(self, bundle: str, side: int) -> None:
        """Take the side that the runs have; 0 is the bundle's."""
        at = self.side.findData(side or bundle_row(bundle).image_side)
        self.side.setCurrentIndex(max(at, 0))

    def show_adapter(self, in_use: bool) -> None:
        """The sound matters with an adapter only."""
        self.sound.setVisible(in_use)
        self.sound_label.setVisible(in_use)


def _combo(name: str, tip: str) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    box.setToolTip(tip)
    return box
