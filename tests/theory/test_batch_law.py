"""Proposition 6 against the enumeration of all batches, in its variants, and on pools too large for that."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
import torch

from tests.reference_batches import empty_chance, expected_share, pool_weights
from theory.batch_law import EXACT_ROWS, BatchLaw, Weight, batch_laws, expected_sharpness

pytestmark = pytest.mark.usefixtures("as_users_call")

WEIGHTS = (
    Weight("relu", threshold=0.0), Weight("relu", threshold=0.6), Weight("relu", threshold=0.3, power=2.0),
    Weight("relu", threshold=0.3, power=0.5), Weight("exponential", inverse_temperature=0.5),
    Weight("exponential", inverse_temperature=10.0), Weight("exponential", inverse_temperature=60.0),
)  # fmt: skip
LABELS = np.array([0, 1, 0, 1, 1, 0, 2, 2])


def pool(seed, total=7, spread=1.0, dim=3):
    """Rows of 2 or 3 classes in any order, two of them equal."""
    rng = np.random.default_rng(seed)
    labels = LABELS[:total] % (3 if total > 7 else 2)
    points = rng.standard_normal((total, dim)) + spread * rng.standard_normal((3, dim))[labels]
    points[3] = 2.0 * points[1]
    return points, labels


def inside(law: BatchLaw, expected, slack=0.0):
    return bool(np.all(law.lower - slack <= expected) and np.all(expected <= law.upper + slack))


@pytest.mark.parametrize("attend_self", [False, True])
@pytest.mark.parametrize("weight", WEIGHTS, ids=str)
def test_all_batches_of_small_pools(weight, attend_self):
    """No row outside, equality at n = 2, 3, N (n = 2, N with self-attention), the width, exact counts."""
    for seed, total in ((0, 5), (1, 7), (2, 7)):
        points, labels = pool(seed, total)
        cut = weight.at_precision("float64")
        h = pool_weights(points, cut.value, cut.bound if attend_self else 0.0)
        sizes = list(range(2, total + 1))
        expected = np.array([[expected_share(h[i], labels, i, n) for i in range(total)] for n in sizes])
        (law,) = batch_laws(points, labels, sizes, [weight], attend_self=attend_self)
        assert inside(law, expected)
        (binned,) = batch_laws(points, labels, sizes, [weight], attend_self=attend_self, exact=False)
        assert inside(binned, expected)
        for n in (2, total) if attend_self else (2, 3, total):
            assert (law.upper - law.lower)[n - 2].max() < 1e-9
        pairs = h - np.diag(np.diag(h))
        mass, square = pairs.sum(axis=1), (pairs**2).sum(axis=1)
        effective = np.where(mass > 0, mass**2 / np.where(square > 0, square, 1.0), 0.0)
        np.testing.assert_allclose(law.effective_neighbours, effective, rtol=1e-9)
        np.testing.assert_allclose(law.mass, mass, rtol=1e-9, atol=1e-12)
        if not attend_self:
            width = 1.0 / (1.0 + (np.array(sizes)[:, None] - 1) / (total - 1) * effective)
            assert np.all(law.upper - law.lower <= width + 1e-9)
            empty = [[empty_chance(pairs[i], labels, i, n) for i in range(total)] for n in sizes]
            np.testing.assert_allclose(law.empty, empty, atol=1e-11)
        foreign = labels[:, None] != labels
        np.testing.assert_array_equal(law.degree, (pairs > 0).sum(axis=1))
        np.testing.assert_array_equal(law.cross_degree, ((pairs > 0) & foreign).sum(axis=1))
        np.testing.assert_array_equal(binned.degree, law.degree)
        np.testing.assert_array_equal(binned.cross_degree, law.cross_degree)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("attend_self", [False, True])
@pytest.mark.parametrize("weight", [w for w in WEIGHTS if w.convex], ids=str)
def test_batches_of_pairs(weight, attend_self, exact):
    """Rows of one label are two views: the partner is always there. Equality at n = 2, 4 and N."""
    rng = np.random.default_rng(3)
    labels = np.array([4, 0, 7, 0, 4, 1, 7, 1])
    points = rng.standard_normal((8, 3)) + 2.0 * rng.standard_normal((8, 3))[labels]
    cut = weight.at_precision("float64")
    h = pool_weights(points, cut.value, cut.bound if attend_self else 0.0)
    sizes = [2, 4, 6, 8]
    expected = [[expected_share(h[i], labels, i, n, "pairs") for i in range(8)] for n in sizes]
    (law,) = batch_laws(points, labels, sizes, [weight], batches="pairs", attend_self=attend_self, exact=exact)
    assert inside(law, expected)
    if exact:
        assert (law.upper - law.lower)[[0, 1, 3]].max() < 1e-9
        assert (law.upper - law.lower).max() < 0.5
    pairs = h - np.diag(np.diag(h))
    np.testing.assert_allclose(law.mass, pairs.sum(axis=1), rtol=1e-9)
    np.testing.assert_array_equal(law.cross_degree, ((pairs > 0) & (labels[:, None] != labels)).sum(axis=1))


@pytest.mark.parametrize("batches", ["uniform", "balanced", "pairs"])
def test_weights_that_differ_by_many_magnitudes(batches):
    """Cold exponentials and high powers, of which sums must not be formed by subtraction, in both precisions."""
    labels = {"uniform": np.array([0, 1, 0, 1, 1]), "balanced": np.array([0, 1, 0, 1, 0]),
              "pairs": np.array([3, 3, 1, 0, 2, 0, 2, 1])}[batches]  # fmt: skip
    sizes = [4] if batches != "pairs" else [4, 6]
    weights = [Weight("exponential", inverse_temperature=90.0), Weight("relu", threshold=0.0, power=40.0)]
    for seed in range(4):
        points = np.random.default_rng(seed).standard_normal((len(labels), 3))
        for weight in weights:
            for dtype in (np.float64, np.float32):
                given = points.astype(dtype)
                cut = weight.at_precision(dtype)
                h = pool_weights(given.astype(float), cut.value)
                expected = [[expected_share(h[i], labels, i, n, batches) for i in range(len(labels))] for n in sizes]
                for exact in (True, False):
                    (law,) = batch_laws(given, labels, sizes, [weight], batches=batches, exact=exact)
                    assert inside(law, expected), (weight, seed, dtype, exact)


def test_nt_xent_positive_probability():
    """At temperature 1/kappa: exp(s_ip/T) over the sum of all but i, averaged over all batches of two pairs."""
    points, labels = pool(5, 6)[0], np.array([0, 0, 1, 1, 2, 2])
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    lower, upper = expected_sharpness(
        points, labels, 4, Weight("exponential", inverse_temperature=5.0), batches="pairs"
    )
    for i in range(6):
        logits = 5.0 * unit @ unit[i]
        partner = i ^ 1
        values = []
        for other in {0, 1, 2} - {i // 2}:
            members = [partner, 2 * other, 2 * other + 1]
            values.append(np.exp(logits[partner]) / np.exp(logits[members]).sum())
        assert lower[i] <= np.mean(values) <= upper[i]
    assert np.all(upper - lower < 1e-9)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("attend_self", [False, True])
@pytest.mark.parametrize("weight", WEIGHTS, ids=str)
def test_class_balanced_batches(weight, attend_self, exact):
    """As many rows of every class; classes of other sizes than each other."""
    points, labels = pool(4, 8)
    cut = weight.at_precision("float64")
    h = pool_weights(points, cut.value, cut.bound if attend_self else 0.0)
    expected = [[expected_share(h[i], labels, i, n, "balanced") for i in range(8)] for n in (3, 6)]
    (law,) = batch_laws(points, labels, [3, 6], [weight], batches="balanced", attend_self=attend_self, exact=exact)
    assert inside(law, expected)
    if exact:
        # One row a class: besides i there is none of its own. Two: every rest is a single draw a class.
        assert (law.upper - law.lower).max() < 0.35


@pytest.mark.parametrize("exact", [True, False])
def test_new_rows(exact):
    """Rows that the pool does not have, in batches with n - 1 of its rows."""
    (points, labels), weight = pool(6), Weight("exponential", inverse_temperature=4.0)
    new, new_labels = pool(7)[0][:3], np.array([1, 0, 1])
    (law,) = batch_laws(points, labels, [2, 3, 5, 7], [weight], new_rows=(new, new_labels), exact=exact)
    assert law.lower.shape == (4, 3)
    h = pool_weights(np.concatenate([points, new]), weight.value)
    for row in range(3):
        for place, n in enumerate((2, 3, 5, 7)):
            shares = []
            for batch in combinations(range(7), n - 1):
                drawn = h[7 + row, list(batch)]
                shares.append(drawn[labels[list(batch)] == new_labels[row]].sum() / drawn.sum())
            assert law.lower[place, row] <= np.mean(shares) <= law.upper[place, row]


def test_theorem_2_is_the_case_without_foreign_neighbours():
    """Two classes at a right angle, tau above their cross cosines: E S_i = 1 - empty_i, by the binomials."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [4, 8])
    points = np.where(labels[:, None] == np.arange(2).repeat(3), rng.standard_normal((12, 6)), 0.0)
    weight = Weight("relu", threshold=0.5)
    for exact in (True, False):
        (law,) = batch_laws(points, labels, [2, 4, 9, 12], [weight], exact=exact)
        assert not law.cross_degree.any()
        np.testing.assert_allclose(law.lower, 1.0 - law.empty, atol=1e-8)
        np.testing.assert_allclose(law.upper, 1.0 - law.empty, atol=1e-8)
    h = pool_weights(points, weight.value)
    for n in (2, 4):
        place = (2, 4).index(n)
        assert law.empty[place] == pytest.approx([empty_chance(h[i], labels, i, n) for i in range(12)], abs=1e-9)
    assert law.empty[0].min() > 0.0


