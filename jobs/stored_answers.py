"""Training of the last stage on stored answers of the stages before it, which are frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from data.training_crops import TrainingBatch
from models import IJCN
from models.int8 import largest_inputs, ranges_of
from models.restore.restorer import autocast
from utils.distributed import World

_SIGNS = torch.tensor([1.0, -1.0] * 4)
"""Of the frequencies along an axis, where a block is mirrored."""

WAYS = 8
"""In which a square can be mirrored and turned."""


class Answers(NamedTuple):
    """Crops, and what all stages but the last made of them: refined (B, 3, H, W), float16."""

    crops: TrainingBatch
    refined: Tensor

    def mirrored(self, way: int) -> Answers:
        """As if the crops had been mirrored before their compression.

        way: a sum of 1, left and right change places; 2, top and bottom; 4, rows and columns.
        """

        def picture(pixels: Tensor) -> Tensor:
            pixels = pixels.flip([axis for axis in (-1, -2) if way & -axis])
            return pixels.transpose(-1, -2) if way & 4 else pixels

        def levels(grid: Tensor) -> Tensor:
            if way & 1:
                grid = grid.flip(3) * _SIGNS
            if way & 2:
                grid = grid.flip(2) * _SIGNS[:, None]
            return grid.transpose(2, 3).transpose(4, 5) if way & 4 else grid

        tables, y, c, *pictures = self.crops
        if way & 4:
            tables = tables.transpose(-1, -2)
        crops = TrainingBatch(tables, levels(y), levels(c), *map(picture, pictures))
        return Answers(crops, picture(self.refined))


@torch.no_grad()
def stored_answers(
    network: IJCN,
    batches: Iterator[TrainingBatch],
    number: int,
    device: torch.device,
    precision: torch.dtype,
    world: World,
) -> list[Answers]:
    """The first ``number`` batches, answered, on the CPU. A crop of 128x128 takes 0.4 MB.

    network: on its device; gets the ranges of what all processes see. precision: of the backbone.
    """
    training = network.training
    network.eval()
    # In a few large pieces: small ones that stayed between what the network uses and frees would
    # keep the allocator from using that again.
    kept: list[Tensor] = []
    hidden = not world.is_main or None
    bar = tqdm(islice(batches, number), "answers", number, disable=hidden, leave=False)
    with largest_inputs(network) as largest:
        for place, batch in enumerate(bar):
            with autocast(device, precision):
                output = network(*(tensor.to(device) for tensor in batch[:4]))
            peaks = (each.pop() for each in largest.values())
            found = (*batch, output.refined.half().cpu(), *peaks)
            kept = kept or [tensor.new_empty((number, *tensor.shape)) for tensor in found]
            for pieces, tensor in zip(kept, found, strict=True):
                pieces[place] = tensor
    crops, refined, peaks_of = kept[: len(batch)], kept[len(batch)], kept[len(batch) + 1 :]
    seen = {name: [peaks.flatten(0, 1)] for name, peaks in zip(largest, peaks_of, strict=True)}
    network.ranges = ranges_of(world.gather(seen))
    network.train(training)
    whole = map(TrainingBatch._make, zip(*crops, strict=True))
    return [Answers(*each) for each in zip(whole, refined, strict=True)]


def again(answers: Sequence[Answers], first: int) -> Iterator[Answers]:
    """An endless row of ``answers`` from batch ``first`` on, each time mirrored another way."""
    for number in count(first):
        rounds, place = divmod(number, len(answers))
        yield answers[place].mirrored((rounds + place) % WAYS)
