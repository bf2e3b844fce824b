"""Four inks: decoded as Pillow has them, and turned into RGB through the file's own profile.

Adobe's programs store CMYK inverted, 255 for no ink, and so do nearly all others. Pillow assumes
this of every file, and so does this module.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from utils.pillow import opened

Ink = NDArray[np.uint8]
"""(H, W, 4) uint8: cyan, magenta, yellow and black, 255 being full ink."""


def cmyk_profile(data: bytes | bytearray) -> bytes | None:
    """The ICC profile that a file's inks are meant for, None where it has none that can be used."""
    try:
        with opened(data) as image:
            profile = image.info.get("icc_profile")
    except OSError:  # a header that Pillow does not take
        return None
    return profile if profile and _to_srgb(profile) is not None else None


def ink_to_rgb(ink: Ink, profile: bytes | None) -> NDArray[np.uint8]:
    """(H, W, 3) sRGB through an ICC profile (littleCMS, perceptual), else as Pillow does."""
    image = Image.fromarray(np.ascontiguousarray(ink), "CMYK")
    transform = None if profile is None else _to_srgb(profile)
    if transform is None:
        return np.asarray(image.convert("RGB"))
    return np.asarray(transform.apply(image))


def became_rgb(colors: str, profile_used: bool) -> str:
    """How inks became RGB, for people. colors: "CMYK" or "YCCK"."""
    way = "its ICC profile, which the result no longer needs"
    way = way if profile_used else "plain arithmetic (no ICC profile)"
    return f"{colors} became RGB through {way}"


@lru_cache(maxsize=8)
def _to_srgb(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """None: not a profile for four inks, or a damaged one."""
    if profile[16:20] != b"CMYK":  # ICC.1, 7.2.6
        return None
    try:
        return ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            "CMYK",
            "RGB",
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None
