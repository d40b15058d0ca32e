"""Stand-ins with known content: numbered frames, a known sound, a method that finds discs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice
from moca_core.errors import MediaError, WeightsError
from moca_core.pipeline.matching import MatchSettings
from moca_core.types import (
    REASON_NO_AUDIO,
    REASON_SILENT,
    FrameEvent,
    FrameResult,
    NoteEvent,
    ProposalNote,
    SegmentEvent,
    SoundingObject,
    StageEvent,
)
from moca_gui.sound import SoundPart, Spectrum
from moca_gui.weights import FetchProgress, WeightRow

WIDTH, HEIGHT, FPS, COUNT = 64, 48, 25.0, 50
MARKED = 21
"""A frame in which the method's stand-in finds both objects."""


def number_frame(index: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width, 3) uint8 that spells `index` in its colour: red low byte, green high."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = (index % 256, index // 256, 128)
    return frame


class FakeReader:
    """A clip of `COUNT` frames whose colour is their number."""

    indexed = True

    def __init__(
        self,
        path: Path,
        patience_s: float = math.inf,
        *,
        has_audio: bool = True,
        count: int = COUNT,
    ) -> None:
        self.path = Path(path)
        if "bad" in self.path.name:
            raise MediaError(f"{self.path.name}: not a video", "Choose another file.")
        has_audio = has_audio and "silent" not in self.path.name
        self.closed = False
        self.info = SimpleNamespace(
            width=WIDTH,
            height=HEIGHT,
            frame_count=count,
            fps=FPS,
            times_s=np.arange(count) / FPS,
            duration_s=count / FPS,
            has_audio=has_audio,
            notes=(),
            audio=SimpleNamespace(rate_hz=44100) if has_audio else None,
        )

    def frame(self, index: int) -> np.ndarray:
        return number_frame(index)

    def time_of(self, index: int) -> float:
        return index / FPS

    def index_at(self, time_s: float) -> int:
        return int(min(max(time_s * FPS + 1e-6, 0), self.info.frame_count - 1))

    def close(self) -> None:
        self.closed = True


class FakePyramid:
    """The envelope of a tone that swells."""

    def envelope(self, start_s: float, stop_s: float, columns: int) -> tuple:
        time_s = np.linspace(start_s, stop_s, columns, dtype=np.float32)
        high = 0.2 + 0.6 * np.abs(np.sin(3 * time_s)) * np.abs(np.sin(47 * time_s))
        return -high, high


def fake_sound(clip: Any) -> Iterator[SoundPart]:
    """A tone and a spectrogram with one band lit."""
    yield SoundPart(pyramid=FakePyramid())
    levels = np.zeros((32, 80), np.uint8)
    levels[8] = 255
    yield SoundPart(overview=Spectrum(levels, 0.0, clip.duration_s))


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """(height, width) bool."""
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


