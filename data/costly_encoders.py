"""Encoders that do not round to the nearest level but weigh each level's error against its bits.

Their files look like others and mislead a network that has never seen any. Needed in training only;
the packages come with the extra "train".
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.jpeg import Sampling
from utils.pictures import as_rgb

_PACKAGES = {"trellis": "pyvips", "jpegli": "pyjpegli"}


def missing_package(encoder: str) -> str | None:
    """Name of the package that ``encoder`` ("trellis" or "jpegli") needs and that is not there."""
    package = _PACKAGES[encoder]
    return None if importlib.util.find_spec(package) else package


def encode_trellis(pixels: NDArray[np.uint8], quality: int, sampling: Sampling) -> bytes:
    """mozjpeg with trellis quantisation, as libvips drives it.

    pixels: (H, W, 3) RGB or (H, W) gray, uint8. quality: 1..100, with mozjpeg's own tables.
    sampling: 4:2:0 where it says so, else 4:4:4; libvips knows no other.
    """
    import pyvips

    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
    return bytes(
        image.jpegsave_buffer(
            Q=quality,
            subsample_mode="on" if sampling is Sampling.S420 else "off",
            trellis_quant=True,
            overshoot_deringing=True,
            optimize_scans=True,
            interlace=True,
            optimize_coding=True,
        )
    )


def encode_jpegli(pixels: NDArray[np.uint8], quality: int, sampling: Sampling) -> bytes:
    """jpegli, with its own choice of tables and sampling; gray pixels become colour ones."""
    import pyjpegli

    pixels = as_rgb(pixels)
    height, width = pixels.shape[:2]
    return bytes(pyjpegli.encode(np.ascontiguousarray(pixels).tobytes(), width, height, quality))


COSTLY_ENCODERS: dict[str, Callable[[NDArray[np.uint8], int, Sampling], bytes]] = {
    "trellis": encode_trellis,
    "jpegli": encode_jpegli,
}
"""By the names that options give them."""
