"""Theorem 2f (this toolkit's statement): the fusion ceiling, noise that one block removes for good.

Statement. K clusters of unit points in mutually orthogonal subspaces, within-cluster cosines >= a > 0, noise
N(0, sigma^2/D I), threshold tau = beta(sigma) of Theorem 2b at clean cross cosine 0. Let phi be half of
arccos(tau) - arccos(a). If after one block
    (i) no cross cosine of the noisy points exceeds tau,
    (ii) every token lies within the angle phi of its clean cluster's cone,
    (iii) no cross cosine of the tokens exceeds tau nu^2, nu = cos(phi) for tight clusters,
then at *every* layer from 1 on there is no false edge and every cluster is complete: the batch is recovered, whether or
not it was separated. (i) fails with probability at most delta/2 (pair law), (ii) is bounded by the row bound
(fusion_rows), (iii) by the conditional tail of Theorem 2e. The fusion ceiling is a noise level *at* which all three
hold with probability >= 1 - delta. For a given depth, (iii) may be replaced by Theorem 2e's own statement: no cross
cosine of layers 1 to L exceeds tau. The bound does not grow with the noise everywhere: at little noise tau is small,
and (iii) is not proved. What holds at another level, ``fusion_failure`` says.

(ii) and (iii) are computed by quadrature, not enclosed; (i) is enclosed by ``fusion_threshold(..., rigorous=True)``
(theory.md 2h).

Hypotheses: as above; affinity ReLU(C - tau), tokens never normalized, the noisy inputs included.
Proof: theory.md, section 2f.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import log_ndtr

from theory.batches.clusters import pair_counts
from theory.depth_threshold import conditional_tail
from theory.lemmas.fusion_nodes import FULL, QUICK, Nodes
from theory.lemmas.fusion_rows import RowLaw
from theory.lemmas.pair_law import LARGEST_DIM, NOISE_RANGE, safe_quantile
from theory.noise_ceiling import gaussian_separation
from theory.noise_free import norm_floor_squared
from theory.numerics.floor_search import bisect, settle
from theory.numerics.inputs import (
    LARGEST_SIZE,
    ClusterSizes,
    require_count,
    require_mixing,
    require_range,
    sizes_of_clusters,
)
from theory.numerics.precision import half_as_float64
from theory.rigorous.ceilings import Pairs, certify_cosine

# Slopes at which the tokens' angles are bounded.
LEVELS = 7
# The first step down from where a search with few nodes ended.
ROUND_DOWN = 3e-3
# Ratio of the scan, where it begins, and where it ends without a find, as shares of the separation ceiling.
SCAN_RATIO, SCAN_FROM = 2.0**0.25, (1.0, 0.25)
# Cluster sizes at which the search for a batch range looks first grow by this factor; where they end by default.
SIZE_RATIO, LARGEST_FUSED = 2, 65_536
# A threshold above 0 is needed even where the cross quantile is below.
LEAST_THRESHOLD = 1e-6


@dataclass(frozen=True)
class FusionFailure:
    """Bounds on the probability of each way to fail at one noise level; their sum bounds that of not being recovered.

    Attributes:
        threshold: tau.
        false_edges: (i), a false edge at layer 0.
        rows: (ii), a token that strays; in cones also a point that noise turns against its cluster.
        cross: (iii), a cross cosine at layer 1.
    """

    threshold: float
    false_edges: float
    rows: float
    cross: float

    @property
    def total(self) -> float:
        return min(1.0, self.false_edges + self.rows + self.cross)


@dataclass(frozen=True)
class _Setting:
    dim: int
    sizes: tuple[int, ...]
    copies: tuple[int, ...]
    within: float
    delta: float
    mixing: float
    subspace_dim: int
    depth: int | None
    cross_pairs: int

    @property
    def log_cross(self) -> float:
        return float(np.log(self.delta / (2 * self.cross_pairs)))


def _setting(ambient_dim, num_clusters, cluster_size, min_within_cos, delta, mixing, subspace_dim, depth) -> _Setting:
    dim = require_count(ambient_dim, "ambient_dim", 3, LARGEST_DIM)
    count, sizes = sizes_of_clusters(num_clusters, cluster_size)
    if count > dim:
        raise ValueError(f"num_clusters: must be a whole number in [2, ambient_dim = {dim}], got {count}")
    require_range(min_within_cos, "min_within_cos", 0.0, 1.0, closed="right")
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    require_mixing(mixing)
    tight = float(min_within_cos) == 1.0
    largest = 1 if tight and subspace_dim is None else dim // count
    inside = largest if subspace_dim is None else require_count(subspace_dim, "subspace_dim", 1, dim // count)
    values, counts = np.unique(sizes, return_counts=True)
    copies = (count,) if len(sizes) == 1 else tuple(int(c) for c in counts)
    return _Setting(
        dim, tuple(int(v) for v in values), copies, float(min_within_cos), float(delta), float(mixing), inside,
        None if depth is None else require_count(depth, "depth", 1), pair_counts(sizes, count)[1],
    )  # fmt: skip


@half_as_float64
def fusion_threshold(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    delta: float,
    noise_level: float,
    rigorous: bool = False,
) -> float:
    """tau for which the ceiling is proved: beta(sigma) of Theorem 2b at clean cross cosine 0, at least 1e-6.

    With ``rigorous`` (i), no false edge at layer 0 but for delta/2, is certified with enclosures, and tau rises by
    1e-9, and twice as far each time, until it is. (ii) and (iii), and with them the ceiling itself, stay numerical.

    Raises:
        ValueError: an argument outside its range.
        ImportError, ArithmeticError: ``rigorous``, as in ``theory.noise_ceiling.gaussian_separation``.
    """
    setting = _setting(ambient_dim, num_clusters, cluster_size, 1.0, delta, 1.0, None, None)
    require_range(noise_level, "noise_level", *NOISE_RANGE)
    threshold, pairs = _threshold(setting, float(noise_level)), Pairs(setting.cross_pairs, 0.0)
    if not rigorous:
        return threshold
    return certify_cosine(setting.dim, float(noise_level), pairs, threshold, setting.delta / 2.0, upper=True).proved


def _threshold(setting: _Setting, sigma: float) -> float:
    return max(safe_quantile(setting.dim, sigma, 0.0, setting.log_cross, upper=True), LEAST_THRESHOLD)


@half_as_float64
def fusion_failure(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_within_cos: float,
    delta: float,
    noise_level: float,
    mixing: float = 0.5,
    subspace_dim: int | None = None,
    depth: int | None = None,
) -> FusionFailure:
    """What can go wrong at a noise level, term by term. Arguments and errors as in ``gaussian_fusion``; ``noise_level``
    is sigma in pair_law.NOISE_RANGE."""
    setting = _setting(ambient_dim, num_clusters, cluster_size, min_within_cos, delta, mixing, subspace_dim, depth)
    require_range(noise_level, "noise_level", *NOISE_RANGE)
    return _failure(setting, float(noise_level))


def _failure(setting: _Setting, sigma: float, nodes: Nodes = FULL) -> FusionFailure:
    tau = _threshold(setting, sigma)
    phi = 0.5 * (np.arccos(tau) - np.arccos(setting.within)) * (1.0 - 1e-9)
    if phi <= 0.0:
        return FusionFailure(tau, setting.delta / 2.0, 1.0, 1.0)
    # The cone's axis: every clean point has at least this cosine with it.
    axis = float(np.sqrt(norm_floor_squared(setting.within, setting.sizes[-1])))
    tight = setting.within == 1.0
    top = np.tan(phi) if tight else axis * np.sin(phi)
    law = RowLaw(setting.dim, sigma, tau, setting.mixing, setting.within, nodes)
    typical = law.typical_slope(setting.sizes[0])
    if typical >= top:
        return FusionFailure(tau, setting.delta / 2.0, 1.0, 1.0)
    # From what is typical to what is allowed.
    slopes = np.geomspace(min(1.1 * typical, 0.95 * top), top, LEVELS)
    members = np.array(setting.copies) * np.array(setting.sizes, dtype=float)
    turned = _turned(setting, sigma)
    at_top = np.array([law.failure(top, size) for size in setting.sizes])
    least = members @ at_top + turned
    if least >= setting.delta / 2.0:
        return FusionFailure(tau, setting.delta / 2.0, min(float(least), 1.0), 1.0)
    # A row that fails at a slope fails at every smaller one: the smallest of the bounds so far.
    below = [law.failure(slopes[:-1], size) for size in setting.sizes]
    strays = np.minimum.accumulate(np.column_stack([below, at_top]), axis=1)
    rows = members @ strays + turned
    angles = np.arctan(slopes) if tight else np.arcsin(slopes / axis)
    best = FusionFailure(tau, setting.delta / 2.0, min(float(rows[-1]), 1.0), 1.0)
    for last in range(1, LEVELS):
        # Tokens of later layers are combinations of these: what that can add to a cross cosine.
        lean = np.cos(min(np.arccos(axis) + angles[last], np.pi / 2.0)) ** 2
        complete = 0.0 if tight else float(norm_floor_squared(np.cos(np.arccos(setting.within) + 2.0 * angles[last]),
                                                              setting.sizes[-1]))  # fmt: skip
        aligned = np.cos(angles[: last + 1]) ** 2
        cross = _cross(setting, strays[:, :last], aligned, tau * max(lean, complete))
        if setting.depth is not None:
            anywhere = np.minimum(1.0, strays[:, :last] * np.array(setting.sizes, dtype=float)[:, None])
            layers = _cross(setting, strays[:, :last], aligned, tau)
            layers += (setting.depth - 1) * _cross(setting, anywhere, aligned, tau)
            cross = min(cross, layers)
        found = FusionFailure(tau, setting.delta / 2.0, min(float(rows[last]), 1.0), cross)
        best = min(best, found, key=lambda f: f.rows + f.cross)
    return best


def _turned(setting: _Setting, sigma: float) -> float:
    """Cones: the probability that some <u_b, x_j> inside a cluster is negative."""
    if setting.within == 1.0:
        return 0.0
    pairs = sum(copies * size * size for copies, size in zip(setting.copies, setting.sizes))
    return float(np.exp(np.log(pairs) + log_ndtr(-setting.within * np.sqrt(setting.dim) / sigma)))


def _cross(setting: _Setting, strays: np.ndarray, aligned: np.ndarray, cap: float) -> float:
    """(iii): pairs times the tail of Theorem 2e, averaged over the two tokens' angles, which are independent.

    Args:
        strays: probability that a token exceeds each level but the last, (sizes, levels - 1).
        aligned: squared cosines of the levels. The angle is at worst the next level's.
    """
    ones = np.ones((len(strays), 1))
    masses = -np.diff(np.minimum.accumulate(np.hstack([ones, strays, 0.0 * ones]), axis=1), axis=1)
    if cap <= 0.0:
        return 1.0
    cosines = np.sqrt(aligned)
    pairs = masses @ conditional_tail(setting.dim, setting.subspace_dim, cap, cosines[:, None], cosines) @ masses.T
    size, copies = np.array(setting.sizes, dtype=float), np.array(setting.copies, dtype=float)
    clusters = np.outer(copies, copies)
    np.fill_diagonal(clusters, copies * (copies - 1.0))
    return float(min(1.0, 0.5 * (clusters * np.outer(size, size) * pairs).sum()))


@half_as_float64
def gaussian_fusion(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_within_cos: float,
    delta: float,
    mixing: float = 0.5,
    subspace_dim: int | None = None,
    depth: int | None = None,
) -> float:
    """The fusion ceiling: at this noise, with tau = ``fusion_threshold`` at it, a stack recovers the batch at every
    layer from 1 on (to ``depth``), with probability at least 1 - delta.

    Lower noise is not covered by this number alone (``fusion_failure`` tells). The integrals of the row bound are
    computed on nodes, from above where it is steep, not enclosed.

    Args:
        ambient_dim: D >= 3.
        num_clusters: K, 2 to D; their subspaces are orthogonal to each other.
        cluster_size: points a cluster, one number or K of them.
        min_within_cos: a in (0, 1], the smallest clean cosine inside a cluster; 1 for tight clusters.
        delta: failure probability in (0, 1).
        mixing: lambda in (0, 1].
        subspace_dim: r, at most D // K; None: 1 for tight clusters, the largest possible for cones.
        depth: L, where only layers 1 to L are asked for; None: every depth.

    Returns:
        sigma = sqrt(E|e|^2); 0 where nothing can be proved at a quarter of the separation ceiling.

    Raises:
        ValueError: an argument outside its range.
    """
    setting = _setting(ambient_dim, num_clusters, cluster_size, min_within_cos, delta, mixing, subspace_dim, depth)

    @cache
    def excess(log_sigma: float, nodes: Nodes = QUICK) -> float:
        """Negative where (ii) and (iii) together leave delta/2."""
        found = _failure(setting, float(np.exp(log_sigma)), nodes)
        return float(np.clip(np.log((found.rows + found.cross) / (setting.delta / 2.0)), -9.0, 9.0))

    first = gaussian_separation(ambient_dim, num_clusters, cluster_size, min_within_cos, 0.0, delta) * SCAN_FROM[0]
    if not NOISE_RANGE[0] <= first <= NOISE_RANGE[1]:
        return 0.0
    low, step = float(np.log(first)), float(np.log(SCAN_RATIO))
    least = low + float(np.log(SCAN_FROM[1] / SCAN_FROM[0]))
    while excess(low) >= 0.0:
        low -= step
        if low < least:
            return 0.0
    while excess(low + step) < 0.0:
        low += step
        if low + step > np.log(NOISE_RANGE[1]):
            raise ArithmeticError(f"no fusion ceiling found below {NOISE_RANGE[1]:g}")
    # The search is led by few nodes: go down until the bound holds, with all of them, at the number that is returned.
    root = brentq(excess, low, low + step, xtol=2e-3)
    down = ROUND_DOWN
    while excess(root, FULL) >= 0.0:
        root, down = root - down, 1.5 * down
        if root < least:
            return 0.0
    return float(np.exp(root))


@half_as_float64
def fusion_batch_range(
    ambient_dim: int,
    num_clusters: int,
    noise_level: float,
    min_within_cos: float,
    delta: float,
    mixing: float = 0.5,
    subspace_dim: int | None = None,
    depth: int | None = None,
    largest: int = LARGEST_FUSED,
) -> tuple[int, int] | None:
    """The smallest and the largest cluster size m found at which K clusters of m points are proved to be recovered at
    this noise: ``fusion_failure(..., m, ..., noise_level, ...).total`` <= delta.

    The threshold is ``fusion_threshold`` at the same noise and size. Sizes 2, 4, 8, ... up to ``largest`` are looked
    at, and the first and the last that are proved are bisected against their neighbours that are not. Both returned
    sizes are proved themselves, with all nodes. One less than the first is not, unless it is 1, nor is one more than
    the last, unless that is ``largest``: then the search ended, not the range. Nothing is promised in between, where
    ``fusion_failure`` tells (no gap is known: theory.md 2f), and a range that lies between two sizes of the grid is
    missed. A bound like the ceiling, numerical as it is: the floor proved, not the smallest batch that is recovered.

    Args:
        noise_level: sigma in pair_law.NOISE_RANGE.
        largest: largest cluster size that is looked at, at least 2.
        Others and errors as in ``gaussian_fusion``.

    Returns:
        (smallest, largest) points a cluster; None where no size of the grid is proved.
    """
    require_range(noise_level, "noise_level", *NOISE_RANGE)
    largest = require_count(largest, "largest", 2, LARGEST_SIZE)

    @cache
    def proved(size: int, nodes: Nodes = FULL) -> bool:
        place = ambient_dim, num_clusters, size, min_within_cos, delta, mixing, subspace_dim, depth
        return _failure(_setting(*place), float(noise_level), nodes).total <= delta

    def likely(size: int) -> bool:
        """What few nodes say, which leads to where all of them are asked."""
        return proved(size, QUICK)

    sizes = [2]
    while sizes[-1] < largest:
        sizes.append(min(largest, SIZE_RATIO * sizes[-1]))
    found = [i for i, size in enumerate(sizes) if likely(size)]
    if not found:
        return None
    first, last = sizes[found[0]], sizes[found[-1]]
    if found[0] > 0:
        first = bisect(likely, sizes[found[0] - 1], first)[1]
    if last < largest:
        last = -bisect(lambda size: likely(-size), -sizes[found[-1] + 1], -last)[1]
    low = settle(proved, first, 2, last)
    if low is None:
        return None
    # Downwards from the other side: the same search among negative numbers, which ends at the smallest at the latest.
    high = settle(lambda size: proved(-size), -last, -largest, -low)
    return None if high is None else (low, -high)
