"""What is known of the files in the cache: by their size, by their record, and by reading them."""

from __future__ import annotations

import errno
import os

import pytest
from core.weights_fakes import SHA, SIZE, files, make_row, sha256, url
from core.weights_server import CONTENT, Handler

from moca_core.errors import StorageError, WeightsError
from moca_core.models import sources, specs, stored, structure, weights
from moca_core.models.weights import State, fetch, state

SWAPPED = CONTENT[::-1]


def verified(rows):
    """The state of each row as `verify` finds it."""
    return [event.state for event in weights.verify(rows) if event.state is not None]


def change(path, content):
    """Write a file so that its time of change differs even on a coarse clock."""
    path.write_bytes(content)
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


@pytest.fixture
def read(monkeypatch):
    """The names of the files that were read to the end, in order."""
    names = []
    real = stored.hashed

    def hashed(path):
        names.append(path.name)
        return (yield from real(path))

    monkeypatch.setattr(stored, "hashed", hashed)
    return names


def test_locate(table, cache):
    with pytest.raises(WeightsError, match=r"thing\.bin .a test. is missing") as caught:
        weights.locate("thing.bin")
    assert "moca weights get compact" in caught.value.hint
    assert "moca weights get thing.bin" in caught.value.hint
    with pytest.raises(WeightsError, match="nonsense"):
        weights.locate("nonsense")
    weights.ensure_bundle("compact")
    assert weights.locate("thing.bin") == cache / "thing.bin"
    (cache / "thing.bin").write_bytes(b"short")
    with pytest.raises(WeightsError, match="damaged"):
        weights.locate("thing.bin")


def test_an_optional_file_is_asked_for_by_its_name(table, cache):
    with pytest.raises(WeightsError) as caught:
        weights.locate("other.bin")
    assert "moca weights get other.bin" in caught.value.hint
    assert "get compact" not in caught.value.hint


def test_a_bundle_that_is_here_needs_no_network_and_no_optional_file(table, cache, monkeypatch):
    weights.ensure_bundle("compact")
    monkeypatch.setattr(sources.subprocess, "Popen", None)  # whoever starts a child fails
    seen = []
    weights.ensure_bundle("compact", seen.append)
    assert seen == []
    assert weights.missing("compact") == ()
    assert state(table[1]) is State.MISSING


def test_ensure_bundle_reports_and_knows_its_bundles(table):
    seen = []
    weights.ensure_bundle("compact", seen.append)
    assert seen[-1].done == SIZE
    with pytest.raises(WeightsError) as caught:
        weights.ensure_bundle("huge")
    assert "huge" in caught.value.message
    assert "compact" in caught.value.hint


def test_verify_reads_the_files(table, cache):
    rows = table[:1]
    assert verified(rows) == [State.MISSING]
    list(fetch(rows))
    assert verified(rows) == [State.READY]
    change(cache / "thing.bin", SWAPPED)
    assert state(rows[0]) is State.READY  # by its size
    assert verified(rows) == [State.DAMAGED]
    assert state(rows[0]) is State.DAMAGED  # it was read
    change(cache / "thing.bin", CONTENT)
    assert verified(rows) == [State.READY]


def test_verify_yields_while_it_reads(table, cache, monkeypatch):
    """So that reading 4.8 GB can be stopped."""
    monkeypatch.setattr(stored, "_CHUNK", 1000)
    monkeypatch.setattr(stored, "_STEP", 100_000)
    list(fetch(table[:1]))
    events = list(weights.verify(table[:1]))
    assert [event.done for event in events] == [100_000, 200_000, 300_000, SIZE]
    assert [event.state for event in events] == [None, None, None, State.READY]


def test_a_file_that_was_read_is_not_read_again(table, cache, read):
    list(fetch(table[:1]))
    read.clear()
    list(fetch(table[:1]))
    assert weights.locate("thing.bin")
    assert weights.hash_of(table[0]) == SHA
    assert read == []
    assert weights.is_checked(table[0])


def test_a_file_that_changed_is_read_before_it_is_used(table, cache, read):
    list(fetch(table[:1]))
    read.clear()
    change(cache / "thing.bin", CONTENT)  # as a copy of the whole cache is
    assert weights.locate("thing.bin") and weights.locate("thing.bin")
    assert read == ["thing.bin"]
    change(cache / "thing.bin", SWAPPED)
    for _ in range(2):
        with pytest.raises(WeightsError, match="damaged"):
            weights.locate("thing.bin")
    assert read == ["thing.bin"] * 2
    assert weights.missing("compact") == table[:1]
    list(fetch(table[:1]))
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert weights.locate("thing.bin")


