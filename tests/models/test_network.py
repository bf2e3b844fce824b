"""The network against golden vectors of the reference, and its limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.quality import standard_tables
from models import IJCN, IJCNConfig, load_checkpoint
from models.dct import ZIGZAG, rgb_to_ycbcr, scaled_in_ycbcr
from models.dual_attention import ChannelAttention, DualAttention
from models.qtgm import component_scales, expected_error
from tests.conftest import GOLDEN, TINY, tiny_network

TOLERANCE = {"y_pred": 2e-5, "c_pred": 2e-5, "image": 1e-4}
"""Largest absolute difference in float32 on a CPU; an independent implementation needs a third."""

VECTORS = ("one_64x64_q10", "batch2_128x192_q10_q70", "extreme_64x128")


@pytest.fixture(scope="module")
def published(released_file: Path) -> IJCN:
    return load_checkpoint(released_file)


def _deviations(model: IJCN, vector: str) -> dict[str, float]:
    golden = np.load(GOLDEN / f"{vector}.npz")
    with torch.inference_mode():
        out = model(*(torch.from_numpy(golden[k]) for k in ("qts", "y_coef", "c_coef")))
    ours = {"y_pred": out.y_coef, "c_pred": out.c_coef, "image": out.image}
    return {key: float(np.abs(ours[key].numpy() - golden[key]).max()) for key in TOLERANCE}


@pytest.mark.parametrize("vector", VECTORS)
def test_network_agrees_with_golden_vectors(published: IJCN, vector: str) -> None:
    for key, deviation in _deviations(published, vector).items():
        assert deviation <= TOLERANCE[key], f"{key} deviates by {deviation}"


@pytest.mark.parametrize("index", [0, 1])
def test_dual_attention_agrees_with_golden_vectors(published: IJCN, index: int) -> None:
    golden = np.load(GOLDEN / "attention_only.npz")
    with torch.inference_mode():
        ours = published.logm.attention(torch.from_numpy(golden[f"tokens_{index}"]))
    assert np.abs(ours.numpy() - golden[f"output_{index}"]).max() <= 2e-5


@pytest.mark.parametrize(
    "fault",
    [
        "transposed zigzag",
        "no roll",
        "no mask",
        "scaled channel logits",
        "swapped heads",
        "blocks of a level exchanged",
    ],
)
def test_golden_vectors_would_notice_a_wrong_block(
    released_file: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_checkpoint(released_file)
    logm, qtgm, decoder = network.logm, network.qtgm, network.backbone.decoder_blocks
    if fault == "transposed zigzag":
        logm.zigzag = torch.from_numpy(ZIGZAG % 8 * 8 + ZIGZAG // 8)
        logm.unzigzag = logm.zigzag.argsort()
    elif fault == "no roll":
        for block in logm.attention.blocks:
            block.window_attention.shifted = False
    elif fault == "no mask":
        monkeypatch.setattr(
            "models.dual_attention._wrapped_pairs",
            lambda rows, cols, _: torch.zeros(rows * cols // 16, 16, 16, dtype=torch.bool),
        )
    elif fault == "scaled channel logits":
        for block in logm.attention.blocks:
            block.channel_attention.logits = "mean"
    elif fault == "swapped heads":
        qtgm.encoder_heads, qtgm.decoder_heads = qtgm.decoder_heads, qtgm.encoder_heads
    else:
        decoder[1] = torch.nn.Sequential(*reversed(list(decoder[1])))
    deviations = _deviations(network, "one_64x64_q10")
    assert any(deviation > 2 * TOLERANCE[key] for key, deviation in deviations.items())


def test_mean_channel_attention_does_not_depend_on_image_size() -> None:
    attention = ChannelAttention(64, 2, "mean")
    tokens = torch.randn(1, 8, 8, 64)
    tiled = tokens.repeat(1, 2, 3, 1)
    torch.testing.assert_close(attention(tiled), attention(tokens).repeat(1, 2, 3, 1))
    reference = ChannelAttention(64, 2, "sum")
    reference.load_state_dict(attention.state_dict())
    torch.testing.assert_close(attention(tokens), reference(tokens))  # 64 tokens: 128x128 pixels


def test_expected_error_follows_the_tables() -> None:
    tables = torch.full((3, 3, 8, 8), 20.0)
    tables[0], tables[2] = 1.0, 80.0
    fine, middle, coarse = expected_error(tables).tolist()
    assert middle == pytest.approx(1)
    assert fine < 0.3
    assert 1.5 < coarse < 2.5


def test_each_component_is_scaled_by_its_own_table() -> None:
    """As one scale for all where the tables are libjpeg's, else luma's and chroma's apart."""
    for quality in range(1, 101):
        luma, chroma = (torch.from_numpy(t.copy()).float() for t in standard_tables(quality))
        tables = torch.stack((luma, chroma, chroma))[None]
        scales, one = component_scales(tables).flatten(), expected_error(tables)[0]
        assert (scales / one - 1).abs().max() < 0.03
    coarse = torch.from_numpy(standard_tables(10)[1].copy()).float()
    apart = torch.stack((luma, coarse, chroma))[None]
    y, cb, cr = component_scales(apart).flatten().tolist()
    assert y == cr < 0.3
    assert cb > 1.5


