"""Theorem 1 (this toolkit's statement): noise-free data are separated and fused at every block.

Statement. Clean points x_i in linearly independent subspaces, queries and keys W x with W = pinv([U_1 .. U_K]):
(a) cos(W x_i, W x_j) = 0 for i !~ j at every layer: a row that has a neighbour has affinity sharpness 1.
(b) If every within-cluster cosine is >= alpha_0 > 0, alpha_l never decreases and, for unit inputs,
    1 - alpha_L <= ((1 - alpha_0)/nu^2) prod_{l<L} rho_l^2,     nu^2 = alpha_0 + (1 - alpha_0)/M.
(c) A positive entry of the truncated output connects points of one cluster.
Exact case: equiangular clusters have alpha_l and beta_l in closed form.

Hypotheses: linear independence (subspaces.separating_map), alpha_0 > tau >= 0, unit inputs for the rate.
Proof: theory.md, section 1.
"""

from collections.abc import Sequence

import numpy as np

from theory.batches.trajectory import Trajectory
from theory.judging.exact_replay import ExactReplay
from theory.judging.statements import THEOREM_1
from theory.judging.verdicts import Verdict, combine_parts, judge
from theory.numerics.inputs import (
    ClusterSizes,
    Numbers,
    as_floats,
    as_sizes,
    require_above,
    require_count,
    require_mixing,
    require_range,
    require_threshold,
)
from theory.numerics.precision import SPREAD_FLOOR, UNIT_SUM_TOLERANCE, half_as_float64

SPREAD = "Theorem 1b: spread"
# Eigenvalues of a Gram matrix below zero by this much of its diagonal are round-off.
GRAM_ROUNDING = 1e-12


# --- bounds -----------------------------------------------------------------------------------------------------------


@half_as_float64
def norm_floor_squared(within: Numbers, cluster_size: Numbers) -> Numbers:
    """nu^2 = a + (1 - a)/M: convex combinations of M unit vectors with cosines >= a have at least this squared norm."""
    return within + (1 - within) / cluster_size


@half_as_float64
def contraction_factor(
    within: Numbers,
    cluster_sizes: ClusterSizes,
    threshold: Numbers = 0.0,
    mixing: Numbers = 0.5,
) -> Numbers:
    """rho_l: what one block multiplies the largest distance inside a cluster by, at most (theory.md 1b).

    For mixing <= 1/2 the largest cluster is the worst; above, any may be, so pass all sizes.

    Args:
        within: alpha_l > threshold, any shape, floats or mpmath numbers.
        threshold: tau, broadcasts against ``within``.

    Raises:
        ValueError: an argument out of range.
    """
    require_threshold(threshold)
    require_mixing(mixing)
    require_above(within, threshold, "within")
    return _contraction(within, as_sizes(cluster_sizes, "cluster_sizes"), threshold, mixing)


def _contraction(within: Numbers, sizes: np.ndarray, threshold: Numbers, mixing: Numbers) -> Numbers:
    kappa = (within - threshold) / (1 - threshold)
    rho = None
    for size in np.unique(sizes):
        size = int(size)
        weight = kappa / (size - 2 + kappa)
        overlap = mixing * (size - 2) * weight + 2 * np.minimum(1 - mixing, mixing * weight)
        rho = 1 - overlap if rho is None else np.maximum(rho, 1 - overlap)
    return rho


@half_as_float64
def spread_bounds(
    alpha: np.ndarray,
    cluster_sizes: ClusterSizes,
    threshold: Numbers = 0.0,
    mixing: Numbers = 0.5,
    normalized: bool = False,
) -> np.ndarray:
    """Theorem 1b's bound on 1 - alpha_l at every layer, from the alpha of the layers before it.

    Args:
        alpha: (layers, ...), alpha_l > threshold; where it is not the bound says nothing, and may be infinite or NaN.
        normalized: tokens are normalized at every layer (the bound then chains layer by layer).

    Returns:
        (layers, ...): entry 0 is (1 - alpha_0)/nu^2 (or 1 - alpha_0 when normalized).

    Raises:
        ValueError: an argument out of range.
    """
    require_threshold(threshold)
    require_mixing(mixing)
    require_range(alpha, "alpha", -1.0, 1.0)
    sizes = as_sizes(cluster_sizes, "cluster_sizes")
    largest = int(sizes.max())
    bounds = [1 - alpha[0] if normalized else (1 - alpha[0]) / norm_floor_squared(alpha[0], largest)]
    for layer in range(len(alpha) - 1):
        rho = _contraction(alpha[layer], sizes, threshold, mixing)
        if normalized:
            bounds.append(rho * rho / norm_floor_squared(alpha[layer], largest) * (1 - alpha[layer]))
        else:
            bounds.append(bounds[-1] * rho * rho)
    return np.stack(bounds)


