"""The loop of every run: tasks go to a backend, with progress; each finished one is on disk as soon as it is known."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar, runtime_checkable

from tqdm import tqdm

from synthetic.runs.backends import Backend, WorkersLostError
from synthetic.runs.records import RunRecorder

# Tasks that differ in size, so that a count a second would mean nothing: share done and time left are shown.
WEIGHED_BAR = "{l_bar}{bar}| {elapsed} gone, {remaining} left"


@runtime_checkable
class HasIndex(Protocol):
    """A task that knows the cell of its row."""

    @property
    def index(self) -> int:
        """The cell."""


Task = TypeVar("Task", bound=HasIndex)
Result = TypeVar("Result")


def run_tasks(
    tasks: Sequence[Task],
    recorder: RunRecorder,
    backend: Backend,
    measure: Callable[..., Result],
    store: Callable[[Task, Result], None],
    unit: str,
    kept: str | None = None,
    weight: Callable[[Task], int] | None = None,
) -> None:
    """Measure the tasks whose ``index`` the recorder does not have yet, with progress; an interrupt loses at most those
    under way, and says how to go on.

    Args:
        store: keeps a finished task's result; called in the order in which tasks finish.
        unit: what a task is called.
        kept: what the recorder's cells are called when a run is interrupted; by default as many units.
        weight: a task's share of the progress, where they differ. ``measure`` then takes a second argument,
            ``progress``, and may call it with a text and the share done since the last call.

    Raises:
        ValueError: an earlier start had other settings for a cell.
        WorkersLostError: the backend's workers died too often.
        OSError: a finished task could not be written.
    """
    recorder.bind({task.index: settings_of_task(task) for task in tasks})
    todo = [task for task in tasks if task.index not in recorder.finished]
    weight_of = weight or (lambda task: 1)
    total, left = sum(map(weight_of, tasks)), sum(map(weight_of, todo))
    look = {"bar_format": WEIGHED_BAR, "smoothing": 0.05, "initial": total - left} if weight else {"total": left}
    with (
        telling_how_to_continue(recorder, kept or f"{unit}s"),
        tqdm(**{"total": total, "disable": None, "unit": unit, **look}) as bar,
    ):
        shown_inside = weight is not None and backend.in_process
        if shown_inside:
            measure = partial(measure, progress=partial(_advance, bar))
        for number, result in backend.map(measure, todo):
            store(todo[number], result)
            if not shown_inside:
                bar.update(weight_of(todo[number]))


def settings_of_task(task: HasIndex) -> object:
    """All that a task's row depends on, besides the run's configuration: what it calls its settings, or the task."""
    return getattr(task, "settings", task)


def announce(tasks: Sequence[Task], recorder: RunRecorder, unit: str) -> None:
    """Say how many tasks there are, how many of them are done, and where the results go."""
    done = sum(task.index in recorder.finished for task in tasks)
    print(f"{len(tasks)} {unit}s, {done} already there; results in {recorder.path}", flush=True)


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


def _advance(bar: tqdm, text: str, share: int) -> None:
    bar.set_description(text, refresh=share == 0)
    bar.update(share)
