"""Small clips to learn from."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_clip(path: Path, number: int, *, loud: bool = True) -> None:
    """1.2 s of a coloured disc and a tone of its own; no two clips are alike."""
    rows, columns = np.mgrid[:96, :128]
    inside = (rows - 20 - 8 * number) ** 2 + (columns - 100 + 11 * number) ** 2 < 300
    picture = np.full((96, 128, 3), 20 + 30 * number, np.uint8)
    picture[inside] = (250 - 40 * number, 40 * number, 128)
    time_s = np.arange(19_200) / 16_000
    wave = (0.3 if loud else 0.0) * np.sin(2 * np.pi * 200 * (number + 1) * time_s)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        for _ in range(12):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(audio.encode(frame))
        for stream in (video, audio):
            container.mux(stream.encode(None))
