"""One process or many: what the scripts need of torch.distributed, and nothing when alone.

``torchrun`` starts the processes and tells each by environment variables who it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class World:
    """This process among its peers.

    rank: 0 .. size-1 over all machines. local_rank, local_size: on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """Which of ``total`` items are this process's: every ``size``-th, from its rank."""
        return range(self.rank, total, self.size)

    def sums(self, values: Sequence[float], device: torch.device) -> list[float]:
        """Each value summed over all processes; every process must call it."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def parallel(self, network: nn.Module, device: torch.device) -> nn.Module:
        """``network`` such that gradients are averaged over all processes."""
        if self.size == 1:
            return network
        devices = [device] if device.type == "cuda" else None
        # The model has no buffer that training changes.
        return DistributedDataParallel(network, device_ids=devices, broadcast_buffers=False)

    def gather(self, value: Any) -> list[Any]:
        """``value`` of every process, by rank; every process must call it."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


ALONE = World()
"""The only process."""


def world_from_environment() -> World:
    """What torchrun says of this process; alone if it was not started by torchrun."""

    def number(name: str, default: int) -> int:
        return int(os.environ.get(name, default))

    size = number("WORLD_SIZE", 1)
    return World(number("RANK", 0), size, number("LOCAL_RANK", 0), number("LOCAL_WORLD_SIZE", size))


def own_device(world: World, device: torch.device) -> torch.device:
    """The device of this process: several processes on GPUs take one each.

    Raises:
        ValueError: a certain GPU is asked for, or there are fewer GPUs than processes.
    """
    if world.size == 1 or device.type != "cuda":
        return device
    if device.index is not None:
        raise ValueError(
            f"several processes cannot share {device}; say --device cuda "
            "(in training: --set device=cuda)"
        )
    count = torch.cuda.device_count()
    if world.local_size > count:  # the same in each of them
        raise ValueError(
            f"{world.local_size} processes on a machine with {count} GPUs; lower --nproc_per_node"
        )
    return torch.device("cuda", world.local_rank)


def is_connected() -> bool:
    """Whether the processes of this run have found each other; false when alone."""
    return dist.is_available() and dist.is_initialized()


@contextmanager
def connected(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes: NCCL between GPUs, gloo between CPUs; nothing when alone.

    No process leaves before all have finished: torchrun kills the others when one exits with an
    error, as an evaluation with unreadable images does, and the main process may still be writing.
    """
    if world.size == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        rank=world.rank,
        world_size=world.size,
        timeout=_TIMEOUT,
        device_id=device if device.type == "cuda" else None,
    )
    yield
    sys.stdout.flush()
    world.wait()
    # Not after an error: it would wait for processes that never come.
    dist.destroy_process_group()
