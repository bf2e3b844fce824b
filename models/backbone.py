"""The U-shaped backbone that repairs colour and detail, steered by QTGM's guidance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.blocks import Activation, GuidanceBlock, residual_blocks
from models.qtgm import Guidance


class Backbone(nn.Module):
    """First image (B, 3, H, W) -> residual (B, 3, H, W); H and W are multiples of 4.

    ``widths``: channels at full, half and quarter resolution; ``inner_widths``: inside residual
    blocks; ``blocks``: residual blocks per level, in the encoder and again in the decoder;
    ``body_blocks``: in each of the two halves of the body.
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        inner_widths: tuple[int, int, int],
        blocks: tuple[int, int, int],
        body_blocks: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        w1, w2, w3 = widths
        self.head = nn.Conv2d(3, w1, 3, padding=1)

        self.encoder_guides = nn.ModuleList(GuidanceBlock(w, activation) for w in widths)
        self.encoder_blocks = nn.ModuleList(
            residual_blocks(n, width, inner, activation)
            for n, width, inner in zip(blocks, widths, inner_widths, strict=True)
        )
        self.down1 = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * w1, w2, 3, padding=1))
        self.down2 = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * w2, w3, 1))

        self.body1 = residual_blocks(body_blocks, w3, inner_widths[2], activation)
        self.body2 = residual_blocks(body_blocks, w3, inner_widths[2], activation)

        self.up2 = nn.Sequential(nn.Conv2d(w3, 4 * w2, 1), nn.PixelShuffle(2))
        self.up1 = nn.Sequential(nn.Conv2d(w2, 4 * w1, 3, padding=1), nn.PixelShuffle(2))
        self.decoder_blocks = nn.ModuleList(
            residual_blocks(n, width, inner, activation)
            for n, width, inner in zip(blocks, widths, inner_widths, strict=True)
        )
        self.decoder_guides = nn.ModuleList(GuidanceBlock(w, activation) for w in widths)
        self.tail = nn.Conv2d(w1, 3, 3, padding=1)

    def forward(self, image: Tensor, encoder: list[Guidance], decoder: list[Guidance]) -> Tensor:
        def encode(level: int, x: Tensor) -> Tensor:
            return self.encoder_blocks[level](self.encoder_guides[level](x, *encoder[level]))

        def decode(level: int, x: Tensor) -> Tensor:
            return self.decoder_guides[level](self.decoder_blocks[level](x), *decoder[level])

        skip2 = self.down1(encode(0, self._features(image)))
        skip3 = self.down2(encode(1, skip2))
        skip4 = encode(2, skip3)
        x = self.body2(self.body1(skip4)) + skip4
        x = decode(2, x) + skip3
        x = decode(1, self.up2(x)) + skip2
        x = decode(0, self.up1(x))
        return self.tail(x)

    def _features(self, image: Tensor) -> Tensor:
        """The first convolution, in float32 also under autocast.

        Samples of [0, 1] in bfloat16 are rounded by up to half a gray level; their features are
        not harmed as much.
        """
        device = image.device.type
        with torch.autocast(device, enabled=False):
            features = self.head(image.float())
        return (
            features.to(torch.get_autocast_dtype(device))
            if torch.is_autocast_enabled(device)
            else features
        )
