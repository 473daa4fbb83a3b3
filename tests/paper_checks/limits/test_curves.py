"""Turning points, crossings, slopes beside a knot and the bootstrap: known shapes, and slow references."""

from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from scipy.optimize import nnls

from paper_checks.limits.curves import (
    Place,
    bootstrap_interval,
    crossing_point,
    slopes_beside,
    turning_point,
    turning_points,
    within_margin,
)

LEVELS = np.array([0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0])


def tent(peak, up, down, top=0.9):
    return top - up * np.maximum(0.0, peak - LEVELS) - down * np.maximum(0.0, LEVELS - peak)


@pytest.mark.parametrize("peak", [0.31, 0.43, 0.61, 0.79])
@pytest.mark.parametrize(("up", "down"), [(0.3, 0.5), (0.1, 2.0), (2.0, 0.1)])
def test_a_tent_turns_at_its_peak_wherever_that_lies(peak, up, down):
    found = turning_point(LEVELS, tent(peak, up, down))
    assert found.value == pytest.approx(peak, abs=0.0051)
    assert found.censored == 0


def test_a_plateau_turns_where_it_ends():
    assert turning_point(LEVELS, tent(0.55, 0.0, 0.4)).value == pytest.approx(0.55)


def test_curves_that_never_turn_are_censored_at_the_side_where_they_are_best():
    assert turning_point(LEVELS, LEVELS) == Place(pytest.approx(1.0), 1)
    assert turning_point(LEVELS, -LEVELS) == Place(pytest.approx(0.1), -1)


def test_flat_or_missing_curves_turn_nowhere():
    for values in (np.full(7, 0.5), np.array([0.1, nan, 0.3, 0.4, 0.3, 0.2, 0.1])):
        assert isnan(turning_point(LEVELS, values).value)
    # A valley is no tent: the best one is flat or leans to one side.
    valley = turning_point(LEVELS, np.abs(LEVELS - 0.55))
    assert isnan(valley.value) or valley.censored


def test_between_the_last_two_levels_any_peak_may_fit():
    """The slope beyond it goes through one point only, whatever the peak."""
    first, last = turning_points(LEVELS, tent(0.91, 0.3, 0.5))
    assert (first.value, last.value) == (pytest.approx(0.85, abs=0.011), pytest.approx(0.93, abs=0.08))
    assert first.value < 0.91 <= last.value
    first, last = turning_points(LEVELS, tent(0.25, 0.3, 0.5))
    assert first.value < 0.2
    assert last.value == pytest.approx(0.25)
    first, last = turning_points(LEVELS, tent(0.61, 0.3, 0.5))
    assert first == last


def test_it_is_the_least_squares_tent():
    """Against non-negative least squares, peak by peak."""
    rng = np.random.default_rng(0)
    peaks = 0.1 + 0.01 * np.arange(91)
    for case in range(12):
        values = tent(0.6, 0.2, 0.6) * (case % 3 > 0) + 0.05 * rng.normal(size=7)
        rests = []
        for peak in peaks:
            columns = [np.ones(7), -np.ones(7), np.minimum(0.0, LEVELS - peak), np.minimum(0.0, peak - LEVELS)]
            rests.append(nnls(np.stack(columns, axis=1), values)[1])
        found = turning_point(LEVELS, values)
        at = int(np.argmin(abs(peaks - found.value)))
        assert rests[at] == pytest.approx(min(rests), rel=1e-6)
        assert all(rest > min(rests) * (1 + 1e-9) for rest in rests[: max(0, at)]), "the smallest of equal ones"


def test_the_crossing_is_where_the_critical_strength_falls_below_the_one_in_use():
    assert crossing_point(LEVELS, np.full(7, 0.6), 5) == Place(pytest.approx(0.6), 0)
    # c = .9 - S/2 meets S at .6.
    assert crossing_point(LEVELS, 0.9 - LEVELS / 2, 5).value == pytest.approx(0.6)
    assert crossing_point(LEVELS, np.full(7, 1.2), 5) == Place(1.0, 1)
    assert crossing_point(LEVELS, np.full(7, 0.05), 5) == Place(0.1, -1)
    # Back above later does not count: the smallest such strength.
    assert crossing_point(LEVELS, [0.5, 0.2, 1.0, 1.0, 1.0, 1.0, 1.0], 5).value < 0.25


def test_levels_without_a_critical_strength_are_left_out_if_few():
    critical = np.array([0.6, nan, 0.6, 0.6, nan, 0.6, 0.6])
    assert crossing_point(LEVELS, critical, 5).value == pytest.approx(0.6)
    assert isnan(crossing_point(LEVELS, critical, 6).value)


@pytest.mark.parametrize(
    ("turn", "cross", "expected"),
    [
        (Place(0.6), Place(0.7), (0.05, 0.25)),
        (Place(0.7), Place(0.6), (0.25, 0.05)),
        # The truth may lie higher, so that "not later" has nothing for it; a clear violation still counts.
        (Place(1.0, 1), Place(0.95), (0.2, 0.0)),
        (Place(1.0, 1), Place(0.5), (0.65, -0.35)),
        (Place(0.1, -1), Place(0.2), (0.0, 0.25)),
        (Place(0.9), Place(1.0, 1), (0.0, 0.25)),
        (Place(0.3), Place(1.0, 1), (-0.55, 0.85)),
        (Place(0.2), Place(0.1, -1), (0.25, 0.0)),
        (Place(1.0, 1), Place(1.0, 1), (0.0, 0.0)),
        (Place(0.1, -1), Place(0.1, -1), (0.0, 0.0)),
    ],
)
def test_a_censored_place_speaks_against_but_not_for(turn, cross, expected):
    assert within_margin(turn, cross, 0.15) == pytest.approx(expected)
    assert all(isnan(each) for each in within_margin(Place(nan), cross, 0.15))


def test_slopes_on_both_sides_of_a_knot():
    sizes = [8, 16, 32, 64, 128, 256]
    at = np.log2(np.array(sizes) / 45.0)
    values = 0.8 + 0.07 * np.minimum(0.0, at) - 0.01 * np.maximum(0.0, at)
    assert slopes_beside(sizes, values, 45.0) == pytest.approx((0.07, -0.01))
    for knot in (8.0, 256.0, 300.0, nan):
        assert all(isnan(each) for each in slopes_beside(sizes, values, knot))
    assert all(isnan(each) for each in slopes_beside(sizes, [nan, *values[1:]], 45.0))


def test_the_bootstrap_is_that_of_all_draws():
    """Against every one of the 4^4 draws, one after the other, and the definition of a percentile."""
    rng = np.random.default_rng(1)
    curves = rng.normal(size=(4, 2))

    def ratio(mean):
        return float(mean[0] / (3.0 + mean[1]))

    every = sorted(ratio(curves[list(draw)].mean(axis=0)) for draw in product(range(4), repeat=4))
    for level in (0.95, 0.5):
        tail = (1.0 - level) / 2.0
        expected = [next(v for i, v in enumerate(every, start=1) if i / 256 >= share - 1e-12)
                    for share in (tail, 1.0 - tail)]  # fmt: skip
        assert bootstrap_interval(curves, ratio, level) == pytest.approx(expected)
    assert all(isnan(each) for each in bootstrap_interval(curves, lambda mean: nan if mean[0] > 0 else 1.0))
