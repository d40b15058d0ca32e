"""The folder of a row of a sweep: what a kill, a full disk or another data set does to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core.ablate_fakes import sweep_file

from moca_core.ablation import children
from moca_core.ablation.store import RowStore
from moca_core.errors import ConfigError, StorageError
from moca_core.evaluation.layouts import Case
from moca_core.evaluation.metrics import score_frame
from moca_core.evaluation.records import CaseRecord, record_of, to_line
from moca_core.types import Prediction

NOWHERE = Path("nowhere")
CASES = [
    Case(f"case{number}", "single", "bell", NOWHERE, NOWHERE, NOWHERE, group="picture")
    for number in range(4)
]


def record(case: Case) -> CaseRecord:
    soft = np.ones((2, 2), np.float32)
    prediction = Prediction(soft > 0, soft)
    return record_of(case, prediction, score_frame(soft > 0, soft, soft > 0), "", 0.1)


@pytest.fixture
def store(tmp_path: Path) -> RowStore:
    sweep = sweep_file(tmp_path / "own.toml", "[axes]\nsegment.clusters = [3]\n")
    made = RowStore(tmp_path, sweep.rows[0])
    made.folder.mkdir(parents=True)
    return made


def test_a_line_that_a_kill_cut_short_costs_no_other(store: RowStore) -> None:
    lines = [to_line(record(case)) for case in CASES]
    (store.folder / "records-0.jsonl").write_text(lines[0] + lines[1][:40])
    with store.add_records(0) as add:
        add(record(CASES[2]))
        add(record(CASES[3]))
    assert set(store.records()) == {"case0", "case2", "case3"}


def test_two_processes_cannot_fill_one_file(store: RowStore) -> None:
    with (
        store.add_records(0),
        pytest.raises(ConfigError, match="another process is at work"),
        store.add_records(0),
    ):
        pass


def test_damaged_lines_and_a_damaged_report_do_not_count(store: RowStore) -> None:
    lines = ["[" * 100_000 + "\n", "5\n", to_line(record(CASES[0])).replace('"bell"', "7")]
    (store.folder / "records-0.jsonl").write_bytes("".join(lines).encode() + b"\xff\xfe\n")
    assert store.records() == {}
    (store.folder / "report.json").write_text(json.dumps([1]))
    assert store.report() is None


def test_records_of_another_case_with_the_same_id_do_not_count(store: RowStore) -> None:
    old = [replace(case, files=("a.png", "m.png", "a.wav")) for case in CASES]
    new = [old[0], replace(old[1], files=("a.png", "m.png", "b.wav"))]
    with store.add_records(0) as add:
        for case in old:
            add(record(case))
    store.gather()
    assert set(store.known(new)) == {"case0"}
    # What is scored again takes the old one's place.
    with store.add_records(0) as add:
        add(record(new[1]))
    assert set(store.known(new)) == {"case0", "case1"}
    store.gather()
    assert set(store.known(new)) == {"case0", "case1"}


def test_records_that_cannot_be_read_are_said(store: RowStore) -> None:
    (store.folder / "records-0.jsonl").mkdir()
    with pytest.raises(StorageError, match="can't be read"):
        store.records()


def test_a_process_that_could_say_nothing_points_to_the_disk(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.touch()
    error = children._died(1, log)
    assert "could write no reason (exit code 1)" in error.message
    assert str(tmp_path) in error.hint
    log.write_text("Traceback\nOSError: no\n")
    assert children._died(1, log).message == "its process failed (OSError: no)"
