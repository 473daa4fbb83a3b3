"""The parts of the denoising bound (theory.md 2c), each on its own: weights, own noise, operator norm, and how delta is
shared out among them.

The tails are read back from ``residual_noise``: one block with mixing 1 keeps none of a point's own noise, and a
weak mixing little else, so that either can be solved for.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import chi

from tests import reference
from tests.reference_sphere import uniform_points
from theory.denoising import residual_limit, residual_noise

pytestmark = pytest.mark.theorems
DELTA = 0.5


def averaged_part(dim, size, kappa, mixing, depth):
    """sqrt(g) (1 - q)(1 + sqrt(M/D) + t) by hand, without t: its factor and the rest."""
    factor = (1 - (1 - mixing) ** depth) / np.sqrt(1 + (size - 2) * kappa)
    return factor, factor * (1 + np.sqrt(size / dim))


def norm_tail(dim, size, clusters, kappa=0.5, delta=DELTA):
    """t of the operator norm, from one block that keeps no own noise."""
    factor, rest = averaged_part(dim, size, kappa, 1.0, 1)
    return (residual_noise(1.0, dim, size, size, clusters, kappa, 1, delta, mixing=1.0) - rest) / factor


def own_tail(dim, size, clusters, kappa=0.5, delta=DELTA, mixing=0.3, depth=3):
    """t of the own noise, where the bound that keeps it apart is the smaller one."""
    factor, rest = averaged_part(dim, size, kappa, mixing, depth)
    q = (1 - mixing) ** depth
    tail = norm_tail(dim, size, clusters, kappa, delta)
    eta = residual_noise(1.0, dim, size, size, clusters, kappa, depth, delta, mixing)
    assert eta < (q + factor) * (1 + np.sqrt(size / dim) + tail) * (1 - 1e-9), "the other bound is the smaller one"
    return (eta - rest - factor * tail) / q - 1


@pytest.mark.parametrize("dim", [1, 3, 40])
@pytest.mark.parametrize(("size", "clusters"), [(60, 1), (200, 3), (5000, 7)])
@pytest.mark.parametrize("delta", [0.5, 0.05, 1e-6])
def test_the_union_bound_spends_delta(dim, size, clusters, delta):
    """exp(-D t^2/2) is Gaussian concentration of a 1-Lipschitz function: K norms and K M own noises, half of delta
    each."""
    norms = clusters * np.exp(-dim * norm_tail(dim, size, clusters, delta=delta) ** 2 / 2)
    owns = clusters * size * np.exp(-dim * own_tail(dim, size, clusters, delta=delta) ** 2 / 2)
    assert norms == pytest.approx(delta / 2, rel=1e-6)
    assert owns == pytest.approx(delta / 2, rel=1e-6)


@given(
    st.integers(1, 10**6), st.integers(2, 10**6), st.integers(1, 10**6), st.floats(1e-12, 0.999), st.floats(0.01, 0.99)
)
def test_the_bound_that_keeps_own_noise_apart_is_always_the_smaller_one(dim, size, clusters, delta, mixing):
    """sqrt(a + 2 ln M) <= sqrt(a) + sqrt(2 ln M), and 2 ln M < M: one norm for all costs more than every own noise."""
    factor, rest = averaged_part(dim, size, 0.5, mixing, 2)
    norms, owns = (np.sqrt(2 * np.log(2 * clusters * ways / delta) / dim) for ways in (1, size))
    apart = (1 - mixing) ** 2 * (1 + owns) + rest + factor * norms
    assert residual_noise(1.0, dim, size, size, clusters, 0.5, 2, delta, mixing) == pytest.approx(apart, rel=1e-12)


@pytest.mark.parametrize(("dim", "size", "clusters"), [(1, 1000, 2), (2, 3000, 1), (3, 5000, 4), (30, 20_000, 3)])
def test_the_largest_own_noise_stays_below_its_tail(dim, size, clusters):
    """|e_i| sqrt(D)/sigma is chi_D: the largest of n exactly, and from draws."""
    limit = np.sqrt(dim) * (1 + own_tail(dim, size, clusters))
    assert -np.expm1(clusters * size * chi.logcdf(limit, dim)) <= DELTA / 2
    largest = np.linalg.norm(np.random.default_rng(dim).standard_normal((200, 500, dim)), axis=2).max(axis=1)
    assert (largest > np.sqrt(dim) * (1 + own_tail(dim, 500, 1))).mean() <= DELTA / 2 + 4.5 * np.sqrt(0.25 * 0.75 / 200)
    # A planted violation: the tail of the cluster's norms, 2K for 2KM, is passed by one of the points nearly always.
    planted = np.sqrt(dim) * (1 + norm_tail(dim, size, clusters))
    assert -np.expm1(clusters * size * chi.logcdf(planted, dim)) > DELTA


@pytest.mark.parametrize(("dim", "size"), [(1, 2), (1, 9), (2, 2), (2, 30), (5, 5), (20, 3), (16, 64)])
def test_operator_norms_stay_below_their_tail(dim, size):
    """Davidson-Szarek, of 4 clusters at once: the largest of their norms."""
    limit = np.sqrt(dim) * (1 + np.sqrt(size / dim) + norm_tail(dim, size, 4))
    noise = np.random.default_rng([dim, size]).standard_normal((500, 4, size, dim))
    passed = (np.linalg.norm(noise, ord=2, axis=(2, 3)).max(axis=1) > limit).mean()
    assert passed <= DELTA / 2 + 4.5 * np.sqrt(0.25 * 0.75 / 500)


def test_a_million_norms_stay_below_their_tail():
    """In one dimension the norm of a cluster is chi_M, exactly; without K in the tail one of a million is above it."""
    size, clusters = 2, 10**6
    limit = 1 + np.sqrt(size) + norm_tail(1, size, clusters)
    assert -np.expm1(clusters * chi.logcdf(limit, size)) <= DELTA / 2
    planted = 1 + np.sqrt(size) + norm_tail(1, size, 1)
    assert -np.expm1(clusters * chi.logcdf(planted, size)) > DELTA


# --- weights ----------------------------------------------------------------------------------------------------------


def fused_weights(points, threshold, mixing, depth):
    """Q_L and kappa_0 of blocks of thresholded attention over one cluster, by the reference's loops."""
    weights = np.eye(len(points))
    alpha = min(reference.extremes(points, [0] * len(points))[0])
    for _ in range(depth):
        block = (1 - mixing) * np.eye(len(points)) + mixing * reference.affinity(weights @ points, threshold)
        weights = block @ weights
    return weights, (alpha - threshold) / (1 - threshold)


