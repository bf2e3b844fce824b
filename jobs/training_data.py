"""What a training learns from: an option's way from ``data`` of the YAML file to a batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch

from data.training_crops import (
    TrainingBatch,
    TrainingCrops,
    TrainingImages,
    crop_batches,
    default_workers,
)
from models.restore.layouts import network_view
from options.schema import OptionsError, TrainOptions
from utils.distributed import World
from utils.image_io import file_identity, find_images


class TrainingData:
    """Images in memory, their crops, and this process's share of each step's batch.

    Raises:
        OptionsError: a batch that cannot be shared out, a folder that is none.
        DatasetError: no image can be used.
    """

    def __init__(self, options: TrainOptions, device: torch.device, world: World) -> None:
        data, accumulate = options.data, options.optimisation.accumulate
        self.batch = data.batch
        self.parts = world.size * accumulate
        self._own = range(world.rank * accumulate, (world.rank + 1) * accumulate)
        self._pin_memory = device.type == "cuda"
        automatic = default_workers(device, world.local_size)
        self.workers = automatic if data.workers == "auto" else data.workers
        if data.batch % self.parts:
            raise OptionsError(
                f"data.batch {data.batch} is not a multiple of {world.size} processes times "
                f"optimisation.accumulate {accumulate}; choose --set data.batch="
                f"{-(-data.batch // self.parts) * self.parts}"
            )
        for source in data.folders:
            if not source.is_dir():
                raise OptionsError(
                    f"data.folders: {source} is not a folder; give folders of clean images "
                    '(--set "data.folders=[my/photographs]")'
                )
        found = (find_images(source, follow_links=True) for source in data.folders)
        # An image that several folders lead to counts once; broken links are told of.
        once = {file_identity(path) or path: path for path in chain(*found)}
        paths = list(once.values())
        if not paths:
            raise OptionsError(f"data.folders: no image in {', '.join(map(str, data.folders))}")
        self.images = TrainingImages(
            paths,
            data.patch + data.compression().MARGIN,
            data.memory_gib / world.local_size,
            quiet=not world.is_main,
        )
        self.crops = TrainingCrops(
            self.images,
            data.patch,
            data.compression(),
            options.seed,
            network_view,
            data.candidates,
            data.smallest_scale,
            data.drawn_share,
            data.drawn_kinds,
            data.desaturated_share,
            data.smooth_chroma_share,
        )

    def batches(self, first_step: int) -> Iterator[TrainingBatch]:
        """This process's micro-batches from a step on, without end; see :func:`crop_batches`."""
        return crop_batches(
            *(self.crops, self.batch, self.parts, self._own, first_step, self.workers),
            pin_memory=self._pin_memory,
        )

    def describe(self) -> list[str]:
        """Lines for a person; measuring how fast crops are made takes some seconds."""
        return [
            *(f"left out: {line}" for line in self.images.skipped),
            self.images.describe(),
            f"loading: {self.crops.per_second():.0f} crops/s in each of {max(1, self.workers)} "
            "loader processes; compare with crops/s in the bar",
        ]
