"""Tasks carried out: in which order, and which of them beside each other; a failure ends none but its own."""

import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path

import torch
from tqdm import tqdm

from paper_checks.claims import Claim
from paper_checks.stages import in_words
from paper_checks.tasks import Command, Task, TaskFailedError, carry_out, end_commands, missing, training_of, unique
from paper_checks.tiers import Tier
from synthetic.runs.backends import BackendOptions, WorkersLostError, open_backend


def in_order(claims: list[Claim], tier: Tier) -> list[Task]:
    """What the first looks need: always the claim next that needs least beside what those before it need, so that in
    whatever time there is most claims are answered. Of one claim, what has processes of its own comes last."""
    needed = {claim.id: unique(claim.tasks(tier)) for claim in claims}
    found: dict[Task, None] = {}
    while needed:
        name = min(needed, key=lambda each: sum(task not in found for task in needed[each]))
        found |= dict.fromkeys(sorted(needed.pop(name), key=lambda task: (task.alone, _seed(task))))
    return unique(found)


def carry_out_all(
    tasks: list[Task], root: Path, options: BackendOptions, device: torch.device, until: float | None = None
) -> dict[str, str]:
    """Compute the tasks that are missing, with progress, and go on after one that fails.

    Args:
        until: time (of time.time) after which none is begun; those are left missing. Then trainings keep their order.

    Returns:
        names of the tasks that failed, or whose process died, and why.

    Raises:
        ValueError: a folder belongs to another task.
    """
    todo = missing(tasks, root)
    if until is None:
        # A process keeps the images of one seed. If time may run out, one claim after the other is better than all
        # of them half.
        todo.sort(key=lambda task: (not task.alone, _seed(task)))
    print(f"{len(tasks)} tasks, {len(tasks) - len(todo)} already there; results in {root.parent}", flush=True)
    root.mkdir(parents=True, exist_ok=True)
    commands = [task for task in todo if isinstance(task, Command)]
    trainings = [task for task in todo if not isinstance(task, Command)]
    attempt = partial(_attempt, root=root, until=until)
    failures: dict[str, str] = {}
    with tqdm(total=len(todo), disable=None, unit="task") as bar:

        def note(task: Task, why: str | None) -> None:
            if why is not None:
                failures[task.name] = why
                tqdm.write(f"error: {why}", file=sys.stderr)
            bar.update()

        # First, for they tell whether theorems hold, and the longest of them last longer than a training.
        for task, why in _beside_each_other(commands, attempt, options.processes):
            note(task, why)
        for alone, part in groupby(trainings, key=lambda task: task.alone):
            own = [*part]
            one_by_one = ((task, attempt(task)) for task in own)
            with closing(one_by_one if alone else _in_processes(own, attempt, options, device)) as done:
                for task, why in done:
                    note(task, why)
    return failures


def _in_processes(
    tasks: list[Task], attempt: Callable[[Task], str | None], options: BackendOptions, device: torch.device
) -> Generator[tuple[Task, str | None]]:
    """Tasks beside each other, as they end; where a process is lost, all that have not ended fail."""
    waiting = dict(enumerate(tasks))
    try:
        with warnings.catch_warnings(), open_backend(options, device) as backend:
            # loky replaces a process whose memory has grown; no task is lost.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            for number, why in backend.map(attempt, tasks):
                yield waiting.pop(number), why
    except WorkersLostError as error:
        yield from ((task, f"{task.name}: {error}") for task in waiting.values())


def _beside_each_other(
    commands: list[Command], attempt: Callable[[Task], str | None], count: int
) -> Iterator[tuple[Task, str | None]]:
    """Commands, each a process of one thread, so many at a time, as they end; stopped, they end too."""
    with ThreadPoolExecutor(count) as pool:
        running = {pool.submit(attempt, task): task for task in commands}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            end_commands()
            raise


def _seed(task: Task) -> int:
    config = training_of(task)
    return config.seed if config else 0


def _attempt(task: Task, root: Path, until: float | None = None) -> str | None:
    """What went wrong with a task; None if nothing did, or it is too late to begin it. Exceptions of libraries do not
    all travel between processes."""
    if until is not None and time.time() > until:
        return None
    try:
        carry_out(task, root)
    except TaskFailedError as error:
        return f"{task.name}: {error}"
    except Exception as error:
        return f"{task.name}: {in_words(error)}"
    return None
