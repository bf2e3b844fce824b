"""Guidance by the quantisation tables (paper: QTGM, Quantisation Table Guidance Module)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

TableInput = Literal["raw_y_cb", "log_y_cb_cr"]


class Guidance(NamedTuple):
    """Per-channel factor in (0, 1) and shift in (-1, 1), each (B, channels)."""

    gamma: Tensor
    beta: Tensor


GuidancePair = tuple[list[Guidance], list[Guidance]]
"""The encoder's and the decoder's guidance, each listed from full to quarter resolution."""


class TableTrunk(nn.Module):
    """Quantisation tables (B, 3, 8, 8) -> features (B, width), three Linear layers with ReLU.

    ``raw_y_cb`` (published) feeds the 128 raw values of the Y and Cb tables; ``log_y_cb_cr`` feeds
    the logarithms of all three tables, scaled to about [-2, 2], since a step of 1 or 2 matters as
    much as one of 50 or 100.
    """

    def __init__(self, width: int = 512, table_input: TableInput = "raw_y_cb") -> None:
        super().__init__()
        self.table_input = table_input
        inputs = 128 if table_input == "raw_y_cb" else 192
        self.layers = nn.Sequential(
            nn.Linear(inputs, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )

    def forward(self, qts: Tensor) -> Tensor:
        if self.table_input == "raw_y_cb":
            return self.layers(qts[:, :2].flatten(1))
        return self.layers(scaled_log(qts).flatten(1))


def scaled_log(qts: Tensor) -> Tensor:
    """Logarithms of table values, scaled: 1 gives -2, 255 gives 1.7, 65535 gives 5.4; any shape."""
    return (qts.log() - 3) / 1.5


class GuidanceHead(nn.Module):
    """Trunk features -> :class:`Guidance` for ``channels`` channels."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Linear(width, channels)
        self.beta = nn.Linear(width, channels)

    def forward(self, features: Tensor) -> Guidance:
        return Guidance(self.gamma(features).sigmoid(), self.beta(features).tanh())


class QTGM(nn.Module):
    """Guidance for every level of the encoder and of the decoder, from one trunk each.

    Arguments: ``widths`` of the backbone's levels from full to quarter resolution; ``trunk_width``;
    ``table_input`` (see :class:`TableTrunk`).
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        trunk_width: int = 512,
        table_input: TableInput = "raw_y_cb",
    ) -> None:
        super().__init__()
        self.encoder_trunk = TableTrunk(trunk_width, table_input)
        self.encoder_heads = nn.ModuleList(GuidanceHead(trunk_width, w) for w in widths)
        self.decoder_trunk = TableTrunk(trunk_width, table_input)
        self.decoder_heads = nn.ModuleList(GuidanceHead(trunk_width, w) for w in widths)

    def forward(self, qts: Tensor) -> GuidancePair:
        """Tables (B, 3, 8, 8) -> (encoder's, decoder's) guidance, each listed from level 1 to 3."""
        encoder, decoder = self.encoder_trunk(qts), self.decoder_trunk(qts)
        return (
            [head(encoder) for head in self.encoder_heads],
            [head(decoder) for head in self.decoder_heads],
        )


_CHROMA_EXCESS = 0.546
"""By how much the mean logarithm of libjpeg's chroma table exceeds luma's."""


def component_scales(qts: Tensor) -> Tensor:
    """As :func:`expected_error`, for Y, Cb and Cr each by its own table, (B, 3, 1, 1).

    Luma and chroma are not always compressed alike. With libjpeg's own tables all three equal
    :func:`expected_error` within 2 %: there the mean logarithms of chroma's and luma's tables
    differ by a constant, and by less where values are clipped to 1 or 255.
    """
    logs = qts.log().mean((2, 3))
    luma, chroma = logs[:, :1], logs[:, 1:]
    highest = math.log(255)
    above = torch.minimum(1.31 * luma, 0.68 * (highest - luma)).clamp(0.0, _CHROMA_EXCESS)
    below = torch.minimum(0.57 * chroma, 2.3 * (highest - chroma)).clamp(0.0, _CHROMA_EXCESS)
    equivalent = torch.cat((luma + 2 / 3 * above, chroma - below / 3), 1)
    return _error_of(equivalent)[:, :, None, None]


def expected_error(qts: Tensor) -> Tensor:
    """Size of a JPEG's errors as its tables let expect, (B, 3, 8, 8) -> (B,).

    Relative to tables whose steps have a geometric mean of 20. JPEG's RMS error on photographs is
    about 13 gray levels at quality 10 and 1.8 at quality 100, where the mean log step is 4.3 and 0:
    a power of ln(13 / 1.8) / 4.3.

    Scaling the backbone's residual so lets the network leave a nearly lossless file alone. A fixed
    function: when it was learned, the shortest way to a lower loss early in training was a factor
    of zero, from which the backbone never recovered. Not in the published network.
    """
    return _error_of(qts.log().mean((1, 2, 3)))


def _error_of(mean_log: Tensor) -> Tensor:
    return ((mean_log - math.log(20)) * 0.46).exp()
