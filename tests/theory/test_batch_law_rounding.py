"""Proposition 6 as computed, where rounding could break a bracket: thresholds, high powers, underflow, large pools."""

import numpy as np
import pytest

from theory.batch_law import Weight, batch_laws
from theory.lemmas.drawn_rows import Sides, round_off, row_sides


def at(cosine, sign=1.0):
    return [cosine, sign * np.sqrt(1.0 - cosine**2)]


@pytest.mark.parametrize("n", [2, 451, 901])
def test_units_just_below_the_cut_take_nothing_off(n):
    """600 copies of a row whose float32 cosine may or may not pass the cut stand beside one true neighbour: E S is the
    chance that the batch has it."""
    tau = 0.5000002449752192
    rows = [[1.0, 0.0], *[at(0.5 - 2.0**-23)] * 600, at(tau + 8e-4, -1.0), *[at(-0.999)] * 300]
    labels = np.array([0] * 602 + [1] * 300)
    law = batch_laws(np.array(rows, np.float32), labels, [n], [Weight("relu", threshold=tau)], exact=False)[0]
    assert law.lower[0, 0] - 1e-6 <= (n - 1) / 901 <= law.upper[0, 0] + 1e-6
    assert (law.lower <= law.upper + 1e-12).all()


@pytest.mark.parametrize(("threshold", "power"), [(0.5, 3.0), (0.125, 4.0), (0.3, 40.0)])
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
def test_powers_whose_bins_differ_by_many_magnitudes(threshold, power, dtype):
    """Binned brackets against exact ones, where a bin's weights begin at next to nothing."""
    rng = np.random.default_rng(5)
    points, labels = rng.standard_normal((520, 16)).astype(dtype), np.arange(520) % 4
    points += 1.5 * np.eye(16, dtype=dtype)[labels]
    weight = [Weight("relu", threshold=threshold, power=power)]
    binned, exact = (batch_laws(points, labels, [2, 3, 40], weight, exact=kind)[0] for kind in (False, True))
    assert np.isfinite(binned.lower).all()
    assert (binned.lower <= exact.upper + 1e-6).all()
    assert (exact.lower <= binned.upper + 1e-6).all()
    assert np.median(binned.upper - binned.lower, axis=1).max() < (0.02 if power < 10.0 else 0.1)


def test_weights_that_underflow_are_neighbours_still():
    """(.3004 - .3)^40 is 1e-136, (1e-9)^40 is no float: both are the row's only weight, and its share is the chance."""
    for cosine in (0.3004, 0.3 + 1e-9):
        points = np.array([[1.0, 0.0], at(cosine), [-1.0, 0.1], [-1.0, -0.1]])
        law = batch_laws(points, np.array([0, 0, 1, 1]), [2, 4], [Weight("relu", threshold=0.3, power=40.0)])[0]
        np.testing.assert_allclose(law.lower[:, 0], [1.0 / 3.0, 1.0], atol=1e-9)
        np.testing.assert_allclose(law.upper[:, 0], [1.0 / 3.0, 1.0], atol=1e-9)
        assert law.degree[0] == 1


def test_brackets_allow_for_the_round_off_of_large_pools():
    """P(no neighbour) of 10 among 50,000 by a product of logarithms, against the difference of factorials'."""
    units, hits, draws = 50_000, 10, 10
    weights = np.zeros(units)
    weights[:hits] = 0.5
    sides = row_sides(weights, np.ones(units, bool), np.zeros(units, int), np.array([[draws]]))[0]
    exact = -np.expm1(sum(np.log1p(-hits / (units - j)) for j in range(draws)))
    lower, upper = Sides(*((np.array([a]), np.array([b])) for a, b in zip(sides[:4:2], sides[1:4:2])),
                         (np.array([sides[4]]),) * 2).bracket(round_off(units))  # fmt: skip
    assert lower <= exact <= upper
    assert abs((1.0 - sides[4]) - exact) > 1e-11, "more than small pools are allowed"
