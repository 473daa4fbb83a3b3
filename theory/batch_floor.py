"""Theorem 2c (this toolkit's statement): the batch floor, the smallest cluster that one block is sure to recover.

Statement. Clean points are uniform on the unit spheres of r-dimensional subspaces, theta_b is the smallest principal
angle between them. A threshold tau that no cross pair passes leaves a connection radius vartheta: every pair of a
cluster at a clean angle below it has an edge.
    bounded noise      tau = cos(theta_b - 2 phi), vartheta = theta_b - 4 phi, phi = arcsin(eps) < theta_b/4;
    Gaussian noise     tau = beta(sigma), which each cross pair passes with probability delta/(2 #cross);
                       vartheta: the largest clean angle that misses tau with probability at most delta/(4 #within).
A cluster of m points is then connected but for a probability that theory.connectivity bounds, and a batch is recovered
in one block with probability at least 1 - delta as soon as every cluster has m_floor(r, vartheta, delta/K) points
(Gaussian: delta/(4K)). Squared affinities ignore signs: antipodes coincide, and the floor about halves.

Denoising. After L blocks a fused point keeps at most eta of the noise (``residual_noise``), so that it lies within
arcsin(eta/nu_clean) of its clean cluster's cone: larger clusters average more noise away, down to a limit.

Hypotheses: as above; denoising needs clusters in cones (Theorem 2a's hypotheses) and tokens that are not normalised.
Proof: theory.md, section 2c; what is guaranteed when: 2d.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri_exp

from theory.clusters import pair_counts
from theory.connectivity import circle_disconnection_probability, descent, isolated_point_rate, suffices, two_gap_rate
from theory.floor_search import LARGEST_FLOOR, last_above
from theory.inputs import (
    LARGEST_SIZE,
    ClusterSizes,
    require_count,
    require_mixing,
    require_range,
    require_threshold,
    sizes_of_clusters,
)
from theory.noise_free import norm_floor_squared
from theory.pair_law import LARGEST_DIM, NOISE_RANGE, pair_log_tail, pair_quantile
from theory.precision import half_as_float64
from theory.simulated_floor import simulated_floor
from theory.sphere import require_sphere

Method = Literal["bound", "one_step", "exact", "simulated", "isolated"]

# Thresholds stand this far (radians) on the safe side of what they exclude, so that round-off makes no edge.
ANGLE_MARGIN = 1e-9
# Cluster sizes that a denoising floor answers for, unless told otherwise.
LARGEST_CLUSTER = 65_536

# --- connectivity -----------------------------------------------------------------------------------------------------


@half_as_float64
def connectivity_floor(
    subspace_dim: int, radius: float, delta: float, squared: bool = False, method: Method = "bound"
) -> int:
    """Points that make a cluster connected with probability at least 1 - delta, as does every larger number of them.

    Args:
        subspace_dim: r >= 2.
        radius: vartheta in (0, pi/2], radians.
        delta: allowed probability of falling apart, (0, 1).
        squared: signs are ignored.
        method: "bound": proved, by two-step descent (r = 2: by the expected number of pairs of gaps); "one_step":
            proved, the simpler and weaker bound; "exact": r = 2 only; "simulated": measured (see
            ``theory.simulated_floor``), delta >= 1e-4; "isolated": the heuristic that points without a neighbour are
            all there is to fear.

    Raises:
        ValueError: an argument out of range, an unknown method, "exact" with r > 2.
    """
    require_sphere(subspace_dim, radius)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    subspace_dim, radius = int(subspace_dim), float(radius)
    if method == "bound" and subspace_dim == 2:
        return last_above(lambda m, until: two_gap_rate(m, radius, squared, until), delta)
    if method == "bound":
        return last_above(descent(subspace_dim, radius, squared).two_step, delta)
    if method == "one_step":
        return last_above(descent(subspace_dim, radius, squared).one_step, delta)
    if method == "isolated":
        return last_above(lambda m, until: isolated_point_rate(m, subspace_dim, radius, squared, until), delta)
    if method == "exact":
        if subspace_dim != 2:
            raise ValueError(f"method: 'exact' is known for subspace_dim 2 only, got {subspace_dim}")
        return _circle_floor(radius, delta, squared)
    if method == "simulated":
        return simulated_floor(subspace_dim, radius, delta, squared).num_points
    raise ValueError(f"method: must be bound, one_step, exact, simulated or isolated, got {method!r}")


@half_as_float64
def proved_floor(subspace_dim: int, radius: float, delta: float, squared: bool = False) -> int:
    """The best proved floor: Stevens' exact one on the circle, the descent bound elsewhere. Arguments and errors as in
    ``connectivity_floor``."""
    return connectivity_floor(subspace_dim, radius, delta, squared, "exact" if subspace_dim == 2 else "bound")


def _circle_floor(radius: float, delta: float, squared: bool) -> int:
    """Stevens' floor: the first term of his sum bounds it from above; below that floor the sum itself decides."""
    floor = connectivity_floor(2, radius, delta, squared)
    while floor > 2 and circle_disconnection_probability(floor - 1, radius, squared) <= delta:
        floor -= 1
    return floor


