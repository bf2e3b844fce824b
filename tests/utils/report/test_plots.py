"""utils/report/plots.py: what is read, what is drawn, files, and one line for anything unusable."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.evaluation.metrics import Scores
from utils.evaluation.published import PublishedRow, read_published
from utils.image_io import read_image
from utils.report.plots import (
    PUBLISHED,
    Curve,
    PlotError,
    main,
    quality_figure,
    read_runs,
    read_summaries,
    training_figures,
)

pytestmark = pytest.mark.usefixtures("capsys")  # also with -s: a command takes over stdout

HEADER = "dataset,setting,method,images,psnr,ssim,psnrb\n"

SUMMARY = HEADER + (
    "LIVE1_color,QF10,JPEG,29,25.69,0.743,24.20\n"
    "LIVE1_color,QF10,IJCN,29,27.32,0.790,27.08\n"
    "LIVE1_color,QF40,JPEG,29,30.28,0.882,28.83\n"
    "LIVE1_color,QF40,IJCN,29,31.80,nan,31.38\n"
    "LIVE1_color,QF30-50+4+4,IJCN,29,30.00,0.8,30.00\n"
)

TRAIN = "step,loss,gain,skipped\n50,0.02,0.1,0\n100,0.01,0.3,0\n150,0.012,0.5,0\n"
VALIDATION = "step,gain_QF10,gain_QF40\n100,0.2,0.4\n200,0.3,\n"


@pytest.fixture
def matplotlib() -> Any:
    return pytest.importorskip("matplotlib", reason="matplotlib is optional (extra plots)")


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    path = tmp_path / "color" / "summary.csv"
    path.parent.mkdir()
    path.write_text(SUMMARY)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text(TRAIN)
    (folder / "validation.csv").write_text(VALIDATION)
    return folder


def _lines(ax: Any) -> list[tuple[list[float], list[float]]]:
    """Curves of a panel; horizontal rules left out, and runs without any."""
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in ax.get_lines()
        if list(line.get_xdata()) not in ([0, 1], [])
    ]


def test_summaries_are_read_with_the_published_curves(summary: Path) -> None:
    curves = read_summaries([summary], read_published(PUBLISHED, ()))
    assert list(curves) == ["LIVE1_color"]
    by_name = {curve.name: curve for curve in curves["LIVE1_color"]}
    assert len(by_name) == len(curves["LIVE1_color"])
    assert by_name["IJCN"].values("psnr") == [(10, 27.32), (40, 31.80)]
    assert by_name["IJCN"].values("ssim") == [(10, 0.790)]  # the other is unknown
    assert by_name["IJCN"].values("psnr", gain=True) == [
        (10, pytest.approx(1.63)),
        (40, pytest.approx(1.52)),
    ]
    assert by_name["JPEG"].ours
    assert not by_name["FBCNN"].ours
    assert all(math.isfinite(value) for _, value in by_name["DOGNet"].values("psnrb"))


def test_published_gains_are_over_the_published_jpeg(summary: Path) -> None:
    published = [
        PublishedRow("LIVE1_color", "QF10", "JPEG", 20.0, None, None, ""),
        PublishedRow("LIVE1_color", "QF10", "X", 23.0, None, None, ""),
        PublishedRow("Elsewhere", "QF10", "Y", 23.0, None, None, ""),
    ]
    names = {c.name: c for c in read_summaries([summary], published)["LIVE1_color"]}
    assert set(names) == {"JPEG", "IJCN", "X"}
    assert names["X"].values("psnr", gain=True) == [(10, 3.0)]
    assert names["JPEG"].values("psnr")[0] == (10, 25.69)


def test_names_with_spaces_and_methods_that_lack_pictures(tmp_path: Path) -> None:
    rows = [
        *("LIVE1_color,QF10,JPEG,29,25,0.7,24", "LIVE1_color,QF10,IJCN-S (ours),29,27,0.8,26"),
        "LIVE1_color,QF10,FBCNN,28,28,0.8,27",
        *("LIVE1_color,QF10_444,JPEG,29,26,0.7,25", "LIVE1_color,QF10_444,A b,29,29,0.8,26"),
    ]
    (tmp_path / "summary.csv").write_text(HEADER + "\n".join(rows) + "\n")
    curves = read_summaries([tmp_path / "summary.csv"], [])["LIVE1_color"]
    gains = {
        curve.name: curve.values("psnr", gain=True) for curve in curves if "JPEG" not in curve.name
    }
    assert gains == {"IJCN-S (ours)": [(10, 2)], "FBCNN": [(10, 3)], "A b 4:4:4": [(10, 3)]}
    (tmp_path / "summary.csv").write_text(HEADER + "\n".join(rows[:3]) + "\n")
    curves = read_summaries([tmp_path / "summary.csv"], [])["LIVE1_color"]
    assert {curve.note for curve in curves} == {""}  # the JPEG is over the whole set


def test_another_chroma_sampling_is_compared_with_its_own_jpeg(
    summary: Path, tmp_path: Path
) -> None:
    other = tmp_path / "color444" / "summary.csv"
    other.parent.mkdir()
    other.write_text(SUMMARY.replace("QF10,", "QF10_444,").replace("25.69", "26.00"))
    curves = read_summaries([summary, other], read_published(PUBLISHED, ()))["LIVE1_color"]
    by_name = {curve.name: curve for curve in curves}
    assert set(by_name) >= {"JPEG", "JPEG 4:4:4", "IJCN (color)", "IJCN 4:4:4 (color444)"}
    assert by_name["IJCN 4:4:4 (color444)"].values("psnr", gain=True) == [(10, pytest.approx(1.32))]
    assert by_name["IJCN (color)"].values("psnr", gain=True)[0] == (10, pytest.approx(1.63))
    assert "which are for 4:2:0" in by_name["JPEG"].note
    assert all(curve.ours for curve in curves)


@pytest.mark.usefixtures("matplotlib")
def test_published_figures_of_another_padding_are_not_drawn(
    summary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, set[str]] = {}

    def read(_: object, published: list[PublishedRow]) -> dict[str, list[Curve]]:
        given[padding] = {row.method for row in published}
        return {}

    monkeypatch.setattr("utils.report.plots.read_summaries", read)
    for padding in ("as_stored", "pad_first"):
        (summary.parent / "run.yml").write_text(f"options: {{padding: {padding}}}\n")
        main(["summary", str(summary), "--output", str(tmp_path)])
    assert "FBCNN" in given["as_stored"] - given["pad_first"]


def test_several_summaries_are_told_apart_by_their_folders(summary: Path, tmp_path: Path) -> None:
    other = tmp_path / "more" / "color" / "summary.csv"
    other.parent.mkdir(parents=True)
    other.write_text(SUMMARY)
    names = [curve.name for curve in read_summaries([summary, other])["LIVE1_color"]]
    assert names == ["JPEG", f"IJCN ({summary.parent})", f"IJCN ({other.parent})"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HEADER, "no setting is a single quality"),
        (HEADER + "A,QF30-50+0+0,IJCN,29,25,0.7,24\n", "no setting is a single quality"),
        ("a,b\n1,2\n", "it lacks dataset, images, method, psnr, psnrb, setting, ssim"),
        (HEADER + "A,QF10,IJCN,29,high,0.7,24\n", "line 2: "),
        (HEADER + "A,QF10,IJCN,2,25,0.7,24\n" * 2, "A, QF10, IJCN stands there twice"),
        (HEADER + "A,QF10,IJCN,29,25\n", "not as many cells"),
        ("\ud889PNG", "codec can't decode"),
        (HEADER + "A," + "x" * 200_000 + "\n", "field larger"),
    ],
)
def test_foreign_summaries_are_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "summary.csv"
    path.write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(PlotError) as error:
        read_summaries([path])
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_summary_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_bytes(b"\xef\xbb\xbf" + SUMMARY.replace("\n", "\r\n").encode())
    assert [curve.name for curve in read_summaries([path])["LIVE1_color"]] == ["JPEG", "IJCN"]


def test_runs_are_read_also_while_they_are_written(run: Path) -> None:
    with (run / "train.csv").open("a") as file:
        file.write("200,0.0")
    columns = read_runs([run])["one"]
    assert columns["loss"] == [(50, 0.02), (100, 0.01), (150, 0.012)]
    assert columns["gain_QF40"] == [(100, 0.4)]
    (run / "train.csv").write_text("")
    (run / "validation.csv").unlink()
    assert read_runs([run]) == {"one": {}}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train.csv", "step,speed\n1,2\n", "column loss, gain is missing"),
        ("train.csv", "step,loss,gain\n1,x,2\n", "'x'"),
        ("validation.csv", "time,gain\n1,2\n", "column step is missing"),
    ],
)
def test_foreign_runs_are_one_line(run: Path, name: str, content: str, words: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(PlotError) as error:
        read_runs([run])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_drawn_is_what_was_measured(matplotlib: Any, summary: Path) -> None:
    published = [
        PublishedRow("LIVE1_color", f"QF{q}", "FBCNN", psnr, None, None, "")
        for q, psnr in ((20, 30.11), (10, 27.77))
    ]
    curves = read_summaries([summary], published)["LIVE1_color"]
    (ax,) = quality_figure("LIVE1_color", curves, "psnr", gain=False).axes
    assert ax.get_xlabel() == "JPEG quality factor"
    assert ax.get_ylabel() == "PSNR (dB)"
    assert _lines(ax) == [
        ([10, 40], [25.69, 30.28]),
        ([10, 40], [27.32, 31.80]),
        ([10, 20], [27.77, 30.11]),
    ]
    (legend,) = ax.figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["FBCNN", "IJCN", "JPEG"]  # by their values at the quality that all have
    assert {text.get_text() for text in ax.texts} == {"thick: measured, dashed: published"}
    summary.write_text(SUMMARY.replace(",29,", ",1,"))
    alone = read_summaries([summary], published)["LIVE1_color"]
    assert [curve.name for curve in alone] == ["JPEG", "IJCN"]
    (other,) = quality_figure("LIVE1_color", alone, "psnr", gain=False).axes
    note = "1 of 29 images: not comparable with published figures"
    assert {text.get_text() for text in other.texts} == {note}
    (ax,) = quality_figure("LIVE1_color", curves, "psnrb", gain=True).axes
    assert ax.get_ylabel() == "PSNR-B gain over the JPEG (dB)"
    ((_, gains),) = _lines(ax)
    np.testing.assert_allclose(gains, [2.88, 2.55])
    with pytest.raises(PlotError, match="no curve has a SSIM"):
        quality_figure(
            "A", [Curve("X", True, {10: Scores(30.0, math.nan, 30.0)})], "ssim", gain=False
        )


def test_means_over_other_images_make_no_gain(matplotlib: Any, tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text(
        HEADER.replace("\n", ",exact\n")
        + "S,QF10,JPEG,2,26,0.7,25,1\nS,QF10,A,2,40,0.8,39,0\n"  # A harms the exact image
        + "S,QF20,JPEG,2,28,0.7,27,1\nS,QF20,A,2,30,0.8,29,1\n"
    )
    _, curve = read_summaries([path])["S"]
    assert curve.values("psnr", gain=True) == [(20, 2)]
    assert [round(gain, 3) for _, gain in curve.values("ssim", gain=True)] == [0.1, 0.1]
    assert curve.values("psnr") == [(10, 40), (20, 30)]


def test_long_names_and_many_methods_can_be_told_apart(matplotlib: Any) -> None:
    points = {10: Scores(28, 0.8, 27), 20: Scores(30, 0.8, 29)}
    names = [f"a method with a rather long name, in its variant {i}" for i in range(12)]
    curves = [Curve(name, ours=True, points=points) for name in names]
    page = quality_figure(
        "S", [*curves, Curve("JPEG 4:4:4", True, points, is_jpeg=True)], "psnr", False
    )
    (ax,) = page.axes
    looks = {(line.get_color(), line.get_linestyle()) for line in ax.get_lines()}
    assert len(looks) == 13
    page.draw_without_rendering()
    assert ax.get_window_extent().width > 0.4 * page.bbox.width
    (legend,) = page.legends
    inside = legend.get_window_extent()
    assert inside.y0 >= 0
    assert inside.x1 <= page.bbox.width


def test_the_legend_of_many_runs_fits_the_page(matplotlib: Any) -> None:
    runs = {
        f"another_long_run_name_for_ablation_number_{i}": {"loss": [(1.0, 0.1)]} for i in range(8)
    }
    page = training_figures(runs)["training"]
    page.draw_without_rendering()
    (legend,) = page.legends
    extent = legend.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= page.bbox.width


def test_a_set_without_figures_hinders_no_other(matplotlib: Any, tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text(
        HEADER
        + "S,QF10,JPEG,1,26,0.7,25\nS,QF10,A,1,nan,nan,nan\n"
        + "T,QF10,JPEG,1,26,0.7,25\nT,QF10,A,1,28,0.8,27\n"
    )
    assert main(["summary", str(path), "--output", str(tmp_path / "p")]) == 0
    made = sorted(file.stem for file in (tmp_path / "p").glob("*.png"))
    assert made == ["psnr_S", "psnr_T", "psnr_gain_T"]


def test_courses_of_runs(matplotlib: Any) -> None:
    steps = [(float(step), float(step % 3)) for step in range(9)]
    runs = {
        "a$b$": {"loss": steps, "gain": steps, "gain_QF10": steps},
        "_hidden": {"loss": steps, "gain_QF10": steps[:3], "gain_QF40": steps},
        "none": {},
    }
    pages = training_figures(runs, smooth=3)
    loss, gain = pages["training"].axes
    assert [len(_lines(ax)) for ax in (loss, gain)] == [4, 2]  # each as it is, and smoothed
    assert _lines(gain)[1][1] == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, 1, 1])
    gains = pages["validation"].axes
    titles = [ax.get_title(loc="left") for ax in gains]
    assert titles == ["Validation gain, QF10", "Validation gain, QF40"]
    assert [len(_lines(ax)) for ax in gains] == [2, 1]
    for page in pages.values():
        assert [text.get_text() for text in page.legends[0].get_texts()] == ["a$b$", "hidden"]
    assert list(training_figures({"a": {"gain_QF10": steps}})) == ["validation"]
    assert list(training_figures({"a": {"loss": steps}})) == ["training"]


def test_summary_writes_svg_and_png(
    matplotlib: Any, summary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = SUMMARY.replace(HEADER, "")
    summary.write_text(SUMMARY + rows.replace("LIVE1_color", "../my photos"))
    contents = []
    for output in (tmp_path / "plots", tmp_path / "again"):
        assert main(["summary", str(summary), "--output", str(output)]) == 0
        contents.append({path.name: path.read_bytes() for path in output.iterdir()})
    names = {f"{kind}_{s}" for kind in ("psnr", "psnr_gain") for s in ("LIVE1_color", "my_photos")}
    assert set(contents[0]) == {f"{name}.{suffix}" for name in names for suffix in ("svg", "png")}
    assert contents[0] == contents[1]  # the same curves make the same files
    assert len(capsys.readouterr().out.splitlines()) == 16
    picture = read_image(tmp_path / "plots" / "psnr_LIVE1_color.png")
    assert picture.shape[1] > 1000
    colour = np.array([0xD5, 0x5E, 0x00])  # ours
    assert (picture == colour).all(2).sum() > 500


def test_training_writes_svg_and_png(matplotlib: Any, run: Path, tmp_path: Path) -> None:
    assert main(["training", str(run), "--output", str(tmp_path / "plots")]) == 0
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "training.md",
        *(f"{name}.{suffix}" for name in ("training", "validation") for suffix in ("svg", "png")),
    }


def _only_error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_unusable_input_is_one_line_and_writes_nothing(
    matplotlib: Any, summary: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "plots"
    (tmp_path / "file").write_text("in the way")
    broken = tmp_path / "broken.csv"
    broken.write_text(HEADER)
    alike = tmp_path / "alike.csv"
    alike.write_text(HEADER + "".join(f"{s},QF10,IJCN,1,25,0.7,24\n" for s in ("a b", "a_b")))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "train.csv").write_text("step,loss,gain\n")
    cases = [
        (["summary", summary, tmp_path / "nowhere.csv", "--output", output], "No such file"),
        (["summary", summary, broken, "--output", output], "no setting is"),
        (["summary", tmp_path, "--output", output], "directory"),
        (["summary", alike, "--output", output], "two calls"),
        (["summary", summary, "--output", tmp_path / "file" / "in"], "cannot be written"),
        (["summary", summary, "--published", run, "--output", output], "--no-published"),
        (["training", run, tmp_path / "nowhere", "--output", output], "no such folder"),
        (["training", tmp_path, "--output", output], "neither train.csv nor validation.csv"),
        (["training", empty, "--output", output], "reported anything yet"),
    ]
    for arguments, words in cases:
        assert main([str(each) for each in arguments]) == 2
        assert words in _only_error(capsys)
    assert not output.exists()


def test_without_matplotlib_one_line_names_the_extra(
    summary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["summary", str(summary), "--output", str(tmp_path / "plots")]) == 2
    assert 'pip install -e ".[plots]"' in _only_error(capsys)
    assert not (tmp_path / "plots").exists()


def test_what_to_plot_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "summary|training" in _only_error(capsys)
