"""The scripts as a user runs them: results on disk, exit codes, one-line errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from data import datasets
from data.datasets import NamedImage, TestSet, sample_set
from data.jpeg import Sampling, encode_jpeg
from models import save_checkpoint
from tests.conftest import (
    FIXTURES,
    PATIENCE,
    ROOT,
    calibrated_network,
    csv_rows,
    error_line,
    listing,
    needs_vnni,
    photograph,
    run_script,
    started,
    wait_until,
)
from tests.metadata_files import jpeg
from utils.arguments import EXIT_USAGE
from utils.image_io import read_image, write_png

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    folder = tmp_path / "sets"
    write_png(folder / "Mini" / "one.png", photograph(40, 72))
    write_png(folder / "Mini" / "two.png", photograph(64, 64, seed=1))
    return folder


@pytest.fixture
def measure(tmp_path: Path, sets: Path, checkpoint: Path) -> Run:
    """Measures the two pictures of the set Mini; results go to the folder "out"."""
    given = ("--testsets", "Mini", "--checkpoint", checkpoint, "--output", tmp_path / "out")
    return partial(run_script, "test_color_IJCN.py", *given, IJCN_TESTSETS=str(sets))


@pytest.fixture
def restore(tmp_path: Path, checkpoint: Path) -> Run:
    """Restores files into the folder "out"."""
    given = ("--checkpoint", checkpoint, "--output", tmp_path / "out")
    return partial(run_script, "test_real_IJCN.py", *given)


def test_color_writes_tables_pictures_and_run_file(
    tmp_path: Path, checkpoint: Path, measure: Run
) -> None:
    output = tmp_path / "out"
    done = measure("--device", "cpu", "--set", "qualities=[10, 90]", "precision=float32")
    assert done.returncode == 0, done.stderr
    assert "## Mini, 2 images" in done.stdout
    rows = csv_rows(output / "summary.csv")
    assert [(r["setting"], r["method"]) for r in rows] == [
        ("QF10", "JPEG"),
        ("QF10", "tiny"),
        ("QF90", "JPEG"),
        ("QF90", "tiny"),
    ]
    assert len(csv_rows(output / "per_image.csv")) == 8
    assert read_image(output / "images" / "Mini" / "QF10" / "one.png").shape == (40, 72, 3)
    run = yaml.safe_load((output / "run.yml").read_text())
    assert run["options"]["qualities"] == [10, 90]
    assert run["precision"] == "float32"
    assert len(run["checkpoint_sha256"]) == 64
    assert run["versions"]["torch"]
    heading = (output / "summary.md").read_text().splitlines()[0]
    assert heading == f"# JPEG restoration: compressed once, {checkpoint.name}"


@pytest.fixture
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small part of each photograph of the built-in set: tests need not measure all of it."""
    whole = sample_set()

    def part(image: NamedImage) -> NamedImage:
        return NamedImage(image.name, lambda: np.ascontiguousarray(image.read()[:96, :128]))

    parts = TestSet(whole.name, tuple(map(part, whole.images)))
    monkeypatch.setattr(datasets, "sample_set", lambda: parts)


@pytest.mark.usefixtures("small_samples")
def test_default_set_is_announced_when_live1_is_absent(tmp_path: Path, checkpoint: Path) -> None:
    done = run_script(
        "test_color_IJCN.py",
        *("--checkpoint", checkpoint, "--output", tmp_path / "out"),
        *("--set", "qualities=[50]", f"testsets_folder={tmp_path}"),
    )
    assert done.returncode == 0, done.stderr
    assert "LIVE1_color not found: measuring the built-in Sample" in done.stdout
    assert csv_rows(tmp_path / "out" / "summary.csv")[0]["dataset"] == "Sample"


