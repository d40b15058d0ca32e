"""What the user changed, in a readable file; window state lives apart in `QSettings`."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QObject, QSettings, Signal

from moca_core.config import SegmentConfig
from moca_core.errors import StorageError
from moca_core.fileio import parse_json, write_json
from moca_core.models.registry import BUNDLE_NAMES, SAMS
from moca_core.paths import config_dir
from moca_gui.theme import THEME_CHOICES

_log = logging.getLogger(__name__)
RECENT_LIMIT = 10
FOLDERS_LIMIT = 50


@dataclass(frozen=True)
class Setting:
    """One row. The settings window shows those with a label; the others say where they are kept.

    Attributes
    ----------
    key : how the program calls it.
    default : its value while the user says nothing; the kind of value that it takes.
    choices : the allowed values, or
    limits : the least and the greatest number, or neither.
    label, tip : what the settings window says of it.
    section : one of `SECTIONS`.
    titles : what the choices are called there, in their order.
    unit : of a number; `%` shows a share of 1 as per cent.
    step : of a number, in its own unit.
    elsewhere : why the settings window doesn't show it.
    """

    key: str
    default: Any
    choices: tuple[Any, ...] = ()
    limits: tuple[float, float] | None = None
    label: str = ""
    tip: str = ""
    section: str = ""
    titles: tuple[str, ...] = ()
    unit: str = ""
    step: float = 1.0
    elsewhere: str = ""

    def accepts(self, value: Any) -> bool:
        """Whether `value` has this row's type and lies within its choices or limits."""
        if type(value) is not type(self.default):
            return False
        if self.choices and value not in self.choices:
            return False
        return self.limits is None or self.limits[0] <= value <= self.limits[1]


SECTIONS = ("Appearance", "Playback", "Runs", "Projects")
SCOPES = {"frame": "This frame", "range": "In/out range", "clip": "Whole clip"}
_IN_OBJECTS = "chosen in the Objects panel, where it is seen with what it acts on"
_BY_MENU = "chosen by Run > Encoders, which asks for terms and files first"
SETTINGS = (
    Setting("theme", "system", choices=THEME_CHOICES, label="Theme", section="Appearance",
            titles=("As the system", "Dark", "Light"), tip="The colours of all windows."),
    Setting("text_size", 1.0, limits=(0.8, 2.0), label="Text size", section="Appearance",
            unit="%", step=0.1, tip="Of all windows, beside what the system asks for."),
    Setting("mask_opacity", 0.38, limits=(0.0, 1.0), label="Opacity of masks",
            section="Appearance", unit="%", step=0.05,
            tip="How strongly masks cover the picture; their outlines stay."),
    Setting("map_opacity", 0.62, limits=(0.0, 1.0), label="Opacity of maps",
            section="Appearance", unit="%", step=0.05,
            tip="How strongly maps cover the picture."),
    Setting("volume", 0.8, limits=(0.0, 1.0), label="Volume", section="Playback", unit="%",
            step=0.05, tip="Of clips, beside the volume of the system."),
    Setting("muted", False, label="Mute", section="Playback",
            tip="Clips play without sound, on the same clock."),
    Setting("key_frame_every_s", 1.0, limits=(0.1, 10.0), label="Key frame every",
            section="Runs", unit="s", step=0.1,
            tip="How often the encoders look at the picture. Motion carries the masks between: "
            "more key frames take longer, and lose fewer objects that move fast."),
    Setting("keep_maps", False, label="Keep maps of every key frame", section="Runs",
            tip="Evidence, clusters and the like of whole runs, for the inspector. They need "
            "memory; a run on one frame always keeps its own."),
    Setting("autosave", True, label="Save by itself", section="Projects",
            tip="A project is saved shortly after each change. Without it, save by Ctrl+S."),
    Setting("autosave_after_s", 2.0, limits=(0.5, 20.0), label="Save after", section="Projects",
            unit="s", step=0.5, tip="How long after the last change."),
    Setting("projects_folder", "", elsewhere="asked for where the clip's folder is read-only"),
    Setting("bundle", "compact", choices=BUNDLE_NAMES, elsewhere=_BY_MENU),
    # "" and 0 take the bundle's own.
    Setting("sam", "", choices=("", *SAMS), elsewhere=_BY_MENU),
    Setting("image_side", 0, choices=(0, 224, 336, 448),
            elsewhere="the thresholds suit the bundle's own side; the file may ask for another"),
    Setting("adapter", "", elsewhere="chosen by Run > Adapter, which looks whether it fits"),
    Setting("follow_silent", False, elsewhere="switched by Edit > Follow, beside its actions"),
    Setting("scope_objects", "frame", choices=tuple(SCOPES), elsewhere=_IN_OBJECTS),
    Setting("scope_names", "clip", choices=tuple(SCOPES), elsewhere=_IN_OBJECTS),
    Setting("shortcuts", {}, elsewhere="changed in the window of the keyboard shortcuts"),
)  # fmt: skip
_ROWS = {row.key: row for row in SETTINGS}


