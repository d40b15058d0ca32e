"""Everything that wants a GPU, in one go: tests, benchmarks, training and masks in full size.

    python benchmarks/gpu_checks.py FOLDER
    python benchmarks/gpu_checks.py FOLDER --only tests pma --budget 300

No weights are needed: checkpoints of random numbers are written in the official formats, so speed
and memory are those of the real ones, and masks mean nothing. Each step is a process with a time
limit of its own; one that fails or is too slow doesn't keep the others from running. FOLDER gets
`checks.json` (what came out, seconds, and the most GPU memory that was in use meanwhile), a log for
each step, and the numbers of the benchmarks. `--tiny` tries the script where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moca_core.training.config import TrainConfig
    from moca_core.training.processes import Processes

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
ITEMS = 40
"""Pictures with sounds that are drawn to train on."""
_LOOK_S = 0.25
_TAIL_LINES = 25
_LEAST_S = 10.0
"""A step isn't begun with less time than this left of the budget."""

Lines = list[list[str]]


@dataclass(frozen=True)
class Places:
    """Folders of a run: what is kept, and what goes at the end; and the device."""

    out: Path
    scratch: Path
    device: str
    tiny: bool

    @property
    def bundle(self) -> str:
        """The encoders that are trained on; a small run takes those that are installed."""
        return "compact" if self.tiny else "imagebind"

    def moca(self, *words: object) -> list[str]:
        """A command line of the program."""
        return [PYTHON, "-m", "moca_core", *map(str, words)]


@dataclass(frozen=True)
class Step:
    """Commands that run one after the other, and how long they may take together."""

    commands: Callable[[Places], Lines]
    limit_s: float


@dataclass
class Result:
    """How a step ended."""

    name: str
    outcome: str
    seconds: float
    gpu_mib: int | None


def _facts(at: Places) -> Lines:
    show = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"
    card = [["nvidia-smi"]] if shutil.which("nvidia-smi") else []
    return [[PYTHON, "-c", show], *card]


def _tests(at: Places) -> Lines:
    files = [str(path) for path in sorted((REPOSITORY / "tests/core").glob("test_cuda*.py"))]
    # Without the strictness of the repository's settings: they name plug-ins that may be missing.
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-rs"]
    return [[PYTHON, "-m", "pytest", *files, *options]]


def _pma(at: Places) -> Lines:
    return [_bench(at, "pma", at.device, "pma.json", "--repeats", 1 if at.tiny else 5)]


def _encoders(at: Places) -> Lines:
    return [_bench(at, "encoders", at.device, "encoders.json", "--repeats", 1 if at.tiny else 3)]


def _bench_train(at: Places) -> Lines:
    words = "--bundle", "imagebind", "--repeats", 1 if at.tiny else 5
    return [_bench(at, "train", at.device, "bench-train.json", *words)]


def _encoders_compiled(at: Places) -> Lines:
    words = "--repeats", 1 if at.tiny else 3, "--compile"
    return [_bench(at, "encoders", at.device, "encoders-compiled.json", *words)]


def _encoders_on_cpu(at: Places) -> Lines:
    words = "--repeats", 1, "--batch", 1
    return [_bench(at, "encoders", "cpu", "encoders-cpu.json", *words)]


def _bench(at: Places, name: str, device: str, file: str, *words: object) -> list[str]:
    tiny = ["--tiny"] if at.tiny else []
    return at.moca("bench", name, "--device", device, "--json", at.out / file, *words, *tiny)


def _checkpoints(at: Places) -> Lines:
    """Files of 5.2 GB, taken in as a user would."""
    tool, folder = REPOSITORY / "tools/random_checkpoints.py", at.scratch / "files"
    parts = ["imagebind", "sam_vit_b", "dino_s16"]
    made = [PYTHON, str(tool), str(folder), "--parts", *parts]
    if at.tiny:
        return [[*made, "--tiny"]]
    names = ("imagebind_huge.pth", "sam_vit_b_01ec64.pth", "dino_deitsmall16_pretrain.pth")
    taken = [at.moca("weights", "import", folder / name, "--as", name, "--link") for name in names]
    return [made, *taken]


