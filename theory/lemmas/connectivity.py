"""When is a cluster connected? Bounds on the probability that m points, uniform on S^{r-1}, each joined to those within
an angle, fall into more than one component.

Two-step descent (this toolkit's statement, theory.md 2c). Fix one sample as root. A component without the root has a
sample x closest to it, at a distance d > vartheta, and then no sample lies in lens_r(d). Either x has no neighbour at
all, or of its neighbours let z_1 be the one with the largest reach (the closest to x among equals): no sample lies in
reach_r(d, z_1) either, for it would connect x to something closer to the root; nor in that of z_2, the one with the
largest reach on the other side of the plane through root and x. The regions that must be empty are disjoint (lens;
neighbours of larger reach, share T; reaches), and a union bound over x, z_1 and z_2 gives the bound. One-step descent
looks at the lens alone.

Hypotheses: r >= 2, radius in (0, pi/2]. The integrals are Gauss-Legendre sums, which finer rules change by a few
thousandths of the floor (r up to 64, radii from 5 degrees); floors are taken a margin above them. theory.rigorous
encloses Stevens' sum and one-step descent; two-step descent stays numerical.
Proof: theory.md, section 2c. Exact for r = 2: Stevens 1939.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import mpmath
import numpy as np
from scipy.special import betaincinv

from theory.numerics.inputs import Numbers, require_count, require_range
from theory.numerics.precision import half_as_float64
from theory.numerics.quadrature import gauss_legendre
from theory.sphere import (
    TINY,
    arccos,
    azimuth,
    cap_measure,
    distance_density,
    lens,
    reach,
    require_sphere,
)

# Floors are taken where the bounds, so much larger, are within their target: by more than what the sums of one-step
# descent are off by, and what an enclosure of them is wider.
ROUND_UP = 1.004
# The sums of two-step descent are off by more where the radius is wide: against rules of up to 32 nodes and 512 groups
# by 3.7 % near 90 degrees (targets down to 1e-40); with signs ignored, around 70 degrees, by 2 % of a target of 1e-7,
# 7 % of 1e-11 and a half of 1e-30.
WIDE_ROUND_UP, WIDE, WIDE_SQUARED = 1.05, np.deg2rad([70.0, 80.0]), np.deg2rad([45.0, 65.0])
SMALL_TARGET, TARGET_POWER = 1e-6, 0.02
# Nodes over the distance of x from the root and over each coordinate of its neighbour z, and groups of the latter.
DISTANCE_NODES, NEIGHBOUR_NODES, NEIGHBOUR_GROUPS = 40, 14, 49


@dataclass(frozen=True)
class Descent:
    """The integrals of the descent bounds for one dimension and radius; a batch size costs one sum over them.

    Attributes:
        subspace_dim, radius, squared: what they are for.
        distances: (d,) nodes of x's distance from the root, and ``weights``: quadrature weight times density.
        lens: (d,) share of the points that would let x descend in one step.
        cap: share within the radius of a point.
    """

    subspace_dim: int
    radius: float
    squared: bool
    distances: np.ndarray
    weights: np.ndarray
    lens: np.ndarray
    cap: float

    def round_up(self, delta: float) -> float:
        """How much larger than its sums the two-step bound is taken where it is held against delta."""
        if not self.squared:
            return float(np.interp(self.radius, WIDE, (ROUND_UP, WIDE_ROUND_UP)))
        small = max(1.0, SMALL_TARGET / delta) ** TARGET_POWER
        return small * float(np.interp(self.radius, WIDE_SQUARED, (ROUND_UP, WIDE_ROUND_UP)))

    @cached_property
    def neighbours(self) -> "Neighbours | None":
        """x's neighbours farther from the root; None where a second step gains nothing."""
        if self.subspace_dim == 2 or (self.squared and self.radius == np.pi / 2):
            # On a circle a neighbour away from the root reaches nothing that x does not; at 90 degrees all lines meet.
            return None
        return _neighbours(self)

    def one_step(self, num_points: float, until: float | None = None) -> float:
        """The one-step bound for m = ``num_points`` >= 2; with ``until`` at least its maximum over m <= m' <= until.

        Neither bound is monotone, but each of their terms rises to one peak and then falls, so that its maximum over a
        range of m' is known.

        Raises:
            ValueError: fewer than 2 points, ``until`` below their number.
        """
        _require_sizes(num_points, until)
        return float((self.weights * _single(self.lens, num_points, until)).sum())

    def two_step(self, num_points: float, until: float | None = None) -> float:
        """The two-step bound for m = ``num_points`` >= 2, never above the one-step bound; ``until`` and errors as
        there."""
        _require_sizes(num_points, until)
        stuck = _single(self.lens, num_points, until)
        if self.neighbours is not None:
            stuck = np.minimum(self.alone(num_points, until) + self.neighbours.stuck(num_points, until), stuck)
        return float((self.weights * stuck).sum())

    def alone(self, num_points: float, until: float | None = None) -> float:
        """First term of g_2, before the integral over d: (m - 1) P(x has no neighbour); ``until`` as above."""
        return _single(self.cap, num_points, until)