class Settings(QObject):
    """The user's settings; a value that its row refuses reads as the default.

    Signals: `changed(key)` when a value is another than before, whoever set it.
    """

    changed = Signal(str)

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path or config_dir() / "settings.json"
        self._values: dict[str, Any] = {}
        # Of a newer version, or of somebody else: not ours to remove.
        self._unknown: dict[str, Any] = {}
        for key, value in _read(self.path).items():
            row = _ROWS.get(key)
            if row is None:
                self._unknown[key] = value
                continue
            if type(value) is int and type(row.default) is float:
                value = float(value)
            if row.accepts(value):
                self._values[key] = value

    def get(self, key: str) -> Any:
        """The value of `key`, or its default."""
        return self._values.get(key, _ROWS[key].default)

    def is_default(self, key: str) -> bool:
        """Whether `key` has its default."""
        return bool(self.get(key) == _ROWS[key].default)

    def set(self, key: str, value: Any) -> None:
        """Change `key`, save, and tell; raises `ValueError` for a value that the row refuses."""
        if not _ROWS[key].accepts(value):
            raise ValueError(f"{key} = {value!r} is not allowed")
        if value == self.get(key):
            return
        self._values[key] = value
        changed = {k: v for k, v in self._values.items() if v != _ROWS[k].default}
        try:
            write_json(self.path, {**self._unknown, **changed})
        except StorageError as error:
            # A setting that can't be kept is no reason to stop the user's work.
            _log.warning("%s", error)
        self.changed.emit(key)

    def reset(self, key: str) -> None:
        """Give `key` its default again."""
        self.set(key, _ROWS[key].default)


def _read(path: Path) -> dict[str, Any]:
    """What is stored; a file that isn't JSON is put aside, not written over."""
    try:
        values = parse_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        _log.warning("%s: can't be read (%s); using the defaults", path, error)
        return {}
    except ValueError as error:
        aside = path.with_suffix(".damaged")
        _log.warning("%s: %s; using the defaults, and keeping it as %s", path, error, aside.name)
        with contextlib.suppress(OSError):
            path.replace(aside)
        return {}
    return values if isinstance(values, dict) else {}


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
        value = self._read("recent")
        names = [value] if isinstance(value, str) else value  # one is read as text
        names = names if isinstance(names, list) else []
        return [Path(name) for name in names if name and isinstance(name, str)]

    def add_recent(self, path: Path) -> None:
        """Put `path` first in the list of recent clips."""
        names = [str(path), *(str(p) for p in self.recent() if p != path)]
        self._store.setValue("recent", names[:RECENT_LIMIT])

    def clear_recent(self) -> None:
        """Forget the recent clips."""
        self._store.remove("recent")

    def position(self, folder: Path) -> str:
        """Name of the clip that was open last of a folder of clips; "" if none was."""
        return self._positions().get(str(folder), "")

    def keep_position(self, clip: Path) -> None:
        """Remember that `clip` was open last of its folder."""
        known = self._positions()
        known.pop(str(clip.parent), None)
        latest = [*known.items(), (str(clip.parent), clip.name)][-FOLDERS_LIMIT:]
        self._store.setValue("positions", json.dumps(dict(latest)))

    def _positions(self) -> dict[str, str]:
        try:
            value = parse_json(self._read("positions") or "{}")
        except (ValueError, TypeError):
            return {}
        known = value if isinstance(value, dict) else {}
        return {key: name for key, name in known.items() if isinstance(name, str)}

    def save(self, geometry: QByteArray, docks: QByteArray) -> None:
        """Keep the window's geometry and dock layout."""
        self._store.setValue("geometry", geometry)
        self._store.setValue("docks", docks)
        self._store.sync()

    def load(self) -> tuple[QByteArray | None, QByteArray | None]:
        """The stored (geometry, docks), None where nothing of the kind is stored."""
        values = (self._read("geometry"), self._read("docks"))
        first, second = (value if isinstance(value, QByteArray) else None for value in values)
        return first, second

    def _read(self, key: str) -> Any:
        try:
            return self._store.value(key)
        except Exception as error:  # whatever Qt makes of a damaged file
            _log.warning("%s: %s can't be read: %s", self._store.fileName(), key, error)
            return None
