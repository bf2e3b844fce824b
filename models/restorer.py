"""From what a JPEG stores to a restored picture: padding, precision, device; the one way in."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dct import LUMA_WEIGHTS
from models.dual_attention import WINDOW
from models.ijcn import IJCN
from models.layouts import RestoreError, StoredJpeg, UnsupportedLayoutError, network_view
from models.logm import Levels
from models.tiling import MIN_SIDE, Tile, backbone_bytes_per_pixel, largest_side, tiles
from utils.memory import available_memory

__all__ = [
    "Precision",
    "RestoreError",
    "Restorer",
    "UnsupportedLayoutError",
    "network_input",
    "pick_device",
    "pick_precision",
]

Precision = Literal["auto", "float32", "bfloat16"]


def pick_device(wanted: str) -> torch.device:
    """ "auto" takes a CUDA GPU where there is one, else the CPU.

    Raises:
        ValueError: a device asked for that PyTorch does not have.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise ValueError(
                f"device {wanted}: PyTorch finds {count or 'no'} CUDA GPU; use --device cpu or auto"
            )
    return device


def pick_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """Of the backbone: "auto" takes bfloat16 where the hardware computes in it, else float32.

    That is GPUs since Ampere, and CPUs with AMX or AVX512-BF16, where it is several times faster.
    """
    if wanted == "auto":
        if device.type == "cuda":
            native = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
            native = bool(known.get("amx_bf16") or known.get("avx512_bf16"))
        return torch.bfloat16 if native else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]


def network_input(stored: StoredJpeg) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """A batch of one as :meth:`IJCN.forward` takes it: tables, levels, chroma detail.

    Raises:
        UnsupportedLayoutError: see :func:`models.layouts.network_view`.
    """
    view = network_view(stored)
    detail = None if view.chroma_detail is None else torch.from_numpy(view.chroma_detail)[None]
    return (
        torch.from_numpy(view.tables)[None],
        torch.from_numpy(view.y)[None, None],
        torch.from_numpy(view.c)[None],
        detail,
    )


class Restorer:
    """Holds a network ready for inference and turns stored JPEGs into 8-bit pictures.

    >>> restorer = Restorer(load_checkpoint("model_zoo/Color_IJCN.safetensors"))  # doctest: +SKIP
    >>> image = restorer.restore(read_jpeg("photo.jpg"))  # doctest: +SKIP

    LOGM looks at the whole picture, strip by strip; the backbone works tile by tile where the
    picture does not fit the memory.
    """

    def __init__(
        self,
        model: IJCN,
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
        max_memory: float | None = None,
    ) -> None:
        """
        Args:
            model: moved to ``device``, switched to inference.
            precision: of the backbone, see :func:`pick_precision`; all else is always float32.
            max_memory: GiB that a restoration may take, besides the network and the interpreter;
                None: half of what is free when a picture is begun.
        """
        self.device = torch.device(device)
        self.precision = pick_precision(precision, self.device)
        self.max_memory = max_memory
        if self.device.type == "cuda":
            # cuDNN would otherwise round float32 convolutions to TF32's 10 bits.
            torch.backends.cudnn.allow_tf32 = False
        self.model = model.eval().to(self.device)
        # Convolutions on CPUs with bfloat16 and on tensor cores want channels last.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def restore(self, stored: StoredJpeg) -> NDArray[np.uint8]:
        """Restored picture, of the size the JPEG states: uint8, RGB (H, W, 3) or gray (H, W).

        Raises:
            UnsupportedLayoutError: see :func:`models.layouts.network_view`.
            RestoreError: not enough memory.
        """
        side = self._tile_side(stored)
        while True:
            try:
                return self.restore_in_tiles(stored, side)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if side <= MIN_SIDE:
                    raise RestoreError(
                        f"{stored.describe()}: not enough memory on {self.device}; "
                        "restore it on a machine with more, or crop it"
                    ) from error
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            side = max(MIN_SIDE, min(side, max(stored.height, stored.width)) // 2)

    def restore_in_tiles(self, stored: StoredJpeg, side: int) -> NDArray[np.uint8]:
        """:meth:`restore` with tiles of at most ``side`` pixels, whatever the memory."""
        gray = stored.colors == "gray"
        qts, y_coef, c_coef, detail = network_input(stored)
        height, width = 8 * y_coef.shape[2], 8 * y_coef.shape[3]
        result = np.empty((stored.height, stored.width) + (() if gray else (3,)), np.uint8)
        with (
            torch.inference_mode(),
            torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16
            ),
        ):
            tables, levels = self.model.corrected(
                qts.to(self.device),
                y_coef.to(self.device),
                c_coef.to(self.device),
                strip=_strip_rows(c_coef.shape[3]),
            )
            for tile in tiles(height, width, side):
                pixels = self._tile(tables, levels, detail, tile, gray)
                rows, cols = result[slice(*tile.rows), slice(*tile.cols)].shape[:2]
                result[slice(*tile.rows), slice(*tile.cols)] = pixels[:rows, :cols]
        return result

    def _tile(
        self, tables: Tensor, levels: Levels, detail: Tensor | None, tile: Tile, gray: bool
    ) -> NDArray[np.uint8]:
        rows, cols = tile.seen_rows, tile.seen_cols
        part = Levels(
            levels.y[:, :, rows.start // 8 : rows.stop // 8, cols.start // 8 : cols.stop // 8],
            levels.c[:, :, rows.start // 16 : rows.stop // 16, cols.start // 16 : cols.stop // 16],
        )
        if detail is not None:
            detail = detail[:, :, slice(*rows), slice(*cols)].to(self.device)
        first = self.model.first_image(tables, part, detail)
        image = self.model.refined(tables, first)[0]
        top, left = tile.rows.start - rows.start, tile.cols.start - cols.start
        image = image[:, top:, left:][
            :, : tile.rows.stop - tile.rows.start, : tile.cols.stop - tile.cols.start
        ]
        if gray:
            # A gray JPEG has no colour; what little the network adds is dropped.
            image = (image * image.new_tensor(LUMA_WEIGHTS)[:, None, None]).sum(0, True)
        pixels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8)
        return (pixels[:, :, 0] if gray else pixels).cpu().numpy()

    def _tile_side(self, stored: StoredJpeg) -> int:
        pixels = stored.height * stored.width
        if self.max_memory is not None:
            total = self.max_memory * 2**30
        elif self.device.type == "cuda":
            total = torch.cuda.mem_get_info(self.device)[0] * 0.8
        else:
            total = available_memory() * 0.5
        each = backbone_bytes_per_pixel(self.model.config, self.precision.itemsize)
        budget = total - pixels * _WHOLE_BYTES_PER_PIXEL
        return largest_side(stored.height, stored.width, each, budget)


_WHOLE_BYTES_PER_PIXEL = 40
"""What is held for the whole picture while it is restored: levels, LOGM's tokens, the result."""


def _strip_rows(cols: int, tokens: int = 4096) -> int:
    """Rows of about ``tokens`` tokens, a multiple of the attention window."""
    return max(1, tokens // (cols * WINDOW)) * WINDOW


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; the CPU allocator raises a plain RuntimeError."""
    words = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        word in str(error) for word in words
    )
