"""Work that processes share by files: whose part is which, what is told, who is gone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moca_core import shares
from moca_core.errors import ConfigError, StorageError
from moca_core.shares import Ledger, Share, ShareError, Watch, own_device, own_share

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")

HOLDER = """
import sys
from pathlib import Path
from moca_core.shares import Ledger, Share
with Ledger(Path(sys.argv[1]), "work", Share(int(sys.argv[2]), 3)) as ledger:
    ledger.add('"here"\\n')
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def alone(monkeypatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def impatient(monkeypatch) -> None:
    for name, value in (("_LOOK_S", 0.01), ("_ARRIVE_S", 0.2), ("_SILENT_S", 0.6)):
        monkeypatch.setattr(shares, name, value)
    monkeypatch.setattr(shares, "_SETTLE_S", 0.1)


@pytest.fixture
def other(tmp_path) -> Iterator[subprocess.Popen]:
    """The process with rank 1, which has told one thing and is at work until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.kill()
    process.communicate()


def test_alone_all_of_the_work_is_ones_own() -> None:
    share = own_share()
    assert share == Share(0, 1)
    assert share.first
    assert {share.owner(number) for number in range(9)} == {0}


def test_the_environment_says_which_part(monkeypatch) -> None:
    for name, value in zip(VARIABLES, "5817", strict=True):
        monkeypatch.setenv(name, value)
    share = own_share()
    assert share == Share(rank=5, count=8, local=1, beside=7)
    assert not share.first
    assert [number for number in range(24) if share.owner(number) == 5] == [5, 13, 21]


@pytest.mark.parametrize(
    ("rank", "count", "message"),
    [("2", "2", "RANK = 2 of"), ("x", "2", "RANK = 'x'"), ("-1", "2", "'-1'"), ("0", "", "SIZE")],
)
def test_a_share_that_cannot_be(rank, count, message, monkeypatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", count)
    with pytest.raises(ConfigError, match=message) as caught:
        own_share()
    assert caught.value.hint


def test_each_process_has_a_card_of_its_own(monkeypatch) -> None:
    from torch import cuda

    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    shared = Share(3, 4, local=3, beside=4)
    assert own_device("auto", shared) == "cuda:1"
    assert own_device("cuda:0", shared) == "cuda:0"
    assert own_device("cpu", shared) == "cpu"
    assert own_device("auto", Share()) == "auto"
    monkeypatch.setattr(cuda, "device_count", lambda: 1)
    assert own_device("auto", shared) == "auto"


def test_what_all_have_told_is_read_once(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path, "work", Share(0, 2)) as first,
        Ledger(tmp_path, "work", Share(1, 2)) as second,
    ):
        first.add('"a"\n')
        second.add('"b"\n')
        assert list(first.news()) == ['"a"\n', '"b"\n']
        assert list(first.news()) == []
        second.add('"c"\n')
        assert list(first.news()) == ['"c"\n']
        assert list(second.news()) == ['"a"\n', '"b"\n', '"c"\n']


def test_a_line_that_was_cut_short_does_not_count(tmp_path: Path) -> None:
    for rank in range(2):
        (tmp_path / f"work-{rank}.jsonl").write_text('"whole"\n"cut sh')
    with Ledger(tmp_path, "work", Share(0, 2)) as ledger:
        assert list(ledger.news()) == ['"whole"\n'] * 2
        ledger.add('"next"\n')
        assert list(ledger.news()) == ['"next"\n']
    assert (tmp_path / "work-0.jsonl").read_text() == '"whole"\n"next"\n'
    assert (tmp_path / "work-1.jsonl").read_text() == '"whole"\n"cut sh'  # not ours to change


def test_a_ledger_that_is_begun_anew_is_read_from_its_start(tmp_path: Path) -> None:
    (tmp_path / "work-1.jsonl").write_text('"before, and long"\n')
    with Ledger(tmp_path, "work", Share(0, 2)) as first:
        assert list(first.news()) == ['"before, and long"\n']
        with Ledger(tmp_path, "work", Share(1, 2), anew=True) as second:
            second.add('"now"\n')
            assert list(first.news()) == ['"now"\n']


def test_two_processes_with_one_rank_are_refused(tmp_path: Path, other) -> None:
    with pytest.raises(ConfigError, match="another process is at work"):
        Ledger(tmp_path, "work", Share(1, 3)).__enter__()
    with Ledger(tmp_path, "work", Share(0, 3)) as ledger:
        assert ledger.at_work(1)
        assert not ledger.at_work(2)
    other.kill()
    other.wait()
    with Ledger(tmp_path, "work", Share(1, 3)) as ledger:
        assert list(ledger.news()) == ['"here"\n']


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't be written"):
        Ledger(tmp_path / "nowhere", "work", Share()).__enter__()


def waited(ledger: Ledger, owed, total: int) -> list[object]:
    watch = Watch(ledger, "cases")
    return list(watch.until_done(owed, total))


def test_nobody_is_waited_for_who_owes_nothing(tmp_path: Path) -> None:
    with Ledger(tmp_path, "work", Share(0, 3)) as ledger:
        assert waited(ledger, dict, 4) == []


def test_it_goes_on_when_all_is_told(tmp_path: Path, other, impatient) -> None:
    owed = iter([{1: 2}, {1: 1}, {1: 1}, {}])
    with Ledger(tmp_path, "work", Share(0, 3)) as ledger:
        events = waited(ledger, lambda: next(owed), 4)
    assert [(event.done, event.total) for event in events] == [(2, 4), (3, 4), (3, 4)]


def test_who_ends_without_telling_all_is_named(tmp_path: Path, other, impatient) -> None:
    with Ledger(tmp_path, "work", Share(0, 3)) as ledger:
        events = Watch(ledger, "cases").until_done(lambda: {1: 2}, 6)
        for _ in range(40):  # well beyond the time that is given to those who never came
            next(events)
        other.kill()
        other.wait()
        with pytest.raises(
            ShareError, match="process 1 is gone: 2 of 6 cases are missing"
        ) as caught:
            list(events)
    assert "Run the same command again" in caught.value.hint


def test_the_others_are_waited_for_when_one_is_gone(tmp_path: Path, other, impatient) -> None:
    owed = iter([*[{1: 1, 2: 2}] * 30, {1: 0, 2: 2}, *[{2: 2}] * 9])
    with Ledger(tmp_path, "work", Share(0, 3, beside=3)) as ledger:
        seen = []
        with pytest.raises(ShareError, match="process 2 is gone: 2 of 6 cases"):
            for event in Watch(ledger, "cases").until_done(lambda: next(owed), 6):
                seen.append(event)  # noqa: PERF402
        assert len(seen) >= 30


def test_a_process_whose_lock_does_not_show_is_alive_while_it_tells(
    tmp_path: Path, impatient
) -> None:
    """On another machine, whose locks this one doesn't see."""
    path = tmp_path / "work-1.jsonl"
    with Ledger(tmp_path, "work", Share(0, 2)) as ledger:
        events = Watch(ledger, "cases").until_done(lambda: {1: 1}, 2)
        for number in range(100):  # longer than the patience with who says nothing
            path.write_text('"more"\n' * number)
            next(events)
        with pytest.raises(ShareError, match="process 1 is gone"):
            list(events)


def looks_until_gone(watch: Watch) -> int:
    """How often it looks for process 1, which owes something and isn't there, before it gives up.

    100 looks take a second.
    """
    events = watch.until_done(lambda: {1: 1}, 2)
    for count in range(1000):
        try:
            next(events)
        except ShareError:
            return count
    raise AssertionError("it never gave up")


@pytest.mark.parametrize("beside", [1, 2])
def test_one_that_came_and_went_between_two_looks(beside, tmp_path, impatient) -> None:
    """On this machine its lock would show if it were alive; elsewhere it is waited for."""
    with Ledger(tmp_path, "work", Share(0, 2, beside=beside)) as ledger:
        watch = Watch(ledger, "cases")
        watch.look()
        (tmp_path / "work-1.jsonl").write_text('"here"\n')
        assert (looks_until_gone(watch) < 25) == (beside == 2)


def test_without_locks_nobody_is_gone_before_long(tmp_path, impatient, monkeypatch) -> None:
    monkeypatch.setattr(Ledger, "at_work", lambda self, rank: False)
    with Ledger(tmp_path, "work", Share(0, 2, beside=2)) as ledger:
        watch = Watch(ledger, "cases")
        watch.look()
        (tmp_path / "work-1.jsonl").write_text('"here"\n')
        assert looks_until_gone(watch) >= 25
