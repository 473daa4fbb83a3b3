"""Where the tasks of a sweep run: in this process, in processes of this machine, or on the workers of a dask cluster.

Results are the same bytes wherever they are computed, because every task runs with the same versions of the libraries,
the same number of torch threads and one BLAS thread; processors of another kind may still round differently.

joblib runs the tasks here, and dask on a cluster; they come back in the order in which they finish:

    with open_backend(BackendOptions("loky", jobs=4), torch.device("cpu")) as backend:
        for index, result in backend.map(function, tasks):
            ...
"""

import inspect
import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, final
from urllib.parse import urlsplit

import joblib
import numpy as np
import scipy
import torch
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool
from threadpoolctl import threadpool_limits

from theory.console.extras import require_extra
from theory.numerics.inputs import require_count, require_range

if TYPE_CHECKING:
    from distributed import Client

# More than this starves the machine that it is asked of before anything is computed.
MAX_JOBS, MAX_THREADS = 512, 512
# Processes that nobody asked for: each takes as much memory as this one.
MOST_UNASKED = 8
PROTOCOLS = ("tcp", "tls", "ws", "wss")
BackendKind = Literal["serial", "loky", "dask"]


class WorkersLostError(RuntimeError):
    """Worker processes, or the scheduler, died too often for the run to go on; the message says which."""


@dataclass(frozen=True)
class BackendOptions:
    """Where tasks run, as every sweep's command line has it.

    Raises ValueError, naming the field, for combinations that mean nothing.
    """

    backend: BackendKind | None = None
    """serial: this process, whose threads use the cores; loky: processes of this machine; dask: a cluster. By default
    loky, with one process of one thread for each thread that torch would take, at most 8; serial where that is one,
    where --threads says how many, on a GPU, and where there is too little to do (--quick)."""
    jobs: int | None = None
    """Processes of backend loky, 1 to 512 (1: this one); by default one a core."""
    scheduler: str | None = None
    """Address of the dask scheduler, such as tcp://HOST:8786; with backend dask, and only there."""
    threads: int | None = None
    """Torch threads of every task, 1 to 512; by default what torch takes in this process. With many processes a core
    each, 1 is fastest."""

    def __post_init__(self) -> None:
        for name, largest in (("jobs", MAX_JOBS), ("threads", MAX_THREADS)):
            if getattr(self, name) is not None:
                require_range(require_count(getattr(self, name), name, 1), name, 1, largest)
        if self.jobs is not None and self.backend not in ("loky", None):
            raise ValueError(f"--jobs: goes with --backend loky only, not with {self.backend}")
        if self.scheduler is not None and self.backend != "dask":
            raise ValueError(f"--scheduler: goes with --backend dask only, not with {self.backend or 'the default'}")
        if self.backend == "dask":
            if self.scheduler is None:
                raise ValueError("--scheduler: is required with --backend dask, such as tcp://HOST:8786")
            _require_address(self.scheduler)

    def resolved(self, device: torch.device, small: bool = False) -> "BackendOptions":
        """With a backend, where none was named.

        Args:
            small: there is so little to do that processes are not worth their start, which takes seconds.
        """
        if self.backend is not None:
            return self
        if self.jobs is not None:
            return replace(self, backend="loky")
        count = min(torch.get_num_threads(), MOST_UNASKED)
        if small or count == 1 or self.threads is not None or device.type != "cpu":
            return replace(self, backend="serial")
        return replace(self, backend="loky", jobs=count, threads=1)

    @property
    def processes(self) -> int:
        """Of this machine, that compute tasks."""
        return self.jobs or joblib.cpu_count() if self.backend == "loky" else 1


def _require_address(address: str) -> None:
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        usable = parts.scheme in PROTOCOLS and parts.hostname and parts.port and parts.path in ("", "/")
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            f"--scheduler {address}: must be PROTOCOL://HOST:PORT, with a protocol of {', '.join(PROTOCOLS)} and a "
            "port from 1 to 65535, such as tcp://HOST:8786"
        )


