"""One training by several processes: how they join, which parts of a step each computes, how their sums meet. Knows no task.

`accelerate launch` and `torchrun` start them, on one machine or several, and say in the environment who is who.
"""

import os
from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import ConfigError, DeviceError

BUCKET = 16 * 2**20  # numbers that are summed in one call: a copy of 64 MB in float32, however large the model is


def join(device: str) -> str:
    """Meet the other processes, if there are any; returns the device of this one.

    Args:
        device: "cpu", or "cuda" for the GPU of this process's local rank.

    Raises:
        DeviceError: `accelerate launch --cpu` was asked for several processes, of which it starts one only.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        if "MASTER_ADDR" in os.environ and "ACCELERATE_USE_CPU" in os.environ and "RANK" not in os.environ:
            raise DeviceError("`accelerate launch --cpu` starts one process, whatever --num_processes says.",
                              "Run: accelerate launch --multi_gpu --num_processes N -m assistant.training ... (it serves a CPU too).")
        return device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("gloo" if device == "cpu" else "nccl")
    return device


class ProcessGroup:
    """The processes of one training, or the only one.

    Attributes:
        rank: of this process. world: how many there are.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    def mine(self, parts: int) -> range:
        """Which of a step's parts this process computes.

        Raises:
            ConfigError: there are fewer parts than processes.
        """
        if parts < self.world:
            raise ConfigError(f"{self.world} processes cannot share a batch of {parts} part{'s' * (parts > 1)}.",
                              f"Start no more than {parts}, or begin anew in another folder with --parts {self.world}.")
        return range(self.rank, parts, self.world)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Put into each tensor, of one dtype, its sum over the processes."""
        if self.world == 1:
            return
        for some in _buckets(list(tensors)):
            flat = torch.cat([t.flatten() for t in some])
            dist.all_reduce(flat)
            for t, part in zip(some, flat.split([t.numel() for t in some])):
                t.copy_(part.view_as(t))

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Put the first process's into everyone's."""
        if self.world > 1:
            for t in tensors:
                dist.broadcast(t, 0)

    def agreed(self, *numbers: float) -> list[float]:
        """The first process's numbers."""
        if self.world == 1:
            return list(numbers)
        said = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.broadcast(said, 0)
        return said.tolist()

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    some: list[Tensor] = []
    for t in tensors:
        if some and sum(s.numel() for s in some) + t.numel() > BUCKET:
            yield some
            some = []
        some.append(t)
    if some:
        yield some
