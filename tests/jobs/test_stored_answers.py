"""jobs/stored_answers.py: what the confidence learns from."""

from __future__ import annotations

import numpy as np
import torch

from data.degradation import SingleJpeg
from data.training_crops import TrainingBatch
from jobs.stored_answers import stored_answers
from models.restore.restorer import network_input
from tests.conftest import photograph, tiny_network


def test_what_holds_no_colour_stays_without() -> None:
    """As when a file is restored: there the little colour that the network adds is dropped."""
    colour = photograph(64, 64)
    gray = np.repeat(colour[:, :, :1], 3, axis=2)
    batches = []
    for picture in (colour, gray):
        pair = SingleJpeg(20)(picture)
        tables, y, c, _ = network_input(pair.stored)
        pixels = torch.from_numpy(pair.original).permute(2, 0, 1)[None]
        batches.append(
            TrainingBatch(tables, y.float(), c.float(), torch.zeros(1, 2, 64, 64), pixels, pixels)
        )
    answers = stored_answers(
        tiny_network(), iter(batches), 2, torch.device("cpu"), torch.float32, quiet=True
    )
    for pictures, differ in zip(answers, (True, False), strict=True):
        for picture in (pictures.decoded, pictures.refined, pictures.answer):
            assert bool((picture != picture[:, :1]).any()) is differ
