"""jobs/weights.py: a checkpoint made of others without training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs.weights import average, main
from models import load_checkpoint, save_checkpoint
from tests.conftest import refusal, tiny_network


def test_an_average_lies_between_its_parts_as_the_shares_say() -> None:
    parts = [tiny_network(seed) for seed in (1, 2)]
    mean = average(parts, (1, 3)).state_dict()
    for name, tensor in parts[0].state_dict().items():
        expected = 0.25 * tensor + 0.75 * parts[1].state_dict()[name]
        torch.testing.assert_close(mean[name], expected)
    alike = average([parts[0], parts[0]]).state_dict()
    torch.testing.assert_close(alike, parts[0].state_dict())


def test_the_command_averages_what_can_be_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, wide, mean = (tmp_path / f"{name}.safetensors" for name in ("1", "2", "w", "mean"))
    save_checkpoint(tiny_network(1), one)
    save_checkpoint(tiny_network(2), two)
    save_checkpoint(tiny_network(widths=(8, 16, 8)), wide)
    both, output = ("average", one, two), ("--output", mean)
    assert main([*map(str, both + output), "--half"]) == 0
    expected = average([load_checkpoint(one), load_checkpoint(two)]).half().float()
    torch.testing.assert_close(load_checkpoint(mean).state_dict(), expected.state_dict())
    assert mean.stat().st_size < one.stat().st_size
    capsys.readouterr()

    before = mean.read_bytes()
    assert "--overwrite" in refusal(main, capsys, *both, *output)
    assert mean.read_bytes() == before
    mean.unlink()
    assert "same variant" in refusal(main, capsys, "average", one, wide, *output)
    assert "one for each" in refusal(main, capsys, *both, *output, "--shares", 1)
    for share in (-1, "nan", "inf"):
        assert "must be positive" in refusal(main, capsys, *both, *output, "--shares", 1, share)
    assert not mean.exists()
