"""Write checkpoints of random weights in the official formats of ImageBind, SAM and DINO.

    python tools/random_checkpoints.py FOLDER --parts imagebind sam_vit_b dino_s16

They have the official file names, key names and shapes (ImageBind with all six modalities, 4.8 GB),
so that loading, memory and speed can be tried without the real files. Masks made with them mean
nothing. `--install` puts them into the cache through `moca weights import`; use it with a cache of
its own (MOCA_CACHE_DIR), so that they are never taken for the real ones.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from moca_core.bench.random_weights import CHECKPOINTS, Checkpoint, random_state


def write(folder: Path, part: Checkpoint, seed: int, tiny: bool = False) -> Path:
    """Write one file; it is held in memory once, and appears under its name only when complete."""
    path = folder / part.file
    scratch = path.with_name(f"{path.name}.part")
    try:
        torch.save(random_state(part.tiny() if tiny else part.shapes(), seed), scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def install(path: Path) -> None:
    """Put a file into the cache under its name."""
    command = [sys.executable, "-m", "moca_core", "weights", "import", str(path), "--as", path.name]
    subprocess.run(command, check=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parts", nargs="+", choices=tuple(CHECKPOINTS), default=["imagebind"])
    parser.add_argument("--tiny", action="store_true", help="the same names, small shapes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--install", action="store_true", help="into the cache, too")
    args = parser.parse_args(argv)
    if args.install and not os.environ.get("MOCA_CACHE_DIR"):
        parser.error("--install: set MOCA_CACHE_DIR to a folder of its own first")
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.parts:
        began = time.perf_counter()
        path = write(args.folder, CHECKPOINTS[name], args.seed, args.tiny)
        seconds = time.perf_counter() - began
        sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.1f} MB in {seconds:.1f} s\n")
        if args.install:
            install(path)
    if not args.install:
        sys.stdout.write("Put a file into the cache: moca weights import FILE --as NAME\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
