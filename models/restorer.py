"""From what a JPEG stores to a restored picture: padding, precision, device; the one way in."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dct import LUMA_WEIGHTS
from models.ijcn import IJCN
from models.layouts import RestoreError, StoredJpeg, UnsupportedLayoutError, network_view

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
        """Restored picture, of the size the JPEG states: uint8, RGB (H, W, 3) or gray (H, W).

        Raises:
            UnsupportedLayoutError: see :func:`models.layouts.network_view`.
            RestoreError: not enough memory.
        """
        inputs = network_input(stored)
        try:
            return self._restore(inputs, stored.height, stored.width, stored.colors == "gray")
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            raise RestoreError(
                f"{stored.describe()}: not enough memory on {self.device}; "
                "restore it on a machine with more, or crop it"
            ) from error

    def _restore(
        self,
        inputs: tuple[Tensor, Tensor, Tensor, Tensor | None],
        height: int,
        width: int,
        gray: bool,
    ) -> NDArray[np.uint8]:
        on_device = [None if tensor is None else tensor.to(self.device) for tensor in inputs]
        with (
            torch.inference_mode(),
            torch.autocast(
                self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16
            ),
        ):
            image = self.model(*on_device).image[0, :, :height, :width]
            if gray:
                # A gray JPEG has no colour; what little the network adds is dropped.
                image = (image * image.new_tensor(LUMA_WEIGHTS)[:, None, None]).sum(0, True)
            pixels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8)
            pixels = pixels[:, :, 0] if gray else pixels
        return np.ascontiguousarray(pixels.cpu().numpy())


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; the CPU allocator raises a plain RuntimeError."""
    words = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        word in str(error) for word in words
    )
