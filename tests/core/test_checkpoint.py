"""Checkpoints: a wrong, damaged or hostile file gives a WeightsError that says what it is."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moca_core.errors import WeightsError
from moca_core.models.checkpoint import load_strictly, read_torch

FORMATS = [pytest.param(True, id="archive"), pytest.param(False, id="old-format")]


def small_net(width: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))


def wide_state(count: int) -> dict[str, Tensor]:
    return {f"layer{number}.weight": torch.zeros(1) for number in range(count)}


def saved(path: Path, value: Any, archive: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=archive)
    return path


class WritesAFile:
    """Unpickled without protection, this creates the file it names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("archive", FORMATS)
def test_reads_what_torch_wrote(tmp_path: Path, archive: bool) -> None:
    state = small_net().state_dict()
    read = read_torch(saved(tmp_path / "net.pt", state, archive))
    assert list(read) == list(state)
    assert all(torch.equal(read[key], state[key]) for key in state)


@pytest.mark.parametrize("archive", FORMATS)
def test_reads_tensors_saved_on_another_device(tmp_path: Path, archive: bool) -> None:
    value = {"a": torch.arange(4.0, dtype=torch.float16)}
    read = read_torch(saved(tmp_path / "net.pt", value, archive))
    assert read["a"].device.type == "cpu"
    assert read["a"].dtype == torch.float16


@pytest.mark.parametrize("archive", FORMATS)
def test_code_in_a_pickle_is_not_run(tmp_path: Path, archive: bool) -> None:
    trace = tmp_path / "trace"
    path = saved(tmp_path / "bad.pt", {"a": torch.ones(2), "b": WritesAFile(trace)}, archive)
    with pytest.raises(WeightsError, match=r"bad\.pt: .*running code") as caught:
        read_torch(path)
    assert not trace.exists()
    # torch's own text tells how to run it all the same.
    assert "weights_only" not in str(caught.value)
    # The file is what it claims to be: read without protection it does create the other.
    torch.load(path, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("archive", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path: Path, archive: bool, share: float) -> None:
    path = saved(tmp_path / "cut.pt", {"a": torch.randn(5000)}, archive)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=r"cut\.pt: damaged") as caught:
        read_torch(path)
    assert "moca weights get" in caught.value.hint


@pytest.mark.parametrize("archive", FORMATS)
def test_flipped_bytes_never_escape_as_another_error(tmp_path: Path, archive: bool) -> None:
    path = saved(tmp_path / "flipped.pt", wide_state(6), archive)
    data = path.read_bytes()
    chance = random.Random(7)
    refused = 0
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(chance.choice((1, 3, 30))):
            broken[chance.randrange(min(len(broken), 1500))] = chance.randrange(256)
        path.write_bytes(bytes(broken))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of a damaged protocol number
                read_torch(path)
        except WeightsError:
            refused += 1
    assert refused > 20  # the others changed a number or a name, which the SHA-256 finds


@pytest.mark.parametrize("content", [b"", b"hello", b"<!DOCTYPE html><html>", b"PK\x03\x04", b"\0"])
def test_not_a_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "page.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"page\.pt: damaged"):
        read_torch(path)


@pytest.mark.parametrize(
    "value",
    [[1, 2], torch.ones(2), {"model": wide_state(2)}, {"a": 3}, {1: torch.ones(1)}],
    ids=["list", "tensor", "nested", "number", "number-as-key"],
)
def test_holds_no_state_dict(tmp_path: Path, value: Any) -> None:
    with pytest.raises(WeightsError, match=r"other\.pt: holds no state dict"):
        read_torch(saved(tmp_path / "other.pt", value))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.pt: not there") as caught:
        read_torch(tmp_path / "none.pt")
    assert "moca weights get" in caught.value.hint
    with pytest.raises(WeightsError, match="can't be read"):
        read_torch(tmp_path)


def test_loads_strictly(tmp_path: Path) -> None:
    source, target = small_net(), small_net()
    load_strictly(target, source.state_dict(), tmp_path / "net.pt")
    assert torch.equal(target[0].weight, source[0].weight)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    state = small_net().state_dict()
    del state["1.running_mean"]
    with pytest.raises(WeightsError, match=r"net\.pt: .*it lacks 1\.running_mean") as caught:
        load_strictly(small_net(), state, tmp_path / "net.pt")
    assert caught.value.message.endswith("1.running_mean")


def test_only_the_first_ten_keys_are_named(tmp_path: Path) -> None:
    state = {**small_net().state_dict(), **wide_state(13)}
    with pytest.raises(WeightsError) as caught:
        load_strictly(small_net(), state, tmp_path / "net.pt")
    message = caught.value.message
    assert "has unknown layer0.weight, layer1.weight" in message
    assert "layer9.weight and 3 more" in message
    assert "layer10" not in message


def test_exactly_ten_keys_leave_none_out(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_strictly(
            small_net(), {**small_net().state_dict(), **wide_state(10)}, tmp_path / "net.pt"
        )
    assert caught.value.message.endswith("layer9.weight")


def test_shapes_are_named_and_nothing_is_loaded(tmp_path: Path) -> None:
    target = small_net(3)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(WeightsError, match=r"0\.weight \(5, 3, 3, 3\) for \(3, 3, 3, 3\)"):
        load_strictly(target, small_net(5).state_dict(), tmp_path / "net.pt")
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_unused_prefixes_are_left_out(tmp_path: Path) -> None:
    state = {**small_net().state_dict(), "head.weight": torch.ones(2)}
    load_strictly(small_net(), state, tmp_path / "net.pt", unused=("head.",))
    with pytest.raises(WeightsError, match=r"has unknown head\.weight"):
        load_strictly(small_net(), state, tmp_path / "net.pt", unused=("other.",))


@pytest.mark.weights
def test_checkpoint_of_another_model(weights_dir: Path) -> None:
    from moca_core.models.efficientnet_lite import EfficientNetLite
    from moca_core.models.sam import MobileSam

    with pytest.raises(WeightsError, match=r"mobile_sam\.pt: not the checkpoint .*_conv_stem"):
        EfficientNetLite.from_file(weights_dir / "mobile_sam.pt", "lite0")
    with pytest.raises(WeightsError, match=r"lacks _blocks\.16\..*\d+ more"):
        EfficientNetLite.from_file(weights_dir / "efficientnet-lite0-57934424.pth", "lite2")
    with pytest.raises(WeightsError, match="not the checkpoint"):
        MobileSam.from_file(weights_dir / "efficientnet-lite0-57934424.pth")