def test_bad_images_are_one_line_each_and_the_others_go_on(
    tmp_path: Path, sets: Path, measure: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = (sets / "Mini" / "one.png").read_bytes()
    (sets / "Mini" / "broken.png").write_bytes(b"broken")
    (sets / "Mini" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (sets / "Mini" / "cut.bmp").write_bytes(b"BM" + bytes(40))
    write_png(sets / "Mini" / "small.png", photograph(7, 32))
    done = measure("--set", "qualities=[50]")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("left out:") == 4
    assert "Left out: 4" in done.stdout
    assert csv_rows(tmp_path / "out" / "summary.csv")[0]["images"] == "2"
    assert capfd.readouterr().err == "", "OpenCV and other C libraries are silent"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--testsets", "Nowhere"), "test set Nowhere not found"),
        (("--checkpoint", "nowhere.pth"), "nowhere.pth not found"),
        (("--checkpoint", "README.md"), "neither"),
        (("--opt", "nowhere.yml"), "option file nowhere.yml"),
        (("--set", "nonsense"), "expected key=value"),
        (("--device", "tpu"), "device"),
    ],
)
def test_usage_errors_are_one_line(
    arguments: tuple[str, ...], words: str, tmp_path: Path, measure: Run
) -> None:
    assert words in error_line(measure(*arguments))
    assert not (tmp_path / "out").exists()


@pytest.fixture
def with_ranges(tmp_path: Path) -> Path:
    """Weights that can be had in int8."""
    path = tmp_path / "wide.safetensors"
    save_checkpoint(calibrated_network(), path)
    return path


@needs_vnni
def test_every_network_is_measured_in_its_own_numbers(
    tmp_path: Path, with_ranges: Path, measure: Run
) -> None:
    """A figure is used again only for the numbers it was measured in."""
    networks = ("--checkpoint", with_ranges, "--set", "qualities=[30]")
    refused = measure(*networks, "--precision", "int8")
    assert "tiny.safetensors: precision int8 is for networks" in error_line(refused)
    assert not (tmp_path / "out").exists()

    figures = {}
    for precision in ("auto", "bfloat16", "float32"):
        assert measure(*networks, "--precision", precision).returncode == 0
        rows = csv_rows(tmp_path / "out" / "per_image.csv")
        figures[precision] = {row["method"]: row["psnr"] for row in rows if row["image"] == "one"}
        run = yaml.safe_load((tmp_path / "out" / "run.yml").read_text())
        names = run["precision"].split(" or ")
        assert len(names) == (2 if precision == "auto" else 1)
        assert ("int8 and" in names[-1]) is (precision == "auto")
    auto, *others = (found["wide"] for found in figures.values())
    assert auto not in others


@needs_vnni
def test_a_result_in_other_numbers_is_another_result(tmp_path: Path, with_ranges: Path) -> None:
    source, output = tmp_path / "a.jpg", tmp_path / "out"
    source.write_bytes(encode_jpeg(photograph(48, 64), 40))

    def restored(precision: str) -> str:
        given = ("--input", source, "--output", output, "--checkpoint", with_ranges)
        return run_script("test_real_IJCN.py", *given, "--precision", precision).stdout

    assert "1 of 1 files restored" in restored("auto")
    assert "1 there already" in restored("int8")
    assert "1 of 1 files restored" in restored("float32")
    assert "int8" not in yaml.safe_load((output / "run.yml").read_text())["precision"]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("--strength abc", "--strength abc: strength: input should be a valid number, got"),
        ("--below 9.5", "--below 9.5: below: input should be a valid integer, got 9.5"),
        ("--below 101", "--below 101: below: input should be less than or equal to 100"),
        ("--quality 0", "--quality 0: quality: input should be greater than or equal to 1"),
        ("--max_memory -1", "--max_memory -1: max_memory: input should be greater than 0"),
        ("--threads all", "--threads all"),
        ("--format bmp", "--format: invalid choice: 'bmp'"),
        ("--max_memory", "--max_memory: expected one argument"),
        ("--set keep_cmyk=true", "add --format tiff or --format jpg"),
        ("--set keep_cmyk=true", "test_real.yml with --set keep_cmyk=true, --input a.jpg: "),
        ("--max-memory", "--max_memory: expected one argument"),
        ("--input=", "input: empty text; give a value"),
        ("--output=", "output: empty text; give a value"),
        ("--output - --compare", "writes the picture alone to stdout"),
        ("--output - --suffix _x", "stdin and stdout have no place"),
        ("--suffix a/b", "suffix"),
    ],
)
def test_mistyped_arguments_are_one_line(typed: str, words: str) -> None:
    done = run_script("test_real_IJCN.py", "--input", "a.jpg", *typed.split())
    assert words in error_line(done)
    assert done.stderr.count("\n") == 1


