"""Learning rate by step, or by the clock."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

ScheduleKind = Literal["trapezoid", "cosine", "multistep"]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to ``peak``, then one of three courses.

    steps: of the whole run; or None, and ``minutes`` says how long it takes: the course then
        follows the clock and ends on time, however fast the steps go.
    peak: highest rate. warmup_steps: until the peak.
    kind: "trapezoid" stays at the peak and falls linearly to zero over the last
        ``cooldown_share`` of the run; "cosine" falls from the peak to ``final_share`` of it
        (Loshchilov and Hutter 2017); "multistep" is multiplied by ``factor`` at each milestone.
    milestones: steps, increasing.

    Raises:
        ValueError: values that contradict one another.
    """

    steps: int | None
    peak: float
    warmup_steps: int = 0
    kind: ScheduleKind = "trapezoid"
    cooldown_share: float = 0.25
    final_share: float = 0.02
    milestones: tuple[int, ...] = ()
    factor: float = 0.5
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise ValueError("give steps or minutes, the length of the run")
        if self.steps is not None and self.minutes is not None:
            raise ValueError("give steps or minutes, not both; set the other to null")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must increase, got {list(self.milestones)}")
        if self.kind == "multistep" and not self.milestones:
            raise ValueError("a multistep schedule needs milestones")
        if self.kind == "multistep" and self.steps is None:
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
        return self.peak * warm * self._share(step, self.done(step, minutes))

    def _share(self, step: int, done: float) -> float:
        if self.kind == "trapezoid":
            left = max(0.0, 1 - done)
            return min(1.0, left / self.cooldown_share) if self.cooldown_share else 1.0
        if self.kind == "multistep":
            return self.factor ** bisect_right(self.milestones, step)
        warm = self.warmup_steps / self.steps if self.steps is not None else 0.0
        falling = min(1.0, max(0.0, (done - warm) / (1 - warm)))
        wave = 0.5 * (1 + math.cos(math.pi * falling))
        return self.final_share + (1 - self.final_share) * wave
