"""The adversary: gradient ascent on the violation of every statement, the killed ones too, and random cases beside it.

    python -m synthetic.adversary                          every statement on trial, and 100,000 random batches of each
    python -m synthetic.adversary --random-batches 0       the gradient search alone
    python -m synthetic.adversary --statements MINE.py     statements of your own as well (synthetic/trials/example.py)
    python -m synthetic.adversary --out runs/adversary     keep verdicts, tables, their figure, and counterexamples

Every trial's negative controls run first: damaged stacks, blocks and losses that its check has to find out.

Exit status: 1 a theorem falls, a killed statement stands or a damaged part is not found out; others as in all commands
(--help).
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from figures.drawing import draw_and_tell
from synthetic.runs.records import RunRecorder, Tables
from synthetic.runs.statuses import command
from synthetic.trials.prosecution import Prosecution, prosecute
from synthetic.trials.registry import load_statements, statement_files, trials
from synthetic.trials.search import Shape, search, unnoticed
from synthetic.trials.trial import Trial
from theory.judging.verdicts import Status, Verdict
from theory.numerics.commands import CHECK_FAILED, DONE
from theory.numerics.inputs import require_count
from theory.numerics.limits import LARGEST_ROUNDS, LARGEST_SEED, LARGEST_STEPS, LARGEST_TRIALS
from theory.numerics.whole_files import write_json, write_table


@dataclass(frozen=True)
class AdversaryOptions:
    """Command line of the adversary."""

    random_batches: int = 100_000
    """Random batches inside the hypotheses of each statement; a tenth as many where a batch is one trial of a rate."""
    restarts: int = 48
    """Starting points for each violation and choice of cluster sizes."""
    steps: int = 200
    """Ascent steps of each."""
    seed: int = 0
    """Seed of all searches."""
    statements: tuple[Path, ...] = ()
    """Files that register statements of your own."""
    out: Path | None = None
    """Run folder, new or empty, for verdicts.json, the margin of every shape of random batches (trials.csv), every
    attack (attacks.csv), their figure, and each batch that contradicts a statement. FILE.json: the verdicts alone."""


def run(options: AdversaryOptions) -> int:
    """Search, print and store; returns the exit status.

    Raises:
        ValueError: bad options.
    """
    require_count(options.random_batches, "random_batches", 0, LARGEST_TRIALS)
    require_count(options.seed, "seed", 0, LARGEST_SEED)
    load_statements(options.statements)
    require_count(options.restarts, "restarts", 1, LARGEST_ROUNDS)
    require_count(options.steps, "steps", 1, LARGEST_STEPS)
    recorder = _recorder(options)
    folder = recorder.path if recorder is not None else None if options.out is None else options.out.parent
    drawn = [trial for trial in trials() if trial.draw is not None and options.random_batches]
    missed = {trial.key: unnoticed(trial) for trial in drawn}
    how = (options.restarts, options.steps, options.seed)
    attacks = prosecute(trials(), *how) + prosecute(trials(), *how, killed=True)
    found = {trial.key: search(trial, _batches(trial, options), options.seed, folder) for trial in drawn}
    verdicts = [verdict for verdict, _ in found.values()]
    status, told = DONE, [*(a.verdict() for a in attacks), *verdicts]
    if recorder is not None:
        write_json(recorder.path / "verdicts.json", told)
        status = keep_tables(recorder.path, attacks, [(trial, found[trial.key][1]) for trial in drawn])
    elif options.out is not None:
        write_json(options.out, told)
    print_report(attacks, verdicts, missed)
    as_expected = all(a.refuted != a.true for a in attacks) and not any(missed.values())
    as_expected &= all(verdict.status is not Status.VIOLATED for verdict in verdicts)
    return status if as_expected else CHECK_FAILED


def _recorder(options: AdversaryOptions) -> RunRecorder | None:
    """The run folder; None without one.

    Raises:
        ValueError: it cannot be used, or the file that is to be written holds something else than verdicts.
    """
    if options.out is None:
        return None
    if options.out.suffix == ".json":
        if options.out.is_dir() or not options.out.parent.is_dir() or not os.access(options.out.parent, os.W_OK):
            raise ValueError(f"--out {options.out}: cannot be written; give a file in a folder that is there")
        _require_verdicts(options.out)
        return None
    settings = {name: value for name, value in asdict(options).items() if name != "out"}
    settings["statements"] = statement_files(options.statements)
    return RunRecorder(options.out, settings, False, torch.device("cpu"), Tables("trials", None))


def _require_verdicts(path: Path) -> None:
    try:
        found = json.loads(path.read_bytes())
        ours = isinstance(found, list) and all("statement" in each for each in found)
    except FileNotFoundError:
        return
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise ValueError(f"--out {path}: exists and holds no verdicts; choose another file")


def _batches(trial: Trial, options: AdversaryOptions) -> int:
    return options.random_batches if trial.rate is None else -(-options.random_batches // 10)


def keep_tables(folder: Path, attacks: Sequence[Prosecution], searches: Sequence[tuple[Trial, list[Shape]]]) -> int:
    """trials.csv (a row a shape of random batches), attacks.csv (a row an attack), and the figure of both; returns what
    drawing it leaves of the exit status."""
    rows = [
        {"trial": trial.key, "name": trial.name, "shape": shape.number, **_told(trial, shape)}
        for trial, shapes in searches
        for shape in shapes
    ]
    write_table(folder / "attacks.csv", [
        {"trial": a.trial.key, "name": a.attack.violation.name, "true": a.true, "closest": a.attack.closest,
         "inside": a.attack.inside, "restarts": a.attack.restarts} for a in attacks
    ])  # fmt: skip
    if not rows:
        return DONE
    write_table(folder / "trials.csv", rows)
    return draw_and_tell(folder)


def _told(trial: Trial, shape: Shape) -> dict:
    """A shape's tightest case; of a rate, the share that failed."""
    verdict = asdict(shape.verdict)
    if shape.counts is not None and trial.rate is not None:
        rate, delta = shape.counts.rate, trial.rate.delta
        verdict |= {
            "status": "",
            "measured": rate,
            "bound": delta,
            "relative_margin": (delta - rate) / max(delta, rate),
        }
    return {name: verdict[name] for name in ("status", "applicable", "cases", "measured", "bound", "relative_margin")}


