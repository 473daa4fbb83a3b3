"""Theorem 3 (this toolkit's statement): softmax attention sharpens, then over-fuses.

Statement. S_ij = exp(kappa C_ij)/sum_l exp(kappa C_il), self included; x_i' = (1 - lambda) x_i + lambda sum_j S_ij x_j.
(a) In one layer row i keeps mass s_i >= 1/(1 + ((n - n_k)/n_k) e^{-kappa (alpha - beta)}) in its own cluster k, itself
    included.
(b) With tokens normalized at every block and alpha >= gamma := min cross cosine: eta = lambda (1 - s_low) with s_low of
    the smallest cluster, p = (1 - eta)^2, a~ = p alpha + (1 - p) gamma. While a~ > 0, alpha' >= a~; with
    t = p beta + 1 - p, beta' <= t/a~ if t >= 0, else t; gamma' >= gamma if gamma >= 0, else gamma/a~.
    The consecutive layers, from 0 on, at which the iterated bounds have alpha > beta are a guaranteed depth.
(c) If gamma_0 := min over all pairs > 0 and inputs are unit vectors, with rho = 1 - lambda e^{-kappa (1 - gamma_0)},
        1 - min C_L <= delta_L = min(1 - gamma_0, ((1 - gamma_0)/gamma_0) rho^{2L})
    for unnormalized blocks; normalized ones: 1 - gamma' <= (1 - gamma) min(1 - o, rho^2/(gamma + (1 - gamma)/n)) with
    e = e^{-kappa (1 - gamma)}, rho = 1 - lambda e, o = (2 lambda (1 - lambda) e + lambda^2 e^2)/n, current gamma.
    The mass falls to chance: s_i <= n_k/(n_k + (n - n_k) e^{-kappa delta_L}) <= (n_k/n) e^{kappa delta_L}.

Hypotheses: as above; kappa > 0.
Proof: theory.md, section 3.
"""

from dataclasses import dataclass

import numpy as np

from theory.batches.trajectory import SoftmaxTrajectory
from theory.judging.statements import THEOREM_3
from theory.judging.verdicts import Verdict, combine_parts, judge
from theory.numerics.inputs import (
    ClusterSizes,
    Numbers,
    as_floats,
    as_sizes,
    require_count,
    require_mixing,
    require_range,
)
from theory.numerics.precision import SPREAD_FLOOR, half_as_float64

NAME = THEOREM_3.name
# Bounds on masses and cosines are compared up to the rounding of a few products: these are no spreads.
ROUNDING = 1e-12


@dataclass(frozen=True)
class CertifiedLayers:
    """Theorem 3b's bounds, layers 0..L; NaN from the layer on at which a~ is not positive.

    Attributes:
        alpha: lower bounds on the smallest within-cluster cosine, (layers, ...).
        beta: upper bounds on the largest cross cosine.
        min_cross: lower bounds on the smallest cross cosine.
    """

    alpha: np.ndarray
    beta: np.ndarray
    min_cross: np.ndarray


def require_inverse_temperature(value: Numbers) -> None:
    """kappa lies in (0, inf)."""
    require_range(value, "inverse_temperature", 0.0, np.inf, closed="neither")


@half_as_float64
def mass_bound(
    alpha: Numbers, beta: Numbers, inverse_temperature: Numbers, cluster_size: Numbers, batch_size: int
) -> Numbers:
    """(a): smallest possible in-cluster mass, self included, of a row whose cluster has ``cluster_size`` points.

    Args:
        alpha, beta: smallest within-cluster and largest cross cosine, any shape.
        inverse_temperature: kappa > 0.
        cluster_size: n_k.
        batch_size: n > n_k.

    Raises:
        ValueError: cosines outside [-1, 1], kappa <= 0, a cluster of fewer than 2 or of all points.
    """
    require_range(alpha, "alpha", -1.0, 1.0)
    require_range(beta, "beta", -1.0, 1.0)
    require_inverse_temperature(inverse_temperature)
    count = require_count(batch_size, "batch_size", 3)
    require_range(cluster_size, "cluster_size", 2, count - 1)
    gap = as_floats(alpha, "alpha") - as_floats(beta, "beta")
    return _mass(gap, inverse_temperature, as_floats(cluster_size, "cluster_size"), count)


def _mass(gap: Numbers, inverse_temperature: Numbers, cluster_size: Numbers, batch_size: int) -> Numbers:
    """n_k/(n_k + (n - n_k) e^{-kappa gap})."""
    others = (batch_size - cluster_size) / cluster_size
    # Where the exponential overflows the mass is 0, and where its argument does it is 0 or 1.
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + others * np.exp(-inverse_temperature * gap))


