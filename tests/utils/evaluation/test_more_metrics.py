"""Metrics on request: luma, and LPIPS and DISTS by a package."""

from __future__ import annotations

import math
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from data.degradation import SingleJpeg
from jobs import tables
from models import save_checkpoint
from tests.conftest import csv_rows, error_line, photograph, run_script, tiny_network
from utils.evaluation.learned_metrics import CLASSES, LearnedMetric, MetricError
from utils.evaluation.metrics import luma_studio_range, psnr_y, ssim_y
from utils.image_io import write_png


def test_luma_metrics_agree_with_scikit_image() -> None:
    original = photograph(40, 56)
    restored = SingleJpeg(20)(original).jpeg
    pair = {"restored": restored, "original": original}
    x, y = luma_studio_range(restored), luma_studio_range(original)
    assert psnr_y(**pair) == pytest.approx(peak_signal_noise_ratio(y, x, data_range=255))
    expected = structural_similarity(
        *(x, y), data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim_y(**pair) == pytest.approx(expected, abs=2e-3)  # its borders count too
    gray = {"restored": x, "original": y}
    assert psnr_y(**gray) == psnr_y(**pair)
    assert ssim_y(**gray) == ssim_y(**pair)
    tiny = photograph(9, 9)
    assert math.isnan(ssim_y(restored=tiny, original=tiny))
    assert psnr_y(restored=tiny, original=tiny) == math.inf


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i in range(2):
        write_png(tmp_path / "mine" / f"{i}.png", photograph(40, 48, seed=i))
    save_checkpoint(tiny_network(), tmp_path / "one.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(desk: Path, metrics: str) -> subprocess.CompletedProcess[str]:
    return run_script(
        *("test_color_IJCN.py", "--testsets", "mine"),
        *("--checkpoint", "one.safetensors", "--output", "out", "--device", "cpu"),
        *("--set", "qualities=30", f"metrics={metrics}"),
        cwd=desk,
    )


def jpeg_rows(desk: Path) -> Iterator[tuple[dict[str, str], dict[str, np.ndarray]]]:
    """Rows of the JPEG, and the pair of pictures that each is of."""
    for row in csv_rows(desk / "out" / "per_image.csv"):
        if row["method"] == "JPEG":
            original = photograph(40, 48, seed=int(row["image"]))
            yield row, {"restored": SingleJpeg(30)(original).jpeg, "original": original}


def test_more_columns_and_cells(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(desk, "[psnr,ssim,psnrb,psnr_y,ssim_y]")
    assert done.returncode == 0, done.stderr
    text = (desk / "out" / "summary.md").read_text()
    assert "PSNR (dB) / SSIM / PSNR-B (dB) / PSNR of luma (dB) / SSIM of luma, mean" in text
    for row, pair in jpeg_rows(desk):
        assert float(row["psnr_y"]) == pytest.approx(psnr_y(**pair), abs=1e-4)
        assert float(row["ssim_y"]) == pytest.approx(ssim_y(**pair), abs=1e-6)
    (jpeg,) = (r for r in csv_rows(desk / "out" / "summary.csv") if r["method"] == "JPEG")
    mean = np.mean([float(row["psnr_y"]) for row, _ in jpeg_rows(desk)])
    assert float(jpeg["psnr_y"]) == pytest.approx(mean, abs=1e-4)
    assert f"/ {mean:.2f} /" in text
    assert tables.main(["join", "out"]) == 0
    assert "PSNR of luma (dB)" in capsys.readouterr().out


def test_fewer_metrics(desk: Path) -> None:
    done = run(desk, "psnr")
    assert done.returncode == 0, done.stderr
    text = (desk / "out" / "summary.md").read_text()
    assert "PSNR (dB), mean over the images." in text
    assert not [line for line in text.splitlines() if line.startswith("| JPEG") and " / " in line]
    (jpeg, _) = csv_rows(desk / "out" / "summary.csv")
    assert (jpeg["ssim"], jpeg["psnrb"]) == ("nan", "nan")


@pytest.mark.parametrize("metrics", ["psnr,nice", "[psnr,psnr]", "[]"])
def test_unknown_metrics_are_one_line(desk: Path, metrics: str) -> None:
    assert f"--set metrics={metrics}: " in error_line(run(desk, metrics))
    assert not (desk / "out").exists()


FAKE = """
import torch

class LPIPS(torch.nn.Module):
    def forward(self, x, y):
        assert x.shape == y.shape == (1, 3, 40, 48) and 0 <= x.min() and x.max() <= 1
        return (x - y).abs().mean()

class DISTS(LPIPS):
    def __init__(self):
        raise OSError("<urlopen error no route to host>")
"""


def test_learned_metrics_are_those_of_the_package(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = types.ModuleType("piq")
    exec(FAKE, vars(fake))
    monkeypatch.setitem(sys.modules, "piq", fake)
    done = run(desk, "psnr,lpips")
    assert done.returncode == 0, done.stderr
    for row, pair in jpeg_rows(desk):
        difference = np.abs(pair["restored"].astype(float) - pair["original"]) / 255
        assert float(row["lpips"]) == pytest.approx(difference.mean(), abs=1e-6)
    done = run(desk, "dists")
    assert "downloads its weights at first use, which failed (<urlopen" in error_line(done)


def test_a_missing_package_is_one_line(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piq", None)
    done = run(desk, "psnr,lpips")
    assert 'install it: pip install -e ".[metrics]"' in error_line(done)
    assert not (desk / "out").exists()


@pytest.mark.parametrize("name", CLASSES)
def test_real_learned_metrics(name: str) -> None:
    pytest.importorskip("piq", reason="piq is an optional extra")
    try:
        metric = LearnedMetric(name)
    except MetricError as error:
        pytest.skip(str(error))
    original = photograph(64, 64)
    worse, better = (SingleJpeg(quality)(original).jpeg for quality in (5, 80))
    assert metric(restored=original, original=original) == pytest.approx(0, abs=1e-4)
    assert metric(restored=worse, original=original) > metric(restored=better, original=original)
    assert math.isnan(metric(restored=original[:20], original=original[:20]))
