"""Learning rate by step."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

ScheduleKind = Literal["trapezoid", "cosine", "multistep"]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to ``peak``, then one of three courses.

    kind: "trapezoid" stays at the peak and falls linearly to zero over the last
        ``cooldown_share`` of all steps; "cosine" falls from the peak to ``final_share`` of it
        (Loshchilov and Hutter 2017); "multistep" is multiplied by ``factor`` at each milestone.
    steps: of the whole run. peak: highest rate. warmup_steps: until the peak.
    milestones: steps, increasing.
    """

    steps: int
    peak: float
    warmup_steps: int = 0
    kind: ScheduleKind = "trapezoid"
    cooldown_share: float = 0.25
    final_share: float = 0.02
    milestones: tuple[int, ...] = ()
    factor: float = 0.5

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones must increase, got {list(self.milestones)}")
        if self.kind == "multistep" and not self.milestones:
            raise ValueError("a multistep schedule needs milestones")
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} must be fewer than steps {self.steps}"
            )

    def rate(self, step: int) -> float:
        """Learning rate of ``step``, counted from 0."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return self.peak * warm * min(1.0, self._share(step))

    def _share(self, step: int) -> float:
        if self.kind == "trapezoid":
            cooldown = self.cooldown_share * self.steps
            return max(0.0, (self.steps - step) / cooldown) if cooldown else 1.0
        if self.kind == "multistep":
            return self.factor ** bisect_right(self.milestones, step)
        done = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        wave = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
        return self.final_share + (1 - self.final_share) * wave
