"""The regions of the two-step descent (theory.md 2c): disjoint, and as large as the proof says.

The same points for all scenes of a dimension, so many that an error of 5 % in a measure shows: standard errors below
1.1 %, limits at 4.5 of them.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

import theory.lemmas.connectivity as connectivity
from tests.reference_sphere import Scene, uniform_points
from theory.sphere import cap_measure, distance_density, lens, reach

pytestmark = pytest.mark.theorems
CLOUD, LIMIT = 400_000, 4.5
# dim, radius, d and for z_1 and z_2 their share of the radius and their azimuth, from the smallest on at which a
# neighbour is no closer to the root; degrees.
SCENES = [
    (3, 60, 80, (0.9, 2), (0.5, 4), False),
    (3, 85, 130, (0.95, 1), (0.8, 3), False),
    (4, 60, 80, (0.9, 2), (0.6, 5), False),
    (4, 80, 60, (0.9, 1), (0.7, 6), False),
    (6, 75, 90, (0.95, 1), (0.9, 3), False),
    (3, 40, 60, (0.9, 1), (0.7, 5), True),
    (3, 45, 85, (0.95, 1), (0.9, 3), True),
    (4, 44, 70, (0.95, 1), (0.9, 4), True),
    (6, 45, 80, (0.95, 1), (0.9, 2), True),
    (3, 55, 75, (0.9, 1), (0.8, 4), True),
    (4, 65, 85, (0.9, 1), (0.8, 3), True),
    (6, 70, 85, (0.95, 1), (0.9, 2), True),
]


@lru_cache(maxsize=1)
def cloud(dim):
    return uniform_points(np.random.default_rng([5, dim]), CLOUD, dim)


def put(scene, share, degrees, lateral):
    """z at a share of the radius, an azimuth and a lateral direction."""
    p = share * scene.radius
    first = np.arccos(min(np.tan(p / 2) / np.tan(scene.distance), 1.0))
    z = scene.around_x(p, first + np.radians(degrees))
    return np.concatenate([z[:2], z[2] * lateral])


def scene_of(dim, degrees, distance, first, second, squared):
    """The scene, z_1 and z_2 on different sides, the one of larger reach first."""
    scene = Scene(dim, float(np.radians(degrees)), float(np.radians(distance)), squared)
    one, two = np.eye(dim - 2)[0], -np.eye(dim - 2)[0]
    if dim > 3:
        two[1] = 0.75
        two /= np.linalg.norm(two)
    pair = put(scene, *first, one), put(scene, *second, two)
    assert not any(scene.closer(z) for z in pair)
    return scene, *sorted(pair, key=lambda z: -scene.reach(cloud(dim), z).sum())


def measured(scene, z):
    """reach and on_side by the code."""
    far = np.arccos(z[0])
    turn = np.arctan2(np.linalg.norm(z[2:]), z[1])
    return [float(part[0]) for part in reach(scene.dim, scene.radius, *np.array([[scene.distance], [far], [turn]]),
                                             scene.squared)]  # fmt: skip


def check_share(value, mask):
    seen = mask.mean()
    error = np.sqrt(seen * (1 - seen) / CLOUD)
    assert error < 0.011 * seen, "too few points for an error of 5 % to show"
    assert abs(value - seen) < LIMIT * error, (value, seen)


@pytest.mark.parametrize("arguments", SCENES)
def test_the_regions_have_their_measures(arguments):
    scene, one, two = scene_of(*arguments)
    points, sheets = cloud(scene.dim), 2.0 if scene.squared else 1.0
    closer = float(lens(scene.dim, np.array([scene.distance]), scene.radius, scene.squared)[0])
    cap = sheets * float(cap_measure(scene.dim, scene.radius))
    check_share(closer, scene.lens(points))
    check_share(cap, scene.near(points, scene.x))
    check_share(cap - closer, scene.others(points))
    for z in (one, two):
        total, side = measured(scene, z)
        check_share(total, scene.reach(points, z))
        check_share(side, scene.reach(points, z) & scene.side(points, z, z[2:]))


@pytest.mark.parametrize("arguments", SCENES)
def test_the_regions_are_disjoint_and_the_reaches_measure_joint(arguments):
    scene, one, two = scene_of(*arguments)
    points = cloud(scene.dim)[: CLOUD // 10]
    rank = scene.rank(np.random.default_rng(0), CLOUD // 10)
    place, first, second = rank(points), rank(one), rank(two)
    opposite = ~scene.side(points, scene.x, one[2:])
    regions = [
        scene.lens(points),
        scene.others(points) & (place > first),
        scene.others(points) & (place > second) & (place <= first) & opposite,
        scene.reach(points, one) | scene.reach(points, two),
    ]
    assert np.sum(regions, axis=0).max() == 1

    points = cloud(scene.dim)
    reaches = scene.reach(points, one), scene.reach(points, two)
    # The side of z_1 in reach(z_1) and the other one in reach(z_2), which holds the mirror image of the rest of it.
    lateral = one[2:] / np.linalg.norm(one[2:])
    on_side = reaches[0] & scene.side(points, one, lateral)
    across = ~scene.side(points, two, lateral)
    mirrored = points.copy()
    mirrored[:, 2:] -= 2.0 * (points[:, 2:] @ lateral)[:, None] * lateral
    assert scene.reach(mirrored[reaches[1] & ~across], two).all()
    assert (reaches[1] & across).sum() >= reaches[1].sum() / 2 - LIMIT * np.sqrt(reaches[1].sum())
    totals, sides = zip(*(measured(scene, z) for z in (one, two)))
    claim = sides[0] + (sides[1] if scene.dim == 3 else totals[1] / 2)
    union = (reaches[0] | reaches[1]).mean()
    error = LIMIT * np.sqrt(union / CLOUD)
    shared = on_side & reaches[1] & across
    if not scene.squared or scene.radius <= np.pi / 4:
        assert not shared.any()
        assert union >= max(totals[0], claim) - error
        if scene.dim == 3:
            check_share(claim, on_side | (reaches[1] & across))
    else:
        assert shared.mean() > 0.01, "beyond 45 degrees a line is close to z_1 and, by its other end, to z_2"
        assert union >= totals[0] - error


@pytest.mark.parametrize(("dim", "degrees", "distance"), [(3, 55, 75), (4, 65, 85), (6, 65, 85)])
def test_beyond_45_degrees_two_reaches_measure_less_than_joint(dim, degrees, distance):
    """The counterexample without which joint(z_1, z_2) could do without its guard."""
    scene, one, two = scene_of(dim, degrees, distance, (0.95, 1), (0.95, 1), True)
    two = one * np.r_[1.0, 1.0, -np.ones(dim - 2)]
    total, side = measured(scene, one)
    union = (scene.reach(cloud(dim), one) | scene.reach(cloud(dim), two)).mean()
    claim = side + (side if dim == 3 else total / 2)
    assert union < 0.95 * claim - LIMIT * np.sqrt(union / CLOUD)
    assert union >= total - LIMIT * np.sqrt(union / CLOUD)


@pytest.mark.parametrize(
    ("dim", "degrees", "squared", "node"),
    [(3, 80, False, 3), (4, 80, False, 3), (6, 75, False, 2), (3, 40, True, 3), (4, 44, True, 2), (3, 55, True, 2)],
)
def test_the_table_of_neighbours_holds_shares_ranks_and_joint(dim, degrees, squared, node, monkeypatch):
    """What must be empty, less the lens and the regions of higher rank, against the reaches of points of the cloud: on
    average, weighted by rank, and for pairs."""
    monkeypatch.setattr(connectivity, "DISTANCE_NODES", 5)
    bounds = connectivity.descent.__wrapped__(dim, float(np.radians(degrees)), squared)
    table, closer = bounds.neighbours, bounds.lens[node]
    scene = Scene(dim, bounds.radius, float(bounds.distances[node]), squared)
    rank = scene.rank(np.random.default_rng(1), CLOUD)
    others = cloud(dim)[scene.others(cloud(dim))]
    check_share(closer, scene.lens(cloud(dim)))
    shares = table.shares[node]
    check_share(shares.sum(), scene.others(cloud(dim)))

    before = np.cumsum(shares) - shares / 2
    found = table.emptied[node] - closer - (before + shares.sum()) / 2
    reaches = np.sort(rank.reach(others))[::-1]
    slack = LIMIT / np.sqrt(reaches.mean() * CLOUD) + 0.01
    place = (np.arange(len(others)) + 0.5) / len(others)
    assert (shares * found).sum() / shares.sum() == pytest.approx(reaches.mean(), rel=slack)
    assert (shares * before * found).sum() / shares.sum() ** 2 == pytest.approx((place * reaches).mean(), rel=slack)

    # z_2 on one side of two, and of two orders one.
    one, two = np.triu_indices(len(shares))
    weights = table.pair_shares[node]
    assert weights.sum() == pytest.approx(shares.sum() ** 2 / 4, rel=1e-12)
    found = table.pair_emptied[node] - closer - (before[one] + before[two]) / 2
    pairs = np.random.default_rng(2).choice(others, (2, 20_000))
    swap = rank(pairs[0]) < rank(pairs[1])
    pairs[:, swap] = pairs[::-1, swap]
    joint = rank.reach(pairs[0])
    if not squared or degrees <= 45:
        joint = np.maximum(
            joint, rank.on_side(pairs[0]) + (rank.on_side(pairs[1]) if dim == 3 else rank.reach(pairs[1]) / 2)
        )
    assert (weights * found).sum() / weights.sum() == pytest.approx(joint.mean(), rel=slack)


@pytest.mark.parametrize("dim", [3, 4, 6])
def test_the_density_of_the_distance(dim):
    """f_r between two angles, counted."""
    edges = np.radians([0, 40, 65, 90, 110, 180])
    distance = np.arccos(np.clip(cloud(dim)[:, 0], -1, 1))
    for low, high in pairwise(edges):
        grid = low + (high - low) * (np.arange(2000) + 0.5) / 2000
        check_share(distance_density(dim, grid).mean() * (high - low), (distance > low) & (distance <= high))
