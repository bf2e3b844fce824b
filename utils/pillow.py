"""Pillow without its warnings, which would end up between the lines of a progress bar."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

# Sizes are checked by whoever opens a file; Pillow's own limit would only get in the way.
Image.MAX_IMAGE_PIXELS = None


TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0")
"""The first four bytes of TIFFs; with a plus sign, of BigTIFFs. (Pillow misreads b"MM\\0+".)"""


def tiff_tags(data: bytes) -> dict[int, Any]:
    """The tags of a TIFF's first directory that can be read, whatever its pixels are."""
    tags: dict[int, Any] = {}
    with warnings.catch_warnings(), suppress(Exception):  # Pillow's parsers raise nearly anything
        warnings.simplefilter("ignore")
        file = io.BytesIO(data)
        directory = ImageFileDirectory_v2(file.read(16 if b"+" in data[2:4] else 8))
        file.seek(directory.next)
        directory.load(file)
        for tag in directory:
            with suppress(Exception):
                tags[tag] = directory[tag]
    return tags


def tag_numbers(tags: Mapping[int, Any], tag: int, default: int) -> tuple[int, ...]:
    """The whole numbers that a tag holds, ``default`` where it does not hold such."""
    value = tags.get(tag)
    values = value if isinstance(value, tuple) else (value,)
    return values if values and all(isinstance(each, int) for each in values) else (default,)


@contextmanager
def opened(data: bytes | bytearray) -> Iterator[Image.Image]:
    """A picture file's bytes in Pillow, closed at the end.

    Raises:
        OSError: no format that Pillow knows. On damaged files its parsers raise nearly anything.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            yield image
