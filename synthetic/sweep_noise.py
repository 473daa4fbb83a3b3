"""The noise sweep: batches over a grid of noise levels and batch sizes, through the stack, against Theorems 1, 2a, 2b.

    python -m synthetic.sweep_noise                          the default run, a minute or so on two cores
    python -m synthetic.sweep_noise --quick                  twenty seconds, coarser
    python -m synthetic.sweep_noise --noise worst            bounded noise that attains the bound
    python -m synthetic.sweep_noise --out runs/a --resume    continue an interrupted run
    python -m synthetic.sweep_noise --replay FILE.npz        see a counterexample again
    python -m synthetic.sweep_noise --jobs 4                 in four processes instead of one a core; the same rows
    python -m synthetic.sweep_noise --backend dask --scheduler tcp://HOST:8786     on a dask cluster; the same rows

Exit status: 1 something is violated, 6 the run contradicts itself (audit.json); others as in all commands (--help).
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from models.environment import require_float64, resolve_device
from models.stack import AttentionStack
from synthetic.audit.plan import audit_plan
from synthetic.audit.rows import audit_run, audited_rows
from synthetic.batches.cell import Cell
from synthetic.runs.backends import open_backend
from synthetic.runs.options import RunOptions, finish, settings_of
from synthetic.runs.records import RunRecorder
from synthetic.runs.statuses import command
from synthetic.sweeps.failures import save_failures, save_suspects
from synthetic.sweeps.noise_cells import CellTask, StackFactory, run_cells
from synthetic.sweeps.noise_controls import control_cells
from synthetic.sweeps.noise_fusion import fusion_cells
from synthetic.sweeps.noise_grid import NUM_LEVELS, QUICK, QUICK_LEVELS, SweepSettings, build_cells
from synthetic.sweeps.noise_report import (
    batchwise,
    print_audit,
    print_report,
    summarize_boundaries,
    summarize_verdicts,
)
from synthetic.trials.files import Counterexample
from synthetic.trials.prosecution import prosecute
from synthetic.trials.registry import load_statements, statement_files
from theory.judging.statements import THEOREM_2B
from theory.judging.verdicts import Status
from theory.numerics.commands import AUDIT_FAILED
from theory.numerics.whole_files import write_json, write_table


@dataclass(frozen=True)
class SweepNoise(RunOptions, SweepSettings):
    """Command line of the noise sweep: the settings of the grid, and where and how to run it."""

    device: str = "cpu"
    """Where the stack runs: cpu, cuda, cuda:1."""
    quick: bool = False
    """Other defaults, a small grid: D=64, batches of 32 and 96, 9 noise levels, 50 trials, depth 4. Options that are
    given win."""
    adversary: bool = False
    """Also search for counterexamples to Theorems 1, 2a and 2b by gradient ascent (half a minute more)."""
    replay: Path | None = None
    """Check a counterexample file again instead of sweeping."""
    statements: tuple[Path, ...] = ()
    """Files that register statements of your own (synthetic/trials/example.py), to be checked on every cell as well."""


def run(options: SweepNoise, stack_factory: StackFactory = AttentionStack) -> int:
    """Run the sweep and return its exit status.

    Raises:
        ValueError: bad settings, an unknown device or one without float64, an unusable run folder or scheduler.
        OSError: a file could not be written.
        WorkersLostError: the backend's workers died too often.
    """
    device = resolve_device(options.device)
    require_float64(device)
    settings = settings_of(options, SweepSettings)
    grid, ceilings = build_cells(settings, QUICK_LEVELS if options.quick else NUM_LEVELS)
    controls = control_cells(settings, len(grid)) if settings.controls else []
    if settings.controls and settings.threshold is None:
        controls += fusion_cells(settings, ceilings, len(grid) + len(controls))
    cells = [*grid, *(cell for cell, _ in controls)]
    known = {cell.index: ceilings[cell.ambient_dim, cell.batch_size] for cell in grid}
    known |= {cell.index: ceiling for cell, ceiling in controls}
    out = options.folder("noise")
    config = asdict(settings)
    if options.statements:
        load_statements(options.statements)
        config["statements"] = statement_files(options.statements)
    with open_backend(options, device, options.quick) as backend:
        recorder = RunRecorder(out, config, options.resume, device, accept_other_version=options.accept_other_version)
        print(
            f"{len(grid)} cells of {settings.trials} trials and {len(controls)} control cells, "
            f"{len(recorder.finished)} already there; results in {out}",
            flush=True,
        )
        if recorder.rows and "certified" not in recorder.rows[0]:
            raise ValueError(f"--resume {out}: its rows are an earlier version's, without the column 'certified'")
        # What is wrong with the plan, or with the rules by which it will be judged, shows before any batch is drawn.
        complaints = audit_plan(cells, known, settings)
        if complaints:
            _keep_audit(out, cells, complaints)
            return AUDIT_FAILED
        tasks = [
            CellTask(
                cell,
                partial(audited_rows, ceilings=known[cell.index],
                        recommended=settings.threshold is None or bool(cell.control)),
                options.statements,
            )
            # Controls first: what is wrong with the toolkit shows in seconds.
            for cell in [*cells[len(grid):], *grid]
        ]  # fmt: skip
        run_cells(tasks, recorder, partial(save_suspects, out), device, backend, stack_factory)
    boundaries = summarize_boundaries(recorder.rows, settings.delta)
    write_table(out / "boundaries.csv", boundaries)
    verdicts = summarize_verdicts(recorder.rows, settings.delta)
    save_failures(out, cells, recorder.rows, settings.delta)
    rate = next((verdict for verdict in verdicts if verdict.statement == THEOREM_2B.name), None)
    complaints = audit_run(cells, known, recorder.rows, settings, rate)
    if options.adversary:
        attacks = prosecute(batchwise(), restarts=48, steps=200, seed=settings.seed)
        verdicts += [found.settled(out) for found in attacks]
    write_json(out / "verdicts.json", verdicts)
    print_report(recorder.rows, boundaries, verdicts)
    _keep_audit(out, cells, complaints)
    status = finish(out, verdicts, options.figures, "--replay")
    return AUDIT_FAILED if complaints else status


def _keep_audit(folder: Path, cells: Sequence[Cell], complaints: list[str]) -> None:
    """Write audit.json and say what is in it."""
    found = {"cells": len(cells), "trials": sum(cell.trials for cell in cells), "complaints": complaints}
    write_json(folder / "audit.json", found)
    print_audit(cells, complaints)


def replay(options: SweepNoise, path: Path) -> int:
    """Check the counterexample file again; 1 if it still contradicts its statement.

    Raises:
        ValueError: not a counterexample file, or an unknown device or one without float64.
    """
    device = resolve_device(options.device)
    require_float64(device)
    load_statements(options.statements)
    verdict = Counterexample.load(path).replay(device)
    print(verdict)
    return 1 if verdict.status is Status.VIOLATED else 0


def run_or_replay(options: SweepNoise) -> int:
    """The sweep, or one of its counterexamples."""
    return run(options) if options.replay is None else replay(options, options.replay)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run_or_replay, SweepNoise, arguments, "python -m synthetic.sweep_noise", __doc__, QUICK)


if __name__ == "__main__":
    sys.exit(main())
