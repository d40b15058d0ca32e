"""Training in processes of its own: two that share a batch, and one that is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from moca_core.training import checkpoint

HERE = Path(__file__).parent

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from training_fakes import SMALL, Kinds, small_learner
from moca_core.device import choose_device
from moca_core.training.processes import joined
from moca_core.training.trainer import Parts, Trainer
folder, iterations, alignment = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1"
config = replace(
    SMALL, iterations=iterations, save_every=2, validate_every=iterations, alignment=alignment
)
with joined(cuda=False) as processes:
    run = Trainer(
        config, small_learner(config), Parts(Kinds(), None), folder, choose_device("cpu"), processes
    )
    for event in run.events():
        print(event, flush=True)
    if processes.first:
        torch.save({key: value for key, value in run.weights().items()}, folder / "weights.pt")
"""


def command(folder: Path, iterations: int, alignment: bool = False) -> list[str]:
    words = [str(HERE), str(folder), str(iterations), str(int(alignment))]
    return [sys.executable, "-c", SCRIPT, *words]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What `torchrun` sets."""
    return {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


@pytest.mark.slow
@pytest.mark.parametrize("alignment", [False, True])
def test_two_processes_learn_what_one_learns(tmp_path: Path, alignment: bool) -> None:
    """With the same batch over both; the contrast needs the rows of the other one."""
    folders = tmp_path / "one", tmp_path / "two"
    subprocess.run(command(folders[0], 6, alignment), check=True, timeout=120)
    port = free_port()
    running = [
        subprocess.Popen(command(folders[1], 6, alignment), env=environment(rank, 2, port))
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    one, two = (torch.load(folder / "weights.pt", weights_only=True) for folder in folders)
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, atol=1e-5, rtol=0, msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("wait_s", [0.0, 0.11, 0.23])
def test_a_run_that_is_killed_equals_one_that_was_not(tmp_path: Path, wait_s: float) -> None:
    """SIGKILL at a moment that nobody chose: in an iteration, or while a checkpoint is written."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    iterations = 60
    subprocess.run(command(whole, iterations), check=True, timeout=120, capture_output=True)
    process = subprocess.Popen(command(killed, iterations), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (killed / checkpoint.LAST).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(wait_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "weights.pt").exists()
    done = subprocess.run(
        command(killed, iterations), check=True, timeout=120, capture_output=True, text=True
    )
    assert "StepEvent(step=1," not in done.stdout  # it went on
    one, two = (torch.load(folder / "weights.pt", weights_only=True) for folder in (whole, killed))
    for key, value in one.items():
        assert torch.equal(two[key], value), key
