"""main_train_IJCN.py as a user runs it: alone, under torchrun, resumed, fine-tuned, misused."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import main_train_IJCN
from jobs import train as train_job
from models import IJCNConfig, load_checkpoint, save_checkpoint
from options.schema import TrainOptions, load_options
from tests.conftest import (
    PATIENCE,
    ROOT,
    TINY,
    csv_rows,
    error_line,
    photograph,
    run_script,
    started,
    tiny_network,
    wait_until,
)
from utils.image_io import read_image, write_png
from utils.run_log import alone_in
from utils.training.record import RunRecord

SCRIPT = "main_train_IJCN.py"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(2):
        write_png(folder / "train" / f"{index}.png", photograph(120, 120, seed=index))
    for index in range(3):
        write_png(folder / "val" / f"{index}.png", photograph(80, 80, seed=10 + index))
    (folder / "train" / "broken.png").write_bytes(b"broken")
    return folder


def _terminated(words: list[object], awaited: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a Python process that gets SIGTERM once a file is there."""
    process = started(*words, OMP_NUM_THREADS="1")
    wait_until(awaited.exists, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def _arguments(images: Path, output: Path, *changes: str) -> list[object]:
    return [
        *("--opt", "options/train_smoke.yml", "--set", f"data.folders=[{images / 'train'}]"),
        *(f"validation.folder={images / 'val'}", f"output={output}", *changes),
    ]


def test_a_run_yields_weights_curves_and_pictures_and_resumes(images: Path, tmp_path: Path) -> None:
    arguments = _arguments(images, tmp_path)
    first = run_script(SCRIPT, *arguments, "optimisation.steps=10")
    assert first.returncode == 0, first.stderr
    assert "broken.png" in first.stdout
    assert "crops/s in each of 1 loader processes" in first.stdout
    refused = run_script(SCRIPT, *arguments)
    assert "--resume auto" in error_line(refused)
    with alone_in(tmp_path / "smoke"):
        refused = run_script(SCRIPT, *arguments, "--resume", "auto")
    assert "another run is writing there; wait for it" in error_line(refused)
    done = run_script(SCRIPT, *arguments, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert "smoke before: optimisation.steps 10 there, 20 here" in done.stdout
    assert "finished at step 20" in done.stdout
    saved = (tmp_path / "smoke" / "state.pt").stat().st_mtime_ns
    again = run_script(SCRIPT, *arguments, "--resume", "auto")
    assert again.returncode == 0
    assert "nothing to do: 20 of 20 steps are done" in again.stdout
    assert (tmp_path / "smoke" / "state.pt").stat().st_mtime_ns == saved

    run = tmp_path / "smoke"
    assert load_checkpoint(run / "best.safetensors").config == TINY
    with safe_open(run / "last.safetensors", "pt") as file:
        assert file.metadata()["run"] == "smoke"
    assert [row["step"] for row in csv_rows(run / "validation.csv")] == ["10", "20"]
    curve = csv_rows(run / "train.csv")
    assert [row["step"] for row in curve] == ["5", "10", "15", "20"]
    for name in ("loss", "image", "first_image", "levels", "gain", "gradient_norm"):
        assert all(np.isfinite(float(row[name])) for row in curve)
    # columns JPEG | restored | original of 64 pixels, enlarged by 4, with margins
    assert read_image(run / "panels" / "QF10.png").shape[1] == 3 * (256 + 10)
    assert "resuming at step 10" in (run / "log.txt").read_text()


@pytest.mark.slow
def test_other_kinds_of_jpegs_are_watched_but_choose_nothing(images: Path, tmp_path: Path) -> None:
    kinds = ("validation.other_kinds=true", "data.drawn_share=0.5", "data.desaturated_share=0.2")
    encoders = "data.encoder_shares={wild: 0.5, bent: 0.5}"
    done = run_script(SCRIPT, *_arguments(images, tmp_path, *kinds, encoders))
    assert done.returncode == 0, done.stderr
    rows = csv_rows(tmp_path / "smoke" / "validation.csv")
    for name in ("gain_found_tables", "gain_smooth_chroma", "gain_drawn"):
        assert all(np.isfinite(float(row[name])) for row in rows)
        assert name in done.stdout
    # A new best is one of the photographs' gains, whatever the others say.
    gains = [float(row["gain_QF10"]) for row in rows]
    assert ("best so far" in done.stdout.split("step 20:")[1].splitlines()[0]) == (
        gains[1] > gains[0]
    )


@pytest.mark.slow
def test_tensorboard_gets_scalars_and_pictures(images: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    done = run_script(SCRIPT, *_arguments(images, tmp_path))
    assert done.returncode == 0, done.stderr
    board = events.EventAccumulator(str(tmp_path / "smoke" / "tensorboard"))
    board.Reload()
    assert {"train/loss", "train/gain", "validation/gain_QF10"} <= set(board.Tags()["scalars"])
    assert board.Tags()["images"] == ["QF10"]
    assert [event.step for event in board.Scalars("validation/gain_QF10")] == [10, 20]


@pytest.mark.slow
def test_two_processes_follow_the_same_loss_curve_as_one(images: Path, tmp_path: Path) -> None:
    """The same global batch of four crops: in one process, and shared by two in two parts each."""
    changes = "data.batch=4", "optimisation.optimiser=adamw", "report_steps=1", "tensorboard=false"
    one = run_script(SCRIPT, *_arguments(images, tmp_path / "one", *changes))
    assert one.returncode == 0, one.stderr
    two = run_script(
        SCRIPT,
        *_arguments(images, tmp_path / "two", *changes, "optimisation.accumulate=2"),
        processes=2,
        OMP_NUM_THREADS="1",
    )
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("finished at step 20") == 1
    curves = [csv_rows(tmp_path / name / "smoke" / "train.csv") for name in ("one", "two")]
    for name in ("loss", "levels", "gain", "gradient_norm"):
        alone, shared = ([float(row[name]) for row in curve] for curve in curves)
        assert len(alone) == 20
        assert shared == pytest.approx(alone, rel=2e-3, abs=2e-4)
    curves = [csv_rows(tmp_path / name / "smoke" / "validation.csv") for name in ("one", "two")]
    gains = [[float(row["gain_QF10"]) for row in curve] for curve in curves]
    assert gains[1] == pytest.approx(gains[0], abs=1e-3)


def _only_error(done: subprocess.CompletedProcess[str]) -> str:
    """What one of many processes says, all the others being silent."""
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    return line


@pytest.mark.slow
def test_many_processes_refuse_in_one_line(images: Path, tmp_path: Path) -> None:
    done = run_script(
        SCRIPT, *_arguments(images, tmp_path, "data.batch=3"), processes=2, OMP_NUM_THREADS="1"
    )
    assert "choose --set data.batch=4" in _only_error(done)


@pytest.mark.slow
def test_an_error_in_any_process_is_said_once(images: Path, tmp_path: Path) -> None:
    """The second validation image is the second process's to read."""
    folder = tmp_path / "val"
    for name in ("0.png", "2.png"):
        write_png(folder / name, photograph(80, 80))
    (folder / "1.png").write_bytes(b"broken")
    arguments = _arguments(images, tmp_path / "out", f"validation.folder={folder}")
    done = run_script(SCRIPT, *arguments, processes=2, OMP_NUM_THREADS="1")
    assert "1.png" in _only_error(done)
    assert not [path for path in tmp_path.glob("out/**/*") if path.is_file()]


@pytest.mark.slow
def test_more_processes_than_validation_images_and_a_signal_to_all(
    images: Path, tmp_path: Path
) -> None:
    """torchrun passes SIGTERM to whole process groups, loader processes included."""
    write_png(tmp_path / "val" / "one.png", photograph(80, 80))
    arguments = _arguments(
        images,
        tmp_path,
        f"validation.folder={tmp_path / 'val'}",
        *("optimisation.steps=100000", "tensorboard=false", "data.workers=1"),
        "validation.every_steps=5",
    )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    curve = tmp_path / "smoke" / "validation.csv"
    _, out, err = _terminated([*launcher, SCRIPT, *arguments], curve)
    assert "continue with --resume auto" in out, err
    again = run_script(
        SCRIPT,
        *(*arguments, "--resume", "auto", "--max_minutes", "0"),
        processes=2,
        OMP_NUM_THREADS="1",
    )
    assert again.returncode == 0, again.stderr
    assert "resuming at step" in again.stdout


@pytest.mark.slow
def test_training_goes_on_without_its_curves(images: Path, tmp_path: Path) -> None:
    (tmp_path / "smoke" / "train.csv").mkdir(parents=True)
    (tmp_path / "smoke" / "panels").write_text("in the way")
    done = run_script(SCRIPT, *_arguments(images, tmp_path, "tensorboard=false"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: curves or pictures of this run are incomplete") == 1
    assert "finished at step 20" in done.stdout


def test_a_terminated_run_saves_and_goes_on(images: Path, tmp_path: Path) -> None:
    arguments = _arguments(images, tmp_path, "optimisation.steps=100000", "tensorboard=false")
    code, out, err = _terminated([SCRIPT, *arguments], tmp_path / "smoke" / "train.csv")
    assert code == 0, err
    assert "continue with --resume auto" in out
    assert "Traceback" not in err
    again = run_script(SCRIPT, *arguments, "--resume", "auto", "--max_minutes", "0")
    assert again.returncode == 0, again.stderr
    assert "resuming at step" in again.stdout
    assert "stopped at step" in again.stdout


@pytest.mark.parametrize(
    ("step", "weight"), [("level_check", "luma.change.weight"), ("confidence", "trust.weight")]
)
def test_a_last_step_is_added_and_trained_alone(
    images: Path, tmp_path: Path, step: str, weight: str
) -> None:
    start = tmp_path / "start.safetensors"
    save_checkpoint(tiny_network(**{step: None}), start)
    changes = f"initial={start}", "optimisation.steps=5", "optimisation.warmup_steps=0"
    # As the smoke test's network but for the step, which add gives it.
    changes = *changes, f"optimisation.parts=[{step}]", f"network.{step}=null"
    arguments = _arguments(images, tmp_path, *changes)
    done = run_script(SCRIPT, *arguments, f"add.{step}=8")
    assert done.returncode == 0, done.stderr
    before = load_checkpoint(start).state_dict()
    after = load_checkpoint(tmp_path / "smoke" / "last.safetensors")
    assert after.config == TINY
    added = after.state_dict().keys() - before.keys()
    assert all(name.startswith(f"{step}.") for name in added)
    assert after.state_dict()[f"{step}.{weight}"].abs().max() > 0
    for name, tensor in before.items():
        assert torch.equal(after.state_dict()[name], tensor), name

    width = f"network.{step}=8"  # which a smaller number does not make narrower
    twice = run_script(SCRIPT, *arguments, width, f"add.{step}=4", "name=twice")
    assert twice.returncode == 0, twice.stderr
    assert load_checkpoint(tmp_path / "twice" / "last.safetensors").config == TINY

    alone = run_script(SCRIPT, *arguments, f"add.{step}=8", "network=null", "name=alone")
    assert alone.returncode == 0, alone.stderr
    assert load_checkpoint(tmp_path / "alone" / "last.safetensors").config == TINY

    other = run_script(SCRIPT, *arguments, "name=x")
    assert f"this network has no {step}; give it one (--set add.{step}=" in error_line(other)


def test_last_steps_learn_from_stored_answers(images: Path, tmp_path: Path) -> None:
    """As from new crops: the first step, before any is seen again, is the same up to float16."""
    start = tmp_path / "start.safetensors"
    save_checkpoint(tiny_network(seed=3, widths=(8, 8, 64), inner_widths=None), start)
    changes = (
        *(f"initial={start}", "network=null", "optimisation.parts=[level_check, confidence]"),
        *("loss.first_weight=0", "loss.level_weight=0", "report_steps=1"),
        *("optimisation.warmup_steps=0", "optimisation.ema_decay=0"),
    )
    arguments = _arguments(images, tmp_path, *changes)
    weights, losses = {}, {}
    for name, stored, steps in (("new", 0, 1), ("stored", 4, 1), ("longer", 4, 5)):
        more = f"name={name}", f"data.stored_crops={stored}", f"optimisation.steps={steps}"
        done = run_script(SCRIPT, *arguments, *more)
        assert done.returncode == 0, done.stderr
        weights[name] = load_checkpoint(tmp_path / name / "last.safetensors").state_dict()
        losses[name] = [float(row["loss"]) for row in csv_rows(tmp_path / name / "train.csv")]
    for name, weight in load_checkpoint(start).state_dict().items():
        if name.startswith(("level_check.", "confidence.")):
            # A step is 1e-3; where a gradient is nearly zero, float16 may change its sign.
            assert (weights["stored"][name] - weights["new"][name]).abs().mean() < 2e-5, name
        else:
            assert torch.equal(weights["longer"][name], weight), name
    assert losses["stored"] == pytest.approx(losses["new"], rel=1e-3)
    ranges = {name: load_checkpoint(tmp_path / name / "last.safetensors").ranges for name in losses}
    assert ranges["new"] is None
    assert ranges["stored"]
    assert min(each.amax() for each in ranges["stored"].values()) > 0
    assert not torch.equal(
        weights["longer"]["confidence.trust.weight"], weights["stored"]["confidence.trust.weight"]
    )

    resumed = run_script(
        SCRIPT,
        *(*arguments, "name=longer", "data.stored_crops=4", "optimisation.steps=7"),
        *("--resume", "auto"),
    )
    assert "resuming at step 5" in resumed.stdout, resumed.stderr
    # The answers are the resumed network's, whatever has become of the file that it began with.
    ends = []
    for seed in (3, 4):
        save_checkpoint(tiny_network(seed=seed, widths=(8, 8, 64), inner_widths=None), start)
        shutil.copytree(tmp_path / "longer", tmp_path / f"from{seed}")
        more = f"name=from{seed}", "data.stored_crops=4", "optimisation.steps=9"
        assert run_script(SCRIPT, *arguments, *more, "--resume", "auto").returncode == 0
        ends.append((tmp_path / f"from{seed}" / "last.safetensors").read_bytes())
    assert len(set(map(len, ends))) == 1
    assert load_checkpoint(tmp_path / "from3" / "last.safetensors").ranges is not None
    curves = [csv_rows(tmp_path / f"from{seed}" / "train.csv") for seed in (3, 4)]
    assert [row["loss"] for row in curves[0]] == [row["loss"] for row in curves[1]]

    # Training the backbone makes them invalid; training the last steps does not.
    again = f"initial={tmp_path / 'stored' / 'last.safetensors'}", "optimisation.steps=1"
    for name, parts in (("steps", "[confidence]"), ("backbone", "[backbone, confidence]")):
        more = (*again, f"name={name}", f"optimisation.parts={parts}")
        assert run_script(SCRIPT, *arguments, *more).returncode == 0
        kept = load_checkpoint(tmp_path / name / "last.safetensors").ranges
        assert (kept is not None) is (name == "steps")


def test_fine_tuning_takes_released_weights(released_file: Path) -> None:
    finetune = ROOT / "options" / "train_finetune.yml"
    options = load_options(TrainOptions, finetune, [("initial", str(released_file))])
    assert train_job._network(options).config == IJCNConfig()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["data.folders=[none]"], "is not a folder"),
        (["data.patch=128"], "none of 3 training images"),
        (["data.patch=100"], "data.patch"),
        (["validation.folder=none"], "validation.folder: none is not a folder"),
        (["initial=none.pth"], "none.pth not found"),
        (["data.batch=3", "optimisation.accumulate=2"], "choose --set data.batch=4"),
        (["device=cuda:9"], "cuda:9"),
        (["data.listed_qualities=[0]"], "data.listed_qualities.0: input should be"),
        (["precision=float16"], "precision: input should be"),
        (["data.double_share=1.5"], "data.double_share: input should be"),
        (['data.sampling_shares={"4:2:0": 1.5, gray: -0.5}'], "data.sampling_shares"),
        (["output=/dev/null/x"], "/dev/null/x"),
        (["name=.."], "name"),
        ([f"seed={2**63}"], "seed: input should be less than"),
        (["data.stored_crops=8"], "set optimisation.parts to [level_check], [confidence] or both"),
        (
            ["data.stored_crops=1", "optimisation.parts=[confidence]"],
            "data.stored_crops 1 is below data.batch",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    changes: list[str], words: str, images: Path, tmp_path: Path
) -> None:
    done = run_script(SCRIPT, *_arguments(images, tmp_path, *changes))
    assert words in error_line(done)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", [torch.empty, np.empty])
def test_memory_that_cannot_be_had_is_one_line(
    make: Callable[[int], object],
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(main_train_IJCN, "train", lambda *_: make(10**15))
    arguments = [str(word) for word in _arguments(images, tmp_path)]
    assert main_train_IJCN.main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: not enough memory; raise optimisation.accumulate")


def test_a_checkpoint_of_another_variant_is_refused(images: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    save_checkpoint(tiny_network(trunk_width=24), start)
    done = run_script(SCRIPT, *_arguments(images, tmp_path, f"initial={start}"))
    assert "trunk_width 24 there, 16 here" in error_line(done)

    shared = f"data.folders={images}"
    arguments = _arguments(images, tmp_path, "optimisation.steps=6", shared)
    first = run_script(SCRIPT, *arguments, "--resume", "auto")
    assert "smoke: this one begins anew" in first.stdout
    assert "warning: validation.folder shares images with data.folders" in first.stdout
    state = (tmp_path / "smoke" / "state.pt").read_bytes()
    other = run_script(SCRIPT, *arguments, "network.trunk_width=32", "--resume", "auto")
    assert other.returncode == 1
    assert "another network than the options say (trunk_width 16 there, 32 here)" in other.stdout
    assert other.stderr.count("error: ") == 1
    assert (tmp_path / "smoke" / "state.pt").read_bytes() == state


def test_without_a_compiler_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tiny_network()

    def broken(*inputs: object) -> object:
        raise RuntimeError("no C++ compiler\nlong story")

    def compiled(*arguments: object, **options: object) -> None:
        network.backbone._compiled_call_impl = broken

    monkeypatch.setattr(network.backbone, "compile", compiled)
    with RunRecord(tmp_path, tensorboard=False) as record:
        train_job._compile(network, 2, 64, torch.device("cpu"), torch.float32, record)
    network(torch.ones(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, 8, 8), torch.zeros(1, 2, 4, 4, 8, 8))
    assert "going on without torch.compile: no C++ compiler" in capsys.readouterr().out
