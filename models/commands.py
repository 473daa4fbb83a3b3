"""What all command lines do alike: errors become one line on stderr and an exit status."""

import os
import sys
from collections.abc import Callable, Mapping

BAD_ARGUMENTS, NOT_WRITTEN, WORKERS_LOST, DIVERGED, INTERRUPTED = 2, 3, 4, 5, 130


def exit_status(work: Callable[[], int], others: Mapping[type[Exception], int] | None = None) -> int:
    """The status that ``work`` returns, or the one of the error that it raised.

    2: an argument, or a file that was to be read, is not usable. 3: results could not be written. 130: interrupted.

    Args:
        others: further errors that end a command in their own words, and their status.
    """
    try:
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
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