def test_a_change_is_scaled_in_luma_and_chroma() -> None:
    change = torch.rand(2, 3, 4, 4) - 0.5
    factors = torch.tensor([2.0, 0.0, 1.0])[:, None, None].expand(2, 3, 1, 1)
    middle = torch.tensor([0.0, 128, 128])[:, None, None]
    before, after = (rgb_to_ycbcr(x) - middle for x in (change, scaled_in_ycbcr(change, factors)))
    torch.testing.assert_close(after, before * factors, atol=1e-4, rtol=0)


def test_stochastic_depth_acts_in_training_only() -> None:
    torch.manual_seed(0)
    attention = DualAttention(32, heads=2, depth=2, max_drop=0.9)
    tokens = torch.randn(1, 32, 4, 4)
    with torch.inference_mode():
        assert torch.equal(attention.eval()(tokens), attention(tokens))
        attention.train()
        outputs = {float(attention(tokens).sum()) for _ in range(12)}
    assert len(outputs) > 1


def test_untrained_network_starts_from_the_jpeg() -> None:
    model = IJCN(replace(TINY, level_check=None)).eval()  # which would clip such random levels
    model.start_from_jpeg()
    y = torch.randint(-20, 20, (1, 1, 8, 8, 8, 8)).float()
    c = torch.randint(-20, 20, (1, 2, 4, 4, 8, 8)).float()
    qts = torch.full((1, 3, 8, 8), 3)
    with torch.inference_mode():
        out = model(qts, y, c)
        first = model.to_image(y * qts[:, :1, None, None], c * qts[:, 1:, None, None])
    assert torch.equal(out.y_coef, y)
    torch.testing.assert_close(out.image, first)


@pytest.mark.parametrize(
    ("y_shape", "c_shape", "words"),
    [
        ((1, 1, 6, 8, 8, 8), (1, 2, 3, 4, 8, 8), "multiples of 64"),
        ((1, 1, 8, 8, 8, 8), (1, 2, 8, 8, 8, 8), "4:2:0"),
        ((1, 1, 8, 8, 64), (1, 2, 4, 4, 8, 8), "y_coef"),
    ],
)
def test_wrong_shapes_are_refused(
    y_shape: tuple[int, ...], c_shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        tiny_network()(torch.ones(1, 3, 8, 8), torch.zeros(y_shape), torch.zeros(c_shape))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": (8, 8)}, r"widths\.2"),
        ({"activation": "gelu"}, "'prelu' or 'relu'"),
        ({"inner_widths": (8, 0, 8)}, r"inner_widths\.1"),
        ({"attention_depth": 0}, "attention_depth"),
        ({"max_drop": 1.0}, "max_drop"),
        ({"depth": 4}, "depth"),
    ],
)
def test_impossible_variants_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        IJCNConfig(**change)  # type: ignore[arg-type]