def test_near_theorem_2():
    """E S_i is at least P(no foreign neighbour) - empty_i, which is at least 1 - empty_i - c f_i."""
    points, labels = pool(8, 8, spread=2.0)
    (law,) = batch_laws(points, labels, range(2, 9), [Weight("relu", threshold=0.5)])
    assert law.cross_degree.any()
    c = (np.arange(2, 9)[:, None] - 1) / 7
    assert np.all(law.lower >= 1.0 - law.empty - c * law.cross_degree - 1e-9)


def test_rows_without_weight():
    """Nobody is near: empty with certainty, share 0."""
    points, labels = np.eye(6), np.array([0, 0, 0, 1, 1, 1])
    for exact in (True, False):
        (law,) = batch_laws(points, labels, [2, 4, 6], [Weight("relu", threshold=0.2)], exact=exact)
        for side in (law.lower, law.upper, 1.0 - law.empty, law.degree, law.mass, law.share, law.effective_neighbours):
            assert np.abs(side).max() < 1e-8


def large_pool(total, dim, classes=5, seed=1, spread=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, total)
    return rng.standard_normal((total, dim)) + spread * rng.standard_normal((classes, dim))[labels], labels


@pytest.mark.parametrize(
    "options",
    [{"batches": "balanced"}, *(pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"attend_self": True}))],
    ids=str,
)
def test_histograms_contain_what_is_exact(options):
    """And are hardly wider: sizes from the smallest to the whole pool, every kind of weight, in float32 too."""
    points, labels = large_pool(160, 24, 4)
    labels = np.sort(labels)
    labels[np.arange(160) % 4 == 0] = np.arange(40) % 4
    points, labels, sizes = points[:120], labels[:120], [8, 40]
    for dtype, close in ((np.float64, 0.003), (np.float32, 0.004)):
        # The cut is that of the precision, the exact bracket's cosines are float64's.
        exact = batch_laws(points.astype(dtype), labels, sizes, WEIGHTS, exact=True, **options)
        binned = batch_laws(points.astype(dtype), labels, sizes, WEIGHTS, exact=False, **options)
        for one, other in zip(exact, binned):
            assert np.all(other.lower <= one.lower + 1e-7), one.weight
            assert np.all(other.upper >= one.upper - 1e-7), one.weight
            extra = (other.upper - other.lower) - (one.upper - one.lower)
            assert np.median(extra) < close, one.weight
            np.testing.assert_allclose(other.mass, one.mass, rtol=0.01, atol=1e-3)
            np.testing.assert_allclose(other.share, one.share, atol=0.01)


