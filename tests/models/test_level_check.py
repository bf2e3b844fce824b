"""models/level_check.py: the restored picture against the levels that the file stores."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from data.degradation import SingleJpeg
from data.jpeg import Sampling
from models import load_checkpoint, save_checkpoint
from models.dct import CoefficientsToImage, block_dct, image_to_coefficients, luma_of, rgb_to_ycbcr
from models.ijcn import CHECK_SEES, LAST_STEPS, LastStep
from models.level_check import LevelCheck
from models.logm import Levels, dequantise
from models.restore.restorer import network_input
from tests.conftest import network_case, photograph, tiny_network


def _random(width: int = 8) -> LevelCheck:
    torch.manual_seed(0)
    check = LevelCheck(width)
    for plane in (check.luma, check.chroma):
        torch.nn.init.normal_(plane.change.weight, std=0.3)
    return check.requires_grad_(False)


def _offsets(tables: Tensor, y: Tensor, c: Tensor, image: Tensor) -> Tensor:
    """Distances of luma's coefficients from the stored levels, in steps."""
    return image_to_coefficients(image)[0] / tables[:, :1, None, None] - y


def test_a_fresh_check_changes_nothing_within_the_intervals() -> None:
    tables, y, c, clean = network_case(30)
    torch.testing.assert_close(LevelCheck(8)(tables, y, c, clean), clean, atol=1e-3, rtol=0)


def test_coefficients_end_within_a_step_of_the_level() -> None:
    """Whatever the weights and whatever the picture: the bound is not learned beyond that."""
    tables, y, c, clean = network_case(40)
    torch.manual_seed(0)
    wild = torch.rand_like(clean) * 0.6 + 0.2
    fresh = LevelCheck(8)
    assert _offsets(tables, y, c, wild).abs().max() > 3
    assert _offsets(tables, y, c, fresh(tables, y, c, wild)).abs().max() < 0.55
    check = _random()
    for plane in (check.luma, check.chroma):
        torch.nn.init.normal_(plane.reach.weight, std=30)
    result = check(tables, y, c, wild)
    assert 0.6 < _offsets(tables, y, c, result).abs().max() < 1.01


def _with_detail(sampling: Sampling) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tables, chroma detail, the JPEG's picture, and the stored chroma levels (as far as known)."""
    stored = SingleJpeg(90, sampling)(photograph(64, 128)).stored
    qts, y, c, detail = network_input(stored)
    assert detail is not None
    levels = dequantise(Levels(y.float(), c.float()), qts.float())
    chroma = torch.stack([torch.tensor(each.levels) for each in stored.components[1:]])[None]
    return qts.float(), detail, CoefficientsToImage().unclamped(*levels, detail), chroma


def test_chroma_at_full_resolution_stays_near_its_levels() -> None:
    keep_chroma = LevelCheck(8).keep_chroma
    tables, detail, jpeg, levels = _with_detail(Sampling.S444)
    torch.manual_seed(0)
    wild = torch.rand_like(jpeg) * 0.6 + 0.2
    kept = keep_chroma(tables, detail, jpeg, wild)

    def farthest(image: Tensor) -> float:
        chroma = block_dct(rgb_to_ycbcr(255 * image)[:, 1:] - 128) / tables[:, 1:, None, None]
        return (chroma - levels).abs().max().item()

    assert farthest(wild) > 3
    assert farthest(kept) < 0.3  # such an answer has nothing to do with the file
    torch.testing.assert_close(luma_of(kept), luma_of(wild), atol=1e-5, rtol=0)
    torch.testing.assert_close(keep_chroma(tables, detail, jpeg, kept), kept, atol=1e-5, rtol=0)
    one_off = jpeg / 255
    one_off[:, 2, 8:16, 8:16] += 0.2  # blue of one block: mostly the DC of its Cb
    kept = keep_chroma(tables, detail, jpeg, one_off)
    assert farthest(one_off) > 1
    assert 0.4 < farthest(kept) < 0.6
    outside = torch.ones(64, 128, dtype=torch.bool)
    outside[8:16, 8:16] = False
    torch.testing.assert_close(kept[..., outside], one_off[..., outside], atol=1e-5, rtol=0)
    near = (jpeg / 255).clamp(0, 1)  # the decoded picture, but for colours beyond RGB
    torch.testing.assert_close(keep_chroma(tables, detail, jpeg, near), near, atol=2e-2, rtol=0)


def test_chroma_that_is_not_stored_so_is_left_alone() -> None:
    """4:2:2 holds other blocks; a batch may hold 4:2:0 pictures too, whose detail is zero."""
    keep_chroma = LevelCheck(8).keep_chroma
    tables, detail, jpeg, _ = _with_detail(Sampling.S422)
    wild = torch.rand_like(jpeg)
    assert torch.equal(keep_chroma(tables, detail, jpeg, wild), wild)
    tables, detail, jpeg, _ = _with_detail(Sampling.S444)
    assert torch.equal(keep_chroma(tables, torch.zeros_like(detail), jpeg, wild), wild)


