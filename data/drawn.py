"""Pictures that are no photographs, drawn at random: what a network meets in scans and screens.

Everything is drawn with what the packages bring themselves (Pillow's font, OpenCV's strokes), so
that a seed gives the same picture on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
"""(side, side, 3) RGB."""

Rng = np.random.Generator
_Color = tuple[int, int, int]

_LETTERS = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?()+-%")


def drawn(photograph: Picture, rng: Rng, kinds: Sequence[str] = ()) -> Picture:
    """A drawn picture of the size of ``photograph``, which dithered and pixelated kinds are of.

    Args:
        photograph: (side, side, 3) uint8 RGB; left as it is.
        rng: decides all.
        kinds: of :data:`KINDS`, one of which is drawn; none named: any.

    Half of all pictures are gray, with three equal channels.
    """
    kinds = kinds or tuple(KINDS)
    name = kinds[int(rng.integers(len(kinds)))]
    gray = rng.random() < 0.5
    source = to_gray(photograph) if gray else photograph
    picture = KINDS[name](source, rng)
    return to_gray(picture) if gray else picture


def to_gray(picture: Picture) -> Picture:
    """Three equal channels, of the picture's luma."""
    gray = np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def smooth_chroma(pixels: Picture) -> Picture:
    """Halved chroma, enlarged again: as cameras, scans and JPEGs in 4:2:0 leave it.

    pixels: (H, W, 3) uint8 RGB.
    """
    height, width = pixels.shape[:2]
    ycc = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)
    size = max(1, width // 2), max(1, height // 2)
    half = cv2.resize(ycc[:, :, 1:], size, interpolation=cv2.INTER_AREA)
    ycc[:, :, 1:] = cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB), np.uint8)


def _color(rng: Rng) -> _Color:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _paper_and_ink(rng: Rng) -> tuple[_Color, _Color]:
    """Most often black on white."""
    draw = rng.random()
    if draw < 0.5:
        return (255, 255, 255), (0, 0, 0)
    if draw < 0.6:
        return (0, 0, 0), (255, 255, 255)
    paper, ink = _color(rng), _color(rng)
    if abs(sum(paper) - sum(ink)) < 150:
        ink = (0, 0, 0) if sum(paper) > 380 else (255, 255, 255)
    return paper, ink


def _word(rng: Rng) -> str:
    return "".join(rng.choice(_LETTERS, int(rng.integers(1, 10))))


