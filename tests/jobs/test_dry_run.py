"""jobs/dry_run.py, jobs/pipes.py and --below: what is said beforehand is what is done then."""

from __future__ import annotations

import io
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import test_real_IJCN
from data.jpeg import Sampling, decode_jpeg, encode_jpeg
from jobs.dry_run import look_at_files
from jobs.pipes import Pipes
from jobs.plan_files import plan_files
from jobs.restore_files import FileResult, OutputSettings, restore_file
from models.restore.restorer import Restorer
from tests.conftest import error_line, photograph, run_main, run_script, tiny_restorer
from utils.image_io import read_image, write_png

SETTINGS = OutputSettings()


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return tiny_restorer()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of each decision."""
    made = tmp_path / "in"
    made.mkdir()
    for quality in (30, 60, 97):
        data = encode_jpeg(photograph(48, 64), quality, Sampling.S422)
        (made / f"q{quality}.jpg").write_bytes(data)
    (made / "gray.jpg").write_bytes(encode_jpeg(photograph(48, 64)[:, :, 0], 40))
    (made / "bad.jpg").write_text("no picture")
    write_png(made / "once.png", decode_jpeg(encode_jpeg(photograph(200, 240), 30)))
    write_png(made / "never.png", photograph(70, 80))
    return made


def test_what_is_said_beforehand_is_done(folder: Path, restorer: Restorer) -> None:
    output = folder.parent / "out"
    jobs = plan_files([folder], output, all_pictures=True).jobs
    found = look_at_files(jobs, restorer, SETTINGS)
    assert not output.exists()
    facts = {p.source.name: (p.decision, p.colors, p.sampling, p.quality) for p in found}
    assert facts == {
        "bad.jpg": ("refused", "", "", 0),
        "gray.jpg": ("restored", "gray", "", 40),
        "never.png": ("restored", "", "", 0),
        "once.png": ("restored", "YCbCr", "4:2:0", 30),
        "q30.jpg": ("restored", "YCbCr", "4:2:2", 30),
        "q60.jpg": ("restored", "YCbCr", "4:2:2", 60),
        "q97.jpg": ("left alone", "YCbCr", "4:2:2", 97),
    }
    assert [(p.width, p.height) for p in found[1:3]] == [(64, 48), (80, 70)]
    done = [restore_file(job, restorer, SETTINGS) for job in jobs]
    assert np.array_equal(read_image(output / "q97.png"), read_image(folder / "q97.jpg"))
    outcomes = [result.outcome.replace("failed", "refused") for result in done]
    assert outcomes == [p.decision for p in found]
    again = look_at_files(jobs, restorer, SETTINGS)
    assert {p.decision for p in again} == {"refused", "there already"}
    assert [p.quality for p in again] == [p.quality for p in found]


def test_only_files_below_a_quality_are_restored(folder: Path, restorer: Restorer) -> None:
    settings = replace(SETTINGS, below=60)
    jobs = plan_files([folder], folder.parent / "out", all_pictures=True, compare=True).jobs
    found = {p.source.name: p for p in look_at_files(jobs, restorer, settings)}
    restored = {name for name, p in found.items() if p.decision == "restored"}
    assert restored == {"q30.jpg", "gray.jpg", "once.png"}
    assert found["q60.jpg"].reason == "its estimated quality, 60, is not below 60 (--below)"
    assert found["q60.jpg"].quality == 60
    for job in jobs:
        result = restore_file(job, restorer, settings)
        if result.source.name in ("q60.jpg", "never.png"):
            assert result.outcome == "left alone"
            known = result.source.suffix == ".jpg"
            reason = "is not below 60 (--below)" if known else "is not known (--below)"
            assert reason in result.message
            source = job.source.read_bytes()
            expected = decode_jpeg(source) if source[:2] == b"\xff\xd8" else read_image(job.source)
            assert np.array_equal(read_image(job.target), expected)
        assert (job.comparison is not None and job.comparison.exists()) == (
            result.source.name in restored
        )


def test_dry_run_prints_a_table_and_writes_its_json_only(folder: Path, checkpoint: Path) -> None:
    before = sorted(folder.parent.rglob("*"))
    place = folder.parent / "report.json"
    done = run_script(
        "test_real_IJCN.py",
        *("--input", folder, "--output", folder.parent / "out", "--checkpoint", checkpoint),
        *("--dry_run", "--json", place),
    )
    assert done.returncode == 1, done.stderr  # as the run itself
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["file", "size", "colours", "quality", "would", "be", "why"]
    (line,) = (line for line in lines if "q97.jpg" in line)
    assert "64x48  YCbCr 4:2:2  97       left alone  of quality about 95 or better" in line
    assert lines[-1] == "3 restored, 1 refused, 1 left alone"
    assert "2 .png not taken; --set all_pictures=true takes them too" in done.stderr
    rows = json.loads(place.read_text())
    assert [row["decision"] for row in rows].count("restored") == 3
    assert sorted(folder.parent.rglob("*")) == sorted([*before, place])


def _piped(data: bytes, checkpoint: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = ("test_real_IJCN.py", "--checkpoint", checkpoint, "--input", "-", *arguments)
    return run_main(test_real_IJCN.main, *command, stdin=data)


def test_pipes(checkpoint: Path, tmp_path: Path) -> None:
    data = encode_jpeg(photograph(48, 64), 30)
    place = tmp_path / "report.json"
    done = _piped(data, checkpoint, "--output", "-", "--format", "webp", "--json", place)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert image.size == (64, 48)
        assert image.format == "WEBP"
    assert b"1 of 1 files restored" in done.stderr
    (row,) = json.loads(place.read_text())
    assert (row["source"], row["target"], row["status"]) == ("-", "-", "restored")
    assert list(tmp_path.iterdir()) == [place]


def test_stdin_into_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    done = _piped(encode_jpeg(photograph(48, 64), 30), checkpoint, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"stdin.png", "run.yml"}
    own = Path("stdin")  # a file of this name is not the pipe
    assert Pipes(Path(), [own], tmp_path).named(FileResult(own, None, "failed")).source == own
    done = _piped(b"", checkpoint, "--output", "-")
    assert done.returncode == 1
    assert not done.stdout
    assert b"not restored: -: empty file" in done.stderr


@pytest.mark.parametrize("text", ['[{"my": "data"}]', "[1, 2]", "{}", "[" * 50_000, "words"])
def test_json_replaces_no_file_of_others(text: str, checkpoint: Path, tmp_path: Path) -> None:
    source, place = tmp_path / "a.jpg", tmp_path / "mine.json"
    source.write_bytes(encode_jpeg(photograph(16, 16), 50))
    place.write_text(text)
    common = ("--input", source, "--checkpoint", checkpoint, "--dry_run", "--json", place)
    done = run_main(test_real_IJCN.main, "test_real_IJCN.py", *common)
    assert b"is no such report" in done.stderr
    assert place.read_text() == text
    place.unlink()
    for _ in range(2):
        assert run_main(test_real_IJCN.main, "test_real_IJCN.py", *common).returncode == 0


def test_stdout_takes_one_picture(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(encode_jpeg(photograph(16, 16), 50))
    common = ("--input", tmp_path, "--checkpoint", checkpoint)
    done = run_script("test_real_IJCN.py", *common, "--output", "-")
    assert "--output - takes one picture, these are 2" in error_line(done)


def test_results_beside_their_sources(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(16, 16), 50))
    common = ("--input", tmp_path, "--checkpoint", checkpoint, "--suffix", "_clean")
    for words in ("1 of 1 files restored", "1 there already (1 restored; "):
        done = run_script("test_real_IJCN.py", *common)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
        assert done.stdout.rstrip().endswith("beside their sources")
        assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", "a_clean.png"}
