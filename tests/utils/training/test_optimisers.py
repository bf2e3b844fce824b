"""utils/training/optimisers.py, utils/training/muon.py, utils/training/schedule.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.conftest import tiny_network
from utils.training.muon import Muon, orthogonalise
from utils.training.optimisers import build_optimisers, set_rate
from utils.training.schedule import OptimiserKind, Recipe, Schedule


def test_only_matrices_decay_and_muon_takes_inner_kernels() -> None:
    network = tiny_network()
    optimisers = build_optimisers(network, Recipe(steps=200, optimiser="muon"))
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    for name, weight in network.named_parameters():
        plain = "bias" in name or "norm" in name or "position" in name
        assert (id(weight) in decayed) == (not plain), name
    kernels = {id(p) for p in optimisers[1].param_groups[0]["params"]}
    names = {n for n, p in network.named_parameters() if id(p) in kernels}
    assert "backbone.body1.0.body.0.weight" in names
    assert "level_check.luma.from_neighbours.weight" in names
    assert not names & {"backbone.head.weight", "backbone.tail.weight"}
    assert not names & {"level_check.luma.own.weight", "level_check.chroma.change.weight"}
    set_rate(optimisers, 0.01)
    assert [g["lr"] for g in groups] == [0.01, 0.01, pytest.approx(0.004)]


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        ("adam", [torch.optim.Adam]),
        ("adamw", [torch.optim.AdamW]),
        ("muon", [torch.optim.AdamW, Muon]),
    ],
)
def test_every_weight_that_is_not_frozen_is_trained_once(
    kind: OptimiserKind, classes: list[type]
) -> None:
    network = tiny_network()
    network.logm.requires_grad_(False)
    optimisers = build_optimisers(network, Recipe(steps=200, optimiser=kind))
    assert [type(optimiser) for optimiser in optimisers] == classes
    trained = [id(p) for o in optimisers for group in o.param_groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (
            Schedule(100, None, 1.0, 9, cooldown_share=0.2),
            {0: 0.1, 8: 0.9, 9: 1.0, 50: 1.0, 80: 1.0, 90: 0.5, 99: 0.05},
        ),
        (
            Schedule(100, None, 2.0, 10, "cosine", final_share=0.1),
            {0: 2 / 11, 10: 2.0, 55: 1.1, 100: 0.2},
        ),
        (
            Schedule(100, None, 1.0, 0, "multistep", milestones=(10, 50), milestone_factor=0.1),
            {0: 1.0, 9: 1.0, 10: 0.1, 49: 0.1, 50: 0.01, 99: 0.01},
        ),
    ],
    ids=["trapezoid", "cosine", "multistep"],
)
def test_rates_follow_the_schedule(schedule: Schedule, rates: dict[int, float]) -> None:
    assert {step: schedule.rate(step) for step in rates} == pytest.approx(rates)


def test_by_the_clock_the_rate_falls_to_zero_at_the_end_however_fast_the_steps_go() -> None:
    schedule = Schedule(None, 60.0, 1.0, 9, cooldown_share=0.5)
    assert schedule.rate(0, 0.0) == pytest.approx(0.1)
    for step in (20, 2_000_000):
        assert [schedule.rate(step, minutes) for minutes in (20, 30, 45, 60, 70)] == pytest.approx(
            [1.0, 1.0, 0.5, 0.0, 0.0]
        )
    assert schedule.done(7, 59.0) < 1 <= schedule.done(7, 60.0)
    cosine = Schedule(None, 60.0, 1.0, 0, "cosine", final_share=0.1)
    assert [cosine.rate(5, minutes) for minutes in (0, 30, 60)] == pytest.approx([1.0, 0.55, 0.1])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"milestones": (5, 5)}, "increase"),
        ({"schedule": "multistep"}, "milestones"),
        ({"warmup_steps": 200}, "fewer"),
        ({"minutes": 5.0}, "not both"),
        ({"steps": None}, "steps or minutes"),
        (
            {"steps": None, "minutes": 5.0, "schedule": "multistep", "milestones": (5,)},
            "not minutes",
        ),
    ],
)
def test_impossible_schedules_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Schedule(**{"steps": 200, **wrong})  # type: ignore[arg-type]


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
