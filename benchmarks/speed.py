"""Time, memory and arithmetic speed of restoring one picture, for each network and way to run it.

"as published" is how the published scripts run: float32, NCHW, eager, gradients recorded. Each case
has a process of its own, for what one sets (threads, how memory is kept) must not help another;
they run in turn, so that a drift of the machine meets all of them. Prints a Markdown table of
medians.
"""

from __future__ import annotations

import argparse
import platform
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script started by itself

from benchmarks.command_line import WEIGHTS_HELP, coffee, gain, print_heading, print_row
from data.datasets import SAMPLE, NamedImage, TestSet, has_testset, open_testset
from data.degradation import Degraded, SingleJpeg
from data.jpeg import JpegImage
from jobs.methods import JPEGQS, smooth
from models import IJCN, CheckpointError, load_checkpoint
from models.int8 import why_not_int8
from models.restore.restorer import Restorer, network_input, pick_device, pick_precision
from utils.arguments import Parser, between
from utils.evaluation.evaluate import Method, evaluate_methods, one_by_one
from utils.evaluation.metrics import measure
from utils.machine import keep_freed_memory
from utils.project import PROJECT
from utils.scripts import run_script

EXAMPLES = """examples:
  make bench
  python benchmarks/speed.py --size 3072x2048 --checkpoint fast --no-published --repeats 3
  python benchmarks/speed.py --evaluation LIVE1_color
  python benchmarks/speed.py --checkpoint runs/mine/best.safetensors --modes float32 bfloat16 int8
"""

Mode = Literal["as published", "float32", "bfloat16", "int8", "bfloat16, compiled"]
MODES: tuple[Mode, ...] = get_args(Mode)
PUBLISHED = "published size"
CONVOLUTION_FLOPS = 2.0 * 9 * 256 * 256 * 256 * 384


@dataclass(frozen=True)
class Case:
    """One network, run in one way. network: as on the command line, or :data:`PUBLISHED`."""

    network: str
    mode: Mode
    device: str

    @property
    def name(self) -> str:
        """As the table shows it."""
        return f"{self.network}, {self.mode}"

    def restore(self) -> Callable[[JpegImage], NDArray[np.uint8]]:
        """What turns a stored JPEG into pixels in this way."""
        model = load_network(self.network)
        if self.mode == "as published":
            return partial(_as_published, model.eval().to(pick_device(self.device)))
        if self.mode == "bfloat16, compiled":
            return Restorer(model, self.device, "bfloat16", compile=True).restore
        return Restorer(model, self.device, self.mode).restore

    def possible(self) -> bool:
        """Whether network and machine can do it; all but int8 they can."""
        return self.mode != "int8" or not why_not_int8(
            load_network(self.network), pick_device(self.device)
        )


def load_network(network: str) -> IJCN:
    """Weights by their word or file; or the published network, untrained."""
    return IJCN() if network == PUBLISHED else load_checkpoint(network)


def _as_published(model: IJCN, stored: JpegImage) -> NDArray[np.uint8]:
    device = next(model.parameters()).device
    qts, y_coef, c_coef, detail = network_input(stored)
    image = model(qts.to(device), y_coef.to(device), c_coef.to(device), detail).image
    pixels = (image[0].detach().permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8)
    return pixels.cpu().numpy()[: stored.height, : stored.width]