@dataclass(frozen=True)
class Neighbours:
    """x's neighbours z that are no closer to the root than x, in groups of about equal reach, largest reach first; and
    pairs of them, z_1 with the larger reach and z_2 on its other side.

    Attributes:
        shares: (d, groups) what a group stands for.
        emptied: (d, groups) what must be empty if z_1 is there, x is stuck and the other side has no neighbour.
        pair_shares, pair_emptied: (d, pairs) the same for z_1 and z_2.
    """

    shares: np.ndarray
    emptied: np.ndarray
    pair_shares: np.ndarray
    pair_emptied: np.ndarray

    def stuck(self, m: float, until: float | None) -> np.ndarray:
        """(m - 1) P(no descent, some neighbour), (d,)."""
        return self.one_sided(m, until) + self.two_sided(m, until)

    def one_sided(self, m: float, until: float | None = None) -> np.ndarray:
        """Second term of g_2: (m - 1) P(no descent, z_1 is there, no neighbour on its other side), (d,)."""
        return (self.shares * _pair(self.emptied, m, until)).sum(-1)

    def two_sided(self, m: float, until: float | None = None) -> np.ndarray:
        """Third term of g_2: at least (m - 1) P(no descent, z_1 and z_2 are there), (d,)."""
        return (self.pair_shares * _triple(self.pair_emptied, m, until)).sum(-1)


def _require_sizes(num_points: float, until: float | None, low: float = 2.0) -> None:
    require_range(num_points, "num_points", low, np.inf, closed="left")
    if until is not None:
        require_range(until, "until", float(num_points), np.inf)


def _log_miss(share: Numbers) -> Numbers:
    """-log(1 - share), kept inside (0, inf) on the side that makes a bound larger."""
    return np.maximum(-np.log1p(-np.clip(share, 0.0, 1.0 - 1e-16)), TINY)


def _single(share: Numbers, m: float, until: float | None) -> Numbers:
    """(m - 1)(1 - share)^{m-2}, or its maximum over m <= m' <= until; the peak is at m - 1 = 1/-log(1 - share)."""
    rate = _log_miss(share)
    size = np.clip(1.0 + 1.0 / rate, float(m), float(m if until is None else until))
    return np.exp(np.log(size - 1.0) - _times(size - 2.0, rate))


def _pair(share: Numbers, m: float, until: float | None) -> Numbers:
    """(m - 1)(m - 2)(1 - share)^{m-3}, or its maximum over m <= m' <= until; it has one stationary point beyond 2."""
    rate = _log_miss(share)
    peak = 1.5 + (1.0 + np.sqrt(1.0 + rate**2 / 4.0)) / rate
    size = np.clip(peak, float(m), float(m if until is None else until))
    with np.errstate(divide="ignore"):
        return np.exp(np.log(size - 1.0) + np.log(size - 2.0) - _times(size - 3.0, rate))


def _triple(share: Numbers, m: float, until: float | None) -> Numbers:
    """(m - 2)^3 (1 - share)^{m-4} >= (m - 1)(m - 2)(m - 3)(1 - share)^{m-4}, or its maximum over m <= m' <= until."""
    rate = _log_miss(share)
    size = np.clip(2.0 + 3.0 / rate, float(m), float(m if until is None else until))
    with np.errstate(divide="ignore"):
        return np.exp(3.0 * np.log(size - 2.0) - _times(size - 4.0, rate))


def _times(exponent: Numbers, rate: Numbers) -> Numbers:
    """exponent * rate, 0 where the exponent is 0 although the rate may be infinite; no negative exponents."""
    return np.where(exponent <= 0.0, 0.0, exponent * np.where(exponent <= 0.0, 1.0, rate))


