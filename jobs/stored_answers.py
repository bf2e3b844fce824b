"""The last stage learns from answers that are computed once: all before it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from data.training_crops import TrainingBatch
from models import IJCN
from models.restore.restorer import autocast


class Answers(NamedTuple):
    """Crops, and what all stages but the last made of them: refined (B, 3, H, W), float16."""

    crops: TrainingBatch
    refined: Tensor


@torch.no_grad()
def stored_answers(
    network: IJCN,
    batches: Iterator[TrainingBatch],
    number: int,
    device: torch.device,
    precision: torch.dtype,
    quiet: bool,
) -> list[Answers]:
    """The first ``number`` batches, answered, on the CPU. A crop of 128x128 takes 0.4 MB.

    network: on its device. precision: of the backbone. quiet: no progress bar.
    """
    training = network.training
    network.eval()
    answers = []
    bar = tqdm(islice(batches, number), "answers", number, disable=quiet or None, leave=False)
    for batch in bar:
        with autocast(device, precision):
            output = network(*(tensor.to(device) for tensor in batch[:4]))
        answers.append(Answers(batch, output.refined.half().cpu()))
    network.train(training)
    return answers
