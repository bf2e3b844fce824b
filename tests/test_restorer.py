"""models/restorer.py: any size, precision, faults; layouts are in test_layouts.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.degradation import SingleJpeg
from data.jpeg import Sampling, decode_jpeg, encode_jpeg, read_jpeg
from models.blocks import Activation
from models.dual_attention import ChannelLogits
from models.logm import Levels
from models.restorer import (
    RestoreError,
    Restorer,
    network_input,
    pick_device,
    pick_precision,
)
from models.tiling import MIN_SIDE
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
    model.backbone.register_forward_hook(lambda m, i, out: recorded.append(out.requires_grad))
    Restorer(model).restore(SingleJpeg(30)(photograph(64, 64)).stored)
    assert recorded == [False]


@pytest.mark.parametrize(
    "failure",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: no")],
)
def test_lack_of_memory_is_one_line(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer(tiny_network())
    sides: list[int] = []

    def fails(stored: object, side: int) -> None:
        sides.append(side)
        raise failure

    monkeypatch.setattr(restorer, "restore_in_tiles", fails)
    with pytest.raises(RestoreError, match="64x1300 YCbCr 4:2:0: not enough memory"):
        restorer.restore(SingleJpeg(30)(photograph(1300, 64)).stored)
    assert sides == [1300, 650, 325, 256]
    monkeypatch.setattr(restorer, "restore_in_tiles", lambda *inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        restorer.restore(SingleJpeg(30)(photograph(64, 64)).stored)


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU"):
            pick_device("cuda")


@pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444])
def test_tiles_agree_with_the_whole(sampling: Sampling) -> None:
    stored = read_jpeg(encode_jpeg(photograph(330, 410), 30, sampling))
    restorer = Restorer(tiny_network(channel_logits="mean"), precision="float32")
    whole = restorer.restore_in_tiles(stored, 1000)
    for side in (64, 128, 200):
        difference = np.abs(restorer.restore_in_tiles(stored, side).astype(int) - whole)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


def test_gray_tiles_agree_with_the_whole() -> None:
    stored = read_jpeg(encode_jpeg(photograph(200, 260)[:, :, 0], 30))
    restorer = Restorer(tiny_network(), precision="float32")
    whole = restorer.restore_in_tiles(stored, 1000)
    assert np.abs(restorer.restore_in_tiles(stored, 96).astype(int) - whole).max() <= 1


def test_little_memory_means_small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = read_jpeg(encode_jpeg(photograph(600, 900), 30))
    sides: list[int] = []
    monkeypatch.setattr(Restorer, "restore_in_tiles", lambda self, stored, side: sides.append(side))
    for gib in (8.0, 0.2, 0.0):
        Restorer(tiny_network(widths=(64, 8, 8)), max_memory=gib).restore(stored)
    Restorer(tiny_network()).restore(stored)
    assert sides[0] == 900
    assert sides[0] > sides[1] > sides[2] == MIN_SIDE
    assert sides[3] == 900


@pytest.mark.parametrize("logits", ["sum", "mean"])
@pytest.mark.parametrize("strip", [4, 8, 12])
def test_logm_in_strips_equals_logm_at_once(logits: ChannelLogits, strip: int) -> None:
    model = tiny_network(channel_logits=logits, attention_depth=3)
    qts, y, c, _ = network_input(read_jpeg(encode_jpeg(photograph(250, 130), 20)))
    with torch.inference_mode():
        whole = model.logm(qts.float(), Levels(y.float(), c.float()))
        parts = model.logm(qts.float(), Levels(y.float(), c.float()), strip)
    torch.testing.assert_close(parts.y, whole.y, atol=1e-5, rtol=0)
    torch.testing.assert_close(parts.c, whole.c, atol=1e-5, rtol=0)
    assert not torch.equal(whole.y, y.float())
