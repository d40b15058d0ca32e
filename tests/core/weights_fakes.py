"""Small rows of the weights table, and what tests of the weights ask again and again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from core.weights_server import CONTENT

from moca_core.models.specs import UrlSource, WeightsRow


def sha256(content):
    """SHA-256 of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


SIZE, SHA = len(CONTENT), sha256(CONTENT)


def make_row(*ways, name="thing.bin", size=SIZE, sha=SHA, bundle="compact", **more):
    """A row of the file that the server has."""
    return WeightsRow(name, "a test", bundle, size, sha, "MIT", "us", "none", tuple(ways), **more)


def url(address, way):
    """The source that serves in a `way` of `weights_server`."""
    return UrlSource(f"{address}/{way}/file")


def notes(events):
    """What the events tell the user."""
    return [event.note for event in events if event.note]


def files(folder):
    """The names in a folder, without the records of `stored`."""
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if not (name.startswith(".") and name.endswith(".json"))]


def children(pid=None):
    """Processes that this one started and that still run."""
    listed = Path(f"/proc/{pid or os.getpid()}/task")
    found = []
    for task in listed.iterdir():
        found += (task / "children").read_text().split()
    return found


def runs(pid):
    """Whether a process is there and hasn't ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
