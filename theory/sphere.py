"""Measures of caps and of their intersections on the unit sphere, as shares of the whole sphere.

S^{r-1} is the unit sphere of R^r; angles are in radians. Source: theory.md, section 2c (cap_s, f_r, lens_r, reach_r).
Everything is elementwise over NumPy arrays. Integrals are Gauss-Legendre sums over ranges cut to where the integrand
lives; NODES of them give three digits or more, which the tests check against simulation and finer rules.
"""

import numpy as np
from scipy.special import betainc, betaln

from theory.numerics.inputs import Numbers, require_count, require_range
from theory.numerics.precision import half_as_float64
from theory.numerics.quadrature import gauss_legendre

NODES = 48
# Denominators that vanish only where the quotient's sign is all that matters.
TINY = 1e-300


@half_as_float64
def distance_density(subspace_dim: int, angle: Numbers) -> Numbers:
    """f_r(d) = sin^{r-2} d / B((r-1)/2, 1/2): density of the angle between a fixed and a uniform point of S^{r-1}."""
    sine = np.maximum(np.sin(angle), TINY)
    return np.exp((subspace_dim - 2) * np.log(sine) - betaln((subspace_dim - 1) / 2, 0.5))


@half_as_float64
def cap_measure(subspace_dim: int, angle: Numbers) -> Numbers:
    """cap_r(psi): share of S^{r-1} within ``angle`` of a point; of S^0, a pair of points, 0, 1/2 or 1.

    Args:
        subspace_dim: r >= 1.
        angle: psi, clipped to [0, pi].
    """
    angle = np.clip(angle, 0.0, np.pi)
    if subspace_dim == 1:
        return np.where(angle <= 0.0, 0.0, np.where(angle >= np.pi, 1.0, 0.5))
    if subspace_dim == 2:
        return angle / np.pi
    if subspace_dim == 3:
        return np.sin(angle / 2.0) ** 2
    half = 0.5 * betainc((subspace_dim - 1) / 2, 0.5, np.sin(angle) ** 2)
    return np.where(angle <= np.pi / 2, half, 1.0 - half)


@half_as_float64
def arccos(cosine: Numbers) -> Numbers:
    """arccos of the clipped argument: 0 above 1, pi below -1."""
    return np.arccos(np.clip(cosine, -1.0, 1.0))


@half_as_float64
def azimuth(side: Numbers, left: Numbers, right: Numbers) -> Numbers:
    """Angle at a point between the directions to two others at distances ``left`` and ``right``, themselves ``side``
    apart (spherical law of cosines); 0 or pi where there is no such triangle."""
    sines = np.sin(left) * np.sin(right)
    return arccos((np.cos(side) - np.cos(left) * np.cos(right)) / np.where(np.abs(sines) < TINY, TINY, sines))


@half_as_float64
def cap_intersection(
    subspace_dim: int, distance: Numbers, radius: Numbers, other: Numbers, nodes: int = NODES
) -> Numbers:
    """Share of S^{r-1} within ``radius`` of x and within ``other`` of a point at ``distance`` from x.

    lens_r(d) is ``cap_intersection(r, d, vartheta, d)``.

    Args:
        subspace_dim: r >= 2.
        distance, radius, other: angles in [0, pi]; broadcast against each other.
    """
    distance, radius, other = np.broadcast_arrays(*np.atleast_1d(distance, radius, other))
    if subspace_dim == 2:
        # Arcs [-radius, radius] and [distance - other, distance + other], which may also meet on the far side.
        shared = [
            np.minimum(radius, turn + other) - np.maximum(-radius, turn - other)
            for turn in (distance, distance - 2.0 * np.pi)
        ]
        return np.minimum(sum(np.maximum(arc, 0.0) for arc in shared) / (2.0 * np.pi), 1.0)
    # Rings around x at angle p that do not reach the other cap contribute nothing.
    p, w = gauss_legendre(np.maximum(distance - other, 0.0), np.minimum(radius, np.pi), nodes)
    share = cap_measure(subspace_dim - 1, azimuth(other[..., None], p, distance[..., None]))
    return (w * distance_density(subspace_dim, p) * share).sum(-1)


