"""`moca ablate`: its arguments and exit codes, and the processes that do the work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from core import ablate_fakes
from core.ablate_fakes import WRONG, Here, Looks, cases, fake_pipeline
from core.avsbench_fakes import LEFT, s4_tree, write_wav
from core.item_fakes import tone
from core.train_fakes import REPLACED

from moca_core.ablation import children, run, tasks
from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.commands.progress import ProgressPrinter
from moca_core.models.filelock import FileLock

THRESHOLDS = """
seeds = [0, 1]
[axes]
match.hearing.empty_below = [0.25, 1.1]
"""
SAMS = """
seeds = [0]
[axes]
segment.sam = ["mobile", "vit_b"]
"""
FAKE = (sys.executable, ablate_fakes.__file__)
_PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """All processes are this one."""
    fake = Looks()
    monkeypatch.setattr(run, "Children", Here)
    monkeypatch.setattr(run, "_LOOK_S", 0.0)
    for module, name, value in (*REPLACED, (tasks, "Segmenter", fake_pipeline(fake))):
        monkeypatch.setattr(module, name, value)
    return fake


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Processes of their own, and a function that says what goes wrong in them."""
    monkeypatch.setattr(children, "WORKER", FAKE)
    monkeypatch.setattr(run, "_cores", lambda: 2)

    def set_wrong(**what: object) -> None:
        monkeypatch.setenv(WRONG, json.dumps(what))

    set_wrong()
    return set_wrong


def ablate(tmp_path: Path, text: str, data: Path, *words: str) -> int:
    path = tmp_path / "own.toml"
    path.write_text(text)
    return main(["ablate", str(path), "--out", str(tmp_path / "out"), "--data", str(data), *words])


