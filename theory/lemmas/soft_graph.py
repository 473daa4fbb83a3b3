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

The integrals are Gauss sums (``Rules``), not enclosures. At floors RULES are within about two percent of rules of twice
as many nodes, and those within half a percent of still finer ones; targets below about 1e-13 need more of the
alignment's tail than the former reach. theory.soft_floor compares both rules wherever it calls a size proved.
Proof: theory.md, section 2g.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np

from theory.depth_threshold import coordinate_tail
from theory.lemmas.pair_law import LARGEST_DIM, NOISE_RANGE, log_norm_density
from theory.lemmas.soft_reach import Reach
from theory.numerics.inputs import require_count, require_range
from theory.numerics.precision import half_as_float64
from theory.numerics.quadrature import gauss_legendre, gauss_rule
from theory.sphere import TINY, cap_measure, distance_density

# Beyond, the density of the angles is too steep for the rules below; clusters that large have no use for a floor.
LARGEST_SUBSPACE = 128
# Nodes from which the alignment's rule is made, and the half-width of their window in standard deviations.
ALIGNMENT_TABLE, ALIGNMENT_WINDOW = 600, 13.0
# Nodes that such a table still gives.
LARGEST_RULE = 100
# Half-width, in standard deviations of the noise's cosine, of the panels around the angle where edges get rare.
STEP_WIDTH = 6.0
# Dimensions up to which nodes crowd at the root and at its antipode.
LARGEST_DENSE = 5
# Above, half-width of the belt around the equator that holds nearly all of a sphere, times sqrt(r).
EQUATOR = 4.0
# Panels of the second point's distance: parts of the way from the end, for a farther one, and from x, for a closer one.
FAR_PANELS, NEAR_PANELS = (0.0, 0.15, 0.3, 0.55, 1.0), (0.0, 0.01, 0.1, 1.0)
# Entries of the largest array that is made at once.
BLOCK = 400_000


@dataclass(frozen=True)
class Rules:
    """Numbers of nodes: of the alignment; a panel, of the angle between two points, of x's distance, and of the second
    point's; and of entries a panel of the table of edge probabilities."""

    alignments: int
    angle: int
    distance: int
    second: int
    table: int

    def finer(self) -> "Rules":
        """Twice as many of each."""
        return Rules(*(2 * count for count in astuple(self)))


RULES = Rules(alignments=12, angle=9, distance=12, second=10, table=120)


