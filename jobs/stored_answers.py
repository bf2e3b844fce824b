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
from models.dct import luma_of
from models.restore.restorer import autocast


class Answers(NamedTuple):
    """What the confidence of a batch of crops sees, and what it is judged by.

    tables (B, 3, 8, 8), float32. decoded, refined, answer: as :meth:`Confidence.forward` takes
    them, (B, 3, H, W) float16. image: clean, jpeg: libjpeg's decoding, both (B, 3, H, W) uint8.
    """

    tables: Tensor
    decoded: Tensor
    refined: Tensor
    answer: Tensor
    image: Tensor
    jpeg: Tensor


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
    confidence, training = network.confidence, network.training
    assert confidence is not None
    answers: list[Answers] = []
    seen: list[tuple[Tensor, ...]] = []

    def see(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs)

    network.eval()
    with confidence.register_forward_pre_hook(see):
        bar = tqdm(islice(batches, number), "answers", number, disable=quiet or None, leave=False)
        for batch in bar:
            with autocast(device, precision):
                network(*(tensor.to(device) for tensor in batch[:4]))
            tables, *pictures = (tensor.cpu() for tensor in seen.pop())
            # What holds no colour stays without, as in restoring: nothing is to be learned of it.
            gray = (batch.image == batch.image[:, :1]).flatten(1).all(1)[:, None, None, None]
            decoded, refined, answer = (torch.where(gray, luma_of(p), p).half() for p in pictures)
            answers.append(Answers(tables, decoded, refined, answer, batch.image, batch.jpeg))
    network.train(training)
    return answers
