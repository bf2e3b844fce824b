"""jobs/stored_answers.py and the loss of a step: what the last stage learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.degradation import SingleJpeg
from data.training_crops import TrainingBatch
from jobs.stored_answers import WAYS, Answers, again, stored_answers
from jobs.train import StepLoss
from models.dct import CoefficientsToImage
from models.logm import Levels, dequantise
from models.losses import RestorationLoss
from models.restore.restorer import network_input
from tests.conftest import photograph, tiny_network
from utils.distributed import ALONE

CPU = torch.device("cpu")


def _batch(colour: bool) -> TrainingBatch:
    picture = photograph(64, 64)
    if not colour:
        picture = np.repeat(picture[:, :, :1], 3, axis=2)
    pair = SingleJpeg(20)(picture)
    tables, y, c, _ = network_input(pair.stored)
    clean, jpeg = (
        torch.tensor(pixels).permute(2, 0, 1)[None]
        for pixels in (pair.original, pair.stored.decoded())
    )
    detail = torch.zeros(1, 2, 64, 64)
    return TrainingBatch(tables, y.float(), c.float(), detail, clean, jpeg)


def _stored(colour: bool) -> Answers:
    batches = iter([_batch(colour)])
    return stored_answers(tiny_network(), batches, 1, CPU, torch.float32, ALONE)[0]


def test_all_answers_lie_in_a_few_pieces_of_memory() -> None:
    """Of two thousand batches in single pieces, with what the network frees between them, glibc
    made 24 GB where 4 were stored."""
    batches = [_batch(True), _batch(False), _batch(True)]
    answers = stored_answers(tiny_network(), iter(batches), 3, CPU, torch.float32, ALONE)
    for number, batch in enumerate(batches):
        whole = tiny_network().eval()(*batch[:4]).refined
        torch.testing.assert_close(answers[number].refined.float(), whole, atol=1e-3, rtol=0)
        for stored, given, first in zip(
            answers[number].crops, batch, answers[0].crops, strict=True
        ):
            assert torch.equal(stored, given)
            assert stored.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()


@pytest.mark.parametrize("colour", [True, False])
def test_an_answer_costs_what_the_whole_network_does(colour: bool) -> None:
    loss = StepLoss(RestorationLoss("psnr"), CPU, torch.float32)
    network = tiny_network()
    new, stored = loss(network, _batch(colour)), loss(network, _stored(colour))
    assert stored.total.item() == pytest.approx(new.total.item(), rel=1e-3)
    assert stored.figures["gain"].item() == pytest.approx(new.figures["gain"].item(), abs=1e-3)


@pytest.mark.parametrize("colour", [True, False])
def test_colours_that_a_restored_file_will_not_show_cost_nothing(colour: bool) -> None:
    """Where no chroma is stored, the little colour that the network adds is dropped."""
    answers = _stored(colour)
    reddish = answers.refined + torch.tensor([0.2, 0.0, -0.1])[:, None, None].half()
    # Of the same luma, so that only its colour could cost anything.
    reddish = reddish - (0.299 * 0.2 - 0.114 * 0.1)
    loss = StepLoss(RestorationLoss("l1"), CPU, torch.float32)
    network = tiny_network(level_check=None)
    costs = [
        loss(network, answers._replace(refined=refined)).total.item()
        for refined in (answers.refined, reddish)
    ]
    assert (costs[1] > 1.2 * costs[0]) is colour


def _decoded(crops: TrainingBatch) -> torch.Tensor:
    levels = dequantise(Levels(crops.y_coef, crops.c_coef), crops.qts.float())
    return CoefficientsToImage().unclamped(*levels, crops.chroma_detail)


def test_levels_are_mirrored_as_their_picture_is() -> None:
    plain = _stored(colour=True)
    tables = plain.crops.qts.clone()
    tables[:, :, 0, 1] += 5  # tables, too, may differ in width and height
    plain = plain._replace(crops=plain.crops._replace(qts=tables))
    found = []
    for way in range(WAYS):
        crops, refined = plain.mirrored(way)
        expected = [plain.crops.image, plain.refined, _decoded(plain.crops)]
        for bit, turned in ((1, lambda x: x.flip(-1)), (2, lambda x: x.flip(-2))):
            expected = [turned(x) if way & bit else x for x in expected]
        if way & 4:
            expected = [x.mT for x in expected]
        assert torch.equal(crops.image, expected[0])
        assert torch.equal(refined, expected[1])
        torch.testing.assert_close(_decoded(crops), expected[2], atol=1e-3, rtol=0)
        found.append(crops.image)
    assert not any(torch.equal(a, b) for i, a in enumerate(found) for b in found[:i])


def test_stored_answers_come_again_mirrored_in_every_way_from_any_step_on() -> None:
    answers = [_stored(colour=True), _stored(colour=False)]
    row = again(answers, 0)
    first = [next(row) for _ in range(2 * WAYS)]
    for place in (0, 1):
        seen = first[place::2]
        assert len({tuple(batch.refined.flatten().tolist()) for batch in seen}) == WAYS
    resumed = again(answers, 5)
    assert all(torch.equal(next(resumed).refined, batch.refined) for batch in first[5:])