def _train(at: Places) -> Lines:
    """In half precision, as one of torchrun's processes."""
    torchrun = [PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "1"]
    return [[*torchrun, *_following(at, "run", "float32" if at.tiny else "float16", 30)]]


def _train_in_float32(at: Places) -> Lines:
    return [[PYTHON, *_following(at, "run-float32", "float32", 10)]]


def _following(at: Places, name: str, precision: str, iterations: int) -> list[str]:
    count = 3 if at.tiny else iterations
    run, told = at.scratch / name, at.out / f"train-{name}.json"
    words = at.bundle, at.scratch / "data", run, count, precision, at.device, told
    return [__file__, "--follow", *map(str, words)]


def _segment(at: Places) -> Lines:
    """The sample clip with the adapter that was just trained."""
    adapter = at.scratch / "run/adapter.safetensors"
    return [_segmented(at, *(["--adapter", str(adapter)] if adapter.exists() else []))]


def _segment_with_the_largest_sam(at: Places) -> Lines:
    tool, folder = REPOSITORY / "tools/random_checkpoints.py", at.scratch / "files"
    made = [PYTHON, str(tool), str(folder), "--parts", "sam_vit_h"]
    if at.tiny:
        return [[*made, "--tiny"]]
    name = "sam_vit_h_4b8939.pth"
    taken = at.moca("weights", "import", folder / name, "--as", name, "--link")
    return [made, taken, _segmented(at, "--sam", "vit_h")]


def _segmented(at: Places, *words: str) -> list[str]:
    clip, out = REPOSITORY / "resources/demo/demo.mp4", at.scratch / f"masks-{len(words)}"
    ends = ("--end", 1.5) if at.tiny else ()
    found = at.moca("segment", clip, "--out", out, "--bundle", at.bundle, *ends)
    return [*found, "--device", at.device, *words]


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "facts": Step(_facts, 30),
        "tests": Step(_tests, 150),
        "pma": Step(_pma, 90),
        "encoders": Step(_encoders, 150),
        "checkpoints": Step(_checkpoints, 150),
        "train": Step(_train, 120),
        "segment": Step(_segment, 90),
        "bench-train": Step(_bench_train, 120),
        "train-float32": Step(_train_in_float32, 90),
        "encoders-compiled": Step(_encoders_compiled, 150),
        "encoders-cpu": Step(_encoders_on_cpu, 180),
        "segment-vit-h": Step(_segment_with_the_largest_sam, 120),
    }
)
"""In the order of what matters most: the budget may end before the last ones."""


def run_step(name: str, at: Places, limit_s: float) -> Result:
    """Run the commands of a step; what they print goes to a log, its end to the screen."""
    began = time.monotonic()
    log = at.out / f"{name}.log"
    outcome = "done"
    with _GpuMemory() as memory, log.open("wb") as stream:
        for command in STEPS[name].commands(at):
            left = limit_s - (time.monotonic() - began)
            outcome = _run_command(command, stream.fileno(), max(left, 1.0), at)
            if outcome != "done":
                break
    lines = log.read_text(errors="replace").splitlines()
    seconds = time.monotonic() - began
    text = "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
    sys.stdout.write(f"{name}: {outcome} in {seconds:.1f} s, {memory.peak_mib} MiB\n{text}\n")
    sys.stdout.flush()
    return Result(name, outcome, round(seconds, 2), memory.peak_mib)


