"""Theorem 2e (this toolkit's statement): a threshold at which no layer has a false edge, whatever the noise.

Statement. Clean points lie in subspaces S_k of dimension r, kappa is the largest cosine between two of the subspaces,
the noise is Gaussian, N(0, sigma^2/D I), of any sigma; d = D - r. With N cross pairs and L blocks, at
    tau >= tau_L = sqrt(kappa^2 + T^2),    T the cosine with tail(T) = delta/((L + 1) N),
no layer 0..L of the stack has a false edge with probability at least 1 - delta: every row that has a neighbour has
affinity sharpness exactly 1, at every depth. tail(t) = exp(-d t^2/2); between orthogonal subspaces (d >= 3) the smaller
of it and the spherical tail C_d(t) P(one coordinate of a uniform point of S^{d-1} > t), which is 8 to 22 % less in T.
Given the alignments c_i = |P_k y_i|/|y_i| of two tokens of any one layer,
    P(cos(y_i, y_j) > kappa c_i c_j + t) <= exp(-d t^2 / (2 (1 - c_i^2 c_j^2))).

Hypotheses: points of any norm, in S_k before the noise; queries and keys are the tokens themselves (no query/key map,
or one that is a multiple of an isometry); every block reads cosines and norms only, whatever its power, mixing,
normalization (rescaling to unit norm; taking off a token's mean reads more) or bias form (of unit tokens). The noise
need not be Gaussian: for each cluster, independently of the others, its joint law must not change under rotations of
S_k's complement (uniform on spheres or balls as well).
Proof: theory.md, section 2e.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import betainc, betaln

from theory.batches.clusters import pair_counts
from theory.batches.trajectory import Trajectory
from theory.judging.rates import RateCell
from theory.judging.statements import THEOREM_2E
from theory.judging.verdicts import Verdict, combine_parts, judge
from theory.lemmas.pair_law import LARGEST_DIM
from theory.numerics.floor_search import log_share
from theory.numerics.inputs import (
    ClusterSizes,
    Numbers,
    require_count,
    require_range,
    require_threshold,
    sizes_of_clusters,
)
from theory.numerics.precision import ABSOLUTE_MARGIN, UNIT_SUM_TOLERANCE, half_as_float64
from theory.rigorous.certificates import Certificate, certify
from theory.rigorous.spherical_tail import depth_failure

NAME = THEOREM_2E.name
# Thresholds are returned this much higher (relative), on the side where the tail is within its share; in many
# dimensions by so much a dimension, for incomplete beta functions lose digits there.
ROUND_UP, ROUND_UP_A_DIMENSION = 1e-9, 1e-16
# Below it the spherical tail leaves float64's range, and the exponential one stands alone.
SMALLEST_LOG_TAIL = -600.0


@half_as_float64
def spherical_tail(dim: int, cosine: Numbers) -> Numbers:
    """P(one coordinate of a uniform point of S^{dim-1} > cosine), elementwise; -1 and below 1, 1 and above 0.

    Args:
        dim: at least 1; of S^0, two points, 1/2 inside (-1, 1).

    Raises:
        ValueError: no dimension, NaN or infinite cosines.
    """
    dim = require_count(dim, "dim", 1, LARGEST_DIM)
    require_range(cosine, "cosine", -np.inf, np.inf, closed="neither")
    return coordinate_tail(dim, np.asarray(cosine, dtype=float))


def coordinate_tail(dim: int, cosine: Numbers) -> Numbers:
    """``spherical_tail`` inside integrals, unchecked."""
    inside = np.clip(cosine, -1.0, 1.0)
    if dim == 1:
        return np.where(cosine >= 1.0, 0.0, np.where(cosine <= -1.0, 1.0, 0.5))
    half = 0.5 * betainc((dim - 1) / 2, 0.5, (1.0 - inside) * (1.0 + inside))
    return np.where(inside >= 0.0, half, 1.0 - half)


@half_as_float64
def tail_constant(complement_dim: int, excess: Numbers) -> Numbers:
    """C_d(t) = [1 + (1 - t^2)/((d-1) t^2)] (1 - t^2)^{-1/2} B((d-2)/2, 1/2)/B((d-1)/2, 1/2): how much more than the
    spherical tail a cross cosine's may be, whatever the alignments, as far as it is proved; 1.05 to 2 where it matters.

    Args:
        complement_dim: d >= 3.
        excess: t in (0, 1).

    Raises:
        ValueError: out of range.
    """
    dim = require_count(complement_dim, "complement_dim", 3, LARGEST_DIM)
    require_range(excess, "excess", 0.0, 1.0, closed="neither")
    return np.exp(_log_tail_constant(dim, np.asarray(excess, dtype=float)))


def _log_tail_constant(dim: int, excess: Numbers) -> Numbers:
    rest = (1.0 - excess) * (1.0 + excess)
    with np.errstate(divide="ignore", over="ignore"):
        mills = np.log1p(rest / (excess * excess) / (dim - 1))
    return mills - 0.5 * np.log(rest) + betaln((dim - 2) / 2, 0.5) - betaln((dim - 1) / 2, 0.5)


@half_as_float64
def conditional_tail(
    ambient_dim: int,
    subspace_dim: int,
    excess: Numbers,
    alignment_i: Numbers,
    alignment_j: Numbers,
    max_between_cos: float = 0.0,
) -> Numbers:
    """Bound on P(cos(y_i, y_j) > kappa c_i c_j + t) of two tokens of one layer, given their alignments; elementwise.

    Args:
        ambient_dim: D.
        subspace_dim: r >= 1, below D.
        excess: t in (0, 1).
        alignment_i, alignment_j: c = |P y|/|y| of each token with its own subspace, [0, 1].
        max_between_cos: kappa, the cosine of the smallest principal angle, [0, 1); 0 for orthogonal subspaces.

    Raises:
        ValueError: an argument out of range.
    """
    dim = _complement(ambient_dim, subspace_dim)
    require_range(excess, "excess", 0.0, 1.0, closed="neither")
    require_range(alignment_i, "alignment_i", 0.0, 1.0)
    require_range(alignment_j, "alignment_j", 0.0, 1.0)
    require_range(max_between_cos, "max_between_cos", 0.0, 1.0, closed="left")
    t = np.asarray(excess, dtype=float)
    free = 1.0 - np.asarray(alignment_i) ** 2 * np.asarray(alignment_j) ** 2
    exponential = np.where(free > 0.0, np.exp(-dim * t * t / (2.0 * np.where(free > 0.0, free, 1.0))), 0.0)
    if max_between_cos > 0.0 or dim < 3:
        return exponential
    return np.minimum(exponential, np.exp(_log_tail_constant(dim, t)) * coordinate_tail(dim, t))


@half_as_float64
def depth_threshold(
    ambient_dim: int,
    subspace_dim: int,
    num_cross_pairs: int,
    depth: int,
    delta: float,
    max_between_cos: float = 0.0,
    squared: bool = False,
    rigorous: bool = False,
) -> float | None:
    """tau_L: at it, and at every larger threshold, no layer 0..L has a false edge with probability at least 1 - delta.

    Args:
        ambient_dim: D.
        subspace_dim: r >= 1, below D.
        num_cross_pairs: N >= 1, unordered (``cross_pairs``).
        depth: L >= 0 mixing blocks; a stack of depth L has L + 1 layers.
        delta: failure probability, (0, 1).
        max_between_cos: kappa, the cosine of the smallest principal angle, [0, 1); 0 for orthogonal subspaces.
        squared: the truncated output ignores signs (C^2 where |C| > cut), so that its pairs may pass on either side.
        rigorous: certify the union bound with enclosures (theory.md 2h); the threshold rises by ROUND_UP, and twice as
            far each time, until it holds.

    Returns:
        A threshold in (0, 1); None where none below 1 is proved.

    Raises:
        ValueError: an argument out of range.
        ImportError: ``rigorous`` without the extra [rigorous].
    """
    arguments = ambient_dim, subspace_dim, num_cross_pairs, depth, delta, max_between_cos, squared
    if rigorous:
        certificate = depth_certificate(*arguments)
        return None if certificate is None else certificate.number
    dim, events = _checked(*arguments)
    log_tail = log_share(delta, events)
    excess = float(np.sqrt(-2.0 * log_tail / dim))
    if max_between_cos == 0.0 and dim >= 3 and log_tail > SMALLEST_LOG_TAIL:
        excess = min(excess, _spherical_excess(dim, log_tail))
    threshold = float(np.hypot(max_between_cos, excess)) * (1.0 + max(ROUND_UP, ROUND_UP_A_DIMENSION * dim))
    return threshold if threshold < 1.0 else None


@half_as_float64
def depth_certificate(
    ambient_dim: int,
    subspace_dim: int,
    num_cross_pairs: int,
    depth: int,
    delta: float,
    max_between_cos: float = 0.0,
    squared: bool = False,
) -> Certificate | None:
    """The proof of ``depth_threshold(..., rigorous=True)``, whose arguments and errors it has; None where there is no
    threshold."""
    arguments = ambient_dim, subspace_dim, num_cross_pairs, depth, delta, max_between_cos, squared
    dim, events = _checked(*arguments)
    default = depth_threshold(*arguments)
    if default is None:
        return None

    def step(threshold: float, moves: int) -> float | None:
        moved = threshold * (1.0 + ROUND_UP * 2.0 ** (moves - 1))
        return moved if moved < 1.0 else None

    return certify(default, lambda tau: depth_failure(dim, events, tau, float(max_between_cos)), float(delta), step)


def _checked(
    ambient_dim: int, subspace_dim: int, num_cross_pairs: int, depth: int, delta: float, max_between_cos: float,
    squared: bool,
) -> tuple[int, int]:  # fmt: skip
    """d, and the number of events."""
    dim = _complement(ambient_dim, subspace_dim)
    pairs = require_count(num_cross_pairs, "num_cross_pairs", 1)
    layers = require_count(depth, "depth", 0) + (2 if squared else 1)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    require_range(max_between_cos, "max_between_cos", 0.0, 1.0, closed="left")
    return dim, layers * pairs


def _spherical_excess(dim: int, log_tail: float) -> float:
    """t with C_d(t) P(coordinate > t) = e^log_tail: the left side falls from infinity to 0."""

    def miss(log_rest: float) -> float:
        """At 1 - t = e^log_rest, which resolves thresholds near 1."""
        t = -np.expm1(log_rest)
        with np.errstate(divide="ignore"):
            found = float(np.log(coordinate_tail(dim, t)) + _log_tail_constant(dim, t))
        # A root search has no use for -infinity, which is what a tail below float64's range comes out as.
        return max(found, 2.0 * SMALLEST_LOG_TAIL) - log_tail

    low, high = float(np.log(1e-15)), float(np.log1p(-1e-9))
    if miss(low) >= 0.0:
        return 1.0
    return float(-np.expm1(brentq(miss, low, high, xtol=1e-13)))


@half_as_float64
def cross_pairs(num_clusters: int, cluster_size: ClusterSizes) -> int:
    """N, the unordered pairs of points of different clusters.

    Args:
        num_clusters: K >= 2.
        cluster_size: points in every cluster, or one number for each.
    """
    count, sizes = sizes_of_clusters(num_clusters, cluster_size)
    return pair_counts(sizes, count)[1]


def _complement(ambient_dim: int, subspace_dim: int) -> int:
    dim = require_count(ambient_dim, "ambient_dim", 2, LARGEST_DIM)
    return dim - require_count(subspace_dim, "subspace_dim", 1, dim - 1)


# --- checks -----------------------------------------------------------------------------------------------------------


@half_as_float64
def check_depth_threshold(
    trajectory: Trajectory, threshold: Numbers, needed: float | None, *, mapped: bool = False
) -> Verdict:
    """What Theorem 2e says of every batch without a false edge: exact affinity sharpness at every layer. That a batch
    has none is a statement in probability: ``false_edge_cell`` and theory.judging.rates.judge_rates.

    A batch is spoken of up to its first layer with a false edge, where the theorem ends for it.

    Args:
        threshold: the effective tau, a number or (trials,).
        needed: tau_L of ``depth_threshold`` for the batches' geometry and number of layers; None: nothing is proved.
        mapped: the stack has a query/key map, which the theorem does not allow.

    Raises:
        ValueError: a threshold outside [0, 1).
    """
    applicable = _applicable(trajectory, threshold, needed, mapped)
    clean = np.logical_and.accumulate(trajectory.false_edges == 0, axis=0)
    error = np.where(clean, trajectory.sharpness_error, 0.0)
    low = np.where(clean, trajectory.beta - threshold, 0.0)
    return combine_parts(
        NAME,
        [
            judge(f"{NAME}: sharpness 1", error, UNIT_SUM_TOLERANCE["float64"], applicable & clean[0], discrete=True),
            judge(f"{NAME}: cross cosines", low, ABSOLUTE_MARGIN, applicable & clean[0], discrete=True),
        ],
    )


@half_as_float64
def false_edge_cell(
    trajectory: Trajectory,
    threshold: Numbers,
    needed: float | None,
    place: str,
    pool: str | None = None,
    *,
    mapped: bool = False,
) -> RateCell:
    """Batches with a false edge at some layer, of those at or above tau_L: at most a share delta is promised.

    Arguments and errors as in ``check_depth_threshold``; ``place`` and ``pool`` as in ``RateCell``. Trials are
    keyed by one threshold where all have the same; at tau_L itself failures are likeliest.
    """
    applicable = _applicable(trajectory, threshold, needed, mapped)
    failed = (trajectory.false_edges > 0).any(axis=0) & applicable
    return RateCell(
        place, "to have no false edge at any layer", int(failed.sum()), applicable.size, int(applicable.sum()), pool
    )


def _applicable(trajectory: Trajectory, threshold: Numbers, needed: float | None, mapped: bool) -> np.ndarray:
    require_threshold(threshold)
    trials = trajectory.beta.shape[-1]
    if needed is None or mapped:
        return np.zeros(trials, dtype=bool)
    require_range(needed, "needed", 0.0, 1.0, closed="neither")
    return np.broadcast_to(np.asarray(threshold, dtype=float) >= needed, (trials,))
