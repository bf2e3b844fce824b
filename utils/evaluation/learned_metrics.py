"""LPIPS and DISTS, by the package piq (an extra): how different two pictures look to a network.

Lower is better, 0 is equal. Their weights are downloaded at first use, into PyTorch's cache.
"""

from __future__ import annotations

import importlib
import math
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from utils.pictures import as_rgb

CLASSES = {"lpips": "LPIPS", "dists": "DISTS"}
"""Names of the metrics, and of piq's classes.

LPIPS (VGG16): Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018. DISTS: Ding, Ma, Wang, Simoncelli,
TPAMI 2022.
"""

SMALLEST_SIDE = 32
"""Below, five halvings leave nothing to compare."""


class MetricError(ValueError):
    """A metric that cannot be had; the message is one line: what, why, what to do."""


class LearnedMetric:
    """One of :data:`CLASSES` as a function of 8-bit pictures.

    Raises:
        MetricError: piq is not installed, or the weights cannot be fetched.
    """

    def __init__(self, name: str) -> None:
        try:
            piq = importlib.import_module("piq")
        except Exception as error:  # not there, or a torchvision that does not fit PyTorch
            reason = " ".join(str(error).split())
            raise MetricError(
                f"metric {name} needs the package piq ({reason}); install it: pip install -e "
                f'".[metrics]", or leave {name} out of metrics'
            ) from error
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torchvision, about how piq asks for weights
                self._distance: Any = getattr(piq, CLASSES[name])().eval()
        except Exception as error:  # the network, a full disk, a broken file in the cache
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MetricError(
                f"metric {name} downloads its weights at first use, which failed ({reason}); try "
                f"again with a network, or leave {name} out of metrics"
            ) from error

    def __call__(self, *, restored: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
        """Distance of (H, W, 3) RGB or (H, W) gray, uint8 in [0, 255]; nan below 32 pixels."""
        if min(original.shape[:2]) < SMALLEST_SIDE:
            return math.nan
        with torch.inference_mode():
            return float(self._distance(_as_batch(restored), _as_batch(original)))


def _as_batch(image: NDArray[np.uint8]) -> torch.Tensor:
    """(H, W, 3) or (H, W), 8 bits -> (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(as_rgb(image).copy()).permute(2, 0, 1)[None].float() / 255
