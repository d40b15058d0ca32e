"""What saving and opening a project of many frames takes: seconds, files, bytes.

    OMP_NUM_THREADS=1 python benchmarks/projects.py --json FILE

Each frame has two objects of about a fifth of the picture's height with wavy outlines. Seconds
are of the wall clock, and of the processor in brackets; the disk is waited for, as in a save.
The formats are compared on a part of the frames, without a disk.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from moca_core.annotations import chunks
from moca_core.annotations.edits import rename
from moca_core.annotations.model import PackedObject, PackedResult, pack_mask
from moca_core.annotations.project import ClipRef, Project, Snapshot, open_project, peek
from moca_core.pipeline import rle
from moca_core.types import Mask

T = TypeVar("T")

FPS = 25.0


def outline(height: int, rng: np.random.Generator) -> Mask:
    """A mask of about two fifths of the picture's height, in a box of its own."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    phase = rng.uniform(0, 2 * np.pi, 3)
    waves = sum(np.sin(k * angle + phase[k - 2]) / k for k in (2, 3, 4))
    radius = height / 5 * (1 + 0.25 * waves + 0.01 * rng.standard_normal(60))
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None] + height / 2
    mask = np.zeros((height, height), np.uint8)
    cv2.fillPoly(mask, [points.astype(np.int32)], 1)
    return mask.astype(bool)


def make_frames(count: int, size: tuple[int, int]) -> dict[int, PackedResult]:
    """Results of a clip in which two objects drift, no two masks of them alike."""
    rng = np.random.default_rng(0)
    found = {}
    for frame in range(count):
        objects = []
        for number in (1, 2):
            (x0, y0, x1, y1), bits = pack_mask(outline(size[0], rng))
            x = int((size[1] - size[0]) * (0.5 + 0.5 * np.sin(frame / 90 + number)))
            box = (x0 + x, y0, x1 + x, y1)
            objects.append(PackedObject(number, "Dog", float(rng.random()), box, bits))
        heard = (("Dog", float(rng.random())), ("Speech", float(rng.random())))
        found[frame] = PackedResult(
            frame, frame / FPS, size, tuple(objects), key=frame % 12 == 0, heard=heard
        )
    return found


def sides(item: PackedObject) -> list[int]:
    """Height and width of an object's box."""
    x0, y0, x1, y1 = item.box
    return [y1 - y0, x1 - x0]


def timed(action: Callable[[], T]) -> tuple[T, float, float]:
    """What an action gives, its seconds by the wall clock and of the processor."""
    began, used = time.perf_counter(), time.process_time()
    result = action()
    return result, time.perf_counter() - began, time.process_time() - used


def project_rows(frames: dict[int, PackedResult], folder: Path) -> list[dict[str, object]]:
    """Seconds and written files of each step."""
    size = frames[0].size
    clip = ClipRef(folder / "clip.mp4", "0" * 64, len(frames), FPS, len(frames) / FPS, size)
    project = Project(folder / "clip.moca.json")
    rows: list[dict[str, object]] = []

    def step(name: str, action: Callable[[], T], done: Callable[[T], int]) -> T:
        result, wall_s, used_s = timed(action)
        rows.append({"step": name, "files": done(result), "wall_s": wall_s, "cpu_s": used_s})
        return result

    def save(name: str, snapshot: Snapshot) -> Snapshot:
        step(name, lambda: list(project.save(snapshot)), lambda events: len(events) + 2)
        return snapshot

    middle = len(frames) // 2
    snapshot = save("first save", Snapshot(clip, results=frames))
    save("nothing changed", snapshot)
    edit = rename([frames[middle]], 1, "Cat").after
    snapshot = save("one frame corrected", replace(snapshot, labels=dict(edit)))
    edit = rename([frames[number] for number in range(middle, middle + 300)], 1, "Cat").after
    save("300 frames corrected", replace(snapshot, labels=dict(edit)))
    opened = step("open", lambda: open_project(project.path), lambda opened: 0)
    project = opened.project
    save("opened, nothing changed", opened.snapshot)
    step("peek", lambda: peek(project.path), lambda facts: 0)
    return rows


def format_rows(frames: list[PackedResult]) -> list[dict[str, object]]:
    """Bytes and processor seconds a frame of some ways to keep masks, with gzip around it."""
    objects = [item for frame in frames for item in frame.objects]
    size = frames[0].size
    formats: dict[str, tuple[Callable[[PackedObject], str], Callable[[PackedObject, str], object]]]
    formats = {
        "packed bits as in memory": (
            lambda item: base64.b64encode(item.bits).decode(),
            lambda item, text: zlib.decompress(base64.b64decode(text)),
        ),
        "packed bits, gzip alone": (
            lambda item: base64.b64encode(zlib.decompress(item.bits)).decode(),
            lambda item, text: zlib.compress(base64.b64decode(text), 1),
        ),
        "COCO run lengths of the box": (
            lambda item: rle.encode(item.crop())["counts"],
            lambda item, text: pack_mask(rle.decode({"size": sides(item), "counts": text})),
        ),
        "COCO run lengths of the frame": (
            lambda item: rle.encode(item.mask(size))["counts"],
            lambda item, text: pack_mask(rle.decode({"size": list(size), "counts": text})),
        ),
    }
    rows: list[dict[str, object]] = []
    for name, (write, read) in formats.items():

        def encode(write: Callable[[PackedObject], str] = write) -> bytes:
            return gzip.compress(json.dumps([write(item) for item in objects]).encode(), 1)

        data, _, save_s = timed(encode)

        def decode(read: Callable[..., object] = read, data: bytes = data) -> None:
            for item, text in zip(objects, json.loads(gzip.decompress(data)), strict=True):
                read(item, text)

        _, _, open_s = timed(decode)
        rows.append(
            {
                "format": name,
                "bytes": len(data) / len(frames),
                "save_s": save_s / len(frames),
                "open_s": open_s / len(frames),
            }
        )
    return rows


def main() -> int:
    """Make frames, save and open them; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--size", type=int, nargs=2, default=(720, 1280), help="height and width")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; by default a new one")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    frames = make_frames(max(args.frames, 1000), tuple(args.size))
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        rows = project_rows(frames, Path(name))
        files = [path for path in Path(name).rglob("*") if path.is_file()]
        nbytes = sum(path.stat().st_size for path in files)
        index = (Path(name) / "clip.moca.json").stat().st_size
    formats = format_rows([frames[number] for number in range(640)])
    write = sys.stdout.write
    write(f"{len(frames)} frames of {args.size[1]}x{args.size[0]}, {chunks.FRAMES} a file: ")
    write(f"{len(files)} files, {nbytes / 1e6:.1f} MB; readable file {index / 1e3:.0f} kB\n")
    write(f"{'':32}files written   seconds\n")
    for row in rows:
        write(f"{row['step']:32}{row['files']:13}{row['wall_s']:10.3f} ({row['cpu_s']:.3f})\n")
    write(f"\n{'masks as, for ' + str(len(frames)) + ' frames':32}{'MB':>10}   save s   open s\n")
    for row in formats:
        scaled = [float(str(row[key])) * len(frames) for key in ("bytes", "save_s", "open_s")]
        write(f"{row['format']:32}{scaled[0] / 1e6:10.1f}{scaled[1]:9.1f}{scaled[2]:9.1f}\n")
    if args.json:
        value = {"frames": len(frames), "bytes": nbytes, "index": index, "steps": rows}
        args.json.write_text(json.dumps(value | {"formats": formats}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
