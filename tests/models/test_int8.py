"""models/int8.py: 8-bit residual blocks are close to floating-point ones; where they are had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import models.int8 as int8
from data.degradation import SingleJpeg
from data.jpeg import JpegImage
from jobs.weights import average
from models import IJCN, CheckpointError, Restorer, load_checkpoint, save_checkpoint
from models.int8 import in_int8, range_sizes, recorded_ranges, why_not_int8, widest
from tests.conftest import photograph, tiny_network
from utils.evaluation.metrics import psnr

CPU = torch.device("cpu")
needs_vnni = pytest.mark.skipif(
    "VNNI" in why_not_int8(tiny_network(), CPU), reason="this CPU multiplies no 8-bit integers"
)


def _jpeg(seed: int = 0) -> JpegImage:
    return SingleJpeg(30)(photograph(96, 128, seed)).stored


def _calibrated(**changes: object) -> IJCN:
    network = tiny_network(**{"widths": (8, 16, 64), "inner_widths": None, **changes})
    with recorded_ranges(network) as network.ranges:
        for seed in range(3):
            Restorer(network, "cpu", "float32").restore(_jpeg(seed))
    return network


def test_ranges_are_what_nine_tenths_of_the_batches_keep_in_each_channel() -> None:
    network = _calibrated()
    assert network.ranges
    assert {name: len(each) for name, each in network.ranges.items()} == range_sizes(network)
    block = network.backbone.body1[0]
    seen: list[torch.Tensor] = []
    hook = block.body[2].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for seed in range(3):
        Restorer(network, "cpu", "float32").restore(_jpeg(seed))
    hook.remove()
    largest = torch.stack([each.abs().amax((0, 2, 3)) for each in seen]).sort(0).values
    expected = largest[1] + 0.8 * (largest[2] - largest[1])
    torch.testing.assert_close(network.ranges["body1.0.body.2"], expected)
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_the_widest_of_several_ranges() -> None:
    many = [{"a": torch.tensor([1.0, 5.0])}, {"a": torch.tensor([3.0, 2.0])}]
    assert widest(many)["a"].tolist() == [3, 5]


@needs_vnni
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_of_blocks_is_as_exact_as_8_bits_allow(dtype: torch.dtype) -> None:
    network = _calibrated()
    seen: list[torch.Tensor] = []
    network.backbone.body1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    Restorer(network, "cpu", "float32").restore(_jpeg())
    changed = in_int8(network)
    x = torch.cat([seen[0], seen[0].flip(2)]).to(dtype)
    before = x.clone()
    with torch.no_grad():
        exact = network.backbone.body1(x.float())
    with torch.no_grad():
        row = changed.backbone.body1(x)
    assert row.dtype == dtype
    assert row.shape == x.shape
    assert torch.equal(x, before)  # which the backbone adds again further on
    change = exact - x.float()
    assert (row.float() - exact).square().mean() < 1e-3 * change.square().mean() + 1e-5


@needs_vnni
def test_values_beyond_the_ranges_count_as_the_largest() -> None:
    """In 8 bits they must not come round to the other side."""
    network = _calibrated()
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


@needs_vnni
def test_restored_pictures_hardly_differ() -> None:
    network = _calibrated()
    weights = {name: each.clone() for name, each in network.state_dict().items()}
    exact = Restorer(network, "cpu", "float32").restore(_jpeg())
    restorer = Restorer(network, "cpu", "int8")
    assert psnr(restored=restorer.restore(_jpeg()), original=exact) > 50
    assert restorer.arithmetic.startswith("int8 and ")
    assert Restorer(network, "cpu", "float32").arithmetic == "float32"
    # The network itself stays what it was.
    assert all(torch.equal(each, weights[name]) for name, each in network.state_dict().items())
    assert all(isinstance(row, nn.Sequential) for row in network.backbone.encoder_blocks)


@needs_vnni
def test_auto_takes_int8_where_the_weights_have_ranges() -> None:
    assert Restorer(_calibrated(), "cpu").int8
    assert not Restorer(tiny_network(), "cpu").int8
    with pytest.raises(ValueError, match="precision int8: the weights hold no ranges"):
        Restorer(tiny_network(), "cpu", "int8")


def test_where_int8_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _calibrated()
    assert "is for CPUs" in why_not_int8(network, torch.device("cuda"))
    monkeypatch.setattr(int8, "_knows", lambda instructions: False)
    assert not Restorer(network, "cpu").int8
    with pytest.raises(ValueError, match="needs a CPU with VNNI"):
        Restorer(network, "cpu", "int8")


@needs_vnni
def test_a_pytorch_without_these_kernels_goes_on_without_int8(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8, "_SAME", ())  # as if they were called otherwise there
    int8._kernels_work.cache_clear()
    assert "another version of PyTorch" in why_not_int8(_calibrated(), CPU)
    monkeypatch.undo()
    int8._kernels_work.cache_clear()
    assert not why_not_int8(_calibrated(), CPU)


@pytest.mark.parametrize("changes", [{"activation": "prelu"}, {"widths": (64, 16, 32)}])
def test_networks_that_int8_is_not_for(changes: dict[str, object]) -> None:
    """PReLU, and blocks that are narrow or at full resolution."""
    network = _calibrated(**changes)
    assert network.ranges == {}
    assert why_not_int8(network, CPU)


@pytest.mark.parametrize("half", [False, True])
def test_checkpoints_keep_ranges(tmp_path: Path, half: bool) -> None:
    network = _calibrated()
    assert network.ranges
    save_checkpoint(network, tmp_path / "a.safetensors", half=half)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.ranges
    for name, each in network.ranges.items():
        assert torch.equal(loaded.ranges[name], each.half().float() if half else each)
    del network.ranges["body1.0.body.0"]
    save_checkpoint(network, tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks: ranges\.body1\.0\.body\.0"):
        load_checkpoint(tmp_path / "b.safetensors")


def test_ranges_belong_to_the_backbone_alone() -> None:
    network = _calibrated()
    assert average([network, network.with_steps()]).ranges is None
    assert network.with_steps(level_check=16).ranges is network.ranges
