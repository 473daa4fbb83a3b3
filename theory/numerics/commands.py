"""How every command of this project ends: one table of exit statuses, and what each error becomes.

Exit status 1 always means that a check was made and says no. Python's own status for a traceback is 1 too, so no error
may reach it: ``exit_status`` turns errors into statuses, and ``guard_start`` those that happen before a command begins,
while its modules are imported. Nothing but the standard library is needed here, so that both work where a library does
not load.
"""

import errno
import importlib.util
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

DONE, CHECK_FAILED = 0, 1
BAD_ARGUMENTS, NOT_WRITTEN, WORKERS_LOST, DIVERGED, AUDIT_FAILED = 2, 3, 4, 5, 6
OUT_OF_MEMORY, LIMIT_REACHED, NOT_DRAWN = 7, 8, 9
# EX_SOFTWARE of sysexits.h; the last two are those of shells, 128 + the signal.
CRASHED, INTERRUPTED, TERMINATED = 70, 130, 143

# What the statuses mean, in all commands alike; --help shows it.
STATUSES = {
    DONE: "done; nothing that was checked is violated",
    CHECK_FAILED: "something that was checked does not hold: a bound is violated, a prediction contradicted",
    BAD_ARGUMENTS: "arguments, a file to read or a folder cannot be used",
    NOT_WRITTEN: "results could not be written; what was finished before is kept",
    WORKERS_LOST: "worker processes died too often, or tasks failed; what was finished is kept",
    DIVERGED: "the loss of a training is no longer finite; the state is kept",
    AUDIT_FAILED: "a sweep contradicts itself (audit.json), or a run folder is not what its run left",
    OUT_OF_MEMORY: "memory ran out, of the machine or of the GPU; what was finished is kept",
    LIMIT_REACHED: "a limit of the system was met: open files, size of a file, processes or threads",
    NOT_DRAWN: "all results are written, but figures could not be drawn",
    CRASHED: "an error of this program, with its traceback",
    INTERRUPTED: "interrupted (Ctrl-C); what was finished is kept",
    TERMINATED: "terminated (SIGTERM); what was finished is kept",
}

# Errors that mean that a limit of the system, not a disk or a path, stands in the way.
LIMITS = (errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.EAGAIN)
# Paths that no file can have, whether it is read or written.
NO_PATHS = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP)
# The environment's word for Python's option -P.
SAFE_PATH = "PYTHONSAFEPATH"
# How libraries say that memory ran out where they raise no MemoryError.
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory",
             "failed to map segment", "cannot allocate write+execute memory")  # fmt: skip
NO_ROOM = ("too many open files", "can't start new thread", "resource temporarily unavailable")


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, as schedulers send it when time is up: ends a command as Ctrl-C does, so that what is finished is kept
    and no process goes on."""


def statuses_in_words() -> str:
    """The table, as --help shows it."""
    return "Exit statuses of all commands:\n\n" + "\n".join(
        f"    {status:>3}  {meaning}" for status, meaning in STATUSES.items()
    )


def status_of_error(error: BaseException, others: Mapping[type[Exception], int] | None = None) -> int:
    """The exit status that an error means.

    Args:
        others: further errors, and their statuses.
    """
    for kind, status in (others or {}).items():
        if isinstance(error, kind):
            return status
    for each in _with_causes(error):
        if _is_out_of_memory(each):
            return OUT_OF_MEMORY
        if _is_limit(each):
            return LIMIT_REACHED
    if isinstance(error, OSError) and error.errno in NO_PATHS:
        return BAD_ARGUMENTS
    known = {
        ValueError: BAD_ARGUMENTS,
        OSError: NOT_WRITTEN,
        TerminatedError: TERMINATED,
        KeyboardInterrupt: INTERRUPTED,
    }
    return next((status for kind, status in known.items() if isinstance(error, kind)), CRASHED)


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and what was being handled when it was raised."""
    for _ in range(32):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    # Torch's own class is known by its name: importing torch here would take seconds.
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError | ImportError) and _says(error, NO_MEMORY)


