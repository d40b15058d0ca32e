"""Sound groups: the words in which the compact bundle compares what is heard with what is seen.

YAMNet names sounds (521 AudioSet classes), EfficientNet-lite names looks (1000 ImageNet classes).
Two curated tables map both onto about sixty named groups (person, dog, train, guitar, ...), so that
a sound can be looked for in a picture. The tables lie in `resources/sound_groups/`; its README says
how they were made and how a row is edited.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from moca_core.errors import ConfigError
from moca_core.paths import resource

AUDIO_CLASSES = 521
IMAGE_CLASSES = 1000
AUDIO_KINDS = ("source", "ambiguous", "silent", "ambience")
NONE = "none"

GroupMode = Literal["max", "explain"]
GROUP_MODES: tuple[GroupMode, ...] = ("max", "explain")
# Measured: one round does most of it, a third changes nothing.
EXPLAIN_ROUNDS = 2


@dataclass(frozen=True, eq=False)
class SoundGroups:
    """The groups and both tables as matrices, G groups in the order of `groups.csv`.

    Attributes
    ----------
    names : G short names, used in code and files.
    display : G names for the user.
    kinds : G kinds (`living`, `vehicle`, `instrument`, ...).
    supers : G super groups; car, bus and truck share `road vehicle`.
    visible : (G,) bool; false where the source is not in the picture (wind, background music).
    audio_names : 521 AudioSet class names in YAMNet's order.
    image_names : 1000 ImageNet class names.
    audio_matrix : (521, G) float32 in [0, 1], about P(group sounds | class is heard).
    image_matrix : (1000, G) float32 in [0, 1], how much the look of a class speaks for a group.
    """

    names: tuple[str, ...]
    display: tuple[str, ...]
    kinds: tuple[str, ...]
    supers: tuple[str, ...]
    visible: np.ndarray
    audio_names: tuple[str, ...]
    image_names: tuple[str, ...]
    audio_matrix: np.ndarray
    image_matrix: np.ndarray

    @classmethod
    def load(cls, folder: Path | None = None) -> SoundGroups:
        """Read and check the three tables.

        Parameters
        ----------
        folder : where `groups.csv`, `audioset.csv` and `imagenet.csv` lie; the program's own
            tables by default.

        Raises
        ------
        ConfigError : a table can't be read, or a row is missing, double, or has an unknown group
            or a weight outside ]0, 1]; the message names the file and the line.
        """
        folder = resource("sound_groups") if folder is None else Path(folder)
        groups = _read_groups(folder / "groups.csv")
        names = tuple(row["name"] for row in groups)
        audio_names, audio_matrix = _read_matrix(folder / "audioset.csv", names, AUDIO_CLASSES)
        image_names, image_matrix = _read_matrix(folder / "imagenet.csv", names, IMAGE_CLASSES)
        return cls(
            names=names,
            display=tuple(row["display"] for row in groups),
            kinds=tuple(row["kind"] for row in groups),
            supers=tuple(row["super"] for row in groups),
            visible=np.array([row["visible"] == "1" for row in groups]),
            audio_names=audio_names,
            image_names=image_names,
            audio_matrix=audio_matrix,
            image_matrix=image_matrix,
        )

    def index(self, name: str) -> int:
        """Position of a group; raises `ConfigError` if there is none of that name."""
        if name not in self.names:
            raise ConfigError(f"{name!r} is not a sound group", f"Known: {', '.join(self.names)}.")
        return self.names.index(name)

    def group_weights(self, scores: np.ndarray, mode: GroupMode = "max") -> np.ndarray:
        """How much each group is heard, from YAMNet's class scores.

        With y the scores and M the audio matrix, `max` gives group g its best class,
        a_g = max_c y_c M_cg (COMPACT.md, recipe step 1). Classes such as "Vehicle" or "Animal"
        score high for every vehicle or animal, and then lift all their groups alike. `explain`
        lets a class vote for the groups that the other classes name: starting from `max`, twice
        a_g = max_c y_c m_c r_cg with r_cg = M_cg a_g / sum_h M_ch a_h and m_c = max_h M_ch, which
        is the E-step of a mixture model over groups. It is sharper, and finds both sources of a
        mix more often (docs/adr/0003-sound-groups.md).

        Parameters
        ----------
        scores : (521,) float in [0, 1], YAMNet's scores, mean over the windows of interest.
        mode : how the classes of a group are joined.

        Returns
        -------
        (G,) float32, at least 0, of sum 1; all 0 if no group is heard at all.

        Raises
        ------
        ConfigError : `scores` has another shape or values that aren't finite, or the mode is
            unknown.
        """
        scores = np.asarray(scores, dtype=np.float32)
        if scores.shape != (AUDIO_CLASSES,) or not np.isfinite(scores).all():
            raise ConfigError(
                f"scores of shape {scores.shape}, or not finite",
                f"Give one score a class: ({AUDIO_CLASSES},).",
            )
        if mode not in GROUP_MODES:
            raise ConfigError(f"{mode!r} is not a group mode", f"Use {', '.join(GROUP_MODES)}.")
        heard = (scores[:, None] * self.audio_matrix).max(axis=0)  # (G,)
        if mode == "explain":
            heard = self._explain(scores, heard)
        total = float(heard.sum())
        return (heard / total if total > 0 else heard).astype(np.float32)

    def _explain(self, scores: np.ndarray, heard: np.ndarray) -> np.ndarray:
        """Share the score of every class among its groups by how much each is heard, (G,)."""
        reach = scores * self.audio_matrix.max(axis=1)  # (521,) what a class has to give
        for _ in range(EXPLAIN_ROUNDS):
            share = self.audio_matrix * heard  # (521, G)
            total = share.sum(axis=1, keepdims=True)
            share = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
            heard = (reach[:, None] * share).max(axis=0)
        return heard


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            header = tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{path}: {error}", "Reinstall the program or restore the file."
        ) from error
    if header != columns:
        raise ConfigError(f"{path}: columns {list(header)}", f"Expected {', '.join(columns)}.")
    for number, row in enumerate(rows, start=2):
        # A short line leaves None values, a long one a None key.
        if None in row or None in row.values():
            raise ConfigError(f"{path}, line {number}: wrong number of fields", "Check the commas.")
    return rows


def _read_groups(path: Path) -> list[dict[str, str]]:
    rows = _rows(path, ("name", "display", "kind", "visible", "super"))
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        where = f"{path}, line {number}"
        if row["name"] in seen:
            raise ConfigError(f"{where}: group {row['name']!r} twice", "Remove one of the rows.")
        if not all(row.values()):
            raise ConfigError(f"{where}: an empty field", "Fill in every column.")
        if row["visible"] not in ("0", "1"):
            raise ConfigError(f"{where}: visible = {row['visible']!r}", "Use 0 or 1.")
        seen.add(row["name"])
    if not rows:
        raise ConfigError(f"{path}: no groups", "Restore the file.")
    return rows


def _read_matrix(
    path: Path, names: tuple[str, ...], classes: int
) -> tuple[tuple[str, ...], np.ndarray]:
    """Class names and their (classes, G) float32 weights."""
    audio = classes == AUDIO_CLASSES
    columns = (
        ("index", "name", "groups", "kind", "note")
        if audio
        else ("index", "name", "groups", "note")
    )
    rows = _rows(path, columns)
    matrix = np.zeros((classes, len(names)), dtype=np.float32)
    for expected, row in enumerate(rows):
        where = f"{path}, line {expected + 2}"
        if row["index"] != str(expected):
            raise ConfigError(
                f"{where}: index {row['index']!r}, expected {expected}",
                "Keep every class exactly once, in order.",
            )
        if expected >= classes:
            break
        if audio and row["kind"] not in AUDIO_KINDS:
            raise ConfigError(
                f"{where}: kind {row['kind']!r}", f"Use one of {', '.join(AUDIO_KINDS)}."
            )
        for name, weight in _weights(row["groups"], names, where):
            matrix[expected, names.index(name)] = weight
    if len(rows) != classes:
        raise ConfigError(
            f"{path}: {len(rows)} rows, expected {classes}", "Give every class one row."
        )
    return tuple(row["name"] for row in rows), matrix


def _weights(text: str, names: tuple[str, ...], where: str) -> list[tuple[str, float]]:
    """Read `car:0.5;truck:0.3`, or `none` for a class that speaks for no group."""
    if text == NONE:
        return []
    found: dict[str, float] = {}
    for part in text.split(";"):
        name, _, number = part.partition(":")
        try:
            weight = float(number)
        except ValueError:
            raise ConfigError(f"{where}: {part!r}", "Write group:weight, or none.") from None
        if name not in names:
            raise ConfigError(f"{where}: unknown group {name!r}", "Add it to groups.csv first.")
        if name in found:
            raise ConfigError(f"{where}: group {name!r} twice", "Keep one of the weights.")
        if not 0 < weight <= 1:
            raise ConfigError(f"{where}: weight {number} of {name}", "Use 0 < weight <= 1.")
        found[name] = weight
    return list(found.items())
