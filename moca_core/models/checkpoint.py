"""Reading checkpoints so that a wrong or damaged file says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from moca_core.errors import WeightsError

_AGAIN = "Run `moca weights verify`, then `moca weights get` to fetch the file again."
_SHOWN = 10
_ZIP = b"PK\x03\x04"


def read_torch(path: Path) -> dict[str, Tensor]:
    """Read a state dict with `weights_only`, memory-mapped: a pickle can't run code.

    Raises
    ------
    WeightsError : the file is missing, truncated, would run code, or is not a state dict.
    """
    try:
        with path.open("rb") as file:
            # Files of the old format, which aren't archives, can't be memory-mapped.
            archive = file.read(len(_ZIP)) == _ZIP
    except FileNotFoundError as error:
        raise WeightsError(f"{path.name}: not there", "Run `moca weights get`.") from error
    except OSError as error:
        raise WeightsError(f"{path.name}: can't be read ({error.strerror})", _AGAIN) from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:
        # Damaged bytes are read as instructions and fail as whatever those happen to be. What
        # torch says of it isn't shown: it advises to switch the protection off.
        raise WeightsError(
            f"{path.name}: damaged, or not a checkpoint that can be read without running code",
            _AGAIN,
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
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
