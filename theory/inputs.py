"""Checks of arguments, so that bad input is refused where it enters, by name and with the allowed range."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

# A NumPy array or a torch tensor; jaxtyping reads shapes and dtypes off either.
Array = Any
# Elementwise arguments of bounds: numbers or NumPy arrays of them, mpmath numbers included.
Numbers = Any
# Points in each cluster: one number for clusters that all have it, or one a cluster.
ClusterSizes = int | Sequence[int] | np.ndarray


def require_points(points: Array, name: str = "points") -> None:
    """Refuse points of shape (..., n, D) that are not floating, not finite, or contain a zero vector.

    Raises:
        ValueError: names the argument and the first offending trial and row.
    """
    xp = array_namespace(points)
    if points.ndim < 2:
        raise ValueError(f"{name}: expected shape (..., n, D), got {tuple(points.shape)}")
    if not xp.isdtype(points.dtype, "real floating"):
        raise ValueError(f"{name}: expected a floating dtype, got {points.dtype}")
    if 0 in points.shape:
        raise ValueError(f"{name}: is empty, shape {tuple(points.shape)}")
    finite = xp.all(xp.isfinite(points), axis=-1)
    if not bool(xp.all(finite)):
        raise ValueError(f"{name}: contains NaN or infinity, first at index {_first_false(finite)}")
    nonzero = xp.any(points != 0, axis=-1)
    if not bool(xp.all(nonzero)):
        raise ValueError(f"{name}: contains a zero vector, first at index {_first_false(nonzero)}; it has no direction")


def _first_false(flags: Array) -> tuple[int, ...]:
    flags = flags if is_numpy_array(flags) else np.asarray(flags.cpu())
    return tuple(int(i) for i in np.argwhere(~flags)[0])


def require_range(value: Array | float, name: str, low: float, high: float, closed: str = "both") -> None:
    """Refuse values outside an interval; ``closed`` is "both", "left", "right" or "neither". NaN is outside.

    Raises:
        ValueError: names the argument, the value and the allowed range.
    """
    array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value, dtype=float)
    above = array >= low if closed in ("both", "left") else array > low
    below = array <= high if closed in ("both", "right") else array < high
    inside = above & below
    if not inside.all():
        left = "[" if closed in ("both", "left") else "("
        right = "]" if closed in ("both", "right") else ")"
        worst = array[~inside].ravel()[0] if array.ndim else array
        raise ValueError(f"{name}: must lie in {left}{low:g}, {high:g}{right}, got {float(worst):g}")


def require_threshold(threshold: Array | float) -> None:
    """The affinity threshold tau lies in [0, 1)."""
    require_range(threshold, "threshold", 0.0, 1.0, closed="left")


def require_mixing(mixing: Array | float) -> None:
    """The mixing weight lambda lies in (0, 1]."""
    require_range(mixing, "mixing", 0.0, 1.0, closed="right")


def require_choice(value: str, name: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not on the list.

    Raises:
        ValueError: names the argument and the choices.
    """
    if value not in choices:
        raise ValueError(f"{name}: must be one of {', '.join(choices)}, got {value!r}")


def require_count(value: int, name: str, low: int) -> int:
    """Refuse anything but a whole number of at least ``low``; returns it as an int."""
    if isinstance(value, bool) or int(value) != value or value < low:
        raise ValueError(f"{name}: must be a whole number of at least {low}, got {value}")
    return int(value)


def as_sizes(cluster_sizes: ClusterSizes, name: str = "cluster_size") -> np.ndarray:
    """Cluster sizes as an int array (K,); one int stands for clusters that all have this size.

    Raises:
        ValueError: a size below 2 (a cluster of one has no within-cluster pair).
    """
    sizes = np.atleast_1d(np.asarray(cluster_sizes))
    if sizes.size == 0 or not np.all(sizes == np.floor(sizes)) or np.any(sizes < 2):
        raise ValueError(f"{name}: every cluster needs a whole number of at least 2 points, got {np.ravel(sizes)}")
    return sizes.astype(int)
