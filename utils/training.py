"""A plain training loop: AdamW, warm-up and cool-down, EMA, checkpoints that resume exactly.

It knows nothing of JPEG: the caller hands over the network, a source of batches by step, the loss
and a validation function.
"""

from __future__ import annotations

import copy
import csv
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from utils.image_io import write_atomically
from utils.muon import Muon

Batch = TypeVar("Batch")

STATE_FILE = "state.pt"
MAX_BAD_STEPS = 10
"""Steps with a non-finite loss in a row after which a run stops."""


class TrainingError(RuntimeError):
    """A run that cannot start or go on; the message is one line."""


@dataclass(frozen=True)
class Schedule:
    """Learning rate: linear warm-up, constant, linear cool-down to zero over the last steps."""

    steps: int
    peak: float
    warmup_steps: int
    cooldown_share: float

    def rate(self, step: int) -> float:
        """Learning rate of ``step``, counted from 0."""
        up = (step + 1) / (self.warmup_steps + 1)
        cooldown = self.cooldown_share * self.steps
        down = (self.steps - step) / cooldown if cooldown > 0 else 1.0
        return self.peak * max(0.0, min(1.0, up, down))


@dataclass(frozen=True)
class Recipe:
    """Numbers of the optimisation; see options.schema.OptimisationOptions."""

    schedule: Schedule
    optimiser: Literal["adamw", "muon"]
    kernel_rate: float
    weight_decay: float
    betas: tuple[float, float]
    clip_norm: float
    ema_decay: float
    save_minutes: float
    validate_steps: int
    max_minutes: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a call of :meth:`Trainer.fit` ended: steps done in all, whether that is the whole run."""

    step: int
    finished: bool


class Trainer(Generic[Batch]):
    """Trains one network in one folder.

    Args:
        network: moved to its device by the caller.
        recipe: numbers of the optimisation.
        folder: where state and log go.
        batch: the batch of a step, a pure function of the step, prepared one step ahead.
        loss: (network, batch) -> scalar loss; may use autocast.
        validate: EMA network -> figures to log; their mean decides which weights are best.
        export: (EMA network, stem) writes a checkpoint for users; called with "last" and "best".
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        folder: Path,
        batch: Callable[[int], Batch],
        loss: Callable[[nn.Module, Batch], Tensor],
        validate: Callable[[nn.Module], Mapping[str, float]] | None,
        export: Callable[[nn.Module, str], None],
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.folder = folder
        self.batch = batch
        self.loss = loss
        self.validate = validate
        self.export = export
        self.ema = copy.deepcopy(network).eval().requires_grad_(False)
        self.optimisers = _optimisers(network, recipe)
        self.step = 0
        self.skipped = 0
        self.best = -math.inf
        self._bad_in_a_row = 0

    def resume(self) -> bool:
        """Continue from the folder's state, if it has one.

        Falls back to the state before where the newest is damaged, and says so.

        Raises:
            TrainingError: there are states, but none can be used.
        """
        path = self.folder / STATE_FILE
        candidates = [p for p in (path, _previous(path)) if p.exists()]
        for candidate in candidates:
            try:
                state = torch.load(candidate, map_location="cpu", weights_only=True)
                self._restore(state)
            except Exception as error:  # torch.load raises nearly anything on damaged files
                tqdm.write(f"{candidate} cannot be used ({' '.join(str(error).split())[:200]})")
                continue
            _forget_rows_after(self.folder / "log.csv", self.step)
            tqdm.write(f"resuming at step {self.step} from {candidate}")
            return True
        if candidates:
            raise TrainingError(
                f"no state in {self.folder} fits this network; choose another name or delete it"
            )
        _forget_rows_after(self.folder / "log.csv", 0)
        return False

    def fit(self) -> Outcome:
        """Train until the schedule's end, the time limit or a signal; state is saved each time.

        Raises:
            TrainingError: the loss was not finite many times in a row.
        """
        schedule = self.recipe.schedule
        start = saved = time.monotonic()
        with (
            _stop_on_signal() as stop,
            ThreadPoolExecutor(1) as loader,
            tqdm(total=schedule.steps, initial=self.step, unit="step", dynamic_ncols=True) as bar,
        ):
            upcoming = loader.submit(self.batch, self.step)
            running = math.nan
            while self.step < schedule.steps:
                batch = upcoming.result()
                upcoming = loader.submit(self.batch, self.step + 1)
                value = self._train_step(batch)
                running = value if math.isnan(running) else 0.98 * running + 0.02 * value
                self.step += 1
                bar.update()
                bar.set_postfix(loss=f"{running:.5f}", skipped=self.skipped, refresh=False)
                now = time.monotonic()
                limit = self.recipe.max_minutes
                out_of_time = limit is not None and now - start > 60 * limit
                if self.step % self.recipe.validate_steps == 0 or self.step == schedule.steps:
                    self._report(running)
                if stop or out_of_time:
                    break
                if now - saved > 60 * self.recipe.save_minutes:
                    self.save()
                    saved = now
        self.save()
        self.export(self.ema, "last")
        return Outcome(self.step, self.step >= schedule.steps)

    def save(self) -> None:
        """Write the whole state beside its final name, keep the one before, then rename."""
        path = self.folder / STATE_FILE
        beside = path.with_suffix(".part")
        torch.save(
            {
                "network": self.network.state_dict(),
                "ema": self.ema.state_dict(),
                "optimisers": [each.state_dict() for each in self.optimisers],
                "step": self.step,
                "skipped": self.skipped,
                "best": self.best,
                "rng": torch.get_rng_state(),
                "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            },
            beside,
        )
        if path.exists():
            os.replace(path, _previous(path))
        os.replace(beside, path)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            # Hyper-parameters are the options', which may have changed; only averages are old.
            current = [
                {k: v for k, v in g.items() if k != "params"} for g in optimiser.param_groups
            ]
            optimiser.load_state_dict(saved)
            for group, own in zip(optimiser.param_groups, current, strict=True):
                group.update(own)
        self.step = state["step"]
        self.skipped = state["skipped"]
        self.best = state["best"]
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"]:
            torch.cuda.set_rng_state_all(state["cuda_rng"])

    def _train_step(self, batch: Batch) -> float:
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.recipe.schedule.rate(self.step) * group["rate_factor"]
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        loss = self.loss(self.network, batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        value = loss.item()
        if not (math.isfinite(value) and math.isfinite(norm.item())):
            self.skipped += 1
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= MAX_BAD_STEPS:
                raise TrainingError(
                    f"the loss was not finite {MAX_BAD_STEPS} times in a row at step {self.step}; "
                    "lower the learning rate and resume"
                )
            return value
        self._bad_in_a_row = 0
        for optimiser in self.optimisers:
            optimiser.step()
        self._update_ema()
        return value

    @torch.no_grad()
    def _update_ema(self) -> None:
        # The average follows quickly at first, when early weights are not worth remembering.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for average, weight in zip(self.ema.parameters(), self.network.parameters(), strict=True):
            average.lerp_(weight, 1 - decay)

    def _report(self, loss: float) -> None:
        figures = dict(self.validate(self.ema)) if self.validate else {}
        row: dict[str, float] = {"step": self.step, "loss": loss, **figures}
        _append_row(self.folder / "log.csv", row)
        text = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        tqdm.write(f"step {self.step}: loss {loss:.5f}  {text}")
        score = sum(figures.values()) / len(figures) if figures else -math.inf
        if score > self.best:
            self.best = score
            self.export(self.ema, "best")
            self.save()  # a state that did not know of it could replace it by worse weights


def _optimisers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for all weights, or Muon for the inner convolutions and AdamW for the rest."""

    def inner_kernel(weight: nn.Parameter) -> bool:
        # Layers to or from a picture's three channels have no hidden side to orthogonalise.
        return weight.ndim == 4 and min(weight.shape[:2]) > 3

    def decays(weight: nn.Parameter) -> bool:
        # Matrices and kernels; a position vector is stored as 1 x 1 x 1 x channels.
        return weight.ndim in (2, 4) and weight.shape[0] > 1

    parameters = list(network.parameters())
    kernels = [p for p in parameters if recipe.optimiser == "muon" and inner_kernel(p)]
    chosen = {id(p) for p in kernels}
    rest = [p for p in parameters if id(p) not in chosen]
    rate = recipe.schedule.peak
    adamw = torch.optim.AdamW(
        [
            # Norms, biases, slopes and position tables are not decayed.
            {"params": [p for p in rest if decays(p)], "weight_decay": recipe.weight_decay},
            {"params": [p for p in rest if not decays(p)], "weight_decay": 0.0},
        ],
        lr=rate,
        betas=recipe.betas,
        foreach=True,
    )
    optimisers: list[torch.optim.Optimizer] = [adamw]
    for group in adamw.param_groups:
        group["rate_factor"] = 1.0
    if kernels:
        muon = Muon(kernels, rate, recipe.weight_decay)
        muon.param_groups[0]["rate_factor"] = recipe.kernel_rate
        optimisers.append(muon)
    return optimisers


def collate(samples: Sequence[Sequence[Any]]) -> list[Tensor]:
    """Stack samples, each a tuple of arrays, into one tensor per position."""
    return [torch.from_numpy(np.stack(arrays)) for arrays in zip(*samples, strict=True)]


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _append_row(path: Path, row: Mapping[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def _forget_rows_after(path: Path, step: int) -> None:
    """Drop what a run logged after the state it is resumed from; it will be logged again."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    kept = [row for row in rows if int(row[0]) <= step]
    write_atomically(path, "".join(",".join(row) + "\n" for row in [header, *kept]))


class _Flag:
    """Set by a signal handler, read by the loop."""

    def __init__(self) -> None:
        self.raised = False

    def __bool__(self) -> bool:
        return self.raised


@contextmanager
def _stop_on_signal() -> Iterator[_Flag]:
    """SIGINT and SIGTERM ask the loop to stop after its step; a second one acts as usual."""
    flag = _Flag()
    before: dict[signal.Signals, Any] = {}

    def handler(number: int, frame: FrameType | None) -> None:
        flag.raised = True
        for each, old in before.items():
            signal.signal(each, old)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handler)
    try:
        yield flag
    finally:
        for number, old in before.items():
            signal.signal(number, old)
