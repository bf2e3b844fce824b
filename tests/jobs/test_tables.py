"""jobs/tables.py and utils/evaluation/tables.py: every set once, nothing measured twice."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.datasets import open_testset
from data.degradation import DoubleJpeg, SingleJpeg
from data.jpeg import Sampling
from jobs import tables
from models import save_checkpoint
from options.schema import ColorTestOptions
from tests.conftest import ROOT, csv_rows, photograph, tiny_network
from testsets import download
from utils.arguments import EXIT_USAGE
from utils.evaluation.metrics import Scores
from utils.evaluation.published import SET_SIZES, PublishedRow, not_comparable, read_published
from utils.evaluation.tables import (
    SummaryRow,
    best_published,
    example_of,
    explained,
    read_summary,
    table_of_set,
)
from utils.image_io import read_image, write_png
from utils.scripts import EXIT_FAILED

PUBLISHED = read_published(ROOT / "testsets" / "published.csv", ())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, size in (("Mini", (48, 64)), ("LIVE1_color", (64, 48))):
        for i in range(2):
            write_png(tmp_path / "sets" / name / f"{i}.png", photograph(*size, seed=i))
    save_checkpoint(tiny_network(), tmp_path / "tiny.safetensors")
    for name in ("LIVE1_color", "LIVE1_gray"):
        monkeypatch.setitem(SET_SIZES, name, 2)
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
    save_checkpoint(tiny_network(seed=1), place / "two.safetensors")
    for quality, i in product((10, 20, 30, 40), range(2)):  # of one set only
        folder = place / "x" / "LIVE1_color" / f"QF{quality}"
        write_png(folder / f"{i}.png", photograph(64, 48, seed=i))
    assert _make("--checkpoint", "two.safetensors", "--method", "X=x") == 0
    text = (place / "results" / "tables.md").read_text()
    assert text.split("\n", 2)[2] in capsys.readouterr().out
    assert text.count("| FBCNN (published)") > 0
    headings = [line for line in text.splitlines() if line.startswith("###")]
    assert headings == ["### Compressed once", "### Gray, compressed once", "### Compressed twice"]
    assert "LIVE1_gray, 2 images" in text
    assert "Mini, 2 images" in text
    assert "Not found here: Urban100. `python testsets/download.py NAME`" in text
    assert "s per image on cpu" in text
    for name in ("tiny", "two"):
        assert f"{name}: {name}.safetensors, 1.6 M parameters" in text
    assert "QF30-50+4+4: compressed at quality 30, shifted by 4 rows and 4 columns, " in text
    rows = csv_rows(place / "results" / "tables.csv")
    kinds = {(r["protocol"], r["dataset"]) for r in rows}
    assert kinds == {
        *(("single", "Mini"), ("single", "LIVE1_color"), ("gray", "LIVE1_gray")),
        *(("double", "Mini"), ("double", "LIVE1_color")),
    }
    peers = [r for r in rows if r["method"] == "JDEC" and r["dataset"] == "LIVE1_color"]
    assert {r["source"] for r in peers}
    assert "measured" not in {r["source"] for r in peers}
    (own,) = (
        r
        for r in rows
        if (r["protocol"], r["dataset"], r["setting"], r["method"])
        == ("single", "LIVE1_color", "QF10", "tiny")
    )
    assert int(own["parameters"]) > 1000
    assert float(own["seconds_per_image"]) > 0
    assert own["best_published"] == "JDEC"
    assert float(own["to_best_published"]) == pytest.approx(float(own["psnr"]) - 27.95, abs=1e-3)
    assert {r["parameters"] for r in rows if r["method"] not in ("tiny", "two")} == {""}
    places = {(r["protocol"], r["dataset"]) for r in rows if r["method"] == "X"}
    assert places == {("single", "LIVE1_color")}
    measured = read_summary(place / "results" / "double" / "Mini" / "summary.csv")
    assert len({row.setting for row in measured}) == 8


def test_an_incomplete_set_is_compared_with_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SET_SIZES, "LIVE1_color", 29)
    (place / "sets" / "LIVE1_color" / "1.png").unlink()
    assert _make(*ONE) == 0
    text = (place / "results" / "tables.md").read_text()
    assert "LIVE1_color, 1 image, " in text
    assert "\n1 of 29 images: not comparable with published figures.\n" in text
    assert "(published)" not in text
    assert "to best" not in text
    assert {r["source"] for r in csv_rows(place / "results" / "tables.csv")} == {"measured"}


def test_a_set_of_which_no_image_can_be_read(place: Path) -> None:
    for path in (place / "sets" / "Mini").iterdir():
        path.write_text("no picture")
    assert _make(*ONE) == EXIT_FAILED
    text = (place / "results" / "tables.md").read_text()
    assert "Mini, 0 images" in text
    assert "Left out: 2 images (0, 1)." in text


def test_exact_images_are_counted(place: Path) -> None:
    write_png(place / "sets" / "Mini" / "2.png", np.full((48, 64, 3), 255, np.uint8))
    assert _make(*ONE) == 0
    text = (place / "results" / "tables.md").read_text()
    assert "Exact, and not in the means of PSNR and PSNR-B: 1 image by JPEG at QF10" in text
    rows = csv_rows(place / "results" / "tables.csv")
    assert {row["exact"] for row in rows if row["dataset"] == "Mini"} == {"1"}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the evaluations that are run from now on."""
    names: list[str] = []
    run = tables.run_evaluation

    def counted(options: tables.AnyEvaluation, *rest: Any, **more: Any) -> object:
        names.append(options.name)
        return run(options, *rest, **more)

    monkeypatch.setattr(tables, "run_evaluation", counted)
    return names


