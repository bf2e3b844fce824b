"""A report as one HTML file that works from disk: pictures to compare, figures, how it was made.

Pictures are added one at a time and coded at once into a temporary folder, so that memory stays
small. Only at the end it is known which of them fit the file; the others are shown as crops or not
at all, and the page says so. The page itself is in ``page/``.
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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import PIL.Image

from utils.evaluation.metrics import Scores
from utils.evaluation.published import PublishedRow
from utils.evaluation.tables import SummaryRow, comparability, example_of, explained
from utils.image_io import ImageError, write_atomically
from utils.pictures import Image, Window, as_rgb, busiest_window

CROP_SIDES = (1024, 256)
"""Sides of the square crops that take the place of whole pictures, the better one first."""

MAX_WHOLE_PIXELS = 24_000_000
MAX_WHOLE_SIDE = 16_383
"""Larger pictures are shown as crops only: browsers and WebP have limits of this size."""

THUMBNAIL_SIDE = 96

_PAGE = Path(__file__).with_name("page")
_SCRIPTS = ("common.js", "viewer.js", "image_table.js", "curves.js", "run.js", "page.js")

_THUMBNAIL_SHARE = 0.1
_LEVEL_SHARES = (0.6, 0.8, 1.0)
"""Shares of the file that are filled with the largest ways to show images, then with the second,
then with the smallest."""

_SPOOL_FACTOR = 4
_ENTRY_BYTES = 220
_PIECE_BYTES = 100
_CHANGE_MAP_PIXELS = 2_000_000
_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class _Level:
    """One way to show an image: the window of it, None for all, and each side's coded picture."""

    window: Window | None
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
    levels: list[_Level]

    @property
    def gain(self) -> float:
        """PSNR gain in dB; nan without scores."""
        if self.before is None or self.after is None:
            return math.nan
        return self.after.psnr - self.before.psnr

    def for_page(self, shown: int | None, thumbnails: Collection[str]) -> dict[str, Any]:
        """What the page knows of it. shown: index of the level it has, None without pictures."""
        row = {name: value for name, value in vars(self).items() if name != "levels"}
        row["thumbnail"] = self.thumbnail if self.thumbnail in thumbnails else None
        row["shown"] = None if shown is None else vars(self.levels[shown])
        return row


