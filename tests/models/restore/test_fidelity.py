"""models/restore/fidelity.py: files too fine to be improved are left as libjpeg decodes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data.degradation import SingleJpeg
from data.jpeg import Sampling, decode_jpeg, encode_jpeg, encode_with_tables, read_jpeg
from data.pixels import pixels_as_jpeg
from data.tables import standard_tables
from jobs.plan_files import FileJob
from jobs.restore_files import OutputSettings, restore_file
from models.restore.fidelity import blended, exact_kept, shares_of_change
from models.restore.restorer import Restorer
from tests.conftest import photograph, tiny_network
from utils.image_io import read_image, write_png

PICTURE = photograph(72, 100)


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer(tiny_network(), "cpu", "float32")


@pytest.fixture(scope="module")
def always() -> Restorer:
    return Restorer(tiny_network(), "cpu", "float32", leave_fine=False)


def test_the_share_falls_from_quality_90_to_95() -> None:
    each = [shares_of_change(read_jpeg(encode_jpeg(PICTURE, q))) for q in range(85, 101)]
    for component in range(3):
        _falls([shares[component] for shares in each])
    of_gray = [shares_of_change(read_jpeg(encode_jpeg(PICTURE[:, :, 0], q))) for q in (85, 100)]
    assert of_gray == [(1.0,), (0.0,)]


def _falls(shares: list[float]) -> None:
    assert shares[:6] == [1.0] * 6
    assert shares[10:] == [0.0] * 6
    assert shares[5:11] == sorted(shares[5:11], reverse=True)
    assert len(set(shares[5:11])) == 6


@pytest.mark.parametrize("quality", [95, 100])
@pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444, None])
def test_fine_files_stay_as_libjpeg_decodes_them(
    restorer: Restorer, always: Restorer, quality: int, sampling: Sampling | None
) -> None:
    picture = PICTURE if sampling else PICTURE[:, :, 0]
    data = encode_jpeg(picture, quality, sampling or Sampling.S420)
    decoded = decode_jpeg(data) if sampling else decode_jpeg(data)[:, :, 0]
    stored = read_jpeg(data)
    assert restorer.leaves(stored)
    np.testing.assert_array_equal(restorer.restore(stored), decoded)
    assert not always.leaves(stored)
    assert (always.restore(stored) != decoded).any()


def test_a_picture_saved_again_at_95_loses_nothing(restorer: Restorer) -> None:
    """As in BSDS500, whose pictures are such JPEGs."""
    once = decode_jpeg(encode_jpeg(PICTURE, 95))
    pair = SingleJpeg(95)(once)
    np.testing.assert_array_equal(restorer.restore(pair.stored), pair.jpeg)


def test_in_between_a_part_of_the_change_is_made(restorer: Restorer, always: Restorer) -> None:
    data = encode_jpeg(PICTURE, 92)
    stored, decoded = read_jpeg(data), decode_jpeg(data).astype(int)
    whole = always.restore(stored).astype(int) - decoded
    part = restorer.restore(stored).astype(int) - decoded
    share = shares_of_change(stored)
    assert max(share) - min(share) < 0.05  # libjpeg's chroma is as fine as its luma
    assert abs(part - share[0] * whole).max() <= 0.5 + 0.05 * abs(whole).max()
    assert 0 < abs(part).sum() < abs(whole).sum()
    np.testing.assert_array_equal(
        restorer.restore(read_jpeg(encode_jpeg(PICTURE, 90))),
        always.restore(read_jpeg(encode_jpeg(PICTURE, 90))),
    )


def _apart(luma: int, chroma: int) -> bytes:
    tables = standard_tables(luma)[0], standard_tables(chroma)[1], standard_tables(chroma)[1]
    return encode_with_tables(PICTURE, tables)


def _luma(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(picture @ np.array([0.299, 0.587, 0.114]))


def test_each_component_is_judged_by_its_own_table(restorer: Restorer, always: Restorer) -> None:
    """Fine luma beside coarse chroma: the colours are restored, the luma stays."""
    data = _apart(98, 30)
    stored, decoded = read_jpeg(data), decode_jpeg(data)
    assert shares_of_change(stored) == (0.0, 1.0, 1.0)
    assert not restorer.leaves(stored)
    restored = restorer.restore(stored)
    assert (restored != decoded).any()
    inside = ((restored > 3) & (restored < 252)).all(2)
    assert np.abs(_luma(restored) - _luma(decoded))[inside].max() <= 1.0

    stored, decoded = read_jpeg(_apart(30, 98)), decode_jpeg(_apart(30, 98))
    assert shares_of_change(stored) == (1.0, 0.0, 0.0)
    change = restorer.restore(stored).astype(float) - decoded
    inside = (np.abs(decoded - 128.0) < 90).all(2)
    assert np.abs(np.diff(change, axis=2))[inside].max() <= 1.01  # all three channels alike


def test_shares_of_all_components_alike_scale_the_whole_change() -> None:
    rng = np.random.default_rng(0)
    restored, decoded = (rng.integers(40, 200, (9, 9, 3)).astype(np.uint8) for _ in range(2))
    change = restored.astype(float) - decoded
    for share in (0.25, 1.0):
        plain = blended(restored, decoded, (share,) * 3, "YCbCr")
        # Nearly equal shares take the other way, through luma and chroma.
        parted = blended(restored, decoded, (share, share, share - 1e-6), "YCbCr")
        np.testing.assert_allclose(plain, decoded + share * change, atol=0.51)
        np.testing.assert_allclose(parted, plain, atol=1)
    one = blended(restored, decoded, (0.0, 1.0, 0.0), "RGB")
    np.testing.assert_array_equal(one[..., 1], restored[..., 1])
    np.testing.assert_array_equal(one[..., ::2], decoded[..., ::2])


def test_batches_leave_fine_files_too(restorer: Restorer) -> None:
    many = [read_jpeg(encode_jpeg(PICTURE, q)) for q in (50, 98, 92, 50)]
    alone = [restorer.restore(stored) for stored in many]
    together = Restorer(tiny_network(), "cpu", "float32")
    together.batches = True
    for one, other in zip(alone, together.restore_batch(many), strict=True):
        assert abs(one.astype(int) - other).max() <= 1
    np.testing.assert_array_equal(together.restore_batch(many)[1], alone[1])


def test_levels_without_a_file_are_restored(restorer: Restorer, always: Restorer) -> None:
    stored = replace(read_jpeg(encode_jpeg(PICTURE, 98)), data=b"")
    np.testing.assert_array_equal(restorer.restore(stored), always.restore(stored))


def _noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)


def test_pixels_without_a_trace_go_through_the_network(
    restorer: Restorer, always: Restorer
) -> None:
    source = pixels_as_jpeg(_noise())
    assert "no trace" in source.note
    np.testing.assert_array_equal(restorer.restore(source.stored), always.restore(source.stored))


def test_a_fine_file_is_reported_as_not_restored(restorer: Restorer, tmp_path: Path) -> None:
    (tmp_path / "fine.jpg").write_bytes(encode_jpeg(PICTURE, 97))
    write_png(tmp_path / "pixels.png", _noise())
    results = {
        name: restore_file(
            FileJob(tmp_path / name, tmp_path / f"{name}.out.png"), restorer, OutputSettings()
        )
        for name in ("fine.jpg", "pixels.png")
    }
    fine = results["fine.jpg"]
    assert fine.status == "decoded"
    assert "not restored: of quality about 95 or better" in fine.message
    assert fine.target is not None
    np.testing.assert_array_equal(
        read_image(fine.target), decode_jpeg((tmp_path / "fine.jpg").read_bytes())
    )
    assert results["pixels.png"].status == "restored"


def _of_strength(strength: float) -> Restorer:
    return Restorer(tiny_network(), "cpu", "float32", strength=strength)


@pytest.mark.parametrize("quality", [30, 92, 97])
@pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444, None])
def test_strength_is_the_share_of_the_change(
    restorer: Restorer, quality: int, sampling: Sampling | None
) -> None:
    picture = PICTURE if sampling else PICTURE[:, :, 0]
    data = encode_jpeg(picture, quality, sampling or Sampling.S420)
    stored, decoded = read_jpeg(data), decode_jpeg(data)
    decoded = decoded if sampling else decoded[:, :, 0]
    whole = restorer.restore(stored)
    for strength in (0.25, 0.5, 0.9):
        expected = decoded + strength * (whole.astype(float) - decoded)
        part = _of_strength(strength).restore(stored)
        np.testing.assert_allclose(part, expected, atol=0.501)
    np.testing.assert_array_equal(_of_strength(0).restore(stored), decoded)
    np.testing.assert_array_equal(_of_strength(1).restore(stored), whole)
    assert _of_strength(0).leaves(stored)


def test_strength_of_pixels_is_relative_to_the_pixels(restorer: Restorer) -> None:
    for pixels in (_noise(), decode_jpeg(encode_jpeg(photograph(90, 120), 30))[5:, 3:]):
        whole = restorer.restore_pixels(pixels)
        part = _of_strength(0.5).restore_pixels(pixels)
        expected = pixels + 0.5 * (whole.astype(float) - pixels)
        np.testing.assert_allclose(part, expected, atol=0.501)
        np.testing.assert_array_equal(_of_strength(0).restore_pixels(pixels), pixels)


def test_strength_of_batches(restorer: Restorer) -> None:
    many = [read_jpeg(encode_jpeg(PICTURE, q)) for q in (50, 98, 40)]
    for strength in (0.0, 0.5):
        alone = _of_strength(strength)
        together = _of_strength(strength)
        together.batches = True
        for stored, one in zip(many, together.restore_batch(many), strict=True):
            assert abs(one.astype(int) - alone.restore(stored)).max() <= 1


@pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444, None])
def test_levels_without_a_file_have_a_plain_picture_too(sampling: Sampling | None) -> None:
    picture = cv2.GaussianBlur(PICTURE, (0, 0), 3)
    data = encode_jpeg(picture if sampling else picture[:, :, 0], 60, sampling or Sampling.S420)
    plain = _of_strength(0).restore(replace(read_jpeg(data), data=b""))
    decoded = decode_jpeg(data) if sampling else decode_jpeg(data)[:, :, 0]
    assert plain.shape == decoded.shape
    assert np.abs(plain.astype(int) - decoded).mean() < 0.8  # rounding and the chroma filter


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_impossible_strengths_are_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="expected a number from 0 to 1"):
        _of_strength(strength)


def test_at_strength_0_files_are_said_to_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(PICTURE, 30))
    write_png(tmp_path / "b.png", _noise())
    for name, picture in (("a.jpg", decode_jpeg(encode_jpeg(PICTURE, 30))), ("b.png", _noise())):
        target = tmp_path / f"{name}.out.png"
        result = restore_file(FileJob(tmp_path / name, target), _of_strength(0), OutputSettings())
        assert result.status == "decoded"
        assert "not restored: strength 0" in result.message
        np.testing.assert_array_equal(read_image(target), picture)


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


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444, None])
def test_white_and_black_stay_where_large_areas_are_so(
    value: int, sampling: Sampling | None
) -> None:
    page = _page(value) if sampling else _page(value)[:, :, 0]
    data = encode_jpeg(page, 10, sampling or Sampling.S420)
    decoded = decode_jpeg(data) if sampling else decode_jpeg(data)[:, :, 0]
    stored, inside = read_jpeg(data), _inside(decoded, value)
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
