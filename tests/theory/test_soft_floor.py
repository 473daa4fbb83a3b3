"""Theorem 2g: the soft graph's law, every term of the two-sided bound against counts, floors and what they promise."""

from functools import lru_cache

import numpy as np
import pytest
from scipy.special import gammaln

from tests import reference
from theory.judging.rates import RateCell, judge_rates
from theory.judging.verdicts import Status
from theory.lemmas.connectivity import descent
from theory.lemmas.pair_law import PairLaw
from theory.lemmas.soft_graph import RULES, SoftGraph, alignment_law, soft_descent
from theory.numerics.quadrature import gauss_rule
from theory.soft_floor import cross_threshold, is_soft_guaranteed, soft_floor

pytestmark = pytest.mark.theorems
RIGHT = np.pi / 2
# Several tests stand at the same floor.
floor_of = lru_cache(soft_floor)


def noisy_cluster(rng, trials, size, dim, ambient, noise):
    """Unit observed points (trials, size, ambient) of one cluster in the first ``dim`` coordinates."""
    points = rng.standard_normal((trials, size, dim))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    points = np.concatenate([points, np.zeros((trials, size, ambient - dim))], axis=-1)
    points += rng.standard_normal(points.shape) * noise / np.sqrt(ambient)
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def edges_and_distances(points, dim, threshold, squared):
    """Edges, and every point's distance from the first one's direction in the subspace (0 for itself)."""
    cosines = points @ np.swapaxes(points, -1, -2)
    edges = (np.abs(cosines) if squared else cosines) > threshold
    edges[:, np.arange(points.shape[1]), np.arange(points.shape[1])] = False
    own = points[..., :dim] / np.linalg.norm(points[..., :dim], axis=-1, keepdims=True)
    along = (own @ own[:, 0, :, None])[..., 0]
    distances = np.arccos(np.clip(np.abs(along) if squared else along, -1.0, 1.0))
    distances[:, 0] = 0.0
    return edges, distances


# --- the law ----------------------------------------------------------------------------------------------------------


def test_a_gauss_rule_integrates_polynomials():
    x = np.linspace(-1.0, 1.0, 500)
    weights = np.exp(x) * (1.2 + np.sin(3 * x))
    nodes, shares = gauss_rule(x, weights, 5)
    for power in range(10):
        expected = (weights * x**power).sum() / weights.sum()
        assert (shares * nodes**power).sum() == pytest.approx(expected, abs=1e-13)
    assert abs((shares * nodes**10).sum() - (weights * x**10).sum() / weights.sum()) > 1e-6


@pytest.mark.parametrize(("ambient", "dim", "noise"), [(16, 2, 0.4), (64, 3, 0.7), (64, 20, 2.0), (12, 5, 0.05)])
def test_the_alignment_is_noncentral_beta(ambient, dim, noise):
    """E a^2 = sum over a Poisson number J of mean D/(2 sigma^2) of (r/2 + J)/(D/2 + J)."""
    a, shares = alignment_law(ambient, dim, noise)
    mean = ambient / (2 * noise**2)
    counts = np.arange(int(mean + 40 * np.sqrt(mean) + 100))
    poisson = np.exp(counts * np.log(mean) - mean - gammaln(counts + 1))
    assert shares.sum() == pytest.approx(1.0, abs=1e-12)
    assert (shares * a**2).sum() == pytest.approx(
        (poisson * (dim / 2 + counts) / (ambient / 2 + counts)).sum(), rel=1e-8
    )
    upper = (dim / 2 + counts) * (dim / 2 + counts + 1) / ((ambient / 2 + counts) * (ambient / 2 + counts + 1))
    assert (shares * a**4).sum() == pytest.approx((poisson * upper).sum(), rel=1e-8)


@pytest.mark.parametrize(("ambient", "dim", "noise"), [(16, 2, 0.4), (64, 3, 0.7), (64, 8, 0.3)])
def test_an_edge_at_a_known_clean_angle_has_the_pair_laws_probability(ambient, dim, noise):
    """h is given the *observed* directions' angle; averaged over clean points on the sphere both laws must agree."""
    threshold = 0.35
    graph = SoftGraph(dim, ambient, noise, threshold, False)
    angle, weight = graph.nodes(np.pi, 40)
    density = np.sin(angle) ** (dim - 2)
    ours = (weight * density) @ (graph.edges(angle)[0] @ graph.law[1]) / (weight @ density)
    theirs = [PairLaw(ambient, noise, float(np.cos(p))).tail(threshold, upper=True) for p in angle[::2]]
    smooth = np.interp(angle, angle[::2], theirs)
    assert ours == pytest.approx((weight * density) @ smooth / (weight @ density), rel=2e-3)