@half_as_float64
def spread_bound(
    within: float, cluster_size: ClusterSizes, depth: int, threshold: float = 0.0, mixing: float = 0.5
) -> float:
    """A priori bound on 1 - alpha_L after ``depth`` blocks, from alpha_0 alone.

    Iterates Theorem 1b with alpha_l >= max(alpha_0, 1 - bound_l), which is valid because rho falls with alpha.

    Args:
        within: alpha_0, smallest within-cluster cosine, in (threshold, 1].
        cluster_size: the largest cluster; for mixing > 1/2 all of them.
        depth: L >= 0.

    Raises:
        ValueError: outside the hypotheses.
    """
    require_threshold(threshold)
    require_mixing(mixing)
    require_range(within, "within", threshold, 1.0, closed="right")
    depth = require_count(depth, "depth", 0)
    alpha = within = float(within)
    sizes = as_sizes(cluster_size)
    bound = (1.0 - within) / norm_floor_squared(within, int(sizes.max()))
    for _ in range(depth):
        bound *= float(_contraction(np.float64(alpha), sizes, threshold, mixing)) ** 2
        alpha = max(alpha, 1.0 - bound)
    return bound


# --- closed form ------------------------------------------------------------------------------------------------------


@half_as_float64
def equiangular_threshold_interval(
    within: float | Sequence[float], between: float | np.ndarray, cluster_size: ClusterSizes
) -> tuple[float, float] | None:
    """Thresholds [low, high) under which the closed form holds: max b+/(nu_k nu_k') <= tau < min a_k, or None."""
    a, b, sizes = _equiangular_inputs(within, between, cluster_size)
    nu = np.sqrt(norm_floor_squared(a, sizes))
    cross = np.maximum(b, 0.0) / (nu[:, None] * nu[None, :])
    low, high = float(cross[~np.eye(len(sizes), dtype=bool)].max()), float(a.min())
    return (low, high) if low < high else None


@half_as_float64
def equiangular_cosines(
    within: float | Sequence[float],
    between: float | np.ndarray,
    cluster_size: ClusterSizes,
    layer: int,
    mixing: float = 0.5,
) -> tuple[Numbers, Numbers]:
    """Exact cosines of equiangular clusters after ``layer`` blocks of unit inputs (theory.md 1, "Exact case").

    Args:
        within: a, or a_k (K,): cosine of every pair inside a cluster.
        between: b, or b_kk' (K, K): cosine of every pair of points of two clusters.
        cluster_size: n_k, one or (K,).
        layer: l >= 0.

    Returns:
        (alpha_l, beta_l): floats when all three are numbers, else arrays (K,) and (K, K) with diagonal alpha_l.

    Raises:
        ValueError: cosines outside [-1, 1] or that no batch has, or no threshold with max b+/(nu nu') <= tau < a.
    """
    require_mixing(mixing)
    layer = require_count(layer, "layer", 0)
    interval = equiangular_threshold_interval(within, between, cluster_size)
    if interval is None:
        raise ValueError(
            "between: too large for within, no threshold keeps the clusters apart (max b+/nu^2 < a needed)"
        )
    scalar = np.ndim(within) == np.ndim(between) == np.ndim(cluster_size) == 0
    a, b, sizes = _equiangular_inputs(within, between, cluster_size)
    decay = (1.0 - mixing - mixing / (sizes - 1.0)) ** (2.0 * layer)
    off = a + (1.0 - a) * (1.0 - decay) / sizes
    diag = a + (1.0 - a) * (1.0 + (sizes - 1.0) * decay) / sizes
    alpha = off / diag
    beta = b / np.sqrt(diag[:, None] * diag[None, :])
    np.fill_diagonal(beta, alpha)
    return (float(alpha[0]), float(beta[0, 1])) if scalar else (alpha, beta)


