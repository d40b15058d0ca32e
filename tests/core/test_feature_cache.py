"""Features on disk: whole rows or none, several writers, and what a kill leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from moca_core.errors import StorageError
from moca_core.training.cache import FeatureCache, FeatureShape

SHAPE = FeatureShape(visual=(5, 4), audio=(2, 3))


def features(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    # Values that float16 holds.
    return (
        random.integers(-9, 9, SHAPE.visual).astype(np.float32),
        random.integers(-9, 9, SHAPE.audio).astype(np.float32) / 4,
    )


def assert_holds(cache: FeatureCache, seeds: dict[str, int]) -> None:
    assert len(cache) == len(seeds)
    keys = list(seeds)
    for kind, place in (("visual", 0), ("audio", 1)):
        found = getattr(cache, kind)(keys)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, [features(seeds[key])[place] for key in keys])


def filled(folder: Path, seeds: dict[str, int], shard: str = "0") -> FeatureCache:
    cache = FeatureCache(folder, SHAPE, shard)
    for key, seed in seeds.items():
        cache.add(key, *features(seed))
    return cache


SEEDS = {"a": 1, "b:ü/1.25": 2, "c": 3}


def test_what_was_kept_is_there_now_and_next_time(tmp_path: Path) -> None:
    cache = filled(tmp_path, SEEDS)
    assert "a" in cache
    assert "d" not in cache
    assert_holds(cache, SEEDS)
    cache.add("d", *features(4))  # after it was read
    assert_holds(cache, SEEDS | {"d": 4})
    cache.close()
    again = FeatureCache(tmp_path, SHAPE)
    assert_holds(again, SEEDS | {"d": 4})
    again.add("a", *features(9))  # it is there: nothing changes
    assert_holds(again, SEEDS | {"d": 4})
    again.close()


def test_an_item_that_is_not_there(tmp_path: Path) -> None:
    cache = filled(tmp_path, SEEDS)
    with pytest.raises(KeyError):
        cache.visual(["a", "none"])
    cache.close()


def test_features_of_other_shapes_are_refused(tmp_path: Path) -> None:
    cache = filled(tmp_path, SEEDS)
    with pytest.raises(ValueError, match="for"):
        cache.add("x", np.zeros((5, 5)), np.zeros(SHAPE.audio))
    cache.close()
    with pytest.raises(StorageError, match="other shapes"):
        FeatureCache(tmp_path, FeatureShape((6, 4), (2, 3)))
    assert_holds(FeatureCache(tmp_path, SHAPE), SEEDS)


def test_two_writers_have_a_shard_each_and_read_both(tmp_path: Path) -> None:
    one, two = filled(tmp_path, {"a": 1}, "0"), filled(tmp_path, {"b": 2}, "1")
    one.close()
    two.close()
    assert_holds(FeatureCache(tmp_path, SHAPE, "2"), {"a": 1, "b": 2})


def test_the_same_shard_has_one_writer(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, SHAPE)
    with pytest.raises(StorageError, match="another process"):
        FeatureCache(tmp_path, SHAPE)
    cache.close()
    FeatureCache(tmp_path, SHAPE).close()


@pytest.mark.parametrize("kind", ["visual", "audio", "index"])
def test_rows_that_were_cut_short_are_written_over(tmp_path: Path, kind: str) -> None:
    """A row that isn't in the index isn't there, whatever of it has reached the disk."""
    filled(tmp_path, SEEDS).close()
    with (tmp_path / f"0.{kind}").open("ab") as stream:
        stream.write(b'["x", 3' if kind == "index" else b"\x01\x02\x03")
    cache = FeatureCache(tmp_path, SHAPE)
    assert_holds(cache, SEEDS)
    cache.add("d", *features(4))
    cache.close()
    assert_holds(FeatureCache(tmp_path, SHAPE), SEEDS | {"d": 4})


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_feature_cache import SHAPE, features
from moca_core.training.cache import FeatureCache
cache = FeatureCache(Path(sys.argv[1]), SHAPE)
for number in range(len(cache), 100_000):
    cache.add(str(number), *features(number))
"""


def test_a_kill_at_any_moment_leaves_whole_rows(tmp_path: Path) -> None:
    for wait_s in (0.05, 0.2, 0.13):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)]
        )
        index = tmp_path / "0.index"
        before = index.stat().st_size if index.exists() else 0
        deadline = time.monotonic() + 60
        while not index.exists() or index.stat().st_size <= before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        cache = FeatureCache(tmp_path, SHAPE)
        assert len(cache) > 0
        assert_holds(cache, {str(number): number for number in range(len(cache))})
        cache.close()


def test_a_disk_that_is_full_is_told_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = filled(tmp_path, SEEDS)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        cache.add("d", *features(4))
    assert caught.value.hint
    monkeypatch.undo()
    assert_holds(cache, SEEDS)
    cache.add("e", *features(5))
    cache.close()
    assert_holds(FeatureCache(tmp_path, SHAPE), SEEDS | {"e": 5})


def test_a_folder_that_cant_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        FeatureCache(tmp_path / "file" / "features", SHAPE)
