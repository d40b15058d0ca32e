"""`moca` with a bundle without weights in processes of their own, as `torchrun` starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# A picture that is looked at leaves a line in `looks`; from the one numbered `stuck` on a process
# with rank 1 doesn't go on, so that it can be killed while it looks.
SCRIPT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
looks, stuck = sys.argv[2], int(sys.argv[3])
import torch
torch.set_num_threads(1)
from cli_fakes import LeftHalf, fake_segmenter
from moca_core.cli import main
from moca_core.commands import method
from moca_core.evaluation import html_report
html_report.write_html = lambda *given: iter(())  # it would look at some pictures again
def look(count):
    with open(looks, "a") as stream:
        stream.write("look\\n")
    if count == stuck and os.environ.get("RANK") == "1":
        time.sleep(600)
method.load_segmenter = fake_segmenter(LeftHalf(look))
sys.exit(main(sys.argv[4:]))
"""


def start(
    words: Sequence[str], looks: Path, rank: int = 0, count: int = 1, stuck: int = 0
) -> subprocess.Popen[str]:
    """One process of `count` on this machine; pictures that it looks at are told in `looks`."""
    environment = {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(count),
        # Each machine has a cache of its own; what is done must be known without it.
        "MOCA_CACHE_DIR": str(looks.with_name(f"cache-{time.monotonic_ns()}")),
    }
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(looks), str(stuck), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def count_lines(path: Path) -> int:
    """Whole lines of a file, 0 if it isn't there yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
