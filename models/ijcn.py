"""IJCN, the Inverse JPEG Compression Network (TCSVT 2025): LOGM, first image, backbone.

Variants of ours may end with a check of the restored picture against the file's levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Literal, NamedTuple, get_args

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from models.backbone import Backbone
from models.blocks import Activation
from models.confidence import Confidence
from models.dct import CoefficientsToImage, scaled_in_ycbcr
from models.dual_attention import WINDOW, ChannelLogits
from models.level_check import LevelCheck
from models.logm import LOGM, Levels, dequantise
from models.qtgm import (
    QTGM,
    GuidanceHead,
    GuidancePair,
    TableInput,
    component_scales,
    expected_error,
)
from utils.checked import CHECKED, BelowOne, Count

SIZE_MULTIPLE = 16 * WINDOW
"""Image sides the network takes: an MCU of 4:2:0 is 16 pixels, an attention window four MCUs."""

BACKBONE_SEES = 80
"""Pixels around a tile that the backbone sees besides it.

Its theoretical reach is some 190 pixels, what it uses is less: with 80 the shipped network, tiled
as finely as possible, rounds 0.1 % of the samples of a picture of quality 10 to the next gray level
(float32); with 64 it was 0.3 %, a few of them by two levels.
"""

CHECK_SEES = 64
"""The level check's reach is 58 pixels; with it the difference of the two is up to 0.02."""

ScaleInput = Literal["none", "tables", "components"]


LastStep = Literal["level_check", "confidence"]
LAST_STEPS: tuple[LastStep, ...] = get_args(LastStep)
"""Parts that follow the backbone, each of which a variant may lack."""


PerLevel = Annotated[tuple[Count, Count, Count], Field(strict=False)]
"""A list is taken too."""


@dataclass(frozen=True, config=CHECKED)
class IJCNConfig:
    """What distinguishes one variant of the network from another; defaults: the published one.

    widths: channels at full, half and quarter resolution.
    blocks: residual blocks per level, in the encoder and again in the decoder.
    body_blocks: residual blocks in each half of the body.
    inner_widths: channels between the two convolutions of a residual block, per level; None:
        ``widths``, as published.
    activation: "prelu" or "relu".
    attention_depth: dual-attention blocks in LOGM.
    channel_logits: "sum" (published; depends on image size) or "mean".
    trunk_width: of the MLPs on the tables.
    table_input: "raw_y_cb" (published) or "log_y_cb_cr".
    residual_scale: "none", "tables" (one factor, see :func:`models.qtgm.expected_error`) or
        "components" (one for each of Y, Cb, Cr, see :func:`models.qtgm.component_scales`).
    max_drop: stochastic depth of the last attention block, in training only.
    level_check: channels of :class:`models.level_check.LevelCheck`; None: without it, as published.
    confidence: channels of :class:`models.confidence.Confidence`; None: without it, as published.

    Raises ValueError where a value cannot make a network.
    """

    widths: PerLevel = (64, 256, 256)
    blocks: PerLevel = (4, 4, 4)
    body_blocks: Count = 4
    inner_widths: PerLevel | None = None
    activation: Activation = "prelu"
    attention_depth: Count = 4
    channel_logits: ChannelLogits = "sum"
    trunk_width: Count = 512
    table_input: TableInput = "raw_y_cb"
    residual_scale: ScaleInput = "none"
    max_drop: BelowOne = 0.1
    level_check: Count | None = None
    confidence: Count | None = None


Ranges = dict[str, Tensor]
"""Absolute values, (channels,), that what goes into a convolution of the backbone hardly ever
exceeds, by the convolution's name, such as ``body1.0.body.2``; for :mod:`models.int8`."""


class IJCNOutput(NamedTuple):
    """Restored RGB image (B, 3, H, W), nominally [0, 1], not clamped; how it came about.

    y_coef, c_coef: corrected levels. first: RGB image of these levels, in [0, 1], before the
    backbone (the paper's x0). refined: before the last stage.
    """

    image: Tensor
    y_coef: Tensor
    c_coef: Tensor
    first: Tensor
    refined: Tensor