class ReportBuilder:
    """Collects images and figures, then writes ``report.html``.

    Use it as a context manager: leaving it removes the temporary folder.

    Args:
        title: heading of the page.
        max_megabytes: about how large the file may become (10^6 bytes); up to three times as much
            is in memory while it is written, and up to four times as much on disk before.
        dataset_label, setting_label, before_label: what the page calls the datasets, settings and
            unrestored pictures of `add`.

    Raises:
        ImageError: the temporary folder cannot be made.
    """

    def __init__(
        self,
        title: str,
        max_megabytes: float = 50,
        dataset_label: str = "Set",
        setting_label: str = "Setting",
        before_label: str = "JPEG",
    ) -> None:
        self.title = title
        self.labels = {"dataset": dataset_label, "setting": setting_label, "before": before_label}
        self.max_bytes = round(max_megabytes * 1e6)
        self._entries: list[_Entry] = []
        self._windows: dict[tuple[object, ...], Window] = {}
        self._problem = ""
        self._store = _Store()

    def __enter__(self) -> ReportBuilder:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.folder.cleanup()

    def add(
        self,
        *,
        dataset: str,
        setting: str,
        name: str,
        jpeg: Image | None = None,
        restored: Image | None = None,
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
            ValueError: pictures of several sizes.
        """
        given = {"jpeg": jpeg, "restored": restored, "original": original}
        pictures = {side: image for side, image in given.items() if image is not None}
        sizes = {image.shape[:2] for image in pictures.values()}
        if len(sizes) > 1:
            raise ValueError(f"pictures of one size are needed, got {sorted(sizes)}")
        height, width = sizes.pop() if sizes else (0, 0)
        change = math.nan
        changed = None
        if jpeg is not None and restored is not None:
            changed = as_rgb(jpeg), as_rgb(restored)
            change = float(cv2.norm(*changed, cv2.NORM_L2)) / math.sqrt(changed[0].size)
        # All settings of one original are shown in the same windows.
        known = {} if original is None else self._windows
        levels: list[_Level] = []
        thumbnail = None
        try:
            if pictures:
                best = original if original is not None else next(reversed(pictures.values()))
                thumbnail = self._store.put(_thumbnail(best), "jpeg")
                for side in _sides(height, width):
                    key = (dataset, name, height, width, side)
                    window = known.get(key) or _window(height, width, side, changed)
                    known[key] = window
                    pieces = {
                        kind: self._store.put(window.cut(image), "webp")
                        for kind, image in pictures.items()
                    }
                    levels.append(_Level(None if side is None else window, pieces))
        except OSError as error:
            self._problem = (
                f"Pictures are missing: the temporary folder could not be written "
                f"({error.strerror or error})."
            )
        self._entries.append(
            _Entry(
                *(dataset, setting, name, note, height, width, change),
                *(scores_before, scores_after, thumbnail, levels),
            )
        )
        if self._store.bytes > _SPOOL_FACTOR * self.max_bytes:
            self._prune()

    def finish(
        self,
        path: str | Path,
        facts: Mapping[str, object],
        summary: Iterable[SummaryRow] = (),
        published: Iterable[PublishedRow] = (),
    ) -> None:
        """Write the page.

        Args:
            path: the HTML file; its final name never holds half of it.
            facts: how the report was made: options, checkpoint and its hash, versions, command.
                Mappings may lie in mappings.
            summary: averages, in the order of the summary table.
            published: other methods' averages; those of sets that were not measured, or not as a
                whole, are passed over.

        Raises:
            ImageError: the file cannot be written, or the temporary folder has been removed.
        """
        try:
            write_atomically(path, self._page(facts, list(summary), list(published)))
        except OSError as error:
            raise ImageError(
                f"{path}: the temporary pictures of the report cannot be read "
                f"({error.strerror or error}); is something emptying the temporary folder?"
            ) from error

    def _prune(self) -> None:
        """Remove from disk what would have no place in a file twice as large as allowed."""
        kept = set()
        for entry, level in zip(self._entries, self._chosen(2 * self.max_bytes), strict=True):
            del entry.levels[: len(entry.levels) if level is None else level]
            kept |= {entry.thumbnail}.union(*(each.pieces.values() for each in entry.levels))
        self._store.keep(kept)

    def _chosen(self, budget: int) -> list[int | None]:
        """For each entry the index of the level to show, None for no picture.

        Everything whole if it fits. Otherwise, see `_LEVEL_SHARES`, the most important ones whole,
        and smaller and smaller crops of the others as long as there is room.
        """
        entries = self._entries
        room = _Room(self._store.sizes)
        best = (key for e in entries for level in e.levels[:1] for key in level.pieces.values())
        if room.take(best, budget):
            return [0 if entry.levels else None for entry in entries]
        chosen: list[int | None] = [None] * len(entries)
        for number, share in enumerate(_LEVEL_SHARES):
            for index in _by_importance(entries):
                level = min(number, len(entries[index].levels) - 1)
                if chosen[index] is None and level >= 0:
                    pieces = entries[index].levels[level].pieces.values()
                    if room.take(pieces, round(share * budget)):
                        chosen[index] = level
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
        notes = {
            dataset: comparability([row for row in summary if row.dataset == dataset])
            for dataset in {row.dataset for row in summary}
        }
        data: dict[str, Any] = {
            "labels": self.labels,
            "explained": {setting: explained(setting) for setting in settings},
            "example": example_of(settings),
            "notComparable": {dataset: note for dataset, note in notes.items() if note},
            "limit": self.max_bytes,
            "problem": self._problem,
            "facts": facts,
            "summary": [asdict(row) for row in summary],
            "published": [
                {**asdict(row), "scores": (row.psnr, row.ssim, row.psnrb)}
                for row in published
                if notes.get(row.dataset) == ""
            ],
            "entries": [entry.for_page(None, ()) for entry in self._entries],
        }
        spent = len(_json(data)) + len(style) + len(script) + _ENTRY_BYTES * len(self._entries)
        budget = max(0, self.max_bytes - spent)
        thumbnails = _Room(self._store.sizes)
        for index in _by_importance(self._entries):
            key = self._entries[index].thumbnail
            if key and not thumbnails.take([key], round(_THUMBNAIL_SHARE * budget)):
                break
        chosen = self._chosen(budget - thumbnails.used)
        rows = [
            entry.for_page(level, thumbnails.keys)
            for entry, level in zip(self._entries, chosen, strict=True)
        ]
        pieces = thumbnails.keys.union(*(r["shown"]["pieces"].values() for r in rows if r["shown"]))
        contents = {
            b"style_hash": _hash(style),
            b"script_hash": _hash(script),
            b"title": html.escape(self.title).encode("ascii", "xmlcharrefreplace"),
            b"style": style,
            b"script": script,
            b"data": _json({**data, "entries": rows}),
            b"pieces": b"".join(map(self._store.element, sorted(pieces))),
        }
        template = (_PAGE / "page.html").read_bytes()
        return re.sub(rb"\{\{(\w+)\}\}", lambda found: contents[found[1]], template)


class _Store:
    """Coded pictures in a temporary folder, each once, by the hash of its samples.

    folder: where they lie. sizes: bytes each takes in the page. bytes: all files together.
    """

    def __init__(self) -> None:
        try:
            self.folder = tempfile.TemporaryDirectory(prefix=".report-")
        except OSError as error:
            raise ImageError(
                f"no temporary folder for the report ({error.strerror or error}); "
                "free some space or set TMPDIR"
            ) from error
        self.sizes: dict[str, int] = {}
        self.bytes = 0

    def put(self, image: Image, kind: Literal["webp", "jpeg"]) -> str:
        """Code a picture, or find it coded; returns its key.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        pixels = np.ascontiguousarray(image)
        digest = hashlib.blake2b(pixels.data, digest_size=12)
        digest.update(repr((kind, pixels.shape)).encode())
        key = digest.hexdigest()
        if key not in self.sizes:
            data = _coded(pixels, kind)
            self._path(key).write_bytes(data)
            self.sizes[key] = _PIECE_BYTES + 4 * math.ceil(len(data) / 3)
            self.bytes += len(data)
        return key

    def keep(self, keys: Collection[str | None]) -> None:
        """Remove all other pictures."""
        for key in self.sizes.keys() - keys:
            del self.sizes[key]
            self.bytes -= self._path(key).stat().st_size
            self._path(key).unlink()

    def element(self, key: str) -> bytes:
        """The picture as an inert element of the page."""
        data = self._path(key).read_bytes()
        kind = "image/webp" if data[:4] == b"RIFF" else "image/jpeg"
        start = f'<script type="text/plain" id="piece-{key}" data-type="{kind}">'
        return start.encode() + base64.b64encode(data) + b"</script>\n"

    def _path(self, key: str) -> Path:
        return Path(self.folder.name) / key


class _Room:
    """Pictures that have a place, and their bytes; one that several images use counts once."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self.keys: set[str] = set()
        self.used = 0

    def take(self, keys: Iterable[str], limit: int) -> bool:
        """Give these a place if all then stay within ``limit`` bytes."""
        new = set(keys) - self.keys
        used = self.used + sum(self._sizes[key] for key in new)
        if used > limit:
            return False
        self.keys |= new
        self.used = used
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
    picture = PIL.Image.fromarray(image)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return np.asarray(picture)


def _sides(height: int, width: int) -> Iterator[int | None]:
    """Sides of the windows in which an image is shown, the largest first; None for all of it."""
    possible = height * width <= MAX_WHOLE_PIXELS and max(height, width) <= MAX_WHOLE_SIDE
    if possible:
        yield None
    for side in CROP_SIDES:
        if not possible or min(side, height) * min(side, width) * 2 <= height * width:
            yield side


def _window(
    height: int, width: int, side: int | None, changed: tuple[Image, Image] | None
) -> Window:
    """The window of at most ``side`` pixels in which two pictures differ most, without them the
    central one. Large pictures are looked at reduced."""
    if side is None:
        return Window(0, 0, height, width)
    rows, columns = min(side, height), min(side, width)
    if changed is None:
        return Window((height - rows) // 2, (width - columns) // 2, rows, columns)
    factor = max(1, math.ceil(math.sqrt(height * width / _CHANGE_MAP_PIXELS)))
    size = max(1, width // factor), max(1, height // factor)
    reduced = cv2.resize(cv2.absdiff(*changed), size, interpolation=cv2.INTER_AREA)
    changes = np.asarray(reduced, dtype=np.uint8)
    found = busiest_window(changes, np.zeros_like(changes), max(1, side // factor))
    top = min(round(found.top * height / size[1]), height - rows)
    left = min(round(found.left * width / size[0]), width - columns)
    return Window(top, left, rows, columns)


def _by_importance(entries: Sequence[_Entry]) -> list[int]:
    """Indices of all entries: by turns the worst gain, the best, and one of a spread of all.

    Without scores, by turns the one that changed most, the one that changed least, and the spread.
    """

    def rank(index: int) -> float:
        gain, change = entries[index].gain, entries[index].change
        value = -change if math.isnan(gain) else gain
        return math.inf if math.isnan(value) else value

    ranked = sorted(range(len(entries)), key=rank)
    # Multiples of the golden ratio: every beginning of this order is spread evenly.
    spread = [ranked[i] for i in sorted(range(len(ranked)), key=lambda i: i * _GOLDEN_RATIO % 1)]
    turns = zip(ranked, reversed(ranked), spread, strict=True)
    return list(dict.fromkeys(index for turn in turns for index in turn))


def _plain(value: object) -> Any:
    """The same for JSON, which has no nan, here None, and no infinity, here its name."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value).replace("inf", "Infinity")
    return value


def _json(data: object) -> bytes:
    """ASCII without "<", so that no text in it can end the element it stands in."""
    text = json.dumps(_plain(data), default=str, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").encode("ascii")


def _hash(content: bytes) -> bytes:
    """What the page's content security policy calls this style or script."""
    return b"sha256-" + base64.b64encode(hashlib.sha256(content).digest())
