"""Where the time of a training step goes, for those who want it shorter."""

from __future__ import annotations

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, schedule

from utils.training.record import RunRecord

PROFILE_FILE = "profile.txt"
SKIPPED_STEPS = 20
"""The first steps load, tune and compile: they say nothing of those to come."""
PROFILED_STEPS = 10
_ROWS = 40


def step_profile(record: RunRecord, device: torch.device) -> profile:
    """Looks at some early steps and writes a table of their operations to profile.txt, once.

    Call ``step`` of the result, which is started, after every training step. It slows the steps
    that it looks at.
    """
    on_cuda = device.type == "cuda"

    def write(profiler: profile) -> None:
        events = profiler.key_averages()
        took = sum(e.cpu_time_total for e in events if e.key.startswith("ProfilerStep"))
        line = f"a step takes {took / 1000 / PROFILED_STEPS:.1f} ms"
        if on_cuda:
            on_gpu = [
                e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation
            ]
            busy = sum(e.self_device_time_total for e in on_gpu) / 1000 / PROFILED_STEPS
            count = sum(e.count for e in on_gpu) / PROFILED_STEPS
            line += f", of which the GPU works {busy:.1f} ms, in {count:.0f} kernels"
        order = "self_device_time_total" if on_cuda else "self_cpu_time_total"
        table = events.table(sort_by=order, row_limit=_ROWS, max_name_column_width=80)
        record.text(PROFILE_FILE, f"{line}\n\n{table}\n")
        record.say(f"{line}; {PROFILE_FILE} has its operations")

    profiler = profile(
        activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])],
        schedule=schedule(
            skip_first=SKIPPED_STEPS - 1, wait=0, warmup=1, active=PROFILED_STEPS, repeat=1
        ),
        on_trace_ready=write,
    )
    profiler.start()
    return profiler
