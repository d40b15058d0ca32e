"""`moca evaluate --report DIR`: cases that are done are kept, taken up, and shared."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import LeftHalf, fake_segmenter, read_json
from evaluation_fakes import pairs_tree

from moca_core.cli import DONE, FAILED, STOPPED, main
from moca_core.commands import method
from moca_core.errors import WeightsError
from moca_core.evaluation import html_report
from moca_core.pipeline.segmenter import Segmenter

CASES = 7


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return pairs_tree(tmp_path_factory.mktemp("data") / "pairs", CASES)


REAL_PAGE = html_report.write_html


@pytest.fixture(autouse=True)
def bundle(monkeypatch, tmp_path) -> LeftHalf:
    """No pictures are looked at again for a page, so that those of the cases can be counted."""
    monkeypatch.setattr(html_report, "write_html", lambda *given: iter(()))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    fake = LeftHalf()
    monkeypatch.setattr(method, "load_segmenter", fake_segmenter(fake))
    return fake


def run(data: Path, folder: Path, *words: str) -> int:
    fixed = ["--layout", "pairs", "--report", str(folder), "--quiet"]
    return main(["evaluate", str(data), *fixed, *words])


def numbers(folder: Path) -> dict[str, Any]:
    """The report without what depends on when and where it was made."""
    report = read_json(folder / "report.json")
    return {name: value for name, value in report.items() if name not in ("seconds", "config")}


def lines(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("cases-*.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


def test_the_folder(pairs, tmp_path):
    report_path = tmp_path / "r.json"
    assert run(pairs, tmp_path / "out", "--json", str(report_path)) == DONE
    names = {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
    assert names == {"config.json", "cases-0.jsonl", "report.json"}
    report = read_json(tmp_path / "out" / "report.json")
    assert report == read_json(report_path)
    assert report["n"] == CASES
    rows = lines(tmp_path / "out")
    assert [row["id"] for row in rows] == [f"case{number}" for number in range(CASES)]
    assert report["m_j"] == pytest.approx(sum(row["j"] for row in rows) / CASES)
    assert report["seconds"] == pytest.approx(sum(row["seconds"] for row in rows))
    assert len({row["j"] for row in rows}) > 3
    said = read_json(tmp_path / "out" / "config.json")
    assert said["settings"]["thresholds"]["hearing"]["empty_below"] > 0
    assert said["settings"]["dataset"] == str(pairs)
    assert len(said["fingerprint"]) == 12
    assert said["about"] == report["config"]


def test_the_page_is_written_and_stays(pairs, bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(html_report, "write_html", REAL_PAGE)
    assert run(pairs, tmp_path / "out") == DONE
    page = tmp_path / "out" / "report.html"
    before, looks = page.read_bytes(), bundle.looks
    assert looks > CASES
    assert run(pairs, tmp_path / "out") == DONE
    assert (page.read_bytes(), bundle.looks) == (before, looks)
    page.unlink()
    bundle.on_look = lambda count: signal.raise_signal(signal.SIGINT)
    assert run(pairs, tmp_path / "out") == STOPPED
    out, err = capsys.readouterr()
    assert "Stopped before the page was written" in err
    assert out.count("subset") == 3  # the table was told all the same
    assert not page.exists()


@pytest.mark.parametrize(("words", "told"), [([], True), (["--quiet"], False)])
def test_where_the_page_is_gets_told(words, told, pairs, tmp_path, capsys):
    folder = tmp_path / "out"
    fixed = ["--layout", "pairs", "--limit", "2", "--report", str(folder)]
    assert main(["evaluate", str(pairs), *fixed, *words]) == DONE
    assert capsys.readouterr().out.endswith(f"\nLook at {folder / 'report.html'}.\n") == told


@pytest.mark.parametrize(
    ("words", "warned"),
    [([], False), (["--regions", "paint"], True), (["--regions", "diffuse"], False)],
)
def test_an_adapter_that_changes_nothing_is_warned_of(words, warned, pairs, tmp_path, capsys):
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(b"one")
    words = ["--limit", "2", "--adapter", str(adapter), *words]
    assert run(pairs, tmp_path / "out", *words) == DONE
    assert ("an adapter changes no mask" in capsys.readouterr().err) == warned


def test_a_second_run_takes_what_is_there(pairs, bundle, tmp_path, monkeypatch):
    assert run(pairs, tmp_path / "out") == DONE
    before = read_json(tmp_path / "out" / "report.json")
    assert bundle.looks == CASES

    def refuse(self):
        raise AssertionError("nothing is left, so nothing may be loaded")

    monkeypatch.setattr(Segmenter, "load", refuse)
    assert run(pairs, tmp_path / "out") == DONE
    assert bundle.looks == CASES
    assert read_json(tmp_path / "out" / "report.json") == before


def test_a_baseline_that_is_done_needs_no_weights_any_more(pairs, tmp_path, monkeypatch, capsys):
    from moca_core.commands import looking

    asked = []

    def load(device):
        asked.append(device)
        return lambda rgb: rgb[..., 0] / 255

    monkeypatch.setattr(looking, "_SALIENCIES", {"compact": load})
    for _ in range(2):
        assert run(pairs, tmp_path / "out", "--baseline", "saliency") == DONE
    assert asked == ["cpu"]


def test_a_run_that_was_stopped_goes_on(pairs, bundle, tmp_path, capsys):
    bundle.on_look = lambda count: signal.raise_signal(signal.SIGTERM) if count == 3 else None
    assert run(pairs, tmp_path / "out") == STOPPED
    said = capsys.readouterr().err
    assert f"Stopped: 3 of {CASES} cases are done and kept in {tmp_path / 'out'}." in said
    assert "again to continue" in said
    assert not (tmp_path / "out" / "report.json").exists()
    assert run(pairs, tmp_path / "out") == DONE
    assert bundle.looks == CASES
    assert run(pairs, tmp_path / "whole") == DONE
    assert numbers(tmp_path / "out") == numbers(tmp_path / "whole")


def test_a_line_that_was_cut_short_is_done_again(pairs, bundle, tmp_path):
    assert run(pairs, tmp_path / "out") == DONE
    whole = numbers(tmp_path / "out")
    path = tmp_path / "out" / "cases-0.jsonl"
    path.write_bytes(path.read_bytes()[:-200])
    assert run(pairs, tmp_path / "out") == DONE
    assert bundle.looks == CASES + 1
    assert numbers(tmp_path / "out") == whole
    assert len(lines(tmp_path / "out")) == CASES  # all of them can be read


def test_a_damaged_line_is_done_again(pairs, bundle, tmp_path):
    assert run(pairs, tmp_path / "out") == DONE
    whole = numbers(tmp_path / "out")
    path = tmp_path / "out" / "cases-0.jsonl"
    content = path.read_text().splitlines(keepends=True)
    path.write_text("".join(["\0\0\0\n", '{"id": "case1"}\n', *content[2:]]))
    assert run(pairs, tmp_path / "out") == DONE
    assert bundle.looks == CASES + 2
    assert numbers(tmp_path / "out") == whole


def test_a_case_that_the_manifest_pairs_otherwise_is_done_again(pairs, bundle, tmp_path):
    data = tmp_path / "copy"
    shutil.copytree(pairs, data)
    assert run(data, tmp_path / "out") == DONE
    manifest = data / "manifest.csv"
    rows = manifest.read_text().splitlines()
    shutil.copy(data / "tone.wav", data / "other.wav")
    rows[-1] = rows[-1].replace("tone.wav", "other.wav")
    manifest.write_text("\n".join(rows) + "\n")
    assert run(data, tmp_path / "out") == DONE
    assert bundle.looks == CASES + 1


def test_more_cases_are_added_and_fewer_are_taken_out(pairs, bundle, tmp_path):
    assert run(pairs, tmp_path / "out", "--limit", "3") == DONE
    assert run(pairs, tmp_path / "out") == DONE
    assert bundle.looks == CASES
    assert numbers(tmp_path / "out")["n"] == CASES
    assert run(pairs, tmp_path / "out", "--split", "test") == DONE
    assert bundle.looks == CASES
    assert numbers(tmp_path / "out")["n"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "hearing.empty_below=0.5"), "thresholds.hearing.empty_below: 0.25 there, 0.5"),
        (("--proposals", "grid"), 'proposals: "guided" there, "grid" here'),
        (("--baseline", "whole"), 'baseline: "none" there, "whole" here'),
    ],
)
def test_other_settings_are_refused(words, said, pairs, bundle, tmp_path, capsys):
    assert run(pairs, tmp_path / "out", "--limit", "2") == DONE
    assert run(pairs, tmp_path / "out", *words) == FAILED
    err = capsys.readouterr().err
    assert said in err
    assert "Choose another folder" in err
    assert bundle.looks == 2


def test_another_data_set_is_refused(pairs, tmp_path, capsys):
    assert run(pairs, tmp_path / "out", "--limit", "2") == DONE
    other = pairs_tree(tmp_path / "other", 3)
    assert run(other, tmp_path / "out") == FAILED
    assert "dataset: " in capsys.readouterr().err


def test_another_adapter_in_the_same_file_is_refused(pairs, tmp_path, capsys):
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(b"one")
    words = ["--limit", "2", "--adapter", str(adapter)]
    assert run(pairs, tmp_path / "out", *words) == DONE
    adapter.write_bytes(b"two")
    assert run(pairs, tmp_path / "out", *words) == FAILED
    assert "(adapter: " in capsys.readouterr().err
    adapter.unlink()
    assert run(pairs, tmp_path / "out", *words) == FAILED
    assert "no such file\n  Give a trained adapter" in capsys.readouterr().err


def test_cases_of_nobody_knows_what_are_refused(pairs, tmp_path, capsys):
    assert run(pairs, tmp_path / "out", "--limit", "2") == DONE
    (tmp_path / "out" / "config.json").write_text("{")
    assert run(pairs, tmp_path / "out", "--limit", "2") == FAILED
    assert "nobody knows what the cases beside it were made with" in capsys.readouterr().err


def test_settings_may_change_while_nothing_is_done(pairs, bundle, tmp_path):
    """Weights that were missing are there in the next run."""

    def fail(count: int) -> None:
        raise WeightsError("a file is missing", "Get it.")

    bundle.on_look = fail
    assert run(pairs, tmp_path / "out") == FAILED
    bundle.on_look = lambda count: None
    assert run(pairs, tmp_path / "out", "--proposals", "grid") == DONE
    assert read_json(tmp_path / "out" / "config.json")["settings"]["proposals"] == "grid"


def test_a_case_that_could_not_be_read_is_tried_again(pairs, bundle, tmp_path, capsys):
    data = pairs_tree(tmp_path / "data", CASES)
    hidden = (data / "case2.png").rename(tmp_path / "case2.png")
    assert run(data, tmp_path / "out") == FAILED
    assert f"1 of {CASES} cases could not be read" in capsys.readouterr().err
    assert numbers(tmp_path / "out")["failed"] == ["case2"]
    assert "no such file" in lines(tmp_path / "out")[2]["failed"]
    hidden.rename(data / "case2.png")
    assert run(data, tmp_path / "out") == DONE
    assert bundle.looks == CASES
    assert run(pairs, tmp_path / "whole") == DONE
    assert numbers(tmp_path / "out") == numbers(tmp_path / "whole")


def test_masks_that_are_not_there_are_made(pairs, bundle, tmp_path):
    assert run(pairs, tmp_path / "out") == DONE
    words = ["--save-masks", str(tmp_path / "masks")]
    assert run(pairs, tmp_path / "out", *words) == DONE
    assert len(list((tmp_path / "masks").iterdir())) == CASES
    (tmp_path / "masks" / "case4.png").unlink()
    looks = bundle.looks
    assert run(pairs, tmp_path / "out", *words) == DONE
    assert bundle.looks == looks + 1
    assert len(list((tmp_path / "masks").iterdir())) == CASES


def as_process(monkeypatch, rank: int, count: int) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(count))


def test_several_processes_need_a_folder(pairs, monkeypatch, capsys):
    as_process(monkeypatch, 0, 2)
    assert main(["evaluate", str(pairs), "--layout", "pairs"]) == FAILED
    assert "2 processes without a folder that they share\n  Give one with --report." in (
        capsys.readouterr().err
    )


def test_processes_need_not_run_at_the_same_time(pairs, bundle, tmp_path, monkeypatch, capsys):
    """Nor be as many as before: first one of three alone, then all of four, the first one last."""
    as_process(monkeypatch, 1, 3)
    assert run(pairs, tmp_path / "out") == DONE
    assert [row["id"] for row in lines(tmp_path / "out")] == ["case1", "case4"]
    assert capsys.readouterr().out == ""
    for rank in (3, 2, 1, 0):
        as_process(monkeypatch, rank, 4)
        assert run(pairs, tmp_path / "out") == DONE
    assert bundle.looks == CASES
    assert capsys.readouterr().out.startswith("subset")
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    assert run(pairs, tmp_path / "whole") == DONE
    assert numbers(tmp_path / "out") == numbers(tmp_path / "whole")


def test_what_one_process_cannot_read_the_first_one_tries(pairs, bundle, tmp_path, monkeypatch):
    data = pairs_tree(tmp_path / "data", CASES)
    hidden = (data / "case3.png").rename(tmp_path / "case3.png")
    as_process(monkeypatch, 1, 2)
    assert run(data, tmp_path / "out") == DONE  # one that fails would end the others
    as_process(monkeypatch, 0, 2)
    assert run(data, tmp_path / "out") == FAILED
    assert numbers(tmp_path / "out")["failed"] == ["case3"]
    hidden.rename(data / "case3.png")
    assert run(data, tmp_path / "out") == DONE
    assert bundle.looks == CASES


def test_frames_of_a_clip_stay_together() -> None:
    from moca_core.evaluation.layouts import Case, DataSet
    from moca_core.evaluation.shards import CaseBook
    from moca_core.shares import Share

    nowhere = Path("nowhere")
    cases = tuple(
        Case(f"{clip}_{number}", "test", "", nowhere, nowhere, nowhere, clip, clip=clip)
        for clip in "abcde"
        for number in range(5)
    )
    parts = [CaseBook(Share(rank, 2)).own(DataSet(cases)) for rank in range(2)]
    assert ["".join(dict.fromkeys(case.clip for case in part)) for part in parts] == ["ace", "bd"]
    assert [len(part) for part in parts] == [15, 10]
