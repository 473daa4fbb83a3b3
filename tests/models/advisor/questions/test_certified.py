"""Guarantees for new rows: they hold in as many resamples as they promise, and no bound is above the law."""

from functools import partial

import numpy as np
import pytest

from models.advisor.batches import draw_batches, measure_batches
from models.advisor.config import AdvisorConfig
from models.advisor.inputs.features import feature_set
from models.advisor.pool import pool_of, thinned
from models.advisor.questions import influence
from models.advisor.questions.certified import (
    certify_floor,
    certify_sharpness,
    certify_strength,
    lower_shares,
    split,
)
from models.advisor.questions.curves import curve_sizes, size_curve
from models.advisor.questions.floor import row_floor
from models.advisor.questions.influence import isolation_deviation, isolation_influence, sharpness_deviation
from tests.models.advisor.rows import STRENGTHS, gaussian_set, rows_of
from theory.batch_law import Weight, batch_laws
from theory.neighbour_floor import lonely_share, true_neighbours

RELU = Weight("relu", threshold=0.3)
CONFIG = AdvisorConfig(share=0.2, delta=0.1)


@pytest.fixture(scope="module")
def truth():
    """A pool so large that it stands for the source."""
    return pool_of(gaussian_set(99, 3000), True)


def test_the_halves_share_no_row():
    pool = pool_of(gaussian_set(0), True)
    bank, others = split(pool)
    assert sorted([*bank, *others]) == list(range(240))
    pairs = pool_of(gaussian_set(0, labeled=False), True)
    bank, others = split(pairs)
    assert set(pairs.classes[bank]).isdisjoint(pairs.classes[others])
    assert len(bank) == 240


def test_lower_shares_stay_below_the_law():
    pool = pool_of(gaussian_set(0, 120), True)
    bank, others = np.arange(80), np.arange(80, 120)
    (law,) = batch_laws(pool.points[:80], pool.classes[:80], (12,), (RELU,),
                        new_rows=(pool.points[80:], pool.classes[80:]))  # fmt: skip
    found = lower_shares(pool, RELU, 12, bank, others)
    np.testing.assert_array_equal(found, law.lower[0])
    (inside,) = batch_laws(pool.points[:80], pool.classes[:80], (12,), (RELU,))
    np.testing.assert_array_equal(lower_shares(pool, RELU, 12, bank, None), inside.lower[0])


def test_rows_of_a_class_that_the_bank_lacks_have_no_own_weight():
    pool = pool_of(gaussian_set(0, 24), True)
    bank = np.flatnonzero(pool.classes > 1)[:9]
    found = lower_shares(pool, RELU, 6, np.append(bank, 0), np.arange(1, 24)[np.isin(pool.classes[1:], [0, 3])])
    own = pool.classes[1:][np.isin(pool.classes[1:], [0, 3])]
    assert (found[own == 3] > 0).any()
    assert (found[own == 0] > 0).any(), "one row of a class is enough"
    assert (lower_shares(pool, RELU, 6, bank, np.flatnonzero(pool.classes == 0)) == 0).all()


def test_lower_shares_of_view_pairs_stay_below_the_law():
    pool = pool_of(gaussian_set(0, 40, labeled=False), True)
    weight = Weight("exponential", inverse_temperature=3.0)
    (law,) = batch_laws(pool.points, pool.classes, (12,), (weight,), batches="pairs")
    found = lower_shares(pool, weight, 12, np.arange(80), None)
    assert (found <= law.upper[0] + 1e-6).all()
    assert found.mean() > law.lower[0].mean() - 0.04


@pytest.mark.slow
def test_certified_floors_hold_as_often_as_promised():
    """Of 60 resamples at delta = .1 at most 12 may be wrong (P = .01), and those by the mean itself would be 25. The
    true share is that of 3,000 rows."""
    config = AdvisorConfig(share=0.1, delta=0.1)
    source = pool_of(gaussian_set(99, 3000, noise=2.0), True)
    hits = true_neighbours(source.points, source.classes, RELU.threshold)
    wrong, found = 0, []
    for seed in range(60):
        pool = pool_of(gaussian_set(seed, 160, noise=2.0), True, center=source.center)
        certified = certify_floor(pool, RELU, config)
        if certified.rows is not None:
            found.append(certified.rows)
            wrong += lonely_share(hits, certified.rows) > config.share
    assert wrong <= 12
    assert len(found) >= 30, "and it is not silent"
    floor = row_floor(source, RELU, config).rows
    assert floor <= np.median(found) < 2 * floor


@pytest.mark.slow
def test_certified_strengths_hold_as_often_as_promised(truth):
    config = AdvisorConfig(delta=0.1)
    source = gaussian_set(99, 1500)
    means = [float(batch_laws(p.points, p.classes, (16,), (RELU,))[0].lower.mean())
             for p in (pool_of(source, True, s) for s in STRENGTHS)]  # fmt: skip
    wrong, found = 0, []
    for seed in range(25):
        pools = [partial(pool_of, gaussian_set(seed, 120), True, s) for s in STRENGTHS]
        certified = certify_strength(pools, STRENGTHS, "relu", RELU, 16, config)
        found.append(certified.value)
        if certified.value is not None:
            wrong += any(mean < certified.target for mean in means[: STRENGTHS.index(certified.value) + 1])
    assert wrong <= 6
    assert max(value for value in found if value is not None) >= 0.5


