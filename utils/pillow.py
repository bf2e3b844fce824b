"""Pillow without its warnings, which would end up between the lines of a progress bar."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

# Sizes are checked by whoever opens a file; Pillow's own limit would only get in the way.
Image.MAX_IMAGE_PIXELS = None


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