def print_report(attacks: Sequence[Prosecution], verdicts: Sequence[Verdict], missed: dict[str, list[str]]) -> None:
    """One line an attack, a verdict a search, and what went unnoticed."""
    print(f"{'claim':<40}  expected   outcome    closest approach (0 = attained, > 0 = broken)")
    for found in attacks:
        expected, outcome = ("stands" if found.true else "falls"), ("fell" if found.refuted else "stood")
        best = found.attack
        print(
            f"{best.violation.name:<40}  {expected:<9}  {outcome:<9}  {best.closest: .3g} at sizes {best.sizes}, "
            f"{best.inside} of {best.restarts} restarts inside the hypotheses"
        )
    for verdict in verdicts:
        print(verdict)
    damaged = sum(len(trial.damaged) for trial in trials() if trial.key in missed)
    if missed:
        unseen = [f"{key}: {', '.join(names)}" for key, names in missed.items() if names]
        print(f"Negative controls: {damaged - sum(map(len, missed.values()))} of {damaged} damaged parts found out"
              + (f"; not {'; '.join(unseen)}" if unseen else ""))  # fmt: skip
    if not all(found.refuted for found in attacks if not found.true):
        print("A false statement stood: this search is too weak to say anything; give it more restarts or steps.")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(run, AdversaryOptions, arguments, "python -m synthetic.adversary", __doc__)


if __name__ == "__main__":
    sys.exit(main())
