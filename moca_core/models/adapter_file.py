"""Files of adapters: safetensors whose header says what it is and how it was trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from moca_core.errors import ConfigError, WeightsError
from moca_core.fileio import write_bytes
from moca_core.models.adapter import AdapterConfig
from moca_core.models.checkpoint import load_strictly

VERSION = 1
_KEY = "moca-adapter"
"""The one entry of the header: safetensors shuffles several, and equal adapters are equal files."""

_MOST_HEADER = 16 * 2**20
_AGAIN = "Copy the file again, or train the adapter again."


@dataclass(frozen=True)
class AdapterFacts:
    """What a file says of itself: its configuration, and free facts about its training."""

    config: AdapterConfig
    info: dict[str, Any]


def write(
    path: Path, config: AdapterConfig, info: Mapping[str, Any], state: Mapping[str, Tensor]
) -> None:
    """Write an adapter (atomic); raises `StorageError`."""
    from safetensors.torch import save

    facts = {"version": VERSION, "config": asdict(config), "info": dict(info)}
    text = json.dumps(facts, sort_keys=True, default=str)
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    write_bytes(path, save(tensors, {_KEY: text}))


def read_facts(path: Path, bundle: str = "") -> AdapterFacts:
    """What a file says of itself, without its weights.

    Parameters
    ----------
    bundle : the one it must belong to; "" takes any.

    Raises
    ------
    WeightsError : it isn't there, no adapter, of a newer program, or of another bundle.
    """
    facts = _facts(path)
    version = facts.get("version")
    if not isinstance(version, int) or version < 1:
        raise WeightsError(f"{path.name}: version {version!r} of an adapter's file", _AGAIN)
    if version > VERSION:
        raise WeightsError(
            f"{path.name}: written by a newer program (version {version} of adapters' files, "
            f"this one reads {VERSION})",
            "Update MoCA Studio, or use the program that made it.",
        )
    try:
        config, info = AdapterConfig(**facts["config"]), dict(facts["info"])
    except ConfigError as error:
        raise WeightsError(f"{path.name}: {error.message}", _AGAIN) from error
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path.name}: its description lacks or has too much", _AGAIN) from error
    if bundle and config.bundle != bundle:
        raise WeightsError(
            f"{path.name}: an adapter of the {config.bundle} bundle, not of {bundle}",
            f"Use it with the {config.bundle} bundle, or choose an adapter of {bundle}.",
        )
    return AdapterFacts(config, info)


def read_into(adapter: nn.Module, path: Path) -> None:
    """Read the weights of a file with good facts; the module may be on the meta device.

    Raises
    ------
    WeightsError : it is truncated, has other weights than its configuration asks for, or some that
        aren't numbers.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # Read, not mapped: it is small, and may be overwritten while it is in use.
        state = load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name}: truncated or damaged ({error})", _AGAIN) from error
    bad = [key for key, value in state.items() if not value.isfinite().all()]
    if bad:
        raise WeightsError(f"{path.name}: {bad[0]} isn't finite", _AGAIN)
    try:
        load_strictly(adapter, state, path, place=lambda _, value: value.float())
    except WeightsError as error:
        raise WeightsError(error.message, _AGAIN) from error


def _facts(path: Path) -> dict[str, Any]:
    """The entry of the header, which is read here: safetensors wants the whole file for it."""
    no_adapter = WeightsError(
        f"{path.name}: not an adapter", "Choose a .safetensors file that `moca train` wrote."
    )
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = stream.read(length) if length <= _MOST_HEADER else b""
    except FileNotFoundError as error:
        raise WeightsError(f"{path.name}: not there", "Check the path of the adapter.") from error
    except OSError as error:
        raise WeightsError(f"{path.name}: can't be read ({error.strerror})", _AGAIN) from error
    if len(header) < length and _KEY.encode() in header:
        raise WeightsError(f"{path.name}: truncated", _AGAIN)
    try:
        facts = json.loads(json.loads(header)["__metadata__"][_KEY])
    except (ValueError, KeyError, TypeError) as error:
        raise no_adapter from error
    if not isinstance(facts, dict):
        raise no_adapter
    return facts
