"""jobs/distillation.py: a teacher's answers, and how they come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.degradation import SingleJpeg
from data.training_crops import TrainingBatch
from jobs.distillation import TaughtBatch, distance_from, mixed, taught_batches
from models import IJCN
from models.dct import image_to_coefficients, mirror_levels
from models.restore.restorer import MIRRORS, network_input
from tests.conftest import photograph, tiny_network

CPU = torch.device("cpu")


def _batch(*seeds: int) -> TrainingBatch:
    crops = []
    for seed in seeds:
        pair = SingleJpeg(20)(photograph(64, 64, seed))
        tables, y, c, _ = network_input(pair.stored)
        clean, jpeg = (
            torch.from_numpy(pixels).permute(2, 0, 1)[None] for pixels in (pair.original, pair.jpeg)
        )
        crops.append((tables, y.float(), c.float(), torch.zeros(1, 2, 64, 64), clean, jpeg))
    return TrainingBatch(*map(torch.cat, zip(*crops, strict=True)))


def _taught(teacher: IJCN, *batches: TrainingBatch, ensemble: int = 4) -> list[TaughtBatch]:
    number = len(batches)
    return taught_batches(teacher, iter(batches), number, ensemble, CPU, torch.float32, quiet=True)


@pytest.mark.parametrize("axes", MIRRORS)
def test_mirrored_levels_are_those_of_the_mirrored_picture(axes: tuple[int, ...]) -> None:
    clean = _batch(1).image / 255
    for levels, mirrored in zip(
        image_to_coefficients(clean), image_to_coefficients(clean.flip(axes)), strict=True
    ):
        assert torch.allclose(mirror_levels(levels, axes), mirrored, atol=1e-3)


def test_the_answer_is_the_mean_over_mirror_images() -> None:
    teacher, batch = tiny_network(), _batch(1, 2)
    (alone,) = _taught(teacher, batch, ensemble=1)
    with torch.no_grad():
        assert torch.allclose(alone.answer.float(), teacher(*batch[:4]).image.float(), atol=1e-3)
    (mean,) = _taught(teacher, batch)
    assert not torch.equal(mean.answer, alone.answer)
    others = []
    for axes in MIRRORS:
        (answer,) = _taught(teacher, TrainingBatch(*_without(alone.mirrored(axes))), ensemble=1)
        others.append(answer.answer.float().flip(axes))
    assert torch.allclose(mean.answer.float(), torch.stack(others).mean(0), atol=1e-3)
    # So a mirrored crop's answer is the crop's answer, mirrored.
    (turned,) = _taught(teacher, TrainingBatch(*_without(mean.mirrored((2,)))))
    assert torch.allclose(turned.answer.flip(2).float(), mean.answer.float(), atol=1e-3)


def _without(batch: TaughtBatch) -> tuple[torch.Tensor, ...]:
    return (*batch[:4], batch.image, batch.jpeg)


def test_each_pass_has_every_crop_once_and_goes_on_anywhere() -> None:
    taught = _taught(tiny_network(), _batch(1, 2), _batch(3, 4), _batch(5, 6), ensemble=1)
    stream = mixed(taught, 0, seed=7)
    batches = [next(stream) for _ in range(24)]

    def sums(some: list[TaughtBatch]) -> list[int]:
        """What tells crops apart, and does not change when they are mirrored."""
        return [int(picture.long().sum()) for batch in some for picture in batch.image]

    passes = [sums(batches[start : start + 3]) for start in range(0, 24, 3)]
    assert all(sorted(each) == sorted(sums(taught)) for each in passes)
    assert len({tuple(each) for each in passes}) > 4
    crop = taught[0].image[0]
    seen = {
        axes
        for batch in batches
        for picture in batch.image
        for axes in MIRRORS
        if torch.equal(picture[None].flip(axes)[0], crop)
    }
    assert len(seen) > 2
    for batch in batches:  # what belongs together stays together
        y, _ = image_to_coefficients(batch.jpeg / 255)
        assert (y - batch.y_coef * batch.qts[:, :1, None, None]).abs().mean() < 2
    for left, right in zip(next(mixed(taught, 17, seed=7)), batches[17], strict=True):
        assert torch.equal(left, right)


def test_the_distance_is_relative_to_the_teachers_error() -> None:
    rng = np.random.default_rng(3)
    image, answer, clean = (rng.random((2, 3, 8, 8)) for _ in range(3))
    expected = np.mean(
        [
            ((image[i] - answer[i]) ** 2).mean() / ((answer[i] - clean[i]) ** 2).mean()
            for i in (0, 1)
        ]
    )
    given = (torch.from_numpy(each) for each in (answer, image, clean))
    assert distance_from(*given).item() == pytest.approx(0.005 * expected, rel=1e-3)
