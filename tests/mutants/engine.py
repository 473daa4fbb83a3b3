"""Plants one bug in a copy of the project and asks the tests, or the noise sweep, whether they notice.

The checkout is never edited. A bug is noticed by the tests when pytest fails on the copy, by the sweep when its exit
status is not 0 or a verdict is not what it is without the bug. What takes far longer with the bug than without is
noticed by hanging; what ends in any other way (no tests found, killed from outside) is an error of the bench.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.mutants import leash
from tests.mutants.bugs import Bug, with_bug

PARTS = (
    "contrastive_theory.py",
    "theory",
    "models",
    "synthetic",
    "figures",
    "paper_checks",
    "tests",
    "pyproject.toml",
    "README.md",
    "CONTRIBUTING.md",
)
# The bench itself is not asked (it would miss the text that a bug replaces), nor what looks at the source as text.
LEFT_OUT = ("tests/mutants", "tests/test_project.py", "tests/test_contributing.py")
PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0", "--color=no")
# Exit statuses of pytest: a test failed; a file could not be collected.
TESTS_FAILED = (1, 2)
# A run that takes longer than PATIENCE seconds and SLOWNESS times what the sound code needs has been made to hang.
PATIENCE, SLOWNESS = 120.0, 8.0


class BenchError(RuntimeError):
    """The bench itself went wrong: nothing was learned about the bug."""


@dataclass(frozen=True)
class Ran:
    """A finished command: exit status (None: stopped at its time limit), standard output and error, seconds."""

    status: int | None
    output: str
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Whether a bug was noticed, and by what."""

    noticed: bool
    by: str
    seconds: float


@dataclass(frozen=True)
class SoundTests:
    """Tests on sound code, which pass: seconds of every test file that was asked for and is there."""

    seconds: dict[str, float]


@dataclass(frozen=True)
class SoundSweep:
    """The default noise sweep on sound code: its verdicts, (statement, status) each, and its seconds."""

    verdicts: tuple[tuple[str, str], ...]
    seconds: float


def copy_project(root: Path, folder: Path) -> None:
    """The parts of the project that are there, without what the bench leaves out."""
    left_out = {str(root / name) for name in LEFT_OUT}

    def ignored(directory: str, names: list[str]) -> set[str]:
        return {
            name for name in names
            if name == "__pycache__" or name.endswith(".png") or f"{directory}/{name}" in left_out
        }  # fmt: skip

    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = root / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=ignored)
        elif source.exists():
            shutil.copy(source, folder / part)


@contextmanager
def copied(root: Path, bug: Bug | None = None) -> Iterator[Path]:
    """A temporary copy of the project, with a bug in it if one is given."""
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as name:
        folder = Path(name) / "project"
        copy_project(root, folder)
        if bug is not None:
            path = folder / bug.path
            path.write_text(with_bug(path.read_text(encoding="utf-8"), bug), encoding="utf-8")
        yield folder


def run_on_leash(arguments: Sequence[str], folder: Path, limit: float | None = None) -> Ran:
    """``python ARGUMENTS`` in ``folder``; nothing it started outlives this call, however it ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "HYPOTHESIS"))}
    environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                    "MKL_NUM_THREADS": "1"}  # fmt: skip
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, leash.__file__, sys.executable, *arguments], cwd=folder, env=environment,
            stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
            # A signal to this process and all its group leaves the leash to do its work.
            start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            process.stdin.close()
            process.wait()
        output.seek(0)
        return Ran(status, output.read().decode(errors="replace"), time.monotonic() - begun)


# --- the tests --------------------------------------------------------------------------------------------------------


def time_tests(root: Path, files: Sequence[str] = ("tests",)) -> SoundTests:
    """Run the fast tests of some files, by default of all, on sound code.

    Raises:
        BenchError: they do not pass, so that a failure would tell nothing.
    """
    with copied(root) as folder:
        report = folder.parent / "report.xml"
        there = [name for name in files if (folder / name).exists()]
        if not there:
            return SoundTests({})
        ran = run_on_leash([*PYTEST, f"--junitxml={report}", *there], folder)
        if ran.status != 0:
            raise BenchError(f"the tests fail without any bug (exit status {ran.status}):\n{ran.output[-3000:]}")
        seconds: dict[str, float] = {}
        for case in ElementTree.parse(report).iter("testcase"):
            path = _file_of(case.get("classname", ""), folder)
            seconds[path] = seconds.get(path, 0.0) + float(case.get("time", 0.0))
        return SoundTests(seconds)


def _file_of(dotted: str, folder: Path) -> str:
    """The test file of a class name as pytest reports it, tests.theory.test_sphere or with a class behind."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        path = "/".join(parts[:end]) + ".py"
        if (folder / path).exists():
            return path
    raise BenchError(f"pytest reports tests of {dotted}, which is no file")


