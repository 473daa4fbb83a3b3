"""How commands end: one table of statuses, what each error becomes, and standard streams that are not there."""

import ast
import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models.commands import command, draw, help_text, words_of
from synthetic.runs.backends import WorkersLostError
from synthetic.runs.statuses import OTHERS
from theory.numerics import commands
from theory.numerics.commands import (
    BAD_ARGUMENTS,
    CHECK_FAILED,
    CRASHED,
    DONE,
    INTERRUPTED,
    LIMIT_REACHED,
    NOT_DRAWN,
    NOT_WRITTEN,
    OUT_OF_MEMORY,
    STATUSES,
    TERMINATED,
    WORKERS_LOST,
    commands_in,
    exit_status,
    status_of_figures,
    statuses_in_words,
    visible,
)

ROOT = Path(__file__).parents[3]
ROOMS = ("models", "synthetic", "figures", "paper_checks")


class OutOfMemoryError(RuntimeError):
    """Named as torch's, which needs a GPU to be raised."""


def raising(error):
    def work():
        raise error

    return work


def wrapped(error):
    def work():
        try:
            raise error
        except type(error) as cause:
            raise ValueError("FEATURES.npy: cannot be read") from cause

    return work


def while_handling(error):
    """As matplotlib's closing of a file that could not be written."""

    def work():
        try:
            raise error
        finally:
            object().pos  # noqa: B018

    return work


def exits(code):
    return lambda: sys.exit(code)


def recurses():
    return recurses() + 1


@pytest.mark.parametrize(
    ("work", "status", "says"),
    [
        (lambda: None, DONE, ""),
        (lambda: 1, CHECK_FAILED, ""),
        (lambda: 6, 6, ""),
        (raising(ValueError("depth: must be at least 1")), BAD_ARGUMENTS, "error: depth: must be at least 1\n"),
        (raising(OSError(28, "No space left on device", "rows.csv")), NOT_WRITTEN, "cannot write results: [Errno 28]"),
        (raising(OSError(errno.ENAMETOOLONG, "File name too long", "aaa")), BAD_ARGUMENTS, "File name too long"),
        (raising(NotADirectoryError(errno.ENOTDIR, "Not a directory")), BAD_ARGUMENTS, "Not a directory"),
        (raising(MemoryError()), OUT_OF_MEMORY, "error: memory ran out: MemoryError\n"),
        (lambda: np.empty(2**58), OUT_OF_MEMORY, "memory ran out"),
        (lambda: torch.empty(2**58), OUT_OF_MEMORY, "memory ran out"),
        (raising(OutOfMemoryError("CUDA error")), OUT_OF_MEMORY, "memory ran out"),
        (raising(OSError(errno.ENOMEM, "Cannot allocate memory")), OUT_OF_MEMORY, "memory ran out"),
        (wrapped(MemoryError()), OUT_OF_MEMORY, "cannot be read"),
        (wrapped(OSError(errno.EMFILE, "Too many open files")), LIMIT_REACHED, "cannot be read"),
        (while_handling(OSError(errno.EFBIG, "File too large")), LIMIT_REACHED, "limit of the system"),
        (raising(OSError(errno.EMFILE, "Too many open files", "x.png")), LIMIT_REACHED, "limit of the system"),
        (raising(OSError(errno.EFBIG, "File too large", "rows.csv")), LIMIT_REACHED, "File too large"),
        (raising(RuntimeError("can't start new thread")), LIMIT_REACHED, "can't start new thread"),
        (raising(WorkersLostError("a worker process died (out of memory?)")), WORKERS_LOST, "error: a worker"),
        # 1 says that something is violated, which a crash does not.
        (raising(ZeroDivisionError("planted")), CRASHED, "ZeroDivisionError: planted\nerror: this is an error of"),
        (raising(RuntimeError("planted")), CRASHED, "Traceback (most recent call last)"),
        (raising(AssertionError()), CRASHED, "Traceback (most recent call last)"),
        (recurses, CRASHED, "RecursionError"),
        (raising(GeneratorExit()), CRASHED, "GeneratorExit"),
        (exits(None), DONE, ""),
        (exits(2), BAD_ARGUMENTS, ""),
        # A library's 1 is no check of ours.
        (exits(1), CRASHED, "a library ended the program with status 1"),
        (exits("no such thing"), BAD_ARGUMENTS, "error: no such thing\n"),
        (raising(KeyboardInterrupt()), INTERRUPTED, "interrupted"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), TERMINATED, "terminated"),
    ],
)
def test_errors_become_statuses(capsys, work, status, says):
    assert exit_status(work, OTHERS) == status
    said = capsys.readouterr().err
    assert says in said
    assert ("Traceback" in said) == (status == CRASHED and "library" not in said)


