"""Floors that lie apart: intervals as the sweep writes them, the level at which they part, and its error rate."""

import math

import numpy as np
import pytest

from paper_checks.statistics.floor_tails import (
    SMALLEST,
    floor_interval,
    floor_tails,
    p_values_of_floors,
    smallest_parting,
)
from synthetic.sweep_batch import Group, SubspaceModel, summarize_groups
from theory.judging.rates import clopper_pearson

GOAL, TRIALS = 0.95, 400
SIZES = (8, 10, 12, 14, 17, 20, 24)


def cells(counts, sizes=SIZES, trials=TRIALS):
    return [{"cluster_size": size, "recovered": int(count), "trials": trials} for size, count in zip(sizes, counts)]


def rates(floor, sizes=SIZES):
    """Recovery that passes 95 % at a floor, on a straight line of its logit over the logarithm of the size."""
    return 1.0 / (1.0 + np.exp(-math.log(19.0) - 8.0 * np.log(np.array(sizes) / floor)))


def drawn(floor, rng, sizes=SIZES):
    return cells(rng.binomial(TRIALS, rates(floor, sizes)), sizes)


def test_intervals_are_those_of_the_sweep():
    model = SubspaceModel(64, 3, 2, math.radians(60.0), "bounded")
    group = Group(0, model, 0.0, 0.0, False, proved=30, one_step=40, simulated=15, isolated=12)
    shared = {"group": 0, "subspace_dim": 2, "principal_angle_deg": 60.0, "noise": "bounded", "noise_level": 0.0,
              "affinity": "signed", "radius_deg": 60.0}  # fmt: skip
    rows = drawn(13.0, np.random.default_rng(0))
    limits = [clopper_pearson(row["recovered"], TRIALS) for row in rows]
    whole = [{**shared, **row, "recovered_rate": row["recovered"] / TRIALS, "recovered_low": low,
              "recovered_high": high} for row, (low, high) in zip(rows, limits)]  # fmt: skip
    (floor,) = summarize_groups([group], whole, 1.0 - GOAL)
    assert floor_interval(rows[::-1], GOAL, 0.95) == pytest.approx((floor["measured_low"], floor["measured_high"]))
    assert floor["measured_low"] < 13.0 < floor["measured_high"]


def test_an_end_that_was_not_measured_is_not_made_up():
    assert floor_interval(cells([TRIALS] * 7), GOAL, 0.95) == (0.0, SIZES[0])
    assert floor_interval(cells([0] * 7), GOAL, 0.95) == (SIZES[-1], math.inf)


@pytest.mark.parametrize("smallest", [0.6, 0.05, 3e-8])
def test_the_level_at_which_intervals_part_is_found(smallest):
    assert smallest_parting(lambda level: 1.0 - level >= smallest) == pytest.approx(smallest, rel=1e-6)


def test_the_ends_of_the_search():
    assert smallest_parting(lambda level: True) == SMALLEST
    assert smallest_parting(lambda level: False) == 1.0


def test_tails_agree_with_intervals_of_their_level():
    first, second = cells([20, 150, 300, 360, 385, 396, 400]), cells([200, 310, 360, 385, 395, 400, 400])
    above, below = floor_tails(first, second, GOAL)
    assert below == 0.5
    assert floor_tails(second, first, GOAL) == pytest.approx((below, above))
    for factor, parted in ((0.98, False), (1.02, True)):
        level = 1.0 - 2.0 * above * factor
        assert (floor_interval(first, GOAL, level)[0] > floor_interval(second, GOAL, level)[1]) == parted


def test_p_values_need_all_pairs_for_and_one_against():
    low, high = cells([300, 360, 385, 395, 400, 400, 400]), cells([0, 0, 20, 150, 300, 360, 395])
    same = cells([300] * 7)
    assert p_values_of_floors([(high, low)] * 3, GOAL).claim < 1e-3
    mixed = p_values_of_floors([(high, low), (low, high), (same, same)], GOAL)
    assert mixed.reproduced == 0.5
    assert mixed.contradicted == pytest.approx(3.0 * floor_tails(low, high, GOAL)[1])


def test_equal_floors_part_no_more_often_than_stated():
    """And the level is not so far below what is stated that nothing is ever found: 1.2 times the floor mostly is."""
    rng, draws = np.random.default_rng(1), 300
    above = sum(
        floor_interval(drawn(13.0, rng), GOAL, 0.95)[0] > floor_interval(drawn(13.0, rng), GOAL, 0.95)[1]
        for _ in range(draws)
    )
    assert above / draws <= 0.025 + 5.0 * math.sqrt(0.025 * 0.975 / draws)
    found = [floor_interval(drawn(15.6, rng), GOAL, 0.95)[0] > floor_interval(drawn(13.0, rng), GOAL, 0.95)[1]
             for _ in range(40)]  # fmt: skip
    assert np.mean(found) > 0.5
