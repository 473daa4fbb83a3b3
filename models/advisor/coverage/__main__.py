"""How often the advisor's guarantees hold: rows are drawn again and again from a known source, and everything that the
advisor says about them is held against that source.

    python -m models.advisor.coverage                     500 draws each of Gaussian classes, digits and view pairs
    python -m models.advisor.coverage --trials 20         a first look
    python -m models.advisor.coverage --out DIR --resume  go on after an interruption

EXACT answers are held against random batches of the same rows; CERTIFIED ones against new rows in batches filled from
the bank that the certificate speaks about, drawn by code that knows none of the propositions; PREDICTED ones by the
rule of --check, against 1,000 rows kept aside. Controls are wrong on purpose (shuffled labels, doubled rows, a shifted
check set) and must be noticed in 90 % of draws; the planted bound must come out VIOLATED from 100 draws on. A verdict
is HOLDS if so few failures are confirmed at 95 %, UNDECIDED in between: an interval that holds exactly as often as it
promises stays so. The run folder keeps every draw (outcomes.csv) and the table (coverage.csv).

Exit status: 1 a guarantee is VIOLATED or a planted violation is not noticed; others as in all commands (--help).
Finished draws are kept.
"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from models.advisor.config import AdvisorConfig
from models.advisor.coverage.fixed import Truth, fixed_outcomes, truth_of
from models.advisor.coverage.sources import SOURCES, Source
from models.advisor.coverage.table import coverage_rows, failed, text_of
from models.advisor.coverage.trial import Outcome, controls, drawn, mean_as_bound, outcomes
from models.commands import command
from models.run_folder import open_run_folder
from theory.numerics.inputs import require_count, require_range
from theory.numerics.whole_files import exact_floats, write_table

# Of view pairs, which have no labels.
PAIRS = "-pairs"
# Options that no result depends on.
WHERE = ("out", "resume", "accept_other_version")
# Draws that are kept together.
PIECE = 20


@dataclass(frozen=True)
class Coverage:
    """Command line of the study."""

    sources: tuple[str, ...] = ("gaussian", "digits", "gaussian-pairs")
    """Where rows come from: gaussian, digits, small-classes (many, and more rows than are looked at), or one of them
    with -pairs, where view pairs take the place of labels."""
    trials: int = 500
    """Draws of each source."""
    control_trials: int = 100
    """Of them, so many are also tampered with."""
    rows: int = 120
    """That the advisor sees in every draw; at most 800, so that digits are left to check with."""
    delta: float = 0.05
    """Probability with which a guarantee may fail."""
    seed: int = 0
    """Of all draws."""
    out: Path | None = None
    """Run folder; by default runs/coverage-DATE-TIME. Must be new or empty, unless --resume."""
    resume: bool = False
    """Go on with the run in --out."""
    accept_other_version: bool = False
    """With --resume: go on with draws of another version of the code, NumPy, SciPy or torch; environment.json keeps
    that, and which."""


def study(options: Coverage) -> int:
    """Draw, hold against the source, count; returns the exit status.

    Raises:
        ValueError: settings or a folder that cannot be used.
        OSError: a file could not be written.
    """
    known = [name + end for name in SOURCES for end in ("", PAIRS)]
    for name in options.sources:
        if name not in known:
            raise ValueError(f"sources: must be among {', '.join(known)}, got {name!r}")
    if not options.sources:
        raise ValueError(f"sources: at least one of {', '.join(known)}")
    require_count(options.trials, "trials", 1, 10**6)
    require_count(options.control_trials, "control_trials", 0, options.trials)
    require_count(options.rows, "rows", 100, 800)
    require_count(options.seed, "seed", 0, 2**63 - 1)
    require_range(options.delta, "delta", 0.0, 1.0, closed="neither")
    settings = {
        name: value for name, value in asdict(options).items() if name not in ("out", "resume", "accept_other_version")
    }
    with open_run_folder("coverage", options.out, options.resume, settings, torch.device("cpu"),
                         accept_other_version=options.accept_other_version) as folder:  # fmt: skip
        print(f"results in {folder}", flush=True)
        found: list[dict] = []
        for name in options.sources:
            found += _of_source(name, options, folder)
        table = list(coverage_rows(pd.DataFrame(found), options.delta))
        write_table(folder / "outcomes.csv", found)
        write_table(folder / "coverage.csv", table)
    print(text_of(table))
    for row in failed(table):
        what = "is not noticed" if row["status"] == "planted" else "does not hold"
        print(f"{row['source']}: {row['guarantee']} {what}", file=sys.stderr)
    return int(bool(failed(table)))


def _of_source(name: str, options: Coverage, folder: Path) -> list[dict]:
    """Every draw of one source, in pieces that are kept as they are finished."""
    source, place, found = SOURCES[name.removesuffix(PAIRS)](), list(SOURCES).index(name.removesuffix(PAIRS)), []
    key = (options.seed, place, int(name.endswith(PAIRS)))
    truth = None
    with tqdm(total=options.trials, desc=name, unit="draw", disable=None, leave=False) as bar:
        for start in range(0, options.trials, PIECE):
            trials = range(start, min(start + PIECE, options.trials))
            path = folder / f"{name}_{start:06d}.csv"
            if path.exists():
                found += pd.read_csv(path, **exact_floats(pd.__version__)).to_dict("records")
                bar.update(len(trials))
                continue
            if truth is None and not name.endswith(PAIRS):
                truth = truth_of(source, options.rows, np.random.default_rng([*key, 1]))
            piece = []
            for trial in trials:
                for each in one_draw(source, truth, trial, key, options):
                    piece.append({"source": name, "trial": trial, **asdict(each)})
                bar.update()
            write_table(path, piece)
            found += piece
    return found


def one_draw(
    source: Source, truth: Truth | None, trial: int, key: tuple[int, ...], options: Coverage
) -> Iterator[Outcome]:
    """Everything about one draw; view pairs have neither fixed attention nor controls."""
    # The advisor halves the rows at random, by its own seed.
    config = AdvisorConfig(batch_size=16, share=0.2, depth=3, delta=options.delta, seed=trial)
    rng = np.random.default_rng([*key, 0, trial])
    draw = drawn(source, options.rows, config, rng, paired=truth is None)
    yield from outcomes(draw, rng)
    if truth is None:
        return
    yield from fixed_outcomes(source, truth, draw.features, options.delta, rng)
    if draw.findings.weights:
        yield mean_as_bound(draw, rng)
    if trial < options.control_trials:
        yield from controls(draw, rng)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    return command(study, Coverage, arguments, "python -m models.advisor.coverage", __doc__)


if __name__ == "__main__":
    sys.exit(main())
