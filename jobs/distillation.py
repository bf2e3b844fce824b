"""Learning from a network's mean answer to a crop and its mirror images (self-distillation).

Clean pictures hold what no network can know from a JPEG, and a step that follows them follows
mostly this noise. A mean of answers has a smaller error than each of them and none of that noise,
so small batches can learn from it. After Hinton et al., "Distilling the knowledge in a neural
network" (2015), with the self-ensemble of Timofte et al., "Seven ways to improve example-based
single image super resolution" (2016), as the teacher.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.training_crops import TrainingBatch
from models import IJCN
from models.dct import mirror_levels
from models.restore.restorer import MIRRORS, autocast


class TaughtBatch(NamedTuple):
    """A :class:`TrainingBatch` with ``answer``, the teacher's, (B, 3, H, W) float16 in [0, 1]."""

    qts: Tensor
    y_coef: Tensor
    c_coef: Tensor
    chroma_detail: Tensor
    answer: Tensor
    image: Tensor
    jpeg: Tensor

    def mirrored(self, axes: tuple[int, ...]) -> TaughtBatch:
        """The same crops, mirrored along axes 2 (rows) and 3 (columns) of the pictures."""
        levels = (mirror_levels(each, axes) for each in (self.y_coef, self.c_coef))
        pictures = (self.chroma_detail, self.answer, self.image, self.jpeg)
        return TaughtBatch(self.qts, *levels, *(each.flip(axes) for each in pictures))


@torch.no_grad()
def taught_batches(
    teacher: IJCN,
    batches: Iterator[TrainingBatch],
    number: int,
    ensemble: int,
    device: torch.device,
    precision: torch.dtype,
    quiet: bool,
) -> list[TaughtBatch]:
    """The first ``number`` batches with the teacher's answers, on the CPU.

    A crop of 192x192 takes 1 MB. teacher: on its device. ensemble: 1, 2 or 4 mirror images whose
    answers are averaged. precision: of the backbone. quiet: no progress bar.
    """
    teacher.eval()
    taught = []
    bar = tqdm(islice(batches, number), "answers", number, disable=quiet or None, leave=False)
    for batch in bar:
        known = TaughtBatch(*batch[:4], batch.image, *batch[4:])  # no answer yet
        answers = []
        for axes in MIRRORS[:ensemble]:
            with autocast(device, precision):
                seen = (tensor.to(device) for tensor in known.mirrored(axes)[:4])
                answers.append(teacher(*seen).image.float().flip(axes))
        taught.append(known._replace(answer=torch.stack(answers).mean(0).half().cpu()))
    return taught


def mixed(batches: Sequence[TaughtBatch], first: int, seed: int) -> Iterator[TaughtBatch]:
    """Their crops in a new order in every pass, batches mirrored at random; without end.

    batches: of one size. first: how many of what is yielded are left out.
    """
    size = len(batches[0].qts)
    for position in count(first):
        passed, place = divmod(position, len(batches))
        order = np.random.default_rng((seed, passed)).permutation(len(batches) * size)
        crops = [
            [tensor[index % size] for tensor in batches[index // size]]
            for index in order[place * size : (place + 1) * size]
        ]
        batch = TaughtBatch(*map(torch.stack, zip(*crops, strict=True)))
        yield batch.mirrored(MIRRORS[int(np.random.default_rng((seed, 1, position)).integers(4))])


def distance_from(answer: Tensor, image: Tensor, clean: Tensor) -> Tensor:
    """Mean square distance of ``image`` from the teacher's ``answer``, relative to its own error.

    All: (B, 3, H, W) in [0, 1]. Times 0.005: where answer and image are equally far from the clean
    picture, its gradient is as large as that of models.losses' "psnr".
    """
    distance, error = (
        each.square().flatten(1).mean(1) for each in (image - answer, answer - clean)
    )
    return 0.005 * (distance / (error + 1e-6)).mean()
