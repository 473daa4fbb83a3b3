import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synthetic.runs.statuses import exit_status

ROOT = Path(__file__).parents[2]


def raises(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "status", "says"),
    [
        (lambda: 1, 1, ""),
        (raises(ValueError("depth: must be at least 1")), 2, "error: depth: must be at least 1"),
        (raises(OSError(28, "No space left on device", "rows.csv")), 3, "No space left on device: 'rows.csv'"),
        # 1 says that something is violated, which a crash does not.
        (
            raises(ZeroDivisionError("planted")),
            70,
            "ZeroDivisionError: planted\nerror: this is an error of",
        ),
        (raises(RuntimeError("planted")), 70, "Traceback (most recent call last)"),
        (raises(MemoryError()), 70, "MemoryError"),
        (raises(KeyboardInterrupt()), 130, "interrupted"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, "terminated"),
    ],
)
def test_errors_become_statuses(capsys, work, status, says):
    assert exit_status(work) == status
    assert says in capsys.readouterr().err


def test_another_handler_of_termination_stays():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        assert exit_status(lambda: os.kill(os.getpid(), signal.SIGTERM) or 0) == 0
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_reader_that_leaves_is_no_error():
    program = (
        "import sys; from synthetic.runs.statuses import exit_status; "
        "sys.exit(exit_status(lambda: print('x' * 10**6) or 0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()


def commands_that_list_their_statuses():
    listed = []
    for path in (path for room in ("models", "synthetic", "paper_checks") for path in (ROOT / room).rglob("*.py")):
        text = path.read_text()
        if "return exit_status(" in text and "Exit status" in text:
            listed.append(path)
    return listed


def test_every_list_of_exit_statuses_has_a_crash():
    found = commands_that_list_their_statuses()
    assert len(found) > 10
    for path in found:
        assert ", 70 a crash" in " ".join(ast.get_docstring(ast.parse(path.read_text())).split()), path
