"""The house's rules about imports, held by reading every module."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("data", "models", "utils", "options", "jobs")

MAY_IMPORT = {
    "utils": {"utils"},
    "data": {"data", "utils"},
    "models": {"models", "data", "utils"},
    "options": {"options", "data", "models", "utils"},
    "jobs": set(PACKAGES),
}
"""One way only: jobs and scripts -> options -> models -> data -> utils."""

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _imported(path: Path) -> set[str]:
    """Full names of the modules that a module imports, anywhere in it, and of their packages."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return names | {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    assert _imported(path) & set(PACKAGES) <= MAY_IMPORT[package]


ROOMS = {
    "evaluation": {"evaluation", "metadata"},
    "metadata": {"metadata"},
    "report": {"report", "evaluation", "training"},
    "training": {"training"},
}
"""Of utils: which rooms know which. The report shows what the others made; they do not know it."""


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_of_utils_know_few_others(room: str) -> None:
    modules = [path for path in MODULES if path.parent == ROOT / "utils" / room]
    assert modules
    imported = set().union(*map(_imported, modules))
    known = {name.split(".")[1] for name in imported if name.startswith("utils.")}
    assert known & set(ROOMS) <= ROOMS[room]


def test_only_the_jpeg_module_knows_the_backend() -> None:
    assert [p for p in MODULES if "jpegio" in _imported(p)] == [ROOT / "data" / "jpeg.py"]


def test_torchvision_is_never_needed() -> None:
    scripts = list(ROOT.glob("*.py"))
    assert not [p for p in [*MODULES, *scripts] if "torchvision" in _imported(p)]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_and_public_name_is_documented(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
