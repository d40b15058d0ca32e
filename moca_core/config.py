"""Settings of a run: frozen, checked on creation, saved as TOML, able to repeat the run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from moca_core.errors import ConfigError
from moca_core.fileio import write_bytes
from moca_core.models.registry import BUNDLE_NAMES, SAMS, bundle_row

T = TypeVar("T")

PROPOSAL_MODES = ("guided", "grid", "none")
REGION_STRATEGIES = ("paint", "kmeans", "diffuse")
PATCHES = ("alone", "attended")

_PATCH = 14
_SIDES = (112, 896)
"""Of a patch of both bundles' transformers, and of the pictures that they take, in pixels."""


def one_of(value: str, known: tuple[str, ...], what: str) -> None:
    """Raise `ConfigError` unless `value` is one of `known`."""
    check(value in known, f"{value!r} is not a {what}", f"Use one of {', '.join(known)}.")


def check(condition: bool, message: str, hint: str = "") -> None:
    """Raise `ConfigError` unless the condition holds."""
    if not condition:
        raise ConfigError(message, hint)


@dataclass(frozen=True)
class SegmentConfig:
    """How a clip is segmented (METHOD.md section 7). Thresholds are those of `pipeline.matching`.

    Attributes
    ----------
    bundle : which encoders.
    proposals : how SAM is prompted: `guided`, `grid`, or `none` (regions refined by a filter).
    regions : how evidence becomes regions: `paint`, `kmeans` or `diffuse`; "" takes the bundle's,
        with an adapter the one that it changes.
    sam : which SAM proposes masks, a name in `SAMS`; "" takes the bundle's.
    patches : whether patches attend to all or to themselves alone before they enter the joint
        space, `attended` or `alone`; of the imagebind bundle.
    image_side : side in pixels of the squashed picture from which the patch tokens are made; 0
        takes the bundle's.
    clusters : k of k-means.
    seed : fixes every random draw.
    adapter : file of a trained adapter; "" for none.
    """

    bundle: str = "compact"
    proposals: str = "guided"
    regions: str = ""
    sam: str = ""
    patches: str = "alone"
    image_side: int = 0
    clusters: int = 5
    seed: int = 0
    adapter: str = ""

    def __post_init__(self) -> None:
        one_of(self.bundle, BUNDLE_NAMES, "bundle")
        row = bundle_row(self.bundle)
        regions = row.adapted_regions if self.adapter else row.regions
        own = {"regions": regions, "sam": row.sam, "image_side": row.image_side}
        for name, value in own.items():
            # What a run was made with is stored, not that the default was taken.
            object.__setattr__(self, name, getattr(self, name) or value)
        one_of(self.proposals, PROPOSAL_MODES, "proposal mode")
        one_of(self.regions, REGION_STRATEGIES, "region strategy")
        one_of(self.sam, SAMS, "SAM")
        one_of(self.patches, PATCHES, "way of patches into the joint space")
        check(
            self.image_side % _PATCH == 0 and _SIDES[0] <= self.image_side <= _SIDES[1],
            f"image_side = {self.image_side}",
            f"Use a multiple of {_PATCH} from {_SIDES[0]} to {_SIDES[1]}.",
        )
        check(2 <= self.clusters <= 32, f"clusters = {self.clusters}", "Use 2 to 32.")


def with_values(config: T, values: Iterable[tuple[str, str]]) -> T:
    """A dataclass with some values, given as text, in place of its own.

    Parameters
    ----------
    values : (name, value); `part.name` is a value of a dataclass within. Values are read as TOML.

    Raises
    ------
    ConfigError : it has no such value, or one of another type.
    """
    known = list(_names(config))
    for name, text in values:
        if name not in known:
            raise ConfigError(f"{name!r} is not a setting", f"Use one of {', '.join(known)}.")
        config = _with_value(config, name, name, text)
    return config


def _with_value(config: Any, path: str, name: str, text: str) -> Any:
    """`config` with the value of a known name; `path` is that name within `config`."""
    part, _, rest = path.partition(".")
    old = getattr(config, part)
    if rest:
        return dataclasses.replace(config, **{part: _with_value(old, rest, name, text)})
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    return dataclasses.replace(config, **{part: _as_type_of(old, value, name)})


def _names(config: Any) -> Iterator[str]:
    """The names of all values, those within as `part.name`."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from (f"{item.name}.{name}" for name in _names(value))
        else:
            yield item.name


def fingerprint(config: Any) -> str:
    """Twelve hex digits that name a dataclass's values: equal configs, equal fingerprints."""
    text = json.dumps(dataclasses.asdict(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def save_toml(config: Any, path: Path) -> None:
    """Write a flat dataclass as TOML to `path` (atomic); raises `StorageError`."""
    lines = []
    for name, value in dataclasses.asdict(config).items():
        lines.append(f"{name} = {toml_value(value)}\n")
    write_toml(path, lines)


def toml_value(value: object) -> str:
    """JSON scalars and arrays of scalars are valid TOML values, but for one letter."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def write_toml(path: Path, lines: Iterable[str]) -> None:
    """Write lines of TOML to `path` (atomic).

    Raises
    ------
    ConfigError : a path in it isn't UTF-8, which is all that TOML can hold.
    StorageError : it can't be written.
    """
    text = "".join(lines)
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        odd = next(line for line in text.splitlines() if not _is_utf8(line))
        raise ConfigError(
            f"{odd.encode(errors='backslashreplace').decode()}: isn't UTF-8",
            "Rename the file or folder.",
        ) from error
    write_bytes(path, data)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def load_toml(cls: type, path: Path) -> Any:
    """Read a flat dataclass from TOML.

    Raises
    ------
    ConfigError : the file can't be read, or has a key or a value that the dataclass doesn't.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", "Check the path and the TOML syntax.") from error
    known = {item.name: item.default for item in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"{path}: unknown keys {unknown}", f"Known: {', '.join(sorted(known))}.")
    return cls(**{name: _as_type_of(known[name], value, name) for name, value in values.items()})


def _as_type_of(default: Any, value: Any, name: str) -> Any:
    """A value of TOML as the type of the field's default; raises `ConfigError`."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if type(default) is float and type(value) is int:
        return float(value)
    # A truth value is an int to Python, but no number to a user.
    if default is dataclasses.MISSING or default is None or type(value) is type(default):
        return value
    raise ConfigError(f"{name} = {value!r}", f"Use a value such as {default!r}.")
