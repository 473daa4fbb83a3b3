"""Brackets of rows whose classes have any size, against loops over every batch; and what leaving rows out would do."""

from itertools import combinations

import numpy as np
import pytest
import torch

from models.advisor.batches import draw_batches, measure_batches
from models.advisor.config import AdvisorConfig
from models.advisor.coverage.sources import SmallClasses
from models.advisor.coverage.truth import sharpness_in_bank
from models.advisor.inputs.features import feature_set
from models.advisor.pool import Pool, pool_of, thinned
from models.advisor.questions.certified import certify_floor, certify_sharpness, split
from models.advisor.questions.curves import size_curve
from models.advisor.questions.floor import row_floor
from models.advisor.questions.influence import share_influence
from models.advisor.questions.laws import row_laws
from tests.models.advisor.rows import gaussian_set, rows_of
from theory import certified_mean
from theory.batch_law import Weight, batch_laws

RELU, SOFTMAX = Weight("relu", threshold=0.1), Weight("exponential", inverse_temperature=3.0)
ROWS = pool_of(gaussian_set(0, 24, noise=2.0), True).points
# The last class of new rows is one that no pool has.
NEW = np.array([0, 1, 2, 3, 4, 5, 9])
POOLS = {
    "several alone": [0, 0, 0, 1, 1, 2, 3, 4],
    "one alone": [0, 0, 0, 1, 1, 2, 2, 4],
    "one alone beside one class": [0, 0, 0, 0, 0, 0, 0, 4],
    "all alone": [0, 1, 2, 3, 4, 5, 6, 7],
    "one class": [1] * 8,
    "none alone": [0, 0, 0, 1, 1, 2, 2, 2],
}


def pool_with(points, classes):
    return Pool(points, np.array(classes), None, np.ones(len(points), dtype=bool), False)


def mean_share(row, others, own, weight, n):
    """A row's in-class share, averaged over all batches of it and n - 1 others; and its hits."""
    h = weight.value(np.clip(others @ row, -1.0, 1.0))
    found = []
    for batch in map(list, combinations(range(len(others)), n - 1)):
        mass = h[batch].sum()
        found.append((h * own)[batch].sum() / mass if mass > 0 else 0.0)
    return np.mean(found), np.count_nonzero(h * own)


@pytest.mark.parametrize("weight", [RELU, SOFTMAX], ids=["relu", "softmax"])
@pytest.mark.parametrize("name", POOLS)
def test_every_row_of_a_pool_against_all_batches(name, weight):
    """With two rows in a batch both sides are the truth."""
    classes, points = np.array(POOLS[name]), ROWS[:8]
    unit = points.double().numpy()
    (law,) = row_laws(pool_with(points, classes), (2, 4), (weight,))
    for i in range(8):
        rest = np.arange(8) != i
        for place, n in enumerate((2, 4)):
            true, hits = mean_share(unit[i], unit[rest], classes[rest] == classes[i], weight, n)
            assert law.lower[place, i] - 1e-7 <= true <= law.upper[place, i] + 1e-7
            assert n > 2 or law.upper[place, i] - law.lower[place, i] < 1e-7
            assert law.hits[i] == hits


@pytest.mark.parametrize("weight", [RELU, SOFTMAX], ids=["relu", "softmax"])
@pytest.mark.parametrize("name", POOLS)
def test_new_rows_against_all_batches(name, weight):
    """Rows of classes that have one row in the pool, or none, and rows of the others beside them."""
    classes, points, new = np.array(POOLS[name]), ROWS[:8], ROWS[8 : 8 + len(NEW)]
    unit, asked = points.double().numpy(), new.double().numpy()
    pool = pool_with(ROWS[: 8 + len(NEW)], np.append(classes, NEW))
    (law,) = row_laws(pool, (2, 4), (weight,), np.arange(8, pool.size), np.arange(8))
    for i in range(len(NEW)):
        for place, n in enumerate((2, 4)):
            true, hits = mean_share(asked[i], unit, classes == NEW[i], weight, n)
            assert law.lower[place, i] - 1e-7 <= true <= law.upper[place, i] + 1e-7
            assert n > 2 or law.upper[place, i] - law.lower[place, i] < 1e-7
            assert law.hits[i] == hits
    assert (law.upper[:, -1] == 0).all(), "nothing in the pool is of its class"


def test_of_larger_classes_they_are_batch_laws():
    pool = pool_of(gaussian_set(0, 120), True)
    (law,) = row_laws(pool, (8, 24), (RELU,))
    (told,) = batch_laws(pool.points, pool.classes, (8, 24), (RELU,))
    np.testing.assert_array_equal(law.lower, told.lower)
    np.testing.assert_array_equal(law.upper, told.upper)
    np.testing.assert_array_equal(law.hits, told.degree - told.cross_degree)