@half_as_float64
@lru_cache(maxsize=256)
def alignment_law(
    ambient_dim: int, subspace_dim: int, noise_level: float, count: int = RULES.alignments
) -> tuple[np.ndarray, np.ndarray]:
    """``count`` nodes and weights of a Gauss rule for the law of a = |P x|/|x|: a^2 is noncentral
    Beta(r/2, (D-r)/2; D/sigma^2).

    Args:
        ambient_dim: D, at least 2 r: two subspaces that meet in the origin only.
        subspace_dim: r, 2 to 128.
        noise_level: sigma, in pair_law.NOISE_RANGE.
        count: 1 to 100 nodes.

    Raises:
        ValueError: an argument out of range.
    """
    own = require_count(subspace_dim, "subspace_dim", 2, LARGEST_SUBSPACE)
    dim = require_count(ambient_dim, "ambient_dim", 2 * own, LARGEST_DIM)
    require_range(noise_level, "noise_level", *NOISE_RANGE)
    count = require_count(count, "count", 1, LARGEST_RULE)
    scale, rest = float(noise_level) / np.sqrt(dim), dim - own
    # The turn arctan(|P' x| / |P x|) in polar coordinates, where |P x| and |P' x| are norms of normal vectors.
    size = np.sqrt(1.0 + scale**2 * dim)
    center = np.arctan2(scale * np.sqrt(rest), np.sqrt(1.0 + scale**2 * own))
    half = ALIGNMENT_WINDOW * scale / size
    turns, weights = gauss_legendre(max(center - half, 0.0), min(center + half, np.pi / 2), ALIGNMENT_TABLE)
    norms, norm_weights = gauss_legendre(max(size - 13.0 * scale, 0.0), size + 13.0 * scale, 96)
    log_density = (
        log_norm_density(np.cos(turns)[:, None] * norms, np.asarray(1.0), scale, own)
        + log_norm_density(np.sin(turns)[:, None] * norms, np.asarray(0.0), scale, rest)
        + np.log(norms)
    )
    mass = weights * (np.exp(log_density - log_density.max()) @ norm_weights)
    turn, share = gauss_rule(turns, mass, count)
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
    rules: Rules = RULES

    @property
    def law(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and weights of the alignment."""
        return alignment_law(self.ambient_dim, self.subspace_dim, self.noise_level, self.rules.alignments)

    def edges(self, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """h(p; a) = P(edge) at angles (p,) and the nodes of a, and 1 - h(p; a), both accurate where small: (p, a)."""
        a, shares = self.law
        # The law of a pair is symmetric in its alignments.
        first, second = np.triu_indices(len(a))
        pair = np.zeros((len(a), len(a)), dtype=int)
        pair[first, second] = pair[second, first] = np.arange(len(first))
        across, dim = np.sqrt((1.0 - a) * (1.0 + a)), self.ambient_dim - self.subspace_dim
        along, room = a[first] * a[second] * np.cos(angle)[:, None], across[first] * across[second]
        cosine = (self.threshold - along) / room
        tail = coordinate_tail(dim, np.abs(cosine))
        found, rest = np.where(cosine >= 0.0, (tail, 1.0 - tail), (1.0 - tail, tail))
        if self.squared:
            opposite = coordinate_tail(dim, (self.threshold + along) / room)
            found, rest = found + opposite, np.maximum(rest - opposite, 0.0)
        return found[:, pair] @ shares, rest[:, pair] @ shares

    def panels(self, last: float) -> np.ndarray:
        """Ends of panels over [0, last]: split where edges get rare as the angle grows, and evenly beyond."""
        a, shares = self.law
        mean = float(a @ shares)
        step = float(np.arccos(np.clip(self.threshold / mean**2, -1.0, 1.0)))
        width = STEP_WIDTH * np.sqrt((1.0 - mean) * (1.0 + mean) / (self.ambient_dim - self.subspace_dim)) / mean
        ends = [0.0, step - width, step, step + width, last]
        ends += [np.pi - end for end in ends] if self.squared else []
        if self.subspace_dim > LARGEST_DENSE:
            # Most of a sphere is at about a right angle.
            ends += [np.pi / 2 - EQUATOR / np.sqrt(self.subspace_dim), np.pi / 2 + EQUATOR / np.sqrt(self.subspace_dim)]
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
    def reach(self) -> Reach:
        """Sums over samples of h (the first half of the columns, one for each node of a) and of 1 - h (the second)."""
        ends = self.panels(np.pi / 2 if self.squared else np.pi)
        parts = [np.linspace(low, high, self.rules.table, endpoint=False) for low, high in pairwise(ends)]
        angle = np.concatenate([*parts, ends[-1:]])
        kernels = np.concatenate(self.edges(angle), axis=1)
        if self.squared:
            angle = np.concatenate([angle, np.pi - angle[-2::-1]])
            kernels = np.concatenate([kernels, kernels[-2::-1]])
        return Reach(self.subspace_dim, self.squared, ends, angle, kernels, self.rules.angle)


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
        sheets, count, reach = 2.0 if graph.squared else 1.0, graph.rules.alignments, graph.reach
        self.shares = graph.law[1]
        d, w = graph.nodes(last, graph.rules.distance)
        self.weights = sheets * w * distance_density(r, d)
        self.missed = graph.edges(d)[1]
        self.degree = reach.within(np.array([last]), np.array([last]))[0, :count]
        self.closer = reach.within(d, d)[:, :count]
        # The second point farther than x: no edge to what is farther still, and something is.
        v, w_v = _panel_nodes(FAR_PANELS, graph.rules.second)
        rest = (last - d)[:, None]
        far = last - rest * v
        self.far_weights = sheets * rest * w_v * distance_density(r, far)
        self.far_missed = reach.beyond(far, far)[..., count:]
        # F(d') - L(d): neither beyond x' nor closer than x with an edge to x.
        within = sheets * cap_measure(r, far)
        self.elsewhere = np.maximum(within[..., None] - self.closer[:, None, :], TINY)
        # The second point closer than x: nothing in between, x blocked below it, it blocked beyond x.
        v, w_v = _panel_nodes(NEAR_PANELS, graph.rules.second)
        near = d[:, None] * (1.0 - v)
        self.near_weights = sheets * d[:, None] * w_v * distance_density(r, near)
        at_x = np.broadcast_to(d[:, None], near.shape)
        between = sheets * (cap_measure(r, d)[:, None] - cap_measure(r, near))
        self.near_x = reach.within(at_x, near)[..., :count] + between[..., None]
        self.near_edges = reach.beyond(near, at_x)[..., :count]

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
        base = (m - 3) * np.log(self.elsewhere)

        def pairs(rows: slice) -> np.ndarray:
            """(B + M)^(m-3) - B^(m-3), M the share beyond x' without an edge to it: no difference of nearly equals."""
            ratio = self.far_missed[rows, :, None, :] / self.elsewhere[rows, :, :, None]
            grown = (m - 3) * np.log1p(ratio)
            powers = -np.expm1(-grown) * np.exp(np.minimum(base[rows, :, :, None] + grown, 0.0))
            return np.einsum("dea,de->da", powers @ self.shares, self.far_weights[rows])

        return (m - 2) * self.missed * self._by_rows(pairs, self.far_weights.shape[1])

    def split(self, m: int) -> np.ndarray:
        """Expected number of x' closer than x with nothing in between, x blocked below and x' beyond, (d, a)."""
        if m < 3:
            return np.zeros_like(self.missed)

        def pairs(rows: slice) -> np.ndarray:
            blocked = _power(self.near_x[rows, :, :, None] + self.near_edges[rows, :, None, :], m - 3)
            return np.einsum("dea,de->da", blocked @ self.shares, self.near_weights[rows])

        return (m - 2) * self.missed * self._by_rows(pairs, self.near_weights.shape[1])

    def _by_rows(self, part: Callable[[slice], np.ndarray], width: int) -> np.ndarray:
        """A sum for a few distances of x at a time: arrays that fit a cache are quicker."""
        step = max(1, BLOCK // (width * len(self.shares) ** 2))
        return np.concatenate([part(slice(at, at + step)) for at in range(0, len(self.missed), step)])


def _power(share: np.ndarray, exponent: int) -> np.ndarray:
    """(1 - share)^exponent, 1 at exponent 0."""
    return np.exp(exponent * np.log1p(-np.clip(share, 0.0, 1.0 - 1e-16)))


def _panel_nodes(ends: tuple[float, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights over [0, 1], ``count`` a panel."""
    nodes, weights = gauss_legendre(np.array(ends[:-1]), np.array(ends[1:]), count)
    return nodes.ravel(), weights.ravel()


@half_as_float64
@lru_cache(maxsize=64)
def soft_descent(
    subspace_dim: int,
    ambient_dim: int,
    noise_level: float,
    threshold: float,
    squared: bool = False,
    rules: Rules = RULES,
) -> SoftDescent:
    """The integrals for one cluster.

    Args:
        subspace_dim: r, 2 to 128.
        ambient_dim: D >= 2 r.
        noise_level: sigma, in pair_law.NOISE_RANGE.
        threshold: tau in [0, 1).
        squared: signs are ignored: an edge where |C| > tau.
        rules: numbers of nodes.

    Raises:
        ValueError: an argument out of range.
    """
    alignment_law(ambient_dim, subspace_dim, noise_level)
    require_range(threshold, "threshold", 0.0, 1.0, closed="left")
    return SoftDescent(
        SoftGraph(int(subspace_dim), int(ambient_dim), float(noise_level), float(threshold), squared, rules)
    )
