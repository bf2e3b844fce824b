"""From a clean image to what a JPEG file stores: single and double compression."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from data.costly_encoders import COSTLY_ENCODERS, missing_package
from data.drawn import to_gray
from data.jpeg import (
    PILLOW_SAMPLINGS,
    JpegImage,
    Sampling,
    decode_jpeg,
    encode_jpeg,
    encode_with_tables,
    read_jpeg,
)
from data.tables import TableKind, random_tables

GRAY = "gray"

PAD_MULTIPLE = 64
"""Sides the published scripts pad to before encoding: what the network takes."""


class Padding(Enum):
    """Where the padding to the network's size happens.

    AS_STORED: the image itself is encoded; whoever restores the levels mirrors them in the
    coefficient domain. PAD_FIRST (IJCN's scripts): pixels are padded before the last encoding,
    which gives the network borders that a real file does not have.
    """

    AS_STORED = "as_stored"
    PAD_FIRST = "pad_first"


class Degraded(NamedTuple):
    """One evaluation pair.

    original: (H, W, 3) uint8 RGB or (H, W) gray, cropped as the degradation crops. jpeg: the same
    shape, as libjpeg decodes the file. stored: what the file stores; larger than the original if
    padded first, the original lies in its top left corner.
    """

    original: NDArray[np.uint8]
    jpeg: NDArray[np.uint8]
    stored: JpegImage


@dataclass(frozen=True)
class SingleJpeg:
    """Compress once at ``quality``. Label: ``QF10``; ``QF10_444`` where chroma is not 4:2:0."""

    quality: int
    sampling: Sampling = Sampling.S420
    padding: Padding = Padding.AS_STORED

    @property
    def label(self) -> str:
        return f"QF{self.quality}{_suffix(self.sampling)}"

    def __call__(self, image: NDArray[np.uint8]) -> Degraded:
        """image: (H, W, 3) uint8 RGB, or (H, W) gray."""
        return _encode_last(self, image, image, self.quality, cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class DoubleJpeg:
    """Compress at ``first``, drop ``shift`` rows and columns, compress at ``second``.

    The shift moves the second block grid against the first. Label: ``QF30-50+4+4``.
    """

    first: int
    second: int
    shift: tuple[int, int] = (0, 0)
    sampling: Sampling = Sampling.S420
    padding: Padding = Padding.AS_STORED

    @property
    def label(self) -> str:
        shift = f"{self.shift[0]}+{self.shift[1]}"
        return f"QF{self.first}-{self.second}+{shift}{_suffix(self.sampling)}"

    def __call__(self, image: NDArray[np.uint8]) -> Degraded:
        """image: (H, W, 3) uint8 RGB or (H, W) gray, larger than the shift."""
        rows, cols = self.shift
        if image.shape[0] <= rows or image.shape[1] <= cols:
            raise ValueError(
                f"image of {image.shape[1]}x{image.shape[0]} pixels is not larger than the shift "
                f"{self.shift}; leave it out"
            )
        once = _decoded(encode_jpeg(image, self.first, self.sampling), image.ndim)[rows:, cols:]
        return _encode_last(self, image[rows:, cols:], once, self.second, cv2.BORDER_REFLECT)


def _suffix(sampling: Sampling) -> str:
    """What tells figures of another chroma sampling from those of 4:2:0, which all publish."""
    return "" if sampling is Sampling.S420 else f"_{sampling.digits}"


def _encode_last(
    how: SingleJpeg | DoubleJpeg,
    original: NDArray[np.uint8],
    pixels: NDArray[np.uint8],
    quality: int,
    border: int,
) -> Degraded:
    height, width = original.shape[:2]
    if how.padding is Padding.PAD_FIRST:
        bottom, right = -height % PAD_MULTIPLE, -width % PAD_MULTIPLE
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, bottom, 0, right, border), dtype=np.uint8)
    data = encode_jpeg(pixels, quality, how.sampling)
    jpeg = _decoded(data, pixels.ndim)[:height, :width]
    return Degraded(original, jpeg, read_jpeg(data))


def _decoded(data: bytes, dimensions: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB, or (H, W) of a gray JPEG where two dimensions are wanted."""
    pixels = decode_jpeg(data)
    return pixels[:, :, 0] if dimensions == 2 else pixels


LIBJPEG = "libjpeg"

ENCODERS: tuple[str, ...] = (*get_args(TableKind), *COSTLY_ENCODERS)
"""What :class:`RandomCompression` can compress with: libjpeg with tables of some kind
(:func:`data.tables.random_tables`), or another encoder (:mod:`data.costly_encoders`)."""

Shares = tuple[tuple[str, float], ...]
"""(name, share) pairs; the shares add up to 1."""


@dataclass(frozen=True)
class RandomCompression:
    """Training's degradation: a random quality, now and then two with a random grid shift.

    With probability ``listed_share`` a quality is drawn from ``listed``, with probability
    ``fine_share`` uniformly from 95 to 100 (so that the network learns when not to act), else
    uniformly from ``lowest`` to ``highest``; bounds are included. With probability ``double_share``
    the image is compressed twice, both qualities drawn alike, with a shift of 0 to 7 in each
    direction. ``samplings``: shares of the names of :class:`Sampling`, and of "gray", whose
    original is the picture's luma. ``encoders``: shares of :data:`ENCODERS`; layouts that only
    libjpeg's usual way writes are compressed that way.
    """

    listed: tuple[int, ...] = (10, 20, 30, 40)
    listed_share: float = 0.5
    lowest: int = 5
    highest: int = 100
    double_share: float = 0.0
    fine_share: float = 0.0
    samplings: Shares = ((Sampling.S420.value, 1.0),)
    encoders: Shares = ((LIBJPEG, 1.0),)

    MARGIN = 7
    """Rows and columns that a shifted double compression takes away from the pixels given."""

    def __post_init__(self) -> None:
        if self.lowest > self.highest:
            raise ValueError(f"lowest quality {self.lowest} exceeds the highest, {self.highest}")
        if self.listed_share > 0 and not self.listed:
            raise ValueError("listed_share is above 0 but no quality is listed")
        if self.listed_share + self.fine_share > 1:
            raise ValueError(
                f"listed_share {self.listed_share} and fine_share {self.fine_share} exceed 1 "
                "together"
            )
        _check_shares("sampling", self.samplings, (GRAY, *(each.value for each in Sampling)))
        _check_shares("encoder", self.encoders, ENCODERS)
        for name, share in self.encoders:
            package = missing_package(name) if share and name in COSTLY_ENCODERS else None
            if package:
                raise ValueError(
                    f'{name} needs the package {package}; install it: pip install -e ".[train]"; '
                    f"or give {name} no share"
                )

    def quality(self, rng: np.random.Generator) -> int:
        """Draw one quality."""
        draw = rng.random()
        if draw < self.listed_share:
            return int(rng.choice(self.listed))
        if draw < self.listed_share + self.fine_share:
            return int(rng.integers(95, 101))
        return int(rng.integers(self.lowest, self.highest + 1))

    def __call__(
        self, pixels: NDArray[np.uint8], rng: np.random.Generator, shifted: bool = True
    ) -> Degraded:
        """(side + 7, side + 7, 3) uint8 -> the (side, side, 3) original and its JPEG.

        shifted: the original begins anywhere in the margin; else at the corner.
        """
        side = pixels.shape[0] - self.MARGIN, pixels.shape[1] - self.MARGIN
        rows, cols = (int(n) * shifted for n in rng.integers(0, self.MARGIN + 1, 2))
        window = np.s_[rows : rows + side[0], cols : cols + side[1]]
        name = _drawn(self.samplings, rng)
        sampling, source = Sampling.S420, pixels
        if name == GRAY:
            pixels = to_gray(pixels)
            source = pixels[:, :, 0]
        else:
            sampling = Sampling(name)
        if rng.random() < self.double_share:
            source = _decoded(self._encoded(source, sampling, rng), source.ndim)
        data = self._encoded(np.ascontiguousarray(source[window]), sampling, rng)
        return Degraded(pixels[window], decode_jpeg(data), read_jpeg(data))

    def _encoded(
        self, pixels: NDArray[np.uint8], sampling: Sampling, rng: np.random.Generator
    ) -> bytes:
        quality, other = self.quality(rng), self.quality(rng)
        encoder: Any = _drawn(self.encoders, rng)
        if encoder == LIBJPEG or sampling not in PILLOW_SAMPLINGS:
            return encode_jpeg(pixels, quality, sampling)
        if encoder in COSTLY_ENCODERS:
            return COSTLY_ENCODERS[encoder](pixels, quality, sampling)
        return encode_with_tables(pixels, random_tables(encoder, quality, other, rng), sampling)


def _check_shares(what: str, shares: Shares, known: tuple[str, ...]) -> None:
    for name, _ in shares:
        if name not in known:
            raise ValueError(f"unknown {what} {name}; known are {', '.join(sorted(known))}")
    total = sum(share for _, share in shares)
    if abs(total - 1) > 1e-6:
        raise ValueError(f"shares of the {what}s must add up to 1, not {total:g}")


def _drawn(shares: Shares, rng: np.random.Generator) -> str:
    weights = np.array([share for _, share in shares])
    names = [name for name, _ in shares]
    return str(rng.choice(names, p=weights / weights.sum()))  # which must add up more exactly
