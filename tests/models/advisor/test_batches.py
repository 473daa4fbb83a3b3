"""Batches in plain code, against the definitions, the stacks and Proposition 6."""

import numpy as np
import pytest
import torch

from models.advisor.batches import BatchMeans, draw_batches, layers_of, measure_batches, measure_layers
from models.advisor.inputs.features import feature_set
from models.advisor.pool import Pool, main_strength, pool_of
from models.stack import AttentionStack
from tests.models.advisor.rows import gaussian_set, rows_of
from theory.affinity import affinity_matrix
from theory.batch_law import Weight, batch_laws
from theory.measurements import affinity_sharpness
from theory.neighbour_floor import neighbour_floor

RELU, SOFTMAX = Weight("relu", threshold=0.3), Weight("exponential", inverse_temperature=4.0)


def test_pools_of_labels_and_of_view_pairs():
    features = gaussian_set(0)
    raw, centered = pool_of(features, centered=False), pool_of(features, centered=True)
    assert (raw.size, raw.center, raw.paired) == (240, None, False)
    assert raw.chance == raw.chance_at(16) == pytest.approx(59 / 239)
    np.testing.assert_allclose(centered.center, features.embeddings[centered.bank].mean(0))
    assert centered.bank.sum() == 120
    np.testing.assert_allclose(torch.linalg.vector_norm(centered.points, dim=1), 1.0, rtol=1e-6)
    shifted = pool_of(features, True, 0.5, np.full(12, 2.0)).points
    expected = features.views[1] - 2.0
    np.testing.assert_allclose(shifted, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    pairs = pool_of(gaussian_set(0, labeled=False), centered=True)
    assert pairs.paired
    assert pairs.size == 480
    assert main_strength(features) is None
    assert main_strength(gaussian_set(0, labeled=False)) == 0.5
    assert pairs.classes[3] == pairs.classes[243]
    assert pairs.chance_at(8) == pytest.approx(1 / 7)


def test_a_row_equal_to_the_mean_that_is_subtracted_is_named():
    """The mean of the bank, not of all rows; or one that is given."""
    rows, labels = rows_of(0, 40)
    bank = pool_of(feature_set(rows, labels), True).bank
    others, inside = np.flatnonzero(~bank), np.flatnonzero(bank)
    rows = np.round(rows)
    rows[inside[-1]] += 2.0 * len(inside) - rows[inside].sum(0)
    rows[others[3]] = 2.0
    np.testing.assert_array_equal(rows[inside].mean(0), np.full(12, 2.0))
    told = rf"embeddings: row {others[3]} is the mean that is subtracted, so centering leaves it no direction"
    features = feature_set(rows, labels, [rows, rows + 1.0], [0.0, 0.5])
    with pytest.raises(ValueError, match="^" + told):
        pool_of(features, True)
    assert pool_of(features, False).size == 40
    with pytest.raises(ValueError, match=rf"^view of strength 0\.5: row {others[3]} is the mean"):
        pool_of(features, True, 0.5)
    with pytest.raises(ValueError, match="^" + told):
        pool_of(features, True, None, np.full(12, 2.0))
    rows = np.delete(rows, others[3], 0)
    pairs = feature_set(rows, None, [rows, rows.copy()], [0.0, 0.5])
    pairs.views[1][4] += 1.0
    with pytest.raises(ValueError, match=r"^view of strength 0\.5: row 4 is the mean"):
        pool_of(pairs, True, 0.5, pairs.views[1][4])


def test_batches_of_pairs_hold_both_views():
    pool = pool_of(gaussian_set(0, labeled=False), centered=True)
    for rows in draw_batches(pool, 8, 5, np.random.default_rng(0)):
        assert len(set(rows)) == 8
        assert np.bincount(pool.classes[rows]).max() == np.bincount(pool.classes[rows])[pool.classes[rows]].min() == 2


def test_sharpness_of_a_batch_is_that_of_its_affinity():
    features = gaussian_set(0, 40)
    pool = pool_of(features, centered=True)
    rows = draw_batches(pool, 12, 3, np.random.default_rng(1))
    sharp, isolated = measure_batches(pool, [RELU], rows)
    for batch, value, alone in zip(rows, sharp.values[0], isolated.values[0]):
        affinity = affinity_matrix(pool.points[torch.from_numpy(batch)].double(), 0.3)
        shares = affinity_sharpness(affinity, pool.classes[batch])
        assert value == pytest.approx(float(shares.mean()), abs=1e-6)
        assert alone == pytest.approx(float((shares == 0).double().mean()))


@pytest.mark.parametrize("labeled", [True, False])
def test_means_agree_with_proposition_6(labeled):
    """Many batches of a small pool: their mean is inside the bracket, but for its standard error."""
    pool = pool_of(gaussian_set(0, 40, labeled=labeled), centered=True)
    rows = draw_batches(pool, 10, 4000, np.random.default_rng(2))
    sharp, _ = measure_batches(pool, [RELU, SOFTMAX], rows)
    for k, weight in enumerate((RELU, SOFTMAX)):
        batches = "uniform" if labeled else "pairs"
        (law,) = batch_laws(pool.points, pool.classes, (10,), (weight,), batches=batches)
        low, high = float(law.lower.mean()), float(law.upper.mean())
        assert low - 4 * sharp.error[k] <= sharp.mean[k] <= high + 4 * sharp.error[k]
        assert high - low < 0.05


def test_isolated_rows_agree_with_proposition_7():
    pool = pool_of(gaussian_set(0, 200), centered=True)
    floor = neighbour_floor(pool.points, pool.classes, 0.3, 0.1)
    for n, sign in ((floor, 1), (floor - 1, -1)):
        _, isolated = measure_batches(pool, [RELU], draw_batches(pool, n, 3000, np.random.default_rng(3)))
        assert sign * (0.1 - isolated.mean[0]) >= -3 * isolated.error[0]


def test_layers_are_those_of_the_stack():
    embeddings, labels = rows_of(0, 16)
    pool = Pool(torch.from_numpy(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).float(), labels,
                None, np.ones(16, dtype=bool), False)  # fmt: skip
    tokens = pool.points.double()
    expected = AttentionStack(3, 0.3).measure(tokens[None], labels).sharpness_mean[:, 0]
    found = measure_layers(pool, RELU, 3, np.arange(16)[None])
    np.testing.assert_allclose(found.values[:, 0], expected, atol=1e-9)
    *_, last = layers_of(SOFTMAX, 2, tokens[None])
    assert last.shape == (1, 16, 12)


def test_one_rows_influence_is_bounded_by_batches():
    """The mean over N rows is a U-statistic: its variance is at most n/N times that of one batch."""
    sets = [pool_of(gaussian_set(seed, 60), centered=False) for seed in range(60)]
    means, deviations = [], []
    for pool in sets:
        found, _ = measure_batches(pool, [SOFTMAX], draw_batches(pool, 8, 400, np.random.default_rng(0)))
        means.append(found.mean[0])
        deviations.append(found.deviation[0])
    assert np.std(means, ddof=1) < 1.05 * np.mean(deviations) / np.sqrt(60)


def test_means_of_batches():
    found = BatchMeans(np.array([[1.0, 3.0], [2.0, 2.0]]), 9, 36)
    assert found.mean.tolist() == [2.0, 2.0]
    np.testing.assert_allclose(found.error, [1.0, 0.0])
    np.testing.assert_allclose(found.deviation, [np.sqrt(2) * 3 / np.sqrt(0.75), 0.0])
