"""Times and memory of several ways to do the same, measured in one process: what runs beside them slows all alike."""

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# A piece of work is repeated until one measurement takes so many seconds: clocks and calls are not what is measured.
SHORTEST = 0.02


@dataclass(frozen=True)
class Spread:
    """A ratio's median and extremes over the rounds."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Float[np.ndarray, " rounds"]) -> "Spread":
        return Spread(float(np.median(values)), float(values.min()), float(values.max()))

    def __str__(self) -> str:
        return f"{self.median:6.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Times:
    """Seconds of one call, a value each round.

    Attributes:
        wall: on the clock.
        cpu: of all threads of this process; what other processes take is not in it.
    """

    wall: Float[np.ndarray, " rounds"]
    cpu: Float[np.ndarray, " rounds"]

    @property
    def milliseconds(self) -> float:
        """The median on the clock."""
        return float(np.median(self.wall)) * 1e3

    def over(self, other: "Times") -> tuple[Spread, Spread]:
        """How many times another's these are, round by round: on the clock, and of the CPU."""
        return Spread.of(self.wall / other.wall), Spread.of(self.cpu / other.cpu)


def in_turn(work: Mapping[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, Times]:
    """Times of all kinds of work, which take turns; a first round warms up, and says how often each is repeated. What
    is repeated is called once more, untimed, before: whoever had the turn before left caches and memory as they are.

    Args:
        device: that is waited for, so that what it still has to do counts.
    """
    repeats: dict[str, int] = {}
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in work}
    for number in range(rounds + 1):
        for name, call in work.items():
            count = repeats.get(name, 1)
            if count > 1:
                call()
                wait_for(device)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                call()
            wait_for(device)
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if number:
                for values, value in zip(found[name], spent):
                    values.append(value / count)
            else:
                repeats[name] = max(1, int(np.ceil(SHORTEST / max(spent[0], 1e-6))))
    return {name: Times(np.array(wall), np.array(cpu)) for name, (wall, cpu) in found.items()}


def wait_for(device: torch.device) -> None:
    """Until a GPU, NVIDIA's or Apple's, has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Bytes of the tensors that are alive at once during a call, those from before it left out.

    On a GPU the allocator says so; elsewhere every operation's results are counted as long as they live. What a library
    needs inside an operation is not seen there.
    """
    if device.type == "cuda":
        wait_for(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        wait_for(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Living() as living:
        work()
    return living.peak


class _Living(TorchDispatchMode):
    """Counts the bytes of storages that operations made and that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._bytes = 0
        self._known: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given = {id(each.untyped_storage()) for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                storage = each.untyped_storage()
                if id(storage) not in self._known and id(storage) not in given:
                    self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        self._known[key] = weakref.finalize(storage, self._forget, key, size)
        self._bytes += size
        self.peak = max(self.peak, self._bytes)

    def _forget(self, key: int, size: int) -> None:
        del self._known[key]
        self._bytes -= size
