"""Theorem 2a' (this toolkit's statement): from one layer's tokens on, a batch is recovered at every depth.

Statement. Tokens y of one layer, of any norm; alpha, beta their smallest within-cluster and largest cross cosine. Each
of these suffices for no false edge and complete clusters at this layer and at every later one, with the same tau:
    (cosines)   alpha > tau and beta+ <= tau nu_(1) nu_(2), the condition of Theorem 2a;
    (axes)      alpha > tau and beta+ <= tau h_(1) h_(2), h_k > 0 the smallest cosine of a token of cluster k with the
                cluster's axis (any vector; here the mean of its unit tokens), (1) and (2) the two smallest;
    (products)  I > tau N+ and max(I_c, 0) <= tau (I + (N- - I)/M), with I = min(I_w, N-), I_w and I_c the smallest
                within-cluster and largest cross inner product, N- and N+ the smallest and largest squared norm.
Nothing is asked of the layers before.

Hypotheses: affinity ReLU(C - tau), 0 < mixing <= 1; tokens not normalized between blocks, or, for the first two,
normalized.
Proof: theory.md, section 2f. *Killed:* the products with I_w in place of I.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from theory.batches.clusters import cluster_layout
from theory.batches.trajectory import LayerArrays, Trajectory, axis_product
from theory.judging.verdicts import Verdict, combine_parts, judge
from theory.measurements import cosine_extremes
from theory.numerics.inputs import Array, ClusterSizes, Numbers, as_sizes, require_points, require_threshold
from theory.numerics.precision import ABSOLUTE_MARGIN, half_as_float64
from theory.persistence import norm_product

NAME = "Theorem 2a'"


@dataclass(frozen=True)
class TokenGeometry(LayerArrays):
    """What the certificate reads of tokens, NumPy arrays (layers, trials).

    Attributes:
        alpha, beta: smallest within-cluster and largest cross cosine.
        axis_product: h_(1) h_(2), or 0 where one is not positive.
        within_product, cross_product: I_w and I_c.
        norm_min, norm_max: N- and N+, squared norms.
    """

    alpha: np.ndarray
    beta: np.ndarray
    axis_product: np.ndarray
    within_product: np.ndarray
    cross_product: np.ndarray
    norm_min: np.ndarray
    norm_max: np.ndarray


def measure_tokens(points: Float[np.ndarray, "layers trials n D"], labels: Array) -> TokenGeometry:
    """The geometry of every layer's tokens: arrays (layers, trials). Memory O(layers trials n^2).

    Raises:
        ValueError: bad points or labels.
    """
    tokens = np.asarray(points, dtype=np.float64)
    require_points(tokens)
    layout = cluster_layout(labels, tokens.shape[-2])
    tokens = layout.sort_rows(tokens, axis=-2)
    squares = (tokens**2).sum(axis=-1)
    unit = tokens / np.sqrt(squares)[..., None]
    cosines = unit @ np.swapaxes(unit, -1, -2)
    alpha, beta = cosine_extremes(cosines, layout)
    products = tokens @ np.swapaxes(tokens, -1, -2)
    within = [
        np.where(np.eye(rows.stop - rows.start, dtype=bool), np.inf, products[..., rows, rows]).min(axis=(-2, -1))
        for rows in layout.slices
    ]
    cross = [products[..., rows, rows.stop :].max(axis=(-2, -1)) for rows in layout.slices[:-1]]
    axes = axis_product([cosines[..., rows, rows].sum(axis=-1) for rows in layout.slices])
    return TokenGeometry(
        alpha, beta, axes, np.min(within, axis=0), np.max(cross, axis=0), squares.min(axis=-1),
        squares.max(axis=-1),
    )  # fmt: skip


@half_as_float64
def cross_slack(geometry: Trajectory | TokenGeometry, cluster_sizes: ClusterSizes) -> dict[str, np.ndarray]:
    """What largest cross cosine later layers can reach, and the within-cluster cosine they keep, by each condition:
    name -> (2, layers, trials), infinite where the condition says nothing.

    Args:
        geometry: of the layers; a trajectory has what the conditions on cosines and on axes need.

    Raises:
        ValueError: bad sizes.
    """
    sizes = as_sizes(cluster_sizes, "cluster_sizes")
    alpha, beta = geometry.alpha, np.maximum(geometry.beta, 0.0)
    positive = alpha > 0.0
    floor = norm_product(np.where(positive, alpha, 1.0), sizes)
    axes = geometry.axis_product
    slack = {
        "cosines": np.stack([np.where(positive, beta / floor, np.inf), alpha]),
        "axes": np.stack([np.where(axes > 0.0, beta / np.where(axes > 0.0, axes, 1.0), np.inf), alpha]),
    }
    if isinstance(geometry, Trajectory):
        return slack
    least = np.minimum(geometry.within_product, geometry.norm_min)
    norm = least + (geometry.norm_min - least) / int(sizes.max())
    crosses = np.maximum(geometry.cross_product, 0.0)
    reached = np.where(least > 0.0, crosses / np.where(least > 0.0, norm, 1.0), np.inf)
    return slack | {"products": np.stack([reached, least / geometry.norm_max])}


@half_as_float64
def restarts(geometry: Trajectory | TokenGeometry, cluster_sizes: ClusterSizes, threshold: Numbers) -> np.ndarray:
    """Where the certificate holds, (layers, trials): from that layer on the batch is recovered at every depth.

    Conditions that float64 cannot tell from equality do not count.

    Args:
        cluster_sizes: all sizes, or one that all clusters have.
        threshold: tau, a number or (trials,).

    Raises:
        ValueError: a threshold outside [0, 1), bad sizes.
    """
    require_threshold(threshold)
    tau = np.asarray(threshold, dtype=float)
    found = np.zeros(geometry.alpha.shape, dtype=bool)
    for cap, kept in cross_slack(geometry, cluster_sizes).values():
        found |= (kept - tau > ABSOLUTE_MARGIN) & (tau - cap > ABSOLUTE_MARGIN)
    return found


@half_as_float64
def certified_from_layer(
    geometry: Trajectory | TokenGeometry, cluster_sizes: ClusterSizes, threshold: Numbers
) -> np.ndarray:
    """The first layer from which on a batch is certified to be recovered at every depth, (trials,); -1 for none.

    Arguments and errors as in ``restarts``.
    """
    held = restarts(geometry, cluster_sizes, threshold)
    return np.where(held.any(axis=0), held.argmax(axis=0), -1)


@half_as_float64
def check_restart(
    trajectory: Trajectory,
    cluster_sizes: ClusterSizes,
    threshold: Numbers,
    geometry: TokenGeometry | None = None,
) -> Verdict:
    """Theorem 2a' on measured layers: from the first certified layer on no false edge and one fragment a cluster.

    Args:
        threshold: the effective tau, a number or (trials,).
        geometry: of the same layers and trials, for the condition on products as well.

    Raises:
        ValueError: layers or trials that differ.
    """
    layers_of = trajectory if geometry is None else geometry
    shape = layers_of.alpha.shape
    if trajectory.alpha.shape != shape:
        raise ValueError(f"geometry: expected (layers, trials) {trajectory.alpha.shape} as in trajectory, got {shape}")
    first = certified_from_layer(layers_of, cluster_sizes, threshold)
    layers = np.arange(trajectory.num_layers)[:, None]
    later = (first >= 0) & (layers >= first)
    incomplete = later & ~(trajectory.alpha > np.asarray(threshold))
    return combine_parts(
        NAME,
        [
            judge(f"{NAME}: false edges", later * trajectory.false_edges, 0.0, first >= 0, discrete=True),
            judge(f"{NAME}: fragments", np.where(later, trajectory.fragments, 1), 1.0, first >= 0, discrete=True),
            judge(f"{NAME}: clusters stay complete", incomplete.astype(float), 0.0, first >= 0, discrete=True),
        ],
    )
