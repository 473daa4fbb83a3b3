"""Where a success rate falls through a level, by hand."""

import numpy as np
import pytest

from synthetic.measure.boundaries import (
    crossing_with_interval,
    falling_crossing,
    rising_crossing,
    rising_crossing_with_interval,
)
from theory.judging.rates import clopper_pearson


def test_the_crossing_is_interpolated_between_its_neighbours():
    levels = np.array([1.0, 2.0, 4.0, 5.0])
    # A quarter of the way from 1.0 at noise 2 down to 0.8 at noise 4.
    assert falling_crossing(levels, np.array([1.0, 1.0, 0.8, 0.0]), 0.95) == pytest.approx(2.5, abs=1e-12)
    # On a level itself.
    assert falling_crossing(levels, np.array([1.0, 0.9, 0.5, 0.0]), 0.9) == pytest.approx(2.0, abs=1e-12)


def test_rates_are_made_monotone_first():
    """A dip that recovers is chance: .9 and 1 pool to .95 each, so that .92 is crossed behind them, not at the dip."""
    crossing = falling_crossing(np.arange(1.0, 5.0), np.array([1.0, 0.9, 1.0, 0.0]), 0.92)
    assert crossing == pytest.approx(3.0 + 0.03 / 0.95, abs=1e-12)


def test_crossings_outside_the_levels():
    levels = np.array([1.0, 2.0])
    assert falling_crossing(levels, np.array([1.0, 0.96]), 0.95) == np.inf
    assert falling_crossing(levels, np.array([0.9, 0.0]), 0.95) == -np.inf
    assert rising_crossing(levels, np.array([0.0, 0.9]), 0.95) == np.inf
    assert rising_crossing(levels, np.array([0.96, 1.0]), 0.95) == 0.0


def test_sizes_are_interpolated_in_their_logarithm():
    """Half-way from .5 at 8 points to 1 at 32 is their geometric mean."""
    assert rising_crossing(np.array([2.0, 8.0, 32.0]), np.array([0.0, 0.5, 1.0]), 0.75) == pytest.approx(
        16.0, rel=1e-12
    )


def test_the_interval_is_that_of_the_limits():
    levels, successes = np.array([1.0, 2.0, 3.0]), [100, 95, 20]
    rate, low, high = crossing_with_interval(levels, successes, 100, 0.9)
    assert low < rate < high
    limits = np.array([clopper_pearson(count, 100) for count in successes])
    assert low == falling_crossing(levels, limits[:, 0], 0.9)
    assert high == falling_crossing(levels, limits[:, 1], 0.9)
    assert rate == pytest.approx(2.0 + 0.05 / 0.75, abs=1e-12)


def test_the_interval_of_a_rise_runs_from_the_early_to_the_late_end():
    """Each size has its own number of trials; the lower limits of the rate cross later than the upper ones."""
    sizes, successes, trials = np.array([2, 4, 8]), [10, 80, 300], [100, 100, 300]
    middle, early, late = rising_crossing_with_interval(sizes, successes, trials, 0.9)
    rates = np.array([0.1, 0.8, 1.0])
    assert middle == rising_crossing(sizes, rates, 0.9) == pytest.approx(np.sqrt(32.0))
    low, high = np.transpose([clopper_pearson(s, t) for s, t in zip(successes, trials)])
    assert early == rising_crossing(sizes, high, 0.9)
    assert late == rising_crossing(sizes, low, 0.9)
    assert 4.0 < early < middle < late < 8.0
    assert rising_crossing_with_interval(sizes, [0, 0, 0], 100, 0.9)[0] == np.inf
