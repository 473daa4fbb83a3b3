"""What the tables of proved numbers share: failures at the number, the crossing beside it, the verdict, the print."""

from collections.abc import Callable, Sequence

import numpy as np

from synthetic.measure.boundaries import crossing_with_interval
from theory.judging.rates import RateCell, clopper_pearson, judge_rates
from theory.judging.verdicts import Status, Verdict

# How far beyond the interval that a pilot gives all batches look for the crossing, as a share of the number.
FINE_MARGIN = 0.02
AT_THE_NUMBER = "at the proved numbers"


def crossing_in_two_passes(
    count: Callable[[np.ndarray, int], np.ndarray],
    coarse: np.ndarray,
    margin: float,
    fine: int,
    batches: tuple[int, int],
    goal: float,
) -> tuple[float, float, float]:
    """Where the success rate falls through ``goal``, with its 95 % interval.

    Args:
        count: (levels, trials) -> successes at each level, of batches that keep their random numbers.
        coarse: rising levels, at which a pilot looks first.
        margin: how far beyond the interval that it finds all batches look, at ``fine`` levels; where an end of their
            own interval lies outside, they look further on that side, to the end of the coarse levels.
        batches: of the pilot, and all of them.
    """
    pilot, trials = batches
    found = crossing_with_interval(coarse, count(coarse, pilot), pilot, goal)
    first, last = np.clip(found[1:], coarse[0], coarse[-1])
    first, last = first - margin, last + margin
    while True:
        levels = np.linspace(first, last, fine)
        found = crossing_with_interval(levels, count(levels, trials), trials, goal)
        below, above = -np.inf in found and first > coarse[0], np.inf in found and last < coarse[-1]
        if not (below or above):
            return found
        width = last - first
        first, last = first - below * width, last + above * width


def slack_row(
    place: str, number: float, failures: int, trials: int, measured: Sequence[float], inverse: bool = False
) -> dict:
    """The columns that every table has: the proved number, how often batches at it fail, the measured one, the ratio.

    Args:
        measured: the middle and the ends of the interval, lower end first; 0 or infinite where it lies beyond all
            that was tried.
        inverse: the ratio is the number over the measured one, as for floors.
    """
    middle, low, high = (np.float64(each) for each in measured)
    with np.errstate(divide="ignore"):
        ratio = [number / middle, number / high, number / low] if inverse else [x / number for x in (middle, low, high)]
    failure_low, failure_high = clopper_pearson(failures, trials)
    return {
        "place": place, "number": number, "trials": trials, "failures": failures, "failure_rate": failures / trials,
        "failure_low": failure_low, "failure_high": failure_high,
        "measured": float(middle), "measured_low": float(low), "measured_high": float(high),
        "ratio": float(ratio[0]), "ratio_low": float(ratio[1]), "ratio_high": float(ratio[2]),
    }  # fmt: skip


def unproved_row(place: str) -> dict:
    """A combination in which nothing is proved: no number, and nothing measured against it."""
    row = dict.fromkeys(slack_row(place, 1.0, 0, 1, (1.0, 1.0, 1.0)), np.nan)
    return {**row, "place": place, "number": 0.0, "trials": 0, "failures": 0}


def judge_rows(statement: str, claim: str, rows: Sequence[dict], delta: float) -> Verdict:
    """The failures at all proved numbers, held against delta."""
    cells = [RateCell(f"at {row['place']}", claim, row["failures"], row["trials"], pool=AT_THE_NUMBER)
             for row in rows if row["trials"]]  # fmt: skip
    return judge_rates(statement, cells, delta)


def contradicted(rows: Sequence[dict], verdict: Verdict, below: bool) -> bool:
    """Whether failures at the numbers are too many, or a ratio lies on the wrong side of 1 with its whole interval.

    Args:
        below: the ratio of a right number is at most 1 (thresholds), not at least 1 (ceilings, floors).
    """
    wrong = [row["ratio_low"] > 1.0 if below else row["ratio_high"] < 1.0 for row in rows if row["trials"]]
    return verdict.status is Status.VIOLATED or any(wrong)


def print_rows(rows: Sequence[dict], ratio: str, extra: Sequence[tuple[str, str]] = ()) -> None:
    """The table; ``extra`` columns as (column, heading)."""
    width = max(len(row["place"]) for row in rows)
    more = "".join(f"  {heading}" for _, heading in extra)
    print(f"{'':<{width}}    number   failures at it [95 %]         measured   {ratio} [95 %]{more}")
    for row in rows:
        if not row["trials"]:
            print(f"{row['place']:<{width}}         -   nothing is proved")
            continue
        print(
            f"{row['place']:<{width}}  {row['number']:8.4g}   {row['failure_rate']:6.2%} [{row['failure_low']:6.2%}, "
            f"{row['failure_high']:6.2%}]   {row['measured']:10.4g}   {row['ratio']:.3f} [{row['ratio_low']:.3f}, "
            f"{row['ratio_high']:.3f}]" + "".join(f"  {row[name]:{len(heading)}.3f}" for name, heading in extra)
        )
