"""Make the demo clip: a cat and a person side by side, heard in turn, then silence.

    python tools/make_demo_clip.py resources/demo/demo.mp4

Needs `espeak-ng` for the voice and pip for the two photographs (see resources/demo/NOTICE). The
cat's voice is synthesised here: harmonics of a gliding pitch through three gliding formants.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import wave
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.signal import lfilter, resample_poly

PHOTOS = "scikit-image==0.26.0"
WIDTH, HEIGHT, FPS, SECONDS = 854, 480, 25, 12.0
RATE = 16_000
SPEECH = "Hello there. Now I am talking, and the cat is listening."
# Found by a search that asked YAMNet how much the result sounds like a cat.
MEOW = {
    "dur": 1.16,
    "a": 241.5434,
    "b": 622.4946,
    "c": 645.1286,
    "e": 584.5038,
    "vib": 0.0014,
    "vr": 5.4029,
    "tilt": 1.69,
    "noise": 0.0562,
    "f1a": 315.0549,
    "f1b": 2291.8373,
    "f1c": 1019.3144,
    "f2a": 4862.0799,
    "f2b": 2449.2622,
    "f2c": 568.6656,
    "bw": 128.532,
}
CAT_AT_S = (0.2, 1.6, 7.4, 8.7)
SPEECH_AT_S, SPEECH_END_S = 3.1, 7.1

Samples = NDArray[np.float32]
Picture = NDArray[np.uint8]


def meow(seed: int) -> Samples:
    """One meow, peak 1."""
    count = int(MEOW["dur"] * RATE)
    time = np.arange(count) / count
    pitch = np.interp(time, (0, 0.25, 0.6, 1), [MEOW[key] for key in ("a", "b", "c", "e")])
    pitch = pitch * (1 + MEOW["vib"] * np.sin(2 * np.pi * MEOW["vr"] * time * MEOW["dur"]))
    phase = np.cumsum(pitch) / RATE
    source = MEOW["noise"] * np.random.default_rng(seed).standard_normal(count)
    for harmonic in range(1, 25):
        audible = harmonic * pitch < 7500
        source += np.sin(2 * np.pi * harmonic * phase) * audible / harmonic ** MEOW["tilt"]
    sound = _formants(source, time) * np.interp(time, (0, 0.12, 0.6, 1), (0, 1, 0.8, 0))
    return (sound / np.abs(sound).max()).astype(np.float32)


def _formants(source: NDArray[np.float64], time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Three resonators, two of which glide, in blocks of 16 ms."""
    first = np.interp(time, (0, 0.3, 0.7, 1), [MEOW[f"f1{key}"] for key in "abbc"])
    second = np.interp(time, (0, 0.3, 0.7, 1), [MEOW[f"f2{key}"] for key in "abbc"])
    state = [np.zeros(2) for _ in range(3)]
    out = np.zeros_like(source)
    for start in range(0, len(source), 256):
        block = source[start : start + 256]
        rows = (
            (first[start], MEOW["bw"], 1.0),
            (second[start], 1.5 * MEOW["bw"], 0.7),
            (3800.0, 400.0, 0.4),
        )
        for number, (hertz, width, gain) in enumerate(rows):
            radius = np.exp(-np.pi * width / RATE)
            turn = 2 * radius * np.cos(2 * np.pi * hertz / RATE)
            poles = [1.0, -turn, radius * radius]
            filtered, state[number] = lfilter([1 - radius], poles, block, zi=state[number])
            out[start : start + 256] += gain * filtered
    return out


def speech() -> Samples:
    """The spoken sentence by espeak-ng, peak 1."""
    spoken = subprocess.run(
        ["espeak-ng", "-v", "en-us+f3", "-s", "165", "--stdout", SPEECH],
        check=True,
        capture_output=True,
    ).stdout
    with wave.open(io.BytesIO(spoken)) as reader:
        raw = np.frombuffer(reader.readframes(reader.getnframes()), dtype=np.int16)
        rate = reader.getframerate()
    share = Fraction(RATE, rate)
    sound = resample_poly(raw.astype(np.float64), share.numerator, share.denominator)
    return (sound / np.abs(sound).max()).astype(np.float32)


def soundtrack() -> Samples:
    """(n,) mono: meows, speech, meows, and silence to the end."""
    track = np.zeros(int(SECONDS * RATE), dtype=np.float32)
    parts = [(at, 0.5 * meow(seed)) for seed, at in enumerate(CAT_AT_S)]
    sentence = 0.5 * speech()
    if len(sentence) > (SPEECH_END_S - SPEECH_AT_S) * RATE:
        raise SystemExit(f"the sentence lasts {len(sentence) / RATE:.1f} s: it would be cut")
    parts.append((SPEECH_AT_S, sentence))
    for at, sound in parts:
        start = int(at * RATE)
        track[start : start + len(sound)] += sound[: len(track) - start]
    return track


def photographs() -> tuple[Picture, Picture]:
    """The cat and the astronaut, out of scikit-image's package archive."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PHOTOS]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            cat, person = (
                np.array(Image.open(archive.open(f"skimage/data/{name}.png")).convert("RGB"))
                for name in ("chelsea", "astronaut")
            )
    return cat, person


def view(photo: Picture, moment: float, box: tuple[float, float, float], sway: float) -> Picture:
    """A slowly moving square-pixel view of half the frame's size into a photograph.

    `box` is the view's centre (x, y) and height in pixels of the photograph.
    """
    x, y, height = box
    height *= 1 + 0.03 * np.sin(0.5 * moment + sway)
    x += 8 * np.sin(0.8 * moment + 2 * sway)
    y += 4 * np.sin(0.6 * moment + sway)
    scale = height / HEIGHT
    matrix = np.array(
        [[scale, 0, x - scale * WIDTH / 4], [0, scale, y - scale * HEIGHT / 2]], np.float64
    )
    size = (WIDTH // 2, HEIGHT)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(photo, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def write(path: Path) -> None:
    """Encode the clip."""
    cat, person = photographs()
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=FPS, options={"crf": "24", "preset": "slow"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = output.add_stream("aac", rate=RATE, layout="mono")
        for number in range(int(SECONDS * FPS)):
            moment = number / FPS
            left = view(cat, moment, (225.0, 150.0, 296.0), 0.0)
            right = view(person, moment, (225.0, 195.0, 380.0), 1.5)
            frame = np.concatenate([left, right], axis=1)
            frame[:, WIDTH // 2 - 3 : WIDTH // 2 + 3] = 24
            output.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(soundtrack()[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts = RATE, 0
        output.mux(audio.encode(sound))
        output.mux(audio.encode(None))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    write(parser.parse_args().path)
