"""Theorem 2e: thresholds that no layer's cross cosines pass, whatever the noise."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from models.stack import AttentionStack
from tests.strategies import labels_of
from theory.batches.trajectory import Trajectory
from theory.depth_threshold import (
    check_depth_threshold,
    conditional_tail,
    cross_pairs,
    depth_threshold,
    false_edge_cell,
    spherical_tail,
    tail_constant,
)
from theory.judging.rates import judge_rates
from theory.judging.verdicts import Status

pytestmark = pytest.mark.theorems


def in_subspaces(rng, trials, clusters, size, dim, ambient, overlap=0.0):
    """Unit points uniform on subspaces: orthogonal, or with all principal cosines ``overlap``."""
    points = rng.standard_normal((trials, clusters, size, dim))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    placed = np.zeros((trials, clusters, size, ambient))
    for k in range(clusters):
        own = slice((k + 1) * dim, (k + 2) * dim) if overlap else slice(k * dim, (k + 1) * dim)
        placed[:, k, :, own] = np.sqrt(1.0 - overlap) * points[:, k]
        if overlap:
            placed[:, k, :, :dim] = np.sqrt(overlap) * points[:, k]
    return placed.reshape(trials, clusters * size, ambient)


# --- the tail ---------------------------------------------------------------------------------------------------------


def test_the_spherical_tail_in_low_dimensions():
    """Two points; a circle; Archimedes' hat box; and S^3."""
    x = np.array([-2.0, -0.7, 0.0, 0.3, 0.999, 1.0])
    inside = np.clip(x, -1.0, 1.0)
    np.testing.assert_array_equal(spherical_tail(1, x), [1.0, 0.5, 0.5, 0.5, 0.5, 0.0])
    np.testing.assert_allclose(spherical_tail(2, x), np.arccos(inside) / np.pi, atol=1e-14)
    np.testing.assert_allclose(spherical_tail(3, x), (1.0 - inside) / 2.0, atol=1e-14)
    by_hand = (np.arccos(inside) - inside * np.sqrt(1.0 - inside**2)) / np.pi
    np.testing.assert_allclose(spherical_tail(4, x), by_hand, atol=1e-14)


def tail_of_alignments(dim, c_i, c_j, share, t, nodes=1200):
    """P(cos > t) by quadrature: cos = c_i b E + a sqrt(c_j^2 + share b^2 (1 - E^2)) T with a, b the sines of the
    alignments, E and T coordinates on S^{dim-1}; ``share`` of a free direction lies outside the other subspace."""
    angles = (np.arange(nodes) + 0.5) * np.pi / nodes
    weights = np.sin(angles) ** (dim - 2)
    a, b, e = np.sqrt(1 - c_i**2), np.sqrt(1 - c_j**2), np.cos(angles)
    spread = a * np.sqrt(c_j**2 + share * b**2 * (1 - e**2))
    rest = (t - c_i * b * e) / np.maximum(spread, 1e-300)
    return (weights * spherical_tail(dim, np.clip(rest, -2.0, 2.0))).sum() / weights.sum()


@pytest.mark.parametrize("dim", [3, 4, 7, 20, 61])
def test_alignment_never_makes_a_cross_cosine_more_likely_than_a_free_direction(dim):
    """theory.md 2e proves at most C_d(t) times the spherical tail; the truth needs no constant. Without alignment, and
    in one of the two cases of the proof (c >= t), the constant is 1."""
    for t in (0.1, 0.3, 0.5, 0.8):
        free, constant = float(spherical_tail(dim, t)), float(tail_constant(dim, t))
        worst = max(
            tail_of_alignments(dim, c_i, c_j, share, t)
            for c_i in np.linspace(0.0, 0.95, 8)
            for c_j in np.linspace(0.0, 1.0, 8)
            for share in (0.0, 0.3, 1.0)
        )
        assert worst <= free * (1 + 1e-9) < free * constant
        mills = 1 + (1 - t**2) / ((dim - 1) * t**2)
        upper, lower = (quad(lambda x, n=n: np.sin(x) ** n, 0, np.pi)[0] for n in (dim - 3, dim - 2))
        ratio = upper / lower
        assert constant == pytest.approx(mills * ratio / np.sqrt(1 - t**2), rel=1e-6)