class Known(NamedTuple):
    """What is known of a picture, or of the part of it that a tile sees, besides its pixels.

    tables: B x 3 x 8 x 8, float32. stored: the file's levels. detail: what its chroma holds beyond
    4:2:0, if anything. guidance: what the tables say to the backbone; one for the whole picture.
    """

    tables: Tensor
    stored: Levels
    detail: Tensor | None
    guidance: GuidancePair


class Stage(NamedTuple):
    """One step of the way from the first image to the answer.

    run: (known, picture) -> picture, both B x 3 x H x W float32 RGB, nominally in [0, 1].
    around: pixels beside a tile that it must see for the tile to come out as in the whole picture.
    mirrors: it looks at pixels only, so that a self-ensemble may show it the picture mirrored.
    """

    run: Callable[[Known, Tensor], Tensor]
    around: int
    mirrors: bool


class IJCN(nn.Module):
    """Quantised levels and tables of a 4:2:0 JPEG -> restored RGB image.

    ``IJCN()`` is the published network, 40,323,115 parameters; other sizes and variants by
    :class:`IJCNConfig`. LOGM, colours and the final sum run in float32 also under autocast: DC
    levels do not fit bfloat16. ``ranges`` belong to the weights; None: not known.
    """

    def __init__(self, config: IJCNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or IJCNConfig()
        self.logm = LOGM(
            config.attention_depth,
            config.channel_logits,
            config.trunk_width,
            config.table_input,
            config.max_drop,
        )
        self.to_image = CoefficientsToImage()
        self.qtgm = QTGM(config.widths, config.trunk_width, config.table_input)
        self.backbone = Backbone(
            config.widths,
            config.inner_widths or config.widths,
            config.blocks,
            config.body_blocks,
            config.activation,
        )
        self.level_check = LevelCheck(config.level_check) if config.level_check else None
        self.confidence = Confidence(config.confidence) if config.confidence else None
        self.ranges: Ranges | None = None

    def start_from_jpeg(self) -> None:
        """Initialise so that the untrained network returns the JPEG's own first image.

        LOGM's offsets, the guidance's shifts, the tail and the level check's changes start at zero.
        """
        heads = [*self.qtgm.encoder_heads, *self.qtgm.decoder_heads]
        layers: list[nn.Linear | nn.Conv2d] = [
            self.logm.attention.out,
            self.logm.guidance.beta,
            *(head.beta for head in heads if isinstance(head, GuidanceHead)),
            self.backbone.tail,
        ]
        for layer in layers:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        for name in LAST_STEPS:
            if (step := getattr(self, name)) is not None:
                step.start()

    @torch.no_grad()
    def with_steps(self, **widths: int) -> IJCN:
        """A network of the same weights with more in its last steps, which changes little yet.

        widths: of parts in :data:`LAST_STEPS`, see :class:`IJCNConfig`. A part that this network
        lacks is fresh. One that it has narrower answers as before: what is new is not listened to.
        """
        wider = IJCN(IJCNConfig(**{**asdict(self.config), **widths}))
        weights = wider.state_dict()
        for name, own in self.state_dict().items():
            weights[name][: len(own)] = 0
            weights[name][tuple(map(slice, own.shape))] = own
        wider.ranges = self.ranges  # the backbone is the same
        return wider.train(self.training)

    def forward(
        self,
        qts: Tensor,
        y_coef: Tensor,
        c_coef: Tensor,
        chroma_detail: Tensor | None = None,
        refined: Tensor | None = None,
    ) -> IJCNOutput:
        """Restore a batch.

        Args:
            qts: B x 3 x 8 x 8 tables of Y, Cb, Cr in natural order, values from 1.
            y_coef: B x 1 x H/8 x W/8 x 8 x 8 quantised luma levels.
            c_coef: B x 2 x H/16 x W/16 x 8 x 8 quantised chroma levels.
            chroma_detail: B x 2 x H x W, what the file's chroma holds beyond 4:2:0, in gray
                levels (see models.restore.layouts); None for 4:2:0.
            refined: B x 3 x H x W, what all stages but the last make of this, where that is known
                from before; only the last is run then.
            H and W are multiples of 64; integers and floats are both taken.

        Raises:
            ValueError: shapes that do not belong together.
        """
        if not torch.compiler.is_exporting():  # no graph can hold these checks
            _check_shapes(qts, y_coef, c_coef)
        tables = qts.float()
        known = Known(tables, Levels(y_coef, c_coef), chroma_detail, self.guidance(tables))
        *earlier, last = self.stages()
        levels, first = known.stored, refined
        if first is None:
            _, levels = self.corrected(qts, y_coef, c_coef)
            first = refined = self.first_image(tables, levels, chroma_detail)
            for stage in earlier:
                refined = stage.run(known, refined)
        assert refined is not None
        return IJCNOutput(last.run(known, refined), levels.y, levels.c, first, refined)

    def stages(self) -> list[Stage]:
        """What makes the answer of the first image, in order.

        Training, restoring in tiles and the ONNX export all walk this list: what is added here
        works in each of them.
        """
        stages = [Stage(self._refined, around=BACKBONE_SEES, mirrors=True)]
        if self.level_check is not None or self.confidence is not None:
            stages.append(Stage(self._compared, around=CHECK_SEES, mirrors=False))
        return stages

    def corrected(
        self, qts: Tensor, y_coef: Tensor, c_coef: Tensor, strip: int | None = None
    ) -> tuple[Tensor, Levels]:
        """Tables in float32, and the levels that LOGM makes of the stored ones.

        strip: in inference, token rows to work on at a time, to save memory (a multiple of 4).
        """
        with torch.autocast(qts.device.type, enabled=False):
            tables = qts.float()
            return tables, self.logm(tables, Levels(y_coef.float(), c_coef.float()), strip)

    def first_image(self, tables: Tensor, levels: Levels, chroma_detail: Tensor | None) -> Tensor:
        """The picture (B, 3, H, W) in [0, 1] of corrected levels, of the whole grid or a part."""
        with torch.autocast(tables.device.type, enabled=False):
            return self.to_image(*dequantise(levels, tables), chroma_detail)

    def guidance(self, tables: Tensor) -> GuidancePair:
        """What the tables say to the backbone; needed once per picture, whatever its tiles."""
        with torch.autocast(tables.device.type, enabled=False):
            return self.qtgm(tables)

    def _refined(self, known: Known, first: Tensor) -> Tensor:
        """The first image with the backbone's correction."""
        residual = self.backbone(first, *known.guidance).float()
        if self.config.residual_scale == "tables":
            residual = expected_error(known.tables)[:, None, None, None] * residual
        elif self.config.residual_scale == "components":
            residual = scaled_in_ycbcr(residual, component_scales(known.tables))
        return first + residual

    def _compared(self, known: Known, refined: Tensor) -> Tensor:
        """After its comparison with the file: checked, then trusted as far as it can be.

        What the check had to move shows how far to trust the answer, so the two are one stage.
        """
        with torch.autocast(known.tables.device.type, enabled=False):
            image = refined = refined.float().clamp(0, 1)
            levels = Levels(known.stored.y.float(), known.stored.c.float())
            if self.level_check is not None:
                image = self.level_check(known.tables, *levels, image)
            if self.confidence is None and known.detail is None:
                return image
            jpeg = self.to_image.unclamped(*dequantise(levels, known.tables), known.detail)
            if self.level_check is not None and known.detail is not None:
                image = self.level_check.keep_chroma(known.tables, known.detail, jpeg, image)
            if self.confidence is not None:
                image = self.confidence(known.tables, jpeg / 255, refined, image)
            return image


def _check_shapes(qts: Tensor, y_coef: Tensor, c_coef: Tensor) -> None:
    b, rows, cols = qts.shape[0], c_coef.shape[2], c_coef.shape[3]
    expected = {
        "qts": (b, 3, 8, 8),
        "y_coef": (b, 1, 2 * rows, 2 * cols, 8, 8),
        "c_coef": (b, 2, rows, cols, 8, 8),
    }
    for name, tensor in (("qts", qts), ("y_coef", y_coef), ("c_coef", c_coef)):
        if tuple(tensor.shape) != expected[name]:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected {expected[name]} (4:2:0 levels)"
            )
    if rows % WINDOW or cols % WINDOW:
        raise ValueError(
            f"the levels cover {16 * rows}x{16 * cols} pixels; both sides must be multiples of "
            f"{SIZE_MULTIPLE} (models.restore.restorer pads any image)"
        )