def _text(photograph: Picture, rng: Rng) -> Picture:
    """Lines of words in one or several sizes, smooth or not, on paper or on a photograph."""
    side = photograph.shape[0]
    paper, ink = _paper_and_ink(rng)
    canvas = np.full_like(photograph, paper)
    if rng.random() < 0.15:
        canvas = np.asarray(cv2.addWeighted(photograph, 0.6, canvas, 0.4, 0), np.uint8)
    strokes = rng.random() < 0.25
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    pen.fontmode = "1" if rng.random() < 0.2 else "L"
    several = rng.random() < 0.3
    size = int(np.exp(rng.uniform(np.log(7), np.log(36))))
    y = int(rng.integers(-size, size))
    while y < side:
        if several:
            size = int(np.exp(rng.uniform(np.log(7), np.log(36))))
        line = " ".join(_word(rng) for _ in range(2 * side // (3 * size) + 1))
        x = int(rng.integers(-2 * size, max(1, side // 6)))
        if strokes:
            cv2.putText(
                canvas, line, (x, y), int(rng.integers(8)), size / 26, ink,
                1 if size < 24 else int(rng.integers(1, 4)), cv2.LINE_AA,
            )  # fmt: skip
        else:
            pen.text((x, y), line, fill=ink, font=ImageFont.load_default(size))
        y += int(size * rng.uniform(1.0, 1.8)) + 1
        if several and rng.random() < 0.2:
            ink = _paper_and_ink(rng)[1]
    return canvas if strokes else np.array(image)


def _points(count: int, side: int, rng: Rng) -> NDArray[np.int32]:
    return rng.integers(-side // 8, side + side // 8, (count, 1, 2)).astype(np.int32)


def _smoothness(rng: Rng) -> int:
    return cv2.LINE_AA if rng.random() < 0.7 else cv2.LINE_8


def _lines(photograph: Picture, rng: Rng) -> Picture:
    """Thin strokes, curves, circles, hatching, grids."""
    side = photograph.shape[0]
    paper, ink = _paper_and_ink(rng)
    canvas = np.full_like(photograph, paper)
    smooth = _smoothness(rng)
    colored = rng.random() < 0.4
    for _ in range(int(rng.integers(5, 40))):
        color = _color(rng) if colored else ink
        width = int(rng.integers(1, 4))
        shape = rng.integers(4)
        if shape == 0:
            cv2.polylines(canvas, [_points(int(rng.integers(2, 6)), side, rng)], False, color, width, smooth)  # fmt: skip  # noqa: E501
        elif shape == 1:
            center = tuple(int(n) for n in rng.integers(0, side, 2))
            axes = tuple(int(n) for n in rng.integers(2, max(3, side // 2), 2))
            start = int(rng.integers(360))
            cv2.ellipse(canvas, center, axes, int(rng.integers(180)), start, start + int(rng.integers(40, 361)), color, width, smooth)  # fmt: skip  # noqa: E501
        elif shape == 2:
            ends = np.linspace(0, side - 1, int(rng.integers(3, 24))).astype(int)
            lean = int(rng.integers(-side, side))
            for at in ends:
                if rng.random() < 0.5:
                    cv2.line(canvas, (int(at), 0), (int(at) + lean * (lean % 2), side), color, 1, smooth)  # fmt: skip  # noqa: E501
                else:
                    cv2.line(canvas, (0, int(at)), (side, int(at)), color, 1, smooth)
        else:
            t = np.linspace(0, 1, 30)[:, None]
            a, b, c, d = _points(4, side, rng)[:, 0].astype(float)
            curve = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
            cv2.polylines(canvas, [curve.round().astype(np.int32)[:, None]], False, color, width, smooth)  # fmt: skip  # noqa: E501
    return canvas


def _shapes(photograph: Picture, rng: Rng) -> Picture:
    """Flat areas with thin borders: charts, maps, logos, windows."""
    side = photograph.shape[0]
    canvas = np.full_like(photograph, _paper_and_ink(rng)[0])
    smooth = _smoothness(rng)
    border = _color(rng) if rng.random() < 0.3 else (0, 0, 0)
    for _ in range(int(rng.integers(4, 25))):
        fill = _color(rng)
        shape = rng.integers(3)
        corners = _points(int(rng.integers(3, 7)), side, rng)
        if shape == 0:
            x, y, right, bottom = (int(n) for n in corners[:2].ravel())
            right, bottom = x + (right - x) // 3, y + (bottom - y) // 3
            corners = np.array([[[x, y]], [[right, y]], [[right, bottom]], [[x, bottom]]], np.int32)
        elif shape == 1:
            radius = int(rng.integers(2, max(3, side // 4)))
            angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
            circle = corners[0] + radius * np.stack((np.cos(angles), np.sin(angles)), 1)
            corners = circle.round().astype(np.int32)[:, None]
        cv2.fillPoly(canvas, [corners], fill, smooth)
        if rng.random() < 0.6:
            cv2.polylines(canvas, [corners], True, border, int(rng.integers(1, 3)), smooth)
    return canvas


def _pixel_art(photograph: Picture, rng: Rng) -> Picture:
    """Large square pixels of few colours: a sprite, or a photograph made small."""
    side = photograph.shape[0]
    scale = int(rng.integers(2, 13))
    cells = -(-side // scale)
    levels = int(rng.integers(2, 7))
    if rng.random() < 0.5:
        small = np.asarray(cv2.resize(photograph, (cells, cells), interpolation=cv2.INTER_AREA))
        small = np.round(small / 255 * (levels - 1)) * (255 / (levels - 1))
    else:
        palette = np.array([_color(rng) for _ in range(levels)])
        half = rng.integers(0, levels, (cells, -(-cells // 2)))
        small = palette[np.concatenate((half, half[:, ::-1]), 1)[:, :cells]]
    return _blown_up(small.astype(np.uint8), scale, side, rng)


def _sprites(photograph: Picture, rng: Rng) -> Picture:
    """Squares of few colours that divide JPEG's blocks, or are made of them, from the corner on."""
    side = photograph.shape[0]
    scale = int(rng.choice([4, 8, 16]))
    cells = -(-side // scale)
    palette = np.array([_color(rng) for _ in range(int(rng.integers(2, 7)))], np.uint8)
    small = palette[rng.integers(0, len(palette), (cells, cells))]
    return _blown_up(small, scale, side, None)


def _codes(photograph: Picture, rng: Rng) -> Picture:
    """Black and white modules at random, with the corner marks of QR codes; or bars."""
    side = photograph.shape[0]
    scale = int(rng.integers(1, 11))
    cells = -(-side // scale) + 1
    modules = (rng.random((cells, cells)) < rng.uniform(0.35, 0.65)).astype(np.uint8)
    if rng.random() < 0.2:
        modules[:] = modules[:1]
    else:
        mark = np.pad(np.pad(np.zeros((3, 3), np.uint8), 1, constant_values=1), 1)
        mark = np.pad(mark, 1, constant_values=1)  # a light rim
        for _ in range(int(rng.integers(1, 4))):
            row, col = (int(n) for n in rng.integers(0, max(1, cells - 9), 2))
            part = modules[row : row + 9, col : col + 9]
            part[...] = mark[: part.shape[0], : part.shape[1]]
    if rng.random() < 0.3:
        rim = int(rng.integers(1, max(2, cells // 3)))
        modules[:rim] = 1
    paper, ink = _paper_and_ink(rng)
    small = np.where(modules[:, :, None] > 0, np.array(paper), np.array(ink))
    return _blown_up(small.astype(np.uint8), scale, side, rng)


def _blown_up(small: Picture, scale: int, side: int, rng: Rng | None) -> Picture:
    """Each pixel ``scale`` times as large, cut to ``side`` at a random phase; from the corner on
    without ``rng``."""
    large = small.repeat(scale, 0).repeat(scale, 1)
    row, col = (int(rng.integers(n - side + 1)) if rng else 0 for n in large.shape[:2])
    return np.ascontiguousarray(large[row : row + side, col : col + side])


def _error_diffused(photograph: Picture, rng: Rng) -> Picture:
    """Floyd and Steinberg's, to two levels a channel or to the web palette."""
    image = Image.fromarray(_toned(photograph, rng))
    if rng.random() < 0.3:
        return np.array(image.convert("P").convert("RGB"))
    return np.stack([np.array(plane.convert("1").convert("L")) for plane in image.split()], -1)


def _ordered(photograph: Picture, rng: Rng) -> Picture:
    """Bayer's matrix, to two or a few levels a channel."""
    matrix = np.zeros((1, 1))
    for _ in range(int(rng.integers(1, 4))):
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    side = photograph.shape[0]
    repeats = -(-side // len(matrix))
    threshold = np.tile((matrix + 0.5) / matrix.size, (repeats, repeats))[:side, :side, None]
    return _to_levels(_toned(photograph, rng), threshold, rng)


def _halftoned(photograph: Picture, rng: Rng) -> Picture:
    """Dots that grow with darkness on a turned grid, an angle of its own for each channel."""
    rows, cols = np.mgrid[0 : photograph.shape[0], 0 : photograph.shape[1]].astype(np.float64)
    period = rng.uniform(3, 12)
    same = rng.random() < 0.5
    angle = rng.uniform(0, np.pi)
    thresholds = []
    for channel in range(3):
        turn = angle if same else angle + channel * np.pi / 6
        u = (cols * np.cos(turn) + rows * np.sin(turn)) * 2 * np.pi / period
        v = (rows * np.cos(turn) - cols * np.sin(turn)) * 2 * np.pi / period
        screen = np.cos(u) + np.cos(v)
        thresholds.append(np.argsort(np.argsort(screen, None)).reshape(screen.shape) / screen.size)
    threshold = np.stack(thresholds, -1)
    toned = _toned(photograph, rng)
    if rng.random() < 0.3:  # as printed and scanned
        sharp = (toned / 255 - threshold) * rng.uniform(2, 8) + 0.5
        return (sharp.clip(0, 1) * 255).astype(np.uint8)
    return _to_levels(toned, threshold, rng, levels=2)


def _patterns(photograph: Picture, rng: Rng) -> Picture:
    """Waves, stripes and rings of fine periods, the channels alike or each its own."""
    rows, cols = np.mgrid[0 : photograph.shape[0], 0 : photograph.shape[1]].astype(np.float64)
    lows, highs = np.sort(rng.integers(0, 256, (2, 3)), axis=0)
    if rng.random() < 0.5:
        lows, highs = np.zeros(3), np.full(3, 255)
    square = rng.random() < 0.5
    rings = rng.random() < 0.4
    alike = rng.random() < 0.3
    waves: list[NDArray[np.float64]] = []
    for _ in range(1 if alike else 3):
        period = np.exp(rng.uniform(np.log(2), np.log(16)))
        angle = rng.uniform(0, np.pi) if rng.random() < 0.6 else rng.integers(2) * np.pi / 2
        turns = (rows * np.sin(angle) + cols * np.cos(angle)) / period
        if rings:
            turns = ((rows - rng.uniform(0, 99)) ** 2 + cols**2) / (30 * period)
        wave = 0.5 + 0.5 * np.cos(2 * np.pi * (turns + rng.random()))
        waves.append(np.round(wave) if square else wave)
    return (lows + (highs - lows) * np.stack(waves, -1)).astype(np.uint8)


def _noisy(photograph: Picture, rng: Rng) -> Picture:
    """Grain on a photograph, gray or coloured; a photograph dithered at random; noise alone."""
    planes = 1 if rng.random() < 0.3 else 3
    side = photograph.shape[0]
    draw = rng.random()
    if draw < 0.35:
        return _to_levels(_toned(photograph, rng), rng.random((side, side, planes)), rng)
    source = np.full_like(photograph, 128) if draw < 0.6 else photograph
    deviation = np.exp(rng.uniform(np.log(3), np.log(100)))
    noise = rng.normal(0, deviation, (side, side, planes))
    if rng.random() < 0.3:
        noise *= rng.random((side, side, 1)) < rng.uniform(0.01, 0.2)
    return (source + noise).clip(0, 255).astype(np.uint8)


def _mottled(photograph: Picture, rng: Rng) -> Picture:
    """A photograph with soft spots, mostly coloured ones: high sensitivity whose grain is gone."""
    noise = cv2.GaussianBlur(rng.normal(size=photograph.shape), (0, 0), rng.uniform(1, 3))
    noise *= np.exp(rng.uniform(np.log(3), np.log(14))) / noise.std()
    if rng.random() < 0.6:  # of colour alone
        noise -= noise @ np.array([[0.299], [0.587], [0.114]])
    return (photograph + noise).clip(0, 255).astype(np.uint8)


def _tiles(photograph: Picture, rng: Rng) -> Picture:
    """Flat squares of similar colours that are JPEG's blocks, or made of them."""
    side = photograph.shape[0]
    scale = int(rng.choice([8, 16]))
    cells = -(-side // scale)
    spread = int(rng.integers(4, 41))
    near = rng.integers(-spread, spread + 1, (int(rng.integers(2, 9)), 3))
    palette = (np.array(_color(rng)) + near).clip(0, 255).astype(np.uint8)
    return _blown_up(palette[rng.integers(0, len(palette), (cells, cells))], scale, side, None)


def _checks(photograph: Picture, rng: Rng) -> Picture:
    """Checks or stripes one to three pixels wide, in places on a flat area."""
    side = photograph.shape[0]
    canvas = np.full_like(photograph, _color(rng))
    rows, cols = np.mgrid[0:side, 0:side]
    for _ in range(int(rng.integers(1, 5))):
        across, down = (int(n) for n in rng.integers(1, 4, 2))
        kind = rng.integers(4)
        x, y = cols // across * (kind != 0), rows // down * (kind != 1)
        top, left = (int(n) for n in rng.integers(-side // 2, side // 2, 2))
        place = np.s_[max(top, 0) : top + side, max(left, 0) : left + side]
        if rng.random() < 0.5:
            pair = np.repeat(rng.integers(0, 256, (2, 1)), 3, axis=1)
        else:
            pair = rng.integers(0, 256, (2, 3))
        canvas[place] = pair[(x + y) % 2][place]
    return canvas


def _toned(photograph: Picture, rng: Rng) -> Picture:
    """Smoothed and with other contrast: a dithered picture's texture is the dither's own."""
    result = cv2.GaussianBlur(photograph, (0, 0), rng.uniform(0.3, 2.0))
    mean = float(result.mean())
    toned = (result.astype(np.float32) - mean) * rng.uniform(0.6, 1.6) + rng.uniform(70, 190)
    return toned.clip(0, 255).astype(np.uint8)


def _to_levels(
    picture: Picture, threshold: NDArray[np.float64], rng: Rng, levels: int | None = None
) -> Picture:
    levels = levels or (2 if rng.random() < 0.6 else int(rng.integers(3, 7)))
    steps = np.floor(picture / 255 * (levels - 1) + threshold).clip(0, levels - 1)
    return (steps * (255 / (levels - 1))).round().astype(np.uint8)


KINDS: dict[str, Callable[[Picture, Rng], Any]] = {
    "text": _text,
    "lines": _lines,
    "shapes": _shapes,
    "pixel_art": _pixel_art,
    "codes": _codes,
    "error_diffused": _error_diffused,
    "ordered": _ordered,
    "halftoned": _halftoned,
    "patterns": _patterns,
    "noisy": _noisy,
    "sprites": _sprites,
    "mottled": _mottled,
    "tiles": _tiles,
    "checks": _checks,
}
"""What :func:`drawn` can draw."""
