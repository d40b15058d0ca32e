"""YAMNet (AudioSet MobileNet-v1) as a float network with the weights of its TFLite file.

The file is int8: weights are dequantised on loading and activations aren't rounded, which differs
from the TFLite runtime by rounding noise only.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from moca_core.errors import WeightsError

RATE_HZ = 16_000
PATCH_SAMPLES = 15_600
"""Samples of one patch: 96 frames every 10 ms, 0.975 s."""
PATCH_HOP = 7_680
"""Samples between patches by default: half a patch of frames, 0.48 s."""
CLASSES = 521
EMBEDDING = 1024

_FRAME, _HOP, _FFT, _BANDS, _FRAMES = 400, 160, 512, 64, 96
_LOW_HZ, _HIGH_HZ = 125.0, 7500.0
_LOG_OFFSET = 1e-3

# Pointwise widths after the stem, and the numbers of the pairs whose depthwise part has stride 2.
_WIDTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_STRIDED = (1, 3, 5, 11)
_FIRST_WEIGHT = 33
"""Tensor number of the stem's weight; weight, bias and activation of a layer follow each other."""
_CLASSIFIER_WEIGHT, _CLASSIFIER_BIAS = 116, 117


def mel_matrix() -> Tensor:
    """(64, 257) triangular filters, linear in mel = 1127 ln(1 + f / 700), 125 to 7500 Hz."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    bins = torch.linspace(0, RATE_HZ / 2, _FFT // 2 + 1, dtype=torch.float64)
    ends = mel(torch.tensor([_LOW_HZ, _HIGH_HZ], dtype=torch.float64))
    edges = torch.linspace(float(ends[0]), float(ends[1]), _BANDS + 2, dtype=torch.float64)
    lower, centre, upper = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (mel(bins) - lower) / (centre - lower)
    falling = (upper - mel(bins)) / (upper - centre)
    weights = torch.minimum(rising, falling).clamp(min=0)
    weights[:, 0] = 0.0  # the constant part isn't heard
    return weights.float()


class Separable(nn.Module):
    """Depthwise 3x3, then pointwise, each with ReLU6."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(width_in, width_in, 3, stride, groups=width_in)
        self.pointwise = nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, M) -> (B, C', T', M')."""
        x = F.relu6(self.depthwise(_pad(x, self.stride)))
        return F.relu6(self.pointwise(x))


def _pad(x: Tensor, stride: int) -> Tensor:
    """TensorFlow's SAME padding of a 3x3 kernel on even sizes: uneven where it strides."""
    return F.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))


@dataclass(frozen=True, eq=False)
class AudioFeatures:
    """What YAMNet says of a sound.

    Attributes
    ----------
    scores : (patches, 521) float32 in 0 to 1, independent class scores.
    embeddings : (patches, 1024) float32, the audio tokens.
    """

    scores: NDArray[np.float32]
    embeddings: NDArray[np.float32]