@settings(max_examples=40)
@given(st.integers(2, 7), st.floats(0.05, 1.0), st.integers(1, 4), st.floats(0.0, 0.9), st.integers(0, 2**16))
def test_entries_and_rows_of_the_weights(size, mixing, depth, share, seed):
    """Entries of R = Q_L - (1 - lambda)^L I are in [0, g (1 - q)], its rows sum to 1 - q, |R_i| <= sqrt(g)(1 - q)."""
    rng = np.random.default_rng(seed)
    points = uniform_points(rng, size, 4) * 0.8 + np.eye(4)[0]
    alpha = min(reference.extremes(points, [0] * size)[0])
    weights, kappa = fused_weights(points, share * max(alpha, 0.0), mixing, depth)
    assume(alpha > 0)
    q, g = (1 - mixing) ** depth, 1 / (1 + (size - 2) * kappa)
    rest = weights - q * np.eye(size)
    assert rest.min() >= -1e-12
    assert rest.max() <= g * (1 - q) + 1e-12
    assert np.allclose(rest.sum(axis=1), 1 - q, atol=1e-12)
    assert np.linalg.norm(rest, axis=1).max() <= np.sqrt(g) * (1 - q) + 1e-12
    # The same g and q are in the bound: a vast space leaves of the norm 1, and of both tails nothing.
    bound = residual_noise(1.0, 10**15, size, size, 1, kappa, depth, 0.5, mixing)
    assert bound == pytest.approx(q + np.sqrt(g) * (1 - q), abs=1e-6)
    assert np.linalg.norm(weights, axis=1).max() <= bound + 1e-6


