"""The circle, r = 2: every term of Stevens' sum by itself, and the pairs of gaps.

With N gaps above the radius E[C(N, j)] = C(m, j)(1 - j s)_+^{m-1}, s the radius over the circle's length, and
P(N >= 2) = sum_{j >= 2} (-1)^j (j - 1) E[C(N, j)].
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import comb

from theory.lemmas.connectivity import circle_disconnection_probability, two_gap_rate

pytestmark = pytest.mark.theorems


def gaps(size, length, trials, seed):
    points = np.sort(np.random.default_rng(seed).random((trials, size)) * length, axis=1)
    return np.diff(points, axis=1, append=points[:, :1] + length)


def moment(size, share, index):
    return math.comb(size, index) * max(1 - index * share, 0.0) ** (size - 1)


@pytest.mark.parametrize(("size", "share"), [(4, 0.2), (6, 0.12), (8, 0.11), (12, 0.09)])
def test_every_term_of_stevens_is_a_moment_of_the_number_of_large_gaps(size, share):
    large = (gaps(size, 1.0, 200_000, size) > share).sum(axis=1)
    for index in (1, 2, 3):
        ways = comb(large, index)
        error = ways.std() / np.sqrt(large.size)
        assert error < 0.03 * moment(size, share, index)
        assert abs(ways.mean() - moment(size, share, index)) < 4.5 * error


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("size", [3, 4, 7])
def test_large_radii_leave_one_term_after_the_other(size, squared):
    """Above a third of the circle only the pairs of gaps are left, above a quarter also the triples, and so on."""
    length = np.pi if squared else 2 * np.pi
    for least in (2, 3, 4, 5):
        share = (0.6 / least + 0.4 / (least + 1)) if least > 2 else 0.45
        by_hand = sum((-1) ** j * (j - 1) * moment(size, share, j) for j in range(2, least + 1))
        found = circle_disconnection_probability(size, share * length, squared)
        assert found == pytest.approx(by_hand, rel=1e-10)
    assert two_gap_rate(size, 0.45 * length, squared) == pytest.approx(moment(size, 0.45, 2), rel=1e-12)


def test_the_coefficients_of_stevens_by_enumeration():
    """m gaps of whole steps, n steps in all, every way once: ways with at least two gaps of k steps or more."""
    for size, steps in ((3, 12), (4, 11), (5, 9)):
        ways = [part for part in itertools.product(range(steps + 1), repeat=size) if sum(part) == steps]
        for least in range(1, steps // 2 + 1):
            counted = sum(sum(gap >= least for gap in part) >= 2 for part in ways)
            by_sum = sum(
                (-1) ** j * (j - 1) * math.comb(size, j) * math.comb(steps - j * least + size - 1, size - 1)
                for j in range(2, size + 1)
                if j * least <= steps
            )
            assert counted == by_sum


@pytest.mark.parametrize(("size", "share"), [(2, Fraction(1, 5)), (2, Fraction(2, 5)), (3, Fraction(2, 5))])
def test_two_and_three_points_by_hand(size, share):
    """Two: both gaps are large. Three: for s >= 1/3 not all can be, and each pair is in a triangle of side 1 - 2s."""
    by_hand = (1 - 2 * share) if size == 2 else 3 * (1 - 2 * share) ** 2
    assert circle_disconnection_probability(size, float(share) * 2 * np.pi) == pytest.approx(float(by_hand), rel=1e-12)
    assert two_gap_rate(size, float(share) * 2 * np.pi) == pytest.approx(float(by_hand), rel=1e-12)


@pytest.mark.parametrize(("size", "degrees", "squared"), [(5, 60, False), (9, 50, False), (5, 40, True), (7, 25, True)])
def test_components_are_runs_between_large_gaps(size, degrees, squared):
    """P(not connected) from the points' graph itself: neighbours within the radius, lines if ``squared``."""
    trials, radius = 20_000, np.radians(degrees)
    turns = np.random.default_rng(size).random((trials, size)) * 2 * np.pi
    cosines = np.cos(turns[:, :, None] - turns[:, None, :])
    linked = (np.abs(cosines) if squared else cosines) > np.cos(radius)
    for _ in range(size.bit_length()):
        linked = (linked.astype(np.int64) @ linked.astype(np.int64)) > 0
    failed = (~linked.all(axis=(1, 2))).mean()
    exact = circle_disconnection_probability(size, radius, squared)
    assert abs(failed - exact) < 4.5 * np.sqrt(exact * (1 - exact) / trials)
    pairs = two_gap_rate(size, radius, squared)
    assert pairs == pytest.approx(moment(size, radius / (np.pi if squared else 2 * np.pi), 2), rel=1e-12)
