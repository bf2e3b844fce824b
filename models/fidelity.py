"""How far a restoration may depart from what the file decodes to: not at all from the finest files.

From quality 95 on, what rounding took cannot be seen, and what a network would put in its place is
as likely wrong as right: most such files were saved again from an earlier JPEG, whose decoded
picture they hold almost exactly, and nothing in them tells these from first savings. (BSDS500's
pictures are JPEGs of quality 95: at QF 95 the decoded file has 49.7 dB, our network's answer 43.1.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.layouts import StoredJpeg

UNTOUCHED_STEP = 6.0
"""Mean step of the luma table up to which a file is left alone: libjpeg's quality 95 has 5.8."""

FULL_STEP = 11.0
"""Mean step from which the network's answer is taken as it is: quality 90 has 11.5."""


def share_of_change(stored: StoredJpeg) -> float:
    """Which part of the network's change to apply, 0 to 1: by the mean step of the luma table.

    In between the two constants it grows linearly: 0.88 at quality 91, 0.18 at 94.
    """
    step = float(stored.components[0].table.mean())
    return float(np.clip((step - UNTOUCHED_STEP) / (FULL_STEP - UNTOUCHED_STEP), 0.0, 1.0))


def blended(
    restored: NDArray[np.uint8], decoded: NDArray[np.uint8], share: float
) -> NDArray[np.uint8]:
    """``decoded`` plus ``share`` of the change to ``restored``; arrays of one shape."""
    change = restored.astype(np.float32) - decoded
    return np.round(decoded + np.float32(share) * change).astype(np.uint8)
