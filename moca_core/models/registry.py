"""The bundles as rows: what the program knows of each before it loads anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BundleRow:
    """One set of encoders.

    Attributes
    ----------
    name : as on the command line.
    title : as in menus.
    about : what it is, in a sentence for the user.
    terms : what its licence asks, shown before the first use; "" where nothing is asked.
    window_s : length of the audio window of a frame, in seconds.
    rate_hz : sample rate that it hears.
    regions : its strategy from evidence to regions, see `pipeline.regions`.
    adapted_regions : the same with an adapter: one that reads the tokens, which it changes.
    sam : the SAM that proposes its masks, a name in `SAMS`.
    saliency_file : of the transformer that tells what stands out in a picture.
    image_side : side in pixels of the squashed picture that its transformer sees.
    half : its matrices may be kept in half precision on a GPU.
    gpu_bytes : GPU memory that must be free for it, weights included.
    """

    name: str
    title: str
    about: str
    terms: str
    window_s: float
    rate_hz: int
    regions: str
    adapted_regions: str
    sam: str
    saliency_file: str
    image_side: int
    half: bool
    gpu_bytes: int


_GIB = 2**30

BUNDLES: tuple[BundleRow, ...] = (
    BundleRow(
        name="compact",
        title="Compact",
        about="Small encoders for a CPU. Names what it finds, and leans on labelled classes.",
        terms="",
        window_s=2.0,
        rate_hz=16_000,
        regions="paint",
        adapted_regions="kmeans",
        sam="mobile",
        saliency_file="vit_s_focus.onnx",
        image_side=224,
        half=False,
        gpu_bytes=2 * _GIB,
    ),
    BundleRow(
        name="imagebind",
        title="ImageBind, DINO and SAM",
        about=(
            "The paper's encoders, learnt without class labels. Slow without a GPU; 5.3 GB of "
            "files."
        ),
        terms=(
            "ImageBind's weights are licensed under CC BY-NC-SA 4.0: you may use them, and what "
            "you make with them, for non-commercial purposes only. SAM's and DINO's weights are "
            "licensed under Apache-2.0."
        ),
        window_s=2.0,
        rate_hz=16_000,
        regions="kmeans",
        adapted_regions="kmeans",
        sam="vit_b",
        saliency_file="dino_deitsmall16_pretrain.pth",
        image_side=224,
        half=True,
        gpu_bytes=4 * _GIB,
    ),
)
BUNDLE_NAMES = tuple(row.name for row in BUNDLES)

SAMS = ("mobile", "vit_b", "vit_l", "vit_h")
"""MobileSAM and the three sizes of SAM; any of them serves any bundle."""


def bundle_row(name: str) -> BundleRow:
    """The row of a bundle; raises `KeyError` for another name."""
    for row in BUNDLES:
        if row.name == name:
            return row
    raise KeyError(name)
