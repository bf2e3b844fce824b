"""The training loop: optimisation, EMA, validation, states that resume exactly, many processes.

It knows nothing of JPEG: the caller hands over the network, the source of batches, the loss and a
validation function.
"""

from __future__ import annotations

import copy
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from utils.distributed import ALONE, World
from utils.training.optimisers import (
    build_optimisers,
    optimiser_state,
    restore_optimisers,
    set_rate,
)
from utils.training.profile import step_profile
from utils.training.record import TRAIN_CURVE, VALIDATION_CURVE, RunRecord, differences
from utils.training.schedule import Recipe
from utils.training.state import save_state, saved_states, set_aside

Batch = TypeVar("Batch")

MAX_BAD_STEPS = 10
"""Steps with a non-finite loss in a row after which a run stops."""

OTHER_FAILED = "another process failed"

_SMOOTHING = 0.98
_SAME_REQUEST_SECONDS = 3.0


class TrainingError(RuntimeError):
    """A run that cannot start or go on; the message is one line."""


class Loss(NamedTuple):
    """What one batch gave: the scalar to minimise, and detached scalars to report."""

    total: Tensor
    figures: Mapping[str, Tensor]


class Validated(NamedTuple):
    """Figures whose mean decides which weights are best, RGB pictures to look at, more figures."""

    figures: Mapping[str, float]
    pictures: Mapping[str, NDArray[np.uint8]]
    watched: Mapping[str, float] = {}


