"""Residual blocks that multiply 8-bit integers, which many CPUs do fastest.

Post-training quantisation (Krishnamoorthi 2018, "Quantizing deep convolutional networks for
efficient inference") with a range for every channel: what goes into a block is scaled channel by
channel, and the first convolution's weights inversely; what lies between its convolutions likewise.

The sums of a row of blocks are bfloat16, or float32 with AVX2 alone. All other layers stay as they
are: at full resolution, and between resolutions, 8 bits save 3 or 4 % of the time and cost 0.01 dB.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from models.blocks import ResidualBlock
from models.ijcn import IJCN, Ranges

_ROWS = (
    *("encoder_blocks.1", "encoder_blocks.2", "body1"),
    *("body2", "decoder_blocks.2", "decoder_blocks.1"),
)
"""Rows of residual blocks in the backbone that can do with 8 bits."""

_WIDE = 64
"""Least channels of a block. With 32, 8 bits save no time and cost 0.004 dB."""

_KEPT = 0.993
"""Share of the pictures whose largest values lie within a range. A wider range would leave
fewer of the 256 steps for usual values."""


def range_sizes(network: IJCN) -> dict[str, int]:
    """Names of the ranges that int8 needs, and of how many channels each is.

    Empty for the published network: its PReLU has values on both sides of zero.
    """
    return {name: layer.in_channels for name, layer in _convolutions(network).items()}


@contextmanager
def largest_inputs(network: IJCN) -> Iterator[dict[str, list[Tensor]]]:
    """Of each picture that goes through ``network`` within this context, the largest absolute value
    in every channel that has a range: batches of them, (pictures, channels), by the range's name.
    """
    largest: dict[str, list[Tensor]] = {name: [] for name in range_sizes(network)}

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            largest[name].append(inputs[0].detach().abs().amax((2, 3)).float().cpu())

        return layer.register_forward_pre_hook(see)

    hooks = [watch(name, layer) for name, layer in _convolutions(network).items()]
    try:
        yield largest
    finally:
        for hook in hooks:
            hook.remove()


def ranges_of(largest: Sequence[Mapping[str, list[Tensor]]]) -> Ranges:
    """Ranges by what :func:`largest_inputs` has seen in one or several processes."""
    ranges = {}
    for name in largest[0]:
        values = torch.cat([batch for each in largest for batch in each[name]])
        ranges[name] = values.kthvalue(math.ceil(_KEPT * len(values)), 0).values
    return ranges


def why_not_int8(network: IJCN, device: torch.device) -> str:
    """Why ``network`` cannot compute in int8 on ``device``, and what to do; "" where it can."""
    if device.type != "cpu":
        return "precision int8 is for CPUs; choose another precision, or --device cpu"
    if not range_sizes(network):
        return (
            f"precision int8 is for networks with ReLU and blocks of {_WIDE} or more channels; "
            "choose another"
        )
    if not network.ranges:
        return (
            "precision int8 needs ranges, which these weights do not hold; choose another, or add "
            "them (options/train_last_steps.yml does)"
        )
    if not cpu_knows("avx512_vnni", "avx_vnni"):
        return "precision int8 needs a CPU with VNNI; choose another"
    if not _kernels_work():
        return "precision int8 needs another version of PyTorch (constraints.txt names one)"
    return ""


def in_int8(network: IJCN) -> IJCN:
    """A copy of ``network``, on a CPU and with ranges, that computes in int8.

    It can do nothing else: these blocks' weights are no parameters, and cannot be copied or saved.
    """
    assert network.ranges
    changed = copy.deepcopy(network)
    for row, blocks in _rows(network).items():
        in_8_bits = [
            _Int8Block(
                block,
                network.ranges[f"{row}.{index}.body.0"],
                network.ranges[f"{row}.{index}.body.2"],
            )
            for index, block in enumerate(blocks)
        ]
        changed.backbone.set_submodule(row, _Int8Row(in_8_bits))
    return changed


def is_in_int8(network: IJCN) -> bool:
    """Whether :func:`in_int8` made this network."""
    return any(isinstance(each, _Int8Row) for each in network.modules())


def _rows(network: IJCN) -> dict[str, list[ResidualBlock]]:
    """The rows of blocks that int8 is for, by name."""
    if network.config.activation != "relu":
        return {}
    rows = {}
    for name in _ROWS:
        row = cast(nn.Sequential, network.backbone.get_submodule(name))
        blocks = [cast(ResidualBlock, block) for block in row]
        if cast(nn.Conv2d, blocks[0].body[0]).in_channels >= _WIDE:
            rows[name] = blocks
    return rows


def _convolutions(network: IJCN) -> dict[str, nn.Conv2d]:
    """The convolutions in these blocks, by name."""
    layers = {}
    for row, blocks in _rows(network).items():
        for index, block in enumerate(blocks):
            for place in (0, 2):
                layers[f"{row}.{index}.body.{place}"] = cast(nn.Conv2d, block.body[place])
    return layers


def cpu_knows(*instructions: str) -> bool:
    """Whether the CPU has any of them, by PyTorch's names; False where PyTorch does not say."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(known.get(name) for name in instructions)


