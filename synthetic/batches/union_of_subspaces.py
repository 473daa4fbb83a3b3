"""Clean batches: clusters on a union of subspaces, with prescribed geometry (theory.md, sections 0 to 2).

Points are unit vectors (trials, n, D), cluster after cluster; labels are those of clusters.contiguous_labels(sizes).
One generator a trial, so that a trial does not depend on its batch.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from theory.affinity import unit_points
from theory.numerics.inputs import ClusterSizes, as_sizes, require_count, require_range
from theory.numerics.limits import LARGEST_BATCH, LARGEST_CLUSTERS, LARGEST_DIM, LARGEST_NUMBERS

Arrangement = Literal["orthogonal", "random", "angle"]

# Radius factor of the eigenvalue test that a Gram matrix is positive semidefinite.
PSD_TOLERANCE = 1e-12


def subspace_bases(
    num_subspaces: int,
    ambient_dim: int,
    subspace_dim: int,
    rng: np.random.Generator,
    arrangement: Arrangement = "orthogonal",
    principal_angle: float | None = None,
) -> Float[np.ndarray, "K D r"]:
    """Orthonormal bases of K linearly independent subspaces in a random position.

    Args:
        arrangement: "orthogonal"; "random" (independent uniform subspaces); "angle": all principal angles of every
            pair equal ``principal_angle`` (radians, (0, pi/2]), which needs ambient_dim >= (K + 1) r.

    Raises:
        ValueError: fewer than two subspaces, or more dimensions than the ambient space holds.
    """
    count = require_count(num_subspaces, "num_subspaces", 2, LARGEST_CLUSTERS)
    dim = require_count(subspace_dim, "subspace_dim", 1, LARGEST_DIM)
    if arrangement not in ("orthogonal", "random", "angle"):
        raise ValueError(f"arrangement: must be orthogonal, random or angle, got {arrangement!r}")
    shared = arrangement == "angle"
    needed = (count + shared) * dim
    if require_count(ambient_dim, "ambient_dim", 2, LARGEST_DIM) < needed:
        raise ValueError(
            f"ambient_dim: {count} independent subspaces of dimension {dim}"
            f"{' at a prescribed angle' if shared else ''} need at least {needed}, got {ambient_dim}"
        )
    if max(count * dim, needed) * ambient_dim > LARGEST_NUMBERS:
        raise ValueError(
            f"ambient_dim: bases of {count} subspaces of dimension {dim} in {ambient_dim:,} dimensions are "
            f"{count * dim * ambient_dim:.2g} numbers, at most {LARGEST_NUMBERS:.2g}"
        )
    if arrangement == "random":
        return np.linalg.qr(rng.standard_normal((count, ambient_dim, dim)))[0]
    frame = np.linalg.qr(rng.standard_normal((ambient_dim, needed)))[0]
    blocks = np.moveaxis(frame.reshape(ambient_dim, count + shared, dim), 1, 0)
    if not shared:
        return np.ascontiguousarray(blocks)
    angle = np.nan if principal_angle is None else principal_angle
    require_range(angle, "principal_angle", 0.0, np.pi / 2, "right")
    cosine = np.cos(angle)
    # U_k = sqrt(c) G + sqrt(1 - c) F_k gives U_k^T U_l = c I.
    return np.sqrt(cosine) * blocks[0] + np.sqrt(1.0 - cosine) * blocks[1:]


def uniform_clusters(
    bases: Float[np.ndarray, "K D r"], cluster_sizes: ClusterSizes, rngs: Sequence[np.random.Generator]
) -> Float[np.ndarray, "trials n D"]:
    """Points uniform on the unit sphere of each subspace."""
    count, _, dim = bases.shape
    sizes = _sizes_for(cluster_sizes, count)
    weights = np.stack([rng.standard_normal((sizes.sum(), dim)) for rng in rngs])
    return _embed(unit_points(weights), bases, sizes)


def cone_clusters(
    bases: Float[np.ndarray, "K D r"],
    cluster_sizes: ClusterSizes,
    min_within_cos: float,
    rngs: Sequence[np.random.Generator],
    centers: Float[np.ndarray, "K D"] | None = None,
) -> Float[np.ndarray, "trials n D"]:
    """Clusters inside cones around their centers; the smallest within-cluster cosine is attained in every cluster.

    Points lie within half the angle arccos(min_within_cos) of the center, the first two of each cluster opposite each
    other on the rim.

    Args:
        bases: the subspace each cluster stays in; pass full-rank bases for cones of the ambient space.
        min_within_cos: in (-1, 1]; 1 puts all points of a cluster on its center.
        centers: unit vectors inside the subspaces; by default uniform on their spheres, drawn anew each trial.

    Raises:
        ValueError: cones in one-dimensional subspaces, centers outside their subspaces.
    """
    count, _, dim = bases.shape
    sizes = _sizes_for(cluster_sizes, count)
    require_range(min_within_cos, "min_within_cos", -1.0, 1.0, closed="right")
    if dim < 2 and min_within_cos < 1.0:
        raise ValueError(f"subspace_dim: a cone with min_within_cos {min_within_cos:g} < 1 needs at least 2, got {dim}")
    half_angle = np.arccos(min_within_cos) / 2.0
    total, first = int(sizes.sum()), np.cumsum(sizes) - sizes
    drawn, draws, radii = [], [], []
    # Each trial draws in this order from its own generator; what is made of it is worked out for all of them together.
    for rng in rngs:
        drawn += [rng.standard_normal((count, dim))] if centers is None else []
        if dim >= 2:
            draws.append(rng.standard_normal((total, dim)))
            radii.append(rng.random(total))
    axes = unit_points(np.stack(drawn)) if centers is None else _coordinates(centers, bases)[None]
    axes = np.broadcast_to(axes, (len(rngs), count, dim))[:, np.repeat(np.arange(count), sizes)]
    if dim < 2:
        return _embed(axes, bases, sizes)
    draw = np.stack(draws)
    tangent = unit_points(draw - (draw * axes).sum(-1, keepdims=True) * axes)
    angle = half_angle * np.stack(radii) ** (1.0 / (dim - 1))
    tangent[:, first + 1] = -tangent[:, first]
    angle[:, first] = angle[:, first + 1] = half_angle
    weights = np.cos(angle)[..., None] * axes + np.sin(angle)[..., None] * tangent
    return _embed(weights, bases, sizes)


def equiangular_clusters(
    within: float | Sequence[float],
    between: float | Float[np.ndarray, "K K"],
    cluster_sizes: ClusterSizes,
    ambient_dim: int,
    rngs: Sequence[np.random.Generator],
) -> Float[np.ndarray, "trials n D"]:
    """Exactly equiangular clusters: cosine a_k inside cluster k, b_kk' across, in a random position.

    Raises:
        ValueError: no vectors with these cosines exist, or ambient_dim is too small for them.
    """
    sizes = as_sizes(cluster_sizes, "cluster_sizes")
    count = require_count(len(sizes), "cluster_sizes", 2, LARGEST_BATCH)
    require_range(within, "within", -1.0, 1.0)
    require_range(between, "between", -1.0, 1.0)
    cluster = np.repeat(np.arange(count), sizes)
    cosines = np.array(np.broadcast_to(np.asarray(between, dtype=float), (count, count)))
    np.fill_diagonal(cosines, np.broadcast_to(np.asarray(within, dtype=float), (count,)))
    gram = cosines[cluster][:, cluster]
    np.fill_diagonal(gram, 1.0)
    values, vectors = np.linalg.eigh(gram)
    if values[0] < -PSD_TOLERANCE * values[-1]:
        raise ValueError(
            f"between: no unit vectors have these cosines (smallest Gram eigenvalue {values[0]:.3g}); "
            "bring it closer to 0 or raise within"
        )
    keep = values > PSD_TOLERANCE * values[-1]
    rank = int(keep.sum())
    if require_count(ambient_dim, "ambient_dim", 2, LARGEST_DIM) < rank:
        raise ValueError(f"ambient_dim: these clusters span {rank} dimensions, got {ambient_dim}")
    coordinates = unit_points(vectors[:, keep] * np.sqrt(values[keep]))
    frames = np.linalg.qr(np.stack([rng.standard_normal((ambient_dim, rank)) for rng in rngs]))[0]
    return coordinates @ np.swapaxes(frames, -1, -2)


def circle_clusters(
    theta_within: float, theta_between: float, cluster_sizes: ClusterSizes, ambient_dim: int, rng: np.random.Generator
) -> Float[np.ndarray, "n D"]:
    """The clean batch on which bounded noise attains both angular bounds at once (theory.md 2b): two clusters on a
    circle, one at angle 0, the other split between theta_b and theta_b + theta_w.

    Raises:
        ValueError: other than two clusters, or theta_w + 2 theta_b > 2 pi (the circle closes).
    """
    sizes = _sizes_for(cluster_sizes, 2)
    require_range(theta_within, "theta_within", 0.0, np.pi)
    require_range(theta_between, "theta_between", 0.0, np.pi - theta_within / 2.0)
    require_count(ambient_dim, "ambient_dim", 2, LARGEST_DIM)
    far = np.where(np.arange(sizes[1]) == 0, theta_between, theta_between + theta_within)
    angles = np.concatenate([np.zeros(sizes[0]), far])
    plane = np.linalg.qr(rng.standard_normal((ambient_dim, 2)))[0]
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1) @ plane.T


def _sizes_for(cluster_sizes: ClusterSizes, count: int) -> np.ndarray:
    sizes = as_sizes(cluster_sizes, "cluster_sizes")
    if len(sizes) != count:
        raise ValueError(f"cluster_sizes: expected {count} of them, one a cluster, got {len(sizes)}")
    return sizes


def _embed(weights: np.ndarray, bases: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Coordinates (trials, n, r) inside each cluster's subspace to points (trials, n, D)."""
    parts = np.split(weights, np.cumsum(sizes)[:-1], axis=1)
    return np.concatenate([part @ basis.T for part, basis in zip(parts, bases)], axis=1)


def _coordinates(centers: np.ndarray, bases: np.ndarray) -> np.ndarray:
    weights = np.einsum("kdr,kd->kr", bases, centers)
    if not np.allclose(np.linalg.norm(weights, axis=-1), 1.0, atol=1e-9):
        raise ValueError("centers: must be unit vectors inside their subspaces")
    return weights
