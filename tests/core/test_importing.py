"""Taking files that the user has: official ones, stand-ins, and what can go wrong on the way."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from core.weights_fakes import SHA, SIZE, files, make_row, sha256
from core.weights_server import CONTENT

from moca_core.bench.random_weights import CHECKPOINTS
from moca_core.errors import MocaError, StorageError, WeightsError
from moca_core.models import importing, specs, stored, structure, weights
from moca_core.models.importing import import_file, take
from moca_core.models.weights import State, fetch, state

pytestmark = pytest.mark.usefixtures("cache")

MINE = b"a checkpoint of my own"
DINO = "dino_deitsmall16_pretrain.pth"


@pytest.fixture
def given(tmp_path):
    """A copy of the official file under another name."""
    path = tmp_path / "any name"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file that isn't official; its structure counts as right if it says `checkpoint`."""

    def check(name, path):
        if b"checkpoint" not in path.read_bytes():
            raise WeightsError(f"{path.name}: not a checkpoint of the model of {name}", "Hint.")

    monkeypatch.setattr(structure, "check", check)
    path = tmp_path / "mine.pth"
    path.write_bytes(MINE)
    return path


def test_a_file_is_known_by_its_content(table, cache, given):
    cache.mkdir(parents=True)
    weights.part_of(table[0]).write_bytes(b"part")
    assert import_file(given) is table[0]
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert given.exists()
    assert files(cache) == ["thing.bin"]
    assert weights.is_checked(table[0])
    assert not weights.is_own(table[0])


