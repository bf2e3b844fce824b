"""utils/image_io.py: every common format, atomic writing, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import photograph
from utils.image_io import ImageError, find_images, read_image, write_atomically, write_png


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "ppm"])
def test_lossless_formats_round_trip(tmp_path: Path, suffix: str) -> None:
    image = photograph(20, 33)
    path = tmp_path / f"x.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(image).save(path, **options)
    assert np.array_equal(read_image(path), image)


def test_png_is_read_back_by_pillow(tmp_path: Path) -> None:
    image = photograph(20, 33)
    write_png(tmp_path / "a" / "ü.png", image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / "ü.png")), image)
    write_png(tmp_path / "gray.png", image[:, :, 0])
    assert np.array_equal(read_image(tmp_path / "gray.png"), image[:, :, 0])


def test_alpha_is_dropped_and_16_bits_are_scaled(tmp_path: Path) -> None:
    image = photograph(9, 9)
    alpha = np.full((9, 9, 1), 77, np.uint8)
    Image.fromarray(np.concatenate((image, alpha), 2)).save(tmp_path / "rgba.png")
    assert np.array_equal(read_image(tmp_path / "rgba.png"), image)
    gray16 = image[:, :, 0].astype(np.uint16) * 257
    Image.fromarray(gray16).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png"), image[:, :, 0])


def test_unreadable_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not an image")
    for name, words in (
        ("none.png", "No such file"),
        ("empty.png", "empty"),
        ("text.png", "not an image"),
    ):
        with pytest.raises(ImageError, match=words) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_failed_writing_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    write_atomically(target, "old")
    write_atomically(target, "new")
    assert target.read_text() == "new"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError, match="choose another --output"):
        write_atomically(tmp_path / "file" / "x.txt", "text")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "x.txt"]


def test_images_are_found_recursively_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/z.jpg", "a/.hidden.png", ".cache/c.png", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken_link.png").symlink_to(tmp_path / "nowhere")
    names = [str(p.relative_to(tmp_path)) for p in find_images(tmp_path)]
    assert names == ["a/z.jpg", "b.PNG", "broken_link.png"]
    assert find_images(tmp_path, (".jpg",)) == [tmp_path / "a" / "z.jpg"]
