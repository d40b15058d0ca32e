"""A sweep: which settings take which values, on what base, with which seeds."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moca_core import paths
from moca_core.config import SegmentConfig, check, one_of, toml_value, with_values, write_toml
from moca_core.errors import ConfigError
from moca_core.evaluation.layouts import LAYOUTS, DataSet
from moca_core.training.config import MOST_SEED, TrainConfig

if TYPE_CHECKING:
    from moca_core.pipeline.matching import MatchSettings

Value = str | int | float | bool | tuple[Any, ...]
Setting = tuple[str, Value]
"""A dotted name, `train.blocks`, and its value."""

METRICS = ("m_j", "f_binary", "f_max_clip", "f_max_dataset", "iou_dataset", "share_empty")
LAST, BEST = "last", "best"
_SHIPPED = "sweeps"
_COMMON = ("bundle", "device", "precision")
"""Settings of training and evaluation alike, named without a table."""
_PARTS = ("train", "segment", "match", "data")
_OWN: Mapping[str, str] = {
    **{f"{part}.{name}": f"Set {name}, for both." for part in _PARTS[:2] for name in _COMMON},
    **dict.fromkeys(
        ("train.seed", "segment.seed", "match.region.seed"),
        "Name seeds = [...], which every row takes in turn.",
    ),
    "match.region.clusters": "Set segment.clusters.",
}
"""Names that can't be set, because something else sets them, and what to do instead."""
_FILES = ("data.path", "train.data", "train.videos", "train.start", "segment.adapter")


@dataclass(frozen=True)
class DataChoice:
    """What is evaluated: see `moca evaluate`; split "" and limit 0 take all."""

    path: str = ""
    layout: str = "pairs"
    split: str = ""
    limit: int = 0

    def __post_init__(self) -> None:
        one_of(self.layout, tuple(LAYOUTS), "layout")
        check(self.limit >= 0, f"data.limit = {self.limit}", "Use 0 (all) or more.")

    def read(self) -> DataSet:
        """The cases; raises `DatasetError`."""
        return LAYOUTS[self.layout](self.path, self.split or None, self.limit or None)


