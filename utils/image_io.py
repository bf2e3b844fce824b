"""Image files in and out: 8-bit RGB arrays, written beside and renamed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import utils.scratch  # noqa: F401  silences OpenCV's log
from utils.cmyk import cmyk_profile, ink_to_rgb
from utils.headers import jpeg2000_box, sample_bits
from utils.pillow import TIFF_SIGNATURES, opened, tag_numbers, tiff_tags

IMAGE_SUFFIXES = frozenset({".png", ".webp", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".ppm"})


class ImageError(ValueError):
    """An image that cannot be used; the message is one line: what, why, what to do."""


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Any common format -> 8-bit RGB (H, W, 3), or (H, W) if the file is gray.

    16-bit files are scaled down to 8 bits, alpha is dropped, orientation tags are ignored (the
    field measures stored rows and columns) but in TIFFs, which their decoders turn.

    Raises:
        ImageError: missing, unreadable or not an image.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
            raise ImageError(f"{path}: not a file; give a readable image file")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: {error.strerror or error}; give a readable image file"
        ) from error
    return read_image_bytes(data, str(path))


def read_image_bytes(data: bytes, name: str = "these bytes") -> NDArray[np.uint8]:
    """:func:`read_image` for the bytes of a file; ``name`` is for messages."""
    if not data:
        raise ImageError(f"{name}: empty file; give a whole image")
    if data[:4] == b"MM\0+":
        raise ImageError(f"{name}: a big-endian BigTIFF is not read; save it as a plain TIFF")
    tags = tiff_tags(data) if data[:4] in TIFF_SIGNATURES else {}
    numbers = (tag_numbers(tags, *each) for each in ((277, 1), (284, 1), (322, 0), (274, 1)))
    samples, planes, tiled, turned = (each[0] for each in numbers)
    bits = max(tag_numbers(tags, 258, 1))
    if planes == 2 and samples > 1 and (bits > 8 or samples == 2):
        raise ImageError(
            f"{name}: a TIFF of {samples} separate planes of {bits} bits is not read; save it "
            "with interleaved samples, or 8 bits"
        )
    misread = bool(tiled) and (turned > 1 or samples == 2)  # by OpenCV
    if misread or not _opencv_is_right(data, tags):
        straight = _by_pillow(data)
        if straight is not None:
            return straight
    if misread:
        raise ImageError(f"{name}: a tiled TIFF of this kind is not read; save it in strips")
    pixels = None if data.startswith(_PAM) else _by_opencv(data, tags, name)
    if pixels is None:
        pixels = _by_pillow(data)
    if pixels is not None:
        return pixels
    what = "not an image, or a damaged one"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        what = "HEIC is not read"
    elif tags:
        what = "a TIFF of this kind is not read, or it is damaged"
    raise ImageError(f"{name}: {what}; give PNG, WebP, BMP, TIFF or JPEG")


def _by_opencv(data: bytes, tags: Mapping[int, Any], name: str) -> NDArray[np.uint8] | None:
    """Pixels; None of what OpenCV cannot read. tags: of a TIFF.

    Raises:
        ImageError: samples of more than 16 bits.
    """
    # UNCHANGED would apply no palette, ANYDEPTH keeps 16 bits for a rounded conversion below.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if pixels is None:
        return None
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{name}: {pixels.dtype} samples; convert it to 8 or 16 bits")
    if pixels.dtype == np.uint16:
        # AVIF and JPEG 2000 are not scaled to 16 bits.
        white = 2.0 ** (sample_bits(data) or 16) - 1
        if tags.get(262) == 0:
            pixels = 65535 - pixels  # 0 is white; OpenCV heeds that in 8 bits only
        pixels = np.round(pixels * (255 / white)).astype(np.uint8)
    if data.startswith(b"\x89PNG") and data[25] == 4:  # gray with transparency
        pixels = pixels[:, :, 0] if pixels.ndim == 3 else pixels
    if pixels.ndim == 2:
        return np.asarray(pixels, dtype=np.uint8)
    return np.ascontiguousarray(pixels[:, :, 2::-1], dtype=np.uint8)


PNM = re.compile(rb"P[2356]" + rb"\s(?:\s|#[^\n]*\n)*(\d+)" * 3)
"""The header of a PGM or PPM: width, height, and the number that stands for white."""


def _opencv_is_right(data: bytes, tags: Mapping[int, Any]) -> bool:
    """Whether OpenCV, the faster one, shows a file as it is. tags: of a TIFF.

    TIFFs with transparency it darkens by that, those of inks lose their profile, PNMs whose white
    is neither 255 nor 65535 it does not scale, BMPs of 16 bits or of OS/2 and JPEG 2000 in YCbCr
    lose colours, and of animated PNGs it shows a frame that need not be the picture.
    """
    if tags:
        extra = tag_numbers(tags, 338, 0)
        return not {1, 2} & set(extra) and tags.get(262) != _INKS
    if data.startswith(b"\x89PNG"):
        return data.find(b"acTL", 0, data.find(b"IDAT") + 1) < 0
    if data[:2] == b"BM":
        header, bits = (int.from_bytes(data[at : at + 2], "little") for at in (14, 28))
        return header != 12 and bits != 16
    if white := PNM.match(data):
        return white[3] in (b"255", b"65535")
    return jpeg2000_box(data, b"colr")[3:7] != _SYCC


_PAM = b"P7"
"""Netpbm's format for any samples, of which OpenCV exchanges colours and loses others."""

