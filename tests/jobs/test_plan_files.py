"""jobs/plan_files.py: what is taken, under which name results go, and what is never overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from jobs.plan_files import Plan, plan_files
from options.schema import OptionsError
from utils.metadata import Metadata
from utils.metadata.origin import with_origin
from utils.picture_files import Format, encoded_picture


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _make(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).write_bytes(b"x")


def _plan(*inputs: str, output: str = "out", **options: object) -> Plan:
    return plan_files([Path(name) for name in inputs], Path(output), **options)  # type: ignore[arg-type]


def _targets(*inputs: str, **options: object) -> set[str]:
    plan = _plan(*inputs, **options)  # type: ignore[arg-type]
    assert not plan.problems
    return {job.target.as_posix() for job in plan.jobs}


def test_files_folders_and_globs() -> None:
    _make("a.jpg", "a.jpeg", "sub/b.JPG", "sub/c.png", "x.jpg/d.jpg")
    assert _targets(".") == {"out/a.jpg.png", "out/a.jpeg.png", "out/sub/b.png", "out/x.jpg/d.png"}
    assert _targets("a.jpg", "a.jpeg", "a.jpg") == {"out/a.jpg.png", "out/a.jpeg.png"}
    assert _targets("sub/*.JPG", file_format="webp") == {"out/b.webp"}
    assert _targets("sub", all_pictures=True) == {"out/b.png", "out/c.png"}
    assert _targets("sub/c.png") == {"out/c.png"}
    _make("stereo/a.MPO")
    assert _targets("stereo") == {"out/a.png"}


def test_equal_names_from_several_folders_keep_these_folders_names() -> None:
    _make("d1/i.jpg", "d1/only.jpg", "d2/i.jpg", "d2/sub/i.jpg")
    folders = {"out/d1/i.png", "out/only.png", "out/d2/i.png", "out/sub/i.png"}
    assert _targets("d1", "d2") == folders
    assert _targets("d1/i.jpg", "d2/i.jpg") == {"out/d1/i.png", "out/d2/i.png"}
    os.chdir("d1")
    assert _targets("..", ".") >= {"out/d1/i.png", "out/d2/i.png"}
    assert all(".." not in target for target in _targets("..", "../d2"))


def test_names_that_cannot_be_told_apart_are_a_problem_of_the_second() -> None:
    _make("1/d/i.jpg", "2/d/i.jpg", "ok.jpg")
    plan = _plan("1/d", "2/d", "ok.jpg")
    assert [job.source.as_posix() for job in plan.jobs] == ["1/d/i.jpg", "ok.jpg"]
    (problem,) = plan.problems
    assert "as 1/d/i.jpg does; give it another --output" in problem.message


def test_unusable_inputs_stop_no_other() -> None:
    _make("a.jpg", "png/a.png")
    Path("empty").mkdir()
    plan = _plan("missing.jpg", "empty", "none*.jpg", "png", "a.jpg")
    assert [job.target.as_posix() for job in plan.jobs] == ["out/a.png"]
    said = {problem.source.as_posix(): problem.message for problem in plan.problems}
    assert said["missing.jpg"].startswith("not found")
    assert said["empty"].startswith("no picture in this folder")
    assert said["none*.jpg"].startswith("matches no file")
    assert "all_pictures=true" in said["png"]
    with pytest.raises(OptionsError, match=r"missing\.jpg: not found"):
        _plan("missing.jpg", "empty")


def test_folders_that_cannot_be_listed_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _make("in/a.jpg", "in/locked/b.jpg")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    plan = _plan("in")
    assert [job.source.as_posix() for job in plan.jobs] == ["in/a.jpg"]
    assert [problem.source.as_posix() for problem in plan.problems] == ["in/locked"]
    assert "Permission denied" in plan.problems[0].message


def test_sources_are_never_overwritten() -> None:
    _make("a.jpg", "b.jpg", "out/link.png")
    with pytest.raises(OptionsError, match="never overwritten"):
        _plan("a.jpg", output=".", file_format="jpg")
    os.remove("out/link.png")
    os.symlink(Path("a.jpg").absolute(), "out/b.png")
    with pytest.raises(OptionsError, match=r"out/b\.png is one of the files to restore"):
        _plan("a.jpg", "b.jpg")


def test_a_run_into_a_folder_inside_goes_on_where_it_was() -> None:
    _make("in/a.jpg", "in/restored/a.jpg", "in/restored/sub/b.jpg")
    plan = _plan("in", output="in/restored", file_format="jpg")
    assert [job.source.as_posix() for job in plan.jobs] == ["in/a.jpg"]
    _make("in/a.png")
    assert len(_plan("in", output="in").jobs) == 3


@pytest.mark.parametrize("kind", ["png", "webp", "jpg", "tiff"])
def test_what_this_program_made_is_not_taken_from_folders(kind: Format) -> None:
    made = encoded_picture(np.zeros((8, 8, 3), np.uint8), kind, 90, Metadata())[0]
    Path("in").mkdir()
    Path(f"in/a.{kind}").write_bytes(made)
    Path(f"in/a_clean.compare.{kind}").write_bytes(with_origin(made, {"source": "a"}))
    plan = _plan("in", all_pictures=True, file_format="webp")
    assert [job.source.name for job in plan.jobs] == [f"a.{kind}"]
    assert plan.hints == ["in: 1 results of this program not taken; name one to restore it"]
    assert _targets(f"in/a_clean.compare.{kind}") == {"out/a_clean.compare.png"}
    os.remove(f"in/a.{kind}")
    with pytest.raises(OptionsError, match="its 1 pictures were made by this program"):
        _plan("in", all_pictures=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes that are files")
def test_a_pipe_in_a_folder_is_left_to_whoever_reads_it() -> None:
    _make("in/a.jpg")
    os.mkfifo("in/b.jpg")
    assert _targets("in") == {"out/a.png", "out/b.png"}


def test_one_picture_may_have_a_file_for_its_result() -> None:
    _make("a.jpg", "b.jpg")
    assert _targets("a.jpg", output="x/clean.webp", one_file=True) == {"x/clean.webp"}
    for inputs in (["a.jpg", "b.jpg"], ["a.jpg", "none.jpg"], ["."]):
        with pytest.raises(OptionsError, match="one file, these are 2; give a folder"):
            _plan(*inputs, output="clean.png", one_file=True)
    with pytest.raises(OptionsError, match="never overwritten"):
        _plan("a.jpg", output="a.jpg", one_file=True)


def test_a_file_is_taken_once_however_it_is_spelt() -> None:
    _make("in/a.jpg", "other/b.jpg")
    os.symlink(Path("in").absolute(), "linked")
    os.symlink(Path("in/a.jpg").absolute(), "in/c.jpg")  # another name is another picture
    assert _targets("in", "linked", "other/../in/a.jpg") == {"out/a.png", "out/c.png"}


def test_comparisons_take_no_ones_place() -> None:
    _make("a.jpg", "a.compare.jpg", "b.jpg", "out/b.compare.png")
    plan = _plan(
        "a.jpg", "a.compare.jpg", "b.jpg", "out/b.compare.png", compare=True, file_format="webp"
    )
    sources = {job.source.resolve() for job in plan.jobs}
    places = [place for job in plan.jobs for place in (job.target, job.comparison)]
    assert None not in places
    assert len({place.resolve() for place in places if place}) == 8
    assert not sources & {place.resolve() for place in places if place}


def _make_result(name: str, kind: Format) -> None:
    made = encoded_picture(np.zeros((8, 8, 3), np.uint8), kind, 90, Metadata())[0]
    Path(name).write_bytes(with_origin(made, {"source": "x"}))


def test_results_beside_their_sources() -> None:
    _make("a.jpg", "a.jpeg", "sub/b.JPG", "sub/c.png")
    _make_result("sub/b_clean.png", "png")
    beside = {"a.jpg_clean.png", "a.jpeg_clean.png", "sub/b_clean.png"}
    assert _targets(".", suffix="_clean") == beside
    # results of an earlier run are none to restore
    both = {"sub/b_clean.png", "sub/c_clean.png"}
    assert _targets("sub", suffix="_clean", all_pictures=True) == both
    _make("x.jpg")
    _make_result("x_clean.jpg", "jpg")
    found = _targets("x.jpg", "x_clean.jpg", suffix="_clean", file_format="jpg")
    assert found == {"x_clean.jpg"}


def test_ones_own_picture_with_a_results_name_is_never_dropped_or_overwritten() -> None:
    _make("x.jpg", "x_clean.jpg")
    message = r"x_clean\.jpg is one of the files to restore, .* choose another --suffix"
    with pytest.raises(OptionsError, match=message):
        _plan("x.jpg", "x_clean.jpg", suffix="_clean", file_format="jpg")
    assert _targets("x.jpg", "x_clean.jpg", suffix="_2") == {"x_2.png", "x_clean_2.png"}


def test_no_two_results_share_a_place() -> None:
    _make("in/a.jpg", "in/a.jpeg", "in/a.jpg.jpg", "in/b.jpg", "in/b.jpg.jpeg")
    os.symlink(Path("in").absolute(), "linked")
    several = ["in/a.jpg.jpg", "in/a.jpg", "in/a.jpeg"]
    for inputs in (["in"], several, ["in/a.jpg", "linked/a.jpeg"], ["in/a.jpg", "./in/a.jpeg"]):
        for suffix in (None, "_clean"):
            plan = _plan(*inputs, suffix=suffix)
            assert not plan.problems
            assert len({job.target.resolve() for job in plan.jobs}) == len(plan.jobs) > 1
    _make("case/a.jpg", "case/A.jpg", "case/c.jpg")
    for suffix in (None, "_clean"):
        plan = _plan("case", suffix=suffix)
        assert [job.source.name for job in plan.jobs] == ["A.jpg", "c.jpg"]
        (problem,) = plan.problems
        assert problem.source == Path("case/a.jpg")
        assert "as case/A.jpg does; give it another" in problem.message


def test_linked_folders_are_followed_and_loops_seen() -> None:
    _make("in/z/a.jpg", "elsewhere/b.jpg", "out/old.jpg")
    os.symlink(Path("in/z").absolute(), "in/again")
    os.symlink(Path("in").absolute(), "in/z/loop")
    os.symlink(Path("elsewhere").absolute(), "in/linked")
    os.symlink(Path("out").absolute(), "in/results")
    os.symlink(Path("in/linked").absolute(), "elsewhere/back")
    assert _targets("in", output="out") == {"out/z/a.png", "out/linked/b.png"}
    assert _targets("in/**/a.jpg", output="out") == {"out/a.png"}


def test_other_pictures_of_a_folder_are_mentioned() -> None:
    _make("in/a.jpg", "in/b.png", "in/sub/c.PNG", "in/d.webp", "in/text.txt")
    (hint,) = _plan("in").hints
    assert hint == "in: 2 .png, 1 .webp not taken; --set all_pictures=true takes them too"
    assert not _plan("in", all_pictures=True).hints
    _make("only/a.jpg", "only/a.png")
    assert not _plan("only", output="only").hints  # a result
