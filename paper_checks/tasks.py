"""What claims need computed: trainings on images and runs of the synthetic commands, each in a folder of its own.

A task's folder is written beside its place and renamed into it when the task is done, so that a folder that is there is
whole, and a run that was stopped goes on with the tasks that are missing. Claims share tasks: equal tasks are one.

A crash is no result. A task is done if it ended well and left the files that it says it leaves; of a command, exit
status 1 is a result if its verdicts, which it writes last, say themselves that something is violated. Everything else
is a failure (TaskFailedError, or what the task raised): nothing of it counts, and the next start computes the task
again.
"""

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from figures.run_folder import read_table
from models.cifar.training.config import TrainConfig
from models.run_folder import differing, whole_folder, with_defaults
from theory.console.children import command_words
from theory.judging.verdicts import Status
from theory.numerics.commands import CHECK_FAILED, DONE, NOT_DRAWN
from theory.numerics.manifest import CHANGED, MANIFEST, discrepancies
from theory.numerics.whole_files import DamagedFileError, read_json, to_plain, write_json

TASK, VERDICTS = "task.json", "verdicts.json"
# In a run's folder, the folder of all tasks.
TASKS = "tasks"
# Commands that run, each for a thread that waits for it.
_RUNNING: set[subprocess.Popen] = set()
# Of what a failed task said, so many of the last lines are reported.
LAST_LINES = 12


class TaskFailedError(RuntimeError):
    """A task ended without a result; the message says how, with the last lines of what it said."""


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

    @property
    def leaves(self) -> tuple[str, ...]:
        """Files without which its folder is no result."""

    def run(self, folder: Path) -> None:
        """Compute, and write tables into the folder, which exists and is empty; raises an error if that fails."""


def training_of(task: Task) -> TrainConfig | None:
    """The training on images that a task is; None of the others."""
    config = getattr(task, "config", None)
    return config if isinstance(config, TrainConfig) else None


def seeds_in(task: Task) -> int:
    """How many seeds a task has: of a training one, of some others several."""
    return getattr(task, "seeds", 1)


@dataclass(frozen=True)
class Command:
    """A run of ``python -m MODULE ARGUMENTS --out FOLDER``.

    Attributes:
        module: one of this toolkit's commands that takes --out and ends by writing verdicts.json.
        arguments: the others.
    """

    module: str
    arguments: tuple[str, ...] = ()

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
    def leaves(self) -> tuple[str, ...]:
        """The last of its tables, so that the others are there too."""
        return (VERDICTS,)

    @property
    def seeds(self) -> int:
        """What its --seeds says; 1 without it."""
        words = self.arguments
        return int(words[words.index("--seeds") + 1]) if "--seeds" in words else 1

    @property
    def line(self) -> str:
        """As it is typed."""
        return " ".join(["python", "-m", self.module, *self.arguments])

    def run(self, folder: Path) -> None:
        """Run it in a process of its own, with one thread, so that rows do not depend on the number of cores.

        Raises:
            TaskFailedError: it ended with another status than 0 and 1, or its verdicts do not bear its status out.
        """
        command = command_words(self.module, *self.arguments, "--out", str(folder))
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            _RUNNING.add(process)
            try:
                error = process.communicate()[1]
            except BaseException:
                # Asked to end, it ends its own processes too; killed, it could not.
                process.terminate()
                raise
            finally:
                _RUNNING.discard(process)
        why = _no_result(process.returncode, folder / VERDICTS)
        if why is not None:
            raise TaskFailedError("\n".join(filter(None, (f"{self.line}: {why}", last_lines(error)))))


def end_commands() -> None:
    """Ask all commands that run in other threads to end; what they were for fails."""
    for process in tuple(_RUNNING):
        process.terminate()


def _no_result(status: int, verdicts: Path) -> str | None:
    """Why a command that ended with this status has no result; None if it has: 0 and nothing is violated, 1 and
    something is, or 9 and nothing is, where only figures are missing."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return f"was ended by {name}" + (", perhaps because memory ran out" if name == "SIGKILL" else "")
    if status not in (DONE, CHECK_FAILED, NOT_DRAWN):
        return f"ended with status {status}"
    try:
        found = [Status(each["status"]) for each in json.loads(verdicts.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"ended with status {status} and left no whole {VERDICTS} ({type(error).__name__})"
    if not found or (Status.VIOLATED in found) != (status == 1):
        return f"ended with status {status}, but its verdicts are {', '.join(found) or 'none'}"
    return None


def last_lines(text: str, count: int = LAST_LINES) -> str:
    """The last lines that are not empty."""
    return "\n".join([line.rstrip() for line in text.splitlines() if line.strip()][-count:])


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

    def records(self, task: Task, name: str) -> list:
        """NAME.json, a list.

        Raises:
            ValueError: missing or damaged; names the file.
        """
        return _json(self.folder(task) / f"{name}.json", list)

    def settings(self, task: Task) -> dict:
        """The settings of a command's run, by name.

        Raises:
            ValueError: missing or damaged; names the file.
        """
        return _json(self.folder(task) / "config.json", dict)


Kind = TypeVar("Kind", list, dict)


def _json(path: Path, kind: type[Kind]) -> Kind:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(found, kind):
        raise _damaged(path, f"{type(found).__name__} in place of {kind.__name__}")
    return found


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
    """The tasks that are not done, or whose folders lack what they leave.

    Raises:
        ValueError: a folder is there whose task has other settings, or whose files were edited or damaged.
    """
    todo = []
    for task in tasks:
        path = root / task.name / TASK
        if not path.exists():
            todo.append(task)
            continue
        gone = _require_whole(path.parent)
        # What a record lacks is a setting that came later.
        stored = with_defaults(_record(path).get("task"), task)
        if differing({"task": stored}, {"task": to_plain(task)}):
            raise ValueError(f"{path.parent}: was made with other settings; use another --out")
        if gone or _lacking(task, path.parent):
            todo.append(task)
    return todo


def _require_whole(folder: Path) -> tuple[str, ...]:
    """Files that are gone, if all others are as they were written.

    Raises:
        ValueError: they are not, or there is no manifest.
    """
    try:
        found = discrepancies(folder)
    except DamagedFileError as error:
        raise _damaged(folder / MANIFEST, error) from error
    for names, why in ((found.changed, CHANGED), (found.foreign, "is not of its run")):
        if names:
            raise _damaged(folder / names[0], why)
    return found.missing


def _lacking(task: Task, folder: Path) -> list[str]:
    return [name for name in task.leaves if not (folder / name).is_file()]


def carry_out(task: Task, root: Path) -> None:
    """Run one task into its folder.

    Raises:
        TaskFailedError: it ended without having left its files; or whatever it raised. There is no folder then.
    """
    with whole_folder(root / task.name) as folder:
        begun = time.monotonic()
        task.run(folder)
        lacking = _lacking(task, folder)
        if lacking:
            raise TaskFailedError(f"ended without {', '.join(lacking)}")
        write_json(folder / TASK, {"task": task, "seconds": time.monotonic() - begun})


def _record(path: Path) -> dict:
    """What a finished task says of itself.

    Raises:
        ValueError: missing or damaged; names the file.
    """
    try:
        return read_json(path)
    except DamagedFileError as error:
        raise _damaged(path, error) from error