def _is_limit(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in LIMITS
    return isinstance(error, RuntimeError | ImportError) and _says(error, NO_ROOM)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(each in text for each in words)


def status_of_figures(error: BaseException) -> int:
    """The exit status of a command whose results are written, but whose figures ended in an error."""
    status = status_of_error(error)
    return status if status in (OUT_OF_MEMORY, LIMIT_REACHED, INTERRUPTED, TERMINATED) else NOT_DRAWN


def exit_status(work: Callable[[], int | None], others: Mapping[type[Exception], int] | None = None) -> int:
    """The status that ``work`` returns, or the one of the error that it raised, which is told on stderr.

    Standard streams that are closed, full, or no longer read never change what a status says.

    Args:
        others: further errors that end a command in their own words, and their status.
    """
    open_streams()
    try:
        with _termination_interrupts(), _safe_children():
            status = DONE if (found := work()) is None else int(found)
    except SystemExit as leaving:
        status = _status_of_exit(leaving.code)
    except BaseException as error:
        status = status_of_error(error, others)
        tell(error, status)
    unread = _finish(sys.stdout)
    _finish(sys.stderr)
    if unread is not None and status == DONE:
        status = status_of_error(unread)
        tell(unread, status)
        _finish(sys.stderr)
    return status


def tell(error: BaseException, status: int) -> None:
    """Say on stderr why a command ends, in one line; errors of the program with their traceback."""
    words = {
        NOT_WRITTEN: f"error: cannot write results: {error}",
        OUT_OF_MEMORY: f"error: memory ran out: {_last_line(error)}",
        LIMIT_REACHED: f"error: a limit of the system was met: {_last_line(error)}",
        INTERRUPTED: "\ninterrupted",
        TERMINATED: "\nterminated",
    }
    if status == NOT_WRITTEN and isinstance(error, BrokenPipeError):
        # Whoever read the printed report has left; the results are on disk.
        return
    if status == CRASHED:
        _say("".join(traceback.format_exception(error)).rstrip())
        _say("error: this is an error of the program, not a result")
    else:
        _say(words.get(status, f"error: {error}"))


def _last_line(error: BaseException) -> str:
    """One line of what may be a page."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _say(text: str) -> None:
    # A stream that is full or closed is no reason for another status.
    with suppress(OSError, ValueError):
        print(visible(text), file=sys.stderr, flush=True)


def visible(text: str, keep: str = "\n\t\u00a0") -> str:
    r"""Text in which control characters, which could move a terminal's cursor or turn a line around, are spelt out, and
    bytes of a file's name that are no text are \x...

    Args:
        keep: what stays nevertheless; nothing makes it one line.
    """
    return "".join(each if each in keep or each.isprintable() else _spelt(each) for each in text)


def _spelt(character: str) -> str:
    # Python has bytes that are no text as these surrogates.
    byte = ord(character) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else ascii(character)[1:-1]


def _status_of_exit(code: object) -> int:
    """What SystemExit means. Readers of words raise it with 0 after --help and 2 for words that are no options; with
    words it is an error, for Python with status 1; and with any other number a library has ended the program."""
    if code in (None, DONE, BAD_ARGUMENTS):
        return DONE if code is None else int(code)
    if isinstance(code, int):
        _say(f"error: a library ended the program with status {code}; this is no result")
        return CRASHED
    _say(f"error: {code}")
    return BAD_ARGUMENTS


def open_streams() -> None:
    """Give closed standard streams to the null device.

    The first files that a command opened would else get their numbers, and what a library prints would be written into
    results.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, and those below are open by now.
            os.open(os.devnull, os.O_RDWR)
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif name == "stdout" and getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            # A terminal that knows ASCII only, or a file name that is no Unicode, ends no run.
            stream.reconfigure(errors="backslashreplace")


def _finish(stream: Any) -> OSError | None:
    """Write what is left of a text stream, and say why that failed. Python would try once more, and exit with 120."""
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        return error
    except ValueError:
        return None
    return None


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


@contextmanager
def _safe_children() -> Iterator[None]:
    """Every Python that is started within leaves the current folder out of its path, whose files are the user's; what
    libraries start for themselves, too."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(SAFE_PATH, None)
        else:
            os.environ[SAFE_PATH] = before


# --- before a command begins -----------------------------------------------------------------------------------------


def guard_start(package: str, paths: list[str]) -> None:
    """Called by a package that has commands when it is imported: where it is so that Python can run one of them
    (``python -m package.command``), a name that is no command is refused with the list of those that are, and an error
    while modules are imported has a status of the table. Anywhere else nothing happens.

    Args:
        paths: the package's ``__path__``.
    """
    name = _module_to_run()
    if name is None or name.partition(".")[0] != package:
        return
    open_streams()
    sys.excepthook = _end_by_error
    if not _can_run(name):
        _say(f"error: {name}: is no command; there are {', '.join(commands_in(package, Path(paths[0])))}")
        raise SystemExit(BAD_ARGUMENTS)


def _module_to_run() -> str | None:
    """What ``python -m`` was given, while it is looked for."""
    if not sys.argv or sys.argv[0] != "-m":
        return None
    given = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
    if not given:
        return None
    return given[-1].removeprefix("-m")


def _can_run(name: str) -> bool:
    try:
        found = importlib.util.find_spec(name)
        if found is not None and found.submodule_search_locations is not None:
            found = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError:
        return False
    return found is not None


def commands_in(package: str, folder: Path) -> list[str]:
    """The modules of a package that are commands, as ``python -m`` takes them."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        if "sys.exit(main())" in path.read_text(encoding="utf-8"):
            parts = path.relative_to(folder).with_suffix("").parts
            found.append(".".join([package, *(part for part in parts if part != "__main__")]))
    return found


def status_before_start(error: BaseException) -> int:
    """The exit status of an error while a command's modules are imported: nothing was asked of a user's arguments yet,
    nor was anything to be written."""
    status = status_of_error(error)
    return CRASHED if status in (BAD_ARGUMENTS, NOT_WRITTEN) else status


def _end_by_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Instead of Python's own hook, after which the status is 1."""
    status = status_before_start(error)
    tell(error, status)
    for stream in (sys.stdout, sys.stderr):
        _finish(stream)
    raise SystemExit(status)
