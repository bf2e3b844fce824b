"""Several methods in one table: networks, pictures of other programs, jpegqs; runs joined."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from data.degradation import SingleJpeg
from jobs import tables
from jobs.methods import JPEGQS, method_state, name_of
from models import IJCN, save_checkpoint
from tests.conftest import (
    PATIENCE,
    ROOT,
    csv_rows,
    error_line,
    listing,
    photograph,
    run_script,
    started,
    tiny_network,
    wait_until,
)
from utils.arguments import EXIT_USAGE
from utils.evaluation.evaluate import image_path
from utils.evaluation.metrics import measure, psnr_y, ssim_y
from utils.evaluation.tables import compare
from utils.image_io import ImageError, read_image, write_png
from utils.run_log import alone_in, file_hash


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three originals, two checkpoints, and another program's pictures at two settings."""
    for i in range(3):
        write_png(tmp_path / "mine" / f"{i}.png", photograph(40, 48, seed=i))
        for folder in ("QF10", "90"):
            write_png(tmp_path / "theirs" / folder / f"{i}.png", theirs(i))
    save_checkpoint(tiny_network(), tmp_path / "one.safetensors")
    save_checkpoint(tiny_network(seed=1), tmp_path / "two.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def summary(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Rows of a run by method and setting."""
    return {(r["method"], r["setting"]): r for r in csv_rows(folder / "summary.csv")}


def theirs(seed: int) -> np.ndarray:
    return photograph(40, 48, seed=seed) // 2 * 2


def run(desk: Path, *arguments: object, output: str = "out") -> subprocess.CompletedProcess[str]:
    given = {"--testsets": "mine", "--checkpoint": "one.safetensors", "--output": output}
    defaults = [x for pair in given.items() if pair[0] not in arguments for x in pair]
    return run_script(
        *("test_color_IJCN.py", *defaults, "--device", "cpu"),
        *("--set", "qualities=[10,90]", *arguments),
        cwd=desk,
    )


def test_figures_are_those_of_the_pictures(desk: Path) -> None:
    done = run(
        desk,
        *("--checkpoint", "one.safetensors", "second=two.safetensors"),
        *("--method", "FBCNN=theirs", "--set", "save_images=all"),
    )
    assert done.returncode == 0, done.stderr
    rows, summaries = (csv_rows(desk / "out" / f"{x}.csv") for x in ("per_image", "summary"))
    assert len(rows) == 3 * 2 * 4
    for row in rows:
        original = read_image(desk / "mine" / f"{row['image']}.png")
        folder = desk / "out" / "images" / row["method"] / "mine" / row["setting"]
        if row["method"] == "JPEG":
            restored = SingleJpeg(int(row["setting"][2:]))(original).jpeg
        elif row["method"] == "FBCNN":
            restored = theirs(int(row["image"]))
        else:
            restored = read_image(folder / f"{row['image']}.png")
        expected = measure(restored=restored, original=original)
        found = tuple(float(row[name]) for name in expected._fields)
        assert found == pytest.approx(expected, abs=1e-4), row
    assert {row["method"] for row in rows} == {"JPEG", "one", "second", "FBCNN"}
    weights = {row["method"]: (row["weights"], row["weights_sha256"]) for row in summaries}
    assert weights == {
        "JPEG": ("", ""),
        "FBCNN": ("", ""),
        "one": ("one.safetensors", file_hash(desk / "one.safetensors")),
        "second": ("two.safetensors", file_hash(desk / "two.safetensors")),
    }
    assert "PSNR of one minus FBCNN, image by image" in (desk / "out" / "summary.md").read_text()
    assert not (desk / "out" / "images" / "FBCNN").exists()
    alone = run(desk, "--checkpoint", "two.safetensors", output="alone")
    assert alone.returncode == 0, alone.stderr
    assert [r["psnr"] for r in rows if r["method"] == "second"] == [
        r["psnr"] for r in csv_rows(desk / "alone" / "per_image.csv") if r["method"] == "two"
    ]


def test_pictures_that_do_not_fit_are_one_line_each(desk: Path) -> None:
    place = desk / "theirs" / "QF10"
    (place / "0.png").unlink()
    write_png(place / "1.png", photograph(48, 40))
    write_png(place / "extra.png", photograph(40, 48))
    (desk / "theirs" / "90" / "2.jpg").write_bytes((place / "2.png").read_bytes())
    done = run(desk, "--method", "FBCNN=theirs")
    assert done.returncode == 1
    lines = [x for x in done.stderr.splitlines() if x.startswith(("left out:", "not scored:"))]
    assert lines == [
        "left out: FBCNN: no picture 0 in theirs/QF10",
        "left out: FBCNN: mine/1 at QF10: 40x48 pixels, the original has 48x40",
        "left out: FBCNN: 2 pictures are called 2 in theirs/90; keep one",
        "not scored: FBCNN: theirs/QF10/extra.png is of no image of mine",
    ]
    text = (desk / "out" / "summary.md").read_text()
    assert "| FBCNN (fewer images) |" in text
    assert "Left out of FBCNN: 2 images at QF10 (0, 1); 1 image at QF90 (2)." in text
    rows = summary(desk / "out")
    assert [rows[m, "QF10"]["images"] for m in ("JPEG", "one", "FBCNN")] == ["3", "3", "1"]
    shutil.rmtree(place)
    done = run(desk, "--method", "FBCNN=theirs")
    assert done.stderr.count("left out: FBCNN: no folder QF10 of mine in theirs") == 1


def test_gray_and_colour_pictures(desk: Path) -> None:
    """A gray set takes colour files of equal channels; a colour set takes gray files."""
    gray = photograph(40, 48)[:, :, 0]
    write_png(desk / "mine" / "0.png", gray)
    write_png(desk / "theirs" / "QF10" / "0.png", np.repeat(gray[:, :, None], 3, 2))
    write_png(desk / "theirs" / "QF10" / "1.png", photograph(40, 48, seed=1)[:, :, 0])
    write_png(desk / "theirs" / "90" / "0.png", photograph(40, 48))
    done = run(desk, "--method", "X=theirs")
    assert "left out: X: mine/0 at QF90: it is in colour, the original is gray" in done.stderr
    assert done.stderr.count("left out") == 1
    rows = summary(desk / "out")
    assert rows["X", "QF10"]["exact"] == "1"
    assert rows["X", "QF10"]["images"] == "3"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--method", "FBCNN"), "expected NAME=FOLDER"),
        (("--method", "FBCNN=nowhere"), "nowhere is no folder"),
        (("--method", "FBCNN=mine"), "lies in the test set"),
        (("--method", "FBCNN=empty"), "holds no folder of a setting, such as empty/mine/QF10"),
        (("--method", "JPEG=theirs"), "this name is of the JPEG"),
        (("--method", "a/b=theirs"), "choose another"),
        (("--method", "X=theirs", "X=theirs"), "X stands there twice"),
        (("--method", "one=theirs"), "one stands there twice"),
        (("--method", "a:=theirs", "a_=theirs"), "a:: another name gives the same folder"),
        (("--method", "old=out/images"), "lies among the pictures"),
        (("--checkpoint", "one.safetensors", "one.safetensors"), "one stands there twice"),
        (("--checkpoint", "one.safetensors", "mine/0.png"), "neither one of our"),
        (("--checkpoint", "one.safetensors", "gone.safetensors"), "not found"),
        (("--checkpoint", "one.safetensors", "mine"), "is a folder"),
    ],
)
def test_methods_that_cannot_be_used_are_one_line(
    desk: Path, arguments: tuple[str, ...], words: str
) -> None:
    (desk / "empty").mkdir()
    (desk / "out" / "images" / "mine").mkdir(parents=True)
    before = listing(desk)
    assert words in error_line(run(desk, *arguments))
    assert listing(desk) == before


