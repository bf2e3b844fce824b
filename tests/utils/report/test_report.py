"""utils/report/report.py and its page: what the file holds, and what a browser makes of it."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import skimage.data
from numpy.typing import NDArray

from tests.browser import PHONE, Visit, chromium, screenshot_folder, until
from tests.conftest import photograph
from utils.evaluation.metrics import Scores, measure
from utils.evaluation.published import PublishedRow
from utils.evaluation.tables import SummaryRow
from utils.image_io import ImageError
from utils.report import report
from utils.report.report import ReportBuilder

Image = NDArray[np.uint8]

HOSTILE = '<img src=x onerror=alert(1)>"&</script><script>alert(2)</script>.jpg'

FACTS = {
    "command": "python test_color_IJCN.py --set name=<b>bold</b>",
    "checkpoint": Path("model_zoo/Color_IJCN.safetensors"),
    "seconds": math.nan,
    "options": {"qualities": [10, 40], "tiles": {"side": 512}, "nothing": None},
}


def _jpeg(image: Image, quality: int) -> Image:
    pixels = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), dtype=np.uint8)
    return decoded if image.ndim == 2 else np.ascontiguousarray(decoded[:, :, ::-1])


def _restored(jpeg: Image) -> Image:
    return np.asarray(cv2.bilateralFilter(jpeg, 5, 20, 2), dtype=np.uint8)


def _add(
    builder: ReportBuilder, name: str, original: Image, quality: int, dataset: str = "Photos"
) -> tuple[Scores, Scores]:
    """Add an image as the evaluator does; returns its scores."""
    jpeg = _jpeg(original, quality)
    restored = _restored(jpeg)
    before = measure(restored=jpeg, original=original)
    after = measure(restored=restored, original=original)
    builder.add(
        dataset=dataset,
        setting=f"QF{quality}",
        name=name,
        jpeg=jpeg,
        restored=restored,
        original=original,
        scores_before=before,
        scores_after=after,
    )
    return before, after


def _data(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def _pieces(path: Path) -> dict[str, Image]:
    """The pictures a page holds, by key."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r'<script type="text/plain" id="piece-(\w+)" data-type="[^"]+">(.*?)<', text)
    return {
        key: np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data)))) for key, data in found
    }


# What the file holds


def test_pictures_are_exact_and_an_original_is_stored_once(tmp_path: Path) -> None:
    original = photograph(40, 56)
    with ReportBuilder("title") as builder:
        for quality in (10, 40):
            _add(builder, "one", original, quality)
        builder.finish(tmp_path / "report.html", {})
    data, pieces = _data(tmp_path / "report.html"), _pieces(tmp_path / "report.html")
    assert len(pieces) == 1 + 2 * 2 + 1  # original, JPEG and restored of each, a thumbnail
    for entry, quality in zip(data["entries"], (10, 40), strict=True):
        shown = entry["shown"]
        assert shown["window"] is None
        jpeg = _jpeg(original, quality)
        expected = {"jpeg": jpeg, "restored": _restored(jpeg), "original": original}
        for side, image in expected.items():
            np.testing.assert_array_equal(pieces[shown["pieces"][side]], image)


def test_gray_pictures_and_mixed_channels(tmp_path: Path) -> None:
    gray = photograph(24, 32)[:, :, 0].copy()
    with ReportBuilder("title") as builder:
        builder.add(dataset="", setting="", name="g", jpeg=gray, restored=np.dstack([gray ^ 4] * 3))
        builder.finish(tmp_path / "report.html", {})
    (entry,) = _data(tmp_path / "report.html")["entries"]
    pieces = _pieces(tmp_path / "report.html")
    assert entry["change"] == 4
    np.testing.assert_array_equal(pieces[entry["shown"]["pieces"]["jpeg"]][:, :, 0], gray)


def test_a_large_set_stays_within_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with ReportBuilder("title", max_megabytes=1) as builder:
        gains = {}
        for index in range(12):
            before, after = _add(builder, f"im{index}", photograph(300, 420, seed=index), 40)
            gains[f"im{index}"] = after.psnr - before.psnr
        builder.finish(path, FACTS)
    assert 500_000 < path.stat().st_size <= 1_000_000
    entries = _data(path)["entries"]
    whole = {e["name"] for e in entries if e["shown"] and e["shown"]["window"] is None}
    cropped = [e for e in entries if e["shown"] and e["shown"]["window"]]
    assert min(gains, key=lambda name: gains[name]) in whole
    assert whole
    assert cropped or any(e["shown"] is None for e in entries)
    pieces = _pieces(path)
    for entry in cropped:
        _, _, height, width = entry["shown"]["window"]
        assert pieces[entry["shown"]["pieces"]["jpeg"]].shape == (height, width, 3)
    assert len(_data(path)["entries"]) == 12


