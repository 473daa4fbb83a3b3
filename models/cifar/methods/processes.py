"""The processes of a run: joining their group, agreeing inside it, leaving it. Without a group there is one process."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from models.devices.gather import rank, world_size
from models.environment import resolve_device

ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
MOST_PROCESSES = 2**16
# Until all processes have found each other: an address where nobody answers is said to be one after that.
MEETING = timedelta(minutes=10)
# Afterwards: the first process may have to download and decode the images while the others wait.
WAITING = timedelta(hours=2)
OTHERWISE = "which has RANK: start several processes with torchrun, or unset RANK for a single one"

if dist.is_available():
    # Its functions take as a default the group that exists when it is imported, and DistributedDataParallel imports it.
    # Imported after a group was joined, it would keep that group's threads alive for good, see leave_group.
    import torch.distributed.nn.functional


@dataclass(frozen=True)
class Group:
    """This process's place among those that torchrun started: its number of all, and of those on this machine."""

    rank: int
    local_rank: int
    world_size: int


def group_of_environment() -> Group | None:
    """What the environment variables RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT say; None without RANK.

    A single process needs no LOCAL_RANK: it is the first on its machine.

    Raises:
        ValueError: one is missing, or is no such number; named.
    """
    if "RANK" not in os.environ:
        return None
    world_size = _variable("WORLD_SIZE", 1, MOST_PROCESSES)
    rank = _variable("RANK", 0, world_size - 1)
    local_rank = 0 if world_size == 1 and "LOCAL_RANK" not in os.environ else _variable("LOCAL_RANK", 0, world_size - 1)
    if not os.environ.get("MASTER_ADDR", "").strip():
        raise ValueError(f"MASTER_ADDR: is missing in the environment, {OTHERWISE}")
    _variable("MASTER_PORT", 0, 65535)
    return Group(rank, local_rank, world_size)


def _variable(name: str, low: int, high: int) -> int:
    text = os.environ.get(name)
    if text is None:
        raise ValueError(f"{name}: is missing in the environment, {OTHERWISE}")
    if not text.strip().isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{name}: must be a whole number in [{low}, {high}] in the environment, got {text!r}")
    return int(text)


def device_of_process(name: str) -> torch.device:
    """The device that this process works on; under torchrun each has a GPU of its own.

    Raises:
        ValueError: unknown or absent; under torchrun anything but cpu and cuda.
    """
    group = group_of_environment()
    if group is None:
        return resolve_device(name)
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device: must be cpu or cuda under torchrun, got {name}")
    device = resolve_device(name if name == "cpu" else f"cuda:{group.local_rank}")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def join_group(device: torch.device) -> None:
    """Join the group that torchrun's environment describes; nothing without one.

    Raises:
        ValueError: the environment is not whole, its address cannot be used, or the processes do not all come.
    """
    if group_of_environment() is None:
        return
    try:
        # As init_process_group does without a store, but with one time limit for both.
        store, rank, size = next(dist.rendezvous("env://", timeout=MEETING))
        store.set_timeout(WAITING)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=WAITING)
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        address = ":".join(os.environ[name] for name in ADDRESS)
        raise ValueError(f"{', '.join(ADDRESS)}: no group at {address}: {str(error).splitlines()[0]}") from error


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


def range_of_all(number: int, device: torch.device) -> tuple[int, int]:
    """The smallest and the largest of all processes' numbers, in each of them."""
    if world_size() == 1:
        return number, number
    ends = largest_of_all(torch.tensor([-number, number], device=device)).tolist()
    return -ends[0], ends[1]


def everywhere(flag: bool, device: torch.device) -> bool:
    """Whether it is so in all processes; they agree before any of them goes on."""
    if world_size() == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    dist.all_reduce(flags, op=dist.ReduceOp.MIN)
    return bool(flags)
