"""Write the network as one ONNX file, for programs that run it without PyTorch.

The file takes what a YCbCr 4:2:0 JPEG stores, for any number of pictures of any one size whose
sides are multiples of 64, and returns RGB. ``examples/restore_onnx.py`` shows how to use it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.checkpoint import CheckpointError, checkpoint_path, load_checkpoint, require_whole
from models.dct import BLOCK, colourless_in_gray, ycbcr_to_rgb
from models.ijcn import IJCN, SIZE_MULTIPLE
from models.logm import Levels, dequantise
from models.restore.fidelity import CLEAR_STEP
from utils.commands import command_parser
from utils.image_io import ImageError, require_writable, write_atomically
from utils.run_log import file_hash
from utils.scripts import EXIT_FAILED, run_script

OPSET = 18
"""Of ONNX; onnxruntime has it since 1.14."""

TOLERANCE = 1e-4
"""Largest difference of a sample in [0, 1] between onnxruntime and PyTorch: 1/40 gray level."""

CHECKED = ((1, 64, 64), (2, 64, 192), (3, 128, 128), (1, 256, 320))
"""Batch, height and width of the pictures that a file is checked with; none is the traced one."""

INPUTS: dict[str, tuple[tuple[str | int, ...], str]] = {
    "qts": (
        ("batch", 3, 8, 8),
        "quantisation tables of Y, Cb, Cr in natural order, as the file stores them, from 1",
    ),
    "y_coef": (
        ("batch", 1, "H/8", "W/8", 8, 8),
        "quantised luma levels as stored, block by block, natural order: row is vertical frequency",
    ),
    "c_coef": (
        ("batch", 2, "H/16", "W/16", 8, 8),
        "quantised levels of Cb and Cr, as y_coef; a gray JPEG has zeros, and luma's table thrice",
    ),
}
"""Shape and meaning of what the file takes, all float32; H and W: multiples of 64."""

OUTPUT: tuple[str, tuple[str | int, ...], str] = (
    "image",
    ("batch", 3, "H", "W"),
    "restored picture, float32 RGB in [0, 1], clamped; times 255 and rounded it is 8-bit",
)

EXAMPLES = """  python -m models.export
  python -m models.export --checkpoint model_zoo/Color_IJCN.safetensors --output ijcn.onnx
  python -m models.export --checkpoint fast
  python -m models.export --checkpoint Color_IJCN.pth --overwrite
"""


class ExportError(ValueError):
    """An export that cannot be done; the message is one line: what, why, what to do."""


class MismatchError(ExportError):
    """A graph that does not compute what the network does."""


def export_onnx(
    model: IJCN,
    path: str | os.PathLike[str],
    *,
    check: bool = True,
    overwrite: bool = False,
    notes: Mapping[str, str] | None = None,
) -> float | None:
    """Write ``model`` as one self-contained ONNX file, weights in float32.

    The graph takes :data:`INPUTS` and returns :data:`OUTPUT`, for any batch and any H and W that
    are multiples of 64; onnxruntime refuses others.

    Args:
        model: any variant, on any device; it is left as it is.
        path: written beside and renamed, and only once the check has passed.
        check: compare with PyTorch in onnxruntime, on the CPU, at the batches and sizes of
            :data:`CHECKED`.
        overwrite: replace a file that is there.
        notes: further metadata, such as ``checkpoint_sha256``.

    Returns:
        The largest difference of a sample found by the check; None without one.

    Raises:
        ExportError: a missing package, a file that is there, a PyTorch that cannot export.
        CheckpointError: a copy of a network in int8.
        MismatchError: a difference above :data:`TOLERANCE`; nothing is written.
        ImageError: a place that cannot be written.
    """
    path = Path(path)
    _require_possible(path, check, overwrite)
    network = _plain_copy(model)
    data = _graph(network, notes or {})
    difference = _checked(network, data, path) if check else None
    write_atomically(path, data)
    return difference


def _require_possible(path: Path, check: bool, overwrite: bool) -> None:
    """See whether a file can be made at ``path`` before time is spent on it; errors as above."""
    if path.is_dir():
        raise ExportError(f"{path} is a folder; give --output a file name")
    if path.exists() and not overwrite:
        raise ExportError(f"{path} is there already; give another --output, or --overwrite")
    require_writable(path.parent)
    for name in ("onnx", "onnxscript", *(["onnxruntime"] if check else [])):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ExportError(
                f'ONNX export needs the package {name}; install it: pip install -e ".[onnx]"'
            ) from error


class _Graph(nn.Module):
    """:meth:`IJCN.forward` of a 4:2:0 JPEG.

    As in :class:`models.restore.restorer.Restorer`, R = G = B where all chroma levels are zero, and
    blocks stay that are exact (:func:`models.restore.fidelity.exact_kept`).
    """

    def __init__(self, network: IJCN) -> None:
        super().__init__()
        self.network = network

    def forward(self, qts: Tensor, y_coef: Tensor, c_coef: Tensor) -> Tensor:
        image = self.network(qts, y_coef, c_coef).image
        image = colourless_in_gray(image, c_coef).clamp(0, 1)
        decoded = _decoded(self.network, *dequantise(Levels(y_coef, c_coef), qts))
        return torch.where(_exact(decoded), decoded.clamp(0, 255) / 255, image)


def _decoded(network: IJCN, y: Tensor, c: Tensor) -> Tensor:
    """RGB as a decoder has it, whose samples are whole numbers at each step (libjpeg's are)."""
    luma, chroma = (network.to_image.inverse_dct(x).round().clamp(0, 255) for x in (y, c))
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False).round()
    return ycbcr_to_rgb(torch.cat((luma, chroma), 1))