def test_pairs_from_histograms_contain_what_is_exact():
    points = large_pool(120, 16)[0]
    labels = np.arange(60).repeat(2)
    weights = [w for w in WEIGHTS if w.convex]
    laws = [batch_laws(points, labels, [6, 60, 120], weights, batches="pairs", exact=e) for e in (True, False)]
    for one, other in zip(*laws):
        assert np.all(other.lower <= one.lower + 1e-7)
        assert np.all(other.upper >= one.upper - 1e-7)
        assert np.median((other.upper - other.lower) - (one.upper - one.lower)) < 1e-3


def test_random_batches_of_a_large_pool():
    """A thousand random batches, seen row by row, agree with the bracket to within their standard error."""
    rng = np.random.default_rng(2)
    points, labels = large_pool(800, 16)
    weight, n = Weight("exponential", inverse_temperature=8.0), 40
    (law,) = batch_laws(points, labels, [n], [weight])
    h = weight.value(np.clip(*[(u := points / np.linalg.norm(points, axis=1, keepdims=True)) @ u.T], -1.0, 1.0))
    np.fill_diagonal(h, 0.0)
    for row in range(5):
        others = np.delete(np.arange(800), row)
        drawn = np.stack([rng.choice(others, n - 1, replace=False) for _ in range(4000)])
        total = h[row][drawn]
        shares = (total * (labels[drawn] == labels[row])).sum(1) / total.sum(1)
        error = 4.0 * shares.std() / np.sqrt(len(shares))
        assert law.lower[0, row] - error <= shares.mean() <= law.upper[0, row] + error
        assert law.upper[0, row] - law.lower[0, row] < 0.05


