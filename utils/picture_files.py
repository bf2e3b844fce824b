"""Pictures out, with what belonged to them: orientation, EXIF, colour profile, resolution."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from utils.cmyk import became_rgb, cmyk_profile
from utils.headers import sample_bits
from utils.image_io import PNM, ImageError
from utils.metadata import Lost, Metadata, exif, jpeg, png, tiff, webp
from utils.pillow import TIFF_SIGNATURES, opened, tag_numbers, tiff_tags

Format = Literal["png", "webp", "jpg", "tiff"]
FORMATS: dict[str, Format] = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""By a file's suffix."""


class Extras(NamedTuple):
    """alpha: transparency, (H, W) uint8, None where all is opaque. notes: what reading a file as
    8-bit RGB loses, for people: further frames, deeper samples, inks. profile_used: whether its
    colour profile led from its inks to RGB, which does not need it."""

    alpha: NDArray[np.uint8] | None
    notes: list[str]
    profile_used: bool


def read_extras(data: bytes) -> Extras:
    """What a PNG, WebP or TIFF may hold beyond 8-bit colours."""
    alpha: NDArray[np.uint8] | None = None
    notes: list[str] = []
    profile_used = False
    # As the file says: Pillow's modes hide it.
    bits, kind, has_alpha, keyed = sample_bits(data) or 8, -1, False, False
    if white := PNM.match(data):
        bits = int(white[3]).bit_length()
    if data.startswith(png.SIGNATURE):
        data = png.without_texts(data)
        # IHDR: signature 8, length 4, type 4, width 4, height 4, bit depth, colour type
        bits, kind = data[24:26].ljust(2, b"\0")
        keyed = b"tRNS" in (name for name, _ in png.chunks(data))
        has_alpha = keyed or kind in (4, 6)
    elif data[:4] in TIFF_SIGNATURES:
        tags = tiff_tags(data)
        bits = max(tag_numbers(tags, 258, 8))
        has_alpha = bool({1, 2} & set(tag_numbers(tags, 338, 0)))
    if bits > 8:
        notes.append(f"{bits} bits a sample became 8")
    # Pillow raises nearly anything; the pixels themselves are read by others.
    with suppress(Exception), opened(data) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            notes.append(f"only the first of {frames} frames")
        if image.mode == "CMYK":
            profile_used = cmyk_profile(data) is not None
            notes.append(became_rgb("CMYK", profile_used))
        if keyed and kind == 0 and bits in _KEY_SCALES:  # Pillow scales samples, but not the key
            key = image.info["transparency"] * _KEY_SCALES[bits]
            alpha = np.where(np.asarray(image) == key, 0, 255)
        elif keyed and bits == 16:
            pass  # Pillow compares 8 bits of a colour of 16
        elif image.has_transparency_data:
            alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
    if has_alpha and alpha is None:
        notes.append("its transparency cannot be read and was left out")
    if alpha is not None:
        alpha = None if alpha.min() == 255 else alpha.astype(np.uint8)
    return Extras(alpha, notes, profile_used)


_KEY_SCALES = {2: 85, 4: 17, 16: 1}
"""By which Pillow multiplies gray samples of so many bits."""


def turned(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Stored pixels as they are to be looked at (EXIF 2.32, 4.6.4 A)."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def encoded_picture(
    image: NDArray[np.uint8],
    file_format: Format,
    quality: int,
    metadata: Metadata,
    alpha: NDArray[np.uint8] | None = None,
) -> tuple[bytes, list[Lost]]:
    """(H, W, 3) RGB, (H, W) gray or (H, W, 4) inks as the bytes of a file; what could not be kept.

    Args:
        image: as it is to be looked at, already turned; inks, of which 255 is full, in JPEG and
            TIFF only.
        quality: 1..100 of WebP (100: lossless) and JPEG (4:4:4); PNG and TIFF are lossless.
        metadata: kept as far as the format can hold it.
        alpha: (H, W) uint8, in PNG, WebP and TIFF.

    Raises:
        ImageError: the format cannot hold such a picture.
    """
    lost: list[Lost] = []
    height, width = image.shape[:2]
    colors: Literal["gray", "RGB", "CMYK"] = "gray"
    if image.ndim == 3:
        colors = "CMYK" if image.shape[2] == 4 else "RGB"
    if metadata.icc_profile:
        meant = metadata.icc_profile[16:20].decode("latin-1").strip()  # ICC.1, 7.2.6
        # A WebP's samples are RGB, whatever the picture is.
        if meant != ("RGB" if file_format == "webp" else colors.upper()):
            lost.append(Lost("the colour profile", f"left out: it is for other colours ({meant})"))
            metadata = replace(metadata, icc_profile=None)
    if alpha is not None and file_format == "jpg":
        lost.append(Lost("transparency", "was left out, which JPEG does not have"))
    elif alpha is not None:
        image = np.dstack((image, alpha))
    picture = Image.fromarray(image, "CMYK") if colors == "CMYK" else Image.fromarray(image)
    name = {"png": "PNG", "webp": "WebP", "jpg": "JPEG", "tiff": "TIFF"}[file_format]
    try:
        if file_format == "tiff":
            data, beyond = tiff.encoded(image, metadata, colors)
        elif file_format == "webp":
            options, beyond = webp.encoder_options(metadata)
            options["lossless"] = options["exact"] = quality == 100  # also what cannot be seen
            data = _saved(picture, name, quality=80 if quality == 100 else quality, **options)
        elif file_format == "png":
            data, beyond = png.embed(_saved(picture, name, compress_level=4), metadata)
        else:
            plain = _saved(picture, name, quality=quality, subsampling=0)
            data, beyond = jpeg.embed(plain, metadata)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise ImageError(
            f"{width}x{height} pixels cannot be written as {name} ({reason}); choose --format png"
        ) from error
    homeless = f"left out: {name} has no place for that"
    lost += [*beyond, *(Lost(what, homeless) for what in _homeless(metadata, file_format))]
    return data, lost


def _saved(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def _homeless(metadata: Metadata, file_format: Format) -> list[str]:
    """What a format has no place for, for people."""
    if file_format == "png":
        return jpeg.names_beyond(metadata)
    if file_format == "jpg":
        return png.names_beyond(metadata, for_jpeg=True)
    names = jpeg.names_of_photoshop(metadata) if file_format == "webp" else []
    if metadata.comments:
        names.append("a comment" if len(metadata.comments) == 1 else "comments")
    if file_format == "webp" and metadata.density and metadata.density.says_something:
        stated = exif.density(metadata.exif) if metadata.exif else None
        if stated is None or str(stated) != str(metadata.density):
            names.append(str(metadata.density))
    return names + jpeg.names_beyond(metadata) + png.names_beyond(metadata)


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a picture file's header states, None if it is none that is known."""
    if data.startswith(png.SIGNATURE):
        return png.size(data)
    if data[:4] in TIFF_SIGNATURES:
        tags = tiff_tags(data)
        width, height = (tag_numbers(tags, tag, 0)[0] for tag in (256, 257))
        return (width, height) if width > 0 and height > 0 else None
    with suppress(Exception), opened(data) as image:  # Pillow raises nearly anything
        return image.size
    return None