@pytest.mark.parametrize(
    ("content", "words"), [(b"four", "4 bytes"), (CONTENT[::-1], "its content isn't")]
)
def test_other_files_are_refused(table, cache, tmp_path, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        import_file(path)
    assert "--as NAME" in caught.value.hint
    assert not cache.exists() or files(cache) == []


@pytest.mark.parametrize("name", ["none", "."])
def test_what_isnt_a_file(table, tmp_path, name):
    with pytest.raises(MocaError) as caught:
        import_file(tmp_path / name)
    assert caught.value.hint


def test_a_pipe_is_refused(table, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(WeightsError, match="not a file"):
        import_file(tmp_path / "pipe")


@pytest.mark.parametrize("link", [False, True])
def test_from_the_cache_itself(table, cache, link):
    cache.mkdir(parents=True)
    (cache / "thing.bin").write_bytes(CONTENT)
    assert import_file(cache / "thing.bin", link=link) is table[0]
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert not (cache / "thing.bin").is_symlink()
    assert files(cache) == ["thing.bin"]


# Stand-ins


def test_a_stand_in_is_taken_by_its_structure(table, cache, mine):
    assert import_file(mine, "thing.bin") is table[0]
    assert (cache / "thing.bin").read_bytes() == MINE
    assert weights.is_own(table[0])
    assert state(table[0]) is State.READY
    assert weights.locate("thing.bin") == cache / "thing.bin"
    assert weights.hash_of(table[0]) == sha256(MINE)
    assert weights.missing("compact") == ()
    assert [event.state for event in weights.verify(table[:1])][-1] is State.READY
    list(fetch(table[:1]))  # isn't replaced
    assert (cache / "thing.bin").read_bytes() == MINE


def test_a_stand_in_that_changed_is_refused_and_the_official_file_replaces_it(table, cache, mine):
    import_file(mine, "thing.bin")
    path = cache / "thing.bin"
    path.write_bytes(MINE[::-1])
    os.utime(path, ns=(0, 0))
    with pytest.raises(WeightsError, match="damaged"):
        weights.locate("thing.bin")
    list(fetch(table[:1]))
    assert path.read_bytes() == CONTENT
    assert not weights.is_own(table[0])
    assert weights.locate("thing.bin")


def test_the_official_file_by_name_is_official(table, cache, given, monkeypatch):
    monkeypatch.setattr(structure, "check", lambda name, path: None)
    import_file(given, "thing.bin")
    assert not weights.is_own(table[0])
    assert stored.record_of(table[0]).accepted == ""


def test_another_structure_is_refused(table, cache, mine):
    mine.write_bytes(b"another model")
    with pytest.raises(WeightsError, match=r"mine\.pth: not a checkpoint of the model of thing"):
        import_file(mine, "thing.bin")
    assert not cache.exists() or files(cache) == []


def test_a_name_that_nothing_has(table, mine):
    with pytest.raises(WeightsError, match="not a weights file") as caught:
        import_file(mine, "nothing.pth")
    assert "imagebind_huge.pth" in caught.value.hint


def test_a_file_whose_hash_nobody_knows(cache, mine, monkeypatch):
    row = make_row(size=len(MINE), sha="")
    monkeypatch.setattr(specs, "ROWS", (row,))
    assert import_file(mine) is row
    assert stored.record_of(row).accepted == sha256(MINE)
    assert not weights.is_own(row)
    mine.write_bytes(b"x" * len(MINE))
    with pytest.raises(WeightsError, match="not a checkpoint"):
        import_file(mine)
    assert (cache / "thing.bin").read_bytes() == MINE


def test_the_real_structure_of_a_real_row(tmp_path):
    """Random numbers in DINO's official format."""
    shapes = {row.file: row.shapes for row in CHECKPOINTS.values()}[DINO]()
    torch.save(
        {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, tmp_path / "x"
    )
    import_file(tmp_path / "x", DINO)
    assert weights.locate(DINO).read_bytes() == (tmp_path / "x").read_bytes()
    with pytest.raises(WeightsError, match="holds a ViT 384 wide"):
        import_file(tmp_path / "x", "dino_vitbase16_pretrain.pth")


# Links


def test_a_link_instead_of_a_copy(table, cache, given):
    import_file(given, link=True)
    stored_at = weights.locate("thing.bin")
    assert stored_at.is_symlink() and stored_at.samefile(given)
    # The same file copied later is a copy.
    import_file(given)
    assert not stored_at.is_symlink()


def test_a_linked_file_that_changes_or_goes_is_not_used(table, cache, mine):
    import_file(mine, "thing.bin", link=True)
    assert weights.locate("thing.bin")
    mine.write_bytes(MINE + b" changed")
    with pytest.raises(WeightsError, match="damaged"):
        weights.locate("thing.bin")
    mine.unlink()
    with pytest.raises(WeightsError, match="missing"):
        weights.locate("thing.bin")
    list(fetch(table[:1]))
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert not mine.exists()


# Progress, a stop, and the disk


@pytest.fixture
def small_steps(monkeypatch):
    for module in (importing, stored):
        monkeypatch.setattr(module, "_CHUNK", 1000)
        monkeypatch.setattr(module, "_STEP", 100_000)


@pytest.mark.parametrize("link", [False, True])
def test_progress(table, given, small_steps, link):
    events = list(take(given, link=link))
    assert [event.done for event in events] == [0, 100_000, 200_000, 300_000, SIZE]
    assert {event.total for event in events} == {SIZE}
    assert events[-1].name == "thing.bin"


def test_a_stop_leaves_everything_as_it_was(table, cache, given, small_steps):
    cache.mkdir(parents=True)
    (cache / "thing.bin").write_bytes(b"before")
    run = take(given)
    while next(run).done < 200_000:
        pass
    assert len(files(cache)) == 2
    run.close()
    assert files(cache) == ["thing.bin"]
    assert (cache / "thing.bin").read_bytes() == b"before"


def test_what_a_killed_import_left_is_removed(table, cache, given):
    cache.mkdir(parents=True)
    left, young = cache / ".import.0.tmp", cache / ".import.1.tmp"
    for path in (left, young):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    import_file(given)
    assert files(cache) == [".import.1.tmp", "thing.bin"]


def test_a_disk_without_the_space_is_found_first(table, cache, given, monkeypatch):
    free = weights.shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(StorageError, match="are needed there") as caught:
        import_file(given)
    assert "MOCA_CACHE_DIR" in caught.value.hint
    assert files(cache) == []
    import_file(given, link=True)  # takes none
    assert weights.locate("thing.bin").is_symlink()


def test_a_disk_that_fills_up_meanwhile(table, cache, given, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(importing.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        import_file(given)
    assert "--link" in caught.value.hint
    assert files(cache) == []


def test_a_cache_that_cant_be_written(table, given, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="can't be written"):
        import_file(given)


def test_a_folder_where_the_file_belongs(table, cache, given):
    (cache / "thing.bin").mkdir(parents=True)
    with pytest.raises(StorageError, match="can't be written"):
        import_file(given)
    assert files(cache) == ["thing.bin"]


def test_a_file_system_that_clones(table, cache, given, monkeypatch):
    """What it copied is read, so that the hash is that of what is there."""

    def clone(source, target):
        target.write(source.read())
        target.flush()
        return True

    monkeypatch.setattr(importing, "_cloned", clone)
    import_file(given)
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert weights.hash_of(table[0]) == SHA
