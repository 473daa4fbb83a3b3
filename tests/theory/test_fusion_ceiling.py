"""Theorem 2f: the fusion ceiling, its three events one by one, and batches at it."""

import dataclasses

import numpy as np
import pytest

from tests.strategies import labels_of
from tests.theory.test_restart import layers_of
from theory import fusion_ceiling as fc
from theory.depth_threshold import conditional_tail
from theory.judging.rates import RateCell, judge_rates
from theory.judging.verdicts import Status
from theory.measurements import pair_extremes
from theory.noise_ceiling import gaussian_extremes, gaussian_separation

pytestmark = pytest.mark.theorems

DELTA = 0.05


def clean_clusters(dim, sizes, within, rng, trials):
    """Unit points (trials, n, D) in orthogonal subspaces of dimension dim // K: tight, or cones whose first two points
    stand opposite each other on the rim."""
    labels, room = labels_of(sizes), dim // len(sizes)
    points = np.zeros((trials, len(labels), dim))
    half = np.arccos(within) / 2.0
    for k in range(len(sizes)):
        mine, first = np.flatnonzero(labels == k), k * room
        points[:, mine, first] = 1.0
        if within < 1.0:
            turn = rng.standard_normal((trials, len(mine), room - 1))
            turn /= np.linalg.norm(turn, axis=-1, keepdims=True)
            turn[:, 1] = -turn[:, 0]
            angle = half * rng.random((trials, len(mine), 1)) ** (1.0 / (room - 1))
            angle[:, :2] = half
            points[:, mine, first] = np.cos(angle)[..., 0]
            points[:, mine, first + 1 : first + room] = np.sin(angle) * turn
    return points, labels


def at_noise(sigma, dim, sizes, within, mixing, trials, seed, tau, depth=3):
    """(tokens (depth + 1, trials, n, D), broken (depth + 1, trials), clean points, labels)."""
    rng = np.random.default_rng(seed)
    clean, labels = clean_clusters(dim, sizes, within, rng, trials)
    tokens, broken = layers_of(
        clean + sigma / np.sqrt(dim) * rng.standard_normal(clean.shape), labels, tau, mixing, depth
    )
    return tokens, broken, clean, labels


# dim, sizes, within, mixing, depth, noise: less than a percent below the ceiling.
GEOMETRIES = [
    (64, (16,) * 4, 1.0, 1.0, None, 0.875),
    (128, (24, 24, 16), 1.0, 1.0, None, 1.128),
    (128, (16,) * 3, 0.9, 1.0, None, 0.705),
    (64, (24,) * 3, 1.0, 0.6, 3, 0.843),
]


def test_batches_at_the_ceiling():
    """No more failures than promised; in the first geometry most batches are not separated."""
    cells = []
    for seed, (dim, sizes, within, mixing, depth, sigma) in enumerate(GEOMETRIES):
        failure = fc.fusion_failure(dim, len(sizes), sizes, within, DELTA, sigma, mixing, depth=depth)
        assert 0.8 * DELTA < failure.total <= DELTA
        tau = fc.fusion_threshold(dim, len(sizes), sizes, DELTA, sigma)
        assert tau == failure.threshold
        tokens, broken, _, labels = at_noise(sigma, dim, sizes, within, mixing, 160, seed, tau)
        # The theorem's own event: no false edge at layer 0, complete clusters and none at all from layer 1 on.
        alpha, beta = pair_extremes(tokens[0], labels)
        if seed == 0:
            assert (alpha < beta).mean() > 0.5
        failed = (beta > tau) | broken[1:].any(axis=0)
        cells.append(RateCell(f"geometry {seed}", "recovered from layer 1 on", int(failed.sum()), 160, pool="limit"))
    verdict = judge_rates("Theorem 2f", cells, DELTA)
    assert verdict.status is Status.HOLDS, str(verdict)


