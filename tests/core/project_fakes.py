"""Clips that are bytes, and frames with masks of them, for projects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from moca_core.annotations.model import (
    DRAWN,
    FOUND,
    ORIGINS,
    PackedObject,
    PackedResult,
    pack_mask,
)
from moca_core.annotations.project import ClipRef, Project, Snapshot
from moca_core.media.probe import clip_hash
from moca_core.types import REASON_NO_OBJECT

SIZE = (20, 30)


def a_clip(folder: Path, name: str = "dog.mp4", content: bytes = b"a dog") -> Path:
    """A file that stands for a clip."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


def a_ref(clip: Path, frame_count: int = 1000) -> ClipRef:
    """What a project says of it."""
    return ClipRef(clip, clip_hash(clip), frame_count, 25.0, frame_count / 25, SIZE)


def a_result(frame: int, name: str = "Dog", corrected: bool = False) -> PackedResult:
    """A frame with one object, whose place tells the frame."""
    mask = np.zeros(SIZE, bool)
    mask[frame % 10 : frame % 10 + 5, frame % 20 : frame % 20 + 7] = True
    box, bits = pack_mask(mask)
    origin = DRAWN if corrected else FOUND
    item = PackedObject(1, name, 0.5, box, bits, origin)
    return PackedResult(frame, frame / 25, SIZE, (item,), key=True, corrected=corrected)


def results(frames: Iterable[int], name: str = "Dog") -> dict[int, PackedResult]:
    """Frames as the program finds them."""
    return {frame: a_result(frame, name) for frame in frames}


def labels(frames: Iterable[int], name: str = "Cat") -> dict[int, PackedResult]:
    """Frames as a person makes them."""
    return {frame: a_result(frame, name, corrected=True) for frame in frames}


def random_results(
    seed: int, frames: Iterable[int], corrected: bool = False
) -> dict[int, PackedResult]:
    """Frames with anything in them that a frame may have."""
    rng = np.random.default_rng(seed)
    names = ("Dog", "Ünïcode 犬", "", 'a "quoted"\\ name', "line\nbreak", "\udcff")
    found = {}
    for frame in frames:
        size = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
        objects = []
        for number in range(1, int(rng.integers(0, 4)) + 1):
            box, bits = pack_mask(rng.random(size) < rng.choice((0.0, 0.1, 0.9, 1.0)))
            name, origin = names[rng.integers(len(names))], ORIGINS[rng.integers(len(ORIGINS))]
            objects.append(PackedObject(number, name, float(rng.random()), box, bits, origin))
        found[frame] = PackedResult(
            frame,
            float(rng.random() * 1e4),
            size,
            tuple(objects),
            "" if objects else REASON_NO_OBJECT,
            (float(rng.random()), 2.0),
            bool(rng.integers(2)),
            bool(rng.integers(2)),
            tuple((str(name), float(rng.random())) for name in rng.permutation(names[:2])),
            corrected=corrected,
        )
    return found


def a_snapshot(clip: Path, **values: object) -> Snapshot:
    """Some results and corrections of a clip, or others."""
    snapshot = Snapshot(a_ref(clip), results=results(range(200)), labels=labels((3, 70, 150)))
    return replace(snapshot, **values)  # type: ignore[arg-type]


def save(project: Project, snapshot: Snapshot, force: bool = False) -> list[str]:
    """Save to the end; the names of the files of masks that are new."""
    folder = masks(project)
    before = {path.name for path in folder.glob("*.gz")}
    for _ in project.save(snapshot, force):
        pass
    return sorted(path.name for path in folder.glob("*.gz") if path.name not in before)


def masks(project: Project) -> Path:
    """The folder of a project's masks."""
    return project.path.with_name(project.path.name.removesuffix(".json"))


def content(project: Project) -> dict[str, Any]:
    """What the readable file of a project says."""
    return dict(json.loads(project.path.read_text()))


def change(project: Project, **values: object) -> None:
    """Change values of the readable file as a hand would."""
    project.path.write_text(json.dumps(content(project) | values))


def assert_same_frames(first: Mapping[int, PackedResult], other: Mapping[int, PackedResult]):
    """Two sets of frames say the same, to the pixel."""
    assert sorted(first) == sorted(other)
    for number, frame in first.items():
        assert_same_frame(frame, other[number])


def assert_same_frame(first: PackedResult, other: PackedResult) -> None:
    """Two frames say the same, to the pixel."""
    for name in ("frame", "time_s", "size", "reason", "window_s", "key", "coarse", "heard"):
        assert getattr(first, name) == getattr(other, name), name
    assert first.corrected == other.corrected
    assert len(first.objects) == len(other.objects)
    for one, two in zip(first.objects, other.objects, strict=True):
        for name in ("number", "name", "score", "box", "origin"):
            assert getattr(one, name) == getattr(two, name), name
        assert (one.mask(first.size) == two.mask(first.size)).all()
