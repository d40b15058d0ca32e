"""`moca train`: train an adapter, in one process or in those that `torchrun` starts."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from moca_core.cli import DONE, STOPPED
from moca_core.commands.arguments import add_set_argument
from moca_core.commands.progress import ProgressPrinter
from moca_core.commands.running import StopRequest, say, show, warn
from moca_core.commands.terms import show_terms_once
from moca_core.config import load_toml, with_values
from moca_core.errors import ConfigError
from moca_core.training.config import TrainConfig

if TYPE_CHECKING:
    from moca_core.training.events import TrainEvent
    from moca_core.training.processes import Processes

HELP = (
    "Train an adapter of a bundle's vision transformer on pictures with sounds, without masks. "
    "CONFIG.toml holds the settings that differ from their defaults, at least `data`; --set gives "
    "more of them. The run's folder gets the whole configuration, the list of what was left out, "
    "the pairs, metrics.csv, checkpoints, best.safetensors and adapter.safetensors. The same "
    "command, or --resume, goes on from the last checkpoint. On several GPUs: torchrun "
    "--nproc-per-node N -m moca_core.cli train ..."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of DESIGN.md section 4."""
    parser.add_argument("config", nargs="?", type=Path, metavar="CONFIG.toml", help="the settings")
    add_set_argument(parser, "values", "a setting, such as iterations=500")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder (beside CONFIG.toml, its name)"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run's folder")


def run(args: argparse.Namespace) -> int:
    """Train to the end, or until it is stopped."""
    from moca_core.training.processes import joined

    config, folder = _run_of(args)
    with joined(cuda=_on_gpu(config)) as processes, StopRequest() as stop:
        if not processes.first:
            # The first one speaks for all.
            step = _followed(config, folder, processes, None, stop)
            return DONE if step == config.iterations else STOPPED
        show_terms_once(config.bundle)
        printer = ProgressPrinter(args.quiet)
        try:
            step = _followed(config, folder, processes, printer, stop)
        finally:
            printer.finish()
    if step == config.iterations:
        say(f"{folder / 'adapter.safetensors'}: trained for {step} iterations", args.quiet)
        return DONE
    done = f"after iteration {step}; it is saved" if step else "before it trained"
    warn(f"Stopped {done}. `moca train --resume {folder}` goes on from there.")
    return STOPPED


def _followed(
    config: TrainConfig,
    folder: Path,
    processes: Processes,
    printer: ProgressPrinter | None,
    stop: StopRequest,
) -> int | None:
    """Train, showing how far it is; returns the iterations done, None without any."""
    from moca_core.training.events import SavedEvent, StepEvent
    from moca_core.training.run import fit

    step: int | None = None
    with closing(fit(config, folder, processes, lambda: stop.asked)) as events:
        for event in events:
            if isinstance(event, StepEvent | SavedEvent):
                step = event.step
            if printer is not None:
                _show(printer, event, step is not None)
            # Once it trains, it ends by itself, and saves.
            if stop.asked and step is None:
                return None
    return step


def _run_of(args: argparse.Namespace) -> tuple[TrainConfig, Path]:
    """The configuration and the folder; raises `ConfigError`."""
    from moca_core.training.run import resume_config

    if args.resume:
        if args.config or args.out or args.values:
            args.usage_error("--resume takes the run as it is: leave the other arguments out")
        return resume_config(args.resume), args.resume
    if args.config is None and args.out is None:
        args.usage_error("give CONFIG.toml, or --out DIR with --set data=..., or --resume RUN")
    config = TrainConfig() if args.config is None else load_toml(TrainConfig, args.config)
    config = with_values(config, args.values)
    if not config.data:
        raise ConfigError("data = ''", "Name the data: in CONFIG.toml, or with --set data=FOLDER.")
    folder = args.out or args.config.with_name(f"{args.config.stem}-run")
    return _located(config), folder


def _located(config: TrainConfig) -> TrainConfig:
    """With whole paths, so that a run can be taken up from any folder."""

    def whole(path: str) -> str:
        return str(Path(path).expanduser().absolute()) if path else ""

    return replace(
        config, data=whole(config.data), videos=whole(config.videos), start=whole(config.start)
    )


def _on_gpu(config: TrainConfig) -> bool:
    import torch

    return config.device != "cpu" and torch.cuda.is_available()


def _show(printer: ProgressPrinter, event: TrainEvent, trains: bool) -> None:
    """Show an event; `trains` tells whether iterations have begun."""
    from moca_core.training.events import SavedEvent, StepEvent, ValidationEvent

    if isinstance(event, StepEvent):
        printer.update(f"loss {event.loss:.4f}", event.step, event.total, "iterations")
    elif isinstance(event, ValidationEvent):
        scores = ", ".join(f"{name} {value:.4f}" for name, value in event.scores.items())
        best = " (best)" if event.best else ""
        printer.note(f"After {event.step} iterations, held out: {scores}{best}")
    # The parts of a validation would take the bar from the iterations, and their rate.
    elif not isinstance(event, SavedEvent) and not trains:
        show(printer, "Training", event)
