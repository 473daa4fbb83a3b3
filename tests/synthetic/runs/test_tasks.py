"""The loop of every run: what is done is not done again, what is finished is stored, an interrupt says how to go on."""

from dataclasses import dataclass

import pytest
import torch

from synthetic.runs.backends import BackendOptions, WorkersLostError, open_backend
from synthetic.runs.options import RunOptions, settings_of
from synthetic.runs.records import CELLS_ALONE, RunRecorder
from synthetic.runs.tasks import announce, run_tasks

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Task:
    index: int


TASKS = [Task(index) for index in (3, 1, 2)]


@pytest.fixture
def recorder(tmp_path):
    recorder = RunRecorder(tmp_path / "run", {}, False, CPU, CELLS_ALONE)
    recorder.add({"cell": 1, "square": 1})
    return recorder


def run(recorder, measure, **how):
    with open_backend(BackendOptions(), CPU) as backend:
        run_tasks(TASKS, recorder, backend, measure,
                  lambda task, result: recorder.add({"cell": task.index, "square": result}), "task", **how)  # fmt: skip


def test_only_what_is_missing_is_measured(recorder, capsys):
    asked = []
    announce(TASKS, recorder, "task")
    assert "3 tasks, 1 already there; results in" in capsys.readouterr().out
    run(recorder, lambda task: asked.append(task.index) or task.index**2)
    assert asked == [3, 2]
    assert [(row["cell"], row["square"]) for row in recorder.rows] == [(1, 1), (2, 4), (3, 9)]


def test_tasks_that_differ_in_size_tell_their_share(recorder):
    told = []

    def measure(task, progress):
        progress(f"task {task.index}", 0)
        progress(f"task {task.index}", 10 * task.index)
        told.append(task.index)
        return 0

    run(recorder, measure, weight=lambda task: 10 * task.index)
    assert told == [3, 2]


@pytest.mark.parametrize(("error", "told"), [(KeyboardInterrupt(), "interrupted"), (WorkersLostError(), "stopped")])
def test_what_ends_a_run_says_how_to_go_on(recorder, capsys, error, told):
    def measure(task):
        if task.index == 2:
            raise error
        return 9

    with pytest.raises(type(error)):
        run(recorder, measure, kept="of 3 cells")
    said = capsys.readouterr().err
    assert f"{told}; 2 of 3 cells are kept" in said
    assert f"--out {recorder.path} --resume" in said
    assert recorder.finished == {1, 3}


@dataclass(frozen=True)
class Settings:
    trials: int = 3


@dataclass(frozen=True)
class Command(RunOptions, Settings):
    """A command line."""


def test_settings_are_the_part_that_rows_depend_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Command(trials=5, figures=False)
    assert settings_of(options, Settings) == Settings(5)
    assert options.folder("x").parent.name == "runs"
    assert options.folder("x").name.startswith("x-20")
    with pytest.raises(ValueError, match="--resume"):
        Command(resume=True).folder("x")
