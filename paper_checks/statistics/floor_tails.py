"""How sure it is that one measured batch floor lies above another: the level at which their intervals part.

A measured floor is where the rate of recovery passes 1 - delta, and its interval at level 1 - a has for ends where the
upper and lower Clopper-Pearson limits of that level pass it (synthetic.sweep_batch, which writes it for a = 5 %).
Claims about floors are decided by whether intervals part. Let a be the smallest number at which they do; then a/2 is a
one-sided p-value of "the first floor is no higher than the second": each interval ends at least z(a/2) of its own
standard errors s, r from the floor, so that parted intervals differ by z(a/2) (s + r), which is z(a/2) sqrt(s^2 + r^2)
or more. That is as exact as the intervals are: Clopper-Pearson's limits are, their interpolation between sizes is
close.
"""

from collections.abc import Callable, Sequence

import numpy as np

from paper_checks.statistics.decisions import PValues, combined
from synthetic.measure.boundaries import rising_crossing
from theory.judging.rates import clopper_pearson

# Clopper-Pearson limits are asked for by their confidence, which float64 cannot tell from 1 much closer to it.
SMALLEST = 1e-12
HALVINGS = 40


def floor_interval(cells: Sequence[dict], goal: float, level: float) -> tuple[float, float]:
    """Interval of the cluster size from which on recovery has probability ``goal``.

    An end that lies outside the sizes that were measured is the last size that it is known to lie beyond: 0 or the
    largest size for the lower end, the smallest size or infinity for the upper one.

    Args:
        cells: rows of one curve, with cluster_size, trials and recovered.
        level: of the interval.
    """
    cells = sorted(cells, key=lambda row: row["cluster_size"])
    sizes = np.array([row["cluster_size"] for row in cells], dtype=float)
    limits = np.array([clopper_pearson(int(row["recovered"]), int(row["trials"]), level) for row in cells])
    late, early = (rising_crossing(sizes, limits[:, side], goal) for side in (0, 1))
    return min(early, float(sizes[-1])), max(late, float(sizes[0]))


def smallest_parting(part: Callable[[float], bool]) -> float:
    """The smallest a at which ``part(1 - a)`` is true, up to rounding upwards; 1 where it never is.

    Args:
        part: whether intervals of some level part; true for all lower levels once it is.
    """
    if part(1.0 - SMALLEST):
        return SMALLEST
    low, high = np.log(SMALLEST), 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if part(1.0 - float(np.exp(middle))) else (middle, high)
    return float(np.exp(high))


def floor_tails(first: Sequence[dict], second: Sequence[dict], goal: float) -> tuple[float, float]:
    """One-sided p-values of "the first floor is no higher than the second", and of "no lower"."""

    def above(level: float) -> bool:
        return floor_interval(first, goal, level)[0] > floor_interval(second, goal, level)[1]

    def below(level: float) -> bool:
        return floor_interval(first, goal, level)[1] < floor_interval(second, goal, level)[0]

    return 0.5 * smallest_parting(above), 0.5 * smallest_parting(below)


def p_values_of_floors(pairs: Sequence[tuple[Sequence[dict], Sequence[dict]]], goal: float) -> PValues:
    """Of the claim that in all pairs of curves the first floor is the higher one."""
    return combined([floor_tails(first, second, goal) for first, second in pairs])