def test_unwritable_output_is_refused_before_any_work(
    tmp_path: Path, measure: Run, restore: Run
) -> None:
    (tmp_path / "out").write_text("in the way")
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(16, 16), 50))
    for done in (measure(), restore("--input", tmp_path / "a.jpg")):
        assert "is a file, not a folder; choose another --output" in error_line(done)
    looked = restore("--input", tmp_path / "a.jpg", "--dry-run")
    assert f"note: {tmp_path / 'out'} cannot be written" in looked.stderr
    assert (tmp_path / "out").read_text() == "in the way"


def test_somebody_elses_records_are_never_replaced(
    tmp_path: Path, measure: Run, restore: Run
) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(16, 16), 50))
    for name in ("run.yml", "report.html", "mine.json"):
        place = tmp_path / ("out" if name != "mine.json" else "") / name
        place.parent.mkdir(exist_ok=True)
        place.write_text("{}")
        arguments = ("--input", tmp_path / "a.jpg", "--report", "--json", tmp_path / "mine.json")
        for done in (restore(*arguments), *([] if name == "mine.json" else [measure("--report")])):
            assert f"{place} is there already and" in error_line(done)
        assert place.read_text() == "{}"
        place.unlink()
    for _ in range(2):  # its own are
        assert restore(*arguments).returncode == 0


@pytest.mark.parametrize(
    "ignored",
    [
        pytest.param(False, id="foreground", marks=pytest.mark.slow),
        pytest.param(True, id="started with it ignored"),
    ],
)
def test_interrupt_keeps_what_is_finished(tmp_path: Path, checkpoint: Path, ignored: bool) -> None:
    for index in range(60):
        (tmp_path / f"{index:02}.jpg").write_bytes(encode_jpeg(photograph(400, 400), 50))
    output = tmp_path / "out"
    process = started(
        *("test_real_IJCN.py", "--input", tmp_path, "--output", output),
        *("--checkpoint", checkpoint, "--set", "threads=1"),
        ignoring=ignored,
    )
    wait_until(lambda: list(output.glob("*.png")), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert not list(output.glob("*.part"))
    for path in output.glob("*.png"):
        assert read_image(path).shape == (400, 400, 3)


def test_real_writes_one_file_of_the_format_its_name_says(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(50, 70), 30))
    given = ("test_real_IJCN.py", "--input", tmp_path / "a.jpg", "--checkpoint", checkpoint)
    place = tmp_path / "new" / "clean.tif"
    for words in ("1 of 1 files restored", "1 there already"):
        done = run_script(*given, "--output", place)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
    assert [path.name for path in place.parent.iterdir()] == ["clean.tif"]
    assert place.read_bytes()[:2] == b"II"
    too_long = run_script(*given, "--output", tmp_path / f"{'n' * 300}.png")
    assert too_long.returncode == 1
    assert "a.jpg: File name too long; give another file or --output" in too_long.stderr
    for more in (["--format", "jpg"], ["--format", "png"], ["--report"]):
        assert str(place) in error_line(run_script(*given, "--output", place, *more))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_where_nobody_reads_what_is_said_the_work_is_done(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "a\n\033[31m.jpg").write_bytes(encode_jpeg(photograph(50, 70), 30))
    command = f"{sys.executable} test_real_IJCN.py --input {tmp_path} --checkpoint {checkpoint}"
    for end, words in (
        (" | true", ""),
        (" > /dev/full", "error: stdout: No space left"),
        (" >&-", ""),
    ):
        output = tmp_path / f"out{len(end)}"
        line = f"{command} --output {output} --overwrite --json {output}.json {end}"
        done = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=ROOT)
        assert "Traceback" not in done.stderr
        assert words in done.stderr
        assert json.loads(Path(f"{output}.json").read_text())[0]["status"] == "restored"
        assert (output / "run.yml").exists()
        assert "\033[31m" not in done.stderr
    done = subprocess.run(f"{command} --input - <&-", shell=True, capture_output=True, cwd=ROOT)
    assert done.stderr == b"error: --input -: stdin is closed; give a file\n"
    one = f"{sys.executable} test_real_IJCN.py --input {tmp_path}/*.jpg --checkpoint {checkpoint}"
    for end, code, words in (
        (">&-", EXIT_USAGE, b"error: --output -: stdout is closed; give a file\n"),
        ("> /dev/full", 1, b"error: --output -: No space left on device\n"),
    ):
        done = subprocess.run(f"{one} --output - {end}", shell=True, capture_output=True, cwd=ROOT)
        assert done.returncode == code
        assert done.stderr.endswith(words)


