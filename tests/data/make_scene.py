"""A small clip of two moving squares with sounds of their own, and encoders that know them.

Red squares are dogs and sound at 440 Hz, green ones are cats and sound at 1320 Hz; 3000 Hz is a
bird, which is never seen. The encoders are a `Bundle` of a few lines, so that what is tested is
the pipeline around them: which frames, which sound, which masks, what is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from moca_core.config import SegmentConfig
from moca_core.pipeline.analysis import FrameAnalysis, Proposals, resized, work_size
from moca_core.pipeline.hearing import Heard, Hearing, HearingSettings, listen
from moca_core.types import RgbImage, StageEvent

FPS = 25
WIDTH, HEIGHT = 320, 192
SIDE = 80
RATE_HZ = 16_000
TONES_HZ = {"dog": 440.0, "cat": 1320.0, "bird": 3000.0}
NAMES = tuple(TONES_HZ)

Place = Callable[[int], tuple[int, int] | None]
"""Left and top of a square in a frame, None where it isn't in the picture."""


def dog_place(frame: int) -> tuple[int, int]:
    """The red square goes right, two pixels a frame, and back."""
    way = frame * 2 % 240
    return 12 + (way if way <= 120 else 240 - way), 24


def cat_place(frame: int) -> tuple[int, int]:
    """The green square goes down and up, one pixel a frame."""
    way = frame % 100
    return 220, 20 + (way if way <= 50 else 100 - way)


@dataclass(frozen=True)
class Scene:
    """What `make_scene` encodes.

    Attributes
    ----------
    sounds : (name, start, stop) in seconds; sounds may overlap.
    """

    frames: int = 75
    sounds: Sequence[tuple[str, float, float]] = ()
    dog: Place | None = dog_place
    cat: Place | None = cat_place
    audio: bool = True

    def mask(self, name: str, frame: int) -> NDArray[np.bool_]:
        """(192, 320) bool, where the square of `name` is; what leaves the picture is cut off."""
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        place = {"dog": self.dog, "cat": self.cat}[name]
        corner = None if place is None else place(frame)
        if corner is not None:
            left, top = corner
            rows = slice(max(top, 0), max(top + SIDE, 0))
            mask[rows, max(left, 0) : max(left + SIDE, 0)] = True
        return mask


