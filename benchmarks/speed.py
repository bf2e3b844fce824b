"""Time and memory of restoring and measuring one 512x768 image, for each network and precision.

Cases run in turn, so that a drift of the machine meets all of them; medians are reported. Each
case's memory is measured in a process of its own. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

PROJECT = Path(__file__).resolve().parent.parent
if str(PROJECT) not in sys.path:
    sys.path.insert(0, str(PROJECT))  # run as a script, only benchmarks/ would be searched

from data.degradation import Degraded, SingleJpeg  # noqa: E402
from models import IJCN, load_checkpoint  # noqa: E402
from models.restorer import Precision, Restorer  # noqa: E402
from utils.metrics import measure  # noqa: E402

HEIGHT, WIDTH = 512, 768

EXAMPLES = """examples:
  python benchmarks/speed.py
  python benchmarks/speed.py --checkpoint runs/mine/best.safetensors --repeats 9
"""


@dataclass(frozen=True)
class Case:
    """One network at one precision; no checkpoint means the published size, untrained."""

    name: str
    checkpoint: Path | None
    precision: Precision

    def restorer(self) -> Restorer:
        model = load_checkpoint(self.checkpoint) if self.checkpoint else IJCN()
        return Restorer(model, "cpu", self.precision)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=PROJECT / "model_zoo" / "Color_IJCN.safetensors",
        help="weights of the small variant",
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed runs per case")
    parser.add_argument("--memory_of", metavar="CASE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.checkpoint.is_file():
        parser.error(f"checkpoint {args.checkpoint} not found; give --checkpoint")
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    cases = [
        Case(f"{name}, {precision}", checkpoint, precision)
        for name, checkpoint in (("small", args.checkpoint), ("published size", None))
        for precision in precisions
    ]
    image, pair = _pair()
    if args.memory_of:
        (case,) = (c for c in cases if c.name == args.memory_of)
        idle = _peak_mebibytes()
        case.restorer().restore(pair.stored)
        print(_peak_mebibytes() - idle)
        return 0

    work: dict[str, Callable[[], object]] = {
        case.name: partial(case.restorer().restore, pair.stored) for case in cases
    }
    work["PSNR + SSIM + PSNR-B"] = lambda: measure(restored=pair.jpeg, original=image)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(args.repeats + 1):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}

    base = medians[cases[0].name]
    print(f"{WIDTH}x{HEIGHT} pixels, {args.repeats} repeats in turn, medians;")
    print(f"{_machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| work | seconds | relative to the first | memory over the idle process, MiB |")
    print("| --- | --- | --- | --- |")
    for name, median in medians.items():
        memory = _memory_of(name, args) if any(c.name == name for c in cases) else "-"
        print(f"| {name} | {median:.3f} | {median / base:.2f} | {memory} |", flush=True)
    return 0


def _pair() -> tuple[np.ndarray, Degraded]:
    """A 512x768 crop's worth of photograph at quality 30: scikit-image's coffee, mirrored."""
    from skimage import data

    photo = np.asarray(data.coffee())
    rows, cols = HEIGHT - photo.shape[0], WIDTH - photo.shape[1]
    image = np.pad(photo, ((0, rows), (0, cols), (0, 0)), mode="symmetric")
    return image, SingleJpeg(30)(image)


def _memory_of(name: str, args: argparse.Namespace) -> str:
    command = [sys.executable, __file__, "--memory_of", name, "--checkpoint", str(args.checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"{float(done.stdout):.0f}"


def _peak_mebibytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss starts at the parent's, this starts at zero
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _machine() -> str:
    name = (
        torch.cpu.get_capabilities().get("cpu_name")
        if hasattr(torch.cpu, "get_capabilities")
        else None
    )
    return str(name or platform.processor() or platform.machine())


if __name__ == "__main__":
    sys.exit(main())