_INKS = 5
"""Photometric interpretation of a TIFF in CMYK (TIFF 6.0, section 16)."""

_SYCC = (18).to_bytes(4, "big")
"""The enumerated colour space YCbCr of a JP2, behind three other bytes."""


def _by_pillow(data: bytes) -> NDArray[np.uint8] | None:
    """Pixels; None of what Pillow cannot read, or not in 8 bits a sample."""
    if (sample_bits(data) or 8) < 8:  # Pillow does not scale these
        return None
    try:
        with opened(data) as image:
            if image.mode in ("RGBA", "LA"):  # what cannot be seen counts, too
                pixels = np.asarray(image)[:, :, : len(image.mode) - 1]
                return pixels.squeeze(2).copy() if image.mode == "LA" else pixels.copy()
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
                return np.round(np.asarray(image) / 257.0).astype(np.uint8)
            if image.mode == "CMYK":
                return ink_to_rgb(np.asarray(image), cmyk_profile(data)).copy()
            if image.mode in ("1", "L", "P", "PA", "RGB", "YCbCr"):
                gray = image.mode in ("1", "L")
                return np.asarray(image.convert("L" if gray else "RGB")).copy()
    except Exception:  # Pillow raises nearly anything on damaged files
        pass
    return None


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) RGB or (H, W) gray as PNG, beside its final name first, then renamed.

    Raises:
        ImageError: the place cannot be written.
    """
    write_atomically(path, encode_png(image))


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) RGB or (H, W) gray as the bytes of a PNG."""
    pixels = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    # Level 3 is within a few per cent of the default size at less than half the time.
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file so that its final name never holds half of it; folders are made as needed.

    Raises:
        ImageError: the place cannot be written.
    """
    path = Path(path)
    if isinstance(data, str):  # names of files that are not UTF-8 cannot be shown as they are
        data = data.encode("utf-8", "backslashreplace")
    # Short, hidden and nobody else's, however long the final name is.
    beside = path.with_name(f".{secrets.token_hex(6)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("xb") as file:
            file.write(data)
        beside.replace(path)
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be written ({error.strerror or error}); choose another --output"
        ) from error
    finally:
        # Gone after a success; a folder that could not be made has nothing to remove.
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def require_writable(folder: str | os.PathLike[str], option: str = "--output") -> None:
    """Make an output folder and try it, before any work is done for it.

    option: what messages ask to choose another of.

    Raises:
        ImageError: it cannot be made or written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError as error:
        raise ImageError(f"{folder} is a file, not a folder; choose another {option}") from error
    except OSError as error:
        raise ImageError(
            f"output folder {folder}: cannot be written ({error.strerror or error}); "
            f"choose another {option}"
        ) from error


def find_images(
    folder: str | os.PathLike[str],
    suffixes: Iterable[str] = IMAGE_SUFFIXES,
    unreadable: Callable[[OSError], None] | None = None,
    follow_links: bool = False,
) -> list[Path]:
    """Image files below a folder, recursively, in a stable order; hidden files are passed over.

    Broken links are listed too, so that whoever reads them reports them. ``unreadable`` is told of
    folders that cannot be listed; without it they are passed over. ``follow_links``: of linked
    folders too, each folder once, under its own name where it has one below ``folder``.
    """
    wanted = {suffix.lower() for suffix in suffixes}
    found = []
    seen: set[tuple[int, int] | None] = set()
    pending = [Path(folder)]
    while pending:
        start = pending.pop(0)
        if file_identity(start) in seen:
            continue
        for parent, folders, files in os.walk(start, onerror=unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if follow_links:
                if (identity := file_identity(Path(parent))) in seen:
                    folders.clear()
                    continue
                seen.add(identity)
                links = [Path(parent, name) for name in folders]
                pending += [path for path in links if path.is_symlink()]
            found += [
                Path(parent, name)
                for name in files
                if Path(name).suffix.lower() in wanted and not name.startswith(".")
            ]
    return sorted(found)


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of an existing file or folder, links followed."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
