"""The bar over files: it moves within a large picture."""

from __future__ import annotations

import pytest

from data.degradation import SingleJpeg
from jobs.progress import FileProgress
from models import Restorer
from tests.conftest import photograph, tiny_network


def test_a_restorer_tells_of_each_tile() -> None:
    restorer = Restorer(tiny_network(), "cpu", "float32")
    told: list[tuple[int, int]] = []
    restorer.progress = lambda done, total: told.append((done, total))
    restorer.restore_in_tiles(SingleJpeg(30)(photograph(192, 320)).stored, 128)
    total = 192 * 320
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert len(told) == 1 + 2 * 3
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_the_bar_counts_parts_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    with FileProgress(2) as progress:
        progress.part(50, 100)
        progress._bar.refresh()
        assert "0.5/2 files" in capsys.readouterr().err.split("\r")[-1]
        progress.part(100, 100)
        progress.part(10, 100)  # the second part of the same picture: no step back
        progress._bar.refresh()
        assert "1.0/2 files" in capsys.readouterr().err.split("\r")[-1]
        progress.finished(100, "a.jpg")
        progress.finished(100, "left_alone.jpg")
    assert "2.0/2 files" in capsys.readouterr().err.split("\r")[-1]


def test_a_hidden_bar_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with FileProgress(1, hidden=True) as progress:
        progress.part(0, 100)
        progress.finished(100, "a.jpg")
    assert capsys.readouterr().err == ""
