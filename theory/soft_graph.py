"""When is a cluster under Gaussian noise connected? The soft graph: whether two points have an edge is left to chance,
with a probability that depends on their angle, instead of being promised below a radius.

Clean points uniform on S^{r-1} of an r-dimensional subspace, noise N(0, sigma^2/D I): an observed point has the
direction a v + sqrt(1 - a^2) w with v uniform on S^{r-1} of the subspace, w uniform on S^{D-r-1} of its complement and
the alignment a, all independent. h(p; a) is the probability of an edge between a point of alignment a and another whose
v is p away.

Two-sided descent (theory.md, section 2g). Fix a sample R as root. If the cluster falls apart, a component without R has
a member x closest to R: no edge to R, nor to any sample closer to R. Either x is alone; or the component has a farthest
member too; or, where it holds the farthest sample of all, the rest has one: call it x'. No sample beyond x' has an edge
to x'. Given x and x' the other samples are independent, so that P(cluster not connected) is at most a double integral
over the two. One-step descent looks at x alone. Where two different points are blocked on opposite sides, the number of
points per solid angle that this takes is nearly that of an isolated point, twice what one-step descent counts.

The integrals are Gauss-Legendre sums; at floors finer rules change the bound by up to two percent.
Proof: theory.md, section 2g.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from theory.depth_threshold import coordinate_tail
from theory.inputs import require_count, require_range
from theory.pair_law import LARGEST_DIM, NOISE_RANGE, log_norm_density
from theory.precision import half_as_float64
from theory.quadrature import gauss_legendre, gauss_rule
from theory.sphere import azimuth, cap_measure, distance_density

# Beyond, the density of the angles is too steep for the rules below; clusters that large have no use for a floor.
LARGEST_SUBSPACE = 128
# Nodes: of the alignment; per panel of the angle between two points, of x's distance, and of the second point's.
ALIGNMENTS, ANGLE_NODES, DISTANCE_NODES, SECOND_NODES = 10, 16, 16, 16
# Nodes from which the alignment's rule is made, and the half-width of their window in standard deviations.
ALIGNMENT_TABLE, ALIGNMENT_WINDOW = 400, 9.0
# Half-width, in standard deviations of the noise's cosine, of the panels around the angle where edges get rare.
STEP_WIDTH = 6.0
# Dimensions up to which nodes crowd at the root and at its antipode.
LARGEST_DENSE = 5
# Entries a panel of the table of edge probabilities.
TABLE_NODES = 300

# (distance of a point from the root, limit) -> P(edge to a sample closer to the root than the limit), (..., a).
Reach = Callable[[np.ndarray, np.ndarray], np.ndarray]


@half_as_float64
@lru_cache(maxsize=256)
def alignment_law(ambient_dim: int, subspace_dim: int, noise_level: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of a Gauss rule for the law of a = |P x|/|x|: a^2 is noncentral Beta(r/2, (D-r)/2; D/sigma^2).

    Args:
        ambient_dim: D, at least 2 r: two subspaces that meet in the origin only.
        subspace_dim: r, 2 to 128.
        noise_level: sigma, in pair_law.NOISE_RANGE.

    Raises:
        ValueError: an argument out of range.
    """
    own = require_count(subspace_dim, "subspace_dim", 2, LARGEST_SUBSPACE)
    dim = require_count(ambient_dim, "ambient_dim", 2 * own, LARGEST_DIM)
    require_range(noise_level, "noise_level", *NOISE_RANGE)
    scale, rest = float(noise_level) / np.sqrt(dim), dim - own
    # The turn arctan(|P' x| / |P x|) in polar coordinates, where |P x| and |P' x| are norms of normal vectors.
    size = np.sqrt(1.0 + scale**2 * dim)
    centre = np.arctan2(scale * np.sqrt(rest), np.sqrt(1.0 + scale**2 * own))
    half = ALIGNMENT_WINDOW * scale / size
    turns, weights = gauss_legendre(max(centre - half, 0.0), min(centre + half, np.pi / 2), ALIGNMENT_TABLE)
    norms, norm_weights = gauss_legendre(max(size - 13.0 * scale, 0.0), size + 13.0 * scale, 96)
    log_density = (
        log_norm_density(np.cos(turns)[:, None] * norms, np.asarray(1.0), scale, own)
        + log_norm_density(np.sin(turns)[:, None] * norms, np.asarray(0.0), scale, rest)
        + np.log(norms)
    )
    mass = weights * (np.exp(log_density - log_density.max()) @ norm_weights)
    turn, share = gauss_rule(turns, mass, ALIGNMENTS)
    return np.cos(turn), share


