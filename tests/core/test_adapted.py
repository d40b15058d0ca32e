"""A trained adapter in a bundle: nothing changes while its gates are shut, then the sound tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from moca_core import paths
from moca_core.bench.random_models import random_encoders
from moca_core.config import SegmentConfig
from moca_core.device import choose_device
from moca_core.errors import ConfigError, WeightsError
from moca_core.media.video import VideoReader
from moca_core.models.adapted import AdaptedTrunk
from moca_core.models.adapter import Adapter, AdapterConfig, adapter_config
from moca_core.models.bundles import Bundle
from moca_core.models.compact import CompactBundle
from moca_core.models.imagebind_bundle import ImageBindBundle
from moca_core.pipeline.analysis import FrameAnalysis
from moca_core.pipeline.hearing import HearingSettings
from moca_core.pipeline.segmenter import Segmenter
from moca_core.pipeline.store import ResultStore
from moca_core.types import FrameEvent, RgbImage

CPU = choose_device("cpu")
HEARING = HearingSettings()
CONFIG = SegmentConfig("imagebind", proposals="none")
TINY = AdapterConfig("imagebind", 64, 48, blocks=(1, 2), reduction=4, latents=3)


def wave(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, 32_000).astype(np.float32)


def picture() -> RgbImage:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def with_gates(adapter: Adapter, value: float) -> Adapter:
    with torch.no_grad():
        for part in adapter.parts.values():
            part.gate.fill_(value)
    return adapter


def looked(bundle: Bundle, rgb: RgbImage, config: SegmentConfig) -> FrameAnalysis:
    steps = bundle.look([rgb], config)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value[0]


@pytest.fixture(scope="module")
def bundle() -> ImageBindBundle:
    torch.manual_seed(3)
    encoders = random_encoders(CPU, tiny=True)
    bundle = ImageBindBundle(CPU)
    bundle.use(encoders.imagebind, encoders.dino, encoders.sam)
    return bundle


@pytest.fixture
def adapter() -> Adapter:
    torch.manual_seed(1)
    return Adapter(TINY)


@pytest.mark.parametrize("patches", ["alone", "attended"])
def test_shut_gates_change_nothing(
    bundle: ImageBindBundle, adapter: Adapter, monkeypatch: pytest.MonkeyPatch, patches: str
) -> None:
    config = SegmentConfig("imagebind", proposals="none", patches=patches)
    plain = looked(bundle, picture(), config)
    assert plain.prefix is None
    heard = bundle.hear(wave(1))
    before, hearing = bundle.relate(plain, heard, HEARING)
    monkeypatch.setattr(bundle, "_adapted", None)
    bundle.adapt(adapter)
    analysis = looked(bundle, picture(), config)
    after, same = bundle.relate(analysis, bundle.hear(wave(1)), HEARING)
    for name in ("tokens", "joint", "groups", "looks"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=2e-5)
    assert same.agreement == pytest.approx(hearing.agreement, abs=1e-6)
    # Attention is there to be looked at all the same.
    assert sorted(after.attention) == [1, 2]
    for values in after.attention.values():
        assert values.shape == (256,)
        assert 0 <= values.min() <= values.max() <= 1


def test_open_gates_let_the_sound_in(
    bundle: ImageBindBundle, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "_adapted", None)
    bundle.adapt(with_gates(adapter, 1.0))
    analysis = looked(bundle, picture(), CONFIG)
    assert analysis.prefix is not None
    assert analysis.prefix.shape == (257, 64)
    one, other = (bundle.relate(analysis, bundle.hear(wave(seed)), HEARING)[0] for seed in (1, 2))
    again = bundle.relate(analysis, bundle.hear(wave(1)), HEARING)[0]
    np.testing.assert_array_equal(one.tokens, again.tokens)
    assert np.abs(one.tokens - other.tokens).max() > 1e-4
    assert np.abs(one.tokens - analysis.tokens).max() > 1e-3
    assert one.labels is None  # clusters are those of the enhanced tokens
    # The whole picture's own feature stays what it is.
    assert one.joint is not None
    assert analysis.joint is not None
    np.testing.assert_array_equal(one.joint[0], analysis.joint[0])


def test_an_adapter_is_asked_between_key_frames_too(
    bundle: ImageBindBundle, adapter: Adapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps of a key frame show each adapted block's attention, and their mean."""
    monkeypatch.setattr(bundle, "_adapted", None)
    bundle.adapt(with_gates(adapter, 1.0))
    segmenter = Segmenter(CONFIG, "cpu", bundle=bundle)
    clip = paths.resource("demo/demo.mp4")
    events = segmenter.clip(clip, frames=[60], keep_maps=True)
    (result,) = [event.result for event in events if isinstance(event, FrameEvent)]
    assert {"attention", "attention 1", "attention 2", "evidence"} <= set(result.maps)
    mean = (result.maps["attention 1"] + result.maps["attention 2"]) / 2
    np.testing.assert_allclose(result.maps["attention"], mean, atol=1e-6)
    assert result.maps["attention"].shape == (16, 16)


