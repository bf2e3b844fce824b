"""From what a JPEG stores to a restored picture: padding, precision, device; the one way in."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

import numpy as np
import torch
from torch import Tensor

from data.jpeg import JpegImage, read_jpeg
from data.jpeg_markers import is_jpeg
from data.pixels import pixels_as_jpeg
from models.dct import luma_of
from models.dual_attention import WINDOW
from models.ijcn import IJCN, SIZE_MULTIPLE, Known, Stage
from models.int8 import cpu_knows, in_int8, why_not_int8
from models.logm import Levels
from models.restore.fidelity import blended, exact_kept, shares_of_change
from models.restore.layouts import (
    RESTORED_COLORS,
    Picture,
    RestoreError,
    has_detail,
    is_colourless,
    network_view,
)
from models.restore.parts import Part, has_ink, has_parts, joined, parts_of
from models.restore.tiling import (
    MIN_SIDE,
    STEP,
    Tile,
    backbone_bytes_per_pixel,
    largest_side,
    tiles,
)
from utils.image_io import read_image_bytes
from utils.machine import available_memory, keep_freed_memory
from utils.metadata import read_metadata
from utils.picture_files import turned

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Ensemble = Literal[1, 2, 4]


def pick_device(wanted: str) -> torch.device:
    """ "auto" takes a CUDA GPU where there is one, else the CPU.

    Raises:
        ValueError: a device asked for that PyTorch does not have.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:  # its message lists twenty kinds that nobody here can use
        raise ValueError(f"device {wanted}: expected auto, cpu, cuda or cuda:1 and so on") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        # By the text: the index of a device is a number of 8 bits.
        if int(wanted.partition(":")[2] or 0) >= count:
            raise ValueError(
                f"device {wanted}: PyTorch finds {count or 'no'} CUDA GPU; choose cpu or auto"
            )
    return device


