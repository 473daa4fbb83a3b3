"""Tasks of sweeps on a dask cluster; imported only by runs that use one, and only where the extra [dask] is."""

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from distributed import CancelledError, Client, Future, KilledWorker
from distributed.comm import CommClosedError
from tornado.iostream import StreamClosedError

from synthetic.runs.backends import WorkersLostError

# Seconds to wait for a scheduler to answer, and for a cluster without workers to get one.
CONNECT_SECONDS, WORKER_SECONDS = 8.0, 30.0
# Seconds without a result after which it is seen whether there are workers at all, and that a result may take to come
# from the worker that has it.
LOOK_SECONDS, FETCH_SECONDS = 0.5, 5.0
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


def results(client: Client, address: str, function: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
    """``function`` of every task, in the order in which they finish; what is not finished is canceled at the end.

    Args:
        address: the scheduler's, for errors.

    Raises:
        WorkersLostError: a task that several workers died of; no worker for WORKER_SECONDS; no scheduler any more.
        ValueError: workers that cannot run the function at all.
    """
    done: SimpleQueue[Future] = SimpleQueue()
    # All tasks are handed over at once, so that workers that join later have some to take.
    waiting = set(client.map(partial(_attempt, function), tasks, pure=False))
    for each in waiting:
        each.add_done_callback(done.put)
    seen = time.monotonic()
    try:
        while waiting:
            future: Future | None = None
            try:
                future = done.get(timeout=LOOK_SECONDS)
                found = _result(future, address)
            except (Empty, TimeoutError):
                if future is not None:
                    # Its worker died with it: it is computed once more, where there is another one.
                    future.add_done_callback(done.put)
                # dask would wait for the next worker for ever, and may call a result finished that died with the last.
                if _number_of_workers(client, address):
                    seen = time.monotonic()
                elif time.monotonic() - seen >= WORKER_SECONDS:
                    raise WorkersLostError(
                        f"--scheduler {address}: all workers are gone, and none came within {WORKER_SECONDS:g} s"
                    ) from None
                continue
            waiting.discard(future)
            yield found
            seen = time.monotonic()
    finally:
        client.cancel(list(waiting))


def _number_of_workers(client: Client, address: str) -> int:
    try:
        return len(client.ncores())
    except (OSError, AttributeError, RuntimeError, TimeoutError) as error:
        raise WorkersLostError(f"--scheduler {address}: the dask scheduler is gone") from error


def _attempt(function: Callable[[Any], Any], task: Any) -> tuple[Any, Exception | None]:
    """What a worker runs: its own errors are a result, so that dask's are another thing."""
    try:
        return function(task), None
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        return None, error


def _result(future: Future, address: str) -> Any:
    try:
        found, error = future.result(timeout=FETCH_SECONDS)
    except TimeoutError:
        raise
    except KilledWorker as error:
        raise WorkersLostError(
            f"--scheduler {address}: {error.allowed_failures + 1} workers died running the same task (out of memory?), "
            f"the last at {error.last_worker.address}"
        ) from error
    except (CancelledError, asyncio.CancelledError, CommClosedError) as error:
        raise WorkersLostError(f"--scheduler {address}: the dask scheduler is gone") from error
    except Exception as error:
        raise ValueError(
            f"--scheduler {address}: the task cannot be run there ({type(error).__name__}: {error}); the scheduler and "
            "every worker need this toolkit installed, in the same version"
        ) from error
    if error is not None:
        raise error
    return found
