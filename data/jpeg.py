"""What a JPEG file stores: quantised DCT levels, quantisation tables, geometry, colours.

The only module that knows the backends: ``jpegio`` (bundled libjpeg-turbo) for the levels, OpenCV
(its libjpeg-turbo) for encoding and for decoding to pixels, Pillow (its own) for encoding with
tables of one's choice and, in utils.cmyk, for decoding four inks.
"""

from __future__ import annotations

import io
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import jpegio
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.jpeg_markers import (
    BYTES,
    END,
    JpegError,
    Usable,
    component_count,
    read_only,
    require_jpeg_marker,
    usable_part,
)
from utils.cmyk import cmyk_profile, ink_to_rgb
from utils.pillow import opened
from utils.scratch import scratch_folder, stderr_lines

MAX_SIDE = 65535
"""Largest width or height a JPEG header can state (T.81 B.2.2)."""


class ColorTransform(Enum):
    """How the components encode colour, from JFIF and Adobe markers as libjpeg judges them."""

    GRAY = "gray"
    RGB = "RGB"
    YCBCR = "YCbCr"
    CMYK = "CMYK"
    YCCK = "YCCK"
    UNKNOWN = "unknown"


class Sampling(Enum):
    """Chroma sampling modes that can be encoded, named as usual."""

    S444 = "4:4:4"
    S422 = "4:2:2"
    S420 = "4:2:0"
    S440 = "4:4:0"
    S411 = "4:1:1"

    @property
    def digits(self) -> str:
        """Without colons, such as ``420``."""
        return self.value.replace(":", "")


@dataclass(frozen=True, eq=False)
class Component:
    """One colour component.

    levels: (rows, cols, 8, 8) int16, read-only, natural frequency order: the blocks that cover the
    component's samples, without the dummy blocks that fill up the last MCUs. float32 where they
    stand for no file and are not rounded.
    table: (8, 8) int32, read-only, natural order, values 1..65535.
    """

    levels: NDArray[np.int16] | NDArray[np.float32]
    table: NDArray[np.int32]
    h_sampling: int
    v_sampling: int

    def __post_init__(self) -> None:
        if self.levels.ndim != 4 or self.levels.shape[2:] != (8, 8) or 0 in self.levels.shape:
            raise ValueError(f"levels must be (rows, cols, 8, 8), got {self.levels.shape}")
        if self.table.shape != (8, 8):
            raise ValueError(f"table must be (8, 8), got {self.table.shape}")
        if self.table.min() < 1:
            raise ValueError("a table holds a quantisation step below 1")
        for name in ("levels", "table"):
            object.__setattr__(self, name, read_only(getattr(self, name)))


