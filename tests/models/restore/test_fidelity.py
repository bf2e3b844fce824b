"""models/restore/fidelity.py: files too fine to be improved are left as libjpeg decodes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import data.jpeg
from data.jpeg import (
    JpegImage,
    Sampling,
    decode_jpeg,
    encode_jpeg,
    encode_with_tables,
    read_jpeg,
)
from data.pixels import pixels_as_jpeg
from data.tables import standard_tables
from jobs.plan_files import FileJob
from jobs.restore_files import OutputSettings, restore_file
from models.restore.fidelity import blended, exact_kept, shares_of_change
from models.restore.parts import parts_of
from models.restore.restorer import Restorer
from tests.conftest import photograph, tiny_network, tiny_restorer
from tests.made_jpegs import Plane, assembled
from utils.image_io import read_image, write_png

PICTURE = photograph(72, 100)

every_kind = pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444, None])
"""None: gray."""


def _case(
    quality: int, sampling: Sampling | None = Sampling.S420, picture: NDArray[np.uint8] = PICTURE
) -> tuple[JpegImage, NDArray[np.uint8]]:
    """A JPEG of a picture, and what libjpeg makes of it."""
    pixels = picture if sampling else picture[:, :, 0]
    encoded = encode_jpeg(pixels, quality, sampling or Sampling.S420)
    decoded = decode_jpeg(encoded)
    return read_jpeg(encoded), decoded if sampling else decoded[:, :, 0]


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return tiny_restorer()


@pytest.fixture(scope="module")
def always() -> Restorer:
    return tiny_restorer(leave_fine=False)


def test_the_share_falls_from_quality_90_to_95() -> None:
    each = [shares_of_change(read_jpeg(encode_jpeg(PICTURE, q))) for q in range(85, 101)]
    for shares in map(list, zip(*each, strict=True)):  # of one component
        assert shares[:6] == [1.0] * 6
        assert shares[10:] == [0.0] * 6
        assert shares[5:11] == sorted(shares[5:11], reverse=True)
        assert len(set(shares[5:11])) == 6
    of_gray = [shares_of_change(read_jpeg(encode_jpeg(PICTURE[:, :, 0], q))) for q in (85, 100)]
    assert of_gray == [(1.0,), (0.0,)]


@every_kind
@pytest.mark.parametrize("quality", [95, 100])
def test_fine_files_stay_as_libjpeg_decodes_them(
    restorer: Restorer, always: Restorer, quality: int, sampling: Sampling | None
) -> None:
    stored, decoded = _case(quality, sampling)
    assert restorer.leaves(stored)
    np.testing.assert_array_equal(restorer.restore(stored), decoded)
    assert not always.leaves(stored)
    assert (always.restore(stored) != decoded).any()


def test_in_between_a_part_of_the_change_is_made(restorer: Restorer, always: Restorer) -> None:
    stored, decoded = _case(92)
    whole = always.restore(stored).astype(int) - decoded
    part = restorer.restore(stored).astype(int) - decoded
    share = shares_of_change(stored)
    assert max(share) - min(share) < 0.05  # libjpeg's chroma is as fine as its luma
    assert abs(part - share[0] * whole).max() <= 0.5 + 0.05 * abs(whole).max()
    assert 0 < abs(part).sum() < abs(whole).sum()
    stored, _ = _case(90)
    np.testing.assert_array_equal(restorer.restore(stored), always.restore(stored))


def _apart(luma: int, chroma: int) -> tuple[JpegImage, NDArray[np.uint8]]:
    tables = standard_tables(luma)[0], standard_tables(chroma)[1], standard_tables(chroma)[1]
    encoded = encode_with_tables(PICTURE, tables)
    return read_jpeg(encoded), decode_jpeg(encoded)


def _luma(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(picture @ np.array([0.299, 0.587, 0.114]))


def test_each_component_is_judged_by_its_own_table(restorer: Restorer) -> None:
    """Fine luma beside coarse chroma: the colours are restored, the luma stays."""
    stored, decoded = _apart(98, 30)
    assert shares_of_change(stored) == (0.0, 1.0, 1.0)
    assert not restorer.leaves(stored)
    restored = restorer.restore(stored)
    assert (restored != decoded).any()
    inside = ((restored > 3) & (restored < 252)).all(2)
    assert np.abs(_luma(restored) - _luma(decoded))[inside].max() <= 1.0

    stored, decoded = _apart(30, 98)
    assert shares_of_change(stored) == (1.0, 0.0, 0.0)
    change = restorer.restore(stored).astype(float) - decoded
    inside = (np.abs(decoded - 128.0) < 90).all(2)
    assert np.abs(np.diff(change, axis=2))[inside].max() <= 1.01  # all three channels alike


def test_shares_of_all_components_alike_scale_the_whole_change() -> None:
    rng = np.random.default_rng(0)
    restored, decoded = (rng.integers(40, 200, (9, 9, 3)).astype(np.uint8) for _ in range(2))
    change = restored.astype(float) - decoded
    for share in (0.25, 1.0):
        plain = blended(restored, decoded, (share,) * 3)
        # Nearly equal shares take the other way, through luma and chroma.
        parted = blended(restored, decoded, (share, share, share - 1e-6))
        np.testing.assert_allclose(plain, decoded + share * change, atol=0.51)
        np.testing.assert_allclose(parted, plain, atol=1)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_batches_leave_fine_files_and_know_strength_too(strength: float) -> None:
    many = [_case(quality)[0] for quality in (50, 98, 92, 50)]
    restorer = tiny_restorer(strength=strength)
    alone = [restorer.restore(stored) for stored in many]
    restorer.batches = True
    together = restorer.restore_batch(many)
    for one, other in zip(alone, together, strict=True):
        assert abs(one.astype(int) - other).max() <= 1
    np.testing.assert_array_equal(together[1], alone[1])


def _noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)


def test_levels_without_a_file_go_through_the_network(restorer: Restorer, always: Restorer) -> None:
    source = pixels_as_jpeg(_noise())
    assert "no trace" in source.note
    for stored in (replace(_case(98)[0], data=b""), source.stored):
        np.testing.assert_array_equal(restorer.restore(stored), always.restore(stored))


@pytest.mark.parametrize("name", ["coarse.jpg", "pixels.png"])
def test_at_strength_0_files_are_decoded_which_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / "coarse.jpg").write_bytes(encode_jpeg(PICTURE, 30))
    write_png(tmp_path / "pixels.png", _noise())
    job = FileJob(tmp_path / name, tmp_path / "out.png")
    result = restore_file(job, tiny_restorer(strength=0), OutputSettings())
    assert result.outcome == "left alone"
    assert "not restored: strength 0" in result.message
    np.testing.assert_array_equal(read_image(job.target), read_image(job.source))


@every_kind
@pytest.mark.parametrize("quality", [30, 92, 97])
def test_strength_is_the_share_of_the_change(
    restorer: Restorer, quality: int, sampling: Sampling | None
) -> None:
    stored, decoded = _case(quality, sampling)
    whole = restorer.restore(stored)
    expected = decoded + 0.3 * (whole.astype(float) - decoded)
    np.testing.assert_allclose(tiny_restorer(strength=0.3).restore(stored), expected, atol=0.501)
    np.testing.assert_array_equal(tiny_restorer(strength=0).restore(stored), decoded)
    np.testing.assert_array_equal(tiny_restorer(strength=1).restore(stored), whole)
    assert tiny_restorer(strength=0).leaves(stored)


def test_strength_of_pixels_is_relative_to_the_pixels(restorer: Restorer) -> None:
    for pixels in (_noise(), decode_jpeg(encode_jpeg(photograph(90, 120), 30))[5:, 3:]):
        whole = restorer.restore_pixels(pixels)
        part = tiny_restorer(strength=0.5).restore_pixels(pixels)
        expected = pixels + 0.5 * (whole.astype(float) - pixels)
        np.testing.assert_allclose(part, expected, atol=0.501)
        np.testing.assert_array_equal(tiny_restorer(strength=0).restore_pixels(pixels), pixels)


@every_kind
def test_levels_without_a_file_have_a_plain_picture_too(sampling: Sampling | None) -> None:
    smooth = np.asarray(cv2.GaussianBlur(PICTURE, (0, 0), 3), np.uint8)
    stored, decoded = _case(60, sampling, smooth)
    plain = tiny_restorer(strength=0).restore(replace(stored, data=b""))
    assert plain.shape == decoded.shape
    assert np.abs(plain.astype(int) - decoded).mean() < 0.8  # rounding and the chroma filter


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_impossible_strengths_are_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        tiny_restorer(strength=strength)


def test_a_subsampled_part_keeps_the_same_share_of_its_decoding(
    restorer: Restorer, always: Restorer
) -> None:
    """Chroma of an RGB file whose planes differ in size, between qualities 90 and 95."""
    smooth = np.asarray(cv2.GaussianBlur(photograph(80, 96), (0, 0), 1.5), np.uint8)
    table = standard_tables(93)[0]
    planes = [
        Plane(np.ascontiguousarray(smooth[:, :, i]), side, side, table)
        for i, side in enumerate((2, 1, 1))
    ]
    part = parts_of(read_jpeg(assembled(planes, adobe=0)))[1]
    assert (part.height, part.width) == (40, 48)
    assert part.decoded() is None
    (share,) = set(shares_of_change(part))
    assert 0 < share < 1
    plain = always.decoded(part).astype(float)
    change = always.restore(part) - plain
    assert np.abs(change).max() > 2  # there is something to blend
    assert np.abs(restorer.restore(part) - (plain + share * change)).max() <= 1


@pytest.mark.parametrize("quality", [50, 93, 98])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_file_is_decoded_once(
    quality: int, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    decode = data.jpeg.decode_jpeg
    monkeypatch.setattr(data.jpeg, "decode_jpeg", lambda file: calls.append(1) or decode(file))
    stored = read_jpeg(encode_jpeg(PICTURE, quality))
    restored = tiny_restorer(strength=strength).restore(stored)
    decoded = stored.decoded()
    assert decoded is not None
    assert len(calls) == 1
    restored[:] = 0  # is the caller's own
    assert decoded.any()


def _page(value: int) -> NDArray[np.uint8]:
    """A photograph on white or black; sides that are no multiples of 8."""
    page = np.full((133, 181, 3), value, np.uint8)
    page[70:130, 100:170] = photograph(60, 70)
    return page


def _inside(decoded: NDArray[np.uint8], value: int) -> NDArray[np.bool_]:
    """The rule once more, pixel by pixel."""
    found = (decoded.reshape(*decoded.shape[:2], -1) == value).all(2)
    inside = np.zeros_like(found)
    for row, col in np.ndindex(*(-(-n // 8) for n in found.shape)):
        top, left = max(0, 8 * row - 8), max(0, 8 * col - 8)
        if found[top : 8 * row + 16, left : 8 * col + 16].all():
            inside[8 * row : 8 * row + 8, 8 * col : 8 * col + 8] = True
    return inside


@every_kind
@pytest.mark.parametrize("value", [0, 255])
def test_white_and_black_stay_where_large_areas_are_so(
    value: int, sampling: Sampling | None
) -> None:
    stored, decoded = _case(10, sampling, _page(value))
    inside = _inside(decoded, value)
    assert 0.3 < inside.mean() < 0.9
    model = tiny_network()
    with torch.no_grad():  # one that makes everything a little gray
        model.backbone.tail.bias.fill_(0.02 if value == 0 else -0.02)
        model.level_check = None
    restorer = Restorer(model, "cpu", "float32")
    restorer.batches = True
    for restored in (
        restorer.restore(stored),
        restorer.restore_in_tiles(stored, 64),
        *restorer.restore_batch([stored, stored]),
        restorer.restore(replace(stored, data=b"")),
    ):
        assert (restored[inside] == value).all()
        assert (restored[~inside] != decoded[~inside]).mean() > 0.5


def test_extremes_of_one_channel_or_of_small_areas_are_left_to_the_network() -> None:
    gray = np.full((40, 40, 3), 100, np.uint8)
    red = np.zeros((40, 40, 3), np.uint8)
    red[:, :, 0] = 255
    np.testing.assert_array_equal(exact_kept(gray, red), gray)
    spot = np.full((40, 40, 3), 90, np.uint8)
    spot[::2] += 1  # not flat, else it would be exact by its clear steps
    spot[8:24, 8:24] = 255
    np.testing.assert_array_equal(exact_kept(gray, spot), gray)
    spot[8:32, 8:32] = 255
    kept = exact_kept(gray, spot)
    assert (kept[16:24, 16:24] == 255).all()
    assert (kept == 100).sum() == 3 * (40 * 40 - 64)


def test_flat_blocks_with_clear_steps_are_exact() -> None:
    """Pixels of a drawing that are as large as blocks; not the blocks of a coarse photograph."""
    blocks = np.array([[0, 200, 200, 60], [200, 0, 60, 60], [60, 60, 60, 60], [0, 0, 0, 20]])
    drawing = blocks.astype(np.uint8).repeat(8, 0).repeat(8, 1)
    other = np.full_like(drawing, 100)
    np.testing.assert_array_equal(exact_kept(other, drawing), drawing)
    drawing[30, 30] += 1  # the last block is not flat, nor are its neighbours' surroundings
    kept = exact_kept(other, drawing)
    assert (kept[16:, 16:] == 100).all()
    np.testing.assert_array_equal(kept[:16, :16], drawing[:16, :16])
    coarse = (100 + blocks // 10).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(exact_kept(other, coarse), other)


def test_a_drawing_on_the_grid_comes_out_as_it_went_in() -> None:
    modules = np.random.default_rng(3).integers(0, 2, (12, 12)).astype(np.uint8) * 255
    picture = modules.repeat(8, 0).repeat(8, 1)
    stored = read_jpeg(encode_jpeg(picture, 50))
    assert np.array_equal(stored.decoded(), picture)
    assert np.array_equal(Restorer(tiny_network(), "cpu").restore(stored), picture)