def ask_tests(root: Path, bug: Bug, sound: Callable[[tuple[str, ...]], SoundTests]) -> Outcome:
    """Whether the tests notice: first the files that the bug names, then all others, quick ones first.

    Args:
        sound: the tests of some files on sound code. All of them, which take long, are asked for only by a bug that
            the named ones do not notice.

    Raises:
        BenchError: pytest ended in a way that tells nothing.
    """
    spent = 0.0
    with copied(root, bug) as folder:
        for asked in (bug.tests, ("tests",)):
            seconds = {name: took for name, took in sound(asked).seconds.items()
                       if asked is bug.tests or name not in bug.tests}  # fmt: skip
            files = sorted(seconds, key=seconds.__getitem__)
            if not files:
                continue
            limit = max(PATIENCE, SLOWNESS * sum(seconds.values()))
            ran = run_on_leash([*PYTEST, *files], folder, limit)
            spent += ran.seconds
            if ran.status is None:
                _require_hanging(root, [*PYTEST, *files], limit)
                return Outcome(True, f"hangs (stopped after {limit:.0f} s)", spent)
            if ran.status in TESTS_FAILED:
                return Outcome(True, _first_failure(ran.output), spent)
            if ran.status != 0:
                raise BenchError(f"{bug.name}: pytest ended with {ran.status}:\n{ran.output[-3000:]}")
    return Outcome(False, "", spent)


def _first_failure(output: str) -> str:
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, flags=re.MULTILINE)
    return found[1] if found else "pytest, before any test"


def _require_hanging(root: Path, arguments: Sequence[str], limit: float) -> None:
    """Sound code must be much faster here and now: a busy machine is no bug."""
    with copied(root) as folder:
        ran = run_on_leash(arguments, folder, limit / 2.0)
    if ran.status != 0:
        raise BenchError(f"stopped after {limit:.0f} s, but the sound code is not twice as fast at the moment")


# --- the sweep --------------------------------------------------------------------------------------------------------


def run_sweep(folder: Path, limit: float | None = None) -> tuple[Ran, tuple[tuple[str, str], ...]]:
    """The default noise sweep in a copy: how it ended, and its verdicts, if it came so far."""
    out = folder.parent / "run"
    ran = run_on_leash(["-m", "synthetic.sweep_noise", "--no-figures", "--out", str(out)], folder, limit)
    stored = out / "verdicts.json"
    found = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    return ran, tuple((verdict["statement"], verdict["status"]) for verdict in found)


def time_sweep(root: Path) -> SoundSweep:
    """Run the default noise sweep on sound code.

    Raises:
        BenchError: it does not end with exit status 0.
    """
    with copied(root) as folder:
        ran, verdicts = run_sweep(folder)
    if ran.status != 0:
        raise BenchError(f"the sweep fails without any bug (exit status {ran.status}):\n{ran.output[-3000:]}")
    return SoundSweep(verdicts, ran.seconds)


def ask_sweep(root: Path, bug: Bug, sound: SoundSweep) -> Outcome:
    """Whether the default noise sweep notices: its exit status is not 0, or a verdict is not that of sound code."""
    limit = max(PATIENCE, SLOWNESS * sound.seconds)
    with copied(root, bug) as folder:
        ran, verdicts = run_sweep(folder, limit)
    if ran.status is None:
        return Outcome(True, f"hangs (stopped after {limit:.0f} s)", ran.seconds)
    changed = [f"{name}: {status}" for name, status in verdicts if (name, status) not in sound.verdicts]
    if ran.status != 0:
        last = changed or ran.output.strip().splitlines()[-1:]
        return Outcome(True, f"exit status {ran.status}; {'; '.join(last)}", ran.seconds)
    if verdicts != sound.verdicts:
        return Outcome(True, "; ".join(changed) or "a verdict is missing", ran.seconds)
    return Outcome(False, "", ran.seconds)
