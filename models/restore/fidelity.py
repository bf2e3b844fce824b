"""Limits how far a result may differ from the decoded JPEG. The finest files are not changed.

From quality 95 on, what rounding took cannot be seen, and what a network would put in its place is
as likely wrong as right: most such files were saved again from an earlier JPEG, whose decoded
picture they hold almost exactly, and nothing in them tells these from first savings. (BSDS500's
pictures are JPEGs of quality 95: at QF 95 the decoded file has 49.7 dB, our network's answer 43.1.)

Every component is judged by its own table: a file may hold fine luma beside coarse chroma.

Large white or black areas stay as decoded: they were white or black, or next to it, and a page or a
sky must not get spots. Flat blocks with a step of 48 gray levels or more between them stay too: an
edge that follows the blocks' borders exactly was drawn there.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from data.jpeg import JpegImage
from models.dct import BLOCK, scaled_in_ycbcr
from models.restore.layouts import Picture

UNTOUCHED_STEP = 6.0
"""Mean step of the luma table up to which luma is left alone: libjpeg's quality 95 has 5.8."""

FULL_STEP = 11.0
"""Mean step from which the network's answer is taken as it is: quality 90 has 11.5."""

CHROMA_FACTOR = 1.5
"""The same of chroma tables: libjpeg's are that much coarser at the same quality."""


def shares_of_change(stored: JpegImage) -> tuple[float, ...]:
    """Which part of the network's change to apply to each component, 0 to 1: by its mean step.

    In between the two constants it grows linearly: 0.88 at quality 91, 0.18 at 94.
    """
    shares = []
    for index, component in enumerate(stored.components):
        chroma = stored.colors in ("YCbCr", "YCCK") and index in (1, 2)
        factor = CHROMA_FACTOR if chroma else 1.0
        step = float(component.table.mean()) / factor
        share = (step - UNTOUCHED_STEP) / (FULL_STEP - UNTOUCHED_STEP)
        shares.append(float(np.clip(share, 0.0, 1.0)))
    return tuple(shares)


def blended(restored: Picture, decoded: Picture, shares: tuple[float, ...]) -> Picture:
    """``decoded`` plus the components' ``shares`` of the change to ``restored``.

    restored, decoded: RGB (H, W, 3), gray (H, W) or inks (H, W, 4), both alike. shares: 0 to 1, one
    for all; or, of RGB that was YCbCr, one each for Y, Cb and Cr.
    """
    if min(shares) == 1:
        return restored
    change = restored.astype(np.float32) - decoded
    if len(set(shares)) > 1:
        planes = torch.from_numpy(change).permute(2, 0, 1)[None]
        factors = torch.tensor(shares, device="cpu")[None, :, None, None]
        change = scaled_in_ycbcr(planes, factors)[0].permute(1, 2, 0).numpy()
    else:
        change *= np.float32(shares[0])
    return np.round(decoded + change).clip(0, 255).astype(np.uint8)


CLEAR_STEP = 48
"""Gray levels between flat blocks that no smooth area of a photograph has."""


def exact_kept(restored: Picture, decoded: Picture) -> Picture:
    """``restored``, but ``decoded`` in blocks whose surroundings (3x3 blocks) show it to be exact.

    That is where all of them are white, all samples being 255, or all are black; and where each of
    them is flat, with a step of at least :data:`CLEAR_STEP` between two of them.

    Both RGB (H, W, 3) or gray (H, W).
    """
    channels = decoded if decoded.ndim == 3 else decoded[:, :, None]
    starts = [np.arange(0, side, BLOCK) for side in decoded.shape[:2]]
    least, most = (
        over.reduceat(over.reduceat(channels, starts[0], 0), starts[1], 1)
        for over in (np.minimum, np.maximum)
    )
    around = np.ones((3, 3), np.uint8)
    # Beyond the picture's border nothing speaks against it.
    lowest = cv2.erode(least, around).reshape(least.shape)
    highest = cv2.dilate(most, around).reshape(most.shape)
    flat = cv2.erode((least == most).all(2).astype(np.uint8), around).astype(bool)
    steps = (highest.astype(np.int16) - lowest).max(2) >= CLEAR_STEP
    exact = (lowest == 255).all(2) | (highest == 0).all(2) | (flat & steps)
    pixels = exact.repeat(BLOCK, 0).repeat(BLOCK, 1)[: decoded.shape[0], : decoded.shape[1]]
    result = restored.copy()
    result[pixels] = decoded[pixels]
    return result
