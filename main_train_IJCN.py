"""Train IJCN from an option file: read options, build, fit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data.datasets import DatasetError, TrainingCrops, folder_set
from data.degradation import SingleJpeg
from models import IJCN, save_checkpoint
from models.qtgm import expected_error
from models.restorer import Restorer, pick_device, pick_precision
from options.schema import OptionsError, TrainOptions, load_options, parse_assignment
from utils.image_io import ImageError, find_images, write_atomically
from utils.metrics import psnr
from utils.training import Recipe, Schedule, Trainer, TrainingError, collate

EXAMPLES = """examples:
  python main_train_IJCN.py --opt options/train_small.yml
  python main_train_IJCN.py --opt options/train_small.yml --resume auto --max_minutes 60
  python main_train_IJCN.py --opt options/train_small.yml --set optimisation.steps=20000
  data.batch=16
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--opt", type=Path, required=True, metavar="FILE", help="YAML option file")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="replace options of the file",
    )
    parser.add_argument(
        "--resume", choices=("auto", "no"), default="no", help="continue the run of the same name"
    )
    parser.add_argument("--max_minutes", type=float, help="save and stop after so many minutes")
    args = parser.parse_args(arguments)
    try:
        options = load_options(
            TrainOptions, args.opt, [parse_assignment(text) for text in args.set]
        )
        return train(options, args.resume == "auto", args.max_minutes)
    except (OptionsError, DatasetError, ImageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def train(options: TrainOptions, resume: bool, max_minutes: float | None) -> int:
    """Run one training as ``options`` say; returns the exit code."""
    folder = options.output / options.name
    if not resume and (folder / "options.json").exists():
        raise OptionsError(
            f"{folder} holds a run already; add --resume auto to continue it, or choose another "
            "name (--set name=...)"
        )
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        device = pick_device(options.device)
    except ValueError as error:
        raise OptionsError(str(error)) from error
    torch.manual_seed(options.seed)

    for source in options.data.folders:
        if not source.is_dir():
            raise OptionsError(
                f"data.folders: {source} is not a folder; give folders of clean images "
                "(--set data.folders=[my/photographs])"
            )
    paths = [path for source in options.data.folders for path in find_images(source)]
    crops = TrainingCrops(paths, options.data.patch, options.data.compression(), options.seed)
    for line in crops.skipped:
        print(f"left out: {line}", file=sys.stderr)
    megapixels = sum(i.shape[0] * i.shape[1] for i in crops.images) / 1e6
    print(f"{len(crops.images)} training images, {megapixels:.1f} megapixels")

    network = IJCN(options.network)
    network.start_from_jpeg()
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters on {device}")

    validation = Validation(options, device) if options.validation else None
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        network,
        _recipe(options, max_minutes),
        folder,
        batch=lambda step: collate(
            [crops[step * options.data.batch + i] for i in range(options.data.batch)]
        ),
        loss=ImageLoss(options, device),
        validate=validation,
        export=lambda ema, stem: save_checkpoint(
            _as_ijcn(ema), folder / f"{stem}.safetensors", notes={"run": options.name}
        ),
    )
    if resume:
        trainer.resume()
    write_atomically(folder / "options.json", options.model_dump_json(indent=2))
    outcome = trainer.fit()
    print(f"{'finished' if outcome.finished else 'stopped'} at step {outcome.step}; see {folder}")
    return 0


class ImageLoss:
    """Charbonnier loss on the image, by default weighted so that every quality counts alike.

    Errors of a coarse table are several times those of a fine one; divided by the size the tables
    let expect, a decibel gained at quality 90 is worth one at quality 10.
    """

    def __init__(self, options: TrainOptions, device: torch.device) -> None:
        self.epsilon = options.optimisation.charbonnier_epsilon
        self.balance = options.optimisation.balance_qualities
        self.bfloat16 = pick_precision(options.precision, device) == torch.bfloat16
        self.device = device

    def __call__(self, network: nn.Module, batch: list[Tensor]) -> Tensor:
        qts, y_coef, c_coef, clean = (t.to(self.device, non_blocking=True) for t in batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            restored = network(qts, y_coef, c_coef).image
        difference = restored - clean.float() / 255
        per_image = (difference.square() + self.epsilon**2).sqrt().mean((1, 2, 3))
        if self.balance:
            per_image = per_image / expected_error(qts.float())
        return per_image.mean()


class Validation:
    """PSNR gain over the JPEG in dB, per quality, mean over central crops of a folder's images."""

    def __init__(self, options: TrainOptions, device: torch.device) -> None:
        assert options.validation is not None
        self.options = options.validation
        self.precision = options.precision
        self.device = device
        side = self.options.crop
        images = []
        for entry in folder_set("validation", self.options.folder):
            image = entry.read()
            if image.ndim == 2:
                image = np.repeat(image[:, :, None], 3, axis=2)
            top, left = ((n - side) // 2 for n in image.shape[:2])
            images.append(image[max(0, top) :, max(0, left) :][:side, :side])
        self.cases = {
            quality: [SingleJpeg(quality)(image) for image in images]
            for quality in self.options.qualities
        }

    def __call__(self, network: nn.Module) -> Mapping[str, float]:
        restorer = Restorer(_as_ijcn(network), self.device, self.precision)
        gains = {}
        for quality, cases in self.cases.items():
            gains[f"gain_QF{quality}"] = float(
                np.mean(
                    [
                        psnr(restored=restorer.restore(case.stored), original=case.original)
                        - psnr(restored=case.jpeg, original=case.original)
                        for case in cases
                    ]
                )
            )
        return gains


def _recipe(options: TrainOptions, max_minutes: float | None) -> Recipe:
    o = options.optimisation
    return Recipe(
        Schedule(o.steps, o.learning_rate, o.warmup_steps, o.cooldown_share),
        o.optimiser,
        o.kernel_rate,
        o.weight_decay,
        o.betas,
        o.clip_norm,
        o.ema_decay,
        options.save_minutes,
        options.validation.every_steps if options.validation else o.steps,
        max_minutes,
    )


def _as_ijcn(network: nn.Module) -> IJCN:
    assert isinstance(network, IJCN)
    return network


if __name__ == "__main__":
    sys.exit(main())
