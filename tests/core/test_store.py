"""Stored results: round trip, damage, limits, several processes, a disk that is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moca_core.config import SegmentConfig
from moca_core.errors import MediaError, StorageError
from moca_core.models import weights
from moca_core.models.bundles import default_settings
from moca_core.models.registry import BUNDLE_NAMES
from moca_core.models.specs import rows_for
from moca_core.pipeline import store as store_module
from moca_core.pipeline.store import ClipStore, ResultStore
from moca_core.types import (
    REASON_NO_OBJECT,
    REASON_SILENT,
    FrameResult,
    ProposalNote,
    SoundingObject,
)


def make_result(frame=7, maps=True, seed=0):
    rng = np.random.default_rng(seed)
    masks = rng.random((2, 30, 40)) < 0.4
    return FrameResult(
        frame=frame,
        time_s=frame / 25 + 0.001,
        size=(30, 40),
        objects=(
            SoundingObject(4, "dog", 0.8125, masks[0]),
            SoundingObject(1, "gitarre ä", 0.1, masks[1]),
        ),
        window_s=(0.5, 2.5),
        key=False,
        between=(0, 25),
        coarse=True,
        heard=(("dog", 0.75), ("cat", 0.25)),
        maps={
            "evidence": rng.random((6, 8)).astype(np.float32),
            "clusters": rng.integers(0, 9, (4, 4)).astype(np.int16),
        }
        if maps
        else {},
        proposals=(
            ProposalNote(1, 0.97, 0.91, 0.5, 0.75, True, "taken", masks[0, :9, :12]),
            ProposalNote(2, 0.8, 0.95, 0.1, 0.0, False, "share 0.10 \u2013 ä", masks[1, :9, :12]),
        )
        if maps
        else (),
        seconds={"looking": 0.25},
    )


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"some film")
    return path


def test_round_trip(tmp_path):
    store = ClipStore(tmp_path)
    result = make_result()
    store.save(result)
    loaded = store.load(7, maps=True)
    for name in ("frame", "time_s", "size", "reason", "window_s", "key", "between", "coarse"):
        assert getattr(loaded, name) == getattr(result, name)
        assert type(getattr(loaded, name)) is type(getattr(result, name))
    assert loaded.heard == result.heard
    assert loaded.seconds == result.seconds
    for one, other in zip(loaded.objects, result.objects, strict=True):
        assert (one.number, one.name, one.score) == (other.number, other.name, other.score)
        assert (one.mask == other.mask).all()
    assert loaded.maps["evidence"].dtype == np.float32
    assert loaded.maps["evidence"] == pytest.approx(result.maps["evidence"], abs=1e-3)
    assert loaded.maps["clusters"].dtype == np.int16
    assert (loaded.maps["clusters"] == result.maps["clusters"]).all()
    assert len(loaded.proposals) == 2
    for one, other in zip(loaded.proposals, result.proposals, strict=True):
        assert {**vars(one), "mask": None} == {**vars(other), "mask": None}
        np.testing.assert_array_equal(one.mask, other.mask)
    bare = store.load(7)  # neither is read unless asked for
    assert not bare.maps
    assert not bare.proposals


def test_what_is_not_there(tmp_path):
    store = ClipStore(tmp_path / "none")
    assert store.load(3) is None
    assert store.frames() == []
    store.save(make_result(3, maps=False))
    assert store.load(3) is not None
    assert store.load(3, maps=True) is None  # it was kept without
    assert store.frames() == [3]


def test_a_silent_frame_has_no_maps_to_lack(tmp_path):
    store = ClipStore(tmp_path)
    for frame, reason in enumerate((REASON_SILENT, REASON_NO_OBJECT)):
        store.save(replace(make_result(frame, maps=False), objects=(), reason=reason))
    assert store.load(0, maps=True).reason == REASON_SILENT
    assert store.load(1, maps=True) is None


def test_a_newer_result_replaces_the_old_one(tmp_path):
    store = ClipStore(tmp_path)
    store.save(make_result(seed=0))
    store.save(make_result(seed=1))
    assert (store.load(7).objects[0].mask == make_result(seed=1).objects[0].mask).all()
    assert store.frames() == [7]


def damages(data):
    row = json.loads(data)
    yield from (b"", b"{", data[: len(data) // 2], b"\xff\xfe", b"[]", b"null", b"3", b'"text"')
    for name in row:
        if name != "seconds":
            yield json.dumps({key: value for key, value in row.items() if key != name}).encode()
    for size in ([31, 40], [30], "30", None, [30, 40, 1]):
        yield json.dumps({**row, "size": size}).encode()
    for objects in (
        3,
        [3],
        [{}],
        [{**row["objects"][0], "mask": {"size": [30, 40], "counts": "1"}}],
    ):
        yield json.dumps({**row, "objects": objects}).encode()
    for mask in ({"size": [1, 1], "counts": "1"}, {"counts": "1"}, None, {"size": [30, 40]}):
        yield json.dumps({**row, "objects": [{**row["objects"][0], "mask": mask}]}).encode()


def test_damaged_files_count_as_absent(tmp_path, caplog):
    store = ClipStore(tmp_path)
    store.save(make_result())
    path = tmp_path / "frame_000007.json"
    good = path.read_bytes()
    for bad in damages(good):
        caplog.clear()
        path.write_bytes(bad)
        assert store.load(7) is None, bad
        assert "damaged" in caplog.text, bad
    path.write_bytes(good)
    assert store.load(7) is not None


def test_damaged_maps_count_as_absent(tmp_path):
    store = ClipStore(tmp_path)
    store.save(make_result())
    path = tmp_path / "frame_000007.npz"
    good = path.read_bytes()
    for place in range(0, len(good), 11):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x5A]) + good[place + 1 :])
        loaded = store.load(7, maps=True)
        assert loaded is None or set(loaded.maps) <= {"evidence", "clusters"}
    for bad in (b"", b"PK", good[:100], good[:-30]):
        path.write_bytes(bad)
        assert store.load(7, maps=True) is None
    assert store.load(7) is not None


def test_a_file_that_would_run_code_isnt_unpickled(tmp_path):
    store = ClipStore(tmp_path)
    store.save(make_result())
    np.savez(tmp_path / "frame_000007.npz", evil=np.array([Path("x")], dtype=object))
    assert store.load(7, maps=True) is None


def test_content_configuration_and_version_are_the_key(tmp_path, clip, monkeypatch):
    everything = ResultStore(tmp_path / "results")
    config = SegmentConfig()
    folder = everything.open(clip, config).folder
    everything.open(clip, config).save(make_result())

    copy = clip.with_name("renamed.mp4")
    copy.write_bytes(clip.read_bytes())
    assert everything.open(copy, config).folder == folder  # the name doesn't count
    assert everything.open(copy, config).frames() == [7]

    copy.write_bytes(b"some film.")
    assert everything.open(copy, config).folder != folder
    assert everything.open(clip, replace(config, seed=1)).folder != folder
    monkeypatch.setattr(store_module, "METHOD_VERSION", store_module.METHOD_VERSION + 1)
    assert everything.open(clip, config).frames() == []


def test_other_thresholds_are_other_results(tmp_path, clip):
    everything = ResultStore(tmp_path / "results")
    config = SegmentConfig()
    before = everything.open(clip, config).folder
    assert everything.open(clip, config, default_settings(config)).folder == before
    changed = replace(default_settings(config), region_threshold=0.123)
    assert everything.open(clip, config, changed).folder != before


def test_weights_of_ones_own_are_other_results(tmp_path, clip, monkeypatch):
    everything = ResultStore(tmp_path / "results")
    official = everything.open(clip, SegmentConfig()).folder
    row = rows_for("compact", "mobile")[0]
    hashes = {row.name: "first"}
    monkeypatch.setattr(weights, "is_own", lambda item: item.name in hashes)
    monkeypatch.setattr(weights, "hash_of", lambda item: hashes[item.name])
    first = everything.open(clip, SegmentConfig()).folder
    hashes[row.name] = "second"
    second = everything.open(clip, SegmentConfig()).folder
    assert len({official, first, second}) == 3
    hashes.clear()
    assert everything.open(clip, SegmentConfig()).folder == official


def test_every_bundle_has_results_of_its_own(tmp_path, clip):
    everything = ResultStore(tmp_path / "results")
    folders = {everything.open(clip, SegmentConfig(bundle=name)).folder for name in BUNDLE_NAMES}
    assert len(folders) == len(BUNDLE_NAMES) == 2


def test_the_cache_folder_is_the_default(tmp_path, clip, monkeypatch):
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    folder = ResultStore().open(clip, SegmentConfig()).folder
    assert folder.is_relative_to(tmp_path / "cache" / "results")


def test_a_missing_clip(tmp_path):
    with pytest.raises(MediaError):
        ResultStore(tmp_path).open(tmp_path / "none.mp4", SegmentConfig())


def test_a_root_that_cant_be_a_folder(tmp_path, clip):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        ResultStore(tmp_path / "file" / "results").open(clip, SegmentConfig())
    assert "MOCA_CACHE_DIR" in caught.value.hint


def test_a_full_disk_leaves_the_last_good_result(tmp_path, monkeypatch):
    store = ClipStore(tmp_path)
    store.save(make_result(seed=0))

    # /dev/full takes no byte: what is written there fails as on a full disk.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: open("/dev/full", "wb"))  # noqa: SIM115, PTH123
        with pytest.raises(StorageError, match="No space left"):
            store.save(make_result(seed=1))
    assert (store.load(7).objects[0].mask == make_result(seed=0).objects[0].mask).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "frame_000007.json",
        "frame_000007.npz",
    ]


def fill(everything, clip, frames, size=2000):
    """Store frames whose files have `size` bytes or a little more, one a minute, long ago."""
    store = everything.open(clip, SegmentConfig())
    for frame in frames:
        store.save(make_result(frame, maps=False))
        path = store.folder / f"frame_{frame:06d}.json"
        path.write_bytes(path.read_bytes().ljust(size))
        stamp = time.time() - 10_000 + 60 * frame
        os.utime(path, (stamp, stamp))
    return store


def test_the_frames_not_used_for_longest_are_dropped(tmp_path, clip):
    everything = ResultStore(tmp_path / "results", limit_bytes=20_000)
    store = fill(everything, clip, range(9))
    assert store.load(2) is not None  # used now, though it is old
    fill(everything, clip, range(9, 12))
    everything.prune()
    assert store.frames() == [2, *range(4, 12)]
    left = sum(path.stat().st_size for path in store.folder.iterdir())
    assert left <= 18_000


def test_within_the_limit_nothing_is_dropped(tmp_path, clip):
    everything = ResultStore(tmp_path / "results", limit_bytes=20_000)
    store = fill(everything, clip, range(8))
    everything.prune()
    assert store.frames() == list(range(8))


def test_the_limit_is_kept_while_results_come(tmp_path, clip):
    everything = ResultStore(tmp_path / "results", limit_bytes=30_000)
    store = everything.open(clip, SegmentConfig())
    for frame in range(200):
        store.save(make_result(frame, maps=False))
        total = sum(path.stat().st_size for path in store.folder.iterdir())
        assert total <= 30_000 * 1.1 + 2000
    assert store.frames()[-1] == 199
    assert len(store.frames()) > 10


def test_maps_are_used_with_their_frame(tmp_path):
    store = ClipStore(tmp_path)
    store.save(make_result())
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    store.load(7)
    assert (tmp_path / "frame_000007.npz").stat().st_mtime == 1
    store.load(7, maps=True)
    assert all(path.stat().st_mtime > 1e9 for path in tmp_path.iterdir())


def test_folders_of_dropped_clips_and_abandoned_files_go(tmp_path, clip):
    store = fill(ResultStore(tmp_path / "results"), clip, range(2))
    everything = ResultStore(tmp_path / "results", limit_bytes=100)
    abandoned, current = (store.folder / f".frame_00000{k}.json.abc.tmp" for k in (8, 9))
    for path in (abandoned, current):
        path.write_bytes(b"half a res")
    os.utime(abandoned, (1, 1))
    everything.prune()
    assert [path.name for path in store.folder.iterdir()] == [current.name]
    current.unlink()
    fill(ResultStore(tmp_path / "results"), clip, [5])
    everything.prune()
    assert list((tmp_path / "results").iterdir()) == []
    store.save(make_result(6))  # the folder comes back
    assert store.frames() == [6]


def test_the_folder_vanishes_while_a_result_is_written(tmp_path, monkeypatch):
    store = ClipStore(tmp_path / "clip")
    mkdir = Path.mkdir
    calls = []

    def raced(self, **options):
        mkdir(self, **options)
        calls.append(self)
        if len(calls) == 1:
            self.rmdir()

    monkeypatch.setattr(Path, "mkdir", raced)
    store.save(make_result(maps=False))
    assert len(calls) == 2
    assert store.frames() == [7]


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from core.test_store import make_result
from moca_core.config import SegmentConfig
from moca_core.pipeline.store import ResultStore
store = ResultStore(Path(sys.argv[1]), limit_bytes=25_000)
results = store.open(Path(sys.argv[2]), SegmentConfig())
for turn in range(2):
    for frame in range(40):
        results.save(make_result(frame, maps=frame % 5 == 0, seed=frame))
        loaded = results.load((frame * 7) % 40, maps=frame % 2 == 0)
        assert loaded is None or loaded.objects[0].mask.shape == (30, 40)
"""


