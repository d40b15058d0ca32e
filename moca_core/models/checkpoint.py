"""Reading checkpoints so that a wrong or damaged file says what it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from moca_core.errors import WeightsError

_AGAIN = "Run `moca weights verify`, then `moca weights get` to fetch the file again."
_SHOWN = 10
_ZIP = b"PK\x03\x04"
_PART_BYTES = 256 * 2**20


def read_torch(path: Path, inside: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Read a state dict with `weights_only`, memory-mapped: a pickle can't run code.

    Parameters
    ----------
    inside : names under which the authors of this model keep the state dict in a larger one (with
        an optimizer, a step); the first that is there is taken.

    Returns
    -------
    Tensors that share one mapping of the file: what isn't used is never read, and what is used
    counts as memory of the process only while the system has room for it.

    Raises
    ------
    WeightsError : the file is missing, truncated, would run code, or is not a state dict.
    """
    state = _unpickled(path)
    if isinstance(state, dict):
        state = next((state[name] for name in inside if isinstance(state.get(name), dict)), state)
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise WeightsError(f"{path.name}: holds no state dict", _AGAIN)
    odd = [key for key, value in state.items() if not _has_plain_numbers(value)]
    if odd:
        raise WeightsError(
            f"{path.name}: holds sparse or quantised tensors, or some without their numbers: "
            f"{_first(odd)}",
            _AGAIN,
        )
    return state


def _has_plain_numbers(tensor: Tensor) -> bool:
    """Whether a tensor lies in the file as it is: not packed otherwise, and not only announced."""
    return tensor.layout == torch.strided and not (tensor.is_quantized or tensor.is_meta)


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{', '.join(keys[:_SHOWN])}{more}"


def _unpickled(path: Path) -> object:
    try:
        with path.open("rb") as file:
            # Files of the old format, which aren't archives, can't be memory-mapped.
            archive = file.read(len(_ZIP)) == _ZIP
    except FileNotFoundError as error:
        raise WeightsError(f"{path.name}: not there", "Run `moca weights get`.") from error
    except OSError as error:
        raise WeightsError(f"{path.name}: can't be read ({error.strerror})", _AGAIN) from error
    try:
        with warnings.catch_warnings():
            # Of files that are refused below, or of what torch itself will once do otherwise.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    except Exception as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise WeightsError(
                f"{path.name}: too little memory to read it",
                "Close other programs, or raise the limit of memory (`ulimit -v`).",
            ) from error
        # Damaged bytes are read as instructions and fail as whatever those happen to be. What
        # torch says of it isn't shown: it advises to switch the protection off.
        raise WeightsError(
            f"{path.name}: damaged, or not a checkpoint that can be read without running code",
            _AGAIN,
        ) from error


def load_strictly(
    model: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    unused: tuple[str, ...] = (),
    *,
    official: Callable[[str], str] | None = None,
    place: Callable[[str, Tensor], Tensor] | None = None,
) -> dict[str, int]:
    """Load every parameter of `model` from `state`; keys that start with `unused` are left.

    Parameters
    ----------
    official : our name of a parameter -> its name in `state`, where they differ. Errors give the
        names of the file, which others can look up.
    place : (our name, tensor of the file) -> the tensor that becomes the parameter. It is assigned,
        not copied, so the model may have been built on the meta device. Without it the tensors
        are copied into those of the model.

    Returns
    -------
    The prefixes of `unused` that the file has, with the number of their keys.

    Raises
    ------
    WeightsError : keys are missing, unexpected, of another shape, or not real numbers where the
        model has those; the first ten are named.
    """
    given = {key: value for key, value in state.items() if not key.startswith(unused or "\0")}
    wanted = {(official(key) if official else key): key for key in model.state_dict()}
    _check(model, wanted, given, path)
    mine = {key: given.pop(theirs) for theirs, key in wanted.items()}
    if place is not None:
        for key in mine:
            mine[key] = place(key, mine[key])
    model.load_state_dict(mine, assign=place is not None)
    counts = {prefix: sum(key.startswith(prefix) for key in state) for prefix in unused}
    return {prefix: count for prefix, count in counts.items() if count}