# --- connection radius ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Connection:
    """What noise leaves of the clean angles.

    Attributes:
        threshold: tau, passed by no cross pair (Gaussian: but for its share of delta).
        radius: vartheta in radians: pairs of one cluster at a clean angle below it pass; 0 where there is none.
        delta: what is left of the failure probability for each cluster's connectivity.

    Raises:
        ValueError: a threshold outside [0, 1), a radius outside [0, pi/2], delta outside (0, 1).
    """

    threshold: float
    radius: float
    delta: float

    def __post_init__(self) -> None:
        require_threshold(self.threshold)
        require_range(self.radius, "radius", 0.0, np.pi / 2)
        require_range(self.delta, "delta", 0.0, 1.0, closed="neither")

    def floor(self, subspace_dim: int, squared: bool = False) -> int | None:
        """Smallest cluster size that is guaranteed; None where noise leaves no radius."""
        return proved_floor(subspace_dim, self.radius, self.delta, squared) if self.radius > 0.0 else None


@half_as_float64
def bounded_radius(min_principal_angle: float, noise_level: float) -> float:
    """vartheta = theta_b - 4 arcsin(eps).

    Args:
        min_principal_angle: theta_b in (0, pi/2], radians.
        noise_level: eps in [0, sin(theta_b/4)).

    Raises:
        ValueError: out of range.
    """
    require_range(min_principal_angle, "min_principal_angle", 0.0, np.pi / 2, closed="right")
    require_range(noise_level, "noise_level", 0.0, float(np.sin(min_principal_angle / 4.0)), closed="left")
    return float(min_principal_angle - 4.0 * np.arcsin(noise_level))


@half_as_float64
def bounded_connection(min_principal_angle: float, noise_level: float, num_clusters: int, delta: float) -> Connection:
    """Threshold and radius under noise |e| <= eps, for signed and squared affinities alike.

    Args:
        min_principal_angle: theta_b in (0, pi/2], radians.
        noise_level: eps in [0, 1); from sin(theta_b/4) on the radius is 0.
        num_clusters: K >= 2.
        delta: failure probability of the batch, (0, 1).
    """
    require_range(min_principal_angle, "min_principal_angle", 0.0, np.pi / 2, closed="right")
    require_range(noise_level, "noise_level", 0.0, 1.0, closed="left")
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    count = require_count(num_clusters, "num_clusters", 2)
    turn = float(np.arcsin(noise_level))
    threshold = float(np.cos(max(min_principal_angle - 2.0 * turn - ANGLE_MARGIN, 0.0)))
    radius = max(min_principal_angle - 4.0 * turn - ANGLE_MARGIN, 0.0)
    return Connection(min(threshold, 1.0 - 1e-15), radius, delta / count)


@half_as_float64
def gaussian_connection(
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_principal_angle: float,
    noise_level: float,
    delta: float,
    squared: bool = False,
) -> Connection:
    """Threshold and radius under Gaussian noise e ~ N(0, sigma^2/D I), evaluated at the actual cluster sizes.

    Args:
        ambient_dim: D >= 2.
        num_clusters: K >= 2.
        cluster_size: points in every cluster, or one number for each.
        min_principal_angle: theta_b in (0, pi/2], radians.
        noise_level: sigma, 0 or in [1e-6, 1e6].
        delta: failure probability of the batch, (0, 1).
        squared: signs are ignored, so cross pairs may pass on either side: delta/(4 #cross) for each.

    Raises:
        ValueError: an argument out of range.
    """
    count, sizes = sizes_of_clusters(num_clusters, cluster_size)
    return _gaussian_connection(
        ambient_dim, count, pair_counts(sizes, count), min_principal_angle, noise_level, delta, squared
    )


