"""What several test files need: weights of the golden vectors, small images, shared data sets."""

from __future__ import annotations

import base64
import csv
import importlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray

from data.datasets import DatasetError, testset_folder
from data.degradation import SingleJpeg
from data.jpeg import JpegImage
from models import IJCN, Restorer, save_checkpoint
from models.int8 import cpu_knows, largest_inputs, ranges_of
from models.restore.restorer import network_input
from options.schema import TrainOptions, load_options

# A job runner may have started this process with interrupts ignored, which children would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each worker and for what it starts
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
FIXTURES = ROOT / "tests" / "fixtures"

PATIENCE = 1200
"""Seconds after which a process hangs: many, as a machine may be busy with other things."""

TINY = load_options(TrainOptions, ROOT / "options" / "train_smoke.yml").network
"""A variant that runs in milliseconds and uses every departure from the published one."""


def released_weights(seed: int = 7) -> dict[str, torch.Tensor]:
    """The synthetic weights of the golden vectors, under a released checkpoint's names."""
    weights = {}
    for entry in json.loads((GOLDEN / "state_dict.json").read_text()):
        name, shape = entry["name"], entry["shape"]
        stream = np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), seed]))
        x = stream.standard_normal(shape, dtype=np.float32)
        scale, centre = {
            "weight": (0.5 / np.sqrt(np.prod(shape[1:])), 0.0),
            "bias": (0.02, 0.0),
            "position": (0.1, 0.0),
            "norm": (0.05, 1.0),
            "prelu": (0.05, 0.25),
        }[entry["kind"]]
        weights[name] = torch.from_numpy((centre + scale * x).astype(np.float32))
    return weights


def tiny_network(seed: int = 0, **changes: Any) -> IJCN:
    """A random tiny network whose output is close to the JPEG but not equal to it."""
    torch.manual_seed(seed)
    model = IJCN(replace(TINY, **changes))
    model.start_from_jpeg()
    with torch.no_grad():
        model.backbone.tail.weight.normal_(std=0.01)
        model.logm.attention.out.weight.normal_(std=0.02)
        if model.level_check is not None:
            for plane in (model.level_check.luma, model.level_check.chroma):
                plane.change.weight.normal_(std=0.02)
        if model.confidence is not None:
            model.confidence.trust.weight.normal_(std=0.0125)
    return model.eval()


def made_jpeg(seed: int = 0) -> JpegImage:
    """A small made-up photograph, compressed."""
    return SingleJpeg(30)(photograph(96, 128, seed)).stored


def calibrated_network(**changes: Any) -> IJCN:
    """A tiny network that is wide enough for int8, with its ranges on three made JPEGs."""
    network = tiny_network(**{"widths": (8, 16, 64), "inner_widths": None, **changes})
    with largest_inputs(network) as largest:
        for seed in range(3):
            Restorer(network, "cpu", "float32").restore(made_jpeg(seed))
    network.ranges = ranges_of([largest])
    return network


needs_vnni = pytest.mark.skipif(
    not cpu_knows("avx512_vnni", "avx_vnni"),
    reason="this CPU multiplies no 8-bit integers",
)


def tiny_restorer(**options: Any) -> Restorer:
    """A restorer of :func:`tiny_network` that computes as exactly on every machine."""
    return Restorer(tiny_network(), "cpu", "float32", **options)


