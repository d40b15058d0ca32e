"""Training as a generator of events: what a command line, a window and tests all consume."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from moca_core.config import fingerprint
from moca_core.device import DeviceChoice
from moca_core.errors import ConfigError, MocaError
from moca_core.models.compute import autocast
from moca_core.training import checkpoint
from moca_core.training.checkpoint import State
from moca_core.training.config import TrainConfig
from moca_core.training.events import (
    SavedEvent,
    StepEvent,
    TrainEvent,
    ValidationEvent,
)
from moca_core.training.learner import Batch, Learner
from moca_core.training.processes import Processes, averaged
from moca_core.types import StageEvent

MOST_SKIPPED = 10
"""Iterations in a row without a finite loss and gradient after which a run stops."""
_VALIDATION_BATCHES = 8


class TrainingError(MocaError):
    """A run can't go on; its last checkpoint stays."""


class Examples(Protocol):
    """Items with their features and their likes, by row; see `training.examples`."""

    @property
    def recordings(self) -> NDArray[np.integer]:
        """(n,) which recording each picture is of."""
        ...

    @property
    def sounds(self) -> NDArray[np.integer]:
        """(n,) which sound each item has."""
        ...

    def positives(self, rows: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
        """(B,) -> (B,) one of the nearest pictures of each, of another recording."""
        ...

    def negatives(self, rows: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
        """(B,) -> (B,) a picture beyond the nearer half of each."""
        ...

    def visual(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(B, 1 + N, Dv) tokens that enter the first adapted block."""
        ...

    def audio(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(B, M, Da)."""
        ...


@dataclass(frozen=True)
class Parts:
    """The items of both sides; `held_out` is None where too few recordings are there."""

    training: Examples
    held_out: Examples | None


def draw(examples: Examples, config: TrainConfig, purpose: int, step: int) -> NDArray[np.int64]:
    """The triplets of an iteration: (B, 4) rows of anchor, positive, negative, another sound.

    They depend on seed, purpose and step alone, so that a run that is taken up draws as if it
    hadn't stopped, and so does each of several processes.
    """
    random = np.random.default_rng([config.seed, purpose, step])
    sounds = examples.sounds
    anchors = random.integers(0, len(sounds), config.batch)
    seed = int(random.integers(2**31))
    others = [int(random.choice(np.flatnonzero(sounds != sounds[row]))) for row in anchors]
    columns = (
        anchors,
        examples.positives(anchors, seed),
        examples.negatives(anchors, seed),
        np.array(others),
    )
    return np.stack(columns, axis=1).astype(np.int64)


def batch_of(examples: Examples, rows: NDArray[np.int64]) -> Batch:
    """The tensors of drawn triplets (B, 4)."""
    anchor, positive, negative, other = rows.T.tolist()
    return Batch(
        anchor=torch.from_numpy(examples.visual(anchor)),
        positive=torch.from_numpy(examples.visual(positive)),
        negative=torch.from_numpy(examples.visual(negative)),
        audio=torch.from_numpy(examples.audio(anchor)),
        other=torch.from_numpy(examples.audio(other)),
        recordings=torch.from_numpy(examples.recordings[anchor].astype(np.int64)),
    )


def learning_rate(config: TrainConfig, step: int) -> float:
    """Of iteration `step`, from 0: a linear warm-up, then half a cosine down to 0."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.iterations - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class Trainer:
    """One run in one folder.

    Parameters
    ----------
    learner : on its device; its encoder is frozen.
    folder : of the run; a checkpoint there is taken up.
    processes : which of how many this one is.

    Raises
    ------
    ConfigError : the batch can't be shared by the processes, or the checkpoint is another run's.
    WeightsError : the checkpoint is damaged.
    """

    def __init__(
        self,
        config: TrainConfig,
        learner: Learner,
        parts: Parts,
        folder: Path,
        device: DeviceChoice,
        processes: Processes | None = None,
    ) -> None:
        self.config, self.learner, self.parts = config, learner, parts
        self.folder, self.device = folder, device
        self.processes = processes or Processes()
        if config.batch % self.processes.count:
            raise ConfigError(
                f"batch = {config.batch} for {self.processes.count} processes",
                "Use a multiple of the number of processes.",
            )
        self._optimiser = torch.optim.AdamW(_groups(learner, config), lr=config.lr)
        self._scaler = torch.amp.GradScaler(
            torch.device(device.device).type, enabled=device.dtype == "float16"
        )
        self.state = checkpoint.load(fingerprint(config), folder) or State()
        self._saved = self.state.step, self.state.validated
        if self.state.step:
            self._take_up(self.state)
        # A checkpoint is read into main memory, wherever it was made.
        self._mean = {key: value.to(device.device) for key, value in self.state.mean.items()}
        if config.ema and not self._mean:
            self._mean = {key: value.clone() for key, value in learner.state_dict().items()}
        self._model: nn.Module = learner
        if self.processes.count > 1:
            self._model = DistributedDataParallel(learner)

    def _take_up(self, state: State) -> None:
        """Go on from a checkpoint; raises `WeightsError` where it doesn't fit."""
        try:
            self.learner.load_state_dict(dict(state.learner))
            self._optimiser.load_state_dict(dict(state.optimiser))
            self._scaler.load_state_dict(dict(state.scaler))
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise checkpoint.damaged(self.folder) from error

    def events(self, stop: Callable[[], bool] = lambda: False) -> Iterator[TrainEvent]:
        """Train to the end; may be closed at any event, and taken up from the last checkpoint.

        Parameters
        ----------
        stop : asked after each iteration and within validations; once it is true of any of the
            processes a checkpoint is saved, and all of them end.

        Raises
        ------
        TrainingError : `MOST_SKIPPED` iterations in a row had no finite loss and gradient.
        StorageError : a checkpoint can't be written; the last one stays.
        """
        config, state = self.config, self.state
        stopped = False
        while True:
            held_out = self.parts.held_out
            # One that a stop left out is made up for when the run is taken up.
            due = self._is_due(config.validate_every) and state.validated < state.step
            if held_out is not None and due and not stopped:
                stopped = yield from self._validation(held_out, stop)
            if stopped or self._is_due(config.save_every):
                yield from self._checkpoint()
            if stopped or state.step == config.iterations:
                return
            yield self._iterate()
            stopped = self._agreed(stop)

    def _is_due(self, every: int) -> bool:
        step = self.state.step
        return step > 0 and (step % every == 0 or step == self.config.iterations)

    def _agreed(self, stop: Callable[[], bool]) -> bool:
        """Whether any process is asked to stop: they can only end together."""
        asked = torch.tensor(float(stop()), device=self.device.device)
        return averaged({"stop": asked})["stop"] > 0

    def _checkpoint(self) -> Iterator[SavedEvent]:
        """Save what isn't saved yet."""
        now = self.state.step, self.state.validated
        if self.processes.first and now != self._saved:
            self._saved = now
            yield SavedEvent(self.state.step, self.save())

    def save(self) -> Path:
        """Write the checkpoint; raises `StorageError`."""
        self.state.learner = self.learner.state_dict()
        self.state.optimiser = self._optimiser.state_dict()
        self.state.mean, self.state.scaler = self._mean, self._scaler.state_dict()
        return checkpoint.save(self.state, fingerprint(self.config), self.folder)

    def weights(self) -> Mapping[str, Tensor]:
        """What was learnt: the running mean of the weights if there is one."""
        return self._mean or self.learner.state_dict()

    def _iterate(self) -> StepEvent:
        """One iteration; without a finite loss and gradient it changes nothing but the count."""
        config, state = self.config, self.state
        rows = draw(self.parts.training, config, 0, state.step)
        rows = rows[self.processes.rank :: self.processes.count]
        batch = batch_of(self.parts.training, rows).to(self.device.device)
        rate = learning_rate(config, state.step)
        for group in self._optimiser.param_groups:
            group["lr"] = rate * group["times"]
        with autocast(self.device):
            loss, said = self._model(batch)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(), config.clip)
        # All processes must agree whether to skip: gradients are shared, and so is the loss here.
        numbers = averaged({"loss": loss.detach(), **said})
        finite = math.isfinite(numbers["loss"]) and bool(torch.isfinite(norm))
        if finite:
            self._scaler.step(self._optimiser)
            self._follow()
            state.in_a_row = 0
        else:
            state.skipped += 1
            state.in_a_row += 1
        self._scaler.update()
        self._optimiser.zero_grad(set_to_none=True)
        state.step += 1
        if state.in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"loss or gradient weren't finite {MOST_SKIPPED} times in a row",
                "Lower lr, or use precision float32. The last checkpoint is kept.",
            )
        value = numbers.pop("loss")
        return StepEvent(
            step=state.step,
            total=config.iterations,
            loss=value if finite else math.nan,
            parts=numbers,
            lr=rate,
            gradient=float(norm),
            skipped=state.skipped,
        )

    def _follow(self) -> None:
        """Let the running mean follow the weights."""
        if not self.config.ema:
            return
        decay = min(self.config.ema, (1 + self.state.step) / (10 + self.state.step))
        for key, value in self.learner.state_dict().items():
            self._mean[key].lerp_(value, 1 - decay)

    def _validation(
        self, examples: Examples, stop: Callable[[], bool]
    ) -> Generator[TrainEvent, None, bool]:
        """Score the same held-out triplets every time; returns whether a stop cut it short."""
        found: list[dict[str, float]] = []
        for number in range(_VALIDATION_BATCHES):
            yield StageEvent("Validating", number, _VALIDATION_BATCHES)
            if self._agreed(stop):
                return True
            with self._mean_in_place():
                found.append(self._scored(examples, number))
        scores = {name: float(np.mean([row[name] for row in found])) for name in found[0]}
        state = self.state
        best = scores["loss"] < state.best
        if best:
            state.best = scores["loss"]
        state.scores, state.validated = scores, state.step
        yield ValidationEvent(state.step, scores, best)
        return self._agreed(stop)

    @torch.no_grad()
    def _scored(self, examples: Examples, number: int) -> dict[str, float]:
        """Loss and its parts of a validation's batch."""
        rows = draw(examples, self.config, 1, number)
        batch = batch_of(examples, rows).to(self.device.device)
        with autocast(self.device):
            loss, said = self.learner(batch)
        return {"loss": float(loss)} | {name: float(value) for name, value in said.items()}

    def _mean_in_place(self) -> _Swapped | nullcontext[None]:
        return _Swapped(self.learner, self._mean) if self._mean else nullcontext()


def _groups(learner: Learner, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters by how they are trained.

    Matrices decay. Gates, norms, biases and latents don't, and the gates, from which everything
    starts and of which a few hundredths matter, move faster.
    """
    named = list(learner.named_parameters())
    gates = [value for name, value in named if name.endswith((".gate", ".mix"))]
    latents = [value for name, value in named if name.endswith(".latents")]
    apart = {id(value) for value in (*gates, *latents)}
    matrices = [value for _, value in named if value.ndim > 1 and id(value) not in apart]
    rest = [value for _, value in named if value.ndim < 2 and id(value) not in apart]
    return [
        {"params": matrices, "weight_decay": config.weight_decay, "times": 1.0},
        {"params": [*rest, *latents], "weight_decay": 0.0, "times": 1.0},
        {"params": gates, "weight_decay": 0.0, "times": config.gate_rate},
    ]


class _Swapped:
    """Other weights in a module for a while."""

    def __init__(self, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        self._module, self._weights = module, weights
        self._own: dict[str, Tensor] = {}

    def __enter__(self) -> None:
        self._own = {key: value.clone() for key, value in self._module.state_dict().items()}
        self._module.load_state_dict(dict(self._weights))

    def __exit__(self, *_: object) -> None:
        self._module.load_state_dict(self._own)
