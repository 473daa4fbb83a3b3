"""What all command lines do alike: errors become one line on stderr and an exit status."""

import os
import sys
from collections.abc import Callable

from synthetic.backends import WorkersLostError

BAD_ARGUMENTS, NOT_WRITTEN, WORKERS_LOST, INTERRUPTED = 2, 3, 4, 130


def exit_status(work: Callable[[], int]) -> int:
    """The status that ``work`` returns, or the one of the error that it raised.

    2: an argument, or a file that was to be read, is not usable. 3: results could not be written. 4: too many
    workers died. 130: interrupted.
    """
    try:
        return work()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    except WorkersLostError as error:
        print(f"error: {error}", file=sys.stderr)
        return WORKERS_LOST
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
