"""What can't be learnt from is found before training, which goes on with the rest."""

from __future__ import annotations

import shutil

import pytest
from core.avsbench_fakes import write_png, write_wav
from core.item_fakes import clip, colours, flat, manifest, read_csv, silence, tone

from moca_core.errors import DatasetError
from moca_core.training import check as checking
from moca_core.training.check import BROKEN, DOUBLE, MISSING, MUTE, SHORT, check
from moca_core.training.data import ItemBuilder
from moca_core.training.layouts import open_items
from moca_core.training.memory import Memory, key_of, remembered


def run(items, **more):
    """The report of a check and the stages that it went through."""
    steps, stages = check(items, **more), []
    while True:
        try:
            stages.append(next(steps).stage)
        except StopIteration as end:
            return end.value, list(dict.fromkeys(stages))


def kinds(report):
    return {problem.key: problem.kind for problem in report.problems}


@pytest.fixture
def mixed(tmp_path):
    """Items with every kind of problem among good ones."""
    colours(tmp_path)
    write_png(tmp_path / "p.png", flat((9, 9, 9)))
    write_png(tmp_path / "q.png", flat((90, 9, 9)))
    for name, samples in (("s", tone(2, 700)), ("short", tone(0.8)), ("mute", silence())):
        write_wav(tmp_path / f"{name}.wav", samples)
    (tmp_path / "bad.png").write_bytes((tmp_path / "p.png").read_bytes()[:60])
    (tmp_path / "bad.wav").write_text("not a sound")
    (tmp_path / "empty.png").touch()
    shutil.copy(tmp_path / "0.png", tmp_path / "copy.png")
    shutil.copy(tmp_path / "0.wav", tmp_path / "copy.wav")
    files = {
        **{f"item{number}": (f"{number}.png", f"{number}.wav") for number in range(4)},
        "no-image": ("gone.png", "s.wav"),
        "no-sound": ("p.png", "gone.wav"),
        "short": ("p.png", "short.wav"),
        "mute": ("p.png", "mute.wav"),
        "bad-image": ("bad.png", "s.wav"),
        "bad-sound": ("p.png", "bad.wav"),
        "empty": ("empty.png", "s.wav"),
        "copy": ("copy.png", "copy.wav"),
        "other-sound": ("0.png", "s.wav"),
        "good": ("q.png", "s.wav"),
    }
    rows = [[key, "dev", "single", "", *pair] for key, pair in files.items()]
    return open_items(manifest(tmp_path, rows))


def test_every_kind_of_problem_is_found_and_the_rest_goes_on(mixed, tmp_path):
    report, stages = run(mixed)
    assert kinds(report) == {
        "no-image": MISSING,
        "no-sound": MISSING,
        "short": SHORT,
        "mute": MUTE,
        "bad-image": BROKEN,
        "bad-sound": BROKEN,
        "empty": BROKEN,
        "copy": DOUBLE,
    }
    assert [item.key for item in report.rest()] == [
        *("item0", "item1", "item2", "item3", "other-sound", "good")
    ]
    # What is cheap comes first.
    assert stages == [
        *("Looking for files", "Comparing files of equal size", "Reading headers", "Decoding")
    ]
    assert report.summary() == "2 missing, 1 short, 1 mute, 3 undecodable, 1 duplicate"
    report.write_csv(tmp_path / "out" / "report.csv")
    rows = read_csv(tmp_path / "out" / "report.csv")
    assert {row["key"]: row["problem"] for row in rows} == kinds(report)
    assert next(row for row in rows if row["key"] == "copy")["details"] == "the same as item0"


def test_the_table_names_some_and_sums_up(mixed):
    report, _ = run(mixed)
    lines = report.table(shown=2).splitlines()
    assert lines[0].split()[:2] == ["missing", "no-image"]
    assert lines[2] == "and 6 more"
    assert lines[3].startswith("6 of 14 items can be used: 2 missing")


