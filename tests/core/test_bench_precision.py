"""`moca bench precision`: masks in half precision against float32, part by part."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from moca_core import cli
from moca_core.bench import precision
from moca_core.bench.precision import Answer, compared, half_choice, parts
from moca_core.bench.report import BenchOptions
from moca_core.config import SegmentConfig
from moca_core.device import DeviceChoice
from moca_core.errors import ConfigError
from moca_core.models.compute import half_layers
from moca_core.models.sam import MobileSam
from moca_core.types import Prediction, RgbImage, StageEvent

HALF = DeviceChoice("cpu", "bfloat16", "")


def _answer(rows: list[str], reason: str = "") -> Answer:
    mask = np.array([[letter == "x" for letter in row] for row in rows])
    return Answer(np.packbits(mask), (len(rows), len(rows[0])), reason)


# --- rounding layers ----------------------------------------------------------------------------


def test_layers_round_and_everything_else_doesnt() -> None:
    """The layer's result is that of autocast, in float32; undone, it is the exact one again."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Conv1d(3, 3, 1))
    x = torch.rand(3, 64)
    exact = model(x)
    undo = half_layers(model, HALF)
    rounded = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model[0](x), nn.Linear.forward(model[0], x).float())
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1
    undo()
    assert torch.equal(model(x), exact)


# --- comparing ----------------------------------------------------------------------------------


def test_how_like_masks_are_by_hand() -> None:
    """A half, an equal one, two empty ones, one that vanished, and another reason."""
    expected = [
        _answer(["xx.", "..."]),
        _answer(["x..", "..x"]),
        _answer(["...", "..."], "silent"),
        _answer(["x..", "..."]),
        _answer(["...", "..."], "silent"),
    ]
    found = [
        _answer(["x..", "..."]),
        _answer(["x..", "..x"]),
        _answer(["...", "..."], "silent"),
        _answer(["...", "..."], "no sounding object"),
        _answer(["...", "..."], "no sounding object"),
    ]
    mean, lowest, decision = compared(expected, found, "bfloat16 in vit", 0.98)
    assert mean.value == pytest.approx((0.5 + 1 + 1 + 0 + 1) / 5)
    assert mean.at_least == 0.98 and mean.met is False
    assert lowest.value == 0.0 and lowest.met is None
    assert decision.value == pytest.approx(60.0)


def test_a_mask_comes_back_as_it_was() -> None:
    rows = ["x.x.x", "..x..", "xxxxx"]
    assert _answer(rows).mask().tolist() == [[letter == "x" for letter in row] for row in rows]


# --- what is rounded ----------------------------------------------------------------------------


def test_the_parts_of_a_bundle() -> None:
    """Networks by their names, SAM in two, and all of them last; other things aren't parts."""

    @dataclass
    class Bundle:
        _vit: nn.Module = field(default_factory=lambda: nn.Linear(1, 1))
        _nets: dict[str, nn.Module] = field(
            default_factory=lambda: {"lite0": nn.Linear(1, 1), "lite2": nn.Linear(1, 1)}
        )
        _sam: nn.Module = field(default_factory=MobileSam)
        names: tuple[str, ...] = ("a",)

    bundle = Bundle()
    found = parts(bundle)  # type: ignore[arg-type]
    assert list(found) == [
        "vit",
        "nets lite0",
        "nets lite2",
        "sam: picture",
        "sam: masks",
        "everything",
    ]
    assert found["nets lite2"] == [bundle._nets["lite2"]]
    assert len(found["everything"]) == 6


@pytest.mark.parametrize(
    ("asked", "chosen", "dtype"),
    [
        ("auto", "float32", "bfloat16"),  # a CPU, or a GPU that gains nothing
        ("auto", "float16", "float16"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_float32_is_never_compared_with_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, chosen: str, dtype: str
) -> None:
    monkeypatch.setattr(
        precision, "choose_device", lambda device, _: DeviceChoice("cuda:0", chosen, "Card 0")
    )
    options = BenchOptions(tmp_path, precision=asked)
    assert half_choice(options) == DeviceChoice("cuda:0", dtype, "Card 0")


def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No data set, one that nothing takes, and float32."""
    assert cli.main(["bench", "precision"]) == cli.USAGE
    assert cli.main(["bench", "seek", str(tmp_path)]) == cli.USAGE
    assert "DATASET" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="float32"):
        half_choice(BenchOptions(tmp_path, precision="float32"))
    with pytest.raises(ConfigError, match="no data set"):
        next(precision.measure(BenchOptions(tmp_path)))


# --- the whole ----------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Four grey pictures, a sound, and their manifest."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    lines = ["id,split,subset,category,image,mask,audio"]
    with wave.open(str(folder / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(32_000))
    for number in range(4):
        picture = np.full((4, 6, 3), 60 * number, np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
        lines.append(f"case{number},dev,single,dog,{number}.png,{number}.png,a.wav")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


class FakeBundle:
    """Two networks: one whose rounding shows in the masks, and one whose doesn't."""

    def __init__(self) -> None:
        self._sharp, self._blunt = nn.Linear(1, 1), nn.Linear(1, 1)
        for layer in (self._sharp, self._blunt):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


class FakeSegmenter:
    """Marks as many columns as the networks say; 1.001 becomes 1 in bfloat16."""

    def __init__(self, choice: DeviceChoice) -> None:
        self.bundle, self.choice = FakeBundle(), choice

    @torch.inference_mode()
    def predict(self, rgb: RgbImage, sound: NDArray[np.float32]) -> Prediction:
        assert rgb.shape == (4, 6, 3) and len(sound) == 16_000
        x = torch.tensor([[1.001]])
        columns = 1 + int(self.bundle._sharp(x) > 1) + int(self.bundle._blunt(x) > 0)
        mask = np.zeros((4, 6), dtype=bool)
        mask[:, :columns] = True
        return Prediction(mask, mask.astype(np.float32))


def test_rounds_part_by_part_and_leaves_no_rounding(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column in three is lost where the sharp network rounds, and only there."""
    loaded: list[DeviceChoice] = []

    def load(config: SegmentConfig, choice: DeviceChoice) -> Iterator[StageEvent]:
        yield StageEvent("Loading")
        loaded.append(choice)
        return FakeSegmenter(choice)

    monkeypatch.setattr(precision, "_loaded", load)
    file = tmp_path / "precision.json"
    words = ["bench", "precision", str(dataset), "--device", "cpu", "--limit", "3"]
    assert cli.main([*words, "--json", str(file)]) == cli.DONE
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    assert rows["cases"]["value"] == 3
    overlaps = {name: row["value"] for name, row in rows.items() if name.endswith("mean IoU")}
    assert overlaps == {
        "bfloat16 in sharp: mean IoU": pytest.approx(2 / 3),
        "bfloat16 in blunt: mean IoU": 1.0,
        "bfloat16 in everything: mean IoU": pytest.approx(2 / 3),
        "bfloat16 as the program computes: mean IoU": 1.0,
    }
    own = rows["bfloat16 as the program computes: mean IoU"]
    assert own["at_least"] == precision.SAME and own["met"] is True
    assert [choice.dtype for choice in loaded] == ["float32", "bfloat16"]
