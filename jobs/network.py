"""Checkpoint, device, precision and processes of a test script, and how a run reports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from models import CheckpointError, load_checkpoint
from models.checkpoint import checkpoint_path
from models.restore.restorer import Restorer, pick_device
from options.schema import ComputeOptions, InferenceOptions, OptionsError
from utils.distributed import World, connected, own_device, world_from_environment
from utils.image_io import ImageError
from utils.machine import available_cpus, available_memory
from utils.run_log import file_hash

USAGE_ERRORS: tuple[type[Exception], ...] = (OptionsError, CheckpointError, ImageError)


class Session(NamedTuple):
    """A restorer, the SHA-256 of its weights' file, and this process among those of torchrun."""

    restorer: Restorer
    weights_sha256: str
    world: World


class Networks:
    """Restorers of checkpoints, one at a time in memory."""

    def __init__(self, options: ComputeOptions, device: torch.device, world: World) -> None:
        self.options = options
        self.device = device
        self.world = world
        self.arithmetic: dict[Path, str] = {}
        """Of the networks that were at hand so far, see :attr:`Restorer.arithmetic`."""
        self.parameters: dict[Path, int] = {}
        """Of these, the numbers of weights."""
        self._at_hand: tuple[Path, Restorer] | None = None

    def restorer(self, path: Path) -> Restorer:
        """The restorer with the weights of a file; the last one is kept.

        Raises:
            CheckpointError: unusable weights. OptionsError: they cannot do what is wanted.
        """
        if self._at_hand is not None and self._at_hand[0] == path:
            return self._at_hand[1]
        self._at_hand = None  # before the next one is loaded
        options = self.options
        max_memory = options.max_memory
        if max_memory is None and self.device.type == "cpu" and self.world.local_size > 1:
            max_memory = available_memory() / 2**30 / 2 / self.world.local_size
        network = load_checkpoint(path)
        try:
            restorer = Restorer(
                network,
                self.device,
                options.precision,
                max_memory,
                options.compile,
                options.ensemble,
                options.leave_fine,
                options.strength,
            )
        except ValueError as error:
            raise OptionsError(f"{path.name}: {error}") from error
        self._at_hand = path, restorer
        self.arithmetic[path] = restorer.arithmetic
        self.parameters[path] = restorer.parameters
        return restorer


def prepared_device(wanted: str, threads: int, world: World) -> torch.device:
    """The device of this process, which from here on takes its share of the CPU's threads.

    Raises:
        OptionsError: it cannot be had.
    """
    try:
        device = own_device(world, pick_device(wanted))
    except ValueError as error:
        raise OptionsError(str(error)) from error
    if threads or world.size > 1:
        # torchrun leaves one thread to each process, whatever the machine has.
        torch.set_num_threads(threads or max(1, available_cpus() // world.local_size))
    return device


@contextmanager
def open_networks(options: ComputeOptions, paths: Sequence[Path]) -> Iterator[Networks]:
    """Restorers as ``options`` describe them; under torchrun, connected with its peers.

    paths: weights. Each is loaded once, so that what is wrong is said before processes connect.

    Raises:
        OptionsError: a device or precision that cannot be had. CheckpointError: unusable weights.
    """
    world = world_from_environment()
    device = prepared_device(options.device, options.threads, world)
    networks = Networks(options, device, world)
    for path in reversed(paths):  # so that the first is at hand
        networks.restorer(path)
    with connected(world, device):
        yield networks


@contextmanager
def open_session(options: InferenceOptions) -> Iterator[Session]:
    """The restorer that ``options`` describe; under torchrun, connected with its peers.

    Raises:
        OptionsError: a device or precision that cannot be had. CheckpointError: unusable weights.
    """
    path = checkpoint_path(options.checkpoint)
    with open_networks(options, [path]) as networks:
        yield Session(networks.restorer(path), file_hash(path), networks.world)


def describe_network(session: Session) -> dict[str, Any]:
    """What ``run.yml`` says about the network and where it ran."""
    return {
        "checkpoint_sha256": session.weights_sha256,
        "parameters": session.restorer.parameters,
        **describe_machine(session.restorer, session.world),
    }


def describe_machine(restorer: Restorer, world: World) -> dict[str, Any]:
    """Where a network ran, and in which numbers."""
    device = str(restorer.device)
    if restorer.device.type == "cuda":
        device += f" ({torch.cuda.get_device_name(restorer.device)})"
    return {
        "processes": world.size,
        "device": device,
        "precision": restorer.arithmetic,
        "torch_threads": torch.get_num_threads(),
    }
