"""How tight the proved numbers are: each against what simulated batches allow, on a grid of geometries.

    python -m synthetic.tightness                   the Gaussian noise ceiling (2b), a few minutes on two cores
    python -m synthetic.tightness --bound depth     the threshold at which no layer has a false edge (2e)
    python -m synthetic.tightness --bound fusion    the fusion ceiling (2f), hours for batches of 1,024: mind --trials
    python -m synthetic.tightness --bound soft      the batch floor under noise (2g)
    python -m synthetic.tightness --ambient-dims 256 --num-clusters 8 --cluster-sizes 32 --within-cos 1

Of 2e, 2f and 2g it also counts the failures of batches *at* the proved number, with a verdict on all of them.

Exit status: 1 a breakdown lies below its bound (a threshold or a floor: on its wrong side), or failures contradict it;
others as in all commands (--help).
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from tqdm import tqdm

from figures.drawing import draw_and_tell
from synthetic.runs.records import RunRecorder
from synthetic.runs.statuses import command
from synthetic.slack import depth, fusion, separation, soft
from synthetic.slack.options import LISTS, TightnessOptions, grid_points
from synthetic.slack.rows import contradicted, judge_rows, print_rows
from theory.judging.statements import THEOREM_2E, THEOREM_2F, THEOREM_2G
from theory.judging.verdicts import Status
from theory.numerics.commands import CHECK_FAILED, DONE
from theory.numerics.whole_files import write_json, write_table

MEASURE = {"separation": separation.measure, "depth": depth.measure, "fusion": fusion.measure, "soft": soft.measure}
# The statement, what it promises at the number, and the ratio of the table.
PROMISES = {
    "depth": (THEOREM_2E, "to have no false edge at any layer", "measured/proved"),
    "fusion": (THEOREM_2F, "recovery from layer 1 on", "measured/proved"),
    "soft": (THEOREM_2G, "recovery", "proved/measured"),
}
MORE = {"fusion": (("gain", "over separation"), ("certified_at_1.3", "certified at 1.3"), ("lost_later", "lost later"))}


def run(options: TightnessOptions) -> int:
    """Measure the grid, print and store it; returns the exit status.

    Raises:
        ValueError: bad options.
    """
    points = grid_points(options)
    _check(points, options)
    recorder = None
    if options.out is not None:
        lists = {name: tuple(dict.fromkeys(point[name] for point in points)) for name in points[0]}
        rest = {k: v for k, v in asdict(options).items() if k not in ("out", *LISTS)}
        settings = {**lists, **rest}
        recorder = RunRecorder(options.out, settings, False, torch.device("cpu"))
    folder = None if recorder is None else recorder.path
    name = "tightness" if options.bound == "separation" else "slack"
    rows: list[dict] = []
    for i, point in enumerate(tqdm(points, disable=None, unit="geometry")):
        rows.append(MEASURE[options.bound](i, point, options))
        if folder is not None:
            # Rewritten whole after every row: what is interrupted loses the row under way.
            write_table(folder / f"{name}.csv", rows)
    if options.bound == "separation":
        separation.print_table(rows)
        verdict = separation.judge_rows(rows)
        print(f"  {verdict}")
        failed = verdict.status is Status.VIOLATED
    else:
        statement, claim, ratio = PROMISES[options.bound]
        print_rows(rows, ratio, MORE.get(options.bound, ()))
        verdict = judge_rows(statement.name, claim, rows, options.delta)
        print(f"  {verdict}\n      {statement.headline}")
        failed = contradicted(rows, verdict, below=options.bound == "depth")
    if folder is not None:
        write_json(folder / "verdicts.json", [verdict])
    return finish(folder, failed)


def _check(points: Sequence[dict], options: TightnessOptions) -> None:
    """Everything that can be refused, before anything is measured."""
    for index, point in enumerate(points):
        if options.bound == "depth":
            depth.cell_of(index, point, options)
        elif options.bound == "fusion":
            fusion.cell_of(index, point, options)
        elif options.bound == "soft":
            soft.model_of(point)


def finish(folder: Path | None, failed: bool) -> int:
    """Draw the table's figure, if it is kept; returns the exit status."""
    status = DONE if folder is None else draw_and_tell(folder)
    return CHECK_FAILED if failed else status


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, TightnessOptions, arguments, "python -m synthetic.tightness", __doc__)


if __name__ == "__main__":
    sys.exit(main())
