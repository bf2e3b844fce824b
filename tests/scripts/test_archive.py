"""An archive goes through in one command: what its files hold comes out again, or is named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data.jpeg import encode_jpeg
from models import save_checkpoint
from tests import metadata_files as made
from tests.conftest import ROOT, photograph, run_script, tiny_network
from tests.metadata_files import segment

FILM = b"\0\0\0\x10ftypmp42\0\0\0\0\0\0\x10\x08mdat" + bytes(4096)


def _fixture(name: str) -> Callable[[], bytes]:
    return (ROOT / "tests" / "fixtures" / name).read_bytes


def _gain_map() -> bytes:
    gain = encode_jpeg(photograph(24, 32)[:, :, 0], 70)
    said = segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x xmlns:h="ns.adobe.com/hdr-gain-map"/>')
    return made.jpeg() + gain[:2] + said + gain[2:]


ARCHIVE: dict[str, tuple[Callable[[], bytes], dict[str, list[str]]]] = {
    "utf8.jpg": (_fixture("utf8.jpg"), {}),
    "maker.jpg": (_fixture("makernote_synthetic.jpg"), {}),
    "badres.jpg": (_fixture("badres.jpg"), {}),
    "rational.jpg": (_fixture("exif_neg_rational_o6.jpg"), {}),
    "iptc.jpg": (_fixture("xmp_iptc.jpg"), {"webp": ["IPTC", "a comment"]}),
    "stereo.mpo": (
        _fixture("stereo.mpo"),
        {key: ["a further picture (64x48, 0.9 kB)"] for key in ("png", "webp", "jpg")},
    ),
    "gain.jpg": (_gain_map, {key: ["an HDR gain map (32x24, "] for key in ("png", "webp", "jpg")}),
    "moving.jpg": (
        lambda: made.jpeg() + FILM,
        {key: ["a film (motion photo, 4.1 kB)"] for key in ("png", "webp", "jpg")},
    ),
    "camera.jpg": (lambda: made.jpeg(made.exif_segment(made.exif(8, ">"))), {}),
    "long.jpg": (lambda: made.jpeg(made.extended_xmp_segments()), {}),
    "profile.jpg": (
        lambda: made.jpeg(made.profile_segments(made.profile(1_300_000))),
        {"png": ["the colour profile of 1.3 MB"]},
    ),
}
"""Files, and what of each is named as left out, by format."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for name, (make, _) in ARCHIVE.items():
        (folder / name).write_bytes(make())
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zoo") / "tiny.safetensors"
    model = tiny_network()
    model.start_from_jpeg()  # what comes out can be compared with other decoders
    save_checkpoint(model, path, half=True)
    return path


def _tags(paths: list[Path]) -> dict[str, dict[str, Any]]:
    """EXIF, makers' notes and XMP of each file, by its name without the suffix."""
    command = ["exiftool", "-j", "-a", "-b", "-G1", "-struct", *map(str, paths)]
    found = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    groups = ("IFD0:", "ExifIFD:", "GPS:", "Canon:", "XMP-", "ICC")
    return {
        Path(tags["SourceFile"]).stem: {k: v for k, v in tags.items() if k.startswith(groups)}
        for tags in found
    }


@pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="needs ExifTool (Debian: libimage-exiftool-perl)"
)
@pytest.mark.parametrize("file_format", ["png", "webp", "jpg"])
def test_an_archive(file_format: str, archive: Path, checkpoint: Path, tmp_path: Path) -> None:
    done = run_script(
        "test_real_IJCN.py",
        *("--input", archive, "--output", tmp_path / "out", "--checkpoint", checkpoint),
        *("--format", file_format, "--json", tmp_path / "report.json"),
    )
    assert done.returncode == 1, done.stderr
    assert f"{len(ARCHIVE)} of {len(ARCHIVE) + 1} files restored, 1 failed" in done.stdout
    rows = {
        Path(row["source"]).name: row
        for row in json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    }
    results = [tmp_path / "out" / Path(name).with_suffix(f".{file_format}") for name in ARCHIVE]
    before, after = _tags([archive / name for name in ARCHIVE]), _tags(results)
    for (name, (_, named)), result in zip(ARCHIVE.items(), results, strict=True):
        left_out = rows[name]["left_out"]
        wanted = named.get(file_format, [])
        assert len(left_out) == len(wanted), (name, left_out)
        for found, start in zip(left_out, wanted, strict=True):
            assert found.startswith(start)
            assert found in rows[name]["message"]
            assert found in done.stderr
        expected = before[result.stem]
        if expected.get("IFD0:Orientation", "Horizontal (normal)") != "Horizontal (normal)":
            expected["IFD0:Orientation"] = "Horizontal (normal)"
            width, height = "ExifIFD:ExifImageWidth", "ExifIFD:ExifImageHeight"
            if width in expected:
                expected[width], expected[height] = expected[height], expected[width]
        if "the colour profile of 1.3 MB" in left_out:
            expected = {k: v for k, v in expected.items() if not k.startswith("ICC")}
        assert after[result.stem] == expected
        with Image.open(archive / name) as one, Image.open(result) as other:
            one.seek(0)
            turn = one.getexif().get(0x0112, 1)
            shown = one.transpose(_TURNS[turn]) if turn in _TURNS else one
            pixels = [np.asarray(image.convert("RGB"), int) for image in (shown, other)]
        assert pixels[0].shape == pixels[1].shape
        assert np.abs(pixels[0] - pixels[1]).mean() < 6


_TURNS = {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
