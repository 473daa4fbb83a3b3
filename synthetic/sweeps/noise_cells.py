"""The noise sweep's cells, measured and held against the statements that speak about single batches.

A batch goes generator -> noise -> stack -> trajectory -> verdicts here, in this order and without turning back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from models.stack import AttentionStack
from synthetic.batches.cell import Cell
from synthetic.runs.backends import Backend
from synthetic.runs.records import RunRecorder
from synthetic.runs.tasks import run_tasks
from synthetic.trials.registry import load_statements, trials
from synthetic.trials.trial import Cases, Trial
from theory.batches.trajectory import Trajectory
from theory.judging.verdicts import Status, Verdict
from theory.numerics.precision import numerical_threshold
from theory.persistence import admits_threshold

StackFactory = Callable[..., AttentionStack]


@dataclass(frozen=True)
class CellResult:
    """A measured cell.

    Attributes:
        trajectory: all layers of all trials.
        admits_threshold: (trials,) the noisy batch satisfies Theorem 2a's hypotheses for some threshold.
        cut: the threshold that the stack applied, max(tau, tau_num).
        verdicts: key of a trial -> its verdict, for the statements that are checked batch by batch.
        suspects: key -> batch of a violated verdict, to be kept as a counterexample.
        distinct: batches that differ from all others of the cell.
    """

    trajectory: Trajectory
    admits_threshold: np.ndarray
    cut: float
    verdicts: dict[str, Verdict]
    suspects: dict[str, int]
    distinct: int


def run_cell(
    cell: Cell,
    device: str | torch.device = "cpu",
    progress: Callable[[int], object] = lambda trials: None,
    stack_factory: StackFactory = AttentionStack,
) -> CellResult:
    """Generate, propagate and check all trials of a cell.

    Args:
        progress: called with the number of trials done since the last call.
        stack_factory: what builds the stack; tests pass damaged ones to see that the checks notice.
    """
    stack, cut = build_stack(cell, device, stack_factory)
    parts: list[Trajectory] = []
    seen: set[bytes] = set()
    for points in cell.batches():
        parts.append(stack.measure(torch.from_numpy(points), cell.labels))
        # First and last point tell batches apart: one is drawn first, one is not.
        seen.update(batch[[0, -1]].tobytes() for batch in points)
        progress(len(points))
    trajectory = Trajectory.join_trials(parts)
    verdicts = check_cell(cell, trajectory)
    suspects = {key: v.where for key, v in verdicts.items() if v.status is Status.VIOLATED}
    alpha, beta = trajectory.alpha[0], trajectory.beta[0]
    return CellResult(trajectory, admits_threshold(alpha, beta, cell.sizes), cut, verdicts, suspects, len(seen))


def build_stack(
    cell: Cell, device: str | torch.device, stack_factory: StackFactory = AttentionStack
) -> tuple[AttentionStack, float]:
    """The stack that a cell's batches go through, in float64, and the threshold it applies: max(tau, tau_num)."""
    matrix, condition = cell.query_key_map()
    stack = stack_factory(
        cell.depth, cell.threshold, cell.mixing, condition=condition, device=device,
        normalize="input" if cell.unit_inputs else "never",
        query_key_map=None if matrix is None else torch.from_numpy(matrix),
    )  # fmt: skip
    return stack, max(cell.threshold, numerical_threshold("float64", condition))


def check_cell(cell: Cell, trajectory: Trajectory) -> dict[str, Verdict]:
    """The statements that speak about single batches of this cell, held against its measurements."""
    return {
        trial.key: trial.judge(cell_cases(cell, trial), trajectory)
        for trial in trials()
        if trial.judge is not None and trial.on_cells is not None and trial.on_cells(cell)
    }


@dataclass(frozen=True)
class _Points:
    """A cell's batches by trial, drawn when they are asked for."""

    cell: Cell

    def __getitem__(self, trial: int) -> np.ndarray:
        return self.cell.points([trial])[0]


def cell_cases(cell: Cell, trial: Trial) -> Cases:
    """A cell's batches as the trial's cases."""
    matrix, condition = cell.query_key_map()
    shared = {
        "labels": cell.labels, "threshold": cell.threshold, "mixing": cell.mixing, "depth": cell.depth,
        "query_key_map": matrix, "condition": condition, "clean_angles": np.array(cell.clean_angles),
        "noise_level": cell.noise_level, "extremes": np.array(cell.extremes or (-1.0, 1.0)),
        "unit_inputs": cell.unit_inputs,
    }  # fmt: skip
    return Cases({"points": _Points(cell)}, {**trial.defaults, **shared})


# --- many cells -------------------------------------------------------------------------------------------------------

# cell, result -> (its row, its layers' rows)
Summarize = Callable[[Cell, CellResult], tuple[dict, list[dict]]]


@dataclass(frozen=True)
class CellTask:
    """A cell to be measured, what turns its result into rows where it is measured, and files of statements that are to
    be checked beside the toolkit's own."""

    cell: Cell
    summarize: Summarize
    statements: tuple[Path, ...] = ()

    @property
    def index(self) -> int:
        """The cell."""
        return self.cell.index

    @property
    def settings(self) -> Cell:
        """What its row depends on."""
        return self.cell


@dataclass(frozen=True)
class MeasuredCell:
    """What comes back of a cell: its row, its layers' rows, and the batches that violate a statement, by its key."""

    row: dict
    layers: list[dict]
    suspects: dict[str, int]


def run_cells(
    tasks: Sequence[CellTask],
    recorder: RunRecorder,
    on_violation: Callable[[Cell, dict[str, int]], None],
    device: torch.device,
    backend: Backend,
    stack_factory: StackFactory = AttentionStack,
) -> None:
    """Run what is not finished yet; an interrupt loses at most the cells under way.

    Args:
        on_violation: called with the batches that violate a statement, before their cell is stored.

    Raises:
        WorkersLostError: the backend's workers died too often.
        OSError: a finished cell could not be written.
    """

    def store(task: CellTask, measured: MeasuredCell) -> None:
        if measured.suspects:
            on_violation(task.cell, measured.suspects)
        recorder.add(measured.row, measured.layers)

    measure = partial(measure_cell, device=device, stack_factory=stack_factory)
    run_tasks(tasks, recorder, backend, measure, store, "cell", f"of {len(tasks)} cells", _numbers)


def measure_cell(
    task: CellTask,
    device: torch.device,
    stack_factory: StackFactory = AttentionStack,
    progress: Callable[[str, int], object] = lambda text, numbers: None,
) -> MeasuredCell:
    """Run and summarize one cell.

    Args:
        progress: called with the cell's name and the numbers done since the last call, at first 0.
    """
    load_statements(task.statements)
    cell = task.cell
    name = f"D={cell.ambient_dim} n={cell.batch_size} noise={cell.noise_level:g}"
    progress(name, 0)
    share = _numbers(task) // cell.trials
    result = run_cell(cell, device, lambda trials: progress(name, trials * share), stack_factory)
    row, layers = task.summarize(cell, result)
    return MeasuredCell(row, layers, result.suspects)


def _numbers(task: CellTask) -> int:
    """Numbers of all batches, so that the time left is right although cells differ in size."""
    return task.cell.trials * task.cell.batch_size * task.cell.ambient_dim
