"""The weights manager: every row, every source, every way in which a fetch can go wrong."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
from core.weights_server import CONTENT, Handler, serving

from moca_core.errors import MocaError, StorageError, WeightsError
from moca_core.models import sources, weights
from moca_core.models.specs import (
    ROWS,
    ArchiveSource,
    UrlSource,
    WeightsRow,
    row_named,
    rows_of,
)
from moca_core.models.weights import State, fetch, state

SIZE, SHA = len(CONTENT), hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def address():
    with serving() as address:
        yield address


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache; the package index is a folder, so that nothing leaves this machine."""
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "index").mkdir()
    Handler.requests.clear()
    return tmp_path / "cache" / "weights"


def make_row(*ways, name="thing.bin", size=SIZE, sha=SHA):
    return WeightsRow(name, "a test", "compact", size, sha, "MIT", "us", "none", tuple(ways))


def url(address, way):
    return UrlSource(f"{address}/{way}/file")


def notes(events):
    return [event.note for event in events if event.note]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# Rows


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_complete(row):
    assert row.size > 0
    assert re.fullmatch(r"[0-9a-f]{64}", row.sha256)
    for words in (row.role, row.licence, row.upstream, row.contract):
        assert words.strip() == words != ""
    assert Path(row.name).name == row.name
    assert row.sources
    for source in row.sources:
        if isinstance(source, UrlSource):
            assert source.url.startswith("https://")
        else:
            assert re.fullmatch(r"[\w.-]+==[\w.]+", source.requirement)
            assert source.size > 0
            assert not source.member.startswith("/")
    assert row_named(row.name) is row
    assert row in rows_of(row.bundle)


def test_names_and_contents_are_unique():
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert len({row.sha256 for row in ROWS}) == len(ROWS)


def test_rows_of_one_archive_are_neighbours():
    """So that the archive is fetched once."""
    first = [row.sources[0] for row in ROWS]
    names = [source.requirement for source in first if isinstance(source, ArchiveSource)]
    changes = [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]
    assert len(changes) == len(set(names))


@pytest.mark.weights
def test_the_fetched_files_are_those_of_the_rows(weights_dir, monkeypatch):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(weights_dir.parent))
    assert {row.name: found for row, found in weights.verify(rows_of("compact"))} == {
        row.name: State.READY for row in rows_of("compact")
    }


# From an address


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
    assert "moca weights import" in caught.value.hint
    # The other file came all the same, and of this one nothing that looks like it.
    assert files(cache) == [".lock", "second.bin"]


def test_a_row_without_sources(cache):
    with pytest.raises(WeightsError, match="no source"):
        list(fetch([make_row()]))


def children(pid=None):
    """Processes that this one started and that still run."""
    listed = Path(f"/proc/{pid or os.getpid()}/task")
    found = []
    for task in listed.iterdir():
        found += (task / "children").read_text().split()
    return found


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


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


# From a package archive


def make_wheel(folder, name="moca_test_pack", members=None):
    """A wheel that holds `members`."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    facts = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in {**(members or {}), **facts}.items():
            wheel.writestr(member, content)
    return path


SETUP = """
import pathlib
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    info = pathlib.Path(directory) / "moca_test_source-1.0.dist-info"
    info.mkdir()
    facts = ["Metadata-Version: 2.1", "Name: moca-test-source", "Version: 1.0", ""]
    (info / "METADATA").write_text("\\n".join(facts))
    return info.name
def build_wheel(directory, config_settings=None, metadata_directory=None):
    raise SystemExit("nothing may be built")
"""


def make_sdist(folder, content):
    """A source archive whose build would fail."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
        'backend-path = ["."]\n[project]\nname = "moca-test-source"\nversion = "1.0"\n',
        "backend.py": SETUP,
        "PKG-INFO": "Metadata-Version: 2.1\nName: moca-test-source\nVersion: 1.0\n",
        "inner/file.bin": content,
    }
    with tarfile.open(folder / "moca_test_source-1.0.tar.gz", "w:gz") as package:
        for name, text in files.items():
            data = text if isinstance(text, bytes) else text.encode()
            item = tarfile.TarInfo(f"moca_test_source-1.0/{name}")
            item.size = len(data)
            package.addfile(item, io.BytesIO(data))


def pack(member="inner/file.bin", name="moca-test-pack", wheel=True):
    return ArchiveSource(f"{name}==1.0", member, 1000, wheel)


def test_members_of_a_wheel_are_extracted_and_it_is_fetched_once(tmp_path, cache, monkeypatch):
    other = CONTENT[::-1]
    make_wheel(tmp_path / "index", members={"inner/file.bin": CONTENT, "inner/other.bin": other})
    commands = []
    real = sources.pip_command
    monkeypatch.setattr(sources, "pip_command", lambda *words: commands.append(1) or real(*words))
    rows = [
        make_row(pack()),
        make_row(pack("inner/other.bin"), name="o.bin", sha=hashlib.sha256(other).hexdigest()),
    ]
    events = list(fetch(rows))
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert (cache / "o.bin").read_bytes() == other
    assert commands == [1]
    assert files(cache) == [".lock", "o.bin", "thing.bin"]  # the archive is gone
    assert notes(events) == ["from package moca-test-pack==1.0"] * 2


def test_a_source_archive_is_not_built(tmp_path, cache):
    make_sdist(tmp_path / "index", CONTENT)
    list(fetch([make_row(pack(name="moca-test-source", wheel=False))]))
    assert (cache / "thing.bin").read_bytes() == CONTENT


def test_a_missing_package_falls_through(address, tmp_path, cache):
    row = make_row(pack(), url(address, "good"))
    events = list(fetch([row]))
    assert (cache / row.name).read_bytes() == CONTENT
    assert "the package index doesn't have it" in notes(events)[1]


