"""The steps by which histograms bracket sums over rows, each by itself, and rows of many strata."""

import numpy as np
import pytest

from theory.lemmas import batch_weights, cosine_bins
from theory.lemmas.batch_weights import BatchKind, Weight
from theory.lemmas.binned_rows import Edges, RowBins
from theory.lemmas.drawn_rows import missing_all, row_sides
from theory.numerics.laplace_rule import LaplaceRule

WEIGHTS = (
    Weight("relu", threshold=0.1), Weight("relu", threshold=0.123, power=2.0), Weight("relu", threshold=0.1, power=0.5),
    Weight("exponential", inverse_temperature=6.0),
)  # fmt: skip


def histogram(cosines, number, reach):
    """One row, one group; true cosines are anywhere within reach of where they were placed."""
    scaled = (cosines + 1.0) * number / 2.0
    cells = np.minimum(scaled.astype(int), number - 1)
    counts = np.bincount(cells, minlength=number).astype(float)
    places = np.bincount(cells, weights=scaled - cells, minlength=number)
    return RowBins(counts[None, None], places[None, None], reach)


@pytest.mark.parametrize("weight", WEIGHTS, ids=str)
@pytest.mark.parametrize("reach", [0.0, 1e-3])
def test_sums_over_rows_lie_between_sums_over_edges(weight, reach):
    """Of h, of exp(-t h) and of h/(b h + X): every side that bounds are made of, cosines moved within their reach."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        placed = np.clip(rng.normal(0.1, 0.3, 40), -0.99, 0.99)
        true = placed + reach * rng.uniform(-1.0, 1.0, 40)
        h = weight.value(true)
        edges = Edges.of(weight, histogram(placed, 32, reach), np.array([[(h > 0).sum()]]))
        low, high, numerator, concave = (part[0, 0] for part in (edges.low, edges.high, edges.numerator, edges.concave))
        assert low @ edges.low_values <= h.sum() * (1 + 1e-12) + 1e-12
        assert high @ edges.high_values >= h.sum() * (1 - 1e-12)
        idle = 40 - low.sum()
        for t in 10.0 ** np.arange(-2.0, 3.0):
            assert idle + low @ np.exp(-t * edges.low_values) >= np.exp(-t * h).sum() * (1 - 1e-12)
        used = h[h > 0]
        for x in (0.0, 1e-3, 0.1, 3.0):
            for times in (1, 3):
                values = edges.high_values
                share = np.where(values > 0, values, 0.0) / np.where(values > 0, times * values + x, 1.0)
                assert numerator @ share >= (used / (times * used + x)).sum() * (1 - 1e-12)
            if x:
                raised = weight.value(placed + reach)
                assert concave @ (edges.high_values / (2.0 * edges.high_values + x)) <= (
                    raised / (2.0 * raised + x)
                ).sum() * (1 + 1e-12)


def test_the_chord_of_a_share():
    """(1 - eta) f <= chord <= f, and eta is attained at X = h = sqrt(lo hi)."""
    for low, high in ((1.0, 1.05), (0.2, 0.9), (1e-3, 1.0)):
        eta = np.tanh(0.25 * np.log(high / low)) ** 2
        h = np.append(np.linspace(low, high, 201), np.sqrt(low * high))
        worst = 0.0
        for x in np.append(10.0 ** np.linspace(-5, 3, 200), np.sqrt(low * high)):
            share = h / (h + x)
            ends = low / (low + x), high / (high + x)
            chord = ends[0] + (h - low) / (high - low) * (ends[1] - ends[0])
            assert np.all(chord <= share * (1 + 1e-12))
            assert np.all(chord >= (1.0 - eta) * share * (1 - 1e-12))
            worst = max(worst, (1.0 - chord / share).max())
        assert worst == pytest.approx(eta, rel=1e-9)


def test_leaving_a_unit_out_of_its_mean():
    """(1+x)^M <= 1 + M x + q x^2 on [-1, y], with equality at y, and for M <= 2 everywhere."""
    for further in (0, 1, 2, 3, 7, 60):
        for size in (2, 5, 400):
            y = 1.0 / (size - 1)
            q = ((1 + y) ** further - 1 - further * y) / y**2 if further > 1 else 0.0
            x = np.linspace(-1.0, y, 501)
            bound = 1 + further * x + q * x**2
            assert np.all((1 + x) ** further <= bound * (1 + 1e-9) + 1e-9)
            assert bound[-1] == pytest.approx((1 + y) ** further)
            if further <= 2:
                np.testing.assert_allclose((1 + x) ** further, bound, atol=1e-9)


def test_hypergeometric_gaps():
    assert missing_all(np.array(10), np.array(3), np.array(2)) == pytest.approx(7 * 6 / (10 * 9))
    assert missing_all(np.array(10), np.array(9), np.array(2)) == 0.0
    assert missing_all(np.array(10), np.array(0), np.array(10)) == 1.0
    assert missing_all(np.array(4), np.array(4), np.array(0)) == 1.0


def test_a_row_without_weights_is_empty():
    none = np.zeros(4)
    assert row_sides(none, none > 1, np.zeros(4, int), np.array([[2], [3]])) == [(0.0, 0.0, 0.0, 0.0, 1.0)] * 2


def test_weights_of_every_size_in_one_row():
    """From 1e-250 to 1: the two sides of two draws meet, as they must."""
    weights = 10.0 ** -np.array([0.0, 3.0, 40.0, 120.0, 250.0])
    own = np.array([False, True, False, True, False])
    ((in_low, in_high, out_low, out_high, empty),) = row_sides(weights, own, np.zeros(5, int), np.array([[2]]))
    assert empty == 0.0
    pairs = [(i, j) for i in range(5) for j in range(i)]
    expected = np.mean([(weights[[i, j]] * own[[i, j]]).sum() / weights[[i, j]].sum() for i, j in pairs])
    assert in_low <= expected <= in_high <= expected + 1e-10
    assert out_low <= 1.0 - expected <= out_high <= 1.0 - expected + 1e-10


def test_bins_are_fine_enough_for_the_coldest_weight():
    for kappa, expected in ((1.0, 1024), (30.0, 2048), (300.0, 16384)):
        weights = [WEIGHTS[0], Weight("exponential", inverse_temperature=kappa)]
        assert cosine_bins.number_of_bins(weights) == expected
        assert kappa * 2 / expected <= 0.05
    assert cosine_bins.number_of_bins([WEIGHTS[0]]) == cosine_bins.FEWEST_BINS


def test_dot_products_stay_within_their_error():
    """In float32, against float64: rows with large components, summed in whatever order the library takes."""
    rng = np.random.default_rng(0)
    for dim in (3, 64, 1000):
        unit = rng.standard_normal((60, dim)) * 10.0 ** rng.uniform(-3, 3, dim)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        single = unit.astype(np.float32)
        error = np.abs((single @ single.T).astype(np.float64) - unit @ unit.T).max()
        assert error <= cosine_bins.dot_error(dim, np.float32)
        assert cosine_bins.dot_error(dim, np.float64) < 1e-9 * cosine_bins.dot_error(dim, np.float32) * 1e3


def test_a_pair_weighs_as_much_as_its_mean_cosine():
    first, second = np.array([0.9, 0.2, -0.5, 0.05]), np.array([0.3, 0.2, -0.9, -0.4])
    for weight in WEIGHTS:
        mean = weight.mean_cosine(first, second)
        np.testing.assert_allclose(weight.value(mean), 0.5 * (weight.value(first) + weight.value(second)), rtol=1e-9)


def test_round_off_is_no_weight():
    """Cosines that are 0 but for rounding weigh nothing: the cut is that of the points' precision."""
    plain = Weight("relu", power=3.0)
    for dtype, cut in (("float64", 1e-10), ("float32", 1e-5)):
        applied = plain.at_precision(dtype)
        assert (applied.threshold, applied.power) == (cut, 3.0)
        assert applied.value(0.5 * cut) == 0.0
    assert WEIGHTS[3].at_precision("float32") is WEIGHTS[3]


