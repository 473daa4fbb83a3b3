"""A dask cluster as a backend of sweeps; imported only by runs that use one, and only where the extra [dask] is."""

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from distributed import CancelledError, Client, KilledWorker
from distributed.comm import CommClosedError
from joblib._dask import DaskDistributedBackend
from tornado.iostream import StreamClosedError

from synthetic.runs.backends import WorkersLostError

# Seconds to wait for a scheduler to answer, and for a cluster without workers to get one.
CONNECT_SECONDS, WORKER_SECONDS = 8.0, 30.0
# Who logs what nobody waited for.
EVENT_LOOPS = ("asyncio", "tornado.application")


def drop_closed_connections(record: logging.LogRecord) -> bool:
    """A filter of the event loop's logs: when a client closes, questions under way meet a closed connection, and nobody
    waits for their answers; a traceback of each would be printed. Tasks that are lost are reported by themselves."""
    return not (record.exc_info and isinstance(record.exc_info[1], (CommClosedError, StreamClosedError)))


def connect(address: str) -> Client:
    """A client of the scheduler there, which has a worker.

    Raises:
        ValueError: nothing answers within CONNECT_SECONDS, or there is no worker within WORKER_SECONDS.
    """
    for name in EVENT_LOOPS:
        logging.getLogger(name).addFilter(drop_closed_connections)
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
class _Failure:
    error: BaseException


class DaskBackend(DaskDistributedBackend):
    """joblib's dask backend, which otherwise waits for ever for a task that dask has given up, or for workers that
    are not there, and runs tasks in this process if the cluster has a single thread."""

    def __init__(self, client: Client, address: str) -> None:
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
                # The connection is gone: the tasks are canceled, which says so.
                return
        with self._lock:
            waiting = list(self._callbacks_open)[:1] if self._watching else []
            self._callbacks_open.difference_update(waiting)
        for callback in waiting:
            message = f"--scheduler {self._address}: all workers are gone, and none came within {WORKER_SECONDS:g} s"
            callback(_Failure(WorkersLostError(message)))
