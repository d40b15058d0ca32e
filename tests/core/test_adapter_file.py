"""Adapters come back from their files as they were; what isn't one says so."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from moca_core.errors import StorageError, WeightsError
from moca_core.models import adapter_file
from moca_core.models.adapter import Adapter, AdapterConfig
from moca_core.models.adapter_file import read_facts

CONFIG = AdapterConfig("compact", 24, 20, (1, 3), reduction=4, latents=3)
INFO = {
    "data": ["avs_pairs, development half", "clips \u00e4\udcff"],
    "seed": 3,
    "metrics": {"m_j": 0.75, "worst": -math.inf},
}


@pytest.fixture
def adapter() -> Adapter:
    torch.manual_seed(0)
    adapter = Adapter(CONFIG)
    with torch.no_grad():
        for value in adapter.parameters():
            value.add_(torch.randn_like(value))
    return adapter


@pytest.fixture
def path(adapter: Adapter, tmp_path: Path) -> Path:
    adapter.save(tmp_path / "mine.safetensors", INFO)
    return tmp_path / "mine.safetensors"


def parts_of(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says of itself, and its tensors."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["moca-adapter"]), load(data)


def rewrite(
    path: Path,
    facts: Callable[[dict[str, Any]], object] = lambda facts: None,
    state: Callable[[dict[str, Tensor]], object] = lambda state: None,
) -> None:
    """Change a file's description and tensors in place."""
    described, tensors = parts_of(path)
    facts(described)
    state(tensors)
    path.write_bytes(save(tensors, {"moca-adapter": json.dumps(described)}))


def refusal(path: Path, bundle: str = "") -> str:
    with pytest.raises(WeightsError) as caught:
        Adapter.load(path, bundle)
    assert caught.value.message.startswith(f"{path.name}: ")
    assert caught.value.hint
    assert "moca weights" not in caught.value.hint  # that command knows no adapters
    return caught.value.message


def test_what_was_saved_comes_back(adapter: Adapter, path: Path) -> None:
    assert adapter.info == INFO
    back = Adapter.load(path, "compact")
    assert back.config == CONFIG
    assert back.info == INFO
    state = adapter.state_dict()
    assert list(back.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in back.state_dict().items())
    assert all(value.requires_grad for value in back.parameters())
    facts = read_facts(path)
    assert (facts.config, facts.info) == (CONFIG, INFO)


def test_a_loaded_adapter_can_be_trained_and_leaves_its_file(path: Path) -> None:
    data = path.read_bytes()
    back = Adapter.load(path)
    with torch.no_grad():
        for value in back.parameters():
            value.zero_()
    assert path.read_bytes() == data
    assert any(value.any() for value in Adapter.load(path).parameters())
    back.save(path)  # over the file it came from
    assert not any(value.any() for value in Adapter.load(path).parameters())
    assert Adapter.load(path).info == INFO


def test_equal_adapters_are_equal_files(adapter: Adapter, path: Path, tmp_path: Path) -> None:
    for number in range(5):
        other = tmp_path / f"{number}.safetensors"
        adapter.save(other, dict(reversed(INFO.items())))
        assert other.read_bytes() == path.read_bytes()


def test_half_precision_is_widened(path: Path) -> None:
    rewrite(path, state=lambda state: state.update({k: v.half() for k, v in state.items()}))
    assert {value.dtype for value in Adapter.load(path).parameters()} == {torch.float32}


def test_paths_in_the_description_become_text(adapter: Adapter, tmp_path: Path) -> None:
    adapter.save(tmp_path / "a.safetensors", {"data": Path("some/clips"), "blocks": (1, 2)})
    assert read_facts(tmp_path / "a.safetensors").info == {"data": "some/clips", "blocks": [1, 2]}


