"""models/slimming.py and `python -m jobs.weights`: checkpoints made of others without training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from data.jpeg import encode_jpeg, read_jpeg
from jobs.weights import main
from models import IJCN, Restorer, load_checkpoint, save_checkpoint
from models.blocks import ResidualBlock
from models.slimming import average, inner_activity, slimmed
from tests.conftest import photograph, tiny_network
from utils.image_io import write_png


def restored(network: IJCN) -> Any:
    restorer = Restorer(network, device="cpu", precision="float32")
    return restorer.restore(read_jpeg(encode_jpeg(photograph(64, 128), 20)))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line on stderr of a command that ends with a usage error."""
    assert main([*map(str, arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def blocks(network: IJCN) -> list[ResidualBlock]:
    return [m for m in network.modules() if isinstance(m, ResidualBlock)]


def test_an_average_lies_between_its_parts_as_the_shares_say() -> None:
    parts = [tiny_network(seed) for seed in (1, 2)]
    mean = average(parts, (1, 3)).state_dict()
    for name, tensor in parts[0].state_dict().items():
        expected = 0.25 * tensor + 0.75 * parts[1].state_dict()[name]
        torch.testing.assert_close(mean[name], expected)
    alike = average([parts[0], parts[0]]).state_dict()
    torch.testing.assert_close(alike, parts[0].state_dict())


def test_what_cannot_be_averaged_is_refused() -> None:
    one = tiny_network()
    with pytest.raises(ValueError, match="same variant"):
        average([one, tiny_network(widths=(8, 16, 8))])
    with pytest.raises(ValueError, match="one for each"):
        average([one, one], [1.0])
    with pytest.raises(ValueError, match="positive"):
        average([one, one], [1.0, -1.0])


@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_slimming_drops_what_does_nothing(activation: str) -> None:
    network = tiny_network(activation=activation)
    with torch.no_grad():
        for block in blocks(network):
            block.body[0].weight[3:5] = 0  # constant channels: only the bias passes
    expected = restored(network)
    with inner_activity(network.backbone) as activity:
        restored(network)
    slim = slimmed(network, (6, 6, 6), activity)
    assert slim.config == dataclasses.replace(network.config, inner_widths=(6, 6, 6))
    assert {b.body[0].out_channels for b in blocks(slim)} == {6}
    inside = (slice(16, -16), slice(16, -16))  # at borders zero padding ends a constant
    difference = abs(restored(slim)[inside].astype(int) - expected[inside].astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_slimming_keeps_the_channels_that_matter() -> None:
    network = tiny_network(activation="prelu")  # a random ReLU may never be active
    with torch.no_grad():
        for block in blocks(network):
            block.body[2].weight[:, :4] *= 1e-3
    with inner_activity(network.backbone) as activity:
        restored(network)
    slim = slimmed(network, (4, 4, 4), activity)
    for narrow, wide in zip(blocks(slim), blocks(network), strict=True):
        torch.testing.assert_close(narrow.body[0].weight, wide.body[0].weight[4:])
        torch.testing.assert_close(narrow.body[2].weight, wide.body[2].weight[:, 4:])
    with pytest.raises(ValueError, match="cannot grow"):
        slimmed(slim, (4, 8, 4), activity)


def test_watching_ends_with_its_context() -> None:
    network = tiny_network()
    with inner_activity(network.backbone) as activity:
        pass
    restored(network)
    assert activity == {}
    assert not any(block.body[1]._forward_hooks for block in blocks(network))


def test_the_command_averages_and_slims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        save_checkpoint(tiny_network(seed), tmp_path / f"{seed}.safetensors")
    (tmp_path / "images").mkdir()
    for index in range(3):
        write_png(tmp_path / "images" / f"{index}.png", photograph(70, 90))
    both = [tmp_path / f"{seed}.safetensors" for seed in (1, 2)]
    mean, slim = tmp_path / "new" / "mean.safetensors", tmp_path / "slim.safetensors"
    assert main(["average", *map(str, both), "--output", str(mean)]) == 0
    torch.testing.assert_close(
        load_checkpoint(mean).state_dict(),
        average([load_checkpoint(p) for p in both]).state_dict(),
    )
    slimming = ["slim", str(mean), "--inner_widths", "8", "4", "8", "--half"]
    images, output = ["--images", tmp_path / "images"], ["--output", slim]
    assert main([*slimming, *map(str, images + output)]) == 0
    assert load_checkpoint(slim).config.inner_widths == (8, 4, 8)
    assert slim.stat().st_size < mean.stat().st_size
    capsys.readouterr()

    before = slim.read_bytes()
    assert "--overwrite" in refusal(capsys, *slimming, *images, *output)
    assert slim.read_bytes() == before
    output = ["--output", tmp_path / "other.safetensors"]
    no_images = ["--images", tmp_path / "new"]
    assert "no images in" in refusal(capsys, *slimming, *no_images, *output)
    assert "same variant" in refusal(capsys, "average", both[0], slim, *output)
