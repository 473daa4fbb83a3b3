"""The terms of g_2 one by one: expected numbers of (x), (x, z_1), (x, z_1, z_2) whose claimed regions are empty.

x is put at the distances of the quadrature rule, everything else is drawn uniformly and looked at point by point.
What is equal and what is a bound:

    first term     equal: no other sample in x's cap
    second term    equal: lens, region of higher rank, the other side's neighbours and reach(z_1) are empty
    third term     equal for regions of exactly the measure joint(z_1, z_2), built by the proof's reflection, and after
                   (m - 2)^3, which stands for (m - 1)(m - 2)(m - 3), is put right; at least what is counted for the
                   whole reaches of z_1 and z_2

Sample sizes are set so that an error of 4 % in a term is seen: standard errors below .8 %, limits at 4.5 of them; far
from the root, where the reaches matter most and little is left, one of 6 %.
"""

import numpy as np
import pytest

import theory.lemmas.connectivity as connectivity
from tests.reference_sphere import Scene, uniform_points

pytestmark = pytest.mark.theorems
CHUNK, LIMIT = 10_000, 4.5
# What the rule of 14 x 14 neighbours in groups leaves, relative: finer rules change these terms by less.
RULE = 2e-3
# dim, radius in degrees, m, squared; which of five distances from the root; chunks of
# configurations; the standard error allowed.
SCENES = [
    (3, 60, 7, False, 1, 10, 0.008),
    (3, 80, 5, False, 3, 18, 0.012),
    (4, 60, 6, False, 1, 7, 0.008),
    (4, 88, 5, False, 2, 12, 0.012),
    (6, 75, 5, False, 1, 6, 0.008),
    (3, 40, 6, True, 2, 7, 0.008),
    (4, 44, 6, True, 2, 6, 0.008),
    (3, 55, 5, True, 1, 8, 0.008),
    (4, 65, 5, True, 1, 12, 0.008),
]


def bounds_at_few_distances(monkeypatch, dim, degrees, squared):
    monkeypatch.setattr(connectivity, "DISTANCE_NODES", 5)
    return connectivity.descent.__wrapped__(dim, float(np.radians(degrees)), squared)


def second_term(scene, rank, rng, m, size):
    """Of z_1 uniform in x's cap and m - 3 others, whether z_1 counts and all claimed regions are empty."""
    z = scene.in_cap(rng, size)
    points = uniform_points(rng, (size, m - 3), scene.dim)
    own = z[:, None]
    others = scene.others(points)
    claimed = scene.lens(points) | scene.reach(points, own)
    claimed |= others & (rank(points) > rank(z)[:, None])
    claimed |= others & ~scene.side(points, scene.x, own[..., 2:])
    return ~scene.closer(z) & ~claimed.any(axis=1)


def third_term(scene, rank, rng, m, size):
    """The same for z_1, z_2 and m - 4 others: by regions of measure joint, and by the whole reaches.

    Of two points either may rank first, and either side may be z_2's: z_1 is made the first, and z_2 is turned to the
    other side, which leaves them uniform and saves three of four draws.
    """
    z = np.stack([scene.in_cap(rng, size), scene.in_cap(rng, size)])
    swap = rank(z[0]) < rank(z[1])
    z[:, swap] = z[::-1, swap]
    z[1, (z[0, :, 2:] * z[1, :, 2:]).sum(-1) > 0, 2:] *= -1.0
    points = uniform_points(rng, (size, m - 4), scene.dim)
    one, two = z[0, :, None], z[1, :, None]
    others, first, second = scene.others(points), rank(z[0])[:, None], rank(z[1])[:, None]
    empty = scene.lens(points) | (others & (rank(points) > first))
    empty |= others & (rank(points) > second) & ~scene.side(points, scene.x, one[..., 2:])
    counts = ~scene.closer(z).any(axis=0)
    claimed = empty | claimed_of_reaches(scene, rank, rng, points, one, two)
    whole = empty | scene.reach(points, one) | scene.reach(points, two)
    return counts & ~claimed.any(axis=1), counts & ~whole.any(axis=1)


def claimed_of_reaches(scene, rank, rng, points, one, two):
    """A subset of the two reaches of measure joint(z_1, z_2)."""
    reach_one, reach_two = scene.reach(points, one), scene.reach(points, two)
    if scene.squared and scene.radius > np.pi / 4:
        return reach_one
    on_side = reach_one & scene.side(points, one, one[..., 2:])
    if scene.dim == 3:
        rest = reach_two & scene.side(points, two, two[..., 2:])
        other = rank.on_side(two)
    else:
        rest = half_of_reach(scene, rng, points, one, two, reach_two)
        other = rank.reach(two) / 2
    return np.where(rank.reach(one) >= rank.on_side(one) + other, reach_one, on_side | rest)


def half_of_reach(scene, rng, points, one, two, reach_two):
    """Of reach(z_2) the mirror image of what lies on z_1's side, and by a coin half of what else is on the other."""
    lateral = one[..., 2:] / np.linalg.norm(one[..., 2:], axis=-1, keepdims=True)
    mirrored = points.copy()
    mirrored[..., 2:] -= 2.0 * (points[..., 2:] * lateral).sum(-1, keepdims=True) * lateral
    opposite = ~scene.side(points, two, one[..., 2:])
    return reach_two & opposite & (scene.reach(mirrored, two) | (rng.random(points.shape[:-1]) < 0.5))