def test_jpegqs_is_asked_for_by_name(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(desk / "bin"))
    assert "no such program is installed" in error_line(run(desk, "--method", "jpegqs"))
    program = desk / "bin" / "jpegqs"  # one that changes nothing
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport shutil, sys\nshutil.copy(*sys.argv[-2:])\n")
    program.chmod(0o755)
    done = run(desk, "--method", "jpegqs")
    assert done.returncode == 0, done.stderr
    rows = summary(desk / "out")
    assert rows["jpegqs -q 6", "QF10"]["psnr"] == rows["JPEG", "QF10"]["psnr"]
    program.write_text(f'#!{sys.executable}\nimport sys\nsys.exit("broken")\n')
    done = run(desk, "--method", "jpegqs")
    assert done.returncode == 1
    assert "left out: mine/0 at QF10: jpegqs failed: broken" in done.stderr


def test_the_real_jpegqs_improves_on_the_jpeg(desk: Path) -> None:
    if shutil.which("jpegqs") is None:
        pytest.skip("jpegqs is not installed")
    assert run(desk, "--method", "jpegqs").returncode == 0
    rows = summary(desk / "out")
    assert float(rows["jpegqs -q 6", "QF10"]["psnrb"]) > float(rows["JPEG", "QF10"]["psnrb"])


