"""Where the time of a training step goes, for those who want it shorter."""

from __future__ import annotations

import time
from typing import Any

import torch

from utils.training.record import RunRecord

PROFILE_FILE = "profile.txt"
SKIPPED_STEPS = 20
"""The first steps load, tune and compile: they say nothing of those to come."""
PROFILED_STEPS = 10
_ROWS = 40


class StepProfile:
    """Looks at some early steps and writes a table of their operations to profile.txt, once.

    Call :meth:`step` after every training step. It slows the steps that it looks at.
    """

    def __init__(self, record: RunRecord, device: torch.device) -> None:
        self._record = record
        self._cuda = device.type == "cuda"
        self._began = 0.0
        self._steps = 0
        self._profiler: Any = None

    def step(self) -> None:
        """One more training step is done."""
        self._steps += 1
        if self._steps == SKIPPED_STEPS:
            kinds = [torch.profiler.ProfilerActivity.CPU]
            if self._cuda:
                torch.cuda.synchronize()
                kinds.append(torch.profiler.ProfilerActivity.CUDA)
            self._profiler = torch.profiler.profile(activities=kinds)
            self._profiler.start()
            self._began = time.perf_counter()
        elif self._profiler is not None and self._steps == SKIPPED_STEPS + PROFILED_STEPS:
            if self._cuda:
                torch.cuda.synchronize()
            milliseconds = 1000 * (time.perf_counter() - self._began) / PROFILED_STEPS
            self._profiler.stop()
            self._write(milliseconds)
            self._profiler = None

    def _write(self, milliseconds: float) -> None:
        events = self._profiler.key_averages()
        line = f"a step takes {milliseconds:.1f} ms"
        if self._cuda:
            on_gpu = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
            busy = sum(e.self_device_time_total for e in on_gpu) / 1000 / PROFILED_STEPS
            count = sum(e.count for e in on_gpu) / PROFILED_STEPS
            line += f", of which the GPU works {busy:.1f} ms, in {count:.0f} kernels"
        order = "self_device_time_total" if self._cuda else "self_cpu_time_total"
        table = events.table(sort_by=order, row_limit=_ROWS, max_name_column_width=80)
        self._record.text(PROFILE_FILE, f"{line}\n\n{table}\n")
        self._record.say(f"{line}; {PROFILE_FILE} has its operations")