@pytest.mark.parametrize(
    ("overlap", "c_i", "c_j"), [(0.0, 0.0, 0.0), (0.0, 0.6, 0.3), (0.5, 0.7, 0.7), (0.5, 0.9, 0.0)]
)
def test_tokens_of_given_alignment_stay_below_the_conditional_tail(overlap, c_i, c_j):
    """Free directions are drawn in full, from both subspaces' own complements; worst own parts."""
    rng, dim, ambient, trials = np.random.default_rng(7), 2, 9, 200_000
    bases = in_subspaces(rng, 1, 2, 1, dim, ambient, overlap)[0]
    frames = np.zeros((2, ambient, dim))
    for k in range(2):
        own = slice((k + 1) * dim, (k + 2) * dim) if overlap else slice(k * dim, (k + 1) * dim)
        frames[k, own] = np.sqrt(1 - overlap) * np.eye(dim)
        if overlap:
            frames[k, :dim] = np.sqrt(overlap) * np.eye(dim)
    assert np.linalg.norm(bases[0] - frames[0] @ (frames[0].T @ bases[0])) < 1e-12
    tokens = []
    for frame, c in zip(frames, (c_i, c_j)):
        free = rng.standard_normal((trials, ambient))
        free -= free @ frame @ frame.T
        free /= np.linalg.norm(free, axis=-1, keepdims=True)
        tokens.append(c * frame[:, 0] + np.sqrt(1 - c**2) * free)
    cosines = (tokens[0] * tokens[1]).sum(-1)
    for t in (0.2, 0.4, 0.6):
        seen = (cosines > overlap * c_i * c_j + t).mean()
        bound = float(conditional_tail(ambient, dim, t, c_i, c_j, overlap))
        assert seen <= bound + 3 * np.sqrt(bound / trials)
        assert bound <= np.exp(-7 * t**2 / 2 / (1 - c_i**2 * c_j**2)) * (1 + 1e-12)
    if c_i == c_j == 0.0:
        # The spherical tail is that of one free direction against a fixed one.
        assert float(conditional_tail(ambient, dim, 0.6, 1.0, 0.0)) < np.exp(-7 * 0.18)


# --- the threshold ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ambient", "dim"), [(16, 3), (64, 8), (256, 8), (4096, 8)])
def test_the_threshold_spends_exactly_its_budget(ambient, dim):
    """(L + 1) N tails add up to delta; the spherical tail is a tenth and more below the exponential one."""
    free = ambient - dim
    for pairs, depth, delta in ((12, 0, 0.05), (500, 3, 0.01), (10**6, 12, 1e-4)):
        tau = depth_threshold(ambient, dim, pairs, depth, delta)
        spent = float(tail_constant(free, tau) * spherical_tail(free, tau)) * (depth + 1) * pairs
        assert spent == pytest.approx(delta, rel=1e-4)
        assert spent <= delta
        exponential = np.sqrt(2 * np.log((depth + 1) * pairs / delta) / free)
        assert tau < 0.95 * exponential
        # Far out on a large sphere the tail is nearly normal: no threshold can be much below the normal quantile.
        if ambient == 4096:
            assert tau == pytest.approx(norm.isf(delta / ((depth + 1) * pairs)) / np.sqrt(free), rel=0.02)


def test_oblique_subspaces_add_in_squares():
    """kappa c + T sqrt(1 - c^2), the threshold at alignments of product c, is largest at sqrt(kappa^2 + T^2)."""
    pairs, depth, delta = 300, 4, 0.05
    for overlap in (0.1, 0.5):
        tau = depth_threshold(256, 8, pairs, depth, delta, overlap)
        excess = np.sqrt(2 * np.log(5 * pairs / delta) / 248)
        product = np.linspace(0.0, 1.0, 2001)
        assert tau == pytest.approx((overlap * product + excess * np.sqrt(1 - product**2)).max(), rel=1e-6)
        c = np.sqrt(product[:-1])
        worst = conditional_tail(256, 8, np.clip(tau - overlap * c * c, 1e-9, 1 - 1e-9), c, c, overlap).max()
        assert worst == pytest.approx(delta / (5 * pairs), rel=1e-3)