@pytest.mark.slow
def test_certified_sharpness_holds_as_often_as_promised(truth):
    """Of 60 resamples at delta = .1 at most 12 may be wrong."""
    config = AdvisorConfig(delta=0.1)
    (law,) = batch_laws(truth.points[:1500], truth.classes[:1500], (16,), (RELU,))
    wrong, found = 0, []
    for seed in range(60):
        pool = pool_of(gaussian_set(seed, 60), True, center=truth.center)
        found.append(certify_sharpness(pool, "relu", RELU, 16, config).value)
        wrong += found[-1] > law.upper[0].mean()
    assert wrong <= 12
    assert np.mean(found) > law.lower[0].mean() - 0.2


def test_too_few_rows_certify_nothing():
    pool = pool_of(gaussian_set(0, 24), True)
    certified = certify_floor(pool, RELU, AdvisorConfig(share=0.01))
    assert certified.rows is None
    assert (certified.largest, certified.tested, certified.bank) == (13, 12, 12)
    alone = certify_strength([lambda: pool], [0.0], "relu", RELU, 8, AdvisorConfig(target=0.99, delta=1e-9))
    assert alone.value is None


def test_floor_and_curve_of_the_rows():
    pool = pool_of(gaussian_set(0), True)
    floor = row_floor(pool, RELU, CONFIG)
    hits = true_neighbours(pool.points, pool.classes, 0.3)
    assert lonely_share(hits, floor.rows) <= 0.2 < lonely_share(hits, floor.rows - 1)
    assert floor.never == np.mean(hits == 0)
    assert curve_sizes(240, 24) == (8, 16, 24, 32)
    assert curve_sizes(10**6, 24)[-1] == 512
    (point,) = size_curve(pool, [("relu", RELU)], (24,), CONFIG)
    (law,) = batch_laws(pool.points, pool.classes, (24,), (RELU,))
    assert (point.low, point.high) == (law.lower.mean(), law.upper.mean())
    assert point.isolated == lonely_share(hits, 24)
    assert point.middle == (point.low + point.high) / 2


def test_influences_tell_how_rows_drawn_anew_move_the_means():
    """Standard deviations over 80 sets of 120 rows against those that one set predicts: within a third."""
    weights = [RELU]
    sharp, alone, predicted = [], [], []
    for seed in range(80):
        rows = feature_set(*rows_of(seed, 120))
        pool = pool_of(rows, True)
        (law,) = batch_laws(pool.points, pool.classes, (24,), weights, exact=False)
        sharp.append(law.lower.mean())
        alone.append(lonely_share(law.degree - law.cross_degree, 24))
        if seed < 4:
            predicted.append((sharpness_deviation(pool, RELU, 24, 0), isolation_deviation(pool, 0.3, 24, 0)))
    for measured, told in zip((sharp, alone), np.mean(predicted, axis=0) / np.sqrt(120)):
        assert np.std(measured, ddof=1) == pytest.approx(told, rel=0.34)


def test_an_influence_is_what_leaving_the_row_out_changes():
    pool = pool_of(gaussian_set(0, 80, noise=2.0), True)

    def lonely(rows):
        part = pool.take(rows)
        return lonely_share(true_neighbours(part.points, part.classes, 0.3), 10)

    everything = np.arange(80)
    changes = [79 * (lonely(everything) - lonely(np.delete(everything, j))) for j in range(80)]
    told = isolation_influence(pool, 0.3, 10)
    assert np.corrcoef(changes, told)[0, 1] > 0.98
    assert np.std(told) == pytest.approx(np.std(changes), rel=0.15)


def test_influences_of_a_part_stand_for_all(monkeypatch, truth):
    whole = sharpness_deviation(truth, RELU, 24, 0), isolation_deviation(truth, 0.3, 24, 0)
    monkeypatch.setattr(influence, "MOST_ROWS", 800)
    part = sharpness_deviation(truth, RELU, 24, 0), isolation_deviation(truth, 0.3, 24, 0)
    np.testing.assert_allclose(part, whole, rtol=0.25)
    pairs = pool_of(gaussian_set(0, labeled=False), True)
    bound = measure_batches(pairs, [RELU], draw_batches(pairs, 24, 100, np.random.default_rng([0, 3, 24])))[0]
    assert sharpness_deviation(pairs, RELU, 24, 0) == bound.deviation[0]


def test_thinned_pools():
    pool = pool_of(gaussian_set(0), True)
    assert thinned(pool, 240, 0) is pool
    part = thinned(pool, 60, 0)
    assert part.size == 60
    assert set(part.classes) == {0, 1, 2, 3}
    pairs = thinned(pool_of(gaussian_set(0, labeled=False), True), 60, 0)
    assert pairs.size == 60
    np.testing.assert_array_equal(pairs.classes[:30], pairs.classes[30:])
