"""What all command lines do alike: errors become one line on stderr and an exit status."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

BAD_ARGUMENTS, NOT_WRITTEN, WORKERS_LOST, DIVERGED, INTERRUPTED, TERMINATED = 2, 3, 4, 5, 130, 143
# EX_SOFTWARE of sysexits.h. Python's own status for a traceback is 1, which here says that something is violated.
CRASHED = 70


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, as schedulers send it when time is up: ends a command as Ctrl-C does, so that what is finished is kept
    and no process goes on."""


def exit_status(work: Callable[[], int], others: Mapping[type[Exception], int] | None = None) -> int:
    """The status that ``work`` returns, or the one of the error that it raised.

    2: an argument, or a file that was to be read, is not usable. 3: results could not be written. 70: any other error,
    which is one of this program, with its traceback. 130: interrupted. 143: terminated.

    Args:
        others: further errors that end a command in their own words, and their status.
    """
    try:
        with _termination_interrupts():
            return work()
    except tuple(others or ()) as error:
        print(f"error: {error}", file=sys.stderr)
        return next(status for kind, status in others.items() if isinstance(error, kind))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    except BrokenPipeError:
        # Whoever read the printed report has left; the results are on disk. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOT_WRITTEN
    except OSError as error:
        print(f"error: cannot write results: {error}", file=sys.stderr)
        return NOT_WRITTEN
    except TerminatedError:
        print("\nterminated", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        print("error: this is an error of the program, not a result", file=sys.stderr)
        return CRASHED


@contextmanager
def _termination_interrupts() -> Iterator[None]:
    # Only the main thread may, and someone else's handler stays.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def raise_error(number: int, frame: object) -> None:
        raise TerminatedError

    signal.signal(signal.SIGTERM, raise_error)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
