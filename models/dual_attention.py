"""The dual-attention transformer of LOGM (paper: DJViT), over one token per MCU.

Each block looks at its surroundings twice: window attention mixes neighbouring MCUs, channel
attention mixes frequencies over the whole grid. Tensors are channels-last inside: (B, rows, cols,
channels).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

WINDOW = 4
"""Side of an attention window in tokens."""
SHIFT = WINDOW // 2

ChannelLogits = Literal["sum", "mean"]

REFERENCE_TOKENS = 64
"""Tokens of a 128x128 patch; "mean" logits equal "sum" logits on a grid of this size."""


class StochasticDepth(nn.Module):
    """Drop a branch per sample with probability ``rate`` in training (Huang et al. 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep


def _relative_index() -> Tensor:
    """(16, 16, 2) row and column into the 7x7 bias for every (query, key) pair of a window."""
    axis = torch.arange(WINDOW)
    position = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return position[:, None] - position[None] + WINDOW - 1


def _wrapped_pairs(rows: int, cols: int, device: torch.device) -> Tensor:
    """(windows, 16, 16) bool: query and key lay on opposite sides of the image before the roll."""

    def side(length: int) -> Tensor:
        return torch.arange(length, device=device) >= length - SHIFT

    region = side(rows)[:, None] * 2 + side(cols)[None].long()
    region = _to_windows(region[None, :, :, None]).squeeze(-1)
    return region[:, :, None] != region[:, None, :]


def _to_windows(x: Tensor) -> Tensor:
    """(B, rows, cols, C) -> (B * windows, 16, C)."""
    b, rows, cols, c = x.shape
    x = x.reshape(b, rows // WINDOW, WINDOW, cols // WINDOW, WINDOW, c)
    return x.transpose(2, 3).reshape(-1, WINDOW * WINDOW, c)


def _from_windows(windows: Tensor, rows: int, cols: int) -> Tensor:
    """Inverse of :func:`_to_windows`."""
    c = windows.shape[-1]
    x = windows.reshape(-1, rows // WINDOW, cols // WINDOW, WINDOW, WINDOW, c)
    return x.transpose(2, 3).reshape(-1, rows, cols, c)


class WindowAttention(nn.Module):
    """Multi-head attention inside 4x4 windows with a learned relative position bias.

    With ``shifted``, windows are displaced by two tokens; pairs that touch only through the
    wrap-around are masked out, also where a side has a single window.
    """

    relative_index: Tensor

    def __init__(self, channels: int, heads: int, shifted: bool) -> None:
        super().__init__()
        self.heads = heads
        self.shifted = shifted
        self.scale = (channels // heads) ** -0.5
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.position_bias = nn.Parameter(torch.zeros(heads, 2 * WINDOW - 1, 2 * WINDOW - 1))
        nn.init.trunc_normal_(self.position_bias, std=0.02)
        self.register_buffer("relative_index", _relative_index(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows, cols, C) -> the same shape; rows and cols are multiples of 4."""
        if not self.shifted:
            return self.within_windows(x, None)
        wrapped = _wrapped_pairs(x.shape[1], x.shape[2], x.device)
        shifted = self.within_windows(x.roll((-SHIFT, -SHIFT), (1, 2)), wrapped)
        return shifted.roll((SHIFT, SHIFT), (1, 2))

    def within_windows(self, x: Tensor, wrapped: Tensor | None) -> Tensor:
        """Attention inside the windows of a grid that is shifted already, or of a strip of it.

        wrapped: (windows, 16, 16) bool, pairs to be kept apart.
        """
        b, rows, cols, c = x.shape
        windows = _to_windows(x)
        n, length = windows.shape[:2]
        q, k, v = self.qkv(windows).reshape(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.position_bias[:, self.relative_index[..., 0], self.relative_index[..., 1]]
        logits = (q * self.scale) @ k.transpose(-2, -1) + bias
        if wrapped is not None:
            logits = logits.reshape(b, -1, self.heads, length, length)
            logits = logits.masked_fill(wrapped[None, :, None], float("-inf"))
            logits = logits.reshape(n, self.heads, length, length)
        mixed = (logits.softmax(-1) @ v).transpose(1, 2).reshape(n, length, c)
        return _from_windows(self.proj(mixed), rows, cols)


class ChannelAttention(nn.Module):
    """Attention among the channels of each head, over all positions at once.

    ``logits="sum"`` is the published form: a logit is a sum over the grid and grows with the image.
    ``"mean"`` averages instead (times a constant), so that the result does not depend on image
    size.
    """

    def __init__(self, channels: int, heads: int, logits: ChannelLogits) -> None:
        super().__init__()
        self.heads = heads
        self.logits = logits
        self.scale = (channels // heads) ** -0.5
        self.position = nn.Parameter(torch.zeros(1, 1, 1, channels))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows, cols, C) -> the same shape."""
        q, k, v = self._heads(self.qkv(x + self.position), 3)
        attention = self._attention(q @ k.transpose(-2, -1), x.shape[1] * x.shape[2])
        return self._mixed(attention, v, x.shape)

    def attention_in_strips(self, strips: Iterator[Tensor]) -> Tensor:
        """The attention (B, heads, c, c) of a grid that is seen strip by strip."""
        total: Tensor | None = None
        tokens = 0
        for x in strips:
            q, k = self._heads(self._part_of_qkv(x, slice(2 * x.shape[-1])), 2)
            part = q @ k.transpose(-2, -1)
            total = part if total is None else total + part
            tokens += x.shape[1] * x.shape[2]
        assert total is not None
        return self._attention(total, tokens)

    def mix(self, attention: Tensor, x: Tensor) -> Tensor:
        """What :meth:`forward` returns for the strip ``x``, given the whole grid's attention."""
        (v,) = self._heads(self._part_of_qkv(x, slice(2 * x.shape[-1], None)), 1)
        return self._mixed(attention, v, x.shape)

    def _part_of_qkv(self, x: Tensor, part: slice) -> Tensor:
        """Those of ``qkv``'s output channels that are needed."""
        return nn.functional.linear(x + self.position, self.qkv.weight[part], self.qkv.bias[part])

    def _heads(self, joined: Tensor, parts: int) -> tuple[Tensor, ...]:
        """``parts`` tensors (B, heads, channels of a head, tokens) of what stands side by side."""
        b, rows, cols, _ = joined.shape
        split = joined.reshape(b, rows * cols, parts, self.heads, -1).permute(2, 0, 3, 4, 1)
        return split.unbind(0)

    def _attention(self, logits: Tensor, tokens: int) -> Tensor:
        scale = self.scale
        if self.logits == "mean":
            scale *= REFERENCE_TOKENS / tokens
        return (logits * scale).softmax(-1)

    def _mixed(self, attention: Tensor, v: Tensor, shape: torch.Size) -> Tensor:
        return self.proj((attention @ v).permute(0, 3, 1, 2).reshape(shape))


class DualAttentionBlock(nn.Module):
    """Window and channel attention side by side, fused, then an MLP."""

    def __init__(
        self, channels: int, heads: int, shifted: bool, logits: ChannelLogits, drop: float
    ) -> None:
        super().__init__()
        self.window_norm = nn.LayerNorm(channels)
        self.window_attention = WindowAttention(channels, heads, shifted)
        self.channel_norm = nn.LayerNorm(channels)
        self.channel_attention = ChannelAttention(channels, heads, logits)
        self.fusion = nn.Sequential(nn.Linear(2 * channels, channels), nn.GELU())
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        self.drop = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, rows, cols, C) -> the same shape; rows and cols are multiples of 4."""
        near = x + self.drop(self.window_attention(self.window_norm(x)))
        far = x + self.drop(self.channel_attention(self.channel_norm(x)))
        return self._fuse(x, near, far)

    def _fuse(self, x: Tensor, near: Tensor, far: Tensor) -> Tensor:
        x = x + self.fusion(torch.cat((near, far), -1))
        return x + self.drop(self.mlp(self.mlp_norm(x)))

    def in_strips(self, x: Tensor, strip: int) -> Tensor:
        """:meth:`forward` for inference with a fraction of its memory: ``strip`` rows at a time.

        x: (B, rows, cols, C), used up: the result is written over it. strip: a multiple of 4.
        """
        rows, cols = x.shape[1:3]
        starts = range(0, rows, strip)
        attention = self.channel_attention.attention_in_strips(
            self.channel_norm(x[:, i : i + strip]) for i in starts
        )
        window = self.window_attention
        wrapped = None
        if window.shifted:
            # Shifted once, all is aligned to windows; only the window attention minds the shift.
            x = x.roll((-SHIFT, -SHIFT), (1, 2))
            wrapped = _wrapped_pairs(rows, cols, x.device)
        for i in starts:
            part = x[:, i : i + strip]
            own = None
            if wrapped is not None:
                own = wrapped[i // WINDOW * (cols // WINDOW) :][: part.shape[1] * cols // WINDOW**2]
            near = part + window.within_windows(self.window_norm(part), own)
            far = part + self.channel_attention.mix(attention, self.channel_norm(part))
            x[:, i : i + strip] = self._fuse(part, near, far)
        return x.roll((SHIFT, SHIFT), (1, 2)) if window.shifted else x


class DualAttention(nn.Module):
    """DJViT: ``depth`` dual-attention blocks, LayerNorm, 1x1 convolution; no outer residual."""

    def __init__(
        self,
        channels: int = 320,
        heads: int = 10,
        depth: int = 4,
        channel_logits: ChannelLogits = "sum",
        max_drop: float = 0.1,
    ) -> None:
        super().__init__()
        rates = torch.linspace(0, max_drop, depth).tolist()
        self.blocks = nn.ModuleList(
            DualAttentionBlock(channels, heads, bool(i % 2), channel_logits, rates[i])
            for i in range(depth)
        )
        self.norm = nn.LayerNorm(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, tokens: Tensor, strip: int | None = None) -> Tensor:
        """(B, C, rows, cols) -> the same shape; rows and cols are multiples of 4.

        ``strip``: in inference, how many rows to work on at a time (a multiple of 4).
        """
        x = tokens.permute(0, 2, 3, 1)
        if strip is not None:
            x = x.clone(memory_format=torch.contiguous_format)
        for block in self.blocks:
            assert isinstance(block, DualAttentionBlock)
            x = block(x) if strip is None else block.in_strips(x, strip)
        return self.out(self.norm(x).permute(0, 3, 1, 2))