def test_real_restores_a_tree_and_reports_what_it_cannot(tmp_path: Path, restore: Run) -> None:
    source, output = tmp_path / "photos", tmp_path / "out"
    (source / "trip").mkdir(parents=True)
    (source / "a.jpg").write_bytes(encode_jpeg(photograph(50, 70), 30))
    (source / "trip" / "ü.JPEG").write_bytes(encode_jpeg(photograph(33, 17), 60))
    (source / "full.jpg").write_bytes(encode_jpeg(photograph(16, 16), 60, Sampling.S444))
    (source / "renamed.jpg").write_bytes(b"hello, not a jpeg")
    done = restore("--input", source)
    assert done.returncode == 1
    assert "3 of 4 files restored, 1 failed" in done.stdout
    assert "renamed.jpg: not an image" in done.stderr
    assert "Traceback" not in done.stderr
    names = {str(p.relative_to(output)) for p in output.rglob("*") if p.is_file()}
    assert names == {"a.png", "full.png", "trip/ü.png", "run.yml"}
    assert read_image(output / "trip" / "ü.png").shape == (33, 17, 3)

    assert (output / "a.png").stat().st_mtime_ns == (source / "a.jpg").stat().st_mtime_ns
    before = (output / "a.png").stat().st_ino
    run = (output / "run.yml").read_text()
    assert restore("--input", source / "a.jpg").returncode == 0
    assert (output / "run.yml").read_text() == run  # how the results that are there were made
    again = restore("--input", source, "--json", "-")
    assert "0 of 4 files restored, 3 there already" in again.stderr
    assert (output / "a.png").stat().st_ino == before
    report = json.loads(again.stdout)
    assert [entry["status"] for entry in report] == ["skipped", "skipped", "failed", "skipped"]
    third = restore("--input", source, "--overwrite", "--max_memory", "0.01")
    assert "3 of 4 files restored" in third.stdout
    assert (output / "a.png").stat().st_ino != before


def test_what_results_cannot_hold_is_named_to_people_and_to_programs(
    tmp_path: Path, restore: Run
) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    for name in ("xmp_iptc.jpg", "stereo.mpo"):
        shutil.copy(FIXTURES / name, source)
    film = b"\0\0\0\x10ftypmp42\0\0\0\0\0\0\x10\x08mdat" + bytes(4096)
    (source / "moving.jpg").write_bytes(jpeg() + film)
    (source / "plain.jpg").write_bytes(jpeg())
    done = restore("--input", source, "--format", "webp", "--json", tmp_path / "report.json")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert {Path(row["source"]).name: row["left_out"] for row in rows} == {
        "moving.jpg": ["a film (motion photo, 4.1 kB)"],
        "plain.jpg": [],
        "stereo.mpo": ["a further picture (64x48, 0.9 kB)"],
        "xmp_iptc.jpg": ["IPTC", "a comment"],
    }
    for row in rows:
        assert all(each in row["message"] and each in done.stderr for each in row["left_out"])