def _measures(measured: list[str], *more: str) -> list[str]:
    measured.clear()
    assert _make(*more) == 0
    return list(measured)


ONE = ("--kinds", "single", "--set", "qualities=[10]")


def test_what_is_measured_is_not_measured_again(place: Path, measured: list[str]) -> None:
    few = ("--kinds", "single", "gray", "--set", "qualities=[10, 40]")
    whole = ["single_Mini", "single_LIVE1_color", "gray_LIVE1_gray"]
    assert _measures(measured, *few) == whole
    assert _measures(measured, *few) == []
    assert _measures(measured, *few[:3], "--set", "qualities=[10]") == whole
    save_checkpoint(tiny_network(seed=1), place / "tiny.safetensors")
    assert _measures(measured, *few) == whole
    (place / "results" / "single" / "Mini" / "summary.csv").write_text("")
    write_png(place / "sets" / "LIVE1_color" / "2.png", photograph(48, 48))
    assert _measures(measured, *few) == whole
    one = place / "sets" / "Mini" / "0.png"
    copy = one.with_name("copy.png")
    write_png(copy, read_image(one))
    copy.rename(one)
    assert _measures(measured, *few) == []
    write_png(one, photograph(48, 64, seed=9))  # other pixels under the same name
    assert _measures(measured, *few) == ["single_Mini"]


def test_a_report_is_made_where_it_is_missing(place: Path, measured: list[str]) -> None:
    report = place / "results" / "single" / "Mini" / "report.html"
    assert _make(*ONE, "--report") == 0
    report.unlink()
    assert _measures(measured, *ONE) == []
    assert _measures(measured, *ONE, "--report") == ["single_Mini"]
    assert report.exists()


def test_auto_stands_for_what_it_resolves_to(place: Path) -> None:
    testset = open_testset("Mini", place / "sets")
    auto, explicit = (
        ColorTestOptions(name="x", checkpoint=Path("tiny.safetensors"), precision=precision)
        for precision in ("auto", "float32")
    )
    expected = tables.fingerprint(explicit, testset, ["cpu", "float32"])
    assert tables.fingerprint(auto, testset, ["cpu", "float32"]) == expected
    assert tables.fingerprint(auto, testset, ["cpu", "bfloat16"]) != expected


def test_a_readme_is_kept_up(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = place / "README.md"
    arguments = (*ONE, "--readme", str(readme))
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
        assert text.count("| tiny ") == 2


def test_nothing_found_is_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--checkpoint", "tiny.safetensors", "--testsets", "Urban100"]
    assert tables.main(arguments) == EXIT_USAGE
    assert "error: none of Urban100 found" in capsys.readouterr().err
    assert _make("--kinds", "gray", "--testsets", "Mini") == EXIT_USAGE
    assert "--kinds gray: none of Mini is for these protocols" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["testsets=[Mini]", "output=mine", "name=x"])