@pytest.mark.parametrize(("ambient", "dim"), [(4, 2), (6, 3)])
def test_edges_where_the_complement_is_a_plane_or_a_space(ambient, dim):
    """One coordinate on a circle, or on a sphere, where it is uniform (Archimedes), for each partner's alignment."""
    angle, threshold = np.array([0.0, 0.7, 1.2, 1.5, 2.0, 3.0]), 0.4
    a, shares = alignment_law(ambient, dim, 1.2)
    for squared in (False, True):
        for number, (p, own) in enumerate([(p, x) for p in angle for x in a[::4]]):
            found = SoftGraph(dim, ambient, 1.2, threshold, squared).edges(np.array([p]))[0][0, ::4][
                number % len(a[::4])
            ]
            expected = 0.0
            for sign in (1, -1)[: 1 + squared]:
                z = np.clip((threshold - sign * own * a * np.cos(p)) / np.sqrt((1 - own**2) * (1 - a**2)), -1.0, 1.0)
                expected += shares @ (np.arccos(z) / np.pi if ambient - dim == 2 else (1.0 - z) / 2.0)
            assert found == pytest.approx(expected, abs=1e-12)


# --- the bound, term by term ------------------------------------------------------------------------------------------

SCENES = [  # dim, ambient, noise, threshold, size, squared
    (3, 12, 0.6, 0.45, 6, False),
    (2, 8, 0.5, 0.5, 5, False),
    (5, 16, 0.4, 0.4, 6, False),
    (3, 12, 0.5, 0.6, 6, True),
    (2, 8, 0.5, 0.7, 5, True),
]


@pytest.mark.parametrize(("dim", "ambient", "noise", "threshold", "size", "squared"), SCENES)
def test_terms_are_the_expected_counts(dim, ambient, noise, threshold, size, squared):
    """Each term counts something that can be counted on simulated clusters; so does what it all bounds."""
    trials = 20_000
    points = noisy_cluster(np.random.default_rng(5), trials, size, dim, ambient, noise)
    edges, distances = edges_and_distances(points, dim, threshold, squared)
    closer = distances[:, None, :] < distances[:, :, None]
    farther = distances[:, None, :] > distances[:, :, None]
    stuck, alone = ~(edges & closer).any(-1), ~edges.any(-1)
    blocked = ~(edges & farther).any(-1) & farther.any(-1)
    spread, split = np.zeros(trials), np.zeros(trials)
    for x in range(1, size):
        for other in range(1, size):
            if x == other:
                continue
            ordered = distances[:, x] < distances[:, other]
            spread += stuck[:, x] & blocked[:, other] & ordered
            near, far = distances[:, other, None], distances[:, x, None]
            between = ((distances > near) & (distances < far)).any(-1)
            below = (edges[:, x] & (distances < near)).any(-1)
            beyond = (edges[:, other] & (distances > far)).any(-1)
            split += ~ordered & ~between & ~below & ~beyond
    bounds = soft_descent(dim, ambient, noise, threshold, squared)
    counted = [(stuck[:, 1:].sum(-1), bounds.one_step(size)), (spread, over_x(bounds, bounds.spread(size), size)),
               (split, over_x(bounds, bounds.split(size), size)),
               (alone[:, 1:].sum(-1), over_x(bounds, bounds.alone(size), size))]  # fmt: skip
    for count, expected in counted:
        assert expected == pytest.approx(count.mean(), abs=4 * count.std() / np.sqrt(trials), rel=0.0)
    pieces = np.array([reference.components(graph) > 1 for graph in edges[:2000]])
    assert pieces.mean() <= bounds.two_sided(size) + 0.03
    assert bounds.bound(size) <= bounds.one_step(size)


def over_x(bounds, term, size):
    return float((size - 1) * bounds.weights @ (term @ bounds.shares))


@pytest.mark.parametrize(("dim", "ambient", "noise", "threshold", "squared"), [s[:4] + s[5:] for s in SCENES])
def test_two_points_are_exact(dim, ambient, noise, threshold, squared):
    points = noisy_cluster(np.random.default_rng(3), 40_000, 2, dim, ambient, noise)
    missed = ~edges_and_distances(points, dim, threshold, squared)[0][:, 0, 1]
    bounds = soft_descent(dim, ambient, noise, threshold, squared)
    assert bounds.bound(2) == pytest.approx(missed.mean(), abs=4 * missed.std() / 200)
    assert bounds.bound(2) == pytest.approx(1.0 - float(bounds.degree @ bounds.shares), rel=1e-3)
    # The root alone, and x alone, are one event here, which two-sided descent counts twice.
    assert bounds.two_sided(2) == pytest.approx(2.0 * bounds.bound(2), rel=1e-3)


