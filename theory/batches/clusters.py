"""Labels as a layout: which rows belong to which cluster, so that measurements touch blocks instead of masks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from theory.numerics.inputs import Array, as_numpy


@dataclass(frozen=True)
class ClusterLayout:
    """Rows grouped by cluster: ``sizes`` in order of first label value, ``order`` sorts rows by cluster.

    ``order`` is None where the rows already stand cluster by cluster, the fast case.
    """

    sizes: tuple[int, ...]
    order: tuple[int, ...] | None

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Rows of each cluster once sorted."""
        stops = np.cumsum(self.sizes)
        return tuple(slice(int(stop - size), int(stop)) for stop, size in zip(stops, self.sizes))

    @property
    def num_points(self) -> int:
        return sum(self.sizes)

    @property
    def within_pairs(self) -> int:
        """Number of unordered pairs i ~ j: sum of n_k (n_k - 1) / 2."""
        return sum(size * (size - 1) // 2 for size in self.sizes)

    @property
    def cross_pairs(self) -> int:
        """Number of unordered pairs i !~ j."""
        n = self.num_points
        return n * (n - 1) // 2 - self.within_pairs

    def sort_rows(self, array: Array, axis: int = -1) -> Array:
        """``array`` with its ``axis`` in cluster order."""
        return array if self.order is None else _take(array, np.asarray(self.order), axis)

    def sort_matrix(self, matrix: Array) -> Array:
        """A matrix (..., n, n) with rows and columns in cluster order."""
        return self.sort_rows(self.sort_rows(matrix, -1), -2)

    def unsort_rows(self, array: Array, axis: int = -1) -> Array:
        """Back from cluster order to the labels' order."""
        return array if self.order is None else _take(array, np.argsort(self.order), axis)


def _take(array: Array, index: np.ndarray, axis: int) -> Array:
    xp = array_namespace(array)
    return xp.take(array, xp.asarray(index, device=device(array)), axis=axis)


def index_labels(labels: Array, num_points: int | None = None, name: str = "labels") -> tuple[np.ndarray, np.ndarray]:
    """Every label's place among the sorted distinct ones: the one way in which labels are read.

    Labels are compared, never added, subtracted or counted up to, so that their values do not matter.

    Args:
        labels: integers or booleans (n,) of any width and values: a NumPy array, a tensor on any device, or a sequence
            of Python integers of any size.
        num_points: n, when it is to be checked.
        name: of the argument, for errors.

    Returns:
        values (K,), sorted and distinct, and index (n,) int64 with labels = values[index].

    Raises:
        ValueError: labels of another shape, number or type; names the argument.
    """
    values = _whole_numbers(labels, name, num_points)
    found, index = np.unique(values, return_inverse=True)
    return found, index.reshape(-1).astype(np.int64, copy=False)


def index_among(values: np.ndarray, labels: Array, name: str = "labels", of: str = "labels") -> np.ndarray:
    """Every label's place among sorted distinct ``values`` that ``index_labels`` has found elsewhere, (n,) int64.

    Args:
        of: what the values are, for errors.

    Raises:
        ValueError: a label that is not among them, or labels of another shape or type.
    """
    own = _whole_numbers(labels, name)
    # Signed and unsigned integers of 64 bits have no common NumPy type but float64, which merges neighbours.
    exact = np.result_type(values, own).kind in "iub"
    joint = np.concatenate([values, own] if exact else [values.astype(object), own.astype(object)])
    found, index = np.unique(joint, return_inverse=True)
    index = index.reshape(-1)
    known = np.zeros(len(found), dtype=bool)
    known[index[: len(values)]] = True
    unknown = own[~known[index[len(values) :]]]
    if len(unknown):
        raise ValueError(f"{name}: must be among {of}, {unknown[0]} is not")
    return index[len(values) :].astype(np.int64, copy=False)


def _whole_numbers(labels: Array, name: str, num_points: int | None = None) -> np.ndarray:
    """Labels as a NumPy array (n,) of integers or booleans; an object array where they exceed 64 bits."""
    shape = "(n,)" if num_points is None else f"({num_points},)"
    try:
        values = as_numpy(labels)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected integers of shape {shape}, got {type(labels).__name__}") from None
    if values.ndim != 1 or num_points not in (None, len(values)):
        raise ValueError(f"{name}: expected integers of shape {shape}, got {values.dtype} of shape {values.shape}")
    if values.dtype.kind in "iub":
        return values
    # Python integers may be too wide for any NumPy type, or a sequence of them be taken for floats.
    wide = values if values.dtype.kind == "O" or hasattr(labels, "dtype") else np.array(labels, dtype=object)
    if wide.dtype.kind != "O" or not len(wide) or not all(isinstance(each, int | np.integer) for each in wide):
        raise ValueError(f"{name}: expected integers of shape {shape}, got {values.dtype} of shape {values.shape}")
    return wide


def cluster_layout(labels: Array, num_points: int | None = None) -> ClusterLayout:
    """The layout of ``labels`` (n,).

    Args:
        labels: integers, one a point, any type, values and order (see ``index_labels``).
        num_points: n, when it is to be checked.

    Raises:
        ValueError: labels of another shape or type, fewer than two clusters, or a cluster of one point.
    """
    values, index = index_labels(labels)
    if num_points not in (None, len(index)):
        raise ValueError(f"labels: expected {num_points} of them, one a point, got {len(index)}")
    layout = _layout_of_index(index, len(values))
    if len(layout.sizes) < 2:
        raise ValueError(f"labels: needs at least 2 clusters, got {len(layout.sizes)}")
    if min(layout.sizes) < 2:
        name = values[np.argmin(layout.sizes)]
        raise ValueError(f"labels: every cluster needs at least 2 points, cluster {name} has 1")
    return layout


def group_rows(labels: Array) -> ClusterLayout:
    """As ``cluster_layout``, for any number and sizes of clusters.

    Raises:
        ValueError: labels of another shape or type.
    """
    values, index = index_labels(labels)
    return _layout_of_index(index, len(values))


def _layout_of_index(index: np.ndarray, num_clusters: int) -> ClusterLayout:
    counts = np.bincount(index, minlength=num_clusters)
    in_order = bool(np.all(index[1:] >= index[:-1]))
    order = None if in_order else tuple(int(i) for i in np.argsort(index, kind="stable"))
    return ClusterLayout(tuple(int(c) for c in counts), order)


def pair_counts(sizes: np.ndarray, num_clusters: int) -> tuple[int, int]:
    """Unordered pairs inside clusters and across them, as Python integers, which do not overflow.

    Args:
        sizes: (num_clusters,), or one size that all clusters have.
    """
    every = [int(size) for size in sizes]
    copies = num_clusters if len(every) == 1 else 1
    n, within = copies * sum(every), copies * sum(size * (size - 1) // 2 for size in every)
    return within, n * (n - 1) // 2 - within


def like_labels(array: np.ndarray, labels: Array) -> Array:
    """An array in the library and on the device of ``labels``; NumPy where they are a sequence."""
    if not is_array_api_obj(labels):
        return array
    return array_namespace(labels).asarray(array, device=device(labels))


def contiguous_labels(sizes: tuple[int, ...]) -> np.ndarray:
    """Labels (n,) of clusters that stand one after the other: 0 0 .. 1 1 .. K-1."""
    return np.repeat(np.arange(len(sizes)), sizes)
