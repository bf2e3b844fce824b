"""jobs/tables.py and utils/tables.py: every set once, nothing measured twice, a README kept up."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import tables
from models import save_checkpoint
from options.command_line import EXIT_USAGE
from tests.conftest import csv_rows, photograph, tiny_network
from utils.image_io import write_png
from utils.tables import read_summary


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, size in (("Mini", (48, 64)), ("LIVE1_color", (64, 48))):
        for i in range(2):
            write_png(tmp_path / "sets" / name / f"{i}.png", photograph(*size, seed=i))
    save_checkpoint(tiny_network(), tmp_path / "tiny.safetensors")
    monkeypatch.setenv("IJCN_TESTSETS", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _make(*more: str) -> int:
    return tables.main(
        [
            *("--checkpoint", "tiny.safetensors", "--testsets", "Mini", "LIVE1_color"),
            *("LIVE1_gray", "Urban100", "--device", "cpu", *more),
        ]
    )


def test_tables_of_every_protocol(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _make() == 0
    text = (place / "results" / "tables.md").read_text()
    assert capsys.readouterr().out.count("| FBCNN (published)") > 0
    headings = [line for line in text.splitlines() if line.startswith("###")]
    assert headings == ["### Compressed once", "### Gray, compressed once", "### Compressed twice"]
    assert "LIVE1_gray, 2 images" in text
    assert "Mini, 2 images" in text
    assert "Not found here: Urban100." in text
    assert "s per image on cpu" in text
    rows = csv_rows(place / "results" / "tables.csv")
    kinds = {(r["protocol"], r["dataset"]) for r in rows}
    assert kinds == {
        *(("single", "Mini"), ("single", "LIVE1_color"), ("gray", "LIVE1_gray")),
        *(("double", "Mini"), ("double", "LIVE1_color")),
    }
    peers = [r for r in rows if r["method"] == "JDEC" and r["dataset"] == "LIVE1_color"]
    assert {r["source"] for r in peers}
    assert "measured" not in {r["source"] for r in peers}
    measured = read_summary(place / "results" / "double" / "Mini" / "summary.csv")
    assert len({row.setting for row in measured}) == 8


def test_what_is_measured_is_not_measured_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    run = tables.run_evaluation

    def counted(options: tables.AnyEvaluation, *rest: object) -> object:
        measured.append(options.name)
        return run(options, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tables, "run_evaluation", counted)
    few = ("--kinds", "single", "gray", "--set", "qualities=[10, 40]")
    assert _make(*few) == 0
    assert measured == ["single_Mini", "single_LIVE1_color", "gray_LIVE1_gray"]
    measured.clear()
    assert _make(*few) == 0
    assert not measured
    assert _make(*few[:3], "--set", "qualities=[10]") == 0
    assert len(measured) == 3
    measured.clear()
    save_checkpoint(tiny_network(seed=1), place / "tiny.safetensors")
    assert _make(*few) == 0
    assert len(measured) == 3
    measured.clear()
    (place / "results" / "single" / "Mini" / "summary.csv").write_text("")
    write_png(place / "sets" / "LIVE1_color" / "2.png", photograph(48, 48))
    assert _make(*few) == 0
    assert len(measured) == 3


def test_a_readme_is_kept_up(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = place / "README.md"
    arguments = ("--kinds", "single", "--set", "qualities=[10]", "--readme", str(readme))
    assert _make(*arguments) == EXIT_USAGE
    assert "error: " in capsys.readouterr().err
    readme.write_text("# Mine\n")
    assert _make(*arguments) == EXIT_USAGE
    assert "<!-- tables -->" in capsys.readouterr().err
    readme.write_text("# Mine\n<!-- tables -->\nold\n<!-- /tables -->\nend\n")
    for _ in range(2):
        assert _make(*arguments) == 0
        text = readme.read_text()
        assert text.startswith("# Mine\n<!-- tables -->\n")
        assert text.endswith("\n<!-- /tables -->\nend\n")
        assert "old" not in text
        assert text.count("| IJCN") == 2


def test_nothing_found_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--checkpoint", "tiny.safetensors", "--testsets", "Urban100"]
    assert tables.main(arguments) == EXIT_USAGE
    assert "error: none of Urban100 found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks"),
        ("a,b\n1,2\n", "lacks"),
        ("dataset,setting,method,images,psnr,ssim,psnrb\nA,QF10,IJCN,two,1,1,1\n", "line 2"),
        ("dataset,setting,method,images,psnr,ssim,psnrb\nA,QF10,IJCN\n", "line 2"),
    ],
)
def test_foreign_summaries_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_summary(tmp_path / "summary.csv")
