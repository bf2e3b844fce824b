"""The confidence learns from answers that are computed once: all before it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from data.training_crops import TrainingBatch
from models import IJCN
from models.logm import Levels


class Answers(NamedTuple):
    """What the confidence of a batch of crops sees, and what it is judged by.

    qts (B, 3, 8, 8). decoded: the picture of the stored levels, answer: that of the parts before
    the confidence, both (B, 3, H, W) float16 in [0, 1]. image: clean, jpeg: libjpeg's decoding,
    both (B, 3, H, W) uint8.
    """

    qts: Tensor
    decoded: Tensor
    answer: Tensor
    image: Tensor
    jpeg: Tensor


def stored_answers(
    network: IJCN,
    batches: Iterator[TrainingBatch],
    number: int,
    device: torch.device,
    precision: torch.dtype,
    quiet: bool,
) -> list[Answers]:
    """The first ``number`` batches, answered, on the CPU. A crop of 128x128 takes 0.3 MB.

    network: on its device. precision: of the backbone. quiet: no progress bar.
    """
    confidence, network.confidence = network.confidence, None
    training = network.training
    network.eval()
    try:
        bar = tqdm(islice(batches, number), "answers", number, disable=quiet or None, leave=False)
        return [_answers(network, batch, device, precision) for batch in bar]
    finally:
        network.confidence = confidence
        network.train(training)


@torch.no_grad()
def _answers(
    network: IJCN, batch: TrainingBatch, device: torch.device, precision: torch.dtype
) -> Answers:
    qts, y_coef, c_coef, detail = (tensor.to(device) for tensor in batch[:4])
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        answer = network(qts, y_coef, c_coef, detail).image
    decoded = network.first_image(qts.float(), Levels(y_coef, c_coef), detail)
    decoded, answer = (picture.clamp(0, 1).half().cpu() for picture in (decoded, answer))
    return Answers(batch.qts, decoded, answer, batch.image, batch.jpeg)


def mixed(confidence: nn.Module, answers: Answers) -> Tensor:
    """The confidence's picture (B, 3, H, W) of a batch that lies on its device."""
    picture: Tensor = confidence(
        answers.qts.float(), answers.decoded.float(), answers.answer.float()
    )
    return picture
