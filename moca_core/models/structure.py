"""Whether a file is a checkpoint of the model that it is to be used for, whatever its numbers.

Only names and shapes are looked at. The file is memory-mapped and read with `weights_only`, so
that 4.8 GB take milliseconds, and a pickle can't run code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from moca_core.errors import WeightsError

Shapes = Mapping[str, tuple[int, ...]]

_SHOWN = 10
_OLD_FORMAT_LIMIT = 10**9
_ZIP = b"PK\x03\x04"
_UNUSED = MappingProxyType(
    {
        "imagebind_huge.pth": tuple(
            f"modality_{part}.{name}."
            for part in ("preprocessors", "trunks", "heads", "postprocessors")
            for name in ("text", "depth", "thermal", "imu")
        )
    }
)
"""Beginnings of names that a file may have or not: what we don't use of ImageBind."""
_HINT = "`moca weights list` shows the files; give the name of the one whose model this is."


def checkable() -> tuple[str, ...]:
    """The names of the files whose structure can be checked."""
    return (*_shapes_by_file(), *_LOADERS)


def expected_shapes(name: str) -> Shapes:
    """Names and shapes of the tensors of an official file that we use; raises `KeyError`."""
    unused = _UNUSED.get(name, ())
    shapes = _shapes_by_file()[name]()
    return {key: shape for key, shape in shapes.items() if not key.startswith(unused or "\0")}


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a checkpoint; its numbers stay on the disk.

    Raises
    ------
    WeightsError : it can't be read, is truncated, would run code, or isn't a state dict.
    """
    from moca_core.models.checkpoint import read_torch

    try:
        with path.open("rb") as stream:
            old = stream.read(len(_ZIP)) != _ZIP
        if old and path.stat().st_size > _OLD_FORMAT_LIMIT:
            raise WeightsError(
                f"{path.name}: not a checkpoint, or one in torch's old format, which can't be "
                "read in parts",
                "Load it with torch and save it again with `torch.save`.",
            )
        return {key: tuple(value.shape) for key, value in read_torch(path).items()}
    except WeightsError as error:
        raise WeightsError(error.message, _HINT) from error
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror})", "Check it.") from error


def check(name: str, path: Path) -> None:
    """Raise `WeightsError` unless `path` holds the model of the weights file `name`.

    Missing, unexpected and differently shaped tensors are named, the first ten.
    """
    if name in _LOADERS:
        try:
            _LOADERS[name](path)
        except WeightsError as error:
            raise WeightsError(error.message, _HINT) from error
        return
    if name not in _shapes_by_file():
        raise WeightsError(
            f"{name}: only the official file can be used",
            f"Files of your own may stand for {', '.join(checkable())}.",
        )
    wanted, unused = expected_shapes(name), _UNUSED.get(name, ())
    found = {
        key: shape for key, shape in shapes_in(path).items() if not key.startswith(unused or "\0")
    }
    lacking = [key for key in wanted if key not in found]
    unknown = [key for key in found if key not in wanted]
    other = [
        f"{key} {found[key]} for {shape}"
        for key, shape in wanted.items()
        if key in found and found[key] != shape
    ]
    for what, keys in (("lacks", lacking), ("has unknown", unknown), ("has shapes", other)):
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            raise WeightsError(
                f"{path.name}: not a checkpoint of the model of {name}, it {what} "
                f"{', '.join(keys[:_SHOWN])}{more}",
                _HINT,
            )


def _shapes_by_file() -> dict[str, Callable[[], Shapes]]:
    from moca_core.bench.random_weights import CHECKPOINTS

    return {row.file: row.shapes for row in CHECKPOINTS.values()}


def _load_mobile_sam(path: Path) -> None:
    from moca_core.models.sam import MobileSam

    MobileSam.from_file(path)


def _load_efficientnet(name: str) -> Callable[[Path], None]:
    def load(path: Path) -> None:
        from moca_core.models.efficientnet_lite import EfficientNetLite

        EfficientNetLite.from_file(path, name)

    return load


_LOADERS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        "mobile_sam.pt": _load_mobile_sam,
        "efficientnet-lite0-57934424.pth": _load_efficientnet("lite0"),
        "efficientnet-lite2-9656183e.pth": _load_efficientnet("lite2"),
    }
)
"""Small files: their model is loaded, strictly."""