def test_units_and_draws_of_each_kind():
    labels = np.array([0, 0, 0, 1, 1, 1])
    for kind, index, member, sizes, draws in (
        ("uniform", labels, True, [5], [[3]]),
        ("uniform", labels, False, [6], [[3]]),
        ("balanced", labels, True, [3, 2], [[2, 1]]),
        ("balanced", labels, False, [3, 3], [[2, 1]]),
        ("pairs", np.array([0, 0, 1, 1, 2, 2]), True, [2], [[1]]),
    ):
        found = BatchKind.of(kind, index, 6, (4,)).units(1, member)
        assert found[0].tolist() == sizes
        assert found[1].tolist() == draws


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "gauss"}, r"^kind: must be one of relu, exponential"),
        ({"kind": "relu", "threshold": 1.0}, r"^threshold: must lie in \[0, 1\)"),
        ({"kind": "relu", "power": 0.0}, r"^power: must lie in \(0, 40\]"),
        ({"kind": "relu", "inverse_temperature": 1.0}, r"^inverse_temperature: is of exponential weights only"),
        ({"kind": "exponential"}, r"^inverse_temperature: must lie in \(0, 300\]"),
        ({"kind": "exponential", "inverse_temperature": 0.0}, r"^inverse_temperature: must lie"),
        ({"kind": "exponential", "inverse_temperature": 1.0, "threshold": 0.5}, r"^threshold: with power, is of relu"),
    ],
)
def test_weights_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        batch_weights.Weight(**arguments)


def test_what_nodes_outside_add_is_counted():
    """A rule cut short on both sides: the upper bound still is one."""
    rule = LaplaceRule(np.exp(0.5 * np.arange(-6, 4)), 0.5, 5e-8)
    h, x = 0.3, np.array([0.0, 2.0, 9.0])
    transform = np.exp(-x[:, None] * rule.nodes).mean(axis=0)
    kernel = rule.kernel(np.array(h))
    high = (kernel * transform).sum() + rule.before(np.array(h)) + transform[-1] * rule.behind(kernel)
    truth = (h / (h + x)).mean()
    assert truth <= high / (1.0 - rule.error)
    assert (kernel * transform).sum() < 0.98 * truth
