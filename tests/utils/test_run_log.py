"""utils/run_log.py and the code's hash: what a run says it was made by."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import jobs.evaluate
import utils.run_log
from jobs.evaluate import code_hash
from tests.conftest import ROOT
from utils.image_io import ImageError
from utils.run_log import alone_in


@pytest.mark.parametrize(
    "file", ["models/restore/restorer.py", "utils/evaluation/metrics.py", "data/jpeg.py"]
)
def test_figures_are_not_used_again_after_a_change_of_what_made_them(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("data", "models", "utils"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(jobs.evaluate, "PROJECT", tmp_path)
    before = code_hash()
    assert before == code_hash()
    with (tmp_path / file).open("a") as source:
        source.write("# changed\n")
    assert code_hash() != before


def test_an_installed_copy_has_no_version_of_the_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    inside = tmp_path / "lib" / "site-packages"
    inside.mkdir(parents=True)
    for project, known in ((tmp_path, True), (inside, False)):
        monkeypatch.setattr(utils.run_log, "PROJECT", project)
        assert (utils.run_log._code_version() != "unknown") == known


def test_a_forked_process_holds_no_folder(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with alone_in(tmp_path):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    try:
        with alone_in(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_folder_that_cannot_be_held_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    (tmp_path / ".running").mkdir()
    with pytest.raises(ImageError, match=r"choose another name$"), alone_in(tmp_path, "name"):
        pass
