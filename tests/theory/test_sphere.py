"""Measures on the sphere against simulation, closed forms and finer rules."""

import mpmath
import numpy as np
import pytest

from tests import reference
from theory.numerics.quadrature import gauss_legendre
from theory.sphere import cap_intersection, cap_measure, distance_density, lens, reach

RNG_POINTS = 400_000


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 7, 16, 64])
def test_caps_complement_each_other(dim):
    angles = np.linspace(0.01, np.pi - 0.01, 50)
    assert np.allclose(cap_measure(dim, angles) + cap_measure(dim, np.pi - angles), 1.0, atol=1e-14)
    assert cap_measure(dim, np.pi) == 1.0
    assert cap_measure(dim, 0.0) == 0.0


@pytest.mark.parametrize("dim", [2, 3, 4, 5, 8, 32, 64])
@pytest.mark.parametrize("degrees", [5.0, 20.0, 60.0, 90.0])
def test_caps_against_high_precision(dim, degrees):
    """The integral of the density in 40 digits; relative, since caps get as small as 1e-69."""
    exact = reference.cap_measure(dim, np.radians(degrees))
    assert float(cap_measure(dim, np.radians(degrees))) == pytest.approx(exact, rel=1e-10)


@pytest.mark.parametrize("dim", [2, 3, 8, 64])
def test_the_density_integrates_to_the_cap(dim):
    nodes, weights = gauss_legendre(0.0, 1.0, 64)
    assert (weights * distance_density(dim, nodes)).sum() == pytest.approx(float(cap_measure(dim, 1.0)), rel=1e-10)


def test_an_intersection_is_symmetric_and_knows_its_limits():
    for dim, slack in ((2, 1e-12), (3, 2e-4), (5, 1e-4), (9, 1e-4)):
        a = cap_intersection(dim, 0.7, 0.5, 0.9)
        assert a == pytest.approx(cap_intersection(dim, 0.7, 0.9, 0.5), rel=slack)
        assert cap_intersection(dim, 1.5, 0.5, 0.9) == 0.0
        assert cap_intersection(dim, 0.1, 0.3, 0.9)[0] == pytest.approx(cap_measure(dim, 0.3), rel=1e-6)


def simulate(dim, radius, distance, p, psi, squared):
    """Shares of uniform points in the lens and in the reach of z, at (p, psi) around x; and z's coordinates."""
    root, x, down, side = np.zeros((4, dim))
    root[0], x[:2], down[:2], side[2] = (
        1,
        (np.cos(distance), np.sin(distance)),
        (np.sin(distance), -np.cos(distance)),
        1,
    )
    z = np.cos(p) * x + np.sin(p) * (np.cos(psi) * down + np.sin(psi) * side)
    points = np.random.default_rng(1).standard_normal((RNG_POINTS, dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    to_root, to_x, to_z = ((np.abs(c) if squared else c) for c in (points @ root, points @ x, points @ z))
    closer, near_x, near_z = to_root > np.cos(distance), to_x > np.cos(radius), to_z > np.cos(radius)
    far = np.arccos(z @ root)
    turn = np.arccos((np.cos(p) - np.cos(distance) * np.cos(far)) / (np.sin(distance) * np.sin(far)))
    reached = closer & near_z & ~near_x
    # Of a line's two representatives the one close to z tells the side.
    on_side = reached & (points[:, 2] * (np.sign(points @ z) if squared else 1.0) > 0)
    return (closer & near_x).mean(), (reached.mean(), on_side.mean()), far, turn


@pytest.mark.parametrize(
    ("dim", "radius", "distance", "p", "psi", "squared"),
    [(3, 30, 60, 25, 100, False), (3, 80, 100, 70, 95, False), (4, 45, 60, 30, 90, False), (5, 45, 50, 40, 80, False),
     (8, 60, 75, 55, 95, False), (3, 30, 60, 25, 100, True), (4, 45, 70, 40, 95, True), (5, 60, 88, 50, 80, True)],
)  # fmt: skip
def test_lens_and_reach_against_simulation(dim, radius, distance, p, psi, squared):
    radius, distance, p, psi = np.radians([radius, distance, p, psi])
    seen_lens, seen_reach, far, turn = simulate(dim, radius, distance, p, psi, squared)
    found = (lens(dim, np.array([distance]), radius, squared)[0],
             *(part[0] for part in reach(dim, radius, *np.array([[distance], [far], [turn]]), squared)))  # fmt: skip
    for value, seen in zip(found, (seen_lens, *seen_reach)):
        assert abs(value - seen) < 4.5 * np.sqrt(seen / RNG_POINTS), (value, seen)


@pytest.mark.parametrize(("dim", "squared"), [(4, False), (5, False), (8, False), (4, True), (6, True)])
def test_two_reaches_on_different_sides_add_up_as_the_proof_says(dim, squared):
    """|reach(z_1) or reach(z_2)| >= on_side(z_1) + reach(z_2)/2 for z_2 on the other side of z_1, counted."""
    rng = np.random.default_rng(dim)
    radius, distance = (0.75, 1.2) if squared else (0.9, 1.2)
    points = rng.standard_normal((RNG_POINTS, dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    root, x = np.eye(dim)[0], np.cos(distance) * np.eye(dim)[0] + np.sin(distance) * np.eye(dim)[1]
    size = np.abs if squared else np.asarray
    for _ in range(5):
        sides = rng.standard_normal((2, dim - 2))
        sides[1] *= -np.sign(sides[0] @ sides[1])
        sides /= np.linalg.norm(sides, axis=1, keepdims=True)
        p = 0.8 * radius
        z = np.cos(p) * x + np.sin(p) * np.concatenate([np.zeros((2, 2)), sides], axis=1)
        cosines = points @ z.T
        open_to = (size(points @ root) > np.cos(distance)) & ~(size(points @ x) > np.cos(radius))
        hit = (size(cosines) > np.cos(radius)) & open_to[:, None]
        on_side = (np.sign(cosines[:, 0]) if squared else 1.0) * (points[:, 2:] @ sides[0]) > 0
        joint = (hit[:, 0] & on_side).mean() + hit[:, 1].mean() / 2
        assert hit.any(axis=1).mean() >= joint - 4.5 * np.sqrt(joint / RNG_POINTS)


def test_the_lens_of_theory_md_in_its_own_words():
    """int_0^vartheta f_r(p) cap_{r-1}(arccos(clip(tan(p/2)/tan d))) dp, and the squared one, in 20 digits."""
    for dim, radius, distance in ((3, 0.5, 0.9), (4, 0.8, 1.2), (6, 0.4, 1.0)):
        for squared in (False, True):
            exact = float(reference.lens(dim, radius, distance, squared))
            assert lens(dim, np.array([distance]), radius, squared)[0] == pytest.approx(exact, rel=1e-4)


def test_tiny_measures_are_accurate():
    """r = 64, 5 degrees: 1e-69 of the sphere."""
    exact = float(reference.lens(64, np.radians(5), 1.5, False))
    assert lens(64, np.array([1.5]), np.radians(5), False)[0] == pytest.approx(exact, rel=1e-3)
    assert 0.0 < exact < float(mpmath.mpf(10) ** -60)
