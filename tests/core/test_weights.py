"""The weights manager: fetching from an address, and every way in which that can go wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from core.weights_fakes import SHA, SIZE, children, files, linux, make_row, notes, url
from core.weights_server import CONTENT, Handler

from moca_core.errors import StorageError, WeightsError
from moca_core.models import sources, weights
from moca_core.models.weights import State, fetch, state

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("way", ["good", "norange", "chunked", "cut", "redirect"])
def test_a_file_comes_whole(address, cache, way):
    row = make_row(url(address, way))
    assert state(row) is State.MISSING
    events = list(fetch([row]))
    assert (cache / row.name).read_bytes() == CONTENT
    assert state(row) is State.READY
    assert files(cache) == [".lock", row.name]
    assert all(0 <= event.done <= event.total == SIZE for event in events)
    assert events[-1].done == SIZE
    assert notes(events) == ["from 127.0.0.1"]


def test_what_is_here_is_checked_and_not_fetched(address, cache):
    row = make_row(url(address, "good"))
    list(fetch([row]))
    Handler.requests.clear()
    (event,) = fetch([row])
    assert (event.done, event.total, event.source, event.note) == (SIZE, SIZE, "", "")
    assert Handler.requests == []


@pytest.mark.parametrize("bad", [CONTENT[:-1], b"", CONTENT[:-1] + b"x"])
def test_a_damaged_file_is_fetched_again(address, cache, bad):
    row = make_row(url(address, "good"))
    cache.mkdir(parents=True)
    (cache / row.name).write_bytes(bad)
    list(fetch([row]))
    assert (cache / row.name).read_bytes() == CONTENT


def test_a_damaged_file_stays_until_a_better_one_is_whole(address, cache):
    row = make_row(url(address, "404"))
    cache.mkdir(parents=True)
    (cache / row.name).write_bytes(b"old")
    with pytest.raises(WeightsError):
        list(fetch([row]))
    assert (cache / row.name).read_bytes() == b"old"


def test_a_part_is_continued(address, cache):
    row = make_row(url(address, "good"))
    cache.mkdir(parents=True)
    weights.part_of(row).write_bytes(CONTENT[:200_000])
    assert state(row) is State.PARTIAL
    events = list(fetch([row]))
    assert (cache / row.name).read_bytes() == CONTENT
    assert [asked for _, asked in Handler.requests] == ["bytes=200000-"]
    assert min(event.done for event in events if event.source and not event.note) >= 200_000
    assert files(cache) == [".lock", row.name]


@pytest.mark.parametrize("part", [b"X" * 1000, b"X" * SIZE, b"X" * (SIZE + 1)])
def test_a_damaged_part_starts_again(address, cache, part):
    row = make_row(url(address, "good"))
    cache.mkdir(parents=True)
    weights.part_of(row).write_bytes(part)
    list(fetch([row]))
    assert (cache / row.name).read_bytes() == CONTENT
    assert Handler.requests[-1][1] == ""


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("404", "404"),
        ("500", "500"),
        ("wrong", "SHA-256 differs"),
        ("promises_more", f"{SIZE + 10} bytes"),
        ("promises_less", f"{SIZE - 10} bytes"),
        ("sends_more", "more than"),
        ("page", "36 bytes"),
        ("stuck", "broke off at 100000"),
        ("garbage", ""),
    ],
)
def test_a_bad_source_falls_through_to_the_next(address, cache, way, words):
    row = make_row(url(address, way), url(address, "good"))
    events = list(fetch([row]))
    assert (cache / row.name).read_bytes() == CONTENT
    tried, why, then = notes(events)[:3]
    assert tried == then == "from 127.0.0.1"
    assert why.startswith("127.0.0.1: ")
    assert words in why


@pytest.mark.parametrize("way", ["stall", "mute"])
def test_a_silent_source_is_left(address, cache, monkeypatch, way):
    monkeypatch.setattr(sources, "ANSWER_S", 0.3)
    row = make_row(url(address, way), url(address, "good"))
    events = list(fetch([row]))
    assert (cache / row.name).read_bytes() == CONTENT
    assert "no answer in time" in notes(events)[1]


def test_a_child_that_hangs_is_ended(address, cache, monkeypatch):
    """As with a name server that doesn't answer, which no timeout of the child ends."""
    monkeypatch.setattr(sources, "ANSWER_S", 60.0)
    monkeypatch.setattr(sources, "URL_PATIENCE_S", 4.0)
    row = make_row(url(address, "mute"), url(address, "good"))
    events = list(fetch([row]))
    assert (cache / row.name).read_bytes() == CONTENT
    assert "no answer for" in notes(events)[1]


