"""Labels as a layout: which rows belong to which cluster, so that measurements touch blocks instead of masks."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from array_api_compat import array_namespace, device

from theory.inputs import Array


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


def as_numpy(array: Array) -> np.ndarray:
    """A NumPy copy or view of an array on any device."""
    return array.detach().cpu().numpy() if hasattr(array, "detach") else np.asarray(array)


def cluster_layout(labels: Array, num_points: int | None = None) -> ClusterLayout:
    """The layout of ``labels`` (n,).

    Args:
        labels: integers, one a point, any values and order.
        num_points: n, when it is to be checked.

    Raises:
        ValueError: labels of another shape or type, fewer than two clusters, or a cluster of one point.
    """
    layout = group_rows(labels)
    if num_points is not None and layout.num_points != num_points:
        raise ValueError(f"labels: expected {num_points} of them, one a point, got {layout.num_points}")
    if len(layout.sizes) < 2:
        raise ValueError(f"labels: needs at least 2 clusters, got {len(layout.sizes)}")
    if min(layout.sizes) < 2:
        name = np.unique(as_numpy(labels))[np.argmin(layout.sizes)]
        raise ValueError(f"labels: every cluster needs at least 2 points, cluster {name} has 1")
    return layout


def group_rows(labels: Array) -> ClusterLayout:
    """As ``cluster_layout``, for any number and sizes of clusters.

    Raises:
        ValueError: labels of another shape or type.
    """
    values = as_numpy(labels)
    if values.ndim != 1 or not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool):
        raise ValueError(f"labels: expected integers of shape (n,), got {values.dtype} of shape {values.shape}")
    counts = np.unique(values, return_counts=True)[1]
    in_order = bool(np.all(np.diff(values.astype(np.int64)) >= 0))
    order = None if in_order else tuple(int(i) for i in np.argsort(values, kind="stable"))
    return ClusterLayout(tuple(int(c) for c in counts), order)


def contiguous_labels(sizes: tuple[int, ...]) -> np.ndarray:
    """Labels (n,) of clusters that stand one after the other: 0 0 .. 1 1 .. K-1."""
    return np.repeat(np.arange(len(sizes)), sizes)
