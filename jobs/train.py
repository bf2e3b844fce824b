"""One training: options in, a run folder with weights out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from data.datasets import DatasetError
from data.training_crops import TrainingBatch
from jobs.network import prepared_device
from jobs.stored_answers import Answers, again, stored_answers
from jobs.training_data import TrainingData
from jobs.validation import Validation
from models import IJCN, CheckpointError, IJCNConfig, load_checkpoint, save_checkpoint
from models.dct import colourless_in_gray
from models.ijcn import LAST_STEPS
from models.losses import RestorationLoss
from models.restore.restorer import autocast, pick_precision
from options.schema import OptionsError, TrainOptions
from utils.distributed import World, connected, world_from_environment
from utils.image_io import ImageError, require_writable, write_atomically
from utils.machine import keep_freed_memory
from utils.run_log import alone_in
from utils.training.loop import OTHER_FAILED, Loss, Trainer, TrainingError
from utils.training.record import OPTIONS_FILE, RunRecord, differences, options_of_run


def train(options: TrainOptions, resume: bool, max_minutes: float | None) -> None:
    """Run one training as ``options`` say.

    Under torchrun every process calls this; the first one writes and speaks.

    Raises:
        OptionsError, DatasetError, ImageError, CheckpointError: before anything is written.
        TrainingError: see :class:`utils.training.loop.Trainer`.
    """
    world = world_from_environment()
    device = prepared_device(options.device, options.threads, world)
    with connected(world, device), ExitStack() as held:
        _train_connected(options, resume, max_minutes, world, device, held)


USAGE_ERRORS = (OptionsError, DatasetError, ImageError, CheckpointError)


def _read_all(
    options: TrainOptions, resume: bool, world: World, device: torch.device, held: ExitStack
) -> tuple[IJCN, TrainingData, Validation | None]:
    """All that can be wrong, before anything is written; processes fail together.

    Other trainings are kept out of the run's folder as long as it is ``held``.
    """
    folder = options.output / options.name
    problem: Exception | None = None
    try:
        if not resume and (folder / OPTIONS_FILE).exists():
            raise OptionsError(
                f"{folder} holds a run already; add --resume auto to continue it, or choose "
                "another name (--set name=...)"
            )
        network = _network(options)
        _freeze(network, options)
        data = TrainingData(options, device, world)
        validation = Validation(options, device, world) if options.validation else None
        if world.is_main:
            require_writable(folder, "output (--set output=...)")
            held.enter_context(alone_in(folder, "name (--set name=...)"))
    except USAGE_ERRORS as error:
        problem = error
    problems = [each for each in world.gather(problem) if each is not None]
    if problems:
        raise problems[0] if world.is_main else TrainingError(OTHER_FAILED)
    return network, data, validation


def _train_connected(
    options: TrainOptions,
    resume: bool,
    max_minutes: float | None,
    world: World,
    device: torch.device,
    held: ExitStack,
) -> None:
    if device.type == "cpu":
        keep_freed_memory()
    if device.type == "cuda":
        # cuDNN would otherwise round float32 convolutions to TF32's 10 bits.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True  # every step has the same shapes
    network, data, validation = _read_all(options, resume, world, device, held)
    precision = pick_precision(options.precision, device)
    folder = options.output / options.name
    with RunRecord(folder, speaks=world.is_main, tensorboard=options.tensorboard) as record:
        network.to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for line in data.describe() if world.is_main else ():
            record.say(line)
        if options.validation:
            folders = [f.resolve() for f in options.data.folders]
            own = options.validation.folder.resolve()
            if any(own == f or own in f.parents or f in own.parents for f in folders):
                record.say(
                    "warning: validation.folder shares images with data.folders, so its gain "
                    "says nothing of other pictures"
                )
        million = sum(p.numel() for p in network.parameters()) / 1e6
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        record.say(
            f"{million:.2f} M parameters on {world.size} x {name}, "
            f"{str(precision).removeprefix('torch.')} backbone"
        )

        def export(ema: nn.Module, stem: str) -> None:
            assert isinstance(ema, IJCN)
            notes = {"run": options.name}
            ema.ranges = network.ranges
            try:
                save_checkpoint(ema, folder / f"{stem}.safetensors", notes=notes)
            except (ImageError, CheckpointError) as error:
                record.say(f"warning: {error}")

        def from_answers(step: int) -> Iterator[Answers]:
            """By the network as it is when training begins: a resumed state's, it may be."""
            record.say(f"first, {options.data.stored_crops:,} crops are made and answered")
            accumulate = options.optimisation.accumulate
            number = options.data.stored_crops // data.batch * accumulate
            fresh = data.batches(0)
            answers = stored_answers(network, fresh, number, device, precision, world)
            return again(answers, step * accumulate)

        batches: Callable[[int], Iterator[TrainingBatch | Answers]] = data.batches
        if options.data.stored_crops:
            batches = from_answers
        trainer = Trainer(
            network,
            options.optimisation,
            folder,
            batches,
            data.batch,
            StepLoss(options.loss, device, precision),
            validation,
            export=export,
            record=record,
            world=world,
            variant=asdict(network.config),
            save_minutes=options.save_minutes,
            report_steps=options.report_steps,
            validate_steps=options.validation.every_steps if options.validation else None,
            max_minutes=max_minutes,
            profile=options.profile,
            seed=options.seed,
        )
        before = options_of_run(folder)
        if resume:
            if not trainer.resume():
                record.say(f"no state of a run in {folder}: this one begins anew")
            if len(set(world.gather(trainer.step))) > 1:
                raise TrainingError(
                    f"the processes do not see the same {folder}; put output on a shared disk"
                )
        if options.optimisation.compile and not options.data.stored_crops:
            crops = data.batch // data.parts
            _compile(network, crops, options.data.patch, device, precision, record)
        if world.is_main:
            write_atomically(folder / OPTIONS_FILE, options.model_dump_json(indent=2))
            if before and (changed := differences(before, options_of_run(folder))):
                record.say(f"other options than in {folder} before: {changed}")
        finished = trainer.fit()
        record.say(
            f"{'finished' if finished else 'stopped'} at step {trainer.step}; see {folder}"
            + ("" if finished else " (continue with --resume auto)")
        )


