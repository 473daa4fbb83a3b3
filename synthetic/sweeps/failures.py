"""Failing batches of sweeps, kept as counterexamples."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from synthetic.batches.cell import Cell
from synthetic.sweeps.noise_cells import cell_cases
from synthetic.sweeps.noise_report import rate_cells
from synthetic.sweeps.subspace_model import OneBlockTask, by_theorem, floor_cells
from synthetic.trials.files import Counterexample
from synthetic.trials.graphs import graph_key
from synthetic.trials.registry import trial_of
from theory.judging.rates import culprits
from theory.judging.verdicts import Status


def save_suspects(folder: Path, cell: Cell, suspects: Mapping[str, int]) -> None:
    """Keep the batches of a cell that violated a statement about single batches."""
    for key, number in suspects.items():
        _save(folder, cell, number, counterexample(cell, key, number))


def save_failures(folder: Path, cells: Sequence[Cell], rows: Sequence[dict], delta: float) -> None:
    """Keep one failing batch of every cell whose failure rate contradicts Theorem 2b or 2f."""
    for fusion in (False, True):
        promises = rate_cells(rows, fusion)
        for index in culprits([cell for cell, _, _ in promises], delta):
            _, row, guarantee = promises[index]
            cell = next(c for c in cells if c.index == row["cell"])
            key = "theorem_2f" if fusion else f"theorem_2b_{guarantee}"
            for number in range(cell.trials):
                example = counterexample(cell, key, number)
                if example.replay().status is Status.VIOLATED:
                    _save(folder, cell, number, example)
                    break


def save_batch_failures(
    folder: Path, task_of: Callable[[dict], OneBlockTask], rows: Sequence[dict], delta: float
) -> None:
    """Keep one failing batch of every cell whose failure rate contradicts Theorem 2c or 2g, each judged by itself as
    in the verdicts; ``task_of`` a row is its task."""
    for theorem, own in by_theorem([row for row in rows if row["guaranteed"]]):
        for index in culprits(floor_cells(own), delta):
            task, number = task_of(own[index]), int(own[index]["first_failure"])
            _save(folder, task.cell, number, counterexample(task.cell, graph_key(theorem, task.squared), number))


def counterexample(cell: Cell, key: str, number: int) -> Counterexample:
    """A batch of a cell, for a statement to be checked on again."""
    trial = trial_of(key)
    origin = {"seed": cell.seed, "cell": cell.index, "trial": number}
    return Counterexample(trial, cell_cases(cell, trial).values(number), origin)


def _save(folder: Path, cell: Cell, number: int, example: Counterexample) -> None:
    example.save(folder / f"counterexample-{example.trial.key}-cell{cell.index}-trial{number}.npz")