@dataclass(frozen=True, eq=False)
class JpegImage:
    """All that a JPEG stores about its picture; immutable.

    width and height in pixels; components in file order; warnings: where an unusable rest was cut
    off, and libjpeg's messages about damage that it skipped. data: the usable bytes, empty for
    levels without a file. pixels: what such levels decode to, where that is known. Invariant:
    every component has the number of blocks that size and sampling factors call for (T.81 A.1.1).
    """

    width: int
    height: int
    components: tuple[Component, ...]
    color_transform: ColorTransform
    warnings: tuple[str, ...] = ()
    data: bytes = field(default=b"", repr=False)
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise ValueError(f"image size {self.width}x{self.height} is not a JPEG's")
        if not self.components:
            raise ValueError("a JPEG has at least one component")
        h_max = max(c.h_sampling for c in self.components)
        v_max = max(c.v_sampling for c in self.components)
        for index, component in enumerate(self.components):
            cols = math.ceil(math.ceil(self.width * component.h_sampling / h_max) / 8)
            rows = math.ceil(math.ceil(self.height * component.v_sampling / v_max) / 8)
            if component.levels.shape[:2] != (rows, cols):
                raise ValueError(
                    f"component {index} has {component.levels.shape[:2]} blocks, "
                    f"{self.width}x{self.height} pixels call for {(rows, cols)}"
                )

    @property
    def sampling_factors(self) -> tuple[tuple[int, int], ...]:
        """(horizontal, vertical) sampling factor of each component."""
        return tuple((c.h_sampling, c.v_sampling) for c in self.components)

    @property
    def sampling(self) -> Sampling | None:
        """The usual name of a three-component layout, None for gray and unusual ones."""
        if len(self.components) != 3:
            return None
        luma, cb, cr = self.sampling_factors
        if cb != cr or luma[0] % cb[0] or luma[1] % cb[1]:
            return None
        return _SAMPLING_OF_RATIO.get((luma[0] // cb[0], luma[1] // cb[1]))

    @property
    def colors(self) -> str:
        """What the components encode, such as ``YCbCr`` or ``gray``."""
        return self.color_transform.value

    def describe(self) -> str:
        """Size and layout for people, such as ``768x512 YCbCr 4:2:0``."""
        layout = self.sampling.value if self.sampling else str(list(self.sampling_factors))
        return f"{self.width}x{self.height} {self.colors} {layout}"

    def decoded(self) -> NDArray[np.uint8] | None:
        """:func:`decode_jpeg` of ``data``, (H, W) if gray, decoded once; read-only. None where that
        cannot be had."""
        return self._pixels

    def decoded_ink(self) -> NDArray[np.uint8] | None:
        """The inks of CMYK or YCCK, see :data:`utils.cmyk.Ink`; None where they cannot be had."""
        return self._inks

    def ink_in_rgb(self, ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 4) inks as (H, W, 3) RGB, through the file's profile where it has one."""
        return ink_to_rgb(ink, cmyk_profile(self.data) if self.data else None)

    @cached_property
    def _pixels(self) -> NDArray[np.uint8] | None:
        if self.pixels is not None:
            return self.pixels
        if len(self.components) == 4:
            return None if self._inks is None else read_only(self.ink_in_rgb(self._inks))
        pixels = self._decoded_by(decode_jpeg)
        return pixels[:, :, 0] if pixels is not None and self.colors == "gray" else pixels

    @cached_property
    def _inks(self) -> NDArray[np.uint8] | None:
        return self._decoded_by(_ink)

    def _decoded_by(self, decode: Callable[[bytes], NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
        try:
            with stderr_lines(bool(self.warnings)):  # they are known already
                pixels = decode(self.data)
        except JpegError:
            return None
        return read_only(pixels) if pixels.shape[:2] == (self.height, self.width) else None


_SAMPLING_OF_RATIO = {
    (1, 1): Sampling.S444,
    (2, 1): Sampling.S422,
    (2, 2): Sampling.S420,
    (1, 2): Sampling.S440,
    (4, 1): Sampling.S411,
}

# libjpeg's J_COLOR_SPACE, jpeglib.h.
_LIBJPEG_COLORS = {
    1: ColorTransform.GRAY,
    2: ColorTransform.RGB,
    3: ColorTransform.YCBCR,
    4: ColorTransform.CMYK,
    5: ColorTransform.YCCK,
}


def read_jpeg(
    source: str | os.PathLike[str] | bytes, *, collect_warnings: bool = False
) -> JpegImage:
    """Levels, tables and layout of a JPEG file or of its bytes.

    Truncated and damaged files yield what libjpeg can read of them, up to the first marker segment
    that cannot be (``warnings`` says which); missing levels are zero. The table of a component is
    the one in force at its first scan (T.81 B.2.4.1).

    Args:
        source: path or bytes.
        collect_warnings: put libjpeg's warnings into the result instead of on stderr. The process's
            stderr is redirected meanwhile: only where no other thread writes to it.

    Raises:
        JpegError: missing, empty, not a JPEG, of a kind that cannot be restored (lossless,
            hierarchical, 12 bits per sample), or damaged before its first scan.
    """
    if isinstance(source, bytes):
        data, name = source, BYTES
    else:
        name = str(Path(source))
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise JpegError(f"{name}: {reason}; give a readable JPEG file") from error
    usable = usable_part(data, name)
    try:
        with _as_file(usable.data) as path, stderr_lines(collect_warnings) as lines:
            stored = jpegio.read(str(path))
        return _convert(stored, usable, (*usable.warnings, *lines))
    except (MemoryError, JpegError):
        raise
    except Exception as error:  # bare RuntimeError, IOError, ... with libjpeg's words
        raise JpegError(f"{name}: libjpeg cannot read it ({_one_line(error)})") from error


def encode_jpeg(rgb: NDArray[np.uint8], quality: int, sampling: Sampling = Sampling.S420) -> bytes:
    """A baseline JPEG by libjpeg-turbo: standard tables, islow DCT, Huffman tables of the standard.

    Args:
        rgb: (H, W, 3) uint8 RGB, or (H, W) uint8 gray, which ignores ``sampling``.
        quality: 1..100, libjpeg's scale.
        sampling: chroma sampling mode.

    Raises:
        ValueError: another type or shape, or a quality outside 1..100.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must lie in 1..100, got {quality}")
    if rgb.dtype != np.uint8 or rgb.ndim not in (2, 3) or (rgb.ndim == 3 and rgb.shape[2] != 3):
        raise ValueError(f"expected uint8 H x W x 3 or H x W, got {rgb.dtype} {rgb.shape}")
    pixels = rgb if rgb.ndim == 2 else np.ascontiguousarray(rgb[:, :, ::-1])
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    if rgb.ndim == 3:
        factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling.digits}")
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    done, data = cv2.imencode(".jpg", pixels, options)
    if not done:
        raise ValueError(f"libjpeg cannot encode an image of shape {rgb.shape}")
    return data.tobytes()


def encoder_version() -> str:
    """Which library :func:`encode_jpeg` encodes with, as far as OpenCV says."""
    found = re.search(r"\bJPEG:\s+(.*)", cv2.getBuildInformation())
    built = re.search(r"libjpeg-turbo \(ver ([\d.]+)", found[1]) if found else None
    library = f"libjpeg-turbo {built[1]}" if built else "libjpeg"
    return f"{library} in OpenCV {cv2.__version__}"


PILLOW_SAMPLINGS = (Sampling.S420, Sampling.S422, Sampling.S444)
"""What :func:`encode_with_tables` can write."""


def encode_with_tables(
    rgb: NDArray[np.uint8],
    tables: Sequence[NDArray[np.int32]],
    sampling: Sampling = Sampling.S420,
) -> bytes:
    """As :func:`encode_jpeg`, with quantisation tables of one's choice.

    Args:
        rgb: (H, W, 3) uint8 RGB, or (H, W) uint8 gray, of which the first table is.
        tables: (8, 8) each, natural order, values 1..255, of Y, Cb and Cr; the last one given also
            serves those that follow.
        sampling: one of :data:`PILLOW_SAMPLINGS`.

    Raises:
        ValueError: a sampling or a table that cannot be written.
    """
    if sampling not in PILLOW_SAMPLINGS:
        raise ValueError(f"{sampling.value} cannot be written with tables of one's choice")
    if any(table.shape != (8, 8) or table.min() < 1 or table.max() > 255 for table in tables):
        raise ValueError("tables must be 8x8, of values from 1 to 255")
    lists = [table.ravel().tolist() for table in (tables[:1] if rgb.ndim == 2 else tables)]
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "jpeg", qtables=lists, subsampling=sampling.value)
    return stream.getvalue()


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Pixels as libjpeg decodes them (islow DCT, fancy upsampling): the JPEG row of every table.

    Returns (H, W, 3) uint8 RGB; gray files give three equal channels, CMYK and YCCK go through
    their ICC profile (utils.cmyk). Orientation tags are ignored, so that rows and columns are the
    stored ones. Truncated and damaged files are decoded as far as read_jpeg reads them.

    Raises:
        JpegError: not a JPEG that can be decoded.
    """
    require_jpeg_marker(data, BYTES)
    if component_count(data) == 4:
        return ink_to_rgb(_ink(data), cmyk_profile(data))
    bgr = _decoded(data)
    if bgr is None:  # OpenCV takes no file that ends too early
        bgr = _decoded(usable_part(data, BYTES).data + END)
    if bgr is None:
        raise JpegError(f"{BYTES} cannot be decoded: not a whole JPEG")
    return np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)


def _ink(data: bytes) -> NDArray[np.uint8]:
    """The inks of a file with four components; JpegError where it cannot be decoded."""
    usable = usable_part(data, BYTES).data + END
    try:
        with opened(usable) as image:
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:  # the latter of damaged headers
        raise JpegError(f"{BYTES} cannot be decoded: {_one_line(error)}") from error


def _decoded(data: bytes | bytearray) -> NDArray[Any] | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise JpegError(f"{BYTES} cannot be decoded: {error.err}") from error


@contextmanager
def _as_file(data: bytes | bytearray) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(suffix=".jpg", dir=scratch_folder(len(data)))
    try:
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
        except OSError as error:
            raise JpegError(
                f"{len(data)} bytes of JPEG cannot be put into {Path(name).parent} "
                f"({error.strerror or error}); free some space there"
            ) from error
        yield Path(name)
    finally:
        with suppress(PermissionError):  # Windows keeps a file that the backend left open
            os.unlink(name)


def _convert(stored: Any, usable: Usable, warnings: tuple[str, ...]) -> JpegImage:
    components = []
    for plane, info, table in zip(stored.coef_arrays, stored.comp_info, usable.tables, strict=True):
        rows, cols = info.height_in_blocks, info.width_in_blocks
        blocks = np.asarray(plane).reshape(rows, 8, cols, 8).swapaxes(1, 2)
        levels, lost = np.ascontiguousarray(blocks, dtype=np.int16), table == 0
        if lost.any():
            # For libjpeg a level times a step of 0 is 0. Nothing is known of such a frequency then,
            # as if it had been quantised with the largest step.
            levels = np.where(lost, np.int16(0), levels)
            table = np.where(lost, max(1, int(table.max())), table)
        factors = int(info.h_samp_factor), int(info.v_samp_factor)
        components.append(Component(levels, table, *factors))
    return JpegImage(
        int(stored.image_width),
        int(stored.image_height),
        tuple(components),
        _LIBJPEG_COLORS.get(int(stored.jpeg_color_space), ColorTransform.UNKNOWN),
        warnings,
        bytes(usable.data),
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
