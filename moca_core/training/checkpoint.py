"""Checkpoints of a run: all that going on needs; a kill leaves the last whole one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moca_core.errors import ConfigError, WeightsError
from moca_core.fileio import atomic_write

LAST = "last.pt"
_VERSION = 1


@dataclass
class State:
    """Where a run stands.

    Attributes
    ----------
    step : iterations done.
    learner, optimiser : state dicts.
    mean : running mean of the learner's weights; empty without one.
    scaler : of a loss in float16; empty without one.
    best : lowest validation loss so far.
    scores, validated : of the last validation, and after which iteration it was.
    skipped, in_a_row : iterations that were skipped, and how many of them just now.
    """

    step: int = 0
    learner: Mapping[str, Tensor] = field(default_factory=dict)
    optimiser: Mapping[str, Any] = field(default_factory=dict)
    mean: Mapping[str, Tensor] = field(default_factory=dict)
    scaler: Mapping[str, Any] = field(default_factory=dict)
    best: float = float("inf")
    scores: Mapping[str, float] = field(default_factory=dict)
    validated: int = -1
    skipped: int = 0
    in_a_row: int = 0


def save(state: State, identity: str, folder: Path) -> Path:
    """Write the checkpoint of a run atomically; raises `StorageError` and keeps the last one.

    Parameters
    ----------
    identity : names the configuration; a checkpoint is only taken up by its own.
    """
    content = {"version": _VERSION, "identity": identity, **vars(state)}
    # In memory first: torch reports a disk that is full in ways of its own.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = folder / LAST
    # What a kill in the middle of a save has left: nobody else writes here, the run has the lock.
    for half in folder.glob(f".{LAST}.*.tmp"):
        half.unlink(missing_ok=True)
    with atomic_write(path) as stream:
        stream.write(buffer.getbuffer())
    return path


def load(identity: str, folder: Path) -> State | None:
    """The checkpoint of a run, or None if there is none yet.

    Raises
    ------
    WeightsError : it is damaged, or of a newer version.
    ConfigError : it was made with another configuration.
    """
    path = folder / LAST
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version = content.pop("version")
        made_with = content.pop("identity")
        state = State(**content) if version == _VERSION else None
        if state is not None:
            _check_counts(state)
    except Exception as error:
        # Damaged bytes fail in whatever way they happen to be read.
        raise damaged(folder) from error
    if state is None:
        raise WeightsError(f"{path}: of version {version}", "Update the program to go on with it.")
    if made_with != identity:
        raise ConfigError(
            f"{folder}: its checkpoint was made with another configuration",
            "Resume it with its own (config.toml beside it), or choose another folder.",
        )
    return state


def damaged(folder: Path) -> WeightsError:
    """The error of a checkpoint that can't be read, or doesn't fit what is trained."""
    return WeightsError(
        f"{folder / LAST}: damaged, or no checkpoint of a run",
        "Remove it to begin the run anew; adapters that were saved beside it are whole.",
    )


def _check_counts(state: State) -> None:
    """Raise `ValueError` where a count can't be one."""
    counts = (state.step, state.skipped, state.in_a_row, state.validated + 1)
    if any(type(count) is not int or count < 0 for count in counts):
        raise ValueError(f"counts {counts}")
