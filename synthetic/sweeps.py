"""Running the cells of a sweep: in order, with progress, each finished cell on disk before the next begins."""

from collections.abc import Callable, Sequence

import torch
from tqdm import tqdm

from synthetic.experiment import Cell, CellResult, StackFactory, run_cell
from synthetic.records import RunRecorder
from models.stack import AttentionStack

# cell, result -> (its row, its layers' rows)
Summarize = Callable[[Cell, CellResult], tuple[dict, list[dict]]]


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
    todo = [cell for cell in cells if cell.index not in recorder.finished]
    total, done = (sum(c.trials * sum(c.sizes) * c.ambient_dim for c in part) for part in (cells, set(cells) - set(todo)))
    # Work is counted in numbers of the batch, so that the time left is right although cells differ in size.
    with tqdm(total=total, initial=done, disable=None, unit_scale=True, unit="num", smoothing=0.05) as bar:
        for cell in todo:
            bar.set_description(f"D={cell.ambient_dim} n={sum(cell.sizes)} noise={cell.noise_level:g}")
            size = sum(cell.sizes) * cell.ambient_dim
            result = run_cell(cell, device, lambda trials: bar.update(trials * size), stack_factory)  # noqa: B023
            if result.suspects:
                on_violation(cell, result)
            recorder.add(*summarize(cell, result))