def test_a_file_without_a_record_is_taken_by_its_size(table, cache, read):
    """A cache of an earlier version, or one that was mounted: starting must not take longer."""
    cache.mkdir(parents=True)
    (cache / "thing.bin").write_bytes(SWAPPED)
    assert weights.locate("thing.bin")
    assert read == []
    list(fetch(table[:1]))  # reads it
    assert (cache / "thing.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("words", ["", "{}", "[1]", '{"size": "a"}', "\xff", '{"size": 1}'])
def test_a_damaged_record_is_no_record(table, cache, words):
    list(fetch(table[:1]))
    stored._record_path(table[0]).write_text(words, encoding="latin-1")
    assert stored.record_of(table[0]) is None
    assert weights.locate("thing.bin")
    assert not weights.is_checked(table[0])


def test_a_cache_that_is_only_read(table, cache, monkeypatch):
    list(fetch(table[:1]))
    change(cache / "thing.bin", CONTENT)
    monkeypatch.setattr("moca_core.fileio.atomic_write", refuse)
    assert weights.locate("thing.bin") == cache / "thing.bin"
    assert weights.hash_of(table[0]) == SHA


def refuse(path, sync=True):
    raise StorageError(f"{path}: can't be written", "")


def test_a_file_that_cannot_be_read(table, cache, monkeypatch):
    list(fetch(table[:1]))

    def broken(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
        yield

    monkeypatch.setattr(stored, "hashed", broken)
    with pytest.raises(StorageError, match=r"thing\.bin: can't be read .Input/output error."):
        list(weights.verify(table[:1]))


# A file whose official SHA-256 isn't known


@pytest.fixture
def unknown(cache, monkeypatch, address):
    """A row without SHA-256; its structure is right if it begins as `CONTENT` does."""
    row = make_row(url(address, "good"), size=SIZE + 500, sha="")
    monkeypatch.setattr(specs, "ROWS", (row,))

    def check(name, path):
        if path.read_bytes()[:100] != CONTENT[:100]:
            raise WeightsError(f"{path.name}: another model", "")

    monkeypatch.setattr(structure, "check", check)
    return row


def test_its_own_hash_is_kept_when_it_is_fetched(unknown, cache):
    events = list(fetch([unknown]))
    assert all(event.done <= event.total for event in events)
    assert weights.locate("thing.bin")
    assert stored.record_of(unknown).accepted == SHA
    assert not weights.is_own(unknown)
    change(cache / "thing.bin", CONTENT[:-1] + b"x")
    with pytest.raises(WeightsError, match="damaged"):
        weights.locate("thing.bin")
    list(fetch([unknown]))
    assert verified([unknown]) == [State.READY]


@pytest.mark.parametrize("way", ["wrong", "page", "cut", "norange", "chunked"])
def test_what_an_address_gives_is_checked_by_its_structure(unknown, cache, way, address):
    row = make_row(url(address, way), size=SIZE, sha="")
    if way in ("wrong", "page"):
        with pytest.raises(WeightsError, match="another model"):
            list(fetch([row]))
        assert files(cache) == [".lock"]
    else:
        list(fetch([row]))
        assert (cache / "thing.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("have", "asked"), [(200_000, ["bytes=200000-"]), (SIZE, [f"bytes={SIZE}-", ""])]
)
def test_its_part_is_continued(unknown, cache, have, asked):
    """Where only the address knows the size, a complete part is seen by its refusal of more."""
    cache.mkdir(parents=True)
    weights.part_of(unknown).write_bytes(CONTENT[:have])
    list(fetch([unknown]))
    assert [header for _, header in Handler.requests] == asked
    assert (cache / "thing.bin").read_bytes() == CONTENT


def test_its_own_hash_is_kept_on_first_sight(unknown, cache):
    cache.mkdir(parents=True)
    (cache / "thing.bin").write_bytes(CONTENT)
    assert state(unknown) is State.READY
    assert weights.locate("thing.bin")
    assert stored.record_of(unknown).accepted == SHA
    (cache / "thing.bin").write_bytes(CONTENT[: SIZE // 2])
    assert state(unknown) is State.DAMAGED


def test_another_model_is_seen_at_first_sight(unknown, cache):
    cache.mkdir(parents=True)
    (cache / "thing.bin").write_bytes(SWAPPED)
    with pytest.raises(WeightsError, match="damaged"):
        weights.locate("thing.bin")
    # That is remembered, so that a fetch doesn't take it for the file; the right one is taken.
    assert state(unknown) is State.DAMAGED
    (cache / "thing.bin").write_bytes(CONTENT)
    assert weights.locate("thing.bin")
    assert state(unknown) is State.READY


# The disk


def test_a_disk_without_the_space_is_found_before_anything_comes(table, cache, monkeypatch):
    free = weights.shutil.disk_usage("/")._replace(free=SIZE)
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda folder: free)
    big = make_row(*table[0].sources, size=4_800_000_000)
    with pytest.raises(StorageError, match=r"4\.80 GB are needed there, and 0\.00 GB are free"):
        list(fetch([big]))
    assert Handler.requests == []


def test_what_is_here_needs_no_space(table, cache, monkeypatch):
    list(fetch(table[:1]))
    free = weights.shutil.disk_usage("/")._replace(free=0)
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda folder: free)
    list(fetch(table[:1]))


def test_sha256_of(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert weights.sha256_of(tmp_path / "file") == sha256(CONTENT)
