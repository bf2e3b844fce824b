"""What training minimises: errors of the restored image, of the first image, of the levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.dct import image_to_coefficients
from models.ijcn import IJCNOutput
from models.qtgm import expected_error
from utils.training.loop import Loss

Penalty = Literal["charbonnier", "l1", "psnr"]

_LOG_SCALE = 0.01
"""Brings gradients of "psnr" to the size of the others', for which clip_norm is meant."""


@dataclass(frozen=True)
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
    balance: divide each image's error by the size its tables let expect, so that a decibel gained
        at quality 90 is worth one at quality 10; the logarithm does so anyway.
    autocast: dtype of the backbone.

    The published training is unknown; that the network returns its corrected levels suggests a term
    on them.
    """

    penalty: Penalty = "charbonnier"
    epsilon: float = 1e-3
    first_weight: float = 0.0
    level_weight: float = 0.0
    balance: bool = True
    autocast: torch.dtype = torch.float32

    def __call__(
        self,
        network: nn.Module,
        qts: Tensor,
        y_coef: Tensor,
        c_coef: Tensor,
        chroma_detail: Tensor | None,
        clean: Tensor,
    ) -> tuple[Loss, IJCNOutput]:
        """Run ``network`` on a batch (see :meth:`models.IJCN.forward`).

        clean: (B, 3, H, W) in [0, 1]. Also returns the network's output.
        """
        with torch.autocast(
            clean.device.type, torch.bfloat16, enabled=self.autocast == torch.bfloat16
        ):
            output: IJCNOutput = network(qts, y_coef, c_coef, chroma_detail)
        balance = self.balance and self.penalty != "psnr"
        scale = 1 / expected_error(qts.float()) if balance else clean.new_ones(len(clean))

        def term(*errors: Tensor) -> Tensor:
            total = sum(self._per_image(error) for error in errors) / len(errors)
            return (total * scale).mean()

        terms = {"image": term(output.image - clean)}
        total = terms["image"]
        if self.first_weight:
            terms["first_image"] = term(output.first - clean)
            total = total + self.first_weight * terms["first_image"]
        if self.level_weight:
            tables = qts.float()[:, :, None, None] / 255
            y, c = image_to_coefficients(clean)
            terms["levels"] = term(
                output.y_coef * tables[:, :1] - y / 255, output.c_coef * tables[:, 1:] - c / 255
            )
            total = total + self.level_weight * terms["levels"]
        return Loss(total, {name: value.detach() for name, value in terms.items()}), output

    def _per_image(self, error: Tensor) -> Tensor:
        if self.penalty == "psnr":
            mean_square = error.square().flatten(1).mean(1)
            return 0.5 * _LOG_SCALE * (mean_square + self.epsilon**2).log()
        if self.penalty == "charbonnier":
            error = (error.square() + self.epsilon**2).sqrt()
        return error.abs().flatten(1).mean(1)
