"""Clips and pictures to measure on, made of the sample clip or drawn."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from moca_core.media.video import VideoReader
from moca_core.types import RgbImage

HD = (1280, 720)
"""Width and height of the pictures that the targets speak of."""
_FPS, _GROUP = 30, 30
_SOUND_HZ = 48_000
_CACHE_BYTES = 16 * 2**20


def enlarged(rgb: RgbImage) -> RgbImage:
    """(H, W, 3) uint8 -> (720, 1280, 3) uint8."""
    return np.asarray(cv2.resize(rgb, HD, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def middle_frame(clip: Path) -> RgbImage:
    """The picture a third into the clip, where the sample clip shows both of its objects."""
    with VideoReader(clip, cache_bytes=_CACHE_BYTES) as reader:
        return reader.frame(reader.info.frame_count // 3)


def enlarge_clip(clip: Path, target: Path, seconds: float) -> None:
    """The first `seconds` of a clip as 720p H.264 with a key frame every 30, its sound copied."""
    with (
        VideoReader(clip, cache_bytes=_CACHE_BYTES) as reader,
        av.open(str(clip)) as source,
        av.open(str(target), "w") as output,
    ):
        rate = Fraction(reader.info.fps).limit_denominator(1001)
        picture = output.add_stream("libx264", rate=rate, options=_h264_options("medium"))
        picture.width, picture.height, picture.pix_fmt = *HD, "yuv420p"
        sound = output.add_stream_from_template(source.streams.audio[0])
        for number in range(min(round(seconds * reader.info.fps), reader.info.frame_count)):
            frame = av.VideoFrame.from_ndarray(enlarged(reader.frame(number)), format="rgb24")
            output.mux(picture.encode(frame))
        output.mux(picture.encode(None))
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is None or float(packet.dts * packet.time_base) >= seconds:
                break
            packet.stream = sound
            output.mux(packet)


def repeat_clip(clip: Path, target: Path, seconds: float) -> None:
    """A clip over and over, without encoding it again, until it lasts `seconds`."""
    with av.open(str(target), "w") as output:
        streams: dict[int, av.stream.Stream] = {}
        last: dict[int, int] = {}
        begin_s = 0.0
        while begin_s < seconds:
            end_s = begin_s
            with av.open(str(clip)) as source:
                used = [*source.streams.video[:1], *source.streams.audio[:1]]
                for stream in used:
                    if stream.index not in streams:
                        streams[stream.index] = output.add_stream_from_template(stream)
                for packet in source.demux(*used):
                    if packet.dts is None or packet.pts is None:
                        continue
                    index = packet.stream_index
                    packet.pts += round(begin_s / packet.time_base)
                    packet.dts += round(begin_s / packet.time_base)
                    # The sound's first packets lie before 0, where the copy before still sounds.
                    if packet.dts <= last.get(index, packet.dts - 1):
                        continue
                    last[index] = packet.dts
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    end_s = max(end_s, float(end))
                    packet.stream = streams[index]
                    output.mux(packet)
            begin_s = end_s


def draw_clip(path: Path, seconds: int) -> Iterator[int]:
    """Encode moving texture with some noise, so that decoding costs what real footage costs.

    720p at 30 frames a second, a key frame every 30, B-frames, with a tone. Yields the number of
    each frame that is encoded.
    """
    width, height = HD
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (height // 8 + 60, width // 8 + 60, 3), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    grain = rng.integers(0, 24, (8, height, width, 1), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=_FPS, options=_h264_options("veryfast"))
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=_SOUND_HZ, layout="mono")
        block = _SOUND_HZ // _FPS
        for number in range(_FPS * seconds):
            yield number
            x, y = 3 * number % 470, 2 * number % 470
            picture = scene[y : y + height, x : x + width] // 2 + grain[number % 8]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(video.encode(frame))
            tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(block) / _SOUND_HZ)
            samples = av.AudioFrame.from_ndarray(
                tone.astype(np.float32)[None], format="fltp", layout="mono"
            )
            samples.sample_rate, samples.pts = _SOUND_HZ, number * block
            samples.time_base = Fraction(1, _SOUND_HZ)
            container.mux(sound.encode(samples))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def _h264_options(preset: str) -> dict[str, str]:
    return {"g": str(_GROUP), "bf": "2", "preset": preset, "crf": "26"}