def main() -> int:
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument("--checkpoint", nargs="+", default=["full", "fast"], help=WEIGHTS_HELP)
    parser.add_argument("--size", default="768x512", metavar="WxH", help="of the picture (768x512)")
    parser.add_argument(
        "--published",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure the published network too, untrained",
    )
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=MODES,
        help="default: as published, float32, and bfloat16 and int8 where the hardware computes in "
        "them; int8 is left out for networks without ranges",
    )
    parser.add_argument("--repeats", type=between(int, 1), default=5, help="timed runs per case")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda")
    parser.add_argument(
        "--evaluation", metavar="SET", help="measure a whole evaluation of this set at QF 10 too"
    )
    args = parser.parse_args()
    args.networks = [*args.checkpoint, *([PUBLISHED] if args.published else [])]
    try:
        args.modes = args.modes or _default_modes(args.device)
        for network in args.checkpoint:
            load_network(network)
    except (ValueError, CheckpointError) as error:
        parser.error(str(error))
    try:
        width, height = (int(part) for part in args.size.split("x"))
        if min(width, height) < 1:
            raise ValueError
    except ValueError:
        parser.error(f"--size {args.size}: expected WIDTHxHEIGHT, such as 768x512")
    cases = [Case(network, mode, args.device) for network in args.networks for mode in args.modes]
    args.cases = [case for case in cases if case.possible()]
    if not args.cases:
        parser.error("--modes int8: none of these networks can do it here; add float32")
    _restoring(args, (height, width))
    if args.evaluation:
        _evaluating(args)
    return 0


def _default_modes(device: str) -> tuple[Mode, ...]:
    """Emulated bfloat16 takes many times as long as float32, and nobody would use it."""
    native = pick_precision("auto", pick_device(device)) == torch.bfloat16
    return tuple(mode for mode in MODES[:4] if native or mode != "bfloat16")


