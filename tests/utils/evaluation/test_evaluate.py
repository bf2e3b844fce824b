"""utils/evaluation/evaluate.py: averages, files, failures, pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.datasets import NamedImage, TestSet
from data.degradation import DoubleJpeg, SingleJpeg
from data.jpeg import JpegImage
from tests.conftest import csv_rows, photograph
from utils.evaluation.evaluate import (
    Degrade,
    Evaluation,
    Method,
    SaveImages,
    Task,
    evaluate_methods,
    one_by_one,
)
from utils.evaluation.journal import Entry, Journal, Record
from utils.evaluation.metrics import Scores, measure
from utils.evaluation.published import PublishedRow
from utils.evaluation.tables import ImageResult, read_summary, write_tables
from utils.image_io import ImageError, read_image
from utils.pictures import Window, busiest_window, picture_table, side_by_side


def _set(name: str, *sizes: tuple[int, int]) -> TestSet:
    images = [NamedImage(f"im{i}", partial(photograph, *s, seed=i)) for i, s in enumerate(sizes)]
    return TestSet(name, tuple(images))


def _gray(image: NamedImage) -> NamedImage:
    return NamedImage(image.name, lambda: image.read()[:, :, 0])


def _gray_restorer(stored: JpegImage) -> np.ndarray:
    size = (stored.height, stored.width)
    return np.full(size if stored.colors == "gray" else (*size, 3), 128, np.uint8)


SETTINGS: Sequence[Degrade] = [SingleJpeg(10), SingleJpeg(90)]


def _evaluate(
    sets: list[TestSet],
    output: Path,
    save_images: SaveImages = "none",
    settings: Sequence[Degrade] = SETTINGS,
    restore: Callable[[JpegImage], np.ndarray] = _gray_restorer,
) -> Evaluation:
    method = Method("IJCN", one_by_one(lambda task: restore(task.stored)))
    return evaluate_methods(sets, settings, [method], output, save_images, False)


@pytest.mark.parametrize("gray", [False, True])
def test_rows_and_averages(gray: bool, tmp_path: Path) -> None:
    dataset = _set("A", (32, 48), (40, 40))
    if gray:
        dataset = TestSet("A", tuple(map(_gray, dataset)))
    found = _evaluate([dataset], tmp_path, "first")
    rows = found.summary()
    assert [(r.setting, r.method, r.images) for r in rows] == [
        *(("QF10", "JPEG", 2), ("QF10", "IJCN", 2)),
        *(("QF90", "JPEG", 2), ("QF90", "IJCN", 2)),
    ]
    pairs = [SingleJpeg(90)(image.read()) for image in dataset]
    expected = np.mean([measure(restored=p.jpeg, original=p.original) for p in pairs], axis=0)
    np.testing.assert_allclose(rows[2].scores, expected)
    flat = np.mean(
        [measure(restored=np.full_like(p.original, 128), original=p.original).psnr for p in pairs]
    )
    assert rows[3].scores.psnr == pytest.approx(flat)
    shape = (32, 48) if gray else (32, 48, 3)
    assert pairs[0].jpeg.shape == shape
    assert read_image(tmp_path / "images" / "A" / "QF10" / "im0.png").shape == shape


def test_files_have_the_promised_columns_and_are_replaced(tmp_path: Path) -> None:
    for sizes in [((32, 48), (40, 40)), ((32, 48),)]:
        found = _evaluate([_set("A", *sizes)], tmp_path, "first", [DoubleJpeg(30, 50, (4, 4))])
        write_tables(tmp_path, found, [], "title")
    rows = csv_rows(tmp_path / "summary.csv")
    columns = ["dataset", "setting", "method", "images", "psnr", "ssim", "psnrb", "exact"]
    columns += ["weights", "weights_sha256"]
    assert list(rows[0]) == columns
    assert [(r["setting"], r["method"], r["images"]) for r in rows] == [
        ("QF30-50+4+4", "JPEG", "1"),
        ("QF30-50+4+4", "IJCN", "1"),
    ]
    rows = csv_rows(tmp_path / "per_image.csv")
    columns = ["dataset", "setting", "method", "image", "psnr", "ssim", "psnrb"]
    assert list(rows[0]) == [*columns, "weights", "weights_sha256"]
    assert [r["image"] for r in rows] == ["im0", "im0"]
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"summary.csv", "per_image.csv", "summary.md", "images", "comparison.png"}


def test_names_that_are_not_unicode_are_captions_too(tmp_path: Path) -> None:
    images = (NamedImage("bad\udcff", lambda: photograph(32, 32)),)
    found = _evaluate([TestSet("A", images)], tmp_path, "first")
    assert not found.failures
    assert (tmp_path / "comparison.png").exists()


def test_a_journal_of_other_methods_is_forgotten(tmp_path: Path) -> None:
    entry = Entry("one", "A", "QF10", "a", "hash")
    Journal(tmp_path).add(entry, Record({"psnr": 1.0}, 0.0))
    journal = Journal(tmp_path)
    journal.keep({"one", "jpeg"})
    assert journal.find(entry, ["psnr"]) is not None
    # Of others: their pictures may lie in the places of these.
    method = Method("IJCN", one_by_one(lambda task: _gray_restorer(task.stored)), key="two")
    more: dict[str, Any] = {"journal": journal, "jpeg_key": "jpeg"}
    evaluate_methods([_set("A", (16, 16))], SETTINGS, [method], tmp_path, "none", False, **more)
    assert journal.find(entry, ["psnr"]) is None
    assert journal.path is not None
    keys = {json.loads(line)[0][0] for line in journal.path.read_text().splitlines()}
    assert keys == {"two", "jpeg"}  # so the next run goes on with these


def test_pictures_of_no_setting_the_first_or_all(tmp_path: Path) -> None:
    dataset = _set("A", (32, 48))
    _evaluate([dataset], tmp_path, "none")
    assert not list(tmp_path.iterdir())
    _evaluate([dataset], tmp_path, "all")
    assert len(list((tmp_path / "images").rglob("*.png"))) == 2
    _evaluate([dataset], tmp_path, "first")
    (picture,) = (tmp_path / "images").rglob("*.png")
    assert picture == tmp_path / "images" / "A" / "QF10" / "im0.png"
    assert (tmp_path / "comparison.png").exists()
    assert np.array_equal(read_image(picture), np.full((32, 48, 3), 128))


def test_a_users_own_images_folder_is_never_touched(tmp_path: Path) -> None:
    mine = tmp_path / "images" / "holiday.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    (tmp_path / "comparison.png").write_text("mine too")
    for wanted in ("none", "first"):
        with pytest.raises(ImageError, match="choose another --output"):
            _evaluate([_set("A", (32, 48))], tmp_path, wanted)
    assert mine.read_text() == "mine"
    assert (tmp_path / "comparison.png").read_text() == "mine too"


def test_images_the_restorer_refuses_are_left_out_alone_or_in_batches(tmp_path: Path) -> None:
    def by_its_first_level(stored: JpegImage) -> np.ndarray:
        if stored.width == 32:
            raise ValueError("too small for me")
        level = int(stored.components[0].levels[0, 0, 0, 0]) % 256
        return np.full((stored.height, stored.width, 3), level, np.uint8)

    groups: list[int] = []

    def together(tasks: list[Task]) -> list[np.ndarray]:
        groups.append(len(tasks))
        return [by_its_first_level(task.stored) for task in tasks]

    sets = [_set("A", (40, 48), (32, 32), (48, 40), (24, 40))]
    single = _evaluate(sets, tmp_path, restore=by_its_first_level)
    method = Method("IJCN", lambda: together, batch=3)
    batched = evaluate_methods(sets, SETTINGS, [method], tmp_path, "none", False)
    # The first two hold refused ones: their images are tried singly.
    assert [size for size in groups if size > 1] == [3, 3, 2]
    assert batched.results == single.results
    assert batched.failures == single.failures
    assert single.failures == [
        ("A", "im1", f"QF{q}", f"A/im1 at QF{q}: too small for me") for q in (10, 90)
    ]
    assert single.left_out == {"A": {"im1"}}
    assert {r.image for r in single.results} == {"im0", "im2", "im3"}


def test_image_inside_the_shift_fails_only_there(tmp_path: Path) -> None:
    settings = [DoubleJpeg(30, 30), DoubleJpeg(30, 30, (9, 9)), DoubleJpeg(30, 30, (4, 4))]
    found = _evaluate([_set("A", (9, 30))], tmp_path, settings=settings)
    assert {r.setting for r in found.results} == {"QF30-30+0+0"}
    assert len(found.failures) == 2
    assert "30-30+4+4: 26x5 pixels, below 8 a side" in found.failures[1].line
    assert found.left_out == {"A": {"im0"}}


def test_undefined_metrics_do_not_enter_averages() -> None:
    found = Evaluation(
        [
            ImageResult("A", "QF10", "JPEG", "a", Scores(30.0, math.nan, 28.0)),
            ImageResult("A", "QF10", "JPEG", "b", Scores(32.0, 0.9, 30.0)),
        ]
    )
    assert found.summary()[0].scores == Scores(31.0, 0.9, 29.0)


def test_exact_images_are_counted_and_named_not_averaged(tmp_path: Path) -> None:
    flat = np.full((32, 48, 3), 128, np.uint8)
    images = (
        NamedImage("photo", lambda: photograph(32, 48)),
        NamedImage("flat", lambda: flat),
    )
    sets = [TestSet("A", images), TestSet("Flat", images[1:])]
    found = _evaluate(sets, tmp_path, settings=[SingleJpeg(100)])
    assert [r.scores.psnr for r in found.results if r.image == "flat"] == [math.inf] * 4
    rows = {(r.dataset, r.method): r for r in found.summary()}
    pair = SingleJpeg(100)(photograph(32, 48))
    expected = measure(restored=pair.jpeg, original=pair.original)
    row = rows["A", "JPEG"]
    assert (row.images, row.exact) == (2, 1)
    assert (row.scores.psnr, row.scores.psnrb) == pytest.approx((expected.psnr, expected.psnrb))
    assert row.scores.ssim == pytest.approx((expected.ssim + 1) / 2)
    text = write_tables(tmp_path, found, [], "title")
    assert "inf" not in (tmp_path / "summary.csv").read_text()
    assert "JPEG at QF100: 1 image (flat); IJCN at QF100: 1 image (flat). They do not" in text
    assert text.split("## Flat")[1].count("| exact ") == 2
    again = read_summary(tmp_path / "summary.csv")
    assert [each.exact for each in again] == [1, 1, 1, 1]


def test_table_shows_published_rows_of_known_sets(tmp_path: Path) -> None:
    found = Evaluation(
        [
            ImageResult(dataset, "QF10", method, "a", Scores(30.0, 0.9, 29.0))
            for dataset in ("A", "B")
            for method in ("JPEG", "IJCN")
        ]
    )
    published = [
        PublishedRow("A", "QF10", "FBCNN", 27.77, 0.803, None, "x"),
        PublishedRow("A", "QF20", "FBCNN", 30.11, 0.868, None, "x"),
    ]
    text = write_tables(tmp_path, found, published, "title")
    assert text.count("FBCNN (published)") == 1
    assert "| FBCNN (published) | 27.77 / 0.803 / -" in text
    # By PSNR, JPEG first; then how far the best published figure is.
    rows = [line for line in text.split("## B")[0].splitlines() if line.startswith("|")]
    methods = [row.split("|")[1].strip() for row in rows][2:]
    assert methods == ["JPEG", "FBCNN (published)", "IJCN", "to best published"]
    assert "| +2.23 dB (FBCNN)" in text
    assert text.index("FBCNN") < text.index("## B")
    assert "best" not in text.split("## B")[1]


def test_busiest_window_finds_the_difference() -> None:
    one = photograph(100, 120)
    other = one.copy()
    other[60:70, 80:95] ^= 128
    window = busiest_window(one, other, 32)
    assert window.top <= 60
    assert window.top + 32 >= 70
    assert window.left <= 80
    assert window.left + 32 >= 95
    assert busiest_window(one[:5, :9], other[:5, :9], 32) == Window(0, 0, 5, 9)


@pytest.mark.parametrize("size", [(4000, 8), (20000, 1), (1, 20000)])
def test_side_by_side_of_very_narrow_pictures_stays_small(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    picture = side_by_side([image, image], ["one", "two"], busiest_window(image, image))
    assert picture.size < 3 * 4_000_000


def test_a_long_caption_keeps_its_ends_and_its_column() -> None:
    image = np.full((480, 480, 3), 255, np.uint8)
    narrow = picture_table([[image]], ["a" + "m" * 80 + ", 28.75 dB"])
    ending = picture_table([[image]], [", 28.75 dB"])
    assert narrow.shape == ending.shape
    ink = np.flatnonzero((narrow[:25] < 128).any((0, 2)))
    assert ink[-1] < 485
    drawn = np.flatnonzero((ending[:25] < 128).any((0, 2)))
    width = drawn[-1] - drawn[0] - 15  # but for the comma
    last = [part[:25, end - width : end] for part, end in ((narrow, ink[-1]), (ending, drawn[-1]))]
    assert np.array_equal(*last)


@pytest.mark.parametrize("size", [(8, 8), (100, 120), (30, 700)])
def test_side_by_side_shows_every_image_and_its_crop(size: tuple[int, int]) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    images = [np.full((*size, 3), c, np.uint8) for c in colours]
    picture = side_by_side(images, ["one", "two", "three"], busiest_window(images[0], images[0]))
    third = picture.shape[1] // 3
    for index, colour in enumerate(colours):
        panel = picture[:, index * third : (index + 1) * third]
        assert (panel == colour).all(2).sum() > 100
