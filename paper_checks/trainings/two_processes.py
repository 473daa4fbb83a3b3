"""What two processes do to a training: gradients through the gather, and statistics of batch normalization."""

import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, normalize
from torch.nn.parallel import DistributedDataParallel

from models.cifar.methods.processes import leave_group
from models.cifar.training.config import TrainConfig
from models.devices.gather import gather_rows
from models.losses import nt_xent
from paper_checks.tiers import Control
from paper_checks.trainings.arms import Training, images, train_and_evaluate
from theory.numerics.whole_files import write_table

PROCESSES = 2
# How libraries are told how many threads to start.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CPU = torch.device("cpu")
TEMPERATURE = 0.5


def in_two_processes(work: Callable[..., None], *arguments: Any) -> None:
    """work(rank, *arguments) in two gloo processes, which meet in a file.

    Raises:
        torch.multiprocessing.ProcessException: one of them failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = f"file://{folder}/rendezvous"
        context = torch.multiprocessing.start_processes(
            _process, (rendezvous, work, arguments), nprocs=PROCESSES, join=False, start_method=_start_method()
        )
        try:
            while not context.join():
                pass
        except KeyboardInterrupt:
            for process in context.processes:
                process.terminate()
            raise


def _start_method() -> str:
    """On Linux from a server that has imported everything once: that takes as long as a training of the quick tier."""
    if sys.platform != "linux":
        # A process that has loaded a system's frameworks cannot be forked everywhere.
        return "spawn"
    from multiprocessing.forkserver import ensure_running

    main = getattr(sys.modules["__main__"], "__spec__", None)
    torch.multiprocessing.set_forkserver_preload([main.name if main else "__main__", "torch._dynamo", __name__])
    threads = {name: os.environ.get(name) for name in THREADS}
    # One that has threads of its own is no good to fork from.
    os.environ |= dict.fromkeys(THREADS, "1")
    try:
        ensure_running()
    finally:
        for name, before in threads.items():
            del os.environ[name]
            os.environ |= {} if before is None else {name: before}
    return "forkserver"


def _process(rank: int, rendezvous: str, work: Callable[..., None], arguments: tuple) -> None:
    threading.Thread(target=_end_with_starter, daemon=True).start()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=PROCESSES)
    work(rank, *arguments)
    # Nobody leaves while another still waits for an answer.
    dist.barrier()
    leave_group()


def _end_with_starter() -> None:
    """The server is not told when who asked it is killed, and what it has started would go on."""
    starter = torch.multiprocessing.parent_process()
    if starter is not None:
        starter.join()
        os._exit(1)


@dataclass(frozen=True)
class TwoProcessTraining:
    """A training whose batches are shared out among two processes on the CPU, each with its own statistics; a task."""

    label: str
    config: TrainConfig
    control: Control = "none"

    @classmethod
    def of(cls, training: Training) -> "TwoProcessTraining":
        """The training of one process, in two."""
        return cls(f"{training.label},two processes", training.config, training.control)

    @property
    def name(self) -> str:
        """Of the folder."""
        return f"{self.label}-seed{self.config.seed}"

    @property
    def alone(self) -> bool:
        """It starts two processes, which a worker process cannot."""
        return True

    @property
    def leaves(self) -> tuple[str, ...]:
        """Tables that claims read."""
        return ("config.json", "epochs.csv", "results.csv")

    def run(self, folder: Path) -> None:
        """Train, evaluate, and leave the tables."""
        in_two_processes(_train_part, self.config, self.control, str(folder))


def _train_part(rank: int, config: TrainConfig, control: Control, folder: str) -> None:
    train_and_evaluate(config, images(config.data, control), CPU, Path(folder))


@dataclass(frozen=True)
class GatherGradients:
    """The gradient of NT-Xent in two processes, each with the loss of its own anchors against all rows, against that in
    one process, for two ways to gather; a task."""

    seeds: int
    rows: int = 16
    dim: int = 8

    @property
    def name(self) -> str:
        """Of the folder."""
        return f"gather-gradients-own-anchors-{self.seeds}"

    @property
    def alone(self) -> bool:
        """It starts two processes, which a worker process cannot."""
        return True

    @property
    def leaves(self) -> tuple[str, ...]:
        """Its only table."""
        return ("gradients.csv",)

    def run(self, folder: Path) -> None:
        """One row a seed and way."""
        in_two_processes(_gradient_errors, self, str(folder))


def _gradient_errors(rank: int, task: GatherGradients, folder: str) -> None:
    found = []
    for seed in range(task.seeds):
        views = torch.randn(2, task.rows, task.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        whole = _network(task, seed)
        first, second = whole(views.flatten(0, 1)).chunk(2)
        nt_xent(first, second, TEMPERATURE).backward()
        exact = _gradient(whole)
        for way, gather in (("differentiable", gather_rows), ("detached", _detached_gather)):
            network = DistributedDataParallel(_network(task, seed))
            own = views.chunk(PROCESSES, dim=1)[rank]
            first, second = (gather(each) for each in network(own.flatten(0, 1)).chunk(2))
            own_anchors_loss(first, second, rank).backward()
            gradient = _gradient(network)
            error = (gradient - exact).norm() / exact.norm()
            # Rounding may leave no error at all.
            found.append({"seed": seed, "gather": way, "log10_error": math.log10(max(error.item(), 1e-17)),
                          "cosine": cosine_similarity(gradient, exact, 0).item()})  # fmt: skip
    if rank == 0:
        write_table(Path(folder) / "gradients.csv", found)


def own_anchors_loss(first: Tensor, second: Tensor, rank: int) -> Tensor:
    """NT-Xent of one process's anchors, its rows of both views, against the gathered rows (N, D) of each view: the mean
    over these anchors, as libraries compute it. Over processes its mean is NT-Xent of the global batch.

    models.losses has the whole loss only, whose gradient under a detached gather is right but for the factor 1/W."""
    count, each = len(first), len(first) // PROCESSES
    rows = normalize(torch.cat([first, second]))
    own = torch.arange(rank * each, (rank + 1) * each)
    anchors, partners = torch.cat([own, own + count]), torch.cat([own + count, own])
    scores = rows[anchors] @ rows.mT / TEMPERATURE
    itself = torch.arange(2 * count) == anchors[:, None]
    return cross_entropy(scores.masked_fill(itself, -math.inf), partners)


def _network(task: GatherGradients, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(task.dim, 16), nn.Tanh(), nn.Linear(16, 8)).double()


def _gradient(network: nn.Module) -> Tensor:
    found = []
    for parameter in network.parameters():
        assert parameter.grad is not None
        found.append(parameter.grad.flatten())
    return torch.cat(found)


def _detached_gather(features: Tensor) -> Tensor:
    """The other process's rows without their gradient, as a plain all_gather leaves them."""
    rows = gather_rows(features.detach()).clone()
    first = dist.get_rank() * len(features)
    rows[first : first + len(features)] = features
    return rows