def make_scene(path: Path, scene: Scene) -> Path:
    """Encode a scene to `path` (Matroska)."""
    ground = np.repeat(_texture(HEIGHT, WIDTH, 0)[..., None] * 16 + 50, 3, axis=2)
    coats = {
        name: colour + 110 * (_texture(SIDE, SIDE, seed)[..., None] - 0.5)
        for seed, (name, colour) in enumerate((("dog", (200, 60, 60)), ("cat", (60, 190, 60))), 1)
    }
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "8", "g": "12"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        video.thread_count = 1
        sound = None
        if scene.audio:
            sound = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for number in range(scene.frames):
            picture = ground.copy()
            for name, place in (("dog", scene.dog), ("cat", scene.cat)):
                corner = None if place is None else place(number)
                if corner is None:
                    continue
                left, top = corner
                mask = scene.mask(name, number)
                rows, columns = np.nonzero(mask)
                picture[mask] = coats[name][rows - top, columns - left]
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            for block in _blocks(scene):
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def _texture(height: int, width: int, seed: int) -> NDArray[np.float64]:
    """(height, width) random fields of 7 pixels, 0 to 1: something that a flow can follow."""
    fields = np.random.default_rng(seed).random((height // 7 + 1, width // 7 + 1))
    return np.kron(fields, np.ones((7, 7)))[:height, :width]


def _blocks(scene: Scene) -> list[av.AudioFrame]:
    times = np.arange(scene.frames * RATE_HZ // FPS) / RATE_HZ
    wave = np.zeros(len(times))
    for name, start, stop in scene.sounds:
        wave += 0.2 * np.sin(2 * np.pi * TONES_HZ[name] * times) * (times >= start) * (times < stop)
    samples = np.round(wave * 32767).astype(np.int16)
    blocks = []
    for first in range(0, len(samples), 1600):
        part = samples[None, first : first + 1600]
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="s16", layout="mono")
        block.sample_rate, block.time_base, block.pts = RATE_HZ, Fraction(1, RATE_HZ), first
        blocks.append(block)
    return blocks


@dataclass
class SquaresBundle:
    """A `Bundle` that sees red and green squares and hears three tones.

    Attributes
    ----------
    batch : how many pictures it asks for at once.
    looks : how many pictures were analysed; `batches`: how many at once.
    heard : how many windows were listened to.
    """

    window_s: float = 0.4
    rate_hz: int = RATE_HZ
    names: tuple[str, ...] = NAMES
    batch: int = 1
    looks: int = 0
    heard: int = 0
    batches: list[int] = field(default_factory=list)

    def hear(self, wave: NDArray[np.float32]) -> Heard:
        """(n,) sound -> (3,) the share of each tone."""
        self.heard += 1
        times = np.arange(len(wave)) / self.rate_hz
        power = np.array(
            [abs(np.exp(-2j * np.pi * tone * times) @ wave) ** 2 for tone in TONES_HZ.values()]
        )
        power[power < 0.02 * power.max()] = 0
        return Heard((power / power.sum()).astype(np.float32))

    def retrieve(self, rgbs: Sequence[RgbImage]) -> NDArray[np.float32]:
        """(B, 3) the mean colours, of length 1."""
        means = np.stack([rgb.reshape(-1, 3).mean(axis=0) + 1 for rgb in rgbs])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def relate(
        self, analysis: FrameAnalysis, heard: Heard, settings: HearingSettings
    ) -> tuple[FrameAnalysis, Hearing]:
        """As the compact bundle."""
        return analysis, listen(heard.features, analysis.kindred, settings, self.names)

    def look(
        self, rgbs: Sequence[RgbImage], config: SegmentConfig
    ) -> Generator[StageEvent, None, list[FrameAnalysis]]:
        """Analyse pictures by their colours."""
        found = []
        self.batches.append(len(rgbs))
        for rgb in rgbs:
            analysis = yield from self._look_at(rgb)
            found.append(analysis)
        return found

    def _look_at(self, rgb: RgbImage) -> Generator[StageEvent, None, FrameAnalysis]:
        self.looks += 1
        yield StageEvent("colours")
        red, green = (rgb[..., k].astype(np.float32) for k in (0, 1))
        size = rgb.shape[0], rgb.shape[1]
        work = work_size(*size)
        signs = [red - green - 60, green - red - 60]
        parts = [resized(sign, work) > 0 for sign in signs]
        seen = [k for k in (0, 1) if parts[k].any()]
        groups = np.zeros((len(self.names), *work), dtype=np.float32)
        for k in seen:
            groups[k] = parts[k]
        masks = np.array([parts[k] for k in seen], dtype=bool).reshape(-1, *work)
        yield StageEvent("squares")
        return FrameAnalysis(
            size=size,
            groups=groups,
            presence=groups.max(axis=(1, 2)),
            kindred=groups.max(axis=(1, 2)),
            saliency=np.maximum(groups.max(axis=0), np.float32(0.05)),
            tokens=resized(rgb.astype(np.float32), (8, 8), shrink=True).reshape(64, 3),
            token_grid=(8, 8),
            proposals=Proposals(
                logits=np.array([signs[k] for k in seen], np.float16).reshape(-1, *size),
                masks=masks,
                quality=np.ones(len(seen), np.float32),
                stability=np.ones(len(seen), np.float32),
                prompts=np.zeros((0, 2), np.float32),
            ),
            looks=np.eye(len(self.names), dtype=np.float32)[seen],
        )
