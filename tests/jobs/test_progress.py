"""The bar over files: moves within a large picture, tells once of what is faster."""

from __future__ import annotations

import pytest

from data.degradation import SingleJpeg
from jobs.progress import LARGE_PIXELS, FileProgress
from tests.conftest import photograph, tiny_restorer


def test_a_restorer_tells_of_each_tile() -> None:
    restorer = tiny_restorer()
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
        progress.refresh()
        assert "0.5/2 files" in capsys.readouterr().err.split("\r")[-1]
        progress.part(100, 100)
        progress.part(10, 100)  # the second part of the same picture: no step back
        progress.refresh()
        assert "1.0/2 files" in capsys.readouterr().err.split("\r")[-1]
        progress.finished(100, "a.jpg")
        progress.finished(100, "left_alone.jpg")
    assert "2.0/2 files" in capsys.readouterr().err.split("\r")[-1]


@pytest.mark.parametrize(
    ("total", "seconds", "expected"),
    [(LARGE_PIXELS, 1, 1), (LARGE_PIXELS - 1, 1, 0), (100, 100, 1)],
)
def test_people_who_wait_hear_once_of_what_is_faster(
    total: int,
    seconds: float,
    expected: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("jobs.progress.time.perf_counter", lambda: clock[0])
    with FileProgress(2, faster="take the train") as progress:
        progress.part(0, total)
        clock[0] = seconds
        for done in (total // 2, total):
            progress.part(done, total)
    assert capsys.readouterr().err.count("note: take the train") == expected


def test_a_hidden_bar_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with FileProgress(1, hidden=True, faster="take the train") as progress:
        progress.part(0, LARGE_PIXELS)
        progress.finished(LARGE_PIXELS, "a.jpg")
    assert capsys.readouterr().err == ""
