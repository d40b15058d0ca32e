"""ImageBind equals the official code on a small random model, and loads the official names."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from data.make_reference import load, load_keys
from torch import Tensor

from moca_core.errors import ConfigError, WeightsError
from moca_core.models import checkpoint
from moca_core.models.fbank import audio_picture
from moca_core.models.imagebind import (
    OTHER_MODALITIES,
    ImageBind,
    ImageBindShape,
    official_name,
    windows,
)
from moca_core.models.vit import ViTShape, collect

# Stated by the README of the reference vectors, absolute.
VISION = 2e-6
AUDIO = 2e-5
TOKENS = 5e-5

TINY = ImageBindShape(
    vision=ViTShape(width=64, depth=3, heads=4, patch=14, table=(16, 16)),
    audio=ViTShape(width=48, depth=2, heads=4, patch=16, table=(12, 19), bias_kv=True),
    joint=32,
)
HUGE_KEYS = 569


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return load("imagebind_tiny")


@pytest.fixture(scope="module")
def state(reference: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official state dict, with a key of each modality that isn't ours."""
    prefix = "weight."
    ours = {key[len(prefix) :]: t for key, t in reference.items() if key.startswith(prefix)}
    return ours | {f"{name}0.weight": torch.ones(2) for name in OTHER_MODALITIES}


