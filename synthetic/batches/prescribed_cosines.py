"""Batches with prescribed mean cosines, and what the block model says of them: exact for equiangular ones, a mean-field
prediction for noisy ones (theory.md, sections 3 and 5)."""

from typing import Literal

import numpy as np
from jaxtyping import Float

from synthetic.batches import seeding
from synthetic.batches.noise import add_noise
from synthetic.batches.union_of_subspaces import equiangular_clusters
from theory.affinity import unit_points
from theory.batches.clusters import contiguous_labels
from theory.numerics.inputs import require_range

BatchKind = Literal["noisy", "equiangular"]


def draw_batches(
    kind: BatchKind,
    within: float,
    between: float,
    num_clusters: int,
    cluster_size: int,
    ambient_dim: int,
    trials: int,
    seed: int,
    cell: int,
) -> Float[np.ndarray, "trials n D"]:
    """Unit points of equal clusters whose cosines are, or are on average, ``within`` and ``between``.

    "equiangular": every cosine is exact. "noisy": K centers with cosine b/w and Gaussian noise of sigma^2 = 1/w - 1
    around them; in high dimensions a cosine is w or b up to O(1/sqrt(D)).

    Raises:
        ValueError: not 0 <= between < within <= 1, or more dimensions needed than ``ambient_dim``.
    """
    require_range(within, "within", 0.0, 1.0, closed="right")
    require_range(between, "between", 0.0, within, closed="left")
    sizes = (cluster_size,) * num_clusters
    rngs = seeding.trial_generators(seed, cell, range(trials), seeding.POINTS)
    if kind == "equiangular":
        return equiangular_clusters(within, between, sizes, ambient_dim, rngs)
    centers = equiangular_clusters(1.0, between / within, sizes, ambient_dim, rngs)
    noise = seeding.trial_generators(seed, cell, range(trials), seeding.NOISE)
    level = float(np.sqrt(1.0 / within - 1.0))
    return unit_points(add_noise(centers, contiguous_labels(sizes), level, "gaussian", noise))


def mean_cosines(
    points: Float[np.ndarray, "trials n D"], num_clusters: int
) -> tuple[Float[np.ndarray, " trials"], Float[np.ndarray, " trials"]]:
    """Mean within-cluster and mean cross cosine of unit points, cluster after cluster, of equal size."""
    trials, n, _ = points.shape
    size = n // num_clusters
    sums = points.reshape(trials, num_clusters, size, -1).sum(axis=2)
    own = (sums**2).sum(axis=(1, 2))
    everything = (sums.sum(axis=1) ** 2).sum(axis=-1)
    return (own - n) / (n * (size - 1)), (everything - own) / (n * (n - size))


def equiangular_batches(
    within: Float[np.ndarray, " trials"], between: Float[np.ndarray, " trials"], num_clusters: int, cluster_size: int
) -> Float[np.ndarray, "trials n n"]:
    """Points with these cosines exactly, each trial its own: the symmetric root of the Gram matrix.

    Raises:
        ValueError: cosines that no batch has.
    """
    labels = contiguous_labels((cluster_size,) * num_clusters)
    same = (labels[:, None] == labels[None, :]).astype(float)
    size, count = cluster_size, num_clusters
    # The root has the same three eigenspaces: P_1 = J/n, P_c = same/m - J/n, P_w = I - same/m.
    gram = (
        1 + (size - 1) * within + (count - 1) * size * between,
        1 + (size - 1) * within - size * between,
        1 - within,
    )
    if min(float(g.min()) for g in gram) < 0.0:
        raise ValueError("between: no batch has such cosines")
    ones, contrast, inner = (np.sqrt(g)[:, None, None] for g in gram)
    average = np.full_like(same, 1.0 / len(labels))
    return ones * average + contrast * (same / size - average) + inner * (np.eye(len(labels)) - same / size)
