"""What loading and using ImageBind takes: seconds, and the largest resident memory after each step.

    python tools/random_checkpoints.py FOLDER --parts imagebind
    python benchmarks/imagebind_memory.py FOLDER/imagebind_huge.pth

Linux only: the peak is `VmHWM` of a fresh process. Weights that stay in the mapping of the file
count in it as soon as they were read; `anonymous` is what the process holds beside them.
`--json` writes all numbers to a file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from moca_core.models.imagebind import ImageBind

T = TypeVar("T")

DTYPES = ("float32", "bfloat16", "float16")


def memory() -> dict[str, int]:
    """Peak, present and anonymous resident memory of this process, in bytes."""
    names = {"VmHWM": "peak", "VmRSS": "now", "RssAnon": "anonymous"}
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return {ours: int(fields[theirs].split()[0]) * 1024 for theirs, ours in names.items()}


def main() -> int:
    """Load, see a picture and hear a sound, twice each; print a row after each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="imagebind_huge.pth")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--side", type=int, default=224, help="pixels of the picture's square")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, object]] = []

    def step(name: str, action: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = action()
        if args.device.startswith("cuda"):
            torch.cuda.synchronize(args.device)
        rows.append({"step": name, "seconds": time.perf_counter() - began, **memory()})
        return result

    step("start", lambda: None)
    dtype = getattr(torch, args.dtype)
    model = step("load", lambda: ImageBind.from_file(args.file, args.device, dtype))
    rgb = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    wave = (np.random.default_rng(0).standard_normal(32_000) * 0.1).astype(np.float32)
    for turn in ("first", "again"):
        step(f"see, {turn}", lambda: model.see([rgb], args.side))
        step(f"hear, {turn}", lambda: model.hear(wave))
    size = sum(value.nbytes for value in model.state_dict().values())
    write = sys.stdout.write
    write(f"weights of vision and audio: {size / 1e9:.3f} GB {args.dtype}, {args.device}, ")
    write(f"{torch.get_num_threads()} threads\n{'':14}     s   peak GB   now GB   anonymous GB\n")
    for row in rows:
        gb = [float(str(row[key])) / 1e9 for key in ("peak", "now", "anonymous")]
        write(f"{row['step']:14}{float(str(row['seconds'])):6.2f}{gb[0]:10.3f}{gb[1]:9.3f}")
        write(f"{gb[2]:15.3f}\n")
    if args.json:
        args.json.write_text(json.dumps({"weights": size, "steps": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
