"""The local page: what it does with files, and in a real browser what a visitor sees."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image

from data.jpeg import JpegError, Sampling, decode_jpeg, encode_jpeg, read_jpeg
from data.quality import estimate_quality, standard_tables
from jobs.page.desk import Desk, Limits, Shown, jpeg_facts
from jobs.page.server import known_checkpoints, main
from jobs.page.visits import Visits, remove_stale_folders
from models import CheckpointError
from models.restore.restorer import Precision
from options.schema import OptionsError
from tests.browser import PHONE, Visit, chromium, screenshot_folder, until
from tests.conftest import PATIENCE, error_line, photograph, run_script, started, wait_until
from utils.image_io import read_image, write_png


def _quiet(share: float, name: str) -> None:
    assert 0 <= share < 1


def _by_pillow(quality: int, mode: str = "RGB", orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture = Image.fromarray(photograph(40, 60)).convert(mode)
    picture.save(buffer, "JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("quality", [1, 10, 50, 87, 100])
def test_qualities_of_libjpeg_are_recognised(quality: int) -> None:
    for sampling in (Sampling.S420, Sampling.S444):
        stored = read_jpeg(encode_jpeg(photograph(16, 16), quality, sampling))
        assert estimate_quality(stored) == (quality, True)
    gray = read_jpeg(encode_jpeg(photograph(16, 16)[:, :, 0], quality))
    assert estimate_quality(gray) == (quality, True)


def test_other_tables_are_compared_with_the_nearest() -> None:
    stored = read_jpeg(encode_jpeg(photograph(16, 16), 60))
    luma = replace(stored.components[0], table=standard_tables(60)[0] + 1)
    stored = replace(stored, components=(luma, *stored.components[1:]))
    estimate = estimate_quality(stored)
    assert not estimate.exact
    assert 50 <= estimate.quality <= 62
    facts = jpeg_facts(stored)
    assert f"**Quality about {estimate.quality}**" in facts
    assert "not libjpeg's" in facts
    # One table for all components is compared with that of luma.
    assert estimate_quality(read_jpeg(_by_pillow(30, "CMYK"))) == (30, True)
    shared = [replace(each, table=standard_tables(30)[0]) for each in stored.components]
    assert estimate_quality(replace(stored, components=tuple(shared))) == (30, True)


def test_files_are_restored_and_described(tmp_path: Path, checkpoint: Path) -> None:
    for folder, size in (("a", (40, 60)), ("b", (32, 32))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jpg").write_bytes(encode_jpeg(photograph(*size), 25))
    write_png(tmp_path / "c.png", photograph(40, 40))
    (tmp_path / "renamed.jpg").write_bytes(b"no picture")
    desk = Desk(Limits(megapixels=0.003), "cpu")
    names = ("a/x.jpg", "b/x.jpg", "c.png", "renamed.jpg", "gone.jpg")
    paths = [str(tmp_path / name) for name in names]
    shown = desk.restore(paths, tmp_path / "out", str(checkpoint), "float32", _quiet)
    assert [bool(each.problem) for each in shown] == [False, False, False, True, True]
    kilobytes = (tmp_path / "a" / "x.jpg").stat().st_size / 1000
    assert f"**60 x 40** pixels, {kilobytes:.0f} kB, YCbCr, chroma 4:2:0\n" in shown[0].facts
    assert "**Quality 25**" in shown[0].facts
    assert "with tiny.safetensors, backbone in float32." in shown[0].facts
    assert "**40 x 40** pixels" in shown[2].facts
    assert "not a JPEG file" in shown[2].facts
    assert "not an image" in shown[3].problem
    assert "no longer here" in shown[4].problem
    for each, size in zip(shown, ((40, 60), (32, 32), (40, 40)), strict=False):
        assert read_image(each.after).shape[:2] == read_image(each.before).shape[:2] == size


@pytest.fixture
def show(tmp_path: Path, checkpoint: Path) -> Callable[..., Shown]:
    """What the page shows of a file that holds these bytes."""

    def show(data: bytes, precision: Precision = "float32", strength: float = 1.0) -> Shown:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        (folder / "a.jpg").write_bytes(data)
        given = [str(folder / "a.jpg")], folder / "out", str(checkpoint), precision
        (shown,) = Desk(Limits(), "cpu").restore(*given, _quiet, strength)
        return shown

    return show


Show = Callable[..., Shown]


def test_strength_is_told_and_applied(show: Show) -> None:
    data = encode_jpeg(photograph(40, 60), 25)
    pictures = {}
    for strength in (1.0, 0.5, 0.0):
        shown = show(data, strength=strength)
        assert ("strength 0.5." in shown.facts) == (strength == 0.5)
        assert shown.restored == (strength > 0)
        pictures[strength] = read_image(shown.after).astype(float)
    assert np.array_equal(pictures[0.0], decode_jpeg(data))
    half = (pictures[0.0] + pictures[1.0]) / 2
    assert np.abs(pictures[0.5] - half).max() <= 0.5


def test_limits_are_one_message(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(64, 64), 25))
    (tmp_path / "fat.jpg").write_bytes(b"\xff\xd8\xff" + bytes(1_100_000))
    desk = Desk(Limits(files=2, megabytes=1, megapixels=0.001), "cpu")
    names = [str(tmp_path / "a.jpg"), str(tmp_path / "fat.jpg")]
    shown = desk.restore(names, tmp_path, str(checkpoint), "auto", _quiet)
    assert "0.001 megapixels" in shown[0].problem
    assert "larger than 1 MB" in shown[1].problem
    with pytest.raises(OptionsError, match="3 files are more than 2"):
        desk.restore([*names, names[0]], tmp_path, str(checkpoint), "auto", _quiet)
    with pytest.raises(CheckpointError, match=r"gone\.pth"):
        desk.restore(names, tmp_path, str(tmp_path / "gone.pth"), "auto", _quiet)


def test_what_cannot_be_compared_is_shown_alone(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = show(_by_pillow(98))
    assert fine.after is not None
    assert not fine.restored
    assert fine.before is None
    assert "**Not restored**, shown as it is: of quality about 95 or better" in fine.facts
    cmyk = show(_by_pillow(30, "CMYK"))
    assert cmyk.restored
    assert cmyk.before is not None
    assert "CMYK became RGB through plain arithmetic" in cmyk.facts
    assert "**Quality 30**" in cmyk.facts
    assert "[(" not in cmyk.facts
    cut_off = encode_jpeg(photograph(64, 64), 25)[:-60]
    assert show(cut_off).before is not None  # as far as it goes

    def undecodable(data: bytes, name: str) -> None:
        raise JpegError("cut off")

    monkeypatch.setattr("jobs.page.desk.as_looked_at", undecodable)
    cut = show(cut_off)
    assert cut.after is not None
    assert cut.restored
    assert cut.before is None
    assert "**Quality 25**" in cut.facts


def test_facts_are_of_the_picture_as_looked_at(show: Show) -> None:
    shown = show(_by_pillow(30, orientation=6))
    assert "**40 x 60** pixels" in shown.facts
    assert read_image(shown.after).shape[:2] == (60, 40)


def test_tables_are_shown_once() -> None:
    facts = jpeg_facts(read_jpeg(encode_jpeg(photograph(16, 16), 50)))
    assert facts.count("Quantisation steps of ") == 2
    assert "steps of luma, " in facts
    assert "steps of Cb and Cr:" in facts
    facts = jpeg_facts(read_jpeg(encode_jpeg(photograph(16, 16)[:, :, 0], 50)))
    assert facts.count("Quantisation steps, ") == 1


def _upload(folder: Path, content: str) -> str:
    """A file as Gradio stores it."""
    path = folder / content / "a.jpg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return str(path)


def test_what_a_visitor_leaves_goes(tmp_path: Path) -> None:
    visits = Visits(tmp_path)
    for visitor in "ab":
        visits.come(visitor)
    of_both, of_a, of_b = (_upload(tmp_path, content) for content in ("ab", "a", "b"))
    first = visits.begin("a", [of_both])
    second = visits.begin("a", [of_both, of_a])
    others = visits.begin("b", [of_both, of_b])
    assert {p.name for p in tmp_path.iterdir()} == {"ab", "a", "b", second.name, others.name}
    assert first not in (second, others)
    visits.leave("a")
    assert "a" not in visits
    assert {p.name for p in tmp_path.iterdir()} == {"ab", "b", others.name}
    second.mkdir()  # by work that was still going on
    visits.end("a", second)
    visits.end("b", others)
    assert {p.name for p in tmp_path.iterdir()} == {"ab", "b", others.name}
    _upload(tmp_path, "of nobody")
    visits.leave("b")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="processes cannot be asked for")
def test_folders_of_killed_pages_are_removed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    names = [f"ijcn_page_{n}_x" for n in (child.pid, os.getpid(), 10**12)]
    for name in (*names, "ijcn_page_x", "other"):
        _upload(tmp_path, name)
    remove_stale_folders(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {names[0], "ijcn_page_x", "other"}
    child.communicate()
    remove_stale_folders(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"ijcn_page_x", "other"}


def test_checkpoints_to_choose_from(checkpoint: Path) -> None:
    found = known_checkpoints([str(checkpoint)])
    assert found[0] == str(checkpoint)
    assert any("model_zoo" in path for path in found[1:])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--checkpoint", "nowhere.pth"), "nowhere.pth not found"),
        (("--device", "tpu"), "tpu"),
        (("--host", "192.0.2.1"), "port 7860 on 192.0.2.1 cannot be used"),
        (("--host", "no such host"), "port 7860 on no such host cannot be used"),
        (("--checkpoint", "README.md", "--port", "7943"), "README.md is neither"),
    ],
)
def test_usage_errors_are_one_line(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert words in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "typed",
    [
        *("--port=0", "--port=many", "--port=99999", "--max_files=-1", "--max_files=1.5"),
        *("--max_megabytes=0", "--max_pixels=nan", "--max_pixels=1e400"),
    ],
)
def test_numbers_out_of_range_are_refused(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([typed])
    name, _, value = typed.partition("=")
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(rf"error: {name}: expected a (whole )?number in 1\.\.", error)
    assert f"got {value!r}" in error


class Served(NamedTuple):
    """A page that is being served; its temporary folder lies in ``temporary``."""

    process: subprocess.Popen[str]
    port: int
    temporary: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def files(self) -> list[Path]:
        """All that lies in its folder."""
        (folder,) = self.temporary.glob(f"ijcn_page_{self.process.pid}_*")
        return list(folder.iterdir())

    def end(self, by: signal.Signals) -> int:
        """Its exit code."""
        self.process.send_signal(by)
        _, errors = self.process.communicate(timeout=PATIENCE)
        assert "Traceback" not in errors, errors
        return self.process.returncode


@contextmanager
def _serving(checkpoint: Path, temporary: Path, *arguments: str) -> Iterator[Served]:
    pytest.importorskip("gradio", reason='Gradio is not installed (pip install -e ".[app]")')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = started(
        *("app.py", "--port", port, "--checkpoint", checkpoint),
        *("--device", "cpu", "--max_files", 3, "--max_megabytes", 1, *arguments),
        TMPDIR=str(temporary),
    )
    served = Served(process, port, temporary)
    try:
        assert f"the page is at {served.address}" in process.stdout.readline(), (
            process.communicate()
        )
        yield served
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def served(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    temporary = tmp_path_factory.mktemp("temporary")
    _upload(temporary, f"ijcn_page_{10**12}_x")  # left by a page that was killed
    with _serving(checkpoint, temporary) as served:
        assert not (temporary / f"ijcn_page_{10**12}_x").exists()
        taken = run_script("app.py", "--port", served.port, "--checkpoint", checkpoint)
        assert f"port {served.port} on 127.0.0.1 cannot be used" in error_line(taken)
        yield served
        # How Ctrl-C ends it, another test tells.
        by, code = (signal.SIGTERM, 143) if os.name == "posix" else (signal.SIGINT, 130)
        assert served.end(by) == code
    assert not list(temporary.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals cannot be sent to one process")
def test_a_signal_while_a_picture_is_restored(checkpoint: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.jpg"
    big.write_bytes(encode_jpeg(np.tile(photograph(256, 256), (24, 24, 1)), 30))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # The server waits 5 s for what is going on; this takes longer.
    with chromium() as browser, _serving(checkpoint, temporary, "--max_megabytes", "50") as served:
        page = browser.new_page()
        page.goto(served.address)
        upload = page.locator("#pictures input[type=file]")
        upload.wait_for(state="attached")
        upload.set_input_files(big)
        wait_until(  # there is a folder for results
            lambda: any(each.is_dir() and each.name.startswith("tmp") for each in served.files),
            served.process,
        )
        time.sleep(0.3)
        assert served.end(signal.SIGINT) == 130
    assert not list(temporary.iterdir())


def test_a_visit(served: Served, tmp_path: Path) -> None:
    shots = screenshot_folder(tmp_path / "shots")
    picture = cv2.GaussianBlur(photograph(200, 300), (0, 0), 3)
    (tmp_path / "good.jpg").write_bytes(encode_jpeg(np.asarray(picture, np.uint8), 12))
    (tmp_path / "bad.jpg").write_bytes(b"no picture at all")
    (tmp_path / "fat.jpg").write_bytes(bytes(1_500_000))
    (tmp_path / "fine.jpg").write_bytes(_by_pillow(98))
    with chromium() as browser:
        visit = Visit(browser, served.address)
        page = visit.page
        upload = page.locator("#pictures input[type=file]")
        upload.wait_for(state="attached")
        # A file that is too large stops no other.
        upload.set_input_files([tmp_path / name for name in ("good.jpg", "bad.jpg", "fat.jpg")])
        page.locator("#slider img").first.wait_for()
        page.get_by_text("Quality 12").wait_for()
        page.get_by_text("bad.jpg: not an image").wait_for()
        page.get_by_text("fat.jpg: larger than 1 MB").wait_for()
        # Both pictures of the slider have come, in full.
        until(
            page,
            "[...document.querySelectorAll('#slider img')]"
            ".filter(i => i.complete && i.naturalWidth === 300).length >= 2",
        )
        page.screenshot(path=shots / "page.png")
        assert page.get_by_alt_text("before").count() == 1
        assert page.get_by_alt_text("restored").count() == 1
        with page.expect_download() as coming:
            page.locator("#restored a").first.click()
        coming.value.save_as(tmp_path / "got.png")
        assert read_image(tmp_path / "got.png").shape == (200, 300, 3)
        assert not page.locator("#restored").get_by_label("Remove this file").is_visible()

        # Without a mouse.
        clip = "document.querySelectorAll('#slider img')[1].style.clipPath"
        places = [page.evaluate(clip)]
        for side in ("before", "restored", "both"):
            page.locator("#side").get_by_label(side).focus()
            page.keyboard.press("Space")
            until(page, f"{clip} !== {places[-1]!r}")
            places.append(page.evaluate(clip))
        assert places[3] == places[0]
        assert len(set(places)) == 3

        page.locator("#choice label", has_text="bad.jpg").click()
        page.locator("#facts").get_by_text("Not restored").wait_for()
        page.locator("#slider").wait_for(state="hidden")
        page.locator("#choice label", has_text="good.jpg").click()
        page.get_by_text("Quality 12").wait_for()
        page.screenshot(path=shots / "page_again.png")

        # What is shown belongs to what is listed.
        page.locator("#pictures").get_by_label("Remove this file").first.click()
        page.get_by_text("not an image").last.wait_for()
        page.locator("#slider").wait_for(state="hidden")
        page.locator("#restored").wait_for(state="hidden")
        page.locator("#pictures").get_by_label("Clear").click()
        until(page, "!document.querySelector('#facts').innerText.trim()")
        page.locator("#choice").wait_for(state="hidden")

        page.reload()
        upload.wait_for(state="attached")
        upload.set_input_files([tmp_path / "fine.jpg"])
        page.locator("#picture img").wait_for()
        page.locator("#facts").get_by_text("Not restored").wait_for()
        assert not page.locator("#slider").is_visible()
        page.set_viewport_size(PHONE)
        page.screenshot(path=shots / "page_phone.png")
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
        assert not visit.network
        # Gradio itself warns of this and that.
        assert not [each for each in visit.complaints if not each.startswith("warning: ")]
        assert served.files
        visit.close()
        wait_until(lambda: not served.files, served.process)
