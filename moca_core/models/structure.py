"""Whether a file is a checkpoint of the model that it is to be used for, whatever its numbers.

The model itself is loaded from it, on the meta device: all names and shapes are compared, and no
number is read. So 4.8 GB take no memory and hardly any time, and a pickle can't run code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from moca_core.errors import WeightsError

_ZIP = b"PK\x03\x04"
_OLD_FORMAT_LIMIT = 10**9
_HINT = "Give --as the name of the file whose model this is; `moca weights list` shows them."


def checkable() -> tuple[str, ...]:
    """The names of the files that another checkpoint of the same model may stand for."""
    return tuple(_LOADERS)


def check(name: str, path: Path) -> None:
    """Raise `WeightsError` unless `path` holds the model of the weights file `name`.

    It is truncated, would run code, isn't a state dict, or is another model's: missing, unexpected
    and differently shaped tensors are named, the first ten.
    """
    if name not in _LOADERS:
        raise WeightsError(
            f"{name}: only the official file can be used",
            f"Files of your own may stand for {', '.join(checkable())}.",
        )
    _refuse_what_takes_memory(path)
    try:
        _LOADERS[name](path)
    except WeightsError as error:
        raise WeightsError(error.message, _HINT) from error


def _refuse_what_takes_memory(path: Path) -> None:
    """Torch's old format can't be mapped: all of it would come into memory."""
    try:
        with path.open("rb") as stream:
            mapped = stream.read(len(_ZIP)) == _ZIP
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror})", "Check it.") from error
    if not mapped and size > _OLD_FORMAT_LIMIT:
        raise WeightsError(
            f"{path.name}: not a checkpoint, or one in torch's old format",
            "Load it with torch and save it again with `torch.save`.",
        )


def _imagebind(path: Path) -> None:
    from moca_core.models.imagebind import ImageBind

    ImageBind.from_file(path, "meta")


def _sam(variant: str) -> Callable[[Path], None]:
    def load(path: Path) -> None:
        from moca_core.models.sam import VitSam

        VitSam.from_file(path, variant, "meta")

    return load


def _dino(width: int) -> Callable[[Path], None]:
    def load(path: Path) -> None:
        from moca_core.models.dino import Dino

        # Any DINO can be loaded; under this name its features must be those that are expected.
        shape = Dino.from_file(path, "meta").vit.shape
        if (shape.width, shape.depth, shape.patch) != (width, 12, 16):
            raise WeightsError(
                f"{path.name}: holds a ViT {shape.width} wide with {shape.depth} blocks and "
                f"patches of {shape.patch}, not {width}, 12 and 16",
                _HINT,
            )

    return load


def _mobile_sam(path: Path) -> None:
    from moca_core.models.sam import MobileSam

    MobileSam.from_file(path)


def _efficientnet(variant: str) -> Callable[[Path], None]:
    def load(path: Path) -> None:
        from moca_core.models.efficientnet_lite import EfficientNetLite

        EfficientNetLite.from_file(path, variant)

    return load


_LOADERS: Mapping[str, Callable[[Path], None]] = MappingProxyType(
    {
        "imagebind_huge.pth": _imagebind,
        "sam_vit_b_01ec64.pth": _sam("vit_b"),
        "sam_vit_l_0b3195.pth": _sam("vit_l"),
        "sam_vit_h_4b8939.pth": _sam("vit_h"),
        "dino_deitsmall16_pretrain.pth": _dino(384),
        "dino_vitbase16_pretrain.pth": _dino(768),
        # Small ones, of which the numbers are read, too.
        "mobile_sam.pt": _mobile_sam,
        "efficientnet-lite0-57934424.pth": _efficientnet("lite0"),
        "efficientnet-lite2-9656183e.pth": _efficientnet("lite2"),
    }
)
