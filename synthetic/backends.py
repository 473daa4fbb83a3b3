"""Where the tasks of a sweep run: in this process, in processes of this machine, or on the workers of a dask cluster.

Results are the same bytes wherever they are computed, because every task runs with the same versions of the libraries,
the same number of torch threads and one BLAS thread; processors of another kind may still round differently.

joblib runs the tasks, which come back in the order in which they finish:

    with open_backend(BackendOptions("loky", jobs=4), torch.device("cpu")) as backend:
        for index, result in backend.map(function, tasks):
            ...
"""

import asyncio
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, final
from urllib.parse import urlsplit

import joblib
import numpy as np
import scipy
import torch
from joblib._dask import DaskDistributedBackend
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool
from threadpoolctl import threadpool_limits

from theory.inputs import require_count, require_range

if TYPE_CHECKING:
    from distributed import Client

# More than this starves the machine that it is asked of before anything is computed.
MAX_JOBS, MAX_THREADS = 512, 512
# Seconds to wait for a scheduler to answer, and for a cluster without workers to get one.
CONNECT_SECONDS, WORKER_SECONDS = 8.0, 30.0
PROTOCOLS = ("tcp", "tls", "ws", "wss")


class WorkersLostError(RuntimeError):
    """Worker processes, or the scheduler, died too often for the run to go on; the message says which."""