def test_the_bound_adds_its_terms():
    """x by x the smaller of one-step descent and all three kinds of a second point; and the root alone."""
    for bounds in (soft_descent(3, 12, 0.6, 0.45), soft_descent(3, 64, 0.5, 0.32), soft_descent(2, 8, 0.5, 0.7, True)):
        for size in (3, 8, 35):
            one = bounds.missed * (1.0 - bounds.closer) ** (size - 2)
            second = bounds.alone(size), bounds.spread(size), bounds.split(size)
            root_alone = (1.0 - bounds.degree) ** (size - 1) @ bounds.shares
            expected = root_alone + over_x(bounds, np.minimum(one, sum(second)), size)
            assert bounds.two_sided(size) == pytest.approx(float(expected), rel=1e-9)
            if size > 3:
                assert min(over_x(bounds, term, size) for term in second) > 0.0


@pytest.mark.parametrize(("dim", "squared"), [(2, False), (3, False), (6, False), (2, True), (4, True)])
def test_without_noise_the_soft_graph_has_a_radius(dim, squared):
    """At sigma = 1e-4 edges end at arccos(tau): one-step descent is that of Theorem 2c, which another file computes."""
    radius = 0.9
    soft = soft_descent(dim, 64, 1e-4, float(np.cos(radius)), squared, RULES.finer())
    hard = descent(dim, radius, squared)
    for size in (4, 20, 60):
        # Of the few points that are closer than the radius to the root all have an edge to it.
        assert soft.one_step(size) == pytest.approx(hard.one_step(size), rel=0.03)
        root_alone = float((1.0 - soft.degree) ** (size - 1) @ soft.shares)
        assert soft.two_sided(size) <= (soft.one_step(size) + root_alone) * (1 + 1e-12)


def test_the_second_side_is_what_makes_small_floors():
    """One-step descent needs a third more points, at a threshold that would rise with them."""
    bounds = soft_descent(3, 64, 0.5, 0.3224)
    assert bounds.two_sided(35) < 0.05 / 6 < bounds.one_step(48)


def test_more_noise_or_a_higher_threshold_is_worse():
    base = soft_descent(3, 64, 0.5, 0.32).bound(30)
    assert soft_descent(3, 64, 0.5, 0.35).bound(30) > 1.2 * base
    assert soft_descent(3, 64, 0.6, 0.32).bound(30) > 1.2 * base
    assert soft_descent(4, 64, 0.5, 0.32).bound(30) > 1.2 * base
    assert soft_descent(3, 64, 0.5, 0.32, True).bound(30) < 0.1 * base
    assert soft_descent(3, 64, 0.5, 0.32).bound(40) < 0.5 * base


# --- floors -----------------------------------------------------------------------------------------------------------

# dim, ambient, noise, and the floors to be beaten: by one-step descent, and what 2,000 batches a size needed
FLOORS = [(3, 64, 0.3, 36, 18), (5, 64, 0.4, 66, 27), (3, 256, 0.8, 47, 22)]  # fmt: skip


@pytest.mark.parametrize(
    ("dim", "ambient", "noise", "one_sided", "measured"),
    [FLOORS[0], *(pytest.param(*each, marks=pytest.mark.slow) for each in FLOORS[1:])],
)
def test_floors_are_close_to_what_is_needed(dim, ambient, noise, one_sided, measured):
    floor = floor_of(dim, ambient, 3, noise, RIGHT, 0.05)
    assert measured < floor <= 2.2 * measured
    assert floor < 0.85 * one_sided
    sizes = ([floor] * 3, floor, floor - 1)
    assert [is_soft_guaranteed(dim, ambient, 3, m, noise, RIGHT, 0.05) for m in sizes] == [True, True, False]
    threshold = cross_threshold(ambient, 3 * floor**2, RIGHT, noise, 0.05, False)
    assert 1.01 * soft_descent(dim, ambient, noise, threshold, rules=RULES.finer()).bound(floor) <= 0.05 / 6
    below = cross_threshold(ambient, 3 * (floor - 1) ** 2, RIGHT, noise, 0.05, False)
    assert 1.03 * soft_descent(dim, ambient, noise, below).bound(floor - 1) > 0.05 / 6


