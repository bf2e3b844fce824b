"""Checkpoint, device and precision of a test script, and how a run reports them."""

from __future__ import annotations

from typing import Any

import torch

from models import CheckpointError, load_checkpoint
from models.restorer import Restorer, pick_device
from options.command_line import from_project
from options.schema import InferenceOptions, OptionsError
from utils.image_io import ImageError
from utils.run_log import file_hash

USAGE_ERRORS: tuple[type[Exception], ...] = (OptionsError, CheckpointError, ImageError)


def open_restorer(options: InferenceOptions) -> Restorer:
    """The restorer that ``options`` describe.

    Raises:
        OptionsError: a device this machine does not have. CheckpointError: unusable weights.
    """
    try:
        device = pick_device(options.device)
    except ValueError as error:
        raise OptionsError(str(error)) from error
    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_checkpoint(from_project(options.checkpoint))
    return Restorer(model, device, options.precision, options.max_memory)


def describe_network(options: InferenceOptions, restorer: Restorer) -> dict[str, Any]:
    """What ``run.yml`` says about the network and where it ran."""
    device = str(restorer.device)
    if restorer.device.type == "cuda":
        device += f" ({torch.cuda.get_device_name(restorer.device)})"
    return {
        "checkpoint_sha256": file_hash(from_project(options.checkpoint)),
        "parameters": sum(p.numel() for p in restorer.model.parameters()),
        "device": device,
        "precision": str(restorer.precision).removeprefix("torch."),
        "torch_threads": torch.get_num_threads(),
    }