@dataclass(eq=False)
class Trainer(Generic[Batch]):
    """Trains one network in one folder.

    network: on its device. recipe: numbers of the optimisation. folder: where states go.
    batches: first step -> endless iterator of this process's micro-batches, ``accumulate`` of them
        a step, each a pure function of step, position and process.
    crops: samples of one step over all processes and micro-batches.
    loss: (network, batch) -> :class:`Loss`; may use autocast.
    validate: EMA network -> :class:`Validated`, called by every process; only the main process's
        result counts. None: no validation.
    export: (EMA network, stem) writes a checkpoint for users; called with "last" and "best" by the
        main process.
    record: what the run tells people.
    world: the processes that train together.
    variant: what the network is, plain types, compared with that of the state a run resumes from.
    save_minutes, report_steps, validate_steps: how often; None: only at the end.
    max_minutes: after which this call stops, to be resumed later.
    profile: write where the time of a step goes, see :mod:`utils.training.profile`.
    seed: of all random layers.
    """

    network: nn.Module
    recipe: Recipe
    folder: Path
    batches: Callable[[int], Iterator[Batch]]
    crops: int
    loss: Callable[[nn.Module, Batch], Loss]
    validate: Callable[[nn.Module], Validated] | None
    export: Callable[[nn.Module, str], None]
    record: RunRecord
    world: World = ALONE
    variant: Mapping[str, Any] = field(default_factory=dict)
    save_minutes: float = 5.0
    report_steps: int = 50
    validate_steps: int | None = None
    max_minutes: float | None = None
    profile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        self.device = next(self.network.parameters()).device
        self.ema = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.optimisers = build_optimisers(self.network, self.recipe)
        self.step = 0
        self.minutes = 0.0
        self.skipped = 0
        self.best = -math.inf
        self._validation_is_due = False
        self._began = 0.0
        self._rate = 0.0
        self._bad_in_a_row = 0
        self._failure: TrainingError | None = None

    def resume(self) -> bool:
        """Continue from the folder's state, if it has one.

        Falls back to the state before where the newest is damaged, and says so.

        Raises:
            TrainingError: there are states, but none can be used.
        """
        found = False
        damaged: list[Path] = []
        for path, state, damage in saved_states(self.folder):
            found = True
            if problem := damage or self._unfit(state):
                self.record.say(f"{path} cannot be used: {problem}")
                if damage:
                    damaged.append(path)
                continue
            self.world.wait()  # until all have read it
            for other in damaged if self.world.is_main else []:
                set_aside(other)
            self._restore(state)
            self._validation_is_due = bool(state.get("validation_is_due"))
            self.record.start_from(self.step, validated=not self._validation_is_due)
            self.record.say(f"resuming at step {self.step} from {path}")
            if state.get("best_is_due") and self.world.is_main:
                self.export(self.ema, "best")
            return True
        if found:
            raise TrainingError(
                f"no state in {self.folder} can be resumed with these options; choose another "
                "name (--set name=...) or delete the folder"
            )
        self.record.start_from(0)
        return False

    def fit(self) -> bool:
        """Train until the schedule's end, the time limit or a signal; state is saved each time.

        Returns whether the schedule has ended.

        Raises:
            TrainingError: the loss was not finite many times in a row, or a state could not be
                written.
        """
        if self._ended():
            self.record.say(f"nothing to do: {self._progress()} are done")
            if self.world.is_main:  # as it may have been killed before that
                self.export(self.ema, "last")
            return True
        with ExitStack() as at_end:
            stream = self.batches(self.step)  # may prepare for long, which is no training
            at_end.callback(getattr(stream, "close", lambda: None))  # its processes end with it
            stop = at_end.enter_context(_stop_on_signal())
            start = saved = time.monotonic()
            self._began = start - 60 * self.minutes
            wrapped = self.world.parallel(self.network, self.device)
            meter = _Meter()
            wants_profile = self.profile and self.world.is_main
            profile = step_profile(self.record, self.device) if wants_profile else None
            self.record.progress(self.step, self.recipe.steps, {})
            if self._validation_is_due:
                self._validate()
            while not self._ended():
                limit = math.inf if self.max_minutes is None else 60 * self.max_minutes
                expired = time.monotonic() - start > limit
                wants_stop = bool(stop) or (expired and self.world.is_main)
                figures, stopping = self._train_step(wrapped, stream, meter, wants_stop)
                self.step += 1
                if profile is not None:
                    profile.step()
                meter.finish_step(figures)
                self._show(meter)
                if self.step % self.report_steps == 0 or self._ended():
                    self._report(meter)
                every = self.validate_steps
                validates = self._ended() or (every is not None and self.step % every == 0)
                due = validates or time.monotonic() - saved > 60 * self.save_minutes
                # Before a validation too: whoever ends a run may not wait for that. But not before
                # the last one, or a run that is killed meanwhile would not be validated.
                if due and not self._ended():
                    self.save(validation_is_due=validates)
                    saved = time.monotonic()
                if validates:
                    self._validate()
                if stopping:
                    break
                meter.pause()
            try:
                self.save()
            finally:  # the weights alone are a tenth of the state
                if self.world.is_main:
                    self.export(self.ema, "last")
            (failed,) = self.world.sums([float(self._failure is not None)], self.device)
            if failed:
                raise self._failure or TrainingError(OTHER_FAILED)
        return self._ended()

    def _ended(self) -> bool:
        return self.recipe.done(self.step, self.minutes) >= 1

    def _progress(self) -> str:
        if self.recipe.steps is not None:
            return f"{self.step} of {self.recipe.steps} steps"
        return f"{self.minutes:.1f} of {self.recipe.minutes:g} minutes"

    def save(self, best_is_due: bool = False, validation_is_due: bool = False) -> None:
        """Write the whole state; the main process does it, the others go on.

        best_is_due: these weights are the best so far and have not been exported as such.
        validation_is_due: that of this step has not been made.

        Raises:
            TrainingError: it cannot be written; older states are untouched. With several processes
                this is raised in all of them after the next step.
        """
        if not self.world.is_main:
            return
        state = {
            "variant": json.dumps(self.variant),
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimisers": optimiser_state(self.network, self.optimisers),
            "step": self.step,
            "minutes": self.minutes,
            "skipped": self.skipped,
            "best": self.best,
            "best_is_due": best_is_due,
            "validation_is_due": validation_is_due,
        }
        try:
            save_state(self.folder, state)
        except OSError as error:
            self._failure = TrainingError(
                f"the state of step {self.step} cannot be written to {self.folder} ({error}); "
                "older states are untouched: make room and continue with --resume auto"
            )
            if self.world.size == 1:  # of several, the others would wait for this process
                raise self._failure from error

    def _unfit(self, state: Mapping[str, Any]) -> str | None:
        """Why a state cannot be continued by this trainer, None if it can."""
        own = self.network.state_dict()
        theirs = state.get("network")
        if not isinstance(theirs, Mapping) or "step" not in state or "optimisers" not in state:
            return "written by another version of this project"
        there, here = state.get("variant", "{}"), json.dumps(self.variant)
        if differing := differences(json.loads(there), json.loads(here)):
            return f"it holds another network than the options say ({differing})"
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in theirs.items()}:
            return "its weights are those of another network"
        return None

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        fresh = restore_optimisers(self.network, self.optimisers, state["optimisers"])
        if fresh:
            self.record.say(f"another optimiser: {fresh} weights start with fresh averages")
        self.step, self.skipped, self.best = state["step"], state["skipped"], state["best"]
        self.minutes = state.get("minutes", 0.0)  # older states go by steps

    def _train_step(
        self, wrapped: nn.Module, stream: Iterator[Batch], meter: _Meter, wants_stop: bool
    ) -> tuple[dict[str, float], bool]:
        """One update; returns the step's figures over all processes, and whether to stop."""
        recipe = self.recipe
        _seed_step(self.seed, self.step, self.world.rank)
        self._rate = recipe.rate(self.step, self.minutes)
        set_rate(self.optimisers, self._rate)
        self.network.train()
        self.network.zero_grad(set_to_none=True)
        figures: dict[str, Tensor] = {}
        for position in range(recipe.accumulate):
            with meter.waiting():
                batch = next(stream)
            last = position == recipe.accumulate - 1
            # Gradients travel between processes once a step.
            local = isinstance(wrapped, DistributedDataParallel) and not last
            with wrapped.no_sync() if local else nullcontext():  # type: ignore[operator]
                loss = self.loss(wrapped, batch)
                (loss.total / recipe.accumulate).backward()
            for name, value in {"loss": loss.total.detach(), **loss.figures}.items():
                figures[name] = figures.get(name, torch.zeros_like(value)) + value
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip_norm)

        # The one place where a step waits for the device.
        *values, norm = torch.stack(
            [*(value / recipe.accumulate for value in figures.values()), norm]
        ).tolist()
        failing = float(self._failure is not None)
        minutes = (time.monotonic() - self._began) / 60
        # All processes go by one clock, the mean of theirs.
        sums = self.world.sums([*values, float(wants_stop), failing, minutes], self.device)
        *means, stopping, failed, self.minutes = (value / self.world.size for value in sums)
        if failed:
            raise self._failure or TrainingError(OTHER_FAILED)
        result = dict(zip(figures, means, strict=True))
        if not (math.isfinite(result["loss"]) and math.isfinite(norm)):
            self.skipped += 1
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= MAX_BAD_STEPS:
                raise TrainingError(
                    f"the loss was not finite {MAX_BAD_STEPS} times in a row at step {self.step}; "
                    "lower the learning rate and resume"
                )
            return {}, stopping > 0
        self._bad_in_a_row = 0
        for optimiser in self.optimisers:
            optimiser.step()
        self._update_ema()
        return {**result, "gradient_norm": norm}, stopping > 0

    @torch.no_grad()
    def _update_ema(self) -> None:
        # The average follows quickly at first, when early weights are not worth remembering.
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        average = get_ema_multi_avg_fn(decay)
        average(list(self.ema.parameters()), list(self.network.parameters()), None)

    def _show(self, meter: _Meter) -> None:
        shown = {"done": self._progress()} if self.recipe.steps is None else {}
        for name in ("loss", "gain"):
            if name in meter.running:
                shown[name] = f"{meter.running[name]:.4g}"
        shown |= {"crops/s": f"{self._crop_rate(meter):.1f}", "skipped": str(self.skipped)}
        self.record.progress(self.step, self.recipe.steps, shown)

    def _crop_rate(self, meter: _Meter) -> float:
        """Crops per second; 0 as long as it is not known."""
        return self.crops / meter.step_seconds if meter.step_seconds else 0.0

    def _report(self, meter: _Meter) -> None:
        self.record.curve(
            TRAIN_CURVE,
            self.step,
            {
                **meter.window_means(),
                "learning_rate": self._rate,
                "crops_per_second": self._crop_rate(meter),
                "waiting_for_data": meter.waiting_share,
                "skipped": self.skipped,
            },
        )
        if meter.waiting_share > 0.1:
            self.record.say(
                f"step {self.step}: {meter.waiting_share:.0%} of the time goes into waiting for "
                "crops; raise data.workers"
            )
        meter.start_window()

    def _validate(self) -> None:
        if self.validate is None:
            return
        figures, pictures, watched = self.validate(self.ema)
        shown = {**figures, **watched}
        text = "  ".join(f"{name} {value:+.3f}" for name, value in shown.items())
        if not all(math.isfinite(value) for value in figures.values()):
            text += "  (not finite: no weights are chosen by it)"
        self.record.curve(VALIDATION_CURVE, self.step, shown)
        for name, picture in pictures.items():
            self.record.picture(name, self.step, picture)
        score = sum(figures.values()) / len(figures) if figures else -math.inf
        better = score > self.best
        self.record.say(f"step {self.step}: {text}{'  (best so far)' if better else ''}")
        if better:
            self.best = score
            # A state that did not know of it could replace it by worse weights.
            self.save(best_is_due=True)
            if self.world.is_main:
                self.export(self.ema, "best")


