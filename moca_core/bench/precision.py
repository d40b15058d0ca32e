"""Masks in half precision against masks in float32, on the same device and the same cases.

What the program computes in half precision must keep the masks (mean IoU 0.98 at least). Beside
it each part of the bundle is rounded alone, which tells what may be and what must not. A CPU
rounds as a GPU does, so this needs none.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from moca_core.bench.report import BenchOptions, Row
from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice, choose_device
from moca_core.errors import ConfigError
from moca_core.evaluation.layouts import Case, read_image, read_pairs
from moca_core.evaluation.metrics import iou
from moca_core.evaluation.runner import read_sound
from moca_core.models.bundles import Bundle, make_bundle
from moca_core.models.compute import half_layers
from moca_core.models.sam import Sam
from moca_core.pipeline.segmenter import Segmenter
from moca_core.types import StageEvent

SAME = 0.98
"""The target: mean IoU with the masks in float32."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The mask of a case, packed to bits, its size, and the reason if it is empty."""

    bits: NDArray[np.uint8]
    size: tuple[int, int]
    reason: str

    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        count = self.size[0] * self.size[1]
        return np.unpackbits(self.bits, count=count).reshape(self.size).astype(bool)


def measure(options: BenchOptions) -> Iterator[StageEvent | Row]:
    """Yield how like the masks are, as the program computes and part by part; see `Bench.run`."""
    if options.dataset is None:
        raise ConfigError("no data set to compare masks on", "Give the folder of manifest.csv.")
    choice = half_choice(options)
    config = SegmentConfig(bundle=options.bundle or "compact")
    cases = read_pairs(options.dataset, None, options.limit)
    yield StageEvent(str(choice))
    plain = DeviceChoice(choice.device, "float32", choice.reason)
    segmenter = yield from _loaded(config, plain)
    expected = yield from _answers(segmenter, cases, "float32")
    yield Row("cases", (float(len(cases)),), "")
    for name, modules in parts(segmenter.bundle).items():
        undo = [half_layers(module, choice) for module in modules]
        try:
            found = yield from _answers(segmenter, cases, name)
        finally:
            for step in undo:
                step()
        yield from compared(expected, found, f"{choice.dtype} in {name}")
    del segmenter
    segmenter = yield from _loaded(config, choice)
    found = yield from _answers(segmenter, cases, "as the program computes")
    yield from compared(expected, found, f"{choice.dtype} as the program computes", SAME)


def half_choice(options: BenchOptions) -> DeviceChoice:
    """The device, and the half precision to compare: bfloat16 where float32 would be chosen."""
    if options.precision == "float32":
        raise ConfigError("float32 is what is compared with", "Use --precision bfloat16.")
    choice = choose_device(options.device, options.precision)
    if choice.dtype == "float32":
        choice = DeviceChoice(choice.device, "bfloat16", choice.reason)
    return choice


def parts(bundle: Bundle) -> dict[str, list[nn.Module]]:
    """The networks of a bundle by name, and all of them as the last."""
    found: dict[str, list[nn.Module]] = {}
    for name, value in vars(bundle).items():
        for key, module in value.items() if isinstance(value, dict) else [("", value)]:
            title = " ".join(filter(None, (name.strip("_"), str(key))))
            if isinstance(module, Sam):
                found[f"{title}: picture"] = [module.image_encoder]
                found[f"{title}: masks"] = [module.prompt_encoder, module.mask_decoder]
            elif isinstance(module, nn.Module):
                found[title] = [module]
    return found | {"everything": [module for modules in found.values() for module in modules]}


def compared(
    expected: Sequence[Answer],
    found: Sequence[Answer],
    title: str,
    at_least: float | None = None,
) -> Iterator[Row]:
    """Rows of how like two lists of masks are. Two empty masks are the same.

    A decision is the same where both masks are empty for the same reason, or neither is.
    """
    overlaps, decisions = [], []
    for one, other in zip(expected, found, strict=True):
        first, second = one.mask(), other.mask()
        empty = not first.any() and not second.any()
        overlaps.append(1.0 if empty else iou(first, second))
        decisions.append(first.any() == second.any() and one.reason == other.reason)
    yield Row(f"{title}: mean IoU", (float(np.mean(overlaps)),), "", at_least=at_least)
    yield Row(f"{title}: lowest IoU", (min(overlaps),), "")
    yield Row(f"{title}: same decision", (100 * float(np.mean(decisions)),), "%")


def _loaded(config: SegmentConfig, choice: DeviceChoice) -> Generator[StageEvent, None, Segmenter]:
    bundle = make_bundle(config, choice)
    yield from bundle.load()
    # On a GPU it would go over to the CPU where memory runs out, and compare that.
    return Segmenter(config, "cpu", bundle=bundle)


def _answers(
    segmenter: Segmenter, cases: Sequence[Case], title: str
) -> Generator[StageEvent, None, list[Answer]]:
    found = []
    for number, case in enumerate(cases):
        yield StageEvent(title, number, len(cases))
        said = segmenter.predict(read_image(case.image_path), read_sound(case.audio_path))
        size = said.mask.shape[0], said.mask.shape[1]
        found.append(Answer(np.packbits(said.mask), size, said.reason))
    return found