def test_a_failed_save_keeps_the_old_file(
    adapter: Adapter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    data = path.read_bytes()
    with torch.no_grad():
        adapter.parts["1"].gate.add_(1)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        adapter.save(path)
    assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


# --- what is refused ---


def test_an_adapter_of_another_bundle_says_whose_it_is(path: Path) -> None:
    assert refusal(path, "imagebind") == (
        "mine.safetensors: an adapter of the compact bundle, not of imagebind"
    )


def test_a_truncated_file_is_told_from_a_foreign_one(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    cut = tmp_path / "cut.safetensors"
    (header,) = struct.unpack("<Q", data[:8])
    for size in (header // 2, header + 7, header + 8, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:size])
        assert "truncated" in refusal(cut), size
    cut.write_bytes(data + b"more")
    assert "damaged" in refusal(cut)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 200,
        b"PK\x03\x04" * 100,
        save({"a": torch.ones(2)}),
        save({"a": torch.ones(2)}, {"format": "pt"}),
        save({"a": torch.ones(2)}, {"moca-adapter": "no JSON"}),
        save({"a": torch.ones(2)}, {"moca-adapter": "[]"}),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2**62) + b"{}",
    ],
    ids=[
        "empty", "zeros", "zip", "others", "theirs", "no-json", "list", "no-header", "huge"
    ],
)  # fmt: skip
def test_what_is_no_adapter_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(data)
    assert refusal(tmp_path / "other.bin") == "other.bin: not an adapter"


def test_what_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "not there" in refusal(tmp_path / "none.safetensors")
    assert "can't be read" in refusal(tmp_path)


def test_a_newer_file_asks_for_a_newer_program(path: Path) -> None:
    # It may describe itself in ways unknown today.
    rewrite(path, lambda facts: (facts.pop("config"), facts.update(version=2)))
    assert "written by a newer program (version 2" in refusal(path)
    with pytest.raises(WeightsError) as caught:
        read_facts(path)
    assert "Update" in caught.value.hint


@pytest.mark.parametrize("version", [None, 0, "1"])
def test_a_version_that_never_was_is_refused(version: object, path: Path) -> None:
    rewrite(path, lambda facts: facts.update(version=version))
    assert f"version {version!r}" in refusal(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bundle": "tiny"}, "'tiny' is not a bundle"),
        ({"reduction": 5}, "reduction = 5"),
        ({"blocks": 3}, "its description lacks or has too much"),
        ({"heads": 2}, "its description lacks or has too much"),
    ],
)
def test_a_description_that_cannot_be_is_refused(
    change: dict[str, object], message: str, path: Path
) -> None:
    rewrite(path, lambda facts: facts["config"].update(change))
    assert message in refusal(path)


@pytest.mark.parametrize("part", ["config", "info"])
def test_a_description_without_a_part_is_refused(part: str, path: Path) -> None:
    rewrite(path, lambda facts: facts.pop(part))
    assert "its description lacks" in refusal(path)


def test_weights_are_those_that_the_description_asks_for(path: Path) -> None:
    data = path.read_bytes()
    rewrite(path, state=lambda state: state.pop("parts.3.gate"))
    assert "lacks parts.3.gate" in refusal(path)
    path.write_bytes(data)
    rewrite(path, state=lambda state: state.update(extra=torch.ones(1)))
    assert "has unknown extra" in refusal(path)
    path.write_bytes(data)
    rewrite(path, lambda facts: facts["config"].update(latents=4))
    assert "parts.1.latents (3, 6) for (4, 6)" in refusal(path)
    path.write_bytes(data)
    rewrite(path, lambda facts: facts["config"].update(blocks=[1, 2]))
    assert "parts.2" in refusal(path)


def test_weights_that_are_no_numbers_are_refused(path: Path) -> None:
    rewrite(path, state=lambda state: state["parts.3.mix"].fill_(math.nan))
    assert "parts.3.mix isn't finite" in refusal(path)


def test_the_description_is_read_without_the_weights(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = path.read_bytes()
    (header,) = struct.unpack("<Q", data[:8])
    path.write_bytes(data[: header + 8])
    monkeypatch.setattr(adapter_file, "load_strictly", None)
    assert read_facts(path).config == CONFIG
