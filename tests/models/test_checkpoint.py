"""Released and own checkpoints: round trips, and every way a file can be wrong."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from models import IJCN, CheckpointError, load_checkpoint, save_checkpoint
from models.checkpoint import read_notes, released_name_to_ours
from tests.conftest import GOLDEN, TINY, released_weights, tiny_network


def test_released_names_map_one_to_one_onto_ours() -> None:
    entries = json.loads((GOLDEN / "state_dict.json").read_text())
    ours = IJCN().state_dict()
    mapped = {released_name_to_ours(e["name"]): tuple(e["shape"]) for e in entries}
    assert len(entries) == 340
    assert mapped == {name: tuple(tensor.shape) for name, tensor in ours.items()}


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict"])
def test_wrapped_and_prefixed_state_dicts_load(tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "x.pth"
    torch.save({wrapper: {f"module.{k}": v for k, v in released_weights().items()}}, path)
    assert load_checkpoint(path).config.widths == (64, 256, 256)


@pytest.mark.parametrize(("name", "half"), [("tiny.safetensors", False), ("weights.pth", True)])
def test_own_checkpoint_rebuilds_variant_and_output(tmp_path: Path, name: str, half: bool) -> None:
    """Whatever its name: its kind is told by its content."""
    model = tiny_network()
    path = tmp_path / "new" / name
    save_checkpoint(model, path, half=half, notes={"run": "test"})
    loaded = load_checkpoint(path)
    assert loaded.config == TINY
    assert not loaded.training
    for key, tensor in model.state_dict().items():
        expected = tensor.half().float() if half else tensor
        assert torch.equal(loaded.state_dict()[key], expected)
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_the_same_network_is_the_same_bytes(tmp_path: Path) -> None:
    network, notes = tiny_network(), {f"note {i}": "x" for i in range(8)}
    for name in "abc":
        save_checkpoint(network, tmp_path / name, notes=dict(reversed(notes.items())))
        notes = dict(reversed(notes.items()))
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1
    assert read_notes(tmp_path / "a") | notes == read_notes(tmp_path / "a")


def test_pickled_code_is_never_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    path = tmp_path / "evil.pth"
    torch.save({"m_head.weight": Malicious()}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_weights_that_no_file_can_hold_are_not_written(tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        network.backbone.head.weight[0] = 1e9
    with pytest.raises(CheckpointError, match=r"backbone\.head\.weight.*save it in float32"):
        save_checkpoint(network, tmp_path / "x.safetensors", half=True)
    assert not list(tmp_path.iterdir())
    save_checkpoint(network, tmp_path / "x.safetensors")
    assert load_checkpoint(tmp_path / "x.safetensors").backbone.head.weight[0].eq(1e9).all()


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    network = tiny_network().double()
    with torch.no_grad():
        network.backbone.head.weight[0] = 1e60
    path = tmp_path / "x.safetensors"
    metadata = {"format": "ijcn-1", "ijcn_config": json.dumps(asdict(network.config))}
    safetensors.torch.save_file(network.state_dict(), path, metadata)
    assert "not finite numbers: backbone.head.weight" in _refusal(path)


def _refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "not found" in _refusal(tmp_path / "none.safetensors")
    assert "is a folder" in _refusal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, b"PK\x03\x04 not a zip"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_foreign_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    assert ("neither" if suffix == ".pth" else "not a whole") in _refusal(path)


def test_truncated_files(tmp_path: Path, released_file: Path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(released_file.read_bytes()[:1_000_000])
    assert "neither" in _refusal(cut)
    own = tmp_path / "own.safetensors"
    save_checkpoint(tiny_network(), own)
    own.write_bytes(own.read_bytes()[:5000])
    assert "not a whole" in _refusal(own)


@pytest.mark.parametrize(
    ("notes", "words"),
    [(None, "another project"), ({"format": "ijcn-1", "ijcn_config": '{"depth": 9}'}, "not know")],
)
def test_safetensors_of_other_networks(
    tmp_path: Path, notes: dict[str, str] | None, words: str
) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, notes)
    assert words in _refusal(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"m_head.0.weight": torch.zeros(3), "qf_pred.0.weight": torch.zeros(2)},
            "unknown weights",
        ),
        ([1, 2, 3], "neither"),
    ],
)
def test_foreign_state_dicts(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "fbcnn.pth")
    assert words in _refusal(tmp_path / "fbcnn.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"m_tail.bias": None}, "lacks: backbone.tail.bias"),
        ({"m_extra.weight": torch.zeros(1)}, "holds unknown weights: m_extra.weight"),
        ({"m_tail.bias": torch.zeros(4)}, "backbone.tail.bias is (4,), expected (3,)"),
        ({"m_tail.bias": torch.full((3,), float("nan"))}, "not finite"),
        ({"m_tail.bias": torch.ones(3).to_sparse()}, "is a sparse tensor; save it as a dense one"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, change: dict[str, Tensor | None], words: str
) -> None:
    weights = {**released_weights(), **change}
    torch.save({k: v for k, v in weights.items() if v is not None}, tmp_path / "x.pth")
    assert words in _refusal(tmp_path / "x.pth")
