"""Running the cells of a sweep: in order, with progress, each finished cell on disk before the next begins."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from tqdm import tqdm

from models.stack import AttentionStack
from synthetic.experiment import Cell, CellResult, StackFactory, run_cell
from synthetic.records import RunRecorder

# cell, result -> (its row, its layers' rows)
Summarize = Callable[[Cell, CellResult], tuple[dict, list[dict]]]
# Cells differ in size, so that a count a second would mean nothing: share done and time left are shown.
BAR = "{l_bar}{bar}| {elapsed} gone, {remaining} left"


def run_cells(
    cells: Sequence[Cell],
    recorder: RunRecorder,
    summarize: Summarize,
    on_violation: Callable[[Cell, CellResult], None],
    device: torch.device,
    stack_factory: StackFactory = AttentionStack,
) -> None:
    """Run what is not finished yet; an interrupt loses at most the cell under way.

    Args:
        summarize: turns a result into rows.
        on_violation: called before a cell with a violated verdict is stored.
    """

    # Work is counted in numbers of the batch, so that the time left is right although cells differ in size.
    def work(cell: Cell) -> int:
        return cell.trials * cell.batch_size * cell.ambient_dim

    todo = [cell for cell in cells if cell.index not in recorder.finished]
    total, left = sum(map(work, cells)), sum(map(work, todo))
    with tqdm(total=total, initial=total - left, disable=None, bar_format=BAR, smoothing=0.05) as bar:
        for cell in todo:
            bar.set_description(f"D={cell.ambient_dim} n={cell.batch_size} noise={cell.noise_level:g}")
            result = run_cell(cell, device, partial(_advance, bar, work(cell) // cell.trials), stack_factory)
            if result.suspects:
                on_violation(cell, result)
            recorder.add(*summarize(cell, result))


def _advance(bar: tqdm, size: int, trials: int) -> None:
    bar.update(trials * size)
