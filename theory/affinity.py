"""Cosines and affinities: who attends to whom, and with which weight (theory.md, section 0)."""

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float

from theory.batches.clusters import cluster_layout, index_labels, like_labels
from theory.numerics.inputs import Array, require_points, require_range, require_threshold
from theory.numerics.precision import numerical_threshold, widen


def unit_points(points: Float[Array, "*trials n D"]) -> Float[Array, "*trials n D"]:
    """Points divided by their norms, without overflow or underflow on the way; half precision as float32."""
    points = widen(points, "points")
    xp = array_namespace(points)
    scaled = points / xp.max(xp.abs(points), axis=-1, keepdims=True)
    return scaled / xp.linalg.vector_norm(scaled, axis=-1, keepdims=True)


def cosine_gram(points: Float[Array, "*trials n D"]) -> Float[Array, "*trials n n"]:
    """Cosines C_ij of all pairs; the diagonal is exactly 1. Half precision is computed and returned in float32.

    Raises:
        ValueError: NaN, infinite or zero points.
    """
    points = widen(points, "points")
    require_points(points)
    xp = array_namespace(points)
    unit = unit_points(points)
    cosines = xp.clip(unit @ xp.matrix_transpose(unit), -1.0, 1.0)
    return xp.where(_identity(cosines), xp.ones_like(cosines), cosines)


def effective_threshold(threshold: Array | float, dtype: object, condition: float = 1.0) -> Array | float:
    """max(tau, tau_num): the cut that is applied, in stacks and checkers alike (theory.md 0, "Floating point").

    Raises:
        ValueError: threshold outside [0, 1), or a condition that leaves no digits.
    """
    # In half precision the floor would be rounded, to zero in float16.
    threshold = widen(threshold, "threshold") if hasattr(threshold, "dtype") else threshold
    require_threshold(threshold)
    floor = numerical_threshold(dtype, condition)
    if isinstance(threshold, (int, float)):
        return max(float(threshold), floor)
    return array_namespace(threshold).clip(threshold, floor)


def affinity_matrix(
    points: Float[Array, "*trials n D"],
    threshold: Array | float = 0.0,
    power: float = 1,
    *,
    signed: bool = True,
    condition: float = 1.0,
) -> Float[Array, "*trials n n"]:
    """Thresholded ReLU affinity with zero diagonal and normalized rows; a row without neighbours is zero.

    Entries before normalization are ReLU(C_ij - cut)^power with cut = max(threshold, tau_num). With ``signed=False``
    signs are ignored: |C_ij|^power where |C_ij| > cut (the truncated squared output of theory.md 0 with power 2).

    Args:
        points: the batch, any norms; half precision is computed, cut and returned as float32.
        threshold: tau in [0, 1), a number or an array that broadcasts against (..., 1, 1).
        power: positive exponent; 2 gives the squared output.
        condition: condition number of a map that was applied to the points.

    Raises:
        ValueError: bad points, threshold outside [0, 1), power not positive.
    """
    require_range(power, "power", 0.0, float("inf"), closed="neither")
    points = widen(points, "points")
    xp = array_namespace(points)
    cut = effective_threshold(threshold, points.dtype, condition)
    cosines = cosine_gram(points)
    if signed:
        raw = xp.clip(cosines - cut, 0.0)
        raw = raw if power == 1 else raw**power
    else:
        size = xp.abs(cosines)
        raw = xp.where(size > cut, size**power, xp.zeros_like(size))
    raw = xp.where(_identity(raw), xp.zeros_like(raw), raw)
    return normalize_rows(raw)


def normalize_rows(affinity: Float[Array, "*trials n n"]) -> Float[Array, "*trials n n"]:
    """Each row divided by its sum; rows that sum to zero stay zero. Half precision comes back as float32.

    Raises:
        ValueError: an entry is negative or not finite.
    """
    affinity = widen(affinity, "affinity")
    xp = array_namespace(affinity)
    if not bool(xp.all(affinity >= 0)) or not bool(xp.all(xp.isfinite(affinity))):
        raise ValueError("affinity: entries must lie in [0, inf)")
    mass = xp.sum(affinity, axis=-1, keepdims=True)
    return affinity / xp.where(mass > 0, mass, xp.ones_like(mass))


def target_affinity(labels: Array) -> Float[Array, "n n"]:
    """The ideal affinity: T_ij = 1 / (n_k - 1) for i ~ j in cluster k, 0 elsewhere, diagonal included (theory.md 4).

    Returns an array of the labels' own library and device, float64; of a sequence a NumPy array.

    Raises:
        ValueError: fewer than two clusters, or a cluster of one point (its row could not sum to 1).
    """
    cluster_layout(labels)
    index = index_labels(labels)[1]
    positives = index[:, None] == index[None, :]
    np.fill_diagonal(positives, False)
    return like_labels(positives / positives.sum(axis=1, keepdims=True), labels)


def _identity(matrix: Array) -> Array:
    xp = array_namespace(matrix)
    return xp.eye(matrix.shape[-1], dtype=xp.bool, device=device(matrix))
