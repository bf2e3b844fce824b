"""jobs/without_effect.py, and whose fault wrong options are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.jpeg import encode_jpeg
from jobs.without_effect import memory_without_effect, options_without_effect
from models.restore.restorer import Restorer
from options.schema import RealTestOptions
from tests.conftest import photograph, run_script, tiny_network


def _options(**changes: object) -> RealTestOptions:
    return RealTestOptions(checkpoint=Path("a"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "changes", "words"),
    [
        ({"quality"}, {}, "--quality has no effect on PNG"),
        ({"output"}, {"suffix": "_x"}, "--output has no effect with --suffix"),
        ({"all_pictures"}, {}, "all_pictures has no effect without a folder"),
        ({"testsets_folder"}, {"input": (Path("a"),)}, "testsets_folder has no effect"),
        ({"compare"}, {"dry_run": True}, "compare has no effect with --dry_run"),
        ({"compare", "report"}, {"dry_run": True}, "compare, report have no effect"),
    ],
)
def test_what_has_no_effect_is_said(
    given: set[str], changes: dict[str, object], words: str
) -> None:
    (line,) = options_without_effect(_options(**changes), given, [Path("a.jpg")])
    assert words in line


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ({"quality"}, {"format": "webp"}),
        ({"output"}, {}),
        ({"output"}, {"suffix": "_x", "report": True}),
        ({"all_pictures"}, {}),
        ({"compare", "below"}, {}),
        (set(), {"suffix": "_x", "dry_run": True}),
    ],
)
def test_what_has_an_effect_is_not(
    given: set[str], changes: dict[str, object], tmp_path: Path
) -> None:
    assert not options_without_effect(_options(**changes), given, [tmp_path])


def test_memory_that_no_tile_fits() -> None:
    least = Restorer(tiny_network(), precision="float32").least_memory()
    assert 0.001 < least < 1
    (line,) = memory_without_effect(least / 10, least)
    assert "those are used all the same" in line
    assert not memory_without_effect(None, least)
    assert not memory_without_effect(least, least)


def test_the_command_line_says_so(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(16, 16), 50))
    common = ("--input", tmp_path / "a.jpg", "--checkpoint", checkpoint)
    out = ("--output", tmp_path / "out")
    done = run_script(
        "test_real_IJCN.py", *common, *out, "--quality", "90", "--max_memory", "0.0001"
    )
    assert done.returncode == 0, done.stderr
    assert "note: --quality has no effect on PNG" in done.stderr
    assert "note: --max_memory 0.0001 is less than the smallest tiles take" in done.stderr
    done = run_script("test_real_IJCN.py", *common, *out, "--format", "jpeg")
    assert (tmp_path / "out" / "a.jpg").exists(), done.stderr