def test_the_three_events_imply_recovery():
    """Noise well past the ceiling, where (i) to (iii) fail often: no batch in which all three hold is broken."""
    kept = np.zeros(4, dtype=int)
    for seed, (dim, sizes, within, mixing, sigma) in enumerate(
        [(24, (8, 6), 1.0, 1.0, 0.95), (24, (8, 8, 5), 1.0, 0.6, 0.75), (32, (10, 10), 0.95, 1.0, 0.85)]
    ):
        tau = 0.42
        tokens, broken, clean, labels = at_noise(sigma, dim, sizes, within, mixing, 1500, seed, tau)
        phi = 0.5 * (np.arccos(tau) - np.arccos(within))
        # The distance to a cone is at most that to its points' sum weighted as in the row; its axis will do here.
        axis = np.stack([clean[:, labels == k].mean(axis=1) for k in range(len(sizes))], axis=1)[:, labels]
        cosine = (tokens[1] * axis).sum(-1) / np.linalg.norm(tokens[1], axis=-1) / np.linalg.norm(axis, axis=-1)
        lean = np.arccos(np.clip(cosine, -1.0, 1.0)).max(axis=-1)
        first, second = pair_extremes(tokens[0], labels)[1], pair_extremes(tokens[1], labels)[1]
        reach = np.cos(np.arccos(np.sqrt(within)) * (within < 1.0) + phi)
        events = np.stack([first <= tau, lean <= phi, second <= tau * reach**2])
        held = events.all(axis=0)
        assert not broken[1:, held].any()
        kept += np.array([*(~events).sum(axis=1), held.sum()])
    assert (kept > 100).all(), kept


def test_the_events_fail_no_more_often_than_bounded():
    """At noise where the bounds are of the order of one: (i) exactly, (ii) and (iii) from above."""
    dim, sizes, mixing, sigma, trials = 32, (8,) * 3, 1.0, 0.7, 4000
    failure = fc.fusion_failure(dim, 3, 8, 1.0, 0.6, sigma, mixing)
    assert failure.false_edges == pytest.approx(0.3)
    assert 0.01 < failure.rows < 0.6
    tau = failure.threshold
    assert tau == pytest.approx(gaussian_extremes(dim, 3, 8, 1.0, 0.0, 0.6, sigma)[1], rel=1e-9)
    tokens, _, clean, labels = at_noise(sigma, dim, sizes, 1.0, mixing, trials, 5, tau, depth=1)
    along = (tokens[1] * clean).sum(axis=-1)
    angle = np.arctan2(np.sqrt((tokens[1] ** 2).sum(axis=-1) - along**2), along).max(axis=-1)
    error = 4.0 * np.sqrt(0.25 / trials)
    assert (pair_extremes(tokens[0], labels)[1] > tau).mean() < failure.false_edges + error
    assert (angle > 0.5 * np.arccos(tau)).mean() < failure.rows + error
    capped = pair_extremes(tokens[1], labels)[1] > tau * np.cos(0.5 * np.arccos(tau)) ** 2
    assert capped.mean() < failure.cross + error


def test_the_cross_tail_against_simulation():
    """(iii) with two levels and known laws: angles .3 or .7 with probability .9 and .1, cross cosines above a cap."""
    setting = fc._setting(24, 2, (3, 4), 1.0, DELTA, 1.0, None, None)
    strays, aligned, cap = np.array([[0.1], [0.1]]), np.cos([0.3, 0.7]) ** 2, 0.35
    bound = fc._cross(setting, strays, aligned, cap)
    rng, trials = np.random.default_rng(6), 200_000
    angles = np.where(rng.random((2, trials)) < 0.1, 0.7, 0.3)
    turned = []
    for k in (0, 1):
        v = rng.standard_normal((trials, 24))
        v[:, k] = 0.0
        v *= (np.sin(angles[k]) / np.linalg.norm(v, axis=1))[:, None]
        v[:, k] = np.cos(angles[k])
        turned.append(v)
    rate = ((turned[0] * turned[1]).sum(axis=1) > cap).mean()
    assert 12.0 * rate < bound < 12.0 * 30.0 * rate
    pairs = np.array([[0.9, 0.1]]).T * np.array([[0.9, 0.1]])
    tail = conditional_tail(24, 1, cap, np.cos([[0.3], [0.7]]), np.cos([0.3, 0.7]))
    assert bound == pytest.approx(12.0 * (pairs * tail).sum())
    assert bound <= 12.0 * (pairs * np.exp(-23.0 * cap**2 / (2.0 * (1.0 - aligned[:, None] * aligned)))).sum()
    assert fc._cross(setting, strays, aligned, 0.0) == 1.0, "nothing is known of cosines above 0"


