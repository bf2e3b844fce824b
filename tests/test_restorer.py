"""models/restorer.py: mirroring of blocks, any size, precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.degradation import SingleJpeg
from data.jpeg import Sampling, decode_jpeg, encode_jpeg, read_jpeg
from models.blocks import Activation
from models.dct import CoefficientsToImage
from models.restorer import (
    RestoreError,
    Restorer,
    UnsupportedLayoutError,
    mirror_blocks,
    network_input,
    pick_device,
    pick_precision,
)
from tests.conftest import photograph, tiny_network
from utils.metrics import psnr


def _samples(levels: np.ndarray) -> np.ndarray:
    return CoefficientsToImage().inverse_dct(torch.from_numpy(levels.copy()).float()).numpy()


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 4), cols=st.integers(1, 4), more=st.integers(0, 9), seed=st.integers(0, 99)
)
def test_mirrored_blocks_are_mirrored_samples(rows: int, cols: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = rng.integers(-50, 50, (rows, cols, 8, 8)).astype(np.int16)
    extended = mirror_blocks(levels, rows + more, cols + more)
    assert extended.dtype == np.int16
    expected = np.pad(_samples(levels), ((0, 8 * more), (0, 8 * more)), mode="symmetric")
    np.testing.assert_allclose(_samples(extended), expected, atol=1e-3)


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (16, 24), (17, 40), (56, 72), (64, 64), (65, 129)]
)
def test_network_input_has_legal_size_and_keeps_the_levels(size: tuple[int, int]) -> None:
    stored = read_jpeg(encode_jpeg(photograph(*size), 50))
    qts, y, c = network_input(stored)
    assert y.shape[2] % 8 == 0
    assert y.shape[3] % 8 == 0
    assert c.shape[2:4] == (y.shape[2] // 2, y.shape[3] // 2)
    assert qts.shape == (1, 3, 8, 8)
    luma, cb, _ = stored.components
    rows, cols = luma.levels.shape[:2]
    assert np.array_equal(y[0, 0, :rows, :cols].numpy(), luma.levels)
    rows, cols = cb.levels.shape[:2]
    assert np.array_equal(c[0, 0, :rows, :cols].numpy(), cb.levels)


def test_luma_and_chroma_are_mirrored_at_the_same_edge() -> None:
    """40 pixels: 5 luma blocks, but 3 chroma blocks that reach to 48."""
    stored = read_jpeg(encode_jpeg(photograph(40, 40), 95))
    _, y, c = network_input(stored)
    luma, chroma = _samples(y[0, 0].numpy()), _samples(c[0, 0].numpy())
    np.testing.assert_allclose(luma[48:64], luma[32:48][::-1], atol=1e-3)
    np.testing.assert_allclose(chroma[24:32], chroma[16:24][::-1], atol=1e-3)


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


def test_other_layouts_are_refused_in_one_line() -> None:
    for data in (
        encode_jpeg(photograph(16, 16), 50, Sampling.S444),
        encode_jpeg(photograph(16, 16)[:, :, 0], 50),
    ):
        with pytest.raises(UnsupportedLayoutError, match="only YCbCr 4:2:0"):
            Restorer(tiny_network()).restore(read_jpeg(data))


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU"):
            pick_device("cuda")
