"""Batches of key frames, and the CPU that goes on where a GPU has too little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from data.make_scene import Scene, SquaresBundle, make_scene

from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice
from moca_core.errors import ConfigError, DeviceError
from moca_core.pipeline import segmenter as module
from moca_core.pipeline.segmenter import Segmenter
from moca_core.pipeline.store import ClipStore
from moca_core.types import FrameEvent, FrameResult, NoteEvent, StageEvent

SCENE = Scene(frames=100, sounds=(("dog", 0, 1.2), ("cat", 1.2, 1.7), ("cat", 3.0, 4.0)))
CARD = DeviceChoice("cuda:0", "float32", "a card")
LISTED = [0, 10, 25, 30, 60, 80, 95]
"""Frames 60 and 95 have a sound in their window, 50 would have none."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scene(tmp_path_factory.mktemp("scenes") / "scene.mkv", SCENE)


def run(segmenter: Segmenter, clip: Path, **options: object) -> tuple[list[FrameResult], list[str]]:
    """The results and the notes of a run."""
    events = list(segmenter.clip(clip, **options))  # type: ignore[arg-type]
    found = [event.result for event in events if isinstance(event, FrameEvent)]
    return found, [event.message for event in events if isinstance(event, NoteEvent)]


def masks(found: list[FrameResult]) -> list[tuple[int, str, bytes]]:
    return [(result.frame, result.reason, result.union.tobytes()) for result in found]


@pytest.mark.parametrize("batch", [2, 3, 16])
def test_key_frames_at_once_give_the_masks_of_one_by_one(clip: Path, batch: int) -> None:
    alone, together = SquaresBundle(), SquaresBundle(batch=batch)
    expected, _ = run(Segmenter(device="cpu", bundle=alone), clip, frames=LISTED)
    found, _ = run(Segmenter(device="cpu", bundle=together), clip, frames=LISTED)
    assert masks(found) == masks(expected)
    assert [result.frame for result in found] == LISTED
    assert any(result.objects for result in found)
    # Frames whose windows are silent aren't looked at, in no batch either.
    assert together.looks == alone.looks
    assert sum(together.batches) == alone.looks
    assert max(together.batches) == min(batch, alone.looks)
    for result in found:
        assert (sum(result.seconds.values()) > 0) is bool(result.heard)


def test_one_key_frame_a_second_goes_in_batches_too(clip: Path) -> None:
    bundle = SquaresBundle(batch=8)
    found, _ = run(Segmenter(device="cpu", bundle=bundle), clip, frames="keys", every_s=0.5)
    assert len(bundle.batches) == 1
    assert sum(bundle.batches) == sum(bool(result.heard) for result in found)


def test_frames_between_key_frames_are_decoded_once_so_key_frames_come_alone(clip: Path) -> None:
    bundle = SquaresBundle(batch=8)
    run(Segmenter(device="cpu", bundle=bundle), clip, frames="all")
    assert set(bundle.batches) == {1}


def test_stored_frames_are_in_no_batch(clip: Path, tmp_path: Path) -> None:
    store = ClipStore(tmp_path)
    run(Segmenter(device="cpu", bundle=SquaresBundle()), clip, frames=LISTED[1:3], store=store)
    bundle = SquaresBundle(batch=8)
    found, _ = run(Segmenter(device="cpu", bundle=bundle), clip, frames=LISTED, store=store)
    assert [result.frame for result in found] == LISTED
    heard = sum(bool(result.heard) for result in found)
    assert bundle.looks == heard - sum(bool(result.heard) for result in found[1:3])


def test_a_run_that_is_closed_keeps_what_was_emitted(clip: Path, tmp_path: Path) -> None:
    store = ClipStore(tmp_path)
    segmenter = Segmenter(device="cpu", bundle=SquaresBundle(batch=8))
    events = segmenter.clip(clip, frames=LISTED, store=store)
    for event in events:
        if isinstance(event, FrameEvent) and event.done == 3:
            break
    events.close()
    assert store.frames() == LISTED[:3]


class Loaded(SquaresBundle):
    """A bundle that is loaded; `full` says where its memory runs out."""

    full: str = ""

    def load(self) -> Iterator[StageEvent]:
        yield StageEvent("Loading squares")
        if self.full == "load":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    def look(self, rgbs, config):  # type: ignore[no-untyped-def]
        if self.full == "look":
            raise DeviceError("memory ran out with a batch of one", "Use --device cpu.")
        if self.full == "fault":
            raise RuntimeError("a fault")
        return (yield from super().look(rgbs, config))


def on_a_card(monkeypatch: pytest.MonkeyPatch, full: str) -> tuple[Segmenter, list[str]]:
    """A segmenter for a GPU whose memory runs out, and the devices that bundles were made for."""
    made: list[str] = []

    def make(config: SegmentConfig, device: DeviceChoice, compiled: bool) -> Loaded:
        made.append(device.device)
        bundle = Loaded()
        bundle.full = full if device.device != "cpu" else ""
        return bundle

    monkeypatch.setattr(module, "make_bundle", make)
    segmenter = Segmenter(device="cpu")
    segmenter.device = CARD
    return segmenter, made


@pytest.mark.parametrize("full", ["load", "look"])
def test_where_the_card_is_full_the_cpu_goes_on(
    clip: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    segmenter, made = on_a_card(monkeypatch, full)
    found, notes = run(segmenter, clip, frames=LISTED)
    expected, _ = run(Segmenter(device="cpu", bundle=SquaresBundle()), clip, frames=LISTED)
    assert masks(found) == masks(expected)
    assert made == ["cuda:0", "cpu"]
    assert segmenter.device.device == "cpu"
    assert "too little GPU memory" in segmenter.device.reason
    assert [note for note in notes if "CPU goes on" in note] == notes
    assert len(notes) == 1


def test_a_picture_alone_falls_back_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, made = on_a_card(monkeypatch, "look")
    wave = np.sin(np.arange(6400)).astype(np.float32)
    assert segmenter.predict(np.zeros((90, 160, 3), np.uint8), wave).mask.shape == (90, 160)
    assert made == ["cuda:0", "cpu"]


def test_other_faults_are_no_reason_to_go_on(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, made = on_a_card(monkeypatch, "fault")
    with pytest.raises(RuntimeError, match="a fault"):
        run(segmenter, clip, frames=LISTED)
    assert made == ["cuda:0"]


def test_a_full_cpu_is_told(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, _ = on_a_card(monkeypatch, "")
    segmenter.device = replace(CARD, device="cpu")
    monkeypatch.setattr(module, "make_bundle", lambda *arguments: full_bundle())
    with pytest.raises(DeviceError):
        run(segmenter, clip, frames=LISTED)


def full_bundle() -> Loaded:
    bundle = Loaded()
    bundle.full = "look"
    return bundle


def test_precision_is_the_bundles_to_take() -> None:
    assert Segmenter(device="cpu", precision="float32").device.dtype == "float32"
    with pytest.raises(ConfigError, match="compact bundle computes in float32"):
        Segmenter(device="cpu", precision="bfloat16")
    half = Segmenter(SegmentConfig("imagebind"), "cpu", precision="bfloat16")
    assert half.device.dtype == "bfloat16"
    assert Segmenter(SegmentConfig("imagebind"), "cpu").device.dtype == "float32"


def test_every_bundle_has_its_window_before_it_is_loaded() -> None:
    for name in ("compact", "imagebind"):
        segmenter = Segmenter(SegmentConfig(name), "cpu")
        assert (segmenter.window_s, segmenter.rate_hz) == (2.0, 16_000)
