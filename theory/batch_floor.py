"""Theorem 2c (this toolkit's statement): the batch floor, the smallest cluster that one block is sure to recover.

Statement. Clean points are uniform on the unit spheres of r-dimensional subspaces, theta_b is the smallest principal
angle between them. A threshold tau that no cross pair passes leaves a connection radius vartheta: every pair of a
cluster at a clean angle below it has an edge.
    bounded noise      tau = cos(theta_b - 2 phi), vartheta = theta_b - 4 phi, phi = arcsin(eps) < theta_b/4;
    Gaussian noise     tau = beta(sigma), which each cross pair passes with probability delta/(2 #cross);
                       vartheta: the largest clean angle that misses tau with probability at most delta/(4 #within).
A cluster of m points is then connected but for a probability that theory.lemmas.connectivity bounds, and a batch is
recovered in one block with probability at least 1 - delta as soon as every cluster has m_floor(r, vartheta, delta/K)
points (Gaussian: delta/(4K)). Squared affinities ignore signs: antipodes coincide, and the floor about halves.

Hypotheses: as above. Denoising, the other reason for large batches: theory.denoising.
Proof: theory.md, section 2c; what is guaranteed when: 2d.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri_exp

from theory.batches.clusters import pair_counts
from theory.lemmas.connectivity import (
    ROUND_UP,
    circle_disconnection_probability,
    descent,
    isolated_point_rate,
    suffices,
    two_gap_rate,
)
from theory.lemmas.pair_law import LARGEST_DIM, NOISE_RANGE, pair_log_tail
from theory.lemmas.simulated_floor import simulated_floor
from theory.lemmas.soft_graph import LARGEST_SUBSPACE
from theory.numerics.floor_search import climb, last_above, log_share
from theory.numerics.inputs import (
    LARGEST_SIZE,
    ClusterSizes,
    require_count,
    require_range,
    require_threshold,
    sizes_of_clusters,
)
from theory.numerics.precision import half_as_float64
from theory.rigorous.ceilings import add, times
from theory.rigorous.certificates import Certificate
from theory.rigorous.floors import certify_connectivity, connection_failure, connectivity_failure
from theory.soft_floor import ANGLE_MARGIN, LARGEST_THRESHOLD, cross_threshold, is_soft_guaranteed, soft_floor
from theory.sphere import require_sphere

Method = Literal["bound", "one_step", "exact", "simulated", "isolated"]

# --- connectivity -----------------------------------------------------------------------------------------------------


@half_as_float64
def connectivity_floor(
    subspace_dim: int,
    radius: float,
    delta: float,
    squared: bool = False,
    method: Method = "bound",
    rigorous: bool = False,
) -> int:
    """Points that make a cluster connected with probability at least 1 - delta, as does every larger number of them.

    Args:
        subspace_dim: r >= 2.
        radius: vartheta in (0, pi/2], radians.
        delta: allowed probability of falling apart, (0, 1).
        squared: signs are ignored.
        method: "bound": proved, by two-step descent (r = 2: by the expected number of pairs of gaps); "one_step":
            proved, the simpler and weaker bound; "exact": r = 2 only; "simulated": measured (see
            ``theory.lemmas.simulated_floor``), delta >= 1e-4; "isolated": the heuristic that points without a neighbour
            are all there is to fear.
        rigorous: certify with enclosures (theory.md 2h) that the bound is at most delta at the floor and at all larger
            numbers; the floor rises to the first number, in steps of 1, 2, 4, ... and by bisection, of which that is
            certified. For methods "one_step" (r >= 3) and "exact"; "bound" is numerical where r >= 3, and answers with
            what one-step descent certifies there.

    Raises:
        ValueError: an argument out of range, an unknown method, "exact" with r > 2, ``rigorous`` with a method that
            bounds nothing.
        ImportError: ``rigorous`` without the extra [rigorous].
    """
    require_sphere(subspace_dim, radius)
    require_range(delta, "delta", 0.0, 1.0, closed="neither")
    subspace_dim, radius = int(subspace_dim), float(radius)
    if rigorous:
        return int(connectivity_certificate(subspace_dim, radius, delta, squared, method).proved)
    if method == "bound" and subspace_dim == 2:
        return last_above(lambda m, until: two_gap_rate(m, radius, squared, until), delta)
    if method == "bound":
        bounds = descent(subspace_dim, radius, squared)
        return last_above(bounds.two_step, delta / bounds.round_up(delta))
    if method == "one_step":
        return last_above(descent(subspace_dim, radius, squared).one_step, delta / ROUND_UP)
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
def connectivity_certificate(
    subspace_dim: int, radius: float, delta: float, squared: bool = False, method: Method = "bound"
) -> Certificate:
    """The proof of ``connectivity_floor(..., rigorous=True)``; arguments and errors as there."""
    if method not in ("bound", "one_step", "exact"):
        raise ValueError(f"method: with rigorous it must be bound, one_step or exact, got {method!r}")
    # On the circle every method counts what Stevens counts.
    default = connectivity_floor(subspace_dim, radius, delta, squared, method)
    return certify_connectivity(default, int(subspace_dim), float(radius), float(delta), squared)


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
        threshold: tau, passed by no cross pair (Gaussian: but for its share of delta, and where it is 1 - 1e-15, which
            stands for all above: there is no radius then).
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
    # The second margin is for the round-off of the first.
    radius = max(min_principal_angle - 4.0 * turn - 2.0 * ANGLE_MARGIN, 0.0)
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
    level = float(noise_level)
    threshold = cross_threshold(ambient_dim, cross, min_principal_angle, level, delta, squared)
    if threshold >= 1.0:
        return Connection(LARGEST_THRESHOLD, 0.0, delta / (4 * count))
    allowed = float(ndtri_exp(log_share(delta, 4 * within)))

    def shortfall(angle: float) -> float:
        """In normal scores, which are nearly linear in the angle."""
        log_tail = pair_log_tail(ambient_dim, level, float(np.cos(angle)), threshold, upper=False)
        return float(ndtri_exp(min(log_tail, -1e-300))) - allowed

    if shortfall(0.0) > 0.0:
        return Connection(threshold, 0.0, delta / (4 * count))
    # Rounded down, on the side where the pair still passes.
    radius = brentq(shortfall, 0.0, np.pi / 2, xtol=1e-6) - 2e-6
    return Connection(threshold, max(float(radius), 0.0), delta / (4 * count))


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
    rigorous: bool = False,
) -> int | None:
    """The smaller of Theorem 2c's floor, the smallest m >= 3 with m >= m_floor(r, vartheta(m), delta/(4K)), and Theorem
    2g's (theory.soft_floor): K clusters of m points are recovered by one block with probability at least 1 - delta.

    None where neither is found (``soft_floor`` says where it looks). More points raise the threshold, so that the
    guarantee may end again at some larger m: ask ``gaussian_guarantee`` at the actual sizes. Arguments and errors as in
    ``gaussian_connection``.

    Both sums are numerical where r >= 3 (Theorem 2g's everywhere). With ``rigorous`` the answer is the floor of
    Theorem 2c with Stevens' law (r = 2) or one-step descent, certified with enclosures (theory.md 2h): false edges,
    missing ones and connectivity together stay within delta. It is larger, or None, where the default is not.
    """
    require_count(subspace_dim, "subspace_dim", 2)
    if rigorous:
        certificate = gaussian_floor_certificate(
            subspace_dim, ambient_dim, num_clusters, min_principal_angle, noise_level, delta, squared
        )
        return None if certificate is None or certificate.number is None else int(certificate.number)
    count, soft = require_count(num_clusters, "num_clusters", 2, LARGEST_SIZE), None
    if _has_soft_graph(subspace_dim, ambient_dim, noise_level):
        soft = soft_floor(subspace_dim, ambient_dim, count, noise_level, min_principal_angle, delta, squared)

    def needed(size: int) -> int | None:
        # The size may be far beyond the cluster sizes of anybody's batch.
        pairs = count * (size * (size - 1) // 2), count * (count - 1) // 2 * size * size
        link = _gaussian_connection(ambient_dim, count, pairs, min_principal_angle, noise_level, delta, squared)
        return link.floor(subspace_dim, squared)

    lens = climb(needed, 3, soft)
    return soft if lens is None else lens


@half_as_float64
def gaussian_floor_certificate(
    subspace_dim: int,
    ambient_dim: int,
    num_clusters: int,
    min_principal_angle: float,
    noise_level: float,
    delta: float,
    squared: bool = False,
) -> Certificate | None:
    """The proof of ``gaussian_floor(..., rigorous=True)``, or None where 2c has no floor. Its ``default`` is the same
    floor without enclosures. Arguments and errors as there."""
    own = require_count(subspace_dim, "subspace_dim", 2)
    count = require_count(num_clusters, "num_clusters", 2, LARGEST_SIZE)
    method: Method = "exact" if own == 2 else "one_step"

    def link_of(size: int) -> Connection:
        pairs = pair_counts(np.array([size]), count)
        return _gaussian_connection(ambient_dim, count, pairs, min_principal_angle, noise_level, delta, squared)

    def needed(size: int, rigorous: bool) -> int | None:
        link = link_of(size)
        return (
            connectivity_floor(own, link.radius, link.delta, squared, method, rigorous) if link.radius > 0.0 else None
        )

    default = climb(partial(needed, rigorous=False), 3)
    if default is None:
        return None
    size = climb(partial(needed, rigorous=True), default)
    if size is None:
        return None
    link = link_of(size)
    pairs = pair_counts(np.array([size]), count)
    lost = connection_failure(
        ambient_dim, pairs, min_principal_angle, noise_level, link.threshold, link.radius, squared
    )
    total = add(lost, times(count, connectivity_failure(size, own, link.radius, link.delta, squared)))
    holds = total.high <= delta
    return Certificate(size if holds else None, default, total, float(delta), int(not holds or size != default))


def _has_soft_graph(subspace_dim: int, ambient_dim: int, noise_level: float) -> bool:
    """Whether Theorem 2g speaks of such subspaces at all, and of some noise; bad numbers are left to be named."""
    dim = require_count(ambient_dim, "ambient_dim", 2, LARGEST_DIM)
    return noise_level != 0.0 and 2 * int(subspace_dim) <= dim and int(subspace_dim) <= LARGEST_SUBSPACE


@half_as_float64
def gaussian_guarantee(
    subspace_dim: int,
    ambient_dim: int,
    num_clusters: int,
    cluster_size: ClusterSizes,
    min_principal_angle: float,
    noise_level: float,
    delta: float,
    squared: bool = False,
) -> bool:
    """Whether Theorem 2c or 2g proves that clusters of exactly these sizes are recovered with probability at least
    1 - delta, at the threshold of ``gaussian_connection``, which is the same for both.

    Arguments and errors as in ``gaussian_connection``; ``subspace_dim`` at least 2.
    """
    require_count(subspace_dim, "subspace_dim", 2)
    link = gaussian_connection(
        ambient_dim, num_clusters, cluster_size, min_principal_angle, noise_level, delta, squared
    )
    smallest = int(sizes_of_clusters(num_clusters, cluster_size)[1].min())
    if _has_soft_graph(subspace_dim, ambient_dim, noise_level) and is_soft_guaranteed(
        subspace_dim, ambient_dim, num_clusters, cluster_size, noise_level, min_principal_angle, delta, squared
    ):
        return True
    return is_guaranteed(link, subspace_dim, smallest, squared)
