"""The search for a floor: the smallest number of points from which on a failure rate stays below a target
(``last_above``), or one at which it does and one less at which it does not (``bisect``, ``settle``).

Rates are not monotone; what a size needs is, so that one climbs to it. Source: theory.md, sections 2c, 2f and 2g.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

# Floors are walked down to in ranges of this ratio.
RANGE = 1.05
# What a float can still hold.
LARGEST_FLOOR = 10**300


def log_share(delta: float, ways: int) -> float:
    """log(delta/ways); the number of ways may be more than a float holds."""
    return float(np.log(delta / ways)) if ways < LARGEST_FLOOR else float(np.log(delta)) - math.log(ways)


def last_above(rate: Callable[[int, float], float], delta: float) -> int:
    """Smallest m >= 2 with rate(m') <= delta for all m' >= m; for delta near 1 it may be slightly larger.

    ``rate(m, until)`` is at least the maximum over m <= m' <= until, closely so over short ranges: walk down from where
    one range reaches to infinity, in ranges of a few percent.
    """

    def enough(until: float, m: int) -> bool:
        return bool(rate(m, until) <= delta)

    floor = _first(partial(enough, np.inf))
    while floor > 2:
        reach = floor
        floor = _first(partial(enough, reach), low=max(2, int(reach / RANGE)), high=reach)
        if floor > max(2, int(reach / RANGE)):
            break
    return floor


def bisect(suffices: Callable[[int], bool], low: int, high: int) -> tuple[int, int]:
    """Neighbours: a number that does not suffice and the next one, which does, between two such."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return low, high


def settle(proved: Callable[[int], bool], start: int, smallest: int, largest: int) -> int | None:
    """A number that is proved, near ``start``: ``smallest``, or one less is not proved; None where the way up to
    ``largest`` ends without one. Steps double, so that a gap may be stepped over."""
    step = 1
    if proved(start):
        low, high = start, start
        while high > smallest:
            low = max(smallest, high - step)
            if not proved(low):
                break
            high, step = low, 2 * step
        return smallest if high == smallest else bisect(proved, low, high)[1]
    low = start
    while low < largest:
        high = min(largest, low + step)
        if proved(high):
            return bisect(proved, low, high)[1]
        low, step = high, 2 * step
    return None


def _first(enough: Callable[[int], bool], low: int = 2, high: int | None = None) -> int:
    """Smallest m >= ``low`` from which on a condition holds that stays true; true at ``high`` if that is given."""
    if enough(low):
        return low
    if high is None:
        high = 2 * low
        while not enough(high):
            low, high = high, 2 * high
            if high > LARGEST_FLOOR:
                raise ArithmeticError("connectivity_floor: the floor exceeds 1e300")
    return bisect(enough, low, high)[1]


def climb(needed: Callable[[int], int | None], start: int, below: int | None = None) -> int | None:
    """The smallest size from ``start`` on that is at least what it needs, where the needed size never falls as sizes
    rise: going up to it, again and again, passes over no size that suffices.

    Args:
        needed: the size that a size needs; None where none suffices from there on.
        below: give up from this size on.
    """
    size = start
    while below is None or size < below:
        required = needed(size)
        if required is None:
            return None
        if required <= size:
            return size
        size = required
    return None
