"""Pixels without their JPEG file: the JPEG that they came from, or one that loses nearly nothing.

A PNG of a decoded JPEG still shows which grid and which quantisation made it: the DCT coefficients
of its luma lie near multiples of the table's steps (Fan and de Queiroz, "Identification of bitmap
compression history", 2003). Where that is so, encoding the pixels again with the same grid and
quality gives back nearly all of the stored levels, and the network can do what it does for a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from data.jpeg import (
    ColorTransform,
    Component,
    JpegImage,
    Sampling,
    decode_jpeg,
    encode_jpeg,
    read_jpeg,
)
from data.quality import standard_tables

_MCU = 16
_SAMPLE_SIDE = 512
"""Quality and grid are searched in the middle of a picture, in at most this many pixels a side."""

_FAITHFUL_DB = 45.0
"""Encoding again at the quality found must give back the pixels at least this well."""

_LEAST_FIT = 0.25
"""Share of coefficients near multiples of the steps, above what chance gives."""


@dataclass(frozen=True)
class PixelSource:
    """A JPEG that stands for pixels.

    stored: what to restore. offset: (rows, cols) at which the pixels begin in it. note: how it was
    made, for people.
    """

    stored: JpegImage
    offset: tuple[int, int]
    note: str


@dataclass(frozen=True)
class CompressionTrace:
    """What pixels show of the JPEG they were: its quality, sampling, and its grid's phase.

    phase: (rows, cols) of the first pixel within an MCU, 0..15 for 4:2:0, 0..7 for 4:4:4.
    """

    quality: int
    sampling: Sampling
    phase: tuple[int, int]


def pixels_as_jpeg(image: NDArray[np.uint8], assume_quality: int | None = None) -> PixelSource:
    """The JPEG that (H, W, 3) RGB or (H, W) gray pixels came from, else one that stands for them.

    Without ``assume_quality`` that is one of quality 100, 4:4:4, which loses next to nothing; the
    network then sees fine tables and does little. With it, 1..100, see :func:`assumed_jpeg`.

    Raises:
        ValueError: not 8-bit samples of such a shape, another quality.
    """
    if not isinstance(image, np.ndarray):
        raise ValueError(f"pixels must be a NumPy array, not {type(image).__name__}")
    shape = image.shape
    if image.dtype != np.uint8 or 0 in shape or len(shape) < 2 or shape[2:] not in ((), (3,)):
        raise ValueError(f"pixels must be uint8, (H, W, 3) or (H, W), not {image.dtype} {shape}")
    if assume_quality is not None and assume_quality not in range(1, 101):
        raise ValueError(f"assume_quality {assume_quality}: expected a whole number from 1 to 100")
    trace = find_compression(image)
    if trace is not None:
        where = "" if trace.phase == (0, 0) else " that was cropped since"
        note = f"recognised as a JPEG of quality {trace.quality}{where}; restored as that"
        return PixelSource(read_jpeg(_encode_again(image, trace)), trace.phase, note)
    note = "no trace of an earlier JPEG was found at this size"
    if assume_quality is not None:
        note += f"; treated as one of quality {assume_quality} (assume_quality)"
        return PixelSource(assumed_jpeg(image, assume_quality), (0, 0), note)
    note += (
        ", so little is changed; if it was once a JPEG that was resized or saved again since, try "
        "--set assume_quality=50 (its quality then, where it is known)"
    )
    stored = read_jpeg(encode_jpeg(image, 100, Sampling.S444))
    # Without its bytes it stands for no file, and is not left alone for its fine tables.
    return PixelSource(replace(stored, data=b""), (0, 0), note)


def assumed_jpeg(image: NDArray[np.uint8], quality: int) -> JpegImage:
    """(H, W, 3) RGB or (H, W) gray pixels as the levels of a JPEG of ``quality``, 1..100.

    They are not rounded (levels are float32, in 4:4:4): nothing is lost, and the tables tell the
    network how strong the artifacts are, wherever their grid lies. The standard's YCbCr is meant
    (JFIF 1.02).
    """
    pixels = image.astype(np.float32)
    planes, colors = [pixels - 128], ColorTransform.GRAY
    if image.ndim == 3:
        luma = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
        planes = [luma - 128, (pixels[..., 2] - luma) / 1.772, (pixels[..., 0] - luma) / 1.402]
        gray = (image == image[:, :, :1]).all(2)
        for chroma in planes[1:]:
            chroma[gray] = 0  # exactly, so that no colour comes out where none goes in
        colors = ColorTransform.YCBCR
    components = []
    for index, plane in enumerate(planes):
        table = standard_tables(quality)[index > 0]
        bottom, right = (-n % 8 for n in plane.shape)
        whole = cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REFLECT)
        levels = np.asarray(_block_dct(np.asarray(whole, np.float32)) / table, np.float32)
        components.append(Component(levels, table, 1, 1))
    return JpegImage(image.shape[1], image.shape[0], tuple(components), colors)


def find_compression(image: NDArray[np.uint8]) -> CompressionTrace | None:
    """Quality, sampling and grid of the last JPEG compression, None where nothing is certain.

    Finds standard tables (libjpeg's qualities) up to about 92, whose steps still stand out from
    rounding, in 4:2:0, 4:4:4 and gray.
    """
    if min(image.shape[:2]) < 4 * _MCU:
        return None
    corner = tuple(max(0, (n - _SAMPLE_SIDE) // 2) for n in image.shape[:2])
    window = np.ascontiguousarray(image[corner[0] :, corner[1] :][:_SAMPLE_SIDE, :_SAMPLE_SIDE])
    gray = window if window.ndim == 2 else cv2.cvtColor(window, cv2.COLOR_RGB2GRAY)
    luma = np.asarray(gray, np.float32)
    first_block = _grid_phase(luma)
    quality = _quality(_coefficients(luma, first_block))
    if quality is None:
        return None
    # Where the window's first pixel lies in its block.
    phase = tuple((8 - n) % 8 for n in first_block)
    candidates = [CompressionTrace(quality, Sampling.S444, (phase[0], phase[1]))]
    if image.ndim == 3:
        candidates += [
            CompressionTrace(quality, Sampling.S420, (phase[0] + more[0], phase[1] + more[1]))
            for more in ((0, 0), (0, 8), (8, 0), (8, 8))
        ]
    best = max(candidates, key=lambda trace: _faithfulness(window, trace))
    near = range(max(1, quality - 2), min(100, quality + 2) + 1)
    best = max((replace(best, quality=q) for q in near), key=lambda t: _faithfulness(window, t))
    if _faithfulness(window, best) < _FAITHFUL_DB:
        return None
    unit = _MCU if best.sampling is Sampling.S420 else 8
    rows, cols = ((p - c) % unit for p, c in zip(best.phase, corner, strict=True))
    return replace(best, phase=(rows, cols))


def _grid_phase(luma: NDArray[np.float32]) -> tuple[int, int]:
    """(row, col) of the first whole block: the grid at which most coefficients are next to zero."""

    def score(phase: tuple[int, int]) -> float:
        return float(np.mean(np.abs(_coefficients(luma, phase)[:, _HIGH]) < 1.0))

    return max(product(range(8), range(8)), key=score)


_HIGH = (np.add.outer(np.arange(8), np.arange(8)) >= 5).ravel()
"""Frequencies that even mild quantisation sets to zero in most blocks."""


def _coefficients(luma: NDArray[np.float32], phase: tuple[int, int]) -> NDArray[np.float32]:
    """(blocks, 64) DCT coefficients of the whole blocks of a grid."""
    part = luma[phase[0] :, phase[1] :]
    rows, cols = (n // 8 for n in part.shape)
    return _block_dct(part[: 8 * rows, : 8 * cols] - 128).reshape(-1, 64)


def _block_dct(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, cols, 8, 8) coefficients of a plane of whole blocks."""
    rows, cols = (n // 8 for n in plane.shape)
    blocks = plane.reshape(rows, 8, cols, 8).swapaxes(1, 2)
    return np.asarray(_BASIS @ blocks @ _BASIS.T, np.float32)


_BASIS = np.asarray(cv2.dct(np.eye(8, dtype=np.float32), flags=cv2.DCT_ROWS).T, np.float32)
"""Of the DCT: a row for each frequency."""


def _quality(coefficients: NDArray[np.float32]) -> int | None:
    """The quality whose steps the coefficients are multiples of, None if there is no such.

    Coefficients that are multiples of a step are multiples of its half too: of qualities that fit
    about as well, the coarsest is meant.
    """
    low = ~_HIGH
    low[0] = False  # DC levels of smooth pictures say little
    best: tuple[float, int] | None = None
    for quality in range(1, 96):
        table = standard_tables(quality)[0].ravel().astype(np.float32)
        used = low & (table >= 3)
        if used.sum() < 5:
            break
        values = coefficients[:, used]
        steps = np.broadcast_to(table[used], values.shape)
        nonzero = np.abs(values) > 0.6 * steps
        if nonzero.sum() < 50:
            continue
        ratio, step = values[nonzero] / steps[nonzero], steps[nonzero]
        distance = np.abs(ratio - np.round(ratio)) * step
        # Rounding pixels moves a coefficient by about 0.3, clipping them by more; by chance the
        # distance would be spread evenly up to half a step.
        allowed = np.minimum(0.1 * step + 0.3, 0.25 * step)
        fit = float(np.mean(distance < allowed) - np.mean(2 * allowed / step))
        if best is None or fit > best[0] + 0.02:
            best = (fit, quality)
    return best[1] if best is not None and best[0] > _LEAST_FIT else None


def _encode_again(image: NDArray[np.uint8], trace: CompressionTrace) -> bytes:
    """With rows and columns more at the top and left, mirrored, so that the grid fits."""
    rows, cols = trace.phase
    padded = cv2.copyMakeBorder(image, rows, 0, cols, 0, cv2.BORDER_REFLECT)
    return encode_jpeg(np.asarray(padded, np.uint8), trace.quality, trace.sampling)


def _faithfulness(window: NDArray[np.uint8], trace: CompressionTrace) -> float:
    """PSNR in dB at which encoding a window again gives back its pixels, borders aside."""
    again = decode_jpeg(_encode_again(window, trace))[trace.phase[0] :, trace.phase[1] :]
    if window.ndim == 2:
        again = again[:, :, 0]
    inner = np.s_[_MCU:-_MCU, _MCU:-_MCU]
    error = float(np.mean(np.square(window[inner].astype(np.float64) - again[inner])))
    return 10 * math.log10(255**2 / max(error, 1e-9))