def test_real_takes_sets_by_name_and_its_default_set(tmp_path: Path, restore: Run) -> None:
    folder = tmp_path / "sets" / "Real"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encode_jpeg(photograph(16, 16), 50))
    there = ("--set", f"testsets_folder={tmp_path / 'sets'}")
    for arguments in ((), ("--testsets", "Real", "--overwrite")):
        done = restore(*arguments, *there)
        assert done.returncode == 0, done.stderr
        assert "1 of 1 files restored" in done.stdout
    assert read_image(tmp_path / "out" / "a.png").shape == (16, 16, 3)
    done = restore("--input", folder, "--testsets", "Real", *there)
    assert "not both" in error_line(done)
    shutil.rmtree(folder)
    assert "give files or folders: --input" in error_line(restore(*there))


def test_real_goes_on_past_unusable_inputs_and_tells_before_it_fails(
    tmp_path: Path, restore: Run
) -> None:
    good = tmp_path / "in" / "a.jpg"
    good.parent.mkdir()
    good.write_bytes(encode_jpeg(photograph(16, 16), 50))
    try:
        (tmp_path / "in" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(good.read_bytes())
        names = 2
    except OSError:  # some systems take UTF-8 only
        names = 1
    (tmp_path / "out" / "run.yml").mkdir(parents=True)  # nothing can be written there
    done = restore("--input", good.parent, tmp_path / "none.jpg", "--json", "-")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{names} of {names + 1} files restored, 1 failed" in done.stderr
    assert f"not restored: {tmp_path / 'none.jpg'}: not found" in done.stderr
    assert "run.yml: cannot be written" in done.stderr
    statuses = [entry["status"] for entry in json.loads(done.stdout)]
    assert statuses == ["restored"] * names + ["failed"]


def test_real_never_puts_its_json_in_the_place_of_a_picture(tmp_path: Path, restore: Run) -> None:
    source = tmp_path / "a.jpg"
    data = encode_jpeg(photograph(16, 16), 50)
    source.write_bytes(data)
    link = tmp_path / "link.json"
    link.symlink_to(source)
    for place in (source, link, tmp_path / "out" / "a.png"):
        done = restore("--input", source, "--json", place)
        assert "is the place of a picture" in error_line(done)
    for name in ("run.yml", "report.html"):
        done = restore("--input", source, "--report", "--json", tmp_path / "out" / name)
        assert "is the place of another record" in error_line(done)
        assert not (tmp_path / "out" / name).exists()
    assert source.read_bytes() == data
    link.unlink()
    link.symlink_to(tmp_path / "real.json")
    for place in (link, "/dev/null"):
        done = restore("--input", source, "--json", place)
        assert done.returncode == 0, done.stderr
    assert link.is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())[0]["status"] == "restored"
    assert not Path("/dev/null").is_file()
    if Path("/dev/full").exists():
        done = restore("--input", source, "--json", "/dev/full")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "error: --json /dev/full: No space left on device"


@pytest.mark.usefixtures("small_samples")
def test_demo_options_make_the_promised_pictures(tmp_path: Path, checkpoint: Path) -> None:
    done = run_script(
        "test_color_IJCN.py",
        *("--opt", "options/demo.yml", "--checkpoint", checkpoint, "--output", tmp_path / "demo"),
    )
    assert done.returncode == 0, done.stderr
    assert f"side by side: {tmp_path / 'demo' / 'comparison.png'}" in done.stdout
    assert len(list((tmp_path / "demo" / "images").rglob("*.png"))) == 12
    assert read_image(tmp_path / "demo" / "comparison.png").shape[2] == 3
    assert "| tiny " in (tmp_path / "demo" / "summary.md").read_text()


