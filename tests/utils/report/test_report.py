"""utils/report/report.py and its page: what the file holds, and what a browser makes of it."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from data.jpeg import decode_jpeg, encode_jpeg
from tests.browser import PHONE, Visit, chromium, screenshot_folder, until
from tests.conftest import photograph, report_contents
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
    return decode_jpeg(encode_jpeg(image, quality))


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


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test's report goes."""
    return tmp_path / "report.html"


# What the file holds


def test_pictures_are_exact_and_an_original_is_stored_once(path: Path) -> None:
    original = photograph(40, 56)
    with ReportBuilder("title") as builder:
        for quality in (10, 40):
            _add(builder, "one", original, quality)
        builder.finish(path, {})
    data, pieces = report_contents(path)
    assert len(pieces) == 1 + 2 * 2 + 1  # original, JPEG and restored of each, a thumbnail
    for entry, quality in zip(data["entries"], (10, 40), strict=True):
        shown = entry["shown"]
        assert shown["window"] is None
        jpeg = _jpeg(original, quality)
        expected = {"jpeg": jpeg, "restored": _restored(jpeg), "original": original}
        for side, image in expected.items():
            np.testing.assert_array_equal(pieces[shown["pieces"][side]], image)


def test_gray_pictures_and_mixed_channels(path: Path) -> None:
    gray = photograph(24, 32)[:, :, 0].copy()
    with ReportBuilder("title") as builder:
        builder.add(dataset="", setting="", name="g", jpeg=gray, restored=np.dstack([gray ^ 4] * 3))
        builder.finish(path, {})
    data, pieces = report_contents(path)
    (entry,) = data["entries"]
    assert entry["change"] == 4
    np.testing.assert_array_equal(pieces[entry["shown"]["pieces"]["jpeg"]][:, :, 0], gray)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 12 images that has no room for all of them in its 6 MB."""
    path = tmp_path_factory.mktemp("crowded") / "report.html"
    with ReportBuilder("title", max_megabytes=6) as builder:
        for index in range(12):
            _add(builder, f"im{index}", photograph(300, 500, seed=index), 40)
        builder.finish(path, FACTS)
    return path


def test_a_large_set_stays_within_its_limit(crowded: Path) -> None:
    assert 5_000_000 < crowded.stat().st_size <= 6_000_000
    data, pieces = report_contents(crowded)
    worst_first = sorted(data["entries"], key=lambda e: e["after"][0] - e["before"][0])
    assert len(worst_first) == 12
    for entry in (worst_first[0], worst_first[-1]):
        assert entry["shown"]["window"] is None
    cropped = [e for e in data["entries"] if e["shown"] and e["shown"]["window"]]
    assert cropped
    for entry in cropped:
        _, _, height, width = entry["shown"]["window"]
        assert pieces[entry["shown"]["pieces"]["jpeg"]].shape == (height, width, 3)


@pytest.mark.parametrize("pixels", [2_000_000, 5_000])
def test_the_crop_is_where_the_pictures_differ_and_one_for_all_settings(
    path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    """pixels: as large as it is, or reduced like a larger picture."""
    monkeypatch.setattr(report, "_CHANGE_MAP_PIXELS", pixels)
    original = photograph(600, 700)
    with ReportBuilder("title", max_megabytes=1) as builder:
        for rows in (slice(400, 440), slice(10, 50)):
            restored = original.copy()
            restored[rows, 500:540] ^= 64
            builder.add(
                dataset="A",
                setting=str(rows),
                name="one",
                jpeg=original,
                restored=restored,
                original=original,
            )
        builder.finish(path, {})
    windows = [entry["shown"]["window"] for entry in report_contents(path)[0]["entries"]]
    assert windows[0] == windows[1]
    top, left, height, width = windows[0]
    assert (height, width) == (256, 256)
    assert top <= 400 <= 440 <= top + height
    assert left <= 500 <= 540 <= left + width


def test_a_picture_too_large_for_browsers_is_cropped(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_WHOLE_PIXELS", 100_000)
    monkeypatch.setattr(report, "CROP_SIDES", (280, 64))
    image = photograph(300, 400)
    with ReportBuilder("title") as builder:
        builder.add(dataset="", setting="", name="big", jpeg=image, restored=_restored(image))
        builder.finish(path, {})
    (entry,) = report_contents(path)[0]["entries"]
    assert entry["shown"]["window"][2:] == [280, 280]
    assert (entry["height"], entry["width"]) == (300, 400)


def test_infinite_and_unknown_figures_survive(path: Path) -> None:
    with ReportBuilder("title") as builder:
        builder.add(
            dataset="A",
            setting="QF100",
            name="same",
            scores_before=Scores(40.0, math.nan, 39.0),
            scores_after=Scores(math.inf, math.nan, math.inf),
        )
        builder.finish(path, FACTS)
    data, _ = report_contents(path)
    assert data["entries"][0]["before"] == [40.0, None, 39.0]
    assert data["entries"][0]["after"] == ["Infinity", None, "Infinity"]
    assert data["facts"]["seconds"] is None
    assert data["facts"]["options"]["tiles"] == {"side": 512}
    assert data["facts"]["checkpoint"] == str(FACTS["checkpoint"])


def test_text_from_outside_cannot_end_the_element_it_stands_in(path: Path) -> None:
    broken = b"bad\xff.jpg".decode(errors="surrogateescape")
    with ReportBuilder(f"<script>alert(3)</script>{broken}{{{{data}}}}") as builder:
        _add(builder, HOSTILE, photograph(16, 24), 10, dataset="</script>")
        _add(builder, broken, photograph(16, 24), 10)
        builder.finish(path, FACTS | {HOSTILE: HOSTILE})
    text = path.read_text(encoding="utf-8")
    assert "alert(1)>" in text  # the name is there, but without any "<" before it
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    data, _ = report_contents(path)
    assert [entry["name"] for entry in data["entries"]] == [HOSTILE, broken]


@pytest.mark.parametrize("images", [4, 5])
def test_published_rows_of_sets_that_were_measured_as_a_whole(path: Path, images: int) -> None:
    published = [
        PublishedRow("Classic5", "QF10", "FBCNN", 30.12, None, None, "table 2"),
        PublishedRow("Elsewhere", "QF10", "FBCNN", 26.0, None, None, "table 3"),
    ]
    summary = [SummaryRow("Classic5", "QF10", "IJCN", images, Scores(30.0, 0.9, 29.0))]
    with ReportBuilder("title") as builder:
        builder.finish(path, {}, summary, published)
    data, _ = report_contents(path)
    assert data["summary"][0]["scores"] == [30.0, 0.9, 29.0]
    found = [(row["source"], row["scores"]) for row in data["published"]]
    note = "4 of 5 images: not comparable with published figures"
    assert found == ([] if images == 4 else [("table 2", [30.12, None, None])])
    assert data["notComparable"] == ({"Classic5": note} if images == 4 else {})


# Misuse, faults, cleaning up


def test_pictures_of_several_sizes_are_refused() -> None:
    small, large = photograph(8, 8), photograph(8, 9)
    with ReportBuilder("title") as builder, pytest.raises(ValueError, match="one size are needed"):
        builder.add(dataset="", setting="", name="", jpeg=small, restored=large)


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for this test."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_nothing_is_left_in_the_temporary_folder(spool: Path) -> None:
    with suppress(RuntimeError), ReportBuilder("title") as builder:
        _add(builder, "one", photograph(16, 24), 10)
        assert any(spool.iterdir())
        raise RuntimeError("the evaluation failed")
    assert not any(spool.iterdir())


def test_an_unwritable_place_is_one_line_and_leaves_nothing(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    unwritable = pytest.raises(ImageError, match="cannot be written")
    with ReportBuilder("title") as builder, unwritable as error:
        builder.finish(tmp_path / "file" / "report.html", {})
    assert "\n" not in str(error.value)
    assert not any(spool.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "spool"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(ImageError, match="no temporary folder"):
        ReportBuilder("title")


def test_a_full_disk_costs_pictures_not_the_report(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with ReportBuilder("title") as builder:
        _add(builder, "one", photograph(16, 24), 10)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", full)
            _add(builder, "two", photograph(24, 24), 10)
        builder.finish(path, {})
    data, _ = report_contents(path)
    assert [bool(entry["shown"]) for entry in data["entries"]] == [True, False]
    assert "No space left" in data["problem"]


def test_an_emptied_temporary_folder_is_reported(path: Path, spool: Path) -> None:
    with ReportBuilder("title") as builder:
        _add(builder, "one", photograph(16, 24), 10)
        for each in spool.glob("*/*"):
            each.unlink()
        with pytest.raises(ImageError, match="temporary pictures of the report cannot be read"):
            builder.finish(path, {})
    assert not path.exists()


def test_the_temporary_folder_is_bounded(path: Path, spool: Path) -> None:
    """However many images come, no more than some times the limit is on disk."""
    largest = 0
    with ReportBuilder("title", max_megabytes=0.4) as builder:
        for index in range(40):
            _add(builder, f"im{index}", photograph(120, 160, seed=index), 40)
            largest = max(largest, sum(each.stat().st_size for each in spool.glob("*/*")))
        builder.finish(path, {})
    assert 500_000 < largest < 1_800_000
    assert path.stat().st_size <= 400_000
    assert any(entry["shown"] for entry in report_contents(path)[0]["entries"])


# In a browser


PHOTOGRAPHS = {
    "astronaut": lambda: skimage.data.astronaut()[0:256, 100:420],
    "coffee": lambda: skimage.data.coffee()[60:316, 150:470],
    HOSTILE: lambda: skimage.data.chelsea()[20:276, 90:410],
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three images at two qualities, with averages and published curves."""
    path = tmp_path_factory.mktemp("scored") / "report.html"
    with ReportBuilder("Three photographs & <i>hostile</i> names") as builder:
        for name, read in PHOTOGRAPHS.items():
            for quality in (10, 40):
                _add(builder, name, np.ascontiguousarray(read()), quality)
        summary = [
            SummaryRow("Photos", f"QF{q}", method, 3, Scores(27 + q / 10 + more, 0.8, 26.0))
            for q in (10, 40)
            for method, more in (("JPEG", -1.0), ("IJCN", 0.25))
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
        note = "empty file; give a whole one, or leave this one out of what is to be restored"
        builder.add(dataset="scans", setting="failed", name="broken.jpg", note=note)
        builder.finish(path, FACTS)
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def opened(browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens a report on a desktop or as said; at the end nothing may have gone wrong on any page.

    With IJCN_SCREENSHOTS there are then pictures of all pages in that folder.
    """
    visits: list[Visit] = []

    def open_report(path: Path, **context: Any) -> Any:
        visits.append(Visit(browser, path.as_uri(), offline=True, **context))
        _settled(visits[-1].page)
        return visits[-1].page

    yield open_report
    for number, visit in enumerate(visits):
        if "IJCN_SCREENSHOTS" in os.environ:
            picture = screenshot_folder(Path()) / f"{request.node.name}_{number}.png"
            visit.page.screenshot(path=picture, full_page=True)
        assert visit.complaints == []
        assert visit.network == []
        visit.close()


@pytest.fixture
def page(opened: Callable[..., Any], scored: Path) -> Any:
    """The scored report on a desktop."""
    return opened(scored)


def _settled(page: Any) -> None:
    """Wait until the chosen image is decoded and shown."""
    until(page, "viewer.entry === table.chosen")


def _assert_pixel(page: Any, image: Image, x: float, y: float) -> None:
    """The canvas shows this image at a place of its frame, both from 0 to 1."""
    shown, place = page.evaluate(
        """([x, y]) => {
          const place = [Math.floor(x * viewer.canvas.width), Math.floor(y * viewer.canvas.height)];
          const copy = make("canvas", { width: 1, height: 1 }).getContext("2d");
          copy.drawImage(viewer.canvas, ...place, 1, 1, 0, 0, 1, 1);
          const { data } = copy.getImageData(0, 0, 1, 1);
          const frame = viewer.frame();
          return [[...data].slice(0, 3), [
            viewer.centre.x + (x - 0.5) * frame.width / viewer.scale,
            viewer.centre.y + (y - 0.5) * frame.height / viewer.scale,
          ]];
        }""",
        [x, y],
    )
    assert shown == image[math.floor(place[1]), math.floor(place[0])].tolist()


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


def _drag(page: Any, start: float, end: float) -> None:
    """Drag over the picture, from one share of its width to another."""
    box = page.locator("#canvas").bounding_box()
    height = box["y"] + 0.5 * box["height"]
    page.mouse.move(box["x"] + start * box["width"], height)
    page.mouse.down()
    page.mouse.move(box["x"] + end * box["width"], height, steps=4)
    page.mouse.up()


def test_page_starts_with_the_worst_gain(page: Any) -> None:
    gains = page.evaluate("table.order.map((entry) => gain(entry, 0))")
    assert gains == sorted(gains)
    assert page.evaluate("viewer.entry === table.order[0]")
    assert page.locator("#position").inner_text() == "1 of 6"
    assert page.locator("th[aria-sort=ascending]").inner_text().split() == ["PSNR", "gain"]
    before = page.evaluate("score(viewer.entry, 'before', 0)")
    assert page.locator("#figures tbody td").first.inner_text() == f"{before:.2f}"


def test_left_shows_the_jpeg_and_right_the_restored_image_sample_by_sample(page: Any) -> None:
    _zoom_in(page)
    assert page.evaluate("viewer.scale") > 8
    original, jpeg, restored = _pictures_of(page)
    for x in (0.1, 0.4, 0.6, 0.9):
        for y in (0.2, 0.5, 0.8):
            _assert_pixel(page, jpeg if x < 0.5 else restored, x, y)
    page.locator("#left").select_option("original")
    _assert_pixel(page, original, 0.1, 0.5)
    assert page.locator("#presets [aria-pressed=true]").count() == 0


def test_the_divider_moves_by_slider_and_mouse(page: Any) -> None:
    slider = page.locator("#split")
    slider.focus()
    page.keyboard.press("End")
    assert page.evaluate("viewer.split") == 1
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("viewer.split") == pytest.approx(0.99)
    assert slider.get_attribute("aria-valuetext") == "99 % JPEG, 1 % Restored"
    assert page.evaluate("viewer.entry === table.order[0]")  # arrows belong to the slider here
    _drag(page, 0.7, 0.25)
    assert page.evaluate("viewer.split") == pytest.approx(0.25, abs=0.01)
    assert float(slider.input_value()) == pytest.approx(25, abs=1)


def test_wheel_zooms_around_the_pointer_and_dragging_moves(page: Any) -> None:
    pointed = """viewer.centre.x + (0.7 - 0.5) * viewer.frame().width / viewer.scale"""
    _zoom_in(page, 0.5, 0.5, 2)  # now the picture fills its frame
    before = page.evaluate(pointed)
    _zoom_in(page, 0.7, 0.5, 4)
    assert page.evaluate(pointed) == pytest.approx(before, abs=0.3)
    _zoom_in(page, 0.7, 0.5, 4)
    x, scale, width = page.evaluate("[viewer.centre.x, viewer.scale, viewer.frame().width]")
    _drag(page, 0.7, 0.6)
    assert page.evaluate("viewer.centre.x") == pytest.approx(x + 0.1 * width / scale, abs=0.01)
    assert page.evaluate("viewer.split") == 0.5
    page.locator("#zoom-fit").click()
    assert page.evaluate("viewer.fitted")
    # Zooming out of what fits is left to the page.
    page.locator("#canvas").hover()
    page.mouse.wheel(0, 300)
    until(page, "window.scrollY > 0")
    assert page.evaluate("viewer.fitted")


def test_keys_zoom_and_move_while_the_picture_has_the_focus(page: Any) -> None:
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


def test_arrows_and_buttons_go_through_the_table_and_keep_the_zoom(page: Any) -> None:
    _zoom_in(page)
    scale = page.evaluate("viewer.scale")
    assert page.locator("#previous").is_disabled()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    _settled(page)
    assert page.evaluate("table.order.indexOf(viewer.entry)") == 2
    assert page.evaluate("viewer.scale") == scale
    _assert_pixel(page, _pictures_of(page)[1], 0.2, 0.5)
    page.keyboard.press("ArrowLeft")
    page.locator("#next").click()
    page.locator("#next").click()
    _settled(page)
    assert page.evaluate("table.order.indexOf(viewer.entry)") == 3
    assert page.locator("tr[aria-current=true]").count() == 1
    assert "4 of 6" in page.locator("#announcement").inner_text()


def test_table_sorts_by_mouse_and_keyboard_and_chooses(page: Any) -> None:
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


def test_table_filters(page: Any) -> None:
    page.locator("#find").fill("coff")
    assert page.locator("#images tbody tr").count() == 2
    page.locator("#setting-filter").select_option("QF40")
    assert page.locator("#images tbody tr").count() == 1
    page.locator("#find").fill("nowhere")
    assert page.locator("#images tbody").inner_text() == "No such image."
    assert page.locator("#next").is_disabled()


def test_difference_view_is_the_amplified_difference(page: Any) -> None:
    page.locator("#presets button", has_text="Difference").click()
    assert page.locator("#amplify-field").is_visible()
    assert page.locator("#divider").is_hidden()
    _zoom_in(page)
    original, jpeg, restored = (image.astype(int) for image in _pictures_of(page))
    for factor in (8, 2):
        page.locator("#amplify").select_option(str(factor))
        expected = np.clip(factor * np.abs(restored - jpeg), 0, 255)
        assert expected.any()
        for x in (0.2, 0.8):
            _assert_pixel(page, expected, x, 0.4)
    page.locator("#presets button", has_text="Errors").click()
    for x, image in ((0.2, jpeg), (0.8, restored)):
        _assert_pixel(page, np.clip(2 * np.abs(image - original), 0, 255), x, 0.4)


def test_curves_show_ours_and_the_published_and_can_be_hidden(page: Any) -> None:
    curves = page.locator("#plot polyline")
    assert curves.count() == 4  # JPEG, IJCN, FBCNN, QGAC
    assert "IJCN, QF 10: 28.25 dB" in page.locator("#plot").text_content()
    page.locator("#legend label", has_text="QGAC").locator("input").uncheck()
    assert curves.count() == 3
    page.locator("#curve-gain").check()
    assert curves.count() == 2
    assert page.locator("#legend label", has_text="JPEG").is_hidden()  # no gain over itself
    assert "FBCNN (published), QF 30: 1.50 dB" in page.locator("#plot").text_content()
    page.locator("#curve-figure").select_option("2")
    assert curves.count() == 1  # nobody published PSNR-B here
    assert "dashed: published" in page.locator("#curve-caption").inner_text()
    assert "FBCNN (published)" in page.locator("#averages").inner_text()
    assert HOSTILE in page.locator("#averages").inner_text()


def test_hostile_names_stay_text(page: Any) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.locator("#images tbody tr", has_text="onerror").first.locator("button").click()
    _settled(page)
    assert page.locator("#image-name").inner_text().startswith(HOSTILE)
    assert page.locator("img[src=x], i, b").count() == 0
    assert page.title() == "Three photographs & <i>hostile</i> names"
    assert page.locator("#facts").inner_text().count("<b>bold</b>") == 1
    assert dialogs == []


def test_everything_has_a_name_and_headers(page: Any) -> None:
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
    assert page.locator(".skip").bounding_box()["height"] > 10  # seen once it has the focus


def test_dark_colours(opened: Callable[..., Any], scored: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        colour = opened(scored, color_scheme=scheme).evaluate(
            "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)"
        )
        brightness[scheme] = sum(colour[:3])
    assert brightness["dark"] < 150 < 600 < brightness["light"]


TOUCH = {"viewport": PHONE, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


@pytest.mark.parametrize("kind", ["scored", "unscored"])
def test_phone_has_no_sideways_scrolling(
    opened: Callable[..., Any], kind: str, request: pytest.FixtureRequest
) -> None:
    page = opened(request.getfixturevalue(kind), **TOUCH)
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths == [PHONE["width"]] * 2


def test_two_fingers_zoom(opened: Callable[..., Any], scored: Path) -> None:
    page = opened(scored, **TOUCH)
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


def test_real_files_have_no_scores_but_notes(opened: Callable[..., Any], unscored: Path) -> None:
    page = opened(unscored)
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
    name = page.locator("#images .name span", has_text="IMG_20230814_astronaut")
    assert name.evaluate("(each) => each.getClientRects().length") == 1
    sources = page.locator("#left option").all_inner_texts()
    assert sources == ["JPEG", "Restored", "|Restored \u2212 JPEG|"]
    assert page.locator("#presets button[value=errors]").is_disabled()
    page.locator("#images tbody tr", has_text="broken.jpg").click()
    _settled(page)
    assert page.locator("#stage-message").inner_text() == "There is no picture of this image."
    assert page.locator("#note").inner_text().startswith("empty file; ")


def test_settings_are_explained_and_never_wrap(opened: Callable[..., Any], path: Path) -> None:
    settings = [f"QF{a}-{b}+{s}+{s}" for s in (0, 4) for a in (30, 50) for b in (30, 50)]
    scores = Scores(30.0, 0.9, 29.0)
    summary = [
        SummaryRow("A", setting, method, 1, scores)
        for setting in settings
        for method in ("JPEG", "IJCN")
    ]
    with ReportBuilder("title") as builder:
        both = {"scores_before": scores, "scores_after": scores}
        for setting in settings:
            builder.add(dataset="A", setting=setting, name="one", jpeg=photograph(24, 32), **both)
        builder.add(dataset="A", setting="", name="two", note="A/two: no image")
        builder.finish(path, {"images_left_out": {}, "options": {"tiles": {}}}, summary)
    for context in ({}, {"viewport": PHONE}):
        page = opened(path, **context)
        words = "compressed at quality 30, shifted by 4 rows and 4 columns, compressed again at 50"
        assert page.locator("#example").inner_text() == f"QF30-50+4+4: {words}."
        assert page.locator(f'.setting-name[title="{words}"]').count() > 1
        assert page.evaluate(
            """[...document.querySelectorAll(".setting-name")].every((each) =>
                each.getClientRects().length === 1 || !each.textContent)"""
        )
        assert "A/two: no image" in page.locator("#images tbody tr").first.inner_text()
        assert page.locator("#facts details").count() == 0  # nothing but empty mappings


def test_curves_and_averages_of_many_settings(opened: Callable[..., Any], path: Path) -> None:
    summary = [
        SummaryRow(name, f"QF{quality}", method, 1, Scores(20 + quality / 9, 0.9, 29.0))
        for name in ("Mine", "Classic5")
        for quality in (5, 10, 20, 30, 40, 90)
        for method in ("JPEG", "IJCN")
    ]
    published = [
        PublishedRow(name, f"QF{q}", "FBCNN", 20 + q / 9, None, None, "t")
        for name in ("Mine", "Classic5")
        for q in (10, 20, 30, 40)
    ]
    with ReportBuilder("title") as builder:
        builder.finish(path, {}, summary, published)
    page = opened(path)
    assert page.locator("#plot polyline").count() == 3
    assert page.locator("#averages table").count() == 2
    table = page.locator("#averages table").first
    heads = table.locator("th[scope=rowgroup]").all_inner_texts()
    assert heads == ["QF5", "QF10", "QF20", "QF30", "QF40", "QF90"]
    assert table.locator("tr.published").count() == 4
    page.locator("#curve-dataset").select_option("Classic5")
    note = "1 of 5 images: not comparable with published figures."
    assert page.locator("#curve-caption").inner_text() == f"Averages over the set. {note}"
    assert page.locator("#averages").inner_text().count(note) == 1


def test_the_page_says_what_was_left_out(opened: Callable[..., Any], crowded: Path) -> None:
    page = opened(crowded)
    shown = page.locator("#images td.shown").all_inner_texts()
    assert set(shown) == {"whole", "crop", "\u2013"}
    notice = page.locator("#left-out").inner_text()
    assert f"{shown.count('whole')} of 12 rows have whole pictures" in notice
    assert "about 6 MB" in notice
    for word, place, said in (
        ("crop", "#crop-notice", "Crop of 256\u00d7256"),
        ("\u2013", "#stage-message", "No picture"),
    ):
        page.locator("#images td.shown", has_text=word).first.click()
        _settled(page)
        assert said in page.locator(place).inner_text()


def test_thousands_of_rows_stay_usable(opened: Callable[..., Any], path: Path) -> None:
    with ReportBuilder("title") as builder:
        for index in range(3000):
            after = Scores(30 + index / 1000, 0.9, 29.0)
            both = {"scores_before": Scores(30.0, 0.9, 29.0), "scores_after": after}
            builder.add(dataset="A", setting="QF10", name=f"im{index}", **both)
        builder.finish(path, {})
    page = opened(path)
    rows = page.locator("#images tbody tr")
    assert rows.count() == 3000
    page.locator("#find").fill("im2999")
    assert rows.count() == 1
    rows.first.click()
    page.locator("#find").fill("")
    assert rows.count() == 3000
    assert page.locator("tr[aria-current=true]").inner_text().startswith("im2999")