class YamNet(nn.Module):
    """Waveform to class scores and embeddings."""

    window: Tensor
    mel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, 2)
        widths = (32, *_WIDTHS)
        self.pairs = nn.ModuleList(
            Separable(widths[k], widths[k + 1], 2 if k in _STRIDED else 1)
            for k in range(len(_WIDTHS))
        )
        self.classifier = nn.Linear(EMBEDDING, CLASSES)
        self.register_buffer("window", torch.hann_window(_FRAME, periodic=True), persistent=False)
        self.register_buffer("mel", mel_matrix(), persistent=False)

    @classmethod
    def from_file(cls, path: Path, device: str = "cpu") -> Self:
        """Load `yamnet.tflite`; raises `WeightsError` for another or a damaged file."""
        tensor = _tensor_reader(path)
        model = cls()
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
        with torch.no_grad():
            for number, layer in enumerate(layers):
                index = _FIRST_WEIGHT + 3 * number
                weight, bias = tensor(index), tensor(index + 1)
                # TFLite keeps (out, kh, kw, in), and (1, kh, kw, channels) for depthwise.
                order = (3, 0, 1, 2) if layer.groups > 1 else (0, 3, 1, 2)
                layer.weight.copy_(_checked(weight.permute(order), layer.weight, path))
                bias_of = layer.bias
                assert bias_of is not None  # every layer above was made with one
                bias_of.copy_(_checked(bias, bias_of, path))
            classifier = model.classifier
            weight, bias = tensor(_CLASSIFIER_WEIGHT), tensor(_CLASSIFIER_BIAS)
            classifier.weight.copy_(_checked(weight.flatten(1), classifier.weight, path))
            classifier.bias.copy_(_checked(bias.flatten(), classifier.bias, path))
        return model.eval().requires_grad_(False).to(device)

    def log_mel(self, patches: Tensor) -> Tensor:
        """(B, 15600) in -1 to 1 -> (B, 96, 64) natural log of mel magnitudes plus 0.001."""
        frames = patches.unfold(1, _FRAME, _HOP)[:, :_FRAMES]  # (B, 96, 400)
        magnitude = torch.fft.rfft(frames * self.window, _FFT).abs()
        return (magnitude @ self.mel.T + _LOG_OFFSET).log()

    def embed(self, patches: Tensor) -> Tensor:
        """(B, 15600) -> (B, 1024)."""
        x = self.log_mel(patches)[:, None]  # (B, 1, 96, 64)
        x = F.relu6(self.stem(_pad(x, 2)))
        for pair in self.pairs:
            x = pair(x)
        return x.mean(dim=(2, 3))

    @torch.inference_mode()
    def listen(self, wave: NDArray[np.float32], hop: int = PATCH_HOP) -> AudioFeatures:
        """Scores and embeddings of a sound.

        Parameters
        ----------
        wave : (n,) float32 in -1 to 1, 16 kHz mono; padded with zeros to one patch if shorter.
        hop : samples between the starts of patches. A last patch ends at the end of the sound.
        """
        length = max(len(wave), PATCH_SAMPLES)
        padded = np.zeros(length, dtype=np.float32)
        padded[: len(wave)] = wave
        starts = list(range(0, length - PATCH_SAMPLES + 1, hop))
        if length - PATCH_SAMPLES - starts[-1] > hop // 2:
            starts.append(length - PATCH_SAMPLES)
        patches = np.stack([padded[start : start + PATCH_SAMPLES] for start in starts])
        embeddings = self.embed(torch.from_numpy(patches).to(self.window.device))
        scores = self.classifier(embeddings).sigmoid()
        return AudioFeatures(scores.cpu().numpy(), embeddings.cpu().numpy())


def class_names(path: Path) -> tuple[str, ...]:
    """The 521 AudioSet class names, from the list appended to the TFLite file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = tuple(archive.read(archive.namelist()[0]).decode().splitlines())
    except (OSError, zipfile.BadZipFile, zlib.error, IndexError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"{path.name}: holds no class list", "Run `moca weights get`."
        ) from error
    if len(names) != CLASSES:
        raise WeightsError(
            f"{path.name}: not YAMNet, its list has {len(names)} classes for {CLASSES}",
            "Run `moca weights get`.",
        )
    return names


def _tensor_reader(path: Path) -> Any:
    """A function from a tensor's number to its dequantised values."""
    from ai_edge_litert.interpreter import Interpreter

    if not path.is_file():
        raise WeightsError(f"{path.name}: not there", "Run `moca weights get`.")
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        details = {item["index"]: item for item in interpreter.get_tensor_details()}
    except (ValueError, RuntimeError) as error:
        raise WeightsError(
            f"{path.name}: not a TFLite file, or damaged", "Run `moca weights get` again."
        ) from error

    def tensor(index: int) -> Tensor:
        try:
            values = interpreter.get_tensor(index).astype(np.float32)
            parameters = details[index]["quantization_parameters"]
        except (KeyError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"{path.name}: not YAMNet, it has no tensor {index}", "Run `moca weights get`."
            ) from error
        scales = parameters["scales"]
        shape = [1] * values.ndim
        if len(scales) > 1:
            shape[parameters["quantized_dimension"]] = len(scales)
        return torch.from_numpy(values * np.reshape(scales, shape if len(scales) > 1 else (1,)))

    return tensor


def _checked(value: Tensor, like: Tensor, path: Path) -> Tensor:
    if value.shape != like.shape:
        raise WeightsError(
            f"{path.name}: not YAMNet, a weight is {tuple(value.shape)} for {tuple(like.shape)}",
            "Run `moca weights get`.",
        )
    return value
