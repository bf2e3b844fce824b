"""ijcn.py, utils/commands.py: each command by its short name, from any folder, installed."""

from __future__ import annotations

import importlib.util
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

import ijcn
from data.jpeg import encode_jpeg
from models import save_checkpoint
from tests.conftest import ROOT, photograph, run_main, tiny_network
from utils.commands import COMMANDS, as_started
from utils.image_io import read_image


def test_its_help_lists_the_commands() -> None:
    done = run_main(ijcn.main, "ijcn", "--help")
    assert done.returncode == 0
    said = done.stdout.decode()
    for name, command in COMMANDS.items():
        assert f"  {name} " in said
        assert command.summary in said
    assert "ijcn restore --input photo.jpg" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_help_calls_it_by_the_short_name(name: str) -> None:
    done = run_main(ijcn.main, "ijcn", name, "--help")
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert said.startswith(f"usage: ijcn {name} ")
    assert f"\n  ijcn {name} " in said.split("examples:")[1]
    assert not re.search(r"(?<!--no-)python ", said)


def test_a_script_goes_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "torchrun --nproc_per_node=4 -m jobs.tables, python app.py"
    monkeypatch.setattr(sys, "argv", ["app.py"])
    assert as_started(text) == text
    monkeypatch.setattr(sys, "argv", ["ijcn page"])
    assert as_started(text) == "torchrun --nproc_per_node=4 --no-python ijcn tables, ijcn page"


def test_what_is_no_command_is_refused() -> None:
    done = run_main(ijcn.main, "ijcn", "restor")
    assert done.returncode == 2
    assert re.fullmatch(rb"error: .*'restor'.*\n", done.stderr)
    assert not done.stdout
    alone = run_main(ijcn.main, "ijcn")
    assert alone.returncode == 2
    assert b"restore " in alone.stdout


def test_it_works_from_any_folder(tmp_path: Path) -> None:
    """Paths are the user's; the project's own options and weights are found too."""
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(24, 40), 30))
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    save_checkpoint(tiny_network(), tmp_path / "tiny.safetensors")
    common = ("--opt", "options/test_real.yml", "--checkpoint", "tiny.safetensors")
    restore = (ijcn.main, "ijcn", "restore", *common, "--output", "out", "--input")
    done = run_main(*restore, "a.jpg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_image(tmp_path / "out" / "a.png").shape == (24, 40, 3)
    assert run_main(*restore, "bad.jpg", cwd=tmp_path).returncode == 1
    assert run_main(*restore, "none.jpg", cwd=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("train", "--opt", "options/train_smoke.yml"), "data.folders: trainsets is not a folder"),
        (("export", "--checkpoint", "model_zoo/README.md"), "README.md is neither"),
        (("weights", "average", "model_zoo/README.md", "--output", "x"), "README.md is neither"),
        (("page", "--checkpoint", "model_zoo/none.pth"), "none.pth not found"),
        (("evaluate", "--testsets", "Nowhere"), "fetch it if it is a known one (ijcn download"),
    ],
)
def test_errors_and_exit_codes_are_the_scripts(
    words: tuple[str, ...], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os._exit", sys.exit)  # how app.py ends
    done = run_main(ijcn.main, "ijcn", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr.decode().splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_what_to_do_about_an_error_is_called_by_the_short_name(tmp_path: Path) -> None:
    done = run_main(ijcn.main, "ijcn", "download", "--verify", "--output", tmp_path)
    assert done.returncode == 1
    assert b"fetch one (ijcn download LIVE1_color)" in done.stderr


def test_an_installed_copy_holds_all_that_commands_read() -> None:
    tomllib = pytest.importorskip("tomllib", reason="from Python 3.11 on")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["scripts"] == {"ijcn": "ijcn:main"}
    built = project["tool"]["setuptools"]
    for command in COMMANDS.values():
        module = command.module
        assert importlib.util.find_spec(module) is not None
        assert module in built["py-modules"] or module.rpartition(".")[0] in built["packages"]
    folders = {
        path.parent.relative_to(ROOT)
        for folder in ("data", "jobs", "models", "options", "utils")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {".".join(folder.parts) for folder in folders} <= set(built["packages"])
    read = [
        *(ROOT / "options").glob("*.yml"),
        *(ROOT / "model_zoo").glob("*.safetensors"),
        ROOT / "testsets" / "published.csv",
        ROOT / "testsets" / "manifest.csv",
        *(path for path in (ROOT / "utils" / "report" / "page").iterdir() if path.is_file()),
    ]
    data = built["package-data"]
    for path in read:
        inside = path.relative_to(ROOT)
        homes = [name for name in data if inside.is_relative_to(name.replace(".", "/"))]
        places = [(inside.relative_to(h.replace(".", "/")), data[h]) for h in homes]
        assert any(fnmatch(place.as_posix(), each) for place, all_ in places for each in all_), path