def test_budgets_of_false_edges():
    for squared, ways in ((False, 2), (True, 4)):
        threshold = cross_threshold(64, 300, 1.0, 0.3, 0.05, squared)
        tail = PairLaw(64, 0.3, float(np.cos(1.0))).tail(threshold, upper=True)
        assert tail == pytest.approx(0.05 / (ways * 300), rel=1e-6)


def test_clusters_of_different_sizes_share_what_is_left():
    """The budget is the batch's: a large cluster, which hardly ever falls apart, leaves its share to a small one."""
    floor = floor_of(3, 64, 3, 0.3, RIGHT, 0.05)
    assert is_soft_guaranteed(3, 64, 3, (floor - 1, floor + 2, floor + 2), 0.3, RIGHT, 0.05)
    assert not is_soft_guaranteed(3, 64, 3, (floor - 4, floor + 2, floor + 2), 0.3, RIGHT, 0.05)
    # Alone the small one would pass: it is the pairs with a huge one that raise the threshold.
    assert not is_soft_guaranteed(3, 64, 3, (floor, floor, 10**6), 0.3, RIGHT, 0.05)


@pytest.mark.slow
def test_floors_order_as_theory_says():
    base = floor_of(3, 64, 3, 0.3, RIGHT, 0.05)
    assert soft_floor(3, 64, 3, 0.3, 1.2, 0.05) > base, "oblique subspaces need a higher threshold"
    assert soft_floor(3, 64, 3, 0.3, RIGHT, 0.05, squared=True) <= base / 2
    assert soft_floor(3, 64, 3, 0.95, RIGHT, 0.05, largest=2000) is None, "too much noise for any number of points"
    assert soft_floor(3, 64, 3, 0.3, RIGHT, 0.05, largest=base - 1) is None


def test_batches_at_the_floor_are_recovered():
    """Whole batches in their ambient space: false edges and pieces together stay within delta."""
    cells = []
    for number, (dim, ambient, noise, squared) in enumerate(
        [(3, 24, 0.3, False), (2, 24, 0.3, False), (3, 24, 0.3, True)]
    ):
        size = soft_floor(dim, ambient, 2, noise, RIGHT, 0.05, squared)
        threshold = cross_threshold(ambient, size**2, RIGHT, noise, 0.05, squared)
        rng, failures, trials = np.random.default_rng(number), 0, 500
        first, second = (noisy_cluster(rng, trials, size, dim, ambient, noise) for _ in range(2))
        # The second cluster's subspace: coordinates after the first one's.
        second = np.roll(second, dim, axis=-1)
        for points in np.concatenate([first, second], axis=1):
            cosines = points @ points.T
            edges = (np.abs(cosines) if squared else cosines) > threshold
            np.fill_diagonal(edges, False)
            pieces = max(reference.components(edges[k : k + size, k : k + size]) for k in (0, size))
            failures += bool(edges[:size, size:].any()) or pieces > 1
        cells.append(RateCell(f"case {number}", "to be recovered", failures, trials, pool="all"))
    assert judge_rates("Theorem 2g", cells, 0.05).status is Status.HOLDS, cells


@pytest.mark.parametrize(
    ("call", "name"),
    [(lambda: soft_floor(1, 64, 3, 0.3, RIGHT, 0.05), "subspace_dim"),
     (lambda: soft_floor(129, 640, 3, 0.3, RIGHT, 0.05), "subspace_dim"),
     (lambda: soft_floor(8, 15, 3, 0.3, RIGHT, 0.05), "ambient_dim"),
     (lambda: soft_floor(3, 64, 1, 0.3, RIGHT, 0.05), "num_clusters"),
     (lambda: soft_floor(3, 64, 3, 0.0, RIGHT, 0.05), "noise_level"),
     (lambda: soft_floor(3, 64, 3, 0.3, 1.6, 0.05), "min_principal_angle"),
     (lambda: soft_floor(3, 64, 3, 0.3, RIGHT, 0.0), "delta"),
     (lambda: soft_floor(3, 64, 3, 0.3, RIGHT, 0.05, largest=2), "largest"),
     (lambda: is_soft_guaranteed(3, 64, 3, (9, 9), 0.3, RIGHT, 0.05), "cluster_size"),
     (lambda: soft_descent(3, 64, 0.3, 1.0), "threshold"),
     (lambda: soft_descent(3, 64, 0.3, 0.5).bound(1), "num_points")],
)  # fmt: skip
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