def test_the_crop_is_where_the_pictures_differ_and_one_for_all_settings(tmp_path: Path) -> None:
    original = photograph(600, 700)
    path = tmp_path / "report.html"
    with ReportBuilder("title", max_megabytes=1) as builder:
        for setting in ("QF10", "QF40"):
            restored = original.copy()
            where = slice(400, 440) if setting == "QF10" else slice(10, 50)
            restored[where, 500:540] ^= 64
            builder.add(
                dataset="A",
                setting=setting,
                name="one",
                jpeg=original,
                restored=restored,
                original=original,
            )
        builder.finish(path, {})
    windows = [entry["shown"]["window"] for entry in _data(path)["entries"]]
    assert windows[0] == windows[1]
    top, left, height, width = windows[0]
    assert (height, width) == (256, 256)
    assert top <= 400
    assert top + height >= 440
    assert left <= 500
    assert left + width >= 540


def test_crops_of_large_pictures_are_found_strip_by_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_CHANGE_MAP_PIXELS", 500)
    monkeypatch.setattr(report, "_STRIP_ROWS", 3)
    one = np.zeros((203, 307, 3), np.uint8)
    for top, left in [(0, 0), (150, 260), (195, 300), (90, 5)]:
        other = one.copy()
        other[top : top + 8, left : left + 7] = 200
        window = report._changed_window(one, other, 64)
        assert (window.height, window.width) == (64, 64)
        cut = window.cut(other)
        assert (cut > 0).sum() > 0.6 * (other > 0).sum()


def test_a_picture_too_large_for_browsers_is_cropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_WHOLE_PIXELS", 100_000)
    monkeypatch.setattr(report, "CROP_SIDES", (280, 64))
    image = photograph(300, 400)
    with ReportBuilder("title") as builder:
        builder.add(dataset="", setting="", name="big", jpeg=image, restored=_restored(image))
        builder.finish(tmp_path / "report.html", {})
    (entry,) = _data(tmp_path / "report.html")["entries"]
    assert entry["shown"]["window"][2:] == [280, 280]
    assert (entry["height"], entry["width"]) == (300, 400)


def test_infinite_and_unknown_figures_survive(tmp_path: Path) -> None:
    image = photograph(16, 16)
    with ReportBuilder("title") as builder:
        builder.add(
            dataset="A",
            setting="QF100",
            name="same",
            jpeg=image,
            restored=image,
            original=image,
            scores_before=Scores(40.0, math.nan, 39.0),
            scores_after=Scores(math.inf, math.nan, math.inf),
        )
        builder.finish(tmp_path / "report.html", FACTS)
    data = _data(tmp_path / "report.html")
    assert data["entries"][0]["before"] == [40.0, None, 39.0]
    assert data["entries"][0]["after"] == ["Infinity", None, "Infinity"]
    assert data["facts"]["seconds"] == "nan"
    assert data["facts"]["options"]["tiles"] == {"side": 512}
    assert data["facts"]["checkpoint"] == str(FACTS["checkpoint"])


def test_text_from_outside_cannot_end_the_element_it_stands_in(tmp_path: Path) -> None:
    broken = b"bad\xff.jpg".decode(errors="surrogateescape")
    with ReportBuilder(f"<script>alert(3)</script>{broken}{{{{data}}}}") as builder:
        _add(builder, HOSTILE, photograph(16, 24), 10, dataset="</script>")
        _add(builder, broken, photograph(16, 24), 10)
        builder.finish(tmp_path / "report.html", FACTS | {HOSTILE: HOSTILE})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "alert(1)>" in text  # the name is there, but without any "<" before it
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    data = _data(tmp_path / "report.html")
    assert [entry["name"] for entry in data["entries"]] == [HOSTILE, broken]


def test_published_rows_of_whole_sets_only(tmp_path: Path) -> None:
    published = [PublishedRow("Classic5", "QF10", "FBCNN", 30.12, 0.822, 29.8, "table 2")]
    for images in (4, 5):
        summary = [SummaryRow("Classic5", "QF10", "IJCN", images, Scores(30.0, 0.9, 29.0))]
        with ReportBuilder("title") as builder:
            builder.finish(tmp_path / "report.html", {}, summary, published)
        data = _data(tmp_path / "report.html")
        assert len(data["published"]) == (images == 5)
        assert data["notComparable"] == (
            {}
            if images == 5
            else {"Classic5": "4 of 5 images: not comparable with published figures"}
        )


def test_published_rows_of_measured_sets_only(tmp_path: Path) -> None:
    summary = [SummaryRow("A", "QF10", "IJCN", 1, Scores(30.0, 0.9, 29.0))]
    published = [
        PublishedRow("A", "QF10", "FBCNN", 27.77, None, None, "table 1"),
        PublishedRow("B", "QF10", "FBCNN", 26.0, None, None, "table 2"),
    ]
    with ReportBuilder("title") as builder:
        builder.finish(tmp_path / "report.html", {}, summary, published)
    data = _data(tmp_path / "report.html")
    assert [row["source"] for row in data["published"]] == ["table 1"]
    assert data["published"][0]["scores"] == [27.77, None, None]
    assert data["summary"][0]["scores"] == [30.0, 0.9, 29.0]


