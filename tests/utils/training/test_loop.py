"""utils/training/loop.py: exact resumption, accumulation, faults, what a run leaves behind."""

from __future__ import annotations

import copy
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import csv_rows
from utils.training import loop as training
from utils.training.loop import (
    MAX_BAD_STEPS,
    Loss,
    Trainer,
    TrainingError,
    Validated,
)
from utils.training.profile import PROFILE_FILE
from utils.training.record import RunRecord
from utils.training.schedule import Recipe
from utils.training.state import STATE_FILE

RECIPE = Recipe(
    steps=12,
    learning_rate=0.01,
    warmup_steps=2,
    cooldown_share=0.5,
    optimiser="muon",
    kernel_rate=0.5,
    weight_decay=0.01,
    ema_decay=0.9,
)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Dropout(0.1), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 3, 1)
    )


def _batch(step: int) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))


def _batches(parts: int) -> Callable[[int], Iterator[Tensor]]:
    def start(step: int) -> Iterator[Tensor]:
        while True:
            yield from _batch(step).chunk(parts)
            step += 1

    return start


def _error(network: nn.Module, batch: Tensor) -> Tensor:
    return (network(batch) - batch[:, :, 2:-2, 2:-2]).square().mean()


def _loss(network: nn.Module, batch: Tensor) -> Loss:
    error = _error(network, batch)
    return Loss(error, {"error": error.detach()})


def _validate(network: nn.Module) -> Validated:
    gain = -_error(network, _batch(0)).item()
    return Validated({"gain": gain}, {"picture": np.zeros((4, 4, 3), np.uint8)})


def _trainer(folder: Path, recipe: Recipe = RECIPE, **changes: object) -> Trainer[Tensor]:
    folder.mkdir(exist_ok=True)
    parts: dict[str, object] = {
        "network": _network(),
        "batches": _batches(recipe.accumulate),
        "crops": 4,
        "loss": _loss,
        "validate": _validate,
        "export": lambda network, stem: torch.save(network.state_dict(), folder / f"{stem}.pt"),
        "record": RunRecord(folder, tensorboard=False),
        "save_minutes": 60.0,
        "report_steps": 3,
        "validate_steps": 4,
        **changes,
    }
    return Trainer(recipe=recipe, folder=folder, **parts)  # type: ignore[arg-type]


def _weights(trainer: Trainer[Tensor]) -> list[Tensor]:
    return [*trainer.network.state_dict().values(), *trainer.ema.state_dict().values()]


def _column(path: Path, name: str) -> list[str]:
    return [row[name] for row in csv_rows(path)]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "muon"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, optimiser: str) -> None:
    recipe = replace(RECIPE, optimiser=optimiser)  # type: ignore[arg-type]
    whole = _trainer(tmp_path / "whole", recipe)
    assert whole.fit()

    interrupted = _trainer(tmp_path / "parts", recipe, max_minutes=0.0)
    for step in range(1, 13):
        finished = interrupted.fit()
        assert interrupted.step == step
        interrupted = _trainer(tmp_path / "parts", recipe, max_minutes=0.0)
        torch.manual_seed(99)  # a resumed run must not depend on the generator it finds
        assert interrupted.resume()
    assert finished
    for one, other in zip(_weights(whole), _weights(interrupted), strict=True):
        assert torch.equal(one, other)
    assert whole.best == interrupted.best
    one, two = (csv_rows(tmp_path / name / "validation.csv") for name in ("whole", "parts"))
    assert one == two


def test_making_the_data_is_no_training_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Clock(1.0)
    monkeypatch.setattr(training, "time", clock)

    def batches(step: int) -> Iterator[Tensor]:
        clock.now += 3600.0
        return _batches(1)(step)

    trainer = _trainer(tmp_path / "slow", batches=batches, max_minutes=10.0)
    assert trainer.fit()
    assert trainer.step == RECIPE.steps
    assert trainer.minutes < 10


