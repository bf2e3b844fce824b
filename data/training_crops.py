"""Training data: clean images in memory, random crops of them, and the JPEGs of these crops."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from data.datasets import DatasetError
from data.degradation import RandomCompression
from data.drawn import KINDS, drawn, smooth_chroma, to_gray
from data.jpeg import JpegImage, Sampling, decode_jpeg, encode_jpeg
from utils.image_io import ImageError, read_image
from utils.machine import available_cpus
from utils.pictures import as_rgb

_GIB = 2**30

_PROBE_QUALITY = 30
"""At which candidates for a crop are compared; busy places stay busy at every quality."""

View = Callable[[JpegImage], tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any] | None]]
"""From a stored JPEG to tables, luma levels, chroma levels and chroma detail."""


class TrainingBatch(NamedTuple):
    """What the network sees of crops' JPEGs (models.IJCN's shapes), and both pictures.

    With a batch in front, which a single crop has not: qts (3, 8, 8) int32; y_coef (1, H/8, W/8, 8,
    8), c_coef (2, H/16, W/16, 8, 8) and chroma_detail (2, H, W) float32; image (3, H, W) uint8 RGB,
    clean; jpeg (3, H, W) uint8 RGB, as libjpeg decodes it.
    """

    qts: Tensor
    y_coef: Tensor
    c_coef: Tensor
    chroma_detail: Tensor
    image: Tensor
    jpeg: Tensor


class TrainingImages:
    """Clean 8-bit RGB images, in memory as far as a budget goes, the rest read when needed.

    Unreadable images and those smaller than a crop are left out and listed in ``skipped``.
    """

    def __init__(self, paths: Sequence[Path], least: int, memory_gib: float, quiet: bool) -> None:
        """least: smallest side in pixels. memory_gib: budget in GiB. quiet: no progress bar.

        Raises:
            DatasetError: no image can be used.
        """
        self.skipped: list[str] = []
        self._held: list[NDArray[np.uint8] | Path] = []
        self.bytes_held = 0
        sizes = []
        pool = ThreadPoolExecutor()  # decoding releases the interpreter's lock
        try:
            bar = tqdm(paths, "reading images", disable=quiet or None, leave=False)
            for path, image in zip(bar, pool.map(_read, paths), strict=True):
                if isinstance(image, str):
                    self.skipped.append(image)
                    continue
                height, width = image.shape[:2]
                if min(height, width) < least:
                    self.skipped.append(f"{path}: {width}x{height} is below {least} pixels")
                    continue
                fits = self.bytes_held + image.nbytes <= memory_gib * _GIB
                self.bytes_held += image.nbytes if fits else 0
                self._held.append(image if fits else path)
                sizes.append(height * width)
        finally:
            pool.shutdown(cancel_futures=True)
        if not self._held:
            raise DatasetError(
                f"none of {len(paths)} training images can be used (crops need {least} pixels a "
                "side); check the folders in data.folders"
            )
        self.pixels = np.array(sizes, dtype=np.float64)

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        held = self._held[index]
        if isinstance(held, np.ndarray):
            return held
        image = _read(held)
        if isinstance(image, str):
            raise DatasetError(f"{image}; it could be read when training began")
        return image

    def describe(self) -> str:
        """One line: how many, how large, what is not in memory."""
        text = (
            f"{len(self)} training images, {self.pixels.sum() / 1e6:.1f} megapixels, "
            f"{self.bytes_held / _GIB:.1f} GiB in memory"
        )
        if from_disk := sum(isinstance(held, Path) for held in self._held):
            text += f"; {from_disk} are read again for every crop (raise data.memory_gib)"
        return text


@dataclass(eq=False)
class TrainingCrops(Dataset[TrainingBatch]):
    """Endless random crops, each a pure function of (seed, index).

    Images are drawn in proportion to their area; a crop starts at any pixel, so the JPEG grid has a
    random phase against the content; it is flipped and rotated at random, then compressed.

    With several ``candidates``, that many places of the image are drawn, and one of them in
    proportion to the square error that JPEG leaves there. The PSNR of a whole image is that of its
    busy parts: its logarithm changes by the mean of the crops' logarithms, weighted by their shares
    of the image's error. Drawing crops by these shares spends no step on skies.

    images: where photographs come from.
    patch: side of a crop in pixels, a multiple of 64.
    compression: makes the JPEG.
    seed: with the index, all that a crop depends on.
    view: models.restore.layouts.network_view.
    candidates: see above.
    smallest_scale: every place is of the image reduced by a random factor from this to 1. Reduced
        photographs are sharper and show more in a crop; reduced JPEGs lose their artifacts.
    drawn_share: crops that are drawn (:func:`data.drawn.drawn`), not taken as they are.
    drawn_kinds: what is drawn; a kind named twice is drawn twice as often.
    desaturated_share: crops, of the others, that are gray pictures with three channels.
    smooth_chroma_share: crops, of the others, with the chroma of a camera's JPEG.
    """

    images: TrainingImages
    patch: int
    compression: RandomCompression
    seed: int
    view: View
    candidates: int = 1
    smallest_scale: float = 1.0
    drawn_share: float = 0.0
    drawn_kinds: Sequence[str] = tuple(KINDS)
    desaturated_share: float = 0.0
    smooth_chroma_share: float = 0.0

    def __post_init__(self) -> None:
        self._share = self.images.pixels / self.images.pixels.sum()

    def __getitem__(self, index: int) -> TrainingBatch:
        rng = np.random.default_rng((self.seed, index))
        image = self.images[int(rng.choice(len(self.images), p=self._share))]
        pixels = np.rot90(self._place(image, rng), int(rng.integers(4)))
        if rng.integers(2):
            pixels = pixels[:, ::-1]
        pixels = np.ascontiguousarray(pixels)
        draw = rng.random()
        shifted = True
        if draw < self.drawn_share:
            pixels = drawn(pixels, rng, self.drawn_kinds)
            # What a program draws often begins where the JPEG's blocks do.
            shifted = rng.random() < 0.5
        elif draw < self.drawn_share + self.desaturated_share:
            pixels = to_gray(pixels)
        elif draw < self.drawn_share + self.desaturated_share + self.smooth_chroma_share:
            pixels = smooth_chroma(pixels)
        original, jpeg, stored = self.compression(pixels, rng, shifted)
        tables, y, c, detail = self.view(stored)
        if detail is None:
            detail = np.zeros((2, self.patch, self.patch), np.float32)
        pictures = original.transpose(2, 0, 1), jpeg.transpose(2, 0, 1)
        arrays = (tables, y[None].astype(np.float32), c.astype(np.float32), detail, *pictures)
        return TrainingBatch(*(torch.from_numpy(np.array(each, order="C")) for each in arrays))

    def _place(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """A part of an image, somewhat larger than a crop."""
        side = self.patch + self.compression.MARGIN
        places = []
        for _ in range(self.candidates):
            span = side
            if self.smallest_scale < 1:
                span = min(round(side / rng.uniform(self.smallest_scale, 1)), *image.shape[:2])
            row = int(rng.integers(image.shape[0] - span + 1))
            col = int(rng.integers(image.shape[1] - span + 1))
            places.append(_reduced(image[row : row + span, col : col + span], side))
        if len(places) == 1:
            return places[0]
        errors = np.array([_jpeg_error(place) for place in places]) + 1e-3  # none may be exact
        return places[rng.choice(len(places), p=errors / errors.sum())]

    def per_second(self) -> float:
        """Crops that one process makes in a second, measured."""
        self[0]
        start = time.perf_counter()
        for index in range(48):
            self[index]
        return 48 / (time.perf_counter() - start)


def _indices(first_step: int, batch: int, parts: int, own: Sequence[int]) -> Iterator[list[int]]:
    """Crop indices of this process's micro-batches, from a step on, without end."""
    size = batch // parts
    for step in count(first_step):
        for part in own:
            start = step * batch + part * size
            yield list(range(start, start + size))


