"""The window that compares two frames place by place, by PMA."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from moca_core.errors import MocaError, WeightsError
from moca_core.media.suffixes import CLIP_SUFFIXES
from moca_gui.dialogs.choosing import ask_file, dropped_path
from moca_gui.dialogs.errors import UNEXPECTED_HINT, hint_in_window
from moca_gui.matching.controls import Controls
from moca_gui.matching.drawing import Chosen, over_side
from moca_gui.matching.frame import Marks, Place
from moca_gui.matching.numbers import Numbers
from moca_gui.matching.pair import RIGHT, FramePair
from moca_gui.matching.pictures import Pick
from moca_gui.matching.sides import Side, plain_button
from moca_gui.matching.source import EncoderChoice, NeighbourQuery
from moca_gui.matching.strip import NeighbourStrip
from moca_gui.matching.work import MatchWork
from moca_gui.matching.worker import Compared, Pictured
from moca_gui.theme import Theme, px

if TYPE_CHECKING:
    from moca_gui.matching.part import Matching
    from moca_gui.session import Session

_SIZE_PX = (1240, 830)
_PANEL_PX = 292
_NO_CLIP = "Open a clip, or drop one into the main window: its frames are compared here."
_NO_RIGHT = "Choose the frame to compare with: a time of this clip, a file, or a neighbour."


class MatchDialog(QDialog):
    """Two frames side by side with their costs; the settings act at once.

    Parameters
    ----------
    session : whose clip the left frame is of.
    work : the jobs.
    facts : which encoders are compared with, and whether they can be.

    Signals: `open_pressed` for a clip, `weights_pressed` for files that are missing.
    """

    open_pressed = Signal()
    weights_pressed = Signal()

    def __init__(
        self,
        session: Session,
        work: MatchWork,
        facts: Matching,
        theme: Theme,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compare two frames")
        self.setAcceptDrops(True)
        self._work = work
        self._facts = facts
        self.pair = FramePair(session, self)
        self.compared: Compared | None = None
        self.chosen: Chosen | None = None
        self._last = Path.home()
        self._make_parts(theme)
        self._lay_out()
        self._connect()
        self.controls.show_side(facts.config.bundle, facts.config.image_side)

    # -- assembly -----------------------------------------------------------------------------

    def _make_parts(self, theme: Theme) -> None:
        self.sides = (Side("Left", theme), Side("Right", theme))
        self.follow = QCheckBox("Follow playhead")
        self.follow.setToolTip("The left frame is the one on screen in the main window")
        self.current = plain_button("Current", "Take the frame on screen")
        self.own = plain_button("This clip", "A frame of the clip that is open")
        self.file = plain_button("File\N{HORIZONTAL ELLIPSIS}", "Another clip, or a picture")
        for side, parts in zip(
            self.sides, ((self.current, self.follow), (self.own, self.file)), strict=True
        ):
            for part in parts:
                side.add(part)
            side.row.addStretch(1)
        width = max(side.minimumSizeHint().width() for side in self.sides)
        for side in self.sides:
            # Both as wide as the wider one, so that the frames are of one size.
            side.setMinimumWidth(width)
            side.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self.controls = Controls()
        self.numbers = Numbers()
        self.features = QLabel()
        self.features.setAccessibleName("Features")
        self.features.setWordWrap(True)
        self.state = QLabel()
        self.state.setObjectName("dim")
        self.state.setAccessibleName("State")
        self.message = QLabel()
        self.message.setObjectName("danger")
        self.message.setWordWrap(True)
        self.message.setAccessibleName("Message")
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.weights = QPushButton("Weights\N{HORIZONTAL ELLIPSIS}")
        self.open_button = QPushButton("Open a clip\N{HORIZONTAL ELLIPSIS}")
        self.open_button.setObjectName("primary")
        self.strip = NeighbourStrip()
        self.close_button = QPushButton("Close")
        for button in (self.weights, self.open_button, self.close_button, self.strip.search):
            button.setAutoDefault(False)  # Enter in a number field presses none of them
        self.strip.cancel.setAutoDefault(False)
        self.controls.reset.setAutoDefault(False)

    def _lay_out(self) -> None:
        panel = QWidget()
        column = QVBoxLayout(panel)
        column.setContentsMargins(2, 0, 10, 0)
        column.setSpacing(8)
        for title, part in (
            ("Features", self.features),
            ("Costs", self.controls),
            ("Numbers", self.numbers),
        ):
            heading = QLabel(title)
            heading.setObjectName("heading")
            column.addWidget(heading)
            column.addWidget(part)
            column.addSpacing(6)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidget(panel)
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFixedWidth(px(_PANEL_PX))
        frames = QHBoxLayout()
        frames.setSpacing(14)
        for side in self.sides:
            frames.addWidget(side, 1)
        left = QVBoxLayout()
        left.setSpacing(10)
        left.addLayout(frames, 1)
        left.addWidget(self.strip)
        columns = QHBoxLayout()
        columns.setSpacing(16)
        columns.addLayout(left, 1)
        columns.addWidget(area)
        foot = QHBoxLayout()
        foot.setSpacing(8)
        foot.addWidget(self.state, 1)
        for button in (self.weights, self.open_button, self.close_button):
            foot.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(18, 14, 18, 14)
        layout.setSpacing(10)
        layout.addLayout(columns, 1)
        layout.addWidget(self.message)
        layout.addLayout(foot)
        self.resize(*map(px, _SIZE_PX))

    def _connect(self) -> None:
        pair, work = self.pair, self._work
        pair.replaced.connect(self._on_replaced)
        pair.changed.connect(self._on_pair)
        pair.followed.connect(self.follow.setChecked)
        for number, side in enumerate(self.sides):
            side.position_wanted.connect(partial(pair.move, number))
            side.view.chosen.connect(partial(self.choose, number))
            side.refused.connect(self.show_error)
        self.follow.toggled.connect(pair.set_following)
        self.current.clicked.connect(pair.take_current)
        self.own.clicked.connect(pair.take_own)
        self.file.clicked.connect(self.ask_file)
        self.controls.changed.connect(self.refresh)
        self.controls.refused.connect(self.show_error)
        self.controls.drawing_changed.connect(self._draw)
        self.strip.search_pressed.connect(self.find_neighbours)
        self.strip.cancel_pressed.connect(work.cancel_search)
        self.strip.picked.connect(pair.take)
        self.open_button.clicked.connect(self.open_pressed)
        self.weights.clicked.connect(self.weights_pressed)
        self.close_button.clicked.connect(self.close)
        work.staged.connect(self.state.setText)
        work.pictured.connect(self._on_pictured)
        work.compared.connect(self._on_compared)
        work.refused.connect(self._on_refused)
        work.searching.connect(self.strip.set_searching)
        work.search_staged.connect(self.strip.show_stage)
        work.found.connect(self.strip.show_found)
        work.search_failed.connect(self._on_search_failed)

    # -- which frames -------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:
        if event.spontaneous():
            return
        if self.pair.left is None:
            self.pair.take_clip()
        else:
            self.pair.take_current()
            self.refresh()

    def hideEvent(self, event: QHideEvent) -> None:
        # Minimised it goes on; closed it holds no encoder.
        if not event.spontaneous():
            self.pair.set_following(False)
            self._work.stop()
            self.compared = None

    def _on_replaced(self) -> None:
        """Another clip is open, or none: nothing of the old one stays."""
        self._work.forget()
        self._work.cancel_search()
        if self.pair.left is None:
            self._work.stop()
        self.strip.clear()
        self.compared = self.chosen = None
        for side in self.sides:
            side.show_picture(None, "")
        self._draw()
        self.refresh()

    def _on_pair(self, side: int) -> None:
        if side == RIGHT:
            self.chosen = None  # its place meant something in the old frame
        self.refresh()

    def ask_file(self) -> None:
        """Ask for another clip, or a picture."""
        from moca_core.media.still import PICTURE_SUFFIXES

        endings = " ".join(f"*{suffix}" for suffix in (*CLIP_SUFFIXES, *PICTURE_SUFFIXES))
        kinds = f"Clips and pictures ({endings})"
        ask_file(self, "Frame to compare with", kinds, self._last, self.use_file)

    def use_file(self, path: Path) -> None:
        """Compare with a picture, or the first frame of a clip."""
        self._last = path.parent
        self.pair.take_file(path)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_path(event.mimeData()) is not None and self.pair.left is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        path = dropped_path(event.mimeData())
        if path is not None:
            event.acceptProposedAction()
            self.use_file(path)

    # -- comparing ----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask for the comparison as it is chosen now."""
        if not self.isVisible():
            return
        self.features.setText(self._facts.features)
        self.controls.show_adapter(bool(self._facts.config.adapter))
        clip = self.pair.left is not None
        self.open_button.setVisible(not clip)
        self.weights.hide()
        self._say("")
        for part in (
            *(self.current, self.follow, self.own, self.file, self.strip.search, self.controls),
            self.strip.choose,
        ):
            part.setEnabled(clip)
        left, right = self.pair.left, self.pair.right
        if left is None or right is None:
            self._show_empty()
        else:
            self._facts.when_ready(partial(self._ask, left, right), self._on_refused)

    def _ask(self, left: Pick, right: Pick) -> None:
        config, controls = self._facts.config, self.controls
        choice = EncoderChoice(config.bundle, config.adapter, controls.side_px)
        self._work.ask((left, right), choice, controls.config, controls.sound_of)

    def _show_empty(self) -> None:
        self.state.setText("")
        self.compared = None
        self.sides[0].show_picture(None, _NO_CLIP)
        self.sides[1].show_picture(None, "" if self.pair.left is None else _NO_RIGHT)
        self._draw()

    def _on_pictured(self, event: Pictured) -> None:
        """Frames without costs, until they are known."""
        self.compared = None
        for side, picture in zip(self.sides, event.pictures, strict=True):
            side.show_picture(picture, "This frame can't be read.")
        self._draw()

    def _on_compared(self, event: Compared) -> None:
        self.state.setText("")
        old, self.compared = self.compared, event
        if old is not None and old.result.grid != event.result.grid:
            self.chosen = None  # places are others
        for side, picture in zip(self.sides, event.pictures, strict=True):
            if side.picture is not picture:
                side.show_picture(picture, "")
        self._draw()

    def _on_refused(self, error: BaseException) -> None:
        self.state.setText("")
        self.compared = None
        for side in self.sides:
            side.view.show_map(None, Marks())
        self._draw()
        self.show_error(error)

    def choose(self, number: int, place: Place | None) -> None:
        """Show the costs of a location of one frame in the other; None shows both maps again."""
        if self.compared is not None:
            self.chosen = None if place is None else (number, place)
            self._draw()

    def _draw(self) -> None:
        """Lay maps, marks and numbers of the comparison over the frames."""
        compared = self.compared
        numbered = self.controls.numbered.isChecked()
        for number, side in enumerate(self.sides):
            side.view.set_opacity(self.controls.opacity.value() / 100)
            if compared is not None:
                side.view.show_map(*over_side(compared, number, self.chosen, numbered))
            side.refresh_bar()
        self.numbers.show_result(compared, self.chosen)

    # -- neighbours ---------------------------------------------------------------------------

    def find_neighbours(self) -> None:
        """Look for frames that look like the left one."""
        self._facts.when_ready(self._find, self._on_refused)

    def _find(self) -> None:
        left = self.pair.left
        if left is None:
            return
        self._say("")
        self.strip.clear("")
        bundle = self._facts.config.bundle
        self._work.find(NeighbourQuery(left, self.strip.folder, self._facts.every_s, bundle))

    def _on_search_failed(self, error: BaseException) -> None:
        self.strip.clear()
        self.show_error(error)

    # -- telling ------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def show_error(self, error: BaseException) -> None:
        """Show what happened and what to try."""
        if isinstance(error, MocaError):
            self._say(f"{error.message}\n{hint_in_window(error)}".strip())
        else:
            self._say(f"{type(error).__name__}: {error}\n{UNEXPECTED_HINT}")
        self.weights.setVisible(isinstance(error, WeightsError))

    def set_theme(self, theme: Theme) -> None:
        """Take the theme's colours."""
        for side in self.sides:
            side.view.set_theme(theme)