@dataclass(frozen=True)
class StepLoss:
    """The loss of a batch, with the PSNR gain over the JPEG as a figure to watch."""

    loss: RestorationLoss
    device: torch.device
    precision: torch.dtype

    def __call__(self, network: nn.Module, batch: TrainingBatch | Answers) -> Loss:
        """Of answers, the network runs its last stage only."""
        crops, refined = batch if isinstance(batch, Answers) else (batch, None)
        tensors = [tensor.to(self.device, non_blocking=True) for tensor in crops]
        tables, _, chroma, detail = tensors[:4]
        clean, jpeg = (tensor.float() / 255 for tensor in tensors[-2:])
        if refined is not None:
            refined = refined.to(self.device).float()
        with autocast(self.device, self.precision):
            output = network(*tensors[:4], refined)
        # A restored file without colour shows none, so that there is nothing to be learned of it.
        image = colourless_in_gray(output.image, chroma, detail)
        loss = self.loss(output._replace(image=image), tables, clean, jpeg)
        with torch.no_grad():
            gain = _gain(image.detach(), jpeg, clean)
        return Loss(loss.total, {**loss.figures, "gain": gain})


def _gain(restored: Tensor, jpeg: Tensor, clean: Tensor) -> Tensor:
    """Mean over a batch of the PSNR gain in dB; errors below half a gray level count as that."""
    floor = (0.5 / 255) ** 2
    errors = [(x - clean).square().mean((1, 2, 3)).clamp_min(floor) for x in (restored, jpeg)]
    return 10 * (errors[1] / errors[0]).log10().mean()


def _network(options: TrainOptions) -> IJCN:
    """A fresh network that returns the JPEG, or the one of ``options.initial``."""
    torch.manual_seed(options.seed)
    added: dict[str, Any] = {  # no step becomes narrower
        str(step): max(width, getattr(options.network, step, None) or 0)
        for step, width in options.add.items()
    }
    wanted = replace(options.network, **added) if options.network else None
    if options.initial is None:
        network = IJCN(wanted or IJCNConfig(**added))
        network.start_from_jpeg()
        return network
    try:
        network = load_checkpoint(options.initial)
    except CheckpointError as error:
        raise OptionsError(f"initial: {error}") from error
    steps = {step: getattr(wanted, step) for step in LAST_STEPS} if wanted else added
    network = network.with_steps(
        **{
            step: width
            for step, width in steps.items()
            if width is not None and width > (getattr(network.config, step) or 0)
        }
    )
    if wanted and network.config != wanted:
        there, here = (asdict(config) for config in (network.config, wanted))
        raise OptionsError(
            f"initial: {options.initial} is another variant than network says "
            f"({differences(there, here)}); leave network out to train the checkpoint's own"
        )
    return network


def _freeze(network: IJCN, options: TrainOptions) -> None:
    """Leave only the parts that ``optimisation.parts`` names to be trained."""
    parts = options.optimisation.parts
    for step in LAST_STEPS:
        if step in parts and getattr(network, step) is None:
            raise OptionsError(
                f"optimisation.parts: this network has no {step}; give it one (--set add.{step}=32)"
            )
    for name, part in network.named_children():
        part.requires_grad_(not parts or name in parts)
    if not set(parts or ["all"]) <= set(LAST_STEPS):
        network.ranges = None  # those of what is trained change


def _compile(
    network: IJCN,
    crops: int,
    patch: int,
    device: torch.device,
    precision: torch.dtype,
    record: RunRecord,
) -> None:
    """Compile the backbone in place for so many crops of side ``patch``, or say why not."""
    record.say("compiling the backbone: up to some minutes")
    plain = network.backbone._compiled_call_impl
    network.backbone.compile(dynamic=False)
    blocks = patch // 8
    try:  # all of the network, so that the backbone meets the strides that training gives it
        tables = torch.ones(crops, 3, 8, 8, device=device)
        luma = torch.zeros(crops, 1, blocks, blocks, 8, 8, device=device)
        chroma = torch.zeros(crops, 2, blocks // 2, blocks // 2, 8, 8, device=device)
        detail = torch.zeros(crops, 2, patch, patch, device=device)
        with autocast(device, precision):
            network.train()(tables, luma, chroma, detail).image.sum().backward()
    except Exception as error:  # compilers fail in as many ways as there are compilers
        network.backbone._compiled_call_impl = plain
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:150]
        record.say(f"going on without torch.compile: {reason}")
    network.zero_grad(set_to_none=True)