def test_an_adapter_of_the_first_block_leaves_nothing_to_look_at_once() -> None:
    encoders = random_encoders(CPU, tiny=True)
    adapter = Adapter(AdapterConfig("imagebind", 64, 48, blocks=(0, 1, 2), reduction=4))
    with pytest.raises(ConfigError, match="block 0"):
        AdaptedTrunk(encoders.imagebind.vision, adapter, 3)


def test_another_adapter_has_results_of_its_own(tmp_path: Path, adapter: Adapter) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"some film")
    store = ResultStore(tmp_path / "results")
    files = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    adapter.save(files[0])
    with_gates(adapter, 0.5).save(files[1])
    folders = [store.open(clip, SegmentConfig("imagebind")).folder]
    folders += [store.open(clip, SegmentConfig("imagebind", adapter=str(f))).folder for f in files]
    assert len(set(folders)) == 3
    # The same file under the same name, but trained on since:
    with_gates(adapter, 0.7).save(files[0])
    again = store.open(clip, SegmentConfig("imagebind", adapter=str(files[0]))).folder
    assert again not in folders


@pytest.mark.weights
def test_the_compact_bundle_takes_an_adapter(weights_dir: Path, tmp_path: Path) -> None:
    """Its tokens move with the sound, and don't while the gates are shut."""
    torch.manual_seed(0)
    shut, opened = tmp_path / "shut.safetensors", tmp_path / "open.safetensors"
    adapter = Adapter(adapter_config("compact"))
    adapter.save(shut)
    with_gates(adapter, 0.5).save(opened)
    with VideoReader(paths.resource("demo/demo.mp4")) as video:
        rgb = video.frame(60)
    config = SegmentConfig(proposals="none")
    found: dict[str, Any] = {}
    for name, file in (("none", None), ("shut", shut), ("open", opened)):
        bundle = CompactBundle(CPU, adapter=file)
        list(bundle.load())
        analysis = looked(bundle, rgb, config)
        for seed in (1, 2):
            related, _ = bundle.relate(analysis, bundle.hear(wave(seed)), HEARING)
            found[name, seed] = related
    np.testing.assert_allclose(found["shut", 1].tokens, found["none", 1].tokens, atol=1e-4)
    assert np.abs(found["open", 1].tokens - found["open", 2].tokens).max() > 1e-3
    assert sorted(found["open", 1].attention) == [6, 7, 8, 9]
    assert found["none", 1].attention == {}


@pytest.mark.weights
def test_an_adapter_of_another_bundle_is_told(
    weights_dir: Path, tmp_path: Path, adapter: Adapter
) -> None:
    path = tmp_path / "other.safetensors"
    adapter.save(path)
    with pytest.raises(WeightsError, match="imagebind"):
        list(CompactBundle(CPU, adapter=path).load())