def test_the_entries_reach_their_bound():
    """Equal points weigh each other evenly, 1/(m - 1) = g, and one full block has rows of norm sqrt(g)."""
    for size in (2, 5, 9):
        weights, kappa = fused_weights(np.ones((size, 3)), 0.0, 1.0, 1)
        assert kappa == pytest.approx(1.0)
        by_hand = 1 / np.sqrt(size - 1)
        assert np.linalg.norm(weights, axis=1) == pytest.approx(by_hand)
        assert residual_noise(1.0, 10**15, size, size, 1, 1.0, 1, 0.5, 1.0) == pytest.approx(by_hand, abs=1e-6)
    # One close neighbour among far ones takes all of g.
    cosines = np.full((5, 5), 0.4) + 0.6 * np.eye(5)
    cosines[0, 1] = cosines[1, 0] = 1.0 - 1e-9
    weights, kappa = fused_weights(np.linalg.cholesky(cosines + 1e-12 * np.eye(5)), 0.1, 1.0, 1)
    assert weights.max() == pytest.approx(1 / (1 + 3 * kappa), rel=1e-6)


@pytest.mark.parametrize(("size", "dim", "mixing", "depth"), [(4, 3, 0.5, 2), (6, 2, 1.0, 1), (3, 5, 0.25, 3)])
def test_fused_noise_is_below_the_parts_of_the_bound(size, dim, mixing, depth):
    """Weights made from the very noise that they fuse: |sum_j R_ij e_j| <= |R_i| |E|_op, point by point."""
    rng, counted = np.random.default_rng([size, dim]), 0
    for _ in range(60):
        noise = rng.standard_normal((size, dim + 1)) * 0.3 / np.sqrt(dim + 1)
        points = np.eye(dim + 1)[0] + noise
        weights, kappa = fused_weights(points, 0.1, mixing, depth)
        if kappa <= 0:
            continue
        counted += 1
        q, norm = (1 - mixing) ** depth, np.linalg.norm(noise, ord=2)
        averaged = np.sqrt(1 / (1 + (size - 2) * kappa)) * (1 - q) * norm
        fused = np.linalg.norm((weights - q * np.eye(size)) @ noise, axis=1)
        assert (fused <= averaged + 1e-12).all()
        own = q * np.linalg.norm(noise, axis=1)
        assert (np.linalg.norm(weights @ noise, axis=1) <= own + averaged + 1e-12).all()
    assert counted > 30


def test_sizes_enter_where_they_hurt():
    """Unequal clusters: the smallest for the weights, the largest for the norm and for the number of points."""
    for mixing, depth in ((1.0, 1), (0.3, 3)):
        q = (1 - mixing) ** depth
        factor = (1 - q) / np.sqrt(1 + 3 * 0.5)
        tail, own = (np.sqrt(2 * np.log(ways / 0.05) / 7) for ways in (2 * 3, 2 * 3 * 900))
        norm = 1 + np.sqrt(900 / 7) + tail
        by_hand = 0.4 * min((q + factor) * norm, q * (1 + own) + factor * norm)
        assert residual_noise(0.4, 7, 5, 900, 3, 0.5, depth, 0.05, mixing) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(("within", "size", "degrees"), [(0.9, 2, 30.0), (0.5, 8, 10.0), (0.2, 100, 60.0)])
def test_noise_at_its_limit_turns_the_shortest_fused_point_by_the_angle(within, size, degrees):
    """The shortest convex combination of points with equal cosines is their mean; noise across it turns it by
    arctan of their ratio at most, and noise at the worst slant by arcsin."""
    gram = np.full((size, size), within) + (1.0 - within) * np.eye(size)
    shortest = np.sqrt(gram.mean())
    limit = residual_limit(np.radians(degrees), within, size)
    slants = np.linspace(0.0, np.pi, 100_001)
    turned = np.arctan2(limit * np.sin(slants), shortest - limit * np.cos(slants))
    assert np.degrees(turned.max()) == pytest.approx(degrees, rel=1e-6)
