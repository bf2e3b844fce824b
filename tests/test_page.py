"""The local page: what it does with files, and in a real browser what a visitor sees."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.jpeg import Sampling, encode_jpeg, read_jpeg
from data.quality import estimate_quality, standard_tables
from jobs.page import Desk, Limits, forget, jpeg_facts, known_checkpoints
from models import CheckpointError, save_checkpoint
from options.schema import OptionsError
from tests.browser import TIMEOUT, chromium, screenshot_folder
from tests.conftest import ROOT, error_line, photograph, run_script, tiny_network
from utils.image_io import read_image, write_png


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "tiny.safetensors"
    save_checkpoint(tiny_network(), path, half=True)
    return path


def _quiet(share: float, name: str) -> None:
    assert 0 <= share < 1


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
    estimate = estimate_quality(replace(stored, components=(luma, *stored.components[1:])))
    assert not estimate.exact
    assert 50 <= estimate.quality <= 62


def test_files_are_restored_and_described(tmp_path: Path, checkpoint: Path) -> None:
    for folder, size in (("a", (40, 60)), ("b", (32, 32))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jpg").write_bytes(encode_jpeg(photograph(*size), 25))
    write_png(tmp_path / "c.png", photograph(40, 40))
    (tmp_path / "renamed.jpg").write_bytes(b"no picture")
    desk = Desk(tmp_path, Limits(megapixels=0.003), "cpu")
    paths = [tmp_path / name for name in ("a/x.jpg", "b/x.jpg", "c.png", "renamed.jpg")]
    shown = desk.restore([str(p) for p in paths], str(checkpoint), "float32", _quiet)
    assert [bool(each.problem) for each in shown] == [False, False, False, True]
    assert "**60 x 40** pixels" in shown[0].facts
    assert "chroma 4:2:0" in shown[0].facts
    assert "**Quality 25**" in shown[0].facts
    assert "not a JPEG file" in shown[2].facts
    assert "not an image" in shown[3].problem
    for each, size in zip(shown, ((40, 60), (32, 32), (40, 40)), strict=False):
        assert each.after is not None
        assert each.before is not None
        assert read_image(each.after).shape[:2] == read_image(each.before).shape[:2] == size
    forget(shown)
    assert not [each for each in shown if each.after and each.after.exists()]


def test_limits_are_one_message(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photograph(64, 64), 25))
    (tmp_path / "fat.jpg").write_bytes(b"\xff\xd8\xff" + bytes(1_100_000))
    desk = Desk(tmp_path, Limits(files=2, megabytes=1, megapixels=0.001), "cpu")
    names = [str(tmp_path / "a.jpg"), str(tmp_path / "fat.jpg")]
    shown = desk.restore(names, str(checkpoint), "auto", _quiet)
    assert "0.001 megapixels" in shown[0].problem
    assert "larger than 1 MB" in shown[1].problem
    with pytest.raises(OptionsError, match="3 files are more than 2"):
        desk.restore([*names, names[0]], str(checkpoint), "auto", _quiet)
    with pytest.raises(CheckpointError, match=r"gone\.pth"):
        desk.restore(names, str(tmp_path / "gone.pth"), "auto", _quiet)


def test_facts_of_unusual_tables() -> None:
    stored = read_jpeg(encode_jpeg(photograph(16, 16), 60))
    luma = replace(stored.components[0], table=np.full((8, 8), 9, np.int32))
    facts = jpeg_facts(replace(stored, components=(luma, *stored.components[1:])), 12_300)
    assert "12 kB" in facts
    assert "**Quality about " in facts
    assert "not libjpeg's" in facts


def test_checkpoints_to_choose_from(checkpoint: Path) -> None:
    found = known_checkpoints([str(checkpoint)])
    assert found[0] == str(checkpoint)
    assert any("model_zoo" in path for path in found[1:])
    with pytest.raises(OptionsError, match=r"nowhere\.pth not found"):
        known_checkpoints(["nowhere.pth"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--checkpoint", "nowhere.pth"), "nowhere.pth not found"), (("--device", "tpu"), "tpu")],
)
def test_usage_errors_are_one_line(arguments: tuple[str, ...], words: str) -> None:
    pytest.importorskip("gradio", reason="Gradio is not installed")
    assert words in error_line(run_script("app.py", *arguments))


@pytest.fixture(scope="module")
def address(checkpoint: Path) -> Iterator[str]:
    """A page that is being served."""
    pytest.importorskip("gradio", reason='Gradio is not installed (pip install -e ".[app]")')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "app.py", "--port", str(port), "--checkpoint", str(checkpoint)),
            *("--device", "cpu", "--max_files", "3", "--max_megabytes", "1"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 200
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        try:
            with urllib.request.urlopen(url, timeout=5):
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    taken = run_script("app.py", "--port", port, "--checkpoint", checkpoint)
    assert f"port {port} on 127.0.0.1 cannot be used" in error_line(taken)
    yield url
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert f"the page is at {url}" in output
    assert "Traceback" not in errors, errors
    assert process.returncode == 130


def test_a_visit(address: str, tmp_path: Path) -> None:
    shots = screenshot_folder(tmp_path / "shots")
    picture = cv2.GaussianBlur(photograph(200, 300), (0, 0), 3)
    (tmp_path / "good.jpg").write_bytes(encode_jpeg(np.asarray(picture, np.uint8), 12))
    (tmp_path / "bad.jpg").write_bytes(b"no picture at all")
    (tmp_path / "fat.jpg").write_bytes(bytes(1_500_000))
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(2 * TIMEOUT)
        page = context.new_page()
        complaints: list[str] = []
        foreign: list[str] = []
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda r: (
                None
                if r.url.startswith((address, "data:", "blob:", "ws:"))
                else foreign.append(r.url)
            ),
        )
        page.goto(address)
        upload = page.locator("#pictures input[type=file]")
        upload.wait_for(state="attached")
        upload.set_input_files([tmp_path / "good.jpg", tmp_path / "bad.jpg"])
        page.locator("#slider img").first.wait_for()
        page.get_by_text("Quality 12").wait_for()
        page.get_by_text("bad.jpg: not an image").wait_for()
        # Both pictures of the slider have come, in full.
        page.wait_for_function(
            "[...document.querySelectorAll('#slider img')]"
            ".filter(i => i.complete && i.naturalWidth === 300).length >= 2"
        )
        page.screenshot(path=shots / "page.png")
        with page.expect_download() as coming:
            page.locator("#restored a").first.click()
        coming.value.save_as(tmp_path / "got.png")
        assert read_image(tmp_path / "got.png").shape == (200, 300, 3)

        page.locator("#choice label", has_text="bad.jpg").click()
        page.get_by_text("Not restored:").wait_for()
        page.locator("#slider").wait_for(state="hidden")
        page.locator("#choice label", has_text="good.jpg").click()
        page.get_by_text("Quality 12").wait_for()
        page.screenshot(path=shots / "page_again.png")

        page.reload()
        upload.wait_for(state="attached")
        upload.set_input_files([tmp_path / "fat.jpg"])
        page.get_by_text("fat.jpg: larger than 1 MB").wait_for()
        page.set_viewport_size({"width": 390, "height": 844})
        page.screenshot(path=shots / "page_phone.png")
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
        assert not foreign
        assert not complaints
        context.close()