# Misuse, faults, cleaning up


@pytest.mark.parametrize(
    "change",
    [
        {"jpeg": np.zeros((8, 8), np.float32)},
        {"jpeg": np.zeros((8, 8, 4), np.uint8)},
        {"restored": np.zeros((8, 9, 3), np.uint8)},
        {"original": np.zeros((0, 8, 3), np.uint8)},
    ],
)
def test_other_arrays_are_refused(change: dict[str, Any]) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with ReportBuilder("title") as builder, pytest.raises(ValueError, match="needed, got"):
        builder.add(
            **{"dataset": "", "setting": "", "name": "", "jpeg": image, "restored": image, **change}
        )


def test_limits_must_be_positive() -> None:
    for limit in (0, -1, math.nan):
        with pytest.raises(ValueError, match="max_megabytes"):
            ReportBuilder("title", max_megabytes=limit)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path, spool: Path) -> None:
    builder = ReportBuilder("title", spool=spool)
    _add(builder, "one", photograph(16, 24), 10)
    assert any(spool.iterdir())
    builder.finish(tmp_path / "report.html", {})
    assert not any(spool.iterdir())
    with pytest.raises(ValueError, match="finished"):
        builder.finish(tmp_path / "report.html", {})
    with pytest.raises(ValueError, match="finished"):
        _add(builder, "two", photograph(16, 24), 10)

    def failing() -> None:
        with ReportBuilder("title", spool=spool) as other:
            _add(other, "one", photograph(16, 24), 10)
            raise RuntimeError("the evaluation failed")

    with pytest.raises(RuntimeError):
        failing()
    assert not any(spool.iterdir())


def test_an_unwritable_place_is_one_line_and_leaves_nothing(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    builder = ReportBuilder("title", spool=spool)
    _add(builder, "one", photograph(16, 24), 10)
    with pytest.raises(ImageError, match="cannot be written") as error:
        builder.finish(tmp_path / "file" / "report.html", {})
    assert "\n" not in str(error.value)
    assert not any(spool.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "spool"]
    with pytest.raises(ImageError, match="no temporary folder"):
        ReportBuilder("title", spool=tmp_path / "file")


def test_a_full_disk_costs_pictures_not_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.parent.name.startswith(".report-"):
            raise OSError(28, "No space left on device")
        return write(path, data)

    with ReportBuilder("title") as builder:
        _add(builder, "one", photograph(16, 24), 10)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", full)
            _add(builder, "two", photograph(24, 24), 10)
        builder.finish(tmp_path / "report.html", {})
    data = _data(tmp_path / "report.html")
    assert [bool(entry["shown"]) for entry in data["entries"]] == [True, False]
    assert "No space left" in data["problem"]


def test_an_emptied_temporary_folder_is_reported(tmp_path: Path, spool: Path) -> None:
    builder = ReportBuilder("title", spool=spool)
    _add(builder, "one", photograph(16, 24), 10)
    for path in spool.rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(ImageError, match="temporary pictures of the report cannot be read"):
        builder.finish(tmp_path / "report.html", {})
    assert not (tmp_path / "report.html").exists()


def test_the_temporary_folder_is_bounded(tmp_path: Path, spool: Path) -> None:
    """However many images come, no more than some times the limit is on disk."""
    largest = 0
    with ReportBuilder("title", max_megabytes=0.4, spool=spool) as builder:
        for index in range(40):
            _add(builder, f"im{index}", photograph(120, 160, seed=index), 40)
            files = [path for path in spool.rglob("*") if path.is_file()]
            largest = max(largest, sum(path.stat().st_size for path in files))
        builder.finish(tmp_path / "report.html", {})
    assert 500_000 < largest < 1_800_000
    assert (tmp_path / "report.html").stat().st_size <= 400_000
    assert any(entry["shown"] for entry in _data(tmp_path / "report.html")["entries"])


def test_several_threads_may_add(tmp_path: Path) -> None:
    originals = [photograph(32, 48, seed=index % 3) for index in range(12)]
    with ReportBuilder("title", max_megabytes=0.15) as builder, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: _add(builder, f"im{i}", originals[i], 10 + i), range(12)))
        builder.finish(tmp_path / "report.html", {})
    names = {entry["name"] for entry in _data(tmp_path / "report.html")["entries"]}
    assert names == {f"im{index}" for index in range(12)}


def test_importance_takes_turns_and_misses_none() -> None:
    def entry(gain: float) -> Any:
        scores = None if math.isnan(gain) else Scores(gain, 0, 0)
        zero = None if scores is None else Scores(0.0, 0, 0)
        return report._Entry("", "", "", "", 8, 8, math.nan, zero, scores, None, ())

    order = report._by_importance([entry(g) for g in (3, 1, 2, 5, 4, math.nan)])
    assert order[0] == 1  # the worst gain
    assert order[1] == 5  # nothing known: beyond the best
    assert sorted(order) == list(range(6))
    assert order.index(3) < order.index(0)
    assert report._by_importance([]) == []


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def shots() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield screenshot_folder(Path(folder))