@half_as_float64
def lens(subspace_dim: int, distance: Numbers, radius: float, squared: bool = False) -> Numbers:
    """lens_r(d): share of the points that are neighbours of x and closer to the root than x (theory.md 2c).

    Args:
        subspace_dim: r >= 2.
        distance: d, angle between x and the root, (0, pi]; with ``squared`` (0, pi/2].
        radius: vartheta, the angle below which points are neighbours.
        squared: antipodes coincide; distances are arccos |<., .>|.
    """
    near = cap_intersection(subspace_dim, distance, radius, distance)
    if not squared:
        return near
    # Of the two representatives of y take the one close to x: it may be closer to the root or to its antipode.
    return 2.0 * (near + cap_intersection(subspace_dim, np.pi - np.asarray(distance), radius, distance))


@half_as_float64
def reach(
    subspace_dim: int, radius: float, distance: Numbers, far: Numbers, turn: Numbers, squared: bool = False,
    nodes: int = 16,
) -> tuple[Numbers, Numbers]:  # fmt: skip
    """reach_r(d, z): share of the points closer to the root than x that are neighbours of z but not of x; and of those
    the share on z's side, whose part orthogonal to the root and x has a positive product with that of z.

    Args:
        subspace_dim: r >= 3.
        radius: vartheta in (0, pi/2].
        distance: d of x from the root.
        far: distance of z from the root, at least d (with ``squared`` at most pi - d).
        turn: angle at the root between the directions to x and to z.
        squared: antipodes coincide; of a point's representatives the one close to z counts.
    """
    near = _reach_one_side(subspace_dim, radius, distance, far, turn, squared, nodes, distance)
    if not squared:
        return near
    rest = _reach_one_side(subspace_dim, radius, np.pi - distance, np.pi - far, turn, True, nodes, distance)
    return 2.0 * (near[0] + rest[0]), 2.0 * (near[1] + rest[1])


def _reach_one_side(
    subspace_dim: int, radius: float, distance: Numbers, far: Numbers, turn: Numbers, both_signs: bool, nodes: int,
    limit: Numbers,
) -> tuple[Numbers, Numbers]:  # fmt: skip
    """Polar coordinates around the root: q < limit the distance of w from it, omega the azimuth from x's direction, chi
    the angle between the lateral parts of w and z. w is a neighbour of z iff cos chi exceeds a value that q and omega
    fix; it is on z's side iff cos chi > 0.
    """
    q, w_q = gauss_legendre(np.maximum(far - radius, 0.0), limit, nodes)
    distance, far, turn = distance[..., None], far[..., None], turn[..., None]
    spread = azimuth(radius, q, far)
    low = np.maximum(azimuth(radius, q, distance), turn - spread)
    high = np.minimum(np.pi, turn + spread)
    if both_signs:
        high = np.minimum(high, azimuth(np.pi - radius, q, distance))
    omega, w_omega = gauss_legendre(low, high, nodes)
    q_, far_, turn_ = q[..., None], far[..., None], turn[..., None]
    across = np.sin(q_) * np.sin(far_) * np.sin(omega) * np.sin(turn_)
    along = np.cos(q_) * np.cos(far_) + np.sin(q_) * np.sin(far_) * np.cos(omega) * np.cos(turn_)
    chi = arccos((np.cos(radius) - along) / np.maximum(across, TINY))
    weights = w_omega * distance_density(subspace_dim - 1, omega)
    ring = w_q * distance_density(subspace_dim, q)
    share = cap_measure(subspace_dim - 2, chi)
    # Of a cap around z's lateral part the half space on z's side holds what lies below the equator: 1/2 at most.
    all_of_it, on_side = ((ring * (weights * part).sum(-1)).sum(-1) for part in (share, np.minimum(share, 0.5)))
    return all_of_it, on_side


def require_sphere(subspace_dim: int, radius: float) -> None:
    """r >= 2 and a radius in (0, pi/2].

    Raises:
        ValueError: outside.
    """
    require_count(subspace_dim, "subspace_dim", 2)
    require_range(radius, "radius", 0.0, np.pi / 2, closed="right")
