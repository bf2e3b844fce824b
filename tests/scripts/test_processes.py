"""Several processes give the files that one process gives; a dead one is reported."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from data.jpeg import encode_jpeg
from tests.conftest import PATIENCE, ROOT, error_line, photograph, run_script, started, wait_until
from utils.image_io import read_image, write_png


def _pictures(folder: Path) -> dict[str, np.ndarray]:
    return {str(p.relative_to(folder)): read_image(p) for p in sorted(folder.rglob("*.png"))}


def _same_pictures(one: Path, other: Path) -> None:
    first, second = _pictures(one), _pictures(other)
    assert first.keys() == second.keys()
    assert first
    for name, picture in first.items():
        # Processes have other numbers of threads, whose sums may round differently.
        difference = np.abs(picture.astype(int) - second[name])
        assert difference.max() <= 1, name
        assert (difference > 0).mean() < 1e-3, name


@pytest.mark.slow
def test_evaluation_merges_into_the_same_tables(tmp_path: Path, checkpoint: Path) -> None:
    sets = tmp_path / "sets"
    for i in range(5):
        write_png(sets / "Mini" / f"{i}.png", photograph(40 + 8 * i, 64, seed=i))
    theirs = shutil.copytree(sets / "Mini", tmp_path / "theirs" / "QF10").parent
    (theirs / "QF10" / "4.png").unlink()
    (sets / "Mini" / "00 broken.png").write_bytes(b"not an image")
    outputs = []
    for processes in (0, 2):
        output = tmp_path / f"by{processes}"
        done = run_script(
            "test_color_IJCN.py",
            *("--testsets", "Mini", "--checkpoint", checkpoint, f"again={checkpoint}"),
            *("--method", f"X={theirs}", "--output", output, "--device", "cpu"),
            *("--set", "qualities=[10, 90]", "save_images=all", "threads=1"),
            processes=processes,
            IJCN_TESTSETS=str(sets),
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stdout.count("## Mini, 5 images") == 1, done.stderr
        assert done.stderr.count("00 broken.png") == 1
        outputs.append(output)
    for name in ("summary.csv", "per_image.csv", "summary.md"):
        assert (outputs[0] / name).read_text() == (outputs[1] / name).read_text()
    _same_pictures(*outputs)
    assert (outputs[1] / "comparison.png").exists()
    assert not (outputs[1] / "images.part").exists()


def test_files_are_shared_out(tmp_path: Path, checkpoint: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    for i in range(5):
        (source / f"{i}.jpg").write_bytes(encode_jpeg(photograph(48, 64, seed=i), 40))
    (source / "bad.jpg").write_bytes(b"not a jpeg")
    outputs = []
    for processes in (0, 2):
        output = tmp_path / f"by{processes}"
        done = run_script(
            "test_real_IJCN.py",
            *("--input", source, "--output", output, "--checkpoint", checkpoint),
            *("--device", "cpu", "--json", tmp_path / f"{processes}.json", "--set", "threads=1"),
            processes=processes,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stdout.count("5 of 6 files restored, 1 failed") == 1, done.stderr
        assert done.stderr.count("not restored:") == 1
        outputs.append(output)
    _same_pictures(*outputs)
    reports = [json.loads((tmp_path / f"{n}.json").read_text()) for n in (0, 2)]
    assert [e["source"] for e in reports[0]] == [e["source"] for e in reports[1]]
    assert [e["status"] for e in reports[0]] == [e["status"] for e in reports[1]]


LAST_WORDS = """
import sys, time
import torch
from utils.distributed import connected, world_from_environment

world = world_from_environment()
with connected(world, torch.device("cpu")):
    if world.is_main:
        time.sleep(2)
        print("all written")
sys.exit(1 if sys.argv[1] == "failed" else 0)
"""


@pytest.mark.slow
def test_no_process_fails_before_the_main_one_has_written(tmp_path: Path) -> None:
    script = tmp_path / "last_words.py"
    script.write_text(LAST_WORDS)
    done = run_script(str(script), "failed", processes=2, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert done.stdout == "all written\n"


@pytest.mark.slow
def test_an_error_of_one_process_alone_is_said(tmp_path: Path) -> None:
    script = tmp_path / "alone.py"
    script.write_text(
        LAST_WORDS.split("with connected")[0]
        + """
from utils.scripts import run_script

def body():
    with connected(world, torch.device("cpu")):
        if world.rank == 1:
            raise ValueError("disk full")
        world.wait()

sys.exit(run_script(body, (ValueError,)))
"""
    )
    done = run_script(str(script), processes=2, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert "error: process 1: disk full" in done.stderr


def test_usage_errors_are_said_once() -> None:
    """By the first process: each meets them before it looks for its peers, and none is here."""
    options = "test_color_IJCN.py", "--testsets", "Nowhere"
    first = run_script(*options, WORLD_SIZE="2", RANK="0", LOCAL_RANK="0")
    assert "Nowhere" in error_line(first)
    second = run_script(*options, WORLD_SIZE="2", RANK="1", LOCAL_RANK="1")
    assert (second.returncode, second.stdout, second.stderr) == (2, "", "")
    assert "Nowhere" in error_line(run_script(*options))


def _held_between_writes(pid: int, output: Path) -> bool:
    """Stop a process; if a file is being written, let it go on. Killed meanwhile, it would leave
    the beginning of that file under another name, as nothing can be done by then."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)
    if not list(output.glob("*.part")):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pgrep") is None, reason="needs pgrep")
def test_a_killed_process_ends_the_run_and_is_reported(tmp_path: Path, checkpoint: Path) -> None:
    source, output = tmp_path / "photos", tmp_path / "out"
    source.mkdir()
    for i in range(200):
        (source / f"{i:03}.jpg").write_bytes(encode_jpeg(photograph(200, 200, seed=i), 40))
    process = started(
        *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        *("test_real_IJCN.py", "--input", source),
        *("--output", output, "--checkpoint", checkpoint, "--device", "cpu"),
    )
    try:
        wait_until(lambda: list(output.glob("*.png")), process)
        listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
        workers = [int(line) for line in listed.stdout.split()]
        assert len(workers) == 2
        wait_until(lambda: _held_between_writes(workers[-1], output), process)
        os.kill(workers[-1], signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "Signal 9 (SIGKILL)" in errors
    assert not list(output.glob("*.part"))
    results = list(output.glob("*.png"))
    assert 0 < len(results) < 200
    assert {read_image(result).shape for result in results} == {(200, 200, 3)}