PHOTOGRAPHS = {
    "astronaut": lambda: skimage.data.astronaut()[0:256, 100:420],
    "coffee": lambda: skimage.data.coffee()[60:316, 150:470],
    HOSTILE: lambda: skimage.data.chelsea()[20:276, 90:410],
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three images at two qualities, with averages and published curves."""
    path = tmp_path_factory.mktemp("scored") / "report.html"
    found: dict[tuple[str, str], list[Scores]] = {}
    with ReportBuilder("Three photographs & <i>hostile</i> names") as builder:
        for name, read in PHOTOGRAPHS.items():
            for quality in (10, 40):
                pair = _add(builder, name, np.ascontiguousarray(read()), quality)
                for method, scores in zip(("JPEG", "IJCN"), pair, strict=True):
                    found.setdefault((f"QF{quality}", method), []).append(scores)
        summary = [
            SummaryRow("Photos", setting, method, 3, Scores(*map(float, np.mean(scores, 0))))
            for (setting, method), scores in found.items()
        ]
        published = [
            PublishedRow("Photos", f"QF{q}", method, 27 + q / 10 + more, 0.8, None, HOSTILE)
            for q in (10, 20, 30, 40)
            for method, more in (("JPEG", 0.0), ("FBCNN", 1.5), ("QGAC", 1.2))
        ]
        builder.finish(path, FACTS, summary, published)
    return path


@pytest.fixture(scope="module")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report as of real files: no originals, notes, one file without pictures."""
    path = tmp_path_factory.mktemp("unscored") / "report.html"
    labels = {"dataset_label": "Folder", "setting_label": "Status"}
    with ReportBuilder("Restored files", **labels) as builder:
        for name, read in PHOTOGRAPHS.items():
            jpeg = _jpeg(np.ascontiguousarray(read()), 25)
            builder.add(
                dataset="holiday",
                setting="restored",
                name=f"IMG_20230814_{name}.jpg",
                jpeg=jpeg,
                restored=_restored(jpeg),
                note="YCbCr 4:2:0, quality 25; damaged: 3 of 40 rows are missing",
            )
        builder.add(
            dataset="scans",
            setting="failed",
            name="broken.jpg",
            jpeg=None,
            restored=None,
            note="empty file; give a whole one, or leave this one out of what is to be restored",
        )
        builder.finish(path, FACTS)
    return path


@pytest.fixture
def visit(browser: Any, scored: Path) -> Iterator[Visit]:
    """The scored report on a desktop; at the end nothing may have gone wrong."""
    opened = Visit(browser, scored)
    _settled(opened.page)
    yield opened
    assert opened.complaints == []
    assert opened.network == []
    opened.close()


def _settled(page: Any) -> None:
    """Wait until the chosen image is decoded and shown."""
    until(page, "viewer.entry !== null && viewer.entry === table.chosen")


def _pixel(page: Any, x: float, y: float) -> list[int]:
    """What the canvas shows at a place of its frame, both from 0 to 1."""
    found: list[int] = page.evaluate(
        """([x, y]) => {
          const canvas = document.getElementById("canvas");
          const place = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
          const copy = canvasOf(1, 1).getContext("2d");
          copy.drawImage(canvas, ...place, 1, 1, 0, 0, 1, 1);
          return [...copy.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        [x, y],
    )
    return found


def _expected_pixel(page: Any, image: Image, x: float, y: float) -> list[int]:
    """What an image shows there, under the viewer's zoom and position."""
    place = page.evaluate(
        """([x, y]) => {
          const frame = viewer.frame();
          return [viewer.centre.x + (x - 0.5) * frame.width / viewer.scale,
                  viewer.centre.y + (y - 0.5) * frame.height / viewer.scale];
        }""",
        [x, y],
    )
    return [int(value) for value in image[math.floor(place[1]), math.floor(place[0])]]


def _pictures_of(page: Any) -> tuple[Image, Image, Image]:
    """Original, JPEG and restored picture of the image that is shown."""
    name, setting = page.evaluate("[viewer.entry.name, viewer.entry.setting]")
    original = np.ascontiguousarray(PHOTOGRAPHS[name]())
    jpeg = _jpeg(original, int(setting.removeprefix("QF")))
    return original, jpeg, _restored(jpeg)


def _zoom_in(page: Any, x: float = 0.5, y: float = 0.5, notches: int = 12) -> None:
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    for _ in range(notches):
        page.mouse.wheel(0, -200)
    until(page, "!viewer.fitted")


def test_page_starts_with_the_worst_gain(visit: Visit, shots: Path) -> None:
    page = visit.page
    gains = page.evaluate("table.order.map((entry) => gain(entry, 0))")
    assert gains == sorted(gains)
    assert page.evaluate("viewer.entry === table.order[0]")
    assert page.locator("#position").inner_text() == "1 of 6"
    assert page.locator("th[aria-sort=ascending]").inner_text().split() == ["PSNR", "gain"]
    before = page.evaluate("score(viewer.entry, 'before', 0)")
    assert page.locator("#figures tbody td").first.inner_text() == f"{before:.2f}"
    page.screenshot(path=shots / "desktop.png")
    page.screenshot(path=shots / "desktop_whole.png", full_page=True)


def test_left_shows_the_jpeg_and_right_the_restored_image_sample_by_sample(visit: Visit) -> None:
    page = visit.page
    _zoom_in(page)
    assert page.evaluate("viewer.scale") > 8
    _, jpeg, restored = _pictures_of(page)
    places = [(x, y) for x in (0.1, 0.4, 0.6, 0.9) for y in (0.2, 0.5, 0.8)]
    for x, y in places:
        image = jpeg if x < 0.5 else restored
        assert _pixel(page, x, y) == _expected_pixel(page, image, x, y)
    page.locator("#left").select_option("original")
    original = _pictures_of(page)[0]
    assert _pixel(page, 0.1, 0.5) == _expected_pixel(page, original, 0.1, 0.5)
    assert page.locator("#presets input:checked").count() == 0


def test_the_divider_moves_by_slider_and_mouse(visit: Visit) -> None:
    page = visit.page
    slider = page.locator("#split")
    slider.focus()
    page.keyboard.press("End")
    assert page.evaluate("viewer.split") == 1
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("viewer.split") == pytest.approx(0.98)
    assert slider.get_attribute("aria-valuetext") == "98 % JPEG, 2 % restored"
    page.keyboard.press("ArrowUp")
    assert slider.get_attribute("aria-valuetext") == "100 % JPEG, 0 % restored"
    assert page.evaluate("viewer.entry === table.order[0]")  # arrows belong to the slider here
    box = page.locator("#canvas").bounding_box()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    assert page.evaluate("viewer.split") == pytest.approx(0.25, abs=0.01)
    assert 240 <= int(slider.input_value()) <= 260


def test_wheel_zooms_around_the_pointer_and_dragging_moves(visit: Visit, shots: Path) -> None:
    page = visit.page
    box = page.locator("#canvas").bounding_box()
    pointed = """viewer.centre.x + (0.7 - 0.5) * viewer.frame().width / viewer.scale"""
    _zoom_in(page, 0.5, 0.5, 2)  # now the picture fills its frame
    before = page.evaluate(pointed)
    _zoom_in(page, 0.7, 0.5, 4)
    assert page.evaluate(pointed) == pytest.approx(before, abs=0.3)
    _zoom_in(page, 0.7, 0.5, 4)
    x, scale = page.evaluate("[viewer.centre.x, viewer.scale]")
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"] - 60, box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    assert page.evaluate("viewer.centre.x") == pytest.approx(x + 60 / scale, abs=0.01)
    assert page.evaluate("viewer.split") == 0.5
    page.screenshot(path=shots / "zoomed.png")
    page.locator("#zoom-fit").click()
    assert page.evaluate("viewer.fitted")
    # Zooming out of what fits is left to the page.
    page.mouse.move(box["x"] + 99, box["y"] + 99)
    page.mouse.wheel(0, 300)
    until(page, "window.scrollY > 0")
    assert page.evaluate("viewer.fitted")


def test_keys_zoom_and_move_while_the_picture_has_the_focus(visit: Visit) -> None:
    page = visit.page
    page.locator("#canvas").focus()
    fitted = page.evaluate("viewer.scale")
    for _ in range(3):
        page.keyboard.press("+")
    assert page.evaluate("viewer.scale") == pytest.approx(fitted * 1.5**3)
    x = page.evaluate("viewer.centre.x")
    page.keyboard.press("Shift+ArrowRight")
    assert page.evaluate("viewer.centre.x") > x
    page.keyboard.press("1")
    assert page.evaluate("viewer.scale") == pytest.approx(1)
    page.keyboard.press("0")
    assert page.evaluate("viewer.fitted")


def test_arrows_and_buttons_go_through_the_table_and_keep_the_zoom(visit: Visit) -> None:
    page = visit.page
    _zoom_in(page)
    scale = page.evaluate("viewer.scale")
    assert page.locator("#previous").is_disabled()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    _settled(page)
    assert page.evaluate("table.order.indexOf(viewer.entry)") == 2
    assert page.evaluate("viewer.scale") == scale
    _, jpeg, _ = _pictures_of(page)
    assert _pixel(page, 0.2, 0.5) == _expected_pixel(page, jpeg, 0.2, 0.5)
    page.keyboard.press("ArrowLeft")
    page.locator("#next").click()
    page.locator("#next").click()
    _settled(page)
    assert page.evaluate("table.order.indexOf(viewer.entry)") == 3
    assert page.locator("tr[aria-current=true]").count() == 1
    assert "4 of 6" in page.locator("#announcement").inner_text()


def test_table_sorts_by_mouse_and_keyboard_and_chooses(visit: Visit) -> None:
    page = visit.page
    header = page.locator("#images thead th", has_text="Restored")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    column = "table.order.map((entry) => score(entry, 'after', 0))"
    values = page.evaluate(column)
    assert values == sorted(values, reverse=True)
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "ascending"
    assert page.evaluate(column) == sorted(values)
    assert page.locator("th[aria-sort=ascending], th[aria-sort=descending]").count() == 1
    row = page.locator("#images tbody tr").nth(4)
    row.locator("button").focus()
    page.keyboard.press("Enter")
    _settled(page)
    assert row.get_attribute("aria-current") == "true"
    assert page.evaluate("table.order.indexOf(viewer.entry)") == 4
    page.keyboard.press("ArrowLeft")  # also from within the table
    _settled(page)
    assert page.evaluate("table.order.indexOf(viewer.entry)") == 3


def test_table_filters(visit: Visit) -> None:
    page = visit.page
    page.locator("#find").fill("coff")
    assert page.locator("#images tbody tr").count() == 2
    page.locator("#setting-filter").select_option("QF40")
    assert page.locator("#images tbody tr").count() == 1
    page.locator("#find").fill("nowhere")
    assert page.locator("#images tbody").inner_text() == "No such image."
    assert page.locator("#next").is_disabled()


def test_difference_view_is_the_amplified_difference(visit: Visit, shots: Path) -> None:
    page = visit.page
    page.locator("#presets label", has_text="Difference").click()
    assert page.locator("#amplify-field").is_visible()
    assert page.locator("#divider").is_hidden()
    page.screenshot(path=shots / "difference.png")
    _zoom_in(page)
    original, jpeg, restored = (image.astype(int) for image in _pictures_of(page))
    for factor in (8, 2):
        page.locator("#amplify").select_option(str(factor))
        expected = np.clip(factor * np.abs(restored - jpeg), 0, 255).astype(np.uint8)
        assert expected.any()
        for x in (0.2, 0.8):
            assert _pixel(page, x, 0.4) == _expected_pixel(page, expected, x, 0.4)
    page.locator("#presets label", has_text="Errors").click()
    for x, image in ((0.2, jpeg), (0.8, restored)):
        expected = np.clip(2 * np.abs(image - original), 0, 255).astype(np.uint8)
        assert _pixel(page, x, 0.4) == _expected_pixel(page, expected, x, 0.4)


def test_curves_show_ours_and_the_published_and_can_be_hidden(visit: Visit) -> None:
    page = visit.page
    curves = "#plot polyline"
    assert page.locator(curves).count() == 4  # JPEG, IJCN, FBCNN, QGAC
    values = page.evaluate("DATA.summary.filter((row) => row.method === 'IJCN')")
    assert f"IJCN, QF 10: {values[0]['scores'][0]:.2f} dB" in page.locator("#plot").text_content()
    page.locator("#legend label", has_text="QGAC").locator("input").uncheck()
    assert page.locator(curves).count() == 3
    page.locator("#curve-gain").check()
    assert page.locator(curves).count() == 2
    assert page.locator("#legend label", has_text="JPEG").is_hidden()  # no gain over itself
    assert "FBCNN, QF 30: 1.50 dB" in page.locator("#plot").text_content()
    page.locator("#curve-figure").select_option("2")
    assert page.locator(curves).count() == 1  # nobody published PSNR-B here
    assert "dashed: published" in page.locator("#curve-caption").inner_text()
    assert "FBCNN (published)" in page.locator("#averages").inner_text()
    assert HOSTILE in page.locator("#averages").inner_text()


def test_hostile_names_stay_text(visit: Visit) -> None:
    page = visit.page
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    row = page.locator("#images tbody tr", has_text="onerror").first
    row.locator("button").click()
    _settled(page)
    assert page.locator("#image-name").inner_text().startswith(HOSTILE)
    assert page.locator("img[src=x], i, b").count() == 0
    assert page.title() == "Three photographs & <i>hostile</i> names"
    assert page.locator("#facts").inner_text().count("<b>bold</b>") == 1
    assert dialogs == []


def test_everything_has_a_name_and_headers(visit: Visit) -> None:
    page = visit.page
    nameless = page.evaluate(
        """[...document.querySelectorAll("button, select, input, canvas, [role=region]")]
          .filter((each) => !each.closest("[hidden]"))
          .filter((each) => !(each.getAttribute("aria-label") || each.labels?.length
            || each.getAttribute("aria-labelledby") || each.textContent.trim()))
          .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("[...document.querySelectorAll('thead th')].every((th) => th.scope)")
    sizes = page.evaluate(
        """[...document.querySelectorAll(".tick input")].map((each) => [each.clientWidth,
            each.closest("label").clientHeight])"""
    )
    assert all(side >= 20 and height >= 24 for side, height in sizes)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # seen once it has the focus


def test_dark_colours(browser: Any, scored: Path, shots: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        visit = Visit(browser, scored, color_scheme=scheme)
        _settled(visit.page)
        colour = visit.page.evaluate(
            "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)"
        )
        brightness[scheme] = sum(colour[:3])
        border, page = visit.page.evaluate(
            """["borderTopColor", "backgroundColor"].map((name) =>
                getComputedStyle(document.getElementById("next"))[name].match(/\\d+/g).map(Number))"""
        )
        assert _contrast(border, page) >= 3
        visit.page.screenshot(path=shots / f"{scheme}_whole.png", full_page=True)
        assert visit.complaints == []
        visit.close()
    assert brightness["dark"] < 150 < 600 < brightness["light"]


def _contrast(one: list[int], other: list[int]) -> float:
    """As WCAG 2.2 defines it, of two sRGB colours."""

    def luminance(colour: list[int]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    dark, bright = sorted(luminance([c / 255 for c in colour]) for colour in (one, other))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("kind", ["scored", "unscored"])
def test_phone_has_no_sideways_scrolling(
    browser: Any, kind: str, request: pytest.FixtureRequest, shots: Path
) -> None:
    path = request.getfixturevalue(kind)
    phone = {"viewport": PHONE, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
    visit = Visit(browser, path, **phone)
    _settled(visit.page)
    widths = visit.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths == [PHONE["width"]] * 2
    visit.page.screenshot(path=shots / f"phone_{kind}.png", full_page=True)
    assert visit.complaints == []
    visit.close()


def test_two_fingers_zoom(browser: Any, scored: Path) -> None:
    visit = Visit(browser, scored, viewport=PHONE, has_touch=True, is_mobile=True)
    page = visit.page
    _settled(page)
    box = page.locator("#canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *offsets: float) -> None:
        points = [{"x": middle[0] + dx, "y": middle[1], "id": i} for i, dx in enumerate(offsets)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = page.evaluate("viewer.scale")
    touch("touchStart", -30, 30)
    for spread in (45, 60, 75, 90):
        touch("touchMove", -spread, spread)
    touch("touchEnd")
    until(page, "viewer.pointers.size === 0")
    assert page.evaluate("viewer.scale") == pytest.approx(3 * before, rel=0.05)
    assert page.evaluate("viewer.split") == 0.5
    assert visit.complaints == []
    visit.close()


def test_real_files_have_no_scores_but_notes(browser: Any, unscored: Path, shots: Path) -> None:
    visit = Visit(browser, unscored)
    page = visit.page
    _settled(page)
    assert page.locator("#figures").inner_text() == ""
    assert page.locator("#note").inner_text().startswith("YCbCr 4:2:0")
    assert page.locator("#curves").is_hidden()
    assert page.locator("#summary").is_hidden()
    headers = [text.strip() for text in page.locator("#images thead th").all_inner_texts()]
    assert headers == ["Image and note", "Folder", "Status", "Change", "MP"]
    # What failed is at the top, but a picture is shown first.
    statuses = page.locator("#images tbody td.setting").all_inner_texts()
    assert statuses == ["failed", "restored", "restored", "restored"]
    assert page.locator("#position").inner_text() == "2 of 4"
    assert page.evaluate("byId('rows').scrollWidth <= byId('rows').clientWidth")
    lines = page.locator("#images .name span", has_text="IMG_20230814_astronaut").evaluate(
        "(each) => each.getClientRects().length"
    )
    assert lines == 1
    assert page.locator("#left option").all_inner_texts() == [
        "JPEG",
        "Restored",
        "|Restored \u2212 JPEG|",
    ]
    assert page.locator("#presets input[value=errors]").is_disabled()
    page.screenshot(path=shots / "unscored.png")
    page.locator("#images tbody tr", has_text="broken.jpg").click()
    _settled(page)
    assert page.locator("#stage-message").inner_text() == "There is no picture of this image."
    assert page.locator("#note").inner_text().startswith("empty file; ")
    assert visit.complaints == []
    visit.close()


def test_settings_are_explained_and_never_wrap(browser: Any, tmp_path: Path, shots: Path) -> None:
    path = tmp_path / "report.html"
    settings = [f"QF{a}-{b}+{s}+{s}" for s in (0, 4) for a in (30, 50) for b in (30, 50)]
    summary = [
        SummaryRow("A", setting, method, 1, Scores(30.0, 0.9, 29.0))
        for setting in settings
        for method in ("JPEG", "IJCN")
    ]
    with ReportBuilder("title") as builder:
        for setting in settings:
            image = photograph(24, 32)
            scores = Scores(30.0, 0.9, 29.0)
            builder.add(
                dataset="A",
                setting=setting,
                name="one",
                jpeg=image,
                restored=image,
                scores_before=scores,
                scores_after=scores,
            )
        builder.add(
            dataset="A", setting="", name="two", jpeg=None, restored=None, note="A/two: no image"
        )
        builder.finish(path, {"images_left_out": {}, "options": {"tiles": {}}}, summary)
    for name, options in (("desktop", {}), ("phone", {"viewport": PHONE})):
        visit = Visit(browser, path, **options)
        page = visit.page
        _settled(page)
        words = "compressed at quality 30, shifted by 4 rows and 4 columns, compressed again at 50"
        assert page.locator("#example").inner_text() == f"QF30-50+4+4: {words}."
        assert page.locator(f'.setting-name[title="{words}"]').count() > 1
        assert page.evaluate(
            """[...document.querySelectorAll(".setting-name")].every((each) =>
                each.getClientRects().length === 1 || !each.textContent)"""
        )
        first = page.locator("#images tbody tr").first
        assert first.locator("td").last.inner_text().strip() == "A/two: no image"
        assert page.locator("#facts details").count() == 0  # nothing but empty mappings
        page.screenshot(path=shots / f"double_{name}.png", full_page=True)
        assert visit.complaints == []
        visit.close()


def test_curves_and_averages_of_many_settings(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    qualities = (5, 10, 20, 30, 40, 90)
    summary = [
        SummaryRow(name, f"QF{quality}", method, 1, Scores(20 + quality / 9, 0.9, 29.0))
        for name in ("Mine", "Classic5")
        for quality in qualities
        for method in ("JPEG", "IJCN")
    ]
    published = [
        PublishedRow(name, f"QF{q}", "FBCNN", 20 + q / 9, None, None, "t")
        for name in ("Mine", "Classic5")
        for q in (10, 20, 30, 40)
    ]
    with ReportBuilder("title") as builder:
        builder.finish(path, {}, summary, published)
    visit = Visit(browser, path)
    page = visit.page
    assert page.locator("#plot polyline").count() == 3
    assert page.locator("#averages table").count() == 3
    heads = page.locator("#averages table").nth(1).locator("th.group").all_inner_texts()
    assert heads == ["QF10", "QF20", "QF30", "QF40"]
    page.locator("#curve-dataset").select_option("Classic5")
    note = "1 of 5 images: not comparable with published figures."
    assert page.locator("#curve-caption").inner_text() == f"Averages over the set. {note}"
    assert page.locator("#averages").inner_text().count(note) == 1
    assert visit.complaints == []
    visit.close()


def test_the_page_says_what_was_left_out(browser: Any, tmp_path: Path, shots: Path) -> None:
    path = tmp_path / "report.html"
    with ReportBuilder("title", max_megabytes=2) as builder:
        for index in range(8):
            _add(builder, f"im{index}", photograph(300, 500, seed=index), 40)
        builder.finish(path, {})
    visit = Visit(browser, path)
    page = visit.page
    _settled(page)
    counts = page.evaluate(
        """[DATA.entries.filter((e) => e.shown && !e.shown.window).length,
            DATA.entries.filter((e) => e.shown && e.shown.window).length,
            DATA.entries.filter((e) => !e.shown).length]"""
    )
    assert sum(counts) == 8
    assert all(counts)
    notice = page.locator("#left-out").inner_text()
    assert f"{counts[0]} of 8 rows have whole pictures" in notice
    assert "about 2 MB" in notice
    for word, count in (("crop", counts[1]), ("\u2013", counts[2])):
        rows = page.locator("#images td.shown", has_text=word)
        assert rows.count() == count
        if count:
            rows.first.click()
            _settled(page)
            if word == "crop":
                assert "Crop of 256\u00d7256" in page.locator("#crop-notice").inner_text()
                page.screenshot(path=shots / "crop.png")
            else:
                assert "No picture" in page.locator("#stage-message").inner_text()
    assert visit.complaints == []
    visit.close()


def test_thousands_of_rows_stay_usable(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    with ReportBuilder("title") as builder:
        for index in range(3000):
            scores = Scores(30.0, 0.9, 29.0), Scores(30 + index / 1000, 0.9, 29.0)
            builder.add(
                dataset="A",
                setting="QF10",
                name=f"im{index}",
                jpeg=None,
                restored=None,
                scores_before=scores[0],
                scores_after=scores[1],
            )
        builder.finish(path, {})
    visit = Visit(browser, path)
    page = visit.page
    rows = page.locator("#images tbody tr")
    assert rows.count() == 200
    page.locator("#more").click()
    assert rows.count() == 400
    page.locator("#find").fill("im2999")
    assert rows.count() == 1
    rows.first.click()
    page.locator("#find").fill("")
    assert rows.count() == 3000  # as far as the chosen row, which is the last
    assert page.locator("tr[aria-current=true]").count() == 1
    assert visit.complaints == []
    visit.close()