@dataclass(frozen=True)
class Row:
    """One run of a sweep.

    Attributes
    ----------
    number : its place in the sweep.
    values : the value of each axis.
    train : None where nothing is trained.
    segment : of the evaluation; the adapter that was trained is put in later.
    thresholds : settings of the decision that aren't the bundle's own.
    """

    number: int
    values: tuple[Setting, ...]
    seed: int
    train: TrainConfig | None
    segment: SegmentConfig
    thresholds: tuple[Setting, ...]
    data: DataChoice
    device: str
    precision: str

    @property
    def label(self) -> str:
        """`train.blocks=4, seed=1`."""
        return ", ".join(f"{name}={shown(value)}" for name, value in (*self.values, self._seed))

    @property
    def folder(self) -> str:
        """Name of its folder."""
        words = "-".join(f"{name}={shown(value)}" for name, value in (*self.values, self._seed))
        return f"{self.number:03d}-{re.sub(r'[^A-Za-z0-9.,=+_-]', '_', words)[:80]}"

    @property
    def _seed(self) -> Setting:
        return "seed", self.seed

    def settings(self) -> MatchSettings:
        """The thresholds of the decision; raises `ConfigError`. Imports torch for some bundles."""
        from moca_core.models.bundles import default_settings

        return with_values(default_settings(self.segment), _as_text(self.thresholds))


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file has it, its command line laid over; checked when it is made.

    Attributes
    ----------
    name : of its file, without the ending.
    title, about : for table and plot.
    axes : names with the values that they take, each with each of the other axes'.
    base : settings of all rows.
    seeds : each value is run with each of them.
    plot : the metric that is plotted, one of `METRICS`.
    adapter : which adapter of a training is evaluated: the `last`, or the `best` on what was held
        out.

    Raises
    ------
    ConfigError : a setting that isn't there, or a value that can't work.
    """

    name: str
    title: str
    about: str
    axes: tuple[tuple[str, tuple[Value, ...]], ...]
    base: tuple[Setting, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    plot: str = METRICS[0]
    adapter: str = LAST

    def __post_init__(self) -> None:
        one_of(self.plot, METRICS, "metric")
        one_of(self.adapter, (LAST, BEST), "choice of adapter")
        check(bool(self.axes), f"{self.name}: no axis", "Name a setting and its values in [axes].")
        for name, values in self.axes:
            twice = len({json.dumps(value) for value in values}) < len(values)
            check(bool(values) and not twice, f"{name} = {list(values)}", "Name values, each once.")
        right = all(type(seed) is int and 0 <= seed <= MOST_SEED for seed in self.seeds)
        check(
            right and 0 < len(set(self.seeds)) == len(self.seeds),
            f"seeds = {list(self.seeds)}",
            f"Use numbers from 0 to {MOST_SEED}, each once.",
        )
        names = [name for name, _ in self.axes]
        for name in (*names, *dict(self.base)):
            if name in _OWN:
                raise ConfigError(f"{name} can't be set in a sweep", _OWN[name])
        for row in self.rows:
            if row.thresholds:
                row.settings()

    @property
    def trains(self) -> bool:
        """Whether rows train an adapter: a setting of training is named."""
        names = (*dict(self.base), *dict(self.axes))
        return any(name.startswith("train.") for name in names)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """One for each seed of each value of the axes, the seeds of a value together."""
        named = [[(name, value) for value in values] for name, values in self.axes]
        points = itertools.product(itertools.product(*named), self.seeds)
        return tuple(self._row(number, *point) for number, point in enumerate(points))

    def _row(self, number: int, values: tuple[Setting, ...], seed: int) -> Row:
        settings = dict(self.base) | dict(values)
        common = {name: settings.pop(name) for name in _COMMON if name in settings}
        parts: dict[str, list[Setting]] = {part: [] for part in _PARTS}
        for name, value in settings.items():
            part, _, rest = name.partition(".")
            if part not in parts or not rest:
                raise ConfigError(
                    f"{name!r} is not a setting of a sweep",
                    f"Use {', '.join(_COMMON)}, or train.NAME, segment.NAME, match.NAME, "
                    "data.NAME.",
                )
            parts[part].append((rest, value))
        data = with_values(DataChoice(), _as_text(parts["data"]))
        segment = SegmentConfig(bundle=_text(common, "bundle", "compact"), seed=seed)
        segment = with_values(segment, _as_text(parts["segment"]))
        train = None
        if self.trains:
            check(
                not segment.adapter,
                f"segment.adapter = {segment.adapter!r}",
                "A sweep that trains evaluates what it trained; name train.start to start from it.",
            )
            own = [*common.items(), *parts["train"]]
            train = with_values(TrainConfig(data=data.path, seed=seed), _as_text(own))
        return Row(
            number=number,
            values=values,
            seed=seed,
            train=train,
            segment=segment,
            thresholds=tuple(parts["match"]),
            data=data,
            device=_text(common, "device", "auto"),
            precision=_text(common, "precision", "auto"),
        )

    def changed(self, settings: Iterable[Setting], seeds: tuple[int, ...] = ()) -> Sweep:
        """With other values in the base, and whole paths; a list becomes an axis's values.

        Raises
        ------
        ConfigError : what can't work.
        """
        base, axes = dict(self.base), dict(self.axes)
        for name, value in settings:
            if name not in axes:
                base[name] = value
                continue
            if not isinstance(value, tuple):
                raise ConfigError(
                    f"{name} = {shown(value)}: it is an axis of this sweep",
                    f"Leave it out, or give it other values: '{name}=[...]'.",
                )
            axes[name] = tuple(_frozen(name, item) for item in value)
        axes |= {name: tuple(map(_whole, axes[name])) for name in _FILES if name in axes}
        base |= {name: _whole(base[name]) for name in _FILES if name in base}
        return replace(
            self, base=tuple(base.items()), axes=tuple(axes.items()), seeds=seeds or self.seeds
        )

    def save(self, path: Path) -> None:
        """Write it as TOML, as `load_sweep` reads it; raises `StorageError`."""
        names = [item.name for item in dataclasses.fields(self)]
        own = [(name, getattr(self, name)) for name in names if name not in ("axes", "base")]
        lines = [f"{name} = {toml_value(value)}\n" for name, value in (*own, *self.base)]
        lines += ["\n[axes]\n", *(f"{name} = {toml_value(values)}\n" for name, values in self.axes)]
        write_toml(path, lines)


def shown(value: Value) -> str:
    """A value as it is shown: files by their names, no quotes; "" as `none`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "+".join(map(shown, value)) or "none"
    if isinstance(value, str):
        return value.replace("\\", "/").rsplit("/", 1)[-1] or "none"
    return str(value)