def _gaussian_connection(
    ambient_dim: int, count: int, pairs: tuple[int, int], min_principal_angle: float, noise_level: float, delta: float,
    squared: bool,
) -> Connection:  # fmt: skip
    """``gaussian_connection`` for ``pairs`` inside clusters and across them."""
    require_count(ambient_dim, "ambient_dim", 2, LARGEST_DIM)
    require_range(min_principal_angle, "min_principal_angle", 0.0, np.pi / 2, closed="right")
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    if noise_level == 0.0:
        clean = bounded_connection(min_principal_angle, 0.0, count, delta)
        return Connection(clean.threshold, clean.radius, delta / (4 * count))
    require_range(noise_level, "noise_level", *NOISE_RANGE)
    within, cross = pairs
    level, log_cross = float(noise_level), _log_share(delta, (4 if squared else 2) * cross)
    threshold = pair_quantile(ambient_dim, level, float(np.cos(min_principal_angle)), log_cross, upper=True)
    threshold = float(np.clip(threshold, ANGLE_MARGIN, 1.0 - 1e-15))
    allowed = float(ndtri_exp(_log_share(delta, 4 * within)))

    def shortfall(angle: float) -> float:
        """In normal scores, which are nearly linear in the angle."""
        log_tail = pair_log_tail(ambient_dim, level, float(np.cos(angle)), threshold, upper=False)
        return float(ndtri_exp(min(log_tail, -1e-300))) - allowed

    if shortfall(0.0) > 0.0:
        return Connection(threshold, 0.0, delta / (4 * count))
    # Rounded down, on the side where the pair still passes.
    radius = brentq(shortfall, 0.0, np.pi / 2, xtol=1e-6) - 2e-6
    return Connection(threshold, max(float(radius), 0.0), delta / (4 * count))


def _log_share(delta: float, ways: int) -> float:
    """log(delta/ways); the number of ways may be more than a float holds."""
    return float(np.log(delta / ways)) if ways < LARGEST_FLOOR else float(np.log(delta)) - math.log(ways)


@half_as_float64
def is_guaranteed(connection: Connection, subspace_dim: int, cluster_size: int, squared: bool = False) -> bool:
    """Whether clusters of at least ``cluster_size`` points are at or above their floor, without looking for it.

    Raises:
        ValueError: fewer than 2 dimensions or points.
    """
    subspace_dim = require_count(subspace_dim, "subspace_dim", 2)
    cluster_size = require_count(cluster_size, "cluster_size", 2)
    if connection.radius <= 0.0:
        return False
    if subspace_dim == 2:
        return cluster_size >= proved_floor(2, connection.radius, connection.delta, squared)
    return suffices(cluster_size, subspace_dim, connection.radius, connection.delta, squared)


