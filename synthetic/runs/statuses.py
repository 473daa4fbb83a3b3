"""What the command lines of this package do alike."""

from collections.abc import Callable

from models import commands
from models.commands import BAD_ARGUMENTS, CRASHED, INTERRUPTED, NOT_WRITTEN, WORKERS_LOST
from synthetic.runs.backends import WorkersLostError

# A sweep's plan or results contradict each other (synthetic/audit/plan.py, synthetic/audit/rows.py).
AUDIT_FAILED = 6

__all__ = ["AUDIT_FAILED", "BAD_ARGUMENTS", "CRASHED", "INTERRUPTED", "NOT_WRITTEN", "WORKERS_LOST", "exit_status"]


def exit_status(work: Callable[[], int]) -> int:
    """As models.commands.exit_status; 4: too many workers died."""
    return commands.exit_status(work, {WorkersLostError: WORKERS_LOST})