@pytest.mark.parametrize(("dim", "degrees", "m", "squared", "node", "chunks", "precision"), SCENES)
def test_every_term_is_the_count_it_stands_for(dim, degrees, m, squared, node, chunks, precision, monkeypatch):
    check_terms(bounds_at_few_distances(monkeypatch, dim, degrees, squared), m, node, chunks, precision)


@pytest.mark.slow
@pytest.mark.parametrize("node", [1, 2])
@pytest.mark.parametrize(("dim", "degrees", "m", "squared"), [scene[:4] for scene in SCENES])
def test_every_term_is_its_count_to_two_percent(dim, degrees, m, squared, node, monkeypatch):
    """The same with ten times as many configurations."""
    check_terms(bounds_at_few_distances(monkeypatch, dim, degrees, squared), m, node, 120, 0.004)


def check_terms(bounds, m, node, chunks, precision):
    dim, squared = bounds.subspace_dim, bounds.squared
    rng = np.random.default_rng([dim, m, node, chunks])
    scene = Scene(dim, bounds.radius, float(bounds.distances[node]), squared)
    rank = scene.rank(rng)
    ways = (m - 1) * (m - 2) * bounds.cap
    seen = np.concatenate([second_term(scene, rank, rng, m, CHUNK) for _ in range(chunks)])
    check_equal(bounds.neighbours.one_sided(m)[node], ways * seen, precision)
    parts = [third_term(scene, rank, rng, m, CHUNK) for _ in range(chunks)]
    ways *= (m - 3) * bounds.cap / 4
    claimed, whole = (ways * np.concatenate(part) for part in zip(*parts))
    exact = bounds.neighbours.two_sided(m)[node] * (m - 1) * (m - 3) / (m - 2) ** 2
    check_equal(exact, claimed, precision)
    assert exact >= whole.mean() - LIMIT * whole.std() / np.sqrt(whole.size)


def check_equal(term, seen, precision=0.008):
    error = seen.std() / np.sqrt(seen.size)
    assert error < precision * seen.mean(), "too few configurations for an error of five times that to show"
    assert abs(term - seen.mean()) < LIMIT * error + RULE * term, (term, seen.mean())


@pytest.mark.parametrize(
    ("dim", "degrees", "m", "squared"),
    [(2, 50, 5, False), (2, 40, 4, True), (3, 60, 4, False), (3, 40, 8, True), (4, 70, 6, False), (6, 75, 8, False),
     (6, 60, 5, True)],
)  # fmt: skip
def test_the_integral_over_x_is_a_count(dim, degrees, m, squared):
    """Samples beyond the radius from the root whose lens, or whose whole cap, holds none of the m - 2 others."""
    bounds, rng = connectivity.descent(dim, float(np.radians(degrees)), squared), np.random.default_rng([dim, m])
    parts = [beyond_the_radius(rng, dim, bounds.radius, m, squared) for _ in range(20)]
    alone, stuck = (np.concatenate(part) for part in zip(*parts))
    check_equal(bounds.alone(m) * bounds.weights.sum(), (m - 1) * alone)
    check_equal(bounds.one_step(m), (m - 1) * stuck)


def beyond_the_radius(rng, dim, radius, m, squared):
    """Whether x is beyond the radius, and its cap, or its lens, holds none of m - 2 others."""
    points = uniform_points(rng, (CHUNK, m - 1), dim)
    to_x, to_root = (points[:, 1:] * points[:, :1]).sum(-1), points[..., 0]
    if squared:
        to_x, to_root = np.abs(to_x), np.abs(to_root)
    outside, near, closer = to_root[:, 0] < np.cos(radius), to_x > np.cos(radius), to_root[:, 1:] > to_root[:, :1]
    return outside & ~near.any(axis=1), outside & ~(near & closer).any(axis=1)


@pytest.mark.parametrize(("dim", "squared"), [(3, False), (5, True)])
@pytest.mark.parametrize(("m", "until"), [(4, None), (7, None), (7, 20), (30, np.inf)])
def test_the_bound_is_the_sum_of_its_terms_or_the_one_step_bound(dim, squared, m, until):
    bounds = connectivity.descent(dim, 0.7, squared)
    terms = bounds.alone(m, until) + bounds.neighbours.one_sided(m, until) + bounds.neighbours.two_sided(m, until)
    sizes = [m] if until is None else np.arange(m, 21 if until == 20 else 3000)
    one_step = np.max([(size - 1) * (1 - bounds.lens) ** (size - 2) for size in sizes], axis=0)
    found, by_hand = bounds.two_step(m, until), (bounds.weights * np.minimum(terms, one_step)).sum()
    # Over a range of sizes the code takes the peak, which may lie between two of them.
    assert by_hand * (1 - 1e-12) <= found <= by_hand * (1 + (1e-12 if until is None else 0.02))


@pytest.mark.parametrize("m", [4, 5, 8, 40])
def test_exponents_and_ways_of_the_terms(m):
    """By hand, of one share: x, z_1 and z_2 can be chosen in so many ways, and so many samples are left."""
    share = 0.3
    assert connectivity._single(share, m, None) == pytest.approx((m - 1) * 0.7 ** (m - 2), rel=1e-12)
    assert connectivity._pair(share, m, None) == pytest.approx((m - 1) * (m - 2) * 0.7 ** (m - 3), rel=1e-12)
    third = (m - 1) * (m - 2) * (m - 3) * 0.7 ** (m - 4)
    assert connectivity._triple(share, m, None) == pytest.approx(third * (m - 2) ** 2 / ((m - 1) * (m - 3)), rel=1e-12)