def test_processes_at_once(tmp_path, clip):
    """Two write, read and drop the same files: neither fails, and what is left is whole."""
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-c", WRITER, str(tmp_path / "results"), str(clip), "-"]
    command += [str(tests), str(tests.parent)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        _, said = writer.communicate(timeout=120)
        assert writer.returncode == 0, said.decode()
    store = ResultStore(tmp_path / "results").open(clip, SegmentConfig())
    assert store.frames()
    for frame in store.frames():
        loaded = store.load(frame)
        assert (loaded.objects[0].mask == make_result(seed=frame).objects[0].mask).all()


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's count of bytes read")
def test_naming_a_large_clip_reads_little_of_it(tmp_path):
    path = tmp_path / "long.mp4"
    with path.open("wb") as stream:
        stream.write(b"x" * 1000)
        stream.truncate(8 * 2**30)  # a sparse file: 8 GiB that take no space

    def read_so_far():
        return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])

    before = read_so_far()
    first = ResultStore(tmp_path / "results").open(path, SegmentConfig()).folder
    # The settings' modules may be imported on the way.
    assert read_so_far() - before < 600 * 2**20
    with path.open("r+b") as stream:
        stream.write(b"y")
    before = read_so_far()
    assert ResultStore(tmp_path / "results").open(path, SegmentConfig()).folder != first
    assert read_so_far() - before < 16 * 2**20
