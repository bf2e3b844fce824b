"""Pictures for people: side-by-side comparison with an enlarged crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_MARGIN = 10
_CAPTION = 30
_PANEL_WIDTH = 480
_PANEL_HEIGHT = 4 * _PANEL_WIDTH
_BACKGROUND = 255
_FRAME = (230, 60, 30)
_FONT = cv2.FONT_HERSHEY_SIMPLEX, 0.6


class Window(NamedTuple):
    """A rectangle in pixels: its top left corner and its size."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, image: Image) -> Image:
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def as_rgb(image: Image) -> Image:
    """(H, W, 3) of any picture; a gray one (H, W) three times."""
    return np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image


def gray_if_equal(image: Image) -> Image:
    """(H, W) of a picture (H, W, 3) whose three channels are equal; any other as it is."""
    if image.ndim == 3 and (image == image[:, :, :1]).all():
        return np.ascontiguousarray(image[:, :, 0])
    return image


def busiest_window(one: Image, other: Image, side: int = 96) -> Window:
    """The window of at most ``side`` pixels in which two images of one size differ most."""
    height, width = min(side, one.shape[0]), min(side, one.shape[1])
    difference = np.square(one.astype(np.float32) - other.astype(np.float32))
    if difference.ndim == 3:
        difference = difference.mean(2)
    total = cv2.integral(difference, sdepth=cv2.CV_64F)
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width]
    sums = sums + total[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return Window(int(top), int(left), height, width)


def side_by_side(images: Sequence[Image], captions: Sequence[str], window: Window) -> Image:
    """Whole images in a row, each with its caption above and the enlarged window below.

    Args:
        images: RGB images (H, W, 3) of one size. captions: one per image, ASCII.
        window: part to enlarge; it is framed in the whole images.

    Returns:
        One RGB picture. The crops are enlarged by repeating pixels, so that blocks stay blocks.
    """
    whole = [_framed(image, window) for image in images]
    factor = max(1, _PANEL_WIDTH // max(window.width, window.height))
    crops = [window.cut(image).repeat(factor, 0).repeat(factor, 1) for image in images]
    table = picture_table([whole, crops], captions)
    return np.pad(table, ((_MARGIN, 0), (_MARGIN, 0), (0, 0)), constant_values=_BACKGROUND)


def picture_table(rows: Sequence[Sequence[Image]], captions: Sequence[str]) -> Image:
    """Rows of RGB images under one caption per column, shown pixel by pixel, enlarged if small.

    Args:
        rows: each as many (H, W, 3) images as there are captions. captions: ASCII.
    """
    factor = max(1, 256 // max(max(image.shape[:2]) for row in rows for image in row))
    enlarged = [[image.repeat(factor, 0).repeat(factor, 1) for image in row] for row in rows]
    width = max(image.shape[1] for row in enlarged for image in row) + _MARGIN
    titles = [_title(caption, width) for caption in captions]
    lines = [np.concatenate(titles, 1)]
    for row in enlarged:
        height = max(image.shape[0] for image in row) + _MARGIN
        lines.append(np.concatenate([_padded(image, height, width) for image in row], 1))
    return np.concatenate(lines, 0)


def _title(caption: str, width: int) -> Image:
    caption = caption.encode("ascii", "replace").decode()  # all that OpenCV can write
    shorter = (f"{caption[:kept]}...{caption[-kept:]}" for kept in range(len(caption) // 2, 0, -1))
    caption = next(filter(lambda text: _text_width(text) < width, (caption, *shorter)), "")
    title = np.full((_CAPTION, width, 3), _BACKGROUND, np.uint8)
    cv2.putText(title, caption, (0, _CAPTION - 9), *_FONT, (0, 0, 0), 1, cv2.LINE_AA)
    return title


def _text_width(text: str) -> int:
    (width, _), _ = cv2.getTextSize(text, *_FONT, 1)
    return width


def _framed(image: Image, window: Window) -> Image:
    """An image in the width of a panel, or in its height, the window marked."""
    scale = min(_PANEL_WIDTH / image.shape[1], _PANEL_HEIGHT / image.shape[0])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    whole = cv2.resize(image, (width, height), interpolation=interpolation)
    corner = round(window.left * scale), round(window.top * scale)
    opposite = (
        round((window.left + window.width) * scale) - 1,
        round((window.top + window.height) * scale) - 1,
    )
    cv2.rectangle(whole, corner, opposite, _FRAME, 2)
    return np.asarray(whole, np.uint8)


def _padded(image: Image, height: int, width: int) -> Image:
    bottom, right = height - image.shape[0], width - image.shape[1]
    return np.pad(image, ((0, bottom), (0, right), (0, 0)), constant_values=_BACKGROUND)
