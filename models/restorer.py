"""From what a JPEG stores to a restored picture: padding, precision, device; the one way in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dual_attention import WINDOW
from models.ijcn import IJCN

Precision = Literal["auto", "float32", "bfloat16"]


class StoredComponent(Protocol):
    """Levels (rows, cols, 8, 8) and table (8, 8) of one component."""

    @property
    def levels(self) -> NDArray[np.int16]: ...
    @property
    def table(self) -> NDArray[np.int32]: ...


class StoredJpeg(Protocol):
    """What the restorer needs to know of a JPEG; data.jpeg.JpegImage is one."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def components(self) -> Sequence[StoredComponent]: ...
    @property
    def is_ycbcr_420(self) -> bool: ...
    def describe(self) -> str: ...


class RestoreError(ValueError):
    """A JPEG that cannot be restored; the message is one line: what, why, what to do."""


class UnsupportedLayoutError(RestoreError):
    """A JPEG the network has no path for yet."""


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


def mirror_blocks(levels: NDArray[np.int16], rows: int, cols: int) -> NDArray[np.int16]:
    """Extend a grid of DCT blocks downwards and to the right by mirroring at its last edge.

    Mirroring samples (edge sample repeated) reverses the order of blocks and negates the
    frequencies that are odd along the mirrored axis; it repeats for grids smaller than the
    extension.

    (r, c, 8, 8) -> (rows, cols, 8, 8), rows >= r, cols >= c.
    """
    row, row_sign = _mirror_axis(levels.shape[0], rows)
    col, col_sign = _mirror_axis(levels.shape[1], cols)
    grid = levels[row[:, None], col[None, :]]
    return grid * row_sign[:, None, :, None] * col_sign[None, :, None, :]


def _mirror_axis(length: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.int16]]:
    """Source block of every wanted block, and the sign of each of its 8 frequencies."""
    position = np.arange(wanted) % (2 * length)
    mirrored = position >= length
    source = np.where(mirrored, 2 * length - 1 - position, position)
    alternating = np.array([1, -1] * 4, dtype=np.int16)
    return source, np.where(mirrored[:, None], alternating, np.int16(1)).astype(np.int16)


def network_input(stored: StoredJpeg) -> tuple[Tensor, Tensor, Tensor]:
    """Tables, luma and chroma levels as :class:`IJCN` takes them, a batch of one, mirrored.

    The luma grid is first mirrored to whole MCUs: chroma blocks may reach beyond it.

    Raises:
        UnsupportedLayoutError: not YCbCr 4:2:0.
    """
    if not stored.is_ycbcr_420:
        raise UnsupportedLayoutError(
            f"{stored.describe()}: only YCbCr 4:2:0 JPEGs can be restored so far"
        )
    y, cb, cr = stored.components
    mcu_rows, mcu_cols = cb.levels.shape[:2]
    rows, cols = mcu_rows + -mcu_rows % WINDOW, mcu_cols + -mcu_cols % WINDOW
    luma = mirror_blocks(y.levels, 2 * mcu_rows, 2 * mcu_cols)
    luma = mirror_blocks(luma, 2 * rows, 2 * cols)
    chroma = np.stack([mirror_blocks(c.levels, rows, cols) for c in (cb, cr)])
    tables = np.stack([c.table for c in stored.components])
    return (
        torch.from_numpy(tables)[None],
        torch.from_numpy(luma)[None, None],
        torch.from_numpy(chroma)[None],
    )


class Restorer:
    """Holds a network ready for inference and turns stored JPEGs into 8-bit RGB images.

    >>> restorer = Restorer(load_checkpoint("model_zoo/ijcn_small.safetensors"))  # doctest: +SKIP
    >>> image = restorer.restore(read_jpeg("photo.jpg"))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: IJCN,
        device: str | torch.device = "cpu",
        precision: Precision = "auto",
    ) -> None:
        """precision: of the backbone, see :func:`pick_precision`; all else is always float32."""
        self.device = torch.device(device)
        self.precision = pick_precision(precision, self.device)
        if self.device.type == "cuda":
            # cuDNN would otherwise round float32 convolutions to TF32's 10 bits.
            torch.backends.cudnn.allow_tf32 = False
        self.model = model.eval().to(self.device)
        # Convolutions on CPUs with bfloat16 and on tensor cores want channels last.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def restore(self, stored: StoredJpeg) -> NDArray[np.uint8]:
        """Restored picture (height, width, 3) uint8 RGB, of the size the JPEG states.

        Raises:
            UnsupportedLayoutError: not YCbCr 4:2:0. RestoreError: not enough memory.
        """
        inputs = network_input(stored)
        try:
            return self._restore(inputs, stored.height, stored.width)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            raise RestoreError(
                f"{stored.describe()}: not enough memory on {self.device}; "
                "restore it on a machine with more, or crop it"
            ) from error

    def _restore(
        self, inputs: tuple[Tensor, Tensor, Tensor], height: int, width: int
    ) -> NDArray[np.uint8]:
        qts, y_coef, c_coef = (tensor.to(self.device) for tensor in inputs)
        with (
            torch.inference_mode(),
            torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16
            ),
        ):
            image = self.model(qts, y_coef, c_coef).image[0, :, :height, :width]
            pixels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8)
        return np.ascontiguousarray(pixels.cpu().numpy())


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; the CPU allocator raises a plain RuntimeError."""
    words = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        word in str(error) for word in words
    )