@half_as_float64
@lru_cache(maxsize=64)
def descent(subspace_dim: int, radius: float, squared: bool = False) -> Descent:
    """The descent integrals.

    Args:
        subspace_dim: r >= 2.
        radius: vartheta in (0, pi/2].
        squared: antipodes coincide.

    Raises:
        ValueError: out of range.
    """
    require_sphere(subspace_dim, radius)
    sheets, last = (2.0, np.pi / 2) if squared else (1.0, np.pi)
    # Nodes are densest close to the root, where small radii and small targets have their mass.
    v, w_v = gauss_legendre(0.0, 1.0, DISTANCE_NODES)
    d, w = radius + (last - radius) * v**2, 2.0 * (last - radius) * v * w_v
    closer = np.minimum(lens(subspace_dim, d, radius, squared), 1.0)
    cap = sheets * float(cap_measure(subspace_dim, radius))
    return Descent(subspace_dim, radius, squared, d, sheets * w * distance_density(subspace_dim, d), closer, cap)


def _neighbours(bounds: Descent) -> Neighbours:
    """Nodes of x's neighbours z that are no closer to the root, sorted by reach and put in groups.

    Polar coordinates around x: p the distance of z, psi its azimuth from the direction to the root.
    """
    subspace_dim, radius, squared = bounds.subspace_dim, bounds.radius, bounds.squared
    distance, closer = bounds.distances[:, None, None], bounds.lens[:, None]
    # Distances are spread evenly over the share of points that they stand for, which in high dimensions is at the rim.
    u, w_u = gauss_legendre(0.0, 1.0, NEIGHBOUR_NODES)
    cap = float(cap_measure(subspace_dim, radius))
    p = np.arcsin(np.sqrt(betaincinv((subspace_dim - 1) / 2, 0.5, 2.0 * cap * u)))[None, :, None]
    first = arccos(np.tan(p / 2.0) / np.tan(distance))[..., 0]
    last = arccos(-1.0 / (np.tan(p / 2.0) * np.tan(distance)))[..., 0] if squared else np.full_like(first, np.pi)
    # Azimuths concentrate around 90 degrees as well; beyond seven standard deviations lie 1e-11 of them.
    width = 7.0 / np.sqrt(max(subspace_dim - 3, 1))
    first, last = np.maximum(first, np.pi / 2 - width), np.minimum(last, np.pi / 2 + width)
    psi, w_psi = gauss_legendre(first, last, NEIGHBOUR_NODES)
    shares = cap * w_u[None, :, None] * w_psi * distance_density(subspace_dim - 1, psi)
    far = arccos(np.cos(distance) * np.cos(p) + np.sin(distance) * np.sin(p) * np.cos(psi))
    turn = azimuth(p, distance, far)
    reached = reach(subspace_dim, radius, np.broadcast_to(distance, far.shape), far, turn, squared, NEIGHBOUR_NODES)
    shares = (2.0 if squared else 1.0) * shares
    shares, total, side = (part.reshape(len(distance), -1) for part in (shares, *reached))
    order = np.argsort(-total, axis=1, kind="stable")
    shares, total, side = (np.take_along_axis(part, order, axis=1) for part in (shares, total, side))

    def grouped(part: np.ndarray) -> np.ndarray:
        return part.reshape(len(distance), NEIGHBOUR_GROUPS, -1).sum(-1)

    mass = grouped(shares)
    total, side = (grouped(shares * part) / np.maximum(mass, TINY) for part in (total, side))
    better = np.cumsum(mass, axis=1) - 0.5 * mass
    # The other side of z_1 holds at least half of z_2's reach; with two sides only, all that lies on z_2's own side.
    other = side if subspace_dim == 3 else total / 2.0
    one, two = np.triu_indices(NEIGHBOUR_GROUPS)
    joint = total[:, one]
    if not squared or radius <= np.pi / 4:
        joint = np.maximum(joint, side[:, one] + other[:, two])
    # Half of z_2's share is on the other side; of a pair in one group either may come first.
    pair_shares = mass[:, one] * mass[:, two] / 2.0 * np.where(one == two, 0.5, 1.0)
    return Neighbours(
        mass,
        closer + (better + mass.sum(axis=-1, keepdims=True)) / 2.0 + total,
        pair_shares,
        closer + (better[:, one] + better[:, two]) / 2.0 + joint,
    )


