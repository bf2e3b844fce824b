"""The README's code as a reader runs it: Python blocks and most commands, on small pictures."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from data.jpeg import encode_jpeg
from tests.conftest import ROOT, photograph
from utils.image_io import write_png

README = (ROOT / "README.md").read_text(encoding="utf-8")

RESTORING = (ROOT / "docs" / "restoring.md").read_text(encoding="utf-8")

BLOCKS = re.findall(
    r"^```(\w*)\n(.*?)^```$", README + "\n" + RESTORING, flags=re.DOTALL | re.MULTILINE
)

PYTHON = [code for language, code in BLOCKS if language == "python"]

COMMANDS = [
    shlex.split(line, comments=True)
    for language, block in BLOCKS
    if not language
    for line in block.splitlines()
    if line.split(" ")[0] in ("python", "torchrun", "make", "tensorboard")
]

NEEDS = {"models.export": "onnxruntime", "examples/restore_onnx.py": "onnxruntime"}
NEEDS["utils.plots"] = "matplotlib"

FOR_LATER = ("app.py", "main_train_IJCN.py", "testsets/download.py", "benchmarks/")
"""What serves, trains, fetches or measures for long: here only their arguments are checked."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the checkout, with small pictures in place of the user's and of the sets."""
    folder = tmp_path_factory.mktemp("desk")
    for path in ROOT.iterdir():
        if path.name not in ("testsets", "test_results", "results", "runs", "README.md"):
            (folder / path.name).symlink_to(path)
    (folder / "README.md").write_text(README, encoding="utf-8")
    for name in ("LIVE1_color", "BSDS500_color", "Classic5", "LIVE1_gray"):
        gray = name in ("Classic5", "LIVE1_gray")
        picture = photograph(40, 56)
        write_png(folder / "testsets" / name / "a.png", picture[:, :, 0] if gray else picture)
    jpeg = encode_jpeg(photograph(40, 56), 20)
    for name in ("photo.jpg", "holiday/a.jpg", "holiday/b.jpg", "scans/c.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(jpeg)
    write_png(folder / "old.png", photograph(40, 56))
    write_png(folder / "my" / "photographs" / "a.png", photograph(40, 56))
    for name in ("one", "two"):
        (folder / "runs" / name).mkdir(parents=True)
        shipped = ROOT / "model_zoo" / "Color_IJCN.safetensors"
        (folder / "runs" / name / "best.safetensors").symlink_to(shipped)
    curves = folder / "runs" / "small"
    curves.mkdir(parents=True)
    (curves / "train.csv").write_text("step,loss,gain,learning_rate\n1,0.1,0.5,0.001\n")
    (curves / "validation.csv").write_text("step,gain_QF10\n1,0.5\n")
    return folder


def test_readme_holds_code() -> None:
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 20
    assert {command[0] for command in COMMANDS} == {"python", "torchrun", "make", "tensorboard"}


def test_python_blocks_run_as_written(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    names: dict[str, object] = {}
    for code in PYTHON:  # a reader goes from top to bottom
        exec(compile(code, "README.md", "exec"), names)
    assert getattr(names["image"], "shape", None) == (40, 56, 3)
    assert isinstance(names["images"], list)
    assert [image.shape for image in names["images"]] == [(40, 56, 3)] * 2


def _id(command: list[str]) -> str:
    return " ".join(command)


@pytest.mark.parametrize("command", COMMANDS, ids=_id)
def test_command_is_one(command: list[str]) -> None:
    """Every script, module, option and target that a command names exists."""
    program, *arguments = command
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets)
        return
    if program == "tensorboard":
        return
    while program == "torchrun" and arguments[0].startswith("--"):
        assert arguments.pop(0).startswith("--nproc_per_node=")
    if arguments[0] == "-m":
        found = importlib.util.find_spec(arguments[1])
        assert found is not None
        assert found.origin is not None
        path = Path(found.origin)
    else:
        path = ROOT / arguments[0]
    assert path.is_file()
    source = path.read_text() + (ROOT / "options" / "command_line.py").read_text()
    source += (ROOT / "jobs" / "page.py").read_text()
    for flag in (word for word in arguments if word.startswith("--")):
        assert f'"{flag}"' in source, flag


RUNNABLE = [
    command
    for command in COMMANDS
    if command[0] == "python" and not any(name in command[1] for name in FOR_LATER)
]


@pytest.mark.parametrize("command", RUNNABLE, ids=_id)
def test_command_runs_as_written(
    command: list[str],
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = command[1:]
    script = run[1] if run[0] == "-m" else run[0]
    if needed := NEEDS.get(script):
        pytest.importorskip(needed, reason=f"{needed} is an optional extra")
    monkeypatch.chdir(desk)
    monkeypatch.delenv("IJCN_TESTSETS", raising=False)
    start: Callable[[], object]
    if run[0] == "-m":
        monkeypatch.setattr(sys, "argv", run[1:])
        start = lambda: runpy.run_module(script, run_name="__main__", alter_sys=True)  # noqa: E731
    else:
        monkeypatch.setattr(sys, "argv", run)
        start = lambda: runpy.run_path(script, run_name="__main__")  # noqa: E731
    try:
        start()
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    said = capsys.readouterr()
    assert code == 0, said.err


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([^)]+)\)", README))))
def test_link_leads_to_a_heading(anchor: str) -> None:
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
    assert anchor in slugs