@pytest.mark.parametrize("ignored", [False, True], ids=["foreground", "started with it ignored"])
@pytest.mark.parametrize(
    "script", ["test_color_IJCN.py", "test_real_IJCN.py", "main_train_IJCN.py", "app.py"]
)
def test_an_interrupt_while_libraries_load_ends_quietly(script: str, ignored: bool) -> None:
    process = started("-X", "importtime", script, "--help", ignoring=ignored)
    assert process.stderr
    for line in process.stderr:  # as Python imports, it says so
        if line.rstrip().endswith("utils.startup"):
            break
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert not printed
    assert "Traceback" not in errors


@pytest.mark.parametrize("way", ["absolute", "relative", "."])
def test_a_folder_by_its_path_stays_as_it_is(tmp_path: Path, checkpoint: Path, way: str) -> None:
    """Measured twice: the same figures, nothing beside the originals, pictures in the output."""
    mine = tmp_path / "pictures" / "mine"
    write_png(mine / "a.png", photograph(40, 48))
    write_png(mine / "deep" / "b.png", photograph(48, 40, seed=1))
    (mine / "a.bmp").write_bytes((mine / "a.png").read_bytes())
    folder, wanted = {
        "absolute": (tmp_path, str(mine)),
        "relative": (tmp_path, "pictures/mine"),
        ".": (mine, "."),
    }[way]
    before = listing(tmp_path / "pictures")
    tables = []
    for _ in range(2):
        done = run_script(
            *("test_color_IJCN.py", "--testsets", wanted),
            *("--checkpoint", checkpoint, "--output", tmp_path / "out", "--report"),
            *("--device", "cpu", "--set", "qualities=[10]", "save_images=all"),
            cwd=folder,
        )
        assert done.returncode == 0, done.stderr
        assert listing(tmp_path / "pictures") == before
        tables.append(
            {
                name: (tmp_path / "out" / name).read_text()
                for name in ("summary.csv", "per_image.csv", "summary.md")
            }
        )
        pictures = listing(tmp_path / "out" / "images")
        names = {name for name in pictures if name.endswith(".png")}
        assert names == {f"mine/QF10/{n}.png" for n in ("a.png", "a.bmp", "deep/b")}
    assert tables[0] == tables[1]
    assert "## mine, 3 images" in tables[0]["summary.md"]
    assert {p.name for p in tmp_path.iterdir()} == {"pictures", "out"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--testsets", "mine", "--output", "mine"), "lies in the test set"),
        (("--testsets", ".", "--output", "new/results"), "lies in the test set"),
        (("--testsets", ".", "--output", "link/results"), "lies in the test set"),
        (("--testsets", "old/images/mine/QF10", "--output", "old"), "lies among the pictures"),
        (("--testsets", "mine", "other/mine", "--output", "x"), "mine stands there twice"),
        (("--testsets", "mine", "mine", "--output", "x"), "mine stands there twice"),
        (("--testsets", "empty", "--output", "x"), "no image in empty"),
        (("--testsets", "mine/a.png", "--output", "x"), "is a file"),
    ],
)
def test_folders_that_cannot_be_measured_safely_are_one_line(
    arguments: tuple[str, ...], words: str, tmp_path: Path, checkpoint: Path
) -> None:
    for name in ("mine", "other/mine", "old/images/mine/QF10"):
        write_png(tmp_path / name / "a.png", photograph(24, 24))
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "old")
    before = listing(tmp_path)
    done = run_script(
        *("test_color_IJCN.py", *arguments),
        *("--checkpoint", checkpoint, "--device", "cpu", "--set", "qualities=[10]"),
        cwd=tmp_path,
    )
    assert words in error_line(done)
    assert listing(tmp_path) == before