@cache
def _kernels_work() -> bool:
    """Whether this PyTorch has the kernels, which are no part of its public interface."""
    with torch.random.fork_rng(devices=[]):
        block = ResidualBlock(8, 8, "relu")
    picture = torch.zeros(1, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    try:
        _Int8Block(block, torch.ones(8), torch.ones(8)).add_to(picture)
    except (AttributeError, RuntimeError):  # unknown, or called otherwise
        return False
    return bool(picture.any())  # it was added to in place: at least the biases


class _Int8Row(nn.Module):
    """Residual blocks in a row, (B, C, H, W) -> the same shape and type."""

    def __init__(self, blocks: list[_Int8Block]) -> None:
        super().__init__()
        self.blocks = blocks
        # With AVX2 alone, oneDNN has no fast way from integers to bfloat16.
        self.sums = torch.bfloat16 if cpu_knows("avx512_vnni") else torch.float32

    def forward(self, x: Tensor) -> Tensor:
        sums = x.to(self.sums, memory_format=torch.channels_last, copy=True)
        for block in self.blocks:
            block.add_to(sums)
        return sums.to(x.dtype)


class _Int8Block:
    """A :class:`ResidualBlock` with ReLU, its weights in 8 bits.

    outer, inner: ranges of what goes in and of what lies between the convolutions, (channels,).
    """

    def __init__(self, block: ResidualBlock, outer: Tensor, inner: Tensor) -> None:
        first, second = (cast(nn.Conv2d, block.body[place]) for place in (0, 2))
        # A channel that never said anything has a range of nearly nothing.
        outer, inner = outer.clamp_min(1e-6) / 127, inner.clamp_min(1e-6) / 255
        self.per_step = (1 / outer)[:, None, None]
        self.first = _Int8Conv(first, 128, outer, inner)
        self.second = _Int8Conv(second, 0, inner, torch.ones(1))

    def add_to(self, x: Tensor) -> None:
        """``x += Conv3x3(ReLU(Conv3x3(x)))``; x (B, channels, H, W), channels last."""
        levels = (x * self.per_step.to(x.dtype)).clamp_(-127, 127).round_().to(torch.int8)
        above_zero = levels.view(torch.uint8).bitwise_xor_(128)  # levels + 128
        self.second.add_to(x, self.first.relu(above_zero))


class _Int8Conv:
    """A 3x3 convolution of unsigned 8-bit integers, its weights in 8 bits for each filter.

    zero: the integer that stands for 0. inputs, outputs: what one step is worth, by channel.
    """

    def __init__(self, layer: nn.Conv2d, zero: int, inputs: Tensor, outputs: Tensor) -> None:
        assert layer.bias is not None
        weight = layer.weight.detach() * inputs[:, None, None] / outputs[:, None, None, None]
        scales = weight.abs().amax((1, 2, 3)).clamp_min(1e-30) / 127
        levels = (weight / scales[:, None, None, None]).round().to(torch.int8)
        levels = levels.contiguous(memory_format=torch.channels_last)
        packed = torch.ops.onednn.qconv_prepack(levels, scales, 1.0, zero, *_SAME, 1, None)
        zeros = torch.zeros(len(scales), dtype=torch.int8)
        self.weights = 1.0, zero, packed, scales, zeros
        self.bias = layer.bias.detach() / outputs

    def relu(self, x: Tensor) -> Tensor:
        """ReLU of the convolution in steps of ``outputs``, uint8, which ends at 255."""
        return torch.ops.onednn.qconv2d_pointwise(
            x, *self.weights, self.bias, *_SAME, 1, 1.0, 0, torch.uint8, "relu", [], ""
        )

    def add_to(self, total: Tensor, x: Tensor) -> None:
        """Add the convolution of x to ``total``."""
        torch.ops.onednn.qconv2d_pointwise.binary(
            *(x, *self.weights, total, self.bias, *_SAME, 1, 1.0, 0, total.dtype),
            *(1.0, 0, "sum", 1.0, "none", [], ""),
        )


_SAME = ([1, 1], [1, 1], [1, 1])
"""Stride, padding and dilation of a 3x3 convolution that keeps the size."""
