"""`moca train`: its arguments, Ctrl-C, exit codes, and several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from core import train_fakes
from core.train_fakes import REPLACED, SETTINGS, clips
from safetensors.torch import load_file

from moca_core.cli import DONE, FAILED, STOPPED, USAGE, main
from moca_core.training import trainer
from moca_core.training.config import _LAYOUTS
from moca_core.training.layouts import LAYOUTS
from moca_core.training.run import resume_config


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MOCA_CACHE_DIR", str(tmp_path / "cache"))
    for module, name, value in REPLACED:
        monkeypatch.setattr(module, name, value)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    values = {"data": str(data)} | SETTINGS
    path.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in values.items()))
    return path


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_it_trains_beside_its_settings(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(settings)]) == DONE
    out, err = capsys.readouterr()
    folder = tmp_path / "own-run"
    assert out == f"{folder / 'adapter.safetensors'}: trained for 6 iterations\n"
    for words in ("10 items of 6 recordings", "6/6 iterations", "After 4 iterations, held out"):
        assert words in err
    # Again: nothing is left to do.
    content = (folder / "adapter.safetensors").read_bytes()
    assert main(["train", "--resume", str(folder), "--quiet"]) == DONE
    assert (folder / "adapter.safetensors").read_bytes() == content
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Training: This run was done before: 6 iterations.\n")


def test_settings_of_the_command_line_and_whole_paths(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    values = SETTINGS | {"data": data.name, "iterations": 2}
    words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    assert main(["train", "--out", str(tmp_path / "run"), "--quiet", *words]) == DONE
    config = resume_config(tmp_path / "run")
    assert (config.data, config.iterations) == (str(data), 2)
    monkeypatch.chdir(tmp_path)  # from anywhere
    assert main(["train", "--resume", "run", "--quiet"]) == DONE


def test_ctrl_c_before_training_keeps_what_was_found_out(
    settings: Path, tmp_path: Path, monkeypatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    heard = train_fakes._heard

    def press(wave):  # type: ignore[no-untyped-def]
        signal.raise_signal(signal.SIGINT)
        return heard(wave)

    monkeypatch.setattr(train_fakes, "_heard", press)
    assert main(["train", str(settings)]) == STOPPED
    err = capsys.readouterr().err
    assert "Stopped before it trained." in err
    assert f"moca train --resume {tmp_path / 'own-run'}" in err
    index = next((tmp_path / "cache").glob("training/features-*/0.index"))
    assert index.read_text().count("\n") == 1
    monkeypatch.setattr(train_fakes, "_heard", heard)
    assert main(["train", "--resume", str(tmp_path / "own-run"), "--quiet"]) == DONE


def test_ctrl_c_while_it_trains_saves_the_iteration(
    settings: Path, tmp_path: Path, monkeypatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    whole = tmp_path / "whole"
    assert main(["train", str(settings), "--out", str(whole), "--quiet"]) == DONE
    right = trainer.learning_rate

    def press(config, step):  # type: ignore[no-untyped-def]
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return right(config, step)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "learning_rate", press)
        assert main(["train", str(settings)]) == STOPPED
    folder = tmp_path / "own-run"
    assert "Stopped after iteration 4; it is saved." in capsys.readouterr().err
    assert main(["train", str(settings), "--quiet"]) == DONE
    for name in ("adapter.safetensors", "metrics.csv", "best.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("iteration = 3", ["unknown keys ['iteration']", "iterations"]),
        ('batch = "eight"', ["batch = 'eight'", "such as 8"]),
        ("audio_negatives = 1", ["audio_negatives = 1", "such as True"]),
        ("lr = nan", ["lr = nan", "above 0"]),
        ("lr = 0", ["lr = 0", "above 0"]),
        ("seed = 4294967296", ["seed = 4294967296", "0 to 4294967295"]),
        ("blocks = 7", ["7 adapted blocks", "1 to 3"]),
        ("seed = -1", ["seed = -1", "0 or more"]),
        ("neighbours = 101", ["neighbours = 101", "1 to 100"]),
        ("pma_window = -1", ["pma_window = -1", "odd"]),
        ("subsets = [1]", ["subsets = [1]", "quotes"]),
        ('device = "gpu"', ["'gpu' is not a device", "cuda:0"]),
        ('layout = "s4"', ["s4", "clips"]),
        ("lr = = 3", ["TOML"]),
    ],
)
def test_settings_that_cannot_work_are_told_with_a_remedy(
    line: str, words: list[str], settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = line.split(" = ")[0]
    kept = [old for old in settings.read_text().splitlines() if not old.startswith(f"{name} =")]
    settings.write_text("\n".join([*kept, line]))
    assert main(["train", str(settings), "--quiet"]) == FAILED
    err = capsys.readouterr().err
    assert all(word in err for word in words), err
    assert "unexpected" not in err
    assert not settings.with_name("own-run").joinpath("last.pt").exists()


def test_the_settings_name_the_layouts_that_there_are() -> None:
    assert tuple(LAYOUTS) == _LAYOUTS


@pytest.mark.parametrize(
    "words", [[], ["--out", "x", "--resume", "y"], ["a.toml", "--set", "lr"]], ids=str
)
def test_wrong_usage(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == USAGE
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "run"], "Name the data"),
        (["none.toml"], "none.toml"),
        (["--resume", "none"], "none"),
        (["--out", "file/run", "--set", "data=."], "can't be written"),
    ],
    ids=str,
)
def test_what_is_not_there(
    words: list[str], said: str, tmp_path: Path, monkeypatch, capsys
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["train", *words]) == FAILED
    message, hint = capsys.readouterr().err.splitlines()[:2]
    assert said in message + hint
    assert hint.startswith("  ")


def processes(count: int, settings: Path, out: Path, cache: Path) -> subprocess.Popen[str]:
    """`torchrun` with `moca` on the small encoders."""
    run = ["torch.distributed.run", "--nproc-per-node", str(count), "--master-port", "0"]
    words = [train_fakes.__file__, "train", str(settings), "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", *run, "--standalone", *words],
        env={**os.environ, "MOCA_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(settings: Path, tmp_path: Path) -> None:
    """They compute half of the features each, and one of them speaks and writes."""
    assert main(["train", str(settings), "--quiet"]) == DONE
    running = processes(2, settings, tmp_path / "two", tmp_path / "other")
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert out.count("trained for 6 iterations") == 1
    assert err.count("10 items of 6 recordings") == err.count("After 2 iterations") == 1
    shards = list((tmp_path / "other").glob("training/features-*/*.index"))
    assert [path.read_text().count("\n") for path in sorted(shards)] == [5, 5]
    for name in ("adapter.safetensors", "best.safetensors"):
        one, two = (load_file(tmp_path / run / name) for run in ("own-run", "two"))
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, atol=1e-5, rtol=0, msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_lets_no_other_wait(rank: int, settings: Path, tmp_path: Path) -> None:
    """Without torchrun's watch, which would end the others."""
    script = train_fakes.__file__
    lines = Path(script).read_text().replace(
        "    sys.exit(main())",
        "    import os\n"
        "    from moca_core.errors import StorageError\n"
        "    def fail(*_):\n"
        "        raise StorageError('the disk is gone', 'Plug it in.')\n"
        f"    if os.environ['RANK'] == '{rank}':\n"
        "        run.fill = fail\n"
        "    sys.exit(main())",
    ).replace("Path(__file__)", f"Path({script!r})")  # fmt: skip
    failing = tmp_path / "failing.py"
    failing.write_text(lines)
    port = _free_port()
    command = [sys.executable, str(failing), "train", str(settings), "--out", str(tmp_path / "two")]
    running = [
        subprocess.Popen(
            command,
            env={
                **os.environ,
                **{"RANK": str(own), "LOCAL_RANK": str(own), "WORLD_SIZE": "2"},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in range(2)
    ]
    said = [process.communicate(timeout=100)[1] for process in running]
    assert [process.returncode for process in running] == [FAILED, FAILED]
    assert "the disk is gone" in said[rank]
    assert "moca: another process has ended" in said[1 - rank]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