def _restoring(args: argparse.Namespace, size: tuple[int, int]) -> None:
    device = pick_device(args.device)
    cases: list[Case] = args.cases
    pair = _pair(size)
    operations = {network: _operations(network, pair.stored) for network in args.networks}
    jpegqs = shutil.which(JPEGQS)
    with ExitStack() as stack:
        half = any(mode.startswith("bfloat16") for mode in args.modes) or (
            "int8" in args.modes and pick_precision("auto", device) == torch.bfloat16
        )
        convolution = f"convolution, {'bfloat16' if half else 'float32'}"
        makers: dict[str, Callable[[], Callable[[], object]]] = {
            case.name: partial(_case_work, case, size) for case in cases
        }
        makers[convolution] = partial(
            _convolution, device, torch.bfloat16 if half else torch.float32
        )
        mebibytes: dict[str, float] = {}
        results: dict[str, Any] = {}
        work: dict[str, Callable[[], float]] = {}
        for name, make in makers.items():
            call = stack.enter_context(own_process())
            mebibytes[name] = call(_first_time, make, device)
            results[name] = call(_result)
            work[name] = partial(call, _again, device)
        if jpegqs:
            work[JPEGQS] = partial(_timed, partial(smooth, jpegqs, pair.stored.data), device)
        metrics = partial(measure, restored=pair.jpeg, original=pair.original)
        work["PSNR + SSIM + PSNR-B"] = partial(_timed, metrics, device)
        for run in work.values():
            run()  # warms up
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(args.repeats):
            for name, run in work.items():
                seconds[name].append(run())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ceiling = CONVOLUTION_FLOPS / medians[convolution]

    print(f"{args.size} pixels, {args.repeats} repeats in turn, medians; {machine()},")
    print(f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads;")
    print(f"ceiling: a 256-channel 3x3 {convolution}, {ceiling / 1e12:.3f} TFLOP/s\n")
    print_heading(
        *("work", "s", "speed-up", "TFLOP/s", "of the ceiling", "memory over idle, MiB", "gain, dB")
    )
    for case in cases:
        median = medians[case.name]
        base = medians[next(c.name for c in cases if c.network == case.network)]
        speed = operations[case.network] / median
        decibels = gain(pair.jpeg, results[case.name], pair.original)
        gained = "-" if case.network == PUBLISHED else f"{decibels:.3f}"
        print_row(
            *(case.name, f"{median:.3f}", f"{base / median:.2f}", f"{speed / 1e12:.3f}"),
            *(f"{100 * speed / ceiling:.0f} %", f"{mebibytes[case.name]:.0f}", gained),
        )
    if jpegqs:
        gained = f"{gain(pair.jpeg, smooth(jpegqs, pair.stored.data), pair.original):.2f}"
        print_row(f"{JPEGQS}, file to file", f"{medians[JPEGQS]:.3f}", *["-"] * 4, gained)
    print_row("PSNR + SSIM + PSNR-B", f"{medians['PSNR + SSIM + PSNR-B']:.3f}", *["-"] * 5)
    print()
    first, *others = cases
    for other in others:
        same = f"{first.network}, {other.mode}"
        if other.network != first.network and same in medians:
            print(
                f"{other.name}: {medians[same] / medians[other.name]:.2f} times as fast as {same}"
            )


def _operations(network: str, stored: JpegImage) -> float:
    """Floating point operations of one picture, a multiplication and an addition counted each."""
    model = load_network(network).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        _as_published(model, stored)
    return float(counter.get_total_flops())


def _pair(size: tuple[int, int]) -> Degraded:
    return SingleJpeg(30)(coffee(*size))


def _case_work(case: Case, size: tuple[int, int]) -> Callable[[], object]:
    stored = _pair(size).stored  # first: what it takes is not the restoration's
    return partial(case.restore(), stored)


def _convolution(device: torch.device, precision: torch.dtype) -> Callable[[], object]:
    """The largest part of the published network, alone: what this hardware can do at best."""
    keep_freed_memory()
    layer = torch.nn.Conv2d(256, 256, 3, padding=1).to(device, precision)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(1, 256, 256, 384, device=device, dtype=precision)
    return partial(torch.inference_mode()(layer), x.to(memory_format=torch.channels_last))


def _evaluating(args: argparse.Namespace) -> None:
    """A whole evaluation at one quality, the published way and ours, each in its own process."""
    name, images = _evaluation_set(args.evaluation)
    print(f"\nwhole evaluation of {name} at QF 10, {len(images)} images\n")
    print_heading("network", "as published, s", "ours, s", "speed-up")
    for network in args.networks:
        seconds = []
        for mode in (MODES[0], _default_modes(args.device)[-1]):
            with own_process() as call:
                seconds.append(call(_evaluate_once, name, Case(network, mode, args.device)))
        published, ours = seconds
        print_row(network, f"{published:.1f}", f"{ours:.1f}", f"{published / ours:.2f}")


def _evaluation_set(name: str) -> tuple[str, list[NamedImage]]:
    """The built-in set where the one that is wanted is not found."""
    root = PROJECT / "testsets"
    name = name if has_testset(name, root) else SAMPLE
    images = open_testset(name, root)
    return name, [NamedImage(each.name, partial(np.asarray, each.read())) for each in images]


def _evaluate_once(dataset: str, case: Case) -> float:
    """Seconds of a whole evaluation; the published scripts do one step after the other."""
    name, images = _evaluation_set(dataset)
    restore = case.restore()
    start = time.perf_counter()
    if case.mode == "as published":
        for each in images:
            pair = SingleJpeg(10)(each.read())
            measure(restored=pair.jpeg, original=pair.original)
            measure(restored=restore(pair.stored), original=pair.original)
    else:
        method = Method(case.network, one_by_one(lambda task: restore(task.stored)))
        sets, settings = [TestSet(name, tuple(images))], [SingleJpeg(10)]
        found = evaluate_methods(sets, settings, [method], Path("unused"), "none", progress=False)
        assert not found.failures
    return time.perf_counter() - start


@contextmanager
def own_process() -> Iterator[Callable[..., Any]]:
    """What calls functions in a process of their own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


_work: Callable[[], object]
"""In a process of its own: what it does each time it is asked to."""


def _first_time(make: Callable[[], Callable[[], object]], device: torch.device) -> float:
    """Do the work once; what this took above the idle process, in MiB."""
    global _work
    _work = make()
    idle = peak_mebibytes()
    _work()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_mebibytes() - idle


def _result() -> object:
    return _work()


def _again(device: torch.device) -> float:
    return _timed(_work, device)


def _timed(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_mebibytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss starts at the parent's, this starts at zero
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def machine() -> str:
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return str(known.get("cpu_name") or platform.processor() or platform.machine())


if __name__ == "__main__":
    sys.exit(run_script(main))
