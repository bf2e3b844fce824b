"""Which optimiser trains which weight, and how optimiser states survive a changed option file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from utils.training.muon import Muon
from utils.training.schedule import Recipe


def build_optimisers(network: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Optimisers that together train every weight of ``network`` once.

    "adam" and "adamw" take all weights (weight decay is an L2 penalty in the first, decoupled in
    the second); "muon" takes the inner convolution kernels, AdamW the rest. Norms, biases, slopes
    and position tables are never decayed. Each group has a ``rate_factor``, ``kernel_rate`` for
    Muon and 1 elsewhere, by which the schedule's rate is to be multiplied.
    """

    grouped = {
        id(layer.weight)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.groups > 1
    }

    def inner_kernel(weight: nn.Parameter) -> bool:
        # Layers to or from a picture's three channels have no hidden side to orthogonalise; grouped
        # ones are many small matrices, not one.
        return weight.ndim == 4 and min(weight.shape[:2]) > 3 and id(weight) not in grouped

    def decays(weight: nn.Parameter) -> bool:
        # Matrices and kernels; a position vector is stored as 1 x 1 x 1 x channels.
        return weight.ndim in (2, 4) and max(weight.shape[:2]) > 1

    parameters = [p for p in network.parameters() if p.requires_grad]
    kernels = [p for p in parameters if recipe.optimiser == "muon" and inner_kernel(p)]
    chosen = {id(p) for p in kernels}
    rest = [p for p in parameters if id(p) not in chosen]
    adam = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    optimisers: list[torch.optim.Optimizer] = [
        adam(
            [
                {"params": [p for p in rest if decays(p)], "weight_decay": recipe.weight_decay},
                {"params": [p for p in rest if not decays(p)], "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            betas=recipe.betas,
            fused=True,
        )
    ]
    if kernels:
        optimisers.append(Muon(kernels, recipe.learning_rate, recipe.weight_decay))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["rate_factor"] = recipe.kernel_rate if isinstance(optimiser, Muon) else 1.0
    return optimisers


def set_rate(optimisers: list[torch.optim.Optimizer], rate: float) -> None:
    """Apply the schedule's rate of this step."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * group["rate_factor"]


def optimiser_state(
    network: nn.Module, optimisers: list[torch.optim.Optimizer]
) -> dict[str, dict[str, Any]]:
    """Running averages by weight name: independent of groups and their order."""
    names = {id(p): name for name, p in network.named_parameters()}
    return {
        names[id(weight)]: {"kind": type(optimiser).__name__, "averages": dict(averages)}
        for optimiser in optimisers
        for weight, averages in optimiser.state.items()
    }


def restore_optimisers(
    network: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    saved: Mapping[str, Mapping[str, Any]],
) -> int:
    """Give each optimiser the saved averages of its weights; hyper-parameters stay as they are.

    Returns:
        How many weights start afresh because another optimiser trained them.
    """
    names = {id(p): name for name, p in network.named_parameters()}
    fresh = 0
    for optimiser in optimisers:
        own = optimiser.state_dict()
        weights = [p for group in optimiser.param_groups for p in group["params"]]
        for index, weight in enumerate(weights):
            entry = saved.get(names[id(weight)])
            if entry is None:  # not one step was taken
                continue
            if entry["kind"] == type(optimiser).__name__:
                own["state"][index] = entry["averages"]
            else:
                fresh += 1
        optimiser.load_state_dict(own)
    return fresh