@half_as_float64
def suffices(num_points: int, subspace_dim: int, radius: float, delta: float, squared: bool = False) -> bool:
    """Whether ``num_points`` points, and any larger number, are proved to be connected with probability 1 - delta.

    Quicker than comparing with the floor: never true below it, though for large delta it may be false at the floor.

    Raises:
        ValueError: an argument out of range.
    """
    m = require_count(num_points, "num_points", 2)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    bounds = descent(subspace_dim, radius, squared)
    if ROUND_UP * bounds.one_step(m, np.inf) <= delta:
        return True
    # Isolated points are part of the two-step bound: where they alone are too many, the rest need not be computed.
    lonely = _single(bounds.cap, float(m), None) * bounds.weights.sum()
    return bool(lonely <= 2.0 * delta) and bounds.round_up(delta) * bounds.two_step(m, np.inf) <= delta


# --- exactly, on the circle, and heuristically ------------------------------------------------------------------------


@half_as_float64
def circle_disconnection_probability(num_points: int, radius: float, squared: bool = False) -> float:
    """P(not connected) of m uniform points on a circle, exactly: two or more of the gaps exceed the radius.

    sum_{j >= 2} (-1)^j (j-1) C(m, j) (1 - j x/2 pi)_+^{m-1}, x the radius (Stevens 1939); with ``squared`` pi takes the
    place of 2 pi. The sum cancels heavily while the probability is large, hence the extra digits.

    Raises:
        ValueError: fewer than 2 points, a radius outside (0, pi].
    """
    m = require_count(num_points, "num_points", 2)
    require_range(radius, "radius", 0.0, np.pi, closed="right")
    radius = float(radius)
    with mpmath.workdps(30):
        share = mpmath.mpf(radius) / (mpmath.pi if squared else 2 * mpmath.pi)
        count = min(m, int(mpmath.floor(1 / share)))
        logs = [
            mpmath.log(mpmath.binomial(m, j)) + (m - 1) * mpmath.log(1 - j * share)
            for j in range(2, count + 1)
            if j * share < 1
        ]
        digits = 30 + max(int(max(logs, default=0) / mpmath.log(10)), 0)
    with mpmath.workdps(digits):
        share = mpmath.mpf(radius) / (mpmath.pi if squared else 2 * mpmath.pi)
        total = mpmath.fsum(
            (-1) ** j * (j - 1) * mpmath.binomial(m, j) * max(1 - j * share, 0) ** (m - 1) for j in range(2, count + 1)
        )
    return float(min(max(total, 0), 1))


@half_as_float64
def two_gap_rate(num_points: float, radius: float, squared: bool = False, until: float | None = None) -> float:
    """C(m, 2) (1 - 2 x/2 pi)^{m-1}, x the radius (pi for 2 pi if ``squared``): the expected number of pairs of gaps
    above the radius, the first term of Stevens' sum and a bound on it. With ``until`` its maximum over
    m <= m' <= until.

    Raises:
        ValueError: fewer than 2 points, a radius outside (0, pi], ``until`` below the number of points.
    """
    _require_sizes(num_points, until)
    require_range(radius, "radius", 0.0, np.pi, closed="right")
    rate = _log_miss(radius / (np.pi / 2 if squared else np.pi))
    peak = 0.5 + (1.0 + np.sqrt(1.0 + rate**2 / 4.0)) / rate
    size = np.clip(peak, float(num_points), float(num_points if until is None else until))
    return float(0.5 * np.exp(np.log(size) + np.log(size - 1.0) - rate * (size - 1.0)))


@half_as_float64
def isolated_point_rate(
    num_points: float, subspace_dim: int, radius: float, squared: bool = False, until: float | None = None
) -> float:
    """m (1 - cap)^{m-1}, the expected number of points without a neighbour: what P(not connected) comes close to from
    below when it is small, but no bound on it. With ``until`` its maximum over m <= m' <= until.

    Raises:
        ValueError: no points, an argument out of range, ``until`` below the number of points.
    """
    require_sphere(subspace_dim, radius)
    _require_sizes(num_points, until, low=1.0)
    share = (2.0 if squared else 1.0) * float(cap_measure(subspace_dim, radius))
    return float(_single(share, num_points + 1.0, None if until is None else until + 1.0))
