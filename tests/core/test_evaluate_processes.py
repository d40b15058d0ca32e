"""An evaluation that two real processes share, of which one is killed in the middle."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import LeftHalf, fake_segmenter
from evaluation_fakes import pairs_tree
from process_fakes import count_lines, start, until

from moca_core.cli import DONE, FAILED, main
from moca_core.commands import method
from moca_core.evaluation import html_report

CASES = 9


def report(folder: Path) -> dict[str, Any]:
    """What doesn't depend on when it was made."""
    values = json.loads((folder / "report.json").read_text())
    return {name: value for name, value in values.items() if name not in ("seconds", "config")}


@pytest.mark.slow
def test_one_of_two_is_killed_and_both_are_started_again(tmp_path: Path, monkeypatch) -> None:
    data, out, looks = pairs_tree(tmp_path / "data", CASES), tmp_path / "out", tmp_path / "looks"

    def words(folder: Path) -> list[str]:
        return ["evaluate", str(data), "--layout", "pairs", "--report", str(folder), "--quiet"]

    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(LeftHalf()))
    monkeypatch.setattr(html_report, "write_html", lambda *given: iter(()))
    assert main(words(tmp_path / "alone")) == DONE

    # Rank 1 has the cases 1, 3, 5 and 7. It is killed in 5, with half a line in its file.
    first, second = (start(words(out), looks, rank, 2, stuck=3) for rank in range(2))
    until(lambda: count_lines(out / "cases-1.jsonl") == 2)
    until(lambda: count_lines(out / "cases-0.jsonl") == 5)
    second.send_signal(signal.SIGKILL)
    second.wait()
    with (out / "cases-1.jsonl").open("a") as stream:
        stream.write('{"id": "case5", "subs')
    said = first.communicate(timeout=120)
    assert first.returncode == FAILED
    assert said[0] == ""
    assert "moca: process 1 is gone: 2 of 9 cases are missing" in said[1]
    assert "Run the same command again, with any number of processes" in said[1]
    assert not (out / "report.json").exists()

    until(lambda: count_lines(looks) == 8)
    again = [start(words(out), looks, rank, 2) for rank in range(2)]
    assert [process.wait(timeout=120) for process in again] == [DONE, DONE]
    assert report(out) == report(tmp_path / "alone")
    # The case in which it was killed was begun twice, nothing that was finished was.
    assert count_lines(looks) == CASES + 1
    kept = [json.loads(line) for path in out.glob("cases-*") for line in path.open()]
    assert sorted(row["id"] for row in kept) == [f"case{number}" for number in range(CASES)]
    assert again[0].communicate()[0].startswith("subset")
    assert again[1].communicate()[0] == ""
