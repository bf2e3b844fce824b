"""models/int8.py: 8-bit residual blocks are close to floating-point ones; where they are had."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import models.int8 as int8
from data.degradation import SingleJpeg
from jobs.weights import average
from models import CheckpointError, Restorer, load_checkpoint, save_checkpoint
from models.checkpoint import read_notes
from models.int8 import in_int8, largest_inputs, range_sizes, ranges_of, why_not_int8
from tests.conftest import (
    calibrated_network,
    made_jpeg,
    needs_vnni,
    photograph,
    tiny_network,
)
from utils.evaluation.metrics import psnr

CPU = torch.device("cpu")


def test_ranges_are_what_nearly_all_pictures_keep_to() -> None:
    """However they were put into batches, or given to processes."""
    network = calibrated_network()
    assert network.ranges
    assert {name: len(each) for name, each in network.ranges.items()} == range_sizes(network)
    name = "body1.0.body.2"
    pictures = 10 * torch.rand(1000, 3)
    thirds = [{name: list(pictures[start::3].split(50))} for start in range(3)]
    found = ranges_of(thirds)[name]
    torch.testing.assert_close(found, ranges_of([{name: [pictures]}])[name])
    shares = (pictures <= found).float().mean(0)
    torch.testing.assert_close(shares, torch.full((3,), 0.993), atol=1e-3, rtol=0)


def test_the_largest_input_of_every_channel_and_picture() -> None:
    network = tiny_network(widths=(8, 16, 64), inner_widths=None)
    block = network.backbone.body1[0]
    x = torch.randn(3, 64, 8, 8)
    with largest_inputs(network) as largest:
        block(x)
        block(2 * x[:2])
    block(5 * x)  # no longer looked at
    outer = largest["body1.0.body.0"]
    assert [len(batch) for batch in outer] == [3, 2]
    torch.testing.assert_close(outer[0], x.abs().amax((2, 3)))
    torch.testing.assert_close(outer[1], 2 * outer[0][:2])
    torch.testing.assert_close(
        largest["body1.0.body.2"][0], block.body[1](block.body[0](x)).amax((2, 3))
    )


@needs_vnni
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sums", [torch.float32, torch.bfloat16])
def test_a_row_of_blocks_is_as_exact_as_8_bits_allow(dtype: torch.dtype, sums: torch.dtype) -> None:
    network = calibrated_network()
    seen: list[torch.Tensor] = []
    network.backbone.body1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    Restorer(network, "cpu", "float32").restore(made_jpeg())
    changed = in_int8(network)
    x = torch.cat([seen[0], seen[0].flip(2)]).to(dtype)
    before = x.clone()
    changed.backbone.body1.sums = sums  # as on CPUs of both kinds
    with torch.no_grad():
        exact = network.backbone.body1(x.float())
        row = changed.backbone.body1(x)
    assert row.dtype == dtype
    assert row.shape == x.shape
    assert torch.equal(x, before)  # which the backbone adds again further on
    change = (exact - x.float()).square().mean()
    rounding = 2**-9 if torch.bfloat16 in (dtype, sums) else 0
    assert (row.float() - exact).square().mean() < 3e-4 * change + (rounding * x.std()) ** 2


@needs_vnni
def test_values_beyond_the_ranges_count_as_the_largest() -> None:
    """In 8 bits they must not come round to the other side."""
    network = calibrated_network()
    assert network.ranges
    block = int8._Int8Block(
        network.backbone.body1[0],
        network.ranges["body1.0.body.0"],
        network.ranges["body1.0.body.2"],
    )
    sign = torch.randint(0, 2, (1, network.config.widths[2], 8, 8)) * 2.0 - 1
    at_range = (sign * network.ranges["body1.0.body.0"][:, None, None]).contiguous(
        memory_format=torch.channels_last
    )
    answers = []
    for factor in (1, 3, 50):
        x = factor * at_range
        block.add_to(x)
        answers.append(x - factor * at_range)
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], atol=1e-3, rtol=1e-3)
    # Likewise between the convolutions: if everything there is too large, nothing changes more.
    block.first.bias += 1e5
    full = torch.zeros_like(at_range)
    block.add_to(full)
    block.first.bias *= 2
    fuller = torch.zeros_like(at_range)
    block.add_to(fuller)
    assert torch.equal(full, fuller)


@needs_vnni
def test_restored_pictures_hardly_differ() -> None:
    network = calibrated_network()
    weights = {name: each.clone() for name, each in network.state_dict().items()}
    exact = Restorer(network, "cpu", "float32").restore(made_jpeg())
    restorer = Restorer(network, "cpu", "int8")
    assert psnr(restored=restorer.restore(made_jpeg()), original=exact) > 50
    assert restorer.arithmetic.startswith("int8 and ")
    assert restorer.parameters == sum(each.numel() for each in network.parameters())
    assert Restorer(network, "cpu", "float32").arithmetic == "float32"
    # The network itself stays what it was.
    assert all(torch.equal(each, weights[name]) for name, each in network.state_dict().items())
    assert all(isinstance(row, nn.Sequential) for row in network.backbone.encoder_blocks)


@needs_vnni
def test_tiles_and_self_ensembles_in_int8() -> None:
    stored = SingleJpeg(30)(photograph(600, 64)).stored
    network = calibrated_network()
    whole, tiled = (
        Restorer(network, "cpu", "int8").restore_in_tiles(stored, side) for side in (640, 256)
    )
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    exact, mean = (
        Restorer(network, "cpu", precision, ensemble=2).restore(made_jpeg())
        for precision in ("float32", "int8")
    )
    assert psnr(restored=mean, original=exact) > 50


@needs_vnni
def test_auto_takes_int8_where_the_weights_have_ranges() -> None:
    network = calibrated_network()
    assert Restorer(network, "cpu").int8
    assert not Restorer(network, "cpu", "float32").int8
    network.ranges = None
    assert not Restorer(network, "cpu").int8
    with pytest.raises(ValueError, match="precision int8 needs ranges"):
        Restorer(network, "cpu", "int8")


def test_where_int8_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    network = calibrated_network()
    assert "is for CPUs" in why_not_int8(network, torch.device("cuda"))
    monkeypatch.setattr(int8, "cpu_knows", lambda *instructions: False)
    assert not Restorer(network, "cpu").int8
    with pytest.raises(ValueError, match="needs a CPU with VNNI"):
        Restorer(network, "cpu", "int8")


@needs_vnni
def test_a_pytorch_without_these_kernels_goes_on_without_int8(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8, "_SAME", ())  # as if they were called otherwise there
    int8._kernels_work.cache_clear()
    assert "another version of PyTorch" in why_not_int8(calibrated_network(), CPU)
    monkeypatch.undo()
    int8._kernels_work.cache_clear()
    assert not why_not_int8(calibrated_network(), CPU)


@pytest.mark.parametrize("changes", [{"activation": "prelu"}, {"widths": (64, 16, 32)}])
def test_networks_that_int8_is_not_for(changes: dict[str, object]) -> None:
    """PReLU, and blocks that are narrow or at full resolution."""
    network = calibrated_network(**changes)
    assert network.ranges == {}
    assert "is for networks with ReLU and blocks of 64 or more channels" in why_not_int8(
        network, CPU
    )


@pytest.mark.parametrize("half", [False, True])
def test_checkpoints_keep_ranges(tmp_path: Path, half: bool) -> None:
    network = calibrated_network()
    assert network.ranges
    save_checkpoint(network, tmp_path / "a.safetensors", half=half)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.ranges
    for name, each in network.ranges.items():
        assert torch.equal(loaded.ranges[name], each.half().float() if half else each)
    del network.ranges["body1.0.body.0"]  # as of another version, with ranges for other layers
    save_checkpoint(network, tmp_path / "b.safetensors")
    assert load_checkpoint(tmp_path / "b.safetensors").ranges is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -5.0])
def test_damaged_ranges_are_none(tmp_path: Path, wrong: float) -> None:
    network = calibrated_network()
    assert network.ranges
    network.ranges["body1.0.body.0"][0] = 7.25
    save_checkpoint(network, tmp_path / "a.safetensors")
    weights = safetensors.torch.load_file(tmp_path / "a.safetensors")
    weights["ranges.body1.0.body.0"][0] = wrong
    notes = read_notes(tmp_path / "a.safetensors")
    safetensors.torch.save_file(weights, tmp_path / "b.safetensors", notes)
    assert load_checkpoint(tmp_path / "b.safetensors").ranges is None


@needs_vnni
def test_a_copy_in_int8_is_not_saved_as_if_it_were_whole(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="take the one that the Restorer was given"):
        save_checkpoint(in_int8(calibrated_network()), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_ranges_belong_to_the_backbone_alone() -> None:
    network = calibrated_network()
    assert network.with_steps(level_check=16).ranges is network.ranges
    other = network.with_steps()
    with torch.no_grad():
        other.level_check.luma.change.weight += 1
        assert average([network, other]).ranges
        other.backbone.tail.weight += 1
        assert average([network, other]).ranges is None
