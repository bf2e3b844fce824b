"""What training minimises: errors of the restored image, of the first image, of the levels."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic.dataclasses import dataclass
from torch import Tensor

from models.dct import image_to_coefficients
from models.ijcn import IJCNOutput
from models.qtgm import expected_error
from utils.checked import CHECKED, NotNegative, Positive
from utils.training.loop import Loss

Penalty = Literal["charbonnier", "l1", "psnr"]

_LOG_SCALE = 0.01
"""Brings gradients of "psnr" to the size of the others', for which clip_norm is meant."""


@dataclass(frozen=True, config=CHECKED)
class RestorationLoss:
    """Weighted sum of up to three terms, in units of the image's range [0, 1].

    penalty: "charbonnier", the mean of sqrt(error^2 + epsilon^2); "l1"; or "psnr", half the
        logarithm of the mean square error of an image (times 0.01), which is what a mean PSNR
        measures (Chen et al., "Simple baselines for image restoration", 2022).
    epsilon: where Charbonnier turns from a square into an absolute value; floor of the root mean
        square error under the logarithm.
    first_weight: of the first image's error (before the backbone).
    level_weight: of the corrected levels' error against the clean image's unrounded levels; as the
        DCT is orthonormal, errors of dequantised levels are errors of samples.
    harm_weight: how much more an image counts whose restored picture is worse than its JPEG.
    balance_qualities: divide each image's error by the size its tables let expect, so that a
        decibel gained at quality 90 is worth one at quality 10; the logarithm does so anyway.

    The published training is unknown; that the network returns its corrected levels suggests a term
    on them.
    """

    penalty: Penalty = "charbonnier"
    epsilon: Positive = 1e-3
    first_weight: NotNegative = 0.0
    level_weight: NotNegative = 0.0
    harm_weight: NotNegative = 0.0
    balance_qualities: bool = True

    def __call__(self, output: IJCNOutput, qts: Tensor, clean: Tensor, jpeg: Tensor) -> Loss:
        """Of a network's output for tables ``qts``; clean, jpeg: (B, 3, H, W) in [0, 1]."""
        scale = self._scale(qts)
        terms = {"image": self.of_image(qts, output.image, clean, jpeg)}
        total = terms["image"]
        if self.first_weight:
            terms["first_image"] = (self._per_image(output.first - clean) * scale).mean()
            total = total + self.first_weight * terms["first_image"]
        if self.level_weight:
            tables = qts.float()[:, :, None, None] / 255
            y, c = image_to_coefficients(clean)
            luma = self._per_image(output.y_coef * tables[:, :1] - y / 255)
            chroma = self._per_image(output.c_coef * tables[:, 1:] - c / 255)
            terms["levels"] = ((luma + chroma) / 2 * scale).mean()
            total = total + self.level_weight * terms["levels"]
        return Loss(total, {name: value.detach() for name, value in terms.items()})

    def of_image(self, qts: Tensor, image: Tensor, clean: Tensor, jpeg: Tensor) -> Tensor:
        """The first term: of a restored ``image``, all three (B, 3, H, W) in [0, 1]."""
        error = self._per_image(image - clean)
        if self.harm_weight:
            error = error + self.harm_weight * F.relu(error - self._per_image(jpeg - clean))
        return (error * self._scale(qts)).mean()

    def _scale(self, qts: Tensor) -> Tensor:
        """(B): what an image's error is multiplied with."""
        balance = self.balance_qualities and self.penalty != "psnr"
        return 1 / expected_error(qts.float()) if balance else qts.new_ones(len(qts)).float()

    def _per_image(self, error: Tensor) -> Tensor:
        if self.penalty == "psnr":
            mean_square = error.square().flatten(1).mean(1)
            return 0.5 * _LOG_SCALE * (mean_square + self.epsilon**2).log()
        if self.penalty == "charbonnier":
            error = (error.square() + self.epsilon**2).sqrt()
        return error.abs().flatten(1).mean(1)