def crop_batches(
    crops: TrainingCrops,
    batch: int,
    parts: int,
    own: Sequence[int],
    first_step: int,
    workers: int,
    pin_memory: bool = False,
) -> Iterator[TrainingBatch]:
    """This process's micro-batches from ``first_step`` on, without end.

    Args:
        crops: where they come from.
        batch: crops of a whole step; step s holds the crops of indices s * batch onwards.
        parts: equal micro-batches that a step is cut into, over all processes.
        own: which of them are this process's, in order.
        first_step: step to begin with.
        workers: processes that prepare batches; 0: in this one. Each holds up to two batches in
            shared memory (/dev/shm).
        pin_memory: for faster copies to a GPU.

    Raises (the iterator):
        DatasetError: an image that could be read at first cannot be read any more, or a worker
            died.
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    loader = DataLoader(
        crops,
        batch_sampler=_indices(first_step, batch, parts, own),
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_start_worker,
        # Forked workers share the images in memory; where there is no fork they get copies.
        multiprocessing_context="fork" if workers and can_fork else None,
    )
    return _with_plain_errors(iter(loader))


def _with_plain_errors(batches: Iterator[TrainingBatch]) -> Iterator[TrainingBatch]:
    """A worker's error arrives wrapped into its traceback; its last line is the message.

    Closed, or after an error, it ends the workers: Python's exit would wait for them for ever.
    """
    try:
        while True:
            yield next(batches)
    except DatasetError as error:
        message = str(error).strip().splitlines()[-1].split("DatasetError: ")[-1]
        raise DatasetError(message) from None
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DatasetError(
            f"a loader process died ({str(error).splitlines()[0][:150]}); lower data.workers, "
            "or give it more shared memory"
        ) from error
    finally:
        getattr(batches, "_shutdown_workers", lambda: None)()


def default_workers(device: torch.device, processes: int) -> int:
    """Loader processes for each of ``processes`` trainings on this machine.

    None on a CPU, whose cores the network needs and whose steps take a hundred times longer than
    making their crops.
    """
    if device.type == "cpu":
        return 0
    return max(1, min(8, available_cpus() // processes - 1))


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)  # its threads do not survive a fork
    # Terminals, torchrun and batch systems signal whole process groups; only the trainer decides
    # what that means. Workers end by themselves when it is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _jpeg_error(pixels: NDArray[np.uint8]) -> float:
    """Mean square error that JPEG leaves, at a quality in the middle of those trained for."""
    pixels = np.ascontiguousarray(pixels)
    once = decode_jpeg(encode_jpeg(pixels, _PROBE_QUALITY, Sampling.S420))
    return float(np.square(once.astype(np.float32) - pixels).mean())


def _reduced(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square of pixels, (side, side, 3)."""
    if len(pixels) == side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def _read(path: Path) -> NDArray[np.uint8] | str:
    """(H, W, 3) RGB, or why not."""
    try:
        return as_rgb(read_image(path))
    except ImageError as error:
        return str(error)
