"""utils/training.py and utils/muon.py: exact resumption, schedule, faults."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import tiny_network
from utils.muon import Muon, orthogonalise
from utils.training import (
    MAX_BAD_STEPS,
    STATE_FILE,
    Recipe,
    Schedule,
    Trainer,
    TrainingError,
    collate,
)

RECIPE = Recipe(
    schedule=Schedule(steps=12, peak=0.01, warmup_steps=2, cooldown_share=0.5),
    optimiser="muon",
    kernel_rate=0.5,
    weight_decay=0.01,
    betas=(0.9, 0.99),
    clip_norm=1.0,
    ema_decay=0.9,
    save_minutes=60.0,
    validate_steps=4,
)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Dropout(0.1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 3, 1)
    )


def _batch(step: int) -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))


def _loss(network: nn.Module, batch: Tensor) -> Tensor:
    return (network(batch) - batch[:, :, 2:-2, 2:-2]).square().mean()


def _trainer(folder: Path, recipe: Recipe = RECIPE, **changes: object) -> Trainer[Tensor]:
    folder.mkdir(exist_ok=True)
    parts: dict[str, object] = {
        "network": _network(),
        "batch": _batch,
        "loss": _loss,
        "validate": lambda network: {"gain": -_loss(network, _batch(0)).item()},
        "export": lambda network, stem: torch.save(network.state_dict(), folder / f"{stem}.pt"),
        **changes,
    }
    return Trainer(recipe=recipe, folder=folder, **parts)  # type: ignore[arg-type]


def _weights(trainer: Trainer[Tensor]) -> list[Tensor]:
    return [*trainer.network.state_dict().values(), *trainer.ema.state_dict().values()]


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, optimiser: str) -> None:
    recipe = replace(RECIPE, optimiser=optimiser)  # type: ignore[arg-type]
    whole = _trainer(tmp_path / "whole", recipe)
    torch.manual_seed(1)
    assert whole.fit().finished

    interrupted = _trainer(tmp_path / "parts", replace(recipe, max_minutes=0.0))
    torch.manual_seed(1)
    for step in range(1, 13):
        outcome = interrupted.fit()
        assert outcome.step == step
        interrupted = _trainer(tmp_path / "parts", replace(recipe, max_minutes=0.0))
        torch.manual_seed(99)  # resuming must bring the generator's state back
        assert interrupted.resume()
    assert outcome.finished
    for one, other in zip(_weights(whole), _weights(interrupted), strict=True):
        assert torch.equal(one, other)
    assert whole.best == interrupted.best
    gains = [
        [row.split(",")[2] for row in (tmp_path / name / "log.csv").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert gains[0] == gains[1]


def test_resumed_runs_follow_changed_options(tmp_path: Path) -> None:
    _trainer(tmp_path, replace(RECIPE, max_minutes=0.0)).fit()
    changed = _trainer(tmp_path, replace(RECIPE, weight_decay=0.3, kernel_rate=0.1))
    assert changed.resume()
    adamw, muon = changed.optimisers
    assert adamw.param_groups[0]["weight_decay"] == 0.3
    assert muon.param_groups[0]["weight_decay"] == 0.3
    assert muon.param_groups[0]["rate_factor"] == 0.1


def test_every_weight_is_trained_once_and_only_matrices_decay(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, network=tiny_network())
    groups = [group for optimiser in trainer.optimisers for group in optimiser.param_groups]
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in trainer.network.parameters())
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, weight in trainer.network.named_parameters():
        plain = "bias" in name or "norm" in name or "position" in name
        assert (id(weight) in decayed) == (not plain), name
    kernels = {id(p) for p in trainer.optimisers[1].param_groups[0]["params"]}
    names = {n for n, p in trainer.network.named_parameters() if id(p) in kernels}
    assert "backbone.body1.0.body.0.weight" in names
    assert not names & {"backbone.head.weight", "backbone.tail.weight"}


def test_training_learns_and_writes_log_and_weights(tmp_path: Path) -> None:
    recipe = replace(RECIPE, schedule=Schedule(200, 0.02, 10, 0.3), validate_steps=50)
    trainer = _trainer(tmp_path, recipe)
    before = _loss(trainer.ema, _batch(0)).item()
    trainer.fit()
    assert _loss(trainer.ema, _batch(0)).item() < 0.5 * before
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == "step,loss,gain"
    assert [line.split(",")[0] for line in lines[1:]] == ["50", "100", "150", "200"]
    assert {p.name for p in tmp_path.iterdir()} >= {"best.pt", "last.pt", STATE_FILE}


def test_damaged_state_falls_back_to_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = _trainer(tmp_path, replace(RECIPE, max_minutes=0.0))
    trainer.fit()
    trainer.fit()
    path = tmp_path / STATE_FILE
    path.write_bytes(path.read_bytes()[:1000])
    again = _trainer(tmp_path)
    assert again.resume()
    assert again.step == 1
    assert "cannot be used" in capsys.readouterr().out
    (tmp_path / "state.previous.pt").write_bytes(b"")
    with pytest.raises(TrainingError, match="no state"):
        _trainer(tmp_path).resume()


def test_log_rows_after_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, replace(RECIPE, max_minutes=0.0))
    for _ in range(5):
        trainer.fit()
    log = tmp_path / "log.csv"
    with log.open("a") as file:
        file.write("8,0.5,0.1\n")  # logged, but stopped before its state was saved
    _trainer(tmp_path).resume()
    assert [line.split(",")[0] for line in log.read_text().splitlines()] == ["step", "4"]


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert not _trainer(tmp_path).resume()


def test_non_finite_losses_are_skipped_then_stop_the_run(tmp_path: Path) -> None:
    def sometimes(network: nn.Module, batch: Tensor) -> Tensor:
        bad = batch.sum().item() == _batch(3).sum().item()
        return _loss(network, batch) * (math.nan if bad else 1.0)

    trainer = _trainer(tmp_path / "some", loss=sometimes)
    assert trainer.fit().finished
    assert trainer.skipped == 1
    assert all(w.isfinite().all() for w in _weights(trainer))

    always = _trainer(tmp_path / "all", loss=lambda n, b: _loss(n, b) * math.nan)
    with pytest.raises(TrainingError, match=f"{MAX_BAD_STEPS} times in a row"):
        always.fit()


def test_schedule_warms_up_stays_and_cools_down() -> None:
    schedule = Schedule(steps=100, peak=1.0, warmup_steps=9, cooldown_share=0.2)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == [1.0] * 71
    assert rates[90] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.06
    assert all(later >= 0 for later in rates)


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (32, 32)])
def test_orthogonalised_singular_values_are_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(-1, 1, shape[1]))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.shape == (min(shape),)
    assert values.max() < 1.4
    assert values.median() > 0.6


def test_muon_moves_against_the_gradient_and_decays() -> None:
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8, 4, 3, 3))
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight)
    Muon([weight], lr=0.1).step()
    assert ((weight - before) * weight.grad).sum() < 0
    rms = (weight - before).square().mean().sqrt().item()
    assert rms == pytest.approx(0.1 * 0.2, rel=0.3)
    weight.grad.zero_()
    decayed = nn.Parameter(before.clone())
    decayed.grad = torch.zeros_like(before)
    Muon([decayed], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(decayed.detach(), before * 0.95)


def test_collate_stacks_by_position() -> None:
    import numpy as np

    one, two = collate([(np.zeros(3), np.ones((2, 2))), (np.ones(3), np.ones((2, 2)))])
    assert one.shape == (2, 3)
    assert two.shape == (2, 2, 2)