@half_as_float64
def certified_layers(
    alpha: Numbers,
    beta: Numbers,
    min_cross_cos: Numbers,
    inverse_temperature: Numbers,
    cluster_size: ClusterSizes,
    batch_size: int,
    depth: int,
    mixing: Numbers = 0.5,
) -> CertifiedLayers:
    """(b): bounds on alpha, beta and gamma at layers 0..depth, iterated from layer 0 alone.

    Args:
        cluster_size: the smallest, or all of them.

    Raises:
        ValueError: as ``certified_depth``.
    """
    sizes = as_sizes(cluster_size)
    smallest, batch_size = int(sizes.min()), require_count(batch_size, "batch_size", 3)
    mass_bound(alpha, beta, inverse_temperature, smallest, batch_size)
    if 2 * smallest > batch_size or (len(sizes) > 1 and sizes.sum() != batch_size):
        raise ValueError(f"batch_size: clusters of {np.ravel(cluster_size)} points do not fit a batch of {batch_size}")
    require_range(min_cross_cos, "min_cross_cos", -1.0, 1.0)
    require_mixing(mixing)
    if not np.all(alpha >= np.asarray(min_cross_cos)):
        raise ValueError("min_cross_cos: must not exceed alpha (Theorem 3b's hypothesis)")
    if not np.all(beta >= np.asarray(min_cross_cos)):
        raise ValueError("min_cross_cos: must not exceed beta, the largest cross cosine")
    a, b, g = np.broadcast_arrays(*(np.asarray(v, dtype=float) for v in (alpha, beta, min_cross_cos)))
    layers = [(a, b, g)]
    for _ in range(require_count(depth, "depth", 0)):
        layers.append(_next_bounds(*layers[-1], inverse_temperature, smallest, batch_size, mixing))
    return CertifiedLayers(*(np.stack(column) for column in zip(*layers)))


def _next_bounds(a, b, g, inverse_temperature, smallest, batch_size, mixing):
    eta = mixing * (1.0 - _mass(a - b, inverse_temperature, smallest, batch_size))
    p = (1.0 - eta) ** 2
    floor = p * a + (1.0 - p) * g
    floor = np.where(floor > 0.0, floor, np.nan)
    t = p * b + 1.0 - p
    # Cosines lie in [-1, 1] anyway.
    return (
        floor,
        np.minimum(np.where(t >= 0.0, t / floor, t), np.where(np.isnan(floor), np.nan, 1.0)),
        np.where(np.isnan(floor), np.nan, np.where(g >= 0.0, g, np.maximum(g / floor, -1.0))),
    )


@half_as_float64
def certified_depth(
    alpha: float,
    beta: float,
    min_cross_cos: float,
    inverse_temperature: float,
    cluster_size: ClusterSizes,
    batch_size: int,
    mixing: float = 0.5,
    max_depth: int = 10_000,
) -> int:
    """(b): the number of consecutive layers, layer 0 included, at which alpha > beta is guaranteed; normalized tokens.

    Args:
        alpha, beta, min_cross_cos: smallest within-cluster, largest and smallest cross cosine of the input.
        inverse_temperature: kappa > 0.
        cluster_size: the smallest cluster, or all sizes.
        batch_size: n.
        max_depth: where to stop counting.

    Returns:
        0 where the input is not separated; at most ``max_depth``.

    Raises:
        ValueError: cosines outside [-1, 1], alpha < min_cross_cos, kappa <= 0, mixing outside (0, 1], sizes that do
            not fit.
    """
    start = certified_layers(alpha, beta, min_cross_cos, inverse_temperature, cluster_size, batch_size, 0, mixing)
    bounds = (start.alpha[0], start.beta[0], start.min_cross[0])
    smallest, batch_size = int(as_sizes(cluster_size).min()), int(batch_size)
    for layer in range(require_count(max_depth, "max_depth", 1)):
        if not bounds[0] > bounds[1]:
            return layer
        bounds = _next_bounds(*bounds, inverse_temperature, smallest, batch_size, mixing)
    return max_depth


@half_as_float64
def spread_caps(
    min_cos: Numbers,
    inverse_temperature: Numbers,
    depth: int,
    mixing: Numbers = 0.5,
    batch_size: int | None = None,
) -> np.ndarray:
    """(c): bounds on 1 - min C at layers 0..depth, shape (depth + 1, ...).

    Args:
        min_cos: gamma_0 > 0, the smallest cosine of all pairs.
        batch_size: n for blocks that normalize their tokens; None for blocks that do not.

    Raises:
        ValueError: gamma_0 outside (0, 1], kappa <= 0, mixing outside (0, 1].
    """
    require_range(min_cos, "min_cos", 0.0, 1.0, closed="right")
    require_inverse_temperature(inverse_temperature)
    require_mixing(mixing)
    steps = require_count(depth, "depth", 0)
    gamma = np.asarray(min_cos, dtype=float)
    if batch_size is None:
        rho = 1.0 - mixing * np.exp(-inverse_temperature * (1.0 - gamma))
        caps = [np.minimum(1.0, rho ** (2 * layer) / gamma) * (1.0 - gamma) for layer in range(steps + 1)]
        return np.stack(np.broadcast_arrays(*caps))
    count = require_count(batch_size, "batch_size", 2)
    spreads = [1.0 - gamma + 0.0 * np.asarray(mixing)]
    for _ in range(steps):
        gamma = 1.0 - spreads[-1]
        e = np.exp(-inverse_temperature * spreads[-1])
        overlap = (2.0 * mixing * (1.0 - mixing) * e + (mixing * e) ** 2) / count
        contraction = (1.0 - mixing * e) ** 2 / (gamma + spreads[-1] / count)
        spreads.append(spreads[-1] * np.minimum(1.0 - overlap, contraction))
    return np.stack(np.broadcast_arrays(*spreads))


