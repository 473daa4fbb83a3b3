"""A stack's layers measured where nobody may wait: every number stays on the device until all layers have been read.

The definitions and results are those of ``trajectory.measure_layer``. That one leaves out what a look at the extremes
shows to be needless, which costs a CPU nothing and holds up a GPU at every layer; here all of it is computed.
"""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Bool, Float, Int

from theory.batches.clusters import ClusterLayout
from theory.batches.trajectory import LEAK, Trajectory, row_sharpness, sharpness_error
from theory.measurements import cosine_extremes, count_cross_edges, own_cluster_mass
from theory.numerics.inputs import Array, as_numpy
from theory.numerics.precision import widen

# Rows of what read_layer returns.
NAMES = tuple(each.name for each in fields(Trajectory))
WHOLE = ("false_edges", "fragments", "isolated")


def read_extremes(cosines: Float[Array, "trials n n"], layout: ClusterLayout) -> Float[Array, "3 trials"]:
    """``trajectory.layer_extremes`` as one float64 array on the device: alpha, beta and axis_product."""
    ordered = layout.sort_matrix(cosines)
    xp = array_namespace(ordered)
    heights = []
    for rows in layout.slices:
        sums = xp.astype(xp.sum(widen(ordered[..., rows, rows]), axis=-1), xp.float64)
        total = xp.sum(sums, axis=-1)
        root = xp.sqrt(xp.where(total > 0.0, total, xp.full_like(total, xp.inf)))
        heights.append(xp.clip(xp.min(sums, axis=-1) / root, 0.0, 1.0))
    lowest = xp.sort(xp.stack(heights), axis=0)
    extremes = [xp.astype(each, xp.float64) for each in cosine_extremes(ordered, layout)]
    return xp.stack([*extremes, lowest[0, ...] * lowest[1, ...]])


def read_layer(
    extremes: Float[Array, "3 trials"],
    affinity: Float[Array, "trials n n"],
    row_mass: Float[Array, "trials n"],
    layout: ClusterLayout,
    cut: Array | float,
) -> Float[Array, "fields trials"]:
    """One layer as one float64 array on the device, a row for every field of Trajectory.

    Args:
        extremes: of ``read_extremes``.
        affinity, row_mass, cut: as in ``trajectory.measure_layer``.
    """
    xp = array_namespace(affinity)
    alpha, beta, axes = (extremes[i, ...] for i in range(3))
    cuts = xp.reshape(xp.astype(cut, xp.float64), (-1,)) if hasattr(cut, "dtype") else cut
    ordered, mass = layout.sort_matrix(affinity), layout.sort_rows(row_mass)
    own_mass = own_cluster_mass(ordered, layout)
    error = xp.max(sharpness_error(own_mass, mass), axis=-1)
    sharpness = row_sharpness(own_mass, mass)
    zero = xp.zeros_like(alpha)
    counts = xp.astype(count_cross_edges(ordered, layout), xp.float64)
    pieces = xp.stack([_components(ordered[..., rows, rows] > 0) for rows in layout.slices])
    found = {
        "alpha": alpha,
        "beta": beta,
        "sharpness_min": xp.min(sharpness, axis=-1),
        "sharpness_mean": xp.mean(sharpness, axis=-1),
        "sharpness_error": error,
        "false_edges": xp.where((beta > cuts) | (error > LEAK), counts, zero),
        "fragments": xp.where(alpha > cuts, zero + 1.0, xp.astype(xp.max(pieces, axis=0), xp.float64)),
        "isolated": xp.sum(xp.astype(~(widen(mass) > 0), xp.int64), axis=-1),
        "axis_product": axes,
    }
    return xp.stack([xp.astype(found[name], xp.float64) for name in NAMES])


def trajectory_of(layers: Sequence[Float[Array, "fields trials"]]) -> Trajectory:
    """The layers of ``read_layer`` in one transfer.

    Raises:
        ValueError: NaN or infinity in one of them.
    """
    numbers = as_numpy(array_namespace(layers[0]).stack(list(layers)))
    found = {name: numbers[:, row] for row, name in enumerate(NAMES)}
    return Trajectory(**{name: each.astype(np.int64) if name in WHOLE else each for name, each in found.items()})


def _components(edges: Bool[Array, "trials m m"]) -> Int[Array, " trials"]:
    """Connected components, an edge either way counts: who reaches whom is found by squaring, as often as the longest
    path may need, and each component is counted at its first vertex."""
    xp, size = array_namespace(edges), edges.shape[-1]
    own = xp.eye(size, dtype=xp.bool, device=device(edges))
    reach = edges | xp.matrix_transpose(edges) | own
    for _ in range((size - 1).bit_length()):
        paths = xp.astype(reach, xp.float32)
        reach = paths @ paths > 0
    earlier = xp.tril(reach, k=-1)
    return xp.sum(xp.astype(~xp.any(earlier, axis=-1), xp.int64), axis=-1)
