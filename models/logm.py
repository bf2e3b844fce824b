"""LOGM, Learnable Offset Guidance Module: predict what rounding took from each DCT level."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.dct import UNZIGZAG, ZIGZAG
from models.dual_attention import ChannelLogits, DualAttention
from models.qtgm import GuidanceHead, TableInput, TableTrunk

LUMA_FREQUENCIES = 56
CHROMA_FREQUENCIES = 48
TOKEN_CHANNELS = 4 * LUMA_FREQUENCIES + 2 * CHROMA_FREQUENCIES
"""Channels of one MCU token: four luma blocks, Cb and Cr, low zigzag frequencies only (320)."""


class Levels(NamedTuple):
    """DCT levels in quantisation steps: y (B, 1, H/8, W/8, 8, 8), c (B, 2, H/16, W/16, 8, 8)."""

    y: Tensor
    c: Tensor


def dequantise(levels: Levels, qts: Tensor) -> Levels:
    """Levels times each component's own table (B, 3, 8, 8)."""
    return Levels(levels.y * qts[:, :1, None, None], levels.c * qts[:, 1:, None, None])


class LOGM(nn.Module):
    """Corrected level = level + 0.5 * tanh(offset): it always rounds back to the stored level.

    One token per MCU passes through the dual-attention network; the tables scale and shift its
    output per channel. Frequencies beyond the token's keep their stored level.
    """

    zigzag: Tensor
    unzigzag: Tensor

    def __init__(
        self,
        depth: int = 4,
        channel_logits: ChannelLogits = "sum",
        trunk_width: int = 512,
        table_input: TableInput = "raw_y_cb",
        max_drop: float = 0.1,
    ) -> None:
        super().__init__()
        self.attention = DualAttention(
            TOKEN_CHANNELS, depth=depth, channel_logits=channel_logits, max_drop=max_drop
        )
        self.trunk = TableTrunk(trunk_width, table_input)
        self.guidance = GuidanceHead(trunk_width, TOKEN_CHANNELS)
        self.register_buffer("zigzag", torch.tensor(ZIGZAG), persistent=False)
        self.register_buffer("unzigzag", torch.tensor(UNZIGZAG), persistent=False)

    def tokens(self, levels: Levels) -> Tensor:
        """Dequantised levels -> (B, 320, H/16, W/16), block by block, zigzag index fastest."""
        b, _, h, w = levels.c.shape[:4]
        luma = levels.y.reshape(b, h, 2, w, 2, 64).transpose(2, 3).reshape(b, h, w, 4, 64)
        chroma = levels.c.reshape(b, 2, h, w, 64).permute(0, 2, 3, 1, 4)
        luma = luma[..., self.zigzag[:LUMA_FREQUENCIES]].flatten(3)
        chroma = chroma[..., self.zigzag[:CHROMA_FREQUENCIES]].flatten(3)
        return torch.cat((luma, chroma), -1).permute(0, 3, 1, 2)

    def offsets(self, tokens: Tensor) -> Levels:
        """Inverse of :meth:`tokens`; the frequencies it cut get zero."""
        b, _, h, w = tokens.shape
        luma, chroma = tokens.permute(0, 2, 3, 1).split(
            (4 * LUMA_FREQUENCIES, 2 * CHROMA_FREQUENCIES), -1
        )
        luma = self._to_natural_order(luma.reshape(b, h, w, 2, 2, LUMA_FREQUENCIES))
        chroma = self._to_natural_order(chroma.reshape(b, h, w, 2, CHROMA_FREQUENCIES))
        return Levels(
            luma.transpose(2, 3).reshape(b, 1, 2 * h, 2 * w, 8, 8),
            chroma.permute(0, 3, 1, 2, 4).reshape(b, 2, h, w, 8, 8),
        )

    def _to_natural_order(self, frequencies: Tensor) -> Tensor:
        cut = 64 - frequencies.shape[-1]
        return nn.functional.pad(frequencies, (0, cut))[..., self.unzigzag]

    def forward(self, qts: Tensor, levels: Levels, strip: int | None = None) -> Levels:
        """Stored levels -> corrected levels, same shapes. ``qts``: (B, 3, 8, 8), natural order.

        ``strip``: see :meth:`models.dual_attention.DualAttention.forward`.
        """
        gamma, beta = self.guidance(self.trunk(qts))
        tokens = self.attention(self.tokens(dequantise(levels, qts)), strip)
        offset = self.offsets(gamma[:, :, None, None] * tokens + beta[:, :, None, None])
        return Levels(
            levels.y + 0.5 * offset.y.tanh(),
            levels.c + 0.5 * offset.c.tanh(),
        )
