"""What is measured on a batch: pair extremes, cluster integrity, affinity sharpness, false edges, fragments.

Definitions: theory.md, section 0 ("Measurements, per layer"). Everything is batched over leading trial axes and runs
on NumPy arrays and torch tensors. ``labels`` are integers (n,), shared by all trials. Half precision is computed and
returned in float32.
"""

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Bool, Float, Int

from theory.affinity import unit_points
from theory.batches.clusters import ClusterLayout, cluster_layout, like_labels
from theory.numerics.inputs import Array, require_points, require_range
from theory.numerics.precision import widen

# Rows per tile of the pair extremes: an n x n matrix is never formed when n is larger.
TILE_ROWS = 1024


def pair_extremes(points: Float[Array, "*trials n D"], labels: Array) -> tuple[Array, Array]:
    """alpha = min cosine over i ~ j and beta = max cosine over i !~ j, each of shape (*trials,).

    Tiled over rows: memory O(trials * TILE_ROWS * n).

    Raises:
        ValueError: bad points or labels.
    """
    points = widen(points, "points")
    require_points(points)
    layout = cluster_layout(labels, points.shape[-2])
    xp = array_namespace(points)
    unit = layout.sort_rows(unit_points(points), axis=-2)
    alphas, betas = [], []
    for rows in layout.slices:
        for start in range(rows.start, rows.stop, TILE_ROWS):
            tile = slice(start, min(start + TILE_ROWS, rows.stop))
            # Pairs are symmetric, so a tile looks at its own cluster and at the clusters after it.
            cosines = unit[..., tile, :] @ xp.matrix_transpose(unit[..., rows.start :, :])
            own = rows.stop - rows.start
            # A point's cosine with itself is the largest there is, so it cannot be the minimum.
            alphas.append(xp.min(cosines[..., :own], axis=(-2, -1)))
            if rows.stop < layout.num_points:
                betas.append(xp.max(cosines[..., own:], axis=(-2, -1)))
    return _within_range(xp.min(xp.stack(alphas), axis=0)), _within_range(xp.max(xp.stack(betas), axis=0))


def _within_range(cosines: Array) -> Array:
    """Round-off can carry a cosine past 1."""
    return array_namespace(cosines).clip(cosines, -1.0, 1.0)


def cosine_extremes(cosines: Float[Array, "*trials n n"], layout: ClusterLayout) -> tuple[Array, Array]:
    """alpha and beta (*trials,) read off a cosine matrix whose rows stand in cluster order."""
    cosines = widen(cosines, "cosines")
    xp = array_namespace(cosines)
    alphas = [xp.min(cosines[..., rows, rows], axis=(-2, -1)) for rows in layout.slices]
    betas = [xp.max(block, axis=(-2, -1)) for block in _cross_blocks(cosines, layout)]
    return _within_range(xp.min(xp.stack(alphas), axis=0)), _within_range(xp.max(xp.stack(betas), axis=0))


def pair_quantiles(points: Float[Array, "*trials n D"], labels: Array, level: float = 0.05) -> tuple[Array, Array]:
    """Quantile versions of alpha and beta: the ``level`` quantile of within-cluster cosines and the ``1 - level``
    quantile of cross cosines, linearly interpolated, each of shape (*trials,). Memory O(trials n^2).

    Raises:
        ValueError: level outside [0, 1/2], bad points or labels.
    """
    require_range(level, "level", 0.0, 0.5)
    points = widen(points, "points")
    require_points(points)
    layout = cluster_layout(labels, points.shape[-2])
    xp = array_namespace(points)
    unit = layout.sort_rows(unit_points(points), axis=-2)
    cosines = unit @ xp.matrix_transpose(unit)
    within = [cosines[..., i, i + 1 : rows.stop] for rows in layout.slices for i in range(rows.start, rows.stop - 1)]
    cross = [xp.reshape(block, (*cosines.shape[:-2], -1)) for block in _cross_blocks(cosines, layout)]
    return linear_quantile(xp.concat(within, axis=-1), level), linear_quantile(xp.concat(cross, axis=-1), 1.0 - level)


def linear_quantile(values: Float[Array, "*trials count"], level: float) -> Float[Array, "*trials"]:
    """Quantiles over the last axis, linearly interpolated, of any number of values (torch.quantile takes 16 million).

    Args:
        values: at least one on the last axis.
        level: in [0, 1].

    Raises:
        ValueError: no values, NaN among them, or a level out of range.
    """
    require_range(level, "level", 0.0, 1.0)
    values = widen(values, "values")
    xp = array_namespace(values)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"values: needs at least one, got shape {tuple(values.shape)}")
    if bool(xp.any(xp.isnan(values))):
        raise ValueError("values: contains NaN")
    ordered = xp.sort(values, axis=-1)
    place = level * (values.shape[-1] - 1)
    low = min(int(place), values.shape[-1] - 1)
    high = min(low + 1, values.shape[-1] - 1)
    return ordered[..., low] + (place - low) * (ordered[..., high] - ordered[..., low])


def cluster_integrity(points: Float[Array, "*trials n D"], labels: Array, level: float = 0.0) -> Array:
    """iota = alpha - beta in [-2, 2], shape (*trials,); positive where the batch is separated.

    Args:
        level: 0 for the extremes of the definition; .05 for the 5 % / 95 % version used on real data.
    """
    within, cross = pair_extremes(points, labels) if level == 0 else pair_quantiles(points, labels, level)
    return within - cross


def affinity_sharpness(affinity: Float[Array, "*trials n n"], labels: Array) -> Float[Array, "*trials n"]:
    """s_i = sum over j ~ i of a row-normalised affinity: row i's mass inside its own cluster, without itself.

    The affinity is taken as it is, not normalized here, so that rows which do not sum to 1 show.

    Raises:
        ValueError: bad labels, or an affinity that is not square, negative or not finite.
    """
    layout = _layout_of(affinity, labels)
    affinity = widen(affinity, "affinity")
    return layout.unsort_rows(own_cluster_mass(layout.sort_matrix(affinity), layout))


