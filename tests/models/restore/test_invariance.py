"""The shipped weights give the same table however they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data.datasets import NamedImage, TestSet, sample_set
from data.degradation import SingleJpeg
from data.jpeg import JpegImage
from models import Restorer, load_checkpoint
from models.restore.restorer import Precision
from tests.conftest import ROOT
from utils.evaluation.evaluate import evaluate

pytestmark = pytest.mark.slow

WEIGHTS = ROOT / "model_zoo" / "Color_IJCN.safetensors"
QUALITIES = (10, 40, 90)
HEIGHT, WIDTH = 272, 400  # larger than the smallest tile


def _restorer(precision: Precision, max_memory: float | None = None) -> Restorer:
    return Restorer(load_checkpoint(WEIGHTS), "cpu", precision, max_memory=max_memory)


@pytest.fixture(scope="module")
def photographs() -> TestSet:
    def part(image: NDArray[np.uint8]) -> Callable[[], NDArray[np.uint8]]:
        top, left = (image.shape[0] - HEIGHT) // 2, (image.shape[1] - WIDTH) // 2
        cut = np.ascontiguousarray(image[top : top + HEIGHT, left : left + WIDTH])
        return lambda: cut

    large = (e for e in sample_set() if e.read().shape[0] >= HEIGHT and e.read().shape[1] >= WIDTH)
    images = [NamedImage(e.name, part(e.read())) for _, e in zip(range(4), large, strict=False)]
    assert len(images) == 4
    return TestSet("Parts", tuple(images))


def _table(
    photographs: TestSet, restore: Callable[[JpegImage], NDArray[np.uint8]], folder: Path
) -> NDArray[np.float64]:
    """Mean PSNR, SSIM and PSNR-B of the restored pictures at each quality."""
    degradations = [SingleJpeg(quality) for quality in QUALITIES]
    found = evaluate([photographs], degradations, restore, folder, "none", progress=False)
    assert not found.failures
    rows = [row.scores for row in found.summary() if row.method != "JPEG"]
    assert len(rows) == len(QUALITIES)
    return np.array(rows)


@pytest.fixture(scope="module")
def reference(
    photographs: TestSet, tmp_path_factory: pytest.TempPathFactory
) -> NDArray[np.float64]:
    """In float32, whole pictures, one at a time, with the threads PyTorch chooses."""
    return _table(photographs, _restorer("float32").restore, tmp_path_factory.mktemp("reference"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_bfloat16_gives_the_same_table(
    photographs: TestSet, reference: NDArray[np.float64], tmp_path: Path
) -> None:
    table = _table(photographs, _restorer("bfloat16").restore, tmp_path)
    np.testing.assert_allclose(table[:, 0], reference[:, 0], atol=0.003)
    np.testing.assert_allclose(table[:, 1], reference[:, 1], atol=2e-4)


def test_tiles_give_the_same_table(
    photographs: TestSet, reference: NDArray[np.float64], tmp_path: Path
) -> None:
    table = _table(photographs, _restorer("float32", max_memory=0.01).restore, tmp_path)
    np.testing.assert_allclose(table[:, 0], reference[:, 0], atol=0.001)


def test_batches_give_the_same_pictures(photographs: TestSet) -> None:
    restorer = _restorer("float32")
    stored = [SingleJpeg(40)(each.read()).stored for each in photographs]
    single = [restorer.restore(each) for each in stored]
    restorer.batches = True
    for one, other in zip(single, restorer.restore_batch(stored), strict=True):
        difference = np.abs(one.astype(int) - other)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


@pytest.mark.usefixtures("one_thread")
def test_one_thread_gives_the_same_table(
    photographs: TestSet, reference: NDArray[np.float64], tmp_path: Path
) -> None:
    table = _table(photographs, _restorer("float32").restore, tmp_path)
    np.testing.assert_allclose(table[:, 0], reference[:, 0], atol=1e-4)
