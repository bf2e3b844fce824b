"""models/confidence.py: how far an answer is trusted, where it goes back to the JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.degradation import SingleJpeg
from models import Restorer, load_checkpoint, save_checkpoint
from models.confidence import Confidence
from models.dct import CoefficientsToImage, scaled_in_ycbcr
from models.logm import Levels, dequantise
from tests.conftest import network_case, photograph, tiny_network


def _case(seed: int, size: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Tables, the JPEG's picture and the original's."""
    tables, y_coef, c_coef, clean = network_case(20, size, seed)
    return tables, CoefficientsToImage()(*dequantise(Levels(y_coef, c_coef), tables)), clean


def test_a_fresh_one_trusts_nearly_all_of_the_answer() -> None:
    tables, jpeg, clean = _case(0)
    mixed = Confidence(8)(tables, jpeg, clean, clean)
    torch.testing.assert_close(mixed, jpeg + 0.95 * (clean - jpeg), atol=1e-4, rtol=0)


def test_full_trust_and_none_are_reached() -> None:
    tables, jpeg, clean = _case(0)
    confidence = Confidence(8)
    for bias, expected in ((1.5, clean), (-0.5, jpeg)):
        torch.nn.init.constant_(confidence.trust.bias, bias)
        mixed = confidence(tables, jpeg, clean, clean)
        torch.testing.assert_close(mixed, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("spoilt", "factors"), [(0, (1.0, 0.0, 0.0)), (1, (0.0, 1.0, 1.0))])
def test_it_learns_where_the_answer_harms(spoilt: int, factors: tuple[float, float, float]) -> None:
    """Answers are right in one half of the picture; in the other, luma or chroma is spoilt."""
    torch.manual_seed(0)
    tables, jpeg, clean = (
        torch.cat(x) for x in zip(*(_case(seed, 128) for seed in range(3)), strict=True)
    )
    noise = torch.zeros_like(clean)
    noise[..., 64:] = 0.05 * torch.randn(3, 3, 128, 64)
    answer = clean + scaled_in_ycbcr(noise, torch.tensor(factors).reshape(1, 3, 1, 1))
    confidence = Confidence(8)
    optimiser = torch.optim.Adam(confidence.parameters(), 2e-3)
    for _ in range(150):
        optimiser.zero_grad()
        mixed = confidence(tables, jpeg, answer, answer)
        (mixed - clean).square().mean().backward()
        optimiser.step()
    shares = confidence.shares(tables, jpeg, answer)[:, spoilt]
    assert shares[..., :6].mean() > shares[..., 10:].mean() + 0.1


def test_it_can_still_learn_from_full_trust_and_from_none() -> None:
    """Too much trust is reduced, too little grows, and none goes further out than it is."""
    tables, jpeg, clean = _case(0)
    spoilt = (clean + 0.2 * torch.randn_like(clean)).clamp(0, 1)
    for bias, answer, moves in ((1.5, spoilt, 1), (-0.5, clean, -1), (1.5, clean, 0)):
        confidence = Confidence(8)
        torch.nn.init.constant_(confidence.trust.bias, bias)
        mixed = confidence(tables, jpeg, answer, answer)
        # A little beyond the original, so that more of the change would be better still.
        target = clean + 0.1 * (clean - jpeg)
        (mixed - target).square().mean().backward()
        assert confidence.trust.bias.grad is not None
        assert (confidence.trust.bias.grad.sign() == moves).all()


def test_it_is_added_stored_and_used(tmp_path: Path) -> None:
    stored = SingleJpeg(20)(photograph(64, 128)).stored
    network = tiny_network(confidence=None)
    longer = network.with_steps(confidence=8)
    assert longer.confidence is not None
    torch.nn.init.constant_(longer.confidence.trust.bias, -9.0)
    save_checkpoint(longer, tmp_path / "a.safetensors")
    restored = Restorer(load_checkpoint(tmp_path / "a.safetensors"), precision="float32")
    decoded = stored.decoded()
    assert decoded is not None
    assert np.abs(restored.restore(stored).astype(int) - decoded).mean() < 0.6
    plain = Restorer(network, precision="float32").restore(stored)
    assert np.abs(plain.astype(int) - decoded).mean() > 1
