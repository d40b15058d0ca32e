"""The settings that are being put together; one place that the form and the table both show."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from moca_core.config import fingerprint, load_toml, save_toml, with_values
from moca_core.errors import ConfigError
from moca_core.training.config import TrainConfig
from moca_gui.tuning.source import CHECKPOINT_FILE, CONFIG_FILE

FIRST = TrainConfig(iterations=1000, warmup=100, validate_every=50, save_every=50)
"""What is proposed: short enough to see on a CPU whether own clips teach an adapter anything."""
DATA_FIELDS = ("data", "layout", "split", "subsets", "videos", "every_s", "limit", "bundle")
"""Settings after whose change the data must be checked again."""
FROM_START = ("blocks", "latents", "reduction")
"""Settings that a starting adapter brings with it."""


class Draft(QObject):
    """A valid configuration, changed value by value; what can't work is refused."""

    changed = Signal()
    refused = Signal(str, object)  # setting, ConfigError

    def __init__(self, config: TrainConfig | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.config = config or TrainConfig()

    def set(self, name: str, value: Any) -> None:
        """Change a setting to a value of its type."""
        self._take(name, lambda: dataclasses.replace(self.config, **{name: value}))

    def set_text(self, name: str, text: str) -> None:
        """Change a setting to what a text says, as TOML or as it stands."""
        self._take(name, lambda: with_values(self.config, [(name, text)]))

    def _take(self, name: str, make: Any) -> None:
        try:
            config = make()
        except ConfigError as error:
            self.refused.emit(name, error)
            return
        if config != self.config:
            self.config = config
            self.changed.emit()

    def load(self, path: Path) -> None:
        """Take all settings from a file; raises `ConfigError` and changes nothing then."""
        self.config = load_toml(TrainConfig, path)
        self.changed.emit()

    def save(self, path: Path) -> None:
        """Write all settings, as `moca train` reads them; raises `StorageError`."""
        save_toml(self.config, path)

    @property
    def data_key(self) -> tuple[Any, ...]:
        """What a data check depends on."""
        return tuple(getattr(self.config, name) for name in DATA_FIELDS)


def as_text(value: Any) -> str:
    """A setting as the table shows and reads it.

    >>> as_text(True), as_text(1e-4), as_text(("a", "b")), as_text("clips")
    ('true', '0.0001', '["a", "b"]', 'clips')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{part}"' for part in value) + "]"
    return str(value)


def notes_of(cls: type) -> dict[str, str]:
    """What a dataclass's docstring says of each of its fields."""
    found: dict[str, str] = {}
    current: tuple[str, ...] = ()
    for line in (cls.__doc__ or "").splitlines():
        match = re.match(r"\s{4}(\w+(?:, \w+)*) : (.*)", line)
        if match:
            current = tuple(match.group(1).split(", "))
            found |= dict.fromkeys(current, match.group(2).strip())
        elif line.startswith(" " * 8) and current:
            found |= {name: f"{found[name]} {line.strip()}" for name in current}
    return found


def free_folder(wanted: Path, config: TrainConfig) -> Path:
    """`wanted`, or the first of `wanted-2`, `wanted-3`... that holds no run of other settings."""
    number = 1
    folder = wanted
    while not is_free(folder, config):
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def is_free(folder: Path, config: TrainConfig) -> bool:
    """Whether a run with `config` can begin, or go on, in a folder."""
    if not has_files(folder):
        return True
    path = folder / CONFIG_FILE
    if not path.exists():
        return False
    if not (folder / CHECKPOINT_FILE).exists():
        return True  # of a run of which nothing is worth keeping
    try:
        return fingerprint(load_toml(TrainConfig, path)) == fingerprint(config)
    except ConfigError:
        return False


def has_files(folder: Path) -> bool:
    """Whether a folder is there and something is in it, or it is a file."""
    if folder.is_dir():
        return any(not path.name.startswith(".") for path in folder.iterdir())
    return folder.exists()


def run_of(path: Path) -> Path | None:
    """The folder of the run whose configuration a file is; None for any other file."""
    folder = path.parent
    return folder if path.name == CONFIG_FILE and (folder / CHECKPOINT_FILE).exists() else None
