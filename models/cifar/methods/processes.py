"""The processes of a run: joining their group, agreeing inside it, leaving it. Without a group there is one process."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from models.environment import resolve_device

if dist.is_available():
    # Its functions take as a default the group that exists when it is imported, and DistributedDataParallel imports it.
    # Imported after a group was joined, it would keep that group's threads alive for good, see leave_group.
    import torch.distributed.nn.functional


def rank() -> int:
    """This process's number, 0 without a group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are, 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def device_of_process(name: str) -> torch.device:
    """The device that this process works on; under torchrun each has a GPU of its own.

    Raises:
        ValueError: unknown or absent; under torchrun anything but cpu and cuda.
    """
    if "RANK" not in os.environ:
        return resolve_device(name)
    if name not in ("cpu", "cuda") or "LOCAL_RANK" not in os.environ:
        raise ValueError(f"device: must be cpu or cuda under torchrun, got {name}")
    device = resolve_device(name if name == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def join_group(device: torch.device) -> None:
    """Join the group that torchrun's environment describes; nothing without one."""
    if "RANK" in os.environ:
        # The first process may have to download and decode the images while the others wait.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(hours=2))


def leave_group() -> None:
    """Leave the group and end its threads; nothing without a group.

    gloo's threads end with the last object that refers to the group. One that is still alive while the interpreter
    shuts down, and lets go of a tensor there, aborts a process whose work is done. So wrappers such as
    DistributedDataParallel must be out of scope here, and those that form cycles are collected.
    """
    if dist.is_available() and dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


@contextmanager
def first_process_first() -> Iterator[None]:
    """Process 0 goes through the body while the others wait, then they do."""
    if rank() > 0:
        dist.barrier()
    yield
    if world_size() > 1 and rank() == 0:
        dist.barrier()


def largest_of_all(value: torch.Tensor) -> torch.Tensor:
    """The largest of all processes' numbers, in each of them; nobody waits for a GPU."""
    if world_size() > 1:
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return value


def everywhere(flag: bool, device: torch.device) -> bool:
    """Whether it is so in all processes; they agree before any of them goes on."""
    if world_size() == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    dist.all_reduce(flags, op=dist.ReduceOp.MIN)
    return bool(flags)
