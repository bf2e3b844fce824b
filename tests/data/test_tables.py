"""data/tables.py: quantisation tables of many encoders."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from data.jpeg import Sampling, encode_jpeg, encode_with_tables, read_jpeg
from data.tables import (
    TableKind,
    mozjpeg_tables,
    preset_tables,
    random_tables,
    scaled,
    standard_tables,
    wild_tables,
)
from tests.conftest import photograph

PICTURE = photograph(40, 56)


@pytest.mark.parametrize("kind", get_args(TableKind))
def test_every_kind_can_be_written(kind: TableKind) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        tables = random_tables(kind, 5 + 4 * seed, 80, rng)
        again = random_tables(kind, 5 + 4 * seed, 80, np.random.default_rng(seed))
        stored = read_jpeg(encode_with_tables(PICTURE, tables))
        for component, table, same in zip(stored.components, tables, again, strict=True):
            np.testing.assert_array_equal(component.table, table)
            np.testing.assert_array_equal(table, same)


def test_libjpegs_are_libjpegs() -> None:
    rng = np.random.default_rng(0)
    stored = read_jpeg(encode_jpeg(PICTURE, 37))
    tables = random_tables("libjpeg", 37, 90, rng)
    np.testing.assert_array_equal([each.table for each in stored.components], tables)
    luma, cb, cr = random_tables("apart", 90, 10, rng)
    np.testing.assert_array_equal(luma, standard_tables(90)[0])
    np.testing.assert_array_equal(cb, standard_tables(10)[1])
    np.testing.assert_array_equal(cr, cb)


def test_scaling_is_libjpegs() -> None:
    for quality in (1, 10, 49, 50, 51, 75, 95, 100):
        for table, base in zip(standard_tables(quality), standard_tables(50), strict=True):
            np.testing.assert_array_equal(scaled(base, quality), table)


def test_found_tables_come_as_often_as_they_were_found() -> None:
    files, found = wild_tables()
    assert len(files) == len(found) == 95
    # The commonest set is libjpeg's at quality 75, in 60 of 333 files.
    np.testing.assert_array_equal(found[int(files.argmax())][0], standard_tables(75)[0])
    rng = np.random.default_rng(0)
    drawn = [random_tables("wild", 1, 1, rng)[0] for _ in range(400)]
    share = np.mean([np.array_equal(table, standard_tables(75)[0]) for table in drawn])
    assert share == pytest.approx(71 / 333, abs=0.07)  # 60 colour files and 11 gray ones


def test_presets_and_mozjpegs_sets() -> None:
    assert "web_low" in preset_tables()
    assert [len(tables) for tables in preset_tables().values()] == [3] * len(preset_tables())
    assert len(mozjpeg_tables()) == 8
    flat = mozjpeg_tables()[0][0]
    assert flat.min() == flat.max() == 16


def test_tables_of_ones_choice() -> None:
    rng = np.random.default_rng(1)
    tables = [rng.integers(1, 256, (8, 8)).astype(np.int32) for _ in range(3)]
    for sampling in (Sampling.S420, Sampling.S422, Sampling.S444):
        stored = read_jpeg(encode_with_tables(PICTURE, tables, sampling))
        assert stored.sampling is sampling
        assert all((c.table == t).all() for c, t in zip(stored.components, tables, strict=True))
    gray = read_jpeg(encode_with_tables(PICTURE[:, :, 0], tables))
    np.testing.assert_array_equal(gray.components[0].table, tables[0])
    with pytest.raises(ValueError, match="4:1:1"):
        encode_with_tables(PICTURE, tables, Sampling.S411)
    with pytest.raises(ValueError, match="1 to 255"):
        encode_with_tables(PICTURE, [tables[0] * 0])


def test_libjpegs_tables_give_libjpegs_levels() -> None:
    """Pillow's and OpenCV's libjpeg compute the same."""
    luma, chroma = standard_tables(60)
    ours = read_jpeg(encode_with_tables(PICTURE, [luma, chroma])).components
    theirs = read_jpeg(encode_jpeg(PICTURE, 60)).components
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.levels, other.levels)