@dataclass(frozen=True)
class BackendOptions:
    """Where tasks run, as every sweep's command line has it.

    Raises ValueError, naming the field, for combinations that mean nothing.
    """

    backend: Literal["serial", "loky", "dask"] = "serial"
    """serial: this process, whose threads use the cores; loky: processes of this machine; dask: a cluster."""
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
        if self.jobs is not None and self.backend != "loky":
            raise ValueError(f"--jobs: goes with --backend loky only, not with {self.backend}")
        if self.scheduler is not None and self.backend != "dask":
            raise ValueError(f"--scheduler: goes with --backend dask only, not with {self.backend}")
        if self.backend == "dask":
            if self.scheduler is None:
                raise ValueError("--scheduler: is required with --backend dask, such as tcp://HOST:8786")
            _require_address(self.scheduler)


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
        if self._running is not None and self._running.gi_frame is not None:
            raise RuntimeError("Backend.map: an earlier call is not finished")
        self._running = self._results(function, tasks)
        return self._running

    def _results(self, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Generator[tuple[int, Any], None, None]:
        calls = [_Call(index, function, task, self._threads, _versions()) for index, task in enumerate(tasks)]
        if not calls:
            return
        try:
            yield from self._parallel()(joblib.delayed(_run)(call) for call in calls)
        except BrokenProcessPool as error:
            cause = str(error).strip().split("\n")[0]
            raise WorkersLostError(f"--backend loky: a worker process died (out of memory?): {cause}") from error

    def _parallel(self) -> joblib.Parallel:
        # One task a batch, so that each result is there as soon as it is computed. No memory maps: they would need room
        # on a disk.
        how = {"return_as": "generator_unordered", "batch_size": 1, "max_nbytes": None}
        if self._client is not None:
            # All tasks are handed over at once, so that workers that join later have some to take.
            backend = _DaskBackend(self._client, str(self._options.scheduler))
            return joblib.Parallel(backend=backend, pre_dispatch="all", **how)
        # Loky's own thread fails noisily when it is stopped with more tasks waiting than its processes can queue.
        jobs = 1 if self.in_process else self._options.jobs or joblib.cpu_count()
        return joblib.Parallel(
            n_jobs=jobs, backend="loky", pre_dispatch="2*n_jobs", initializer=_leave_interrupts, **how
        )

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
def open_backend(options: BackendOptions, device: torch.device) -> Iterator[Backend]:
    """The backend that the options name, closed at the end: no task goes on, but those that dask's workers have begun.

    Raises:
        ValueError: a device other than the CPU with several processes; a scheduler that does not answer within
            CONNECT_SECONDS or has no worker within WORKER_SECONDS; the extra [dask] is not installed.
    """
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
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            "--backend dask: needs the extra [dask]; pip install 'contrastive-theory-toolkit[dask]'"
        ) from error
    answer: SimpleQueue[Client | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(Client(address, timeout=CONNECT_SECONDS, set_as_default=False))
        except Exception as error:
            answer.put(error)

    # A thread of its own, because distributed waits for ever for the greeting of something that is no scheduler.
    threading.Thread(target=ask, name="connect", daemon=True).start()
    try:
        client = answer.get(timeout=CONNECT_SECONDS + 1.0)
    except Empty as error:
        client = error
    if isinstance(client, Exception):
        raise ValueError(
            f"--scheduler {address}: no dask scheduler answered there within {CONNECT_SECONDS:g} s; "
            f"start one with `dask scheduler` ({type(client).__name__})"
        ) from client
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except BaseException as error:
        client.close()
        if not isinstance(error, TimeoutError):
            raise
        raise ValueError(
            f"--scheduler {address}: it has no worker after {WORKER_SECONDS:g} s; start some with `dask worker "
            f"{address}`"
        ) from error
    return client


@dataclass(frozen=True)
class _Call:
    """One task on its way. An object of its own, because joblib would scatter large arguments to single workers, and
    dask cannot restore what was scattered to one that died."""

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


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class _DaskBackend(DaskDistributedBackend):
    """joblib's dask backend, which otherwise waits for ever for a task that dask has given up, or for workers that
    are not there, and runs tasks in this process if the cluster has a single thread."""

    def __init__(self, client: "Client", address: str) -> None:
        super().__init__(client=client)
        self._address = address
        self._callbacks_open: set[Callable[[Any], None]] = set()
        self._lock = threading.Lock()
        self._watching = False

    def effective_n_jobs(self, n_jobs: int) -> int:
        return max(2, sum(self.client.ncores().values()))

    def start_call(self) -> None:
        super().start_call()
        self._watching = True
        self.client.loop.add_callback(self._watch)

    def stop_call(self) -> None:
        self._watching = False
        super().stop_call()

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], None]) -> Any:
        def report(result: Any) -> None:
            with self._lock:
                known = callback in self._callbacks_open
                self._callbacks_open.discard(callback)
            if known:
                callback(result)

        with self._lock:
            self._callbacks_open.add(callback)
        job = super().submit(func, report)
        # joblib hands on results only.
        job.add_done_callback(lambda done: report(_Failure(done.exception())) if done.exception() else None)
        return job

    def retrieve_result_callback(self, out: Any) -> Any:
        if isinstance(out, _Failure):
            raise self._explain(out.error) from out.error
        if isinstance(out, BaseException):
            raise self._explain(out) from out
        return super().retrieve_result_callback(out)

    def _explain(self, error: BaseException) -> Exception:
        from distributed import CancelledError, KilledWorker

        if isinstance(error, WorkersLostError):
            return error
        if isinstance(error, KilledWorker):
            return WorkersLostError(
                f"--scheduler {self._address}: {error.allowed_failures + 1} workers died running the same task (out of "
                f"memory?), the last at {error.last_worker.address}"
            )
        if isinstance(error, (CancelledError, asyncio.CancelledError)):
            return WorkersLostError(f"--scheduler {self._address}: the dask scheduler is gone")
        return ValueError(
            f"--scheduler {self._address}: the task cannot be run there ({type(error).__name__}: {error}); the "
            "scheduler and every worker need this toolkit installed, in the same version"
        )

    async def _watch(self) -> None:
        """Give up once the cluster has had no worker for WORKER_SECONDS; dask would wait for the next for ever."""
        empty = 0.0
        while self._watching and empty < WORKER_SECONDS:
            await asyncio.sleep(0.5)
            try:
                empty = 0.0 if await self.client.scheduler.ncores() else empty + 0.5
            except (OSError, AttributeError):
                # The connection is gone: the tasks are cancelled, which says so.
                return
        with self._lock:
            waiting = list(self._callbacks_open)[:1] if self._watching else []
            self._callbacks_open.difference_update(waiting)
        for callback in waiting:
            message = f"--scheduler {self._address}: all workers are gone, and none came within {WORKER_SECONDS:g} s"
            callback(_Failure(WorkersLostError(message)))
