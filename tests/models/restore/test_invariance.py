"""The shipped weights give the same pictures however they are run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data.datasets import sample_set
from data.degradation import Degraded, SingleJpeg
from models import Restorer, load_checkpoint
from utils.evaluation.metrics import psnr, ssim

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 272, 400  # larger than the smallest tile


@pytest.fixture(scope="module")
def pairs() -> list[Degraded]:
    """Parts of photographs, two at each of three qualities."""
    images = [each.read() for each in sample_set()]
    large = [i for i in images if i.shape[0] >= HEIGHT and i.shape[1] >= WIDTH][:2]
    assert len(large) == 2
    return [
        SingleJpeg(quality)(np.ascontiguousarray(image[-HEIGHT:, -WIDTH:]))
        for image in large
        for quality in (10, 40, 90)
    ]


@pytest.fixture(scope="module")
def reference(pairs: list[Degraded]) -> list[NDArray[np.uint8]]:
    """In float32, whole pictures, one at a time, with as many threads as other tests have."""
    restorer = Restorer(load_checkpoint("full"), "cpu", "float32")
    return [restorer.restore(pair.stored) for pair in pairs]


@pytest.fixture(params=["bfloat16", "tiles", "batches", "other threads"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.get_num_threads()
    if request.param == "other threads":
        torch.set_num_threads(2 if before == 1 else 1)
    yield request.param
    torch.set_num_threads(before)


def test_every_way_gives_the_same_pictures(
    way: str, pairs: list[Degraded], reference: list[NDArray[np.uint8]]
) -> None:
    restorer = Restorer(
        load_checkpoint("full"),
        "cpu",
        "bfloat16" if way == "bfloat16" else "float32",
        max_memory=0.01 if way == "tiles" else None,
    )
    restorer.batches = way == "batches"
    pictures = restorer.restore_batch([pair.stored for pair in pairs])
    for pair, picture, expected in zip(pairs, pictures, reference, strict=True):
        one, other = (psnr(restored=x, original=pair.original) for x in (picture, expected))
        if way == "bfloat16":
            structure = [ssim(restored=x, original=pair.original) for x in (picture, expected)]
            assert one == pytest.approx(other, abs=0.01)
            assert structure[0] == pytest.approx(structure[1], abs=5e-4)
        else:
            assert one == pytest.approx(other, abs=0.001)
            difference = np.abs(picture.astype(int) - expected)
            assert difference.max() <= 1
            assert (difference > 0).mean() < 1e-2
