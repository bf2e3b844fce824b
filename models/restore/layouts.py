"""What the network sees of a JPEG of any layout.

The network was made for YCbCr 4:2:0. Every other layout with a luma and at most two colours is
brought to the same form without loss: luma levels, chroma levels at half resolution, and whatever
the stored chroma holds beyond them as a full-resolution *chroma detail*, which is added to the
first image as it is.

- YCbCr 4:2:0: all levels are the stored integers, there is no detail; so the published network
  computes what it was trained for.
- YCbCr 4:4:4, 4:2:2, 4:4:0, 4:1:1 and others: luma levels as stored (of the enlarged plane, should
  luma be the smaller); chroma levels are those an encoder would have found at half resolution,
  unrounded, in units of the stored table; detail is the enlarged plane less its half.
- Gray: luma levels as stored, chroma zero with luma's table, no detail.

RGB without colour transform, CMYK and YCCK come here in parts, see models.restore.parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data.jpeg import Component, JpegImage
from models.dct import BLOCK, dct_basis
from models.ijcn import SIZE_MULTIPLE

MCU = 2 * BLOCK

_BASIS = dct_basis().astype(np.float32)

Picture = NDArray[np.uint8]
Plane = NDArray[np.float32]

LevelGrid = NDArray[np.int16] | NDArray[np.float32]
"""As stored, or unrounded ones that stand for no file."""


RESTORED_COLORS = ("gray", "YCbCr", "RGB", "YCCK", "CMYK")
"""What the network has a path for."""


class RestoreError(ValueError):
    """A JPEG that cannot be restored; the message is one line: what, why, what to do."""


class UnsupportedLayoutError(RestoreError):
    """A JPEG whose colours the network has no path for: two components, for example."""


class NetworkView(NamedTuple):
    """A JPEG in the network's form, mirrored to sides H, W that are multiples of 64.

    tables: (3, 8, 8) int32. y: (H/8, W/8, 8, 8) and c: (2, H/16, W/16, 8, 8) levels, int16 where
    they are stored ones, else float32. chroma_detail: (2, H, W) float32 in gray levels, None where
    it is zero.
    """

    tables: NDArray[np.int32]
    y: LevelGrid
    c: LevelGrid
    chroma_detail: Plane | None


def is_colourless(stored: JpegImage) -> bool:
    """Whether a file holds no colour at all: gray, or YCbCr of which every chroma level is zero."""
    if stored.colors == "YCbCr":
        return not any(component.levels.any() for component in stored.components[1:])
    return stored.colors == "gray"


def has_detail(stored: JpegImage) -> bool:
    """Whether a file's chroma has another resolution than half of the picture's."""
    return stored.colors != "gray" and _ratios(stored.components)[1:] != [(2, 2), (2, 2)]


def network_view(stored: JpegImage) -> NetworkView:
    """Bring a JPEG to the network's form; see the module's table.

    Raises:
        UnsupportedLayoutError: neither gray nor YCbCr, nor a part of another JPEG (see
            models.restore.parts).
    """
    height, width = (n + -n % SIZE_MULTIPLE for n in (stored.height, stored.width))
    components = stored.components
    if stored.colors == "gray" and len(components) == 1:
        luma = components[0]
        rows, cols = height // BLOCK, width // BLOCK
        return NetworkView(
            np.stack([luma.table] * 3),
            mirror_blocks(luma.levels, rows, cols),
            np.zeros((2, rows // 2, cols // 2, BLOCK, BLOCK), np.int16),
            None,
        )
    if stored.colors != "YCbCr" or len(components) != 3:
        raise UnsupportedLayoutError(
            f"{stored.describe()}: only gray, YCbCr and RGB JPEGs can be restored, CMYK and YCCK "
            "too; convert it to one of them"
        )

    y, cb, cr = components
    ratios = _ratios(components)
    if ratios[0] == (1, 1):
        luma_levels: LevelGrid = _mirrored_luma(y, cb, ratios[1], height, width)
    else:
        luma_levels = _levels(_enlarged(y, ratios[0], height, width), y.table)
    tables = np.stack([c.table for c in components])
    if not has_detail(stored):
        rows, cols = height // MCU, width // MCU
        chroma = [mirror_blocks(c.levels, rows, cols) for c in (cb, cr)]
        return NetworkView(tables, luma_levels, np.stack(chroma), None)  # type: ignore[arg-type]
    halves, details = [], []
    for component, ratio in zip((cb, cr), ratios[1:], strict=True):
        levels, detail = _half_and_detail(component, ratio, height, width)
        halves.append(levels)
        details.append(detail)
    return NetworkView(tables, luma_levels, np.stack(halves), np.stack(details))


def mirror_blocks(levels: LevelGrid, rows: int, cols: int) -> LevelGrid:
    """Extend a grid of DCT blocks downwards and to the right by mirroring at its last edge.

    Mirroring samples (edge sample repeated) reverses the order of blocks and negates the
    frequencies that are odd along the mirrored axis; it repeats for grids smaller than the
    extension.

    (r, c, 8, 8) -> (rows, cols, 8, 8), rows >= r, cols >= c.
    """
    row, row_sign = _mirror_axis(levels.shape[0], rows)
    col, col_sign = _mirror_axis(levels.shape[1], cols)
    grid = levels[row[:, None], col[None, :]]
    return grid * row_sign[:, None, :, None] * col_sign[None, :, None, :]


def _mirror_axis(length: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.int16]]:
    """Source block of every wanted block, and the sign of each of its 8 frequencies."""
    position = np.arange(wanted) % (2 * length)
    mirrored = position >= length
    source = np.where(mirrored, 2 * length - 1 - position, position)
    alternating = np.array([1, -1] * 4, dtype=np.int16)
    return source, np.where(mirrored[:, None], alternating, np.int16(1)).astype(np.int16)


def _ratios(components: Sequence[Component]) -> list[tuple[float, float]]:
    """(vertical, horizontal) factor by which each component is smaller than the picture."""
    v_max = max(c.v_sampling for c in components)
    h_max = max(c.h_sampling for c in components)
    return [(v_max / c.v_sampling, h_max / c.h_sampling) for c in components]


def _mirrored_luma(
    y: Component, cb: Component, ratio: tuple[float, float], height: int, width: int
) -> LevelGrid:
    """Luma blocks, mirrored first to whole MCUs where chroma blocks reach beyond them."""
    levels = y.levels
    covered = [round(n * r) for n, r in zip(cb.levels.shape[:2], ratio, strict=True)]
    rows, cols = (max(n, m) for n, m in zip(levels.shape[:2], covered, strict=True))
    rows, cols = min(rows, height // BLOCK), min(cols, width // BLOCK)
    return mirror_blocks(mirror_blocks(levels, rows, cols), height // BLOCK, width // BLOCK)


def _samples(component: Component) -> Plane:
    """Decoded samples less 128, not rounded, all that the blocks cover."""
    coefficients = component.levels.astype(np.float32) * component.table.astype(np.float32)
    blocks = _BASIS.T @ coefficients @ _BASIS
    rows, cols = blocks.shape[:2]
    return blocks.swapaxes(1, 2).reshape(rows * BLOCK, cols * BLOCK)


def _levels(plane: Plane, table: NDArray[np.int32]) -> Plane:
    """Unrounded levels of a plane whose sides are multiples of 8: inverse of decoding."""
    rows, cols = (n // BLOCK for n in plane.shape)
    blocks = plane.reshape(rows, BLOCK, cols, BLOCK).swapaxes(1, 2)
    return (_BASIS @ blocks @ _BASIS.T) / table.astype(np.float32)


def _enlarged(component: Component, ratio: tuple[float, float], height: int, width: int) -> Plane:
    """Samples at full resolution: mirrored beyond the blocks, then bilinear, half-pixel centres."""
    plane = _samples(component)
    for axis, (factor, wanted) in enumerate(zip(ratio, (height, width), strict=True)):
        plane = _enlarged_along(plane, axis, factor, wanted)
    return plane


def _enlarged_along(plane: Plane, axis: int, factor: float, wanted: int) -> Plane:
    # The enlargement must be exactly `factor`: extend to a length that it makes whole.
    need = int(np.ceil(wanted / factor))
    while abs(need * factor - round(need * factor)) > 1e-6:
        need += 1
    plane = _fitted(plane, axis, need)
    if factor != 1:
        rows, cols = plane.shape
        size = (cols, round(need * factor)) if axis == 0 else (round(need * factor), rows)
        plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return plane[:wanted] if axis == 0 else plane[:, :wanted]


def _fitted(plane: Plane, axis: int, length: int) -> Plane:
    """Cut or mirrored at its end to ``length`` along ``axis``."""
    position = np.arange(length) % (2 * plane.shape[axis])
    source = np.minimum(position, 2 * plane.shape[axis] - 1 - position)
    return plane if length == plane.shape[axis] else plane.take(source, axis)


def _half_and_detail(
    component: Component, ratio: tuple[float, float], height: int, width: int
) -> tuple[Plane, Plane]:
    """Levels at half resolution, and what full resolution holds beyond them."""
    full = _enlarged(component, ratio, height, width)
    half = _samples(component)
    for axis, (factor, wanted) in enumerate(zip(ratio, (height, width), strict=True)):
        if factor == 2:
            half = _fitted(half, axis, wanted // 2)
        else:
            half = _halved(_enlarged_along(half, axis, factor, wanted), axis)
    return _levels(half, component.table), full - _doubled(half)


def _halved(plane: Plane, axis: int) -> Plane:
    """Means of pairs along ``axis``."""
    if axis == 0:
        return 0.5 * (plane[0::2] + plane[1::2])
    return 0.5 * (plane[:, 0::2] + plane[:, 1::2])


def _doubled(half: Plane) -> Plane:
    """As the network enlarges chroma: bilinear, half-pixel centres."""
    rows, cols = half.shape
    doubled = cv2.resize(half, (2 * cols, 2 * rows), interpolation=cv2.INTER_LINEAR)
    return np.asarray(doubled, np.float32)
