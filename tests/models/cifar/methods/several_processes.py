"""A function in several gloo processes of this machine, that meet in a file: ports may be taken."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

from models.cifar.methods.processes import leave_group


def in_processes(count: int, work: Callable, folder: Path) -> list:
    """What work(rank) returns in each of them: tensors, numbers and text, in lists and dictionaries.

    Raises:
        ProcessRaisedException: work raised, or (on Linux, where it can be seen) the group has threads that live on.
    """
    torch.multiprocessing.spawn(_process, (count, work, str(folder)), nprocs=count)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(count)]


def _process(rank: int, count: int, work: Callable, folder: str) -> None:
    torch.set_num_threads(1)
    # Without a network too.
    os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=count, timeout=timedelta(seconds=600)
    )
    torch.save(work(rank), f"{folder}/{rank}.pt")
    # Nobody leaves while another still waits for an answer.
    dist.barrier()
    leave_group()
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if left := [name for name in names if "gloo" in name]:
        raise AssertionError(f"threads of the group are left: {left}")
