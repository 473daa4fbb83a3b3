"""Random cases of many shapes for any trial, and its negative controls."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from synthetic.batches import seeding
from synthetic.trials.files import Keep, keeper
from synthetic.trials.trial import Cases, Subject, Trial
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
        counts, failed = _counted(trial, number, cases, trial.subject)
        verdict = trial.verdict_on(failed)
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
    """The trial's damaged subjects that its first random shapes do not find out.

    Raises:
        ValueError: the trial draws no cases.
    """
    return [name for name, subject in trial.damaged.items() if not found_out(trial, subject, seed)]


def found_out(trial: Trial, subject: Subject, seed: int = 5) -> bool:
    """Whether the trial's first random shapes find a subject out: by a case that violates the statement, or of a
    promised rate, of which some cases may fail, by more failures than chance explains.

    Raises:
        ValueError: the trial draws no cases.
    """
    draw = _draw_of(trial)
    shapes = (draw(seeding.generator(seed, i)) for i in range(trial.shows_after))
    if trial.rate is None:
        return any(trial.check(cases.first(FEW_CASES), subject).status is Status.VIOLATED for cases in shapes)
    counts = [_counted(trial, number, cases, subject)[0] for number, cases in enumerate(shapes)]
    return bool(contradictions(counts, trial.rate.delta))


def _counted(trial: Trial, number: int, cases: Cases, subject: Subject) -> tuple[RateCell, np.ndarray]:
    """Of a promised rate, a shape's failures as a cell, and which cases they are."""
    assert trial.rate is not None
    failed = np.asarray(trial.rate.fails(cases, trial.measure(cases, subject)))
    return RateCell(f"in shape {number}", trial.key, int(failed.sum()), len(failed), pool="in all shapes"), failed