def small_classes(seed, large=300, small=150):
    """Two classes, and as many rows again in classes of two."""
    rng = np.random.default_rng([seed, 2])
    labels = np.r_[np.arange(large) % 2, 2 + np.arange(2 * small) // 2]
    centers = 1.5 * np.random.default_rng(7).normal(size=(2 + small, 12))
    return feature_set(centers[labels] + 0.7 * rng.normal(size=(len(labels), 12)), labels)


def dropped(pool: Pool) -> Pool:
    """The violation: rows that are alone in their class are left out."""
    return pool.take(np.flatnonzero(np.bincount(pool.classes)[pool.classes] > 1))


def test_curves_of_a_thinned_pool_are_those_of_its_batches():
    """Against 2,000 batches in plain code; rows without others of their class count, with 0."""
    pool = thinned(pool_of(small_classes(0), True), 200, 0)
    assert (np.bincount(pool.classes) == 1).sum() > 20
    (point,) = size_curve(pool, [("relu", RELU)], (16,), AdvisorConfig())
    sharp, alone = measure_batches(pool, [RELU], draw_batches(pool, 16, 2000, np.random.default_rng(0)))
    assert point.low - 4 * sharp.error[0] <= sharp.mean[0] <= point.high + 4 * sharp.error[0]
    assert point.high - point.low < 0.03
    assert point.isolated == pytest.approx(alone.mean[0], abs=4 * alone.error[0])
    (other,) = size_curve(dropped(pool), [("relu", RELU)], (16,), AdvisorConfig())
    assert other.low > sharp.mean[0] + 4 * sharp.error[0]


@pytest.mark.parametrize("weight", [RELU, SOFTMAX], ids=["relu", "softmax"])
def test_certified_shares_of_many_small_classes_are_below_those_of_new_rows(weight):
    """1,000 rows are thinned to 400; leave out those alone in their class, and the bound is above the truth."""
    new_rows = small_classes(99, 500, 250)
    for seed in range(3):
        config = AdvisorConfig(seed=seed)
        whole = pool_of(small_classes(seed, 500, 250), True, seed=seed)
        new, rng = pool_of(new_rows, True, center=whole.center), np.random.default_rng(seed)
        for pool, holds in ((thinned(whole, 400, seed), True), (dropped(thinned(whole, 400, seed)), False)):
            bank, others = split(pool)
            found = certify_sharpness(pool, "relu", weight, 16, config)
            true = sharpness_in_bank(pool, bank, new, weight, 16, rng)
            assert (found.value <= true) == holds
            assert (found.bank, found.tested) == (len(bank), len(others))
            assert found.bank + found.tested == pool.size
        assert thinned(whole, 400, seed).size == 400


def test_rows_stand_for_new_ones_whatever_their_classes():
    """Which rows are kept does not change with the labels of others."""
    features = small_classes(0)
    pool = pool_of(features, True)
    moved = pool_with(pool.points, np.random.default_rng(1).permutation(pool.classes))
    np.testing.assert_array_equal(thinned(pool, 100, 5).points, thinned(moved, 100, 5).points)
    source = SmallClasses()
    first, new = source.draw(np.random.default_rng(0), 120, 400)
    assert set(first.classes) != set(new.classes), "and new rows are of other classes"


@pytest.mark.parametrize("classes", [[0, 0, 1, 1, 2, 3], [0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 0, 2], [0, 0, 0, 1, 1, 1]])
def test_floors_count_the_rows_that_are_alone(classes):
    """A row alone in its class never has a true neighbor."""
    points = np.eye(4)[np.array(classes)] + 0.2 * np.random.default_rng(0).normal(size=(6, 4))
    classes = np.array(classes)
    pool = pool_with(torch.from_numpy(points / np.linalg.norm(points, axis=1, keepdims=True)).float(), classes)
    cosines = pool.points.double().numpy() @ pool.points.double().numpy().T
    near = (cosines > 0.3) & (classes[:, None] == classes) & ~np.eye(6, dtype=bool)
    floor = row_floor(pool, Weight("relu", threshold=0.3), AdvisorConfig(share=0.34))
    assert floor.never == np.mean(~near.any(axis=1)) == np.mean(np.bincount(classes)[classes] == 1)
    assert floor.rows is not None


def test_a_certified_floor_counts_classes_that_the_bank_lacks():
    pool = thinned(pool_of(small_classes(0), True), 200, 0)
    bank, others = split(pool)
    found = certify_floor(pool, RELU, AdvisorConfig(share=0.9))
    missing = np.mean(~np.isin(pool.classes[others], pool.classes[bank]))
    assert missing > 0.2
    assert found.rows is not None
    assert certify_floor(pool, RELU, AdvisorConfig(share=float(missing))).rows is None


def test_influences_on_the_share():
    """Those of the theory where it has them; with rows alone in their class its formula, by loops."""
    pool = pool_of(gaussian_set(0, 60, noise=2.0), True)
    for weight in (RELU, SOFTMAX):
        told = certified_mean.share_influence(pool.points.numpy(), pool.classes, weight)
        np.testing.assert_allclose(share_influence(pool, weight), told, atol=1e-6)
    classes = np.arange(60) // 3 * (np.arange(60) < 30) + np.arange(60) * (np.arange(60) >= 30) + 100
    alone = pool_with(pool.points, classes)
    h = RELU.value(pool.points.double().numpy() @ pool.points.double().numpy().T)
    np.fill_diagonal(h, 0.0)
    own, mass = classes[:, None] == classes, h.sum(axis=1)
    share = (h * own).sum(axis=1) / np.where(mass > 0, mass, 1.0)
    psi = share - share.mean()
    for i in range(60):
        for j in range(60):
            psi[j] += h[i, j] * (float(own[i, j]) - share[i]) / mass[i] if mass[i] > 0 else 0.0
    found = share_influence(alone, RELU)
    np.testing.assert_allclose(found[0], share, atol=1e-6)
    np.testing.assert_allclose(found[1], psi, atol=1e-5)
    assert (found[0][30:] == 0).all()


def test_sets_may_hold_classes_of_one_row():
    rows, labels = rows_of(0, 40)
    found = feature_set(rows, [*labels[:38], 7, 8])
    assert np.bincount(found.classes).tolist() == [10, 10, 9, 9, 1, 1]
    with pytest.raises(ValueError, match="labels: at least one class needs 2 rows, every row has a class of its own"):
        feature_set(rows, np.arange(40))