def _run_command(command: Sequence[str], log: int, limit_s: float, at: Places) -> str:
    """`done`, or how it ended; the whole process group is ended with it."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    # The program needn't be installed for it: its scripts look for packages beside themselves.
    found = os.environ.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(REPOSITORY), found)))
    if not at.tiny:
        environment["MOCA_CACHE_DIR"] = str(at.scratch / "cache")
    os.write(log, f"$ {' '.join(command)}\n".encode())
    process = subprocess.Popen(
        command, stdout=log, stderr=log, cwd=REPOSITORY, env=environment, start_new_session=True
    )
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"too slow ({limit_s:.0f} s)"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return "done" if code == 0 else f"failed ({code})"


class _GpuMemory:
    """The most GPU memory that all processes hold, looked at a few times a second."""

    def __init__(self) -> None:
        self.peak_mib: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _GpuMemory:
        if shutil.which("nvidia-smi"):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not self._ended.wait(_LOOK_S):
            said = subprocess.run(query, capture_output=True, text=True).stdout.split()
            if said and said[0].isdigit():
                self.peak_mib = max(self.peak_mib or 0, int(said[0]))


def follow(
    bundle: str, data: str, run: str, count: str, precision: str, device: str, told: str
) -> int:
    """Train through `fit`, as `moca train` does, with a clock; writes the numbers to `told`."""
    import torch

    from moca_core.training.config import TrainConfig
    from moca_core.training.processes import joined

    iterations = int(count)
    config = TrainConfig(
        data=data,
        bundle=bundle,
        iterations=iterations,
        batch=2 if bundle == "compact" else 8,
        validate_every=iterations,
        save_every=iterations,
        warmup=2,
        device=device.partition(":")[0],
        precision=precision,
        alignment=True,
    )
    on_gpu = config.device != "cpu"
    with joined(cuda=on_gpu) as processes:
        numbers = _timed_run(config, Path(run), processes)
        numbers["joined"] = torch.distributed.is_initialized()
    if on_gpu:
        numbers["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    for name, value in numbers.items():
        sys.stdout.write(f"{name}: {value}\n")
    Path(told).write_text(json.dumps(numbers | {"config": asdict(config)}, indent=1) + "\n")
    return 0


def _timed_run(config: TrainConfig, folder: Path, processes: Processes) -> dict[str, object]:
    """Seconds of each iteration, the losses, and how long it took until the first."""
    from moca_core.training.events import StepEvent
    from moca_core.training.run import fit
    from moca_core.types import StageEvent

    began = last = time.perf_counter()
    steps: list[StepEvent] = []
    seconds: list[float] = []
    told: dict[str, None] = {}
    with closing(fit(config, folder, processes)) as events:
        for event in events:
            now = time.perf_counter()
            words = event.stage if isinstance(event, StageEvent) else str(event)
            if isinstance(event, StepEvent):
                steps.append(event)
                seconds.append(now - last)
            elif not steps and words not in told:
                told[words] = None
                sys.stdout.write(f"{now - began:7.2f} s {words}\n")
            last = now
    # The first third warms up: kernels are chosen, the scale of the loss finds its size.
    iteration_s = statistics.median(seconds[len(seconds) // 3 :])
    return {
        "whole_s": last - began,
        "iteration_s": iteration_s,
        "iterations_a_second": 1 / iteration_s,
        "seconds": [round(second, 4) for second in seconds],
        "losses": [round(step.loss, 5) for step in steps],
        "skipped": steps[-1].skipped,
    }


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="moca-gpu-") as folder:
        yield Path(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps that the budget allows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="for results ($OUT, else gpu-checks)")
    parser.add_argument("--only", nargs="+", choices=tuple(STEPS), help="these steps")
    parser.add_argument("--budget", type=float, default=520.0, metavar="S", help="for all (520)")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--tiny", action="store_true", help="small models, to try the script")
    parser.add_argument("--follow", nargs=7, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    sys.path.insert(0, str(REPOSITORY))  # this is a file, not a module
    if args.follow:
        return follow(*args.follow)
    from moca_core.bench.items import draw_items

    out = args.folder or Path(os.environ.get("OUT") or "gpu-checks")
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    results: list[Result] = []
    with _scratch() as scratch:
        at = Places(out.absolute(), scratch, args.device, args.tiny)
        for _ in draw_items(scratch / "data", ITEMS):
            pass
        for name in args.only or STEPS:
            left = args.budget - (time.monotonic() - began)
            if left < _LEAST_S:
                results.append(Result(name, "not begun: no time left", 0.0, None))
            else:
                results.append(run_step(name, at, min(STEPS[name].limit_s, left)))
            # After each step: whatever ends this one leaves what came before.
            rows = [asdict(result) for result in results]
            (out / "checks.json").write_text(json.dumps(rows, indent=1) + "\n")
    sys.stdout.write("\n".join(f"{row.name}: {row.outcome}" for row in results) + "\n")
    return 0 if all(row.outcome == "done" for row in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
