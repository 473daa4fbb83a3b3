"""A process that dies at any call to the file system, or a disk that is full there, leaves a run that goes on."""

import errno
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from models import run_folder
from synthetic.integrity.folders import State, look_at
from synthetic.runs.options import finish
from synthetic.runs.records import RunRecorder
from synthetic.runs.tasks import run_tasks
from tests.crashes import Disk, KilledError, contents
from theory.judging.verdicts import Status, Verdict
from theory.numerics.whole_files import write_json, write_table

CPU = torch.device("cpu")
START = {"started": "now", "code": "this", "numpy": "2", "scipy": "1", "torch": "2"}


@dataclass(frozen=True)
class Square:
    index: int


class Here:
    """A backend without what makes real ones slow to open."""

    in_process = True

    @staticmethod
    def map(function, tasks):
        return enumerate(map(function, tasks))


def tiny_run(folder: Path, resume: bool) -> None:
    """As the sweeps do it: cells with details, a table that follows from them, verdicts last."""
    recorder = RunRecorder(folder, {"seed": 1}, resume, CPU)

    def store(task, result):
        recorder.add({"cell": task.index, "square": result}, [{"cell": task.index, "layer": i} for i in range(2)])

    run_tasks([Square(i) for i in (2, 0)], recorder, Here, lambda task: task.index**2, store, "square")
    write_table(folder / "totals.csv", [{"total": sum(row["square"] for row in recorder.rows)}])
    write_json(folder / "verdicts.json", [Verdict("Theorem 1", Status.HOLDS)])
    finish(folder, [], figures=False)


@pytest.fixture
def quick_starts(monkeypatch):
    """Versions are told at once, without asking git."""
    monkeypatch.setattr(run_folder, "environment", lambda device: dict(START))


def every_crash(run, folder, monkeypatch, error, prepare=lambda folder: None, step=1):
    """Run once to count the calls, then once a call with that call failing; each run goes on to the same files.

    Returns:
        how many calls there were, and at how many of them the run ended before there was anything to go on with.
    """
    whole = folder / "whole"
    prepare(whole)
    with Disk().watched(monkeypatch) as disk:
        run(whole, False)
    expected, anew = contents(whole), 0
    for at in range(0, disk.count, step):
        own = folder / f"crash{at}"
        prepare(own)
        with Disk(at, error).watched(monkeypatch), suppress(KilledError, OSError, ValueError, SystemExit):
            run(own, False)
        found = look_at(own).state
        assert found is not State.BROKEN, (at, look_at(own))
        begun = (own / run_folder.ENVIRONMENT).exists()
        anew += not begun
        # What is there is a run that goes on; else one is begun, and nothing stands in its way.
        run(own, begun)
        assert contents(own) == expected, at
        assert look_at(own).state is State.WHOLE, (at, look_at(own))
        parts = [path for path in own.rglob(".*.part")]
        assert not parts, (at, parts)
    return disk.count, anew


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "there", "step"),
    [
        (None, False, 2),
        (None, True, 5),
        (FULL, False, 5),
        pytest.param(None, False, 1, marks=pytest.mark.slow),
        pytest.param(None, True, 1, marks=pytest.mark.slow),
        pytest.param(FULL, False, 1, marks=pytest.mark.slow),
        pytest.param(FULL, True, 1, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_dies_at_any_call_goes_on_to_the_same_files(
    tmp_path, monkeypatch, quick_starts, as_users_call, error, there, step
):
    prepare = Path.mkdir if there else lambda folder: None
    calls, anew = every_crash(tiny_run, tmp_path, monkeypatch, error, prepare, step)
    assert calls > 80
    assert 5 / step < anew < 40 / step, "only those before the folder is born"