def test_names_of_weights(tmp_path: Path, released_file: Path) -> None:
    save_checkpoint(tiny_network(), tmp_path / "small.safetensors")
    save_checkpoint(tiny_network(), tmp_path / "run" / "best.safetensors")
    save_checkpoint(tiny_network(), tmp_path / "x" / "last.safetensors", notes={"run": "mine"})
    save_checkpoint(IJCN(), tmp_path / "full.safetensors")
    found = {
        ROOT / "model_zoo" / "Color_IJCN.safetensors": "IJCN-S (ours)",
        ROOT / "model_zoo" / "Color_IJCN_fast.safetensors": "IJCN-S fast (ours)",
        released_file: "IJCN",
        tmp_path / "small.safetensors": "small",
        tmp_path / "run" / "best.safetensors": "run best",
        tmp_path / "x" / "last.safetensors": "mine last",
        tmp_path / "full.safetensors": "full",  # the published network, but not released weights
    }
    for path, name in found.items():
        assert name_of(path) == name


def test_a_stopped_run_goes_on_where_it_was(desk: Path) -> None:
    """Stopped in the middle, started again: what a whole run gives, and nothing restored twice.

    But what became another picture meanwhile is measured anew.
    """
    for i in range(12):
        write_png(desk / "many" / f"{i:02}.png", photograph(96, 96, seed=i))
    arguments = ("--testsets", "many", "--checkpoint", "one.safetensors", "two.safetensors")
    process = started(
        *(ROOT / "test_color_IJCN.py", *arguments, "--output", "out"),
        *("--device", "cpu", "--set", "qualities=[10,90]"),
        cwd=desk,
    )
    journal = desk / "out" / ".measured-0.part"
    wait_until(lambda: journal.exists() and journal.read_text().count("\n") >= 12, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert 12 <= journal.read_text().count("\n") < 12 * 2 * 3
    assert not (desk / "out" / "summary.csv").exists()
    with journal.open("a") as file:
        file.write('[["half a li')
    write_png(desk / "out" / "images.part" / "other" / "QF5" / "0.png", photograph(8, 8))
    write_png(desk / "many" / "00.png", photograph(96, 96, seed=12))
    kept = Path("one", "many", "QF10", "01.png")
    written = (desk / "out" / "images.part" / kept).stat().st_mtime_ns
    for output in ("whole", "out"):
        done = run(desk, *arguments, output=output)
        assert done.returncode == 0, done.stderr
    for name in ("summary.csv", "per_image.csv", "summary.md"):
        assert (desk / "out" / name).read_bytes() == (desk / "whole" / name).read_bytes()
    assert listing(desk / "out" / "images") == listing(desk / "whole" / "images")
    assert (desk / "out" / "images" / kept).stat().st_mtime_ns == written
    assert not journal.exists()


def test_what_is_measured_is_kept_until_all_is_written(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ImageError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.evaluate.write_tables", full)
        assert run(desk).returncode == EXIT_USAGE
    journal = desk / "out" / ".measured-0.part"
    known = journal.read_text()
    with monkeypatch.context() as patch:
        patch.setattr("jobs.evaluate.write_run_file", full)
        assert run(desk, "--set", "save_images=none").returncode == EXIT_USAGE
    assert journal.read_text() == known  # nothing was measured again
    assert run(desk).returncode == 0
    assert not journal.exists()
    # Another strength is another method.
    assert run(desk, "--set", "strength=0").returncode == 0
    assert "strength 0, " in (desk / "out" / "summary.md").read_text()


def test_two_runs_into_one_folder_are_told_apart(desk: Path) -> None:
    pytest.importorskip("fcntl")
    (desk / "out").mkdir()
    with alone_in(desk / "out"):
        done = run(desk)
        assert "another run is writing there; wait for it" in error_line(done)
    assert run(desk).returncode == 0
    assert not (desk / "out" / ".running").exists()


def test_no_name_leads_out_of_the_folder_of_pictures(tmp_path: Path) -> None:
    place = image_path(tmp_path, "A", "QF10", "a", "..")
    assert place.resolve().is_relative_to(tmp_path / "images" / "_")


def test_runs_are_joined(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(desk, "--checkpoint", "A=one.safetensors", output="first").returncode == 0
    assert run(desk, "--checkpoint", "A=two.safetensors", output="second").returncode == 0
    done = run(desk, "--checkpoint", "B=two.safetensors", "--method", "X=theirs", output="third")
    assert done.returncode == 0
    capsys.readouterr()
    assert tables.main(["join", "first", "third", "--output", "joined"]) == 0
    text = capsys.readouterr().out
    for method in ("JPEG", "A", "B", "X"):
        assert text.count(f"| {method} ") == 1
    assert text.count("Protocol: ") == 1
    assert "PSNR of A minus B, image by image" in text
    rows = summary(desk / "joined")
    for name in ("first", "third"):
        for row in csv_rows(desk / name / "summary.csv"):
            found = rows[row["method"], row["setting"]]
            figures = dict.fromkeys(("psnr", "ssim", "psnrb"))  # rounded
            assert found | figures == row | figures
            assert float(found["psnr"]) == pytest.approx(float(row["psnr"]), abs=2e-4)
    assert tables.main(["join", "first", "second"]) == 0
    text = capsys.readouterr().out
    assert "| A [first]" in text
    assert "| A [second]" in text
    # What another network of the run computes in does not matter.
    two = ("--checkpoint", "A=one.safetensors", "B=two.safetensors", "--set", "qualities=[70]")
    assert run(desk, *two, output="both").returncode == 0
    path = desk / "both" / "run.yml"
    record = yaml.safe_load(path.read_text())
    record["methods"][1]["precision"] = "int8"
    path.write_text(yaml.safe_dump({**record, "precision": "bfloat16 or int8"}))
    capsys.readouterr()
    assert tables.main(["join", "first", "both"]) == 0
    assert "| A [first]" not in capsys.readouterr().out
    # The same weights over two views are another row, whichever settings were measured.
    other = ("--checkpoint", "A=one.safetensors", "--ensemble", "2")
    assert run(desk, *other, "--set", "qualities=[70]", output="other").returncode == 0
    assert tables.main(["join", "first", "other"]) == 0
    text = capsys.readouterr().out
    assert "| A [first]" in text
    assert "| A [other]" in text


def test_runs_that_cannot_be_joined_are_one_line(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(desk, output="first").returncode == 0
    write_png(desk / "mine" / "0.png", photograph(40, 48, seed=7))
    assert run(desk, output="second").returncode == 0
    for arguments, words in (
        (("first", "second"), "have other JPEG figures"),
        (("first", "first"), "stands there twice"),
        (("first", "mine"), "no results of an evaluation"),
        (("first", "--output", "first"), "is one of the runs"),
    ):
        assert tables.main(["join", *arguments]) == EXIT_USAGE
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1
        assert words in errors[0]


def test_old_results_are_joined(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = desk / "old"
    old.mkdir()
    (old / "per_image.csv").write_text(
        "dataset,setting,method,image,psnr,ssim,psnrb\n"
        "mine,QF10,JPEG,0,20.0,0.5,19.0\nmine,QF10,IJCN,0,21.0,0.6,20.0\n"
    )
    assert tables.main(["join", "old"]) == 0
    text = capsys.readouterr().out
    assert "| IJCN   | 21.00 / 0.600 / 20.00 |" in text
    assert "not stated" in text


def finished(folder: Path, rows: str, **options: object) -> None:
    """Results of a run, by hand; rows: of per_image.csv at QF10."""
    folder.mkdir()
    head = "dataset,setting,method,image,psnr,ssim,psnrb\n"
    (folder / "per_image.csv").write_text(head + "".join(f"s,{row}\n" for row in rows.split()))
    (folder / "run.yml").write_text(yaml.safe_dump({"options": options}))


def test_joined_means_are_over_the_same_images(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(desk / "few", "QF10,JPEG,a,20,nan,nan QF10,JPEG,b,22,nan,nan QF20,JPEG,a,30,nan,nan")
    finished(desk / "all", "QF10,JPEG,c,24,0.5,23")
    finished(desk / "same", "QF10,JPEG,a,20,0.4,19 QF10,JPEG,b,22,0.6,21 QF20,JPEG,a,30,0.8,29")
    assert tables.main(["join", "few", "all", "--output", "joined"]) == 0
    row = csv_rows(desk / "joined" / "summary.csv")[0]
    assert (row["images"], row["psnr"], row["ssim"]) == ("3", "22.0000", "nan")
    assert "Images: 3 at QF10, 1 at QF20. Means over other" in capsys.readouterr().out
    tables_of = []
    for runs in (("few", "same"), ("same", "few")):
        assert tables.main(["join", *runs, "--output", "joined"]) == 0
        tables_of.append(sorted((desk / "joined" / "per_image.csv").read_text().splitlines()))
        row = csv_rows(desk / "joined" / "summary.csv")[0]
        assert (row["psnr"], row["ssim"], row["psnrb"]) == ("21.0000", "0.500000", "20.0000")
    assert tables_of[0] == tables_of[1]


def test_runs_of_other_padding_are_joined_with_none(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(desk / "a", "QF10,JPEG,a,20,0.4,19", padding="pad_first")
    finished(desk / "b", "QF20,JPEG,a,20,0.4,19")
    assert tables.main(["join", "a", "b"]) == EXIT_USAGE
    assert "in several ways (as_stored, pad_first)" in capsys.readouterr().err


def test_the_state_of_a_method_is_that_of_its_program_or_pictures(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = desk / "bin" / JPEGQS
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))
    states = [method_state(JPEGQS)]
    for text in ("#!/bin/sh\nexit 1\n", "#!/bin/sh\nexit 2\n"):
        program.write_text(text)
        program.chmod(0o755)
        states.append(method_state(JPEGQS))
    write_png(desk / "any.png", photograph(8, 8))  # here, but of no method
    assert method_state(JPEGQS) == states[-1]
    states += [method_state("X=theirs")]
    (desk / "theirs" / "QF10" / "gone.png").symlink_to(desk / "nowhere.png")
    states += [method_state("X=theirs")]
    write_png(desk / "theirs" / "QF10" / "0.png", photograph(8, 8))
    states += [method_state("X=theirs")]
    assert all(x != y for x, y in itertools.combinations(states, 2))


def test_paired_differences() -> None:
    found = compare(
        {"a": 2.0, "b": 4.0, "c": 3.0, "d": float("inf")}, {"a": 1.0, "b": 1.0, "c": 3.0}
    )
    assert found is not None
    assert (found.images, found.won, found.lost) == (3, 2, 0)
    # By hand: differences 1, 3, 0; mean 4/3, standard deviation 1.5275; t(0.975, 2) = 4.3027.
    assert found.mean == pytest.approx(4 / 3)
    assert found.high - found.mean == pytest.approx(4.3027 * 1.52753 / 3**0.5, abs=1e-3)
    assert found.low == pytest.approx(2 * found.mean - found.high)
    one = compare({"a": 2.0}, {"a": 1.0})
    assert one is not None
    assert one.mean == 1.0
    assert one.low != one.low
    assert compare({"a": 2.0}, {"b": 1.0}) is None


# Metrics on request


def jpeg_rows(desk: Path) -> Iterator[tuple[dict[str, str], dict[str, np.ndarray]]]:
    """Rows of the JPEG, and the pair of pictures that each is of."""
    for row in csv_rows(desk / "out" / "per_image.csv"):
        if row["method"] == "JPEG":
            original = photograph(40, 48, seed=int(row["image"]))
            jpeg = SingleJpeg(int(row["setting"][2:]))(original).jpeg
            yield row, {"restored": jpeg, "original": original}


def test_more_columns_and_cells(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(desk, "--set", "metrics=[psnr,ssim,psnrb,psnr_y,ssim_y]")
    assert done.returncode == 0, done.stderr
    text = (desk / "out" / "summary.md").read_text()
    assert "PSNR (dB) / SSIM / PSNR-B (dB) / PSNR of luma (dB) / SSIM of luma, mean" in text
    for row, pair in jpeg_rows(desk):
        assert float(row["psnr_y"]) == pytest.approx(psnr_y(**pair), abs=1e-4)
        assert float(row["ssim_y"]) == pytest.approx(ssim_y(**pair), abs=1e-6)
    figures = [float(row["psnr_y"]) for row, _ in jpeg_rows(desk) if row["setting"] == "QF10"]
    mean = float(summary(desk / "out")["JPEG", "QF10"]["psnr_y"])
    assert mean == pytest.approx(np.mean(figures), abs=1e-4)
    assert f"/ {mean:.2f} /" in text
    assert tables.main(["join", "out"]) == 0
    assert "PSNR of luma (dB)" in capsys.readouterr().out


def test_fewer_metrics(desk: Path) -> None:
    done = run(desk, "--set", "metrics=psnr")
    assert done.returncode == 0, done.stderr
    text = (desk / "out" / "summary.md").read_text()
    assert "PSNR (dB), mean over the images." in text
    assert not [line for line in text.splitlines() if line.startswith("| JPEG") and " / " in line]
    jpeg = summary(desk / "out")["JPEG", "QF10"]
    assert (jpeg["ssim"], jpeg["psnrb"]) == ("nan", "nan")


FAKE = """
import torch

class LPIPS(torch.nn.Module):
    def forward(self, x, y):
        assert x.shape == y.shape == (1, 3, 40, 48) and 0 <= x.min() and x.max() <= 1
        return (x - y).abs().mean()

class DISTS(LPIPS):
    def __init__(self):
        raise OSError("<urlopen error no route to host>")
"""


def test_learned_metrics_are_those_of_the_package(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = types.ModuleType("piq")
    exec(FAKE, vars(fake))
    monkeypatch.setitem(sys.modules, "piq", fake)
    done = run(desk, "--set", "metrics=psnr,lpips")
    assert done.returncode == 0, done.stderr
    for row, pair in jpeg_rows(desk):
        difference = np.abs(pair["restored"].astype(float) - pair["original"]) / 255
        assert float(row["lpips"]) == pytest.approx(difference.mean(), abs=1e-6)
    done = run(desk, "--set", "metrics=dists")
    assert "downloads its weights at first use, which failed (<urlopen" in error_line(done)


def test_a_missing_package_is_one_line(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piq", None)
    done = run(desk, "--set", "metrics=psnr,lpips")
    assert 'install it: pip install -e ".[metrics]"' in error_line(done)
    assert not (desk / "out").exists()
