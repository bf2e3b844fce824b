"""The documents' code as a reader runs it: Python blocks and most commands, on small pictures."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from data.jpeg import encode_jpeg
from tests.conftest import ROOT, photograph
from utils.image_io import write_png

DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (
        *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"),
        *(ROOT / folder / "README.md" for folder in ("benchmarks", "model_zoo", "testsets")),
        *sorted((ROOT / "docs").glob("*.md")),
    )
}

BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)

PYTHON = {
    name: blocks
    for name, text in DOCUMENTS.items()
    if (blocks := [code for language, code in BLOCK.findall(text) if language == "python"])
}

LINES = dict.fromkeys(  # once each, whatever documents have it
    line.split(" #")[0].strip()
    for text in DOCUMENTS.values()
    for language, block in BLOCK.findall(text)
    if not language
    for line in block.splitlines()
    if line.split(" ")[0] in ("python", "torchrun", "make", "tensorboard")
)

COMMANDS = [shlex.split(line) for line in LINES]

NEEDS = {"models.export": "onnxruntime", "examples/restore_onnx.py": "onnxruntime"}
NEEDS["utils.plots"] = "matplotlib"

FOR_LATER = ("app.py", "main_train_IJCN.py", "testsets/download.py", "benchmarks/", "_every")
"""What serves, trains, fetches or measures for long: here only their arguments are checked."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the checkout, with small pictures in place of the user's and of the sets."""
    folder = tmp_path_factory.mktemp("desk")
    # Nothing else of the checkout: a photo.jpg there is the user's, and would be written over.
    folders = "benchmarks", "data", "examples", "jobs", "model_zoo", "models", "options", "utils"
    for path in (*ROOT.glob("*.py"), *(ROOT / name for name in folders), ROOT / "README.md"):
        (folder / path.name).symlink_to(path)
    shutil.copytree(ROOT / "docs", folder / "docs")
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
    for name in ("one", "two", "small"):
        (folder / "runs" / name).mkdir(parents=True)
        shipped = ROOT / "model_zoo" / "Color_IJCN.safetensors"
        (folder / "runs" / name / "best.safetensors").symlink_to(shipped)
    curves = folder / "runs" / "small"
    (curves / "train.csv").write_text("step,loss,gain,learning_rate\n1,0.1,0.5,0.001\n")
    (curves / "validation.csv").write_text("step,gain_QF10\n1,0.5\n")
    return folder


def test_documents_hold_code() -> None:
    assert set(PYTHON) >= {"README.md", "docs/restoring.md"}
    assert len(COMMANDS) >= 40
    assert {command[0] for command in COMMANDS} == {"python", "torchrun", "make", "tensorboard"}


def test_readme_is_read_in_one_sitting() -> None:
    assert len(DOCUMENTS["README.md"].splitlines()) <= 200
    assert len(DOCUMENTS["README.md"].encode()) <= 10_000


@pytest.mark.parametrize("document", PYTHON)
def test_python_blocks_run_as_written(
    document: str, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(desk)
    names: dict[str, object] = {}
    for code in PYTHON[document]:  # a reader goes from top to bottom
        exec(compile(code, document, "exec"), names)
    assert getattr(names["image"], "shape", None) == (40, 56, 3)
    if "images" in names:
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
    for shared in ("jobs/page/server.py", "benchmarks/command_line.py"):
        source += (ROOT / shared).read_text()
    for flag in (word for word in arguments if word.startswith("--")):
        # Scripts name options with dashes, or as they stand in the option file.
        assert any(f'"{name}"' in source for name in (flag, flag[2:])), flag


SLOW = ("Sample", "models.export", "restore_onnx")
"""Whole photographs by the shipped weights, and the exporter."""

RUNNABLE = [
    command
    for command in COMMANDS
    if command[0] == "python" and not any(name in _id(command) for name in FOR_LATER)
]

MADE_BY = {c[c.index("--output") + 1]: c for c in RUNNABLE if "--output" in c}
MADE_BY["test_results/color"] = shlex.split("python test_color_IJCN.py")
"""What other commands read, and the command that makes it: tests run in any order."""


def _makers(command: list[str]) -> list[list[str]]:
    """The commands that make what a command reads."""
    made_here = command[command.index("--output") + 1] if "--output" in command else ""
    return [
        maker
        for made, maker in MADE_BY.items()
        if made != made_here
        and maker != command
        and any(word == made or word.startswith(f"{made}/") for word in command)
    ]


LAST = [c for c in RUNNABLE if not any(c in _makers(other) for other in RUNNABLE)]
"""Those that run all others before them that they need."""


@pytest.fixture(scope="module")
def done() -> set[str]:
    """Commands that have run on the desk."""
    return set()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(c, marks=pytest.mark.slow if any(word in _id(c) for word in SLOW) else ())
        for c in LAST
    ],
    ids=_id,
)
def test_command_runs_as_written(
    command: list[str],
    desk: Path,
    done: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.delenv("IJCN_TESTSETS", raising=False)
    for each in (*_makers(command), command):
        _run(each, done, monkeypatch, capsys)


def _run(
    command: list[str],
    done: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Once: some commands refuse to replace what they wrote."""
    if _id(command) in done:
        return
    as_module = command[1] == "-m"
    script, *_ = run = command[2:] if as_module else command[1:]
    if needed := NEEDS.get(script):
        pytest.importorskip(needed, reason=f"{needed} is an optional extra")
    monkeypatch.setattr(sys, "argv", run)
    try:
        if as_module:
            runpy.run_module(script, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code:
            pytest.fail(capsys.readouterr().err)
    done.add(_id(command))


LINKS = sorted(
    {
        (document, link)
        for document, text in DOCUMENTS.items()
        for link in re.findall(r"\]\(([^)]+)\)", BLOCK.sub("", text))
        if "://" not in link
    }
)


@pytest.mark.parametrize(("document", "link"), LINKS)
def test_link_leads_somewhere(document: str, link: str) -> None:
    """To a file or folder, and to a heading in it."""
    name, _, anchor = link.partition("#")
    place = (ROOT / document).parent / name if name else ROOT / document
    assert place.exists()
    if anchor:
        text = BLOCK.sub("", place.read_text(encoding="utf-8"))
        headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
        assert anchor in slugs


def test_every_document_is_found_from_the_readme() -> None:
    known = {link.partition("#")[0] for document, link in LINKS if document == "README.md"}
    documents = set(DOCUMENTS) - {"README.md", "benchmarks/README.md"}
    assert documents <= known


PATHS = sorted(
    {
        (document, path)
        for document, text in DOCUMENTS.items()
        if document != "CHANGELOG.md"
        for path in re.findall(r"`((?:data|jobs|models|options|utils|tests)/[\w./]+)`", text)
    }
)


@pytest.mark.parametrize(("document", "path"), PATHS)
def test_path_that_a_document_names_exists(document: str, path: str) -> None:
    made_there = set(re.findall(r"file=(\S+)", DOCUMENTS[document]))
    assert path in made_there or (ROOT / path).exists()