def test_no_source_gives_it(address, cache):
    good = make_row(url(address, "good"), name="second.bin")
    row = make_row(url(address, "404"), url(address, "wrong"))
    with pytest.raises(WeightsError) as caught:
        list(fetch([row, good]))
    assert caught.value.message.startswith("thing.bin can't be fetched: 127.0.0.1: it answers 404")
    assert "SHA-256 differs" in caught.value.message
    assert "moca weights get compact" in caught.value.hint
    assert f"({address}/404/file) and bring it: `moca weights import FILE`" in caught.value.hint
    # The other file came all the same, and of this one nothing that looks like it.
    assert files(cache) == [".lock", "second.bin"]


def test_a_row_without_sources(cache):
    with pytest.raises(WeightsError, match="no source") as caught:
        list(fetch([make_row()]))
    assert "`moca weights get thing.bin` again" in caught.value.hint  # it alone was asked for


@linux
def test_closing_ends_the_child_and_keeps_the_part(address, cache):
    row = make_row(url(address, "slow"), url(address, "good"))
    run = fetch([row])
    for event in run:
        if event.done > 10_000:
            break
    assert children()
    run.close()
    assert children() == []
    assert state(row) is State.PARTIAL
    kept = weights.part_of(row).read_bytes()
    assert kept == CONTENT[: len(kept)]
    assert len(kept) > 10_000
    # The lock is free, and the next fetch goes on.
    list(fetch([make_row(url(address, "good"))]))
    assert Handler.requests[-1][1].startswith("bytes=")
    assert (cache / row.name).read_bytes() == CONTENT


@linux
def test_a_download_whose_parent_is_killed_ends(address, cache):
    code = (
        "from moca_core.models.specs import UrlSource, WeightsRow\n"
        "from moca_core.models.weights import fetch\n"
        f"row = WeightsRow('thing.bin', '', 'compact', {SIZE}, '{SHA}', '', '', '',"
        f" (UrlSource('{address}/slow/file'),))\n"
        "for event in fetch([row]): print(event.done, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    while int(parent.stdout.readline() or SIZE) < 10_000:
        pass
    (child,) = children(parent.pid)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def test_two_fetches_at_once(address, cache):
    row = make_row(url(address, "good"))
    slow = make_row(url(address, "slow"))
    first = fetch([slow])
    for event in first:
        if event.done:
            break
    second = fetch([row])
    waiting = next(second)
    assert "waiting" in waiting.note
    assert next(second).note == ""  # said once
    outcome = []
    thread = threading.Thread(target=lambda: outcome.extend(first))
    thread.start()
    events = list(second)
    thread.join()
    assert outcome[-1].done == SIZE
    # The second finds what the first has fetched.
    assert events[-1] == weights.FetchEvent(row.name, SIZE, SIZE)
    assert [path for path, _ in Handler.requests] == ["/slow/file"]
    assert (cache / row.name).read_bytes() == CONTENT


def test_a_full_disk(address, cache):
    row = make_row(url(address, "good"), url(address, "good"))
    cache.mkdir(parents=True)
    weights.part_of(row).symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left") as caught:
        list(fetch([row]))
    assert "MOCA_CACHE_DIR" in caught.value.hint
    assert len(Handler.requests) == 1  # the next source would fail as well


def test_a_cache_that_cant_be_written(address, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(StorageError) as caught:
        list(fetch([make_row(url(address, "good"))]))
    assert "MOCA_CACHE_DIR" in caught.value.hint


def test_a_folder_where_the_file_belongs(address, cache):
    row = make_row(url(address, "good"))
    (cache / row.name).mkdir(parents=True)
    with pytest.raises(StorageError, match=r"thing\.bin"):
        list(fetch([row]))
