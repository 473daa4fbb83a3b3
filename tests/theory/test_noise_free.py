"""Theorem 1: closed forms, bounds and checks."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st

from models.stack import AttentionStack
from synthetic.batches.seeding import trial_generators
from synthetic.batches.union_of_subspaces import equiangular_clusters
from tests.strategies import MIXINGS, labels_of, separate_subspaces
from theory import noise_free as nf
from theory.batches.trajectory import Trajectory
from theory.judging.exact_replay import ExactReplay
from theory.judging.verdicts import Status
from theory.measurements import pair_extremes
from theory.numerics.precision import numerical_threshold
from theory.subspaces import separating_map

pytestmark = pytest.mark.theorems


# --- the equiangular closed form --------------------------------------------------------------------------------------


def propagated_gram(within, between, sizes, layer, mixing):
    """P^l G P^lT in high precision, P written out as a matrix: an independent derivation."""
    labels = labels_of(sizes)
    n = len(labels)
    with mpmath.workdps(40):
        gram = mpmath.matrix(n, n)
        mix = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                same = labels[i] == labels[j]
                gram[i, j] = 1 if i == j else mpmath.mpf(within[labels[i]]) if same else mpmath.mpf(between)
                weight = mpmath.mpf(mixing) / (sizes[labels[i]] - 1)
                mix[i, j] = 1 - mpmath.mpf(mixing) if i == j else weight if same else 0
        for _ in range(layer):
            gram = mix * gram * mix.T
        return [[float(gram[i, j] / mpmath.sqrt(gram[i, i] * gram[j, j])) for j in range(n)] for i in range(n)]


@pytest.mark.parametrize(
    ("within", "between", "sizes", "mixing"),
    [((0.6, 0.6, 0.6), 0.35, (6, 6, 6), 0.5), ((0.9, 0.5), -0.1, (2, 5), 1.0), ((0.7, 0.8, 0.9), 0.2, (4, 3, 2), 0.3)],
)
@pytest.mark.parametrize("layer", [0, 1, 3, 7])
def test_closed_form_is_the_propagated_gram_matrix(within, between, sizes, mixing, layer):
    alpha, beta = nf.equiangular_cosines(within, between, sizes, layer, mixing)
    gram = np.array(propagated_gram(within, between, sizes, layer, mixing))
    first = np.cumsum(sizes) - sizes
    for k, i in enumerate(first):
        assert gram[i, i + 1] == pytest.approx(alpha[k], abs=1e-14)
        for other, j in enumerate(first):
            if other != k:
                assert gram[i, j] == pytest.approx(beta[k, other], abs=1e-14)


def test_closed_form_value_recorded_in_theory():
    alpha, beta = nf.equiangular_cosines(0.6, 0.35, 6, 3, 0.5)
    assert alpha == pytest.approx(0.997547, abs=5e-7)
    assert beta == pytest.approx(0.523927, abs=5e-7)


@pytest.mark.parametrize("mixing", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("position", [0.0, 0.5, 0.99])
@pytest.mark.parametrize(
    ("within", "between", "sizes"),
    [((0.6,) * 3, 0.35, (6, 6, 6)), ((0.5, 0.8), 0.1, (9, 3)), ((0.95, 0.9, 0.7, 0.85), -0.05, (2, 3, 8, 5))],
)
def test_stack_follows_the_closed_form_to_1e_12(within, between, sizes, position, mixing):
    low, high = nf.equiangular_threshold_interval(within, between, sizes)
    threshold = low + position * (high - low) + 1e-9
    points = equiangular_clusters(within, between, sizes, 24, trial_generators(0, 0, range(3), 0))
    _, trace = AttentionStack(8, threshold, mixing).forward(points, return_trace=True)
    labels = labels_of(sizes)
    for layer, tokens in enumerate(trace.points):
        alpha, beta = nf.equiangular_cosines(within, between, sizes, layer, mixing)
        expected = beta[labels][:, labels]
        unit = tokens / tokens.norm(dim=-1, keepdim=True)
        cosines = (unit @ unit.mT).numpy()
        cosines[:, np.arange(len(labels)), np.arange(len(labels))] = alpha[labels]
        np.testing.assert_allclose(cosines, np.broadcast_to(expected, cosines.shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        (0.6, 0.5, 6, 1),  # b >= a nu^2: no threshold
        (1.2, 0.1, 6, 1),
        (0.0, -0.1, 6, 1),
        (0.6, 0.1, 1, 1),
        (0.6, 0.1, 6, -1),
        (0.6, 0.1, 6, 1, 0.0),
        (0.6, np.nan, 6, 1),
    ],
)
def test_closed_form_refuses_what_it_does_not_cover(arguments):
    with pytest.raises(ValueError):
        nf.equiangular_cosines(*arguments)


# --- the rate ---------------------------------------------------------------------------------------------------------


def worst_overlap(kappa, size, mixing):
    """1 - rho by brute force: smallest overlap of two rows of P over random affinities with entries in [kappa, 1]."""
    rng = np.random.default_rng(0)
    smallest = 2.0
    for trial in range(2000):
        affinity = rng.choice([kappa, 1.0], size=(size, size)) if trial % 2 else rng.uniform(kappa, 1.0, (size, size))
        affinity = np.triu(affinity, 1) + np.triu(affinity, 1).T
        mix = (1 - mixing) * np.eye(size) + mixing * affinity / affinity.sum(1, keepdims=True)
        smallest = min(smallest, np.minimum(mix[0], mix[1]).sum())
    return smallest


@pytest.mark.parametrize("size", [2, 3, 6])
@pytest.mark.parametrize("mixing", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("kappa", [0.05, 0.6, 1.0])
def test_contraction_bounds_the_overlap_of_rows(size, mixing, kappa):
    rho = nf.contraction_factor(np.float64(kappa), size, 0.0, mixing)
    assert 1.0 - rho <= worst_overlap(kappa, size, mixing) + 1e-12
    if mixing <= 0.5:
        assert rho == pytest.approx(1 - mixing * kappa * size / (size - 2 + kappa), abs=1e-15)


@pytest.mark.parametrize("size", [2, 3, 6, 40])
@pytest.mark.parametrize("mixing", [0.2, 0.5, 0.8, 1.0])
def test_contraction_is_exact_where_all_weights_are_equal(size, mixing):
    """Coincident neighbours weigh 1/(M - 1) each: x_1 - x_2 becomes (1 - lambda - lambda/(M - 1))(x_1 - x_2)."""
    rho = nf.contraction_factor(np.float64(1.0), size, 0.3, mixing)
    assert rho == pytest.approx(abs(1.0 - mixing - mixing / (size - 1)), abs=1e-14)


def test_contraction_above_one_half_may_be_worst_for_a_small_cluster():
    """mixing = .9: clusters of 2 contract by |1 - 1.8| = .8, clusters of 20 by .05: all sizes count."""
    assert nf.contraction_factor(np.float64(1.0), (20, 2), 0.0, 0.9) == pytest.approx(0.8)
    assert nf.contraction_factor(np.float64(1.0), 20, 0.0, 0.9) == pytest.approx(abs(0.1 - 0.9 / 19))


def test_unequal_sizes_start_from_the_largest():
    """The norm bound is that of the largest cluster wherever it stands; alpha = .5, M = 20: nu^2 = .525."""
    for sizes in ((2, 20), (20, 2)):
        assert nf.spread_bounds(np.array([[0.5]]), sizes)[0, 0] == pytest.approx(0.5 / 0.525, rel=1e-14)
        assert nf.spread_bound(0.5, sizes, 0) == pytest.approx(0.5 / 0.525, rel=1e-14)


def test_alpha_is_compared_with_the_layer_before():
    """A fall that stays above the first layer is a fall."""
    verdict = nf.check_monotone(np.array([[0.5], [0.9], [0.8]]), 0.3, "alpha never decreases")
    assert verdict.status is Status.VIOLATED
    assert verdict.measured == pytest.approx(0.2)
    assert verdict.bound == pytest.approx(0.1)


def test_bounds_by_hand():
    first = nf.spread_bounds(np.array([[0.5], [0.6]]), (20, 2))[:, 0]
    assert first[0] == pytest.approx(0.5 / (0.5 + 0.5 / 20))
    rho = 1 - 0.5 * 0.5 * 20 / 18.5
    assert first[1] == pytest.approx(first[0] * rho**2)
    normalized = nf.spread_bounds(np.array([[0.5], [0.6]]), (20, 2), normalized=True)[:, 0]
    assert normalized == pytest.approx([0.5, rho**2 / (0.5 + 0.5 / 20) * 0.5])
    # The a priori bound uses alpha_1 >= max(alpha_0, 1 - bound_1).
    bound = 0.7 / (0.3 + 0.7 / 7) * (1 - 0.5 * 0.3 * 7 / 5.3) ** 2
    alpha = max(0.3, 1 - bound)
    assert nf.spread_bound(0.3, 7, 2) == pytest.approx(bound * (1 - 0.5 * alpha * 7 / (5 + alpha)) ** 2)


def test_rate_is_attained_by_pairs():
    """Two points contract by exactly 1 - 2 lambda; the norm bound is reached in the limit, so the ratio tends to 1."""
    points = equiangular_clusters(0.3, 0.0, (2, 2), 8, trial_generators(0, 0, range(1), 0))
    labels = labels_of((2, 2))
    trajectory = AttentionStack(6, 0.0, 0.3).measure(torch.from_numpy(points), labels)
    ratio = (1 - trajectory.alpha[:, 0]) / nf.spread_bounds(trajectory.alpha, (2, 2), 0.0, 0.3)[:, 0]
    assert np.all(ratio <= 1 + 1e-9)
    assert ratio[-1] > 0.99
    assert np.all(np.diff(ratio) > 0)


def test_a_priori_bound_holds_and_shrinks():
    points = equiangular_clusters(0.5, 0.1, (7, 3), 12, trial_generators(1, 0, range(1), 0))
    trajectory = AttentionStack(6, 0.3, 0.4).measure(torch.from_numpy(points), labels_of((7, 3)))
    bounds = [nf.spread_bound(0.5, 7, depth, 0.3, 0.4) for depth in range(7)]
    assert np.all(1 - trajectory.alpha[:, 0] <= bounds)
    assert np.all(np.diff(bounds) < 0)
    assert bounds[0] == pytest.approx(0.5 / (0.5 + 0.5 / 7))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((0.3, 5, 3, 0.3), r"within: must lie in \(0.3, 1\]"),
        ((0.3, 5, 3, 1.0), "threshold"),
        ((0.3, 1, 3), "cluster_size"),
        ((0.3, 5, -1), "depth"),
        ((0.3, 5, 3, 0.0, 1.5), "mixing"),
        ((np.nan, 5, 3), "within"),
    ],
)
def test_rate_refuses_what_it_does_not_cover(arguments, names):
    with pytest.raises(ValueError, match=names):
        nf.spread_bound(*arguments)


# --- the theorem, for all batches -------------------------------------------------------------------------------------


@given(separate_subspaces(), MIXINGS, st.floats(0.0, 0.99), st.integers(1, 6), st.booleans())
def test_theorem_1(batch, mixing, position, depth, normalized):
    points, labels, sizes, bases = batch
    matrix, condition = separating_map(bases)
    alpha, _ = pair_extremes(points @ matrix.T, labels)
    threshold = max(position * alpha, 0.0)
    cut = max(threshold, numerical_threshold("float64", condition))
    event("rate applies" if alpha > cut else "separation only")
    stack = AttentionStack(depth, threshold, mixing, query_key_map=torch.from_numpy(matrix), condition=condition,
                           normalize="every" if normalized else "input")  # fmt: skip
    trajectory = stack.measure(torch.from_numpy(points)[None], labels)
    exact = ExactReplay(lambda trial: points, labels, cut, mixing, depth, matrix, normalize=normalized)
    verdict = nf.check_noise_free(trajectory, sizes, cut, mixing, normalized=normalized, exact=exact)
    # Points placed exactly at the threshold's edge may be left undecided, never violated.
    assert verdict.status is not Status.VIOLATED, str(verdict)
    assert trajectory.false_edges.max() == 0


def measured(alpha, **changes):
    """A one-trial trajectory with the given alpha and everything else ideal."""
    alpha = np.asarray(alpha, dtype=float)[:, None]
    ideal = {"beta": np.zeros_like(alpha), "sharpness_min": np.ones_like(alpha), "sharpness_mean": np.ones_like(alpha),
             "sharpness_error": np.zeros_like(alpha), "false_edges": np.zeros(alpha.shape, int),
             "fragments": np.ones(alpha.shape, int), "isolated": np.zeros(alpha.shape, int),
             "axis_product": np.ones_like(alpha)}  # fmt: skip
    return Trajectory(alpha=alpha, **{**ideal, **{k: np.asarray(v)[:, None] for k, v in changes.items()}})


@pytest.mark.parametrize(
    ("trajectory", "threshold", "part"),
    [
        (measured([0.5, 0.6, 0.61]), 0.0, "spread"),
        (measured([0.5, 0.9, 0.89]), 0.499, "alpha never decreases"),
        (measured([0.5, 0.9, 0.999], false_edges=[0, 1, 0]), 0.0, "sharpness 1"),
        (measured([0.5, 0.9, 0.999], sharpness_error=[0.0, 1e-9, 0.0]), 0.0, "sharpness 1"),
    ],
)
def test_check_notices_a_planted_violation(trajectory, threshold, part):
    verdict = nf.check_noise_free(trajectory, (4, 4), threshold, 0.5)
    assert verdict.status is Status.VIOLATED
    assert part in verdict.detail
    assert nf.check_noise_free(measured([0.5, 0.9, 0.999]), (4, 4), 0.0, 0.5).status is Status.HOLDS


def test_the_truncated_output_is_checked_at_the_last_layer():
    late = measured([0.5, 0.9, 0.999], false_edges=[0, 0, 1])
    early = measured([0.5, 0.9, 0.999], false_edges=[1, 0, 0])
    for trajectory, count in ((late, 1), (early, 0)):
        assert trajectory.false_edges[-1, 0] == count
    parts = {}
    original = nf.combine_parts
    try:
        nf.combine_parts = lambda name, verdicts: (
            parts.update({v.statement: v.status for v in verdicts}) or original(name, verdicts)
        )
        nf.check_noise_free(late, (4, 4), 0.0, 0.5)
        assert parts["Theorem 1c: truncated output"] is Status.VIOLATED
        nf.check_noise_free(early, (4, 4), 0.0, 0.5)
        assert parts["Theorem 1c: truncated output"] is Status.HOLDS
    finally:
        nf.combine_parts = original


@given(separate_subspaces(), st.integers(1, 4))
def test_truncated_outputs_stay_inside_clusters(batch, depth):
    """1c for the squared output, with and without signs."""
    points, labels, _, bases = batch
    matrix, condition = separating_map(bases)
    cross = labels[:, None] != labels[None, :]
    for signed in (True, False):
        stack = AttentionStack(depth, 0.0, query_key_map=torch.from_numpy(matrix), condition=condition, signed=signed)
        assert stack(torch.from_numpy(points)).numpy()[cross].max() == 0.0


@pytest.mark.parametrize("exact_alpha", [("0.6", "0.6"), ("0.6", "0.5999999999999999999")])
def test_near_ties_of_alpha_are_settled_exactly(exact_alpha):
    """In float64 alpha stands still; only the replay knows whether it fell."""
    trajectory = measured([0.6, 0.6])
    replay = ExactReplay(lambda trial: np.eye(4), labels_of((2, 2)), 0.5, 0.5, 1)
    with mpmath.workdps(50):
        alpha = np.array([mpmath.mpf(a) for a in exact_alpha], dtype=object)
    replay._done[0] = (alpha, alpha)
    verdict = nf.check_monotone(trajectory.alpha, 0.5, "s", replay)
    assert verdict.status is (Status.HOLDS if exact_alpha[0] == exact_alpha[1] else Status.VIOLATED)


@pytest.mark.parametrize(("excess", "status"), [("-1e-20", Status.HOLDS), ("1e-20", Status.VIOLATED)])
def test_near_ties_of_the_rate_are_settled_exactly(excess, status):
    bound = float(nf.spread_bounds(np.array([[0.6], [0.7]]), (3, 3), 0.0, 0.4)[1, 0])
    replay = ExactReplay(lambda trial: np.eye(6), labels_of((3, 3)), 0.0, 0.4, 1)
    with mpmath.workdps(50):
        first = np.array([mpmath.mpf(0.6), mpmath.mpf(0.7)], dtype=object)
        last = 1 - nf.spread_bounds(first, (3, 3), 0.0, 0.4)[1] - mpmath.mpf(excess)
        replay._done[0] = (np.array([first[0], last], dtype=object), first)
    verdict = nf.check_spread(np.array([[0.6], [1 - bound]]), (3, 3), 0.0, 0.4, exact=replay)
    assert verdict.status is status


def test_a_rate_five_percent_too_strong_is_noticed(monkeypatch):
    points = equiangular_clusters(0.3, 0.0, (2, 2), 8, trial_generators(0, 0, range(1), 0))
    trajectory = AttentionStack(6, 0.0, 0.3).measure(torch.from_numpy(points), labels_of((2, 2)))
    assert nf.check_spread(trajectory.alpha, (2, 2), 1e-10, 0.3).status is Status.HOLDS
    true_bounds = nf.spread_bounds
    monkeypatch.setattr(nf, "spread_bounds", lambda *a, **k: 0.95 * true_bounds(*a, **k))
    assert nf.check_spread(trajectory.alpha, (2, 2), 1e-10, 0.3).status is Status.VIOLATED