def pick_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """Of the backbone: "auto" takes bfloat16 where the hardware computes in it, else float32.

    That is GPUs since Ampere, and CPUs with AMX or AVX512-BF16, where it is several times faster.
    With "int8", which holds for residual blocks only, all else is as with "auto".

    Raises:
        ValueError: another word.
    """
    if wanted in ("auto", "int8"):
        if device.type == "cuda":
            native = torch.cuda.get_device_capability(device) >= (8, 0)
        else:
            native = cpu_knows("amx_bf16", "avx512_bf16")
        return torch.bfloat16 if native else torch.float32
    if wanted not in get_args(Precision):
        raise ValueError(f"precision {wanted}: expected {', '.join(get_args(Precision))}")
    return cast(torch.dtype, getattr(torch, wanted))


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Let the backbone compute in ``precision`` within this context."""
    half = precision != torch.float32
    # Where it is not enabled, the type is one that every device knows.
    return torch.autocast(device.type, precision if half else torch.bfloat16, enabled=half)


def network_input(stored: JpegImage) -> NetworkInput:
    """A batch of one as :meth:`IJCN.forward` takes it.

    Raises:
        UnsupportedLayoutError: see :func:`models.restore.layouts.network_view`.
    """
    view = network_view(stored)
    detail = None if view.chroma_detail is None else torch.from_numpy(view.chroma_detail)[None]
    return NetworkInput(
        torch.from_numpy(view.tables)[None],
        torch.from_numpy(view.y)[None, None],
        torch.from_numpy(view.c)[None],
        detail,
    )


class NetworkInput(NamedTuple):
    """Tables, levels and chroma detail of a batch, see :meth:`IJCN.forward`."""

    qts: Tensor
    y_coef: Tensor
    c_coef: Tensor
    detail: Tensor | None


class Restorer:
    """Holds a network ready for inference and turns JPEGs into 8-bit pictures.

    >>> restorer = Restorer(load_checkpoint("model_zoo/Color_IJCN.safetensors"))  # doctest: +SKIP
    >>> image = restorer.restore_file("photo.jpg")  # doctest: +SKIP

    One may be called from several threads. In int8 it cannot be copied or pickled.

    LOGM looks at the whole picture, strip by strip; the backbone works tile by tile where the
    picture does not fit the memory. What makes it fast: convolutions in half precision where the
    hardware has it, channels last, no gradients, levels and guidance computed once per picture,
    on CPUs memory that is used again instead of returned (which holds for the whole process).
    """

    def __init__(
        self,
        model: IJCN,
        device: str | torch.device = "auto",
        precision: Precision = "auto",
        max_memory: float | None = None,
        compile: bool = False,
        ensemble: Ensemble = 1,
        leave_fine: bool = True,
        strength: float = 1.0,
    ) -> None:
        """
        Args:
            model: moved to ``device``, in float32, switched to inference; for int8 it is copied.
                Whoever changes its weights sets its ``ranges`` to None.
            device: "auto" takes a CUDA GPU where there is one, else the CPU.
            precision: of the backbone, see :func:`pick_precision`; all else is always float32.
                "auto" takes "int8" where it can be had (models.int8).
            max_memory: GiB that a restoration may take, besides the network and the interpreter;
                None: half of what is free when a picture is begun.
            compile: let torch.compile fuse the backbone's small operations; the first picture then
                takes a minute or so longer. Without a working compiler: a line on stderr, and on
                without it.
            ensemble: 2 or 4: the backbone sees the picture mirrored too, and its answers are
                averaged (self-ensemble, Timofte et al. 2016): a little better, 2 or 4 times slower.
            leave_fine: return components of quality about 95 or better as libjpeg decodes them, and
                less than the network's whole change from 90 on (models.restore.fidelity).
            strength: how much of the change to apply, 0 to 1; 0 gives the plain decoding.

        Raises:
            ValueError: a device that this machine does not have, a strength outside 0 to 1, another
                precision or ensemble, int8 where it cannot be had.
        """
        self.device = pick_device(str(device))
        self.precision = pick_precision(precision, self.device)
        obstacle = why_not_int8(model, self.device)
        if precision == "int8" and obstacle:
            raise ValueError(obstacle)
        self.int8 = precision in ("auto", "int8") and not obstacle
        self.parameters = sum(each.numel() for each in model.parameters())
        self.max_memory = max_memory
        if ensemble not in get_args(Ensemble):
            raise ValueError(f"ensemble {ensemble}: expected 1, 2 or 4")
        self.mirrors = _MIRRORS[:ensemble]
        self.leave_fine = leave_fine
        if not 0 <= strength <= 1:  # NaN neither
            raise ValueError(f"strength {strength}: expected a number from 0 to 1")
        self.strength = strength
        self.batches = self.device.type != "cpu"
        self.progress: Callable[[int, int], None] | None = None
        """Called with pixels done and pixels of a picture: before its first tile, after each."""
        if self.device.type == "cuda":
            # cuDNN would otherwise round float32 convolutions to TF32's 10 bits.
            torch.backends.cudnn.allow_tf32 = False
        self._keeps_memory = self.device.type == "cpu" and keep_freed_memory()
        model = model.eval().to(self.device, torch.float32)
        self.model = in_int8(model) if self.int8 else model
        # Convolutions on CPUs with bfloat16 and on tensor cores want channels last.
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compile:
            self._compile()

    def restore(self, stored: JpegImage) -> Picture:
        """Restored picture, of the size the JPEG states: uint8, RGB (H, W, 3) or gray (H, W).

        It lies as it is stored, whatever EXIF says of its orientation; :meth:`restore_bytes` turns
        it.

        Raises:
            UnsupportedLayoutError: see :func:`models.restore.layouts.network_view`.
            RestoreError: not enough memory.
        """
        if self.leaves(stored):
            return self.decoded(stored)
        return self._weaker(self._whole(stored), stored)

    def restore_ink(self, stored: JpegImage) -> Picture:
        """The inks of a CMYK or YCCK JPEG, restored: uint8 (H, W, 4), 255 being full ink.

        Raises:
            RestoreError: not enough memory.
        """
        decoded = stored.decoded_ink()
        if decoded is None:
            decoded = joined(stored, map(self._plain, parts_of(stored)))
        if self.leaves(stored):
            return decoded.copy()
        whole = joined(stored, map(self._whole, parts_of(stored)))
        return blended(whole, decoded, (self.strength,))

    @property
    def arithmetic(self) -> str:
        """The numbers that the backbone computes in: "bfloat16", "int8 and float32" and so on."""
        floats = str(self.precision).removeprefix("torch.")
        return f"int8 and {floats}" if self.int8 else floats

    def leaves(self, stored: JpegImage) -> bool:
        """Whether a file is left as libjpeg decodes it: it is that fine, or strength is 0."""
        return self.strength == 0 or max(self._shares(stored)) == 0

    def _weaker(self, whole: Picture, stored: JpegImage) -> Picture:
        """The answer at this strength, of that at strength 1."""
        if self.strength == 1:
            return whole
        return blended(whole, self.decoded(stored), (self.strength,))

    def decoded(self, stored: JpegImage) -> Picture:
        """The picture without restoration, of the shape that :meth:`restore` gives."""
        decoded = stored.decoded()
        return self._plain(stored) if decoded is None else decoded.copy()

    def _whole(self, stored: JpegImage) -> Picture:
        """The answer at strength 1."""
        shares = self._shares(stored)
        if max(shares) == 0:
            return self.decoded(stored)
        if has_parts(stored):
            return self._in_parts(stored, self._whole)
        restored = self._restored(stored)
        if min(shares) == 1:
            return restored
        return blended(restored, self.decoded(stored), shares)

    def _plain(self, stored: JpegImage) -> Picture:
        """Levels without a file, decoded: inverse DCT and colour transform, without the network."""
        if has_parts(stored):
            return self._in_parts(stored, self._plain)
        inputs = network_input(stored)
        (whole,) = tiles(*_sides(inputs), max(_sides(inputs)), 0)
        with torch.inference_mode():
            tables = inputs.qts.to(self.device, torch.float32)
            levels = self._part(Levels(inputs.y_coef.float(), inputs.c_coef.float()), whole)
            image = self.model.first_image(tables, levels, self._seen(inputs.detail, whole))[0]
        ndim = 2 if stored.colors == "gray" else 3
        pixels = _pixels(image, whole, is_colourless(stored), ndim)
        return pixels[: stored.height, : stored.width]

    def _in_parts(self, stored: JpegImage, restore: Callable[[JpegImage], Picture]) -> Picture:
        """RGB of a JPEG whose parts are restored one by one."""
        picture = joined(stored, map(restore, parts_of(stored)))
        return stored.ink_in_rgb(picture) if has_ink(stored) else picture

    def _shares(self, stored: JpegImage) -> tuple[float, ...]:
        """Which part of the network's change to apply to each component."""
        if not self.leave_fine or stored.colors not in RESTORED_COLORS:
            return (1.0,)
        shares = shares_of_change(stored)
        # Levels without a file are always restored fully; a part of a file can always be decoded.
        no_file = min(shares) < 1 and not isinstance(stored, Part) and stored.decoded() is None
        return (1.0,) if no_file else shares

    def _restored(self, stored: JpegImage) -> Picture:
        """The network's answer, in tiles as small as the memory calls for."""
        side = self._tile_side(stored)
        while True:
            try:
                return self.restore_in_tiles(stored, side)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if side <= MIN_SIDE:
                    raise RestoreError(
                        f"{stored.describe()}: not enough memory on {self.device}; "
                        "restore it on a machine with more, or crop it"
                    ) from error
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            side = max(MIN_SIDE, side // 2)

    def restore_file(self, path: str | os.PathLike[str]) -> Picture:
        """A picture file as it is to be looked at: uint8, RGB (H, W, 3) or gray (H, W).

        JPEGs are restored from what they store; of other formats, the JPEG that their pixels once
        were is looked for (data.pixels). An EXIF orientation is applied.

        Raises:
            OSError: a file that cannot be opened.
            data.jpeg.JpegError, utils.image_io.ImageError: a file that is no whole picture.
            RestoreError: see :meth:`restore`.
        """
        return self.restore_bytes(Path(path).read_bytes(), str(path))

    def restore_bytes(self, data: bytes, name: str = "these bytes") -> Picture:
        """:meth:`restore_file` for the bytes of a file; ``name`` stands for it in errors."""
        data = bytes(data)  # of a buffer too
        if is_jpeg(data):
            restored = self.restore(read_jpeg(data))
        else:
            restored = self.restore_pixels(read_image_bytes(data, name))
        return turned(restored, read_metadata(data).orientation)

    def restore_pixels(self, pixels: Picture, assume_quality: int | None = None) -> Picture:
        """Pixels that were once decoded from a JPEG -> restored ones of the same shape.

        pixels: uint8, RGB (H, W, 3) or gray (H, W). assume_quality: 1..100, of the JPEG that they
        were, for those that were resized or saved again since. See
        :func:`data.pixels.pixels_as_jpeg`.
        """
        source = pixels_as_jpeg(pixels, assume_quality)
        return self.restore_source(source.stored, source.offset, pixels)

    def restore_source(
        self, stored: JpegImage, offset: tuple[int, int], pixels: Picture
    ) -> Picture:
        """Pixels, of which ``stored`` is the JPEG, in which they begin at ``offset`` (rows, cols).

        Result as :meth:`restore_pixels`; strength 0 gives the pixels themselves.
        """
        if self.strength == 0:
            return pixels.copy()
        top, left = offset
        restored = self._whole(stored)
        restored = restored[top : top + pixels.shape[0], left : left + pixels.shape[1]]
        return blended(restored, pixels, (self.strength,))

    def restore_batch(self, many: Sequence[JpegImage]) -> list[Picture]:
        """:meth:`restore` for several JPEGs; those of equal size go through the network together.

        That fills a GPU with small pictures. A CPU, which one picture keeps busy, takes them one by
        one.
        """
        if self.strength == 0:
            return [self.decoded(stored) for stored in many]
        groups: dict[object, list[int]] = {}
        for index, stored in enumerate(many):
            alone = not self.batches or has_parts(stored) or min(self._shares(stored)) < 1
            alone = alone or self._tile_side(stored) < max(_padded_sides(stored))
            kind = index if alone else (_padded_sides(stored), has_detail(stored))
            groups.setdefault(kind, []).append(index)
        results: dict[int, Picture] = {}
        for indices in groups.values():
            room = self._batch_size(many[indices[0]])
            for start in range(0, len(indices), room):
                batch = indices[start : start + room]
                results |= zip(batch, self._together([many[i] for i in batch]), strict=True)
        return [self._weaker(results[i], stored) for i, stored in enumerate(many)]

    def restore_in_tiles(self, stored: JpegImage, side: int) -> Picture:
        """The network's whole answer, strength 1 and nothing left alone, by tiles of at most
        ``side`` pixels, whatever the memory."""
        if has_parts(stored):
            return self._in_parts(stored, lambda part: self.restore_in_tiles(part, side))
        return self._in_tiles(network_input(stored), [stored], side)[0]

    def _together(self, many: list[JpegImage]) -> list[Picture]:
        """The answers at strength 1; of several that all have, or lack, a chroma detail."""
        if len(many) == 1:
            return [self._whole(many[0])]
        qts, y_coef, c_coef, details = zip(*map(network_input, many), strict=True)
        detail = None if details[0] is None else torch.cat(details)
        batch = NetworkInput(torch.cat(qts), torch.cat(y_coef), torch.cat(c_coef), detail)
        try:
            return self._in_tiles(batch, many, max(*_sides(batch)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return [self._restored(stored) for stored in many]

    def _in_tiles(
        self, inputs: NetworkInput, many: Sequence[JpegImage], side: int
    ) -> list[Picture]:
        """Pictures of one size, which ``inputs`` holds, in tiles of at most ``side`` pixels."""
        height, width = _sides(inputs)
        results = [
            np.empty((each.height, each.width) + (() if each.colors == "gray" else (3,)), np.uint8)
            for each in many
        ]
        gray = [is_colourless(stored) for stored in many]
        with torch.inference_mode(), autocast(self.device, self.precision):
            tables, levels = self.model.corrected(
                inputs.qts.to(self.device),
                inputs.y_coef.to(self.device),
                inputs.c_coef.to(self.device),
                strip=_strip_rows(inputs.c_coef.shape[3]),
            )
            guidance = self.model.guidance(tables)
            done = 0
            self._tell(done, height * width)
            for tile in tiles(height, width, side, self.around):
                stored = self._part(Levels(inputs.y_coef, inputs.c_coef), tile)
                detail = self._seen(inputs.detail, tile)
                known = Known(tables, stored, detail, guidance)
                image = self.model.first_image(tables, self._part(levels, tile), detail)
                for stage in self.model.stages():
                    image = self._run(stage, known, image)
                for index, result in enumerate(results):
                    pixels = _pixels(image[index], tile, gray[index], result.ndim)
                    part = result[tile.rows, tile.cols]
                    part[...] = pixels[: part.shape[0], : part.shape[1]]
                done += tile.pixels
                self._tell(done, height * width)
        return [
            exact_kept(result, self.decoded(stored))
            for result, stored in zip(results, many, strict=True)
        ]

    def _tell(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def _seen(self, detail: Tensor | None, tile: Tile) -> Tensor | None:
        """The chroma detail of what is seen of a tile."""
        if detail is None:
            return None
        return detail[:, :, tile.seen_rows, tile.seen_cols].to(self.device)

    def _part(self, levels: Levels, tile: Tile) -> Levels:
        """The levels of what is seen of a tile."""
        rows, cols = tile.seen_rows, tile.seen_cols
        luma = np.s_[:, :, rows.start // 8 : rows.stop // 8, cols.start // 8 : cols.stop // 8]
        chroma = np.s_[:, :, rows.start // 16 : rows.stop // 16, cols.start // 16 : cols.stop // 16]
        return Levels(levels.y[luma].to(self.device), levels.c[chroma].to(self.device))

    def _run(self, stage: Stage, known: Known, image: Tensor) -> Tensor:
        """A stage's picture; of a self-ensemble, the mean over mirrored ones."""
        if not stage.mirrors:
            return stage.run(known, image)
        answers = [stage.run(known, image.flip(axes)).flip(axes) for axes in self.mirrors]
        return torch.stack(answers).mean(0) if len(answers) > 1 else answers[0]

    def _compile(self) -> None:
        """Compile the backbone, trying it at once; without a compiler, go on without."""
        backbone = self.model.backbone
        backbone.compile(dynamic=True)
        try:
            with torch.inference_mode(), autocast(self.device, self.precision):
                tables = torch.full((1, 3, 8, 8), 16.0, device=self.device)
                luma = torch.zeros(1, 1, 8, 16, 8, 8, device=self.device)
                chroma = torch.zeros(1, 2, 4, 8, 8, 8, device=self.device)
                self.model(tables, luma, chroma)
        except Exception as error:  # compilers fail in as many ways as there are compilers
            backbone._compiled_call_impl = None
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
            print(f"going on without torch.compile: {reason}", file=sys.stderr)

    def _budget(self, pixels: int) -> float:
        """Bytes for the backbone's work on a picture of so many pixels."""
        if self.max_memory is not None:
            total = self.max_memory * 2**30
        elif self.device.type == "cuda":
            # What PyTorch holds for later use counts as free.
            free = torch.cuda.mem_get_info(self.device)[0]
            held = torch.cuda.memory_reserved(self.device)
            total = (free + held - torch.cuda.memory_allocated(self.device)) * 0.8
        else:
            total = available_memory() * 0.5
        return total - pixels * _WHOLE_BYTES_PER_PIXEL

    @property
    def around(self) -> int:
        """Pixels beside a tile that the stages must see: what the farthest-looking one needs."""
        farthest = max(stage.around for stage in self.model.stages())
        return -(-farthest // STEP) * STEP

    def _bytes_per_pixel(self) -> float:
        each = backbone_bytes_per_pixel(self.model.config, self.precision.itemsize)
        return each * _GAPS if self._keeps_memory else each

    def _tile_side(self, stored: JpegImage) -> int:
        height, width = _padded_sides(stored)
        return largest_side(
            height, width, self.around, self._bytes_per_pixel(), self._budget(height * width)
        )

    def least_memory(self) -> float:
        """GiB that the backbone's work on the smallest tile takes, whatever is allowed."""
        return self._bytes_per_pixel() * (MIN_SIDE + 2 * self.around) ** 2 / 2**30

    def _batch_size(self, stored: JpegImage) -> int:
        pixels = math.prod(_padded_sides(stored))
        each = self._bytes_per_pixel() + _WHOLE_BYTES_PER_PIXEL
        return max(1, min(_LARGEST_BATCH, int(self._budget(0) / (each * pixels))))


def _pixels(image: Tensor, tile: Tile, gray: bool, dimensions: int) -> Picture:
    """The kept part of a tile, (3, H, W) in [0, 1], as 8-bit RGB (H, W, 3) or gray (H, W).

    gray: the file has no colour; what little the network adds is dropped.
    """
    top, left = tile.rows.start - tile.seen_rows.start, tile.cols.start - tile.seen_cols.start
    image = image[:, top:, left:][
        :, : tile.rows.stop - tile.rows.start, : tile.cols.stop - tile.cols.start
    ]
    if gray:
        image = luma_of(image).expand(3, -1, -1)
    pixels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8)
    return (pixels[:, :, 0] if dimensions == 2 else pixels).cpu().numpy()


def _sides(inputs: NetworkInput) -> tuple[int, int]:
    return 8 * inputs.y_coef.shape[2], 8 * inputs.y_coef.shape[3]


def _padded_sides(stored: JpegImage) -> tuple[int, int]:
    """Height and width of what the network sees."""
    return (
        stored.height + -stored.height % SIZE_MULTIPLE,
        stored.width + -stored.width % SIZE_MULTIPLE,
    )


_MIRRORS: tuple[tuple[int, ...], ...] = ((), (2, 3), (3,), (2,))
"""Axes along which an ensemble mirrors; the second of two members is turned by 180 degrees."""

_LARGEST_BATCH = 16
"""More pictures at once do not fill a GPU better."""

_GAPS = 1.5
"""Memory that is kept for use again, relative to what is in use; measured, rounded up."""

_WHOLE_BYTES_PER_PIXEL = 40
"""What is held for the whole picture while it is restored: levels, LOGM's tokens, the result."""


def _strip_rows(cols: int) -> int:
    """Rows of about 4096 tokens, a multiple of the attention window."""
    return max(1, 4096 // (cols * WINDOW)) * WINDOW


def is_out_of_memory(error: BaseException) -> bool:
    """Of PyTorch: CUDA has a class for it; the CPU allocator raises a plain RuntimeError."""
    words = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        word in str(error) for word in words
    )