def test_what_each_table_sets_itself_is_refused(
    key: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _make(*ONE, "--set", key) == EXIT_USAGE
    assert "give --testsets or --output" in capsys.readouterr().err


def test_pictures_are_made_where_they_are_missing(place: Path, measured: list[str]) -> None:
    whole = ["single_Mini", "single_LIVE1_color"]
    assert _measures(measured, *ONE, "save_images=none") == whole
    pictures = place / "results" / "single" / "Mini" / "images"
    assert not list(pictures.rglob("*.png"))
    assert _measures(measured, *ONE, "save_images=all") == whole
    assert len({path.stem for path in pictures.rglob("*.png")}) == 2
    for wish in ("first", "none", "all"):
        assert _measures(measured, *ONE, f"save_images={wish}") == []


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


def test_sizes_of_known_sets() -> None:
    for name, source in download.SOURCES.items():
        assert SET_SIZES[name] == source.count
        gray = name.replace("_color", "_gray")
        assert SET_SIZES.get(gray, source.count) == source.count


@pytest.mark.parametrize(
    ("dataset", "images", "setting", "words"),
    [
        ("Classic5", [5, 5], "QF10", ""),
        ("Mine", [1], "QF10_444", ""),
        ("Classic5", [], "QF10", ""),
        ("Classic5", [5, 4], "QF10", "4 of 5 images: "),
        ("Classic5", [6], "QF10", "6 instead of 5 images: "),
        ("LIVE1_color", [29], "QF10_422", "chroma 4:2:2: "),
    ],
)
def test_what_is_comparable(dataset: str, images: list[int], setting: str, words: str) -> None:
    found = not_comparable(dataset, images, [setting])
    assert found.partition("not comparable with published figures")[0] == words


@pytest.mark.parametrize(
    ("degradation", "label", "words"),
    [
        (SingleJpeg(10), "QF10", "compressed at quality 10"),
        (SingleJpeg(10, Sampling.S444), "QF10_444", "compressed at quality 10, chroma 4:4:4"),
        (
            DoubleJpeg(30, 50, (4, 1), Sampling.S422),
            "QF30-50+4+1_422",
            "compressed at quality 30, shifted by 4 rows and 1 column, compressed again at 50, "
            "chroma 4:2:2",
        ),
        (
            DoubleJpeg(30, 50),
            "QF30-50+0+0",
            "compressed at quality 30, again at 50 on the same grid",
        ),
    ],
)
def test_settings_in_words(degradation: SingleJpeg | DoubleJpeg, label: str, words: str) -> None:
    assert degradation.label == label
    assert explained(label) == words
    twice = isinstance(degradation, DoubleJpeg)
    assert example_of([label]) == (f"{label}: {words}." if twice else "")


def test_the_example_is_the_setting_that_shows_most() -> None:
    assert explained("restored") == ""
    settings = ["QF30-30+0+0", "QF30-50+0+0", "QF30-30+4+4", "QF30-50+4+4", "QF50-50+4+4"]
    assert example_of(settings).startswith("QF30-50+4+4: compressed at quality 30, shifted by 4")


def _rows(
    settings: Iterable[str], methods: Iterable[str], dataset: str = "LIVE1_color"
) -> list[SummaryRow]:
    return [
        SummaryRow(dataset, setting, method, SET_SIZES.get(dataset, 3), Scores(30.0, 0.9, 29.0))
        for setting, method in product(settings, methods)
    ]


def test_many_settings_keep_the_published_rows_they_have() -> None:
    rows = _rows([f"QF{quality}" for quality in (5, 10, 20, 30, 40, 50)], ("JPEG", "IJCN"), "A")
    published = [PublishedRow("A", f"QF{q}", "X", 29.0, None, None, "") for q in (10, 20, 30, 40)]
    lines = table_of_set(rows, published)
    assert lines[0].startswith("| setting | JPEG")
    assert lines[7].startswith("| QF50")
    assert lines[8] == ""
    assert [word.strip() for word in lines[9].split("|")[1:-1]] == [
        *("method", "QF10", "QF20", "QF30", "QF40")
    ]
    assert lines[-1].count("+1.00 dB (X)") == 4


def test_published_rows_stand_at_their_own_sampling() -> None:
    lines = table_of_set(_rows(("QF10", "QF10_444"), ["JPEG"]), PUBLISHED)
    (fbcnn,) = (line for line in lines if line.startswith("| FBCNN"))
    assert [cell.strip() for cell in fbcnn.split("|")[2:4]] == ["27.77 / 0.803 / 27.51", ""]


def test_published_rows_say_whose_they_are_and_whether_blind() -> None:
    text = "\n".join(table_of_set(_rows(("QF10", "QF90"), ("JPEG", "mine")), PUBLISHED))
    assert "| GRL-S (published, not blind) | 28.13 / 0.814 / -" in text
    assert "| DOGNet (published) " in text
    assert "38.47 / 0.972 / -" in text
    assert "| to best published            | +2.05 dB (JDEC)" in text
    assert "| -8.47 dB (DOGNet)" in text
    assert "FBCNN: Jiang et al., ICCV 2021" in text
    assert "Not blind, a model for each quality: GRL-S, DMCNN, IDCN." in text
    # Every method has its reference, and every SSIM its window.
    assert not [row for row in PUBLISHED if row.method != "JPEG" and not row.reference]
    for row in csv_rows(ROOT / "testsets" / "published.csv"):
        assert bool(row["ssim"]) == bool(row["ssim_window"]), row
        assert row["blind"] in (("",) if row["method"] == "JPEG" else ("yes", "no")), row


def test_published_rows_of_another_protocol_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    header = "method,dataset,qf,psnr,ssim,psnrb,source,note,blind,ssim_window,padding,reference\n"
    path.write_text(
        header
        + "A,S,10,30,0.9,,t,,yes,uniform,as_stored,a\n"
        + "B,S,10,31,0.9,,t,,yes,gaussian,pad_first,b\n"
        + "C,S,10,32,0.9,,t,,yes,gaussian,,c\n"
    )
    shown = {
        padding: {row.method: row.ssim for row in read_published(path, {padding})}
        for padding in ("as_stored", "pad_first")
    }
    assert shown == {"as_stored": {"A": None, "C": 0.9}, "pad_first": {"B": 0.9, "C": 0.9}}
    path.write_text(
        "method,dataset,qf,psnr,ssim,psnrb,source,note\n"
        "G,S,10,30,0.9,,t,one model per QF\nH,S,10,29,0.9,,t,\n"
    )
    old = read_published(path, {"as_stored"})  # without the columns that came later
    assert [(row.blind, row.ssim) for row in old] == [(False, 0.9), (True, 0.9)]
    best = best_published(old, "S", "QF10")
    assert best is not None
    assert best.method == "H"