def test_a_crash_in_one_line_of_words_shows_no_control_characters(capsys):
    exit_status(raising(ValueError("\x1b[2Jname\r\u202egpj.exe: 温度 ≤ ½\tno")))
    assert capsys.readouterr().err == "error: \\x1b[2Jname\\r\\u202egpj.exe: 温度 ≤ ½\tno\n"
    assert visible("a\nb\u00a0c") == "a\nb\u00a0c"


def test_a_name_is_one_line_whatever_is_in_it():
    name = "caf\u00e9\n\t\u00a0\x1b" + os.fsdecode(b"\xff\xe9") + "\ud800"
    assert visible(name, keep="") == r"café\n\t\xa0\x1b\xff\xe9\ud800"
    assert visible(name) == "café\n\t\u00a0" + r"\x1b\xff\xe9\ud800"


def test_another_handler_of_termination_stays():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        assert exit_status(lambda: os.kill(os.getpid(), signal.SIGTERM) or 0) == 0
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGTERM) == before


def test_figures_leave_limits_as_they_are_and_else_a_status_of_their_own():
    assert status_of_figures(MemoryError()) == OUT_OF_MEMORY
    assert status_of_figures(OSError(errno.EMFILE, "")) == LIMIT_REACHED
    for error in (OSError(errno.ENOSPC, ""), ValueError("a table"), ZeroDivisionError()):
        assert status_of_figures(error) == NOT_DRAWN


@pytest.mark.parametrize(
    ("status", "left"),
    [(0, 0), (1, NOT_DRAWN), (2, NOT_DRAWN), (-9, NOT_DRAWN), (70, NOT_DRAWN), (OUT_OF_MEMORY, OUT_OF_MEMORY),
     (LIMIT_REACHED, LIMIT_REACHED)],
)  # fmt: skip
def test_figures_of_another_process_leave_the_same(monkeypatch, capsys, tmp_path, status, left):
    given = []
    answer = subprocess.CompletedProcess([], status)
    monkeypatch.setattr(subprocess, "run", lambda words, **_: given.append(words[1:]) or answer)
    assert draw(tmp_path) == left
    assert given == [["-P", str(ROOT / "contrastive_theory.py"), "figures", str(tmp_path)]]
    assert ("try again with python -m figures" in capsys.readouterr().err) == (left != 0)


# --- the table -------------------------------------------------------------------------------------------------------


def test_every_status_has_one_meaning_in_one_table():
    named = {k: v for k, v in vars(commands).items() if k.isupper() and isinstance(v, int)}
    assert sorted(named.values()) == sorted(STATUSES)
    assert len({*STATUSES.values()}) == len(STATUSES)
    lines = statuses_in_words().splitlines()[2:]
    assert [int(line.split()[0]) for line in lines] == list(STATUSES)


def test_every_command_shows_the_table_and_says_itself_only_what_its_own_checks_are():
    found = [name for room in ROOMS for name in commands_in(room, ROOT / room)]
    assert len(found) == 23
    for name in found:
        path = ROOT / name.replace(".", "/")
        path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        text = path.read_text(encoding="utf-8")
        words = " ".join(ast.get_docstring(ast.parse(text)).split())
        assert "Exit status: " in words, name
        assert "in all commands (--help)" in words, name
        assert "__doc__" in text.split("def main(")[1], "its --help is this text, and the table"
        # Numbers that a command explains itself are those of the table.
        said = words.split("Exit status: ")[1]
        numbers = {int(word) for word in re.split(r"[ ;,.]+", said) if word.isdecimal()}
        assert numbers <= {*STATUSES}, name
        assert 1 in numbers, f"{name} says what 1 means, or that there is none"
    assert statuses_in_words() in help_text("What it does.")


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "named"), [(["--out", ""], "--out"), (["--out="], "--out"), ([""], "the first word")]
)
def test_an_empty_value_is_refused_by_name(words, named, capsys):
    with pytest.raises(ValueError, match=f"^{named}: is given an empty value$"):
        words_of(words)
    assert command(lambda options: 0, dict, words, "prog", None) == BAD_ARGUMENTS