def _check(
    model: nn.Module, wanted: Mapping[str, str], given: Mapping[str, Tensor], path: Path
) -> None:
    """Raise `WeightsError` unless `given` has exactly the `wanted` keys in the model's shapes."""
    own = model.state_dict()
    missing = [theirs for theirs in wanted if theirs not in given]
    unexpected = [key for key in given if key not in wanted]
    shapes = [
        f"{theirs} {tuple(given[theirs].shape)} for {tuple(own[key].shape)}"
        for theirs, key in wanted.items()
        if theirs in given and given[theirs].shape != own[key].shape
    ]
    kinds = [
        f"{theirs} {str(given[theirs].dtype).removeprefix('torch.')}"
        for theirs, key in wanted.items()
        if theirs in given and own[key].is_floating_point() > given[theirs].is_floating_point()
    ]
    for what, keys in (
        ("lacks", missing),
        ("has unknown", unexpected),
        ("has shapes", shapes),
        ("has other numbers than real ones:", kinds),
    ):
        if keys:
            raise WeightsError(
                f"{path.name}: not the checkpoint of this model, it {what} {_first(keys)}", _AGAIN
            )


def load_file(
    model: nn.Module,
    path: Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    unused: tuple[str, ...] = (),
    official: Callable[[str], str] | None = None,
) -> dict[str, int]:
    """Load a large checkpoint into a model on the meta device, never twice in memory.

    On the CPU in float32 the tensors of the mapping become the parameters: nothing is copied, and
    a weight is read when it is first used. The file may be replaced meanwhile by renaming another,
    as the weights manager does, but must not be written to. Otherwise the tensors are copied one by
    one, and the file is mapped anew every 256 MiB, since what was read of a mapping counts as
    memory until it is closed.

    Parameters
    ----------
    dtype : of the matrices; see `placed_on`.
    unused, official : as in `load_strictly`, whose result this returns and whose errors it raises.
    """
    state = read_torch(path)
    place = placed_on(model, device, dtype)
    if torch.device(device).type == "cpu" and dtype == torch.float32:
        return load_strictly(model, state, path, unused, official=official, place=place)
    sizes = {key: value.to("meta") for key, value in state.items()}
    copied = 0

    def copy(key: str, _: Tensor) -> Tensor:
        nonlocal state, copied
        if copied > _PART_BYTES:
            state, copied = {}, 0  # closes the mapping before the next one is opened
            state = read_torch(path)
        tensor = state[official(key) if official else key]
        copied += tensor.nbytes
        moved = place(key, tensor)
        return moved.clone() if moved is tensor else moved

    return load_strictly(model, sizes, path, unused, official=official, place=copy)


def placed_on(
    model: nn.Module, device: torch.device | str, dtype: torch.dtype
) -> Callable[[str, Tensor], Tensor]:
    """The usual `place` of `load_strictly`: matrices in `dtype`, everything else in float32.

    Weights and biases of linear layers and convolutions are where the time and the memory go.
    Norms, scales, class tokens and positions stay accurate, and cost nothing. A tensor that is
    right already stays in the mapping of the file; one that goes to another device goes there
    straight from the mapping.
    """
    layers = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
    matrices = {
        f"{name}.{key}" if name else key
        for name, module in model.named_modules()
        if isinstance(module, layers)
        for key in module.state_dict()
    }

    def place(key: str, tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.to(device)
        wanted = dtype if key in matrices else torch.float32
        if torch.device(device).type == "cpu":
            return tensor.to(wanted)
        # Rounded there: the mapping isn't written to, nor a copy made beside it.
        return tensor.to(device).to(wanted)

    return place
