"""One address into one file: servers that cut, stall, lie and refuse; going on from a part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from core.weights_server import CONTENT, Handler, serving

from moca_core.models import download as module
from moca_core.models.download import BrokenOffError, DiskError, DownloadError, download

SIZE = len(CONTENT)


@pytest.fixture(scope="module")
def address():
    with serving() as address:
        yield address


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.requests.clear()


@pytest.fixture
def part(tmp_path):
    return tmp_path / "file.part"


def ranges():
    return [asked for _, asked in Handler.requests]


@pytest.mark.parametrize("way", ["good", "norange", "chunked", "redirect", "refusesrange"])
def test_servers_that_give_the_file(address, part, way):
    download(f"{address}/{way}/file", part, SIZE, 5)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("way", "asked"),
    [
        ("good", ["bytes=1000-"]),
        ("norange", ["bytes=1000-"]),  # the whole file comes, and replaces the part
        ("refusesrange", ["bytes=1000-", ""]),
        ("otherrange", ["bytes=1000-", ""]),
    ],
)
def test_a_part_is_continued(address, part, way, asked):
    part.write_bytes(CONTENT[:1000])
    download(f"{address}/{way}/file", part, SIZE, 5)
    assert part.read_bytes() == CONTENT
    assert ranges() == asked


def test_only_what_is_missing_is_sent(address, part):
    """The part isn't looked into: a changed byte in it stays, for the SHA-256 to find."""
    part.write_bytes(b"X" + CONTENT[1:1000])
    download(f"{address}/good/file", part, SIZE, 5)
    assert part.read_bytes() == b"X" + CONTENT[1:]


def test_a_whole_part_needs_no_request(address, part):
    part.write_bytes(CONTENT)
    download(f"{address}/good/file", part, SIZE, 5)
    assert Handler.requests == []


def test_a_part_that_is_too_long_starts_again(address, part):
    part.write_bytes(CONTENT + b"more")
    download(f"{address}/good/file", part, SIZE, 5)
    assert part.read_bytes() == CONTENT
    assert ranges() == [""]


def test_a_transfer_that_breaks_off_is_continued(address, part):
    download(f"{address}/cut/file", part, SIZE, 5)
    assert part.read_bytes() == CONTENT


def test_a_transfer_that_gets_no_further_ends(address, part):
    with pytest.raises(BrokenOffError, match=f"100000 of {SIZE}"):
        download(f"{address}/stuck/file", part, SIZE, 5)
    assert part.read_bytes() == CONTENT[:100_000]
    assert ranges() == ["", "bytes=100000-"]  # nothing came the second time: no third


@pytest.mark.parametrize("way", ["stall", "mute"])
def test_silence_is_not_waited_for(address, part, way):
    with pytest.raises(DownloadError, match="no answer in time"):
        download(f"{address}/{way}/file", part, SIZE, 0.3)
    assert part.exists() == (way == "stall")
    if way == "stall":
        assert part.read_bytes() == CONTENT[:150_000]


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("404", "404"),
        ("500", "500"),
        ("promises_more", f"{SIZE + 10} bytes instead of {SIZE}"),
        ("promises_less", f"{SIZE - 10} bytes instead of {SIZE}"),
        ("sends_more", f"more than {SIZE} bytes"),
        ("page", f"36 bytes instead of {SIZE}"),
        ("garbage", ""),
        ("loop", "302"),
        ("tofile", "302"),
    ],
)
def test_servers_that_dont(address, part, way, words):
    with pytest.raises(DownloadError) as caught:
        download(f"{address}/{way}/file", part, SIZE, 5)
    assert words in str(caught.value)
    assert str(caught.value)
    assert not part.exists() or part.stat().st_size <= SIZE
    assert len({path for path, _ in Handler.requests}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/file", "http://no-such-host.invalid/file"])
def test_addresses_that_arent_reached(part, url):
    with pytest.raises(DownloadError, match="not reached"):
        download(url, part, SIZE, 5)
    assert not part.exists()


def test_a_full_disk(address, part):
    part.symlink_to("/dev/full")
    with pytest.raises(DiskError, match="No space left"):
        download(f"{address}/good/file", part, SIZE, 5)


def test_a_part_that_cant_be_made(address, tmp_path):
    with pytest.raises(DiskError):
        download(f"{address}/good/file", tmp_path / "none" / "file.part", SIZE, 5)


@pytest.mark.parametrize(
    ("way", "place", "code"),
    [
        ("good", "file.part", 0),
        ("404", "file.part", module.EXIT_SOURCE),
        ("good", "none/file.part", module.EXIT_STORAGE),
    ],
)
def test_as_a_process(address, tmp_path, way, place, code):
    command = [sys.executable, "-I", str(Path(module.__file__)), f"{address}/{way}/file"]
    command += [str(tmp_path / place), str(SIZE), "5"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == (1 if code else 0)  # the reason, and no traceback
