"""Building blocks of the backbone: activation, residual block, guidance block."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Activation = Literal["prelu", "relu"]


def activation_layer(kind: Activation, channels: int) -> nn.Module:
    """PReLU with a slope per channel (published), or ReLU, whose backward is cheaper on CPUs."""
    return nn.PReLU(channels) if kind == "prelu" else nn.ReLU()


class ResidualBlock(nn.Module):
    """``x + Conv3x3(act(Conv3x3(x)))``, (B, channels, H, W) -> the same shape.

    ``inner``: channels between the two convolutions (published: as many as outside).
    """

    def __init__(self, channels: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1),
            activation_layer(activation, inner),
            nn.Conv2d(inner, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class GuidanceBlock(nn.Module):
    """``x + gamma * Conv1x1(act(Conv1x1(x))) + beta``: where the tables steer the backbone."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            activation_layer(activation, channels),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        """x: (B, channels, H, W); gamma, beta: (B, channels)."""
        # Guidance is float32; left so, it would turn everything after it into float32 too.
        gamma, beta = gamma.to(x.dtype), beta.to(x.dtype)
        return x + gamma[:, :, None, None] * self.body(x) + beta[:, :, None, None]


def residual_blocks(count: int, channels: int, inner: int, activation: Activation) -> nn.Sequential:
    """``count`` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels, inner, activation) for _ in range(count)))
