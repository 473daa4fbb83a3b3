"""Checks of arguments, so that bad input is refused where it enters, by name and with the allowed range."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from theory.numerics.precision import dtype_name

# The largest count: what a float can still hold, with room for sums.
LARGEST_COUNT = 10**300
# The largest cluster: float64 holds every whole number up to here.
LARGEST_SIZE = 2**53

# A NumPy array or a torch tensor; jaxtyping reads shapes and dtypes off either.
Array = Any
# Elementwise arguments of bounds: numbers or NumPy arrays of them, mpmath numbers included.
Numbers = Any
# Points in each cluster: one number for clusters that all have it, or one a cluster.
ClusterSizes = int | Sequence[int] | np.ndarray


def require_array(value: Any, name: str) -> None:
    """Refuse anything but a NumPy array or a tensor.

    Raises:
        ValueError: names the argument and what it is.
    """
    if not isinstance(value, np.ndarray) and not (hasattr(value, "detach") and hasattr(value, "dtype")):
        raise ValueError(f"{name}: expected an array or a tensor, got {type(value).__name__}")


def require_points(points: Array, name: str = "points") -> None:
    """Refuse points of shape (..., n, D) that are not floating, not finite, or contain a zero vector.

    Raises:
        ValueError: names the argument and the first offending trial and row.
    """
    require_array(points, name)
    xp = array_namespace(points)
    if points.ndim < 2:
        raise ValueError(f"{name}: expected shape (..., n, D), got {tuple(points.shape)}")
    if not xp.isdtype(points.dtype, "real floating"):
        raise ValueError(f"{name}: expected a floating dtype, got {points.dtype}")
    if 0 in points.shape:
        raise ValueError(f"{name}: is empty, shape {tuple(points.shape)}")
    # Extremes say both, NaN included, in a fifth of the time that looking at every number takes.
    low, high = xp.min(points, axis=-1), xp.max(points, axis=-1)
    finite = xp.isfinite(low) & xp.isfinite(high)
    if not bool(xp.all(finite)):
        raise ValueError(f"{name}: contains NaN or infinity, first at index {_first_false(finite)}")
    nonzero = (low != 0) | (high != 0)
    if not bool(xp.all(nonzero)):
        raise ValueError(f"{name}: contains a zero vector, first at index {_first_false(nonzero)}; it has no direction")


def _first_false(flags: Array) -> tuple[int, ...]:
    flags = flags if is_numpy_array(flags) else np.asarray(flags.cpu())
    return tuple(int(i) for i in np.argwhere(~flags)[0])


def as_numpy(array: Array) -> np.ndarray:
    """A NumPy copy or view of an array or tensor on any device, without its gradients; bfloat16, which NumPy lacks, as
    float32."""
    if not hasattr(array, "detach"):
        return np.asarray(array)
    array = array.detach()
    return (array.float() if dtype_name(array.dtype) == "bfloat16" else array).cpu().numpy()


def as_floats(value: Array | float, name: str, expected: str = "expected numbers") -> np.ndarray:
    """A number, an array or a tensor as a float64 array.

    Args:
        expected: what an error says that the argument should be.

    Raises:
        ValueError: no real numbers, or integers that no float64 can hold; names the argument.
    """
    try:
        array = as_numpy(value)
        if array.dtype.kind in "fiubO":
            return np.asarray(array, dtype=float)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name}: {expected}, got {_shown(value)}")


def require_range(value: Array | float, name: str, low: float, high: float, closed: str = "both") -> None:
    """Refuse values outside an interval; ``closed`` is "both", "left", "right" or "neither". NaN is outside.

    Raises:
        ValueError: names the argument, the value and the allowed range; also of what is no real number.
    """
    left, right = "[" if closed in ("both", "left") else "(", "]" if closed in ("both", "right") else ")"
    expected = f"must lie in {left}{low:g}, {high:g}{right}"
    array = as_floats(value, name, expected)
    above = array >= low if left == "[" else array > low
    below = array <= high if right == "]" else array < high
    inside = above & below
    if not inside.all():
        raise ValueError(f"{name}: {expected}, got {float(array[~inside].ravel()[0] if array.ndim else array):g}")


def require_number(value: Any, name: str, low: float, high: float, closed: str = "both") -> float:
    """Refuse anything but one number in an interval, as ``require_range`` has it; returns it as a float.

    Raises:
        ValueError: names the argument and the allowed range; also of arrays, lists and booleans.
    """
    if type(value) is float and low < value < high:
        # Of what nearly every call is about there is no more to ask; an array of it would cost a loss's step a sum.
        return value
    if isinstance(value, bool | np.bool_) or np.ndim(value) != 0:
        left, right = "[" if closed in ("both", "left") else "(", "]" if closed in ("both", "right") else ")"
        raise ValueError(f"{name}: must be one number in {left}{low:g}, {high:g}{right}, got {_shown(value)}")
    require_range(value, name, low, high, closed)
    return float(as_floats(value, name))


def require_flag(value: Any, name: str) -> bool:
    """Refuse anything but True and False.

    Raises:
        ValueError: names the argument.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}: must be True or False, got {_shown(value)}")
    return bool(value)


