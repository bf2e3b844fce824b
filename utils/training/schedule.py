"""Learning rate by step, or by the clock, and the other numbers of the optimisation."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from utils.checked import CHECKED, BelowOne, Count, Natural, NotNegative, Positive, Share

ScheduleKind = Literal["trapezoid", "cosine", "multistep"]
OptimiserKind = Literal["adam", "adamw", "muon"]


@dataclass(frozen=True, config=CHECKED)
class Schedule:
    """Linear warm-up to ``learning_rate``, then one of three courses.

    steps: of the whole run; or None, and ``minutes`` says how long it takes: the course then
        follows the clock and ends on time, however fast the steps go.
    learning_rate: highest rate. warmup_steps: until it is reached.
    schedule: "trapezoid" stays there and falls linearly to zero over the last ``cooldown_share`` of
        the run; "cosine" falls to ``final_share`` of it (Loshchilov and Hutter 2017); "multistep"
        is multiplied by ``milestone_factor`` at each milestone.
    milestones: steps, increasing.

    Raises:
        ValueError: values that contradict one another.
    """

    steps: Count | None = None
    minutes: Positive | None = None
    learning_rate: Positive = 1e-3
    warmup_steps: Natural = 100
    schedule: ScheduleKind = "trapezoid"
    cooldown_share: Share = 0.25
    final_share: Share = 0.02
    milestones: tuple[Count, ...] = ()
    milestone_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("give steps or minutes, the length of the run")
        if self.steps is not None and self.minutes is not None:
            raise ValueError("give steps or minutes, not both; set the other to null")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must increase, got {list(self.milestones)}")
        if self.schedule == "multistep" and not self.milestones:
            raise ValueError("a multistep schedule needs milestones")
        if self.schedule == "multistep" and self.steps is None:
            raise ValueError("multistep needs steps, not minutes: its milestones are steps")
        if self.steps is not None and self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} must be fewer than steps {self.steps}"
            )

    def done(self, step: int, minutes: float) -> float:
        """Share of the run that lies behind, from 0; from 1 on, it is over.

        step: updates made so far. minutes: that the run has trained so far.
        """
        if self.steps is not None:
            return step / self.steps
        assert self.minutes is not None
        return minutes / self.minutes

    def rate(self, step: int, minutes: float = 0.0) -> float:
        """Learning rate of ``step``, counted from 0, begun after so many minutes."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return self.learning_rate * warm * self._share(step, self.done(step, minutes))

    def _share(self, step: int, done: float) -> float:
        if self.schedule == "trapezoid":
            left = max(0.0, 1 - done)
            return min(1.0, left / self.cooldown_share) if self.cooldown_share else 1.0
        if self.schedule == "multistep":
            return self.milestone_factor ** bisect_right(self.milestones, step)
        warm = self.warmup_steps / self.steps if self.steps is not None else 0.0
        falling = min(1.0, max(0.0, (done - warm) / (1 - warm)))
        wave = 0.5 * (1 + math.cos(math.pi * falling))
        return self.final_share + (1 - self.final_share) * wave


@dataclass(frozen=True, config=CHECKED)
class Recipe(Schedule):
    """Numbers of the optimisation; options/train_small.yml explains them."""

    optimiser: OptimiserKind = "adamw"
    kernel_rate: Positive = 0.4
    weight_decay: NotNegative = 1e-4
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.99)
    clip_norm: Positive = 1.0
    accumulate: Count = 1
    ema_decay: BelowOne = 0.999
