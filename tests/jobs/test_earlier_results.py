"""jobs/earlier_results.py, utils/metadata/origin.py: what a second run does, and what it tells."""

from __future__ import annotations

import io
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from data.jpeg import Sampling, encode_jpeg
from jobs.earlier_results import Said
from jobs.plan_files import FileJob
from jobs.restore_files import FileResult, OutputSettings, restore_file
from models.restore.restorer import Restorer
from tests.conftest import photograph, saved, tiny_restorer
from tests.metadata_files import PACKET, jpeg, segment
from utils.image_io import read_image, write_png
from utils.metadata import png
from utils.metadata.origin import origin_of, with_origin

SETTINGS = OutputSettings(recipe={"weights": "a", "strength": 1.0})
JPEG = encode_jpeg(photograph(48, 64), 30)
OTHER = encode_jpeg(photograph(48, 64, seed=1), 30)


class Desk:
    """One source and its result's place."""

    def __init__(self, folder: Path, restorer: Restorer) -> None:
        self.folder, self.restorer = folder, restorer

    def restore(self, data: bytes, name: str = "a.jpg", **changes: Any) -> FileResult:
        source = self.folder / name
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(data)
        settings = replace(SETTINGS, **changes)
        compare = self.target("png").with_name("a.compare.png")
        job = FileJob(source, self.target(settings.file_format), compare)
        return restore_file(job, self.restorer, settings)

    def target(self, file_format: str = "png") -> Path:
        return self.folder / "out" / f"a.{file_format}"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, tiny_restorer())


@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
def test_only_the_same_result_is_left(file_format: Any, desk: Desk) -> None:
    assert desk.restore(JPEG, file_format=file_format).status == "restored"
    before = desk.target(file_format).read_bytes()
    assert desk.restore(JPEG, file_format=file_format).status == "skipped"
    # from the same place: the file was changed, or is restored in another way
    assert desk.restore(OTHER, file_format=file_format).status == "restored"
    assert desk.target(file_format).read_bytes() != before
    other = {"weights": "b", "strength": 1.0}
    assert desk.restore(OTHER, file_format=file_format, recipe=other).status == "restored"
    assert desk.restore(OTHER, file_format=file_format, recipe=other).status == "skipped"
    # the same file under another name is the same source
    assert desk.restore(OTHER, "b.jpg", file_format=file_format, recipe=other).status == "skipped"


def test_what_is_no_file_is_refused_and_stays(desk: Desk) -> None:
    """A pipe would never end; a link to nothing leads to a place of the user's."""
    desk.target().parent.mkdir()
    comparison = desk.target().with_name("a.compare.png")
    for make in (os.mkfifo, lambda place: os.symlink("nowhere.png", place)):
        make(desk.target())
        assert "is there already" in desk.restore(JPEG).message
        desk.target().unlink()
        make(comparison)
        assert "a.compare.png is there already" in desk.restore(JPEG).message
        assert comparison.is_symlink() or comparison.is_fifo()
        comparison.unlink()
        desk.target().unlink()


def test_however_much_is_to_be_said_a_result_is_known_again(desk: Desk) -> None:
    many = (segment(0xE5, b"private%d\0" % i) for i in range(3000))
    data = JPEG[:2] + b"".join(many) + JPEG[2:]
    result = desk.restore(data)
    assert len(result.message) < 5000
    assert result.left_out[-1].endswith(" more")
    assert desk.restore(data).status == "skipped"
    longest = Said("restored", "\u1234" * 9000, "", ("\u1234" * 99,) * 200).shortened()
    known = {"said": asdict(longest)}
    assert origin_of(with_origin(desk.target().read_bytes(), known)) is not None


def test_an_origin_that_python_cannot_read_is_none(desk: Desk) -> None:
    desk.restore(JPEG)
    deep = b"[" * 50_000
    assert origin_of(png.SIGNATURE + png.chunk(b"ijCN", deep)) is None
    assert origin_of(JPEG[:2] + segment(0xE9, b"IJCN\0" + deep) + JPEG[2:]) is None