def test_a_network_with_a_fresh_check_only_clips() -> None:
    network = tiny_network(level_check=None, confidence=None)
    longer = network.with_steps(level_check=16)
    assert longer.config.level_check == 16
    assert not longer.training
    tables, y, c, _ = network_case(30)
    before = network(tables, y, c).image.clamp(0, 1)
    after = longer(tables, y, c).image
    outside = _offsets(tables, y, c, before).abs() > 0.52
    assert outside.any()
    unchanged = (_offsets(tables, y, c, before) - _offsets(tables, y, c, after)).abs()
    assert unchanged[~outside].max() < 0.01
    assert _offsets(tables, y, c, after).abs().max() < 0.55


@pytest.mark.parametrize("step", LAST_STEPS)
def test_a_wider_last_step_begins_with_what_the_narrower_one_knows(step: LastStep) -> None:
    network = tiny_network(**{step: 8})
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    wider = network.with_steps(**{step: 24})
    assert getattr(wider.config, step) == 24
    case = network_case(30)[:3]
    torch.testing.assert_close(wider(*case).image, network(*case).image)
    wider(*case).image.square().sum().backward()
    new = [part.grad[..., 8:] for part in getattr(wider, step).parameters() if part.dim() == 2]
    assert all(gradient.abs().max() > 0 for gradient in new)  # and it can learn more


def test_files_from_before_the_bound_can_be_loaded(tmp_path: Path) -> None:
    network = tiny_network()
    assert network.level_check is not None
    save_checkpoint(network, tmp_path / "new.safetensors")
    with safetensors.safe_open(tmp_path / "new.safetensors", "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        notes = file.metadata()
    old = {name: tensor for name, tensor in weights.items() if ".reach." not in name}
    assert len(old) == len(weights) - 4
    safetensors.torch.save_file(old, tmp_path / "old.safetensors", notes)
    loaded = load_checkpoint(tmp_path / "old.safetensors")
    assert loaded.level_check is not None
    fresh = LevelCheck(8)
    assert torch.equal(loaded.level_check.luma.reach.bias, fresh.luma.reach.bias)
    assert torch.equal(
        loaded.level_check.luma.change.weight, network.level_check.luma.change.weight
    )


def test_levels_that_were_not_stored_say_nothing() -> None:
    """Those of a layout brought to 4:2:0 are not whole numbers, see models.restore.layouts."""
    tables, y, c, clean = network_case(20)
    check = _random()
    luma, chroma = image_to_coefficients(clean)
    changed_luma, changed_chroma = image_to_coefficients(check(tables, y, c + 0.25, clean))
    assert (changed_luma - luma).abs().max() > 1
    torch.testing.assert_close(changed_chroma, chroma, atol=0.05, rtol=0)
    unchanged = check(tables, y + 0.25, c + 0.25, clean)
    torch.testing.assert_close(unchanged, clean, atol=1e-5, rtol=0)


def test_changes_are_measured_in_steps_of_the_table() -> None:
    """A step of 1 allows changes a tenth as large as one of 10."""
    check = _random()
    clean = torch.full((1, 3, 64, 64), 128 / 255)
    flat = torch.zeros(1, 1, 8, 8, 8, 8), torch.zeros(1, 2, 4, 4, 8, 8)
    with torch.no_grad():
        for plane in (check.luma, check.chroma):
            plane.from_tables.weight.zero_()
    sizes = [
        (check(torch.full((1, 3, 8, 8), step), *flat, clean) - clean).abs().max().item()
        for step in (1.0, 10.0)
    ]
    assert sizes[1] == pytest.approx(10 * sizes[0], rel=0.01)


def test_a_part_of_the_picture_gives_the_part_of_the_result() -> None:
    """It sees 58 pixels: a block of chroma, and from there five of luma; fewer than the halo."""
    tables, y, c, clean = network_case(20, 256)
    check = _random()
    whole = check(tables, y, c, clean)[:, :, CHECK_SEES:-CHECK_SEES, CHECK_SEES:-CHECK_SEES]
    rows = slice(4, 24), slice(2, 12), slice(32, 192)  # luma, chroma, pixels
    part = check(tables, *(x[:, :, r] for x, r in zip((y, c, clean), rows, strict=True)))
    torch.testing.assert_close(
        part[:, :, 64:96, CHECK_SEES:-CHECK_SEES], whole[:, :, 32:64], atol=1e-5, rtol=0
    )


def test_it_learns_to_stay_within_the_intervals() -> None:
    """Answers that err at random lie outside the intervals often: most of that can be undone."""
    torch.manual_seed(0)
    cases = [network_case(quality, seed=seed) for seed in range(4) for quality in (10, 20)]
    tables, y, c, clean = (torch.cat(parts) for parts in zip(*cases, strict=True))
    check = LevelCheck(8)
    optimiser = torch.optim.Adam(check.parameters(), 5e-3)

    def error(answer: Tensor) -> Tensor:
        return (check(tables, y, c, answer) - clean).square().mean()

    def answers() -> Tensor:
        return (clean + 0.04 * torch.randn_like(clean)).clamp(0, 1)

    before = error(answers()).item()
    for _ in range(60):
        optimiser.zero_grad()
        error(answers()).backward()
        optimiser.step()
    assert error(answers()).item() < 0.9 * before
