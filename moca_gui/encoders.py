"""Which encoders the runs use: chosen, agreed to, complete, and only then put to use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QAction

from moca_core.config import SegmentConfig, fingerprint
from moca_core.errors import MocaError
from moca_core.models import licences
from moca_core.models.registry import BundleRow, bundle_row
from moca_gui.dialogs.opening import Dialogs
from moca_gui.dialogs.terms import with_terms
from moca_gui.runner import Runner
from moca_gui.session import Session
from moca_gui.settings import Settings, segment_config
from moca_gui.thresholds.deciding import Moved


class Encoders(QObject):
    """Changes the encoders of the runs to come.

    Nothing changes until the terms of the new ones are accepted and their files are here: those
    in use stay usable whatever happens to the others.
    """

    changed = Signal()

    def __init__(
        self,
        session: Session,
        runner: Runner,
        settings: Settings,
        dialogs: Dialogs,
        actions: dict[str, QAction],
    ) -> None:
        super().__init__(dialogs)
        self._session = session
        self._runner = runner
        self._settings = settings
        self._dialogs = dialogs
        self._actions = actions
        self._accepted: set[str] = set()
        self._sam = ""  # that was chosen; "" for the one that belongs to the bundle
        runner.ready = self.ready
        self.changed.connect(self._mark)
        self._put_to_use()

    @property
    def config(self) -> SegmentConfig:
        """The configuration of the next run."""
        return self._runner.config

    @property
    def row(self) -> BundleRow:
        """The bundle of the next run."""
        return bundle_row(self.config.bundle)

    # -- choosing -----------------------------------------------------------------------------

    def choose(self, bundle: str) -> None:
        """Use another bundle, with the SAM that belongs to it."""
        if bundle == self.config.bundle:
            self._mark()
            return
        # Neither another bundle's SAM nor its adapter.
        self._ask(bundle, "", "")

    def choose_sam(self, sam: str) -> None:
        """Let another SAM propose the masks; "" for the one that belongs to the bundle."""
        self._ask(self.config.bundle, sam, self.config.adapter)

    def choose_adapter(self, bundle: str, adapter: str) -> None:
        """Use the file of an adapter of a bundle, and that bundle with it; "" for none."""
        sam = self._sam if bundle == self.config.bundle else ""
        self._ask(bundle, sam, adapter)

    def _ask(self, bundle: str, sam: str, adapter: str) -> None:
        self._mark()  # the menu shows what is in use, which is the old one until all is done
        if self._runner.job is not None:
            self._session.note("A run is under way. Cancel it first (Esc).")
            return
        if (bundle, sam, adapter) == (
            self.config.bundle,
            self._sam,
            self.config.adapter,
        ):
            return
        self._agreed(bundle, lambda: self._complete(bundle, sam, adapter), self._note_unchanged)

    def _agreed(
        self, bundle: str, then: Callable[[], object], otherwise: Callable[[], object]
    ) -> None:
        def accepted() -> None:
            self._accepted.add(bundle)
            then()

        if bundle in self._accepted:
            then()
        else:
            with_terms(bundle, self._dialogs.window, accepted, otherwise)

    def _complete(self, bundle: str, sam: str, adapter: str) -> None:
        """Go on once the files are here."""
        config = segment_config(self._settings, bundle=bundle, sam=sam, adapter=adapter)

        def use() -> None:
            self._settings.set("bundle", bundle)
            self._settings.set("sam", sam)
            self._settings.set("adapter", adapter)
            self._put_to_use()
            self._runner.load_kept()

        if self._has_files(config):
            use()
            return
        dialog = self._dialogs.show_weights(config)
        dialog.completed.connect(use)
        dialog.rejected.connect(self._note_unchanged)

    def _has_files(self, config: SegmentConfig) -> bool:
        return all(row.present for row in self._dialogs.weights.needed(config))

    def _note_unchanged(self) -> None:
        self._session.note(f"{self.row.title} stays in use.")

    def ready(self) -> bool:
        """Whether a run can begin; if not, asks for what it lacks, after which it begins."""
        bundle = self.config.bundle
        if bundle not in self._accepted and licences.pending(bundle):
            # The settings may come from another machine, without the agreement.
            refused = f"Not run: the terms of {self.row.title} aren't accepted."
            self._agreed(bundle, self._runner.retry, lambda: self._session.note(refused))
            return False
        adapter = self.config.adapter
        if adapter and not Path(adapter).is_file():
            gone = MocaError(
                f"{adapter}: this adapter isn't there any more",
                "Choose another one, or none, by Run > Adapter.",
            )
            self._dialogs.show_error("Can't run", gone)
            return False
        if self._has_files(self.config):
            return True
        self._dialogs.show_weights(self.config).completed.connect(self._runner.retry)
        return False

    # -- putting to use -----------------------------------------------------------------------

    def take(self, config: SegmentConfig, moved: Moved) -> None:
        """Run on the next clip as its project says, whatever the settings say."""
        row = bundle_row(config.bundle)
        self._use(config, "" if config.sam == row.sam else config.sam, moved)

    def take_settings(self) -> None:
        """Run on the next clip as the settings say."""
        if segment_config(self._settings) != self.config:
            self._put_to_use()

    def _put_to_use(self) -> None:
        """The next run is made with what the settings say."""
        self._use(segment_config(self._settings), self._settings.get("sam"))

    def _use(self, config: SegmentConfig, sam: str, moved: Moved | None = None) -> None:
        self._sam = sam
        self._runner.use(config, moved)
        self._session.use_method(fingerprint(config), self.row.window_s)
        self.changed.emit()

    def _mark(self) -> None:
        self._actions[f"bundle_{self.config.bundle}"].setChecked(True)
        self._actions[f"sam_{self._sam or 'own'}"].setChecked(True)