def test_strangers_files_are_refused_and_stay(desk: Desk) -> None:
    desk.restore(JPEG, "holiday/a.jpg")
    before = desk.target().read_bytes()
    result = desk.restore(OTHER, "other/a.jpg")
    assert result.status == "failed"
    assert f"{desk.target()} is there already and is not known as a result" in result.message
    assert "\n" not in result.message
    assert desk.target().read_bytes() == before
    assert desk.restore(OTHER, "other/a.jpg", overwrite=True).status == "restored"
    write_png(desk.target(), photograph(48, 64))
    assert desk.restore(OTHER, "other/a.jpg").status == "failed"
    desk.target().unlink()
    desk.target().mkdir()
    assert "Is a directory" in desk.restore(OTHER, "other/a.jpg").message


def test_what_was_said_is_said_again(desk: Desk) -> None:
    cut = JPEG[:-100]
    first, second = desk.restore(cut), desk.restore(cut)
    assert "damaged: " in first.message
    assert (second.status, second.message) == ("skipped", first.message)
    assert (second.layout, second.earlier) == (first.layout, "restored")
    fine = encode_jpeg(photograph(48, 64), 97, Sampling.S444)
    assert desk.restore(fine).outcome == desk.restore(fine).outcome == "left alone"
    with_comment = jpeg(segment(0xFE, b"hello"))
    desk.restore(with_comment, file_format="webp")
    assert desk.restore(with_comment, file_format="webp").left_out == ("a comment",)


def test_missing_comparisons_are_made(desk: Desk) -> None:
    place = desk.target().with_name("a.compare.png")
    desk.restore(JPEG)
    whole = read_image(place)
    place.unlink()
    assert desk.restore(JPEG).status == "skipped"
    assert np.array_equal(read_image(place), whole)
    # another source's result, so another comparison
    desk.restore(OTHER)
    assert not np.array_equal(read_image(place), whole)
    before = place.stat().st_mtime_ns
    desk.restore(OTHER)
    assert place.stat().st_mtime_ns == before
    place.unlink()
    for _ in range(2):  # not of files that are left alone
        desk.restore(encode_jpeg(photograph(48, 64), 97, Sampling.S444))
    assert not place.exists()


@pytest.mark.parametrize("keep", [True, False])
def test_time_of_modification(keep: bool, desk: Desk) -> None:
    source = desk.folder / "a.jpg"
    source.write_bytes(JPEG)
    os.utime(source, ns=(10**18, 10**18 + 123_000))
    restore_file(FileJob(source, desk.target()), desk.restorer, replace(SETTINGS, keep_times=keep))
    assert (desk.target().stat().st_mtime_ns == 10**18 + 123_000) == keep


def test_results_restored_again_hold_their_own_origin_only(desk: Desk) -> None:
    for file_format in ("png", "webp", "jpg"):
        desk.restore(JPEG, file_format=file_format)
        first = desk.target(file_format).read_bytes()
        again = desk.folder / "again.jpg"
        source = desk.folder / f"result.{file_format}"
        source.write_bytes(first)
        settings = replace(SETTINGS, file_format="jpg", overwrite=True)
        result = restore_file(FileJob(source, again), desk.restorer, settings)
        assert not result.left_out
        assert again.read_bytes().count(b"IJCN\0") == 1


PICTURE = photograph(50, 70)
TRANSPARENT = np.dstack([PICTURE, np.full((50, 70), 77, np.uint8)])


@pytest.mark.parametrize(
    "data",
    [
        saved(PICTURE, "PNG"),
        saved(PICTURE, "JPEG"),
        saved(PICTURE, "TIFF"),
        saved(PICTURE, "WEBP"),
        saved(PICTURE, "WEBP", lossless=True),
        saved(PICTURE, "WEBP", xmp=(PACKET % "").encode()),
        saved(TRANSPARENT, "WEBP"),
        saved(TRANSPARENT, "WEBP", lossless=True),
    ],
    ids=["png", "jpg", "tiff", "lossy", "lossless", "extended", "alpha", "lossless alpha"],
)
def test_an_origin_harms_no_reader(data: bytes) -> None:
    origin = {"source": "x", "said": {"message": "Köln"}}
    marked = with_origin(data, origin)
    assert origin_of(data) is None
    assert origin_of(marked) == origin
    with Image.open(io.BytesIO(data)) as one, Image.open(io.BytesIO(marked)) as other:
        assert one.mode == other.mode
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert np.array_equal(*(cv2.imdecode(np.frombuffer(d, np.uint8), -1) for d in (data, marked)))
    for end in range(0, len(marked), 7):  # cut off anywhere: no exception
        origin_of(marked[:end])
