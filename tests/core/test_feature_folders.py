"""Folders of features: bounded together, the forgotten ones go first, and none that is in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from moca_core.errors import ConfigError
from moca_core.training import feature_folders
from moca_core.training.cache import FeatureCache, FeatureShape
from moca_core.training.feature_folders import (
    InUse,
    folder_of,
    is_used,
    limit_bytes,
    make_room,
    remove,
)

DAY = 86_400.0


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders are; 10 kB of them are allowed."""
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("MOCA_FEATURES_GB", "1e-5")
    return feature_folders.features_root()


def made(root: Path, name: str, size: int, days: float) -> Path:
    """A folder of so many bytes, which was used so many days ago."""
    folder = root / f"features-{name}"
    folder.mkdir(parents=True)
    (folder / "0.visual").write_bytes(bytes(size))
    (folder / ".used").touch()
    then = time.time() - days * DAY
    os.utime(folder / ".used", (then, then))
    return folder


def names(root: Path) -> list[str]:
    return [folder.path.name for folder in feature_folders.feature_folders(root)]


def test_what_was_used_last_comes_last(root: Path) -> None:
    for name, days in (("b", 2), ("a", 9), ("c", 1)):
        made(root, name, 100, days)
    (root / "features-x.sqlite").write_bytes(b"is no folder")
    assert names(root) == ["features-a", "features-b", "features-c"]
    assert [folder.size for folder in feature_folders.feature_folders(root)] == [100] * 3


def test_the_longest_unused_make_room_and_no_more_than_needed(root: Path) -> None:
    own = made(root, "own", 3000, 0)
    for name, days in (("old", 9), ("older", 20), ("new", 1)):
        made(root, name, 2000, days)
    make_room(own, 1000)  # 10 kB in all: just fits
    assert len(names(root)) == 4
    make_room(own, 1001)
    assert names(root) == ["features-old", "features-new", "features-own"]
    make_room(own, 5000)
    assert names(root) == ["features-new", "features-own"]


def test_the_own_folder_stays_however_large(root: Path) -> None:
    own = made(root, "own", 30_000, 50)
    made(root, "old", 2000, 9)
    make_room(own, 0)
    assert names(root) == ["features-own"]


def test_what_was_just_used_stays(root: Path) -> None:
    """Some network disks know no locks; an hour is longer than a run lets pass without a sign."""
    own = made(root, "own", 9000, 0)
    made(root, "just", 9000, 0.5 / 24)
    made(root, "earlier", 9000, 2 / 24)
    make_room(own, 0)
    assert sorted(names(root)) == ["features-just", "features-own"]


def test_a_full_disk_counts_as_well(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, _ = made(root, "own", 10, 0), made(root, "old", 2000, 9)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 500})())
    make_room(own, 400)
    assert len(names(root)) == 2
    make_room(own, 501)
    assert names(root) == ["features-own"]


def test_a_folder_in_use_stays_until_it_is_closed(root: Path) -> None:
    folder = made(root, "a", 100, 9)
    use = InUse(folder)
    other = InUse(folder)
    use.close()
    assert is_used(folder) and not remove(folder)
    other.close()
    other.close()
    assert not is_used(folder)
    assert remove(folder)
    assert not folder.exists()
    assert not list(root.glob(".removed-*"))


def test_opening_is_using_and_reading_for_long_too(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that only reads any more is in use as well, and says so now and then."""
    folder = made(root, "a", 0, 9)
    cache = FeatureCache(folder, FeatureShape((1, 2), (1, 2)))
    assert time.time() - (folder / ".used").stat().st_mtime < 60
    cache.add("x", np.ones((1, 2)), np.ones((1, 2)))
    cache.end_writing()
    assert not remove(folder)
    then = time.time() - DAY
    os.utime(folder / ".used", (then, then))
    cache.visual(["x"])
    assert (folder / ".used").stat().st_mtime == pytest.approx(then)  # not each time
    monkeypatch.setattr(feature_folders, "_TOUCH_S", 0.0)
    cache.visual(["x"])
    assert time.time() - (folder / ".used").stat().st_mtime < 60
    cache.close()
    assert remove(folder)


HOLDER = """
import sys, time
from pathlib import Path
from moca_core.training.feature_folders import InUse
use = InUse(Path(sys.argv[1]))
print("here", flush=True)
time.sleep(60)
"""


def test_a_holder_that_was_killed_holds_nothing(root: Path) -> None:
    folder = made(root, "a", 100, 9)
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"here\n"
        assert is_used(folder) and not remove(folder)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not is_used(folder)
    assert not list(folder.glob("*.use"))
    assert remove(folder)


def test_what_a_killed_removal_left_goes(root: Path) -> None:
    own = made(root, "own", 10, 0)
    left = root / ".removed-1234"
    left.mkdir()
    (left / "0.visual").write_bytes(b"x")
    make_room(own, 0)
    assert not left.exists()


def test_more_space_is_asked_for_before_the_disk_is_found_full(root: Path) -> None:
    made(root, "old", 9000, 9)
    cache = FeatureCache(root / "features-own", FeatureShape((10, 20), (10, 20)))
    cache.ensure_space(2)  # 1600 bytes
    assert names(root) == ["features-own"]
    cache.close()


def test_encoders_and_data_have_a_folder_each(root: Path, tmp_path: Path) -> None:
    folders = {
        folder_of(encoders, tmp_path / data)
        for encoders in ("compact-6", "compact-8")
        for data in ("one", "two")
    }
    assert len(folders) == 4
    assert all(folder.parent == root for folder in folders)
    assert folder_of("compact-6", tmp_path / "one") in folders


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf"])
def test_a_limit_that_is_none(root: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MOCA_FEATURES_GB", text)
    with pytest.raises(ConfigError, match="MOCA_FEATURES_GB") as caught:
        limit_bytes()
    assert caught.value.hint


def test_the_limit_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOCA_FEATURES_GB", raising=False)
    assert limit_bytes() == 32 * 10**9
