"""docs/extending.md works as written: its changes, made in a copy, pass the test it gives."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```\w+ file=(\S+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
CHANGES = re.findall(r"^```diff\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_worked_example_works(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git applies the page's changes")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("data", "jobs", "models", "options", "tests", "utils", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    assert [name for name, _ in FILES] == [
        "models/detail.py",
        "options/train_detail.yml",
        "tests/models/test_detail.py",
    ]
    for name, text in FILES:
        (copy / name).write_text(text, encoding="utf-8")
    assert len(CHANGES) == 1
    for change in CHANGES:
        apply = ["git", "apply", "-"]
        done = subprocess.run(apply, cwd=copy, input=change, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
    option_file = (
        "from pathlib import Path; from options.schema import TrainOptions, load_options; "
        "options = load_options(TrainOptions, Path('options/train_detail.yml')); "
        "assert options.add == {'detail': 16}; assert options.optimisation.parts == ('detail',)"
    )
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/models/test_detail.py"]
    for arguments in (["-c", option_file], tests):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=copy, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stdout + done.stderr
