"""Checkpoints that aren't the official files: by the names and shapes of what they hold."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch
from core.weights_fakes import linux

from moca_core.bench.random_weights import CHECKPOINTS
from moca_core.errors import WeightsError
from moca_core.models import structure
from moca_core.models.specs import ROWS

FILES = {row.file: row for row in CHECKPOINTS.values()}


def save(path, shapes, **more):
    """A checkpoint of these shapes in which all numbers of a tensor are one: it stays small."""
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    torch.save(state | more, path)
    return path


@pytest.fixture
def given(tmp_path):
    """A checkpoint of DINO ViT-S."""
    return save(tmp_path / "mine.pth", FILES["dino_deitsmall16_pretrain.pth"].shapes())


def refused(name, path):
    with pytest.raises(WeightsError) as caught:
        structure.check(name, path)
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("name", FILES)
def test_every_official_structure_is_accepted_and_no_other(name, tmp_path):
    path = save(tmp_path / "mine.pth", FILES[name].shapes())
    for other in FILES:
        if other == name:
            structure.check(other, path)
        else:
            assert "mine.pth" in refused(other, path)


def test_every_checkpoint_of_the_table_can_be_checked():
    names = {row.name for row in ROWS if row.name.endswith((".pth", ".pt"))}
    assert set(structure.checkable()) == names


@pytest.mark.parametrize("name", ["yamnet.tflite", "vit_s_focus.onnx"])
def test_other_formats_have_no_stand_in(name, given):
    message = refused(name, given)
    assert message == f"{name}: only the official file can be used"


def test_what_differs_is_named(tmp_path):
    shapes = dict(FILES["dino_deitsmall16_pretrain.pth"].shapes())
    norm = shapes.pop("norm.weight")
    path = save(tmp_path / "a.pth", shapes)
    assert "lacks norm.weight" in refused("dino_deitsmall16_pretrain.pth", path)
    path = save(tmp_path / "b.pth", shapes | {"norm.weight": norm, "blocks.3.odd": (2,)})
    assert "unknown blocks.3.odd" in refused("dino_deitsmall16_pretrain.pth", path)
    path = save(tmp_path / "c.pth", shapes | {"norm.weight": (5,)})
    assert "norm.weight (5,) for (384,)" in refused("dino_deitsmall16_pretrain.pth", path)


def test_of_many_names_ten_are_given(given):
    message = refused("imagebind_huge.pth", given)
    assert message.count(", ") == 10  # one follows the name of the file
    assert message.endswith(" more")


def test_the_other_senses_of_imagebind_may_lack(tmp_path):
    shapes = FILES["imagebind_huge.pth"].shapes()
    ours = {key: shape for key, shape in shapes.items() if key.split(".")[1] in ("vision", "audio")}
    structure.check("imagebind_huge.pth", save(tmp_path / "ours.pth", ours))
    del ours["modality_heads.audio.0.weight"]
    path = save(tmp_path / "fewer.pth", ours)
    assert "lacks modality_heads.audio.0.weight" in refused("imagebind_huge.pth", path)


def test_half_precision_is_accepted(tmp_path):
    shapes = FILES["dino_deitsmall16_pretrain.pth"].shapes()
    state = {key: torch.zeros(()).half().expand(shape) for key, shape in shapes.items()}
    torch.save(state, tmp_path / "half.pth")
    structure.check("dino_deitsmall16_pretrain.pth", tmp_path / "half.pth")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_refused(share, given):
    content = given.read_bytes()
    given.write_bytes(content[: int(share * len(content))])
    assert "damaged" in refused("dino_deitsmall16_pretrain.pth", given)


class Touch:
    """A harmless stand-in for code in a pickle: it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


@pytest.mark.parametrize("old", [False, True])
def test_a_pickle_that_runs_code_is_refused(old, tmp_path):
    path, trace = tmp_path / "evil.pth", tmp_path / "it ran"
    shapes = FILES["dino_deitsmall16_pretrain.pth"].shapes()
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    torch.save({**state, "x": Touch(trace)}, path, _use_new_zipfile_serialization=not old)
    message = refused("dino_deitsmall16_pretrain.pth", path)
    assert "without running code" in message
    assert not trace.exists()
    path.write_bytes(pickle.dumps(Touch(trace), protocol=2))
    refused("dino_deitsmall16_pretrain.pth", path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89PNG\r\n", b"x" * 1000])
def test_what_is_no_checkpoint(content, tmp_path):
    (tmp_path / "odd").write_bytes(content)
    assert "odd" in refused("sam_vit_b_01ec64.pth", tmp_path / "odd")


def test_a_file_that_cannot_be_read(tmp_path):
    assert "can't be read" in refused("sam_vit_b_01ec64.pth", tmp_path / "absent")


def test_the_old_format_is_not_read_into_memory(tmp_path):
    path = tmp_path / "old.pth"
    with path.open("wb") as stream:
        stream.write(b"\x80\x02")
        stream.truncate(3_000_000_000)  # a hole: no space is taken
    assert "old format" in refused("imagebind_huge.pth", path)


@linux
def test_the_numbers_are_not_read(tmp_path):
    """300 MB of them, which would show in the memory of a process of its own."""
    shapes = FILES["dino_vitbase16_pretrain.pth"].shapes()
    path = tmp_path / "large.pth"
    torch.save({key: torch.ones(shape) for key, shape in shapes.items()}, path)
    small = save(tmp_path / "small.pth", shapes)
    code = (
        "import resource, pathlib, sys\n"
        "from moca_core.models import structure\n"
        "for path in sys.argv[1:]:\n"
        "    structure.check('dino_vitbase16_pretrain.pth', pathlib.Path(path))\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", code, str(small), str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = map(int, ended.stdout.split())  # kB
    assert after - before < 50_000


@pytest.mark.weights
@pytest.mark.parametrize("name", ["mobile_sam.pt", "efficientnet-lite0-57934424.pth"])
def test_the_small_checkpoints(name, weights_dir):
    structure.check(name, weights_dir / name)
    other = {"mobile_sam.pt": "efficientnet-lite0-57934424.pth"}.get(name, "mobile_sam.pt")
    refused(other, weights_dir / name)
