"""models/restorer.py: any size, precision, faults; layouts are in test_layouts.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.degradation import SingleJpeg
from data.jpeg import decode_jpeg, encode_jpeg, read_jpeg
from models.blocks import Activation
from models.restorer import (
    RestoreError,
    Restorer,
    pick_device,
    pick_precision,
)
from tests.conftest import photograph, tiny_network
from utils.metrics import psnr


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (40, 40), (50, 75), (64, 128)])
def test_output_has_the_jpegs_size_and_starts_from_its_pixels(size: tuple[int, int]) -> None:
    data = encode_jpeg(photograph(*size), 75)
    model = tiny_network()
    model.start_from_jpeg()
    image = Restorer(model).restore(read_jpeg(data))
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    # Only rounding and the chroma filter differ from libjpeg.
    difference = np.abs(image.astype(int) - decode_jpeg(data))
    assert difference.mean() < 2.5


def test_network_changes_the_picture_and_leaves_the_input_alone() -> None:
    stored = SingleJpeg(30)(photograph(64, 64)).stored
    before = stored.components[0].levels.copy()
    restored = Restorer(tiny_network()).restore(stored)
    model = tiny_network()
    model.start_from_jpeg()
    plain = Restorer(model).restore(stored)
    assert not np.array_equal(restored, plain)
    assert np.array_equal(stored.components[0].levels, before)


@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_bfloat16_is_close_to_float32(activation: Activation) -> None:
    stored = SingleJpeg(30)(photograph(96, 96)).stored
    model = tiny_network(activation=activation)
    exact = Restorer(model, precision="float32").restore(stored)
    fast = Restorer(model, precision="bfloat16").restore(stored)
    assert psnr(restored=fast, original=exact) > 50


def test_auto_precision_is_one_of_the_two() -> None:
    cpu = torch.device("cpu")
    assert pick_precision("auto", cpu) in (torch.float32, torch.bfloat16)
    assert pick_precision("float32", cpu) == torch.float32


def test_no_gradients_are_recorded() -> None:
    model = tiny_network()
    recorded: list[bool] = []
    model.register_forward_hook(lambda m, i, out: recorded.append(out.image.requires_grad))
    Restorer(model).restore(SingleJpeg(30)(photograph(64, 64)).stored)
    assert recorded == [False]


@pytest.mark.parametrize(
    "failure",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: no")],
)
def test_lack_of_memory_is_one_line(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer(tiny_network())

    def fails(*inputs: object) -> None:
        raise failure

    monkeypatch.setattr(restorer, "model", fails)
    with pytest.raises(RestoreError, match="64x64 YCbCr 4:2:0: not enough memory"):
        restorer.restore(SingleJpeg(30)(photograph(64, 64)).stored)
    monkeypatch.setattr(restorer, "model", lambda *inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        restorer.restore(SingleJpeg(30)(photograph(64, 64)).stored)


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU"):
            pick_device("cuda")
