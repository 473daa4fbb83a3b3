"""What the command lines of all sweeps have in common: where they run and where their results go."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from tqdm import tqdm

from synthetic.backends import Backend, BackendOptions, WorkersLostError
from synthetic.records import RunRecorder
from theory.verdicts import Status, Verdict


@runtime_checkable
class HasIndex(Protocol):
    """A task that knows the cell of its row."""

    @property
    def index(self) -> int:
        """The cell."""


Settings = TypeVar("Settings")
Task = TypeVar("Task", bound=HasIndex)
Result = TypeVar("Result")
REPLAY = "python -m synthetic.sweep_noise --replay"


@dataclass(frozen=True)
class RunOptions(BackendOptions):
    """Backend and run folder of a sweep; none of it changes the rows."""

    out: Path | None = None
    """Run folder; by default runs/NAME-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Continue the run in --out, on any backend; what is finished is kept."""
    figures: bool = True
    """Draw the figures (PNG and PDF) into the run folder."""

    def folder(self, name: str) -> Path:
        """The run folder.

        Raises:
            ValueError: a run is to be continued, but not which.
        """
        if self.resume and self.out is None:
            raise ValueError("--resume: give the run folder to continue with --out")
        return self.out or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def settings_of(options: RunOptions, kind: type[Settings]) -> Settings:
    """The part of a command line that the rows depend on.

    Raises:
        ValueError: settings that cannot be run, named.
    """
    return kind(**{field.name: getattr(options, field.name) for field in fields(kind)})


def finish(folder: Path, verdicts: list[Verdict], figures: bool, replay: str = REPLAY) -> int:
    """Say which counterexamples were kept, draw the figures, and return the exit status.

    Args:
        replay: what to put before a counterexample's path to see it again.
    """
    for path in sorted(folder.glob("counterexample-*.npz")):
        print(f"Counterexample: {path} (see it again with {replay} {path})")
    if figures:
        # Matplotlib takes a second to import, which worker processes and refused commands are spared.
        from figures.catalogue import draw_all

        print("Figures: " + ", ".join(str(path) for path in draw_all(folder)), flush=True)
    return 1 if any(verdict.status is Status.VIOLATED for verdict in verdicts) else 0


@contextmanager
def telling_how_to_continue(recorder: RunRecorder, what_is_kept: str) -> Iterator[None]:
    """Say what is kept, and how to go on, when a run is interrupted or loses its workers."""
    try:
        yield
    except (KeyboardInterrupt, WorkersLostError) as error:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
        kept = f"{len(recorder.finished)} {what_is_kept} are kept"
        print(f"\n{why}; {kept}, continue with the same command and --out {recorder.path} --resume", file=sys.stderr)
        raise


def run_tasks(
    tasks: Sequence[Task],
    recorder: RunRecorder,
    backend: Backend,
    measure: Callable[[Task], Result],
    store: Callable[[Task, Result], None],
    unit: str,
) -> None:
    """Measure the tasks whose ``index`` the recorder does not have yet, with progress, and say how to go on if that is
    interrupted.

    Args:
        store: keeps a finished task's result; called in the order in which tasks finish.
        unit: what a task is called.

    Raises:
        WorkersLostError: the backend's workers died too often.
    """
    todo = [task for task in tasks if task.index not in recorder.finished]
    print(f"{len(tasks)} {unit}s, {len(tasks) - len(todo)} already there; results in {recorder.path}", flush=True)
    with telling_how_to_continue(recorder, f"{unit}s"), tqdm(total=len(todo), disable=None, unit=unit) as bar:
        for number, result in backend.map(measure, todo):
            store(todo[number], result)
            bar.update()
