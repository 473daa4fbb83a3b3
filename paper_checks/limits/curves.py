"""What is read off one curve over levels: where it turns, where another one crosses it, and slopes beside a knot; and
how far these move when seeds are drawn anew. Defined in registered/limits_on_real_data.md, which was there first."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import factorial

from models.advisor.questions.strength import crossing

STEP = 0.01
# Relative differences of squares that are rounding, and slopes that are none.
SAME, FLAT = 1e-9, 1e-9
BOOTSTRAP_LEVEL = 0.95


class Place(NamedTuple):
    """A place on an axis of levels.

    Attributes:
        value: NaN where there is none.
        censored: -1 at the first level and 1 at the last, beyond which nothing was measured; else 0.
    """

    value: float
    censored: int = 0


NOWHERE = Place(math.nan)


def turning_point(levels: Sequence[float], values: Sequence[float]) -> Place:
    """Peak T of the least-squares tent a - u max(0, T - S) - v max(0, S - T), u, v >= 0; the smallest of equal ones.

    Between the first two levels, and between the last two, every peak of one tent may be as good as another: such a
    turning point is known to one level only (``turning_points`` has all of them).

    Returns:
        nowhere where the tent has no slope, or a value is not finite.
    """
    return turning_points(levels, values)[0]


def turning_points(levels: Sequence[float], values: Sequence[float] | np.ndarray) -> tuple[Place, Place]:
    """The smallest and the largest of the peaks that fit equally well."""
    measured = np.asarray(values, float)
    if not np.isfinite(measured).all():
        return NOWHERE, NOWHERE
    peaks, designs = _tents(tuple(map(float, levels)))
    squares, slopes = np.full(len(peaks), np.inf), np.zeros(len(peaks))
    for columns, inverse in designs:
        found = inverse @ measured
        rest = np.square(measured - (columns @ found[..., None])[..., 0]).sum(-1)
        better = (found[:, 1:] >= 0.0).all(-1) & (rest < squares)
        squares = np.where(better, rest, squares)
        slopes = np.where(better, found[:, 1:].max(-1, initial=0.0), slopes)
    scale = float(np.square(measured - measured.mean()).sum())
    equal = np.flatnonzero(squares <= squares.min() + SAME * scale)
    if slopes[equal].max() <= FLAT:
        return NOWHERE, NOWHERE
    last = len(peaks) - 1
    first, final = (Place(float(peaks[k]), -1 if k == 0 else 1 if k == last else 0) for k in (equal[0], equal[-1]))
    return first, final


@lru_cache
def _tents(levels: tuple[float, ...]) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Peaks that are tried, and columns and pseudo-inverses of tents with two, one and no slopes: the best of those
    whose slopes are not negative is the least-squares tent."""
    at = np.array(levels)
    count = round((at[-1] - at[0]) / STEP)
    peaks = at[0] + (at[-1] - at[0]) * np.arange(count + 1) / count
    ones = np.ones((len(peaks), len(at)))
    left, right = np.minimum(0.0, at - peaks[:, None]), np.minimum(0.0, peaks[:, None] - at)
    designs = [np.stack([ones, *sides], axis=-1) for sides in ((), (left,), (right,), (left, right))]
    return peaks, [(columns, np.linalg.pinv(columns)) for columns in designs]


def crossing_point(levels: Sequence[float], critical: Sequence[float] | np.ndarray, fewest: int) -> Place:
    """Smallest level at which the critical strength, linear between levels, falls below the level itself.

    Args:
        critical: NaN where there is none: that level is left out.
        fewest: levels that must be left.
    """
    strengths, limits = np.asarray(levels, float), np.asarray(critical, float)
    kept = np.isfinite(limits)
    if kept.sum() < fewest:
        return NOWHERE
    left = strengths[kept].tolist()
    value = crossing(left, (limits - strengths)[kept], 0.0)
    if math.isinf(value):
        return Place(left[-1], 1)
    return Place(value, -1 if value == left[0] else 0)


def within_margin(turn: Place, cross: Place, margin: float) -> tuple[float, float]:
    """E + margin and margin - E of E = turn - cross: both above 0 where the two are within the margin.

    A censored place may speak against that but not for it: what its truth can only make smaller is cut off at 0.
    """
    gap = turn.value - cross.value
    early, late = gap + margin, margin - gap
    if turn.censored < 0 or cross.censored > 0:
        early = min(early, 0.0)
    if turn.censored > 0 or cross.censored < 0:
        late = min(late, 0.0)
    return (early, late) if math.isfinite(gap) else (math.nan, math.nan)


def slopes_beside(sizes: Sequence[int], values: Sequence[float], knot: float) -> tuple[float, float]:
    """Slopes below and above a knot, per doubling: a + u min(0, log2(n/knot)) + v max(0, log2(n/knot)), least squares.

    Returns:
        u and v; NaN where the knot is not strictly between the smallest and the largest size, or a value not finite.
    """
    if not (min(sizes) < knot < max(sizes)) or not np.isfinite(values).all():
        return math.nan, math.nan
    at = np.log2(np.asarray(sizes, float) / knot)
    columns = np.stack([np.ones_like(at), np.minimum(0.0, at), np.maximum(0.0, at)], axis=1)
    _, below, above = np.linalg.lstsq(columns, np.asarray(values, float), rcond=None)[0]
    return float(below), float(above)


def bootstrap_interval(
    curves: Float[np.ndarray, "seeds values"], statistic: Callable[[np.ndarray], float], level: float = BOOTSTRAP_LEVEL
) -> tuple[float, float]:
    """Percentile interval of a statistic of the mean curve over all k^k ways to draw k seeds again.

    Returns:
        its ends; NaN where a resample has no such statistic.
    """
    count = len(curves)
    draws = np.array([np.bincount(each, minlength=count) for each in
                      combinations_with_replacement(range(count), count)])  # fmt: skip
    weights = factorial(count) / factorial(draws).prod(axis=1) / float(count) ** count
    found = np.array([statistic(draw @ curves / count) for draw in draws])
    if not np.isfinite(found).all():
        return math.nan, math.nan
    order = np.argsort(found)
    reached = np.cumsum(weights[order])
    tail = (1.0 - level) / 2.0
    # Sums of weights round.
    low, high = (int(np.searchsorted(reached, share - 1e-12)) for share in (tail, 1.0 - tail))
    return float(found[order][low]), float(found[order][min(high, len(found) - 1)])