@half_as_float64
def mass_cap(spread: Numbers, inverse_temperature: Numbers, cluster_size: Numbers, batch_size: int) -> Numbers:
    """(c): largest possible in-cluster mass, self included, where 1 - min C <= spread; n_k/n at spread 0.

    Raises:
        ValueError: spread outside [0, inf), kappa <= 0, a cluster of fewer than 2 or of all points.
    """
    require_range(spread, "spread", 0.0, np.inf, closed="left")
    require_inverse_temperature(inverse_temperature)
    count = require_count(batch_size, "batch_size", 3)
    require_range(cluster_size, "cluster_size", 2, count - 1)
    return _mass(spread, inverse_temperature, as_floats(cluster_size, "cluster_size"), count)


# --- checks -----------------------------------------------------------------------------------------------------------


@half_as_float64
def check_softmax_fusion(
    trajectory: SoftmaxTrajectory,
    cluster_sizes: ClusterSizes,
    inverse_temperature: Numbers,
    mixing: Numbers,
    *,
    normalized: bool,
) -> Verdict:
    """Theorem 3 on measured layers of unit inputs.

    Args:
        cluster_sizes: in the order of the trajectory's clusters.
        inverse_temperature, mixing: numbers or (trials,).
        normalized: tokens are normalized at every block; (b) speaks only of those.
    """
    clusters, sizes = trajectory.mass_min.shape[-2], as_sizes(cluster_sizes, "cluster_sizes")
    if len(sizes) not in (1, clusters):
        raise ValueError(f"cluster_sizes: expected {clusters} of them, one a cluster, got {len(sizes)}")
    sizes = np.broadcast_to(sizes, (clusters,))
    batch_size, layers = int(sizes.sum()), trajectory.num_layers
    trials = trajectory.alpha.shape[-1]
    kappa = np.broadcast_to(np.asarray(inverse_temperature, dtype=float), (trials,))
    weight = np.broadcast_to(np.asarray(mixing, dtype=float), (trials,))
    everywhere = np.ones(trials, dtype=bool)
    alpha, beta, gamma = trajectory.alpha, trajectory.beta, trajectory.min_cross
    floors = _mass((alpha - beta)[:, None], kappa, sizes[:, None], batch_size)
    parts = [judge(f"{NAME}a: mass", floors, trajectory.mass_min + ROUNDING, everywhere, discrete=True)]
    if normalized:
        parts += _check_certified(alpha, beta, gamma, sizes, kappa, weight)

    smallest = np.minimum(alpha, gamma)
    positive = smallest[0] > 0.0
    start = np.where(positive, smallest[0], 1.0)
    caps = spread_caps(start, kappa, layers - 1, weight, batch_size if normalized else None)
    parts.append(judge(f"{NAME}c: spread", 1.0 - smallest[1:], np.maximum(caps[1:], SPREAD_FLOOR) + ROUNDING,
                       positive, discrete=True))  # fmt: skip
    ceilings = _mass(caps[:, None], kappa, sizes[:, None], batch_size)
    parts.append(judge(f"{NAME}c: mass", trajectory.mass_max, ceilings + ROUNDING, positive, discrete=True))
    return combine_parts(NAME, parts)


def _check_certified(alpha, beta, gamma, sizes, kappa, weight) -> list[Verdict]:
    hypothesis = alpha[0] >= gamma[0]
    lowest = np.where(hypothesis, gamma[0], alpha[0])
    bounds = certified_layers(alpha[0], beta[0], lowest, kappa, sizes, int(sizes.sum()), len(alpha) - 1, weight)
    # Where a~ is not positive nothing is claimed from there on; a batch of which nothing is claimed does not count.
    hypothesis = hypothesis & np.isfinite(bounds.alpha[1:]).any(axis=0)
    quiet = [np.where(np.isnan(b), fill, b) for b, fill in ((bounds.alpha, -1.0), (bounds.beta, 1.0),
                                                           (bounds.min_cross, -1.0))]  # fmt: skip
    return [
        judge(f"{NAME}b: alpha", quiet[0][1:], alpha[1:] + ROUNDING, hypothesis, discrete=True),
        judge(f"{NAME}b: beta", beta[1:], quiet[1][1:] + ROUNDING, hypothesis, discrete=True),
        judge(f"{NAME}b: smallest cross cosine", quiet[2][1:], gamma[1:] + ROUNDING, hypothesis, discrete=True),
    ]
