"""What claims need computed: trainings on images and runs of the synthetic commands, each in a folder of its own.

A task's folder is written beside its place and renamed into it when the task is done, so that a folder that is there is
whole, and a run that was stopped goes on with the tasks that are missing. Claims share tasks: equal tasks are one.
"""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from figures.run_folder import read_table
from theory.whole_files import to_plain, write_json

TASK = "task.json"


@runtime_checkable
class Task(Protocol):
    """Something to compute: hashable, equal to another that computes the same."""

    @property
    def name(self) -> str:
        """Of its folder, under the run's."""

    @property
    def alone(self) -> bool:
        """Whether it starts processes of its own, and so is no task for a worker: they would outlive one that is
        stopped."""

    def run(self, folder: Path) -> None:
        """Compute, and write tables into the folder, which exists and is empty."""


@dataclass(frozen=True)
class Command:
    """A run of ``python -m MODULE ARGUMENTS --out FOLDER``.

    Attributes:
        module: one of this toolkit's commands that takes --out.
        arguments: the others.
        statuses: exit statuses that are results: 1 says that something is violated.
    """

    module: str
    arguments: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (0, 1)

    @property
    def name(self) -> str:
        """Module and arguments."""
        words = [self.module.removeprefix("synthetic."), *(word.strip("-") for word in self.arguments)]
        return "-".join(word.replace("/", "_") for word in words)

    @property
    def alone(self) -> bool:
        """It is a process of its own."""
        return True

    @property
    def line(self) -> str:
        """As it is typed."""
        return " ".join(["python", "-m", self.module, *self.arguments])

    def run(self, folder: Path) -> None:
        """Run it in a process of its own, with one thread, so that rows do not depend on the number of cores.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        command = [sys.executable, "-m", self.module, *self.arguments, "--out", str(folder)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            try:
                error = process.communicate()[1]
            except BaseException:
                # Asked to end, it ends its own processes too; killed, it could not.
                process.terminate()
                raise
        if process.returncode not in self.statuses:
            raise RuntimeError(f"{self.line}: ended with status {process.returncode}: {error.strip()[-600:]}")


@dataclass(frozen=True)
class Results:
    """The tasks that are done, read back from their folders."""

    root: Path

    def folder(self, task: Task) -> Path:
        """Where a task's results are."""
        return self.root / task.name

    def seconds(self, task: Task) -> float:
        """How long a task took.

        Raises:
            ValueError: it is not done.
        """
        return float(_record(self.folder(task) / TASK).get("seconds", math.nan))

    def table(self, task: Task, name: str) -> list[dict]:
        """The rows of NAME.csv, numbers as numbers and empty cells as NaN.

        Raises:
            ValueError: missing or damaged; names the file.
        """
        path = self.folder(task) / f"{name}.csv"
        try:
            return read_table(path).to_dict("records")
        except ValueError as error:
            raise _damaged(path, error) from error

    def json(self, task: Task, name: str) -> object:
        """NAME.json.

        Raises:
            ValueError: missing or damaged; names the file.
        """
        path = self.folder(task) / f"{name}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> ValueError:
    return ValueError(f"{path}: missing or damaged ({why}); delete {path.parent} to compute it again")


def unique(tasks: Iterable[Task]) -> list[Task]:
    """Equal tasks once, in the order of their first mention.

    Raises:
        ValueError: different tasks of one name.
    """
    found: dict[str, Task] = {}
    for task in tasks:
        if found.setdefault(task.name, task) != task:
            raise ValueError(f"{task.name}: is the name of two different tasks")
    return list(found.values())


def missing(tasks: Iterable[Task], root: Path) -> list[Task]:
    """The tasks that are not done.

    Raises:
        ValueError: a folder is there whose task has other settings.
    """
    todo = []
    for task in tasks:
        path = root / task.name / TASK
        if not path.exists():
            todo.append(task)
        elif _record(path).get("task") != to_plain(task):
            raise ValueError(f"{path.parent}: was made with other settings; use another --out")
    return todo


def carry_out(task: Task, root: Path) -> None:
    """Run one task into its folder."""
    with _whole_folder(root / task.name) as folder:
        begun = time.monotonic()
        task.run(folder)
        write_json(folder / TASK, {"task": task, "seconds": time.monotonic() - begun})


def _record(path: Path) -> dict:
    """What a finished task says of itself.

    Raises:
        ValueError: missing or damaged; names the file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    return found if isinstance(found, dict) else {}


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` that takes its place when the block ends well."""
    beside = path.with_name(f".{path.name}.part")
    for leftover in (beside, path):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir(parents=True)
    yield beside
    beside.rename(path)
