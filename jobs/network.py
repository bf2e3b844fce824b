"""Checkpoint, device, precision and processes of a test script, and how a run reports them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from models import CheckpointError, load_checkpoint
from models.restorer import Restorer, pick_device
from options.command_line import from_project
from options.schema import InferenceOptions, OptionsError
from utils.distributed import World, connected, own_device, world_from_environment
from utils.image_io import ImageError
from utils.memory import available_memory
from utils.run_log import file_hash

USAGE_ERRORS: tuple[type[Exception], ...] = (OptionsError, CheckpointError, ImageError)


class Session(NamedTuple):
    """A restorer, and this process among those that torchrun started."""

    restorer: Restorer
    world: World


@contextmanager
def open_session(options: InferenceOptions) -> Iterator[Session]:
    """The restorer that ``options`` describe; under torchrun, connected with its peers.

    Raises:
        OptionsError: a device this machine does not have. CheckpointError: unusable weights.
    """
    world = world_from_environment()
    try:
        device = own_device(world, pick_device(options.device))
    except ValueError as error:
        raise OptionsError(str(error)) from error
    if options.threads or world.size > 1:
        # torchrun leaves one thread to each process, whatever the machine has.
        each = max(1, (os.cpu_count() or 1) // world.local_size)
        torch.set_num_threads(options.threads or each)
    model = load_checkpoint(from_project(options.checkpoint))
    max_memory = options.max_memory
    if max_memory is None and device.type == "cpu" and world.local_size > 1:
        max_memory = available_memory() / 2**30 / 2 / world.local_size
    restorer = Restorer(
        model,
        device,
        options.precision,
        max_memory,
        options.compile,
        options.ensemble,
        options.leave_fine,
        options.strength,
    )
    with connected(world, device):
        yield Session(restorer, world)


def describe_network(options: InferenceOptions, session: Session) -> dict[str, Any]:
    """What ``run.yml`` says about the network and where it ran."""
    restorer, world = session
    device = str(restorer.device)
    if restorer.device.type == "cuda":
        device += f" ({torch.cuda.get_device_name(restorer.device)})"
    return {
        "checkpoint_sha256": file_hash(from_project(options.checkpoint)),
        "parameters": sum(p.numel() for p in restorer.model.parameters()),
        "processes": world.size,
        "device": device,
        "precision": str(restorer.precision).removeprefix("torch."),
        "torch_threads": torch.get_num_threads(),
    }
