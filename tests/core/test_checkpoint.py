"""Checkpoints: a wrong, damaged or hostile file gives a WeightsError that says what it is."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moca_core.errors import WeightsError
from moca_core.models import checkpoint
from moca_core.models.checkpoint import load_file, load_strictly, placed_on, read_torch

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


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("unable to mmap 48 bytes: Cannot allocate memory (12)")],
    ids=["python", "torch"],
)
def test_too_little_memory_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    path = saved(tmp_path / "net.pt", wide_state(1))
    monkeypatch.setattr(torch, "load", fails)
    with pytest.raises(WeightsError, match=r"net\.pt: too little memory") as caught:
        read_torch(path)
    assert "fetch" not in caught.value.hint


@pytest.mark.parametrize("archive", FORMATS)
@pytest.mark.parametrize(
    "change",
    [
        Tensor.to_sparse,
        lambda tensor: tensor.to("meta"),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    ],
    ids=["sparse", "meta", "quantised"],
)
@pytest.mark.filterwarnings("ignore")  # torch calls some of these deprecated
def test_tensors_that_are_no_plain_numbers_are_named(
    tmp_path: Path, change: Callable[[Tensor], Tensor], archive: bool
) -> None:
    state = {key: change(value) for key, value in wide_state(12).items()}
    with pytest.raises(WeightsError, match=r"odd\.pt: .*layer0\.weight.*layer9\.weight and 2 more"):
        read_torch(saved(tmp_path / "odd.pt", state, archive))


def test_a_program_of_torchscript_is_refused_without_a_warning(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WeightsError, match=r"script\.pt: damaged, or not a checkpoint"):
            read_torch(tmp_path / "script.pt")


@pytest.mark.parametrize("name", ["teacher", "model"])
def test_a_state_dict_inside_another(tmp_path: Path, name: str) -> None:
    value = {"epoch": 3, "optimizer": {"lr": 0.1}, name: {"a": torch.ones(2)}}
    path = saved(tmp_path / "run.pt", value)
    assert list(read_torch(path, inside=("teacher", "model"))) == ["a"]
    with pytest.raises(WeightsError, match=r"run\.pt: holds no state dict"):
        read_torch(path)
    with pytest.raises(WeightsError, match=r"run\.pt: holds no state dict"):
        read_torch(path, inside=("other",))


def test_the_first_name_counts_and_a_tensor_of_that_name_is_no_state_dict(tmp_path: Path) -> None:
    both = {"model": {"b": torch.ones(1)}, "teacher": {"a": torch.ones(2)}}
    path = saved(tmp_path / "run.pt", both)
    assert list(read_torch(path, inside=("teacher", "model"))) == ["a"]
    path = saved(tmp_path / "bare.pt", {"model": torch.ones(1)})
    assert list(read_torch(path, inside=("model",))) == ["model"]


def test_code_inside_is_not_run_either(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    value = {"teacher": {"a": torch.ones(2)}, "args": WritesAFile(trace)}
    with pytest.raises(WeightsError, match=r"bad\.pt: .*running code"):
        read_torch(saved(tmp_path / "bad.pt", value), inside=("teacher",))
    assert not trace.exists()


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


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64])
def test_other_numbers_than_real_ones_are_named(tmp_path: Path, dtype: torch.dtype) -> None:
    net = small_net()
    state = {**net.state_dict(), "0.weight": net.state_dict()["0.weight"].to(dtype)}
    kind = str(dtype).removeprefix("torch.")
    path = saved(tmp_path / "net.pt", state)
    with pytest.raises(WeightsError, match=rf"has other numbers .*: 0\.weight {kind}"):
        load_strictly(net, state, path)
    with pytest.raises(WeightsError, match=rf"has other numbers .*: 0\.weight {kind}"):
        load_file(small_net(), path, dtype=torch.float16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_of_a_file_are_taken(tmp_path: Path, dtype: torch.dtype) -> None:
    net = small_net()
    state = {key: value.to(dtype) for key, value in net.state_dict().items()}
    load_file(net, saved(tmp_path / "net.pt", state))
    loaded = net.state_dict()["0.weight"]
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, state["0.weight"].float())


def test_unused_prefixes_are_left_out(tmp_path: Path) -> None:
    state = {**small_net().state_dict(), "head.weight": torch.ones(2)}
    load_strictly(small_net(), state, tmp_path / "net.pt", unused=("head.",))
    with pytest.raises(WeightsError, match=r"has unknown head\.weight"):
        load_strictly(small_net(), state, tmp_path / "net.pt", unused=("other.",))


def test_prefixes_that_were_left_out_are_reported(tmp_path: Path) -> None:
    extra = {"head.weight": torch.ones(2), "head.bias": torch.ones(2), "tail.weight": torch.ones(1)}
    state = {**small_net().state_dict(), **extra}
    unused = ("head.", "body.", "tail.")
    left = load_strictly(small_net(), state, tmp_path / "net.pt", unused)
    assert left == {"head.": 2, "tail.": 1}
    assert load_strictly(small_net(), small_net().state_dict(), tmp_path / "net.pt", unused) == {}


def theirs(key: str) -> str:
    return f"net/{key}"


def test_loads_by_the_names_of_the_file(tmp_path: Path) -> None:
    source, target = small_net(), small_net()
    state = {theirs(key): value for key, value in source.state_dict().items()}
    load_strictly(target, state, tmp_path / "net.pt", official=theirs)
    assert torch.equal(target[0].weight, source[0].weight)
    bias = state.pop("net/0.bias")
    with pytest.raises(WeightsError, match=r"lacks net/0\.bias\n") as caught:
        load_strictly(target, state, tmp_path / "net.pt", official=theirs)
    assert "moca weights" in caught.value.hint
    state["net/0.bias"] = bias[:2]
    with pytest.raises(WeightsError, match=r"has shapes net/0\.bias \(2,\) for \(3,\)"):
        load_strictly(target, state, tmp_path / "net.pt", official=theirs)
    # Our own names are unknown there.
    with pytest.raises(WeightsError, match=r"has unknown 0\.bias"):
        load_strictly(
            target,
            state | {"0.bias": bias, "net/0.bias": bias},
            tmp_path / "net.pt",
            official=theirs,
        )


def meta_net() -> nn.Sequential:
    with torch.device("meta"):
        return small_net()


def test_place_makes_the_parameters(tmp_path: Path) -> None:
    state, target = small_net().state_dict(), meta_net()
    load_strictly(
        target,
        state,
        tmp_path / "net.pt",
        place=lambda key, value: value * 2 if "0." in key else value,
    )
    assert torch.equal(target[0].weight, state["0.weight"] * 2)
    # Assigned, not copied.
    assert target[1].running_var.data_ptr() == state["1.running_var"].data_ptr()


def test_matrices_are_rounded_and_nothing_else() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4), nn.Linear(4, 2), nn.Embedding(3, 4))
    place = placed_on(net, "cpu", torch.bfloat16)
    kinds = {key: place(key, value.half()).dtype for key, value in net.state_dict().items()}
    rounded = {key for key, dtype in kinds.items() if dtype == torch.bfloat16}
    assert rounded == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert set(kinds.values()) == {torch.bfloat16, torch.float32}
    assert place("counter", torch.tensor(3)).dtype == torch.int64


def mapped_files() -> str:
    return Path("/proc/self/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are read from /proc")
def test_float32_on_the_cpu_stays_in_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "mapped.pt", small_net().state_dict())
    target = meta_net()
    load_file(target, path)
    assert "mapped.pt" in mapped_files()
    before = path.read_bytes()
    with torch.no_grad():
        target[0].weight.fill_(7.0)  # the mapping is private
    assert path.read_bytes() == before
    del target
    assert "mapped.pt" not in mapped_files()


@pytest.mark.parametrize("part", [1, 2**30])
def test_other_precisions_are_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(checkpoint, "_PART_BYTES", part)
    source = small_net()
    state = {theirs(key): value for key, value in source.state_dict().items()}
    path = saved(tmp_path / "copied.pt", {**state, "head.weight": torch.ones(1)})
    target = meta_net()
    left = load_file(target, path, dtype=torch.float16, unused=("head.",), official=theirs)
    assert left == {"head.": 1}
    assert torch.equal(target[0].weight, source[0].weight.half())
    assert torch.equal(target[1].weight, source[1].weight)
    if Path("/proc/self/maps").exists():
        assert "copied.pt" not in mapped_files()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_load_file_is_strict(tmp_path: Path, dtype: torch.dtype) -> None:
    path = saved(tmp_path / "wide.pt", small_net(5).state_dict())
    with pytest.raises(WeightsError, match=r"wide\.pt: .*0\.weight \(5, 3, 3, 3\)"):
        load_file(meta_net(), path, dtype=dtype)
    with pytest.raises(WeightsError, match=r"none\.pt: not there"):
        load_file(meta_net(), tmp_path / "none.pt", dtype=dtype)


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
