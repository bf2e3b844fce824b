"""Scripts end in one line, whatever becomes of their stdout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from utils.scripts import EXIT_FAILED


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("end", "said", "code"),
    [
        ("> /dev/full", "error: stdout: No space left on device\n", EXIT_FAILED),
        (">&-", "", 0),
    ],
)
def test_a_light_command_whose_stdout_fails(end: str, said: str, code: int) -> None:
    line = f"{sys.executable} testsets/download.py --list {end}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == said
    assert done.returncode == code


def test_plots_whose_list_nobody_reads_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "run").mkdir()
    rows = "step,loss,gain,learning_rate\n1,0.5,0.1,0.001\n2,0.4,0.2,0.001\n"
    (tmp_path / "run" / "train.csv").write_text(rows)
    command = f"{sys.executable} -m utils.plots training {tmp_path}/run --output {tmp_path}/plots"
    done = subprocess.run(f"{command} | true", shell=True, capture_output=True, text=True, cwd=ROOT)
    assert "Error" not in done.stderr
    assert any((tmp_path / "plots").glob("*.png"))


def test_threads_of_scripts_spin_for_a_short_time_only() -> None:
    others = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    code = "import utils.startup, torch; print(torch.__config__.parallel_info())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**others, "OMP_DISPLAY_ENV": "VERBOSE"},
        check=True,
    )
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("PyTorch does not use GNU's OpenMP here")
    assert "GOMP_SPINCOUNT = '10000'" in done.stderr
