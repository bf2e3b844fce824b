"""What a training is judged by: gains on pictures that it does not learn from."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data.datasets import DatasetError, folder_set
from data.degradation import Degraded, SingleJpeg
from data.drawn import drawn, smooth_chroma
from data.jpeg import decode_jpeg, encode_with_tables, read_jpeg
from data.tables import random_tables
from models import IJCN
from models.restore.restorer import Precision, Restorer, pick_precision
from options.schema import OptionsError, TrainOptions
from utils.distributed import World
from utils.evaluation.metrics import psnr
from utils.pictures import as_rgb, picture_table
from utils.training.loop import Validated

_KINDS_SEED = 7
"""Training's generators draw an image and a place first: none of their crops is drawn so."""


class Validation:
    """PSNR gain over the JPEG in dB, mean over central crops of a folder's images.

    Per quality; with ``validation.other_kinds`` also of the crops compressed with tables found in
    files, of the crops with a camera's smooth chroma, and of pictures drawn from them. These are
    watched only and choose no weights: their gains differ far more than photographs'. The
    processes share the images out.
    """

    def __init__(self, options: TrainOptions, device: torch.device, world: World) -> None:
        assert options.validation is not None
        self.options = options.validation
        # Never int8: what is trained has no ranges yet, or has some by chance.
        floats = str(pick_precision(options.precision, device)).removeprefix("torch.")
        self.precision = cast(Precision, floats)
        self.device = device
        self.world = world
        side = self.options.crop
        try:
            entries = list(folder_set("validation", self.options.folder))
        except DatasetError as error:
            raise OptionsError(
                f"validation.folder: {error} (--set validation.folder=my/validation)"
            ) from error
        self.total = len(entries)
        self.cases: dict[str, list[Degraded]] = {f"QF{q}": [] for q in self.options.qualities}
        names = ("found_tables", "smooth_chroma", "drawn") if self.options.other_kinds else ()
        self.kinds: dict[str, list[Degraded]] = {name: [] for name in names}
        for index in world.share(self.total):
            image = as_rgb(entries[index].read())
            top, left = (max(0, (n - side) // 2) for n in image.shape[:2])
            crop = np.ascontiguousarray(image[top : top + side, left : left + side])
            for quality in self.options.qualities:
                self.cases[f"QF{quality}"].append(SingleJpeg(quality)(crop))
            if self.kinds:
                for name, case in self._other_kinds(crop, index).items():
                    self.kinds[name].append(case)

    def _other_kinds(self, crop: NDArray[np.uint8], index: int) -> dict[str, Degraded]:
        rng = np.random.default_rng((_KINDS_SEED, index, 0))
        data = encode_with_tables(crop, random_tables("wild", 75, 75, rng))
        smooth_quality = self.options.qualities[index % len(self.options.qualities)]
        drawn_quality = int(rng.integers(30, 93))
        least = min(crop.shape[:2])  # drawn pictures are square
        return {
            "found_tables": Degraded(crop, decode_jpeg(data), read_jpeg(data)),
            "smooth_chroma": SingleJpeg(smooth_quality)(smooth_chroma(crop)),
            "drawn": SingleJpeg(drawn_quality)(drawn(crop[:least, :least], rng)),
        }

    def __call__(self, network: nn.Module) -> Validated:
        assert isinstance(network, IJCN)
        restorer = Restorer(network, self.device, self.precision, leave_fine=False)
        sums = []
        pictures: dict[str, NDArray[np.uint8]] = {}
        for name, cases in (self.cases | self.kinds).items():
            restored = [restorer.restore(case.stored) for case in cases]
            sums.append(sum(map(_gain, restored, cases)))
            if name in self.cases and self.options.pictures and self.world.is_main:
                rows = [(c.jpeg, r, c.original) for c, r in zip(cases, restored, strict=True)]
                captions = (f"JPEG {name}", "restored", "original")
                pictures[name] = picture_table(rows[: self.options.pictures], captions)
        means = [total / self.total for total in self.world.sums(sums, self.device)]
        gains = {f"gain_{n}": g for n, g in zip(self.cases | self.kinds, means, strict=True)}
        watched = {f"gain_{name}": gains.pop(f"gain_{name}") for name in self.kinds}
        return Validated(gains, pictures, watched)


def _gain(restored: NDArray[np.uint8], case: Degraded) -> float:
    """What PSNR gained. A flat picture's JPEG may be exact, and no mean survives its infinity."""
    after, before = (
        min(psnr(restored=image, original=case.original), 60.0) for image in (restored, case.jpeg)
    )
    return after - before
