"""Proposition 7 against the enumeration of all batches, its monotonicity, and the floor by climbing."""

import mpmath
import numpy as np
import pytest
import torch

from tests.reference_batches import batches_with
from theory.neighbour_floor import (
    floor_of_hits,
    lonely_probabilities,
    lonely_share,
    neighbour_floor,
    true_neighbours,
)

pytestmark = pytest.mark.usefixtures("as_users_call")


def pool(seed, total=7, dim=3):
    rng = np.random.default_rng(seed)
    labels = np.array([0, 1, 0, 1, 1, 0, 0])[:total]
    return rng.standard_normal((total, dim)) + 1.5 * rng.standard_normal((2, dim))[labels], labels


@pytest.mark.parametrize("neighbours", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_all_batches_of_small_pools(seed, neighbours):
    points, labels = pool(seed)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    near = (unit @ unit.T > 0.4) & (labels[:, None] == labels) & ~np.eye(7, dtype=bool)
    hits = true_neighbours(points, labels, 0.4)
    np.testing.assert_array_equal(hits, near.sum(axis=1))
    shares = []
    for n in range(2, 8):
        lonely = [
            np.mean([near[i, list(batch)].sum() < neighbours for batch in batches_with(i, labels, n)]) for i in range(7)
        ]
        shares.append(np.mean(lonely))
        assert lonely_share(hits, n, neighbours) == pytest.approx(shares[-1], abs=1e-12)
        np.testing.assert_allclose(lonely_probabilities(hits, 6, n, neighbours), lonely, atol=1e-12)
    assert np.all(np.diff(shares) <= 1e-12)
    for share in (0.0, 0.1, 0.37, 0.63, 0.99, 1.0):
        enough = [n for n, value in zip(range(2, 8), shares) if value <= share + 1e-12]
        assert neighbour_floor(points, labels, 0.4, share, neighbours) == (enough[0] if enough else None)


def test_the_curve_never_rises_and_the_floor_is_where_it_passes():
    hits = np.random.default_rng(0).integers(0, 40, 300)
    for k in (1, 3, 10):
        curve = np.array([lonely_share(hits, n, k) for n in range(2, 301)])
        assert np.all(np.diff(curve) <= 1e-12)
        for share in (0.2, 0.5, 0.9):
            floor = floor_of_hits(hits, share, k)
            if floor is None:
                assert np.mean(hits < k) > share
            else:
                assert curve[floor - 2] <= share
                assert floor == 2 or curve[floor - 3] > share


def test_closed_forms():
    """All rows with one hit: alone with probability 1 - (n-1)/P. All hits: never."""
    assert lonely_share(np.ones(11, int), 4) == pytest.approx(1.0 - 3 / 10)
    assert lonely_share(np.full(11, 10), 2) == pytest.approx(0.0, abs=1e-15)
    assert floor_of_hits(np.ones(11, int), 0.5) == 6
    assert floor_of_hits(np.zeros(11, int), 0.5) is None
    assert floor_of_hits(np.zeros(11, int), 1.0) == 2
    # Ten new rows, each near half of a bank of 8, two of which are drawn.
    np.testing.assert_allclose(lonely_probabilities(np.full(10, 4), 8, 3), 4 * 3 / (8 * 7))


def test_the_floor_from_the_mean_is_no_larger_for_one_neighbour():
    """Convexity: between whole means, the line."""
    for seed in range(20):
        hits = np.random.default_rng(seed).integers(0, 12, 20)
        low = int(hits.mean())
        for n in range(2, 21):
            ends = lonely_probabilities(np.array([low, low + 1]), 19, n)
            line = ends[0] + (hits.mean() - low) * (ends[1] - ends[0])
            assert line <= lonely_share(hits, n) + 1e-12


def test_torch_and_numpy_alike_and_any_precision():
    points, labels = pool(1)
    expected = true_neighbours(points, labels, 0.3)
    for given in (torch.from_numpy(points), torch.from_numpy(points).float(), points.astype(np.float32)):
        np.testing.assert_array_equal(true_neighbours(given, labels, 0.3), expected)
    order = np.random.default_rng(0).permutation(7)
    np.testing.assert_array_equal(true_neighbours(points[order], labels[order], 0.3), expected[order])


def test_tiles_of_a_few_rows(monkeypatch):
    rng = np.random.default_rng(0)
    points, labels = rng.standard_normal((60, 4)), rng.integers(0, 3, 60)
    expected = true_neighbours(points, labels, 0.2)
    monkeypatch.setattr("theory.neighbour_floor.TILE_ENTRIES", 100)
    np.testing.assert_array_equal(true_neighbours(points, labels, 0.2), expected)


def test_duplicates_are_neighbours_and_rows_are_not_their_own():
    points = np.array([[1.0, 2.0, 3.0]] * 3 + [[-1.0, 0.5, 0.0]] * 2) * np.array([1.0, 3.0, 0.1, 7.0, 1e-3])[:, None]
    labels = np.array([0, 0, 0, 1, 1])
    assert true_neighbours(points, labels, 0.999999).tolist() == [2, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.full((6, 2), np.nan)}, r"^points: contains NaN"),
        ({"points": np.zeros((6, 2))}, r"^points: contains a zero vector"),
        ({"points": np.ones(6)}, r"^points: expected shape"),
        ({"labels": np.zeros(6, int)}, r"^labels: needs at least 2"),
        ({"labels": np.array([0, 0, 0, 0, 0, 1])}, r"^labels: every cluster needs at least 2"),
        ({"threshold": 1.0}, r"^threshold: must lie in \[0, 1\)"),
        ({"share": 1.5}, r"^share: must lie in \[0, 1\]"),
        ({"neighbours": 0}, r"^neighbours: must be a whole number of at least 1"),
        ({"neighbours": 6}, r"^neighbours: must be a whole number in \[1, 5\]"),
    ],
)
def test_bad_input_is_named(change, message):
    accepted = {"points": np.random.default_rng(0).standard_normal((6, 2)), "labels": np.array([0, 0, 0, 1, 1, 1]),
                "threshold": 0.1, "share": 0.5, "neighbours": 1}  # fmt: skip
    neighbour_floor(**accepted)
    with pytest.raises(ValueError, match=message):
        neighbour_floor(**{**accepted, **change})


def test_bad_hits_are_named():
    for hits in ([0.5, 1.0], [[1]], [3, 0], [-1, 1], ["a", "b"]):
        with pytest.raises(ValueError, match=r"^hits: "):
            lonely_share(np.array(hits), 2)


@pytest.mark.parametrize(("count", "lonely"), [(100, 29), (199, 120), (49, 1), (100, 57)])
def test_a_share_that_is_just_met_has_a_floor(count, lonely):
    """share = a/N is not a/N in floating point: a of N rows without a neighbour are a share of a/N at every n."""
    hits = np.array([0] * lonely + [count - 1] * (count - lonely))
    assert floor_of_hits(hits, lonely / count) == 2
    assert floor_of_hits(hits, lonely / count - 1e-6) is None


def test_a_share_that_is_just_met_in_a_large_pool_has_its_floor():
    """Of 3.5 million rows the distribution function is off by more than 1e-10."""
    total, near, size = 3_500_000, 60_000, 60
    with mpmath.workdps(30):
        alone = mpmath.binomial(total - 1 - near, size - 1) / mpmath.binomial(total - 1, size - 1)
    hits = np.full(total, near)
    assert floor_of_hits(hits, float(alone)) == size