def shipped() -> dict[str, Path]:
    """The sweeps that come with the program, by name."""
    return {path.stem: path for path in sorted(paths.resource(_SHIPPED).glob("*.toml"))}


def find_sweep(text: str) -> Path:
    """The file of a sweep: a path, or the name of one that comes with the program.

    Raises
    ------
    ConfigError : there is neither.
    """
    known = shipped()
    if Path(text).is_file():
        return Path(text)
    if text in known:
        return known[text]
    raise ConfigError(f"{text}: no such sweep", f"Name a file, or one of {', '.join(known)}.")


def load_sweep(path: Path) -> Sweep:
    """Read a sweep from TOML: names of settings with dots, or in tables.

    Raises
    ------
    ConfigError : the file can't be read, or holds what can't work.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}", "Check the path and the TOML syntax.") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: too many brackets", "Check the TOML syntax.") from error
    own = {item.name for item in dataclasses.fields(Sweep)} - {"axes", "base"}
    given = {name: values.pop(name) for name in own if name in values}
    for name, value in given.items():
        right = isinstance(value, list) if name == "seeds" else isinstance(value, str)
        check(right, f"{path}: {name} = {value!r}", "Use a text, and a list for seeds.")
    axes = values.pop("axes", {})
    check(isinstance(axes, dict), f"{path}: axes = {axes!r}", "Make [axes] a table.")
    try:
        return Sweep(
            name=given.pop("name", Path(path).stem),
            title=given.pop("title", Path(path).stem),
            about=given.pop("about", ""),
            axes=tuple((name, _listed(name, value)) for name, value in _flat(axes)),
            base=tuple((name, _frozen(name, value)) for name, value in _flat(values)),
            seeds=tuple(given.pop("seeds", Sweep.seeds)),
            **given,
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: tables too deep in tables", "Check the names.") from error


def read_value(text: str) -> Value:
    """A value of the command line: read as TOML where it is that, else a text."""
    try:
        return _frozen("value", tomllib.loads(f"value = {text}")["value"])
    except (ConfigError, tomllib.TOMLDecodeError, RecursionError):
        return text


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested tables by their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _listed(name: str, value: Any) -> tuple[Value, ...]:
    check(isinstance(value, list), f"axes.{name} = {value!r}", "Name its values in brackets.")
    return tuple(_frozen(name, item) for item in value)


def _frozen(name: str, value: Any) -> Value:
    """A value of TOML: text, number, true or false, or a list of such; raises `ConfigError`."""
    items = value if isinstance(value, list | tuple) else [value]
    # Dates, tables and lists of lists are no setting's value.
    right = all(isinstance(item, str | int | float) for item in items)
    check(right, f"{name} = {value}", "Use a text, a number, true or false, or a list of such.")
    return tuple(items) if isinstance(value, list | tuple) else items[0]


def _text(common: Mapping[str, Value], name: str, default: str) -> str:
    return str(common.get(name, default))


def _as_text(settings: Iterable[Setting]) -> list[tuple[str, str]]:
    return [(name, toml_value(value)) for name, value in settings]


def _whole(value: Value) -> Value:
    return str(Path(value).expanduser().absolute()) if isinstance(value, str) and value else value