def _exact(decoded: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 255] -> (B, 1, H, W): blocks that show a file to be exact there."""
    least, most = -F.max_pool2d(-decoded, BLOCK), F.max_pool2d(decoded, BLOCK)
    lowest, highest = -F.max_pool2d(-least, 3, 1, 1), F.max_pool2d(most, 3, 1, 1)
    uneven = F.max_pool2d((most - least).amax(1, keepdim=True), 3, 1, 1)
    steps = (highest - lowest).amax(1, keepdim=True)
    white = lowest.amin(1, keepdim=True) > 254.5
    black = highest.amax(1, keepdim=True) < 0.5
    exact = white | black | ((uneven < 0.5) & (steps > CLEAR_STEP - 0.5))
    return F.interpolate(exact.to(torch.float32), scale_factor=BLOCK, mode="nearest") > 0.5


def _plain_copy(model: IJCN) -> IJCN:
    """The same network on the CPU, in float32, not compiled, contiguous, for inference."""
    require_whole(model)
    with torch.random.fork_rng(devices=[]):
        copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval().requires_grad_(False)


def _graph(network: IJCN, notes: Mapping[str, str]) -> bytes:
    """The ONNX file's bytes."""
    batch, rows, cols = 2, 2, 3  # in units of 64 pixels; 1 would be taken for a constant
    example = (
        torch.full((batch, 3, 8, 8), 16.0),
        torch.zeros(batch, 1, 8 * rows, 8 * cols, 8, 8),
        torch.zeros(batch, 2, 4 * rows, 4 * cols, 8, 8),
    )
    b, r, c = (torch.export.Dim(name) for name in ("batch", "rows", "cols"))
    free = ({0: b}, {0: b, 2: 8 * r, 3: 8 * c}, {0: b, 2: 4 * r, 3: 4 * c})
    with _quiet():
        try:
            program = torch.onnx.export(
                _Graph(network).eval(),
                example,
                input_names=list(INPUTS),
                output_names=[OUTPUT[0]],
                dynamic_shapes=free,
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
            raise ExportError(
                f"PyTorch {torch.__version__} cannot export this network ({reason}); "
                "constraints.txt has versions that can"
            ) from error
        assert program is not None
        proto = program.model_proto
    _describe(proto, network, notes)
    return proto.SerializeToString()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's log, warnings and progress, which speak to its authors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _describe(proto: Any, network: IJCN, notes: Mapping[str, str]) -> None:
    """Say in a ModelProto what it is and takes; drop what the exporter notes about this machine."""
    graph = proto.graph
    # Shapes of intermediate results, named after the exporter's symbols: runtimes infer them.
    graph.ClearField("value_info")
    graph.ClearField("metadata_props")
    for node in graph.node:
        node.ClearField("metadata_props")  # stack traces
        node.ClearField("doc_string")
    described = {**INPUTS, OUTPUT[0]: OUTPUT[1:]}
    for value in (*graph.input, *graph.output):
        shape, meaning = described[value.name]
        value.ClearField("metadata_props")
        value.doc_string = f"{' x '.join(map(str, shape))}: {meaning}"
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if isinstance(size, str):
                dim.dim_param = size
    graph.name = "IJCN"
    proto.doc_string = "IJCN: what a YCbCr 4:2:0 JPEG stores -> restored RGB picture"
    importlib.import_module("onnx").helper.set_model_props(
        proto,
        {
            **notes,
            "project": "IJCN: blind removal of JPEG artifacts",
            "ijcn_config": json.dumps(dataclasses.asdict(network.config)),
            "parameters": str(sum(p.numel() for p in network.parameters())),
            "size_multiple": str(SIZE_MULTIPLE),
            **{value.name: value.doc_string for value in (*graph.input, *graph.output)},
        },
    )


def _checked(network: IJCN, data: bytes, path: Path) -> float:
    """Largest difference between the file and the network.

    Raises:
        MismatchError: it is above :data:`TOLERANCE`, or not a number.
    """
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for batch, height, width in CHECKED:
        inputs = sample_input(batch, height, width)
        (ours,) = session.run(None, inputs)
        with torch.inference_mode():
            theirs = network(**{k: torch.from_numpy(v) for k, v in inputs.items()}).image
        difference = float(np.abs(ours - theirs.clamp(0, 1).numpy()).max())
        if not difference <= TOLERANCE:
            raise MismatchError(
                f"{path}: not written, as onnxruntime and PyTorch differ by {difference:.1e} at "
                f"batch {batch}, {height}x{width} (at most {TOLERANCE:.0e} is allowed)"
            )
        largest = max(largest, difference)
    return largest


def sample_input(
    batch: int, height: int, width: int, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Made-up tables and levels as photographs have them: small at high frequencies.

    Shapes and units of :data:`INPUTS`; height, width: multiples of 64. Of a batch, the first
    picture has coarse tables (steps of 40 and more), which show errors best, the last fine ones.
    """
    rng = np.random.default_rng(seed)
    frequency = np.add.outer(np.arange(8), np.arange(8))
    coarseness = np.geomspace(40, 1, batch)[:, None, None, None]
    steps = coarseness * (1 + 0.3 * frequency * rng.uniform(0.5, 1, (batch, 3, 8, 8)))
    tables = np.clip(np.rint(steps), 1, 255)

    def levels(rows: int, cols: int, table: NDArray[np.float64], size: float) -> Any:
        shape = (batch, table.shape[1], rows, cols, 8, 8)
        coefficients = rng.laplace(0, size / (1 + frequency) ** 1.5, shape)
        return np.rint(coefficients / table[:, :, None, None]).astype(np.float32)

    return {
        "qts": tables.astype(np.float32),
        "y_coef": levels(height // 8, width // 8, tables[:, :1], 200),
        "c_coef": levels(height // 16, width // 16, tables[:, 1:], 80),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; exit code 0, 1 after a failed check, 2 after a usage error."""
    parser = command_parser(__doc__, EXAMPLES, "python -m models.export")
    parser.add_argument(
        "--checkpoint",
        type=checkpoint_path,
        default=checkpoint_path("full"),
        metavar="PATH",
        help="full, fast, or a file: .safetensors or .pth (default: full)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="default: the checkpoint's name with .onnx, in the current folder",
    )
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the result in onnxruntime and compare it with PyTorch before it is written",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    args = parser.parse_args(arguments)
    return run_script(lambda: _export(args), (ExportError, CheckpointError, ImageError))


def _export(args: argparse.Namespace) -> int:
    output = args.output or Path(args.checkpoint.with_suffix(".onnx").name)
    model = load_checkpoint(args.checkpoint)
    _require_possible(output, args.check, args.overwrite)
    print(f"exporting {args.checkpoint}; this takes half a minute", flush=True)
    notes = {
        "checkpoint": args.checkpoint.name,
        "checkpoint_sha256": file_hash(args.checkpoint),
    }
    try:
        difference = export_onnx(
            model, output, check=args.check, overwrite=args.overwrite, notes=notes
        )
    except MismatchError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    result = "not checked"
    if difference is not None:
        result = f"differs from PyTorch by {difference:.1e} at most, {len(CHECKED)} sizes checked"
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {result}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