def chance_sharpness(labels: Array, include_self: bool = False) -> Float[Array, " n"]:
    """The affinity sharpness of uniform attention: (n_k - 1)/(n - 1), or n_k/n where a row attends to itself too."""
    layout = cluster_layout(labels)
    n = layout.num_points
    levels = [(size / n if include_self else (size - 1) / (n - 1)) for size in layout.sizes for _ in range(size)]
    return layout.unsort_rows(like_labels(np.array(levels), labels))


def false_edges(affinity: Float[Array, "*trials n n"], labels: Array) -> Int[Array, "*trials"]:
    """Number of unordered pairs i !~ j with A_ij > 0 or A_ji > 0."""
    layout = _layout_of(affinity, labels)
    return count_cross_edges(layout.sort_matrix(affinity), layout)


def fragments(affinity: Float[Array, "*trials n n"], labels: Array) -> Int[Array, "*trials K"]:
    """Connected components of A's graph inside each cluster, in order of label value; 1 is a whole cluster."""
    layout = _layout_of(affinity, labels)
    xp = array_namespace(affinity)
    ordered = layout.sort_matrix(affinity)
    return xp.stack([count_components(ordered[..., rows, rows] > 0) for rows in layout.slices], axis=-1)


def recovered(affinity: Float[Array, "*trials n n"], labels: Array) -> Bool[Array, "*trials"]:
    """True where there are no false edges and every cluster is one component."""
    xp = array_namespace(affinity)
    return (false_edges(affinity, labels) == 0) & xp.all(fragments(affinity, labels) == 1, axis=-1)


def count_components(edges: Bool[Array, "*trials m m"]) -> Int[Array, "*trials"]:
    """Connected components of undirected graphs given by boolean matrices (an edge either way counts).

    Every vertex takes the smallest label among its neighbours, then jumps to that label's label, until nothing
    moves; roots are the vertices that kept their own. A dense cluster settles after two or three rounds, a chain
    after about log m.
    """
    xp = array_namespace(edges)
    size = edges.shape[-1]
    index = xp.arange(size, device=device(edges))
    linked = edges | xp.matrix_transpose(edges) | (index[:, None] == index[None, :])
    label = xp.broadcast_to(index, edges.shape[:-1])
    while True:
        lowest = xp.min(xp.where(linked, label[..., None, :], size), axis=-1)
        lowest = xp.take_along_axis(lowest, lowest, axis=-1)
        if bool(xp.all(lowest == label)):
            return xp.sum(xp.astype(label == index, xp.int64), axis=-1)
        label = lowest


def is_connected(edges: Bool[Array, "*trials m m"]) -> Bool[Array, "*trials"]:
    """Whether each undirected graph, a symmetric boolean matrix, is connected; less work than counting components.

    Spreads from the first vertex, one product with the matrix a round; the diagonal does not matter.
    """
    xp = array_namespace(edges)
    size = edges.shape[-1]
    weights = xp.astype(edges, xp.float32)
    reached = xp.concat([xp.ones_like(weights[..., :1, :1]), weights[..., :1, 1:]], axis=-1)
    count = xp.sum(reached, axis=(-2, -1))
    while True:
        reached = xp.clip(reached @ weights + reached, 0.0, 1.0)
        now = xp.sum(reached, axis=(-2, -1))
        if bool(xp.all(now == count)):
            return count == size
        count = now


def own_cluster_mass(affinity: Float[Array, "*trials n n"], layout: ClusterLayout) -> Float[Array, "*trials n"]:
    """Each row's sum over its own cluster without itself; rows and columns in cluster order."""
    affinity = widen(affinity, "affinity")
    xp = array_namespace(affinity)
    return xp.concat(
        [xp.sum(affinity[..., rows, rows], axis=-1) - _diagonal(affinity, rows) for rows in layout.slices], axis=-1
    )


def _diagonal(matrix: Array, rows: slice) -> Array:
    return array_namespace(matrix).linalg.diagonal(matrix[..., rows, rows])


def _cross_blocks(matrix: Array, layout: ClusterLayout) -> list[Array]:
    """Blocks above the diagonal: each unordered pair of clusters once, a cluster against all later ones at a time."""
    return [matrix[..., rows, rows.stop :] for rows in layout.slices[:-1]]


def count_cross_edges(affinity: Float[Array, "*trials n n"], layout: ClusterLayout) -> Int[Array, "*trials"]:
    """Unordered pairs of different clusters with a positive affinity either way; rows and columns in cluster order."""
    affinity = widen(affinity, "affinity")
    xp = array_namespace(affinity)
    transposed = xp.matrix_transpose(affinity)
    counts = [
        xp.sum(xp.astype((above > 0) | (below > 0), xp.int64), axis=(-2, -1))
        for above, below in zip(_cross_blocks(affinity, layout), _cross_blocks(transposed, layout))
    ]
    return xp.sum(xp.stack(counts), axis=0)


def _layout_of(affinity: Array, labels: Array) -> ClusterLayout:
    affinity = widen(affinity, "affinity")
    xp = array_namespace(affinity)
    if affinity.ndim < 2 or affinity.shape[-1] != affinity.shape[-2]:
        raise ValueError(f"affinity: expected shape (..., n, n), got {tuple(affinity.shape)}")
    if not bool(xp.all(affinity >= 0)) or not bool(xp.all(xp.isfinite(affinity))):
        raise ValueError("affinity: entries must lie in [0, inf)")
    return cluster_layout(labels, affinity.shape[-1])
