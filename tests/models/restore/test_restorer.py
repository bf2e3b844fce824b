"""models/restore/restorer.py: any size, precision, faults; layouts are in test_layouts.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.degradation import SingleJpeg
from data.jpeg import JpegImage, Sampling, decode_jpeg, encode_jpeg, read_jpeg
from models.dual_attention import ChannelLogits
from models.logm import Levels
from models.qtgm import GuidancePair
from models.restore.layouts import RestoreError
from models.restore.restorer import Precision, Restorer, network_input, pick_device, pick_precision
from models.restore.tiling import MIN_SIDE
from tests.conftest import photograph, tiny_network, tiny_restorer
from utils.evaluation.metrics import psnr
from utils.image_io import ImageError, write_png


def test_the_input_is_left_alone_and_no_gradients_are_recorded() -> None:
    stored = SingleJpeg(30)(photograph(64, 64)).stored
    before = stored.components[0].levels.copy()
    restorer = tiny_restorer()
    recorded: list[bool] = []
    restorer.model.backbone.register_forward_hook(
        lambda module, inputs, out: recorded.append(out.requires_grad)
    )
    restorer.restore(stored)
    assert recorded == [False]
    assert np.array_equal(stored.components[0].levels, before)


@pytest.mark.parametrize(
    ("precision", "activation"), [("bfloat16", "relu"), ("bfloat16", "prelu"), ("float16", "relu")]
)
def test_half_precision_is_close_to_float32(precision: Precision, activation: str) -> None:
    stored = SingleJpeg(30)(photograph(96, 96)).stored
    model = tiny_network(activation=activation)
    exact = Restorer(model, "cpu", "float32").restore(stored)
    half = Restorer(model, "cpu", precision).restore(stored)
    assert psnr(restored=half, original=exact) > 50


@pytest.mark.parametrize(
    "failure",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: no")],
)
def test_lack_of_memory_is_one_line(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = tiny_restorer()
    sides: list[int] = []

    def fails(stored: object, side: int) -> None:
        sides.append(side)
        raise failure

    monkeypatch.setattr(restorer, "restore_in_tiles", fails)
    with pytest.raises(RestoreError, match="64x1300 YCbCr 4:2:0: not enough memory"):
        restorer.restore(SingleJpeg(30)(photograph(1300, 64)).stored)
    assert sides == [1344, 672, 336, 256]
    monkeypatch.setattr(restorer, "restore_in_tiles", lambda *inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        restorer.restore(SingleJpeg(30)(photograph(64, 64)).stored)


def test_devices_and_their_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cpu", "cuda")
    assert pick_precision("auto", pick_device("cpu")) in (torch.float32, torch.bfloat16)
    assert pick_precision("float32", pick_device("cpu")) == torch.float32
    with pytest.raises(ValueError, match="precision fp16: expected auto, float32"):
        pick_precision("fp16", pick_device("cpu"))  # type: ignore[arg-type]
    for passes in (0, 3, 8, None):
        with pytest.raises(ValueError, match="expected 1, 2 or 4"):
            tiny_restorer(ensemble=passes)
    with pytest.raises(ValueError, match="device gpu: expected auto, cpu, cuda"):
        pick_device("gpu")
    with monkeypatch.context() as one:
        one.setattr(torch.cuda, "device_count", lambda: 1)
        for wanted in ("cuda:1", "cuda:128", "cuda:256"):  # PyTorch keeps 8 bits of the number
            with pytest.raises(ValueError, match=f"device {wanted}: "):
                pick_device(wanted)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA GPU"):
            pick_device("cuda")


@pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444, None])
def test_tiles_agree_with_the_whole(sampling: Sampling | None) -> None:
    """None: gray."""
    picture = photograph(330, 410) if sampling else photograph(330, 410)[:, :, 0]
    stored = read_jpeg(encode_jpeg(picture, 30, sampling or Sampling.S420))
    restorer = tiny_restorer()
    whole = restorer.restore_in_tiles(stored, 1000)
    for side in (64, 200):
        difference = np.abs(restorer.restore_in_tiles(stored, side).astype(int) - whole)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


@pytest.mark.parametrize("sampling", [Sampling.S420, Sampling.S444, Sampling.S411])
def test_no_colour_in_no_colour_out(sampling: Sampling) -> None:
    """A gray picture that is stored in colour: every chroma level is zero."""
    gray = np.repeat(photograph(150, 200)[:, :, :1], 3, axis=2)
    stored = read_jpeg(encode_jpeg(gray, 10, sampling))
    assert not stored.components[1].levels.any()
    restorer = tiny_restorer(leave_fine=False)
    for picture in (restorer.restore(stored), restorer.restore_in_tiles(stored, 64)):
        assert picture.shape == gray.shape
        assert np.ptp(picture, axis=2).max() == 0
    colored = gray.copy()
    colored[:40, :40, 0] //= 2
    stored = read_jpeg(encode_jpeg(colored, 10, sampling))
    assert np.ptp(restorer.restore(stored), axis=2).max() > 0


def test_little_memory_means_small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = read_jpeg(encode_jpeg(photograph(600, 900), 30))
    sides: list[int] = []
    monkeypatch.setattr(Restorer, "restore_in_tiles", lambda self, stored, side: sides.append(side))
    for gib in (8.0, 0.4, 0.0):
        model = tiny_network(widths=(64, 8, 8))
        Restorer(model, precision="bfloat16", max_memory=gib).restore(stored)
    Restorer(tiny_network()).restore(stored)
    assert sides[0] == 960  # the padded picture in one piece
    assert sides[0] > sides[1] > sides[2] == MIN_SIDE
    assert sides[3] == 960


@pytest.mark.parametrize("logits", ["sum", "mean"])
@pytest.mark.parametrize("strip", [4, 12])
def test_logm_in_strips_equals_logm_at_once(logits: ChannelLogits, strip: int) -> None:
    model = tiny_network(channel_logits=logits, attention_depth=3)
    qts, y, c, _ = network_input(read_jpeg(encode_jpeg(photograph(250, 130), 20)))
    with torch.inference_mode():
        whole = model.logm(qts.float(), Levels(y.float(), c.float()))
        parts = model.logm(qts.float(), Levels(y.float(), c.float()), strip)
    torch.testing.assert_close(parts.y, whole.y, atol=1e-5, rtol=0)
    torch.testing.assert_close(parts.c, whole.c, atol=1e-5, rtol=0)
    assert not torch.equal(whole.y, y.float())


def _jpegs() -> list[JpegImage]:
    pictures = [photograph(50, 70, seed=1), photograph(64, 65, seed=2), photograph(200, 60)]
    stored = [read_jpeg(encode_jpeg(each, 30)) for each in pictures]
    stored.append(read_jpeg(encode_jpeg(pictures[0][:, :, 0], 20)))
    stored.append(read_jpeg(encode_jpeg(pictures[0], 40, Sampling.S444)))
    stored.append(read_jpeg(encode_jpeg(pictures[1], 60, Sampling.S444)))
    return stored


@pytest.mark.parametrize("batches", [False, True])
def test_batches_give_what_single_pictures_give(
    batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = tiny_restorer()
    restorer.batches = batches
    sizes: list[int] = []
    corrected = restorer.model.corrected
    monkeypatch.setattr(
        restorer.model,
        "corrected",
        lambda qts, *args, **kwargs: sizes.append(len(qts)) or corrected(qts, *args, **kwargs),
    )
    stored = _jpegs()
    results = restorer.restore_batch(stored)
    assert sorted(sizes) == ([1, 2, 3] if batches else [1] * 6)
    for each, result in zip(stored, results, strict=True):
        alone = restorer.restore(each)
        assert alone.shape == result.shape
        assert np.abs(alone.astype(int) - result).max() <= 1
        assert (alone != result).mean() < 1e-3


def test_batches_are_cut_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = tiny_restorer()
    restorer.batches = True
    stored = [read_jpeg(encode_jpeg(photograph(60, 60, seed=i), 30)) for i in range(3)]
    whole = restorer.restore_batch(stored)
    guidance = restorer.model.guidance
    sizes: list[int] = []

    def two_are_too_many(tables: torch.Tensor) -> GuidancePair:
        sizes.append(len(tables))
        if len(tables) > 1:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return guidance(tables)

    monkeypatch.setattr(restorer.model, "guidance", two_are_too_many)
    again = restorer.restore_batch(stored)
    assert sizes == [3, 1, 1, 1]
    for one, other in zip(whole, again, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_files_bytes_and_pixels(tmp_path: Path) -> None:
    restorer = tiny_restorer()
    picture = photograph(50, 70)
    data = encode_jpeg(picture, 30)
    expected = restorer.restore(read_jpeg(data))
    (tmp_path / "a.jpg").write_bytes(data)
    assert np.array_equal(restorer.restore_file(tmp_path / "a.jpg"), expected)
    assert np.array_equal(restorer.restore_file(str(tmp_path / "a.jpg")), expected)
    assert np.array_equal(restorer.restore_bytes(data), expected)
    write_png(tmp_path / "a.png", decode_jpeg(data))
    assert restorer.restore_file(tmp_path / "a.png").shape == (50, 70, 3)
    assert restorer.restore_pixels(picture[:, :, 0].copy()).shape == (50, 70)
    assert np.array_equal(restorer.restore_bytes(memoryview(data)), expected)  # type: ignore[arg-type]
    for wrong in (
        *(picture / 255, picture[:, :, :1], picture[:0], picture > 9, picture[None]),
        picture[0, 0],
    ):
        with pytest.raises(ValueError, match=r"pixels must be uint8, \(H, W, 3\) or \(H, W\)"):
            restorer.restore_pixels(wrong)
    with pytest.raises(ValueError, match="NumPy array, not list"):
        restorer.restore_pixels([1])  # type: ignore[arg-type]
    for known in (decode_jpeg(data), picture):  # a JPEG's pixels, and others
        for quality in (0, 101, 50.5):
            with pytest.raises(ValueError, match="from 1 to 100"):
                restorer.restore_pixels(known, quality)  # type: ignore[arg-type]
    same = tiny_restorer(strength=0).restore_pixels(picture)
    assert np.array_equal(same, picture)
    assert not np.shares_memory(same, picture)

    exif = Image.Exif()
    exif[0x0112] = 6
    payload = exif.tobytes()
    segment = b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload
    (tmp_path / "turned.jpg").write_bytes(data[:2] + segment + data[2:])
    turned = restorer.restore_file(tmp_path / "turned.jpg")
    assert np.array_equal(turned, np.rot90(expected, -1))

    (tmp_path / "no.jpg").write_bytes(b"hello")
    with pytest.raises(ImageError, match=r"no\.jpg.*not an image"):
        restorer.restore_file(tmp_path / "no.jpg")
    with pytest.raises(OSError, match="missing"):
        restorer.restore_file(tmp_path / "missing.jpg")


@pytest.mark.parametrize("kind", [torch.float16, torch.float64])
def test_networks_of_other_numbers_are_brought_to_float32(kind: torch.dtype) -> None:
    stored = SingleJpeg(30)(photograph(64, 64)).stored
    model = tiny_network().half()
    expected = Restorer(tiny_network().half().float(), "cpu", "float32").restore(stored)
    assert np.array_equal(Restorer(model.to(kind), "cpu", "float32").restore(stored), expected)


def test_without_a_compiler_it_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(self: torch.nn.Module, **options: object) -> None:
        def fails(*inputs: object) -> None:
            raise RuntimeError("no C++ compiler found\nand more")

        self._compiled_call_impl = fails

    monkeypatch.setattr(torch.nn.Module, "compile", no_compiler)
    stored = SingleJpeg(30)(photograph(64, 64)).stored
    image = tiny_restorer(compile=True).restore(stored)
    assert capsys.readouterr().err == "going on without torch.compile: no C++ compiler found\n"
    assert np.array_equal(image, tiny_restorer().restore(stored))


def test_an_ensemble_treats_mirrored_pictures_alike() -> None:
    picture = photograph(64, 128)
    # The last steps see the grid too.
    model = tiny_network(channel_logits="mean", level_check=None, confidence=None)
    with torch.no_grad():  # LOGM sees the grid, not the mirror: leave the backbone alone
        model.logm.attention.out.weight.zero_()
    alone, together = (Restorer(model, "cpu", "float32", ensemble=n) for n in (1, 4))
    upright, mirrored = (
        read_jpeg(encode_jpeg(np.ascontiguousarray(p), 30, Sampling.S444))
        for p in (picture, picture[::-1, ::-1])
    )

    def asymmetry(restorer: Restorer) -> float:
        one, other = restorer.restore(upright), restorer.restore(mirrored)[::-1, ::-1]
        return float(np.abs(one.astype(int) - other).mean())

    assert asymmetry(together) < 0.02 < 0.2 < asymmetry(alone)