def test_an_archive_after_an_address_that_says_no(address, tmp_path, cache):
    make_wheel(tmp_path / "index", members={"inner/file.bin": CONTENT})
    list(fetch([make_row(url(address, "404"), pack())]))
    assert (cache / "thing.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"inner/file.bin": CONTENT[:-5]}, f"{SIZE - 5} bytes instead of {SIZE}"),
        ({"inner/file.bin": CONTENT[::-1]}, "SHA-256 differs"),
        ({"other": b""}, "holds no inner/file.bin"),
    ],
)
def test_a_wheel_with_other_content(tmp_path, cache, members, words):
    make_wheel(tmp_path / "index", members=members)
    with pytest.raises(WeightsError, match=words):
        list(fetch([make_row(pack())]))
    assert files(cache) == [".lock"]


def test_the_part_of_an_address_outlives_an_archive_that_fails(address, cache):
    row = make_row(pack(), url(address, "good"))
    cache.mkdir(parents=True)
    weights.part_of(row).write_bytes(CONTENT[:1000])
    list(fetch([row]))
    assert Handler.requests[0][1] == "bytes=1000-"


def pretend_pip(monkeypatch, code):
    monkeypatch.setattr(sources, "pip_command", lambda *_: [sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("WARNING: Retrying (Retry(total=0)) after connection broken", "isn't reached"),
        ("ERROR: something else", "something else"),
        ("", "without a reason"),
    ],
)
def test_why_pip_failed(cache, monkeypatch, said, words):
    pretend_pip(monkeypatch, f"import sys; sys.exit({said!r} or 2)")
    with pytest.raises(WeightsError, match=words):
        list(fetch([make_row(pack())]))


def test_pip_finds_the_disk_full(cache, monkeypatch):
    pretend_pip(monkeypatch, "import sys; sys.exit('ERROR: [Errno 28] No space left on device')")
    with pytest.raises(StorageError, match="full"):
        list(fetch([make_row(pack())]))


def test_pip_is_missing(cache, monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="ensurepip"):
        list(fetch([make_row(pack())]))


@linux
def test_closing_ends_pip_and_what_it_started(cache, monkeypatch):
    pretend_pip(
        monkeypatch,
        "import subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "time.sleep(60)",
    )
    run = fetch([make_row(pack())])
    while not children():
        next(run)
    while not (grandchildren := children(children()[0])):
        next(run)
    run.close()
    assert children() == []
    deadline = time.monotonic() + 10
    while _runs(grandchildren[0]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(grandchildren[0])
    assert files(cache) == [".lock"]


def _runs(pid):
    """Whether a process is there and hasn't ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# What the rest of the program asks


@pytest.fixture
def table(address, monkeypatch):
    """A table of two small rows in place of the real one."""
    other = CONTENT + b"!"
    rows = (
        make_row(url(address, "good")),
        make_row(name="other.bin", size=len(other), sha=hashlib.sha256(other).hexdigest()),
    )
    monkeypatch.setattr(weights, "ROWS", rows)
    monkeypatch.setattr(weights, "row_named", lambda n: {r.name: r for r in rows}.get(n))
    monkeypatch.setattr(weights, "rows_of", lambda b: rows[:1] if b == "compact" else ())
    return rows


def test_locate(table, cache):
    with pytest.raises(WeightsError, match=r"thing\.bin .a test. is missing") as caught:
        weights.locate("thing.bin")
    assert "moca weights get compact" in caught.value.hint
    with pytest.raises(WeightsError, match="nonsense"):
        weights.locate("nonsense")
    weights.ensure_bundle("compact")
    assert weights.locate("thing.bin") == cache / "thing.bin"
    (cache / "thing.bin").write_bytes(b"short")
    with pytest.raises(WeightsError, match="damaged"):
        weights.locate("thing.bin")


def test_a_bundle_that_is_here_needs_no_network(table, cache, monkeypatch):
    weights.ensure_bundle("compact")
    monkeypatch.setattr(sources.subprocess, "Popen", None)  # whoever starts a child fails
    seen = []
    weights.ensure_bundle("compact", seen.append)
    assert seen == []
    assert weights.missing("compact") == ()


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
    assert list(weights.verify(rows)) == [(rows[0], State.MISSING)]
    list(fetch(rows))
    assert list(weights.verify(rows)) == [(rows[0], State.READY)]
    (cache / "thing.bin").write_bytes(CONTENT[::-1])
    assert state(rows[0]) is State.READY  # by its size
    assert list(weights.verify(rows)) == [(rows[0], State.DAMAGED)]


def test_import_knows_a_file_by_its_content(table, cache, tmp_path):
    path = tmp_path / "any name"
    path.write_bytes(CONTENT)
    cache.mkdir(parents=True)
    weights.part_of(table[0]).write_bytes(b"part")
    assert weights.import_file(path) is table[0]
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert path.exists()
    assert files(cache) == ["thing.bin"]


@pytest.mark.parametrize(
    ("content", "words"), [(b"four", "4 bytes"), (CONTENT[::-1], "its content isn't")]
)
def test_import_refuses_other_files(table, cache, tmp_path, content, words):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        weights.import_file(path)
    assert caught.value.hint
    assert not cache.exists()


@pytest.mark.parametrize("name", ["none", "."])
def test_import_of_what_isnt_a_file(table, tmp_path, name):
    with pytest.raises(MocaError) as caught:
        weights.import_file(tmp_path / name)
    assert caught.value.hint


def test_import_into_the_cache_itself(table, cache):
    cache.mkdir(parents=True)
    (cache / "thing.bin").write_bytes(CONTENT)
    assert weights.import_file(cache / "thing.bin") is table[0]
    assert (cache / "thing.bin").read_bytes() == CONTENT
