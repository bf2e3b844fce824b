"""The weights that ship: they load, are described, and restore photographs better than the JPEG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.command_line import gain
from data.datasets import sample_set
from data.degradation import DoubleJpeg, SingleJpeg
from data.jpeg import Sampling
from jobs.methods import identify
from models import load_checkpoint
from models.checkpoint import SHIPPED, checkpoint_path
from models.restore.restorer import Restorer
from options.schema import RealTestOptions, load_options
from tests.conftest import ROOT
from utils.evaluation.evaluate import Degrade
from utils.evaluation.metrics import luma_studio_range, psnr
from utils.image_io import find_images, read_image
from utils.project import PROJECT

ZOO = ROOT / "model_zoo"
SIDE = 192


@pytest.fixture(scope="module", params=["full", "fast"])
def restorer(request: pytest.FixtureRequest) -> Restorer:
    return Restorer(load_checkpoint(request.param))


def _gain(restorer: Restorer, degrade: Degrade, image: NDArray[np.uint8]) -> float:
    """PSNR gained over the JPEG on an image's centre."""
    top, left = (image.shape[0] - SIDE) // 2, (image.shape[1] - SIDE) // 2
    pair = degrade(np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE]))
    return gain(pair.jpeg, restorer.restore(pair.stored), pair.original)


def test_every_checkpoint_has_a_card() -> None:
    card = (ZOO / "README.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in ZOO.glob("*.safetensors"))
    assert files
    for name in files:
        assert f"## {name}" in card


def test_the_fast_network_is_small() -> None:
    assert checkpoint_path("fast").stat().st_size <= 10_000_000
    full, fast = (
        sum(weight.numel() for weight in load_checkpoint(word).backbone.parameters())
        for word in ("full", "fast")
    )
    assert fast < full / 2


@pytest.mark.slow
@pytest.mark.parametrize("quality", [10, 40])
def test_live1_gains_over_the_jpeg_row(restorer: Restorer, live1: Path, quality: int) -> None:
    """Central crops only, for time; the card has the whole images' figures."""
    gains = [_gain(restorer, SingleJpeg(quality), read_image(path)) for path in find_images(live1)]
    assert np.mean(gains) > 0.8
    assert min(gains) > 0


@pytest.mark.parametrize(
    ("degrade", "least_gain"),
    [
        (SingleJpeg(10), 0.8),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                (SingleJpeg(40), 0.8),
                (SingleJpeg(80), 0.5),
                (SingleJpeg(90), 0.3),
                (DoubleJpeg(30, 50, (4, 4)), 0.6),
            )
        ),
    ],
    ids=lambda value: getattr(value, "label", str(value)),
)
def test_restored_photographs_gain_over_the_jpeg(
    restorer: Restorer, degrade: Degrade, least_gain: float
) -> None:
    gains = [_gain(restorer, degrade, entry.read()) for entry in list(sample_set())[:4]]
    assert np.mean(gains) > least_gain, gains


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [Sampling.S444, Sampling.S422, None], ids=str)
@pytest.mark.parametrize("quality", [10, 90])
def test_other_layouts_gain_too(
    restorer: Restorer, sampling: Sampling | None, quality: int
) -> None:
    """None: gray."""
    gains = []
    for entry in list(sample_set())[:3]:
        image = entry.read() if sampling else luma_studio_range(entry.read())
        gains.append(_gain(restorer, SingleJpeg(quality, sampling or Sampling.S420), image))
    assert np.mean(gains) > 0, gains


def _bayer(side: int) -> NDArray[np.float64]:
    """An ordered dither's thresholds, of a side that is a power of 2, in [0, 1]."""
    matrix = np.zeros((1, 1))
    while len(matrix) < side:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / matrix.size


def _dithered(gray: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Ways to black and white that data/drawn.py, for training, does not draw just so."""
    rows, cols = np.indices(gray.shape)
    waves = np.sin((rows + cols) * 0.99) * np.sin((rows - cols) * 0.99)
    level = gray / 255.0

    def modules(side: int) -> NDArray[np.uint8]:
        return np.kron(level[::side, ::side] > 0.4, np.full((side, side), 255)).astype(np.uint8)

    return {
        "Floyd and Steinberg": np.asarray(Image.fromarray(gray).convert("1").convert("L")),
        "ordered": (255 * (level > np.tile(_bayer(4), (SIDE // 4, SIDE // 4)))).astype(np.uint8),
        "screen": (255 * (level > (waves + 1) / 2)).astype(np.uint8),
        "modules": modules(6),
        "modules on the grid": modules(8),
    }


def test_black_and_white_never_come_out_worse(restorer: Restorer) -> None:
    photograph = next(iter(sample_set())).read()[100:, 150:]
    gray = np.ascontiguousarray(luma_studio_range(photograph)[:SIDE, :SIDE])
    for name, picture in _dithered(gray).items():
        for quality in (30, 85):
            pair = SingleJpeg(quality)(picture)
            before = psnr(restored=pair.jpeg, original=picture)  # inf where it is exact
            after = psnr(restored=restorer.restore(pair.stored), original=picture)
            assert after >= before - 0.1, (name, quality, before, after)


@pytest.mark.parametrize("word", SHIPPED)
def test_words_stand_for_the_shipped_weights(word: str) -> None:
    path = checkpoint_path(word)
    assert path.parent == ZOO
    assert path.is_file()
    options = load_options(RealTestOptions, ROOT / "options/test_real.yml", [("checkpoint", word)])
    assert PROJECT / options.checkpoint == path
    assert identify(word).path == path
    mine = identify(f"mine={word}")
    assert (mine.name, mine.path) == ("mine", path)
    assert load_checkpoint(word).config == load_checkpoint(path).config
