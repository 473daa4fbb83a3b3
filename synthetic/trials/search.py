"""Random cases of many shapes for any trial, and its negative controls."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from synthetic.batches import seeding
from synthetic.trials.files import Keep, keeper
from synthetic.trials.trial import Cases, Trial
from theory.judging.rates import RateCell, contradictions, judge_rates
from theory.judging.verdicts import Status, Verdict, combine_cells

# So many shapes without one case inside the hypotheses are a fault of the draw.
BARREN_SHAPES = 100
# Damaged parts show in a few cases of a shape, and their near-ties would be settled slowly.
FEW_CASES = 20


@dataclass(frozen=True)
class Shape:
    """One shape of a random search, judged: a row of trials.csv."""

    number: int
    verdict: Verdict
    counts: RateCell | None


def search(trial: Trial, cases: int, seed: int, folder: Path | None = None) -> tuple[Verdict, list[Shape]]:
    """A verdict on at least ``cases`` random cases inside the hypotheses, and that of every shape.

    Args:
        folder: where a case of every violated shape is kept.

    Raises:
        ValueError: the trial draws no cases, or none inside its hypotheses.
    """
    draw = _draw_of(trial)
    shapes: list[Shape] = []
    keep, done = keeper(folder), 0
    with tqdm(total=cases, disable=None, unit="batch", desc=f"{trial.name}, random") as bar:
        while done < cases:
            drawn = draw(seeding.generator(seed, len(shapes), trial.search_stream))
            shapes.append(_judge_shape(trial, len(shapes), drawn, keep))
            done += shapes[-1].verdict.applicable
            bar.update(shapes[-1].verdict.applicable)
            if not done and len(shapes) == BARREN_SHAPES:
                raise ValueError(f"{trial.key}: no case of {BARREN_SHAPES} shapes lies inside the hypotheses")
    return _summary(trial, shapes), shapes


def _draw_of(trial: Trial) -> Callable[[np.random.Generator], Cases]:
    if trial.draw is None:
        raise ValueError(f"{trial.key}: draws no random cases")
    return trial.draw


def _judge_shape(trial: Trial, number: int, cases: Cases, keep: Keep) -> Shape:
    counts = None
    if trial.rate is None:
        verdict = trial.check(cases)
        broken = verdict.status is Status.VIOLATED
    else:
        failed = np.asarray(trial.rate.fails(cases, trial.measure(cases, trial.subject)))
        verdict = trial.verdict_on(failed)
        counts = RateCell(f"in shape {number}", trial.key, int(failed.sum()), len(failed), pool="in all shapes")
        broken = bool(contradictions([counts], trial.rate.delta))
    if broken:
        keep(trial, cases.values(verdict.where))
    return Shape(number, verdict, counts)


def _summary(trial: Trial, shapes: list[Shape]) -> Verdict:
    if trial.rate is None:
        verdict = combine_cells(trial.name, (shape.verdict for shape in shapes))
    else:
        counts = [shape.counts for shape in shapes if shape.counts is not None]
        verdict = judge_rates(trial.name, counts, trial.rate.delta)
    return replace(verdict, statement=f"{trial.name} on random batches")


def unnoticed(trial: Trial, seed: int = 5) -> list[str]:
    """The trial's damaged subjects that none of its first random shapes finds out.

    Raises:
        ValueError: the trial draws no cases.
    """
    missed, draw = [], _draw_of(trial)
    for name, subject in trial.damaged.items():
        drawn = (draw(seeding.generator(seed, i)).first(FEW_CASES) for i in range(trial.shows_after))
        if not any(trial.check(cases, subject).status is Status.VIOLATED for cases in drawn):
            missed.append(name)
    return missed