# --- before a command begins, and streams that are not there ---------------------------------------------------------


def run(*words, code=None, **how):
    given = ["-c", code] if code else ["-m", *words]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, "text": True, "timeout": 60} | how
    return subprocess.run([sys.executable, *given], check=False, **how)


@pytest.mark.parametrize(("name", "room"), [("synthetic.sweep_noize", "synthetic"), ("synthetic", "synthetic"),
                                            ("models", "models"), ("models.cifar.nothing", "models"),
                                            ("figures.__main__.x", "figures")])  # fmt: skip
def test_what_is_no_command_is_refused_with_the_list_of_those_that_are(name, room):
    found = run(name, "--help")
    assert found.returncode == BAD_ARGUMENTS
    assert f"error: {name}: is no command; there are {', '.join(commands_in(room, ROOT / room))}\n" == found.stderr


@pytest.mark.parametrize(
    ("breaks", "status"),
    [("raise ZeroDivisionError('planted')", CRASHED), ("raise MemoryError", OUT_OF_MEMORY),
     ("raise ValueError('planted')", CRASHED), ("import errno; raise OSError(errno.EMFILE, 'x')", LIMIT_REACHED),
     ("raise ImportError('libx.so: failed to map segment from shared object')", OUT_OF_MEMORY)],
)  # fmt: skip
def test_a_library_that_does_not_load_ends_a_command_by_the_table(tmp_path, breaks, status):
    (tmp_path / "tyro.py").write_text(breaks)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    found = run("figures", "nothing", env={**os.environ, "PYTHONPATH": path})
    assert found.returncode == status
    assert "error: " in found.stderr
    assert not found.stdout


def test_the_guard_is_for_commands_alone():
    found = run(
        code="import sys, synthetic, models, figures, paper_checks; print(sys.excepthook is sys.__excepthook__)"
    )
    assert found.stdout == "True\n"


@pytest.mark.parametrize("words", ["--nothing", "--help"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-", "2>/dev/full", ">/dev/full"])
def test_streams_that_are_closed_or_full_change_no_status(closed, words):
    shell = f"{sys.executable} -m figures {words} {closed}; echo status $? >&9"
    found = subprocess.run(["bash", "-c", f"exec 9>&1; {shell}"], cwd=ROOT, capture_output=True, text=True, check=False)
    unwritten = closed == (">/dev/full" if words == "--help" else "2>/dev/full")
    expected = NOT_WRITTEN if unwritten else DONE if words == "--help" else BAD_ARGUMENTS
    assert found.stdout.splitlines()[-1] == f"status {expected}", found
    assert "Traceback" not in found.stderr
    assert "Exception ignored" not in found.stderr


def test_results_do_not_land_in_a_closed_stream(tmp_path):
    """The first file that is opened gets the number of a stream that is closed."""
    code = (
        "import os, sys; from theory.numerics.commands import exit_status\n"
        f"def work():\n    with open({str(tmp_path / 'rows.csv')!r}, 'w') as f:\n"
        "        os.write(1, b'from a library'); f.write('rows')\n"
        "sys.exit(exit_status(work))"
    )
    shell = f'{sys.executable} -c "$CODE" >&-'
    subprocess.run(["bash", "-c", shell], cwd=ROOT, env={**os.environ, "CODE": code}, check=True)
    assert (tmp_path / "rows.csv").read_text() == "rows"


def test_a_reader_that_leaves_and_a_terminal_that_knows_ascii_only():
    program = (
        "import sys; from theory.numerics.commands import exit_status; sys.exit(exit_status(lambda: print({}) or 0))"
    )
    how = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program.format("'x' * 10**6")], **how) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    found = run(code=program.format(r"'\u2264 \udcff'"), env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (found.returncode, found.stdout) == (0, "\\u2264 \\udcff\n")
