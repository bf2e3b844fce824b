"""Better and smaller networks without training: averages of weights, narrower residual blocks.

Averaging the ends of several trainings that went on from one another, or from a common start, gives
one network that is better than each (model soups, Wortsman et al. 2022). Slimming drops the inner
channels of residual blocks that matter least, as filter pruning does (Molchanov et al. 2019); what
it costs is small and mostly comes back in a short training afterwards.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.backbone import Backbone
from models.blocks import ResidualBlock
from models.ijcn import IJCN


def average(networks: Sequence[IJCN], shares: Sequence[float] | None = None) -> IJCN:
    """The network whose weights are the mean of the others'.

    shares: weight of each network, in any unit; None: all alike.

    Raises:
        ValueError: no networks, networks of different variants, or shares that make no mean.
    """
    shares = [1.0] * len(networks) if shares is None else list(shares)
    if not networks or len(shares) != len(networks):
        raise ValueError(f"{len(networks)} networks and {len(shares)} shares: give one for each")
    if min(shares) < 0 or sum(shares) <= 0:
        raise ValueError(f"shares must be positive, got {shares}")
    for other in networks[1:]:
        if other.config != networks[0].config:
            raise ValueError("only networks of the same variant can be averaged")
    states = [network.state_dict() for network in networks]
    mean = copy.deepcopy(networks[0])
    mean.load_state_dict(
        {
            name: sum(
                share / sum(shares) * state[name].double()
                for share, state in zip(shares, states, strict=True)
            )
            for name in states[0]
        }
    )
    return mean


class InnerActivity(NamedTuple):
    """What passes between the two convolutions of a residual block: (channels,) float64 each."""

    mean: Tensor
    variance: Tensor


@contextmanager
def inner_activity(backbone: Backbone) -> Iterator[dict[str, InnerActivity]]:
    """Watch the residual blocks of a backbone while it works; filled when the context ends.

    Keys are the blocks' names within the backbone; every call of the backbone counts alike.
    """
    sums: dict[str, list[tuple[Tensor, Tensor]]] = {}
    result: dict[str, InnerActivity] = {}

    def watch(name: str, block: ResidualBlock) -> torch.utils.hooks.RemovableHandle:
        def see(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            values = output.detach().double()
            moments = values.mean((0, 2, 3)), values.square().mean((0, 2, 3))
            sums.setdefault(name, []).append(moments)

        return block.body[1].register_forward_hook(see)

    hooks = [watch(name, block) for name, block in _residual_blocks(backbone)]
    try:
        yield result
    finally:
        for hook in hooks:
            hook.remove()
    for name, seen in sums.items():
        mean = torch.stack([m for m, _ in seen]).mean(0)
        square = torch.stack([s for _, s in seen]).mean(0)
        # Born in inference mode, they could not be computed with outside.
        result[name] = InnerActivity(*(torch.tensor(v.tolist()) for v in (mean, square - mean**2)))


def slimmed(
    network: IJCN, inner_widths: tuple[int, int, int], activity: dict[str, InnerActivity]
) -> IJCN:
    """The network with narrower residual blocks, the rest of it unchanged.

    Each block keeps the channels with the largest variance times squared weights behind them; the
    mean of the others is added to the bias, so that their average effect stays.

    Args:
        network: is left as it is.
        inner_widths: channels to keep at full, half and quarter resolution.
        activity: from :func:`inner_activity`, of this network on typical pictures.

    Raises:
        ValueError: more channels asked for than there are.
    """
    config = dataclasses.replace(network.config, inner_widths=inner_widths)
    present = network.config.inner_widths or network.config.widths
    if any(wanted > there for wanted, there in zip(inner_widths, present, strict=True)):
        raise ValueError(f"inner widths are {list(present)}; they cannot grow to {inner_widths}")
    slim = IJCN(config)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    narrow = dict(_residual_blocks(slim.backbone))
    for name, block in _residual_blocks(network.backbone):
        first, activation, second = block.body
        narrow_first = narrow[name].body[0]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        assert isinstance(narrow_first, nn.Conv2d)
        kept = _most_important(second, activity[name], narrow_first.out_channels)
        dropped = torch.ones(first.out_channels, dtype=torch.bool)
        dropped[kept] = False
        stem = f"backbone.{name}.body"
        assert first.bias is not None
        assert second.bias is not None
        with torch.no_grad():
            taken_over = second.weight.sum((2, 3)) @ (activity[name].mean * dropped).float()
            state[f"{stem}.0.weight"] = first.weight[kept]
            state[f"{stem}.0.bias"] = first.bias[kept]
            state[f"{stem}.2.weight"] = second.weight[:, kept]
            state[f"{stem}.2.bias"] = second.bias + taken_over
        if isinstance(activation, nn.PReLU):
            state[f"{stem}.1.weight"] = activation.weight.detach()[kept]
    slim.load_state_dict(state)
    return slim.train(network.training)


def _most_important(second: nn.Conv2d, activity: InnerActivity, count: int) -> Tensor:
    """Indices of the channels, in their old order."""
    importance = activity.variance * second.weight.detach().double().square().sum((0, 2, 3)).cpu()
    return importance.argsort(descending=True)[:count].sort().values


def _residual_blocks(backbone: nn.Module) -> Iterator[tuple[str, ResidualBlock]]:
    for name, module in backbone.named_modules():
        if isinstance(module, ResidualBlock):
            yield name, module