class _Clock:
    """Stands in for the time module: every look at it takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 0.0
        self.perf_counter = time.perf_counter

    def monotonic(self) -> float:
        self.now += self.seconds
        return self.now


@pytest.mark.parametrize("seconds", [1.0, 7.0])
def test_a_run_of_minutes_ends_on_time_in_parts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(training, "time", _Clock(seconds))
    recipe = replace(RECIPE, steps=None, minutes=4.0)
    parts = 0
    while True:
        trainer = _trainer(tmp_path, recipe, report_steps=1, max_minutes=1.0)
        assert trainer.resume() == (parts > 0)
        parts += 1
        if trainer.fit():
            break
    assert 4 <= parts <= 5
    assert 4 <= trainer.minutes <= 4 + 10 * seconds / 60
    rates = [float(rate) for rate in _column(tmp_path / "train.csv", "learning_rate")]
    assert max(rates) == 0.01
    assert rates[-1] < 0.01 * 10 * seconds / 120
    assert _column(tmp_path / "validation.csv", "step")[-1] == str(trainer.step)
    assert _trainer(tmp_path, recipe).resume()


@pytest.mark.parametrize("save_minutes", [0.0, 60.0])
def test_a_run_that_is_killed_in_its_last_validation_is_not_finished(
    tmp_path: Path, save_minutes: float
) -> None:
    calls = []

    def killed(network: nn.Module) -> Validated:
        calls.append(1)
        if len(calls) == 3:  # at steps 4, 8 and 12
            raise SystemExit
        return _validate(network)

    with pytest.raises(SystemExit):
        _trainer(tmp_path, validate=killed, save_minutes=save_minutes).fit()
    again = _trainer(tmp_path)
    assert again.resume()
    assert again.fit()
    assert _column(tmp_path / "validation.csv", "step") == ["4", "8", "12"]
    assert (tmp_path / "last.pt").exists()


@pytest.mark.parametrize("written", [False, True])
def test_a_validation_in_which_a_run_was_killed_is_made_later(
    tmp_path: Path, written: bool
) -> None:
    """Before or after its figures were recorded."""
    calls = []

    def killed(network: nn.Module) -> Validated:
        calls.append(1)
        if len(calls) == 2 and not written:
            raise SystemExit
        return _validate(network)

    def unlucky(network: nn.Module, stem: str) -> None:
        if len(calls) == 2:
            raise SystemExit

    changes: dict[str, object] = {"validate": killed, "save_minutes": 0.0}
    if written:
        changes |= {"validate": lambda net: calls.append(1) or Validated({"gain": len(calls)}, {})}
        changes |= {"export": unlucky}
    with pytest.raises(SystemExit):
        _trainer(tmp_path, **changes).fit()
    again = _trainer(tmp_path)
    assert again.resume()
    assert again.step == 8
    assert again.fit()
    assert _column(tmp_path / "validation.csv", "step") == ["4", "8", "12"]


def test_a_validation_that_may_have_been_made_is_made_again(tmp_path: Path) -> None:
    """Its row is there, but not the state after it."""
    steps = []

    def batches(step: int) -> Iterator[Tensor]:
        for batch in _batches(1)(step):
            steps.append(1)
            if len(steps) == 9:
                raise SystemExit
            yield batch

    falling = iter((3.0, 2.0, 1.0))
    changes: dict[str, object] = {"batches": batches, "save_minutes": 60.0}
    changes["validate"] = lambda network: Validated({"gain": next(falling)}, {})
    with pytest.raises(SystemExit):
        _trainer(tmp_path, **changes).fit()
    assert _column(tmp_path / "validation.csv", "step") == ["4", "8"]
    again = _trainer(tmp_path)
    assert again.resume()
    assert again.step == 8
    assert again.fit()
    assert _column(tmp_path / "validation.csv", "step") == ["4", "8", "12"]


@pytest.mark.parametrize("validation", [2, 3])
def test_a_run_that_is_killed_before_it_has_written_its_best_weights_writes_them_later(
    tmp_path: Path, validation: int
) -> None:
    """At step 8, and at step 12, the last."""
    whole = _trainer(tmp_path / "whole", validate=_ever_better())
    assert whole.fit()
    folder = tmp_path / "killed"
    exports = []

    def killed(network: nn.Module, stem: str) -> None:
        exports.append(stem)
        if exports.count("best") == validation:
            raise SystemExit
        torch.save(network.state_dict(), folder / f"{stem}.pt")

    with pytest.raises(SystemExit):
        _trainer(folder, validate=_ever_better(), export=killed).fit()
    again = _trainer(folder, validate=_ever_better(validation))
    assert again.resume()
    if validation == 2:  # at once: whoever trains on may be killed again
        at_eight = torch.load(folder / "best.pt")
        assert all(
            torch.equal(x, y)
            for x, y in zip(at_eight.values(), again.ema.state_dict().values(), strict=True)
        )
    assert again.fit()
    for name in ("best.pt", "last.pt"):
        ours, theirs = torch.load(folder / name), torch.load(tmp_path / "whole" / name)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def _ever_better(calls: int = 0) -> Callable[[nn.Module], Validated]:
    """A validation after so many others."""

    def validate(network: nn.Module) -> Validated:
        nonlocal calls
        calls += 1
        return Validated({"gain": float(calls)}, {})

    return validate


def test_accumulated_parts_equal_the_whole_batch(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 3))
    losses = []
    for parts in (1, 4):
        recipe, folder = replace(RECIPE, accumulate=parts), tmp_path / str(parts)
        _trainer(folder, recipe, network=copy.deepcopy(network)).fit()
        losses.append([float(x) for x in _column(folder / "train.csv", "loss")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_resumed_runs_follow_changed_options(tmp_path: Path) -> None:
    _trainer(tmp_path, max_minutes=0.0).fit()
    changed = _trainer(tmp_path, replace(RECIPE, weight_decay=0.3, kernel_rate=0.1))
    assert changed.resume()
    adamw, muon = changed.optimisers
    assert adamw.param_groups[0]["weight_decay"] == 0.3
    assert muon.param_groups[0]["weight_decay"] == 0.3
    assert muon.param_groups[0]["rate_factor"] == 0.1
    assert len(muon.state) == 1


def test_a_changed_optimiser_keeps_what_it_can_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _trainer(tmp_path, max_minutes=0.0).fit()
    changed = _trainer(tmp_path, replace(RECIPE, optimiser="adamw"))
    assert changed.resume()
    assert "1 weights start with fresh averages" in capsys.readouterr().out
    assert changed.fit()


def test_training_learns_and_writes_curves_weights_and_pictures(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=200, learning_rate=0.02, warmup_steps=10, cooldown_share=0.3)
    trainer = _trainer(tmp_path, recipe, validate_steps=50)
    before = _error(trainer.ema, _batch(0)).item()
    trainer.fit()
    assert _error(trainer.ema, _batch(0)).item() < 0.5 * before
    assert _column(tmp_path / "validation.csv", "step") == ["50", "100", "150", "200"]
    losses = [float(value) for value in _column(tmp_path / "train.csv", "loss")]
    assert len(losses) == 67
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    for column in ("error", "learning_rate", "crops_per_second", "waiting_for_data", "skipped"):
        assert all(math.isfinite(float(v)) for v in _column(tmp_path / "train.csv", column))
    found = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*")}
    assert found >= {"best.pt", "last.pt", STATE_FILE, "log.txt", "panels/picture.png"}
    assert "(best so far)" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("problem", ["damaged", "not a training state"])
def test_damaged_state_falls_back_to_the_one_before(
    problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = _trainer(tmp_path, max_minutes=0.0)
    trainer.fit()
    trainer.fit()
    path = tmp_path / STATE_FILE
    if problem == "damaged":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        torch.save([1.0], path)
    again = _trainer(tmp_path)
    assert again.resume()
    assert again.step == 1
    assert f"cannot be used: {problem}" in capsys.readouterr().out
    # The damaged file must not take the good one's place when the next state is saved.
    spare = (tmp_path / "state.previous.pt").read_bytes()
    again.save()
    assert (tmp_path / "state.previous.pt").read_bytes() == spare
    assert (tmp_path / "state.damaged.pt").exists()
    path.write_bytes(b"")
    (tmp_path / "state.previous.pt").write_bytes(b"")
    with pytest.raises(TrainingError, match="no state"):
        _trainer(tmp_path).resume()


def test_a_state_of_another_network_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _trainer(tmp_path, max_minutes=0.0, variant={"width": 8}).fit()
    saved = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(TrainingError, match="choose another name"):
        _trainer(tmp_path, variant={"width": 4}).resume()
    assert "another network than the options say (width 8 there, 4 here)" in capsys.readouterr().out
    with pytest.raises(TrainingError, match="choose another name"):
        _trainer(tmp_path, variant={"width": 8}, network=nn.Conv2d(3, 3, 5)).resume()
    assert (tmp_path / STATE_FILE).read_bytes() == saved


def test_rows_after_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, max_minutes=0.0)
    for _ in range(5):
        trainer.fit()
    curve = tmp_path / "validation.csv"
    with curve.open("a") as file:
        file.write("8,0.1\n9,0.")  # logged, but stopped before its state was saved
    _trainer(tmp_path).resume()
    assert _column(curve, "step") == ["4"]
    for encoding in ("utf-16", "utf-8-sig"):  # as spreadsheets save it
        curve.write_bytes(curve.read_text().encode(encoding))
        _trainer(tmp_path).resume()
        assert _column(curve, "step") == ["4"]
    curve.write_text("no curve")
    _trainer(tmp_path).resume()
    assert curve.with_name("validation.csv.old").read_text() == "no curve"


def test_a_signal_while_saving_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(state: object, file: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        real(state, file)  # type: ignore[arg-type]

    real = torch.save
    trainer = _trainer(tmp_path, max_minutes=0.0)
    monkeypatch.setattr(torch, "save", save)
    assert not trainer.fit()
    assert trainer.step == 1
    monkeypatch.undo()
    assert (tmp_path / "last.pt").exists()
    assert _trainer(tmp_path).resume()


def test_non_finite_losses_are_skipped_then_stop_the_run(tmp_path: Path) -> None:
    def spoilt(when: Callable[[Tensor], bool]) -> Callable[[nn.Module, Tensor], Loss]:
        def loss(network: nn.Module, batch: Tensor) -> Loss:
            return Loss(_error(network, batch) * (math.nan if when(batch) else 1.0), {})

        return loss

    bad = _batch(3).sum()
    trainer = _trainer(tmp_path / "some", loss=spoilt(lambda batch: bool(batch.sum() == bad)))
    assert trainer.fit()
    assert trainer.skipped == 1
    assert all(w.isfinite().all() for w in _weights(trainer))

    always = _trainer(tmp_path / "all", loss=spoilt(lambda batch: True))
    with pytest.raises(TrainingError, match=f"{MAX_BAD_STEPS} times in a row"):
        always.fit()


def test_a_full_disk_is_one_line_and_leaves_the_old_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = _trainer(tmp_path, max_minutes=0.0)
    trainer.fit()
    saved = (tmp_path / STATE_FILE).read_bytes()

    def full(state: object, file: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match="make room") as caught:
        trainer.save()
    assert "\n" not in str(caught.value)
    assert (tmp_path / STATE_FILE).read_bytes() == saved
    assert not list(tmp_path.glob("*.part"))


def _signalled_twice(network: nn.Module, batch: Tensor) -> Loss:
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    return _loss(network, batch)


def test_a_signal_stops_after_the_step_and_an_echo_of_it_changes_nothing(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    assert not _trainer(tmp_path, loss=_signalled_twice).fit()
    assert (tmp_path / STATE_FILE).exists()
    assert signal.getsignal(signal.SIGINT) == handler


def test_a_later_second_signal_acts_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_SAME_REQUEST_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt):
        _trainer(tmp_path, loss=_signalled_twice).fit()


def test_a_profile_counts_the_operations_of_the_profiled_steps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.training.profile.SKIPPED_STEPS", 4)
    monkeypatch.setattr("utils.training.profile.PROFILED_STEPS", 3)
    _trainer(tmp_path, profile=True).fit()
    lines = (tmp_path / PROFILE_FILE).read_text().splitlines()
    assert lines[0].startswith("a step takes ")
    (muon,) = [line for line in lines if "Optimizer.step#Muon.step" in line]
    assert muon.split()[-1] == "3"
    assert "profile.txt has its operations" in (tmp_path / "log.txt").read_text()
