"""jobs/report.py: the pages that the test scripts write with ``--report``."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from data.datasets import NamedImage, TestSet
from data.degradation import SingleJpeg
from data.jpeg import decode_jpeg, encode_jpeg
from jobs.earlier_results import made_of
from jobs.report import remove_unwanted_pictures, report_evaluation, report_files
from jobs.restore_files import FileJob, FileResult, OutputSettings, restore_file
from models.restore.restorer import Restorer
from tests.conftest import ROOT, photograph, report_contents, run_script, tiny_network
from utils.evaluation.evaluate import (
    Evaluation,
    Failure,
    Method,
    evaluate_methods,
    image_path,
    one_by_one,
)
from utils.image_io import ImageError, encode_png, read_image, write_png
from utils.metadata.origin import with_origin
from utils.picture_files import turned
from utils.pictures import Image
from utils.run_log import describe_run

QF10, QF50, QF90 = SingleJpeg(10), SingleJpeg(50), SingleJpeg(90)


def brighter(stored: Any) -> Image:
    return np.full((stored.height, stored.width, 3), 200, np.uint8)


def unreadable() -> Image:
    raise ImageError("Mini/broken: not an image")


def test_a_measured_set(tmp_path: Path) -> None:
    original = photograph(40, 72)
    images = (NamedImage("one", lambda: original), NamedImage("broken", unreadable))
    sets, settings = [TestSet("Mini", images)], [QF10, QF50]
    method = Method("IJCN", one_by_one(lambda task: brighter(task.stored)))
    found = evaluate_methods(sets, settings, [method], tmp_path, "all", False)
    found.failures.append(Failure("Mini", "one", "QF90", "too bright"))
    settings.append(QF90)
    pictures = {"IJCN": partial(image_path, tmp_path)}
    path = report_evaluation(
        tmp_path, "JPEG restoration: A.pth", sets, settings, found, [], {"command": "x"}, pictures
    )
    data, pieces = report_contents(path)
    assert "<title>JPEG restoration: A.pth</title>" in path.read_text()
    assert data["facts"] == {"command": "x"}
    assert [(e["name"], e["setting"], e["note"]) for e in data["entries"]] == [
        ("one", "QF10", ""),
        ("one", "QF50", ""),
        ("one", "QF90", "too bright"),
        ("broken", "", "Mini/broken: not an image"),
    ]
    first = data["entries"][0]
    shown = first["shown"]["pieces"]
    assert np.array_equal(pieces[shown["jpeg"]], QF10(original).jpeg)
    assert np.array_equal(pieces[shown["original"]], original)
    assert (pieces[shown["restored"]] == 200).all()
    rows = {(r["setting"], r["method"]): r["scores"] for r in data["summary"]}
    assert first["before"] == pytest.approx(rows["QF10", "JPEG"], abs=1e-3)
    assert first["after"] == pytest.approx(rows["QF10", "IJCN"], abs=1e-3)

    for wanted, left in (("all", ["QF10", "QF50"]), ("first", ["QF10"]), ("none", [])):
        remove_unwanted_pictures(tmp_path, found, settings, wanted, pictures)
        assert sorted(each.parent.name for each in tmp_path.glob("images/**/one.png")) == left


def test_images_are_listed_with_the_first_reason_of_their_own(tmp_path: Path) -> None:
    names = ("im1", "small", "untold")
    original = photograph(16, 24)
    sets = [TestSet("A", tuple(NamedImage(name, lambda: original) for name in names))]
    failures = [Failure("B", "im1", "", "of B"), Failure("A", "im1", "", "one")]
    failures += [Failure("A", "small", f"QF{q}", str(q)) for q in (10, 90)]
    found = Evaluation(failures=failures)
    path = report_evaluation(tmp_path, "x", sets, [QF10, QF90], found, [], {}, {})
    notes = {entry["name"]: entry["note"] for entry in report_contents(path)[0]["entries"]}
    assert notes == {"im1": "one", "small": "10", "untold": "not measured"}


def test_restored_files(tmp_path: Path) -> None:
    restorer = Restorer(tiny_network(), precision="float32")
    upright = PIL.Image.fromarray(photograph(48, 64))
    exif = upright.getexif()
    exif[0x0112] = 6
    upright.save(tmp_path / "turned.jpg", exif=exif)
    whole = encode_jpeg(photograph(64, 64), 30)
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) * 9 // 10])
    (tmp_path / "text.jpg").write_text("no picture")
    write_png(tmp_path / "old.png", decode_jpeg(whole))
    (tmp_path / "changed.jpg").write_bytes(whole)
    origin = made_of(tmp_path / "changed.jpg", whole, {})
    (tmp_path / "out").mkdir()
    small = with_origin(encode_png(photograph(16, 16)), origin)
    (tmp_path / "out" / "changed.png").write_bytes(small)
    settings = OutputSettings()
    results = [
        restore_file(FileJob(source, tmp_path / "out" / f"{source.stem}.png"), restorer, settings)
        for source in sorted(path for path in tmp_path.iterdir() if path.is_file())
    ]
    results.append(FileResult(tmp_path / "gone.jpg", tmp_path / "gone.png", "restored", "odd"))
    data, pieces = report_contents(report_files(tmp_path, "Files", results, {}))
    entries = {entry["name"]: entry for entry in data["entries"]}
    assert {name: entry["setting"] for name, entry in entries.items()} == {
        "changed.jpg": "skipped",
        "gone.jpg": "restored",
        "half.jpg": "restored",
        "old.png": "restored",
        "text.jpg": "failed",
        "turned.jpg": "restored",
    }
    shown = entries["turned.jpg"]["shown"]["pieces"]
    before = turned(decode_jpeg((tmp_path / "turned.jpg").read_bytes()), 6)
    assert np.array_equal(pieces[shown["jpeg"]], before)
    assert np.array_equal(pieces[shown["restored"]], read_image(tmp_path / "out" / "turned.png"))
    assert entries["old.png"]["shown"]["pieces"].keys() == {"jpeg", "restored"}
    assert entries["text.jpg"]["shown"] is None
    assert "not" in entries["text.jpg"]["note"]
    assert "damaged" in entries["half.jpg"]["note"]
    assert "restored" in entries["half.jpg"]["shown"]["pieces"]
    assert "another size" in entries["changed.jpg"]["note"]
    assert entries["changed.jpg"]["shown"]["pieces"].keys() == {"restored"}
    assert entries["gone.jpg"]["note"].startswith("odd; not shown as it was: ")
    assert entries["gone.jpg"]["shown"] is None


def test_folders_are_named_from_the_common_one_on(tmp_path: Path) -> None:
    names = ("a.jpg", "trip/b.jpg", "trip/far/c.jpg")
    results = [FileResult(tmp_path / "in" / name, None, "failed", "gone") for name in names]
    data, _ = report_contents(report_files(tmp_path, "Files", results, {}))
    assert [entry["dataset"] for entry in data["entries"]] == ["in", "in/trip", "in/trip/far"]
    assert data["labels"] == {"dataset": "Folder", "setting": "Status", "before": "Before"}


def test_the_command_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", "t.py", "--set", "q=[1, 2]"])
    assert describe_run({}, {})["command"] == "python t.py --set 'q=[1, 2]'"


@pytest.mark.parametrize("script", ["test_color_IJCN.py", "test_colordouble_IJCN.py"])
def test_the_measuring_scripts_write_it(tmp_path: Path, checkpoint: Path, script: str) -> None:
    write_png(tmp_path / "sets" / "Mini" / "one.png", photograph(40, 72))
    done = run_script(
        script,
        *("--testsets", "Mini", "--checkpoint", checkpoint, "--output", tmp_path / "out"),
        *("--report", "--set", "qualities=[10,90]"),
        IJCN_TESTSETS=str(tmp_path / "sets"),
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "out" / "report.html") in done.stdout
    data, pieces = report_contents(tmp_path / "out" / "report.html")
    settings = [entry["setting"] for entry in data["entries"]]
    assert len(settings) == (2 if script == "test_color_IJCN.py" else 8)
    assert len(pieces) >= 1 + 2 * len(settings)
    assert data["facts"]["options"]["report"] is True
    saved = [folder.name for folder in (tmp_path / "out" / "images" / "Mini").iterdir()]
    assert saved == settings[:1]


def test_the_restoring_script_writes_it(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(40, 72), 20))
    done = run_script(
        "test_real_IJCN.py",
        *("--input", tmp_path / "a.jpg", "--checkpoint", checkpoint),
        *("--output", tmp_path / "out", "--report"),
    )
    assert done.returncode == 0, done.stderr
    data, pieces = report_contents(tmp_path / "out" / "report.html")
    assert [entry["name"] for entry in data["entries"]] == ["a.jpg"]
    assert len(pieces) == 3
    assert str(ROOT) not in json.dumps(data["facts"]["options"])
