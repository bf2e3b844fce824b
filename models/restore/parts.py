"""JPEGs that the network sees in several parts: RGB, CMYK and YCCK.

Each component that is no chroma of another one is restored as a gray picture: the three of RGB and
the four of CMYK, and the black of YCCK, whose colours go as YCbCr. For RGB and CMYK that beats
luma and chroma computed from the planes, as the tables and levels of a gray picture are the file's
own: by 0.3 to 1.3 dB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from data.jpeg import ColorTransform, Component, JpegImage
from models.restore.layouts import Picture, network_view

_PARTS = {
    "RGB": (("gray", (0,)), ("gray", (1,)), ("gray", (2,))),
    "CMYK": (("gray", (0,)), ("gray", (1,)), ("gray", (2,)), ("gray", (3,))),
    "YCCK": (("YCbCr", (0, 1, 2)), ("gray", (3,))),
}
"""What the parts of a JPEG encode, and the components of each."""


class Part(JpegImage):
    """Some components of a JPEG as a JPEG of their own; it has no ``data``."""


def has_parts(stored: JpegImage) -> bool:
    """Whether a JPEG is to be restored part by part."""
    places = [place for _, part in _PARTS.get(stored.colors, ()) for place in part]
    return bool(places) and len(stored.components) == len(places)


def has_ink(stored: JpegImage) -> bool:
    """Whether a JPEG holds four inks."""
    return stored.colors in ("CMYK", "YCCK") and has_parts(stored)


def parts_of(stored: JpegImage) -> list[Part]:
    """The parts of a JPEG; those whose components are all subsampled are smaller than the file."""
    decoded = _as_libjpeg(stored)
    parts = []
    for colors, places in _PARTS[stored.colors]:
        components = tuple(stored.components[place] for place in places)
        height, width = _size(stored, components)
        pixels = None
        if decoded is not None and decoded.shape[:2] == (height, width):
            pixels = decoded[:, :, places[0]] if colors == "gray" else 255 - decoded[:, :, :3]
        transform = ColorTransform(colors)
        parts.append(Part(width, height, components, transform, pixels=pixels))
    return parts


def require_path(stored: JpegImage) -> None:
    """See that the network has a path for a JPEG, without restoring it.

    Raises:
        UnsupportedLayoutError: it has none.
    """
    for part in parts_of(stored) if has_parts(stored) else (stored,):
        network_view(part)


def joined(stored: JpegImage, pictures: Iterable[Picture]) -> Picture:
    """Of pictures of :func:`parts_of`: RGB (H, W, 3), or the inks (H, W, 4), 255 being full."""
    planes = []
    for picture, (colors, places) in zip(pictures, _PARTS[stored.colors], strict=True):
        v, h = _shares(stored, [stored.components[place] for place in places])
        # By the sampling factors, not to the picture's size: the last samples may lie beyond it.
        whole = picture if v == h == 1 else cv2.resize(picture, None, fx=1 / h, fy=1 / v)
        whole = whole[: stored.height, : stored.width]
        planes.append(whole if colors == "gray" else 255 - whole)
    whole = np.dstack(planes)
    return np.asarray(255 - whole if has_ink(stored) else whole, np.uint8)


def _as_libjpeg(stored: JpegImage) -> Picture | None:
    """RGB, or CMYK as libjpeg has it: 255 less ink, and for YCCK 255 less the RGB of its YCbCr."""
    if not has_ink(stored):
        return stored.decoded()
    ink = stored.decoded_ink()
    return None if ink is None else np.asarray(255 - ink, np.uint8)


def _size(stored: JpegImage, components: Sequence[Component]) -> tuple[int, int]:
    """(rows, columns) of samples that a part has: T.81 A.1.1."""
    v, h = _shares(stored, components)
    return int(np.ceil(stored.height * v)), int(np.ceil(stored.width * h))


def _shares(stored: JpegImage, components: Sequence[Component]) -> tuple[float, float]:
    """Samples of a part for each of the picture's, down and across."""
    v = max(c.v_sampling for c in components) / max(c.v_sampling for c in stored.components)
    h = max(c.h_sampling for c in components) / max(c.h_sampling for c in stored.components)
    return v, h
