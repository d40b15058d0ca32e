"""Settings of their own for all tests of the core; small weights for those that are about them."""

from __future__ import annotations

import os

import pytest
from core.weights_fakes import make_row, sha256, url
from core.weights_server import CONTENT, Handler, serving

from moca_core.models import specs


@pytest.fixture(scope="module")
def address():
    """The address of a server of one file; see `weights_server`."""
    with serving() as address:
        yield address


@pytest.fixture
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


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    """A folder for settings that isn't there yet: no test shows the user's terms for them."""
    folder = tmp_path / "settings"
    monkeypatch.setattr("moca_core.paths.config_dir", lambda: folder)
    return folder


@pytest.fixture
def table(address, cache, monkeypatch):
    """A table of two small rows in place of the real one; the second is optional."""
    other = CONTENT + b"!"
    rows = (
        make_row(url(address, "good")),
        make_row(name="other.bin", size=len(other), sha=sha256(other), optional=True),
    )
    monkeypatch.setattr(specs, "ROWS", rows)
    return rows