def _equiangular_inputs(within, between, cluster_size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a (K,), b (K, K) and n (K,); K is 2 where all three are numbers, the case that every other K contains."""
    sizes = as_sizes(cluster_size)
    require_range(within, "within", 0.0, 1.0, closed="right")
    require_range(between, "between", -1.0, 1.0)
    a, b = as_floats(within, "within"), as_floats(between, "between")
    count = max(len(sizes), a.size, 2 if b.ndim == 0 else b.shape[0], 2)
    for name, array, every in (("cluster_size", sizes, 1), ("within", a, 1), ("between", b, 2)):
        if array.shape not in ((), (1,), (count,) * every):
            raise ValueError(f"{name}: expected one of {count} clusters or all of them, got shape {array.shape}")
    sizes = np.broadcast_to(sizes, (count,)).astype(float)
    a, b = np.broadcast_to(a, (count,)), np.array(np.broadcast_to(b, (count, count)))
    if not np.array_equal(b, b.T):
        raise ValueError("between: must be symmetric")
    # The Gram matrix of the clusters' sums over the square roots of their sizes; inside a cluster it has 1 - a >= 0.
    gram = np.sqrt(sizes[:, None] * sizes) * b
    np.fill_diagonal(gram, 1.0 + (sizes - 1.0) * a)
    if np.linalg.eigvalsh(gram)[0] < -GRAM_ROUNDING * gram.diagonal().max():
        # What is necessary of any two clusters, and of two sufficient.
        limit = np.sqrt(gram.diagonal() / sizes)
        low = float(-(limit[:, None] * limit)[~np.eye(count, dtype=bool)].max())
        raise ValueError(
            "between: no batch has such cosines beside within, the Gram matrix has a negative eigenvalue; two clusters "
            f"need between in [{low:.4g}, {-low:.4g}]{'' if count == 2 else f', {count} clusters more'}"
        )
    return a, b, sizes


# --- checks -----------------------------------------------------------------------------------------------------------


@half_as_float64
def check_noise_free(
    trajectory: Trajectory,
    cluster_sizes: ClusterSizes,
    threshold: Numbers,
    mixing: Numbers,
    *,
    normalized: bool = False,
    exact: ExactReplay | None = None,
) -> Verdict:
    """Theorem 1 on measured layers of noise-free batches whose queries and keys were mapped by W.

    Args:
        trajectory: layers of unit inputs.
        threshold, mixing: the effective tau and lambda, numbers or (trials,).
        exact: high-precision replay of a trial, for margins too close to call.
    """
    leak = np.where(trajectory.false_edges > 0, np.inf, trajectory.sharpness_error)
    # (a) and (c) speak of rows that have a neighbour: batches in which none has one say nothing about them.
    linked = (trajectory.sharpness_mean > 0.0) | (leak > 0.0)
    return combine_parts(
        THEOREM_1.name,
        [
            judge("Theorem 1a: sharpness 1", leak, UNIT_SUM_TOLERANCE["float64"], linked.any(axis=0), discrete=True),
            check_monotone(trajectory.alpha, threshold, "Theorem 1b: alpha never decreases", exact),
            check_spread(trajectory.alpha, cluster_sizes, threshold, mixing, normalized=normalized, exact=exact),
            judge("Theorem 1c: truncated output", trajectory.false_edges[-1:], 0.0, linked[-1], discrete=True),
        ],
    )


@half_as_float64
def check_monotone(
    alpha: np.ndarray,
    threshold: Numbers,
    statement: str,
    exact: ExactReplay | None = None,
    applicable: Numbers | None = None,
) -> Verdict:
    """1 - alpha_l <= 1 - alpha_{l-1}, where alpha_0 > tau. Arrays (layers, trials)."""
    applicable = alpha[0] > threshold if applicable is None else applicable

    def exact_margin(trial: int, alpha: np.ndarray, beta: np.ndarray) -> object:
        return min(np.maximum(1 - alpha[:-1], SPREAD_FLOOR) - (1 - alpha[1:]))

    bounds = np.maximum(1.0 - alpha[:-1], SPREAD_FLOOR)
    return judge(statement, 1.0 - alpha[1:], bounds, applicable, exact, exact_margin)


@half_as_float64
def check_spread(
    alpha: np.ndarray,
    cluster_sizes: ClusterSizes,
    threshold: Numbers,
    mixing: Numbers,
    *,
    normalized: bool = False,
    exact: ExactReplay | None = None,
    applicable: Numbers | None = None,
    statement: str = SPREAD,
) -> Verdict:
    """1 - alpha_l against Theorem 1b's bound from the measured alpha of the layers before, where alpha_0 > tau."""
    applicable = alpha[0] > threshold if applicable is None else applicable
    thresholds, mixings = np.broadcast_to(threshold, alpha.shape[1:]), np.broadcast_to(mixing, alpha.shape[1:])
    if not applicable.any():
        return judge(statement, alpha, alpha, applicable)
    # Where alpha has fallen to tau (possible only outside the hypotheses) the bound says nothing: let it be infinite.
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = spread_bounds(alpha, cluster_sizes, thresholds, mixings, normalized)
    bounds = np.maximum(np.where(np.isfinite(bounds), bounds, np.inf), SPREAD_FLOOR)

    def exact_margin(trial: int, alpha: np.ndarray, beta: np.ndarray) -> object:
        parameters = float(thresholds[trial]), float(mixings[trial])
        exact_bounds = np.maximum(spread_bounds(alpha, cluster_sizes, *parameters, normalized), SPREAD_FLOOR)
        return min((exact_bounds - (1 - alpha))[1:])

    return judge(statement, 1.0 - alpha[1:], bounds[1:], applicable, exact, exact_margin)
