"""The search for a floor on rates whose last crossing is known by looking at every number of points."""

import math

import numpy as np
import pytest

from theory.numerics.floor_search import bisect, climb, last_above, settle


def rise_and_fall(m, peak):
    return (m - 1.0) * math.exp(-(m - 1.0) / peak)


@pytest.mark.parametrize("peak", [2.0, 8.0, 60.0])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.99, 1.01])
def test_the_floor_is_the_last_crossing(peak, share):
    """Rates start low, rise and fall: what is too few for the target may be preceded by what seems enough."""

    def rate(m, until):
        most = rise_and_fall(min(max(1.0 + peak, m), until), peak)
        # Over more than a few percent a bound is loose.
        return most if until <= 1.05 * m + 2.0 else 1.5 * most

    delta = share * rise_and_fall(1.0 + peak, peak)
    above = [m for m in range(2, int(40 * peak)) if rise_and_fall(m, peak) > delta]
    assert last_above(rate, delta) == (above[-1] + 1 if above else 2)


def test_climbing_passes_over_no_size_that_suffices():
    """Needs that never fall: the first size that covers its own, by trying all of them."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        needs = np.sort(rng.integers(3, 90, size=60))
        enough = [size for size in range(3, 60) if needs[size] <= size]

        def needed(size, needs=needs):
            return int(needs[size]) if size < 60 else None

        assert climb(needed, 3) == (enough[0] if enough else None)
        assert climb(needed, 3, below=20) == (enough[0] if enough and enough[0] < 20 else None)


def test_neighbours_between_two():
    assert bisect(lambda size: size >= 40, 3, 1000) == (39, 40)
    assert bisect(lambda size: size >= 40, 39, 40) == (39, 40)
    assert bisect(lambda size: size >= -12, -90, -3) == (-13, -12)


@pytest.mark.parametrize(("start", "found"), [(40, 40), (41, 40), (77, 40), (39, 40), (5, 40), (3, 40)])
def test_numbers_are_settled_from_either_side(start, found):
    """Whichever way the search was off."""
    assert settle(lambda size: size >= 40, start, 3, 1000) == found
    assert settle(lambda size: True, start, 3, 1000) == 3
    assert settle(lambda size: size >= 40, min(start, 30), 3, 39) is None
