"""benchmarks/kinds.py: which JPEGs it makes, and what it finds; what all benchmarks refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import kinds, large, layouts, resized, speed
from data.jpeg import encode_jpeg, read_jpeg
from models import Restorer, save_checkpoint
from tests.conftest import csv_rows, photograph, run_main, tiny_network

PICTURE = photograph(80, 80)


def test_the_groups_are_those_promised() -> None:
    photographs = {"one": PICTURE}
    tables = list(kinds.table_cases(photographs))
    assert len([case for case in tables if case.group == "found tables, 4:2:0"]) == 95
    assert len([case for case in tables if case.group == "luma and chroma apart, 4:2:0"]) == 49
    content = list(kinds.content_cases(photographs))
    sorts = {(case.group, case.label.split(" at ")[0][2:]) for case in content}
    assert ("drawn: noisy", "colour") in sorts
    for kind in ("text", "lines", "shapes", "pixel_art", "codes", "ordered", "halftoned"):
        for sort in ("colour", "gray", "gray as colour"):
            assert (f"drawn: {kind}", sort) in sorts
    for case in [*tables, *content]:
        stored = read_jpeg(case.encode(case.original))
        assert (stored.height, stored.width) == case.original.shape[:2]
        assert ("4:4:4" in case.label + case.group) == (stored.describe().count("4:4:4") == 1)
        if "gray as colour" in case.label or case.group.startswith("gray"):
            assert len(stored.components) == 3
            assert not stored.components[1].levels.any()


def test_a_decoded_file_gives_its_levels_again() -> None:
    """But for what rounding and clipping to 8 bits change; another picture does not."""
    stored = read_jpeg(encode_jpeg(PICTURE, 30))
    decoded = stored.decoded()
    assert decoded is not None
    assert min(kinds.levels_found_again(stored, decoded)) > 0.95
    assert kinds.levels_found_again(stored, decoded[::-1].copy())[1] < 0.5
    gray = read_jpeg(encode_jpeg(PICTURE[:, :, 0], 30))
    assert min(kinds.levels_found_again(gray, gray.decoded())) > 0.95  # type: ignore[arg-type]


def test_gain_is_measured_against_the_decoded_file(restorer: Restorer) -> None:
    case = kinds.Case("group", "label", PICTURE, lambda pixels: encode_jpeg(pixels, 30))
    outcome = kinds.measured(case, restorer)
    assert 20 < outcome.jpeg < 40
    assert abs(outcome.gain) < 0.5  # it returns the JPEG, with chroma enlarged a little differently


def test_the_command_prints_a_line_for_each_group(tmp_path: Path) -> None:
    save_checkpoint(tiny_network(), tmp_path / "tiny.safetensors")
    done = run_main(
        *(kinds.main, "benchmarks/kinds.py", "--checkpoint", tmp_path / "tiny.safetensors"),
        *("--every", "20", "--side", "64", "--pictures", "1", "--csv", tmp_path / "a.csv"),
        *("--groups", "found tables, 4:2:0", "drawn: text"),
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.decode().splitlines() if line.startswith("| ")]
    named = [line.split(" | ")[0] for line in lines[2:]]
    assert named == ["| found tables, 4:2:0", "| drawn: text"]
    rows = csv_rows(tmp_path / "a.csv")
    assert len(rows) == sum(int(line.split(" | ")[1]) for line in lines[2:])
    assert np.isfinite([float(row["gain"]) for row in rows]).all()


@pytest.mark.parametrize(
    ("main", "arguments", "complaint"),
    [
        (kinds.main, "--groups nothing", "no group nothing; there are found tables"),
        (kinds.main, "--side 10", "--side at 64"),
        (kinds.main, "--testset nowhere", "test set nowhere not found"),
        (layouts.main, "--qualities 0", "--qualities: expected a whole number in 1..100"),
        (speed.main, "--size 0x8", "--size 0x8: expected WIDTHxHEIGHT"),
        (resized.main, "--first 101", "--first: expected a whole number in 1..100"),
    ],
)
def test_bad_arguments_are_one_line(
    main: Callable[[], int], arguments: str, complaint: str
) -> None:
    assert complaint in _refusal(main, *arguments.split())


@pytest.mark.parametrize("benchmark", [kinds, large, layouts, resized, speed])
def test_weights_that_cannot_be_loaded_are_one_line(benchmark: Any, tmp_path: Path) -> None:
    (tmp_path / "text.safetensors").write_text("text")
    for weights, complaint in (("none.pth", "not found"), ("text.safetensors", "not a whole")):
        assert complaint in _refusal(benchmark.main, "--checkpoint", tmp_path / weights)


def _refusal(main: Callable[[], int], *arguments: object) -> str:
    done = run_main(main, "benchmark.py", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.decode().splitlines()
    return line