@dataclass(frozen=True)
class SoftGraph:
    """A cluster's graph at one noise level and threshold.

    Attributes:
        subspace_dim, ambient_dim, threshold, squared: r, D, tau, and whether signs are ignored.
        alignments, shares: nodes and weights of the alignment's law.
    """

    subspace_dim: int
    ambient_dim: int
    noise_level: float
    threshold: float
    squared: bool

    @property
    def law(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights of the alignment."""
        return alignment_law(self.ambient_dim, self.subspace_dim, self.noise_level)

    def edge(self, angle: np.ndarray) -> np.ndarray:
        """h(p; a) at angles (p,) and the nodes of a: P(edge), shape (p, a)."""
        a, shares = self.law
        across = np.sqrt((1.0 - a) * (1.0 + a))
        along = a[:, None] * a * np.cos(angle)[:, None, None]
        room, dim = across[:, None] * across, self.ambient_dim - self.subspace_dim
        found = coordinate_tail(dim, (self.threshold - along) / room) @ shares
        if self.squared:
            found = found + coordinate_tail(dim, (self.threshold + along) / room) @ shares
        return found

    def panels(self, last: float) -> np.ndarray:
        """Ends of panels over [0, last]: split where edges get rare as the angle grows, and evenly beyond."""
        a, shares = self.law
        mean = float(a @ shares)
        step = float(np.arccos(np.clip(self.threshold / mean**2, -1.0, 1.0)))
        width = STEP_WIDTH * np.sqrt((1.0 - mean) * (1.0 + mean) / (self.ambient_dim - self.subspace_dim)) / mean
        ends = [0.0, step - width, step, step + width, last]
        ends += [np.pi - end for end in ends] if self.squared else []
        return np.unique(np.clip(ends, 0.0, last))

    def nodes(self, last: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights over [0, last], ``count`` a panel, dense at 0."""
        ends = self.panels(last)
        first = [part[None] for part in self.dense(count)]
        rest = gauss_legendre(np.zeros(len(ends) - 2), np.ones(len(ends) - 2), count)
        at, weight = (np.concatenate(parts) for parts in zip(first, rest))
        length = np.diff(ends)[:, None]
        return (ends[:-1, None] + length * at).ravel(), (length * weight).ravel()

    def dense(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights over [0, 1], dense at 0 where little of a sphere is far from a point of it: of many points
        those decide that are close to the root, or to its antipode."""
        v, w = gauss_legendre(0.0, 1.0, count)
        return (v**2, 2.0 * v * w) if self.subspace_dim <= LARGEST_DENSE else (v, w)

    @cached_property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Angles over [0, pi] and h at them, (p, a),
        close enough to be joined by straight lines."""
        ends = self.panels(np.pi)
        parts = [np.linspace(low, high, TABLE_NODES, endpoint=False) for low, high in pairwise(ends)]
        angle = np.concatenate([*parts, [np.pi]])
        return angle, self.edge(angle)


class SoftDescent:
    """The integrals of the bounds for one ``SoftGraph``; a batch size costs sums over them.

    Distances from the root are angles between the v's; lines' (arccos |<v, R>|) where signs are ignored. Arrays are
    indexed (d, a) by x's distance and alignment, (d, e, ...) by that and the second point's distance.

    Attributes:
        weights: (d,) quadrature weight times density of x's distance.
        missed: (d, a) 1 - h(d; a), no edge to the root.
        degree: (a,) Q, the probability of an edge to another sample.
        closer: (d, a) L, of an edge to a sample that is closer to the root.
    """

    def __init__(self, graph: SoftGraph) -> None:
        self.graph = graph
        r, last = graph.subspace_dim, np.pi / 2 if graph.squared else np.pi
        sheets = 2.0 if graph.squared else 1.0
        self.shares = graph.law[1]
        d, w = graph.nodes(last, DISTANCE_NODES)
        self.weights = sheets * w * distance_density(r, d)
        self.missed = 1.0 - graph.edge(d)
        reach = _circle_reach(graph) if r == 2 else _ring_reach(graph)
        whole = np.array([np.pi])
        self.degree = reach(whole, whole)[0] / sheets
        self.closer = reach(d, d)

        def beyond(distance: np.ndarray, limit: np.ndarray) -> np.ndarray:
            """P(edge to a sample farther from the root than ``limit``): closer to the antipode, where there is one."""
            return self.degree - reach(distance, limit) if graph.squared else reach(np.pi - distance, np.pi - limit)

        # The second point farther than x: no edge to what is farther still, and something is. Nodes dense at the end.
        v, w_v = graph.dense(SECOND_NODES)
        far, w_far = last - (last - d)[:, None] * v, (last - d)[:, None] * w_v
        self.far_weights = sheets * w_far * distance_density(r, far)
        self.far_edges = beyond(far, far)
        self.farther = 1.0 - sheets * cap_measure(r, far) if graph.squared else cap_measure(r, np.pi - far)
        # The second point closer than x: nothing in between, x blocked below it, it blocked beyond x.
        near, w_near = d[:, None] * v, d[:, None] * w_v
        self.near_weights = sheets * w_near * distance_density(r, near)
        at_x = np.broadcast_to(d[:, None], near.shape)
        self.near_x = reach(at_x, near) + sheets * (cap_measure(r, d)[:, None] - cap_measure(r, near))[..., None]
        self.near_edges = beyond(near, at_x)

    def one_step(self, num_points: int) -> float:
        """(m - 1) int f_r(d) E_a[(1 - h(d; a)) (1 - L(d; a))^{m-2}] dd, for m = ``num_points`` >= 2; exact at 2.

        Raises:
            ValueError: fewer than 2 points.
        """
        m = require_count(num_points, "num_points", 2)
        return float((m - 1) * self.weights @ (self._stuck(m) @ self.shares))

    def two_sided(self, num_points: int) -> float:
        """The two-sided bound for m = ``num_points`` >= 2 points, x by x the smaller of it and one-step descent.

        Raises:
            ValueError: fewer than 2 points.
        """
        m = require_count(num_points, "num_points", 2)
        root_alone = float(_power(self.degree, m - 1) @ self.shares)
        either = np.minimum(self._stuck(m), self.alone(m) + self.spread(m) + self.split(m))
        return root_alone + float((m - 1) * self.weights @ (either @ self.shares))

    def bound(self, num_points: int) -> float:
        """The smaller of both; arguments and errors as there."""
        return min(self.one_step(num_points), self.two_sided(num_points))

    def _stuck(self, m: int) -> np.ndarray:
        return self.missed * _power(self.closer, m - 2)

    def alone(self, m: int) -> np.ndarray:
        """P(x has no edge at all), (d, a)."""
        return self.missed * _power(self.degree, m - 2)

    def spread(self, m: int) -> np.ndarray:
        """Expected number of x' farther than x that, with x, are blocked on both sides, not the farthest, (d, a)."""
        if m < 4:
            return np.zeros_like(self.missed)
        both = _power(self.closer[:, None, :, None] + self.far_edges[:, :, None, :], m - 3)
        none = _power(self.closer[:, None, :] + self.farther[:, :, None], m - 3)
        pairs = np.einsum("deab,b,de->da", both, self.shares, self.far_weights)
        return (m - 2) * self.missed * np.maximum(pairs - np.einsum("dea,de->da", none, self.far_weights), 0.0)

    def split(self, m: int) -> np.ndarray:
        """Expected number of x' closer than x with nothing in between, x blocked below and x' beyond, (d, a)."""
        if m < 3:
            return np.zeros_like(self.missed)
        blocked = _power(self.near_x[:, :, :, None] + self.near_edges[:, :, None, :], m - 3)
        return (m - 2) * self.missed * np.einsum("deab,b,de->da", blocked, self.shares, self.near_weights)


def _power(share: np.ndarray, exponent: int) -> np.ndarray:
    """(1 - share)^exponent, 1 at exponent 0."""
    return np.exp(exponent * np.log1p(-np.clip(share, 0.0, 1.0 - 1e-16)))


def _ring_reach(graph: SoftGraph) -> Reach:
    """reach(d, t): P(edge to a sample closer to the root than t) of a point at d, (..., a); r >= 3.

    Rings around the point at angle p: of each the share within t of the root (of its antipode too, where signs are
    ignored). Beyond p = d + t there is none.
    """
    r, ends, (angles, edges) = graph.subspace_dim, graph.panels(np.pi), graph.table

    def one(distance: np.ndarray, limit: np.ndarray) -> np.ndarray:
        last = np.minimum(distance + limit, np.pi)[..., None]
        p, w = gauss_legendre(np.minimum(ends[:-1], last), np.minimum(ends[1:], last), ANGLE_NODES)
        p, w = (part.reshape(*distance.shape, -1) for part in (p, w))
        ring = w * distance_density(r, p) * cap_measure(r - 1, azimuth(limit[..., None], p, distance[..., None]))
        place = np.clip(np.searchsorted(angles, p, side="right") - 1, 0, len(angles) - 2)
        up = ring * (p - angles[place]) / np.diff(angles)[place]
        return np.einsum("...p,...pa->...a", ring - up, edges[place]) + np.einsum(
            "...p,...pa->...a", up, edges[place + 1]
        )

    return _both_ends(one, graph.squared)


def _circle_reach(graph: SoftGraph) -> Reach:
    """The same for r = 2, where rings are two points and steps would spoil the rule: F(p) = (1/pi) int_0^p h, read off
    a table, odd and continued beyond pi."""
    angles, edges = graph.table
    steps = 0.5 * (edges[1:] + edges[:-1]) * np.diff(angles)[:, None] / np.pi
    table = np.concatenate([np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)])

    def within(p: np.ndarray) -> np.ndarray:
        folded = np.minimum(np.abs(p), 2.0 * np.pi - np.abs(p))
        read = np.stack([np.interp(folded, angles, column) for column in table.T], axis=-1)
        return np.sign(p)[..., None] * np.where(np.abs(p)[..., None] > np.pi, 2.0 * table[-1] - read, read)

    def one(distance: np.ndarray, limit: np.ndarray) -> np.ndarray:
        return 0.5 * (within(limit - distance) + within(limit + distance))

    return _both_ends(one, graph.squared)


def _both_ends(one: Reach, squared: bool) -> Reach:
    """A line is close to the root if either of its ends is."""
    return (lambda distance, limit: one(distance, limit) + one(np.pi - distance, limit)) if squared else one


@half_as_float64
@lru_cache(maxsize=64)
def soft_descent(
    subspace_dim: int, ambient_dim: int, noise_level: float, threshold: float, squared: bool = False
) -> SoftDescent:
    """The integrals for one cluster.

    Args:
        subspace_dim: r, 2 to 128.
        ambient_dim: D >= 2 r.
        noise_level: sigma, in pair_law.NOISE_RANGE.
        threshold: tau in [0, 1).
        squared: signs are ignored: an edge where |C| > tau.

    Raises:
        ValueError: an argument out of range.
    """
    alignment_law(ambient_dim, subspace_dim, noise_level)
    require_range(threshold, "threshold", 0.0, 1.0, closed="left")
    return SoftDescent(SoftGraph(int(subspace_dim), int(ambient_dim), float(noise_level), float(threshold), squared))