class _Meter:
    """Running and windowed means of figures; how fast steps go and how long they wait for data."""

    def __init__(self) -> None:
        self.running: dict[str, float] = {}
        self.step_seconds = 0.0
        self._first = True
        self._last = time.perf_counter()
        self._window: list[dict[str, float]] = []
        self._waited = 0.0
        self._worked = 0.0

    def pause(self) -> None:
        """Do not count the time since the last step: it went into saving or validation."""
        self._last = time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self._waited += time.perf_counter() - before

    def finish_step(self, figures: Mapping[str, float]) -> None:
        now = time.perf_counter()
        took, self._last = now - self._last, now
        if self._first:  # starts loaders, compiles: says nothing of those to come
            self._first, self._waited = False, 0.0
        else:
            self._worked += took
            # Of durations, not of rates: their mean is what the remaining time depends on.
            self.step_seconds = 0.95 * (self.step_seconds or took) + 0.05 * took
        if not figures:
            return
        self._window.append(dict(figures))
        for name, value in figures.items():
            before = self.running.get(name, value)
            self.running[name] = _SMOOTHING * before + (1 - _SMOOTHING) * value

    def window_means(self) -> dict[str, float]:
        names = self._window[0] if self._window else {}
        return {n: sum(row[n] for row in self._window) / len(self._window) for n in names}

    @property
    def waiting_share(self) -> float:
        return self._waited / self._worked if self._worked else 0.0

    def start_window(self) -> None:
        self._window = []
        self._waited = self._worked = 0.0


def _seed_step(seed: int, step: int, rank: int) -> None:
    """Random layers depend on the step alone: no generator's state needs to be saved."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0]))


@contextmanager
def _stop_on_signal() -> Iterator[list[float]]:
    """SIGINT and SIGTERM ask the loop to stop after its step; a later one acts as usual.

    One that follows at once is the same request: launchers and batch systems tend to repeat it.
    Yields when signals came, empty as long as there was none.
    """
    times: list[float] = []

    def handler(number: int, frame: FrameType | None) -> None:
        times.append(time.monotonic())
        if len(times) > 1 and times[-1] - times[0] > _SAME_REQUEST_SECONDS:
            restore()
            signal.raise_signal(number)

    def restore() -> None:
        for number, old in before.items():
            signal.signal(number, old)

    before = {each: signal.signal(each, handler) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield times
    finally:
        restore()
