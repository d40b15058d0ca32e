"""Reading checkpoints so that a wrong or damaged file says what it is."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from moca_core.errors import WeightsError

_AGAIN = "Run `moca weights verify`, then `moca weights get` to fetch the file again."
_SHOWN = 10


def read_torch(path: Path) -> dict[str, Tensor]:
    """Read a state dict with `weights_only`, memory-mapped: a pickle can't run code.

    Raises
    ------
    WeightsError : the file is missing, truncated, or not a state dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise WeightsError(f"{path.name}: not there", "Run `moca weights get`.") from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError) as error:
        try:
            # Files of the old format can't be memory-mapped.
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError):
            first = (str(error).splitlines() or ["unreadable"])[0]
            raise WeightsError(f"{path.name}: damaged or refused ({first})", _AGAIN) from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path.name}: holds no state dict", _AGAIN)
    return state


def load_strictly(
    model: nn.Module, state: Mapping[str, Tensor], path: Path, unused: tuple[str, ...] = ()
) -> None:
    """Load every parameter of `model` from `state`; keys that start with `unused` are left.

    Raises
    ------
    WeightsError : keys are missing, unexpected or of another shape; the first ten are named.
    """
    wanted = model.state_dict()
    given = {key: value for key, value in state.items() if not key.startswith(unused or "\0")}
    missing = [key for key in wanted if key not in given]
    unexpected = [key for key in given if key not in wanted]
    shapes = [
        f"{key} {tuple(given[key].shape)} for {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    for what, keys in (("lacks", missing), ("has unknown", unexpected), ("has shapes", shapes)):
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            raise WeightsError(
                f"{path.name}: not the checkpoint of this model, it {what} "
                f"{', '.join(keys[:_SHOWN])}{more}",
                _AGAIN,
            )
    model.load_state_dict(given)
