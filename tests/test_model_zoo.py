"""The weights that ship: they load, are described, and restore photographs better than the JPEG."""

from __future__ import annotations

import numpy as np
import pytest

from data.datasets import sample_set
from data.degradation import Degradation, DoubleJpeg, SingleJpeg
from models import load_checkpoint
from models.restorer import Restorer
from tests.conftest import ROOT
from utils.metrics import psnr

ZOO = ROOT / "model_zoo"
SIDE = 192


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer(load_checkpoint(ZOO / "ijcn_small.safetensors"))


def test_every_checkpoint_has_a_card() -> None:
    card = (ZOO / "README.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in ZOO.glob("*.safetensors"))
    assert files
    for name in files:
        assert f"## {name}" in card


@pytest.mark.parametrize(
    ("degrade", "least_gain"),
    [
        (SingleJpeg(10), 0.8),
        (SingleJpeg(40), 0.8),
        (SingleJpeg(80), 0.5),
        (SingleJpeg(95), 0.0),
        (DoubleJpeg(30, 50, (4, 4)), 0.6),
    ],
    ids=lambda value: getattr(value, "label", str(value)),
)
def test_restored_photographs_gain_over_the_jpeg(
    restorer: Restorer, degrade: Degradation, least_gain: float
) -> None:
    gains = []
    for entry in list(sample_set())[:4]:
        image = entry.read()
        top, left = (image.shape[0] - SIDE) // 2, (image.shape[1] - SIDE) // 2
        pair = degrade(np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE]))
        restored = restorer.restore(pair.stored)
        gains.append(
            psnr(restored=restored, original=pair.original)
            - psnr(restored=pair.jpeg, original=pair.original)
        )
    assert np.mean(gains) > least_gain, gains
