"""What all command lines do alike: options are read from words, and whatever happens has an exit status."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tyro

from theory.console.children import command_words
from theory.console.typed import as_typed
from theory.numerics.commands import (
    AUDIT_FAILED,
    BAD_ARGUMENTS,
    CHECK_FAILED,
    CRASHED,
    DIVERGED,
    DONE,
    INTERRUPTED,
    LIMIT_REACHED,
    NOT_DRAWN,
    NOT_WRITTEN,
    OUT_OF_MEMORY,
    TERMINATED,
    WORKERS_LOST,
    TerminatedError,
    exit_status,
    status_of_figures,
    statuses_in_words,
)

__all__ = [
    "AUDIT_FAILED",
    "BAD_ARGUMENTS",
    "CHECK_FAILED",
    "CRASHED",
    "DIVERGED",
    "DONE",
    "INTERRUPTED",
    "LIMIT_REACHED",
    "NOT_DRAWN",
    "NOT_WRITTEN",
    "OUT_OF_MEMORY",
    "TERMINATED",
    "WORKERS_LOST",
    "TerminatedError",
    "command",
    "draw",
    "exit_status",
    "help_text",
    "parse",
    "words_of",
]

Options = TypeVar("Options")


def help_text(description: str | None) -> str:
    """What --help shows: the command's own words, and the table of exit statuses."""
    return f"{as_typed(description or '')}\n\n{statuses_in_words()}"


def words_of(arguments: list[str] | None) -> list[str]:
    """The words of a command line, those of the process for None.

    Raises:
        ValueError: an option is given nothing at all, as by a variable of the shell that is not set: an empty path
            would mean the folder that one is in.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    for before, word in zip(["the first word", *words], words):
        if word == "" or (word.startswith("--") and word.endswith("=")):
            raise ValueError(f"{word.rstrip('=') or before}: is given an empty value")
    return words


def parse(
    kind: type[Options],
    arguments: list[str] | None,
    prog: str,
    description: str | None,
    quick: Mapping[str, Any] | None = None,
) -> Options:
    """Options from the words of a command line.

    Args:
        arguments: None takes those of the process.
        quick: what --quick puts in the place of defaults. A value that is given always wins, also where it is the
            usual default.

    Raises:
        ValueError: values that cannot be used, named.
        SystemExit: words that are no options (2), or --help (0).
    """
    words = words_of(arguments)
    program, told = as_typed(prog), help_text(description)
    if quick is not None and _last_flag(words, "quick"):
        made: Callable[..., Options] = kind
        return tyro.cli(kind, args=words, prog=program, description=told, default=made(**quick, quick=True))
    return tyro.cli(kind, args=words, prog=program, description=told)


def _last_flag(words: list[str], name: str) -> bool:
    """Whether a flag is set, by the last word about it."""
    said = [word for word in words if word in (f"--{name}", f"--no-{name}")]
    return bool(said) and said[-1] == f"--{name}"


def command(
    run: Callable[[Options], int],
    kind: type[Options],
    arguments: list[str] | None,
    prog: str,
    description: str | None,
    quick: Mapping[str, Any] | None = None,
    others: Mapping[type[Exception], int] | None = None,
) -> int:
    """A command line from words to exit status (``parse``, ``exit_status``)."""
    return exit_status(lambda: run(parse(kind, arguments, prog, description, quick)), others)


def draw(folder: Path) -> int:
    """Draw a run folder's figures in a process of their own, and say what this leaves of the exit status.

    Figures are another room's business: they read the folder, and never run a model.
    """
    try:
        status = subprocess.run(command_words("figures", str(folder)), check=False).returncode
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        status = status_of_figures(error)
    if status:
        again = as_typed("python -m figures")
        print(f"error: the figures were not drawn; try again with {again} {folder}", file=sys.stderr)
    return status if status in (DONE, OUT_OF_MEMORY, LIMIT_REACHED, INTERRUPTED, TERMINATED) else NOT_DRAWN
