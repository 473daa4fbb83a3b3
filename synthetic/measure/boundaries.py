"""Where a success rate falls through a level: the measured boundary that a proved ceiling is compared with."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

from theory.judging.rates import clopper_pearson


def falling_crossing(levels: np.ndarray, rates: np.ndarray, goal: float) -> float:
    """Noise level at which a rate, made monotone by isotonic regression, passes ``goal``, linearly interpolated.

    -inf where it lies below ``goal`` from the first level on, inf where it never falls below it.
    """
    rates = isotonic_regression(rates, increasing=False).x
    below = np.flatnonzero(rates < goal)
    if below.size == 0:
        return float("inf")
    if below[0] == 0:
        return float("-inf")
    i = below[0]
    share = (rates[i - 1] - goal) / (rates[i - 1] - rates[i])
    return float(levels[i - 1] + share * (levels[i] - levels[i - 1]))


def rising_crossing(sizes: np.ndarray, rates: np.ndarray, goal: float) -> float:
    """Size at which a rate, made monotone, passes ``goal`` from below, interpolated in the logarithm of the size.

    inf where it never reaches ``goal``, 0 where it lies above from the first size on.
    """
    return float(np.exp(-falling_crossing(-np.log(sizes)[::-1], rates[::-1], goal)))


def crossing_with_interval(
    levels: np.ndarray, successes: Sequence[int] | np.ndarray, trials: int | np.ndarray, goal: float
) -> tuple[float, float, float]:
    """The crossing of the measured rate, and those of its lower and upper 95 % Clopper-Pearson limits."""
    drawn = np.broadcast_to(trials, len(successes))
    low, high = np.transpose([clopper_pearson(int(count), int(each)) for count, each in zip(successes, drawn)])
    rates = np.asarray(successes) / drawn
    middle, first, last = (falling_crossing(levels, curve, goal) for curve in (rates, low, high))
    return middle, first, last


def rising_crossing_with_interval(
    sizes: np.ndarray, successes: Sequence[int] | np.ndarray, trials: int | Sequence[int], goal: float
) -> tuple[float, float, float]:
    """``rising_crossing`` of the measured rate, and the lower and the upper end of its 95 % interval: where the upper
    and the lower Clopper-Pearson limits cross. ``trials`` is one number or one a size."""
    reached = -np.log(np.asarray(sizes, dtype=float))[::-1]
    counts = np.broadcast_to(trials, len(reached))[::-1]
    middle, late, early = crossing_with_interval(reached, np.asarray(successes)[::-1], counts, goal)
    size, smallest, largest = (float(np.exp(-level)) for level in (middle, early, late))
    return size, smallest, largest