def test_clusters_are_paired_once():
    """Twelve of one size and twelve given as two sizes that are nearly it; tokens of one cluster make no cross pair."""
    equal = fc._setting(64, 3, 10, 1.0, DELTA, 1.0, None, None)
    mixed = fc._setting(64, 3, (10, 10, 10), 1.0, DELTA, 1.0, None, None)
    unequal = fc._setting(64, 3, (9, 10, 11), 1.0, DELTA, 1.0, None, None)
    one = np.array([[0.0]])
    values = [
        fc._cross(s, np.repeat(one, len(s.sizes), axis=0), np.array([0.5, 0.5]), 0.9) for s in (equal, mixed, unequal)
    ]
    tail = np.exp(-63.0 * 0.81 / (2.0 * 0.75))
    assert values == pytest.approx([300.0 * tail, 300.0 * tail, 299.0 * tail])
    assert (equal.sizes, equal.copies) == (mixed.sizes, mixed.copies) == ((10,), (3,))


@pytest.mark.slow
def test_past_the_separation_ceiling():
    """D = 64, K = 8, m = 32: what the theorem is for. A smaller delta, wider cones and more layers cost."""
    sigma = fc.gaussian_fusion(64, 8, 32, 1.0, DELTA, 1.0)
    assert sigma / gaussian_separation(64, 8, 32, 1.0, 0.0, DELTA) > 1.25
    found = fc.fusion_failure(64, 8, 32, 1.0, DELTA, sigma, 1.0)
    assert 0.6 * DELTA < found.total <= DELTA
    assert fc.fusion_failure(64, 8, 32, 1.0, DELTA, 1.02 * sigma, 1.0).total > DELTA
    assert fc.fusion_failure(64, 8, 32, 1.0, 0.02, sigma, 1.0).total > 0.02
    assert fc.fusion_failure(64, 8, 32, 0.99, DELTA, sigma, 1.0).total > DELTA
    layers = [fc.fusion_failure(64, 8, 32, 1.0, DELTA, 0.74, 0.5, depth=depth).cross for depth in (1, 4, None)]
    assert layers[0] < layers[1] < layers[2]


def test_cones_turned_against_their_cluster():
    """P(<u_b, x_j> < 0) for all n_k^2 pairs, only in cones."""
    setting = fc._setting(16, 2, (3, 4), 0.6, DELTA, 1.0, None, None)
    x = 0.6 + 1.2 / 4.0 * np.random.default_rng(7).standard_normal(10**6)
    assert fc._turned(setting, 1.2) == pytest.approx(25.0 * (x < 0.0).mean(), rel=0.05)
    assert fc._turned(dataclasses.replace(setting, within=1.0), 1.2) == 0.0


def test_nothing_can_be_proved():
    """Two points a cluster: no average; a threshold that the clean cone does not clear."""
    assert fc.gaussian_fusion(16, 2, 2, 1.0, DELTA, 0.5) == 0.0
    failure = fc.fusion_failure(16, 2, 8, 0.1, DELTA, 0.5, 1.0)
    assert failure.rows == failure.cross == failure.total == 1.0


def test_bad_input():
    good = {"ambient_dim": 16, "num_clusters": 2, "cluster_size": 4, "min_within_cos": 0.9, "delta": 0.05}
    for name, bad, message in (
        ("ambient_dim", 2, "at least 3"), ("num_clusters", 17, r"\[2, ambient_dim = 16\]"), ("cluster_size", 1, "2"),
        ("min_within_cos", 0.0, r"\(0, 1\]"), ("delta", 1.0, r"\(0, 1\)"), ("mixing", 0.0, r"\(0, 1\]"),
        ("subspace_dim", 9, r"\[1, 8\]"), ("depth", 0, "at least 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
            fc.gaussian_fusion(**{**good, name: bad})
    with pytest.raises(ValueError, match=r"^noise_level: must lie in"):
        fc.fusion_threshold(16, 2, 4, 0.05, 0.0)