@dataclass
class FakeSegmenter:
    """Finds a disc that moves with the frame, and a second one in odd frames.

    Every tenth frame is silent. `gate` holds the run back until the test lets it go.
    """

    size: tuple[int, int] = (HEIGHT, WIDTH)
    count: int = COUNT
    fps: float = FPS
    delay_s: float = 0.0
    gate: threading.Event | None = None
    error: Exception | None = None
    has_audio: bool = True
    device: DeviceChoice = field(
        default_factory=lambda: DeviceChoice("cpu", "float32", "no CUDA device")
    )
    requests: list[dict[str, Any]] = field(default_factory=list)
    yielded: int = 0
    step: threading.Event | None = None  # a step without a yield, which lasts until this is set
    keeps: bool = False  # saves its results in the store, as the real method does
    names: tuple[str, str] = ("dog", "person")
    heard: tuple[tuple[str, float], ...] = (("dog", 0.91), ("person", 0.22))
    attends: bool = False  # keeps the maps of an adapter
    falls_back_at: int = -1  # the frame before which the GPU's memory runs out
    settings: MatchSettings = field(default_factory=MatchSettings)

    def result(self, index: int, keep_maps: bool = False) -> FrameResult:
        height, width = self.size
        key = index % int(self.fps) == 0
        base = {"frame": index, "time_s": index / self.fps, "size": self.size, "key": key}
        if not self.has_audio:
            return FrameResult(reason=REASON_NO_AUDIO, **base)
        if index % 10 == 9:
            return FrameResult(reason=REASON_SILENT, **base)
        share = (index % 40) / 40
        radius = height / 5
        first = disc(height, width, width * (0.25 + 0.4 * share), height * 0.6, radius)
        objects = [SoundingObject(1, self.names[0], 0.83, first)]
        if index % 2:
            second = disc(height, width, width * 0.8, height * 0.35, radius * 0.7)
            objects.append(SoundingObject(2, self.names[1], 0.41, second))
        rows, columns = np.mgrid[:16, :16]
        maps: dict[str, np.ndarray] = {
            "evidence": np.exp(-((rows - 9) ** 2 + (columns - 6) ** 2) / 18).astype(np.float32),
            "clusters": ((rows // 6) * 2 + columns // 8).astype(np.int32),
            "proposals": np.where(columns < 8, 1, np.where(rows < 8, 2, 0)).astype(np.int16),
        }
        if self.attends:
            blocks = {9: 0.25, 10: 0.75}
            maps |= {f"attention {n}": np.full((4, 4), v, np.float32) for n, v in blocks.items()}
            maps["attention"] = np.full((4, 4), 0.5, np.float32)
        notes = (
            ProposalNote(1, 0.97, 0.9, 0.7, 0.25, True, "taken", columns < 8),
            ProposalNote(2, 0.8, 0.95, 0.2, 0.5, False, f"because {index}", rows < 8),
        )
        return FrameResult(
            objects=tuple(objects),
            heard=self.heard,
            maps=maps if keep_maps else {},
            proposals=notes if keep_maps else (),
            **base,
        )

    def clip(self, path: Any, **options: Any) -> Iterator[SegmentEvent]:
        self.requests.append(options)
        yield StageEvent("loading the encoders")
        if self.step is not None:
            self.step.wait()
        if self.error is not None:
            raise self.error
        frames = options["frames"]
        if isinstance(frames, str):
            start = options.get("start_s") or 0.0
            stop = options.get("end_s")
            stop = self.count / self.fps if stop is None else stop
            frames = [i for i in range(self.count) if start - 1e-6 <= i / self.fps < stop - 1e-6]
        for done, index in enumerate(frames, start=1):
            while self.gate is not None and not self.gate.wait(0.02):
                yield StageEvent("waiting")
            if self.delay_s:
                time.sleep(self.delay_s)
            yield StageEvent("frames", done - 1, len(frames))
            if index == self.falls_back_at:
                self.device = DeviceChoice("cpu", "float32", "there was too little GPU memory")
                yield NoteEvent("The CPU goes on: there was too little GPU memory.")
            self.yielded += 1
            result = self.result(index, options.get("keep_maps", False))
            if self.keeps:
                options["store"].save(result)
            yield FrameEvent(result, done, len(frames))


class FakeStore:
    """Results on a disk of the test's own, which outlives the window."""

    def __init__(self) -> None:
        self.kept: dict[int, FrameResult] = {}

    def frames(self) -> list[int]:
        return sorted(self.kept)

    def load(self, frame: int, maps: bool = False) -> FrameResult | None:
        return self.kept.get(frame)

    def save(self, result: FrameResult) -> None:
        self.kept[result.frame] = replace(result, maps={})


class FakeWeights:
    """Two files a bundle, of which the second may be missing; fetching goes in ten steps.

    `lacking` holds the names of the files that aren't here.
    """

    FILES = (
        ("first.onnx", "compact", 4_000_000, "MIT", "tokens", False),
        ("second.pt", "compact", 40_700_000, "Apache-2.0", "mask proposals", False),
        ("huge.pth", "imagebind", 4_803_584_173, "CC BY-NC-SA 4.0", "joint tokens", False),
        ("sam_b.pth", "imagebind", 375_042_383, "Apache-2.0", "mask proposals", False),
        ("sam_h.pth", "imagebind", 2_564_550_879, "Apache-2.0", "better proposals", True),
    )
    SAMS: ClassVar = {
        "mobile": "second.pt",
        "vit_b": "sam_b.pth",
        "vit_l": "sam_h.pth",
        "vit_h": "sam_h.pth",
    }

    def __init__(self, *lacking: str, missing: bool = False) -> None:
        self.lacking = {*lacking, *(["second.pt"] if missing else [])}
        self.gate: threading.Event | None = None
        self.error: Exception | None = None
        self.fetched = 0
        self.asked: list[list[str]] = []
        self.own: set[str] = set()
        self.damaged: set[str] = set()

    def _row(self, file: tuple) -> WeightRow:
        name, bundle, size, licence, role, optional = file
        here = name not in self.lacking
        return WeightRow(
            name,
            size,
            licence,
            here,
            role,
            "ready" if here else "missing",
            bundle,
            optional,
            own=name in self.own,
            checked=True,
        )

    def rows(self, bundle: str) -> list[WeightRow]:
        return [self._row(file) for file in self.FILES if file[1] == bundle]

    def needed(self, config: SegmentConfig) -> list[WeightRow]:
        first = {"compact": "first.onnx", "imagebind": "huge.pth"}[config.bundle]
        names = {first, self.SAMS[config.sam]}
        return [self._row(file) for file in self.FILES if file[0] in names]

    def replaceable(self) -> list[str]:
        return ["second.pt", "huge.pth", "sam_b.pth", "sam_h.pth"]

    def take(self, path: Path, name: str = "") -> Iterator[FetchProgress]:
        yield FetchProgress(path.name, 0, 0, "reading it")
        official = path.read_text()
        if name and official != "a checkpoint":
            raise WeightsError(f"{path.name}: not of this model", "Choose another.")
        if not name and official not in {file[0] for file in self.FILES}:
            raise WeightsError(f"{path}: not a weights file of this program", "Choose another.")
        if name:
            self.own.add(name)
        self.lacking.discard(name or official)

    def fetch(self, names: Sequence[str]) -> Iterator[FetchProgress]:
        self.asked.append(list(names))
        for step in range(self.fetched, 11):
            while self.gate is not None and not self.gate.wait(0.02):
                yield FetchProgress(names[0], 407_000_000 * self.fetched, 4_070_000_000)
            if self.error is not None:
                raise self.error
            self.fetched = step
            yield FetchProgress(names[0], 407_000_000 * step, 4_070_000_000)
        self.fetched = 0
        self.lacking -= set(names)

    def verify(self, names: Sequence[str]) -> Iterator[FetchProgress]:
        for name in names:
            while self.gate is not None and not self.gate.wait(0.02):
                yield FetchProgress(name, 1, 10)
            yield FetchProgress(name, 10, 10, "damaged" if name in self.damaged else "ready")
        self.lacking |= self.damaged