def test_headers_alone_decode_nothing(mixed):
    report, stages = run(mixed, decode=False)
    assert "Decoding" not in stages
    assert "mute" not in kinds(report)
    assert kinds(report)["bad-sound"] == BROKEN


def test_a_second_check_decodes_nothing_until_a_file_changes(mixed, tmp_path, monkeypatch):
    calls = []
    real = checking._decoded

    def counted(reader, item):
        calls.append(item.key)
        return real(reader, item)

    monkeypatch.setattr(checking, "_decoded", counted)
    path = tmp_path / "known.sqlite"
    with Memory(path) as memory:
        first, _ = run(mixed, memory=memory)
    assert len(calls) > 5
    calls.clear()
    with Memory(path) as memory:
        again, _ = run(mixed, memory=memory)
    # What couldn't be read is tried again.
    assert calls == ["bad-image"] or calls == []
    assert again.problems == first.problems
    calls.clear()
    write_wav(tmp_path / "3.wav", silence(3))
    with Memory(path) as memory:
        changed, _ = run(mixed, memory=memory)
    assert "item3" in calls
    assert kinds(changed)["item3"] == MUTE
    assert "item1" not in calls


def test_a_check_that_is_stopped_keeps_what_it_found(tmp_path, monkeypatch):
    items = open_items(colours(tmp_path))
    calls = []
    monkeypatch.setattr(checking, "_decoded", lambda reader, item: calls.append(item) or ("", ""))
    path = tmp_path / "known.sqlite"
    with Memory(path) as memory:
        steps = check(items, memory=memory)
        for event in steps:
            if event.stage == "Decoding" and event.done == 4:
                break
        steps.close()
    assert len(calls) == 4
    with Memory(path) as memory:
        run(items, memory=memory)
    assert len(calls) == 6


def test_clips_are_judged_moment_by_moment(tmp_path):
    clip(tmp_path / "a.mp4", 3.0)
    clip(tmp_path / "silent.mp4", 2.0, None)
    clip(tmp_path / "brief.mp4", 0.6)
    (tmp_path / "broken.mp4").write_text("broken")
    shutil.copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    report, _ = run(open_items(tmp_path))
    assert kinds(report) == {
        **{f"b.mp4@{second}.500": DOUBLE for second in range(3)},
        "brief.mp4@0.300": SHORT,
        "broken.mp4@0.000": BROKEN,
        "silent.mp4@0.500": MUTE,
        "silent.mp4@1.500": MUTE,
    }
    with pytest.raises(DatasetError, match=r"all 3 items are of one recording \(a.mp4\)") as caught:
        report.rest()
    assert "add more clips" in caught.value.hint


def test_only_mute_clips_are_refused_with_a_remedy(tmp_path):
    for name in "ab":
        clip(tmp_path / f"{name}.mp4", 1.0 if name == "a" else 2.0, None)
    report, _ = run(open_items(tmp_path))
    with pytest.raises(DatasetError, match=r"none of 3 items can be used \(3 mute\)") as caught:
        report.rest()
    assert "sound" in caught.value.hint


def test_two_recordings_of_one_picture_are_too_few(tmp_path):
    colours(tmp_path)
    items = open_items(tmp_path).take([0, 1])
    with pytest.raises(DatasetError, match="too few pictures"):
        run(items)[0].rest()


def test_nothing_at_all_is_refused(tmp_path):
    report, _ = run(ItemBuilder(tmp_path, "clips").finish())
    with pytest.raises(DatasetError, match="nothing to learn from"):
        report.rest()


def test_memory_outlives_damage_and_a_folder_that_can_not_be_written(tmp_path, monkeypatch):
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_text("no database at all, but long enough to look at" * 50)
    with Memory(damaged) as memory:
        memory.put(key_of("a"), b"1")
    with Memory(damaged) as memory:
        assert memory.get(key_of("a")) == b"1"
    (tmp_path / "file").touch()
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with remembered("check", tmp_path) as memory:
        memory.put(key_of("a"), b"2")
        memory.commit()
        assert memory.get(key_of("a")) == b"2"
