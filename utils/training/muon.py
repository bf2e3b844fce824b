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


def orthogonalise(matrices: Tensor) -> Tensor:
    """Approximately the nearest semi-orthogonal matrices, singular values in about [0.7, 1.2].

    Newton-Schulz iteration; (..., rows, cols) in, the same shape in float32 out. Each iterate is a
    polynomial in x x^T, times x: so the iteration runs on these small square matrices, and x is
    multiplied once, at the end.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    shape = x.shape
    x = x.reshape(-1, *shape[-2:])  # few calls, plain ones: a GPU waits for each of them
    gram = torch.bmm(x, x.mT)
    scaled_identity = a * torch.eye(gram.shape[-1], device=x.device)
    product: Tensor | None = None
    for iteration in range(_ITERATIONS):
        linear = torch.add(scaled_identity, gram, alpha=b)
        factor = torch.baddbmm(linear, gram, gram, alpha=c)
        product = factor if product is None else torch.bmm(factor, product)
        if iteration < _ITERATIONS - 1:
            gram = torch.bmm(torch.bmm(factor, gram), factor)
    assert product is not None
    x = torch.bmm(product, x).reshape(shape)
    return x.mT if tall else x


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
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            gradients = [weight.grad for weight in weights]
            averages = [self.state[weight]["momentum"] for weight in weights]
            torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
            directions = torch._foreach_lerp(gradients, averages, group["momentum"])
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            alike: dict[torch.Size, list[int]] = {}
            for index, weight in enumerate(weights):
                alike.setdefault(weight.shape, []).append(index)
            for shape, indices in alike.items():  # together, which a GPU needs
                updates = orthogonalise(torch.stack([directions[i].flatten(1) for i in indices]))
                scale = 0.2 * max(updates.shape[1:]) ** 0.5
                torch._foreach_add_(
                    [weights[i] for i in indices],
                    list(updates.reshape(-1, *shape).unbind()),
                    alpha=-group["lr"] * scale,
                )
