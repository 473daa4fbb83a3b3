"""The affinity loss: the mean Jensen-Shannon divergence between a batch's affinity rows and the ideal ones.

JSD(Y_i || T_i) = KL(Y_i || M_i)/2 + KL(T_i || M_i)/2 with M_i = (Y_i + T_i)/2, natural logarithms, in [0, ln 2]; it is
0 where a row attends to its own cluster evenly and ln 2 where it attends to other clusters only. Y is the affinity of
theory.md, section 0, T its ideal: T_ij = 1/(n_k - 1) for i ~ j in cluster k, 0 elsewhere.

A row of Y without mass says nothing about its cluster, and counts ln 2 by definition (the formula would give half of
that). Rows of T without mass, clusters of one, are left out of the mean.

dJSD_i/dY_ij = ln(2 Y_ij/(Y_ij + T_ij))/2 is unbounded where Y_ij vanishes but T_ij does not; it is taken as 0 there,
which is what the ReLU behind Y makes of it. Second derivatives are those of this slope.

Rounding can carry a mean past either end of [0, ln 2]. Values are put back, to 0 or to the largest number of their
dtype that does not exceed ln 2 (the float32 number next to it does); gradients are those of the formula.
"""

import math

import torch
from jaxtyping import Float, Real, Shaped
from torch import Tensor

from models.devices.value_checks import values_are_checked
from models.head_output import unit_or_zero
from models.losses.common import BatchLabels, as_matrix, read_labels, widen
from models.losses.jsd import DenseDivergence
from models.losses.tiled_jsd import TiledDivergence
from theory.affinity import effective_threshold
from theory.numerics.inputs import Array, require_array, require_count, require_number, require_points
from theory.numerics.precision import UNIT_SUM_TOLERANCE, dtype_name


def affinity_jsd(affinity: Real[Array, "*trials n n"], target: Shaped[Array, "n n"]) -> Float[Tensor, "*trials"]:
    """Mean over rows of JSD(Y_i || T_i), in [0, ln 2], one value a trial. Differentiable in ``affinity``, twice.

    Args:
        affinity: Y, rows summing to 1, or to 0 where a row has no neighbours.
        target: T, likewise; a constant. Any real dtype, booleans included, a tensor on any device or a NumPy array.
            theory.affinity.target_affinity and target_of_labels make it from labels.

    Returns:
        (*trials,), in the wider of the two dtypes and float32 at least, on the affinity's device.

    Raises:
        ValueError: negative or infinite entries, rows that sum to neither 1 nor 0, other shapes than the affinity's, a
            target without any row, dtypes other than float64, float32, bfloat16, float16, integers and booleans.
    """
    affinity, target = prepare_affinities(affinity, target)
    return DenseDivergence.apply(affinity, target)


def affinity_jsd_from_points(
    points: Float[Tensor, "n D"],
    labels: Array | BatchLabels,
    threshold: float = 0.0,
    power: float = 2.0,
    *,
    condition: float = 1.0,
    tile_rows: int | None = None,
) -> Float[Tensor, ""]:
    """``affinity_jsd`` of ReLU(C - cut)^power, rows normalized, zero diagonal, against the labels' target.

    Computed in tiles of half of the matrix, forward and backward: memory O(n (D + tile_rows)) beyond the limits of
    models/stack.py; a backward pass with create_graph, for second derivatives, needs O(n^2). cut = max(threshold,
    tau_num). For the truncated output of a stack pass its layer-L ``tokens``.

    Args:
        points: any norms; half precision is computed, cut and returned as float32.
        labels: integers (n,), any values and order, or read already (labels_of_batch); a cluster of one point is left
            out of the mean.
        threshold: tau in [0, 1).
        power: at least 1; 2 is the truncated output's.
        condition: condition number of a map that was applied to the points.
        tile_rows: None chooses.

    Raises:
        ValueError: bad points, labels of another shape or without two points in any cluster, threshold, power or
            tile_rows out of range.
    """
    require_array(points, "points")
    if points.ndim != 2:
        raise ValueError(f"points: expected shape (n, D), got {tuple(points.shape)}")
    points = widen(points, "points")
    if values_are_checked():
        require_points(points)
    require_number(threshold, "threshold", 0.0, 1.0, closed="left")
    require_number(power, "power", 1.0, math.inf, closed="left")
    cut = effective_threshold(float(threshold), points.dtype, condition)
    read = labels if isinstance(labels, BatchLabels) else read_labels(labels, len(points), points.device)
    if len(read) != len(points):
        raise ValueError(f"labels: expected integers of shape ({len(points)},), got {len(read)} of them")
    if values_are_checked() and max(read.layout.sizes) < 2:
        raise ValueError("labels: some cluster needs at least 2 points, every one has 1")
    rows = None if tile_rows is None else require_count(tile_rows, "tile_rows", 1)
    with torch.autocast(points.device.type, enabled=False):
        return TiledDivergence.apply(unit_or_zero(points), read, cut, float(power), rows)[0]


def prepare_affinities(
    affinity: Real[Array, "*trials n n"], target: Shaped[Array, "n n"]
) -> tuple[Float[Tensor, "*trials n n"], Float[Tensor, "n n"]]:
    """An affinity and its target as tensors of one dtype, the wider of the two and float32 at least, on one device.

    Raises:
        ValueError: as ``affinity_jsd``.
    """
    affinity, target = as_matrix(affinity, "affinity"), as_matrix(target, "target").detach()
    if affinity.ndim < 2 or affinity.shape[-1] != affinity.shape[-2]:
        raise ValueError(f"affinity: expected shape (..., n, n), got {tuple(affinity.shape)}")
    if tuple(target.shape) != tuple(affinity.shape[-2:]):
        raise ValueError(f"target: expected shape {tuple(affinity.shape[-2:])}, got {tuple(target.shape)}")
    affinity, target = _require_row_sums(affinity, "affinity"), _require_row_sums(target, "target")
    if values_are_checked() and not bool((target > 0).any()):
        raise ValueError("target: has no row with mass, so there is nothing to average")
    dtype = torch.promote_types(affinity.dtype, target.dtype)
    return affinity.to(dtype), target.to(affinity.device, dtype)


def _require_row_sums(matrix: Tensor, name: str) -> Tensor:
    """The matrix widened; its rows may be off 1 by what its own dtype rounds."""
    wide = widen(matrix, name)
    if not values_are_checked():
        return wide
    low, high = torch.aminmax(wide.detach())
    # NaN fails the first comparison.
    if not bool(low >= 0) or not bool(torch.isfinite(high)):
        raise ValueError(f"{name}: entries must lie in [0, inf)")
    sums = wide.detach().sum(-1)
    tolerance = UNIT_SUM_TOLERANCE[dtype_name(matrix.dtype)]
    off = torch.minimum((sums - 1.0).abs(), sums)
    if not bool((off <= tolerance).all()):
        raise ValueError(f"{name}: rows must sum to 1 or 0, one is off by {float(off.max()):g}")
    return wide
