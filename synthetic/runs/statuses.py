"""What the command lines of this package do alike."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from models import commands
from models.commands import AUDIT_FAILED, BAD_ARGUMENTS, CRASHED, INTERRUPTED, NOT_WRITTEN, WORKERS_LOST
from synthetic.runs.backends import WorkersLostError

__all__ = [
    "AUDIT_FAILED",
    "BAD_ARGUMENTS",
    "CRASHED",
    "INTERRUPTED",
    "NOT_WRITTEN",
    "WORKERS_LOST",
    "command",
    "exit_status",
]
Options = TypeVar("Options")
OTHERS = {WorkersLostError: WORKERS_LOST}


def exit_status(work: Callable[[], int]) -> int:
    """As models.commands.exit_status; 4: too many workers died."""
    return commands.exit_status(work, OTHERS)


def command(
    run: Callable[[Options], int],
    kind: Callable[..., Options],
    arguments: list[str] | None,
    prog: str,
    description: str | None,
    quick: Mapping[str, Any] | None = None,
) -> int:
    """As models.commands.command; 4: too many workers died."""
    return commands.command(run, kind, arguments, prog, description, quick, OTHERS)
