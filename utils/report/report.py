"""A report as one HTML file that works from disk: pictures to compare, figures, how it was made.

Pictures are added one at a time and coded at once into a temporary folder, so that memory stays
small. Only at the end it is known which of them fit the file; the others are shown as crops or not
at all, and the page says so. The page itself is in ``report_page/``.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import math
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from utils.evaluation.metrics import Scores
from utils.evaluation.published import PublishedRow
from utils.evaluation.tables import SummaryRow, comparability, example_of, explained
from utils.image_io import ImageError, write_atomically
from utils.pictures import Window, as_rgb, busiest_window

Image = NDArray[np.uint8]

CROP_SIDES = (1024, 256)
"""Sides of the square crops that take the place of whole pictures, the better one first."""

MAX_WHOLE_PIXELS = 24_000_000
MAX_WHOLE_SIDE = 16_383
"""Larger pictures are shown as crops only: browsers and WebP have limits of this size."""

THUMBNAIL_SIDE = 96

_PAGE = Path(__file__).with_name("page")
_SCRIPTS = ("common.js", "viewer.js", "image_table.js", "curves.js", "run.js", "page.js")

_THUMBNAIL_SHARE = 0.1
_WHOLE_SHARE = 0.6
_SPOOL_FACTOR = 4
_ENTRY_BYTES = 220
_PIECE_BYTES = 100
_CHANGE_MAP_PIXELS = 2_000_000
_STRIP_ROWS = 1024


@dataclass(frozen=True)
class _Level:
    """One way to show an image: the window of it, and the coded picture of each side."""

    window: Window
    pieces: Mapping[str, str]


@dataclass(frozen=True)
class _Entry:
    """An image at a setting. levels: ways to show it, the largest first.

    change: root mean square of restored - JPEG in gray levels, nan where one is missing.
    """

    dataset: str
    setting: str
    name: str
    note: str
    height: int
    width: int
    change: float
    before: Scores | None
    after: Scores | None
    thumbnail: str | None
    levels: tuple[_Level, ...]

    @property
    def gain(self) -> float:
        """PSNR gain in dB; nan without scores."""
        if self.before is None or self.after is None:
            return math.nan
        return self.after.psnr - self.before.psnr

    def whole(self, level: _Level) -> bool:
        """Whether this level shows all of the image."""
        return (level.window.height, level.window.width) == (self.height, self.width)


class ReportBuilder:
    """Collects images and figures, then writes ``report.html``.

    Use it as a context manager, or call :meth:`close` where :meth:`finish` may not be reached; both
    remove the temporary folder. Several threads may add at the same time.

    Args:
        title: heading of the page.
        max_megabytes: about how large the file may become (10^6 bytes); it holds this much in
            memory while it is written, and up to four times as much on disk before.
        spool: folder in which the temporary folder is made (default: the system's).
        dataset_label, setting_label: what the page calls the datasets and settings of `add`.

    Raises:
        ValueError: max_megabytes is not positive.
        ImageError: the temporary folder cannot be made.
    """

    def __init__(
        self,
        title: str,
        max_megabytes: float = 50,
        spool: str | Path | None = None,
        dataset_label: str = "Set",
        setting_label: str = "Setting",
    ) -> None:
        if not max_megabytes > 0:
            raise ValueError(f"max_megabytes must be positive, got {max_megabytes}")
        self.title = title
        self.labels = {"dataset": dataset_label, "setting": setting_label}
        self.max_bytes = round(max_megabytes * 1e6)
        self._lock = threading.Lock()
        self._entries: list[_Entry] = []
        self._windows: dict[tuple[object, ...], Window] = {}
        self._problem = ""
        self._store = _Store(spool)

    def __enter__(self) -> ReportBuilder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary folder; nothing can be added any more."""
        self._store.close()

    def add(
        self,
        *,
        dataset: str,
        setting: str,
        name: str,
        jpeg: Image | None,
        restored: Image | None,
        original: Image | None = None,
        scores_before: Scores | None = None,
        scores_after: Scores | None = None,
        note: str = "",
    ) -> None:
        """Add an image at a setting. A full disk costs its pictures, not the report.

        Args:
            dataset, setting, name: what the table shows; any text, also empty.
            jpeg, restored, original: (H, W, 3) RGB or (H, W) gray of one size, uint8 in [0, 255];
                None where there is none. An image without any is listed with its note.
            scores_before, scores_after: of the JPEG and of the restored image, where known.
            note: anything about this image, such as what was wrong with its file.

        Raises:
            ValueError: other arrays than these, or the report is finished or closed.
        """
        if self._store.closed:
            raise ValueError("this report is finished; build another one")
        given = {"jpeg": jpeg, "restored": restored, "original": original}
        pictures = {side: image for side, image in given.items() if image is not None}
        height, width = _common_size(pictures)
        change = math.nan
        if jpeg is not None and restored is not None:
            if jpeg.ndim != restored.ndim:
                jpeg, restored = as_rgb(jpeg), as_rgb(restored)
            change = float(cv2.norm(jpeg, restored, cv2.NORM_L2)) / math.sqrt(max(1, jpeg.size))
        levels: list[_Level] = []
        thumbnail = None
        try:
            if pictures:
                best = original if original is not None else next(reversed(pictures.values()))
                thumbnail = self._store.put(_thumbnail(best), "jpeg")
                for window in self._views(dataset, name, height, width, jpeg, restored, original):
                    pieces: dict[str, str] = {}
                    levels.append(_Level(window, pieces))
                    for side, image in pictures.items():
                        pieces[side] = self._store.put(window.cut(image), "webp")
        except OSError as error:
            self._problem = (
                f"Pictures are missing: the temporary folder could not be written "
                f"({error.strerror or error})."
            )
            for key in levels.pop().pieces.values() if levels else ():
                self._store.drop(key)
        entry = _Entry(
            *(dataset, setting, name, note, height, width, change),
            *(scores_before, scores_after, thumbnail, tuple(levels)),
        )
        with self._lock:
            self._entries.append(entry)
            if self._store.bytes > _SPOOL_FACTOR * self.max_bytes:
                self._prune()

    def finish(
        self,
        path: str | Path,
        facts: Mapping[str, object],
        summary: Iterable[SummaryRow] = (),
        published: Iterable[PublishedRow] = (),
    ) -> None:
        """Write the page and remove the temporary folder, also if writing fails.

        Args:
            path: the HTML file; its final name never holds half of it.
            facts: how the report was made: options, checkpoint and its hash, versions, command.
                Mappings may lie in mappings.
            summary: averages, in the order of the summary table.
            published: other methods' averages; those of sets that were not measured, or not as a
                whole, are passed over.

        Raises:
            ImageError: the file cannot be written, or the temporary folder has been removed.
            ValueError: finished or closed before.
        """
        if self._store.closed:
            raise ValueError("this report is finished; build another one")
        try:
            with self._lock:
                page = self._page(facts, list(summary), list(published))
            write_atomically(path, page)
        except OSError as error:
            raise ImageError(
                f"{path}: the temporary pictures of the report cannot be read "
                f"({error.strerror or error}); is something emptying the temporary folder?"
            ) from error
        finally:
            self.close()

    def _views(
        self,
        dataset: str,
        name: str,
        height: int,
        width: int,
        jpeg: Image | None,
        restored: Image | None,
        original: Image | None,
    ) -> Iterator[Window]:
        """Windows to show, the largest first; at all settings of one original the same ones."""
        possible = height * width <= MAX_WHOLE_PIXELS and max(height, width) <= MAX_WHOLE_SIDE
        if possible:
            yield Window(0, 0, height, width)
        for side in CROP_SIDES:
            if possible and min(side, height) * min(side, width) * 2 > height * width:
                continue
            key = (dataset, name, height, width, side)
            with self._lock:
                window = self._windows.get(key)
            if window is None:
                if jpeg is not None and restored is not None:
                    window = _changed_window(jpeg, restored, side)
                else:
                    window = _central_window(height, width, side)
                if original is not None:
                    with self._lock:
                        window = self._windows.setdefault(key, window)
            yield window

    def _prune(self) -> None:
        """Remove from disk what would have no place in a file twice as large as allowed."""
        chosen = self._chosen(2 * self.max_bytes)
        for index, (entry, level) in enumerate(zip(self._entries, chosen, strict=True)):
            first = len(entry.levels) if level is None else level
            for dropped in entry.levels[:first]:
                for key in dropped.pieces.values():
                    self._store.drop(key)
            self._entries[index] = replace(entry, levels=entry.levels[first:])

    def _chosen(self, budget: int) -> list[int | None]:
        """For each entry the index of the level to show, None for no picture.

        Everything whole if it fits. Otherwise whole pictures first, up to a share of the budget,
        then the smallest crops, then better ones as long as there is room.
        """
        entries = self._entries
        order = [i for i in _by_importance(entries) if entries[i].levels]
        chosen: list[int | None] = [None] * len(entries)
        room = _Room(self._store.sizes, budget)

        def try_level(index: int, level: int, limit: int) -> None:
            before = chosen[index]
            old = [] if before is None else entries[index].levels[before].pieces.values()
            if room.exchange(old, entries[index].levels[level].pieces.values(), limit):
                chosen[index] = level

        everything = {k for i in order for k in entries[i].levels[0].pieces.values()}
        if sum(map(room.cost, everything)) <= budget:
            for index in order:
                chosen[index] = 0
            return chosen
        for index in order:
            if entries[index].whole(entries[index].levels[0]):
                try_level(index, 0, round(_WHOLE_SHARE * budget))
        for index in order:
            if chosen[index] is None:
                try_level(index, len(entries[index].levels) - 1, budget)
        for index in order:
            for level in range(len(entries[index].levels)):
                current = chosen[index]
                if current is None or level < current:
                    try_level(index, level, budget)
        return chosen

    def _page(
        self,
        facts: Mapping[str, object],
        summary: Sequence[SummaryRow],
        published: Sequence[PublishedRow],
    ) -> bytes:
        style = (_PAGE / "page.css").read_bytes()
        script = b"\n".join((_PAGE / name).read_bytes() for name in _SCRIPTS)
        settings = dict.fromkeys(entry.setting for entry in self._entries)
        notes = {}
        for dataset in {row.dataset for row in summary}:
            rows = [row for row in summary if row.dataset == dataset]
            notes[dataset] = comparability(rows)
        data: dict[str, Any] = {
            "labels": self.labels,
            "explained": {setting: explained(setting) for setting in settings},
            "example": example_of(settings),
            "notComparable": {dataset: note for dataset, note in notes.items() if note},
            "limit": self.max_bytes,
            "problem": self._problem,
            "facts": _plain(facts),
            "summary": [
                {
                    "dataset": row.dataset,
                    "setting": row.setting,
                    "method": row.method,
                    "images": row.images,
                    "scores": _figures(row.scores),
                }
                for row in summary
            ],
            "published": [
                {
                    "dataset": row.dataset,
                    "setting": row.setting,
                    "method": row.method,
                    "source": row.source,
                    "blind": row.blind,
                    "scores": _figures((row.psnr, row.ssim, row.psnrb)),
                }
                for row in published
                if notes.get(row.dataset) == ""
            ],
            "entries": [_for_page(entry) for entry in self._entries],
        }
        spent = len(_json(data)) + len(style) + len(script) + _ENTRY_BYTES * len(self._entries)
        budget = max(0, self.max_bytes - spent)
        room = _Room(self._store.sizes, budget)
        thumbnails: set[str] = set()
        for index in _by_importance(self._entries):
            key = self._entries[index].thumbnail
            if key is not None and key not in thumbnails:
                if not room.exchange([], [key], round(_THUMBNAIL_SHARE * budget)):
                    break
                thumbnails.add(key)
        chosen = self._chosen(budget - room.used)
        keys = dict.fromkeys(sorted(thumbnails))
        for entry, level, row in zip(self._entries, chosen, data["entries"], strict=True):
            row["thumbnail"] = entry.thumbnail if entry.thumbnail in thumbnails else None
            row["shown"] = None
            if level is not None:
                view = entry.levels[level]
                window = None if entry.whole(view) else list(view.window)
                row["shown"] = {"window": window, "pieces": dict(view.pieces)}
                keys.update(dict.fromkeys(view.pieces.values()))
        title = html.escape(self.title).encode("ascii", "xmlcharrefreplace")
        contents: dict[str, Iterable[bytes]] = {
            "policy": [_policy(style, script)],
            "title": [title],
            "style": [style],
            "script": [script],
            "data": [_json(data)],
            "pieces": map(self._store.element, keys),
        }
        page = io.BytesIO()
        template = (_PAGE / "page.html").read_text(encoding="utf-8")
        for index, text in enumerate(re.split(r"\{\{(\w+)\}\}", template)):
            page.writelines([text.encode()] if index % 2 == 0 else contents[text])
        return page.getvalue()


class _Store:
    """Coded pictures in a temporary folder, each once, by the hash of its samples.

    sizes: bytes each takes in the page. bytes: all files together.
    """

    def __init__(self, parent: str | Path | None) -> None:
        try:
            self._folder = tempfile.TemporaryDirectory(prefix=".report-", dir=parent)
        except OSError as error:
            raise ImageError(
                f"no temporary folder for the report ({error.strerror or error}); "
                "free some space or set TMPDIR"
            ) from error
        self._lock = threading.Lock()
        self._uses: Counter[str] = Counter()
        self.sizes: dict[str, int] = {}
        self.bytes = 0
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self._folder.cleanup()

    def put(self, image: Image, kind: Literal["webp", "jpeg"]) -> str:
        """Code a picture, or find it coded; returns its key. Each call is a use, see `drop`.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        pixels = np.ascontiguousarray(image)
        digest = hashlib.blake2b(pixels.data, digest_size=12)
        digest.update(repr((kind, pixels.shape)).encode())
        key = digest.hexdigest()
        with self._lock:
            known = key in self.sizes
            self._uses[key] += known
        if not known:
            data = _coded(pixels, kind)
            with self._lock:
                if key not in self.sizes:
                    self._path(key).write_bytes(data)
                    self.sizes[key] = _PIECE_BYTES + 4 * math.ceil(len(data) / 3)
                    self.bytes += len(data)
                self._uses[key] += 1
        return key

    def drop(self, key: str) -> None:
        """Give one use back; with the last one the file goes."""
        with self._lock:
            self._uses[key] -= 1
            if self._uses[key] == 0:
                path = self._path(key)
                self.bytes -= path.stat().st_size
                del self.sizes[key]
                path.unlink()

    def element(self, key: str) -> bytes:
        """The picture as an inert element of the page."""
        data = self._path(key).read_bytes()
        kind = "image/webp" if data[:4] == b"RIFF" else "image/jpeg"
        start = f'<script type="text/plain" id="piece-{key}" data-type="{kind}">'
        return start.encode() + base64.b64encode(data) + b"</script>\n"

    def _path(self, key: str) -> Path:
        return Path(self._folder.name) / key


class _Room:
    """Bytes of a budget, where a picture that several images use counts once."""

    def __init__(self, sizes: Mapping[str, int], budget: int) -> None:
        self._sizes = sizes
        self._budget = budget
        self._uses: Counter[str] = Counter()
        self.used = 0

    def cost(self, key: str) -> int:
        return self._sizes[key]

    def exchange(self, old: Iterable[str], new: Iterable[str], limit: int) -> bool:
        """Take ``new`` in the place of ``old`` if that stays within ``limit``."""
        uses = Counter(dict.fromkeys(old, -1))
        uses.update(dict.fromkeys(new, 1))
        after = self.used
        for key, change in uses.items():
            here, there = self._uses[key] > 0, self._uses[key] + change > 0
            after += (there - here) * self.cost(key)
        if after > min(limit, self._budget):
            return False
        self._uses.update(uses)
        self.used = after
        return True


def _coded(image: Image, kind: Literal["webp", "jpeg"]) -> bytes:
    """A picture as a file; WebP without loss, so that differences computed in the page are true.

    The fastest method: better ones take five times as long for a tenth of the size.
    """
    settings = {"webp": {"lossless": True, "quality": 25, "method": 0}, "jpeg": {"quality": 75}}
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, kind, **settings[kind])
    return file.getvalue()


def _thumbnail(image: Image) -> Image:
    height, width = image.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _common_size(pictures: Mapping[str, Image]) -> tuple[int, int]:
    for side, image in pictures.items():
        colour = image.ndim == 3 and image.shape[2] == 3
        if image.dtype != np.uint8 or not (image.ndim == 2 or colour) or image.size == 0:
            raise ValueError(
                f"{side}: a uint8 picture (H, W, 3) or (H, W) is needed, "
                f"got {image.dtype} of shape {image.shape}"
            )
    sizes = {image.shape[:2] for image in pictures.values()}
    if len(sizes) > 1:
        given = ", ".join(f"{side} {image.shape}" for side, image in pictures.items())
        raise ValueError(f"pictures of one size are needed, got {given}")
    return sizes.pop() if sizes else (0, 0)


def _changed_window(jpeg: Image, restored: Image, side: int) -> Window:
    """The window of at most ``side`` pixels that changed most; large pictures are looked at reduced
    and strip by strip, which takes little memory."""
    height, width = jpeg.shape[:2]
    factor = max(1, math.ceil(math.sqrt(height * width / _CHANGE_MAP_PIXELS)))
    factor = min(factor, side, height, width)
    strip = _STRIP_ROWS * factor
    maps: list[Image] = []
    for start in range(0, height, strip):
        part = slice(start, start + strip)
        change = cv2.absdiff(jpeg[part], restored[part])
        size = max(1, width // factor), max(1, change.shape[0] // factor)
        reduced = cv2.resize(change, size, interpolation=cv2.INTER_AREA)
        maps.append(np.asarray(reduced, dtype=np.uint8))
    changes = np.concatenate(maps, 0)
    found = busiest_window(changes, np.zeros_like(changes), max(1, side // factor))
    across, down = width / changes.shape[1], height / changes.shape[0]
    rows, columns = min(side, height), min(side, width)
    top = min(round(found.top * down), height - rows)
    left = min(round(found.left * across), width - columns)
    return Window(top, left, rows, columns)


def _central_window(height: int, width: int, side: int) -> Window:
    rows, columns = min(side, height), min(side, width)
    return Window((height - rows) // 2, (width - columns) // 2, rows, columns)


def _by_importance(entries: Sequence[_Entry]) -> list[int]:
    """Indices of all entries: by turns the worst gain, the best, and one of a spread of all.

    Without scores, by turns the one that changed most, the one that changed least, and the spread.
    """

    def rank(index: int) -> float:
        gain, change = entries[index].gain, entries[index].change
        value = -change if math.isnan(gain) else gain
        return math.inf if math.isnan(value) else value

    ranked = sorted(range(len(entries)), key=rank)
    spread = [ranked[i] for i in _halving_order(len(ranked))]
    turns = zip(ranked, reversed(ranked), spread, strict=True)
    return list(dict.fromkeys(index for turn in turns for index in turn))


def _halving_order(count: int) -> list[int]:
    """0 .. count - 1 so that every beginning is spread evenly: by mirrored binary digits."""
    bits = max(1, (count - 1).bit_length())
    mirrored = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits))
    return [i for i in mirrored if i < count]


def _for_page(entry: _Entry) -> dict[str, Any]:
    return {
        "dataset": entry.dataset,
        "setting": entry.setting,
        "name": entry.name,
        "note": entry.note,
        "height": entry.height,
        "width": entry.width,
        "change": _figure(entry.change, 3),
        "before": _figures(entry.before),
        "after": _figures(entry.after),
    }


def _figures(scores: Sequence[float | None] | None) -> list[float | str | None] | None:
    if scores is None:
        return None
    return [_figure(value, digits) for value, digits in zip(scores, (4, 6, 4), strict=True)]


def _figure(value: float | None, digits: int) -> float | str | None:
    """JSON has no infinity and no nan: "Infinity" (JavaScript's spelling) and None."""
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return round(float(value), digits)


def _plain(value: object) -> Any:
    """What JSON can hold: mappings, lists, text, numbers, True, False, None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def _json(data: object) -> bytes:
    """ASCII without "<", so that no text in it can end the element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("ascii")


def _policy(style: bytes, script: bytes) -> bytes:
    """Content security policy: this style, this script, pictures in the file, and nothing else."""

    def source(content: bytes) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"

    rules = (
        "default-src 'none'",
        "img-src data: blob:",
        f"style-src {source(style)}",
        f"script-src {source(script)}",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules).encode()
