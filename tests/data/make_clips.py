"""Small clips for the media tests, encoded by PyAV: every frame carries its number in the picture.

The number is drawn as a 4 x 4 grid of black and white fields that survives compression and odd
sizes: 12 bits of the number, and 4 of their sum as a check against mixed-up fields.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

GRID = 4
NUMBER_BITS = 12


@dataclass(frozen=True)
class ClipSpec:
    """What `make_clip` encodes.

    Attributes
    ----------
    codec, options : PyAV's encoder name and its options.
    size : (width, height) of the stored picture.
    frames : how many; frame i is shown at `times_ms[i]`, or at `start_ms + i * 1000 / fps`.
    audio : encoder of the sound, None for a silent film.
    audio_start_ms, audio_stop_ms : when the sound begins and ends on the clip's clock.
    """

    codec: str = "libx264"
    size: tuple[int, int] = (160, 128)
    frames: int = 60
    fps: int = 25
    start_ms: int = 0
    times_ms: Sequence[int] | None = None
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    sample_aspect: Fraction | None = None
    turns: int = 0
    audio: str | None = None
    audio_rate: int = 48000
    audio_layout: str = "mono"
    audio_start_ms: int = 0
    audio_stop_ms: int = 2400


def draw_number(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 picture of `number`."""
    bits = [(number >> i) & 1 for i in range(NUMBER_BITS)]
    check = sum(bits) % 16
    bits += [(check >> i) & 1 for i in range(GRID * GRID - NUMBER_BITS)]
    width, height = size
    rows = np.minimum(np.arange(height) * GRID // height, GRID - 1)
    columns = np.minimum(np.arange(width) * GRID // width, GRID - 1)
    grid = np.array(bits, np.uint8).reshape(GRID, GRID)
    picture = np.where(grid[rows][:, columns], 230, 25).astype(np.uint8)
    return np.repeat(picture[:, :, None], 3, axis=2)


def read_number(picture: NDArray[np.uint8]) -> int:
    """The number in a (height, width, 3) picture; -1 if the check fails."""
    height, width = picture.shape[:2]
    grid = np.zeros((GRID, GRID))
    for row in range(GRID):
        for column in range(GRID):
            y, x = (2 * row + 1) * height // (2 * GRID), (2 * column + 1) * width // (2 * GRID)
            grid[row, column] = picture[max(y - 3, 0) : y + 3, max(x - 3, 0) : x + 3].mean()
    bits = (grid.ravel() > 127).astype(int)
    number = int((bits[:NUMBER_BITS] << np.arange(NUMBER_BITS)).sum())
    check = int((bits[NUMBER_BITS:] << np.arange(GRID * GRID - NUMBER_BITS)).sum())
    return number if check == bits[:NUMBER_BITS].sum() % 16 else -1


def tone(times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """(n,) the test sound: a 440 Hz tone with a click, ten samples loud, on every half second."""
    sound = 0.1 * np.sin(2 * np.pi * 440 * times_s)
    sound[np.abs((times_s + 0.25) % 0.5 - 0.25) < 0.002] = 0.9
    return sound.astype(np.float32)


def make_clip(path: Path, spec: ClipSpec) -> Path:
    """Encode `spec` to `path`; the name's ending chooses the container."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(spec.codec, rate=spec.fps, options=dict(spec.options))
        video.width, video.height = spec.size
        video.pix_fmt = spec.pix_fmt
        video.thread_count = 1
        if spec.times_ms is not None or spec.start_ms:
            video.codec_context.time_base = Fraction(1, 1000)
        if spec.sample_aspect is not None:
            video.codec_context.sample_aspect_ratio = spec.sample_aspect
        sound = None
        if spec.audio is not None:
            sound = container.add_stream(spec.audio, rate=spec.audio_rate, layout=spec.audio_layout)
        packets: list[av.Packet] = []
        for frame in _pictures(spec):
            packets += video.encode(frame)
        packets += video.encode(None)
        if sound is not None:
            for block in _sound(spec):
                packets += sound.encode(block)
            packets += sound.encode(None)
        for packet in _interleaved(packets):
            container.mux(packet)
    return path


def make_sound(path: Path, codec: str, seconds: float = 1.0) -> Path:
    """Encode a file that holds sound only."""
    spec = ClipSpec(audio=codec, audio_stop_ms=round(seconds * 1000))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=spec.audio_rate, layout="mono")
        for block in _sound(spec):
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return path


def set_rotation(path: Path, quarter_turns: int) -> None:
    """Write a display matrix into an MP4 whose first track is the picture.

    `quarter_turns` counter-clockwise turns make the stored picture upright.
    """
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns % 4]
    one = 1 << 16
    matrix = struct.pack(
        ">9i", cosine * one, -sine * one, 0, sine * one, cosine * one, 0, 0, 0, 1 << 30
    )
    data = bytearray(path.read_bytes())
    # tkhd, version 0: version and flags, five words, two reserved, layer to reserved (8 bytes).
    place = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    data[place : place + 36] = matrix
    path.write_bytes(bytes(data))


def cut_by_edit_list(path: Path, ticks: int) -> None:
    """Move the start of the first edit list of an MP4 by `ticks` of its media time scale."""
    data = bytearray(path.read_bytes())
    # elst, version 0: version and flags, count, then duration, media time, rate.
    place = data.index(b"elst") + 4 + 4 + 4 + 4
    (media_time,) = struct.unpack_from(">i", data, place)
    struct.pack_into(">i", data, place, media_time + ticks)
    path.write_bytes(bytes(data))


def _pictures(spec: ClipSpec) -> Iterable[av.VideoFrame]:
    for number in range(spec.frames):
        width, height = spec.size if spec.turns % 2 == 0 else spec.size[::-1]
        picture = np.rot90(draw_number(number, (width, height)), -spec.turns)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format=spec.pix_fmt)
        if spec.times_ms is not None or spec.start_ms:
            times = spec.times_ms
            late = number * 1000 // spec.fps if times is None else times[number]
            frame.pts, frame.time_base = spec.start_ms + late, Fraction(1, 1000)
        else:
            frame.pts, frame.time_base = number, Fraction(1, spec.fps)
        yield frame


def _sound(spec: ClipSpec) -> Iterable[av.AudioFrame]:
    rate = spec.audio_rate
    start, stop = (ms * rate // 1000 for ms in (spec.audio_start_ms, spec.audio_stop_ms))
    channels = av.AudioLayout(spec.audio_layout).nb_channels
    samples = tone(np.arange(start, stop) / rate)
    # 960 samples suit Opus, and any other encoder regroups them.
    for first in range(0, len(samples), 960):
        part = np.tile(samples[first : first + 960], (channels, 1))
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=spec.audio_layout)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = start + first
        yield frame


def _interleaved(packets: list[av.Packet]) -> list[av.Packet]:
    def when(packet: av.Packet) -> float:
        stamp = packet.dts if packet.dts is not None else packet.pts
        return float((stamp or 0) * packet.time_base)

    return sorted(packets, key=when)