@half_as_float64
def gaussian_floor(
    subspace_dim: int,
    ambient_dim: int,
    num_clusters: int,
    min_principal_angle: float,
    noise_level: float,
    delta: float,
    squared: bool = False,
) -> int | None:
    """Smallest m >= 3 with m >= m_floor(r, vartheta(m), delta/(4K)): the radius depends on m through the pair counts.

    None where the noise leaves no radius. More points shrink the radius, so that the guarantee may end again at some
    larger m: ask ``gaussian_connection`` at the actual sizes. Arguments and errors as there.
    """
    require_count(subspace_dim, "subspace_dim", 2)
    count, size = require_count(num_clusters, "num_clusters", 2, LARGEST_SIZE), 3
    while True:
        # The needed size never falls as m rises, so that climbing to it reaches the smallest m that suffices. It may be
        # far beyond the cluster sizes of anybody's batch.
        pairs = count * (size * (size - 1) // 2), count * (count - 1) // 2 * size * size
        connection = _gaussian_connection(ambient_dim, count, pairs, min_principal_angle, noise_level, delta, squared)
        needed = connection.floor(subspace_dim, squared)
        if needed is None or needed <= size:
            return None if needed is None else size
        size = needed


# --- denoising --------------------------------------------------------------------------------------------------------


@half_as_float64
def residual_noise(
    noise_level: float,
    ambient_dim: int,
    min_cluster_size: int,
    max_cluster_size: int,
    num_clusters: int,
    kappa: float,
    depth: int,
    delta: float,
    mixing: float = 0.5,
) -> float:
    """eta: with probability at least 1 - delta a batch that satisfies Theorem 2a's hypotheses with affinities of ratio
    at least kappa keeps at most this much noise in any fused point.

    With q = (1 - lambda)^L, g = 1/(1 + (m - 2) kappa), t(x) = sqrt(2 ln(x)/D), the smaller of
        sigma (q + sqrt(g)(1 - q)) (1 + sqrt(M/D) + t(2 K/delta))
        sigma [ q (1 + t(2 K M/delta)) + sqrt(g)(1 - q)(1 + sqrt(M/D) + t(2 K/delta)) ].
    The second keeps a point's own noise, which is not averaged, out of the operator norm. Both hold on one event.

    Args:
        noise_level: sigma >= 0.
        ambient_dim: D >= 1.
        min_cluster_size, max_cluster_size: m and M.
        num_clusters: K >= 1.
        kappa: (alpha - tau)/(1 - tau) of the observed batch, (0, 1].
        depth: L >= 1 blocks.
        delta: failure probability, (0, 1).
        mixing: lambda in (0, 1].

    Raises:
        ValueError: an argument out of range.
    """
    require_range(noise_level, "noise_level", 0.0, np.inf, closed="left")
    dim = require_count(ambient_dim, "ambient_dim", 1)
    smallest = require_count(min_cluster_size, "min_cluster_size", 2)
    largest = require_count(max_cluster_size, "max_cluster_size", smallest)
    clusters = require_count(num_clusters, "num_clusters", 1)
    require_range(kappa, "kappa", 0.0, 1.0, closed="right")
    layers = require_count(depth, "depth", 1)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    require_mixing(mixing)
    return float(_residual(noise_level, dim, smallest, largest, clusters, kappa, layers, delta, mixing))


def _residual(noise_level, dim, smallest, largest, clusters, kappa, depth, delta, mixing) -> float:
    own = (1.0 - mixing) ** float(depth)
    averaged = (1.0 - own) / np.sqrt(1.0 + (smallest - 2) * kappa)

    def tail(ways: float) -> float:
        return float(np.sqrt(2.0 * np.log(ways / delta) / dim))

    norm = 1.0 + np.sqrt(largest / dim)
    together = (own + averaged) * (norm + tail(2 * clusters))
    apart = own * (1.0 + tail(2 * clusters * largest)) + averaged * (norm + tail(2 * clusters))
    return noise_level * min(together, apart)


@half_as_float64
def denoising_floor(
    target_angle: float,
    min_within_cos: float,
    noise_level: float,
    ambient_dim: int,
    num_clusters: int,
    kappa: float,
    depth: int,
    delta: float,
    mixing: float = 0.5,
    largest: int = LARGEST_CLUSTER,
) -> int | None:
    """Smallest m such that clusters of any size from m to ``largest`` fuse to within ``target_angle`` of their clean
    cones; None where there is none.

    Some end is needed: at a finite depth a share (1 - lambda)^L of every point's own noise stays, and the largest of
    ever more of those grows without limit.

    Args:
        target_angle: radians, (0, pi/2).
        min_within_cos: a of the clean clusters, (0, 1].
        largest: largest cluster size that counts. The others: as in ``residual_noise``, for equal clusters.
    """
    require_range(target_angle, "target_angle", 0.0, np.pi / 2, closed="neither")
    require_range(min_within_cos, "min_within_cos", 0.0, 1.0, closed="right")
    largest = require_count(largest, "largest", 2, LARGEST_SIZE)
    residual_noise(noise_level, ambient_dim, largest, largest, num_clusters, kappa, depth, delta, mixing)
    for size in range(largest, 1, -1):
        eta = _residual(noise_level, int(ambient_dim), size, size, int(num_clusters), kappa, int(depth), delta, mixing)
        if not eta < _limit(target_angle, min_within_cos, size):
            return size + 1 if size < largest else None
    return 2


@half_as_float64
def residual_limit(angle: float, min_within_cos: float, max_cluster_size: int) -> float:
    """nu_clean sin(angle): noise below it keeps a fused point within ``angle`` of its clean cluster's cone.

    Args:
        angle: radians, [0, pi/2].
        min_within_cos: a of the clean clusters, (0, 1].

    Raises:
        ValueError: an argument out of range.
    """
    require_range(angle, "angle", 0.0, np.pi / 2)
    require_range(min_within_cos, "min_within_cos", 0.0, 1.0, closed="right")
    return _limit(angle, min_within_cos, require_count(max_cluster_size, "max_cluster_size", 2))


def _limit(angle: float, min_within_cos: float, max_cluster_size: int) -> float:
    return float(np.sqrt(norm_floor_squared(min_within_cos, max_cluster_size)) * np.sin(angle))
