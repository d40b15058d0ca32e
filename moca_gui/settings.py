"""What the user changed, in a readable file; window state lives apart in `QSettings`."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings

from moca_core.config import SegmentConfig
from moca_core.errors import StorageError
from moca_core.fileio import write_json
from moca_core.models.registry import BUNDLE_NAMES, SAMS
from moca_core.paths import config_dir
from moca_gui.theme import THEME_CHOICES

_log = logging.getLogger(__name__)
RECENT_LIMIT = 10


@dataclass(frozen=True)
class Setting:
    """One row: its key, default, and the allowed values, a (low, high) range, or neither."""

    key: str
    default: Any
    choices: tuple[Any, ...] = ()
    limits: tuple[float, float] | None = None

    def accepts(self, value: Any) -> bool:
        """Whether `value` has this row's type and lies within its choices or limits."""
        if type(value) is not type(self.default):
            return False
        if self.choices and value not in self.choices:
            return False
        return self.limits is None or self.limits[0] <= value <= self.limits[1]


SETTINGS = (
    Setting("theme", "system", choices=THEME_CHOICES),
    Setting("volume", 0.8, limits=(0.0, 1.0)),
    Setting("muted", False),
    Setting("keep_maps", False),
    Setting("key_frame_every_s", 1.0, limits=(0.1, 10.0)),
    Setting("bundle", "compact", choices=BUNDLE_NAMES),
    # "" and 0 take the bundle's own.
    Setting("sam", "", choices=("", *SAMS)),
    Setting("image_side", 0, choices=(0, 224, 336, 448)),
    Setting("adapter", ""),
)
_ROWS = {row.key: row for row in SETTINGS}


class Settings:
    """The user's settings; a value that its row refuses reads as the default."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or config_dir() / "settings.json"
        self._values: dict[str, Any] = {}
        try:
            values = json.loads(self.path.read_text())
        except FileNotFoundError:
            values = {}
        except (OSError, ValueError) as error:
            _log.warning("%s: can't be read (%s); using the defaults", self.path, error)
            values = {}
        if isinstance(values, dict):
            self._values = {k: v for k, v in values.items() if k in _ROWS and _ROWS[k].accepts(v)}

    def get(self, key: str) -> Any:
        """The value of `key`, or its default."""
        return self._values.get(key, _ROWS[key].default)

    def set(self, key: str, value: Any) -> None:
        """Change `key` and save; raises `ValueError` for a value that the row refuses."""
        if not _ROWS[key].accepts(value):
            raise ValueError(f"{key} = {value!r} is not allowed")
        if value == self.get(key):
            return
        self._values[key] = value
        changed = {k: v for k, v in self._values.items() if v != _ROWS[k].default}
        try:
            write_json(self.path, changed)
        except StorageError as error:
            # A setting that can't be kept is no reason to stop the user's work.
            _log.warning("%s", error)


def segment_config(settings: Settings, **changes: Any) -> SegmentConfig:
    """The configuration of runs that the settings ask for, with changes to some of them."""
    values = {key: settings.get(key) for key in ("bundle", "sam", "image_side", "adapter")}
    return SegmentConfig(**{**values, **changes})


class WindowState:
    """Geometry, docks and recent files, by `QSettings`."""

    def __init__(self) -> None:
        self._store = QSettings(str(config_dir() / "window.ini"), QSettings.Format.IniFormat)

    def recent(self) -> list[Path]:
        """Recently opened clips, the latest first."""
        value: Any = self._store.value("recent", [])
        names = [value] if isinstance(value, str) else list(value or [])  # one is read as text
        return [Path(name) for name in names if name]

    def add_recent(self, path: Path) -> None:
        """Put `path` first in the list of recent clips."""
        names = [str(path), *(str(p) for p in self.recent() if p != path)]
        self._store.setValue("recent", names[:RECENT_LIMIT])

    def clear_recent(self) -> None:
        """Forget the recent clips."""
        self._store.remove("recent")

    def save(self, geometry: bytes, docks: bytes) -> None:
        """Keep the window's geometry and dock layout."""
        self._store.setValue("geometry", geometry)
        self._store.setValue("docks", docks)
        self._store.sync()

    def load(self) -> tuple[Any, Any]:
        """The stored (geometry, docks), None where nothing is stored."""
        return self._store.value("geometry"), self._store.value("docks")