def require_flags(settings: Any) -> None:
    """``require_flag`` of every setting of a dataclass that is declared as bool.

    Raises:
        ValueError: names the first that is none.
    """
    for each in fields(settings):
        if each.type in (bool, "bool"):
            require_flag(getattr(settings, each.name), each.name)


def require_values(values: Any, name: str) -> tuple:
    """Refuse anything but a list of at least one value; returns them.

    Raises:
        ValueError: names the argument.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray) or not len(values):
        raise ValueError(f"{name}: expected a list of at least one value, got {_shown(values)}")
    return tuple(values)


def require_above(cosine: Array | float, threshold: Array | float, name: str) -> None:
    """Refuse cosines that are not in (threshold, 1], elementwise.

    Raises:
        ValueError: names the argument.
    """
    require_range(cosine, name, -1.0, 1.0)
    if not np.all(as_floats(cosine, name) > as_floats(threshold, "threshold")):
        raise ValueError(f"{name}: must lie in (threshold, 1], and some is not above the threshold")


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


def require_count(value: int, name: str, low: int, high: int = LARGEST_COUNT) -> int:
    """Refuse anything but a whole number from ``low`` to ``high``; returns it as an int.

    Raises:
        ValueError: names the argument and the allowed range; also of infinity, NaN, booleans and what is no number.
    """
    whole = _as_whole(value)
    if whole is None or whole < low:
        raise ValueError(f"{name}: must be a whole number of at least {low}, got {_shown(value)}")
    if whole > high:
        largest = f"{high:,}" if high < 10**16 else f"{high:.4g}"
        raise ValueError(f"{name}: must be a whole number in [{low}, {largest}], got {_shown(value)}")
    return whole


def as_sizes(cluster_sizes: ClusterSizes, name: str = "cluster_size") -> np.ndarray:
    """Cluster sizes as an int64 array (K,); one int stands for clusters that all have this size.

    Raises:
        ValueError: no sizes, a size below 2 (a cluster of one has no within-cluster pair), not whole, or above 2^53.
    """
    try:
        sizes = np.atleast_1d(as_numpy(cluster_sizes))
        # Not through floats, and not in a narrow type: sums and products of sizes must not wrap around.
        whole = [_as_whole(each) for each in sizes] if sizes.ndim == 1 and sizes.dtype.kind in "fiuO" else []
    except (TypeError, ValueError):
        whole = []
    if not whole or not all(each is not None and 2 <= each <= LARGEST_SIZE for each in whole):
        expected = "every cluster needs a whole number of at least 2 points (at most 2^53)"
        raise ValueError(f"{name}: {expected}, got {_shown(cluster_sizes)}")
    return np.array(whole, dtype=np.int64)


def sizes_of_clusters(num_clusters: int, cluster_size: ClusterSizes) -> tuple[int, np.ndarray]:
    """K, and sizes of one cluster that stands for all or of each of the K.

    Raises:
        ValueError: fewer than 2 clusters, another number of sizes, or bad ones.
    """
    count, sizes = require_count(num_clusters, "num_clusters", 2, LARGEST_SIZE), as_sizes(cluster_size)
    if len(sizes) not in (1, count):
        raise ValueError(f"cluster_size: expected 1 or {count} of them, got {len(sizes)}")
    return count, sizes


def _as_whole(value: Any) -> int | None:
    """A whole number as an int; None for anything else."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        return None
    try:
        whole = int(value)
        return whole if bool(whole == value) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _shown(value: object) -> str:
    """A value in an error, shortened."""
    if isinstance(value, int) and abs(value) > LARGEST_COUNT:
        return f"{'-' if value < 0 else ''}10^{math.log10(abs(value)):.0f}"
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
