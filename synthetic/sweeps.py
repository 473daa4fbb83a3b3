"""Running the cells of a sweep on a backend, with progress; each finished cell is on disk as soon as it is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from models.stack import AttentionStack
from synthetic.backends import Backend
from synthetic.experiment import Cell, CellResult, StackFactory, run_cell
from synthetic.records import RunRecorder

# cell, result -> (its row, its layers' rows)
Summarize = Callable[[Cell, CellResult], tuple[dict, list[dict]]]
# Cells differ in size, so that a count a second would mean nothing: share done and time left are shown.
BAR = "{l_bar}{bar}| {elapsed} gone, {remaining} left"


@dataclass(frozen=True)
class CellTask:
    """A cell to be measured, and what turns its result into rows where it is measured."""

    cell: Cell
    summarize: Summarize


@dataclass(frozen=True)
class MeasuredCell:
    """What comes back of a cell: its row, its layers' rows, and the whole result only if a verdict is violated."""

    row: dict
    layers: list[dict]
    violation: CellResult | None


def run_cells(
    cells: Sequence[Cell],
    recorder: RunRecorder,
    summarize: Callable[[Cell], Summarize],
    on_violation: Callable[[Cell, CellResult], None],
    device: torch.device,
    backend: Backend,
    stack_factory: StackFactory = AttentionStack,
) -> None:
    """Run what is not finished yet; an interrupt loses at most the cells under way.

    Args:
        summarize: gives what turns a cell's result into rows; that travels with the cell.
        on_violation: called before a cell with a violated verdict is stored.

    Raises:
        WorkersLostError: the backend's workers died too often.
        OSError: a finished cell could not be written.
    """
    todo = [cell for cell in cells if cell.index not in recorder.finished]
    total, left = sum(map(_work, cells)), sum(map(_work, todo))
    measure = partial(measure_cell, device=device, stack_factory=stack_factory)
    with tqdm(total=total, initial=total - left, disable=None, bar_format=BAR, smoothing=0.05) as bar:
        if backend.in_process:
            measure = partial(measure, progress=partial(_advance, bar))
        for index, measured in backend.map(measure, [CellTask(cell, summarize(cell)) for cell in todo]):
            cell = todo[index]
            if measured.violation is not None:
                on_violation(cell, measured.violation)
            recorder.add(measured.row, measured.layers)
            if not backend.in_process:
                _advance(bar, cell, cell.trials)


def measure_cell(
    task: CellTask,
    device: torch.device,
    stack_factory: StackFactory = AttentionStack,
    progress: Callable[[Cell, int], object] = lambda cell, trials: None,
) -> MeasuredCell:
    """Run and summarise one cell.

    Args:
        progress: called with the cell and the number of trials done since the last call, at first 0.
    """
    progress(task.cell, 0)
    result = run_cell(task.cell, device, partial(progress, task.cell), stack_factory)
    row, layers = task.summarize(task.cell, result)
    return MeasuredCell(row, layers, result if result.suspects else None)


def _work(cell: Cell) -> int:
    """Numbers of all batches, so that the time left is right although cells differ in size."""
    return cell.trials * cell.batch_size * cell.ambient_dim


def _advance(bar: tqdm, cell: Cell, trials: int) -> None:
    bar.set_description(f"D={cell.ambient_dim} n={cell.batch_size} noise={cell.noise_level:g}", refresh=trials == 0)
    bar.update(trials * cell.batch_size * cell.ambient_dim)
