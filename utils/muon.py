"""Muon: momentum whose update is orthogonalised, for convolution kernels.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the scale by
0.2 sqrt(max side), which makes AdamW's learning rates fit, is from J. Liu et al., "Muon is scalable
for LLM training", 2025. ``torch.optim.Muon`` takes matrices only; a kernel here counts as the
matrix (out, in * height * width).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Quintic whose iteration drives singular values towards 1, fast rather than exactly (Jordan et
# al.).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalise(matrix: Tensor) -> Tensor:
    """Approximately the nearest semi-orthogonal matrix, singular values in about [0.7, 1.2].

    Newton-Schulz iteration in bfloat16; (rows, cols) in, the same shape in float32 out.
    """
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised per kernel, decoupled weight decay.

    Args:
        params: tensors of two or more dimensions; the first is the output channel.
        lr: as for AdamW. weight_decay: as for AdamW. momentum: of the gradient average.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"]
                average.lerp_(weight.grad, 1 - group["momentum"])
                direction = weight.grad.lerp(average, group["momentum"])
                update = orthogonalise(direction.flatten(1)).reshape(weight.shape)
                scale = 0.2 * max(update.shape[0], update[0].numel()) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * scale)
