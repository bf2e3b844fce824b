"""models/losses.py: each term against its definition, written out with numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from models import IJCNOutput
from models.dct import image_to_coefficients
from models.losses import RestorationLoss
from models.qtgm import expected_error
from tests.conftest import network_case, tiny_network


def _batch(*qualities: int) -> list[Tensor]:
    cases = [network_case(quality, seed=seed) for seed, quality in enumerate(qualities)]
    return [torch.cat(parts) for parts in zip(*cases, strict=True)]


def test_clean_levels_agree_with_an_independent_dct_and_libjpeg() -> None:
    qts, y_coef, c_coef, clean = _batch(90)
    y, c = image_to_coefficients(clean)
    rgb = clean[0].numpy().astype(np.float64) * 255
    luma = np.tensordot([0.299, 0.587, 0.114], rgb, 1) - 128
    assert np.abs(y[0, 0, 2, 5].numpy() - dctn(luma[16:24, 40:48], norm="ortho")).max() < 1e-2
    # libjpeg's levels are these, divided, rounded, up to its integer arithmetic
    for levels, coefficients, tables in ((y_coef, y, qts[:, :1]), (c_coef, c, qts[:, 1:])):
        error = (levels - coefficients / tables[:, :, None, None]).abs()
        assert error.max() < 1.0
        assert (error < 0.55).float().mean() > 0.97


@pytest.mark.parametrize("penalty", ["charbonnier", "l1", "psnr"])
@pytest.mark.parametrize("balance", [True, False])
def test_terms_equal_their_definition(penalty: str, balance: bool) -> None:
    qts, y_coef, c_coef, clean = _batch(10, 80)
    torch.manual_seed(0)
    output = IJCNOutput(
        clean + 0.1 * torch.randn_like(clean),
        y_coef + 0.3 * torch.randn(y_coef.shape),
        c_coef + 0.3 * torch.randn(c_coef.shape),
        clean + 0.05 * torch.randn_like(clean),
        clean,
    )
    loss = RestorationLoss(penalty, 1e-3, 0.5, 0.25, balance_qualities=balance)  # type: ignore[arg-type]
    result = loss(output, qts, clean, clean)

    def size(error: Tensor) -> float:
        e = error.double().numpy()
        if penalty == "psnr":  # 20 log10 is 8.686 ln
            peak_ratio = 20 * np.log10(np.sqrt((e * e).mean() + 1e-6))
            return float(peak_ratio / 8.685889638 * 0.01)
        return float((np.sqrt(e * e + 1e-6) if penalty == "charbonnier" else np.abs(e)).mean())

    y, c = image_to_coefficients(clean)
    expected = 0.0
    for i in range(2):
        weight = 1 / expected_error(qts.float())[i].item() if balance and penalty != "psnr" else 1.0
        y_error = (output.y_coef[i] * qts[i, :1, None, None] - y[i]) / 255
        c_error = (output.c_coef[i] * qts[i, 1:, None, None] - c[i]) / 255
        total = size(output.image[i] - clean[i]) + 0.5 * size(output.first[i] - clean[i])
        total += 0.25 * (size(y_error) + size(c_error)) / 2
        expected += weight * total / 2
    assert result.total.item() == pytest.approx(expected, rel=1e-5)
    assert set(result.figures) == {"image", "first_image", "levels"}


def test_level_and_first_terms_reach_logm_only() -> None:
    model = tiny_network().train()
    batch = _batch(20)
    both = RestorationLoss(first_weight=1.0, level_weight=1.0)
    image_only = RestorationLoss()
    gradients = []
    for loss in (both, image_only):
        model.zero_grad()
        loss(model(*batch[:3]), batch[0], batch[3], batch[3]).total.backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})  # type: ignore[union-attr]
    changed = {n for n in gradients[0] if not torch.allclose(gradients[0][n], gradients[1][n])}
    assert changed
    assert all(name.startswith("logm.") for name in changed)


def test_pictures_worse_than_their_jpeg_count_more() -> None:
    qts, _, _, clean = _batch(10, 80)
    jpeg, better, worse = clean + 0.2, clean[:1] + 0.1, clean[1:] + 0.4
    image = torch.cat((better, worse))
    plain = RestorationLoss("l1", balance_qualities=False).of_image(qts, image, clean, jpeg)
    assert plain.item() == pytest.approx((0.1 + 0.4) / 2)
    harmed = RestorationLoss("l1", balance_qualities=False, harm_weight=3.0)
    expected = (0.1 + 0.4 + 3 * (0.4 - 0.2)) / 2
    assert harmed.of_image(qts, image, clean, jpeg).item() == pytest.approx(expected)