@final
class Backend:
    """An open backend. ``map`` may be called again and again, one call at a time.

    Attributes:
        in_process: tasks run in this process, one after the other, so that what they call need not be picklable.
    """

    def __init__(self, options: BackendOptions, client: "Client | None", threads: int) -> None:
        self.in_process = options.backend == "serial"
        self._options = options
        self._client = client
        self._threads = threads
        self._running: Generator[tuple[int, Any], None, None] | None = None

    def map(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """``(i, function(tasks[i]))`` for all tasks, in the order in which they finish.

        Args:
            function: of one argument; unless ``in_process``, it, the tasks and the results are pickled. Its own errors
                reach the caller.

        Raises:
            WorkersLostError: workers died too often, or the scheduler did; what came before counts.
            ValueError: a worker has other versions of the libraries, or not this toolkit.
            RuntimeError: an earlier call is under way.
        """
        if self._running is not None and inspect.getgeneratorstate(self._running) != inspect.GEN_CLOSED:
            raise RuntimeError("Backend.map: an earlier call is not finished")
        self._running = self._results(function, tasks)
        return self._running

    def _results(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Generator[tuple[int, Any], None, None]:
        calls = [_Call(index, function, task, self._threads, _versions()) for index, task in enumerate(tasks)]
        if not calls:
            return
        if self._client is not None:
            from synthetic.runs import dask_cluster

            yield from dask_cluster.results(self._client, str(self._options.scheduler), _run, calls)
            return
        # One task a batch, so that each result is there as soon as it is computed. No memory maps: they would need room
        # on a disk. Loky's own thread fails noisily when it is stopped with more tasks waiting than its processes can
        # queue.
        parallel = joblib.Parallel(
            n_jobs=self._options.processes, backend="loky",
            return_as="generator_unordered", batch_size=1, max_nbytes=None, pre_dispatch="2*n_jobs",
            initializer=_leave_interrupts,
        )  # fmt: skip
        try:
            yield from parallel(joblib.delayed(_run)(call) for call in calls)
        except BrokenProcessPool as error:
            cause = str(error).strip().split("\n")[0]
            raise WorkersLostError(f"--backend loky: a worker process died (out of memory?): {cause}") from error

    def close(self) -> None:
        """Drop the tasks that are not finished, stop loky's processes, leave dask's scheduler."""
        if self._running is not None:
            with warnings.catch_warnings():
                # joblib warns about tasks that it cancels, which is what is wanted here.
                warnings.simplefilter("ignore", UserWarning)
                self._running.close()
        if self._client is not None:
            self._client.close()
        elif not self.in_process:
            get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


@contextmanager
def open_backend(options: BackendOptions, device: torch.device, small: bool = False) -> Iterator[Backend]:
    """The backend that the options name, closed at the end: no task goes on, but those that dask's workers have begun.

    Args:
        small: as of ``BackendOptions.resolved``.

    Raises:
        ValueError: a device other than the CPU with several processes; a scheduler that does not answer within
            dask_cluster.CONNECT_SECONDS or has no worker within WORKER_SECONDS; the extra [dask] is not installed.
    """
    options = options.resolved(device, small)
    if options.backend != "serial" and device.type != "cpu":
        raise ValueError(
            f"--device {device}: goes with --backend serial only, not with {options.backend}: "
            "GPU batches stay in one process per device"
        )
    before = torch.get_num_threads()
    threads = before if options.threads is None else options.threads
    client = None if options.scheduler is None else _connect(options.scheduler)
    backend = Backend(options, client, threads)
    try:
        torch.set_num_threads(threads)
        with threadpool_limits(1, user_api="blas"):
            yield backend
    finally:
        torch.set_num_threads(before)
        backend.close()


def _connect(address: str) -> "Client":
    # Dask takes half a second to import, and is an extra.
    require_extra("dask", "--backend dask")
    from synthetic.runs.dask_cluster import connect

    return connect(address)


@dataclass(frozen=True)
class _Call:
    """One task on its way."""

    index: int
    function: Callable[[Any], Any]
    task: Any
    threads: int
    versions: dict[str, str]


def _run(call: _Call) -> tuple[int, Any]:
    """What a worker does: not undone afterwards, because the other threads of a dask worker need the same."""
    if _versions() != call.versions:
        here, there = ", ".join(map(" ".join, _versions().items())), ", ".join(map(" ".join, call.versions.items()))
        raise ValueError(f"--backend: a worker has {here}, but this run {there}; rows would differ, install the same")
    threadpool_limits(1, user_api="blas")
    torch.set_num_threads(call.threads)
    return call.index, call.function(call.task)


def _leave_interrupts() -> None:
    """A terminal interrupts all processes at once; loky's are stopped by the one that started them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _versions() -> dict[str, str]:
    """Libraries whose rounding the results depend on; torch without the accelerator that it was built for."""
    return {"numpy": np.__version__, "scipy": scipy.__version__, "torch": torch.__version__.split("+")[0]}