def test_thresholds_order_as_theory_says():
    base = (64, 3, 100, 4, 0.05)
    tau = depth_threshold(*base)
    assert depth_threshold(65, 3, 100, 4, 0.05) < tau < depth_threshold(64, 4, 100, 4, 0.05)
    assert depth_threshold(64, 3, 99, 4, 0.05) < tau < depth_threshold(64, 3, 100, 5, 0.05)
    assert depth_threshold(64, 3, 100, 4, 0.06) < tau < depth_threshold(*base, 0.2)
    # The signless output counts the last layer twice.
    assert depth_threshold(*base, squared=True) == depth_threshold(64, 3, 100, 5, 0.05)
    # The product of layers and pairs is all that counts.
    assert depth_threshold(64, 3, 125, 3, 0.05) == pytest.approx(tau, rel=1e-12)


def test_no_threshold_below_one_means_none():
    assert depth_threshold(4, 2, 10, 3, 0.05) is None, "two free dimensions: no spherical tail"
    assert depth_threshold(64, 3, 10**290, 3, 0.05) is None
    assert depth_threshold(64, 3, 500, 3, 0.05, 0.95) is None
    assert 0.9 < depth_threshold(8, 2, 10**4, 3, 1e-3) < 1.0, "sqrt(2 ln(..)/d) is above 1, the spherical tail below"


def test_cross_pairs_are_counted():
    assert cross_pairs(3, 5) == 75
    assert cross_pairs(3, (2, 3, 4)) == 6 + 8 + 12


# --- whole stacks -----------------------------------------------------------------------------------------------------


def masked_layer(points, threshold, mixing):
    """One block on one cluster by itself; a row without a neighbour keeps its token."""
    unit = points / np.linalg.norm(points, axis=-1, keepdims=True)
    weights = np.maximum(unit @ unit.T - threshold, 0.0)
    np.fill_diagonal(weights, 0.0)
    mass = weights.sum(-1, keepdims=True)
    return np.where(mass > 0, (1 - mixing) * points + mixing * weights @ points / np.where(mass > 0, mass, 1), points)


def test_a_cluster_by_itself_turns_with_its_complement():
    """The step of the proof that covers every layer at once: rotating S_k's complement rotates the tokens' free parts
    and leaves own parts and Gram matrices alone."""
    rng = np.random.default_rng(1)
    points = in_subspaces(rng, 1, 1, 8, 3, 12)[0] + 0.3 * rng.standard_normal((8, 12))
    turn = np.eye(12)
    turn[3:, 3:] = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    turned = points @ turn.T
    isolated = 0
    for _ in range(5):
        unit = points / np.linalg.norm(points, axis=-1, keepdims=True)
        isolated += int((((unit @ unit.T) > 0.6).sum(-1) == 1).sum())
        points, turned = masked_layer(points, 0.6, 0.7), masked_layer(turned, 0.6, 0.7)
        np.testing.assert_allclose(turned, points @ turn.T, atol=1e-12)
        np.testing.assert_allclose(turned[:, :3], points[:, :3], atol=1e-12)
    assert isolated > 0


STACKS = [  # ambient, dim, clusters, size, overlap, noise, options
    (24, 2, 3, 5, 0.0, 0.3, {"mixing": 0.5}),
    (24, 2, 3, 5, 0.0, 3.0, {"mixing": 1.0, "power": 2.0}),
    (48, 3, 2, 7, 0.0, 30.0, {"mixing": 0.8, "normalize": "every"}),
    (48, 3, 2, 7, 0.3, 1.0, {"mixing": 0.5, "normalize": "input"}),
]


def measured(case, trials, seed, depth=5, anisotropic=False, threshold=None):
    """Layers of noisy batches at tau_L, and tau_L."""
    ambient, dim, clusters, size, overlap, noise, options = case
    rng = np.random.default_rng(seed)
    points = in_subspaces(rng, trials, clusters, size, dim, ambient, overlap)
    spread = rng.standard_normal(points.shape) * noise / np.sqrt(ambient)
    if anisotropic:
        spread = np.eye(ambient)[-1] * noise
    tau = depth_threshold(ambient, dim, cross_pairs(clusters, size), depth, 0.05, overlap)
    stack = AttentionStack(depth, tau if threshold is None else threshold, **options)
    return stack.measure(torch.from_numpy(points + spread), labels_of((size,) * clusters)), tau


def test_no_layer_has_a_false_edge_whatever_the_noise():
    cells, verdicts = [], []
    for number, case in enumerate(STACKS):
        layers, tau = measured(case, 150, number)
        verdicts.append(check_depth_threshold(layers, tau, tau))
        cells.append(false_edge_cell(layers, tau, tau, f"case {number}", "all"))
    assert {v.status for v in verdicts} == {Status.HOLDS}
    assert sum(cell.failures for cell in cells) <= 3
    verdict = judge_rates("Theorem 2e", cells, 0.05)
    assert verdict.status is Status.HOLDS, str(verdict)