def photograph(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A made-up colour picture with gradients, edges and texture."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    waves = np.stack(
        [
            128 + 60 * np.sin(rows / (7 + i) + i) + 50 * np.cos(cols / (11 + 2 * i))
            for i in range(3)
        ],
        -1,
    )
    waves[height // 3 : height // 2, width // 4 : width // 2] = (200, 40, 60)
    return np.clip(waves + rng.normal(0, 6, waves.shape), 0, 255).astype(np.uint8)


def smooth(height: int = 75, width: int = 133) -> NDArray[np.uint8]:
    """A colour picture without noise: chroma filters of decoders then hardly differ."""
    rows, cols = np.mgrid[:height, :width] / 40
    waves = [np.sin(rows + i) + np.cos(cols * (1 + i / 3)) for i in range(3)]
    return (128 + 50 * np.stack(waves, -1)).astype(np.uint8)


def saved(
    image: PIL.Image.Image | NDArray[np.uint8], file_format: str = "JPEG", **options: Any
) -> bytes:
    """A picture file by Pillow."""
    buffer = io.BytesIO()
    image = image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def network_case(
    quality: int, side: int = 64, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tables, luma and chroma levels of a JPEG in float32; its original (1, 3, H, W) in [0, 1]."""
    pair = SingleJpeg(quality)(photograph(side, side, seed))
    qts, y_coef, c_coef, _ = network_input(pair.stored)
    clean = torch.from_numpy(pair.original).permute(2, 0, 1)[None] / 255
    return qts.float(), y_coef.float(), c_coef.float(), clean


def run_main(
    main: Callable[[], int],
    *words: object,
    cwd: Path = ROOT,
    stdin: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """A command's ``main`` as in a process of its own, which would load PyTorch for seconds.

    words: the name it is started under, and its arguments.
    """
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True)
        for errors in ("strict", "backslashreplace")  # as Python opens them
    )
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as here:
        here.chdir(cwd)
        here.delenv("IJCN_TESTSETS", raising=False)
        for name, value in (variables or {}).items():
            here.setenv(name, value)
        here.setattr(sys, "argv", [str(word) for word in words])
        here.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        here.setattr(sys, "stdout", out)
        here.setattr(sys, "stderr", err)
        try:
            code: object = main()
        except SystemExit as end:
            code = end.code or 0
        except Exception:
            traceback.print_exc()
            code = 1
        finally:
            torch.set_num_threads(threads)
    assert isinstance(code, int)
    said = (cast(io.BytesIO, stream.buffer).getvalue() for stream in (out, err))
    return subprocess.CompletedProcess(list(words), code, *said)


def run_script(
    script: str, *arguments: object, processes: int = 0, cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A script as a user runs it; with ``processes`` by torchrun, in processes of their own."""
    if not processes:
        name = (
            "jobs.page.server" if script == "app.py" else Path(script).stem
        )  # app.py ends the process
        main = importlib.import_module(name).main
        done = run_main(main, script, *arguments, cwd=cwd, variables=variables)
        said = (stream.decode("utf-8", "backslashreplace") for stream in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, *said)
    environment = {k: v for k, v in os.environ.items() if k != "IJCN_TESTSETS"}
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return subprocess.run(
        [sys.executable, *launcher, str(ROOT / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**environment, **variables},
        cwd=cwd,
    )


def started(
    *words: object, cwd: Path = ROOT, ignoring: bool = False, **variables: str
) -> subprocess.Popen[str]:
    """A Python process that runs a script of the project; what it prints is kept.

    ignoring: as nohup and job runners start it, with interrupts ignored.
    """
    shell = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"] if ignoring else []
    return subprocess.Popen(
        [*shell, sys.executable, *map(str, words)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for what a process brings about, which must not end meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def listing(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by their paths in it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The single error line of a usage error; no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def refusal(
    main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str], *arguments: object
) -> str:
    """The one line on stderr of a command's ``main`` that ends with a usage error."""
    assert main([*map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def report_contents(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
    """What a report's page lists, and the pictures it holds by key."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    pieces = re.findall(r'id="piece-(\w+)" data-type="[^"]+">(.*?)<', text)
    return json.loads(found[1]), {
        key: np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data)))) for key, data in pieces
    }


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    """Returns the first image: what comes out can be compared with other decoders."""
    model = tiny_network()
    model.start_from_jpeg()
    return Restorer(model, precision="float32", leave_fine=False)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of :func:`tiny_network`'s weights; tables call them "tiny"."""
    path = tmp_path_factory.mktemp("zoo") / "tiny.safetensors"
    save_checkpoint(tiny_network(), path, half=True)
    return path


@pytest.fixture(scope="session")
def released_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file such as the authors would release."""
    path = tmp_path_factory.mktemp("released") / "Color_IJCN.pth"
    torch.save(released_weights(), path)
    return path


@pytest.fixture(scope="session")
def live1() -> Path:
    """Folder of LIVE1_color, where it has been fetched."""
    return research_set("LIVE1_color")


def research_set(name: str) -> Path:
    """Folder of a set in ``testsets/`` or ``$IJCN_TESTSETS``; without one the test is skipped."""
    try:
        return testset_folder(name, ROOT / "testsets")
    except DatasetError:
        pytest.skip(f"{name} is not here (python testsets/download.py {name})")