@pytest.fixture
def file(state: dict[str, Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "imagebind_huge.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def model(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> ImageBind:
    path = tmp_path_factory.mktemp("weights") / "imagebind_huge.pth"
    torch.save(state, path)
    return ImageBind.from_file(path, shape=TINY)


def furthest(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


def picture(height: int = 90, width: int = 160, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return coarse.repeat(10, axis=0).repeat(10, axis=1)


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    count = round(seconds * 16_000)
    return (np.random.default_rng(seed).standard_normal(count) * 0.1).astype(np.float32)


def embedding(model: ImageBind, x: Tensor) -> Tensor:
    return model.vision_head(model.vision.run(model.vision.embed(x))[:, 0])


# --- vision against the official code ---


def test_vision_tokens(model: ImageBind, reference: dict[str, Tensor]) -> None:
    x = reference["input.vision"]
    before = model.vision.tokens(x)
    assert furthest(before[:1], reference["expected.tokens.vision.preprocessor"]) < TOKENS
    kept: dict[int, Tensor] = {}
    model.vision.run(model.vision.embed(x), hook=collect({0, 1, 2}, kept))
    for number, tokens in kept.items():
        expected = reference[f"expected.tokens.vision.block{number}"]
        assert furthest(tokens, expected) < TOKENS, f"block {number}"


def test_vision_embedding(model: ImageBind, reference: dict[str, Tensor]) -> None:
    found = embedding(model, reference["input.vision"])
    assert furthest(found, reference["expected.embedding.vision"]) < VISION


def test_two_frames(model: ImageBind, reference: dict[str, Tensor]) -> None:
    first, second = reference["input.vision"]
    clips = torch.stack([torch.stack([first, second], 1), torch.stack([second, first], 1)])
    found = embedding(model, clips)
    assert furthest(found, reference["expected.embedding.video_clips"][0]) < VISION
    assert furthest(found.mean(0), reference["expected.embedding.video"][0]) < VISION
    assert furthest(found[0], found[1]) > 100 * VISION  # the order of the frames matters


def test_a_still_picture_is_the_frame_twice(model: ImageBind, reference: dict[str, Tensor]) -> None:
    x = reference["input.vision"]
    twice = model.vision.tokens(torch.stack([x, x], dim=2))
    assert furthest(model.vision.tokens(x), twice) < 2e-6


def test_positions_of_a_larger_picture(model: ImageBind, reference: dict[str, Tensor]) -> None:
    places = model.vision.positions_at((20, 20))
    assert places.shape == (1, 401, 64)
    assert furthest(places[:, ::4], reference["expected.pos_embed_280"]) < 1e-6
    index = torch.arange(280) % 224
    larger = reference["input.vision"][:1][:, :, index][:, :, :, index]
    found = embedding(model, larger)
    assert furthest(found, reference["expected.embedding.vision_280"]) < VISION


# --- audio against the official code ---


def heard(model: ImageBind, reference: dict[str, Tensor]) -> Tensor:
    """Tokens after the last block of the two sounds' three clips each, (6, 229, 48)."""
    return model.audio.run(model.audio.embed(reference["input.audio"].flatten(0, 1)))


def test_audio_tokens(model: ImageBind, reference: dict[str, Tensor]) -> None:
    tokens = model.audio.embed(reference["input.audio"].flatten(0, 1))
    assert furthest(tokens[:1], reference["expected.tokens.audio.preprocessor"]) < TOKENS
    kept: dict[int, Tensor] = {}
    model.audio.run(tokens, hook=collect({0, 1}, kept))
    for number, value in kept.items():
        expected = reference[f"expected.tokens.audio.block{number}"]
        assert furthest(value[[0, 5]], expected) < TOKENS, f"block {number}"


def test_audio_embedding(model: ImageBind, reference: dict[str, Tensor]) -> None:
    clips = model.sound_embedding(heard(model, reference)).view(2, 3, -1)
    assert furthest(clips, reference["expected.embedding.audio_clips"]) < AUDIO
    assert furthest(clips.mean(1), reference["expected.embedding.audio"]) < AUDIO


def test_the_scale_of_a_sound_is_bounded(
    state: dict[str, Tensor], reference: dict[str, Tensor], tmp_path: Path
) -> None:
    own = float(state["modality_postprocessors.audio.1.log_logit_scale"])
    louder = dict(state)
    louder["modality_postprocessors.audio.1.log_logit_scale"] = torch.tensor(5.0)
    torch.save(louder, tmp_path / "louder.pth")
    model = ImageBind.from_file(tmp_path / "louder.pth", shape=TINY)
    found = model.sound_embedding(heard(model, reference))
    assert torch.allclose(found.norm(dim=1), torch.tensor(100.0))
    expected = reference["expected.embedding.audio_log_logit_scale_5"]
    # The tolerance is stated for vectors of length exp(2.5); these are eight times as long.
    tolerance = AUDIO * 100 / math.exp(own)
    assert furthest(found.view(2, 3, -1).mean(1), expected) < tolerance


# --- entering at any block ---


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_vision_can_be_entered_at_any_block(
    model: ImageBind, reference: dict[str, Tensor], cut: int
) -> None:
    tokens = model.vision.embed(reference["input.vision"])
    whole = model.vision.run(tokens)
    cached = model.vision.run(tokens, 0, cut)
    assert torch.equal(model.vision.run(cached, cut, None), whole)
    seen = []

    def hook(number: int, x: Tensor) -> Tensor:
        seen.append(number)
        return x + 1.0 if number == 2 else x

    changed = model.vision.run(cached, cut, hook=hook)
    assert seen == list(range(cut, 3))
    assert torch.equal(changed, whole + 1.0 if cut < 3 else whole)


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_audio_can_be_entered_at_any_block(
    model: ImageBind, reference: dict[str, Tensor], cut: int
) -> None:
    tokens = model.audio.embed(reference["input.audio"][0])
    cached = model.audio.run(tokens, 0, cut)
    assert torch.equal(model.audio.run(cached, cut), model.audio.run(tokens))


# --- see and hear ---


def test_see(model: ImageBind) -> None:
    rgbs = [picture(seed=0), picture(120, 80, seed=1)]
    sight = model.see(rgbs, blocks=(0, 2))
    assert sight.grid == (16, 16)
    assert sorted(sight.tokens) == [0, 2]
    assert sight.tokens[2].shape == (2, 257, 64)
    assert sight.patches.shape == (2, 256, 32)
    assert sight.embedding.shape == (2, 32)
    ones = torch.ones(2)
    assert torch.allclose(sight.embedding.norm(dim=-1), ones, atol=1e-6)
    assert torch.allclose(sight.patches.norm(dim=-1), ones[:, None].expand(2, 256), atol=1e-6)
    x = model.preprocess(rgbs)
    assert furthest(sight.embedding, embedding(model, x)) < VISION
    # A patch goes through the head as the class token does.
    joint = model.vision_head(sight.tokens[2][:, 1:])
    assert furthest(sight.patches, joint) < VISION


def test_see_a_batch_equals_each_alone(model: ImageBind) -> None:
    rgbs = [picture(seed=seed) for seed in range(3)]
    together = model.see(rgbs)
    for number, rgb in enumerate(rgbs):
        alone = model.see([rgb])
        assert furthest(together.embedding[number], alone.embedding[0]) < VISION
        assert furthest(together.patches[number], alone.patches[0]) < VISION
    assert furthest(together.embedding[0], together.embedding[1]) > 100 * VISION


@pytest.mark.parametrize("side", [28, 280, 448])
def test_see_at_other_sides(model: ImageBind, side: int) -> None:
    sight = model.see([picture()], side=side, blocks=(1,))
    grid = side // 14
    assert sight.grid == (grid, grid)
    assert sight.tokens[1].shape == (1, 1 + grid * grid, 64)
    assert sight.patches.shape == (1, grid * grid, 32)
    assert bool(sight.patches.isfinite().all())


@pytest.mark.parametrize("side", [0, 225, -14])
def test_see_refuses_a_side_that_is_no_multiple_of_the_patch(model: ImageBind, side: int) -> None:
    with pytest.raises(ConfigError, match=f"side {side} px"):
        model.see([picture()], side=side)


def test_squash_and_official_crop_see_different_parts(model: ImageBind) -> None:
    wide = np.zeros((100, 300, 3), dtype=np.uint8)
    wide[:, :90] = 255  # beside the middle square
    assert float(model.preprocess([wide])[0, 0, :, :60].min()) > 1
    middle = model.preprocess([wide], official_crop=True)
    assert float(middle.max()) < 0
    cropped = model.see([wide], official_crop=True).embedding
    assert furthest(cropped, embedding(model, middle)) < VISION
    assert furthest(cropped, model.see([wide]).embedding) > 100 * VISION


def test_windows_start_where_the_official_sampler_does() -> None:
    vectors = load("fbank")
    rows = zip(
        vectors["clip_durations_s"].tolist(), vectors["clip_sample_ranges"].tolist(), strict=True
    )
    # Stored as float64, which `load` reads as float32: the number of samples restores it.
    checked = 0
    for duration_s, ranges in rows:
        count = round(duration_s * 16_000)
        found = [(part.start, part.stop) for part in windows(count)]
        if count <= 32_000:
            assert found == [(0, count)]
        else:
            assert found == [tuple(part) for part in ranges], duration_s
            checked += 1
    assert checked >= 7


def test_hear_one_window(model: ImageBind) -> None:
    wave = sound(2.0)
    result = model.hear(wave)
    assert result.tokens.shape == (229, 48)
    assert result.embedding.shape == (32,)
    tokens = model.audio.run(model.audio.embed(audio_picture(torch.from_numpy(wave))[None, None]))
    assert furthest(result.tokens, tokens[0]) < TOKENS
    assert furthest(result.embedding, model.sound_embedding(tokens)[0]) < AUDIO
    scale = float(model.log_logit_scale.exp())
    assert float(result.embedding.norm()) == pytest.approx(scale, rel=1e-5)


def test_several_windows_are_averaged_and_not_stretched_again(model: ImageBind) -> None:
    wave = np.concatenate([sound(2.0), sound(2.5, seed=1) * np.float32(0.01)])
    parts = [model.hear(wave[part]) for part in windows(len(wave))]
    assert len(parts) == 3
    result = model.hear(wave)
    tokens = torch.stack([part.tokens for part in parts]).mean(0)
    mean = torch.stack([part.embedding for part in parts]).mean(0)
    assert furthest(result.tokens, tokens) < TOKENS
    assert furthest(result.embedding, mean) < AUDIO
    assert float(mean.norm()) < float(parts[0].embedding.norm())


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 8000, 31_999, 32_001])
def test_hear_any_length(model: ImageBind, samples: int) -> None:
    wave = sound(3.0)[:samples]
    before = wave.copy()
    result = model.hear(wave)
    assert result.tokens.shape == (229, 48)
    assert bool(result.embedding.isfinite().all())
    assert (wave == before).all()


# --- the official file ---


def test_huge_has_the_official_names_and_shapes() -> None:
    with torch.device("meta"):
        model = ImageBind()
    found = {official_name(key): tuple(value.shape) for key, value in model.state_dict().items()}
    assert len(found) == HUGE_KEYS
    assert found == load_keys("imagebind_huge")


def test_other_modalities_are_named_in_the_log(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="moca_core.models.imagebind"):
        ImageBind.from_file(file, shape=TINY)
    (record,) = caplog.records
    assert f"{len(OTHER_MODALITIES)} keys not used" in record.getMessage()
    assert all(prefix in record.getMessage() for prefix in OTHER_MODALITIES)


def test_a_file_without_the_other_modalities_will_do(
    state: dict[str, Tensor], tmp_path: Path, model: ImageBind
) -> None:
    ours = {key: value for key, value in state.items() if not key.startswith(OTHER_MODALITIES)}
    torch.save(ours, tmp_path / "part.pth")
    loaded = ImageBind.from_file(tmp_path / "part.pth", shape=TINY)
    assert torch.equal(loaded.vision.cls_token, model.vision.cls_token)


Change = Callable[[dict[str, Tensor]], object]
QKV = "modality_trunks.audio.blocks.1.attn.in_proj_weight"


@pytest.mark.parametrize(
    "change, message",
    [
        pytest.param(
            lambda s: s.pop("modality_trunks.audio.blocks.0.attn.bias_k"),
            r"it lacks modality_trunks\.audio\.blocks\.0\.attn\.bias_k$",
            id="missing",
        ),
        pytest.param(
            lambda s: s.update({"modality_trunks.vision.blocks.3.norm_1.weight": torch.ones(64)}),
            r"has unknown modality_trunks\.vision\.blocks\.3\.norm_1\.weight$",
            id="another-block",
        ),
        pytest.param(
            lambda s: s.update({"modality_trunks.touch.blocks.0.norm_1.weight": torch.ones(64)}),
            r"has unknown modality_trunks\.touch",
            id="another-modality",
        ),
        pytest.param(
            lambda s: s.update({QKV: s[QKV][:96]}),
            r"attn\.in_proj_weight \(96, 48\) for \(144, 48\)$",
            id="shape",
        ),
    ],
)
def test_errors_give_the_official_names(
    state: dict[str, Tensor], tmp_path: Path, change: Change, message: str
) -> None:
    broken = dict(state)
    change(broken)
    torch.save(broken, tmp_path / "broken.pth")
    with pytest.raises(WeightsError) as caught:
        ImageBind.from_file(tmp_path / "broken.pth", shape=TINY)
    assert caught.match(rf"broken\.pth: not the checkpoint of this model, .*{message[:-1]}")
    assert "moca weights" in caught.value.hint


def test_the_first_ten_of_many_missing_keys(file: Path) -> None:
    deeper = ImageBindShape(
        ViTShape(width=64, depth=5, heads=4, patch=14, table=(16, 16)), TINY.audio, TINY.joint
    )
    with pytest.raises(WeightsError) as caught:
        ImageBind.from_file(file, shape=deeper)
    message = caught.value.message
    assert message.count("modality_trunks.vision.blocks.3.") == 10
    assert message.endswith(" and 14 more")


def test_another_models_checkpoint(tmp_path: Path) -> None:
    torch.save({"image_encoder.pos_embed": torch.ones(1, 64, 64, 768)}, tmp_path / "sam.pth")
    with pytest.raises(WeightsError, match=r"sam\.pth: not the checkpoint .*lacks modality_"):
        ImageBind.from_file(tmp_path / "sam.pth")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_file(file: Path, share: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=r"imagebind_huge\.pth: damaged"):
        ImageBind.from_file(file, shape=TINY)


# --- memory and precision ---


def test_nothing_is_trained(model: ImageBind) -> None:
    assert not model.training
    assert not any(value.requires_grad for value in model.parameters())
    assert not any(value.is_meta for value in (*model.parameters(), *model.buffers()))


def test_half_precision(file: Path, model: ImageBind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_PART_BYTES", 20_000)  # the file is mapped many times
    opened = []
    read = checkpoint.read_torch
    monkeypatch.setattr(checkpoint, "read_torch", lambda path: opened.append(path) or read(path))
    half = ImageBind.from_file(file, dtype=torch.bfloat16, shape=TINY)
    assert len(opened) > 10
    exact = model.state_dict()
    layers = ("qkv.", "proj.", "fc1.", "fc2.", "stem.", "linear.")
    for key, value in half.state_dict().items():
        dtype = torch.bfloat16 if any(layer in key for layer in layers) else torch.float32
        assert value.dtype == dtype, key
        assert torch.equal(value, exact[key].to(dtype)), key
    rgb, wave = picture(), sound(2.0)
    sight, result = half.see([rgb], blocks=(2,)), half.hear(wave)
    assert sight.tokens[2].dtype == sight.patches.dtype == sight.embedding.dtype == torch.float32
    assert result.tokens.dtype == result.embedding.dtype == torch.float32
    cosine = torch.cosine_similarity(sight.embedding, model.see([rgb]).embedding)
    assert 0.999 < float(cosine) < 1 - 1e-7
    cosine = torch.cosine_similarity(result.embedding, model.hear(wave).embedding, dim=0)
    assert 0.999 < float(cosine) < 1 - 1e-7


def test_autocast_of_float32_weights(model: ImageBind) -> None:
    rgb, wave = picture(), sound(2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sight, result = model.see([rgb], blocks=(2,)), model.hear(wave)
    assert sight.tokens[2].dtype == sight.patches.dtype == sight.embedding.dtype == torch.float32
    assert result.tokens.dtype == result.embedding.dtype == torch.float32
    cosine = torch.cosine_similarity(sight.embedding, model.see([rgb]).embedding)
    assert 0.999 < float(cosine) < 1 - 1e-7
    cosine = torch.cosine_similarity(result.embedding, model.hear(wave).embedding, dim=0)
    assert 0.999 < float(cosine) < 1 - 1e-7


WIDE = ImageBindShape(
    ViTShape(width=1024, depth=4, heads=4, patch=14, table=(16, 16)), TINY.audio, TINY.joint
)
MEASURE = """
import sys
import numpy as np
from pathlib import Path
from core.test_imagebind import WIDE
from moca_core.models.imagebind import ImageBind

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024

start = peak()
model = ImageBind.from_file(Path(sys.argv[1]), shape=WIDE)
loaded = peak()
model.see([np.zeros((28, 28, 3), np.uint8)], side=28)
size = sum(value.nbytes for value in model.state_dict().values())
print(size, loaded - start, peak() - start)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_weights_are_never_twice_in_memory_and_other_modalities_never(tmp_path: Path) -> None:
    with torch.device("meta"):
        keys = {official_name(key): value for key, value in ImageBind(WIDE).state_dict().items()}
    state = {key: torch.zeros(value.shape) for key, value in keys.items()}
    state["modality_trunks.text.blocks.0.mlp.fc1.weight"] = torch.zeros(1024, 48 * 1024)
    path = tmp_path / "large.pth"
    torch.save(state, path)
    command = [sys.executable, "-c", MEASURE, str(path)]
    place = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=place).stdout
    size, at_load, at_use = (int(word) for word in output.split())
    assert size > 200e6
    assert at_load < size / 4  # nothing was read yet
    assert at_use < 1.5 * size  # twice, or with the text, it would be 2