def test_noise_of_one_direction_is_no_such_noise():
    """Killed: the theorem for any noise. All points pushed the same way come together across clusters."""
    layers, tau = measured(STACKS[1], 60, 0, anisotropic=True)
    cell = false_edge_cell(layers, tau, tau, "one direction", "all")
    assert cell.failures == cell.trials == 60
    assert judge_rates("killed", [cell], 0.05).status is Status.VIOLATED


def test_a_threshold_that_is_too_low_is_noticed_and_not_spoken_of():
    """With the ambient dimension in place of the complement's, and two pairs for all of them, edges leak."""
    layers, tau = measured(STACKS[2], 150, 3, threshold=0.5 * depth_threshold(48, 3, 49, 5, 0.05))
    low = 0.5 * tau
    assert check_depth_threshold(layers, low, tau).status is Status.NOT_APPLICABLE
    assert false_edge_cell(layers, low, tau, "low").counted == 0
    wrong = false_edge_cell(layers, low, low, "low", "all")
    assert judge_rates("planted", [wrong], 0.05).status is Status.VIOLATED


def path(sharpness_error, false_edges, beta=0.2):
    shape = np.shape(false_edges)
    ones, zeros = np.ones(shape), np.zeros(shape, dtype=np.int64)
    error, edges = np.array(sharpness_error), np.array(false_edges)
    return Trajectory(ones, np.full(shape, beta), ones, ones, error, edges, zeros + 1, zeros, ones)


def test_planted_violations_are_caught():
    quiet = np.zeros((3, 2), dtype=np.int64)
    leak = np.array([[0.0, 0.0], [0.0, 1e-6], [0.0, 0.0]])
    assert check_depth_threshold(path(leak * 0, quiet), 0.5, 0.4).status is Status.HOLDS
    verdict = check_depth_threshold(path(leak, quiet), 0.5, 0.4)
    assert (verdict.status, verdict.where) == (Status.VIOLATED, 1)
    # Mass that leaks where there is a false edge, or behind one, is what the promise in probability is about.
    edges = np.array([[0, 0], [0, 2], [0, 0]])
    assert check_depth_threshold(path(leak, edges), 0.5, 0.4).status is Status.HOLDS
    cell = false_edge_cell(path(leak, edges), 0.5, 0.4, "a")
    assert (cell.failures, cell.counted, cell.trials) == (1, 2, 2)
    late = np.array([[0, 0], [0, 0], [0, 2]])
    assert check_depth_threshold(path(leak, late), 0.5, 0.4).status is Status.VIOLATED, (
        "it leaked before it had an edge"
    )
    # A cross cosine above the threshold without an edge: the stack did not do as it says.
    assert check_depth_threshold(path(leak * 0, quiet, 0.6), 0.5, 0.4).status is Status.VIOLATED
    assert check_depth_threshold(path(leak, quiet), np.array([0.5, 0.3]), 0.4).status is Status.HOLDS, "trial 1 is out"
    for needed, mapped in ((None, False), (0.4, True)):
        assert check_depth_threshold(path(leak, quiet), 0.5, needed, mapped=mapped).status is Status.NOT_APPLICABLE
        assert false_edge_cell(path(leak, edges), 0.5, needed, "a", mapped=mapped).counted == 0


@pytest.mark.parametrize(
    ("call", "name"),
    [(lambda: depth_threshold(8, 8, 10, 3, 0.05), "subspace_dim"),
     (lambda: depth_threshold(8, 2, 0, 3, 0.05), "num_cross"), (lambda: depth_threshold(8, 2, 10, -1, 0.05), "depth"),
     (lambda: depth_threshold(8, 2, 10, 3, 1.0), "delta"), (lambda: tail_constant(2, 0.5), "complement"),
     (lambda: depth_threshold(8, 2, 10, 3, 0.05, 1.0), "max_between_cos"),
     (lambda: conditional_tail(8, 2, 1.0, 0.1, 0.1), "excess"),
     (lambda: conditional_tail(8, 2, 0.5, 1.1, 0.1), "alignment_i"),
     (lambda: check_depth_threshold(path(np.zeros((1, 1)), np.zeros((1, 1), int)), 1.0, 0.5), "threshold")],
)  # fmt: skip
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
