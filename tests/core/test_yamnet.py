"""YAMNet equals its reference vectors: front end, float network, and the TFLite runtime."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from data.make_reference import load
from numpy.typing import NDArray
from torch import Tensor

from moca_core.errors import WeightsError
from moca_core.models.yamnet import (
    CLASSES,
    EMBEDDING,
    PATCH_HOP,
    PATCH_SAMPLES,
    RATE_HZ,
    YamNet,
    class_names,
    mel_matrix,
)

# Stated by the README of the reference vectors, absolute.
LOG_MEL = 1e-3
REPLICA_EMBEDDING = 1e-4
REPLICA_LOGITS = 5e-4
TFLITE_COSINE = 0.995
TFLITE_SCORES = 0.1
# "matches to 3e-8".
MEL_MATRIX = 5e-8

SOUNDS = ("dog", "rooster")


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load("yamnet")


@pytest.fixture(scope="module")
def net(weights_dir: Path) -> YamNet:
    return YamNet.from_file(weights_dir / "yamnet.tflite")


@pytest.fixture(scope="module")
def empty_net() -> YamNet:
    """For the front end, which has no weights."""
    return YamNet().eval()


def wave_of(reference: dict[str, Tensor], sound: str) -> NDArray[np.float32]:
    return reference[f"{sound}.waveform_int16"].numpy().astype(np.float32) / 32768


def patches_of(wave: NDArray[np.float32]) -> Tensor:
    starts = range(0, len(wave) - PATCH_SAMPLES + 1, PATCH_HOP)
    return torch.from_numpy(np.stack([wave[start : start + PATCH_SAMPLES] for start in starts]))


def tone(hertz: float, samples: int, amplitude: float = 0.5) -> NDArray[np.float32]:
    time_s = np.arange(samples) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


# --- the front end, without weights ---


def test_mel_matrix_and_window(empty_net: YamNet, reference: dict[str, Tensor]) -> None:
    assert furthest(mel_matrix(), reference["mel_matrix_64x257"]) < MEL_MATRIX
    assert furthest(empty_net.window, reference["window_400"]) < 1e-6


@pytest.mark.parametrize("sound", SOUNDS)
def test_log_mel_equals_the_reference(
    empty_net: YamNet, reference: dict[str, Tensor], sound: str
) -> None:
    log_mel = empty_net.log_mel(patches_of(wave_of(reference, sound))[:2])
    assert furthest(log_mel, reference[f"{sound}.log_mel_first_two_windows"]) < LOG_MEL


@pytest.mark.parametrize("hertz", [200.0, 440.0, 1000.0, 4000.0])
def test_a_tone_is_loudest_in_its_band(empty_net: YamNet, hertz: float) -> None:
    log_mel = empty_net.log_mel(torch.from_numpy(tone(hertz, PATCH_SAMPLES))[None])[0]
    nearest = int(mel_matrix()[:, round(hertz * 512 / RATE_HZ)].argmax())
    assert (log_mel.argmax(dim=1) - nearest).abs().max() <= 1


def test_silence_is_the_offset_everywhere(empty_net: YamNet) -> None:
    log_mel = empty_net.log_mel(torch.zeros(2, PATCH_SAMPLES))
    assert log_mel.shape == (2, 96, 64)
    assert torch.allclose(log_mel, torch.tensor(1e-3).log().expand_as(log_mel))


def test_frames_are_ten_milliseconds_apart(empty_net: YamNet) -> None:
    click = torch.zeros(1, PATCH_SAMPLES)
    click[0, 8000] = 1.0  # at 0.5 s: inside the frames that start at 7601 to 8000
    energy = empty_net.log_mel(click)[0].sum(dim=1)
    quiet = energy.min()
    assert (energy > quiet + 1).nonzero().flatten().tolist() == [48, 49]


# --- against the float replica and the TFLite runtime ---


@pytest.mark.weights
@pytest.mark.parametrize("sound", SOUNDS)
def test_network_equals_the_float_replica(
    net: YamNet, reference: dict[str, Tensor], sound: str
) -> None:
    embedding = net.embed(patches_of(wave_of(reference, sound)))
    assert furthest(embedding, reference[f"{sound}.float_replica_embedding"]) < REPLICA_EMBEDDING
    logits = net.classifier(embedding)
    assert furthest(logits, reference[f"{sound}.float_replica_logits"]) < REPLICA_LOGITS


@pytest.mark.weights
@pytest.mark.parametrize("sound", SOUNDS)
def test_listen_is_near_the_tflite_runtime(
    net: YamNet, reference: dict[str, Tensor], sound: str
) -> None:
    features = net.listen(wave_of(reference, sound))
    # 56000 samples hold six whole patches every 0.48 s; the 2000 left over make no seventh.
    assert features.scores.shape == (6, CLASSES)
    assert features.embeddings.shape == (6, EMBEDDING)
    assert features.scores.dtype == features.embeddings.dtype == np.float32
    expected = reference[f"{sound}.scores_default_kernels"]
    assert furthest(torch.from_numpy(features.scores), expected) < TFLITE_SCORES
    cosine = torch.cosine_similarity(
        torch.from_numpy(features.embeddings), reference[f"{sound}.embedding_default_kernels"]
    )
    assert float(cosine.min()) >= TFLITE_COSINE
    top = set(features.scores.mean(axis=0).argsort()[-5:].tolist())
    assert top == set(expected.mean(dim=0).topk(5).indices.tolist())


@pytest.mark.weights
def test_what_is_heard_has_a_name(
    net: YamNet, reference: dict[str, Tensor], weights_dir: Path
) -> None:
    names = class_names(weights_dir / "yamnet.tflite")
    for sound, heard in (("dog", "Dog"), ("rooster", "Chicken, rooster")):
        scores = net.listen(wave_of(reference, sound)).scores.mean(axis=0)
        assert heard in {names[number] for number in scores.argsort()[-5:]}


@pytest.mark.weights
def test_a_batch_equals_its_patches(net: YamNet, reference: dict[str, Tensor]) -> None:
    patches = patches_of(wave_of(reference, "dog"))
    together = net.embed(patches)
    for row, patch in zip(together, patches, strict=True):
        assert furthest(row, net.embed(patch[None])[0]) < REPLICA_EMBEDDING


# --- how a sound is cut into patches ---


@pytest.mark.weights
@pytest.mark.parametrize(
    ("samples", "patches"),
    [
        (0, 1),
        (1, 1),
        (PATCH_SAMPLES - 1, 1),
        (PATCH_SAMPLES, 1),
        (PATCH_SAMPLES + PATCH_HOP // 2, 1),  # what is left is half a hop: heard already
        (PATCH_SAMPLES + PATCH_HOP // 2 + 1, 2),
        (PATCH_SAMPLES + PATCH_HOP, 2),
        (PATCH_SAMPLES + 2 * PATCH_HOP - 1, 3),
    ],
)
def test_number_of_patches(net: YamNet, samples: int, patches: int) -> None:
    features = net.listen(tone(440, samples))
    assert features.scores.shape == (patches, CLASSES)
    assert features.embeddings.shape == (patches, EMBEDDING)
    assert np.isfinite(features.scores).all()
    assert 0 <= features.scores.min() <= features.scores.max() <= 1


@pytest.mark.weights
def test_patches_lie_where_they_should(net: YamNet) -> None:
    chance = np.random.default_rng(5)
    samples = PATCH_SAMPLES + PATCH_HOP + PATCH_HOP // 2 + 100
    wave = chance.uniform(-0.3, 0.3, samples).astype(np.float32)
    features = net.listen(wave)
    # The third ends with the sound, instead of reaching beyond it.
    starts = [0, PATCH_HOP, samples - PATCH_SAMPLES]
    assert len(features.scores) == 3
    for row, start in zip(features.embeddings, starts, strict=True):
        alone = net.listen(wave[start : start + PATCH_SAMPLES]).embeddings[0]
        np.testing.assert_allclose(row, alone, atol=REPLICA_EMBEDDING)


@pytest.mark.weights
def test_a_short_sound_is_padded_with_silence_after_it(net: YamNet) -> None:
    short = tone(440, 4000)
    padded = np.concatenate([short, np.zeros(PATCH_SAMPLES - 4000, dtype=np.float32)])
    np.testing.assert_array_equal(net.listen(short).scores, net.listen(padded).scores)


@pytest.mark.weights
def test_another_hop(net: YamNet) -> None:
    wave = tone(440, 3 * PATCH_SAMPLES)
    assert len(net.listen(wave, hop=PATCH_SAMPLES).scores) == 3


# --- files ---


@pytest.mark.weights
def test_class_names(weights_dir: Path) -> None:
    names = class_names(weights_dir / "yamnet.tflite")
    assert len(names) == len(set(names)) == CLASSES
    assert names[0] == "Speech"
    assert names[69] == "Dog"
    assert names[494] == "Silence"


@pytest.mark.weights
def test_another_network_is_refused(weights_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "yamnet.tflite"
    shutil.copy(weights_dir / "selfie_segmentation.tflite", path)
    with pytest.raises(WeightsError, match=r"yamnet\.tflite: not YAMNet"):
        YamNet.from_file(path)
    with pytest.raises(WeightsError, match=r"yamnet\.tflite: not YAMNet, its list"):
        class_names(path)


@pytest.mark.parametrize("content", [b"", b"no network", b"\x1c\x00\x00\x00TFL3" + bytes(40)])
def test_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "yamnet.tflite"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"yamnet\.tflite: not a TFLite file, or damaged"):
        YamNet.from_file(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not there"):
        YamNet.from_file(tmp_path / "yamnet.tflite")
    with pytest.raises(WeightsError, match="holds no class list"):
        class_names(tmp_path / "yamnet.tflite")


@pytest.mark.weights
def test_truncated_file(weights_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "yamnet.tflite"
    path.write_bytes((weights_dir / "yamnet.tflite").read_bytes()[:2_000_000])
    with pytest.raises(WeightsError):
        YamNet.from_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no class list"), (b"\xff\xfe", "no class list"), (b"Speech\nDog", "2 classes")],
    ids=["no-member", "no-text", "too-short"],
)
def test_archives_of_something_else(tmp_path: Path, text: bytes | None, message: str) -> None:
    path = tmp_path / "yamnet.tflite"
    with zipfile.ZipFile(path, "w") as archive:
        if text is not None:
            archive.writestr("labels.txt", text)
    with pytest.raises(WeightsError, match=message):
        class_names(path)
