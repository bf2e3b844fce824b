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
    seen = network.confidence = _Seen()  # type: ignore[assignment]
    network.eval()
    try:
        bar = tqdm(islice(batches, number), "answers", number, disable=quiet or None, leave=False)
        return [_answers(network, seen, batch, device, precision) for batch in bar]
    finally:
        network.confidence = confidence
        network.train(training)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Let the backbone compute in bfloat16, if that is the ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16)


class _Seen(nn.Module):
    """In the confidence's place: keeps what it would see."""

    def forward(self, tables: Tensor, *pictures: Tensor) -> Tensor:
        self.tables, self.pictures = tables, pictures
        return pictures[-1]


@torch.no_grad()
def _answers(
    network: IJCN, seen: _Seen, batch: TrainingBatch, device: torch.device, precision: torch.dtype
) -> Answers:
    with autocast(device, precision):
        network(*(tensor.to(device) for tensor in batch[:4]))
    # What holds no colour stays without (models.restore.restorer): nothing is to be learned of it.
    gray = (batch.image == batch.image[:, :1]).flatten(1).all(1)[:, None, None, None]
    decoded, refined, answer = (
        torch.where(gray, luma_of(picture), picture).half()
        for picture in (picture.cpu() for picture in seen.pictures)
    )
    return Answers(seen.tables.cpu(), decoded, refined, answer, batch.image, batch.jpeg)