def test_torch_and_numpy_alike():
    points, labels = large_pool(60, 8)
    weight = Weight("relu", threshold=0.2)
    expected = expected_sharpness(points, labels, 10, weight)
    found = expected_sharpness(torch.from_numpy(points), torch.from_numpy(labels), 10, weight)
    assert all(isinstance(side, torch.Tensor) and side.dtype == torch.float64 for side in found)
    np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=1e-12)
    single = expected_sharpness(torch.from_numpy(points).float(), labels, 10, weight)
    np.testing.assert_allclose(np.stack(single), np.stack(expected), atol=1e-4)


def test_many_at_once_are_what_each_is_alone():
    points, labels = large_pool(EXACT_ROWS + 60, 8)
    weights, sizes = [Weight("relu", threshold=0.3), Weight("exponential", inverse_temperature=5.0)], [4, 64, 300]
    seen = []
    together = batch_laws(points, labels, sizes, weights, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == len(points)
    for law, weight in zip(together, weights):
        for place, n in enumerate(sizes):
            lower, upper = expected_sharpness(points, labels, n, weight)
            # Nodes of quadrature depend on what else is in the tile; the allowance for them is 1e-7.
            np.testing.assert_allclose(law.lower[place], lower, atol=1e-6)
            np.testing.assert_allclose(law.upper[place], upper, atol=1e-6)


def test_order_of_rows_and_norms_do_not_matter():
    points, labels = large_pool(600, 8)
    order = np.random.default_rng(0).permutation(600)
    weight = Weight("relu", threshold=0.4)
    (law,) = batch_laws(points, labels, [30], [weight])
    (other,) = batch_laws(3.0 * points[order], labels[order] - 7, [30], [weight])
    np.testing.assert_allclose(other.lower[0], law.lower[0, order], atol=1e-7)
    np.testing.assert_array_equal(other.degree, law.degree[order])


def peak_of(total, dim):
    points, labels = large_pool(total, dim, 10)
    points = points.astype(np.float32)
    tracemalloc.start()
    laws = batch_laws(points, labels, [256], [Weight("relu", threshold=0.3)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, laws


@pytest.mark.slow
def test_never_all_pairs_at_once():
    peak, _ = peak_of(20_000, 16)
    assert peak < 20_000**2 * 4 / 4, "a quarter of the matrix of cosines in float32"


def test_memory_grows_with_rows_not_with_pairs():
    assert peak_of(5_000, 4)[0] < 5_000**2 * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.full((6, 2), np.nan)}, r"^points: contains NaN"),
        ({"points": np.zeros((6, 2))}, r"^points: contains a zero vector"),
        ({"points": np.ones(6)}, r"^points: expected shape \(N, D\)"),
        ({"points": np.ones((2, 6, 2))}, r"^points: expected shape \(N, D\)"),
        ({"points": np.ones((6, 2), dtype=int)}, r"^points: expected a floating dtype"),
        ({"labels": np.zeros(6, int)}, r"^labels: needs at least 2 classes"),
        ({"labels": np.array([0, 0, 0, 0, 0, 1])}, r"^labels: every class needs at least 2 rows, class 1 has 1"),
        ({"labels": np.zeros(5, int)}, r"^labels: expected integers of shape \(6,\)"),
        ({"batch_size": 1}, r"^batch_size: must be a whole number of at least 2"),
        ({"batch_size": 7}, r"^batch_size: must be a whole number in \[2, 6\]"),
        ({"batch_size": 2.5}, r"^batch_size: must be a whole number"),
        ({"batches": "all"}, r"^batches: must be one of uniform, balanced, pairs"),
        ({"batches": "balanced", "batch_size": 3}, r"^batch_size: balanced batches of 2 classes"),
        ({"batches": "pairs"}, r"^labels: pairs are classes of 2 rows, class 0 has 3"),
        ({"batches": "pairs", "labels": np.array([0, 0, 1, 1, 2, 2]), "batch_size": 3},
         r"^batch_size: batches of pairs"),
        ({"batches": "pairs", "labels": np.array([0, 0, 1, 1, 2, 2]), "weight": Weight("relu", power=0.5)},
         r"^power: must lie in \[1, 100\]"),
        ({"weight": "relu"}, r"^weight: expected a Weight, got str"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change, message):
    accepted = {"points": np.random.default_rng(0).standard_normal((6, 2)), "labels": np.array([0, 0, 0, 1, 1, 1]),
                "batch_size": 4, "weight": Weight("relu", threshold=0.1)}  # fmt: skip
    expected_sharpness(**accepted)
    with pytest.raises(ValueError, match=message):
        expected_sharpness(**{**accepted, **change})


def test_bad_new_rows_are_named():
    points, labels = pool(0)
    for new, message in (
        ((points[:2, :2], [0, 1]), "expected points of 3 dimensions"), ((points[:2], [0, 9]), "must be among labels"),
        ((points[:2], [0]), "expected 2 labels"), ((np.full((1, 3), np.inf), [0]), "contains NaN or inf"),
        (points, "expected a pair"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=rf"^new_rows: .*{message}"):
            batch_laws(points, labels, [3], [Weight("relu")], new_rows=new)
    with pytest.raises(ValueError, match=r"^batch_sizes"):
        batch_laws(points, labels, [], [Weight("relu")])
    with pytest.raises(ValueError, match=r"^weights"):
        batch_laws(points, labels, [3], [])