def test_it_says_what_is_done_and_where_it_is(
    here: Looks, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate(tmp_path, THRESHOLDS, data) == DONE
    out, err = capsys.readouterr()
    folder = tmp_path / "out"
    assert out == f"4 of 4 rows of own: {folder / 'table.md'}, {folder / 'plot.svg'}\n"
    assert "4/4 match.hearing.empty_below=1.1, seed=1: m_j 0.000" in err
    assert "4 rows: scoring: 6/6 cases" in err
    # Again: all is there.
    assert ablate(tmp_path, THRESHOLDS, data, "--quiet") == DONE
    assert capsys.readouterr() == ("", "")
    assert here.looks == 6


def test_its_folder_can_be_run_again_by_its_own_sweep(
    here: Looks, data: Path, tmp_path: Path
) -> None:
    assert ablate(tmp_path, THRESHOLDS, data, "--limit", "2", "--quiet") == DONE
    kept = tmp_path / "out" / "sweep.toml"
    assert main(["ablate", str(kept), "--out", str(tmp_path / "out"), "--quiet"]) == DONE
    assert here.looks == 2


def test_arguments_are_settings_of_all_rows(here: Looks, data: Path, tmp_path: Path) -> None:
    words = ["--split", "dev", "--limit", "3", "--seeds", "4", "--device", "cpu", "--quiet"]
    words += ["--set", "segment.proposals=none", "--set", "match.hearing.empty_below=[0.1]"]
    assert ablate(tmp_path, THRESHOLDS, data, *words) == DONE
    (folder,) = (tmp_path / "out" / "rows").iterdir()
    config = json.loads((folder / "report.json").read_text())["config"]
    assert (config["seed"], config["segment"]["proposals"]) == (4, "none")
    assert config["data"] == {"path": str(data), "layout": "pairs", "split": "dev", "limit": 3}
    assert config["thresholds"]["hearing"]["empty_below"] == 0.1


def test_another_sweep_in_the_folder_names_the_remedy(
    here: Looks, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablate(tmp_path, THRESHOLDS, data, "--quiet") == DONE
    assert ablate(tmp_path, THRESHOLDS, data, "--quiet", "--limit", "3") == FAILED
    err = capsys.readouterr().err
    assert "another sweep is there (data.limit: its default, not 3)" in err
    assert "Choose another folder" in err


def test_cases_that_cannot_be_read_fail_the_command_and_not_the_rows(
    here: Looks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (cases(broken) / "1.wav").unlink()
    assert ablate(tmp_path, THRESHOLDS, broken) == FAILED
    out, err = capsys.readouterr()
    assert out.startswith("4 of 4 rows")
    assert "moca: 1 cases could not be read; report.json in a row's folder names them" in err


def test_incomplete_clips_fail_the_command_as_they_do_evaluate(
    here: Looks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "AVSBench"
    s4_tree(root, {name: [LEFT] * 5 for name in (("a_1", "dog", "test"), ("b_2", "dog", "test"))})
    for path in root.rglob("*.wav"):
        write_wav(path, tone(5.0))
    next(root.rglob("b_2.wav")).unlink()
    assert ablate(tmp_path, THRESHOLDS, root, "--layout", "s4") == FAILED
    out, err = capsys.readouterr()
    assert out.startswith("4 of 4 rows")
    assert "moca: 1 clips are incomplete" in err
    report = next((tmp_path / "out").rglob("report.json"))
    assert json.loads(report.read_text())["n"] == 5


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing", "--out", "x"], FAILED, "nothing: no such sweep"),
        (["clusters", "--out", "x"], FAILED, "--data DATASET"),
        (["clusters", "--out", "x", "--data", "nowhere"], FAILED, "nowhere: no such folder"),
        (["clusters", "--out", "x", "--set", "segment.k=3"], FAILED, "'k' is not a setting"),
        (["clusters", "--out", "x", "--set", "segment.clusters=3"], FAILED, "it is an axis"),
        (["clusters"], USAGE, "--out"),
        (["clusters", "--out", "x", "--seeds", "a"], USAGE, "is not a list of numbers"),
        (["clusters", "--out", "x", "--jobs", "0"], USAGE, "is not a number from 1"),
    ],
)
def test_wrong_words(
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", *words]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_the_help_names_the_shipped_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "--help"]) == DONE
    assert "audio-negatives" in capsys.readouterr().out


# Processes of their own


def test_a_process_that_dies_is_told_with_its_row_and_the_others_go_on(
    wrong: Callable[..., None], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong(die=3, row=0)
    assert ablate(tmp_path, SAMS, data, "--jobs", "2") == FAILED
    out, err = capsys.readouterr()
    assert "moca: segment.sam=mobile, seed=0: its process was ended by SIGKILL" in err
    assert "1/2 segment.sam=vit_b, seed=0: m_j 1.000" in err
    assert "moca: 1 of 2 rows failed (see above); the same command tries them again" in err
    assert out.startswith("1 of 2 rows of own")
    kept = next((tmp_path / "out" / "rows").glob("000-*/records-0.jsonl"))
    assert kept.read_text().count("\n") == 2
    # The same command goes on: the two cases aren't looked at again, so that it gets to the end.
    wrong(die=5, row=0)
    assert ablate(tmp_path, SAMS, data, "--quiet") == DONE
    assert capsys.readouterr().err == ""


def test_ctrl_c_ends_all_processes_and_keeps_what_they_scored(
    wrong: Callable[..., None],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong(slow=0.4)
    begun: list[subprocess.Popen[bytes]] = []
    popen, update = subprocess.Popen, ProgressPrinter.update

    def started(*words, **more):  # type: ignore[no-untyped-def]
        begun.append(popen(*words, **more))
        return begun[-1]

    def press(self, title: str, done: int, *more) -> None:  # type: ignore[no-untyped-def]
        update(self, title, done, *more)
        if "scoring" in title and done == 1:
            monkeypatch.setattr(ProgressPrinter, "update", update)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressPrinter, "update", press)
    monkeypatch.setattr(children.subprocess, "Popen", started)
    assert ablate(tmp_path, THRESHOLDS, data, "--jobs", "2") == STOPPED
    assert "Stopped after 0 of 4 rows; the same command goes on." in capsys.readouterr().err
    assert [process.returncode for process in begun] == [STOPPED, STOPPED]
    parts = list((tmp_path / "out" / "rows").glob("000-*/records-*.jsonl"))
    kept = sum(part.read_text().count("\n") for part in parts)
    assert 1 <= kept < 6
    assert "rows are missing" in (tmp_path / "out" / "table.md").read_text()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_process_whose_sweep_was_killed_ends_by_itself(
    wrong: Callable[..., None], data: Path, tmp_path: Path
) -> None:
    wrong(slow=0.2)
    (tmp_path / "sweep.toml").write_text(f'data.path = "{data}"\n{THRESHOLDS}')
    for row in range(4):
        value = "0.25" if row < 2 else "1.1"
        name = f"{row:03d}-match.hearing.empty_below={value}-seed={row % 2}"
        (tmp_path / "rows" / name).mkdir(parents=True)
    words = [*FAKE, str(tmp_path), json.dumps({"rows": [0, 1, 2, 3]}), str(tmp_path / "events")]
    code = f"import subprocess\np = subprocess.Popen({words!r})\nprint(p.pid, flush=True)\np.wait()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    _wait_until(lambda: "scoring" in _text(tmp_path / "events"))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    # Whoever goes on with the sweep waits for it.
    with FileLock(tmp_path / "events.lock") as lock:
        assert not lock.acquire() or not _runs(child)
        _wait_until(lambda: not _runs(child))
        assert lock.acquire()
    assert _text(tmp_path / "events").count("scoring") < 6


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _runs(process: int) -> bool:
    """Whether it is there, and not just waiting for somebody to read its exit code."""
    stat = _text(Path(f"/proc/{process}/stat"))
    return bool(stat) and stat.rpartition(")")[2].split()[0] != "Z"


def _wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
