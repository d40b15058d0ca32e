"""ImageBind, DINO and SAM with random weights, made where they run: their speed needs no file."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from moca_core.bench.random_weights import fill
from moca_core.device import DeviceChoice
from moca_core.models import compute, dino, imagebind, sam_vit
from moca_core.models.dino import Dino
from moca_core.models.imagebind import HUGE, ImageBind, ImageBindShape
from moca_core.models.sam import Sam, VitSam
from moca_core.models.sam_decoder import DecoderShape
from moca_core.models.sam_vit import VITS, VitShape
from moca_core.models.vit import ViTShape

_DINO = ViTShape(width=384, depth=12, heads=6, patch=16, table=(14, 14), offset=dino.OFFSET)
TINY_IMAGEBIND = ImageBindShape(
    vision=ViTShape(width=64, depth=3, heads=4, patch=14, table=(16, 16)),
    audio=ViTShape(width=48, depth=2, heads=4, patch=16, table=(12, 19), bias_kv=True),
    joint=32,
)
_TINY_DINO = ViTShape(width=48, depth=2, heads=4, patch=16, table=(14, 14), offset=dino.OFFSET)
_TINY_VIT = VitShape(width=48, depth=3, heads=4, global_blocks=(1,), image=256, channels=32)
_TINY_DECODER = DecoderShape(width=32, heads=4, mlp=64, iou_hidden=24, grid=16)


@dataclass(frozen=True, eq=False)
class Encoders:
    """The three models of the `imagebind` bundle, and the device and precision they are in."""

    imagebind: ImageBind
    dino: Dino
    sam: Sam
    choice: DeviceChoice

    def weights_bytes(self) -> int:
        """Bytes of all weights."""
        models: tuple[nn.Module, ...] = (self.imagebind, self.dino, self.sam)
        tensors = [tensor for model in models for tensor in model.state_dict().values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def random_encoders(
    choice: DeviceChoice, sam: str = "vit_b", tiny: bool = False, compiled: bool = False
) -> Encoders:
    """Build all three; matrices are kept in the precision of `choice`.

    Parameters
    ----------
    sam : a name in `VITS`.
    tiny : of the same make and a few thousand times less work, for tests.
    compiled : compile the blocks of the transformers at their first use.
    """
    dtype = compute.torch_dtype(choice)
    on_cpu = choice.device == "cpu"
    with torch.device("meta"):
        bind = ImageBind(TINY_IMAGEBIND if tiny else HUGE)
        self_taught = Dino(_TINY_DINO if tiny else _DINO)
        segment = VitSam(
            _TINY_VIT if tiny else VITS[sam],
            _TINY_DECODER if tiny else DecoderShape(),
            "eager" if on_cpu else "sdpa",
        )
    fill(bind, choice.device, dtype, official=imagebind.official_name)
    fill(self_taught, choice.device, dtype, official=dino.official_name)
    fill(segment, choice.device, torch.float32, official=sam_vit.official_key)
    segment.placed(choice.device, dtype)
    compiler = compute.Compiler(compiled)
    for model in (bind, self_taught, segment):
        compiler.compile_blocks(model)
    return Encoders(bind, self_taught, segment, choice)
