"""The exported file: what onnxruntime makes of it, what it says, and the command that writes it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from data.jpeg import Sampling, encode_jpeg, read_jpeg
from models import IJCN, export, load_checkpoint, save_checkpoint
from models.export import INPUTS, ExportError, export_onnx, sample_input
from models.restore.restorer import Restorer, network_input
from tests.conftest import PATIENCE, ROOT, photograph, refusal, tiny_network
from utils.image_io import ImageError, read_image
from utils.run_log import file_hash

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.usefixtures("capsys")  # also with -s: a command takes over stdout

EXAMPLE = ROOT / "examples" / "restore_onnx.py"

NOISE = 5e-6
"""What tiny networks may differ by; it is ten times what they do."""


def lively_network(**changes: Any) -> IJCN:
    """A tiny network with attention that shows in the picture, so that wrong blocks would too."""
    network = tiny_network(**changes)
    with torch.no_grad():
        network.logm.attention.out.weight.normal_(std=0.1)
        network.backbone.tail.weight.normal_(std=0.03)
        for name, parameter in network.logm.attention.named_parameters():
            if name.endswith("window_attention.qkv.weight"):
                parameter.mul_(3)
            elif name.endswith("position_bias"):
                parameter.normal_()
    return network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "tiny.safetensors"
    save_checkpoint(lively_network(attention_depth=2), path, half=True)
    return path


class Exported(NamedTuple):
    """An ONNX file, and what the command printed that wrote it."""

    path: Path
    printed: str

    def session(self) -> Any:
        return onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Exported:
    """Our variant, stored in float16, into a folder that is not there yet."""
    path = tmp_path_factory.mktemp("ours") / "new" / "ijcn.onnx"
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert export.main(["--checkpoint", str(checkpoint), "--output", str(path)]) == 0
    return Exported(path, out.getvalue())


@pytest.mark.slow
def test_a_network_of_the_published_kind_agrees_too(tmp_path: Path) -> None:
    network = lively_network(
        activation="prelu", channel_logits="sum", table_input="raw_y_cb", residual_scale="none"
    )
    difference = export_onnx(network, tmp_path / "ijcn.onnx")  # by its own check
    assert difference is not None
    assert difference <= NOISE


@pytest.mark.slow
def test_no_colour_in_no_colour_out(ours: Exported) -> None:
    inputs = sample_input(2, 64, 64)
    inputs["c_coef"][1] = 0
    (image,) = ours.session().run(None, inputs)
    assert np.ptp(image[0], axis=0).max() > 1e-3
    assert np.ptp(image[1], axis=0).max() == 0


@pytest.mark.parametrize("value", [0, 255])
def test_white_and_black_stay_as_the_restorer_keeps_them(value: int) -> None:
    page = np.full((128, 192, 3), value, np.uint8)
    page[60:120, 90:170] = photograph(60, 80)
    stored = read_jpeg(encode_jpeg(page, 10))
    network = tiny_network(level_check=None)
    with torch.no_grad():  # one that makes everything a little gray
        network.backbone.tail.bias.fill_(0.02 if value == 0 else -0.02)
    levels = [tensor.float() for tensor in network_input(stored)[:3] if tensor is not None]
    with torch.inference_mode():
        image = export._Graph(network)(*levels)[0].permute(1, 2, 0).numpy()
        plain = network(*levels).image[0, :, :32, :64] * 255
    assert (plain - value).abs().mean() > 5
    assert (image[:32] * 255 == value).all()
    restored = Restorer(network, "cpu", "float32").restore(stored)
    assert np.abs(np.rint(image * 255) - restored).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "cols"), [(6, 4), (4, 8)])
def test_levels_that_do_not_fit_are_refused(ours: Exported, rows: int, cols: int) -> None:
    """Sides that are no multiples of 64; chroma that is wider than its luma."""
    inputs = sample_input(1, 128, 128)
    inputs["y_coef"] = inputs["y_coef"][:, :, : 2 * rows, :8]
    inputs["c_coef"] = inputs["c_coef"][:, :, :rows, :cols]
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        ours.session().run(None, inputs)


@pytest.mark.slow
def test_the_file_is_one_and_says_what_it_is(ours: Exported, checkpoint: Path) -> None:
    first, last = ours.printed.splitlines()
    assert "tiny.safetensors" in first
    assert f"{ours.path}: 1" in last
    (difference,) = re.findall(r"differs from PyTorch by (\S+) at most, 4 sizes checked", last)
    assert float(difference) <= NOISE
    assert [path.name for path in ours.path.parent.iterdir()] == ["ijcn.onnx"]
    for word in (str(ROOT), "site-packages", ".py", "stack_trace"):  # of this machine
        assert word.encode() not in ours.path.read_bytes()
    parameters = load_checkpoint(checkpoint).parameters()
    assert ours.path.stat().st_size > 4 * sum(p.numel() for p in parameters)
    model = onnx.load(ours.path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.data_type for entry in model.graph.initializer} <= {
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.INT64,
        onnx.TensorProto.BOOL,
    }
    assert not any(entry.external_data for entry in model.graph.initializer)

    session = ours.session()
    shapes = {value.name: tuple(value.shape) for value in session.get_inputs()}
    assert shapes == {name: shape for name, (shape, _) in INPUTS.items()}
    assert {value.type for value in session.get_inputs()} == {"tensor(float)"}
    assert [(v.name, v.shape) for v in session.get_outputs()] == [("image", ["batch", 3, "H", "W"])]

    notes = session.get_modelmeta().custom_metadata_map
    assert notes["project"].startswith("IJCN")
    assert notes["checkpoint"] == "tiny.safetensors"
    assert notes["checkpoint_sha256"] == file_hash(checkpoint)
    assert json.loads(notes["ijcn_config"])["table_input"] == "log_y_cb_cr"
    assert notes["size_multiple"] == "64"
    assert "natural order" in notes["y_coef"]
    assert "[0, 1]" in notes["image"]


def test_an_existing_file_is_kept(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    default = tmp_path / "tiny.onnx"
    default.write_bytes(b"dear")
    assert "tiny.onnx is there already" in refusal(export.main, capsys, "--checkpoint", checkpoint)
    with pytest.raises(ExportError, match="--overwrite"):
        export_onnx(tiny_network(), default)
    assert default.read_bytes() == b"dear"
    to_folder = "--checkpoint", checkpoint, "--output", ".", "--overwrite"
    assert "is a folder" in refusal(export.main, capsys, *to_folder)


def test_what_cannot_be_read_or_written_is_one_line(
    tmp_path: Path, checkpoint: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "x.onnx"
    line = refusal(export.main, capsys, "--checkpoint", checkpoint, "--output", path)
    assert "is a file, not a folder" in line
    with pytest.raises(ImageError, match="is a file, not a folder"):
        export_onnx(tiny_network(), path)
    line = refusal(export.main, capsys, "--checkpoint", tmp_path / "none.safetensors")
    assert "none.safetensors not found" in line


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_not_written(
    tmp_path: Path, ours: Exported, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    graph = ours.path.read_bytes()
    monkeypatch.setattr(export, "_graph", lambda network, notes: graph)
    other, path = tmp_path / "other.safetensors", tmp_path / "ijcn.onnx"
    save_checkpoint(lively_network(attention_depth=2, seed=1), other)
    path.write_bytes(b"dear")
    arguments = ["--checkpoint", str(other), "--output", str(path), "--overwrite"]
    assert export.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "differ by" in line
    assert "not written" in line
    assert path.read_bytes() == b"dear"
    assert export.main([*arguments, "--no-check"]) == 0
    assert "not checked" in capsys.readouterr().out
    assert path.read_bytes() == graph
    assert {file.name for file in tmp_path.iterdir()} == {other.name, path.name}


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(
    tmp_path: Path, checkpoint: Path, package: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    line = refusal(export.main, capsys, "--checkpoint", checkpoint, "--output", tmp_path / "x.onnx")
    assert line.startswith(f"error: ONNX export needs the package {package};")
    assert line.endswith('pip install -e ".[onnx]"')
    assert not list(tmp_path.iterdir())


def test_the_network_is_left_as_it_is_and_without_the_check_no_runtime_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[IJCN] = []

    def graph(network: IJCN, notes: object) -> bytes:
        seen.append(network)
        return b"graph"

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(export, "_graph", graph)
    network = tiny_network().bfloat16().train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = torch.get_rng_state()
    assert export_onnx(network, tmp_path / "x.onnx", check=False) is None
    assert (tmp_path / "x.onnx").read_bytes() == b"graph"
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert all(p.requires_grad and p.dtype == torch.bfloat16 for p in network.parameters())
    assert not seen[0].training
    for copied, own in zip(seen[0].parameters(), network.parameters(), strict=True):
        assert copied.dtype == torch.float32
        assert copied.is_contiguous()
        assert torch.equal(copied, own.float())


_ALONE = """
import runpy, sys
for name in ("torch", "data", "models", "utils", "options", "jobs"):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_example(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The example where neither PyTorch nor this project can be imported."""
    return subprocess.run(
        [sys.executable, "-c", _ALONE, str(EXAMPLE), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=folder,
    )


def _refused_by_example(folder: Path, network: object, source: str) -> str:
    """Its one line on stderr; it writes nothing."""
    done = run_example(folder, network, source, "out.png")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert not (folder / "out.png").exists()
    return line


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(64, 128), (40, 203)])
def test_the_example_restores_as_the_restorer_does(
    tmp_path: Path, ours: Exported, checkpoint: Path, height: int, width: int
) -> None:
    (tmp_path / "photo.jpg").write_bytes(encode_jpeg(photograph(height, width), 20))
    done = run_example(tmp_path, ours.path, "photo.jpg", "restored.png")
    assert done.returncode == 0, done.stderr
    restored = read_image(tmp_path / "restored.png").astype(int)
    restorer = Restorer(load_checkpoint(checkpoint), "cpu", "float32")
    expected = restorer.restore(read_jpeg(tmp_path / "photo.jpg"))
    assert restored.shape == (height, width, 3)
    difference = np.abs(restored - expected)
    assert difference.max() <= 1
    # Rounding may tip over here and there, in float32; wrongly mirrored blocks would show more.
    assert difference.mean() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["4:4:4", "gray"])
def test_the_example_takes_420_only(tmp_path: Path, ours: Exported, layout: str) -> None:
    image = photograph(64, 64)
    pixels = image[:, :, 0] if layout == "gray" else image
    (tmp_path / "photo.jpg").write_bytes(encode_jpeg(pixels, 50, Sampling.S444))
    line = _refused_by_example(tmp_path, ours.path, "photo.jpg")
    assert line.startswith("photo.jpg: not a YCbCr 4:2:0 JPEG")


def test_the_example_says_how_it_is_called() -> None:
    done = run_example(ROOT)
    assert done.returncode == 1
    assert "restore_onnx.py ijcn.onnx photo.jpg restored.png" in done.stderr


@pytest.mark.parametrize("source", ["a.jpg", "text.jpg"])
def test_the_example_says_in_one_line_what_it_cannot_read(source: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(16, 16), 50))
    (tmp_path / "text.jpg").write_text("text")
    assert _refused_by_example(tmp_path, "no.onnx", source).startswith("error: ")
